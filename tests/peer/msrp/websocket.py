"""WebSocket (RFC 6455) as a client speaks it, and MSRP over it (RFC 7977)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import ssl
import struct
from dataclasses import dataclass

from .endpoint import PATIENCE, Connection, Failed, Gone
from .frames import Frame, Malformed

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROL = 125                       # octets of a control frame at most
NORMAL, PROTOCOL = 1_000, 1_002
PATH, SUBPROTOCOL = "/msrp", "msrp"
MESSAGE = 60_000                    # octets of a body that we put into one message


class Declined(Failed):
    """The handshake was not answered by 101."""

    def __init__(self, status: int, fields: dict[str, str]):
        super().__init__(f"the handshake was answered by {status} {fields}")
        self.status, self.fields = status, fields


def masked(payload: bytes, mask: bytes) -> bytes:
    """With the mask put on, or taken off (section 5.3)."""
    count = len(payload)
    whole = (mask * (count // 4 + 1))[:count]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(count, "big")


def framed(opcode: int, payload: bytes = b"", last: bool = True, reserved: int = 0, mask: bytes | None = b"", length: int | None = None) -> bytes:
    """One frame of a client (section 5.2). For lies: no `mask` (None), reserved bits, another `length`."""
    length = len(payload) if length is None else length
    head = bytes([last << 7 | reserved << 4 | opcode])
    bit = 0 if mask is None else 0x80
    if length < 126:
        head += bytes([bit | length])
    elif length < 2 ** 16:
        head += struct.pack(">BH", bit | 126, length)
    else:
        head += struct.pack(">BQ", bit | 127, length)
    if mask is None:
        return head + payload
    mask = mask or os.urandom(4)
    return head + mask + masked(payload, mask)


def in_frames(opcode: int, payload: bytes, sizes: list[int]) -> list[bytes]:
    """A message in frames of those sizes and one more with the rest (section 5.4)."""
    cuts = [0]
    for size in sizes:
        cuts.append(min(cuts[-1] + size, len(payload)))
    parts = [payload[start:end] for start, end in zip(cuts, [*cuts[1:], len(payload)])]
    return [framed(opcode if not number else CONTINUATION, part, number == len(parts) - 1) for number, part in enumerate(parts)]


@dataclass
class Came:
    """A frame of the server."""

    opcode: int
    last: bool
    payload: bytes


async def read(reader: asyncio.StreamReader) -> Came | None:
    """The next frame; None at the end of the connection. What no server may send is `Malformed`."""
    try:
        first, second = await reader.readexactly(2)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Malformed("the connection ended inside a frame") from None
        return None
    last, opcode, length = bool(first & 0x80), first & 0x0F, second & 0x7F
    if first & 0x70 or second & 0x80 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise Malformed(f"a frame begins by {first:02x} {second:02x}")
    if opcode >= CLOSE and (not last or length > CONTROL):
        raise Malformed(f"a control frame begins by {first:02x} {second:02x}")
    try:
        if length > CONTROL:
            size, least = (2, CONTROL + 1) if length == 126 else (8, 2 ** 16)
            length = int.from_bytes(await reader.readexactly(size), "big")
            if length < least:
                raise Malformed(f"a length of {length} is written in {size} octets")
        return Came(opcode, last, await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        raise Malformed("the connection ended inside a frame") from None


def handshake(host: str, key: str, target: str = PATH, protocol: str | None = SUBPROTOCOL, method: str = "GET", version: str = "HTTP/1.1",
              fields: dict[str, str | None] | None = None) -> bytes:
    """The request (section 4.1). `fields` come in addition, instead, or, where None, not at all."""
    said = {"Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": protocol, **(fields or {})}
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in said.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and fields of the answer."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
        raise Gone(f"in the handshake: {error!r}") from None
    first, *lines = head.decode().split("\r\n")[:-2]
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
    if not match:
        raise Malformed(f"no answer of HTTP: {first!r}")
    return int(match[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class WebConnection(Connection):
    """A connection whose every frame of MSRP is a message of its own (RFC 7977 section 5.1)."""

    opcode = BINARY                 # of our messages
    sizes: list[int] = []           # of the frames that a message of ours is cut into

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bool = False):
        self.code: int | None = None                                # of the server's close frame
        self.leaving = False                                        # our close frame has gone
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self.ends = 0                                               # of MSRP frames that have come
        super().__init__(reader, writer, raw)

    @classmethod
    async def open(cls, address: tuple[str, int], tls: ssl.SSLContext | None = None, name: str | None = None, source: str | None = None,
                   raw: bool = False, **words) -> WebConnection:
        """Connects and shakes hands; `Declined` where the server wants none of it. `words`: of `handshake`."""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(
                *address, ssl=tls, server_hostname=name if tls else None, local_addr=(source, 0) if source else None, limit=2 ** 20), PATIENCE)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.TimeoutError) as error:
            raise Gone(f"no connection to {address}: {error!r}") from None
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(handshake(f"{name or address[0]}:{address[1]}", key, **words))
        status, fields = await answered(reader)
        if status != 101:
            rest = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            if rest or fields.get("connection") != "close":
                raise Malformed(f"{status} with {fields} and {rest!r}")
            raise Declined(status, fields)
        wanted = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-protocol": SUBPROTOCOL,
                  "sec-websocket-accept": base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()}
        exact = {"sec-websocket-protocol", "sec-websocket-accept"}
        seen = {field: fields.get(field, "") if field in exact else fields.get(field, "").lower() for field in wanted}
        if seen != wanted or "sec-websocket-extensions" in fields:
            raise Malformed(f"101 with {fields}")
        return cls(reader, writer, raw=raw)

    async def _pieces(self):
        held: bytearray | None = None                               # of a message of several frames
        while self.code is None and (came := await read(self.reader)) is not None:
            if came.opcode == PING:
                await super().write(framed(PONG, came.payload))
            elif came.opcode == PONG:
                self.pongs.put_nowait(came.payload)
            elif came.opcode == CLOSE:
                self.code = int.from_bytes(came.payload[:2], "big")
                if not self.leaving:
                    await self._bye(came.payload[:2])
            elif (came.opcode == CONTINUATION) != (held is not None):
                raise Malformed(f"a frame of type {came.opcode}, and {'a' if held is not None else 'no'} message has begun")
            else:
                held = (held or bytearray()) + came.payload
                if came.last:
                    before = self.ends
                    yield bytes(held)
                    if self._parser.inside or self.ends != before + 1:
                        raise Malformed(f"a message of {len(held)} octets has {self.ends - before} frames of MSRP{' and a piece' * self._parser.inside}")
                    held = None
        if self.code is not None and await self.reader.read():
            raise Malformed("something comes after the close frame")

    def _ended(self, frame: Frame, *more) -> None:
        self.ends += 1
        super()._ended(frame, *more)

    async def write(self, data: bytes) -> None:
        """One message; whoever calls this has a whole frame of MSRP."""
        for part in in_frames(self.opcode, data, self.sizes):
            await super().write(part)

    async def _chunk(self, frame: Frame, last: bool) -> int:
        await self._write_urgent()
        body = frame.body[:MESSAGE]
        await self.write(frame.head() + body + frame.end("$" if last and len(body) == len(frame.body) else "+"))
        return len(body)

    async def say(self, data: bytes) -> None:
        """Octets as they are."""
        await super().write(data)

    async def leave(self, code: int = NORMAL) -> int | None:
        """Our close frame first; the code of the server's, once the connection has ended."""
        await self._bye(struct.pack(">H", code))
        await self.closed()
        return self.code

    async def _bye(self, payload: bytes) -> None:
        self.leaving = True
        try:
            await self.say(framed(CLOSE, payload))
        except Gone:
            pass                                                    # then the server has waited for nothing
