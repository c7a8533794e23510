"""Decoding in a child process: decoders crash, and then only a child dies.

A :class:`Worker` owns one child (``saccade.video.child``). Jobs are generator functions named
``package.module:function`` that take JSON-able arguments and yield ``(header, arrays)``. Requests and headers
travel as JSON lines over pipes; arrays travel as bytes through a ring in an unlinked shared file, which bounds
how far the child decodes ahead and leaves nothing behind however either side dies.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

import saccade
from saccade import errors
from saccade.errors import DecoderCrashed, InputError, SaccadeError

Item = tuple[dict[str, Any], tuple[npt.NDArray[Any], ...]]

RING_BYTES = 16 << 20
"""How many bytes of arrays a child may be ahead of its parent."""

STOP_SECONDS = 3.0
"""How long a stopped job may take to clean up before its child is killed."""

SILENCE_SECONDS = 3600.0
"""A child that says nothing for so long is taken for hung, and killed."""

STDERR_TAIL = 4096

_START = "import sys; sys.path.append(sys.argv[1]); from saccade.video.child import main; main(sys.argv[2:])"


class Worker:
    """Runs decoding jobs in one memory-limited child process, started lazily and again after a crash.

    memory_limit: bytes the child may allocate. One job at a time, from one thread at a time.

    >>> with Worker() as worker:
    ...     [header["n"] for header, _ in worker.run("saccade.video.child:count", stop=3)]
    [0, 1, 2]
    """

    def __init__(self, memory_limit: int = 4 << 30) -> None:
        if memory_limit < 64 << 20:
            raise InputError(f"a decoder needs at least 64 MiB, got {memory_limit} bytes")
        self.memory_limit = memory_limit
        self._child: _Child | None = None
        self._busy = False

    def run(self, job: str, **arguments: Any) -> Iterator[Item]:
        """Yield what the job yields; arrays are the caller's own copies.

        Raises the job's own SaccadeError, or DecoderCrashed where the child died or ran out of memory; the next
        job then gets a new child. Closing the iterator early stops the job.
        """
        if self._busy:
            raise InputError("a worker runs one job at a time: finish or close the other iterator first")
        self._busy = True
        try:
            child = self._child = self._child or _Child(self.memory_limit)
            finished = False
            try:
                child.send({"job": job, "arguments": arguments})
                while True:
                    try:
                        item = child.receive()
                    except _JobFailedError as failure:
                        finished = not failure.fatal
                        raise failure.error from None
                    if item is None:
                        finished = True
                        return
                    yield item
            except _ChildDiedError as death:
                path = arguments.get("path", job)
                raise DecoderCrashed(path, death.sentence(self.memory_limit)) from None
            finally:
                if not finished and not (sys.is_finalizing() or child.stop_job()):
                    self._drop_child()
        finally:
            self._busy = False

    def close(self) -> None:
        """End the child. A closed worker starts a new one when it is used again."""
        self._drop_child()

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._drop_child()


class _ChildDiedError(Exception):
    """The pipe ended: how the child ended, and the last it wrote to stderr."""

    def __init__(self, returncode: int | None, tail: str) -> None:
        super().__init__(returncode, tail)
        self.returncode = returncode
        self.tail = tail

    def sentence(self, memory_limit: int) -> str:
        code = self.returncode
        if code is None:
            how = "the decoder stopped answering"
        elif code == -signal.SIGKILL:
            how = "the decoder was killed, probably because the machine ran out of memory"
        elif code < 0:
            how = f"the decoder crashed ({signal.Signals(-code).name})"
        else:
            how = f"the decoder ended unexpectedly (exit code {code}, memory limit {memory_limit >> 20} MiB)"
        last = self.tail.strip().splitlines()[-1:]
        return f"{how}; its last words: {last[0]}" if last else how


class _JobFailedError(Exception):
    """The job raised: ``error`` is what to raise here; after a ``fatal`` one the child is not used again."""

    def __init__(self, error: Exception, fatal: bool) -> None:
        super().__init__(error)
        self.error = error
        self.fatal = fatal


class _Child:
    """The process, its pipes and its ring."""

    def __init__(self, memory_limit: int) -> None:
        ring = _shared_file(RING_BYTES)
        try:
            self._ring = mmap.mmap(ring, RING_BYTES)
            replies, replies_end = os.pipe()
            command = [sys.executable, "-P", "-c", _START, str(Path(saccade.__file__).parent.parent)]
            command += [str(ring), str(RING_BYTES), str(replies_end), str(memory_limit), str(os.getpid())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(ring, replies_end),
                process_group=0,  # Ctrl-C is the parent's to handle
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
            os.close(replies_end)
        finally:
            os.close(ring)
        self._replies = replies
        self._waiting = select.poll()  # unlike select, it knows descriptors above 1023
        self._waiting.register(replies, select.POLLIN)
        self._unread = bytearray()
        self._tail = b""
        self._stderr = threading.Thread(target=self._keep_stderr, name="saccade-decoder-stderr", daemon=True)
        self._stderr.start()

    def send(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._death() from None

    def receive(self) -> Item | None:
        """The job's next item, or None at its end. Raises _JobFailedError or _ChildDiedError."""
        message = self._message(time.monotonic() + SILENCE_SECONDS)
        if "error" in message:
            raise _JobFailedError(_rebuild(message), bool(message.get("fatal")))
        if "done" in message:
            return None
        arrays = tuple(np.empty(shape, dtype) for dtype, shape in message["arrays"])
        for array in arrays:
            self._fill(array)
        return message["header"], arrays

    def _fill(self, array: npt.NDArray[Any]) -> None:
        flat = array.reshape(-1).view(np.uint8)
        filled = 0
        while filled < flat.size:
            offset, length, end = self._message(time.monotonic() + SILENCE_SECONDS)["piece"]
            flat[filled : filled + length] = np.frombuffer(self._ring, np.uint8, length, offset)
            self.send({"freed": end})
            filled += length

    def stop_job(self) -> bool:
        """Stop the running job and read up to its end; False where the child must go."""
        deadline = time.monotonic() + STOP_SECONDS
        try:
            self.send({"stop": True})
            while True:
                message = self._message(deadline)
                if "piece" in message:
                    self.send({"freed": message["piece"][2]})
                elif "done" in message or "error" in message:
                    return not message.get("fatal")
        except _ChildDiedError:
            return False

    def kill(self) -> None:
        """End the process and release everything; safe to call twice."""
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        self._stderr.join(timeout=1.0)
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1

    def _message(self, deadline: float) -> dict[str, Any]:
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if not self._waiting.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise _ChildDiedError(None, self._last_words())
            data = os.read(self._replies, 1 << 16)
            if not data:
                raise self._death()
            self._unread += data
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def _death(self) -> _ChildDiedError:
        try:
            code: int | None = self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self._stderr.join(timeout=1.0)
        return _ChildDiedError(code, self._last_words())

    def _last_words(self) -> str:
        return self._tail.decode("utf-8", "replace")

    def _keep_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while data := os.read(stream.fileno(), 1 << 16):
            self._tail = (self._tail + data)[-STDERR_TAIL:]


def _shared_file(size: int) -> int:
    """A file descriptor of an unlinked file in memory where the system has such files, else on disk."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("saccade-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _rebuild(message: dict[str, Any]) -> Exception:
    """The exception that the job raised, as far as it is one of ours; others become DecoderCrashed."""
    kind = getattr(errors, message["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, SaccadeError)):
        kind = DecoderCrashed
    error: Exception = kind(*message["arguments"])
    if message.get("trace"):
        error.add_note(message["trace"])
    return error
