"""Files into the library: what there is to do (plan), doing it sense by sense (run), and what came of it (report)."""

from __future__ import annotations

from saccade.ingest.plan import SENSES, Plan, PlanItem, scan
from saccade.ingest.progress import Progress
from saccade.ingest.report import FileOutcome, IngestReport
from saccade.ingest.run import ingest

__all__ = ["SENSES", "FileOutcome", "IngestReport", "Plan", "PlanItem", "Progress", "ingest", "scan"]
