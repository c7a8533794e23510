"""Finding, checking and joining weights; nothing here reaches a network outside this machine."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
        with pytest.raises(HubUnreachable, match=r"does not answer \(waited at most 0\.2 seconds\).*give a folder"):
            weights.find_model("maker/model", needed=["config.json"], download=True)


def test_a_closed_port_is_unreachable(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(HubUnreachable):
            weights.find_model("maker/model", needed=["config.json"], download=True)


FILES = {"config.json": b"{}", "onnx/vision_model.onnx": b"eyes", "onnx/vision_model_q4.onnx": b"not wanted"}
COMMIT = "fedcba98" * 5


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/maker/model/revision/"):
            siblings = [{"rfilename": name} for name in FILES]
            self.answer(json.dumps({"id": "maker/model", "sha": COMMIT, "siblings": siblings}).encode())
        elif self.path.startswith("/api/models/maker/model/tree/"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": ""} for name, data in FILES.items()]
            self.answer(json.dumps(tree).encode())
        elif (name := self.path.removeprefix(f"/maker/model/resolve/{COMMIT}/")) in FILES:
            self.answer(FILES[name], ETag=f'"{sha256(FILES[name])[:40]}"', X_Repo_Commit=COMMIT)
        else:
            error = {"X_Error_Code": "RepoNotFound"} if self.path.startswith("/api") else {}
            self.answer(b"", 404 if self.path != "/" else 200, **error)

    do_HEAD = do_GET

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub(hub_cache: Path) -> Iterator[dict[str, str]]:
    """A hub on this machine, and the environment for a process that is to ask it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        yield os.environ | {"HF_ENDPOINT": endpoint, "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
        server.shutdown()


def find_in_a_process(environment: dict[str, str], name: str) -> str:
    """The hub's library reads its environment once, so each test asks from a process of its own."""
    code = (
        "import sys; from saccade import weights\n"
        "try: print(weights.find_model(sys.argv[1], needed=['config.json', '*vision_model.onnx'], download=True))\n"
        "except weights.WeightsError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, name], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_what_is_needed_is_fetched_and_only_once(hub: dict[str, str], hub_cache: Path) -> None:
    folder = Path(find_in_a_process(hub, "maker/model"))
    fetched = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert fetched == ["config.json", "onnx/vision_model.onnx"]
    assert (folder / "onnx" / "vision_model.onnx").read_bytes() == b"eyes"
    assert weights.identity(folder, []) == "maker/model@fedcba98"
    assert weights.find_model("maker/model", needed=["config.json"]) == folder, "from now on without a network"


def test_a_model_that_the_hub_has_not_is_named(hub: dict[str, str]) -> None:
    assert find_in_a_process(hub, "maker/other").startswith("WeightsError http://127.0.0.1")


def test_the_hub_library_is_not_imported_for_local_models(tmp_path: Path) -> None:
    code = (
        "import sys; from saccade import weights; weights.find_model(sys.argv[1]); "
        "assert not {'huggingface_hub', 'numpy', 'urllib.request'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
