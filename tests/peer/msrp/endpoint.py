"""A connection of a client: requests and their responses, sessions, chunks that give way, reports, AUTH (RFC 4975 section 7, RFC 4976 section 5)."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from . import digest
from .frames import Frame, Malformed, Parser, Uri, ident, path, request

PATIENCE = 20.0
PIECE = 16_384                      # after so much of a chunk somebody else may have a turn
SHORT = 2_048                       # chunks up to here may state their end and are not interrupted (RFC 4975 section 7.1.1)


class Failed(Exception):
    """The other side did not do what it should."""


class Gone(Failed):
    """The connection is over."""


@dataclass
class Message:
    """A message that arrived, or arrives: octets by their place, however they were cut."""

    ident: str
    content_type: str
    success_report: bool = False
    keep: bool = True
    data: bytearray = field(default_factory=bytearray)
    covered: list[tuple[int, int]] = field(default_factory=list)        # [first, end) of octets that are here, sorted, apart
    total: int | None = None
    hashed: object = field(default_factory=hashlib.sha256)              # of a message that is not kept, which must come in order
    chunks: int = 0
    aborted: bool = False

    def put(self, at: int, data: bytes) -> None:
        if self.keep:
            if len(self.data) < at + len(data):
                self.data.extend(bytes(at + len(data) - len(self.data)))
            self.data[at:at + len(data)] = data
        else:
            if self.covered and at != self.covered[-1][1] or not self.covered and at:
                raise Failed(f"octet {at} of {self.ident} came after {self.covered}")
            self.hashed.update(data)
        self.cover(at, at + len(data))

    def cover(self, first: int, end: int) -> None:
        if first == end:
            return
        apart = [(a, b) for a, b in self.covered if b < first or a > end]
        near = [(a, b) for a, b in self.covered if not (b < first or a > end)]
        self.covered = sorted([*apart, (min([first, *(a for a, _ in near)]), max([end, *(b for _, b in near)]))])

    @property
    def size(self) -> int:
        return sum(end - first for first, end in self.covered)

    @property
    def complete(self) -> bool:
        return self.total is not None and self.size == self.total

    def sha256(self) -> str:
        return (hashlib.sha256(self.data) if self.keep else self.hashed).hexdigest()


@dataclass
class Sent:
    """What became of a message that was sent."""

    ident: str
    size: int
    chunks: int = 0
    errors: list[Frame] = field(default_factory=list)       # responses that are not 200
    reports: list[Frame] = field(default_factory=list)
    reported: asyncio.Event = field(default_factory=asyncio.Event)

    async def success(self, within: float = PATIENCE) -> None:
        """Waits until success reports cover the whole message (RFC 4975 section 7.1.2)."""
        def covered() -> bool:
            got = Message("", "", keep=False)
            for report in self.reports:
                if status(report) != 200:
                    raise Failed(f"reported: {report.get('Status')}")
                first, last, _ = report.range
                got.cover(first - 1, self.size if last is None else last)
            return bool(self.reports) and got.size >= self.size
        await self._until(covered, "success", within)

    async def failure(self, within: float = PATIENCE) -> int:
        """Waits for a failure report; its code."""
        await self._until(lambda: any(status(report) != 200 for report in self.reports), "failure", within)
        return next(code for code in map(status, self.reports) if code != 200)

    async def error(self, within: float = PATIENCE) -> int:
        """The code of its failure: of a response, or of a report."""
        return self.errors[0].code if self.errors else await self.failure(within)

    async def _until(self, holds: Callable[[], bool], what: str, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while not holds():
                    self.reported.clear()
                    await self.reported.wait()
        except TimeoutError:
            raise Failed(f"no report of {what} within {within:g} s, but {[str(report) for report in self.reports]}") from None


def status(report: Frame) -> int:
    """The code in a report."""
    namespace, _, rest = (report.get("Status") or "").partition(" ")
    if namespace != "000" or not rest[:3].isdigit():
        raise Malformed(f"no Status: {report}")
    return int(rest[:3])


class Session:
    """One end of a session: our URI, the relays before it, and the peer's path as signalling would bring it."""

    def __init__(self, local: Uri, relays: list[Uri] | None = None, keep: bool = True):
        self.local, self.relays, self.keep = local, relays or [], keep
        self.peer: list[Uri] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.arriving: dict[str, Message] = {}
        self.known: set[str] = set()                # Message-IDs that were handed out
        self.accept: set[str] | None = None         # media types; None for all

    def path(self) -> list[Uri]:
        """For the peer, as `a=path` in SDP (RFC 4976 section 5.1)."""
        return [*reversed(self.relays), self.local]

    def to(self) -> list[Uri]:
        return [*self.relays, *self.peer]

    async def message(self, within: float = PATIENCE) -> Message:
        try:
            return await asyncio.wait_for(self.inbox.get(), within)
        except (TimeoutError, asyncio.TimeoutError):
            raise Failed(f"no message within {within:g} s; arriving: "
                         f"{[(m.ident, m.covered, m.total) for m in self.arriving.values()]}") from None


class Connection:
    """A TCP or TLS connection. `raw`: nothing is answered, every frame lands in `frames`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bool = False):
        self.reader, self.writer, self.raw = reader, writer, raw
        self.sessions: dict[Uri, Session] = {}
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()         # what nobody here waits for
        self.sent: dict[str, Sent] = {}
        self.over = asyncio.Event()
        self.news = asyncio.Event()                                 # something has come
        self.why = ""
        self.mute = False                                           # a peer that reads and says nothing
        self.answers: dict[str, list[int]] = {}                     # the codes of all responses to a request, by its identifier
        self._waiting: dict[str, asyncio.Future] = {}
        self._urgent: deque[bytes] = deque()
        self._turn = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._parser = Parser()
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, address: tuple[str, int], tls: ssl.SSLContext | None = None, name: str | None = None, source: str | None = None,
                   raw: bool = False) -> Connection:
        try:
            opened = await asyncio.wait_for(asyncio.open_connection(
                *address, ssl=tls, server_hostname=name if tls else None, local_addr=(source, 0) if source else None, limit=2 ** 20), PATIENCE)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.TimeoutError) as error:
            raise Gone(f"no connection to {address}: {error!r}") from None
        return cls(*opened, raw=raw)

    # Reading.

    async def _pieces(self):
        """What comes, as it comes."""
        while data := await self.reader.read(2 ** 18):
            yield data

    async def _read(self) -> None:
        message, at = None, 0
        try:
            async for data in self._pieces():
                for kind, *what in self._parser.feed(data):
                    if kind == "head":
                        frame = what[0]
                        message, at = (None, 0) if self.raw or frame.method != "SEND" else self._begun(frame)
                    elif kind == "data":
                        if message is None:
                            if frame.method != "SEND" or self.raw:
                                frame.body += what[0]
                        else:
                            message.put(at, what[0])
                            at += len(what[0])
                    else:
                        self._ended(frame, message, at)
                self.news.set()
            self.why = "closed inside a frame" if self._parser.inside else "closed"
        except (OSError, ssl.SSLError) as error:
            self.why = f"broken: {error!r}"
        except (Malformed, Failed, UnicodeDecodeError) as error:
            self.why = f"not MSRP: {error}"
        finally:
            self.over.set()
            self.news.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Gone(self.why))
            for sent in self.sent.values():
                sent.reported.set()

    def _begun(self, frame: Frame) -> tuple[Message | None, int]:
        session = self.sessions.get(frame.to[0])
        if session is None or len(frame.to) != 1 or not (name := frame.get("Message-ID")):
            return None, 0
        if session.accept is not None and frame.body is not None and frame.get("Content-Type") not in session.accept:
            return None, 0
        first, _, total = frame.range
        message = session.arriving.get(name)
        if message is None:
            message = Message(name, frame.get("Content-Type") or "", frame.get("Success-Report") == "yes", session.keep)
            session.arriving[name] = message
        if total is not None:
            message.total = total
        message.chunks += 1
        return message, first - 1

    def _ended(self, frame: Frame, message: Message | None, at: int) -> None:
        if self.mute:
            return
        if frame.code is not None:
            self.answers.setdefault(frame.tid, []).append(frame.code)
            future = self._waiting.pop(frame.tid, None)
            if future is None or future.done():
                self.frames.put_nowait(frame)
            else:
                future.set_result(frame)
            return
        if self.raw:
            self.frames.put_nowait(frame)
        elif frame.method == "REPORT":
            sent = self.sent.get(frame.get("Message-ID") or "")
            if sent is None or frame.to[0] not in self.sessions:
                self.frames.put_nowait(frame)
            else:
                sent.reports.append(frame)
                sent.reported.set()
        elif frame.method != "SEND":
            self._answer(frame, 501, "unknown method")
        else:
            self._received(frame, message, at)

    def _received(self, frame: Frame, message: Message | None, at: int) -> None:
        session = self.sessions.get(frame.to[0])
        if session is None:
            self._answer(frame, 481, "no such session")
        elif frame.sender != session.to():
            self._answer(frame, 481, "another sender")
        elif message is None:
            self._answer(frame, 415, "not this type")
        else:
            self._answer(frame, 200, "OK")
            if frame.flag == "$":
                message.total = at
            if frame.flag == "#":
                message.aborted = True
            if message.complete or message.aborted:
                session.arriving.pop(message.ident, None)
                again = message.ident in session.known
                session.known.add(message.ident)
                if message.success_report and not message.aborted:
                    whole = f"1-{message.total}/{message.total}"
                    self.urgent(request("REPORT", session.to(), [session.local], ("Message-ID", message.ident), ("Byte-Range", whole),
                                        ("Status", "000 200 OK")).encode())
                # A bodiless SEND only says that the session is there.
                if not again and (frame.body is not None or message.covered or message.aborted):
                    session.inbox.put_nowait(message)

    def _answer(self, frame: Frame, code: int, comment: str) -> None:
        """RFC 4975 section 7.2: `no` wants to hear nothing, `partial` only of errors; a SEND's response goes one hop."""
        wanted = frame.get("Failure-Report") or "yes"
        if wanted == "no" or (wanted == "partial" and code == 200):
            return
        back = frame.sender[:1] if frame.method == "SEND" else frame.sender
        answer = Frame(frame.tid, code=code, comment=comment,
                       headers=[("To-Path", " ".join(map(str, back))), ("From-Path", str(frame.to[0]))])
        self.urgent(answer.encode())

    # Writing.

    def urgent(self, data: bytes) -> None:
        """Responses and reports: before what waits, and in the middle of a long chunk (RFC 4975 section 7.1.1)."""
        self._urgent.append(data)
        asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        try:
            async with self._turn:
                await self._write_urgent()
        except (OSError, Gone):
            pass                                                    # the reading side says why

    async def _write_urgent(self) -> None:
        while self._urgent:
            await self.write(self._urgent.popleft())

    async def write(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise Gone(self.why or "closing")
        async with self._writing:
            self.writer.write(data)
            try:
                await self.writer.drain()
            except (OSError, ssl.SSLError) as error:
                raise Gone(f"while writing: {error!r}") from None

    async def transact(self, frame: Frame, within: float = PATIENCE) -> Frame:
        """Sends a request and waits for its response."""
        future = self.expecting(frame.tid)
        async with self._turn:
            await self.write(frame.encode())
        return await self._within(future, within, frame)

    def expecting(self, tid: str) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        if self.over.is_set():
            future.set_exception(Gone(self.why))
        self._waiting[tid] = future
        return future

    @staticmethod
    async def _within(future: asyncio.Future, within: float, what) -> Frame:
        try:
            return await asyncio.wait_for(future, within)
        except (TimeoutError, asyncio.TimeoutError):
            raise Failed(f"no response within {within:g} s to {what}") from None

    async def frame(self, within: float = PATIENCE) -> Frame:
        """The next frame that nobody waited for."""
        getting, over = asyncio.ensure_future(self.frames.get()), asyncio.ensure_future(self.over.wait())
        done, _ = await asyncio.wait([getting, over], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if getting in done:
            return getting.result()
        getting.cancel()
        if not self.frames.empty():
            return self.frames.get_nowait()
        raise Gone(self.why) if done else Failed(f"no frame within {within:g} s")

    async def until(self, holds: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
        """Waits until what has come makes it true."""
        try:
            async with asyncio.timeout(within):
                while not holds():
                    if self.over.is_set():
                        raise Gone(f"{what}: {self.why}")
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise Failed(f"{what}: not within {within:g} s") from None

    async def closed(self, within: float = PATIENCE) -> str:
        """Waits until the other side has ended the connection; how."""
        try:
            await asyncio.wait_for(self.over.wait(), within)
        except (TimeoutError, asyncio.TimeoutError):
            raise Failed(f"the connection still stands after {within:g} s") from None
        return self.why

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), 2)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.TimeoutError):
            pass

    # What a client does.

    async def auth(self, relay: Uri, local: Uri, username: str, password: str, *, algorithms: list[str] | None = None, before: list[Uri] | None = None,
                   expires: int | None = None, mutual: bool = True) -> list[Uri]:
        """Both rounds of AUTH at the relay, through those `before` it; the Use-Path. `mutual`: the relay must know the password as well."""
        to = [*(before or []), relay]
        headers = [("Expires", str(expires))] if expires is not None else []
        challenged = await self.transact(request("AUTH", to, [local], *headers))
        if challenged.code != 401:
            raise Failed(f"AUTH without credentials was answered by {challenged}")
        login = digest.Login(digest.choose(challenged.all("WWW-Authenticate"), algorithms or ["SHA-256", "MD5"]), username, password)
        answer = await self.transact(request("AUTH", to, [local], ("Authorization", login.authorization(str(relay))), *headers))
        if answer.code != 200:
            raise Refused(answer)
        if mutual:
            login.check(answer.get("Authentication-Info") or "", str(relay))
        self.expires = int(answer.get("Expires") or 0)
        return path(answer.get("Use-Path") or "")

    async def send(self, session: Session, data: bytes, content_type: str = "text/plain", *, chunk: int | None = None, success: bool = False,
                   failure: str = "yes", message_id: str | None = None, window: int = 64, within: float = PATIENCE) -> Sent:
        """One message: by chunks of that size, or as one long one that gives way. Waits for the response to each chunk where one is due."""
        sent = Sent(message_id or ident(), len(data))
        self.sent[sent.ident] = sent
        answers: deque[tuple[asyncio.Future, Frame]] = deque()
        at = 0
        while True:
            size = min(chunk or len(data), len(data) - at)
            short = size <= SHORT
            headers = [("Message-ID", sent.ident), ("Byte-Range", f"{at + 1}-{at + size if short else '*'}/{len(data)}")]
            if success:
                headers.append(("Success-Report", "yes"))
            if failure != "yes":
                headers.append(("Failure-Report", failure))
            frame = request("SEND", session.to(), [session.local], *headers, body=data[at:at + size], content_type=content_type)
            if failure == "yes":
                answers.append((self.expecting(frame.tid), frame))
            async with self._turn:
                at += await self._chunk(frame, last=at + size == len(data))
            sent.chunks += 1
            while answers and (len(answers) >= window or at >= len(data)):
                await self._taken(sent, answers.popleft(), within)
            if at >= len(data) or sent.errors:
                return sent

    async def _taken(self, sent: Sent, waiting: tuple[asyncio.Future, Frame], within: float) -> None:
        answer = await self._within(waiting[0], within, waiting[1])
        if answer.code != 200:
            sent.errors.append(answer)

    async def _chunk(self, frame: Frame, last: bool) -> int:
        """Writes a chunk, or as much of it as is written when something urgent comes; how many octets of it went out."""
        await self._write_urgent()
        body = frame.body or b""
        if len(body) <= PIECE:
            await self.write(frame.head() + body + frame.end("$" if last else "+"))
            return len(body)
        await self.write(frame.head())
        at = 0
        while at < len(body):
            await self.write(body[at:at + PIECE])
            at += PIECE
            if self._urgent and at < len(body):
                await self.write(frame.end("+"))
                await self._write_urgent()
                return at
        await self.write(frame.end("$" if last else "+"))
        return len(body)

    async def begin(self, session: Session, data: bytes, failure: str = "yes") -> Open:
        """One message in one chunk, of which no more than its head is written; nothing else is, until it ends."""
        sent = Sent(ident(), len(data))
        frame = request("SEND", session.to(), [session.local], ("Message-ID", sent.ident), ("Byte-Range", f"1-*/{len(data)}"), ("Failure-Report", failure),
                        body=data, content_type="application/octet-stream")
        self.sent[sent.ident] = sent
        answer = self.expecting(frame.tid)
        await self._turn.acquire()
        await self.write(frame.head())
        return Open(self, frame, sent, answer)

    async def hello(self, session: Session, **options) -> Frame:
        """A SEND without a body: binds the session to this connection (RFC 4975 section 4)."""
        frame = request("SEND", session.to(), [session.local], ("Message-ID", ident()), ("Byte-Range", "1-0/0"))
        return await self.transact(frame, **options)


@dataclass
class Open:
    """A chunk that stands open: it ends when whoever began it says so."""

    connection: Connection
    frame: Frame
    sent: Sent
    answer: asyncio.Future          # the response; of a relay only for its own hop
    at: int = 0                     # octets of the body that are written

    async def more(self, count: int | None = None) -> None:
        """So many octets of the body, or the rest."""
        end = len(self.frame.body) if count is None else min(self.at + count, len(self.frame.body))
        while self.at < end:
            data = self.frame.body[self.at:min(self.at + PIECE, end)]
            await self.connection.write(data)
            self.at += len(data)

    async def end(self, flag: str = "$") -> None:
        await self.connection.write(self.frame.end(flag))
        self.connection._turn.release()

    def codes(self) -> list[int]:
        """The code of the response, if it has come; it may before the end. Of more than one, all."""
        return self.connection.answers.get(self.frame.tid, [])

    def errors(self) -> list[int]:
        """The codes of what has been told of its failure: by the response, or by reports."""
        return [code for code in [*self.codes(), *map(status, self.sent.reports)] if code >= 400]

    async def failure(self, within: float = PATIENCE) -> None:
        """Waits until it has been told to have failed."""
        await self.connection.until(lambda: bool(self.errors()), "a word of failure", within)


class Refused(Failed):
    """AUTH with credentials was not answered with 200."""

    def __init__(self, answer: Frame):
        super().__init__(f"AUTH was answered by {answer}")
        self.answer = answer


def context(authorities=None, certificate: tuple | None = None, server: bool = False, versions: tuple | None = None) -> ssl.SSLContext:
    """TLS of a client that checks names, or of a server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if authorities is None and not server:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if authorities is not None:
        made.load_verify_locations(str(authorities))
    if certificate is not None:
        made.load_cert_chain(*map(str, certificate))
    if versions:
        made.minimum_version, made.maximum_version = versions
    return made


async def listen(host: str, tls: ssl.SSLContext | None = None, raw: bool = False,
                 sessions: dict[Uri, Session] | None = None, port: int = 0) -> tuple[asyncio.Server, asyncio.Queue[Connection]]:
    """An endpoint that others connect to; its connections come out of the queue, and serve these sessions from the first octet on."""
    came: asyncio.Queue[Connection] = asyncio.Queue()

    async def accept(reader, writer):
        connection = Connection(reader, writer, raw=raw)
        connection.sessions = sessions if sessions is not None else {}
        came.put_nowait(connection)
    return await asyncio.start_server(accept, host, port, ssl=tls, limit=2 ** 20), came
