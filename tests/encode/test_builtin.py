"""The built-in encoder: its two sides, its name, its files; and that words alone load no ONNX Runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.encode import BUILTIN, load_encoder, place_of, sentence_encoder
from saccade.encode.builtin import BuiltinEncoder
from saccade.encode.text_features import text_features
from saccade.errors import InputError, WeightsAltered, WeightsError

TEXTS = ("a dog runs on the beach", "해변을 달리는 개", "red", "", "  ", "ᚠᛇᚻ", "\ud800", "word " * 2000)


@pytest.fixture(scope="module")
def eyes(tiny_builtin: Path) -> BuiltinEncoder:
    found = load_encoder(str(tiny_builtin), batch=4)
    assert isinstance(found, BuiltinEncoder)
    return found


@pytest.fixture
def copied(tiny_builtin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_builtin, tmp_path / "copied"))


def pictures(count: int, height: int = 48, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 4, 11])
def test_frames_become_rows_of_length_one(eyes: BuiltinEncoder, count: int) -> None:
    vectors = eyes.encode_frames(pictures(count))
    assert vectors.shape == (count, eyes.dim) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_a_batch_is_as_good_as_one_by_one(eyes: BuiltinEncoder) -> None:
    images = pictures(7)
    alone = np.concatenate([eyes.encode_frames(image[None]) for image in images])
    assert np.allclose(eyes.encode_frames(images), alone, atol=1e-5)


def test_the_whole_frame_is_squashed(eyes: BuiltinEncoder) -> None:
    image = pictures(1, 90, 160)[0]
    square = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.allclose(eyes.encode_frames(image[None]), eyes.encode_frames(square[None]), atol=1e-6)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (700, 3), (32, 32)])
def test_any_shape_will_do(eyes: BuiltinEncoder, height: int, width: int) -> None:
    assert eyes.encode_frames(pictures(2, height, width)).shape == (2, eyes.dim)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3)), np.zeros((1, 0, 8, 3), "u1")]
)
def test_what_are_no_frames_is_refused(eyes: BuiltinEncoder, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        eyes.encode_frames(images)


def test_any_text_becomes_a_row_of_length_one(eyes: BuiltinEncoder) -> None:
    vectors = eyes.encode_text(TEXTS)
    assert vectors.shape == (len(TEXTS), eyes.dim) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert eyes.encode_text([]).shape == (0, eyes.dim)
    assert np.allclose(vectors[0], eyes.encode_text(TEXTS[:1])[0], atol=1e-5)


def test_the_text_head_is_torchs(tiny_builtin: Path, need) -> None:
    torch = need("torch")
    features = text_features(TEXTS, sentence_encoder())
    stored = np.load(tiny_builtin / "text.npz").items()
    arrays = {name: torch.from_numpy(array.astype("f4")) for name, array in stored if name != "config"}
    functional = torch.nn.functional
    hidden = functional.gelu(torch.from_numpy(features) @ arrays["w1"] + arrays["b1"], approximate="tanh")
    expected = functional.normalize(hidden @ arrays["w2"] + arrays["b2"], dim=1).numpy()
    assert np.allclose(BuiltinEncoder(tiny_builtin).encode_text(TEXTS), expected, atol=1e-5)


def test_patch_tokens_average_to_the_frame(eyes: BuiltinEncoder) -> None:
    images = pictures(5)
    tokens = eyes.patch_tokens(images)
    assert tokens.shape == (5, 16, eyes.dim) and tokens.dtype == np.float32
    means = tokens.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.allclose(means, eyes.encode_frames(images), atol=1e-4)
    with pytest.raises(InputError):
        eyes.patch_tokens(images[:0])


def test_patch_tokens_say_where(eyes: BuiltinEncoder) -> None:
    plain = np.zeros((1, 32, 32, 3), np.uint8)
    marked = plain.copy()
    marked[:, 8:16, 24:32] = 255
    moved = np.abs(eyes.patch_tokens(marked) - eyes.patch_tokens(plain)).sum(axis=2)[0]
    assert moved.argmax() == 1 * 4 + 3 and (moved > 1e-6).sum() == 1


def test_threads_are_as_many_as_the_cores_it_may_use(tiny_builtin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert BuiltinEncoder(tiny_builtin)._pool._max_workers == 3
    assert BuiltinEncoder(tiny_builtin, threads=2)._pool._max_workers == 2


def test_its_name_changes_with_a_byte(eyes: BuiltinEncoder, copied: Path, need) -> None:
    name, revision = BuiltinEncoder(copied).name.split("@")
    assert (name, revision) == ("copied", eyes.name.split("@")[1]) and len(revision) == 8
    stored = dict(np.load(copied / "text.npz"))
    np.savez(copied / "text.npz", **(stored | {"b2": stored["b2"] + np.float16(1)}))
    with pytest.raises(WeightsAltered):
        BuiltinEncoder(copied)
    need("tiny_builtin").write_sums(copied)
    assert BuiltinEncoder(copied).name != f"{name}@{revision}"


def test_sums_that_cannot_be_read_are_named(copied: Path) -> None:
    (copied / "SHA256SUMS").write_text("nothing\n")
    with pytest.raises(WeightsError, match="SHA256SUMS holds lines"):
        BuiltinEncoder(copied)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda folder: (folder / "tower.onnx").unlink(), "no tower.onnx"),
        (lambda folder: (folder / "text.npz").write_bytes(b"nothing"), "cannot be read"),
        (
            lambda folder: np.savez(folder / "text.npz", config='{"activation": "gelu"}', w1=0),
            "b1, b2, image_b, image_w, w2",
        ),
        (
            lambda folder: np.savez(folder / "text.npz", **{**dict(np.load(folder / "text.npz")), "config": "{}"}),
            "known activation",
        ),
        (lambda folder: np.savez(folder / "text.npz", config="no json"), "cannot be read"),
        (lambda folder: (folder / "tower.onnx").write_bytes(b"nothing"), "cannot be loaded"),
    ],
)
def test_damage_is_named(copied: Path, damage, sentence: str) -> None:
    (copied / "SHA256SUMS").unlink()
    damage(copied)
    with pytest.raises(WeightsError, match=sentence):
        BuiltinEncoder(copied).encode_frames(pictures(1))


def test_the_choice_of_an_encoder(tiny_builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / BUILTIN).mkdir()
    assert place_of(BUILTIN) == BUILTIN and place_of("./builtin") == str(tmp_path / BUILTIN)
    assert place_of("owner/name") == "owner/name"
    with pytest.raises(InputError, match="int8"):
        load_encoder(str(tiny_builtin), int8=True)
    with pytest.raises(InputError, match="provider"):
        load_encoder(str(tiny_builtin), providers=["NoSuchProvider"]).encode_frames(pictures(1))
    for wrong in ({"batch": 0}, {"threads": -1}):
        with pytest.raises(InputError):
            load_encoder(str(tiny_builtin), **wrong)


def test_words_alone_load_no_onnx_runtime(tiny_builtin: Path) -> None:
    code = (
        "import sys, json; from saccade.encode import load_encoder;"
        "found = load_encoder(sys.argv[1]).encode_text(['a dog']);"
        "print(json.dumps([found.shape[0], *(n for n in ('onnxruntime', 'PIL', 'av', 'torch') if n in sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code, tiny_builtin], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1]
