"""The decoding child: runs one job after another, and never outlives its parent.

Started by :class:`saccade.video.worker.Worker`. Reads requests from stdin on a thread of its own, so that a stop
or a freed stretch of the ring is seen while a job decodes; when stdin ends or the parent is gone, it exits.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import resource
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import av
import av.logging
import numpy as np
import numpy.typing as npt

from saccade.errors import DecoderCrashed, SaccadeError, SourceGone, UnreadableMedia

PARENT_CHECK_SECONDS = 2.0


def main(arguments: list[str]) -> None:
    """Serve jobs until stdin ends. arguments: ring fd, ring bytes, reply fd, memory limit, parent's pid."""
    ring_fd, ring_bytes, replies, memory_limit, parent = map(int, arguments)
    _limit_memory(memory_limit, ring_bytes)
    ring = mmap.mmap(ring_fd, ring_bytes)
    os.close(ring_fd)
    link = _Link(_Ring(ring), replies, parent)
    threading.Thread(target=link.listen, name="requests", daemon=True).start()
    _quiet_decoders()
    while True:
        request = link.requests.get()
        link.reply(_serve(link, request["job"], request["arguments"], memory_limit))


def count(stop: int) -> Iterator[tuple[dict[str, Any], tuple[npt.NDArray[Any], ...]]]:
    """The smallest job: yields 0 to ``stop`` − 1 in headers and as arrays (1,). For trying a worker."""
    for n in range(stop):
        yield {"n": n}, (np.array([n]),)


def peak_memory() -> Iterator[tuple[dict[str, Any], tuple[()]]]:
    """A job that tells this process's own peak resident memory so far, in KiB; Linux only."""
    # Not getrusage's, which begins with the peak of the parent that started this process.
    with open("/proc/self/status") as status:
        yield {"kib": int(next(line.split()[1] for line in status if line.startswith("VmHWM:")))}, ()


def _serve(link: _Link, job: str, arguments: dict[str, Any], memory_limit: int) -> dict[str, Any]:
    """Run one job to its end; the closing message."""
    path = arguments.get("path", job)
    try:
        items = _find_job(job)(**arguments)
        try:
            for header, arrays in items:
                if not link.send_item(header, arrays):
                    break
        finally:
            items.close()
        return {"done": True}
    except MemoryError:
        reason = f"decoding needs more memory than the limit of {memory_limit >> 20} MiB"
        return {**_describe(DecoderCrashed(path, reason)), "fatal": True}
    except SaccadeError as error:
        return _describe(error)
    except FileNotFoundError as error:
        return _describe(SourceGone(path, f"the file is not there ({error.strerror})"))
    except (OSError, av.FFmpegError) as error:  # not all of FFmpeg's errors are OSErrors
        return _describe(UnreadableMedia(path, error.strerror or str(error)))
    except Exception as error:
        trace = traceback.format_exc()
        return {**_describe(DecoderCrashed(path, f"{type(error).__name__}: {error}")), "trace": trace}


def _find_job(job: str) -> Callable[..., Any]:
    module, _, name = job.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _describe(error: SaccadeError) -> dict[str, Any]:
    rebuild: tuple[Any, ...] = error.__reduce__()  # type: ignore[assignment]
    return {"error": type(error).__name__, "arguments": rebuild[1]}


def _limit_memory(limit: int, ring_bytes: int) -> None:
    """Bound what this process may allocate: its data, and as a second fence its whole address space.

    Threads and libraries reserve address space that they never touch, hence the wider second fence. macOS
    ignores both limits.
    """
    fences = ((resource.RLIMIT_DATA, limit), (resource.RLIMIT_AS, 2 * limit + ring_bytes + (1 << 30)))
    for which, soft in fences:
        hard = resource.getrlimit(which)[1]
        try:
            resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
        except (ValueError, OSError) as error:
            print(f"no memory limit on this system: {error}", file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _quiet_decoders() -> None:
    """FFmpeg's errors go straight to stderr, of which the parent keeps the tail; its chatter goes nowhere."""
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)


class _Ring:
    """The writer's side of the shared file: stretches are taken in order and freed in order.

    ``_taken`` and ``_freed`` count bytes since the start; a stretch never wraps, so the end of the file is
    skipped where it is too short.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = np.frombuffer(memory, np.uint8)
        self._taken = 0
        self._freed = 0
        self._changed = threading.Condition()
        self.stopped = False

    @property
    def piece_bytes(self) -> int:
        """The longest stretch: a quarter, so that reading and writing overlap."""
        return self._memory.size // 4

    def write(self, data: npt.NDArray[np.uint8]) -> tuple[int, int, int] | None:
        """Copy bytes in when there is room; (offset, length, count to free up to), or None once stopped."""
        size = self._memory.size
        with self._changed:
            offset = self._taken % size
            if offset + data.size > size:
                self._taken += size - offset
                offset = 0
            self._changed.wait_for(lambda: self.stopped or self._taken + data.size - self._freed <= size)
            if self.stopped:
                return None
            self._taken += data.size
            end = self._taken
        self._memory[offset : offset + data.size] = data
        return offset, data.size, end

    def free(self, end: int) -> None:
        with self._changed:
            self._freed = end
            self._changed.notify_all()

    def start_job(self) -> None:
        with self._changed:
            self.stopped = False

    def stop_job(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


class _Link:
    """Requests in, replies out."""

    def __init__(self, ring: _Ring, replies: int, parent: int) -> None:
        self.requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._ring = ring
        self._replies = replies
        self._parent = parent

    def send_item(self, header: dict[str, Any], arrays: tuple[npt.NDArray[Any], ...]) -> bool:
        """Send one item; False once the job was stopped."""
        if self._ring.stopped:
            return False
        arrays = tuple(np.asarray(array, order="C") for array in arrays)
        self.reply({"header": header, "arrays": [[array.dtype.str, array.shape] for array in arrays]})
        for array in arrays:
            flat = array.reshape(-1).view(np.uint8)
            for start in range(0, flat.size, self._ring.piece_bytes):
                piece = self._ring.write(flat[start : start + self._ring.piece_bytes])
                if piece is None:
                    return False
                self.reply({"piece": piece})
        return True

    def reply(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._replies, line) :]

    def listen(self) -> None:
        """Take requests as they come; leave the process when the parent has left."""
        unread = b""
        while True:
            if not select.select([0], [], [], PARENT_CHECK_SECONDS)[0]:
                if os.getppid() != self._parent:
                    os._exit(0)
                continue
            data = os.read(0, 1 << 16)
            if not data:
                os._exit(0)
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, request: dict[str, Any]) -> None:
        if "freed" in request:
            self._ring.free(request["freed"])
        elif "stop" in request:
            self._ring.stop_job()
        else:
            self._ring.start_job()
            self.requests.put(request)
