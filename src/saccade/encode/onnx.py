"""Any dual encoder in the hub's ONNX layout: CLIP, SigLIP, SigLIP 2 of fixed resolution, MobileCLIP and kin.

A folder (or hub id) holds ``vision_model.onnx`` and ``text_model.onnx``, at its root or in ``onnx/``, with
``config.json``, ``tokenizer.json`` and ``preprocessor_config.json`` (or ``processor_config.json``) at its root, as
transformers.js and optimum write it. The two towers load at their first use: a search pays for the text tower
alone, indexing for the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.encode.prepare import FramePreparation, TextPreparation, check_frames, cores, read_json
from saccade.errors import InputError, WeightsError
from saccade.weights import find_model, identity

FULL_ENDINGS = ("", "_fp16")
INT8_ENDINGS = ("_quantized", "_int8", "_uint8")
"""How the towers' file names end, in order of choice: in floating point, or in int8 where that is asked for."""

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
_TEXT_INPUTS = {"input_ids", "attention_mask", "position_ids", "token_type_ids"}


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, present in ``folder``; ``ending`` is what the towers' names end in."""

    folder: Path
    vision: Path
    text: Path
    processor: Path
    ending: str = ""

    @classmethod
    def find(cls, name_or_folder: str, *, int8: bool = False, download: bool = False) -> ModelFiles:
        """Look in the folder or the hub's local cache; ask the hub itself only with ``download=True``.

        Raises WeightsError naming what is missing (of the first choice, where there are several).
        """
        endings = INT8_ENDINGS if int8 else FULL_ENDINGS
        for ending in endings:
            try:
                return cls._inside(find_model(name_or_folder, needed=_needed(ending)), ending)
            except WeightsError:
                continue
        first = endings[0]
        wanted = ("tokenizer_config.json", "special_tokens_map.json", f"*_model{first}.onnx_data*")
        folder = find_model(name_or_folder, needed=_needed(first), wanted=wanted, download=download)
        return cls._inside(folder, first)

    @classmethod
    def _inside(cls, folder: Path, ending: str) -> ModelFiles:
        vision, text = (f"{tower}_model{ending}.onnx" for tower in ("vision", "text"))
        return cls(
            folder,
            _first_of(folder, f"onnx/{vision}", vision),
            _first_of(folder, f"onnx/{text}", text),
            _first_of(folder, "preprocessor_config.json", "processor_config.json"),
            ending,
        )

    @property
    def name(self) -> str:
        """``name@revision``: the hub's commit; of a plain folder, a hash of what makes a frame's vector."""
        data = sorted(self.vision.parent.glob(f"{self.vision.name}_data*"))
        name, revision = identity(self.folder, [self.vision, *data, self.processor]).rsplit("@", 1)
        kind = "-int8" if self.ending in INT8_ENDINGS else self.ending.replace("_", "-")
        return f"{name}{kind}@{revision}"


class OnnxEncoder:
    """A frame encoder over two ONNX towers; ``load`` makes one. Safe to use from several threads."""

    def __init__(self, files: ModelFiles, *, threads: int, providers: Sequence[str], batch: int) -> None:
        if batch < 1 or threads < 0:
            raise InputError(f"batch is at least 1 and threads at least 0, got {batch} and {threads}")
        self.files = files
        self.name = files.name
        self.batch = batch
        self._threads = threads or cores()
        self._providers = tuple(providers)
        self._config = read_json(files.folder / "config.json")
        self._prepare_frame = FramePreparation.read(files.processor, str(self._config.get("model_type", "")))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="saccade-frames")

    @classmethod
    def load(
        cls,
        name_or_folder: str,
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        int8: bool = False,
        download: bool = False,
        batch: int = 16,
    ) -> OnnxEncoder:
        """Find the files and read what describes them; the towers themselves load at their first use.

        Raises WeightsError where a file is missing or of a kind that is not known here, InputError where a
        provider is not one of this machine's.
        """
        files = ModelFiles.find(name_or_folder, int8=int8, download=download)
        return cls(files, threads=threads, providers=available_providers(providers), batch=batch)

    @cached_property
    def dim(self) -> int:
        """Length of the vectors."""
        tower = self._vision if "_vision" in vars(self) else self._text
        return tower.dim or self.encode_text([""]).shape[1]

    def encode_frames(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (T, H, W, 3), RGB, to float32 (T, dim), each row of length 1."""
        vision = self._vision
        parts = [unit_rows(vision.embed({"pixel_values": pixels}), vision.path) for pixels in self._prepared(images)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def encode_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Sentences to float32 (L, dim), each row of length 1; longer ones than the model reads are cut."""
        text = self._text
        parts = []
        for begin in range(0, len(texts), self.batch):
            ids, mask = self._prepare_text(texts[begin : begin + self.batch])
            parts.append(unit_rows(text.embed(self._text_inputs(ids, mask)), text.path))
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def patch_tokens(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (T, H, W, 3), T at least 1, to float32 (T, N, D): N patches, row by row, without class token.

        In the tower's own width, neither projected nor normalised. Raises WeightsError where the export has none.
        """
        if len(images) == 0:
            raise InputError("patch tokens need at least one frame")
        tokens = np.concatenate([self._vision.tokens({"pixel_values": pixels}) for pixels in self._prepared(images)])
        return tokens[:, tokens.shape[1] - self._patches(tokens.shape[1]) :]

    def encode_text_tokens(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """L sentences, at least one, to token vectors float32 (L, N, D) and a mask (L, N), false at padding.

        In the tower's own width, neither projected nor normalised. Raises WeightsError where the export has none.
        """
        if not texts:
            raise InputError("token vectors need at least one text")
        ids, mask = self._prepare_text(texts, full=True)
        parts = [
            self._text.tokens(self._text_inputs(ids[begin : begin + self.batch], mask[begin : begin + self.batch]))
            for begin in range(0, len(ids), self.batch)
        ]
        return np.concatenate(parts), mask.astype(bool)

    @cached_property
    def _vision(self) -> Tower:
        tower = self._open(self.files.vision, "image_embeds")
        if set(tower.inputs) != {"pixel_values"}:
            raise WeightsError(
                f"{tower.path} takes {', '.join(tower.inputs)}; known here are exports of one fixed resolution, "
                "which take pixel_values alone"
            )
        expected, made = tower.inputs["pixel_values"].shape[2:], self._prepare_frame.output
        if any(isinstance(a, int) and a != b for a, b in zip(expected, made, strict=True)):
            raise WeightsError(f"{tower.path} takes frames of {expected}, but {self.files.processor} makes {made}")
        return tower

    @cached_property
    def _text(self) -> Tower:
        tower = self._open(self.files.text, "text_embeds")
        if "input_ids" not in tower.inputs or set(tower.inputs) - _TEXT_INPUTS:
            raise WeightsError(
                f"{tower.path} takes {', '.join(tower.inputs)}; known here are {', '.join(sorted(_TEXT_INPUTS))}"
            )
        return tower

    def _open(self, path: Path, embedding: str) -> Tower:
        """SigLIP's vectors are its pooled ones; elsewhere those would still lack their projection."""
        pooled = str(self._config.get("model_type", "")).startswith("siglip")
        embeddings = (embedding, "pooler_output") if pooled else (embedding,)
        return Tower(path, embeddings, self._threads, self._providers)

    @cached_property
    def _prepare_text(self) -> TextPreparation:
        length = self._text.inputs["input_ids"].shape[1]
        return TextPreparation(
            self.files.folder,
            fixed_length=length if isinstance(length, int) else None,
            takes_mask="attention_mask" in self._text.inputs,
        )

    def _text_inputs(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        return {
            "input_ids": ids,
            "attention_mask": mask if self._prepare_text.shows_padding else np.ones_like(mask),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
            "token_type_ids": np.zeros_like(ids),
        }

    def _prepared(self, images: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.float32]]:
        """Batches of pixels (B, 3, h, w); while the model works on one, the next is being prepared."""
        check_frames(images)
        ends = [*range(0, len(images), self.batch), len(images)]
        begun: list[Future[npt.NDArray[np.float32]]] = []
        for begin, end in pairwise(ends):
            ready = begun or self._begin(images[begin:end])
            begun = self._begin(images[end : end + self.batch])
            yield np.stack([future.result() for future in ready])

    def _begin(self, images: npt.NDArray[np.uint8]) -> list[Future[npt.NDArray[np.float32]]]:
        return [self._pool.submit(self._prepare_frame, image) for image in images]

    def _patches(self, tokens: int) -> int:
        """How many of a frame's tokens are patches; those of class and register stand before them."""
        patch = self._config.get("vision_config", {}).get("patch_size")
        height, width = self._prepare_frame.output
        patches = (height // patch) * (width // patch) if isinstance(patch, int) else math.isqrt(tokens) ** 2
        if patches > tokens:
            raise WeightsError(f"{self.files.vision} gives {tokens} tokens; its config promises {patches} patches")
        return patches


@dataclass(frozen=True)
class Int8Comparison:
    """int8 files beside the full ones on the same frames: cosine of their vectors, frames a second of each."""

    frames: int
    cosine_mean: float
    cosine_least: float
    frames_a_second: float
    frames_a_second_int8: float


def compare_int8(name_or_folder: str, images: npt.NDArray[np.uint8], *, threads: int = 0) -> Int8Comparison:
    """How far a model's int8 files stray from its full ones on ``images``, uint8 (T, H, W, 3), T at least 1."""
    if len(images) == 0:
        raise InputError("a comparison needs at least one frame")
    vectors, speeds = [], []
    for int8 in (False, True):
        encoder = OnnxEncoder.load(name_or_folder, threads=threads, int8=int8)
        encoder.encode_frames(images[:1])
        begin = perf_counter()
        vectors.append(encoder.encode_frames(images))
        speeds.append(len(images) / (perf_counter() - begin))
    cosines = np.einsum("td,td->t", *vectors)
    return Int8Comparison(len(images), float(cosines.mean()), float(cosines.min()), *speeds)


class Tower:
    """One ONNX session: what it takes, which output is the embedding, and how it is run."""

    def __init__(self, path: Path, embeddings: Sequence[str], threads: int, providers: Sequence[str]) -> None:
        self.path = path
        self._session = _open_session(path, threads, providers)
        self.inputs = {value.name: value for value in self._session.get_inputs()}
        outputs = {value.name: value for value in self._session.get_outputs()}
        chosen = next((name for name in embeddings if name in outputs), None)
        if chosen is None:
            raise WeightsError(f"{path} gives {', '.join(outputs)}, but not {' or '.join(embeddings)}")
        strange = [f"{value.name} as {value.type}" for value in self.inputs.values() if value.type not in _TYPES]
        if strange:
            raise WeightsError(f"{path} takes {', '.join(strange)}; known here are {', '.join(_TYPES)}")
        self._embedding = chosen
        self._has_tokens = "last_hidden_state" in outputs
        width, batch = outputs[chosen].shape[-1], next(iter(self.inputs.values())).shape[0]
        self.dim = width if isinstance(width, int) else None
        self._fixed_batch = batch if isinstance(batch, int) else None

    def embed(self, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """(B, dim); inputs that the export does not take are left out."""
        return self.run(self._embedding, inputs)

    def tokens(self, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """(B, N, D)"""
        if not self._has_tokens:
            raise WeightsError(f"{self.path} gives no last_hidden_state, so there are no token vectors")
        return self.run("last_hidden_state", inputs)

    def run(self, output: str, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """One output by its name, (B, …), in float32."""
        feed = {name: inputs[name].astype(_TYPES[value.type], copy=False) for name, value in self.inputs.items()}
        rows = len(next(iter(feed.values())))
        size = self._fixed_batch or rows
        parts = []
        for begin in range(0, rows, size):
            kept = np.minimum(np.arange(begin, begin + size), rows - 1)  # a last, short batch repeats its last row
            part = feed if size == rows else {name: array[kept] for name, array in feed.items()}
            parts.append(self._result(output, part))
        return np.concatenate(parts)[:rows]

    def _result(self, output: str, feed: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        try:
            return np.asarray(self._session.run([output], feed)[0], np.float32)
        except Exception as error:  # the library's exceptions share no base of their own
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            raise WeightsError(f"{self.path} does not work on {shapes}: {error}") from error


def _needed(ending: str) -> tuple[str, ...]:
    towers = (f"*vision_model{ending}.onnx", f"*text_model{ending}.onnx")
    return (*towers, "config.json", "tokenizer.json", "*processor_config.json")


def _first_of(folder: Path, *names: str) -> Path:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise WeightsError(f"{folder} is incomplete: it has no {' and no '.join(names)}")
    return path


def available_providers(providers: Sequence[str] | None) -> list[str]:
    """Those asked for, the CPU where none are; InputError where one is not of this machine."""
    if providers is None:
        return ["CPUExecutionProvider"]
    from onnxruntime import get_available_providers

    missing = [name for name in providers if name not in get_available_providers()]
    if missing or not providers:
        raise InputError(
            f"no execution provider {', '.join(missing) or 'is named'} here; there are: "
            f"{', '.join(get_available_providers())}"
        )
    return list(providers)


def _open_session(path: Path, threads: int, providers: Sequence[str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores away from the decoder beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # the library's exceptions share no base of their own
        raise WeightsError(f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {error}") from error


def unit_rows(vectors: npt.NDArray[np.float32], path: Path) -> npt.NDArray[np.float32]:
    """Rows of length 1; WeightsError, blaming the model's file, where one has no direction."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise WeightsError(f"{path} gave a vector without direction (zero, infinite or not a number)")
    return np.asarray(vectors / lengths, np.float32)
