"""Frames and URIs on the wire (RFC 4975 sections 6, 7 and 9)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

URI = re.compile(r"(?P<scheme>msrps?)://(?:(?P<user>[^@/;]*)@)?(?P<host>\[[^\]]*\]|[^:/;\[\]]+)(?::(?P<port>\d+))?"
                 r"(?:/(?P<session>[^;]*))?;(?P<transport>[A-Za-z0-9]+)(?P<more>(?:;[^;]+)*)", re.I)
START = re.compile(rb"MSRP (?P<tid>[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) (?:(?P<code>\d{3})(?: (?P<comment>.*))?|(?P<method>[A-Z]+))")
IDENT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LONGEST = 65_536                    # of the start line and the headers


class Malformed(Exception):
    """What came is no MSRP."""


@dataclass(frozen=True)
class Uri:
    """An MSRP URI, compared as section 6.1 says."""

    text: str = field(compare=False)
    key: tuple

    @classmethod
    def parse(cls, text: str) -> Uri:
        match = URI.fullmatch(text)
        if not match:
            raise Malformed(f"no MSRP URI: {text!r}")
        port = match["port"] and int(match["port"])
        return cls(text, (match["scheme"].lower(), match["host"].lower(), port, match["session"], match["transport"].lower()))

    @classmethod
    def fresh(cls, host: str, port: int, scheme: str = "msrps") -> Uri:
        """With a session id of 128 random bits."""
        return cls.parse(f"{scheme}://{host}:{port}/{ident(22)};tcp")

    scheme = property(lambda self: self.key[0])
    host = property(lambda self: self.key[1])
    port = property(lambda self: self.key[2])
    session = property(lambda self: self.key[3])

    def __str__(self) -> str:
        return self.text


def ident(length: int = 16) -> str:
    return "".join(secrets.choice(IDENT) for _ in range(length))


def path(text: str) -> list[Uri]:
    return [Uri.parse(word) for word in text.split(" ")]


def joined(uris: list[Uri]) -> str:
    return " ".join(map(str, uris))


@dataclass
class Frame:
    """A request (`method`) or a response (`code`). `body` is None where there is none, which is not the same as an empty one."""

    tid: str
    method: str | None = None
    code: int | None = None
    comment: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    flag: str = "$"

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def to(self) -> list[Uri]:
        return path(self.get("To-Path") or "")

    @property
    def sender(self) -> list[Uri]:
        return path(self.get("From-Path") or "")

    @property
    def range(self) -> tuple[int, int | None, int | None]:
        """First octet, last octet, total; None for `*`."""
        match = re.fullmatch(r"(\d+)-(\d+|\*)/(\d+|\*)", self.get("Byte-Range") or "1-*/*")
        if not match:
            raise Malformed(f"no Byte-Range: {self.get('Byte-Range')!r}")
        return int(match[1]), *(None if word == "*" else int(word) for word in match.groups()[1:])

    def head(self) -> bytes:
        """All before the body: with the empty line if there is a body."""
        start = self.method or (f"{self.code} {self.comment}" if self.comment else str(self.code))
        lines = [f"MSRP {self.tid} {start}", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n" + ("\r\n" if self.body is not None else "")).encode()

    def end(self, flag: str | None = None) -> bytes:
        return (b"\r\n" if self.body is not None else b"") + f"-------{self.tid}{flag or self.flag}\r\n".encode()

    def encode(self) -> bytes:
        return self.head() + (self.body or b"") + self.end()

    def __str__(self) -> str:
        said = self.method or f"{self.code} {self.comment}".strip()
        return f"{said} {self.tid}{self.flag} {self.headers}" + ("" if self.body is None else f" {len(self.body)} octets")


def request(method: str, to: list[Uri], sender: list[Uri], *headers: tuple[str, str], body: bytes | None = None,
            content_type: str = "text/plain", flag: str = "$", tid: str | None = None) -> Frame:
    """A frame whose end-line does not occur in its body."""
    while tid is None or (body and f"-------{tid}".encode() in body):
        tid = ident()
    paths = [("To-Path", joined(to)), ("From-Path", joined(sender))]
    last = [("Content-Type", content_type)] if body is not None else []
    return Frame(tid, method, headers=[*paths, *headers, *last], body=body, flag=flag)


class Parser:
    """Bytes in, events out: ("head", frame), ("data", bytes), ("end", frame, flag). A body is handed out as it comes."""

    def __init__(self):
        self._held = bytearray()
        self._frame: Frame | None = None

    def feed(self, data: bytes):
        self._held += data
        while True:
            event = self._head() if self._frame is None else self._body()
            if event is None:
                return
            yield event
            if event[0] == "head" and self._frame is None:
                yield ("end", event[1], event[1].flag)

    def _head(self):
        """Up to the empty line, or to the end-line of a frame without a body."""
        first = self._held.find(b"\r\n")
        if first < 0:
            return self._wait()
        start = START.fullmatch(self._held[:first])
        if not start:
            raise Malformed(f"no start line: {bytes(self._held[:min(first, 80)])!r}")
        tid, at, headers = start["tid"].decode(), first + 2, []
        while True:
            next_line = self._held.find(b"\r\n", at)
            if next_line < 0:
                return self._wait()
            line = bytes(self._held[at:next_line])
            at = next_line + 2
            if not line or line.startswith(b"-------" + start["tid"]):
                break
            name, separator, value = line.decode().partition(":")
            if not separator or not name or not value.startswith(" "):
                raise Malformed(f"no header: {line!r}")
            headers.append((name, value[1:]))
        method = start["method"] and start["method"].decode()
        code = start["code"] and int(start["code"])
        frame = Frame(tid, method, code, (start["comment"] or b"").decode(), headers)
        for index, name in enumerate(("To-Path", "From-Path")):
            if len(headers) <= index or headers[index][0].lower() != name.lower():
                raise Malformed(f"{name} is not header {index + 1} of {frame}")
        if line:
            flag = line[7 + len(start["tid"]):].decode()
            if flag not in ("$", "+", "#"):
                raise Malformed(f"no end-line: {line!r}")
            frame.flag = flag
        else:
            if headers[-1][0].lower() != "content-type":
                raise Malformed(f"a body, and Content-Type is not the last header of {frame}")
            frame.body, self._frame = b"", frame
        del self._held[:at]
        return ("head", frame)

    def _wait(self):
        if len(self._held) > LONGEST:
            raise Malformed(f"{len(self._held)} octets and no end of the headers")

    def _body(self):
        end = b"\r\n-------" + self._frame.tid.encode()
        at = self._held.find(end)
        while at >= 0 and len(self._held) >= at + len(end) + 3 and not re.fullmatch(rb"[$+#]\r\n", self._held[at + len(end):at + len(end) + 3]):
            at = self._held.find(end, at + 1)
        if at == 0 and len(self._held) >= len(end) + 3:
            frame, self._frame = self._frame, None
            frame.flag = chr(self._held[len(end)])
            del self._held[:len(end) + 3]
            return ("end", frame, frame.flag)
        # What may be the beginning of the end-line stays.
        ready = at if at >= 0 else len(self._held) - len(end) + 1
        if ready <= 0:
            return None
        data = bytes(self._held[:ready])
        del self._held[:ready]
        return ("data", data)

    @property
    def inside(self) -> bool:
        return self._frame is not None or bool(self._held)
