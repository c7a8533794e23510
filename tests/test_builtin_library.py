"""The encoder that comes in the package, in a library made without naming any: on drawn films, as a user has it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import saccade
from saccade.datasets.gym import random_film
from saccade.encode.builtin import FOLDER
from saccade.maintain import migrate

CODE = """
import sys
from saccade.cli import run
code = run(sys.argv[1:])
print([name for name in ("onnxruntime", "av", "PIL", "torch") if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two drawn films."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(2):
        random_film(folder / f"film{seed}.mp4", seed, shots=3)
    with saccade.open(folder / "library") as library:
        assert len(library.add(folder, senses=["seen"]).done) == 2
    return folder / "library"


def test_it_is_what_a_new_library_sees_with(place: Path) -> None:
    with saccade.open(place) as library:
        (name,) = library.catalog.encoders()
        assert name.startswith("saccade-builtin@") and library.catalog.get_meta("encoder_place") == "builtin"
        result = library.search("a mountain lake")
        assert result.encoder == name and result.hits and result[0].matched[0].kind == "seen"


def test_a_frame_finds_itself(place: Path) -> None:
    with saccade.open(place) as library:
        features = library.features("film1.mp4")
        from saccade.video import sample

        frame = next(sample(place.parent / "film1.mp4", at=[float(features.seconds[3])])).images[0]
        hit = library.search(image=frame)[0]
        assert Path(hit.path).name == "film1.mp4" and hit.span.start <= features.seconds[3] < hit.span.end


def test_a_cold_search_loads_no_onnx_runtime(place: Path) -> None:
    command = [sys.executable, "-c", CODE, "search", "a red balloon", "--library", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *answer, loaded = done.stdout.splitlines()
    assert loaded == "[]" and json.loads("\n".join(answer))["encoder"].startswith("saccade-builtin@")


def test_a_proxy_is_seen_as_its_source_is(place: Path, tmp_path: Path) -> None:
    """The same weights by another name see the proxies; each frame's two vectors are compared."""
    library = shutil.copytree(place, tmp_path / "library")
    eyes = shutil.copytree(FOLDER, tmp_path / "again")
    done = migrate(library, str(eyes), keep_old=True)
    assert done.switched and done.before is not None
    cosines = []
    with saccade.open(library) as again:
        for video in again.catalog.videos():
            source = again.catalog.features(video.id, done.before)
            proxy = again.catalog.features(video.id, done.after)
            shared, ours, theirs = np.intersect1d(source.seconds, proxy.seconds, return_indices=True)
            assert len(shared) > 5
            cosines.append((source.vectors[ours] * proxy.vectors[theirs]).sum(axis=1))
    both = np.concatenate(cosines)
    assert both.mean() > 0.98 and both.min() > 0.9, (both.mean(), both.min())
