"""The wheel carries what the package needs at run time, and stays small."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = "saccade/encode/builtin_model/"


@pytest.fixture(scope="module")
def wheel(need) -> dict[str, Path]:
    """Path in the wheel -> the file that goes there."""
    builder = need("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    return {file.distribution_path: Path(file.path) for file in builder.recurse_included_files()}


def test_the_built_in_encoder_is_in_it(wheel: dict[str, Path]) -> None:
    carried = {path.removeprefix(MODEL): file for path, file in wheel.items() if path.startswith(MODEL)}
    assert set(carried) == {"tower.onnx", "text.npz", "MODEL_CARD.md", "NOTICE.md", "SHA256SUMS"}
    assert sum(file.stat().st_size for file in carried.values()) <= 15e6


def test_all_other_data_is_in_it(wheel: dict[str, Path]) -> None:
    assert {"saccade/py.typed", "saccade/index/background/en.txt", "saccade/index/background/ko.txt"} <= set(wheel)
    junk = [path for path in wheel if "__pycache__" in path or path.startswith("tests")]
    assert not junk
