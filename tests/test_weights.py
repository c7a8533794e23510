"""Finding, checking and joining weights; nothing here reaches a network outside this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from saccade import weights
from saccade.errors import HubUnreachable, WeightsAltered, WeightsError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def snapshot(hub_cache: Path, name: str, commit: str, *files: str) -> Path:
    repository = hub_cache / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return folder


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache_folder() == Path(os.environ["SACCADE_CACHE"])
    monkeypatch.delenv("SACCADE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert weights.cache_folder() == Path("/somewhere/saccade")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_folder() == Path.home() / ".cache" / "saccade"


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"one")
    hashed: list[Path] = []
    original = weights._hash
    monkeypatch.setattr(weights, "_hash", lambda p: hashed.append(p) or original(p))
    assert weights.sha256_of(path) == weights.sha256_of(path) == sha256(b"one")
    assert len(hashed) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert weights.sha256_of(path) == sha256(b"two")
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    path = tmp_path / "model.bin"
    path.write_bytes(b"one")
    assert weights.sha256_of(path) == sha256(b"one")


def test_package_file_is_found_and_checked_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "carrier_of_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    expected = sha256(b"weights")
    assert weights.package_file("carrier_of_weights", "model.bin", expected) == package / "model.bin"
    with pytest.raises(WeightsAltered, match=r"model\.bin is not the file that was expected"):
        weights.package_file("carrier_of_weights", "model.bin", "0" * 64)
    with pytest.raises(WeightsError, match="is missing"):
        weights.package_file("carrier_of_weights", "other.bin", expected)
    with pytest.raises(WeightsError, match="is not installed"):
        weights.package_file("no_such_package_at_all", "model.bin", expected)


def test_parts_join_once_and_altered_parts_leave_nothing(tmp_path: Path) -> None:
    parts = [tmp_path / "model.part1", tmp_path / "model.part2"]
    parts[0].write_bytes(b"first ")
    parts[1].write_bytes(b"second")
    target = tmp_path / "joined" / "model.bin"
    expected = sha256(b"first second")
    assert weights.join_parts(parts, target, expected).read_bytes() == b"first second"
    for part in parts:
        part.unlink()
    assert weights.join_parts(parts, target, expected) == target, "a joined file needs no parts"

    parts[0].write_bytes(b"forged")
    other = tmp_path / "other" / "model.bin"
    with pytest.raises(WeightsAltered, match="do not join"):
        weights.join_parts(parts[:1], other, expected)
    assert list(other.parent.iterdir()) == []


def test_a_damaged_target_is_joined_anew(tmp_path: Path) -> None:
    part, target = tmp_path / "part", tmp_path / "model.bin"
    part.write_bytes(b"good")
    target.write_bytes(b"damaged")
    assert weights.join_parts([part], target, sha256(b"good")).read_bytes() == b"good"


def test_a_folder_is_taken_as_it_is_and_its_gaps_are_named(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "vision_model.onnx").write_bytes(b"x")
    assert weights.find_model(str(tmp_path), needed=["*vision_model.onnx"]) == tmp_path
    with pytest.raises(WeightsError, match=r"no text_model\.onnx, no tokenizer\.json"):
        weights.find_model(str(tmp_path), needed=["*vision_model.onnx", "*text_model.onnx", "tokenizer.json"])


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "", "bad name", "../up"])
def test_what_is_neither_folder_nor_hub_id_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError):
        weights.find_model(name, download=True, needed=["config.json"])


def test_a_hub_id_comes_from_the_local_cache(hub_cache: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = snapshot(hub_cache, "maker/model", commit, "config.json")
    assert weights.find_model("maker/model", needed=["config.json"]) == folder
    assert weights.find_model(f"maker/model@{commit}", needed=["config.json"]) == folder
    assert weights.identity(folder, []) == "maker/model@01234567"
    with pytest.raises(WeightsError, match=r"lacks tokenizer\.json on this machine.*nothing is downloaded unasked"):
        weights.find_model("maker/model", needed=["config.json", "tokenizer.json"])
    with pytest.raises(WeightsError, match="nor in the hub cache"):
        weights.find_model("maker/other", needed=["config.json"])


def test_a_folder_is_identified_by_its_bytes(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vision_model.onnx").write_bytes(b"same" if name != "three" else b"other")
    names = [weights.identity(tmp_path / n, [tmp_path / n / "vision_model.onnx"]) for n in ("one", "two", "three")]
    revisions = [name.split("@")[1] for name in names]
    assert names[0].startswith("one@") and revisions[0] == revisions[1] != revisions[2]


def test_a_silent_hub_is_found_out_in_two_seconds(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(weights, "HUB_TIMEOUT_SECONDS", 0.2)
        with pytest.raises(HubUnreachable, match=r"did not answer within 0\.2 seconds.*give a folder"):
            weights.find_model("maker/model", needed=["config.json"], download=True)


def test_a_closed_port_is_unreachable(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(HubUnreachable):
            weights.find_model("maker/model", needed=["config.json"], download=True)


def test_the_hub_library_is_not_imported_for_local_models(tmp_path: Path) -> None:
    code = (
        "import sys; from saccade import weights; weights.find_model(sys.argv[1]); "
        "assert not {'huggingface_hub', 'numpy', 'urllib.request'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
