"""The shipped model keeps its numbers on photographs it was not trained on; benchmarks/seen.py has them all."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from saccade.encode import FrameEncoder, load_encoder
from saccade.evaluate.retrieval import summarise, text_to_video

CAPTION_R10 = 0.72
"""Least share of captions that find their photograph among the first ten of 404."""

LABEL_TOP5 = 0.90
"""Least share of photographs with an own label among the five nearest of 43."""

EVERY_THIRD = 3
"""Of the photographs with labels, for the test's time."""


@pytest.fixture(scope="module")
def seen() -> Iterator[ModuleType]:
    """The benchmark, so that both measure the same."""
    path = Path(__file__).parents[2] / "benchmarks" / "seen.py"
    spec = importlib.util.spec_from_file_location("benchmark_seen", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def builtin() -> FrameEncoder:
    return load_encoder("builtin")


@pytest.fixture(scope="module")
def photos(seen: ModuleType, test_data: Path) -> list[object]:
    return seen.held_out(test_data / "train")


def test_captions_find_their_photographs(seen: ModuleType, builtin: FrameEncoder, photos: list[object]) -> None:
    captioned = [photo for photo in photos if photo.source == seen.CAPTIONED]
    assert len(captioned) == 404
    scores, owners = seen.caption_scores(captioned, builtin)
    score = summarise(text_to_video(scores, owners), len(captioned), resamples=1)
    assert score.recall[10].value >= CAPTION_R10, score


def test_photographs_find_their_labels(seen: ModuleType, builtin: FrameEncoder, photos: list[object]) -> None:
    labels, labelled = seen.frequent_labels(photos)
    assert len(labels) == 43
    ranks = seen.zero_shot_ranks(labels, labelled[::EVERY_THIRD], builtin)
    score = summarise(ranks, len(labels), resamples=1)
    assert score.recall[5].value >= LABEL_TOP5, score
