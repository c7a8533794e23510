from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from saccade.errors import ClaimLost
from saccade.index import claims
from saccade.index.catalog import Catalog
from saccade.index.claims import Heartbeat
from saccade.index.records import FileRow

CONTENT = "ab" * 32
HOLD = """
import sys, time
from saccade.index.catalog import Catalog
with Catalog.open(sys.argv[1]) as catalog, catalog.claim(sys.argv[2], "seen") as claim:
    print("held" if claim else "refused", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(catalog: Catalog) -> Iterator[subprocess.Popen[str]]:
    """Another process that asks for the claim and keeps it until its input closes."""
    command = [sys.executable, "-c", HOLD, str(catalog.folder), CONTENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_one_holds_the_others_wait_their_turn(catalog: Catalog) -> None:
    with holder(catalog) as child:
        assert said(child) == "held"
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is None
        with catalog.claim(CONTENT, "said") as claim:
            assert claim is not None, "another sense of the same content is free"
        with catalog.claim("cd" * 32, "seen") as claim:
            assert claim is not None
        child.communicate()
    with catalog.claim(CONTENT, "seen") as claim:
        assert claim is not None, "it was given back"
        with holder(catalog) as child:
            assert said(child) == "refused"


def test_the_dead_hold_nothing(catalog: Catalog) -> None:
    with holder(catalog) as child:
        assert said(child) == "held"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is not None, "at once, long before the lease runs out"


def test_a_process_that_was_killed_and_not_yet_buried_holds_nothing(catalog: Catalog) -> None:
    with holder(catalog) as child:
        assert said(child) == "held"
        os.kill(child.pid, signal.SIGKILL)
        while claims._started(child.pid):
            time.sleep(0.01)
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is not None


def test_a_reused_process_id_is_not_the_holder(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    with catalog.claim(CONTENT, "seen"):
        monkeypatch.setattr(claims, "_started", lambda pid: "another time")
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is not None


def test_a_holder_on_another_machine_is_believed_until_its_lease_ends(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_host", lambda: "there")
    with catalog.claim(CONTENT, "seen"):
        monkeypatch.setattr(claims, "_host", lambda: "here")
        monkeypatch.setattr(claims, "_started", lambda pid: "")
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is None
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + claims.LEASE_SECONDS)
        with catalog.claim(CONTENT, "seen") as claim:
            assert claim is not None


def test_a_commit_fails_cleanly_when_its_claim_was_taken_over(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with catalog.claim(CONTENT, "seen") as slow:
        now = time.time()
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda: now + claims.LEASE_SECONDS + 1)
            with catalog.claim(CONTENT, "seen") as quick:
                assert quick is not None
                with pytest.raises(ClaimLost, match="took over"), catalog.commit(slow) as writer:
                    writer.put_file(FileRow("/a.mp4", 1, 1, None, "failed"))
                with catalog.commit(quick) as writer:
                    writer.put_file(FileRow("/b.mp4", 1, 1, None, "failed"))
    assert [file.path for file in catalog.files()] == ["/b.mp4"]


def test_a_lease_that_ran_out_unnoticed_is_still_good(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    with catalog.claim(CONTENT, "seen") as claim:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + claims.LEASE_SECONDS * 3)
        with catalog.commit(claim) as writer:
            writer.put_file(FileRow("/a.mp4", 1, 1, None, "failed"))
        with catalog.claim(CONTENT, "seen") as other:
            assert other is None, "the commit renewed it"


def test_the_heart_beats_while_its_owner_is_busy(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.4)
    with Heartbeat(catalog.folder) as heartbeat, catalog.claim(CONTENT, "seen", heartbeat) as claim:
        assert claim is not None
        first = catalog._store.rows("SELECT expires FROM claims")
        deadline = time.monotonic() + 10
        while catalog._store.rows("SELECT expires FROM claims") == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert catalog._store.rows("SELECT * FROM claims") == []
