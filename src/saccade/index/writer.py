"""What one transaction may change in a library. Made by ``Catalog.commit``, used inside it, then finished."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saccade.errors import LibraryError
from saccade.index.claims import Claim
from saccade.index.fulltext import tokens
from saccade.index.records import FileRow, gaps_to_json, info_to_json, path_in, storable, words_to_json
from saccade.index.vectors import FrameVectors, pack
from saccade.types import Coverage, Span, TimedText, VideoInfo

ID_LENGTH = 16


class CutRow(NamedTuple):
    """A shot boundary: its seconds since the container's start, its pts, and cut, fade or dissolve."""

    seconds: float
    pts: int
    kind: str


def indexed(token: str) -> str:
    """A token as FTS5 sees it: ASCII words as they are, everything else by its bytes.

    SQLite's own Unicode tables would drop the vowel signs of Thai and Hindi and every script younger than they are.
    """
    return token if token.isascii() and token.isalnum() else "_" + token.encode().hex()


def token_of(term: str) -> str:
    """The token that FTS5 knows by this term.

    >>> token_of(indexed("비용")), token_of(indexed("cost"))
    ('비용', 'cost')
    """
    return bytes.fromhex(term[1:]).decode() if term.startswith("_") else term


class Writer:
    """The writes of one transaction; ``Catalog.commit`` hands it out."""

    def __init__(self, db: sqlite3.Connection, claim: Claim | None) -> None:
        self._db = db
        self._claim = claim
        self._changed = False

    def finish(self) -> None:
        """Called by the catalog before it commits: counts the change of evidence, if there was one."""
        if self._changed:
            self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'version'")

    # Files and videos

    def put_file(self, file: FileRow) -> None:
        """Add or replace the row of one path."""
        self._db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, (SELECT key FROM videos WHERE id = ?), ?, ?)",
            (path_in(file.path), file.size, file.mtime_ns, file.video, file.state, storable(file.error)),
        )

    def add_file(self, file: FileRow) -> None:
        """Add the row of a path that has none; another process may have been faster."""
        self._db.execute(
            "INSERT OR IGNORE INTO files VALUES (?, ?, ?, NULL, ?, ?)",
            (path_in(file.path), file.size, file.mtime_ns, file.state, file.error),
        )

    def mark_missing(self, path: str) -> None:
        self._db.execute("UPDATE files SET state = 'missing' WHERE path = ?", (path_in(path),))

    def drop_file(self, path: str) -> None:
        self._db.execute("DELETE FROM files WHERE path = ?", (path_in(path),))

    def put_video(self, content_hash: str, info: VideoInfo, kind: str) -> str:
        """The id of the video with this content, which is added if it is new."""
        row = self._db.execute("SELECT id FROM videos WHERE content_hash = ?", (content_hash,)).fetchone()
        if row:
            return str(row[0])
        id_ = content_hash[:ID_LENGTH]
        recorded = info.recorded.isoformat() if info.recorded else None
        self._db.execute(
            "INSERT INTO videos (id, content_hash, kind, info, added, recorded) VALUES (?, ?, ?, ?, ?, ?)",
            (id_, content_hash, kind, info_to_json(info), datetime.now(UTC).isoformat(), recorded),
        )
        self._changed = True
        return id_

    def forget_unnamed(self, video: str) -> None:
        """Forget a video that no file has any more."""
        if not self._db.execute(
            "SELECT 1 FROM files JOIN videos ON videos.key = files.video WHERE id = ?", (video,)
        ).fetchone():
            self.forget(video)

    def forget(self, video: str) -> None:
        """Remove a video with its ledger, evidence and file rows; its proxies go with the next sweep.

        Whoever works on it loses the claim, and finds out at the next commit.
        """
        self._db.execute(
            "DELETE FROM claims WHERE content_hash = (SELECT content_hash FROM videos WHERE id = ?) AND id <> ?",
            (video, self._claim.id if self._claim else ""),
        )
        self._db.execute("DELETE FROM files WHERE video = (SELECT key FROM videos WHERE id = ?)", (video,))
        self._db.execute("DELETE FROM videos WHERE id = ?", (video,))
        self._changed = True

    # The ledger

    def begin_pass(self, video: str, sense: str, tool: str, *, settings: str = "") -> int:
        """The key of a fresh pass. It is served from its first part, unless one it will replace still is.

        For what is seen, another tool stands beside; for every other sense it takes the older one's place.
        """
        key, generation = self._db.execute(
            "SELECT videos.key, COALESCE(MAX(generation) + 1, 0) FROM videos LEFT JOIN passes"
            " ON passes.video = videos.key AND sense = ? AND tool = ? WHERE id = ? GROUP BY videos.key",
            (sense, tool, video),
        ).fetchone()
        self._db.execute(
            "DELETE FROM passes WHERE video = ? AND sense = ?"
            " AND (state = 'waiting' OR (NOT served AND (sense <> 'seen' OR tool = ?)))",
            (key, sense, tool),
        )
        return int(
            self._db.execute(
                "INSERT INTO passes (video, sense, tool, generation, served, state, settings)"
                " VALUES (?, ?, ?, ?, NOT EXISTS (SELECT 1 FROM passes WHERE video = ? AND sense = ? AND served"
                " AND (sense <> 'seen' OR tool = ?)), 'running', ?)",
                (key, sense, tool, generation, key, sense, tool, storable(settings)),
            ).lastrowid
            or 0
        )

    def update_pass(self, key: int, line: Coverage) -> None:
        """Write how far a pass got."""
        self._db.execute(
            "UPDATE passes SET state = ?, seconds_seen = ?, frames_decoded = ?, items = ?, mode = ?, time_error = ?,"
            " made_from = ?, gaps = ?, note = ? WHERE key = ?",
            (
                line.state,
                line.seconds_seen,
                line.frames_decoded,
                line.items,
                line.mode,
                line.time_error,
                line.made_from,
                storable(gaps_to_json(line.gaps)),
                storable(line.note),
                key,
            ),
        )
        self._changed = True

    def serve(self, key: int) -> None:
        """Read from this pass from now on, and drop the ones it replaces."""
        self._db.execute("UPDATE passes SET served = 1 WHERE key = ?", (key,))
        self._db.execute(
            "DELETE FROM passes WHERE EXISTS (SELECT 1 FROM passes AS fresh WHERE fresh.key = ?"
            " AND fresh.key <> passes.key AND fresh.video = passes.video AND fresh.sense = passes.sense"
            " AND (fresh.sense <> 'seen' OR fresh.tool = passes.tool))",
            (key,),
        )
        self._changed = True

    def choose_encoder(self, name: str, place: str, *, drop_others: bool = False) -> None:
        """Search by this frame encoder from now on; ``place`` is where it is loaded from.

        drop_others: forget what other encoders saw, but for finished passes over videos that this one could not see.
        Whoever is still at work with another one loses the claim, and finds out at the next commit.
        """
        self._db.execute(
            "INSERT OR REPLACE INTO meta VALUES ('default_encoder', ?), ('encoder_place', ?)", (name, storable(place))
        )
        if drop_others:
            self._db.execute(
                "DELETE FROM claims WHERE sense = 'seen' AND content_hash IN (SELECT content_hash FROM videos"
                " JOIN passes ON passes.video = videos.key"
                " WHERE passes.sense = 'seen' AND tool NOT IN ('', ?) AND state = 'running')",
                (name,),
            )
            self._db.execute(
                "DELETE FROM passes WHERE sense = 'seen' AND tool NOT IN ('', ?) AND (state = 'running' OR EXISTS"
                " (SELECT 1 FROM passes AS own WHERE own.video = passes.video AND own.sense = 'seen' AND own.tool = ?"
                " AND own.items))",
                (name, name),
            )
            ending = f":{name}"
            self._db.execute("DELETE FROM nulls WHERE substr(key, ?) <> ?", (-len(ending), ending))
        self._changed = True

    # Evidence

    def put_part(self, key: int, span: Span, cuts_until: float, cuts: Sequence[CutRow], proxy: str | None) -> None:
        """One stretch of the decode: its cuts and the name of its proxy part."""
        self._db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", (key, span.start, span.end, cuts_until, proxy))
        self._db.executemany("INSERT OR IGNORE INTO cuts VALUES (?, ?, ?, ?)", [(key, *cut) for cut in cuts])
        self._changed = True

    def put_proxy(self, key: int, name: str) -> list[str]:
        """Name the joined proxy of a pass; returns the names of its parts, to be deleted after the commit."""
        parts = self._db.execute("SELECT proxy FROM parts WHERE pass = ? AND proxy NOT NULL", (key,)).fetchall()
        self._db.execute("UPDATE passes SET proxy = ? WHERE key = ?", (name, key))
        self._db.execute("UPDATE parts SET proxy = NULL WHERE pass = ?", (key,))
        return [row[0] for row in parts]

    def put_vectors(self, key: int, span: Span, found: FrameVectors) -> None:
        """The vectors of one part, float16 on disk, and the exact times of their frames."""
        self._db.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                span.start,
                span.end,
                found.vectors.shape[1],
                str(found.time_base),
                found.made_from,
                pack(found.seconds, "<f8"),
                pack(found.pts, "<i8"),
                pack(found.vectors, "<f2"),
            ),
        )
        self._changed = True

    def put_texts(
        self, key: int, texts: Sequence[TimedText], vectors: npt.NDArray[np.float32], encoder: str
    ) -> list[int]:
        """Timed texts with their sentence vectors (N, 512) by the named encoder; returns their ids."""
        self._check_sentence_encoder(encoder)
        ids: list[int] = []
        for text, vector in zip(texts, vectors, strict=True):
            values: tuple[Any, ...] = (
                key,
                text.kind,
                text.span.start,
                text.span.end,
                storable(text.text),
                storable(text.source),
                text.language,
                storable(words_to_json(text.words)),
                pack(vector, "<f2"),
            )
            row = self._db.execute(
                'INSERT INTO texts (pass, kind, start, "end", text, source, language, words, vector)'
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
            assert row is not None
            self._db.execute(
                "INSERT INTO fulltext (rowid, tokens) VALUES (?, ?)",
                (row, " ".join(dict.fromkeys(indexed(token) for token in tokens(text.text)))),
            )
            ids.append(row)
        self._changed = True
        return ids

    def _check_sentence_encoder(self, name: str) -> None:
        """Vectors of two encoders never meet: the first text decides which one this library speaks."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('sentence_encoder', ?)", (name,))
        known = self._db.execute("SELECT value FROM meta WHERE key = 'sentence_encoder'").fetchone()[0]
        if known != name:
            raise LibraryError(f"the texts of this library are encoded by {known}; {name} cannot be mixed with it")
