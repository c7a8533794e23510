"""What came of a run, file by file."""

from __future__ import annotations

from dataclasses import dataclass

DONE = ("indexed", "changed", "moved", "duplicate", "extended", "partial")
SKIPPED = ("unchanged", "elsewhere", "missing")


@dataclass(frozen=True)
class FileOutcome:
    """What became of one media file, and why.

    outcome: indexed (new), changed (indexed anew), moved, duplicate (its content was here), extended (a sense was
    added), partial (``note`` says what is missing), unchanged, elsewhere (another process works on it), missing
    (gone from disk, still searchable), waiting (to be tried again) or failed.
    """

    path: str
    outcome: str
    note: str = ""


@dataclass(frozen=True)
class IngestReport:
    """Every media file's outcome; ``other`` counts files that are no media; ``warnings`` say what limited the run."""

    files: tuple[FileOutcome, ...]
    other: int = 0
    warnings: tuple[str, ...] = ()

    def _of(self, *outcomes: str) -> tuple[FileOutcome, ...]:
        return tuple(file for file in self.files if file.outcome in outcomes)

    @property
    def done(self) -> tuple[FileOutcome, ...]:
        """Files that this run brought something of into the library."""
        return self._of(*DONE)

    @property
    def skipped(self) -> tuple[FileOutcome, ...]:
        """Files that needed nothing, are gone, or are another process's."""
        return self._of(*SKIPPED)

    @property
    def partly(self) -> tuple[FileOutcome, ...]:
        """Files of which some seconds or a sense could not be used."""
        return self._of("partial")

    @property
    def waiting(self) -> tuple[FileOutcome, ...]:
        """Files that another run should try again: they changed while they were read, or were gone for a moment."""
        return self._of("waiting")

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """Files of which nothing could be used in this run."""
        return self._of("failed")
