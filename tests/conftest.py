"""What many tests need: real test material where it is given, and optional packages.

On a user's machine a missing tool, package or folder skips with the reason; in CI it is a failure.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

collect_ignore = ["encode/tiny_models.py", "encode/tiny_builtin.py"]  # no doctests there; they import torch and onnx


def _absent(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real clips and annotations that $SACCADE_TEST_DATA names."""
    folder = os.environ.get("SACCADE_TEST_DATA", "")
    if not folder:
        _absent("SACCADE_TEST_DATA is not set: no real clips to test on")
    if not Path(folder, "clips").is_dir():
        pytest.fail(f"SACCADE_TEST_DATA={folder} holds no folder 'clips'", pytrace=False)
    return Path(folder)


@pytest.fixture(scope="session")
def need():
    """``need("rapidocr")`` imports an optional package; ``need.tool`` finds a program, ``need.font`` a font."""

    class Need:
        def __call__(self, module: str) -> ModuleType:
            try:
                return importlib.import_module(module)
            except ImportError:
                return _absent(f"the package {module} is not installed")

        def tool(self, program: str) -> str:
            return shutil.which(program) or _absent(f"the program {program} is not installed")

        def font(self, *names: str) -> Path:
            found = (path for name in names for path in Path("/usr/share/fonts").rglob(name))
            return next(found, None) or _absent(f"none of these fonts is installed: {', '.join(names)}")

    return Need()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Tests leave the user's cache and library alone."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SACCADE_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("SACCADE_LIBRARY", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def tiny_clip(need, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CLIP of random weights in the hub's ONNX layout: 32 px, 24 dimensions."""
    need("torch"), need("transformers")
    return importlib.import_module("tiny_models").tiny_clip(tmp_path_factory.mktemp("models") / "tiny-clip").folder


@pytest.fixture(scope="session")
def tiny_builtin(need, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights in the built-in encoder's layout: 32 px, 16 dimensions."""
    need("onnx")
    from saccade.encode import sentence_encoder
    from saccade.encode.text_features import text_features

    features = text_features(["a dog"], sentence_encoder()).shape[1]
    return importlib.import_module("tiny_builtin").tiny_builtin(tmp_path_factory.mktemp("eyes") / "tiny", features)
