"""Going over to another frame encoder: from the proxies, beside the old vectors, resumable, all at once at the end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import migrate_films
import saccade
from films import BLUE, GREEN, GREY, RED, film
from migrate_films import Eyes
from saccade.cli.shown import NOTHING, migration_code, migration_text
from saccade.index.catalog import Catalog
from saccade.ingest import seeing
from saccade.maintain import migrate, plan_migration

SECOND = "second@1"


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Eyes]:
    """Encoders that are loaded by their own name, and what was loaded."""
    found: dict[str, Eyes] = {}

    def load(name: str, **_: object) -> Eyes:
        return found.setdefault(name, Eyes(name))

    monkeypatch.setattr("saccade.encode.load_encoder", load)
    monkeypatch.setattr(seeing, "PART_SECONDS", 2.0)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two films seen by first@1 at two frames a second; its sources are gone."""
    folder = tmp_path_factory.mktemp("made")
    film(folder / "talk.mp4", [RED, GREEN, BLUE], 2.0)
    film(folder / "short.mp4", [GREY], 2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saccade.encode.load_encoder", lambda name, **_: Eyes(name))
        patch.setattr(seeing, "PART_SECONDS", 2.0)
        with saccade.open(folder / "library", encoder="first@1") as library:
            assert len(library.add(folder, senses=["seen"], every=0.5, mode="exact").done) == 2
    for path in folder.glob("*.mp4"):
        path.unlink()
    return folder / "library"


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "library"))


def table(place: Path, encoder: str) -> tuple[np.ndarray, np.ndarray]:
    with Catalog.open(place) as catalog:
        found = catalog.vector_table(encoder)
        return found.vectors, found.seconds


def test_another_encoder_sees_it_all_from_the_proxies(place: Path) -> None:
    before, seconds = table(place, "first@1")
    told: list[float] = []
    done = migrate(place, SECOND, on_progress=lambda progress: told.append(progress.eta_seconds))
    assert (done.before, done.after, done.switched, done.videos) == ("first@1", SECOND, True, 0)
    assert [file.outcome for file in done.files] == ["extended", "extended"]
    assert told and told[-1] == 0
    after, again = table(place, SECOND)
    assert again == pytest.approx(seconds) and (before * after).sum(axis=1).min() > 0.99
    with saccade.open(place) as library:
        assert library.catalog.encoders() == [SECOND] and library.search("grey").encoder == SECOND
        assert library.catalog.get_meta("encoder_place") == SECOND
        lines = [line for report in library.info() for line in report.coverage if line.sense == "seen"]
        assert {(line.tool, line.state, line.made_from) for line in lines} == {(SECOND, "done", "proxy")}
    with contextlib.closing(sqlite3.connect(place / "library.db")) as database:
        nulls = [key for (key,) in database.execute("SELECT key FROM nulls")]
    assert nulls and all(key.endswith(f":{SECOND}") for key in nulls)


def test_old_vectors_may_be_kept_and_gone_back_to(place: Path, loaded: dict[str, Eyes]) -> None:
    assert migrate(place, SECOND, keep_old=True).switched
    with Catalog.open(place) as catalog:
        assert catalog.encoders() == ["first@1", SECOND] and catalog.default_encoder() == SECOND
    loaded["first@1"] = Eyes("first@1")
    assert migrate(place, "first@1").switched and loaded["first@1"].frames == 0, "nothing had to be seen anew"
    with Catalog.open(place) as catalog:
        assert catalog.encoders() == ["first@1"] == [catalog.default_encoder()]


def test_search_goes_on_with_the_old_one_meanwhile(place: Path, loaded: dict[str, Eyes]) -> None:
    found: list[tuple[str | None, int]] = []

    def look() -> None:
        with saccade.open(place) as library:
            result = library.search("grey", evidence=["seen"])
            found.append((result.encoder, len(result.hits)))

    loaded[SECOND] = Eyes(SECOND, before=look)
    migrate(place, SECOND)
    assert set(found) == {("first@1", found[0][1])} and found[0][1] > 0


def test_an_opened_library_goes_over_too(place: Path) -> None:
    with saccade.open(place) as library:
        assert library.search("grey").encoder == "first@1"
        migrate(place, SECOND)
        result = library.search("grey")
        assert (result.encoder, result.warnings) == (SECOND, ()) and library.encoder().name == SECOND


def test_what_was_interrupted_goes_on(place: Path, loaded: dict[str, Eyes]) -> None:
    def stop_at_the_second_film() -> None:
        if loaded[SECOND].frames >= 8:
            raise KeyboardInterrupt

    loaded[SECOND] = Eyes(SECOND, before=stop_at_the_second_film)
    with pytest.raises(KeyboardInterrupt):
        migrate(place, SECOND)
    with Catalog.open(place) as catalog:
        assert catalog.default_encoder() == "first@1"
    begun = loaded[SECOND].frames
    loaded[SECOND] = Eyes(SECOND)
    assert migrate(place, SECOND).switched
    assert begun + loaded[SECOND].frames == len(table(place, SECOND)[0]) == 16


def test_killed_it_goes_on_where_it_was(place: Path, tmp_path: Path, loaded: dict[str, Eyes]) -> None:
    command = [sys.executable, migrate_films.__file__, str(place)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with saccade.open(place) as library:
        assert library.search("grey").encoder == "first@1"
    left = plan_migration(place, SECOND)
    assert left.before == "first@1" and left.videos > 0 and left.without_proxy == 0
    assert migrate(place, SECOND).switched
    assert loaded[SECOND].frames < 16 == len(table(place, SECOND)[0])


def test_a_plan_changes_nothing(place: Path) -> None:
    content = (place / "library.db").read_bytes()
    plan = plan_migration(place, SECOND)
    assert (plan.videos, plan.seconds, plan.switched) == (2, pytest.approx(8, abs=0.2), False) and plan.hours > 0
    assert (place / "library.db").read_bytes() == content


def test_what_cannot_be_seen_anew_keeps_what_was_seen_before(place: Path) -> None:
    with Catalog.open(place) as catalog:
        lost = catalog.find_video("short.mp4").id
        proxy = catalog.proxy(lost)
    assert proxy is not None
    proxy.unlink()
    assert plan_migration(place, SECOND).without_proxy == 1
    done = migrate(place, SECOND)
    outcomes = {Path(file.path).name: file.outcome for file in done.files}
    assert done.switched and outcomes == {"talk.mp4": "extended", "short.mp4": "partial"}
    with Catalog.open(place) as catalog:
        assert len(catalog.features(lost, "first@1").vectors) == 4
        assert catalog.default_encoder() == SECOND and len(catalog.vector_table(SECOND)) == 12


def test_an_encoder_that_can_see_nothing_is_not_gone_over_to(place: Path) -> None:
    """Proxies lost, sources not there: what was seen before stays what is searched."""
    for proxy in (place / "proxies").iterdir():
        proxy.unlink()
    done = migrate(place, SECOND)
    assert not done.switched and [file.outcome for file in done.files] == ["partial", "partial"]
    assert migration_code(done) == NOTHING and "search goes on with first@1" in list(migration_text(done))[-1]
    with saccade.open(place) as library:
        result = library.search("grey", evidence=["seen"])
        assert (result.encoder, result.warnings) == ("first@1", ()) and result.hits


def test_a_film_that_another_process_holds_keeps_the_library_where_it_is(place: Path) -> None:
    with Catalog.open(place) as catalog:
        held = catalog.video(catalog.find_video("talk.mp4").id)
        with catalog.claim(held.content_hash, "seen"):
            done = migrate(place, SECOND)
        assert not done.switched and done.videos == 1
        assert {file.outcome for file in done.files} == {"elsewhere", "extended"}
        assert catalog.default_encoder() == "first@1"
    assert migrate(place, SECOND).switched


def test_a_library_without_vectors_gets_some(tmp_path: Path) -> None:
    film(tmp_path / "talk.mp4", [RED, GREEN], 2.0)
    from saccade.ingest import ingest

    with Catalog.open(tmp_path / "library", create=True) as catalog:
        ingest(catalog, [str(tmp_path / "talk.mp4")], senses=["seen"])
    done = migrate(tmp_path / "library", SECOND)
    assert (done.before, done.switched) == (None, True) and len(table(tmp_path / "library", SECOND)[0]) == 4


def test_a_film_indexed_half_does_not_stand_in_the_way(place: Path, tmp_path: Path, loaded: dict[str, Eyes]) -> None:
    path = film(tmp_path / "half.mp4", [BLUE, RED], 3.0)

    def stop() -> None:
        if loaded["first@1"].frames >= 20:
            raise KeyboardInterrupt

    loaded["first@1"] = Eyes("first@1", before=stop)
    with saccade.open(place) as library, pytest.raises(KeyboardInterrupt):
        library.add(path, senses=["seen"], every=0.1, mode="exact")
    assert migrate(place, SECOND).switched
    with saccade.open(place) as library:
        library.add(path, senses=["seen"], every=0.5, mode="exact")
        video = library.catalog.find_video("half.mp4").id
        assert {line.tool: line.state for line in library.info(video)[0].coverage if line.sense == "seen"} == {
            SECOND: "done"
        }


def test_who_indexes_with_the_old_one_meanwhile_is_not_hurt(
    place: Path, tmp_path: Path, loaded: dict[str, Eyes]
) -> None:
    """Half of a film is in when the old vectors are dropped; it is whole in the end, for both encoders."""
    path = film(tmp_path / "half.mp4", [BLUE, RED, GREY], 3.0)

    def go_over_in_the_middle() -> None:
        loaded["first@1"].before = None
        assert migrate(place, SECOND).switched

    with saccade.open(place) as library:
        loaded["first@1"] = Eyes("first@1")
        loaded["first@1"].before = lambda: loaded["first@1"].frames >= 30 and go_over_in_the_middle()
        report = library.add(path, senses=["seen"], every=0.1, mode="exact")
        assert len(report.done) == 1
    with saccade.open(place) as library:
        library.add(path, senses=["seen"], every=0.1, mode="exact")
        seconds = library.features("half.mp4").seconds
        assert library.encoder().name == SECOND and seconds[0] == 0 and np.diff(seconds).max() < 1 < 8 < seconds[-1]


def test_another_file_in_the_place_of_a_lost_source_is_not_taken_for_it(place: Path, tmp_path: Path) -> None:
    with Catalog.open(place) as catalog:
        lost = catalog.find_video("short.mp4")
        proxy = catalog.proxy(lost.id)
    assert proxy is not None
    proxy.unlink()
    other = film(Path(lost.path), [RED], 2.0)
    try:
        done = migrate(place, SECOND)
    finally:
        other.unlink()
    outcomes = {Path(file.path).name: (file.outcome, file.note) for file in done.files}
    assert outcomes["short.mp4"][0] == "partial" and "changed" in outcomes["short.mp4"][1]
    with Catalog.open(place) as catalog:
        assert len(catalog.features(lost.id, "first@1").vectors) == 4 and len(catalog.vector_table(SECOND)) == 12


@pytest.mark.parametrize("named", [False, True])
def test_an_encoder_that_has_changed_is_never_compared(place: Path, tmp_path: Path, named: bool) -> None:
    """A built-in of another version, or the same folder with other weights in it."""
    with Catalog.open(place) as catalog:
        catalog.set_meta("encoder_place", SECOND)
    path = film(tmp_path / "new.mp4", [BLUE], 2.0)
    with saccade.open(place, encoder=SECOND if named else None) as library:
        if named:
            with pytest.raises(saccade.errors.InputError, match="saccade migrate --encoder second@1"):
                library.search("grey")
            return
        result = library.search("grey")
        assert not any(match.kind == "seen" for hit in result for match in hit.matched)
        assert "said and written only" in result.warnings[0] and "saccade migrate --encoder" in result.warnings[0]
        with pytest.raises(saccade.errors.WeightsError):
            library.search(image=np.zeros((8, 8, 3), np.uint8))
        report = library.add(path, senses=["seen"])
        assert len(report.done) == 1 and "wait to be encoded" in report.warnings[0]
        assert library.catalog.encoders() == ["first@1"]
    assert migrate(place, SECOND).switched
    with saccade.open(place) as library:
        assert not library.search("grey").warnings and len(library.features("new.mp4").vectors) == 2
