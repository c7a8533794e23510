"""What can go wrong, as one tree. Every message says what happened, what was kept, and what to do next.

SaccadeError
├── InputError              the caller's argument is wrong (exit code 2 on the command line)
├── MediaError              a file cannot be read as video or sound
│   ├── UnreadableMedia     no container, or no stream that can be decoded
│   ├── DecoderCrashed      the decoding child process died (crash, memory limit)
│   └── SourceGone          the file is not there any more
├── WeightsError            weights are missing, altered, or cannot be fetched
│   ├── HubUnreachable      the model hub does not answer
│   ├── EncoderChanged      the encoder is not the one that made the library's vectors
│   └── WeightsAltered      a file's sha256 is not the one that was expected
├── TrainingError           a training run cannot begin, go on, or learn anything more
├── MissingExtra            an optional package is not installed
└── LibraryError            the library folder is absent, locked, damaged, full, or of another format
    ├── NotInLibrary        no such video in the library
    └── ClaimLost           another process took over the work on this video
"""

from __future__ import annotations


class SaccadeError(Exception):
    """Base of every error that saccade raises on purpose."""


class InputError(SaccadeError, ValueError):
    """An argument is out of its range or contradicts another one."""


class MediaError(SaccadeError):
    """A media file cannot be used; ``path`` names it."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.reason)


class UnreadableMedia(MediaError):
    """No container was recognised, or none of its streams can be decoded."""


class DecoderCrashed(MediaError):
    """The child process that decoded this file died; everything else goes on."""


class SourceGone(MediaError):
    """The source file is not where it was when it was indexed."""


class WeightsError(SaccadeError):
    """Model weights are missing or unusable."""


class HubUnreachable(WeightsError):
    """The model hub did not answer within two seconds."""


class EncoderChanged(WeightsError):
    """The frame encoder that a library remembers is another one by now; its vectors cannot be compared."""


class WeightsAltered(WeightsError):
    """A weights file's sha256 differs from the expected one."""


class TrainingError(SaccadeError):
    """A run's checkpoint is damaged or of another run, its folder is in use, or its loss is no longer finite."""


class MissingExtra(SaccadeError):
    """An optional dependency is needed: ``extra`` is what to install, ``saccade[extra]``."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an optional part of saccade: pip install 'saccade[{extra}]'")
        self.extra = extra
        self.what = what

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.extra, self.what)


class LibraryError(SaccadeError):
    """The library folder cannot be used as it is."""


class NotInLibrary(LibraryError):
    """The library holds no such video."""


class ClaimLost(LibraryError):
    """The lease on a video ran out and another process works on it; what was committed before is kept."""
