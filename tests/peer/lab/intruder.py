"""A server that opens streams to the one under test: with whatever certificate, and with whatever it then says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import xml.etree.ElementTree as ET

from ..pattern import StreamParser
from .pki import Credential

HEADER = ("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
          "xmlns:stream='http://etherx.jabber.org/streams' from='{local}' to='{remote}' version='1.0'>")
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
STREAM = "{http://etherx.jabber.org/streams}"
DIALBACK = "{jabber:server:dialback}"
PATIENCE = 20.0


class Ended(Exception):
    """The other side ended the stream; the condition of its error, or `closed`."""


class Intruder:
    """One stream from `local` to `remote`."""

    def __init__(self, local: str, remote: str, credential: Credential | None):
        self.local, self.remote, self.credential = local, remote, credential
        self.condition = ""
        self._reset()

    def _reset(self) -> None:
        self.heard: list[ET.Element] = []
        self.ended = False
        self.parser = StreamParser(lambda _: None, self.heard.append, self._on_end)

    def _on_end(self) -> None:
        self.ended = True

    async def open(self, host: str, port: int = 5269, *, plain: str = "") -> ET.Element:
        """To the features after TLS. `plain` is sent in clear text behind the `<starttls/>`."""
        self.reader, self.writer = await asyncio.open_connection(host, port)
        self.say(HEADER.format(local=self.local, remote=self.remote))
        await self.hears(STREAM + "features")
        self.say(f"<starttls xmlns='{TLS[1:-1]}'/>{plain}")
        await self.hears(TLS + "proceed")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.credential:
            context.load_cert_chain(self.credential.chain, self.credential.key)
        await self.writer.start_tls(context, server_hostname=self.remote, ssl_handshake_timeout=10)
        return await self.header()

    async def header(self) -> ET.Element:
        self._reset()
        self.say(HEADER.format(local=self.local, remote=self.remote))
        return await self.hears(STREAM + "features")

    async def authenticate(self, features: ET.Element) -> bool:
        """SASL EXTERNAL, if it is offered and succeeds."""
        if not any(mechanism.text == "EXTERNAL" for mechanism in features.iter(SASL + "mechanism")):
            return False
        name = base64.b64encode(self.local.encode()).decode()
        self.say(f"<auth xmlns='{SASL[1:-1]}' mechanism='EXTERNAL'>{name}</auth>")
        if (await self.hears(SASL + "success", SASL + "failure")).tag != SASL + "success":
            return False
        await self.header()
        return True

    async def assert_domain(self, domain: str, key: str = "a-key-of-nobody") -> str:
        """Dialback for a domain; the type of the answer."""
        self.say(f"<db:result from='{domain}' to='{self.remote}'>{key}</db:result>")
        return (await self.hears(DIALBACK + "result")).get("type", "none")

    def say(self, text: str) -> None:
        self.writer.write(text.encode())

    def message(self, to: str, sender: str, text: str) -> None:
        self.say(f"<message from='{sender}' to='{to}' type='chat'><body>{text}</body></message>")

    async def hears(self, *tags: str) -> ET.Element:
        """The next element of one of these names. What else comes is dropped; the end of the stream is `Ended`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.heard:
                    element = self.heard.pop(0)
                    if element.tag in tags:
                        return element
                    if element.tag == STREAM + "error":
                        raise Ended(next((child.tag.partition("}")[2] for child in element), "no condition"))
                if self.ended:
                    raise Ended("closed")
                await self.writer.drain()
                try:
                    data = await self.reader.read(65536)
                except (OSError, ssl.SSLError):
                    data = b""
                if not data:
                    raise Ended("closed")
                try:
                    self.parser.feed(data)
                except ET.ParseError:
                    raise Ended("no XML") from None

    async def go(self) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, AttributeError):
            self.writer.close()
