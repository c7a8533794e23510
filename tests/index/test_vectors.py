from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from saccade.errors import InputError
from saccade.index.vectors import FrameVectors, PartRow, assemble, pack


def part(video: str, start: float, end: float, seconds: list[float]) -> PartRow:
    vectors = np.arange(len(seconds) * 4, dtype=np.float32).reshape(-1, 4) / 64
    return PartRow(video, start, end, 4, pack(vectors, "<f2"), pack(np.array(seconds), "<f8"))


def test_a_frame_lasts_until_the_next_one_or_what_was_seen_ends() -> None:
    table = assemble("e", [part("a", 0, 3, [0, 1, 2]), part("b", 0, 2.5, [0, 1])])
    assert table.seconds.tolist() == [0, 1, 2, 0, 1]
    assert table.ends.tolist() == [1, 2, 3, 1, 2.5]
    assert table.videos.tolist() == [0, 0, 0, 1, 1]
    assert table.video_ids == ("a", "b")
    assert table.vectors.dtype == np.float32 and table.vectors.shape == (5, 4)


def test_a_still_picture_lasts_through_the_parts_that_add_nothing() -> None:
    table = assemble("e", [part("a", 0, 10, [0, 4]), part("a", 10, 20, []), part("a", 20, 30, [23])])
    assert table.ends.tolist() == [4, 23, 30]


def test_a_frame_does_not_last_over_a_gap() -> None:
    table = assemble("e", [part("a", 0, 10, [0, 9]), part("a", 15, 20, [15])])
    assert table.ends.tolist() == [9, 10, 20]


def test_a_video_without_vectors_leaves_its_neighbour_alone() -> None:
    table = assemble("e", [part("a", 0, 2, [0]), part("b", 0, 50, []), part("c", 0, 1, [0.5])])
    assert table.ends.tolist() == [2, 1]
    assert [table.video_ids[video] for video in table.videos] == ["a", "c"]


def test_nothing_at_all() -> None:
    table = assemble("e", [])
    assert len(table) == 0 and table.ends.shape == (0,) and table.video_ids == ()


def test_times_come_from_the_exact_fraction() -> None:
    found = FrameVectors(np.zeros((2, 3), np.float32), np.array([1001, 2002]), Fraction(1, 30000), Fraction(1, 3))
    assert found.seconds.tolist() == [1001 / 30000 - 1 / 3, float(Fraction(2002, 30000) - Fraction(1, 3))]


def test_vectors_and_times_belong_together() -> None:
    with pytest.raises(InputError, match=r"\(2, 3\) and \(1,\)"):
        FrameVectors(np.zeros((2, 3), np.float32), np.array([1]), Fraction(1))
