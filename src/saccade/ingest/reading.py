"""What is said and written: subtitles, speech, and text on screen, each committed as it is found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from saccade.errors import DecoderCrashed, MediaError, UnreadableMedia
from saccade.index.catalog import Catalog
from saccade.index.claims import Claim
from saccade.index.records import VideoRow
from saccade.index.writer import Writer
from saccade.ingest.passes import Line, Source, Tools
from saccade.types import Stretch, TimedText
from saccade.video.audio import read_audio
from saccade.video.speech import Recognizer
from saccade.video.subtitles import read_subtitles

COMMIT_SECONDS = 60.0
"""How many seconds of media a text sense may lose when it is killed."""

NO_SOUND = "no sound"
NO_PICTURE = "no picture"
NO_SUBTITLES = "no subtitles"


def read_subtitle_files(tools: Tools, source: Source, claim: Claim, sidecars: str) -> None:
    """Subtitles beside the file and inside it, in one go; older ones of this video are replaced."""
    assert source.video is not None
    texts: tuple[TimedText, ...] = ()
    state: str | None = None
    try:
        found = read_subtitles(source.path, worker=tools.worker)
    except (DecoderCrashed, UnreadableMedia) as error:
        note, state = error.reason, "failed"
    else:
        texts, note = found.texts, "; ".join(found.notes)
        state = None if texts or note else "absent"
    encode = _encoded(tools, texts)
    with tools.catalog.commit(claim) as writer:
        line = Line.begin(writer, source.video, "subtitles", "subtitles", f"{sidecars}\n{source.path}")
        encode(writer, line)
        line.add(source.info.duration if state != "failed" else 0.0, items=len(texts))
        line.finish(writer, state, note or ("" if texts else NO_SUBTITLES))


def hear(tools: Tools, video: VideoRow, claim: Claim, recognizer: Recognizer) -> str:
    """Speech to text, from the proxy's sound where there is a proxy. Returns what went wrong, or nothing."""
    proxy = tools.catalog.proxy(video.id)
    origin = proxy if proxy is not None and proxy.exists() else video.path
    made_from = "source" if origin is video.path else "proxy"

    def stretches(begin: float) -> Iterator[Stretch]:
        chunks = read_audio(origin, begin=begin, worker=tools.worker)
        with contextlib.closing(chunks):  # type: ignore[type-var]
            yield from recognizer.transcribe(chunks)

    if video.info.audio is None:
        return _absent(tools.catalog, video, claim, "said", NO_SOUND)
    return _TextPass(tools, video, claim, "said", recognizer.name, made_from).run(stretches)


def read(tools: Tools, video: VideoRow, claim: Claim) -> str:
    """Text on screen, from the source: the proxy is too small for it. Returns what went wrong, or nothing."""
    from saccade.video.ocr import read_screen

    if video.info.video is None:
        return _absent(tools.catalog, video, claim, "written", NO_PICTURE)
    shots = tools.catalog.shots(video.id)

    def stretches(begin: float) -> Iterator[Stretch]:
        return read_screen(
            video.path, shots, video.info.duration, every=tools.ocr_every, begin=begin, worker=tools.worker
        )

    return _TextPass(tools, video, claim, "written", "rapidocr", "source").run(stretches)


class _TextPass:
    """A sense that walks through a file in stretches and finds timed text."""

    def __init__(self, tools: Tools, video: VideoRow, claim: Claim, sense: str, tool: str, made_from: str) -> None:
        self._tools, self._video, self._claim = tools, video, claim
        self._sense, self._tool, self._made_from = sense, tool, made_from
        ledger = tools.catalog.passes(video.id)
        self._line = Line.resume(ledger, sense, tool)
        if tools.force and self._line is not None and self._line.served:
            self._line = None
        self._pending: list[Stretch] = []

    def run(self, stretches: Callable[[float], Iterator[Stretch]]) -> str:
        clock, duration = self._tools.clock, self._video.info.duration
        begin = self._line.coverage.seconds_seen if self._line else 0.0
        clock.start(self._video.path, self._sense, begin, duration)
        stream = stretches(begin)
        try:
            with contextlib.closing(stream):  # type: ignore[type-var]
                for stretch in stream:
                    self._pending.append(stretch)
                    clock.tick(stretch.until)
                    if stretch.until - begin >= COMMIT_SECONDS:
                        self._commit()
                        begin = stretch.until
        except (DecoderCrashed, UnreadableMedia) as error:
            self._tools.check_space()
            self._commit(error)
            return error.reason
        self._commit(last=True)
        return ""

    def _commit(self, error: MediaError | None = None, last: bool = False) -> None:
        """Keep the stretches so far."""
        stretches, self._pending = self._pending, []
        texts = [text for stretch in stretches for text in stretch.texts]
        put = _encoded(self._tools, texts)
        with self._tools.catalog.commit(self._claim) as writer:
            if self._line is None:
                self._line = Line.begin(writer, self._video.id, self._sense, self._tool)
            line = self._line
            put(writer, line)
            dropped = sum(len(stretch.dropped) for stretch in stretches)
            line.add(
                stretches[-1].until if stretches else line.coverage.seconds_seen,
                gaps=[gap for stretch in stretches for gap in stretch.gaps],
                items=len(texts),
                made_from=self._made_from,
                note=_with_dropped(line.coverage.note, dropped),
            )
            if error is not None:
                line.fail(self._video.info.duration, error.reason)
                line.finish(writer, "partial" if line.coverage.items else "failed")
            elif last:
                line.finish(writer)
            else:
                line.write(writer)


def _encoded(tools: Tools, texts: Sequence[TimedText]) -> Callable[[Writer, Line], None]:
    """Sentence vectors are made before the transaction begins; what is returned writes them inside it."""
    if not texts:
        return lambda writer, line: None
    sentences = tools.sentences()
    vectors = sentences.encode([text.text for text in texts])

    def put(writer: Writer, line: Line) -> None:
        writer.put_texts(line.key, texts, vectors, sentences.name)

    return put


DROPPED = " made up where nobody speaks, held back"


def _with_dropped(note: str, dropped: int) -> str:
    """A note that counts the texts which the recogniser made up."""
    before = int(note.partition(" ")[0]) if note.endswith(DROPPED) else 0
    return f"{before + dropped}{DROPPED}" if before + dropped else note


def _absent(catalog: Catalog, video: VideoRow, claim: Claim, sense: str, note: str) -> str:
    with catalog.commit(claim) as writer:
        Line.begin(writer, video.id, sense, "").finish(writer, "absent", note)
    return ""
