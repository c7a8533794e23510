"""The library on disk: a folder with one SQLite database, which is the one source of truth, and the proxies.

Reading is here; everything that changes a library goes through ``Catalog.commit`` and its Writer. Any number of
processes and threads may read while one writes: each thread gets a connection of its own on first use, and every
method reads one consistent state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.errors import ClaimLost, NotInLibrary
from saccade.index import claims, schema
from saccade.index.claims import Claim, Heartbeat
from saccade.index.records import (
    FileRow,
    PassRow,
    StoredText,
    VideoRow,
    gaps_from_json,
    info_from_json,
    path_in,
    path_out,
    words_from_json,
)
from saccade.index.store import Store
from saccade.index.vectors import PartRow, TextTable, VectorTable, assemble, group, unpack_vectors
from saccade.index.writer import Writer, indexed, token_of
from saccade.types import Coverage, Features, Shot, Span, TimedText

SENSE_ORDER = ("shots", "seen", "subtitles", "said", "written")
TEXT_DIM = 512


class Catalog:
    """A library opened for reading and writing; use ``Catalog.open``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = Store(folder)

    @classmethod
    def open(cls, folder: Path | str, *, create: bool = False) -> Catalog:
        """Open the library in ``folder``, or make one there.

        LibraryError where there is none, it is damaged, of a newer format, or not ours.
        """
        folder = Path(os.path.abspath(os.path.expanduser(folder)))
        if create:
            schema.create(folder)
        catalog = cls(folder)
        try:
            schema.check_format(catalog._store.connection, folder)
            catalog.sweep()
        except BaseException:
            catalog.close()
            raise
        return catalog

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def proxies(self) -> Path:
        """The folder of the proxies."""
        return self.folder / "proxies"

    @property
    def version(self) -> int:
        """A number that grows with every commit that changes evidence: the key of whatever is cached of it."""
        return int(self.get_meta("version") or 0)

    # What is in the library

    def files(self, video: str | None = None) -> list[FileRow]:
        """Every media file that was ever indexed here (the ledger's first half) or that holds one video, by path."""
        where = "" if video is None else " WHERE id = ?"
        return sorted(self._file_rows(where, *filter(None, [video])), key=lambda file: file.path)

    def file(self, path: str) -> FileRow | None:
        """The row of one path."""
        return next(iter(self._file_rows(" WHERE path = ?", path_in(path))), None)

    def _file_rows(self, where: str, *values: Any) -> list[FileRow]:
        rows = self._store.rows(
            "SELECT path, size, mtime_ns, id, state, error FROM files LEFT JOIN videos ON videos.key = files.video"
            + where,
            *values,
        )
        return [FileRow(path_out(row[0]), *row[1:]) for row in rows]

    def videos(self, ids: Sequence[str] | None = None) -> list[VideoRow]:
        """Videos and sounds, all or those named (in that order), oldest first."""
        rows = self._store.rows(
            "SELECT videos.id, content_hash, info, added, recorded, kind, path"
            " FROM videos LEFT JOIN files ON files.video = videos.key"
            " WHERE ? IS NULL OR videos.id IN (SELECT value FROM json_each(?))"
            " ORDER BY videos.key, state = 'missing', path",
            *[None if ids is None else json.dumps(list(ids))] * 2,
        )
        found: dict[str, VideoRow] = {}
        for id_, content_hash, info, added, recorded, kind, path in rows:
            if id_ in found:
                continue
            found[id_] = VideoRow(
                id=id_,
                content_hash=content_hash,
                path=info_from_json(info).path if path is None else path_out(path),
                added=datetime.fromisoformat(added),
                recorded=datetime.fromisoformat(recorded) if recorded else None,
                kind=kind,
                info_json=info,
            )
        if ids is None:
            return list(found.values())
        if missing := [id_ for id_ in ids if id_ not in found]:
            raise NotInLibrary(f"no video {missing[0]} in {self.folder}")
        return [found[id_] for id_ in ids]

    def video(self, id: str) -> VideoRow:
        """The video of that id; NotInLibrary."""
        return self.videos([id])[0]

    def find_video(self, path_or_id: str) -> VideoRow:
        """A video by its id, a unique beginning of it, its path, or a file name that only one video has.

        NotInLibrary, with the reason why a file that is known has no content here.
        """
        wanted = os.path.abspath(os.path.expanduser(path_or_id))
        if file := self.file(wanted):
            if file.video is None:
                raise NotInLibrary(f"{wanted} was not indexed: {file.error or file.state}")
            return self.video(file.video)
        named = {file.video for file in self.files() if file.video and os.path.basename(file.path) == path_or_id}
        if path_or_id.isalnum():
            named |= {
                row[0] for row in self._store.rows("SELECT id FROM videos WHERE id GLOB ?", path_or_id.lower() + "*")
            }
        if len(named) == 1:
            return self.video(named.pop())
        if named:
            raise NotInLibrary(f"{path_or_id!r} may mean {len(named)} videos of {self.folder}: name its path or id")
        raise NotInLibrary(f"no video {path_or_id!r} in {self.folder}; `saccade info` lists what it holds")

    def coverage(self, video: str) -> list[Coverage]:
        """The ledger of one video: a line for each sense × tool."""
        lines = [row.coverage for row in self.passes(video)]
        return sorted(lines, key=lambda line: SENSE_ORDER.index(line.sense))

    def passes(self, video: str | None = None) -> list[PassRow]:
        """The ledger's rows, of one video or of all, in the order in which they were begun."""
        rows = self._store.rows(
            "SELECT passes.key, id, served, settings, sense, state, seconds_seen, frames_decoded, items, tool, mode,"
            " time_error, made_from, gaps, note FROM passes JOIN videos ON videos.key = passes.video"
            " WHERE ? IS NULL OR id = ? ORDER BY passes.key",
            video,
            video,
        )
        return [
            PassRow(key, of, bool(served), settings, Coverage(*[*line, gaps_from_json(gaps), note]))
            for key, of, served, settings, *line, gaps, note in rows
        ]

    def video_of_content(self, content_hash: str) -> str | None:
        """The id of the video with this content, if it is here."""
        rows = self._store.rows("SELECT id FROM videos WHERE content_hash = ?", content_hash)
        return rows[0][0] if rows else None

    def shots(self, video: str) -> list[Shot]:
        """The shots of one video, end to end over what was seen of it; none for a sound."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT key, seconds_seen FROM passes WHERE served AND sense = 'shots'"
                " AND frames_decoded AND video = (SELECT key FROM videos WHERE id = ?)",
                (video,),
            ).fetchone()
            if row is None:
                return []
            cuts = db.execute("SELECT seconds, kind FROM cuts WHERE pass = ? ORDER BY seconds", (row[0],)).fetchall()
        edges = [(0.0, "start")] + [(seconds, kind) for seconds, kind in cuts if 0 < seconds < row[1]]
        ends = [seconds for seconds, _ in edges[1:]] + [row[1]]
        return [Shot(Span(start, end), kind) for (start, kind), end in zip(edges, ends, strict=True)]

    def shot_starts(self) -> dict[str, npt.NDArray[np.float64]]:
        """Video id -> the seconds at which its shots begin, float64 (S,), for every video with shots, in one read."""
        rows = self._store.rows(
            "SELECT id, 0.0 AS start FROM passes JOIN videos ON videos.key = passes.video"
            " WHERE served AND sense = 'shots' AND frames_decoded UNION ALL"
            " SELECT id, seconds FROM passes JOIN videos ON videos.key = passes.video"
            " JOIN cuts ON cuts.pass = passes.key WHERE served AND frames_decoded"
            " AND seconds > 0 AND seconds < seconds_seen ORDER BY 1, 2"
        )
        found: dict[str, list[float]] = {}
        for video, start in rows:
            found.setdefault(video, []).append(start)
        return {video: np.array(starts, np.float64) for video, starts in found.items()}

    def frontier(self, key: int) -> tuple[float, float]:
        """Where a pass over the source goes on: the end of its last part, and until where its cuts are settled."""
        rows = self._store.rows('SELECT "end", cuts_until FROM parts WHERE pass = ? ORDER BY start DESC LIMIT 1', key)
        return rows[0] if rows else (0.0, 0.0)

    def part_proxies(self, key: int) -> list[str]:
        """Names in ``proxies`` of a pass's parts, in order of time, until they are joined."""
        rows = self._store.rows("SELECT proxy FROM parts WHERE pass = ? AND proxy NOT NULL ORDER BY start", key)
        return [row[0] for row in rows]

    def last_pts(self, key: int) -> int | None:
        """The pts of the last frame that has a vector in this pass."""
        rows = self._store.rows(
            "SELECT pts FROM vectors WHERE pass = ? AND pts <> x'' ORDER BY start DESC LIMIT 1", key
        )
        return int(np.frombuffer(rows[0][0], "<i8")[-1]) if rows else None

    def proxy(self, video: str) -> Path | None:
        """The video's proxy, once it is whole."""
        rows = self._store.rows(
            "SELECT proxy FROM passes WHERE served AND sense = 'shots' AND proxy NOT NULL"
            " AND video = (SELECT key FROM videos WHERE id = ?)",
            video,
        )
        return self.proxies / rows[0][0] if rows else None

    # Text

    def texts(
        self, video: str | None = None, kinds: Sequence[str] | None = None, *, ids: Sequence[int] | None = None
    ) -> list[StoredText]:
        """Timed texts, by video and time: of one video, of some kinds, or those of the given text ids."""
        where, values = ["served"], list[Any]()
        if video is not None:
            where.append("videos.id = ?")
            values.append(video)
        for column, chosen in (("texts.kind", kinds), ("texts.id", ids)):
            if chosen is not None:
                where.append(f"{column} IN (SELECT value FROM json_each(?))")
                values.append(json.dumps([int(c) if column == "texts.id" else c for c in chosen]))
        rows = self._store.rows(
            'SELECT texts.id, videos.id, start, "end", text, texts.kind, source, language, words FROM texts'
            " JOIN passes ON passes.key = texts.pass JOIN videos ON videos.key = passes.video"
            f" WHERE {' AND '.join(where)} ORDER BY passes.video, start, texts.id",
            *values,
        )
        return [
            StoredText(id_, of, TimedText(Span(start, end), text, kind, source, language, words_from_json(words)))
            for id_, of, start, end, text, kind, source, language, words in rows
        ]

    def text_table(self, kind: str) -> TextTable:
        """Ids, videos, times and sentence vectors of every text of one kind."""
        rows = self._store.rows(
            'SELECT texts.id, videos.id, start, "end", vector FROM texts JOIN passes ON passes.key = texts.pass'
            " JOIN videos ON videos.key = passes.video WHERE served AND texts.kind = ? ORDER BY texts.id",
            kind,
        )
        videos, video_ids = group([row[1] for row in rows], [1] * len(rows))
        return TextTable(
            kind=kind,
            ids=np.array([row[0] for row in rows], np.int64),
            videos=videos,
            video_ids=video_ids,
            starts=np.array([row[2] for row in rows], np.float64),
            ends=np.array([row[3] for row in rows], np.float64),
            vectors=unpack_vectors((row[4] for row in rows), TEXT_DIM),
        )

    def text_matches(self, query_tokens: Sequence[str], kind: str) -> dict[int, set[str]]:
        """Ids of the texts of one kind that hold any of the tokens, each with the tokens it holds."""
        found: dict[int, set[str]] = {}
        with self._store.reading() as db:
            for token in dict.fromkeys(query_tokens):
                for (id_,) in db.execute(_MATCHES.format("texts.id"), (_quoted(token), kind)):
                    found.setdefault(id_, set()).add(token)
        return found

    def text_count(self, kind: str) -> int:
        """How many texts of one kind there are."""
        rows = self._store.rows(
            "SELECT COUNT(*) FROM texts JOIN passes ON passes.key = texts.pass WHERE served AND texts.kind = ?", kind
        )
        return int(rows[0][0])

    def vocabulary(self) -> list[str]:
        """Every distinct token of every text, in no order worth relying on."""
        with self._store.errors():
            self._store.connection.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, fulltext, row)"
            )
        return [token_of(row[0]) for row in self._store.rows("SELECT term FROM temp.vocabulary")]

    # Vectors

    def vector_table(self, encoder: str, video: str | None = None) -> VectorTable:
        """Every frame vector of one encoder, over the library or of one video."""
        rows = self._store.rows(
            'SELECT videos.id, start, "end", dim, vectors, seconds FROM passes'
            " JOIN videos ON videos.key = passes.video JOIN vectors ON vectors.pass = passes.key"
            " WHERE served AND sense = 'seen' AND tool = ? AND (? IS NULL OR videos.id = ?)"
            " ORDER BY passes.video, start",
            encoder,
            video,
            video,
        )
        return assemble(encoder, [PartRow(*row) for row in rows])

    def features(self, video: str, encoder: str) -> Features:
        """The frame vectors of one video and their times; NotInLibrary where that encoder has not seen it."""
        id_ = self.video(video).id
        table = self.vector_table(encoder, id_)
        if not len(table):
            raise NotInLibrary(f"{encoder} has not seen {video} yet")
        return Features(id_, encoder, table.vectors, table.seconds)

    def encoders(self) -> list[str]:
        """Frame encoders with vectors here, by name."""
        rows = self._store.rows(
            "SELECT DISTINCT tool FROM passes WHERE served AND sense = 'seen' AND tool <> '' AND items ORDER BY tool"
        )
        return [row[0] for row in rows]

    def default_encoder(self) -> str | None:
        """The encoder that search uses unless told otherwise: the one set, else the only one with vectors."""
        encoders = self.encoders()
        chosen = self.get_meta("default_encoder")
        if chosen in encoders:
            return chosen
        return encoders[0] if len(encoders) == 1 else None

    # Small things

    def get_meta(self, key: str) -> str | None:
        rows = self._store.rows("SELECT value FROM meta WHERE key = ?", key)
        return rows[0][0] if rows else None

    def set_meta(self, key: str, value: str) -> None:
        with self._store.writing() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def null(self, key: str) -> tuple[npt.NDArray[np.float64], int] | None:
        """A background distribution, float64 (N,), and the version of the evidence that it was measured on."""
        rows = self._store.rows("SELECT samples, version FROM nulls WHERE key = ?", key)
        return (np.frombuffer(rows[0][0], "<f8").astype(np.float64), rows[0][1]) if rows else None

    def put_null(self, key: str, values: npt.NDArray[np.floating[Any]], version: int) -> None:
        samples = np.ascontiguousarray(values, "<f8").tobytes()
        with self._store.writing() as db:
            db.execute("INSERT OR REPLACE INTO nulls VALUES (?, ?, ?)", (key, version, samples))

    # Writing

    @contextmanager
    def commit(self, claim: Claim | None = None) -> Iterator[Writer]:
        """One transaction: all of it is kept, or nothing. ClaimLost where ``claim`` is somebody else's by now."""
        with self._store.writing() as db:
            if claim is not None and not claims.renew(db, claim):
                raise ClaimLost(f"another process took over {claim.sense} of content {claim.content_hash[:12]}")
            writer = Writer(db, claim)
            yield writer
            writer.finish()

    @contextmanager
    def claim(self, content_hash: str, sense: str, heartbeat: Heartbeat | None = None) -> Iterator[Claim | None]:
        """Hold one sense of one content for a while; None while another process holds it."""
        with self._store.errors():
            claim = claims.take(self._store.connection, content_hash, sense)
        if claim is None:
            yield None
            return
        try:
            if heartbeat is not None:
                heartbeat.add(claim)
            yield claim
        finally:
            if heartbeat is not None:
                heartbeat.remove(claim)
            with self._store.errors():
                claims.release(self._store.connection, claim)

    def forget(self, video: str) -> None:
        """Remove a video and everything known of it, its proxies and file rows too."""
        key = self.video(video).id
        with self.commit() as writer:
            writer.forget(key)
        self.sweep()

    def remove_unnamed(self, names: Sequence[str]) -> None:
        """Delete proxies that a commit has just replaced."""
        for name in names:
            (self.proxies / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete files in ``proxies/`` that no row names and no live claim owns.

        The folder is listed first: what lies there was written under a claim taken before, so the rows read
        afterwards either name the file, or hold its claim, or it is an orphan.
        """
        try:
            names = os.listdir(self.proxies)
        except FileNotFoundError:
            return
        if not names or not os.access(self.proxies, os.W_OK):
            return
        with self._store.reading() as db:
            kept = {row[0] for row in db.execute("SELECT proxy FROM parts UNION SELECT proxy FROM passes")}
            alive = claims.live_claims(db)
        for name in set(names) - kept:
            if not alive.intersection(name.split(".")):
                (self.proxies / name).unlink(missing_ok=True)


_MATCHES = (
    "SELECT {} FROM fulltext JOIN texts ON texts.id = fulltext.rowid JOIN passes ON passes.key = texts.pass"
    " WHERE fulltext MATCH ? AND texts.kind = ? AND served"
)


def _quoted(token: str) -> str:
    return f'"{indexed(token)}"'
