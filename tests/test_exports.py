"""The public names: one sorted ``__all__``, each name real, lazily imported, documented."""

from __future__ import annotations

import subprocess
import sys

import saccade


def test_all_is_sorted_and_true() -> None:
    assert saccade.__all__ == sorted(saccade.__all__)
    for name in saccade.__all__:
        thing = getattr(saccade, name)
        assert thing.__doc__ or name.isupper(), name
    assert set(saccade.__all__) <= set(dir(saccade))


def test_importing_saccade_is_light() -> None:
    program = "import sys, saccade; print([m for m in ('numpy', 'av', 'onnxruntime', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
