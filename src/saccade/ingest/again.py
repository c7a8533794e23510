"""See a whole library anew with another frame encoder, from its proxies; and then go over to that encoder.

The new vectors stand beside the old ones, which search goes on to use. Each part is committed as it is done, so
that a run which was stopped goes on where it was; going over is one transaction, once no video waits any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from saccade.encode import FrameEncoder
from saccade.errors import ClaimLost
from saccade.index.catalog import Catalog
from saccade.index.claims import Heartbeat
from saccade.index.records import PassRow, VideoRow
from saccade.ingest.passes import Source, Tools
from saccade.ingest.plan import FINISHED, WATCHED_PIXELS, Length, Plan, PlanItem, Stamp
from saccade.ingest.progress import Clock, Progress
from saccade.ingest.report import FileOutcome, IngestReport
from saccade.ingest.seeing import embed
from saccade.video.worker import Worker

PROXY_PIXELS = 256 * 455
PROXY_RATE = 2 / 25
"""A proxy beside its source: pixels of a frame, and how many of the source's frames it holds."""


def plan_reembedding(catalog: Catalog, encoder: str) -> Plan:
    """The videos that this encoder (by its name) has not seen to their end, as work to do."""
    waiting = _waiting(catalog, encoder)
    stamps = {file.path: Stamp(file.size, file.mtime_ns) for file in catalog.files()}
    items = (
        PlanItem(video.path, stamps.get(video.path, Stamp(0, 0)), "unchanged", video.id, "", ("seen",))
        for video in waiting
    )
    return Plan(
        items=tuple(items),
        senses=("seen",),
        encoder=encoder,
        known={video.id: _length(catalog, video) for video in waiting},
    )


def reembed(
    catalog: Catalog, encoder: FrameEncoder, *, on_progress: Callable[[Progress], None] | None = None
) -> IngestReport:
    """Bring every video that has been watched to its end up to date with this encoder, at its former frame rate.

    What another process works on is reported as ``elsewhere``. Raises LibraryError where the disk is full; what
    was committed before stays, as it does after Ctrl-C.
    """
    plan = plan_reembedding(catalog, encoder.name)
    clock = Clock(plan, on_progress)
    with ExitStack() as stack:
        tools = Tools(
            catalog=catalog,
            worker=stack.enter_context(Worker()),
            heartbeat=stack.enter_context(Heartbeat(catalog.folder)),
            clock=clock,
            encoder=encoder,
            sentences=lambda: None,
            every=plan.every,
            mode=plan.mode,
            ocr_every=plan.ocr_every,
            language=None,
            speech_model=None,
            force=False,
        )
        outcomes = tuple(_see_anew(tools, encoder, item) for item in plan.items)
    return IngestReport(outcomes)


def go_over(catalog: Catalog, encoder: str, place: str, *, keep_old: bool = False) -> bool:
    """Search by this encoder from now on, and drop the vectors of the others unless they are to be kept.

    False, and nothing changed, while a video still waits for it, or if it could see none of what others have seen.
    """
    with catalog.commit() as writer:
        seen_by = catalog.encoders()
        if _waiting(catalog, encoder) or (seen_by and encoder not in seen_by):
            return False
        writer.choose_encoder(encoder, place, drop_others=not keep_old)
    return True


def _waiting(catalog: Catalog, encoder: str) -> list[VideoRow]:
    """Videos that were watched to their end, and that this encoder has not."""
    ledger: dict[str, list[PassRow]] = {}
    for row in catalog.passes():
        ledger.setdefault(row.video, []).append(row)
    return [video for video in catalog.videos() if video.kind == "video" and _waits(ledger.get(video.id, ()), encoder)]


def _waits(ledger: Iterable[PassRow], encoder: str) -> bool:
    lines = {(row.coverage.sense, row.coverage.tool): row.coverage.state for row in ledger}
    return lines.get(("shots", "")) in FINISHED and lines.get(("seen", encoder)) not in FINISHED


def _see_anew(tools: Tools, encoder: FrameEncoder, item: PlanItem) -> FileOutcome:
    tools.check_space()
    catalog = tools.catalog
    assert item.video is not None
    video = catalog.video(item.video)
    try:
        with catalog.claim(video.content_hash, "seen", tools.heartbeat) as claim:
            ledger = catalog.passes(video.id)
            if claim is None:
                return FileOutcome(item.path, "elsewhere", "another process is working on it")
            if not _waits(ledger, encoder.name):
                return FileOutcome(item.path, "unchanged")
            source = Source(item.path, item.stamp, video.content_hash, video.info, video.id)
            embed(replace(tools, **_settings(ledger)), source, claim, ledger, encoder)
    except ClaimLost:
        return FileOutcome(item.path, "elsewhere", "another process took it over")
    finally:
        tools.clock.finish(item.path, "seen")
    return FileOutcome(item.path, "partial" if source.error else "extended", source.error)


def _settings(ledger: Iterable[PassRow]) -> dict[str, Any]:
    """``every`` and ``mode`` as the frames were last encoded with, else as the film was watched with."""
    of_sense = {row.coverage.sense: row.settings for row in ledger if row.settings}
    written = json.loads(of_sense.get("seen") or of_sense.get("shots") or "{}")
    return {name: written[name] for name in ("every", "mode") if name in written}


def _length(catalog: Catalog, video: VideoRow) -> Length:
    proxy = catalog.proxy(video.id)
    if proxy is None or not proxy.exists():
        return Length.of(video.info)
    return Length(video.info.duration, video.info.duration * PROXY_RATE * PROXY_PIXELS / WATCHED_PIXELS)
