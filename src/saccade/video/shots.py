"""Where one shot ends and the next begins: hard cuts to the frame, fades and dissolves inside themselves.

The detector sees each frame as 64×36 pixels and streams. Every decision is local: what is reported at time t
depends on frames at most ``REACH_SECONDS`` away, so a pass that resumes that far ahead decides the same.

- A **cut** is a step between two frames that motion does not explain (each block of the picture may come from
  anywhere near by in the frame before), far above the steps around it, and that stays: no frame just before
  resembles a frame just after. A photographic flash comes back; a whip pan is one of several steps alike.
- A **fade** is a picture that sinks into one flat colour (black, white, any) and rises out of it. Out and in
  again is one boundary, in the middle of the flat stretch; a flat stretch of more than ``HOLD_SECONDS`` is a
  shot of its own with a boundary at each end. A shorter one at the very beginning or end of a film is none.
- A **dissolve** is a run of frames each a mixture of the picture before and the picture after; its boundary is
  the frame where the mixture is half and half.

Telecine, repeated frames and variable frame rate need no setting: repeated frames do not count as steps, and
all windows are in seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from saccade.errors import InputError

SMALL_HEIGHT, SMALL_WIDTH = 36, 64
REACH_SECONDS = 5.0
"""No decision looks further than this, before or after. A stretch that is examined alone needs as much margin."""
HOLD_SECONDS = 2.0
"""A flat colour that stays longer than this between two pictures is a shot of its own."""

Array = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Small:
    """A frame as the detector sees it: uint8 (36, 64, 3) RGB, with its seconds and its own pts."""

    seconds: float
    pts: int
    image: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.image.shape != (SMALL_HEIGHT, SMALL_WIDTH, 3) or self.image.dtype != np.uint8:
            raise InputError(f"a small frame is uint8 (36, 64, 3), got {self.image.dtype} {self.image.shape}")


@dataclass(frozen=True)
class Cut:
    """A boundary. ``kind`` cut: the new shot's first frame; fade: the flattest frame; dissolve: the half-way frame."""

    pts: int
    seconds: float
    kind: str


def detect(frames: Iterable[Small]) -> Iterator[Cut]:
    """Boundaries in a dense run of frames (every frame, display order), in order, about REACH_SECONDS late.

    >>> red, blue = (np.full((36, 64, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 30, 200)))
    >>> list(detect(Small(i / 25, i, red if i < 10 else blue) for i in range(20)))
    [Cut(pts=10, seconds=0.4, kind='cut')]
    """
    detector = Detector()
    for frame in frames:
        yield from detector.feed(frame)
    yield from detector.finish()


class Detector:
    """``detect`` for callers that push: frames go in one by one, boundaries come out when they are decided.

    decided: seconds up to which everything has come out. sparse: frames are missing in between, so that motion
    looks more like a cut; steps that may be one all the same come out as kind "perhaps", to be looked at closely.
    """

    def __init__(self, *, sparse: bool = False) -> None:
        self.decided = -np.inf
        self._film = _Film()
        self._sparse = sparse

    def feed(self, frame: Small) -> list[Cut]:
        """Take the next frame; the boundaries it decides."""
        self._film.append(frame)
        if frame.seconds - self._film.seconds[0] < _BUFFER_SECONDS:
            return []
        settled = frame.seconds - REACH_SECONDS
        cuts = _boundaries(self._film, self.decided, settled, self._sparse)
        self.decided = settled
        self._film.forget(before=settled - REACH_SECONDS)
        return cuts

    def finish(self) -> list[Cut]:
        """The film ends here; the remaining boundaries."""
        cuts = _boundaries(self._film, self.decided, np.inf, self._sparse) if self._film.seconds else []
        self.decided = np.inf
        return cuts


def differs(before: Small, after: Small) -> bool:
    """Whether a boundary may lie between two frames that are some time apart (rather too often than too seldom)."""
    a, b = _look(before.image), _look(after.image)
    blocks = _unexplained(a, b)
    contrast = (_contrast(a) + _contrast(b)) / 2 + 6
    return bool(blocks.mean() >= max(_LEAST_STEP, _CONTRASTS / 2 * contrast))


# The picture and the step between two of them.

_BUFFER_SECONDS = 3 * REACH_SECONDS
_ROWS, _COLUMNS = SMALL_HEIGHT // 2, SMALL_WIDTH // 2
_BLOCK_ROWS, _BLOCK_COLUMNS = 3, 4
_SHIFT_ROWS, _SHIFT_COLUMNS = 3, 4
_LUMA_CHROMA = np.array([[0.299, 0.35, -0.085], [0.587, -0.293, -0.166], [0.114, -0.057, 0.25]], np.float32)


def _look(image: npt.NDArray[np.uint8]) -> Array:
    """uint8 (36, 64, 3) RGB -> float32 (18, 32, 3): luma and two halved colour differences."""
    halved = image.reshape(_ROWS, 2, _COLUMNS, 2, 3).sum((1, 3), dtype=np.uint16).astype(np.float32)
    return np.asarray((halved.reshape(-1, 3) @ (_LUMA_CHROMA / 4)).reshape(_ROWS, _COLUMNS, 3), np.float32)


def _contrast(look: Array) -> float:
    """Mean absolute deviation from the mean colour, in grey levels."""
    return float(np.abs(look - look.mean((0, 1))).mean(dtype=np.float64)) * 3


def _unexplained(before: Array, after: Array) -> Array:
    """What motion leaves unexplained: mean absolute difference of each block (6, 8), at its best shift."""
    padded = before[_PADDED].reshape(_ROWS + 2 * _SHIFT_ROWS, (_COLUMNS + 2 * _SHIFT_COLUMNS) * 3)
    shifted = sliding_window_view(padded, (_ROWS, _COLUMNS * 3))[:, ::3]
    difference = np.abs(shifted - after.reshape(_ROWS, _COLUMNS * 3))
    block_rows = difference[:, :, 0::3] + difference[:, :, 1::3] + difference[:, :, 2::3]
    return np.asarray((block_rows @ _BLOCK_SUM).min((0, 1)), np.float32)


_PADDED = np.ix_(
    np.clip(np.arange(-_SHIFT_ROWS, _ROWS + _SHIFT_ROWS), 0, _ROWS - 1),
    np.clip(np.arange(-_SHIFT_COLUMNS, _COLUMNS + _SHIFT_COLUMNS), 0, _COLUMNS - 1),
)
_BLOCK_SUM = np.repeat(np.eye(_COLUMNS // _BLOCK_COLUMNS, dtype=np.float32), _BLOCK_COLUMNS * 3, 0) / (
    _BLOCK_ROWS * _BLOCK_COLUMNS
)


class _Film:
    """The last seconds: each frame's look, its contrast, and the step from the frame before."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.pts: list[int] = []
        self.looks: list[Array] = []
        self.contrasts: list[float] = []
        self.changes: list[float] = []
        self._steps: dict[int, Array] = {}
        self.mixtures: dict[tuple[int, int, int], tuple[int, float, float] | None] = {}

    def append(self, frame: Small) -> None:
        if self.seconds and frame.seconds <= self.seconds[-1]:
            raise InputError(f"frames come in display order, got {frame.seconds} s after {self.seconds[-1]} s")
        look = _look(frame.image)
        self.changes.append(float(np.abs(look - self.looks[-1]).mean()) * 3 if self.looks else 0.0)
        self.seconds.append(frame.seconds)
        self.pts.append(frame.pts)
        self.looks.append(look)
        self.contrasts.append(_contrast(look))

    def forget(self, before: float) -> None:
        gone = int(np.searchsorted(self.seconds, before))
        del self.seconds[:gone], self.pts[:gone], self.looks[:gone], self.contrasts[:gone], self.changes[:gone]
        self._steps = {pts: step for pts, step in self._steps.items() if pts >= self.pts[0]}
        self.mixtures = {span: mixture for span, mixture in self.mixtures.items() if span[0] >= self.pts[0]}

    def step(self, i: int) -> float:
        """The step into frame i that motion leaves unexplained, in grey levels; at most ``changes[i]``."""
        return float(self.step_blocks(i).mean()) if self.changes[i] >= _LEAST_STEP else self.changes[i]

    def step_blocks(self, i: int) -> Array:
        pts = self.pts[i]
        if pts not in self._steps:
            self._steps[pts] = _unexplained(self.looks[i - 1], self.looks[i])
        return self._steps[pts]

    def contrast(self, i: int, j: int) -> float:
        """The mean contrast of two frames, with a floor that keeps noise in the dark from counting."""
        return (self.contrasts[i] + self.contrasts[j]) / 2 + 6

    def cut(self, index: int, kind: str) -> Cut:
        return Cut(self.pts[index], self.seconds[index], kind)


def _boundaries(film: _Film, begin: float, end: float, sparse: bool) -> list[Cut]:
    """The boundaries with begin <= seconds < end."""
    cuts = _hard_cuts(film)
    fades = _fades(film, cuts)
    marks = [(i, "cut") for i in cuts] + [(i, "fade") for i in fades] + _mixtures(film, cuts, fades)
    if sparse:
        marks += [(i, "perhaps") for i in range(1, len(film.seconds)) if i not in cuts and _may_be_a_cut(film, i)]
    found = [film.cut(i, kind) for i, kind in marks]
    return sorted((cut for cut in found if begin <= cut.seconds < end), key=lambda cut: cut.seconds)


# Hard cuts.

_LEAST_STEP = 2.0
_LEAST_SHARE = 0.6
_CONTRASTS = 0.25
_STEPS = 2.5
_SPARSE_STEPS = 1.2
# Where nothing else moves at all, on slides and screens, less is enough.
_STILL = 0.2
_STILL_SHARE = 0.3
_STILL_CONTRASTS = 0.08
_REPEATED = 0.4
_SIDE_SECONDS = 0.75
_SIDE_STEPS = 5
_FLASH_SECONDS = 0.2
_RUN = 0.33


def _hard_cuts(film: _Film) -> list[int]:
    candidates = [i for i in range(1, len(film.seconds)) if _stands_out(film, i)]
    cuts = [i for i in candidates if not _comes_back(film, i) and not _in_a_run(film, i)]
    return [i for i in cuts if _sharpest(film, i, cuts)]


def _stands_out(film: _Film, i: int) -> bool:
    """Whether the step into frame i is large for its picture and for its neighbourhood."""
    if film.changes[i] < max(_LEAST_STEP, _STILL_CONTRASTS * film.contrast(i - 1, i)):
        return False
    at_most = _usual(film, i, film.changes.__getitem__)
    contrasts, share = (_STILL_CONTRASTS, _STILL_SHARE) if at_most <= _STILL else (_CONTRASTS, _LEAST_SHARE)
    least = max(_LEAST_STEP, contrasts * film.contrast(i - 1, i))
    if film.changes[i] < least or film.step(i) < least or _changed_share(film, i) < share:
        return False
    if film.step(i) < 0.4 * max((film.step(j) for j in (i - 1, i + 1) if 0 < j < len(film.seconds)), default=0.0):
        return False
    enough = (film.step(i) - _LEAST_STEP) / _STEPS
    return at_most <= enough or _usual(film, i, film.step) <= enough


def _may_be_a_cut(film: _Film, i: int) -> bool:
    """Whether the step into frame i might stand out if the frames that are missing around it were there."""
    least = max(_LEAST_STEP, _CONTRASTS / 2 * film.contrast(i - 1, i))
    if film.changes[i] < least or film.step(i) < least:
        return False
    return film.step(i) - _LEAST_STEP >= _SPARSE_STEPS * _usual(film, i, film.step)


def _changed_share(film: _Film, i: int) -> float:
    return float((film.step_blocks(i) > 0.7 + 0.1 * film.contrast(i - 1, i)).mean())


def _usual(film: _Film, i: int, size: Callable[[int], float]) -> float:
    """The median size of the nearest steps, on the side where it is larger."""
    return max(_usual_on_one_side(film, i, -1, size), _usual_on_one_side(film, i, 1, size))


def _usual_on_one_side(film: _Film, i: int, direction: int, size: Callable[[int], float]) -> float:
    """The median of the nearest steps, repeated frames left out; missing ones count as no step."""
    near: list[float] = []
    j = i + direction
    while 1 <= j < len(film.seconds) and len(near) < _SIDE_STEPS:
        if abs(film.seconds[j] - film.seconds[i]) > _SIDE_SECONDS:
            break
        if film.changes[j] > _REPEATED:
            near.append(size(j))
        j += direction
    near += [0.0] * (3 - len(near))
    return statistics.median(near)


def _comes_back(film: _Film, i: int) -> bool:
    """Whether a frame soon after the step is a frame from just before it again, only its light had changed."""
    before, after = _just_around(film, i)
    limit = 0.4 * film.step(i)
    for j in before:
        for k in after:
            if (j, k) != (i - 1, i) and float(_unexplained(film.looks[j], film.looks[k]).mean()) < limit:
                return _changed_share(film, i) < 0.7 or _only_light(film.looks[i - 1], film.looks[i])
    return False


def _just_around(film: _Film, i: int) -> tuple[list[int], list[int]]:
    """The frames within FLASH_SECONDS of the step into i, at most four, and three in any case."""
    before = range(max(0, i - 4), i)
    after = range(i, min(len(film.seconds), i + 5))
    near = [j for j in (*before, *after) if abs(film.seconds[j] - film.seconds[i]) <= _FLASH_SECONDS or abs(j - i) <= 3]
    return [j for j in near if j < i], [j for j in near if j >= i]


def _only_light(a: Array, b: Array) -> bool:
    """Whether one of two pictures is the other one lit up (or washed out) everywhere."""
    change = b[..., 0] - a[..., 0]
    if max((change > -3).mean(), (change < 3).mean()) < 0.95:
        return False
    brighter = a if a[..., 0].mean() > b[..., 0].mean() else b
    washed_out = (
        brighter[..., 0].mean() > 200 or _contrast(brighter) < _FLAT or _contrast(a) < _FLAT or _contrast(b) < _FLAT
    )
    return bool(washed_out or _correlation(a[..., 0], b[..., 0]) > 0.5)


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-6))


def _in_a_run(film: _Film, i: int) -> bool:
    """Whether the step is one of three or more in a row of one order: a whip pan, an explosion, flicker."""
    alike = [0 < j < len(film.seconds) and film.step(j) >= _RUN * film.step(i) for j in range(i - 2, i + 3)]
    return any(all(alike[k : k + 3]) for k in range(3))


def _edges(look: Array) -> Array:
    """Change of brightness to the right and downwards, added up: alike when a caption or the light comes and goes."""
    luma = look[..., 0]
    return 2 * luma[1:, 1:] - luma[:-1, 1:] - luma[1:, :-1]


def _sharpest(film: _Film, i: int, cuts: Sequence[int]) -> bool:
    """Of two steps in a row (a frame that mixes both shots between them) the larger one is the cut."""
    rivals = [j for j in (i - 1, i + 1) if j in cuts]
    return all((film.step(i), -i) > (film.step(j), -j) for j in rivals)


# Fades.

_FLAT = 2.0
_PICTURE = 6.0


def _fades(film: _Film, cuts: Sequence[int]) -> list[int]:
    contrasts = np.array(film.contrasts)
    flat = contrasts < _FLAT
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    found: list[int] = []
    for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
        if _is_flash(film, int(first), int(last)):
            continue
        entered = first > 0 and _is_fade(film, int(first), -1, cuts)
        left = last < len(flat) - 1 and _is_fade(film, int(last), 1, cuts)
        cut_in = any(first - 2 <= c <= first + 1 for c in cuts)
        cut_out = any(last - 1 <= c <= last + 2 for c in cuts)
        if film.seconds[last] - film.seconds[first] > HOLD_SECONDS:
            found += [int(first)] * int(entered) + [int(last)] * int(left)
        elif entered and left:
            found.append(int(first + last) // 2)
        elif (entered and not cut_out and last < len(flat) - 1) or (left and not cut_in and first > 0):
            found.append(int(first) if entered else int(last))
    return found


def _is_flash(film: _Film, first: int, last: int) -> bool:
    """Whether a short flat stretch lies within one and the same picture."""
    if film.seconds[last] - film.seconds[first] > _FLASH_SECONDS:
        return False
    before, after = range(max(0, first - 2), first), range(last + 1, min(len(film.seconds), last + 4))
    return any(
        film.contrasts[j] >= _PICTURE
        and float(_unexplained(film.looks[j], film.looks[k]).mean()) < 0.15 * film.contrast(j, k)
        for j in before
        for k in after
    )


def _is_fade(film: _Film, edge: int, direction: int, cuts: Sequence[int]) -> bool:
    """Whether the picture sinks into (-1) or rises out of (1) the flat stretch over several frames."""
    contrasts = []
    j = edge + direction
    while 0 <= j < len(film.seconds) and abs(film.seconds[j] - film.seconds[edge]) <= HOLD_SECONDS:
        if (j if direction > 0 else j + 1) in cuts:
            break
        contrasts.append(film.contrasts[j])
        j += direction
    peak = max(contrasts, default=0.0)
    return peak >= _PICTURE and contrasts[0] < 0.7 * peak


# Dissolves.

_HALF_LENGTHS = (0.15, 0.3, 0.6, 1.2)
_CENTRE_SECONDS = 0.08
_APART_SECONDS = 1.2
_BESIDE = 0.35
_MIXED_CONTRASTS = 0.4
_DETOUR = 2.5
_NEARLY_FLAT = 0.2
_DIP = 0.94
"""Mixing two pictures takes contrast away; changing the light, or fading, moves it evenly."""


def _mixtures(film: _Film, cuts: Sequence[int], fades: Sequence[int]) -> list[tuple[int, str]]:
    """Dissolves, and fades from or to a picture that is nearly flat but for a caption."""
    if len(film.seconds) < 5:
        return []
    seconds = np.array(film.seconds)
    barriers = np.zeros(len(seconds), bool)
    barriers[[*cuts, *fades]] = True
    blocked = np.cumsum(barriers | (np.array(film.contrasts) < _FLAT))
    looks = np.stack(film.looks).reshape(len(seconds), -1)
    centres = np.flatnonzero(np.diff(np.floor(seconds / _CENTRE_SECONDS))) + 1
    found: list[_Mixture] = []
    for half in _HALF_LENGTHS:
        firsts = np.searchsorted(seconds, seconds[centres] - half, "right") - 1
        lasts = np.searchsorted(seconds, seconds[centres] + half, "left")
        fits = (firsts >= 0) & (lasts < len(seconds)) & (centres - firsts >= 2) & (lasts - centres >= 2)
        spans = np.stack([firsts, centres, lasts], 1)[fits]
        spans = spans[blocked[spans[:, 0]] == blocked[spans[:, 2]]]
        spans = spans[_half_way(looks, np.array(film.contrasts), *spans.T)]
        found += [mixture for span in spans.tolist() if (mixture := _mixture(film, *span))]
    best = [one for one in found if not any(_beats(film, other, one) for other in found)]
    return sorted({(one.index, one.kind) for one in best if not _belongs_to_a_fade(film, one, fades)})


@dataclass(frozen=True)
class _Mixture:
    """A possible dissolve: its half-way frame, how much speaks for it, and the lower over the higher contrast."""

    index: int
    score: float
    balance: float

    @property
    def kind(self) -> str:
        return "fade" if self.balance < _NEARLY_FLAT else "dissolve"


def _belongs_to_a_fade(film: _Film, one: _Mixture, fades: Sequence[int]) -> bool:
    near = HOLD_SECONDS if one.balance < 0.6 else _HALF_LENGTHS[0]
    return any(abs(film.seconds[i] - film.seconds[one.index]) <= near for i in fades)


def _beats(film: _Film, other: _Mixture, one: _Mixture) -> bool:
    near = abs(film.seconds[other.index] - film.seconds[one.index]) <= _APART_SECONDS
    return near and (other.score, -other.index) > (one.score, -one.index)


def _half_way(
    looks: Array, contrasts: npt.NDArray[np.float64], firsts: Index, centres: Index, lasts: Index
) -> npt.NDArray[np.bool_]:
    """Which of many spans may be a dissolve: its ends differ, its centre is half-way between them, and duller."""
    low, high = np.minimum(contrasts[firsts], contrasts[lasts]), np.maximum(contrasts[firsts], contrasts[lasts])
    duller = (low < _NEARLY_FLAT * high) | (contrasts[centres] <= _DIP * (low + high) / 2)
    kept = np.flatnonzero(duller)
    first = looks[firsts[kept]]
    way, moved = looks[lasts[kept]] - first, looks[centres[kept]] - first
    length = (way * way).sum(1) + 1e-3
    share = (way * moved).sum(1) / length
    beside = (moved * moved).sum(1) / length - share**2
    different = np.abs(way).mean(1) * 3 >= 2 * _LEAST_STEP
    duller[kept] = different & (share >= 0.3) & (share <= 0.7) & (beside <= _BESIDE**2)
    return duller


def _mixture(film: _Film, first: int, centre: int, last: int) -> _Mixture | None:
    """The half-way frame and what speaks for it; what was found out once is kept with the film."""
    span = (film.pts[first], film.pts[centre], film.pts[last])
    if span not in film.mixtures:
        film.mixtures[span] = _mixed(film, first, centre, last)
    known = film.mixtures[span]
    return known and _Mixture(first + known[0], known[1], known[2])


def _mixed(film: _Film, first: int, centre: int, last: int) -> tuple[int, float, float] | None:
    """Half-way frame (counted from the first), score, balance, if the frames are mixtures in a growing share."""
    a, b = film.looks[first], film.looks[last]
    path = [_share(film.looks[i], a, b) for i in range(first, last + 1)]
    shares, besides = np.array(path).T
    stops = np.unique(np.linspace(0, last - first, 13).round().astype(int))
    if np.diff(shares[stops]).min() < -0.1 or np.diff(shares).max() > 0.5:
        return None
    under_way = np.flatnonzero((shares > 0.15) & (shares < 0.85))
    lasts = film.seconds[first + under_way[-1]] - film.seconds[first + under_way[0]]
    # The longer it takes, the further things in it may move.
    if np.median(besides[under_way]) > min(_BESIDE, 0.2 + 0.5 * lasts):
        return None
    legs = sum(float(np.abs(film.looks[first + j] - film.looks[first + i]).mean()) for i, j in pairwise(stops))
    if legs > _DETOUR * float(np.abs(b - a).mean()):
        return None
    apart = _apart(a, b)
    if apart < _MIXED_CONTRASTS * film.contrast(first, last) or _correlation(_edges(a), _edges(b)) > 0.5:
        return None
    if min(_apart(a, film.looks[centre]), _apart(film.looks[centre], b)) < 0.25 * apart:
        return None
    low, high = sorted((film.contrasts[first], film.contrasts[last]))
    return int(np.abs(shares - 0.5).argmin()), apart * (1 - float(besides[centre - first])), low / high


def _share(look: Array, a: Array, b: Array) -> tuple[float, float]:
    """How far along the way from a to b a picture is, and how far beside that way, both in lengths of the way."""
    way, moved = b - a, look - a
    length = float((way * way).sum()) + 1e-3
    share = float((moved * way).sum()) / length
    return share, float(np.sqrt(max(0.0, float((moved * moved).sum()) / length - share**2)))


def _apart(a: Array, b: Array) -> float:
    """How unlike two pictures are once motion and light are accounted for."""
    return min(float(_unexplained(a, b).mean()), float(_unexplained(_relit(a, b), b).mean()))


def _relit(a: Array, like: Array) -> Array:
    """The first picture with the brightness and contrast of the second."""
    deviation = a - a.mean((0, 1))
    gain = np.abs(like - like.mean((0, 1))).mean() / (np.abs(deviation).mean() + 1e-3)
    return np.asarray(deviation * gain + like.mean((0, 1)), np.float32)
