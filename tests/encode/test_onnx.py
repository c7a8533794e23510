"""The ONNX encoder beside transformers itself, on tiny models with random weights made here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saccade.encode import load_encoder
from saccade.encode.onnx import OnnxEncoder, compare_int8
from saccade.encode.prepare import FramePreparation
from saccade.errors import InputError, WeightsError

SIZES = [(32, 32), (33, 47), (500, 20), (20, 500), (5, 7), (1, 1), (64, 64), (180, 320), (31, 32), (1, 60)]
TEXTS = [
    "a dog runs on the beach",
    "She opens the RED door!",
    "",
    "  two   spaces\tand a tab ",
    "문을 여는 여자, 10:30",
    "word " * 200,
    "ΑΣ İstanbul ẞ 😀 \u200b",
    "<|endoftext|> a man",
]
FAMILIES = ["clip", "siglip", "siglip2"]


@pytest.fixture(scope="module")
def models(need: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    need("torch"), need("transformers")
    import tiny_models

    folder = tmp_path_factory.mktemp("families")
    return {family: getattr(tiny_models, f"tiny_{family}")(folder / family) for family in FAMILIES}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, models: dict[str, Any]) -> tuple[Any, OnnxEncoder]:
    tiny = models[request.param]
    return tiny, OnnxEncoder.load(str(tiny.folder), threads=1)


@pytest.fixture
def copied(models: dict[str, Any], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a model's folder, to be damaged."""
    return lambda family: Path(shutil.copytree(models[family].folder, tmp_path / family))


def frames(count: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Frames that differ: noise of several coarsenesses."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width])


def reference(output: Any) -> npt.NDArray[np.float32]:
    """transformers' features, normalised."""
    import torch

    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return torch.nn.functional.normalize(features, dim=-1).numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_frames_equal_transformers(pair: tuple[Any, OnnxEncoder], size: tuple[int, int]) -> None:
    import torch

    tiny, encoder = pair
    images = frames(3, *size)
    pixels = tiny.images(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    np.testing.assert_array_equal(np.stack([encoder._prepare_frame(image) for image in images]), pixels.numpy())
    with torch.no_grad():
        expected = reference(tiny.model.get_image_features(pixel_values=pixels))
    np.testing.assert_allclose(encoder.encode_frames(images), expected, atol=1e-4)


def test_text_equals_transformers(pair: tuple[Any, OnnxEncoder]) -> None:
    import torch

    tiny, encoder = pair
    tokenizer = tiny.tokenizer.__class__.from_pretrained(tiny.folder)
    inputs = tokenizer(TEXTS, return_tensors="pt", **tiny.text_padding)
    with torch.no_grad():
        expected = reference(tiny.model.get_text_features(**inputs))
    ids, _ = encoder._prepare_text(TEXTS)
    np.testing.assert_array_equal(ids, inputs["input_ids"].numpy())
    np.testing.assert_allclose(encoder.encode_text(TEXTS), expected, atol=1e-4)


def test_batch_equals_single(pair: tuple[Any, OnnxEncoder]) -> None:
    tiny, encoder = pair
    images = frames(5, 40, 50)
    small = OnnxEncoder.load(str(tiny.folder), threads=1, batch=2)
    np.testing.assert_allclose(small.encode_frames(images), encoder.encode_frames(images), atol=1e-5)
    singles = np.concatenate([small.encode_frames(image[None]) for image in images])
    np.testing.assert_allclose(singles, encoder.encode_frames(images), atol=1e-5)
    np.testing.assert_allclose(small.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-5)
    singles = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    np.testing.assert_allclose(singles, encoder.encode_text(TEXTS), atol=1e-5)


def test_vectors_are_float32_of_length_one_and_differ(pair: tuple[Any, OnnxEncoder]) -> None:
    _, encoder = pair
    vectors = encoder.encode_frames(frames(4, 48, 64))
    assert vectors.dtype == np.float32 and vectors.shape == (4, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T)[np.triu_indices(4, 1)].max() < 0.9999
    text = encoder.encode_text(TEXTS)
    assert text.dtype == np.float32 and text.shape == (len(TEXTS), encoder.dim)
    assert encoder.encode_frames(frames(0, 8, 8)).shape == encoder.encode_text([]).shape == (0, encoder.dim)


def test_tokens_equal_transformers(pair: tuple[Any, OnnxEncoder]) -> None:
    import torch

    tiny, encoder = pair
    images = frames(3, 64, 64)
    pixels = tiny.images(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    with torch.no_grad():
        expected = tiny.model.vision_model(pixel_values=pixels).last_hidden_state.numpy()[:, -16:]
    np.testing.assert_allclose(encoder.patch_tokens(images), expected, atol=1e-4)

    inputs = tiny.tokenizer(TEXTS, return_tensors="pt", **tiny.text_padding)
    with torch.no_grad():
        expected = tiny.model.text_model(**inputs).last_hidden_state.numpy()
    tokens, mask = encoder.encode_text_tokens(TEXTS)
    length = expected.shape[1]
    kept = mask[:, :length, None]
    assert mask.dtype == bool and mask.any(axis=1).all() and tokens.shape[:2] == mask.shape
    np.testing.assert_allclose(tokens[:, :length] * kept, expected * kept, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_an_export_of_one_batch_size_takes_any_number(
    models: dict[str, Any], copied: Callable[[str], Path], rows: int
) -> None:
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    folder = copied("clip")
    path = folder / "onnx" / "vision_model.onnx"
    model = onnx.load(path)
    fixed = update_inputs_outputs_dims(
        model, {"pixel_values": [2, 3, 32, 32]}, {"image_embeds": [2, 24], "last_hidden_state": [2, 17, 32]}
    )
    onnx.save(fixed, path)
    images = frames(rows, 40, 40)
    expected = load_encoder(str(models["clip"].folder)).encode_frames(images)
    np.testing.assert_allclose(load_encoder(str(folder)).encode_frames(images), expected, atol=1e-5)


def test_identity_follows_the_frames_vectors(models: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("clip")
    name = load_encoder(str(folder)).name
    assert name == load_encoder(str(models["clip"].folder)).name and name.startswith("clip@")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resample": 2}))
    assert load_encoder(str(folder)).name != name


def test_int8_is_taken_only_on_request(copied: Callable[[str], Path]) -> None:
    from tiny_models import quantise

    folder = copied("clip")
    with pytest.raises(WeightsError, match=r"no vision_model_quantized\.onnx"):
        load_encoder(str(folder), int8=True)
    quantise(folder)
    full, small = load_encoder(str(folder)), load_encoder(str(folder), int8=True)
    assert small.files.vision.name == "vision_model_quantized.onnx" and "-int8@" in small.name
    assert full.files.vision.name == "vision_model.onnx" and full.name != small.name
    comparison = compare_int8(str(folder), frames(6, 48, 64))
    assert comparison.frames == 6 and 0.9 < comparison.cosine_least <= comparison.cosine_mean < 1


@pytest.mark.parametrize(
    "name",
    ["onnx/vision_model.onnx", "onnx/text_model.onnx", "tokenizer.json", "config.json", "preprocessor_config.json"],
)
def test_what_is_missing_is_named(copied: Callable[[str], Path], name: str) -> None:
    folder = copied("clip")
    (folder / name).unlink()
    missing = Path(name).name.removeprefix("pre")
    with pytest.raises(WeightsError, match=missing):
        load_encoder(str(folder))


def test_damaged_files_are_clear_errors(copied: Callable[[str], Path]) -> None:
    folder = copied("clip")
    (folder / "onnx" / "vision_model.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"vision_model\.onnx cannot be loaded"):
        load_encoder(str(folder)).encode_frames(frames(1, 8, 8))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer\.json cannot be read"):
        load_encoder(str(folder)).encode_text(["a"])
    (folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"config\.json holds no JSON object"):
        load_encoder(str(folder))


def test_towers_that_were_swapped_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("clip")
    shutil.copy(folder / "onnx" / "text_model.onnx", folder / "onnx" / "vision_model.onnx")
    with pytest.raises(WeightsError, match="gives text_embeds, last_hidden_state, but not image_embeds"):
        load_encoder(str(folder)).encode_frames(frames(1, 8, 8))


def test_vectors_without_their_projection_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("siglip")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(WeightsError, match="gives pooler_output, last_hidden_state, but not image_embeds"):
        load_encoder(str(folder)).encode_frames(frames(1, 8, 8))


def test_files_that_contradict_each_other_are_clear_errors(copied: Callable[[str], Path]) -> None:
    folder = copied("siglip")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"height": 40, "width": 40}}))
    with pytest.raises(WeightsError, match=r"takes frames of \[32, 32\], but .* makes \(40, 40\)"):
        load_encoder(str(folder)).encode_frames(frames(1, 8, 8))
    state = json.loads((folder / "tokenizer.json").read_text())
    state["post_processor"]["special_tokens"]["</s>"]["ids"] = [100_000]
    (folder / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(WeightsError, match=r"text_model\.onnx does not work on input_ids"):
        load_encoder(str(folder)).encode_text(["a dog"])


def test_half_precision_serves_where_there_is_nothing_else(
    models: dict[str, Any], copied: Callable[[str], Path]
) -> None:
    from tiny_models import halve

    folder = copied("clip")
    halve(models["clip"].model, folder)
    encoder, full = load_encoder(str(folder)), load_encoder(str(models["clip"].folder))
    assert encoder.name.startswith("clip-fp16@")
    images = frames(3, 40, 40)
    np.testing.assert_allclose(encoder.encode_frames(images), full.encode_frames(images), atol=5e-3)
    np.testing.assert_allclose(encoder.encode_text(TEXTS), full.encode_text(TEXTS), atol=5e-3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 0, 8, 3), np.uint8),
    ],
    ids=lambda images: f"{images.dtype}{images.shape}",
)
def test_wrong_frames_are_refused(tiny_clip: Path, images: Any) -> None:
    with pytest.raises(InputError, match="uint8"):
        load_encoder(str(tiny_clip)).encode_frames(images)


def test_wrong_options_are_refused(tiny_clip: Path) -> None:
    with pytest.raises(InputError, match="CPUExecutionProvider"):
        load_encoder(str(tiny_clip), providers=["NoSuchProvider"])
    with pytest.raises(InputError, match="batch"):
        load_encoder(str(tiny_clip), batch=0)
    assert load_encoder(str(tiny_clip), providers=["CPUExecutionProvider"], threads=1).dim == 24


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_processor_type": "DonutImageProcessor"}, "prepared by DonutImageProcessor"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "naflex"),
        ({"do_pad": True}, "and padded"),
        ({"size": {"longest_edge": 32}}, "resized by a rule"),
        ({"do_center_crop": False}, "form no batch"),
    ],
)
def test_unknown_preparations_are_refused(
    models: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    written = json.loads((models["clip"].folder / "preprocessor_config.json").read_text())
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(written | changes))
    with pytest.raises(WeightsError, match=message):
        FramePreparation.read(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 24, "crop_size": 32},
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 27}, "resample": 2},
        {"size": {"height": 30, "width": 41}, "do_center_crop": False, "do_normalize": False},
        {"do_rescale": False, "crop_size": 16, "size": 16, "image_mean": 120.0, "image_std": [60.0, 61.0, 62.0]},
        {"do_resize": False, "crop_size": 25, "rescale_factor": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(19, 40), (64, 31), (26, 26)], ids=str)
def test_other_settings_equal_transformers_too(
    need: Any, tmp_path: Path, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    need("transformers")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    written = {"image_processor_type": "CLIPImageProcessor"} | settings
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    (image,) = frames(1, *size)
    expected = processor(image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    mine = FramePreparation.read(tmp_path / "preprocessor_config.json")(image)
    np.testing.assert_array_equal(mine, expected)


def test_a_processor_inside_a_processor_config_is_read(copied: Callable[[str], Path], models: dict[str, Any]) -> None:
    folder = copied("siglip")
    nested = {"image_processor": json.loads((folder / "preprocessor_config.json").read_text())}
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps(nested))
    images = frames(1, 40, 60)
    expected = load_encoder(str(models["siglip"].folder)).encode_frames(images)
    np.testing.assert_array_equal(load_encoder(str(folder)).encode_frames(images), expected)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def test_siglip_2_as_the_hub_describes_it(models: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("siglip2")
    # Sparse configs, a length without meaning, and a tokenizer that leaves lower case to its class.
    rewrite(folder / "config.json", lambda config: config["text_config"].pop("max_position_embeddings"))
    gemma = {"tokenizer_class": "GemmaTokenizer", "do_lower_case": True, "model_max_length": 10**30}
    rewrite(folder / "tokenizer_config.json", lambda config: config.update(gemma))
    rewrite(folder / "tokenizer.json", lambda state: state["normalizer"]["normalizers"].pop(0))
    expected = load_encoder(str(models["siglip2"].folder)).encode_text(TEXTS)
    np.testing.assert_array_equal(load_encoder(str(folder)).encode_text(TEXTS), expected)


def test_clip_as_its_oldest_files_describe_it(models: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("clip")
    old = {"crop_size": 32, "size": 32, "resample": 3, "feature_extractor_type": "CLIPFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<|endoftext|>"}}))
    rewrite(folder / "config.json", lambda config: config["text_config"].pop("max_position_embeddings"))
    full, encoder = load_encoder(str(models["clip"].folder)), load_encoder(str(folder))
    images = frames(2, 50, 70)
    np.testing.assert_array_equal(encoder.encode_frames(images), full.encode_frames(images))
    np.testing.assert_allclose(encoder.encode_text(TEXTS), full.encode_text(TEXTS), atol=1e-6)


def test_a_ribbon_does_not_fill_the_memory(tiny_clip: Path) -> None:
    encoder = OnnxEncoder.load(str(tiny_clip))
    ribbon = np.tile(frames(1, 2, 2000), (1, 1, 10, 1))
    middle = encoder._prepare_frame(ribbon[0])
    # 32 of the 320,000 columns that the whole would be resized to: two source pixels' worth.
    assert middle.shape == (3, 32, 32) and np.isfinite(middle).all()
    assert encoder.encode_frames(ribbon).shape == (1, 24)


def test_hub_layout_in_the_local_cache_needs_no_network(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "89abcdef" * 5
    repository = tmp_path / "models--maker--tiny"
    shutil.copytree(models["siglip2"].folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    encoder = load_encoder("maker/tiny", download=True)
    assert encoder.name == "maker/tiny@89abcdef" and encoder.dim == 32


def test_loading_is_lazy_and_a_search_needs_one_tower(tiny_clip: Path) -> None:
    code = (
        "import sys; from saccade.encode import load_encoder; encoder = load_encoder(sys.argv[1]); "
        "assert not {'onnxruntime', 'tokenizers'} & set(sys.modules); "
        "encoder.encode_text(['a dog']); encoder.dim; assert '_vision' not in vars(encoder); "
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_clip)], check=True)
