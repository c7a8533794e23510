"""What a dual encoder's towers are fed: frames as pixels, sentences as token ids, from the model folder's own files.

Frames are prepared as transformers' PIL image processors do it, to the bit; sentences as its tokenizers do it, from
``tokenizer.json``, with the padding and the length that the model was trained on.
"""

from __future__ import annotations

import json
import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from saccade.errors import InputError, WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CLIP_FRAMES: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": Image.Resampling.BICUBIC,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
FRAME_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": _CLIP_FRAMES,
    "siglip": _CLIP_FRAMES
    | {
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
    },
}
"""What a preprocessor's config may leave out, by the beginning of its class's name in lower case."""

TEXT_LENGTHS = {"clip": 77, "siglip": 64}
"""Tokens that a text tower reads where its configs do not say, by the beginning of the model's type."""

_LONGEST_RESIZED = 16_384
_LOWER_CASED = ("Siglip2Tokenizer", "GemmaTokenizer")
_CLASS_PADDING = {
    "CLIPTokenizer": ("<|endoftext|>", "right"),
    "SiglipTokenizer": ("</s>", "right"),
    "Siglip2Tokenizer": ("<pad>", "left"),
    "GemmaTokenizer": ("<pad>", "left"),
}
_NO_LENGTH = 1_000_000
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, eq=False)
class FramePreparation:
    """One frame to the pixels that a vision tower expects: resize, centre crop, rescale, normalise.

    ``resize`` is (height, width), or one number for the shortest edge; ``crop`` is (height, width) or None.
    ``levels`` is float32 (3, 256): what each of a channel's 256 levels becomes, so that the reference's
    arithmetic is done once and its rounding kept.
    """

    resize: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    levels: npt.NDArray[np.float32]

    @classmethod
    def read(cls, path: Path, model_type: str = "") -> FramePreparation:
        """From a preprocessor's config; what it leaves out is as its class in transformers has it.

        Raises WeightsError where frames are prepared in a way that is not known here.
        """
        written = read_json(path)
        written = written.get("image_processor", written)
        kind = str(written.get("image_processor_type") or written.get("feature_extractor_type") or model_type)
        family = next((name for name in FRAME_DEFAULTS if kind.lower().startswith(name)), None)
        if family is None or kind.startswith("Siglip2Image") or written.get("do_pad"):
            raise WeightsError(
                f"{path}: frames are prepared by {kind or 'an unnamed class'}{' and padded' if family else ''}; "
                "known here are the processors of CLIP and SigLIP, of one fixed resolution (SigLIP 2: not naflex)"
            )
        settings = FRAME_DEFAULTS[family] | {key: value for key, value in written.items() if value is not None}
        preparation = cls(
            _read_size(settings["size"], path) if settings["do_resize"] else None,
            int(settings["resample"]),
            _read_crop(settings["crop_size"], path) if settings["do_center_crop"] else None,
            _levels(settings),
        )
        if preparation.crop is None and not isinstance(preparation.resize, tuple):
            raise WeightsError(f"{path}: frames are neither cropped nor resized to one size, so they form no batch")
        return preparation

    @property
    def output(self) -> tuple[int, int]:
        """(height, width) of what comes out."""
        size = self.crop or self.resize
        assert isinstance(size, tuple)
        return size

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (H, W, 3) to float32 (3, h, w)."""
        image = self._cropped(self._resized(image))
        pixels = np.empty((3, *image.shape[:2]), np.float32)
        for channel in range(3):
            np.take(self.levels[channel], image[:, :, channel], out=pixels[channel], mode="clip")
        return pixels

    def _resized(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self.resize is None:
            return image
        height, width = self.resize if isinstance(self.resize, tuple) else _shortest_edge(image, self.resize)
        picture = Image.fromarray(image)
        if max(height, width) > _LONGEST_RESIZED and self.crop is not None:
            return self._resized_centre(picture, (height, width), self.crop)
        return np.asarray(picture.resize((width, height), Image.Resampling(self.resample)))

    def _resized_centre(
        self, picture: Image.Image, size: tuple[int, int], crop: tuple[int, int]
    ) -> npt.NDArray[np.uint8]:
        """Of a ribbon, which could fill the memory once resized, only what the crop keeps, within one level."""
        (height, width), (kept_height, kept_width) = size, (min(crop[0], size[0]), min(crop[1], size[1]))
        top, left = (height - kept_height) // 2, (width - kept_width) // 2
        down, across = picture.height / height, picture.width / width
        box = (left * across, top * down, (left + kept_width) * across, (top + kept_height) * down)
        return np.asarray(picture.resize((kept_width, kept_height), Image.Resampling(self.resample), box=box))

    def _cropped(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The centre; where the image is smaller, black stands around it, the odd row or column before it."""
        if self.crop is None:
            return image
        height, width = self.crop
        below, beside = max(0, height - image.shape[0]), max(0, width - image.shape[1])
        if below or beside:
            image = np.pad(image, ((-(-below // 2), below // 2), (-(-beside // 2), beside // 2), (0, 0)))
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return image[top : top + height, left : left + width]


class TextPreparation:
    """Sentences to token ids and a mask, padded and cut as the model was trained.

    A model that is shown where padding is takes as little of it as a batch needs; any other, and every SigLIP,
    which reads its answer off the last place, gets the full length.
    """

    def __init__(self, folder: Path, *, fixed_length: int | None = None, takes_mask: bool = True) -> None:
        config, written = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json", absent={})
        self._kind = str(written.get("tokenizer_class", "")).removesuffix("Fast")
        siglip = str(config.get("model_type", "")).startswith("siglip")
        names = written.get("model_input_names") or ["input_ids", *([] if self._is_siglip_1 else ["attention_mask"])]
        self.shows_padding = takes_mask and "attention_mask" in names
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json", lower_case=siglip and self._kind in _LOWER_CASED)
        self._pad, self._pads_left = _read_padding(folder, config, written, self._tokenizer, self._kind)
        self.length = fixed_length or _read_length(folder, config, written, self._tokenizer)
        self._always_full = siglip or fixed_length is not None or not self.shows_padding
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.length)

    def __call__(
        self, texts: Sequence[str], *, full: bool = False
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Token ids and mask, both int64 (L, N), the mask 0 at padding; N is ``length`` if ``full``."""
        encodings = self._tokenizer.encode_batch([self._cleaned(text) for text in texts])
        rows = [encoding.ids for encoding in encodings]
        width = self.length if full or self._always_full else max(map(len, rows), default=0)
        ids = np.full((len(rows), width), self._pad, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if self._pads_left else slice(0, len(row))
            ids[index, place], mask[index, place] = row, 1
        return ids, mask

    @property
    def _is_siglip_1(self) -> bool:
        return self._kind == "SiglipTokenizer"

    def _cleaned(self, text: str) -> str:
        """Without lone surrogates; for SigLIP 1, whose tokenizer does it in Python, also without punctuation."""
        text = text.encode("utf-8", "replace").decode()
        if not self._is_siglip_1:
            return text
        return re.sub(r"\s+", " ", text.lower().translate(_NO_PUNCTUATION)).strip()


def cores() -> int:
    """How many this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_frames(images: npt.NDArray[np.uint8]) -> None:
    """InputError unless these are frames, uint8 (T, H, W, 3) with H and W at least 1."""
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise InputError(f"frames are uint8 (T, H, W, 3), got {images.dtype} {images.shape}")


def read_json(path: Path, *, absent: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in a JSON file; ``absent`` where there is no such file and it is given, else WeightsError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise WeightsError(f"{path} is missing") from None
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no JSON object")
    return content


def _read_size(size: Any, path: Path) -> tuple[int, int] | int:
    if isinstance(size, int):
        return size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    raise WeightsError(f"{path}: frames are resized by a rule that is not known here: {size}")


def _read_crop(size: Any, path: Path) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    raise WeightsError(f"{path}: frames are cropped by a rule that is not known here: {size}")


def _levels(settings: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The reference's arithmetic on each level: scaled in float64, rounded to float32, then normalised there."""
    scale = float(settings["rescale_factor"]) if settings["do_rescale"] else 1.0
    levels = np.tile((np.arange(256, dtype=np.float64) * scale).astype(np.float32), (3, 1))
    if settings["do_normalize"]:
        mean, deviation = (
            np.broadcast_to(np.asarray(settings[key], np.float32), 3) for key in ("image_mean", "image_std")
        )
        levels = (levels - mean[:, None]) / deviation[:, None]
    return levels


def _shortest_edge(image: npt.NDArray[np.uint8], shortest: int) -> tuple[int, int]:
    """(height, width) with the shortest edge as asked and the other cut to a whole number."""
    height, width = image.shape[:2]
    longest = int(shortest * max(height, width) / min(height, width))
    return (longest, shortest) if width <= height else (shortest, longest)


def _read_tokenizer(path: Path, *, lower_case: bool) -> Tokenizer:
    from tokenizers import Tokenizer, normalizers

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise WeightsError(f"{path} cannot be read as a tokenizer: {error}") from error
    if lower_case:
        own = tokenizer.normalizer
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
    return tokenizer


def _read_padding(
    folder: Path, config: dict[str, Any], written: dict[str, Any], tokenizer: Tokenizer, kind: str
) -> tuple[int, bool]:
    """The padding's token id, and whether it stands before the text."""
    own = tokenizer.padding or {}
    special = read_json(folder / "special_tokens_map.json", absent={})
    usual_token, usual_side = _CLASS_PADDING.get(kind, (None, "right"))
    token = written.get("pad_token") or special.get("pad_token") or own.get("pad_token") or usual_token
    if isinstance(token, dict):
        token = token["content"]
    side = written.get("padding_side") or own.get("direction") or usual_side
    number = tokenizer.token_to_id(token) if token else config.get("text_config", {}).get("pad_token_id")
    if number is None:
        raise WeightsError(f"{folder}: neither tokenizer_config.json nor tokenizer.json names a padding token")
    return int(number), side == "left"


def _read_length(folder: Path, config: dict[str, Any], written: dict[str, Any], tokenizer: Tokenizer) -> int:
    """Tokens that the text tower reads: the least of what the files say."""
    said = [
        written.get("model_max_length"),
        config.get("text_config", {}).get("max_position_embeddings"),
        (tokenizer.truncation or {}).get("max_length"),
    ]
    model_type = str(config.get("model_type", ""))
    if said[1] is None:
        said.append(next((length for name, length in TEXT_LENGTHS.items() if model_type.startswith(name)), None))
    lengths = [int(length) for length in said if length is not None and length < _NO_LENGTH]
    if not lengths:
        raise WeightsError(f"{folder}: neither config.json nor tokenizer_config.json says how long a text may be")
    return min(lengths)
