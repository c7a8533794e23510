"""The tables of ``library.db`` and how a connection to it is opened.

A video is known by its content; files are the paths where that content lies. A pass is one tool of one sense run
over one video: the ledger's row, and the owner of everything that tool found. A pass that replaces another one
(``served`` 0) is not read from until it is finished, so evidence is never missing while it is made anew.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from saccade.errors import LibraryError

DATABASE = "library.db"
FORMAT = 1
APPLICATION_ID = 0x5ACCADE
BUSY_SECONDS = 60.0
OLDEST_SQLITE = (3, 37)
_NO_LIBRARY = "{} holds no library yet: index something into it first"

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE videos (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    content_hash TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    info TEXT NOT NULL,
    added TEXT NOT NULL,
    recorded TEXT
) STRICT;

CREATE TABLE files (  -- path is text, or bytes where the name is not UTF-8
    path ANY PRIMARY KEY NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    video INTEGER REFERENCES videos ON DELETE SET NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL
) STRICT;
CREATE INDEX files_by_video ON files (video);

CREATE TABLE passes (
    key INTEGER PRIMARY KEY,
    video INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
    sense TEXT NOT NULL,
    tool TEXT NOT NULL,
    generation INTEGER NOT NULL,
    served INTEGER NOT NULL,
    state TEXT NOT NULL,
    seconds_seen REAL NOT NULL DEFAULT 0,
    frames_decoded INTEGER NOT NULL DEFAULT 0,
    items INTEGER NOT NULL DEFAULT 0,
    mode TEXT NOT NULL DEFAULT '',
    time_error REAL NOT NULL DEFAULT 0,
    made_from TEXT NOT NULL DEFAULT 'source',
    gaps TEXT NOT NULL DEFAULT '[]',
    note TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL DEFAULT '',
    proxy TEXT,
    UNIQUE (video, sense, tool, generation)
) STRICT;

CREATE TABLE parts (
    pass INTEGER NOT NULL REFERENCES passes ON DELETE CASCADE,
    start REAL NOT NULL,
    "end" REAL NOT NULL,
    cuts_until REAL NOT NULL,
    proxy TEXT,
    PRIMARY KEY (pass, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE cuts (
    pass INTEGER NOT NULL REFERENCES passes ON DELETE CASCADE,
    seconds REAL NOT NULL,
    pts INTEGER NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (pass, seconds)
) STRICT, WITHOUT ROWID;

CREATE TABLE vectors (  -- one row a part: vectors float16 (T, dim), pts int64 (T,), seconds float64 (T,)
    pass INTEGER NOT NULL REFERENCES passes ON DELETE CASCADE,
    start REAL NOT NULL,
    "end" REAL NOT NULL,
    dim INTEGER NOT NULL,
    time_base TEXT NOT NULL,
    made_from TEXT NOT NULL,
    seconds BLOB NOT NULL,
    pts BLOB NOT NULL,
    vectors BLOB NOT NULL,
    UNIQUE (pass, start)
) STRICT;

CREATE TABLE texts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pass INTEGER NOT NULL REFERENCES passes ON DELETE CASCADE,
    kind TEXT NOT NULL,
    start REAL NOT NULL,
    "end" REAL NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    language TEXT,
    words TEXT NOT NULL,
    vector BLOB NOT NULL  -- float16 (512,)
) STRICT;
CREATE INDEX texts_by_pass ON texts (pass, start);

CREATE VIRTUAL TABLE fulltext USING fts5 (tokens, detail = none, columnsize = 0, tokenize = "ascii tokenchars '_'");

CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
    DELETE FROM fulltext WHERE rowid = old.id;
END;

CREATE TABLE claims (
    id TEXT PRIMARY KEY,
    content_hash TEXT NOT NULL,
    sense TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    expires REAL NOT NULL,
    UNIQUE (content_hash, sense)
) STRICT, WITHOUT ROWID;

CREATE TABLE nulls (key TEXT PRIMARY KEY, version INTEGER NOT NULL, samples BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to an existing library's database; several threads may close it, one may use it.

    Commits are flushed to the disk (``synchronous`` full): a part file is deleted only after the row that replaces
    it is safe. A library on a medium that cannot be written is read as it lies.
    """
    path = folder / DATABASE
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LibraryError(f"Python's SQLite is {sqlite3.sqlite_version}; libraries need 3.37 or newer")
    if not path.is_file():
        raise LibraryError(_NO_LIBRARY.format(folder))
    writable = os.access(path, os.W_OK) and os.access(folder, os.W_OK)
    wal = folder / f"{DATABASE}-wal"
    if not writable and wal.exists() and wal.stat().st_size:
        raise LibraryError(f"{folder} cannot be written, and its last changes still lie in {wal.name}: copy both first")
    mode = "mode=rw" if writable else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise LibraryError(f"{path} cannot be opened: {error}") from None
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32768")
    except sqlite3.Error as error:
        connection.close()
        raise LibraryError(f"{path} cannot be read: {error}") from None
    return connection


def check_format(connection: sqlite3.Connection, folder: Path) -> None:
    """LibraryError unless this is a library of the format that this saccade reads and writes."""
    try:
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise LibraryError(_NO_LIBRARY.format(folder))
        row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() if ours else None
    except sqlite3.DatabaseError as error:
        raise LibraryError(f"{folder / DATABASE} is damaged or no database: {error}") from None
    if row is None:
        raise LibraryError(f"{folder / DATABASE} is a database of something else")
    if int(row[0]) > FORMAT:
        raise LibraryError(
            f"{folder} is of format {row[0]}, made by a newer saccade; this one knows formats up to {FORMAT}: update it"
        )


def create(folder: Path) -> None:
    """Make an empty library in ``folder`` unless one is there; two processes may try at once, or one die of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "proxies").mkdir(exist_ok=True)
        connection = sqlite3.connect(folder / DATABASE, timeout=BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise LibraryError(f"no library can be made in {folder}: {error}") from None
    filled = "SELECT 1 FROM sqlite_master LIMIT 1"
    try:
        if connection.execute(filled).fetchone():
            return
        _enter_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute(filled).fetchone():
            for statement in _statements(TABLES):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('format', ?), ('version', '0')", (str(FORMAT),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise LibraryError(f"no library can be made in {folder}: {error}") from None
    finally:
        connection.close()


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait for a second process that does so at the same moment."""
    deadline = time.monotonic() + BUSY_SECONDS
    connection.execute("PRAGMA page_size = 8192")
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> list[str]:
    """A script cut into its statements; ``executescript`` would commit between them."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
