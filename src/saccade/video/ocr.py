"""Text on screen: RapidOCR on few frames, lines followed over time.

One frame a shot is read, in longer shots one every ten seconds; a frame that hardly differs from the last one read is
not read again. Where a line appears or goes between two frames read, the stretch between is decoded once and the
line's own picture is looked for in it, which places its ends to half a second without reading more.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError, MissingExtra
from saccade.types import Gap, Shot, Span, Stretch, TimedText
from saccade.video.probe import probe
from saccade.video.sample import sample
from saccade.video.worker import Worker
from saccade.weights import package_file

SCRIPTS_READ = ("Latin", "Han", "Hiragana", "Katakana")
"""Scripts that the recogniser in RapidOCR's wheel reads, found by trial.

Latin with the accents of western and central Europe and Turkish; Vietnamese loses letters. Greek loses its accented
letters. Hangul, Cyrillic, Arabic, Hebrew, Devanagari and Thai are not read.
"""

WEIGHTS = {
    "Det": ("models/PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"),
    "Rec": ("models/PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"),
}
"""PP-OCRv6 small (Baidu, Apache-2.0), as the wheel of rapidocr 3.10 carries it: file, sha256."""

SOURCE = "rapidocr"

SHORT_SIDE = 720
"""Frames are read at this height at most: small print is still legible, and 1080p costs twice as much."""

LONG_SIDE = 960
"""Lines are looked for at this width; smaller frames are enlarged to it."""

MIN_SCORE = 0.75
MIN_SCORE_OF_ONE_LETTER = 0.95
LONGEST_LINE_SECONDS = 120.0
"""A line that stays longer is handed out in parts, so that work can resume."""

SHORTEST_LINE_SECONDS = 0.2
PROBE_SECONDS = 0.5
MAX_PROBES = 24
UNSEEN_SECONDS, UNSEEN_BESIDE_SECONDS = 1.5, 3.0
MAX_READS_BETWEEN = 3
"""Up to so many frames more are read between two: where one text gives way to another and neither stands for
UNSEEN_SECONDS, or where a text comes late into its shot or leaves early, by UNSEEN_BESIDE_SECONDS."""

MAX_CONFIRMATIONS = 2
"""So many of the frames between may be read to tell whether a line still stands there."""

Image = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float32]


def read_screen(
    path: object,
    shots: Sequence[Shot],
    duration: float,
    *,
    every: float = 10.0,
    begin: float = 0.0,
    worker: Worker | None = None,
) -> Iterator[Stretch]:
    """Yield the lines of text on screen as they end, with the span that each was seen.

    shots: in order of time; where there are none, the file counts as one. every: seconds between frames read within
    a shot. begin: a former Stretch.until. Lines keep their reading order; gaps name frames with lines in a script
    that is not read. Raises MissingExtra, WeightsAltered, SourceGone, UnreadableMedia or DecoderCrashed.
    """
    if not (every > 0 and duration >= 0 and begin >= 0):
        raise InputError(f"frames are read every so many seconds of a file, got {every=} {duration=} {begin=}")
    moments = [moment for moment in _moments(shots, duration, every) if moment.seconds >= begin]
    with contextlib.nullcontext(worker) if worker else Worker() as worker:
        follower = _Follower(str(path), begin, _reader(), worker)
        for moment, image in _frames_at(str(path), moments, follower):
            yield follower.follow(moment, image)
        yield follower.end(duration)


def _frames_at(path: str, moments: Sequence[_Moment], follower: _Follower) -> Iterator[tuple[_Moment, Image]]:
    """The frames to read. Where seeking can be trusted one by one, else in one walk through the file.

    The walk has a decoder of its own: the other one fetches frames in between.
    """
    from saccade.video.reader import SEEKABLE

    if moments and follower.container() in SEEKABLE:
        for moment in moments:
            for image in follower.frames([moment.seconds]):
                yield moment, image
    elif moments:
        with Worker() as walking:
            times = [moment.seconds for moment in moments]
            walk = sample(path, at=times, short_side=SHORT_SIDE, batch=1, worker=walking)
            yield from zip(moments, (image for frames in walk for image in frames.images), strict=False)


# ---- when to read --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moment:
    """A time to read, the shot it lies in, and the part of that shot that it stands for."""

    seconds: float
    shot: Span
    part: Span


MIN_SHOT_SECONDS = 0.8
"""A shorter shot is not read: nobody else could either."""


def _moments(shots: Sequence[Shot], duration: float, every: float) -> Iterator[_Moment]:
    """The middle of each shot, or of each of the equal parts, at most ``every`` long, of a longer one."""
    spans = [shot.span for shot in shots] or [Span(0.0, duration)]
    for span in spans:
        if span.duration < min(MIN_SHOT_SECONDS, duration):
            continue
        parts = math.ceil(span.duration / every)
        edges = [span.start + span.duration * part / parts for part in range(parts)] + [span.end]
        for start, end in itertools.pairwise(edges):
            yield _Moment((start + end) / 2, span, Span(start, end))


# ---- reading one frame ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Box:
    """A line's upright box in parts of the picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class _Line:
    """A line as read in one frame; ``text`` is empty where its script is not read."""

    text: str
    score: float
    box: _Box


class _Reader:
    """RapidOCR's two models: where lines stand, and what they say."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        files = {f"{part}.model_path": str(package_file("rapidocr", *where)) for part, where in WEIGHTS.items()}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": cores,
                "Det.limit_type": "max",
                "Det.limit_side_len": LONG_SIDE,
                **files,
            }
        )

    def read(self, image: Image) -> list[_Line]:
        """The lines of a frame, uint8 (H, W, 3) RGB, in reading order; unsure ones are left out."""
        from rapidocr.main import RapidOCRError

        image = np.ascontiguousarray(_enlarged(image)[:, :, ::-1])
        try:
            crops, found = self._engine.detect_and_crop(image, {"preprocess": {"ratio_h": 1.0, "ratio_w": 1.0}})
        except RapidOCRError:  # how it says that it found nothing
            return []
        read = self._engine.recognize_txt(crops)
        height, width = image.shape[:2]
        lines = []
        for text, score, corners in zip(read.txts or (), read.scores or (), np.asarray(found.boxes), strict=True):
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            box = _Box(float(left) / width, float(top) / height, float(right) / width, float(bottom) / height)
            lines += _judged(text, float(score), box, (right - left) / max(1.0, bottom - top))
        return _in_reading_order(lines)


@functools.lru_cache(maxsize=1)
def _reader() -> _Reader:  # loaded once a process
    if importlib.util.find_spec("rapidocr") is None:
        raise MissingExtra("ocr", "reading text on screen")
    return _Reader()


def _enlarged(image: Image) -> Image:
    import cv2

    scale = LONG_SIDE / max(image.shape[:2])
    if scale <= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def _judged(text: str, score: float, box: _Box, proportion: float) -> list[_Line]:
    """The line where it is sure, an empty one where something was not understood, none where it is neither."""
    blanks = "  " in text  # letters that the recogniser does not know leave nothing between the blanks around them
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    letters = [mark for mark in text if mark.isalnum()]
    alone = len(letters) == 1 and score >= MIN_SCORE_OF_ONE_LETTER and letters[0].isascii()
    sure = box.height <= MAX_HEIGHT and (alone or (len(letters) > 1 and score >= MIN_SCORE))
    lines = [_Line(text, score, box)] if sure else []
    silent = not text and proportion >= UNREAD_PROPORTION and UNREAD_HEIGHT <= box.height <= MAX_HEIGHT
    if silent or (blanks and proportion >= UNREAD_PROPORTION and score >= UNREAD_SCORE):
        lines.append(_Line("", score, box))
    return lines


MAX_HEIGHT = 0.5
UNREAD_PROPORTION = 2.5
UNREAD_HEIGHT = 0.04
UNREAD_SCORE = 0.5
UNREAD_SHARE = 1 / 3


def _in_reading_order(lines: list[_Line]) -> list[_Line]:
    """From the top, and from the left within a row: lines whose middles lie within half a height of each other."""
    rows: list[list[_Line]] = []
    for line in sorted(lines, key=lambda line: line.box.top + line.box.bottom):
        middle = (line.box.top + line.box.bottom) / 2
        last = rows[-1][0].box if rows else None
        if last and middle - (last.top + last.bottom) / 2 < min(last.height, line.box.height) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box.left)]


# ---- following lines over time -------------------------------------------------------------------------------


@dataclass
class _Track:
    """A line that is on screen: since when, what it says, and how and where it looked last."""

    start: float
    line: _Line
    look: _Look


@dataclass(eq=False)
class _Probe:
    """A frame between two that are read; it is itself read only to decide a doubt."""

    seconds: float
    image: Image
    grey: Grey
    lines: list[_Line] | None = None


@dataclass(frozen=True)
class _Read:
    """A frame that was read."""

    moment: _Moment
    small: Grey
    grey: Grey
    lines: tuple[_Line, ...]

    @property
    def known(self) -> list[_Line]:
        """The lines that were understood."""
        return [line for line in self.lines if line.text]

    @property
    def unread(self) -> int:
        """How many lines were not understood; a few among many others are pictures of something else."""
        unread = len(self.lines) - len(self.known)
        return unread if unread >= UNREAD_SHARE * len(self.lines) else 0


class _Follower:
    """Carries lines from one frame read to the next, and finds where between two frames a line begins and ends."""

    def __init__(self, path: str, begin: float, reader: _Reader, worker: Worker) -> None:
        self._reader = reader
        self._path = path
        self._worker = worker
        self._until = begin
        self._tracks: list[_Track] = []
        self._ended: list[TimedText] = []
        self._last: _Read | None = None
        self._probed: tuple[Span, list[_Probe]] | None = None
        self._confirmations = 0

    def frames(self, seconds: Sequence[float]) -> list[Image]:
        """The frames on display at these times."""
        batches = sample(self._path, at=list(seconds), short_side=SHORT_SIDE, worker=self._worker)
        return [image for frames in batches for image in frames.images]

    def container(self) -> str:
        return probe(self._path, worker=self._worker).container

    def follow(self, moment: _Moment, image: Image) -> Stretch:
        """Read a frame, close the lines that are gone and open the new ones."""
        small = _small(image)
        last = self._last
        if last is None or last.moment.shot != moment.shot or _changed(last.small, small):
            self._take(self._read(moment, image), MAX_READS_BETWEEN)
        else:
            self._last = replace(last, moment=moment)
        assert self._last is not None
        return self._stretch(moment.seconds, moment, self._last.unread)

    def end(self, duration: float) -> Stretch:
        """Close what is still open."""
        if self._last is not None:
            moment = replace(self._last.moment, seconds=duration)
            self._take(replace(self._last, moment=moment, lines=()), MAX_READS_BETWEEN)
        return self._stretch(max(duration, self._until), None, 0)

    def _read(self, moment: _Moment, image: Image) -> _Read:
        return _Read(moment, _small(image), _grey(image), tuple(self._reader.read(image)))

    def _take(self, read: _Read, more: int) -> int:
        """Take in a frame that was read: end the lines that are gone, begin the new ones.

        Where neither stand for long, a frame between is read first, in all at most ``more``; returns how many are left.
        """
        stayed = _pairs(self._tracks, read.known)
        ends = [
            (track, self._end_of(track, self._latest(read)))
            for place, track in enumerate(self._tracks)
            if place not in stayed
        ]
        starts = [
            (line, self._start_of(line, read)) for place, line in enumerate(read.known) if place not in stayed.values()
        ]
        unseen = self._unseen(read, [end for _, end in ends], [start for _, start in starts]) if more else None
        if unseen is not None:
            for image in self.frames([unseen.seconds]):
                between = self._read(unseen, image)
                more = self._take(between, more - 1 if between.known else 0)
                return self._take(read, more)
        for track, end in ends:
            self._emit(track, end)
        for place, track in enumerate(self._tracks):
            if place in stayed:
                line = read.known[stayed[place]]
                track.look = _Look.of(line.box, read.grey)
                track.line = line if line.score > track.line.score else track.line
        self._tracks = [track for place, track in enumerate(self._tracks) if place in stayed]
        self._tracks += [_Track(start, line, _Look.of(line.box, read.grey)) for line, start in starts]
        self._last = read
        return more

    def _latest(self, read: _Read) -> float:
        """How late what was read last can end when it is gone in this frame."""
        assert self._last is not None or not self._tracks
        return min(read.moment.seconds, self._last.moment.shot.end) if self._last else read.moment.seconds

    def _earliest(self, read: _Read) -> float:
        """How early a line can begin that is new in this frame."""
        same = self._last is not None and self._last.moment.shot == read.moment.shot
        return max(self._last.moment.seconds if same and self._last else read.moment.shot.start, self._until)

    def _unseen(self, read: _Read, ends: list[float], starts: list[float]) -> _Moment | None:
        """The middle of the first long stretch that had other text beside it, and none that is known."""
        last = self._last
        end, start = (sorted(times)[len(times) // 2] if times else None for times in (ends, starts))
        stretches: list[tuple[float, float, float, _Moment]] = []
        if last and last.moment.shot == read.moment.shot and end is not None and start is not None:
            stretches.append((end, start, UNSEEN_SECONDS, read.moment))
        else:
            if last and end is not None:
                stretches.append((end, self._latest(read), UNSEEN_BESIDE_SECONDS, last.moment))
            if start is not None:
                stretches.append((self._earliest(read), start, UNSEEN_BESIDE_SECONDS, read.moment))
        return next(
            (
                replace(moment, seconds=(begin + end) / 2)
                for begin, end, least, moment in stretches
                if end - begin >= least
            ),
            None,
        )

    def _end_of(self, track: _Track, latest: float) -> float:
        assert self._last is not None
        look, seen = track.look, self._last.moment.seconds
        for between in self._between(seen, latest):
            found = self._found(track.line, look, between)
            if found is None:
                return (seen + between.seconds) / 2
            seen, look = between.seconds, found
        return latest

    def _start_of(self, line: _Line, read: _Read) -> float:
        look, seen = _Look.of(line.box, read.grey), read.moment.seconds
        for between in reversed(self._between(self._earliest(read), seen)):
            found = self._found(line, look, between)
            if found is None:
                return (seen + between.seconds) / 2
            seen, look = between.seconds, found
        return self._earliest(read)

    def _found(self, line: _Line, look: _Look, probe: _Probe) -> _Look | None:
        """The line in a frame between two that were read; where its picture alone does not decide, it is read."""
        found, likeness = look.search(probe.grey)
        if likeness >= SURELY_LIKE or likeness < SURELY_UNLIKE:
            return found if likeness >= SURELY_LIKE else None
        if probe.lines is None:
            if self._confirmations == 0:
                return found if likeness >= PROBABLY_LIKE else None
            self._confirmations -= 1
            probe.lines = self._reader.read(probe.image)
        same = _pairs([_Track(0.0, line, look)], probe.lines)
        if same:
            return replace(look, box=probe.lines[same[0]].box)
        another = any(_distance(other.box, look.box) < SAME_PLACE for other in probe.lines)
        return found if likeness >= PROBABLY_LIKE and not another else None

    def _between(self, start: float, end: float) -> list[_Probe]:
        """Frames inside a stretch, close enough to place a change; the stretch asked for last is remembered."""
        span = Span(start, max(start, end))
        if self._probed is None or self._probed[0] != span:
            steps = min(MAX_PROBES, math.ceil(span.duration / PROBE_SECONDS))
            times = [start + span.duration * step / steps for step in range(1, steps)]
            images = self.frames(times) if times else []
            probes = [_Probe(time, image, _grey(image)) for time, image in zip(times, images, strict=False)]
            self._probed = span, probes
            self._confirmations = MAX_CONFIRMATIONS
        return self._probed[1]

    def _emit(self, track: _Track, end: float) -> None:
        span = Span(round(track.start, 3), round(max(track.start + SHORTEST_LINE_SECONDS, end), 3))
        self._ended.append(TimedText(span, track.line.text, "written", SOURCE))

    def _stretch(self, seconds: float, moment: _Moment | None, unread: int) -> Stretch:
        """What is settled now: all before the first line that is still open. Very long lines are parted."""
        if self._tracks and seconds - min(track.start for track in self._tracks) > LONGEST_LINE_SECONDS:
            for track in self._tracks:
                self._emit(track, seconds)
                track.start = seconds
        self._until = max(self._until, min([track.start for track in self._tracks], default=seconds))
        ready = sorted((text for text in self._ended if text.span.end <= self._until), key=lambda text: text.span.start)
        self._ended = [text for text in self._ended if text.span.end > self._until]
        if not self._tracks:
            ready, self._ended = ready + self._ended, []
        gaps = (Gap(moment.part, _unread_reason(unread)),) if moment is not None and unread else ()
        return Stretch(self._until, tuple(ready), gaps)


def _unread_reason(lines: int) -> str:
    return f"{lines} line{'s' * (lines > 1)} of text not understood (read are {', '.join(SCRIPTS_READ)})"


def _pairs(tracks: Sequence[_Track], lines: Sequence[_Line]) -> dict[int, int]:
    """Which line (by place) continues which track (by place): the likest and nearest first."""
    likeness = []
    for at, track in enumerate(tracks):
        before = _letters(track.line.text)
        for place, line in enumerate(lines):
            now = _letters(line.text)
            distance = _distance(track.look.box, line.box)
            # in the same place, or in the same column: credits roll
            near = distance < SAME_PLACE or abs(track.look.box.left - line.box.left) < SAME_COLUMN
            same = 1.0 if before == now else _likeness(before, now) if near else 0.0
            if same >= (SAME_TEXT if distance < SAME_PLACE else SAME_TEXT_ELSEWHERE):
                likeness.append((same - min(1.0, distance), at, place))
    pairs: dict[int, int] = {}
    for _, at, place in sorted(likeness, reverse=True):
        if at not in pairs and place not in pairs.values():
            pairs[at] = place
    return pairs


SAME_PLACE, SAME_COLUMN = 0.03, 0.01
SAME_TEXT, SAME_TEXT_ELSEWHERE = 0.75, 0.8


def _likeness(one: str, other: str) -> float:
    """Of two texts, in [0, 1]; cheap where they have little in common."""
    matcher = SequenceMatcher(None, one, other, False)
    return matcher.ratio() if matcher.quick_ratio() >= SAME_TEXT else 0.0


def _letters(text: str) -> str:
    return "".join(mark for mark in text.casefold() if mark.isalnum())


def _distance(one: _Box, other: _Box) -> float:
    """Between the boxes' left ends and middles, in parts of the picture."""
    return max(abs(one.left - other.left), abs(one.top + one.bottom - other.top - other.bottom) / 2)


# ---- pictures ------------------------------------------------------------------------------------------------

LOOK_WIDTH = 640
STROKE_WIDTH = 3.0
SURELY_LIKE, PROBABLY_LIKE, SURELY_UNLIKE = 0.85, 0.7, 0.5
"""Correlation with a line's picture from which it is there, from which it is taken to be there, and below which not."""

DRIFT_HEIGHTS = 3.0
"""How far a line may roll between two frames, in its own heights."""

SMALL_WIDTH = 192
CHANGED_LEVELS = 14.0


@dataclass(frozen=True, eq=False)
class _Look:
    """A line's own picture, grey float32, and where it stands."""

    box: _Box
    picture: Grey

    @classmethod
    def of(cls, box: _Box, grey: Grey) -> _Look:
        top, bottom, left, right = _pixels(box, grey)
        return cls(box, grey[top:bottom, left:right])

    def search(self, grey: Grey) -> tuple[_Look, float]:
        """Where the line's picture fits best in another frame near by, and how well (to 1)."""
        import cv2

        top, bottom, left, right = _pixels(self.box, grey, across=0.5, along=DRIFT_HEIGHTS)
        field = grey[top:bottom, left:right]
        rows, columns = self.picture.shape
        if rows > field.shape[0] or columns > field.shape[1]:
            return self, 0.0
        _, likeness, _, (x, y) = cv2.minMaxLoc(_correlation(field, self.picture))
        height, width = grey.shape
        x, y = left + x, top + y
        box = _Box(x / width, y / height, (x + columns) / width, (y + rows) / height)
        return _Look(box, self.picture), float(likeness)


def _correlation(field: Grey, picture: Grey) -> Grey:
    """Of a picture with each place of a field, (rows, columns) of places; 0 where the field is flat.

    OpenCV's own normalisation divides by nearly nothing there, and finds every picture in an empty wall.
    """
    import cv2

    rows, columns = picture.shape
    sums, squares = cv2.integral2(field, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
    total, power = (
        table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns] + table[:-rows, :-columns]
        for table in (sums, squares)
    )
    variance = np.maximum(power / picture.size - (total / picture.size) ** 2, 0.0)
    spread = np.sqrt(variance) * picture.std() * picture.size
    together = cv2.matchTemplate(field, picture, cv2.TM_CCOEFF)
    flat = (variance < 1.0) | (spread < picture.size)
    return np.asarray(np.where(flat, 0.0, together / np.maximum(spread, 1.0)), np.float32)


def _pixels(box: _Box, grey: Grey, across: float = 0.0, along: float = 0.0) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a box in a picture, widened by so many of its heights."""
    height, width = grey.shape
    rows = box.height * height
    top, bottom = box.top * height - along * rows, box.bottom * height + along * rows
    left, right = box.left * width - across * rows, box.right * width + across * rows
    return (
        max(0, math.floor(top)),
        min(height, math.ceil(bottom)),
        max(0, math.floor(left)),
        min(width, math.ceil(right)),
    )


def _grey(image: Image) -> Grey:
    """A frame in grey, LOOK_WIDTH on its long side, without what is broader than a letter's strokes.

    So a line is known by its letters, on whatever it stands.
    """
    import cv2

    grey = _shrunk(image, LOOK_WIDTH)
    return grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), STROKE_WIDTH), np.float32)


def _small(image: Image) -> Grey:
    """A frame small enough to forget noise, large enough to see one line change."""
    return _shrunk(image, SMALL_WIDTH)


def _shrunk(image: Image, long_side: int) -> Grey:
    import cv2

    scale = long_side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.float32)


def _changed(before: Grey, now: Grey) -> bool:
    """Whether anything as large as a word differs."""
    return before.shape != now.shape or bool(np.abs(before - now).max() > CHANGED_LEVELS)
