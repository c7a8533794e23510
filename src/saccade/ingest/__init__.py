"""Files into the library: what there is to do (plan), doing it sense by sense (run), and what came of it (report).

And a whole library seen once more, by another frame encoder (again).
"""

from __future__ import annotations

from saccade.ingest.again import go_over, plan_reembedding, reembed
from saccade.ingest.plan import SENSES, Plan, PlanItem, scan
from saccade.ingest.progress import Progress
from saccade.ingest.report import FileOutcome, IngestReport
from saccade.ingest.run import ingest

__all__ = [
    "SENSES",
    "FileOutcome",
    "IngestReport",
    "Plan",
    "PlanItem",
    "Progress",
    "go_over",
    "ingest",
    "plan_reembedding",
    "reembed",
    "scan",
]
