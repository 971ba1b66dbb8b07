"""A small XMPP server that answers for the broken domains: each presents its certificate, and some behave badly before that."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from dataclasses import dataclass, field

from ..pattern import StreamParser
from .pki import Credential

HEADER = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
          "xmlns:stream='http://etherx.jabber.org/streams' from='{domain}'{to} id='{id}' version='1.0'>")
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"


@dataclass
class Responder:
    """One domain behind one port. `how` is a behaviour of `BEHAVIOURS`."""

    domain: str
    host: str
    credential: Credential
    how: str = "good"
    port: int = 0
    connections: int = 0
    received: list = field(default_factory=list)        # stanzas, as elements

    BEHAVIOURS = ("good", "no-starttls", "starttls-failure", "silent", "hang-up", "garbage", "tls-garbage", "old-tls", "host-unknown",
                  "redirect-loop", "no-authentication")

    def __post_init__(self):
        if self.how not in self.BEHAVIOURS:
            raise ValueError(f"no behaviour {self.how}")
        self._tasks: set[asyncio.Task] = set()
        self._server = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader, writer) -> None:
        self.connections += 1
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, ssl.SSLError, EOFError, asyncio.CancelledError):
            match self.how:
                case "silent":
                    await asyncio.sleep(120)
                case "hang-up":
                    pass
                case "garbage":
                    writer.write(b"220 lab ESMTP ready\r\n")
                    await writer.drain()
                    await asyncio.sleep(5)
                case _:
                    await Conversation(self, reader, writer).run()
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.close()

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.credential.chain, self.credential.key)
        if self.how == "old-tls":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


class Conversation:
    """One connection: header, STARTTLS, EXTERNAL, stanzas."""

    def __init__(self, responder: Responder, reader, writer):
        self.responder, self.reader, self.writer = responder, reader, writer
        self.secure = self.authenticated = self.done = False
        self.waiting: list = []
        self._reset()

    def _reset(self) -> None:
        self.parser = StreamParser(lambda header: self.waiting.append(("header", header)),
                                   lambda element: self.waiting.append(("element", element)),
                                   lambda: self.waiting.append(("end", None)))

    async def run(self) -> None:
        while not self.done and (data := await self.reader.read(65536)):
            self.parser.feed(data)
            while self.waiting and not self.done:
                kind, element = self.waiting.pop(0)
                await getattr(self, f"_{kind}")(element)
            await self.writer.drain()

    def _say(self, text: str) -> None:
        self.writer.write(text.encode())

    async def _end(self, _nothing) -> None:
        self._say("</stream:stream>")
        self.done = True

    async def _header(self, header) -> None:
        how, peer = self.responder.how, header.get("from")
        to = f" to='{peer}'" if peer else ""
        self._say(HEADER.format(domain=self.responder.domain, to=to, id=secrets.token_hex(8)))
        if how == "host-unknown":
            return self._error("host-unknown")
        if how == "redirect-loop" and self.secure:
            return self._error("see-other-host", f"{self.responder.host}:{self.responder.port}")
        if not self.secure:
            offer = "" if how == "no-starttls" else f"<starttls xmlns='{TLS}'><required/></starttls>"
        elif self.authenticated or how == "no-authentication":
            offer = ""
        else:
            offer = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
        self._say(f"<stream:features>{offer}</stream:features>")

    def _error(self, condition: str, text: str = "") -> None:
        self._say(f"<stream:error><{condition} xmlns='{ERRORS}'>{text}</{condition}></stream:error></stream:stream>")
        self.done = True

    async def _element(self, element) -> None:
        match element.tag:
            case "{urn:ietf:params:xml:ns:xmpp-tls}starttls":
                if self.responder.how in ("no-starttls", "starttls-failure"):
                    self._say(f"<failure xmlns='{TLS}'/></stream:stream>")
                    self.done = True
                    return
                self._say(f"<proceed xmlns='{TLS}'/>")
                await self.writer.drain()
                if self.responder.how == "tls-garbage":
                    self._say("this is no TLS")
                    self.done = True
                    return
                await self.writer.start_tls(self.responder.context(), ssl_handshake_timeout=10)
                self.secure = True
                self._reset()
            case "{urn:ietf:params:xml:ns:xmpp-sasl}auth":
                self._say(f"<success xmlns='{SASL}'/>")
                self.authenticated = True
                self._reset()
            case "{jabber:server:dialback}verify":
                # It has sent no key to anybody.
                self._say(f"<db:verify from='{element.get('to')}' to='{element.get('from')}' id='{element.get('id')}' type='invalid'/>")
            case "{jabber:server:dialback}result":
                self._say(f"<db:result from='{element.get('to')}' to='{element.get('from')}' type='invalid'/>")
            case tag if tag.startswith("{jabber:server}"):
                self.responder.received.append(element)
