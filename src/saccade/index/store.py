"""Connections to a library's database: one a thread, whole transactions, errors that say what to do next."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saccade.errors import LibraryError
from saccade.index import schema


class Store:
    """The database of one library.

    A thread's connection is made when it first asks, and closed with the store or when the thread is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._local = threading.local()
        self._connections: list[tuple[weakref.ref[threading.Thread], sqlite3.Connection]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            for _, connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = schema.connect(self.folder)
            with self._lock:
                self._close_dead_threads()
                self._connections.append((weakref.ref(threading.current_thread()), connection))
            self._local.connection = connection
        return connection

    def _close_dead_threads(self) -> None:
        for entry in list(self._connections):
            thread = entry[0]()
            if thread is None or not thread.is_alive():
                entry[1].close()
                self._connections.remove(entry)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.errors():
            return self.connection.execute(statement, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several statements that see one state of the library."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Several changes, all of them kept at the end of the block, or none."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self.errors():
            db = self.connection
            try:
                db.execute(begin)
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors as ours, each with what it means for the library."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorname
            if code == "SQLITE_FULL":
                raise LibraryError(
                    f"no space left for {self.folder}: everything committed so far is kept; free some, then run again"
                ) from None
            if code.startswith("SQLITE_BUSY"):
                raise LibraryError(f"{self.folder} is locked by another process") from None
            if code.startswith("SQLITE_READONLY"):
                raise LibraryError(f"{self.folder} cannot be written") from None
            raise LibraryError(f"{self.folder / schema.DATABASE}: {error}") from error
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname not in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
                raise
            raise LibraryError(f"{self.folder / schema.DATABASE} is damaged: {error}") from error
