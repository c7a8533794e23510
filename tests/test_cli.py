"""The command line: what others script against stays, errors are one sentence, and help costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade import cli
from subtitled_films import LINES, subtitled_film


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two films, a broken one, a note, and a library of all that."""
    folder = tmp_path_factory.mktemp("films")
    for name, lines in LINES.items():
        subtitled_film(folder / f"{name}.mp4", lines)
    (folder / "broken.mp4").write_bytes(b"no film at all" * 100)
    (folder / "note.txt").write_text("buy bread")
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert cli.run(["index", str(folder), "--no", "said,written", "--library", str(folder / "library")]) == 3
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def saccade(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command line in the folder of the films: (exit code, stdout, stderr)."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SACCADE_LIBRARY", str(place / "library"))

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def answer(result: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = result
    assert code == 0, err
    data: dict[str, Any] = json.loads(out)
    return data


def subprocess_of(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saccade", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# ── help ──


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["index", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from saccade.cli import run; run(sys.argv[1:]);"
        "print([name for name in ('numpy', 'av', 'onnxruntime', 'PIL', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_is_short() -> None:
    import ast

    tree = ast.parse(Path(cli.__file__).read_text())
    commands = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert {node.name for node in commands} >= {
        "index",
        "search",
        "ground",
        "info",
        "export",
        "remove",
        "doctor",
        "migrate",
    }
    for node in commands:
        assert node.end_lineno - node.body[0].lineno < 30, node.name


def test_version_and_no_command(saccade: Any) -> None:
    from saccade import __version__

    assert saccade("--version")[1].strip() == __version__
    assert saccade()[0] == 2


# ── what stays ──


def test_index_reports_every_file_and_the_second_run_skips(saccade: Any, place: Path) -> None:
    code, out, _ = saccade("index", ".", "--no", "said,written")
    data = json.loads(out)
    assert code in (0, 3) and data["skipped"] >= 2 and data["other"] >= 1 and not data["done"]
    assert {Path(file["path"]).name for file in data["files"]} == {"talk.mp4", "kitchen.mp4", "broken.mp4"}


def test_search_has_the_promised_shape(saccade: Any, place: Path) -> None:
    data = answer(saccade("search", "mayonnaise"))
    assert set(data) >= {"query", "encoder", "present", "unknown_words", "warnings", "hits"}
    best = data["hits"][0]
    assert set(best) >= {"video", "path", "start", "end", "score", "confidence", "matched"}
    assert best["path"] == str(place / "kitchen.mp4")
    assert best["start"] == pytest.approx(3, abs=0.6) and best["matched"][0]["kind"] == "said"
    assert "mayonnaise" in best["matched"][0]["text"]


def test_search_finds_across_languages(saccade: Any) -> None:
    assert "mayonnaise" in answer(saccade("search", "마요네즈"))["hits"][0]["matched"][0]["text"]


def test_a_query_needs_no_quotes(saccade: Any) -> None:
    assert answer(saccade("search", "spoon", "of", "mayonnaise")) == answer(saccade("search", "spoon of mayonnaise"))
    assert answer(saccade("ground", "kitchen.mp4", "melt", "butter", "-k", "1"))["query"] == "melt butter"


def test_search_obeys_its_limits(saccade: Any) -> None:
    assert len(answer(saccade("search", "bread", "-k", "1"))["hits"]) == 1
    found = answer(saccade("search", "bread", "--in", "talk.mp4"))["hits"]
    assert {Path(hit["path"]).name for hit in found} <= {"talk.mp4"}
    late = answer(saccade("search", "the cost", "--from", "0:06", "--to", "0:09"))["hits"]
    assert all(hit["end"] > 6 for hit in late)
    assert answer(saccade("search", "cost", "--kind", "audio"))["hits"] == []
    assert answer(saccade("search", "cost", "--after", "2200-01-01"))["hits"] == []
    assert answer(saccade("search", "cost", "--evidence", "written"))["hits"] == []


def test_ground_has_the_promised_shape(saccade: Any) -> None:
    data = answer(saccade("ground", "talk.mp4", "what does the bridge cost"))
    assert set(data) >= {"present", "moments", "curve"}
    assert set(data["moments"][0]) >= {"start", "end", "score", "confidence"}
    assert data["moments"][0]["start"] == pytest.approx(3, abs=0.6)
    assert set(data["curve"][0]) == {"start", "end", "score"} and data["curve"][-1]["end"] >= 8


def test_info_lists_failed_files_too(saccade: Any, place: Path) -> None:
    videos = answer(saccade("info"))["videos"]
    by_name = {Path(video["path"]).name: video for video in videos}
    assert by_name["broken.mp4"]["state"] == "failed" and by_name["broken.mp4"]["error"]
    talk = by_name["talk.mp4"]
    assert talk["duration"] == pytest.approx(9, abs=0.2) and talk["start_seconds"] == 0 and talk["id"]
    assert {"sense": "subtitles", "state": "done"}.items() <= talk["coverage"][-1].items() or any(
        row["sense"] == "subtitles" and row["state"] == "done" for row in talk["coverage"]
    )
    assert answer(saccade("info", talk["id"][:8]))["videos"] == [talk]


def test_export_writes_texts_and_saved_answers(saccade: Any, place: Path, tmp_path: Path) -> None:
    code, out, _ = saccade("export", "talk.mp4", "--format", "vtt")
    assert code == 0 and out.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\nWelcome to")
    _, found, _ = saccade("search", "bridge cost", "-k", "1")
    saved = tmp_path / "found.json"
    saved.write_text(found)
    code, out, _ = saccade("export", str(saved), "-f", "srt", "-o", str(tmp_path / "found.srt"))
    assert code == 0 and out == "" and "bridge has doubled" in (tmp_path / "found.srt").read_text()


def test_export_cuts_the_clip_of_a_hit(saccade: Any, tmp_path: Path) -> None:
    saved = tmp_path / "found.json"
    saved.write_text(saccade("search", "mayonnaise")[1])
    data = answer(saccade("export", str(saved), "-f", "clip", "-o", str(tmp_path / "clip.mp4")))
    assert data["start"] == pytest.approx(3, abs=0.6) and not data["exact"] and Path(data["path"]).is_file()
    target = str(tmp_path / "exact.mp4")
    data = answer(saccade("export", "talk.mp4", "-f", "clip", "--span", "0:01.5-0:04", "--exact", "-o", target))
    assert (data["start"], data["end"]) == (pytest.approx(1.5, abs=1e-6), pytest.approx(4, abs=1e-6))


def test_export_writes_vectors(saccade: Any, tmp_path: Path) -> None:
    assert saccade("export", "talk.mp4", "-f", "npz", "-o", str(tmp_path / "talk.npz"))[0] == 0
    with np.load(tmp_path / "talk.npz") as saved:
        assert len(saved["vectors"]) == len(saved["seconds"]) > 0
    library = str(tmp_path / "library")
    saccade("index", "talk.mp4", "--only", "subtitles", "--library", library)
    code, _, err = saccade("export", "talk.mp4", "-f", "npz", "-o", str(tmp_path / "x.npz"), "--library", library)
    assert code == 1 and "no vectors" in err


def test_remove_forgets(saccade: Any, place: Path, tmp_path: Path) -> None:
    library = str(tmp_path / "library")
    subtitled_film(tmp_path / "one.mp4", LINES["talk"])
    assert saccade("index", str(tmp_path / "one.mp4"), "--only", "subtitles", "--library", library)[0] == 0
    assert answer(saccade("remove", "one.mp4", "--library", library))["removed"] == str(tmp_path / "one.mp4")
    assert saccade("search", "bridge", "--library", library)[0] in (0, 1)
    assert (tmp_path / "one.mp4").is_file()
    assert saccade("remove", "one.mp4", "--library", library)[0] == 1


def test_doctor_answers(saccade: Any) -> None:
    data = answer(saccade("doctor"))
    assert data["ok"] and {"name", "state", "detail", "fix"} <= set(data["checks"][0])
    assert any(check["name"] == "integrity" for check in data["checks"])


def test_migrate_goes_over_to_another_encoder(saccade: Any, place: Path, tiny_builtin: Path, tmp_path: Path) -> None:
    library = str(shutil.copytree(place / "library", tmp_path / "library"))
    command = ("migrate", "--encoder", str(tiny_builtin), "--library", library)
    left = answer(saccade(*command, "--dry-run"))
    assert left["videos"] == 2 and not left["switched"] and left["without_proxy"] == 0 and left["hours"] > 0
    assert "2 videos to see anew with tiny@" in saccade(*command, "--dry-run", "--text")[1]
    done = answer(saccade(*command))
    assert done["switched"] and done["videos"] == 0 and {file["outcome"] for file in done["files"]} == {"extended"}
    assert answer(saccade("search", "bread", "--library", library))["encoder"] == done["after"]
    assert "search went over from" in saccade(*command, "--text")[1]


def test_a_cold_search_by_words_loads_no_onnx_runtime(place: Path, tiny_builtin: Path, tmp_path: Path) -> None:
    library = str(shutil.copytree(place / "library", tmp_path / "library"))
    assert cli.run(["migrate", "--encoder", str(tiny_builtin), "--library", library]) == 0
    code = (
        "import sys; from saccade.cli import run; run(sys.argv[1:]);"
        "print([name for name in ('onnxruntime', 'av', 'PIL', 'torch', 'faster_whisper') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "search", "a loaf of bread", "--library", library]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *found, loaded = done.stdout.splitlines()
    assert loaded == "[]" and json.loads("\n".join(found))["encoder"].startswith("tiny@")


def test_a_dry_run_changes_nothing(saccade: Any, tmp_path: Path) -> None:
    subtitled_film(tmp_path / "one.mp4", LINES["talk"])
    library = str(tmp_path / "library")
    data = answer(saccade("index", str(tmp_path), "--dry-run", "--library", library))
    assert data["counts"]["new"] == 1 and set(data["hours"]) == {"seen", "subtitles", "said", "written"}
    assert not (tmp_path / "library").exists(), "not even an empty library is made"


# ── for people ──


def test_people_read_times_names_and_matches(saccade: Any) -> None:
    code, out, _ = saccade("search", "mayonnaise", "--text")
    assert code == 0 and "kitchen.mp4" in out and "0:03.0–0:06.0" in out and "one spoon of mayonnaise" in out
    _, out, _ = saccade("ground", "kitchen.mp4", "mayonnaise", "--text")
    assert "█" in out
    _, out, _ = saccade("info", "--text")
    assert "broken.mp4" in out and "failed" in out and "0:09.0" in out
    _, out, _ = saccade("info", "talk.mp4", "--text")
    assert "subtitles" in out and "done" in out
    _, out, _ = saccade("doctor", "--text")
    assert "sentence encoder" in out
    _, out, _ = saccade("index", ".", "--no", "said,written", "--text")
    assert "unchanged" in out
    _, out, _ = saccade("index", ".", "--dry-run", "--text")
    assert "unchanged" in out


# ── what goes wrong ──


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (["serch", "x"], 2, "No such command"),
        (["search", "x", "-k", "0"], 2, "-k"),
        (["search", "x", "-k", "many"], 2, "-k"),
        (["search", "x", "--nonsense"], 2, "--nonsense"),
        (["search"], 2, "words or an image"),
        (["search", "  "], 2, "words or an image"),
        (["search", "x", "--evidence", "smelled"], 2, "smelled"),
        (["search", "x", "--kind", "poem"], 2, "poem"),
        (["search", "x", "--from", "noon"], 2, "noon"),
        (["search", "x", "--from", "1:2:3:4"], 2, "1:2:3:4"),
        (["search", "x", "--after", "yesterday"], 2, "--after"),
        (["search", "x", "--in", "absent.mp4"], 1, "absent.mp4"),
        (["search", "x", "--library", "nowhere"], 1, "nowhere"),
        (["search", "--image", "absent.png"], 2, ""),
        (["ground", "absent.mp4", "x"], 1, "absent.mp4"),
        (["ground", "talk.mp4"], 2, "words or an image"),
        (["info", "absent.mp4"], 1, "absent.mp4"),
        (["info", "--library", "note.txt"], 1, "note.txt"),
        (["remove", "absent.mp4"], 1, "absent.mp4"),
        (["export", "absent.mp4"], 1, "absent.mp4"),
        (["export", "absent.json"], 2, "absent.json"),
        (["export", "note.txt", "-f", "clip", "--span", "1-2", "-o", "c.mp4"], 1, "note.txt"),
        (["export", "talk.mp4", "-f", "docx"], 2, "docx"),
        (["export", "talk.mp4", "--texts", "smelled"], 2, "smelled"),
        (["export", "talk.mp4", "-f", "srt", "-o", "."], 1, "irectory"),
        (["export", "talk.mp4", "-f", "srt", "-o", "note.txt/x.srt"], 1, "note.txt"),
        (["export", "talk.mp4", "-f", "npz"], 2, "-o"),
        (["export", "talk.mp4", "-f", "clip"], 2, "--span"),
        (["export", "talk.mp4", "-f", "clip", "--span", "5-2"], 2, "5-2"),
        (["export", "talk.mp4", "-f", "clip", "--span", "5"], 2, "no span"),
        (["export", "talk.mp4", "--span", "1-2"], 2, "--span"),
        (["index", "absent-folder"], 2, "absent-folder"),
        (["index"], 2, "PATH"),
        (["index", ".", "--only", "smelled"], 2, "smelled"),
        (["index", ".", "--mode", "fast"], 2, "keyframes"),
        (["index", ".", "--every", "0"], 2, "above 0"),
        (["index", ".", "--ocr-every", "nan"], 2, "above 0"),
        (["search", "x", "--from", "10", "--to", "5"], 2, "not before"),
        (["index", ".", "--only", "seen", "--no", "said"], 2, "exclude"),
        (["index", ".", "--encoder", "nowhere/at/all"], 1, "nowhere"),
        (["migrate"], 2, "--encoder"),
        (["migrate", "--encoder", "nowhere/at/all"], 1, "nowhere"),
        (["migrate", "--encoder", "builtin", "--library", "nowhere"], 1, "nowhere"),
    ],
)
def test_errors_are_one_sentence_and_a_code(saccade: Any, arguments: list[str], code: int, sentence: str) -> None:
    result, out, err = saccade(*arguments)
    assert (result, out) == (code, ""), err
    assert sentence in err and "Traceback" not in err


@pytest.mark.parametrize("command", [("index", "."), ("migrate",)])
def test_nothing_is_downloaded_unasked(
    saccade: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    code, _, err = saccade(*command, "--encoder", "owner/name")
    assert code == 1 and "nothing is downloaded unasked" in err and "--download" in err
    code, _, err = saccade(*command, "--encoder", "owner/name", "--download")
    assert code == 1 and "does not answer" in err


def test_a_download_of_nothing_named_is_wrong_usage(saccade: Any, tmp_path: Path) -> None:
    code, _, err = saccade("index", str(tmp_path), "--library", str(tmp_path / "library"), "--download")
    assert code == 2 and "--encoder" in err and not (tmp_path / "library").exists()


def test_an_index_in_which_nothing_worked_is_code_one(saccade: Any, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    code, out, _ = saccade("index", str(tmp_path), "--library", str(tmp_path / "library"))
    data = json.loads(out)
    assert code == 1 and data["failed"] == 1 and data["files"][0]["note"]


def test_ctrl_c_is_code_130(saccade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.library import Library

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "search", interrupted)
    code, _, err = saccade("search", "x")
    assert code == 130 and "kept" in err


def test_a_reader_that_goes_away_is_no_traceback(place: Path) -> None:
    command = [sys.executable, "-m", "saccade", "info", "--library", str(place / "library")]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""


def test_names_beyond_ascii_reach_an_ascii_terminal(place: Path, tmp_path: Path) -> None:
    subtitled_film(tmp_path / "회의 café.mp4", LINES["talk"])
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "SACCADE_LIBRARY": str(tmp_path / "lib")}
    done = subprocess_of("index", str(tmp_path), "--only", "subtitles", "--text", env=environment)
    assert done.returncode == 0, done.stderr
    done = subprocess_of("search", "bridge", "--text", env=environment)
    assert done.returncode == 0 and "caf" in done.stdout, done.stderr
    done = subprocess_of("search", "bridge", "--json", env=environment)
    assert Path(json.loads(done.stdout)["hits"][0]["path"]).name == "회의 café.mp4"


def test_a_name_cannot_disturb_the_terminal(tmp_path: Path, saccade: Any) -> None:
    subtitled_film(tmp_path / "a\nb\x1b[31m한글.mp4", LINES["talk"])
    library = str(tmp_path / "library")
    saccade("index", str(tmp_path), "--only", "subtitles", "--library", library)
    for arguments in (["search", "bridge"], ["info"]):
        _, out, _ = saccade(*arguments, "--text", "--library", library)
        assert "a\\nb\\x1b[31m한글.mp4" in "".join(out.split()) and "\x1b" not in out


@pytest.mark.parametrize(
    "text, seconds", [("75", 75), ("75.5", 75.5), ("1:15", 75), ("1:15.5", 75.5), ("1:01:15", 3675), ("00:00", 0)]
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert cli.typed.read_seconds(text) == seconds


def test_a_large_run_says_first_how_long_it_will_take(
    tmp_path: Path, saccade: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subtitled_film(tmp_path / "one.mp4", LINES["talk"])
    monkeypatch.setattr(cli.shown, "LARGE_BYTES", 10)
    _, _, err = saccade("index", str(tmp_path), "--only", "subtitles", "--library", str(tmp_path / "library"))
    assert "1 new" in err and "subtitles  9 s of media" in err and "on disk" in err


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    from saccade.ingest import Progress

    with cli.shown.Meter() as meter:
        for second in range(1000):
            meter.update(Progress("/films/talk.mp4", "seen", second, 1000, 0, 2, 4000 - second, 50))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["saccade: seen 1/2 talk.mp4, 0 %, 50 × real time, 67 min left"]


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.ingest import Progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with cli.shown.Meter() as meter:
        meter.update(Progress("/films/talk.mp4", "said", 500, 1000, 1, 2, -3, 19))
    assert "said 2/2 talk.mp4" in capsys.readouterr().err
