"""Films and one decoding child for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from numbered_films import make_film
from saccade.video import Worker


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """One decoding child for all tests that do not need their own."""
    with Worker() as worker:
        yield worker


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """``film("name.mp4", pts, …)`` makes a film in the test's own folder."""
    return lambda name, *arguments, **choices: make_film(tmp_path / name, *arguments, **choices)
