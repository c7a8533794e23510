"""Dual encoders with random weights, exported to ONNX in the hub's layout, for tests and benchmarks.

Needs torch, transformers and tokenizers; only tests and benchmarks import it.
"""

from __future__ import annotations

import copy
import json
import re
import string
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SENTENCES = (
    "a dog runs on the beach",
    "She opens the red door!",
    "a man sits down on a chair; it's 10:30",
    "문을 여는 여자",
    "the demo fails, again and again",
    "two cups of coffee on a wooden table",
)


@dataclass(frozen=True)
class Tiny:
    """A model as transformers has it, and the folder that it was exported to."""

    folder: Path
    model: Any
    tokenizer: Any
    images: Any
    text_padding: dict[str, Any]


def tiny_clip(folder: Path, *, seed: int = 0) -> Tiny:
    """CLIP: 32 px, patches of 8, 24 dimensions, byte-level BPE, texts of up to 77 tokens."""
    tower = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return _export_clip(folder, image=32, patch=8, vision=tower, text=tower, dim=24, seed=seed)


def clip_b32(folder: Path, *, seed: int = 0) -> Tiny:
    """CLIP of ViT-B/32's size, 224 px, 512 dimensions; with a small vocabulary, which costs no time."""
    layers = {"num_hidden_layers": 12}
    vision = layers | {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    text = layers | {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
    return _export_clip(folder, image=224, patch=32, vision=vision, text=text, dim=512, seed=seed)


def _export_clip(
    folder: Path, *, image: int, patch: int, vision: dict[str, int], text: dict[str, int], dim: int, seed: int
) -> Tiny:
    torch.manual_seed(seed)
    tokenizer = _clip_tokenizer()
    config = CLIPConfig(
        text_config=text
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=vision | {"image_size": image, "patch_size": patch},
        projection_dim=dim,
    )
    model = _livened(CLIPModel(config))
    images = CLIPImageProcessorPil(size={"shortest_edge": image}, crop_size={"height": image, "width": image})
    _save(folder, model, tokenizer, images)
    _export(_ClipVision(model), (torch.rand(2, 3, image, image),), folder / "onnx" / "vision_model.onnx", "image")
    ids = tokenizer(list(SENTENCES[:2]), padding=True, return_tensors="pt")
    arguments = (ids["input_ids"], ids["attention_mask"])
    _export(_ClipText(model), arguments, folder / "onnx" / "text_model.onnx", "text")
    return Tiny(folder, model, tokenizer, images, {"padding": True, "truncation": True})


def tiny_siglip(folder: Path, *, seed: int = 0) -> Tiny:
    """SigLIP: 32 px, patches of 8, 32 dimensions, a unigram tokenizer without punctuation, texts of 64 tokens."""
    tokenizer = _siglip_tokenizer()
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    return _export_siglip(folder, tokenizer, images, seed)


def tiny_siglip2(folder: Path, *, seed: int = 0) -> Tiny:
    """SigLIP 2 of fixed resolution: bilinear resizing, Gemma's kind of BPE in lower case, at the folder's root."""
    tokenizer = _siglip2_tokenizer()
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2)
    return _export_siglip(folder, tokenizer, images, seed, subfolder="")


def _export_siglip(folder: Path, tokenizer: Any, images: Any, seed: int, subfolder: str = "onnx") -> Tiny:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipConfig(
        text_config=shape
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "projection_size": 32,
        },
        vision_config=shape | {"image_size": 32, "patch_size": 8},
    )
    model = _livened(SiglipModel(config))
    _save(folder, model, tokenizer, images)
    if isinstance(tokenizer, PreTrainedTokenizerFast) and not isinstance(tokenizer, Siglip2Tokenizer):
        _rename_class(folder / "tokenizer_config.json", "SiglipTokenizer")
    place = folder / subfolder
    _export(_Siglip(model.vision_model), (torch.rand(2, 3, 32, 32),), place / "vision_model.onnx", "pooler")
    padding = {"padding": "max_length", "max_length": 64, "truncation": True}
    ids = tokenizer(list(SENTENCES[:2]), return_tensors="pt", **padding)["input_ids"]
    _export(_Siglip(model.text_model), (ids,), place / "text_model.onnx", "pooler")
    return Tiny(folder, model, tokenizer, images, padding)


class _ClipVision(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.tower(pixel_values=pixel_values)
        return self.projection(out.pooler_output), out.last_hidden_state


class _ClipText(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.tower(input_ids=input_ids, attention_mask=attention_mask)
        return self.projection(out.pooler_output), out.last_hidden_state


class _Siglip(torch.nn.Module):
    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.tower(inputs)
        return out.pooler_output, out.last_hidden_state


def _export(module: torch.nn.Module, arguments: tuple[Any, ...], path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    embedding = "pooler_output" if kind == "pooler" else f"{kind}_embeds"
    names = ["input_ids", "attention_mask"][: len(arguments)] if path.stem.startswith("text") else ["pixel_values"]
    axes = {0: "batch"} | ({1: "sequence"} if kind == "text" else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one, which is quick; it says so
        torch.onnx.export(
            module.eval(),
            arguments,
            str(path),
            input_names=names,
            output_names=[embedding, "last_hidden_state"],
            dynamic_axes=dict.fromkeys(names, axes) | {embedding: {0: "batch"}, "last_hidden_state": axes},
            dynamo=False,
        )


def _livened(model: Any) -> Any:
    """Larger random weights than a fresh model has, so that its answers differ visibly between inputs."""
    scale = 0.55 / model.config.text_config.hidden_size**0.5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
        model.text_model.embeddings.token_embedding.weight.mul_(8)
    return model.eval()


def _save(folder: Path, model: Any, tokenizer: Any, images: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)


def _rename_class(path: Path, name: str) -> None:
    """As the hub's exports of SigLIP have it, whose tokenizer.json stands in for a sentencepiece model."""
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"tokenizer_class": name}))


def _clip_tokenizer() -> Any:
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    trained.train_from_iterator([*SENTENCES, *(f"{letter} {letter}{letter}" for letter in alphabet)], trainer)
    vocab, merges = _vocab_and_merges(trained, "<|startoftext|>", "<|endoftext|>")
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _siglip_tokenizer() -> Any:
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", initial_alphabet=list(string.ascii_lowercase)
    )
    trained.train_from_iterator(SENTENCES, trainer)
    trained.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids"],
    )


def _siglip2_tokenizer() -> Any:
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    trained.train_from_iterator([*SENTENCES, string.ascii_lowercase], trainer)
    vocab, merges = _vocab_and_merges(trained)
    tokenizer = Siglip2Tokenizer(
        vocab=vocab, merges=merges, padding_side="right", model_max_length=64, model_input_names=["input_ids"]
    )
    ending = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", vocab["<eos>"])])
    tokenizer.backend_tokenizer.post_processor = ending
    return tokenizer


def _vocab_and_merges(trained: Tokenizer, *added: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    state = json.loads(trained.to_str())["model"]
    vocab = dict(state["vocab"])
    for token in added:
        vocab.setdefault(token, len(vocab))
    return vocab, [(first, second) for first, second in state["merges"]]


def quantise(folder: Path) -> None:
    """Write int8 files beside both towers, by ONNX Runtime's dynamic quantisation."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for path in folder.rglob("*_model.onnx"):
        quantize_dynamic(path, path.with_name(f"{path.stem}_quantized.onnx"), weight_type=QuantType.QInt8)


def halve(model: Any, folder: Path) -> None:
    """Leave a CLIP nothing but fp16 files: a vision tower of half precision, a text tower by name."""
    vision, text = (folder / "onnx" / f"{tower}_model.onnx" for tower in ("vision", "text"))
    vision.unlink()
    text.rename(text.with_stem("text_model_fp16"))
    size = model.config.vision_config.image_size
    pixels = (torch.rand(2, 3, size, size, dtype=torch.float16),)
    _export(_ClipVision(copy.deepcopy(model).half()), pixels, vision.with_stem("vision_model_fp16"), "image")
