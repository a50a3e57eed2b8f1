"""A child process's end of the pipe to the process that started it: one JSON frame a line."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import deque
from typing import Any, Deque, Optional

from .errors import PubSubError
from .frames import is_envelope, parse
from .link import Link, PipeReceiver

#: What a line has in it that was meant to be a frame. Bounded, so that no line takes long to look through.
_FRAME = re.compile(r'\[?\s{0,16}\{\s{0,16}"(?:type|id|payload|meta)"\s{0,16}:')


def open_stdio(*, redirect_prints: bool = True, **options: Any) -> Link:
    """The link to the parent process, over standard input and output; ``options`` are those of :class:`Link`.

    Ends with DISCONNECTED when the parent closes its end.

    :param redirect_prints: whether what this process prints goes to standard error from here on; else prints share standard
        output with the frames, and one that Python writes in the middle of a line damages it

    Example: ``link = open_stdio()``
    """
    link = Link(**options)
    link.attach(StdioPipe(redirect_prints=redirect_prints))
    return link


class StdioPipe:
    """Lines over two file descriptors. Threads read and write, since not everything that can be a standard input can wait
    in an event loop, and a non-blocking standard output would surprise whoever shares it."""

    heartbeat = 10.0

    def __init__(self, stdin: int = 0, stdout: int = 1, *, redirect_prints: bool = True) -> None:
        self._in = stdin
        self._out = stdout
        if redirect_prints and stdout == 1:
            self._out = os.dup(1)
            os.dup2(2, 1)
        self._loop = asyncio.get_running_loop()
        self._receiver: Optional[PipeReceiver] = None
        self._rest = bytearray()
        # Whether the line that is under way is over the limit, so that no more of it is kept.
        self._too_long = False
        self._lines: Deque[bytes] = deque()
        self._buffered = 0
        self._closing = False
        self._wake = threading.Condition()
        self._written = threading.Thread(target=self._write, daemon=True)

    @property
    def buffered(self) -> int:
        return self._buffered

    def open(self, receiver: PipeReceiver) -> None:
        self._receiver = receiver
        self._written.start()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, text: str) -> None:
        line = text.encode("utf-8") + b"\n"
        with self._wake:
            if self._closing:
                return
            self._lines.append(line)
            self._buffered += len(line)
            self._wake.notify()

    async def close(self) -> None:
        self._receiver = None
        with self._wake:
            self._closing = True
            self._wake.notify()
        # A parent that does not read must not keep this process.
        await self._loop.run_in_executor(None, self._written.join, 2.0)

    # In threads of their own.

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._closing:
                    self._wake.wait()
                if not self._lines:
                    break
                chunk = b"".join(self._lines)
                self._lines.clear()
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[os.write(self._out, rest) :]
            except OSError as error:
                self._tell(self._closed, error)
                return
            with self._wake:
                self._buffered -= len(chunk)
        # The parent sees the end of our output also where the process lives on.
        if self._out != 1:
            os.close(self._out)

    def _read(self) -> None:
        cause: Optional[OSError] = None
        try:
            while True:
                chunk = os.read(self._in, 65_536)
                if not chunk:
                    break
                self._tell(self._chunk, chunk)
        except OSError as error:
            cause = error
        self._tell(self._end, cause)

    def _tell(self, what: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            pass  # The loop is closed: nobody listens any more.

    # In the event loop.

    def _chunk(self, chunk: bytes) -> None:
        lines = chunk.split(b"\n")
        last = lines.pop()
        for line in lines:
            self._keep(line)
            self._end_line()
        self._keep(last)

    def _keep(self, part: bytes) -> None:
        receiver = self._receiver
        if receiver is None or self._too_long:
            return
        self._rest += part
        # One more for the \r of \r\n.
        self._too_long = len(self._rest) > receiver.max_frame + 1

    def _end_line(self) -> None:
        line, self._rest = bytes(self._rest), bytearray()
        too_long, self._too_long = self._too_long, False
        if line.endswith(b"\r"):
            line = line[:-1]
        receiver = self._receiver
        if receiver is None or not line:
            return
        text = line.decode("utf-8", "replace")
        problem: Optional[str] = None
        if too_long or len(line) > receiver.max_frame:
            if _FRAME.search(text):
                receiver.malformed(f"A frame of more than {receiver.max_frame} bytes, which is the limit.")
            return
        if not _is_utf8(line):
            problem = "it is no UTF-8"
        elif self._frame(text):
            return
        found = _FRAME.search(text)
        if found is None:
            return  # A stray print, of no concern here.
        # Something may have been printed without a line break, and a frame after it.
        if problem is None and found.start() > 0 and self._frame(text[found.start() :]):
            return
        receiver.damaged(f"A line that held a frame is broken{f': {problem}' if problem else ''}.")

    def _frame(self, text: str) -> bool:
        """Passes a frame on. Whether there was JSON at all; what is no frame is a stray print."""
        try:
            value = parse(text)
        except PubSubError:
            return False
        if self._receiver is not None and is_envelope(value[0] if isinstance(value, list) and value else value):
            self._receiver.frame(value)
        return True

    def _end(self, cause: Optional[OSError]) -> None:
        # A last line without its end counts.
        self._end_line()
        self._closed(cause)

    def _closed(self, cause: Optional[OSError]) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(cause or EOFError("the parent process closed the pipe"))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
