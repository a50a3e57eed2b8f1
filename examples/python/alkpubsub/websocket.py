"""A WebSocket client (RFC 6455), as far as the link protocol needs one, and the spoke that reconnects."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import ssl
from typing import Any, Optional
from urllib.parse import urlsplit

from .errors import PubSubError
from .link import Link, PipeReceiver

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
#: How long the handshake may take, and the far end to answer a close, in seconds.
_OPEN_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 2.0


def open_websocket(
    url: str,
    *,
    reconnect: bool = True,
    headers: Optional[dict[str, str]] = None,
    min_backoff: float = 0.1,
    max_backoff: float = 10.0,
    **options: Any,
) -> Link:
    """The link to a hub (or to any other end) at ``ws://`` or ``wss://``; connects by itself, and again after every cut.

    A cut is a gap for every live subscription, and publishes that were under way raise INTERRUPTED.

    :param reconnect: whether to connect again; else the link ends with its socket
    :param headers: sent with the request, e.g. ``{"authorization": "Bearer …"}``
    :param min_backoff: seconds before the second attempt; doubled with each that fails, up to ``max_backoff``, and up to half
        of it less by chance, so that the spokes of a hub do not come back all at once
    :param options: those of :class:`Link`

    Example: ``link = open_websocket("ws://localhost:8080")``
    """
    link = Link(reattach=reconnect, **options)
    failures = 0
    task: Optional[asyncio.Task[None]] = None

    async def connect() -> None:
        nonlocal failures
        while not link.closed.done():
            try:
                pipe = await connect_websocket(url, headers)
            except (OSError, EOFError, asyncio.TimeoutError, PubSubError) as error:
                if not reconnect:
                    link.end(PubSubError("DISCONNECTED", f"No connection to {_address(url)}: {error}"))
                    return
                failures += 1
                wait = min(max_backoff, min_backoff * 2 ** min(failures - 1, 30))
                await asyncio.sleep(wait * random.uniform(0.5, 1))
                continue
            failures = 0
            link.attach(pipe)
            return

    async def again() -> None:
        # One that accepts and leaves at once must not be asked in a tight loop either.
        await asyncio.sleep(min_backoff * random.uniform(0.5, 1))
        await connect()

    def start(attempt: Any) -> None:
        nonlocal task
        task = asyncio.ensure_future(attempt)

    def stop(_: Any) -> None:
        if task is not None:
            task.cancel()

    link.on_detached = lambda _: start(again())
    link.closed.add_done_callback(stop)
    start(connect())
    return link


async def connect_websocket(url: str, headers: Optional[dict[str, str]] = None) -> WebSocketPipe:
    """Opens a WebSocket. Raises OSError, EOFError, asyncio.TimeoutError, or PubSubError if the other side is none."""
    return await asyncio.wait_for(_connect(url, headers or {}), _OPEN_TIMEOUT)


async def _connect(url: str, headers: dict[str, str]) -> WebSocketPipe:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or parts.hostname is None:
        raise PubSubError("INVALID_OPTION", f"{_address(url)} is no ws:// or wss:// address.")
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        key = base64.b64encode(os.urandom(16))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if any("\r" in line or "\n" in line for line in lines):
            raise PubSubError("INVALID_OPTION", "An address or a header with a line break in it.")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.LimitOverrunError:
            raise _refused(url, "an answer without end") from None
        answer = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        if head[0].split(" ")[1:2] != ["101"]:
            raise _refused(url, head[0])
        if answer.get("upgrade", "").lower() != "websocket" or answer.get("sec-websocket-accept") != accept:
            raise _refused(url, "what answers is no WebSocket server")
    except BaseException:
        writer.close()
        raise
    return WebSocketPipe(reader, writer)


def _refused(url: str, why: str) -> PubSubError:
    return PubSubError("DISCONNECTED", f"{_address(url)} refused the connection: {why}.")


def _address(url: str) -> str:
    """An address as messages show it: without a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0].rpartition('@')[2]}"


class _ProtocolError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class WebSocketPipe:
    """The client's end of an open WebSocket; one text message a frame."""

    heartbeat = 10.0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._receiver: Optional[PipeReceiver] = None
        self._max = 0
        self._reading: Optional[asyncio.Task[None]] = None
        self._close_sent = False

    @property
    def buffered(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def open(self, receiver: PipeReceiver) -> None:
        self._receiver = receiver
        self._max = receiver.max_frame
        self._reading = asyncio.ensure_future(self._read())

    def send(self, text: str) -> None:
        self._write(_TEXT, text.encode("utf-8"))

    async def close(self) -> None:
        self._receiver = None
        self._send_close(1000)
        if self._reading is not None:
            # Until the other side has answered the close; if it does not, the socket is closed all the same.
            _, pending = await asyncio.wait([self._reading], timeout=_CLOSE_TIMEOUT)
            for task in pending:
                task.cancel()
        self._writer.close()

    # Out: one fragment each, masked as clients must.

    def _write(self, opcode: int, data: bytes) -> None:
        if self._close_sent or self._writer.is_closing():
            return
        length = len(data)
        if length < 126:
            head = bytes((0x80 | opcode, 0x80 | length))
        elif length < 65_536:
            head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
        mask = os.urandom(4)
        self._writer.write(head + mask + _masked(data, mask))

    def _send_close(self, code: int) -> None:
        self._write(_CLOSE, code.to_bytes(2, "big"))
        self._close_sent = True

    # In.

    async def _read(self) -> None:
        cause: Optional[BaseException] = None
        try:
            await self._messages()
        except _ProtocolError as error:
            self._send_close(error.code)
            cause = error
        except (OSError, EOFError) as error:
            cause = error
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(cause)

    async def _messages(self) -> None:
        """Reads messages until the other side closes."""
        message = bytearray()
        opcode_of_message: Optional[int] = None
        too_long = False
        while True:
            first, second = await self._reader.readexactly(2)
            final, opcode, length = first & 0x80, first & 0x0F, second & 0x7F
            if first & 0x70:
                raise _ProtocolError(1002, "reserved bits, where no extension was agreed on")
            if second & 0x80:
                raise _ProtocolError(1002, "a server must not mask")
            if length == 126:
                length = int.from_bytes(await self._reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self._reader.readexactly(8), "big")
            if opcode >= _CLOSE:
                if length > 125 or not final:
                    raise _ProtocolError(1002, "a control frame that is too long or in parts")
                data = await self._reader.readexactly(length)
                if opcode == _CLOSE:
                    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1000
                    self._send_close(code if len(data) >= 2 else 1000)
                    said = data[2:].decode("utf-8", "replace")
                    raise EOFError(f"closed with code {code if data else 1005}{f' ({said})' if said else ''}")
                if opcode == _PING:
                    self._write(_PONG, data)
                elif opcode != _PONG:
                    raise _ProtocolError(1002, f"the unknown opcode {opcode}")
                continue
            if opcode == _CONTINUATION:
                if opcode_of_message is None:
                    raise _ProtocolError(1002, "a continuation of nothing")
            elif opcode in (_TEXT, _BINARY):
                if opcode_of_message is not None:
                    raise _ProtocolError(1002, "a message in the middle of another one")
                opcode_of_message = opcode
            else:
                raise _ProtocolError(1002, f"the unknown opcode {opcode}")
            if too_long or len(message) + length > self._max:
                # Not kept; the link counts it as malformed and goes on.
                too_long = True
                message.clear()
                await self._skip(length)
            else:
                message += await self._reader.readexactly(length)
            if not final:
                continue
            self._message(opcode_of_message, bytes(message), too_long)
            message.clear()
            opcode_of_message, too_long = None, False

    async def _skip(self, length: int) -> None:
        while length > 0:
            chunk = await self._reader.read(min(length, 65_536))
            if not chunk:
                raise EOFError("closed in the middle of a message")
            length -= len(chunk)

    def _message(self, opcode: int, data: bytes, too_long: bool) -> None:
        receiver = self._receiver
        if too_long:
            if receiver is not None:
                receiver.malformed(f"A frame of more than {self._max} bytes, which is the limit.")
            return
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            if opcode == _TEXT:
                raise _ProtocolError(1007, "text that is no UTF-8") from None
            if receiver is not None:
                receiver.malformed("A binary message that is no UTF-8.")
            return
        if receiver is not None:
            receiver.frame(text)


def _masked(data: bytes, mask: bytes) -> bytes:
    # As two large numbers: byte by byte would be slower by two orders of magnitude.
    length = len(data)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")
