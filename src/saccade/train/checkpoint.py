"""A run's whole state in one file that appears at once and is never believed when damaged.

A checkpoint holds tensors and plain Python values alone, and no state of a random generator: each step has its own
seed. It is read with ``weights_only=True``, so a foreign file cannot run code.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.errors import TrainingError
from saccade.weights import replacing

CHECKPOINT = "checkpoint.pt"
"""The checkpoint's name within the folder of a run."""

_FORMAT = 1


def saved_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights that the run in ``folder`` has reached, on the CPU: the average, where the run keeps one.

    Raises TrainingError where there is no checkpoint or it is damaged.
    """
    contents = load_checkpoint(Path(folder, CHECKPOINT))
    weights: dict[str, Tensor] = contents["model"] if contents["ema"] is None else contents["ema"]
    return weights


def save_checkpoint(path: Path, contents: Mapping[str, Any]) -> None:
    """Write ``contents`` in place of what ``path`` holds, at once or not at all, and onto the disk."""
    with replacing(path) as scratch, scratch.open("wb") as file:
        torch.save({"format": _FORMAT, **contents}, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What was saved, its tensors on the CPU.

    Raises TrainingError where the file is absent, damaged or of another format.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: there is no checkpoint here; train first, or name the folder of a run")
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums that it writes
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"the checksum of {broken} does not hold")
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the zip reader, the unpickler and torch: a list that never ends
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"{path} is damaged ({reason}): put a copy in its place, or delete it to train again from the start"
        ) from error
    if not isinstance(contents, dict) or contents.get("format") != _FORMAT:
        raise TrainingError(f"{path} is not a checkpoint that this version can read; train in another folder")
    return contents


def check_config(path: Path, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise TrainingError, with both values of each difference, unless the run at ``path`` was begun as is asked."""
    names = sorted(saved.keys() | asked.keys())
    differences = [f"{n} {saved.get(n)!r} there, {asked.get(n)!r} here" for n in names if saved.get(n) != asked.get(n)]
    if differences:
        raise TrainingError(
            f"{path} is of a run with another configuration ({'; '.join(differences)}): "
            "go on with that one, or train in another folder"
        )
