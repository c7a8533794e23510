"""Bring files into a library, sense by sense: first all is seen, then all is heard, then all is read.

Each file's content is claimed for one sense at a time, worked through in parts, and committed part by part, so a
run can be stopped at any moment and two runs share the work. A changed file's old evidence stays until the first
part of the new content is in. A broken file is a row in the ledger; the rest goes on.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any

from saccade.encode import FrameEncoder
from saccade.errors import ClaimLost, MediaError, MissingExtra, SourceGone, UnreadableMedia, WeightsError
from saccade.index.catalog import Catalog
from saccade.index.claims import Claim, Heartbeat
from saccade.index.records import FileRow, VideoRow
from saccade.index.writer import Writer
from saccade.ingest.fetch import fetch
from saccade.ingest.passes import FileChanged, Source, Tools, note_waiting, stamp_of
from saccade.ingest.plan import SENSES, Plan, PlanItem, Stamp, due_senses, scan, sidecars_due
from saccade.ingest.progress import Clock, Progress
from saccade.ingest.report import FileOutcome, IngestReport

HASHED_AHEAD = 2
HASH_BLOCK = 4 << 20
UNKNOWN = Stamp(-1, -1)
"""The stamp of a file that was not read to its end: no file has it, so the next run takes it up."""


def ingest(
    catalog: Catalog,
    paths: Sequence[str] | Plan,
    *,
    encoder: FrameEncoder | None = None,
    sentence_encoder: Any = None,
    senses: Collection[str] = SENSES,
    every: float = 1.0,
    mode: str = "auto",
    ocr_every: float = 10.0,
    language: str | None = None,
    speech_model: str | None = None,
    verify: bool = False,
    force: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Index files, folders, globs and URLs, or what a Plan found. What is there and unchanged is not read again.

    sentence_encoder: of ``saccade.encode``, loaded when the first text is found unless given. verify: hash files
    that look unchanged. force: make every chosen sense anew; the old evidence is served until the new is whole.
    The encoder and settings given here hold, also where a Plan was made with others.

    Raises InputError, MissingExtra (URLs without yt-dlp) or LibraryError (the disk is full); what was committed
    before stays, as it does after Ctrl-C.
    """
    if not isinstance(paths, Plan):
        name = encoder.name if encoder else None
        local = [path for given in paths for path in (fetch(given, catalog.folder) if "://" in given else [given])]
        paths = scan(
            local, catalog, senses=senses, encoder=name, every=every, mode=mode, ocr_every=ocr_every, force=force
        )
    clock = Clock(paths, on_progress)
    with ExitStack() as stack:
        tools = Tools(
            catalog=catalog,
            worker=stack.enter_context(_worker()),
            heartbeat=stack.enter_context(Heartbeat(catalog.folder)),
            clock=clock,
            encoder=encoder,
            sentences=_sentences(sentence_encoder),
            every=every,
            mode=mode,
            ocr_every=ocr_every,
            language=language,
            speech_model=speech_model,
            force=force,
        )
        run = _Run(tools, paths, verify)
        run.register()
        run.see_all()
        run.hear_all()
        run.read_all()
    catalog.sweep()
    return run.report()


def _worker() -> Any:
    from saccade.video.worker import Worker

    return Worker()


def _sentences(given: Any) -> Callable[[], Any]:
    from saccade.encode import sentence_encoder

    return sentence_encoder if given is None else lambda: given


class _Run:
    """One call of ``ingest``: the files' way through the senses, and what became of each."""

    def __init__(self, tools: Tools, plan: Plan, verify: bool) -> None:
        self._tools, self._plan, self._verify = tools, plan, verify
        self._outcomes: dict[str, FileOutcome] = {}
        self._warnings = list(plan.warnings)
        self._videos: dict[str, PlanItem] = {}
        self._encoder = tools.encoder.name if tools.encoder else None
        self._stop = threading.Event()

    def report(self) -> IngestReport:
        files = (self._outcomes.get(item.path, FileOutcome(item.path, "unchanged")) for item in self._plan.items)
        return IngestReport(tuple(files), self._plan.other, tuple(dict.fromkeys(self._warnings)))

    def register(self) -> None:
        """Every file gets its row in the ledger before work begins; those that are gone are marked."""
        rows = {file.path: file for file in self._tools.catalog.files()}
        fresh = [item for item in self._plan.items if item.path not in rows and item.state == "new"]
        gone = [item for item in self._plan.items if item.state == "missing"]
        back = [item for item in self._plan.items if item.state == "unchanged" and rows[item.path].state == "missing"]
        for item in gone:
            self._note(item, "missing", "not on disk any more; what was seen of it stays searchable")
        unmarked = [item for item in gone if rows[item.path].state != "missing"]
        if fresh or unmarked or back:
            with self._tools.catalog.commit() as writer:
                for item in fresh:
                    writer.add_file(FileRow(item.path, *item.stamp, None, "waiting"))
                for item in unmarked:
                    writer.mark_missing(item.path)
                for item in back:
                    row = rows[item.path]
                    state = "indexed" if row.video else "waiting"
                    writer.put_file(FileRow(item.path, *item.stamp, row.video, state, row.error))

    # Seen

    def see_all(self) -> None:
        """The first pass: identify every file, then shots, proxy, vectors and subtitles."""
        held: list[PlanItem] = []
        with closing(self._identified(self._to_see())) as identified:
            for item, identity in identified:
                self._tools.check_space()
                if self._guarded(item, identity.result):
                    self._finished(item)
                else:
                    held.append(item)
        for item in held:
            if not self._guarded(item, partial(self._identity, item)):
                self._note(item, "elsewhere", "another process is working on it")
            self._finished(item)
        for item in self._plan.items:
            if item.state == "missing" and "seen" in item.due:
                self._see_proxy(item)
                self._finished(item)

    def _finished(self, item: PlanItem) -> None:
        for sense in ("seen", "subtitles"):
            if sense in item.due:
                self._tools.clock.finish(item.path, sense)

    def _to_see(self) -> list[PlanItem]:
        """Files whose content is to be found out or looked at; the videos of the others are known already."""
        first = []
        for item in self._plan.items:
            if item.video is not None and item.state in ("begun", "unchanged", "missing") and item.due:
                self._videos.setdefault(item.video, item)
            unknown = item.state in ("new", "changed", "moved") or (item.video is None and item.due)
            due = {"seen", "subtitles"} & set(item.due)
            verified = self._verify and item.video is not None
            if item.state != "missing" and (unknown or due or verified):
                first.append(item)
        return first

    def _identified(self, items: Sequence[PlanItem]) -> Generator[tuple[PlanItem, Future[str]], None, None]:
        """Items with their content's hash, which is taken while the ones before are worked on."""
        ahead: deque[tuple[PlanItem, Future[str]]] = deque()
        with ThreadPoolExecutor(1, "saccade-hash") as pool:
            try:
                for item in items:
                    ahead.append((item, pool.submit(self._identity, item)))
                    if len(ahead) > HASHED_AHEAD:
                        yield ahead.popleft()
                yield from ahead
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                self._stop.clear()

    def _identity(self, item: PlanItem) -> str:
        """The content's hash; of a file that was indexed as it is now, the one that is known."""
        if item.state == "unchanged" and item.video is not None and not self._verify:
            return self._tools.catalog.video(item.video).content_hash
        return _hash(item, self._stop)

    def _guarded(self, item: PlanItem, identity: Callable[[], str]) -> bool:
        """Do one file's work; what is wrong with the file ends up in its row. False where another process holds it."""
        try:
            return self._see(item, identity())
        except ClaimLost:
            return False
        except (FileChanged, SourceGone) as error:
            self._put_failure(item, "waiting", error.reason)
        except MediaError as error:
            self._put_failure(item, "failed", error.reason)
        except OSError as error:
            self._put_failure(item, "failed", error.strerror or str(error))
        return True

    def _put_failure(self, item: PlanItem, state: str, reason: str) -> None:
        """A file of which nothing could be used. What lay at its path before stays searchable."""
        catalog = self._tools.catalog
        before = catalog.file(item.path)
        video = before.video if before else None
        with catalog.commit() as writer:
            if state == "waiting" and video is not None and video != item.video:
                writer.drop_file(item.path)
                writer.forget_unnamed(video)
                video = None
            stamp = item.stamp if state == "failed" else UNKNOWN
            writer.put_file(FileRow(item.path, *stamp, video, state, reason))
        self._note(item, state, reason)

    def _see(self, item: PlanItem, content_hash: str) -> bool:
        """One file's first pass; False where another process holds its content."""
        from saccade.video import probe

        catalog = self._tools.catalog
        if item.stamp.size == 0:
            raise UnreadableMedia(item.path, "the file is empty")
        with catalog.claim(content_hash, "seen", self._tools.heartbeat) as claim:
            if claim is None:
                return False
            video = catalog.video_of_content(content_hash)
            info = catalog.video(video).info if video else probe(item.path, worker=self._tools.worker)
            replaces = item.video if item.state == "changed" or (self._verify and item.video != video) else None
            source = Source(item.path, item.stamp, content_hash, info, video, replaces)
            self._bring_up_to_date(item, source, claim)
        return True

    def _bring_up_to_date(self, item: PlanItem, source: Source, claim: Claim) -> None:
        catalog, senses = self._tools.catalog, self._plan.senses
        known = source.video is not None
        row = catalog.file(item.path)
        here = known and row is not None and row.video == source.video
        source.check_unchanged()
        ledger = catalog.passes(source.video) if source.video else []
        due = set(senses) if self._tools.force else set(due_senses(ledger, senses, self._encoder))
        if "subtitles" in senses and sidecars_due(ledger, item.path, item.sidecars):
            due.add("subtitles")
        moved = False
        if known or "seen" not in due:
            with catalog.commit(claim) as writer:
                source.enter(writer)
                moved = item.state != "unchanged" and self._drop_old_path(writer, source)
            source.entered()
        if "seen" in due:
            from saccade.ingest.seeing import see

            see(self._tools, source, claim)
        if "subtitles" in due:
            from saccade.ingest.reading import read_subtitle_files

            read_subtitle_files(self._tools, source, claim, item.sidecars)
        with catalog.commit(claim) as writer:
            source.put_file(writer, "indexed")
        assert source.video is not None
        self._videos[source.video] = item
        outcome = "moved" if moved else _outcome(item, source, known, here, bool(due & {"seen", "subtitles"}))
        if source.error:
            self._note(item, "partial", source.error)
        elif outcome != "unchanged":
            self._note(item, outcome)

    def _drop_old_path(self, writer: Writer, source: Source) -> bool:
        """Take away a path of this content that is gone from disk: the file has moved here."""
        for file in self._tools.catalog.files(source.video):
            if file.path != source.path and not os.path.exists(file.path):
                writer.drop_file(file.path)
                return True
        return False

    def _see_proxy(self, item: PlanItem) -> None:
        """A file that is gone can still be seen by another encoder."""
        from saccade.ingest.seeing import see

        catalog = self._tools.catalog
        assert item.video is not None
        video = catalog.video(item.video)
        with suppress(ClaimLost), catalog.claim(video.content_hash, "seen", self._tools.heartbeat) as claim:
            if claim is not None:
                source = Source(item.path, item.stamp, video.content_hash, video.info, video.id)
                see(self._tools, source, claim)
                self._note(item, "partial" if source.error else "extended", source.error)

    # Said and written

    def hear_all(self) -> None:
        """The second pass: speech, over everything that has sound."""
        pending = self._pending("said")
        if not pending:
            return
        from saccade.ingest.reading import hear
        from saccade.video.speech import load_recognizer

        try:
            recognizer = load_recognizer(self._tools.speech_model, language=self._tools.language)
        except (MissingExtra, WeightsError) as error:
            self._wait(pending, "said", str(error))
            return
        for video, item in pending:
            self._text_sense(video, item, "said", lambda v, c: hear(self._tools, v, c, recognizer))

    def read_all(self) -> None:
        """The third pass: text on screen."""
        pending = self._pending("written")
        if not pending:
            return
        from saccade.ingest.reading import read

        for at, (video, item) in enumerate(pending):
            try:
                self._text_sense(video, item, "written", lambda v, c: read(self._tools, v, c))
            except (MissingExtra, WeightsError) as error:
                self._wait(pending[at:], "written", str(error))
                return

    def _pending(self, sense: str) -> list[tuple[VideoRow, PlanItem]]:
        """Videos of this plan that this sense has not finished."""
        if sense not in self._plan.senses:
            return []
        catalog = self._tools.catalog
        pending = []
        for video in catalog.videos(list(self._videos)):
            ledger = catalog.passes(video.id)
            if self._tools.force or sense in due_senses(ledger, self._plan.senses, self._encoder):
                pending.append((video, self._videos[video.id]))
        return pending

    def _text_sense(self, video: VideoRow, item: PlanItem, sense: str, work: Callable[[VideoRow, Claim], str]) -> None:
        catalog = self._tools.catalog
        self._tools.check_space()
        with catalog.claim(video.content_hash, sense, self._tools.heartbeat) as claim:
            if claim is None:
                return
            if not self._tools.force and sense not in due_senses(catalog.passes(video.id), [sense], self._encoder):
                return
            before = self._outcomes.get(item.path, FileOutcome(item.path, "extended"))
            try:
                failure = work(video, claim)
                self._note(item, before.outcome if not failure else "partial", failure or before.note)
            except ClaimLost:
                return
            except SourceGone as error:
                self._warnings.append(f"{sense} waits for {error}")
                with catalog.commit(claim) as writer:
                    note_waiting(writer, catalog.passes(video.id), video.id, sense, error.reason)
        self._tools.clock.finish(item.path, sense)

    def _wait(self, pending: Sequence[tuple[VideoRow, PlanItem]], sense: str, reason: str) -> None:
        """A sense whose tool is not here: the ledger says what it waits for, and the rest of the run goes on."""
        self._warnings.append(reason)
        catalog = self._tools.catalog
        ledgers = [(video.id, catalog.passes(video.id)) for video, _ in pending]
        fresh = [(video, rows) for video, rows in ledgers if not any(row.coverage.sense == sense for row in rows)]
        if fresh:
            with catalog.commit() as writer:
                for video, rows in fresh:
                    note_waiting(writer, rows, video, sense, reason)
        for _, item in pending:
            self._tools.clock.finish(item.path, sense)

    def _note(self, item: PlanItem, outcome: str, note: str = "") -> None:
        self._outcomes[item.path] = FileOutcome(item.path, outcome, note)


def _outcome(item: PlanItem, source: Source, known: bool, here: bool, worked: bool) -> str:
    """known: the content was in the library, here: even at this path."""
    if source.replaces is not None and source.replaces != source.video:
        return "changed"
    if here and item.state != "begun":
        return "extended" if worked else "unchanged"
    return "duplicate" if known and item.state != "begun" else "indexed"


def _hash(item: PlanItem, stop: threading.Event) -> str:
    """SHA-256 of a file's content; FileChanged where it did not stay the same meanwhile."""
    digest = hashlib.sha256()
    with open(item.path, "rb") as file:
        while block := file.read(HASH_BLOCK):
            if stop.is_set():
                raise FileChanged(item.path, "was not read to its end")
            digest.update(block)
    if stamp_of(item.path) != item.stamp:
        raise FileChanged(item.path)
    return digest.hexdigest()
