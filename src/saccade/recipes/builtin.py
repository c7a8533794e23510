"""Trains the built-in encoder: a small image tower and a text head in one space, from 25 thousand photographs.

    python -m saccade.recipes.builtin PHOTOGRAPHS NAMES WORK --setting cpu-2h [--time-limit SECONDS] [--export FOLDER]

1. pack: photographs into shards, texts into features (recipes/photographs.py); done once.
2. look: EfficientNet-Lite0 and -Lite2 as trained on ImageNet-1k look at every photograph; done once.
3. teachers: on both their features, heads that meet the text features; a minute each. They agree better than one.
4. student: EfficientNet-Lite2, its later stages trained on, with a linear image head and a text head of its own,
   against the captions (softmax contrastive), the teachers' likenesses, ImageNet's thousand names as the frozen
   classifiers see them, and pairs of English and Korean sentences (recipes/sentences.tsv).
5. export: recipes/builtin_export.py, which the package carries.

Every stage resumes where it was stopped; exit 3 says that time was up before the last one ended. On Linux, let the
allocator keep what it has (MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184): on two cores a step
takes a third less. What was tried is in docs/log.md; the runs worth a GPU are in queue.md.

Contrastive learning after CLIP (arXiv 2103.00020), a locked text trunk after LiT (2111.07991), distillation of
likenesses after TinyCLIP (2309.12314) and MobileCLIP (2311.17049).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from saccade.encode.efficientnet_lite import from_imagenet
from saccade.evaluate.retrieval import ranks
from saccade.recipes.builtin_export import export
from saccade.recipes.builtin_model import Eye, Meeting, TextHead, Weights, meeting_loss
from saccade.recipes.photographs import Photographs, pack
from saccade.train import StepReport, TrainConfig, train
from saccade.weights import replacing

Floats = npt.NDArray[np.float32]

UNFINISHED = 3
"""Exit code where the time limit ended a stage before its last step."""

LOOKED_AT = {"lite0": 224, "lite2": 224}
"""Towers that the teachers stand on, and the side of the squares they look at."""


@dataclass(frozen=True)
class Setting:
    """One honest budget: what is trained for how long. Figures of each stand in the model card."""

    side: int
    batch: int
    steps: int
    frozen_blocks: int
    precision: str
    tower_share: float = 0.1
    learning_rate: float = 1e-3
    more_texts: int = 384
    teachers: int = 2
    teacher_steps: int = 600
    tower: str = "lite2"
    dim: int = 384
    hidden: int = 768
    measured_at: tuple[int, ...] = (160, 192, 224, 256)


SETTINGS = {
    "cpu-2h": Setting(side=160, batch=128, steps=1500, frozen_blocks=7, precision="fp32"),
    "gpu-20m": Setting(side=224, batch=512, steps=6000, frozen_blocks=0, precision="bf16", teachers=4),
    "smoke": Setting(
        side=64, batch=8, steps=4, frozen_blocks=7, precision="fp32", teachers=1, teacher_steps=4, measured_at=()
    ),
}


# ── batches ──


@dataclass(frozen=True)
class Batches:
    """Batches as a pure function of the step: which photographs, which of their texts, which teachers' answers.

    ``images_of(indices, rng)`` gives what the model's image side takes.
    """

    packed: Photographs
    size: int
    images_of: Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[Any]]
    seed: int
    more_texts: int = 0
    names: Names | None = None
    pairs: tuple[Floats, Floats] | None = None
    taught: Sequence[Taught] = ()

    @cached_property
    def _pools(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """Photographs with captions; the others; and how often each of these is drawn, small sets more often."""
        training = self.packed.split(test=False)
        rows = self.packed.rows
        captioned = np.array([index for index in training if rows[index].captions], np.int64)
        labelled = np.array([index for index in training if not rows[index].captions and rows[index].labels], np.int64)
        sizes: dict[str, int] = {}
        for index in labelled:
            sizes[rows[index].set] = sizes.get(rows[index].set, 0) + 1
        share = np.array([sizes[rows[index].set] ** -0.4 for index in labelled])
        return captioned, labelled, np.asarray(share / share.sum(), np.float64)

    def __call__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, step))
        chosen = self._draw(rng, self.size)
        texts = [
            str(rng.choice(self.packed.rows[index].texts)) for index in [*chosen, *self._draw(rng, self.more_texts)]
        ]
        batch: dict[str, npt.NDArray[Any]] = {
            "images": self.images_of(chosen, rng),
            "texts": self.packed.features_of(texts),
        }
        if self.names is not None:
            batch |= {"names": self.names.share[chosen].astype(np.float32), "name_texts": self.names.texts}
        if self.pairs is not None:
            some = rng.choice(len(self.pairs[0]), min(self.size, len(self.pairs[0])), replace=False)
            batch |= {"english": self.pairs[0][some], "korean": self.pairs[1][some]}
        if self.taught:
            rows = [self.packed.text_row[text] for text in texts]
            batch["taught"] = np.mean([one.likeness(chosen, rows) for one in self.taught], axis=0)
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _draw(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        captioned, labelled, share = self._pools
        half = min(count // 2, len(captioned))
        drawn = [rng.choice(captioned, half, replace=False)]
        if len(labelled):
            drawn.append(rng.choice(labelled, count - half, p=share))
        return np.concatenate(drawn)


@dataclass(frozen=True)
class Names:
    """ImageNet's thousand names: how likely each is for every photograph, float16 (N, 1000), and their features."""

    share: npt.NDArray[np.float16]
    texts: Floats


@dataclass(frozen=True)
class Taught:
    """What one teacher makes of every photograph and text: float16 (N, D), (L, D), and its scale."""

    images: npt.NDArray[np.float16]
    texts: npt.NDArray[np.float16]
    scale: float

    def likeness(self, images: npt.NDArray[np.int64], texts: Sequence[int]) -> Floats:
        """Scaled likeness (B, L) of photographs and texts, by their indices."""
        return np.asarray(self.scale * self.images[images].astype(np.float32) @ self.texts[texts].astype(np.float32).T)


def augmented(picture: Image.Image, side: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photograph as a frame of video might show it: cropped, squashed, mirrored, recoloured, blurred. (S, S, 3)."""
    width, height = picture.size
    area, aspect = rng.uniform(0.4, 1.0), math.exp(rng.uniform(-0.5, 0.5))
    w = min(1.0, math.sqrt(area * aspect)) * width
    h = min(1.0, math.sqrt(area / aspect)) * height
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    if rng.random() < 0.25:  # small, as in a low-resolution video
        small = int(rng.integers(48, 112))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
        out = picture.resize((side, side), Image.Resampling.BILINEAR)
    else:
        out = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    if rng.random() < 0.5:
        out = out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(out, np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    pixels = grey[..., None] + np.float32(colour) * (pixels - grey[..., None])
    pixels = (pixels - grey.mean()) * np.float32(rng.uniform(0.6, 1.4)) + grey.mean() * np.float32(
        rng.uniform(0.7, 1.3)
    )
    if rng.random() < 0.3:
        pixels += rng.normal(0.0, rng.uniform(0, 10), pixels.shape).astype(np.float32)
    return np.asarray(pixels.clip(0, 255), np.uint8)


# ── stages ──


@dataclass
class Work:
    """The work folder: everything the stages leave there for the next ones."""

    folder: Path
    setting: Setting
    name_prompts: Sequence[str]
    device: str = "cpu"
    time_limit: float | None = None
    tell: Callable[[str], None] = field(default=print)

    @cached_property
    def packed(self) -> Photographs:
        """What ``pack`` wrote into the folder."""
        return Photographs(self.folder / "packed")

    def looked(self, tower: str) -> Floats:
        """float32 (N, 1280): a tower's mean last map of every photograph, as trained on ImageNet."""
        path = self.folder / f"looked-{tower}-{LOOKED_AT[tower]}.npy"
        if not path.exists():
            self._look(tower, path)
        stored: npt.NDArray[np.float16] = np.load(path)
        return stored.astype(np.float32)

    @torch.no_grad()
    def _look(self, tower: str, path: Path) -> None:
        eye = Eye(from_imagenet(tower)[0], 1).to(self.device).eval()
        found = []
        for begin in range(0, len(self.packed), 64):
            rows = range(begin, min(begin + 64, len(self.packed)))
            pixels = squares(self.packed, LOOKED_AT[tower], np.array(rows))
            found.append(eye.map(torch.from_numpy(pixels).to(self.device)).mean(dim=(2, 3)).cpu().numpy())
            if begin % 6400 == 0:
                self.tell(f"{tower} has looked at {begin} of {len(self.packed)} photographs")
        with replacing(path) as scratch, scratch.open("wb") as file:
            np.save(file, np.concatenate(found).astype(np.float16))

    @cached_property
    def names(self) -> Names:
        """ImageNet's names, as the classifiers of all towers together see them."""
        logits = 0.0
        for tower in LOOKED_AT:
            classifier = from_imagenet(tower)[1]
            weight, bias = classifier.weight.detach().numpy(), classifier.bias.detach().numpy()
            logits = logits + (self.looked(tower) @ weight.T + bias) / len(LOOKED_AT)
        share = torch.from_numpy(np.asarray(logits)).softmax(1).numpy().astype(np.float16)
        return Names(share, self.packed.features_of(self.name_prompts))

    @cached_property
    def pairs(self) -> tuple[Floats, Floats]:
        """Features of the English and of the Korean sentences that say the same."""
        english, korean = zip(*sentence_pairs(), strict=True)
        return self.packed.features_of(english), self.packed.features_of(korean)

    def fit(
        self, name: str, model: Meeting, batches: Batches, config: TrainConfig, weights: Weights, workers: int = 1
    ) -> None:
        """Trains one model in a folder of its own; the model comes back with its averaged weights.

        Where the time limit comes first, the process ends: no stage stands on another's unfinished weights.
        """

        def tell(report: StepReport) -> None:
            if report.step % 50 == 0:
                parts = "  ".join(f"{part} {value:.3f}" for part, value in report.parts.items())
                self.tell(
                    f"{name} {report.step}/{report.steps}  loss {report.loss:.3f}  {parts}  "
                    f"{report.seconds_per_step:.2f} s a step, {report.eta_seconds / 60:.0f} min to go"
                )

        report = train(
            model,
            meeting_loss(weights),
            batches,
            config,
            self.folder / name,
            time_limit=self.time_limit,
            device=self.device,
            workers=workers,
            on_step=tell,
        )
        if not report.finished:
            self.tell(f"{name}: stopped after {report.steps} of {config.steps} steps; run again to go on")
            raise SystemExit(UNFINISHED)
        if report.ema is not None:
            model.load_state_dict(report.ema)
        model.to("cpu").eval()

    def taught(self) -> list[Taught]:
        """The teachers, trained on the frozen towers' features side by side, and what they make of everything."""
        looks = np.concatenate([balanced(self.looked(tower)) for tower in LOOKED_AT], axis=1)
        return [self._teacher(number, looks) for number in range(self.setting.teachers)]

    def _teacher(self, number: int, looks: Floats) -> Taught:
        name = f"{number}-{self.setting.teacher_steps}"
        path = self.folder / f"taught-{name}.npz"
        if not path.exists():
            setting = self.setting
            torch.manual_seed(number)
            model = Meeting(
                TextHead(looks.shape[1], 1024, 512, 0.3), TextHead(self.packed.features.shape[1], 1024, 512, 0.3)
            )
            config = TrainConfig(
                setting.teacher_steps, 1e-3, warmup_steps=min(100, setting.teacher_steps // 4), seed=number
            )
            batches = Batches(
                self.packed, 512, lambda rows, rng: looks[rows], number, 256, names=self.names, pairs=self.pairs
            )
            self.fit(f"teacher-{name}", model, batches, config, Weights())
            self.tell(f"teacher {number}: {measure(self.packed, model, lambda rows: looks[rows])}")
            with replacing(path) as scratch, scratch.open("wb") as file:
                np.savez(
                    file,
                    images=_embed(model.see, looks),
                    texts=_embed(model.read, self.packed.features),
                    scale=np.float32(model.scale.detach()),
                )
        with np.load(path) as kept:
            return Taught(kept["images"], kept["texts"], float(kept["scale"]))

    def student(self) -> Meeting:
        """The model that ships: its heads fitted to the frozen tower first, then all of it together."""
        setting = self.setting
        taught = self.taught()
        model = self._start()
        frozen = {"image_side.tower.stem": 0.0} if setting.frozen_blocks else {}
        frozen |= {f"image_side.tower.blocks.{number}": 0.0 for number in range(setting.frozen_blocks)}
        config = TrainConfig(
            setting.steps,
            setting.learning_rate,
            warmup_steps=min(100, setting.steps // 4),
            ema_decay=0.998,
            precision=setting.precision,
            scales={"image_side.tower": setting.tower_share, **frozen},
        )
        batches = Batches(
            self.packed, setting.batch, self._augmented, 1, setting.more_texts, self.names, self.pairs, taught
        )
        self.fit("student", model, batches, config, Weights(), workers=2)
        return model

    def _augmented(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        return np.stack([augmented(self.packed.picture(index), self.setting.side, rng) for index in rows])

    def _start(self) -> Meeting:
        """The student with its tower as on ImageNet and its heads fitted to that."""
        setting = self.setting
        torch.manual_seed(0)
        text = TextHead(self.packed.features.shape[1], setting.hidden, setting.dim)
        eye = Eye(from_imagenet(setting.tower)[0], setting.dim, setting.frozen_blocks)
        start = Meeting(eye.head, text)
        looks = self.looked(setting.tower)
        steps = setting.teacher_steps
        config = TrainConfig(steps, 1e-3, warmup_steps=min(100, steps // 4))
        batches = Batches(self.packed, 512, lambda rows, rng: looks[rows], 0, 256, names=self.names, pairs=self.pairs)
        self.fit("start", start, batches, config, Weights())
        self.tell(f"start: {measure(self.packed, start, lambda rows: looks[rows])}")
        model = Meeting(eye, text)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.log_scale = start.log_scale
        return model


def balanced(looks: Floats) -> Floats:
    """Features (N, F) with each row's elements at a root mean square of a quarter, so that no tower drowns another."""
    lengths = np.linalg.norm(looks, axis=1, keepdims=True)
    return np.asarray(looks / lengths * np.sqrt(np.float32(looks.shape[1])) / 4, np.float32)


@torch.no_grad()
def _embed(side: Callable[[Tensor], Tensor], rows: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    parts = (torch.from_numpy(rows[at : at + 2048].astype(np.float32)) for at in range(0, len(rows), 2048))
    return np.concatenate([side(part).numpy().astype(np.float16) for part in parts])


@torch.no_grad()
def measure(
    packed: Photographs, model: Meeting, images_of: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]
) -> dict[str, float]:
    """Figures on the photographs that were held out, as benchmarks/seen.py has them.

    R@k of Flickr8k's captions among its photographs; top 1 and 5 of the photographs without captions among the labels
    that ten of them or more bear, each asked as "a photo of" it.
    """
    held = packed.split(test=True)
    parts = (model.see(torch.from_numpy(images_of(held[at : at + 64]))).numpy() for at in range(0, len(held), 64))
    seen = dict(zip(held.tolist(), np.concatenate(list(parts)), strict=True))

    def read(texts: Sequence[str]) -> Floats:
        vectors: Floats = model.read(torch.from_numpy(packed.features_of(texts))).numpy()
        return vectors

    flickr = [index for index in held if packed.rows[index].set == "flickr8k"]
    captions = [(text, number) for number, index in enumerate(flickr) for text in packed.rows[index].captions]
    likeness = read([text for text, _ in captions]) @ np.stack([seen[index] for index in flickr]).T
    found = ranks(likeness, [number for _, number in captions])
    labels, asked = _frequent_labels(packed, held)
    prompted = np.stack([seen[index] for index in asked]) @ read([f"a photo of {label}" for label in labels]).T
    named = ranks(
        prompted, [[labels.index(own) for own in packed.rows[index].labels if own in labels] for index in asked]
    )
    shares = {f"R@{k}": found <= k for k in (1, 5, 10)} | {f"labels@{k}": named <= k for k in (1, 5)}
    return {name: round(float(np.mean(share)), 4) for name, share in shares.items()}


def _frequent_labels(packed: Photographs, held: npt.NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """The labels that ten held-out photographs without captions bear, and all such photographs that bear one."""
    bare = [int(index) for index in held if not packed.rows[index].captions]
    counts = Counter(label for index in bare for label in packed.rows[index].labels)
    labels = sorted(label for label, count in counts.items() if count >= 10)
    return labels, [index for index in bare if set(packed.rows[index].labels) & set(labels)]


def squares(packed: Photographs, side: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """uint8 (B, side, side, 3): photographs as a held-out frame is shown."""
    return np.stack([packed.square(index, side) for index in rows])


def sentence_pairs(file: str = "sentences.tsv") -> list[tuple[str, str]]:
    """English sentences and their Korean translations, written for this recipe."""
    lines = resources.files("saccade.recipes").joinpath(file).read_text("utf-8").splitlines()[1:]
    return [(english, korean) for english, korean in (line.split("\t") for line in lines)]


def name_prompts(file: Path) -> list[str]:
    """A prompt for each of ImageNet's thousand classes, in their order; of several names of one, the first."""
    lines = file.read_text("utf-8").splitlines()[-1000:]  # some lists begin with "background"
    return [f"a photo of {line.partition(',')[0].strip()}" for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m saccade.recipes.builtin", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("photographs", type=Path, help="a folder of sets, each with JPEGs and a labels.jsonl")
    parser.add_argument("names", type=Path, help="the names of ImageNet's thousand classes, a line each, in order")
    parser.add_argument("work", type=Path, help="a folder for everything between; a stopped run goes on there")
    parser.add_argument("--setting", choices=SETTINGS, default="cpu-2h")
    parser.add_argument("--time-limit", type=float, help="seconds that each model may train in this run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="for torch; all cores by default")
    parser.add_argument("--steps", type=int, help="in place of the setting's")
    parser.add_argument("--side", type=int, default=224, help="of the squares that the exported tower takes")
    parser.add_argument("--export", type=Path, help="where the finished model is written")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    setting = SETTINGS[options.setting]
    if options.steps:
        setting = replace(setting, steps=options.steps)
    pairs = [
        text for file in ("sentences.tsv", "sentences_heldout.tsv") for pair in sentence_pairs(file) for text in pair
    ]
    names = name_prompts(options.names)
    pack(options.photographs, options.work / "packed", [*names, *pairs])
    work = Work(options.work, setting, names, options.device, options.time_limit, lambda line: print(line, flush=True))
    model = work.student()
    for side in sorted({setting.side, *setting.measured_at}):
        figures = measure(work.packed, model, partial(squares, work.packed, side))
        print(f"student at {side} pixels: {figures}", flush=True)
    if options.export is not None:
        print(export(model, work.packed, options.export, side=options.side, pairs=sentence_pairs()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
