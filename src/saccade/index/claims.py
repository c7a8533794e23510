"""Claims: one process works on a content hash × sense at a time, and a dead one is noticed.

A claim is a row with a lease. Its holder renews it from a thread of its own and with each commit; where the holder
runs on this machine, its death is seen at once, elsewhere when the lease runs out. What a claim writes beside the
database carries the claim's id in its name, so leftovers can be told from work in progress.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from saccade.index.schema import connect

LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Claim:
    """The right to work on one sense of one content, until it is released or lost."""

    id: str
    content_hash: str
    sense: str


def live_claims(connection: sqlite3.Connection) -> set[str]:
    """Ids of the claims whose holder is alive and whose lease has not run out."""
    rows = connection.execute("SELECT id, host, pid, started, expires FROM claims")
    return {claim for claim, host, pid, started, expires in rows if _alive(host, pid, started, expires)}


def take(connection: sqlite3.Connection, content_hash: str, sense: str) -> Claim | None:
    """Claim one sense of one content, or None while somebody else holds it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        held = connection.execute(
            "SELECT host, pid, started, expires FROM claims WHERE content_hash = ? AND sense = ?", (content_hash, sense)
        ).fetchone()
        if held and _alive(*held):
            return None
        claim = Claim(secrets.token_hex(4), content_hash, sense)
        connection.execute(
            "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)",
            (claim.id, content_hash, sense, _host(), os.getpid(), _started(os.getpid()), time.time() + LEASE_SECONDS),
        )
        return claim
    finally:
        connection.execute("COMMIT")


def renew(connection: sqlite3.Connection, claim: Claim) -> bool:
    """Extend a claim's lease; False where somebody else has taken it over. Part of the caller's transaction."""
    changed = connection.execute(
        "UPDATE claims SET expires = ? WHERE id = ?", (time.time() + LEASE_SECONDS, claim.id)
    ).rowcount
    return changed == 1


def release(connection: sqlite3.Connection, claim: Claim) -> None:
    connection.execute("DELETE FROM claims WHERE id = ?", (claim.id,))


@dataclass
class Heartbeat:
    """A thread that renews claims while their holder is busy decoding or encoding."""

    folder: Path
    _held: set[Claim] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def add(self, claim: Claim) -> None:
        self._held = self._held | {claim}

    def remove(self, claim: Claim) -> None:
        self._held = self._held - {claim}

    def __enter__(self) -> Heartbeat:
        self._thread = threading.Thread(target=self._beat, name="saccade-claims", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        connection = connect(self.folder)
        try:
            while not self._stop.wait(LEASE_SECONDS / 4):
                for claim in self._held:
                    try:
                        renew(connection, claim)
                    except sqlite3.OperationalError:
                        continue  # busy or disk full: the next beat tries again, and a commit checks the claim
        finally:
            connection.close()


def _alive(host: str, pid: int, started: str, expires: float) -> bool:
    if time.time() >= expires:
        return False
    return host != _host() or _started(pid) == started


@lru_cache(maxsize=1)
def _host() -> str:
    """This machine, since this boot, within this process namespace: where a process id means one process."""
    marks = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            marks.append(os.readlink(path) if path.endswith("pid") else Path(path).read_text().strip())
        except OSError:
            marks.append("")
    return "/".join(marks)


def _started(pid: int) -> str:
    """When a process started, in the kernel's own ticks; "" where it is gone, "alive" where only that is known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, *rest = stat.rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except OSError:
        return "alive"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"
