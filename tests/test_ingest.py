from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import index_films
import saccade.ingest.run
from films import BLUE, GREEN, GREY, RED, MeanColour, Parrot, evidence, film
from saccade.errors import DecoderCrashed, InputError, LibraryError, MissingExtra
from saccade.index.catalog import Catalog
from saccade.ingest import IngestReport, Progress, ingest, passes, scan, seeing
from saccade.types import Span, Stretch, TimedText
from saccade.video import ocr, speech
from saccade.video.worker import Worker

SEEN = ("seen", "subtitles")
SRT = "1\n00:00:01,000 --> 00:00:02,500\nThe cost of the demo\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films made once; tests copy what they need."""
    folder = tmp_path_factory.mktemp("made")
    film(folder / "talk.mp4", [RED, GREEN, BLUE], sound=True)
    film(folder / "short.mp4", [GREY], 2.0)
    film(folder / "other.mp4", [BLUE, RED], 2.0)
    with_sound = film(folder / "sound.mkv", [GREY], 2.0, sound=True)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(with_sound), "-vn", str(folder / "sound.ogg")], check=True, timeout=60
    )
    with_sound.unlink()
    return folder


@pytest.fixture
def videos(tmp_path: Path, made: Path) -> Path:
    """A folder to index: one film of three shots with sound and subtitles."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy2(made / "talk.mp4", folder)
    (folder / "talk.srt").write_text(SRT)
    return folder


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "library", create=True) as catalog:
        yield catalog


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, "PART_SECONDS", 4.0)


def index(catalog: Catalog, *paths: Path, encoder: MeanColour | None = None, **options: object) -> IngestReport:
    options = {"senses": SEEN, "mode": "exact"} | options
    return ingest(catalog, [str(path) for path in paths], encoder=encoder, **options)  # type: ignore[arg-type]


def outcomes(report: IngestReport) -> dict[str, str]:
    return {Path(file.path).name: file.outcome for file in report.files}


def only_video(catalog: Catalog) -> str:
    (video,) = catalog.videos()
    return video.id


def ledger(catalog: Catalog, video: str) -> dict[str, str]:
    return {line.sense: line.state for line in catalog.coverage(video)}


# ---- what comes of a file


def test_a_film_is_seen_and_read(catalog: Catalog, videos: Path) -> None:
    encoder = MeanColour()
    report = index(catalog, videos, encoder=encoder)
    assert outcomes(report) == {"talk.mp4": "indexed"} and report.other == 1
    video = only_video(catalog)
    assert ledger(catalog, video) == {"shots": "done", "seen": "done", "subtitles": "done"}
    assert [shot.span.start for shot in catalog.shots(video)] == [0, 4, 8]
    features = catalog.features(video, "mean@1")
    assert features.seconds.tolist() == pytest.approx(np.arange(12.0)) and encoder.frames == 12
    assert [int(np.argmax(vector[:3])) for vector in features.vectors] == [0] * 4 + [1] * 4 + [2] * 4
    (text,) = catalog.texts(video)
    assert (text.text.text, text.text.span, text.text.source) == ("The cost of the demo", Span(1, 2.5), "talk.srt")
    assert catalog.text_table("said").vectors.shape == (1, 512)
    seen = next(line for line in catalog.coverage(video) if line.sense == "seen")
    assert (seen.items, seen.made_from, seen.seconds_seen) == (12, "source", pytest.approx(12))
    proxy = catalog.proxy(video)
    assert proxy is not None and [path.name for path in catalog.proxies.iterdir()] == [proxy.name]


def test_every_media_file_has_a_row(catalog: Catalog, videos: Path, made: Path) -> None:
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("this is no film\n" * 100)
    (videos / "cut off.mp4").write_bytes((made / "talk.mp4").read_bytes()[:5000])
    (videos / "notes.txt").write_text("no media")
    (videos / ".hidden.mp4").touch()
    odd = os.fsdecode(b"\xff \xc3(.mp4")
    shutil.copy2(made / "other.mp4", videos / odd)
    (videos / odd.replace(".mp4", ".srt")).write_text(SRT)
    (videos / odd.replace("(", ")")).touch()
    shutil.copy2(made / "sound.ogg", videos)
    shutil.copy2(made / "talk.mp4", videos / "copy.mp4")
    (videos / "below").mkdir()
    shutil.copy2(made / "short.mp4", videos / "below")
    report = index(catalog, videos)
    assert outcomes(report) == {
        "copy.mp4": "indexed", "talk.mp4": "duplicate", "short.mp4": "indexed", "sound.ogg": "indexed",
        "empty.mp4": "failed", "text.mp4": "failed", "cut off.mp4": "failed", odd: "indexed",
        odd.replace("(", ")"): "failed",
    }  # fmt: skip
    assert report.other == 4 and len(report.done) == 5 and len(report.failed) == 4
    rows = {Path(file.path).name: file for file in catalog.files()}
    assert rows.keys() == outcomes(report).keys()
    assert rows["empty.mp4"].state == "failed" and "empty" in rows["empty.mp4"].error
    assert all(rows[name].error and rows[name].video is None for name in ("text.mp4", "cut off.mp4"))
    assert rows["copy.mp4"].video == rows["talk.mp4"].video and len(catalog.videos()) == 4
    assert catalog.find_video(str(videos / odd)).id == rows[odd].video
    assert set(outcomes(index(catalog, videos)).values()) == {"unchanged"}
    sound = catalog.find_video("sound.ogg")
    assert sound.kind == "audio" and catalog.shots(sound.id) == []
    assert ledger(catalog, sound.id) == {"shots": "done", "seen": "absent", "subtitles": "absent"}
    assert catalog.proxy(sound.id) is not None


def test_what_was_indexed_is_not_opened_again(catalog: Catalog, videos: Path, made: Path, monkeypatch) -> None:
    (videos / "broken.mp4").write_text("this is no film\n" * 100)
    shutil.copy2(made / "sound.ogg", videos)
    index(catalog, videos, encoder=MeanColour())
    before = evidence(catalog), catalog.version

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(saccade.ingest.run, "_hash", touched)
    monkeypatch.setattr(Worker, "run", touched)
    report = index(catalog, videos, encoder=MeanColour())
    assert set(outcomes(report).values()) == {"unchanged"} and len(report.skipped) == 3
    assert (evidence(catalog), catalog.version) == before


def test_no_encoder_is_no_error(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos)
    video = only_video(catalog)
    seen = next(line for line in catalog.coverage(video) if line.sense == "seen")
    assert (seen.state, seen.note) == ("waiting", seeing.NO_ENCODER)
    assert len(catalog.shots(video)) == 3 and catalog.proxy(video) is not None and catalog.encoders() == []


def test_a_new_encoder_sees_the_proxy_even_when_the_source_is_gone(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos, encoder=MeanColour("first@1"))
    (videos / "talk.mp4").unlink()
    report = index(catalog, videos / "talk.mp4", encoder=MeanColour("second@1"))
    assert outcomes(report) == {"talk.mp4": "extended"}
    video = only_video(catalog)
    second = next(line for line in catalog.coverage(video) if line.tool == "second@1")
    assert (second.state, second.made_from) == ("done", "proxy")
    first, again = catalog.features(video, "first@1"), catalog.features(video, "second@1")
    assert again.seconds.tolist() == pytest.approx(first.seconds.tolist())
    assert (first.vectors * again.vectors).sum(axis=1).min() > 0.99


def test_pictures_come_after_they_were_missed(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos)
    report = index(catalog, videos, encoder=MeanColour())
    assert outcomes(report) == {"talk.mp4": "extended"}
    assert ledger(catalog, only_video(catalog))["seen"] == "done"
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "unchanged"}


# ---- files that move, change and go


def test_a_moved_file_is_known_by_its_content(catalog: Catalog, videos: Path, tmp_path: Path) -> None:
    index(catalog, videos, encoder=MeanColour())
    video = only_video(catalog)
    (videos / "talk.mp4").rename(videos / "renamed.mp4")
    encoder = MeanColour()
    report = index(catalog, videos, encoder=encoder)
    assert outcomes(report) == {"renamed.mp4": "moved"} and encoder.frames == 0
    assert [(file.path, file.video) for file in catalog.files()] == [(str(videos / "renamed.mp4"), video)]
    shutil.move(videos / "renamed.mp4", tmp_path / "far.mp4")
    os.utime(tmp_path / "far.mp4")
    assert outcomes(index(catalog, tmp_path / "far.mp4", encoder=encoder)) == {"far.mp4": "moved"}
    assert encoder.frames == 0 and catalog.video(video).path == str(tmp_path / "far.mp4")


def test_a_vanished_file_is_reported_and_stays_searchable(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos, encoder=MeanColour())
    video = only_video(catalog)
    away = videos.with_name("away")
    videos.rename(away)
    report = index(catalog, videos, encoder=MeanColour())
    assert outcomes(report) == {"talk.mp4": "missing"}
    assert [file.state for file in catalog.files()] == ["missing"] and len(catalog.features(video, "mean@1").vectors)
    away.rename(videos)
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "unchanged"}
    assert [file.state for file in catalog.files()] == ["indexed"]


def test_a_changed_file_is_indexed_anew_and_the_old_stays_until_then(
    catalog: Catalog, videos: Path, made: Path
) -> None:
    index(catalog, videos, encoder=MeanColour())
    old = only_video(catalog)
    found: list[list[str]] = []
    shutil.copyfile(made / "other.mp4", videos / "talk.mp4")
    report = index(catalog, videos, encoder=MeanColour(before=lambda: found.append([v.id for v in catalog.videos()])))
    assert outcomes(report) == {"talk.mp4": "changed"}
    assert found[0] == [old]
    assert only_video(catalog) != old and len(catalog.shots(only_video(catalog))) == 2
    assert len(list(catalog.proxies.iterdir())) == 1


def test_a_film_that_became_unreadable_keeps_its_old_evidence(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos, encoder=MeanColour())
    old = only_video(catalog)
    (videos / "talk.mp4").write_text("overwritten")
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "failed"}
    (row,) = catalog.files()
    assert (row.state, row.video) == ("failed", old) and len(catalog.features(old, "mean@1").vectors) == 12
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "unchanged"}


def test_a_file_that_changes_while_it_is_read_waits(catalog: Catalog, videos: Path) -> None:
    def write_on() -> None:
        with (videos / "talk.mp4").open("ab") as file:
            file.write(b"more")

    report = index(catalog, videos, encoder=MeanColour(before=write_on))
    assert outcomes(report) == {"talk.mp4": "waiting"} and "changed while it was read" in report.files[0].note
    assert catalog.videos() == [] and list(catalog.proxies.iterdir()) == []
    report = index(catalog, videos, encoder=MeanColour())
    assert outcomes(report) == {"talk.mp4": "indexed"}
    assert len(catalog.shots(only_video(catalog))) == 3


def test_verify_finds_what_size_and_time_hide(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos, encoder=MeanColour())
    path, about = videos / "talk.mp4", (videos / "talk.mp4").stat()
    film(path, [GREEN, GREEN], sound=True)
    with path.open("ab") as file:
        file.write(bytes(about.st_size - path.stat().st_size))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "unchanged"}
    assert outcomes(index(catalog, videos, encoder=MeanColour(), verify=True)) == {"talk.mp4": "changed"}
    assert len(catalog.shots(only_video(catalog))) == 1
    assert outcomes(index(catalog, videos, encoder=MeanColour(), verify=True)) == {"talk.mp4": "unchanged"}


def test_subtitles_that_come_later_are_read(catalog: Catalog, videos: Path) -> None:
    (videos / "talk.srt").unlink()
    index(catalog, videos)
    assert ledger(catalog, only_video(catalog))["subtitles"] == "absent"
    (videos / "talk.en.srt").write_text(SRT)
    assert outcomes(index(catalog, videos)) == {"talk.mp4": "extended"}
    assert [stored.text.language for stored in catalog.texts()] == ["en"]
    (videos / "talk.en.srt").write_text(SRT.replace("demo", "whole demo"))
    index(catalog, videos)
    assert [stored.text.text for stored in catalog.texts()] == ["The cost of the whole demo"]
    assert outcomes(index(catalog, videos)) == {"talk.mp4": "unchanged"}


def test_force_makes_all_anew_and_serves_the_old_meanwhile(catalog: Catalog, videos: Path) -> None:
    index(catalog, videos, encoder=MeanColour())
    before = evidence(catalog)
    counts: list[int] = []
    encoder = MeanColour(before=lambda: counts.append(len(catalog.vector_table("mean@1"))))
    assert outcomes(index(catalog, videos, encoder=encoder, force=True)) == {"talk.mp4": "extended"}
    assert set(counts) == {12} and encoder.frames == 12
    assert evidence(catalog) == before
    assert len(list(catalog.proxies.iterdir())) == 1


# ---- interruptions


def test_a_video_that_is_removed_while_it_is_indexed(catalog: Catalog, videos: Path) -> None:
    removed: list[str] = []

    def remove() -> None:
        if catalog.videos() and not removed:
            with Catalog.open(catalog.folder) as other:
                removed.append(only_video(other))
                other.forget(removed[0])

    assert outcomes(index(catalog, videos, encoder=MeanColour(before=remove))) == {"talk.mp4": "indexed"}
    assert removed == [only_video(catalog)] and len(catalog.vector_table("mean@1")) == 12
    assert len(list(catalog.proxies.iterdir())) == 1


class Interrupting(MeanColour):
    """Interrupts the run when it is to encode its n-th frame."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__(before=self._strike)
        self._after, self._error = after, error

    def _strike(self) -> None:
        if self.frames >= self._after:
            raise self._error


def test_ctrl_c_loses_nothing_that_was_committed(catalog: Catalog, videos: Path, tmp_path: Path) -> None:
    stopping = Interrupting(6)
    with pytest.raises(KeyboardInterrupt):
        index(catalog, videos, encoder=stopping)
    video = only_video(catalog)
    assert 0 < len(catalog.vector_table("mean@1")) < 12, "visible from its first part"
    assert ledger(catalog, video)["seen"] == "running"
    assert catalog._store.rows("SELECT * FROM claims") == []
    assert [file.state for file in catalog.files()] == ["indexing"]
    encoder = MeanColour()
    committed = len(catalog.vector_table("mean@1"))
    assert outcomes(index(catalog, videos, encoder=encoder)) == {"talk.mp4": "indexed"}
    assert encoder.frames == 12 - committed
    with Catalog.open(tmp_path / "whole", create=True) as whole:
        index(whole, videos, encoder=MeanColour())
        assert evidence(catalog) == evidence(whole)
    assert len(list(catalog.proxies.iterdir())) == 1


def test_a_resumed_film_may_have_lost_its_encoder_and_get_it_back(catalog: Catalog, videos: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        index(catalog, videos, encoder=Interrupting(6))
    index(catalog, videos)
    assert len(catalog.shots(only_video(catalog))) == 3 and catalog.proxy(only_video(catalog))
    index(catalog, videos, encoder=MeanColour())
    assert catalog.features(only_video(catalog), "mean@1").seconds.tolist() == pytest.approx(np.arange(12.0))


def test_another_encoder_finishes_what_the_first_began(catalog: Catalog, videos: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        index(catalog, videos, encoder=Interrupting(6))
    index(catalog, videos, encoder=MeanColour("other@1"))
    assert len(catalog.features(only_video(catalog), "other@1").seconds) == 12
    index(catalog, videos, encoder=MeanColour())
    assert len(catalog.features(only_video(catalog), "mean@1").seconds) == 12


def test_a_decoder_that_dies_is_a_gap_and_the_rest_goes_on(
    catalog: Catalog, videos: Path, made: Path, monkeypatch
) -> None:
    shutil.copy2(made / "short.mp4", videos / "zzz.mp4")
    monkeypatch.setattr(seeing, "watch", dying_behind_its_first_part(seeing.watch))
    report = index(catalog, videos, encoder=MeanColour())
    assert outcomes(report) == {"talk.mp4": "partial", "zzz.mp4": "indexed"}
    video = catalog.find_video("talk.mp4").id
    seen = next(line for line in catalog.coverage(video) if line.sense == "seen")
    assert seen.state == "partial" and seen.gaps[-1].span.end == pytest.approx(12, abs=0.2)
    assert seen.gaps[-1].span.start == seen.seconds_seen == 4.0
    assert catalog.proxy(video) is not None and len(catalog.features(video, "mean@1").vectors) == 4
    assert (catalog.files()[0].state, bool(catalog.files()[0].error)) == ("indexed", True)
    assert set(outcomes(index(catalog, videos, encoder=MeanColour())).values()) == {"unchanged"}


def dying_behind_its_first_part(watch):
    """``watch`` of films of several parts as it is when the decoder dies; a real one would have decoded ahead."""

    def watched(path: str, **options: object):
        for item in watch(path, **options):
            yield item
            if isinstance(item, seeing.Part) and not item.last:
                raise DecoderCrashed(path, "the decoder was killed by signal 9")

    return watched


def test_a_full_disk_stops_the_run_and_keeps_what_is_there(
    catalog: Catalog, videos: Path, made: Path, monkeypatch
) -> None:
    shutil.copy2(made / "short.mp4", videos / "zzz.mp4")
    free = iter([1 << 40])
    usage = types.SimpleNamespace
    monkeypatch.setattr(passes.shutil, "disk_usage", lambda _: usage(free=next(free, 1000)))
    with pytest.raises(LibraryError, match="no space left"):
        index(catalog, videos, encoder=MeanColour())
    assert [Path(video.path).name for video in catalog.videos()] == ["talk.mp4"]
    assert {file.state for file in catalog.files()} == {"indexed", "waiting"}
    monkeypatch.undo()
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {"talk.mp4": "unchanged", "zzz.mp4": "indexed"}


def test_two_processes_share_the_work(catalog: Catalog, videos: Path, made: Path, tmp_path: Path) -> None:
    for number in range(4):
        film(videos / f"{number}.mp4", [RED, GREEN, BLUE][: 1 + number % 3], 1.0 + number)
    command = [sys.executable, index_films.__file__, str(catalog.folder), str(videos)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], printed
    assert outcomes(index(catalog, videos, encoder=MeanColour())) == {
        f"{name}.mp4": "unchanged" for name in ["0", "1", "2", "3", "talk"]
    }
    encoded = sum(int(text.split()[1]) for text in printed)
    assert encoded == len(catalog.vector_table("mean@1")), "no frame was encoded twice"
    subprocess.run([*command[:2], str(tmp_path / "alone"), str(videos)], check=True, stdout=subprocess.DEVNULL)
    with Catalog.open(tmp_path / "alone") as alone:
        assert evidence(catalog) == evidence(alone)
    assert len(list(catalog.proxies.iterdir())) == 5


# ---- what is said and written


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    parrot = Parrot()
    monkeypatch.setattr(speech, "load_recognizer", lambda model, language: parrot)
    return parrot


def read_nothing(path, shots, duration, *, every, begin, worker) -> Iterator[Stretch]:
    text = TimedText(Span(begin, duration), f"{len(shots)} shots", "written", "rapidocr")
    yield Stretch(duration, (text,))


def test_senses_run_breadth_first(catalog: Catalog, videos: Path, made: Path, parrot: Parrot, monkeypatch) -> None:
    monkeypatch.setattr(ocr, "read_screen", read_nothing)
    shutil.copy2(made / "short.mp4", videos / "zzz.mp4")
    shutil.copy2(made / "sound.ogg", videos)
    steps: list[Progress] = []
    index(catalog, videos, senses=saccade.ingest.SENSES, on_progress=steps.append)
    senses = [step.sense for step in steps]
    assert [sense for n, sense in enumerate(senses) if senses[n - 1 : n] != [sense]] == ["seen", "said", "written"]
    assert all(step.eta_seconds >= 0 and step.speed > 0 for step in steps)
    assert all(step.seconds_done <= step.seconds_total * 1.1 for step in steps)
    rows = {Path(video.path).name: ledger(catalog, video.id) for video in catalog.videos()}
    assert {name: (row["said"], row["written"]) for name, row in rows.items()} == {
        "talk.mp4": ("done", "done"), "zzz.mp4": ("absent", "done"), "sound.ogg": ("done", "absent"),
    }  # fmt: skip
    talk = catalog.find_video("talk.mp4").id
    said = next(line for line in catalog.coverage(talk) if line.sense == "said")
    assert (said.tool, said.made_from) == ("parrot", "proxy") and said.seconds_seen == pytest.approx(12, abs=0.2)
    assert [stored.text.text for stored in catalog.texts(talk, ["written"])] == ["3 shots"]
    assert {"o'clock".replace("'", ""), "shots"} <= set(catalog.vocabulary())
    report = index(catalog, videos, senses=saccade.ingest.SENSES)
    assert set(outcomes(report).values()) == {"unchanged"}


def test_a_missing_extra_makes_a_sense_wait(catalog: Catalog, videos: Path, parrot: Parrot, monkeypatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise MissingExtra("speech", "recognising speech")

    with monkeypatch.context() as without:
        without.setattr(speech, "load_recognizer", absent)
        for _ in range(2):
            report = index(catalog, videos, senses=("seen", "said"))
            assert report.warnings == (str(MissingExtra("speech", "recognising speech")),)
            line = next(line for line in catalog.coverage(only_video(catalog)) if line.sense == "said")
            assert line.state == "waiting" and "saccade[speech]" in line.note
        assert outcomes(report) == {"talk.mp4": "unchanged"}
    assert outcomes(index(catalog, videos, senses=("seen", "said"))) == {"talk.mp4": "extended"}
    assert ledger(catalog, only_video(catalog))["said"] == "done"


def test_speech_can_be_added_when_the_source_is_gone_but_text_on_screen_waits(
    catalog: Catalog, videos: Path, parrot: Parrot
) -> None:
    index(catalog, videos)
    (videos / "talk.mp4").unlink()
    report = index(catalog, videos / "talk.mp4", senses=("said", "written"))
    states = ledger(catalog, only_video(catalog))
    assert (states["said"], states["written"]) == ("done", "waiting")
    assert len(report.warnings) == 1 and report.warnings[0].startswith("written waits for")


def test_only_speech(catalog: Catalog, videos: Path, parrot: Parrot) -> None:
    report = index(catalog, videos, senses=("said",))
    assert outcomes(report) == {"talk.mp4": "indexed"}
    assert ledger(catalog, only_video(catalog)) == {"said": "done"} and parrot.heard[0][0] == 0
    assert catalog.coverage(only_video(catalog))[0].made_from == "source"
    assert outcomes(index(catalog, videos)) == {"talk.mp4": "extended"}


def test_speech_goes_on_where_it_was_interrupted(catalog: Catalog, videos: Path, parrot: Parrot, monkeypatch) -> None:
    from saccade.ingest import reading

    monkeypatch.setattr(reading, "COMMIT_SECONDS", 3.0)
    monkeypatch.setattr(
        reading, "read_audio", lambda *a, read=reading.read_audio, **k: read(*a, chunk_seconds=2.0, **k)
    )
    say = parrot.transcribe

    def until_six(chunks):
        for stretch in say(chunks):
            if stretch.until > 6.5:
                raise KeyboardInterrupt
            yield stretch

    monkeypatch.setattr(parrot, "transcribe", until_six)
    with pytest.raises(KeyboardInterrupt):
        index(catalog, videos, senses=("seen", "said"))
    assert [stored.text.span.start for stored in catalog.texts()] == [0, 2]
    monkeypatch.setattr(parrot, "transcribe", say)
    parrot.heard.clear()
    index(catalog, videos, senses=("seen", "said"))
    assert parrot.heard[0][0] == 4
    assert [stored.text.span.start for stored in catalog.texts()][:6] == [0, 2, 4, 6, 8, 10]


# ---- the plan


def test_a_plan_says_what_there_is_to_do(catalog: Catalog, videos: Path, made: Path) -> None:
    plan = scan([str(videos)], catalog)
    assert plan.counts["new"] == 1 and plan.other == 1
    assert plan.seconds["seen"] == pytest.approx(12, abs=0.2)
    assert set(plan.hours) == set(saccade.ingest.SENSES) and 0 < plan.hours["said"] < plan.hours["written"] * 100
    assert plan.disk_bytes > 0
    index(catalog, videos)
    shutil.copy2(made / "short.mp4", videos)
    (videos / "talk.mp4").rename(videos / "moved.mp4")
    plan = scan([str(videos)], catalog, senses=SEEN)
    assert {state: count for state, count in plan.counts.items() if count} == {"new": 1, "moved": 1}
    assert outcomes(ingest(catalog, plan, senses=SEEN)) == {"moved.mp4": "moved", "short.mp4": "indexed"}
    assert not any(scan([str(videos)], catalog, senses=SEEN).seconds.values())


def test_paths_may_be_files_folders_and_globs(catalog: Catalog, videos: Path, made: Path, monkeypatch) -> None:
    for name in ("a1.mp4", "a2.MP4", "b.mp4", "x[1].mp4", "no suffix"):
        shutil.copy2(made / "short.mp4", videos / name)
    monkeypatch.chdir(videos)

    def names(*paths: str) -> list[str]:
        return [Path(item.path).name for item in scan(paths, catalog).items]

    assert names("a*") == ["a1.mp4", "a2.MP4"]
    assert names("x[1].mp4") == ["x[1].mp4"]
    assert names("b.mp4", "./b.mp4", str(videos / "b.mp4")) == ["b.mp4"]
    assert names("no suffix") == ["no suffix"], "what is named is media, whatever it is called"
    assert "no suffix" not in names(".") and len(names(".")) == 5
    for wrong in ("nothing.mp4", "z*.mp4"):
        with pytest.raises(InputError, match="no such file"):
            scan([wrong], catalog)
    with pytest.raises(InputError, match="senses are"):
        scan(["."], catalog, senses=["smelt"])


def test_folders_are_walked_once_and_libraries_left_alone(videos: Path, tmp_path: Path) -> None:
    (videos / "loop").symlink_to(videos)
    (videos / "gone.mp4").symlink_to(videos / "nowhere")
    with Catalog.open(videos / "library", create=True) as inside:
        index(inside, videos)
        plan = scan([str(videos)], inside)
        assert [Path(item.path).name for item in plan.items] == ["talk.mp4"]
        assert len(plan.warnings) == 1 and "gone.mp4" in plan.warnings[0]


def test_urls_are_fetched_where_the_tool_is_installed(catalog: Catalog, made: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"saccade\[download\]"):
        index(catalog, "https://example.org/talk")  # type: ignore[arg-type]

    class YoutubeDL:
        def __init__(self, options: dict[str, object]) -> None:
            self.target = Path(str(options["outtmpl"])).parent / "talk [1].mp4"

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def extract_info(self, url: str, download: bool) -> dict[str, object]:
            if "bad" in url:
                raise yt_dlp.utils.DownloadError("no such page")
            self.target.parent.mkdir(exist_ok=True)
            shutil.copy2(made / "short.mp4", self.target)
            return {"requested_downloads": [{"filepath": str(self.target)}]}

    yt_dlp = types.SimpleNamespace(
        YoutubeDL=YoutubeDL, utils=types.SimpleNamespace(DownloadError=type("DownloadError", (Exception,), {}))
    )
    monkeypatch.setitem(sys.modules, "yt_dlp", yt_dlp)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: yt_dlp)
    report = index(catalog, "https://example.org/talk")  # type: ignore[arg-type]
    assert outcomes(report) == {"talk [1].mp4": "indexed"}
    assert Path(report.files[0].path).parent == catalog.folder / "downloads"
    with pytest.raises(InputError, match="no such page"):
        index(catalog, "https://example.org/bad")  # type: ignore[arg-type]
