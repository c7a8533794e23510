from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from saccade.errors import LibraryError, NotInLibrary
from saccade.index import schema
from saccade.index.catalog import Catalog
from saccade.index.records import FileRow
from saccade.index.vectors import FrameVectors
from saccade.types import Coverage, Shot, Span, TimedText, VideoInfo

ENCODER, SENTENCES = "tiny@1", "sentences@1"
AddTalk = Callable[..., str]


def test_what_goes_in_comes_out(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    row = catalog.video(video)
    assert (row.path, row.kind, row.info.start, row.info.time_base) == (
        "/videos/talk.mp4", "video", Fraction(1, 3), Fraction(1, 90),
    )  # fmt: skip
    assert row.info.audio is not None and row.info.audio.language == "en"
    assert row.recorded is None and row.added.tzinfo is not None
    assert catalog.files() == [FileRow("/videos/talk.mp4", 1000, 5, video, "indexed")]
    assert [line.sense for line in catalog.coverage(video)] == ["shots", "seen", "said", "written"]
    assert catalog.coverage(video)[0].gaps[0].span == Span(19, 20)
    assert catalog.shots(video) == [
        Shot(Span(0, 3), "start"), Shot(Span(3, 12.5), "cut"), Shot(Span(12.5, 20), "fade"),
    ]  # fmt: skip
    assert {video: [0, 3, 12.5]} == {id_: starts.tolist() for id_, starts in catalog.shot_starts().items()}
    assert catalog.encoders() == [ENCODER] and catalog.default_encoder() == ENCODER


def test_recording_dates_survive(catalog: Catalog) -> None:
    recorded = datetime(2020, 2, 29, 12, 30, tzinfo=UTC)
    with catalog.commit() as writer:
        video = writer.put_video("ab" * 32, VideoInfo("a.mov", "mov", 1.0, recorded=recorded), "video")
    assert catalog.video(video).recorded == recorded == catalog.video(video).info.recorded


def test_vectors_come_back_with_their_exact_times(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    features = catalog.features(video, ENCODER)
    assert features.vectors.shape == (20, 8) and features.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(features.vectors, axis=1), 1, atol=1e-3)
    assert features.seconds.tolist() == [float(n) for n in range(20)]
    assert catalog.vector_table(ENCODER).ends.tolist() == [float(n) for n in range(1, 21)]
    assert len(catalog.vector_table("another")) == 0
    with pytest.raises(NotInLibrary, match="another has not seen"):
        catalog.features(video, "another")


def test_texts_are_found_by_word_and_by_id(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    said = catalog.texts(video, ["said"])
    assert [stored.text.text for stored in said] == ["The cost of it", "비용을 줄이다"]
    assert said[0].text.words[0].probability == 0.5 and said[1].text.language == "ko"
    assert catalog.texts(ids=[said[1].id]) == [said[1]]
    assert catalog.text_matches(["cost", "비용", "東京"], "said") == {said[0].id: {"cost"}, said[1].id: {"비용"}}
    (title,) = catalog.text_matches(["東京", "cost"], "written").values()
    assert title == {"東京", "cost"}
    assert len(catalog.text_matches(["cost"], "said")) == 1 and not catalog.text_matches(["nothing"], "said")
    assert catalog.text_count("said") == 2 and catalog.text_count("heard") == 0
    assert {"cost", "비용", "東京"} <= set(catalog.vocabulary())
    table = catalog.text_table("said")
    assert table.ids.tolist() == [stored.id for stored in said]
    assert table.starts.tolist() == [1, 4] and table.vectors.shape == (2, 512) and table.video_ids == (video,)


@pytest.mark.parametrize("token", ['"', "a b", "NEAR", "*", "it's", "-", "ก็", "\x00", "_"])
def test_no_token_is_read_as_a_query_language(catalog: Catalog, add_talk: AddTalk, token: str) -> None:
    add_talk(catalog)
    assert catalog.text_matches([token], "said") == {}


def test_a_video_is_found_by_id_path_and_name(catalog: Catalog, add_talk: AddTalk, monkeypatch) -> None:
    video = add_talk(catalog)
    other = add_talk(catalog, "/other/talk.mp4")
    monkeypatch.chdir("/")
    for name in (video, video[:6], "/videos/talk.mp4", "videos/talk.mp4"):
        assert catalog.find_video(name).id == video
    with pytest.raises(NotInLibrary, match="may mean 2 videos"):
        catalog.find_video("talk.mp4")
    catalog.forget(other)
    assert catalog.find_video("talk.mp4").id == video
    with pytest.raises(NotInLibrary, match="saccade info"):
        catalog.find_video("nothing.mp4")
    with catalog.commit() as writer:
        writer.put_file(FileRow("/videos/bad.mp4", 0, 0, None, "failed", "the file is empty"))
    with pytest.raises(NotInLibrary, match="the file is empty"):
        catalog.find_video("/videos/bad.mp4")


def test_a_name_that_is_no_unicode_is_kept(catalog: Catalog, add_talk: AddTalk) -> None:
    path = os.fsdecode(b"/videos/\xff\xfe\n.mp4")
    video = add_talk(catalog, path)
    assert catalog.files()[0].path == path
    assert catalog.find_video(path).id == video


def test_two_files_of_one_content_are_one_video(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    with catalog.commit() as writer:
        writer.put_file(FileRow("/a/copy.mp4", 1000, 6, video, "missing"))
    assert [row.id for row in catalog.videos()] == [video]
    assert catalog.video(video).path == "/videos/talk.mp4", "a file that is there comes before one that is gone"


def test_forgetting_leaves_nothing(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    kept = add_talk(catalog, "/videos/kept.mp4")
    catalog.forget(video)
    assert [row.id for row in catalog.videos()] == [kept]
    assert [file.path for file in catalog.files()] == ["/videos/kept.mp4"]
    assert catalog.text_count("said") == 2 and len(catalog.vector_table(ENCODER)) == 20
    catalog.forget(kept)
    with sqlite3.connect(catalog.folder / "library.db") as database:
        for table in ("videos", "files", "passes", "parts", "cuts", "vectors", "texts", "fulltext"):
            assert database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,), table
    database.close()
    assert catalog.vocabulary() == []
    with pytest.raises(NotInLibrary):
        catalog.forget(video)


def test_the_version_counts_changes_of_evidence_only(catalog: Catalog, add_talk: AddTalk) -> None:
    before = catalog.version
    video = add_talk(catalog)
    after = catalog.version
    assert after > before
    with catalog.commit() as writer:
        writer.put_file(FileRow("/videos/x.mp4", 0, 0, None, "waiting"))
    catalog.put_null("said", np.arange(3.0), 7)
    assert catalog.version == after
    values, version = catalog.null("said") or (np.zeros(0), 0)
    assert values.tolist() == [0, 1, 2] and version == 7 and catalog.null("seen") is None
    catalog.forget(video)
    assert catalog.version > after


def test_a_commit_is_whole_or_nothing(catalog: Catalog, add_talk: AddTalk) -> None:
    class Stop(Exception): ...

    def interrupted() -> None:
        with catalog.commit() as writer:
            writer.put_video("cd" * 32, VideoInfo("b.mp4", "mp4", 1.0), "video")
            raise Stop

    with pytest.raises(Stop):
        interrupted()
    assert catalog.videos() == []
    add_talk(catalog)


def test_new_evidence_replaces_the_old_when_it_is_whole(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    vectors = np.full((1, 512), 512**-0.5, np.float32)
    with catalog.commit() as writer:
        key = writer.begin_pass(video, "said", "whisper-large")
        writer.put_texts(key, [TimedText(Span(1, 2), "The coast", "said", "large")], vectors, SENTENCES)
    assert [stored.text.text for stored in catalog.texts(video, ["said"])] == ["The cost of it", "비용을 줄이다"]
    assert catalog.text_matches(["coast"], "said") == {}
    with catalog.commit() as writer:
        writer.update_pass(key, Coverage("said", "done", 20.0, items=1, tool="whisper-large"))
        writer.serve(key)
    assert [stored.text.text for stored in catalog.texts(video, ["said"])] == ["The coast"]
    assert catalog.text_matches(["cost"], "said") == {} and len(catalog.text_matches(["coast"], "said")) == 1
    assert [line.tool for line in catalog.coverage(video) if line.sense == "said"] == ["whisper-large"]


def test_two_encoders_stand_side_by_side(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    with catalog.commit() as writer:
        key = writer.begin_pass(video, "seen", "other@2")
        vectors = FrameVectors(np.ones((1, 3), np.float32), np.array([0]), Fraction(1), made_from="proxy")
        writer.put_vectors(key, Span(0, 20), vectors)
        writer.update_pass(key, Coverage("seen", "done", 20.0, items=1, tool="other@2", made_from="proxy"))
        writer.serve(key)
    assert catalog.encoders() == ["other@2", ENCODER]
    assert len(catalog.vector_table(ENCODER)) == 20 and len(catalog.vector_table("other@2")) == 1
    assert catalog.default_encoder() is None
    catalog.set_meta("default_encoder", ENCODER)
    assert catalog.default_encoder() == ENCODER


def test_sentence_vectors_of_two_encoders_never_meet(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    text = TimedText(Span(0, 1), "more", "said", "x")

    def mix() -> None:
        with catalog.commit() as writer:
            key = writer.begin_pass(video, "said", "x")
            writer.put_texts(key, [text], np.ones((1, 512), np.float32), "other@1")

    with pytest.raises(LibraryError, match="encoded by sentences@1"):
        mix()
    assert catalog.text_count("said") == 2


# ---- other processes and threads


def test_readers_see_whole_commits_while_another_process_writes(catalog: Catalog, tmp_path: Path) -> None:
    script = """
import sys
from saccade.index.catalog import Catalog
from saccade.index.records import FileRow
from saccade.types import VideoInfo
with Catalog.open(sys.argv[1]) as catalog:
    for n in range(60):
        with catalog.commit() as writer:
            video = writer.put_video(f"{n:064x}"[::-1], VideoInfo("a.mp4", "mp4", 1.0), "video")
            writer.put_file(FileRow(f"/{n}.mp4", 1, 1, video, "indexed"))
"""
    child = subprocess.Popen([sys.executable, "-c", script, str(catalog.folder)])
    most = 0
    while child.poll() is None:
        videos, files = len(catalog.videos()), len(catalog.files())
        assert most <= videos <= files
        most = videos
    assert child.returncode == 0
    assert len(catalog.videos()) == len(catalog.files()) == 60


def test_each_thread_has_its_own_connection(catalog: Catalog, add_talk: AddTalk) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(5):
                add_talk(catalog, f"/{number}/{n}.mp4")
                catalog.vector_table(ENCODER)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(catalog.videos()) == 20
    assert len(catalog.vector_table(ENCODER)) == 400


def test_two_processes_make_one_library(tmp_path: Path) -> None:
    script = "import sys; from saccade.index.catalog import Catalog; Catalog.open(sys.argv[1], create=True).close()"
    children = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "new")]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]


# ---- folders that are not what they should be


def test_a_library_can_be_copied(catalog: Catalog, add_talk: AddTalk, tmp_path: Path) -> None:
    add_talk(catalog)
    catalog.close()
    shutil.copytree(catalog.folder, tmp_path / "copy # 100%?")
    with Catalog.open(tmp_path / "copy # 100%?") as copy:
        assert copy.text_count("said") == 2


def test_no_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="holds no library yet"):
        Catalog.open(tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking for a library does not make one"


def test_something_else(tmp_path: Path) -> None:
    (tmp_path / "library.db").write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(LibraryError, match="file is not a database"):
        Catalog.open(tmp_path)
    (tmp_path / "library.db").unlink()
    sqlite3.connect(tmp_path / "library.db").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(LibraryError, match="something else"):
        Catalog.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match="no library can be made"):
        Catalog.open(tmp_path / "file" / "below", create=True)


def test_a_newer_format_is_refused(catalog: Catalog) -> None:
    catalog.set_meta("format", str(schema.FORMAT + 1))
    catalog.close()
    with pytest.raises(LibraryError, match=f"format {schema.FORMAT + 1}, made by a newer saccade"):
        Catalog.open(catalog.folder)


def test_a_full_disk_keeps_what_was_committed(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    connection = catalog._store.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with catalog.commit() as writer:
            key = writer.begin_pass(video, "seen", "big@1")
            vectors = FrameVectors(np.ones((1000, 512), np.float32), np.arange(1000), Fraction(1))
            writer.put_vectors(key, Span(0, 20), vectors)

    with pytest.raises(LibraryError, match="no space left"):
        fill()
    assert catalog.encoders() == [ENCODER] and len(catalog.vector_table(ENCODER)) == 20
    connection.execute("PRAGMA max_page_count = 1000000")
    fill()


# ---- proxies


def test_opening_sweeps_what_no_row_names(catalog: Catalog, add_talk: AddTalk) -> None:
    video = add_talk(catalog)
    for name in ("named.mp4", "orphan.deadbeef.part0000.mp4", "part.mp4"):
        (catalog.proxies / name).touch()
    with catalog.commit() as writer:
        shots = next(row.key for row in catalog.passes(video) if row.coverage.sense == "shots")
        writer.put_part(shots, Span(20, 21), 21.0, [], "part.mp4")
        writer._db.execute("UPDATE passes SET proxy = 'named.mp4' WHERE key = ?", (shots,))
    with catalog.claim("aa" * 32, "seen") as claim:
        assert claim is not None
        (catalog.proxies / f"x.{claim.id}.part0000.mp4").touch()
        Catalog.open(catalog.folder).close()
        assert sorted(path.name for path in catalog.proxies.iterdir()) == sorted(
            ["named.mp4", "part.mp4", f"x.{claim.id}.part0000.mp4"]
        )
    Catalog.open(catalog.folder).close()
    assert sorted(path.name for path in catalog.proxies.iterdir()) == ["named.mp4", "part.mp4"]
    assert catalog.proxy(video) == catalog.proxies / "named.mp4"
    catalog.forget(video)
    assert list(catalog.proxies.iterdir()) == []
