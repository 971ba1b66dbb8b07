"""An XMPP client that does exactly what it is told: stream header, STARTTLS, SASL, bind, and an inbox of what came."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from xml.sax.saxutils import quoteattr

from . import pattern, sasl
from .wire import Wire, WireError

STREAM = "{http://etherx.jabber.org/streams}"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
BINDINGS = ("tls-exporter", "tls-server-end-point")

_ids = itertools.count(1)


class Failure(Exception):
    """The subject did not do what the script expects."""


class Session:
    """One actor's connection to a subject."""

    def __init__(self, name: str, subject, source: str | None, variables: dict[str, str], started: float):
        self.name = name
        self.subject = subject
        self.source = source
        self.variables = variables
        self.transcript: list[str] = []
        self.started = started
        self.patience = 12.0
        self._event = asyncio.Event()
        self.wire: Wire | None = None
        self.domain = subject.domain
        self.jid: str | None = None
        self._fresh()

    def _fresh(self) -> None:
        self.header = None
        self.features = None
        self.ended = False
        self.unreadable: str | None = None
        self.inbox: list = []
        self._arrived = 0                      # how many elements came
        self._numbers: dict[int, int] = {}     # which of them each is that was not taken yet
        self._taken = 0                        # the number of the one taken last
        self.parser = pattern.StreamParser(self._on_header, self._on_element, self._on_end)

    def note(self, arrow: str, text: str) -> None:
        since = time.monotonic() - self.started
        self.transcript.append(f"{since:7.3f} {self.name} {arrow} {text if len(text) <= 2000 else text[:2000] + '...'}")

    # What comes in.

    def _sink(self, data: bytes) -> None:
        self.note("<", data.decode("utf-8", "backslashreplace"))
        if self.unreadable:
            return
        try:
            self.parser.feed(data)
        except Exception as error:  # expat's own errors: the subject sent no XML
            self.unreadable = str(error)

    def _changed(self) -> None:
        self._event.set()

    def _on_header(self, header) -> None:
        self.header = header
        self.variables[f"{self.name}.stream"] = header.get("id", "")

    def _on_element(self, element) -> None:
        self._arrived += 1
        self._numbers[id(element)] = self._arrived
        self.inbox.append(element)

    def _on_end(self) -> None:
        self.ended = True

    async def until(self, ready, what: str, within: float | None = None, *, open_needed: bool = True):
        """`ready()` until it yields something other than None; fails at the deadline, or when nothing more can come."""
        deadline = time.monotonic() + (within or self.patience)
        while True:
            self._event.clear()
            found = ready()
            if found is not None:
                return found
            if self.unreadable and open_needed:
                raise Failure(f"{self.name}: what the server sends is not well-formed ({self.unreadable}), waiting for {what}")
            if open_needed and (self.ended or self.wire.closed or self.wire.broken or self.wire.notified):
                how = self.wire.broken or "closed"
                raise Failure(f"{self.name}: the stream ended ({how}) before {what}; unread: {self.unread()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f"{self.name}: no {what} within {within or self.patience:g} s; unread: {self.unread()}")
            try:
                await asyncio.wait_for(self._event.wait(), left)
            except asyncio.TimeoutError:
                pass

    def unread(self) -> str:
        return " ".join(pattern.show(element) for element in self.inbox)[:1500] or "nothing"

    def take(self, wanted, *, strict: bool = False):
        """Takes the first element of the inbox that matches; with `strict` the first after the one taken last must."""
        for index, element in enumerate(self.inbox):
            number = self._numbers[id(element)]
            if strict and number < self._taken:
                continue
            found = pattern.matches(wanted, element, self.variables)
            if found is not None:
                del self.inbox[index]
                self._taken = number
                self.variables.update(found)
                return element
            if strict or self._same_answer(wanted, element):
                pattern.match(wanted, element, self.variables)
        return None

    @staticmethod
    def _same_answer(wanted, element) -> bool:
        """The answer to the same request: if it is another than expected, there is nothing to wait for."""
        number = wanted.get("id", "{")
        return wanted.tag == element.tag == "{jabber:client}iq" and element.get("id") == number \
            and wanted.get("type") in ("result", "error") and element.get("type") in ("result", "error")

    async def expect(self, text: str, within: float | None = None, *, strict: bool = False):
        wanted = pattern.parse(text)
        try:
            return await self.until(lambda: self.take(wanted, strict=strict), f"<{wanted.tag}> matching {text}", within)
        except pattern.Mismatch as error:
            raise Failure(f"{self.name}: another element came than <{wanted.tag}>: {error}; unread: {self.unread()}") from error

    # What goes out.

    def send(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.note(">", data.decode("utf-8", "backslashreplace"))
        try:
            self.wire.send(data)
        except WireError as error:
            raise Failure(f"{self.name}: {error}") from error

    async def connect(self, how: str = "tcp", options: dict | None = None) -> None:
        options = options or {}
        if self.wire:
            self.wire.drop()
        self.jid = None
        self._fresh()
        self.wire = Wire(self._sink, self._changed)
        port = self.subject.port if how == "tcp" else self.subject.tls_port
        if port is None:
            raise Failure(f"{self.subject.name} has no port for direct TLS")
        try:
            await self.wire.connect(self.subject.host, port, self.source, self.patience)
        except (OSError, asyncio.TimeoutError) as error:
            raise Failure(f"{self.name}: cannot connect: {error!r}") from error
        self.note("-", f"connected ({how})")
        if how == "tls":
            await self.handshake({"alpn": "xmpp-client", **options})

    async def handshake(self, options: dict) -> None:
        session = options.get("session")
        certificate = self.subject.client_certificate(options["cert"]) if "cert" in options else None
        try:
            await self.wire.start_tls(
                options.get("sni", self.domain), str(self.subject.ca), self.patience,
                alpn=options.get("alpn"), version=options.get("tls"), ciphers=options.get("ciphers"),
                session=self.subject.sessions.get(session), certificate=certificate,
            )
        except (WireError, asyncio.TimeoutError) as error:
            raise Failure(f"{self.name}: {str(error) or 'no TLS handshake in time'}") from error
        self.note("-", f"{self.wire.tls_version}{' resumed' if self.wire.resumed else ''}")

    def send_header(self, options: dict | None = None) -> None:
        options = dict(options or {})
        self._fresh()
        attributes = {"to": self.domain, "version": "1.0", "xmlns": "jabber:client",
                      "xmlns:stream": "http://etherx.jabber.org/streams", "xml:lang": "en", **options}
        text = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value != "{absent}")
        self.send(f"<?xml version='1.0'?><stream:stream{text}>")

    async def open(self, options: dict | None = None) -> None:
        """Header out, header and features in."""
        self.send_header(options)
        await self.read_header()
        await self.read_features()

    async def read_header(self) -> None:
        await self.until(lambda: self.header, "stream header", open_needed=self.header is None)
        if self.header.tag != STREAM + "stream":
            raise Failure(f"{self.name}: the stream's root is {self.header.tag}")

    async def read_features(self) -> None:
        def ready():
            for index, element in enumerate(self.inbox):
                if element.tag == STREAM + "features":
                    return self.inbox.pop(index)
            return None
        self.features = await self.until(ready, "stream features")

    async def starttls(self, options: dict | None = None) -> None:
        self.send(f"<starttls xmlns='{TLS}'/>")
        await self.expect(f"<proceed xmlns='{TLS}'/>")
        await self.handshake(options or {})

    def mechanisms(self) -> list[str]:
        if self.features is None:
            return []
        return [e.text or "" for e in self.features.iter(f"{{{SASL}}}mechanism")]

    def bindings(self) -> list[str]:
        """XEP-0440: the channel bindings that the server says it can do."""
        return [e.get("type", "") for e in self.features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]

    async def auth(self, options: dict) -> None:
        """Options: mechanism, user, password, authzid, cb (n, y, or a type), failure (the expected condition)."""
        user, domain, password = self.subject.credentials(self.name)
        user = options.get("user", user)
        password = options.get("password", password)
        offered = self.mechanisms()
        name = options.get("mechanism") or next(
            (m for m in ("SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-512", "PLAIN") if m in offered), None)
        if name is None or (name not in offered and "failure" not in options):
            raise Failure(f"{self.name}: {name or 'no known mechanism'} is not offered, but {', '.join(offered) or 'none'}")
        if name == "PLAIN":
            client = sasl.Plain(user, password, options.get("authzid", ""))
        elif name == "EXTERNAL":
            client = sasl.External(options.get("authzid", ""))
        else:
            client = sasl.Scram(name, user, password, self._binding(name, options), options.get("authzid", ""))
        failure = options.get("failure")
        try:
            await self._exchange(name, client, failure)
            if isinstance(client, sasl.Scram):
                self._check_downgrade(client, "downgrade" in options)
        except sasl.SaslError as error:
            raise Failure(f"{self.name}: {name}: {error}") from error
        if failure is None:
            self.domain = domain

    def _check_downgrade(self, client: sasl.Scram, required: bool) -> None:
        """XEP-0474: the hash of what was advertised, inside what the password signs."""
        if client.downgrade_hash is None:
            if required:
                raise Failure(f"{self.name}: no downgrade protection in the server's first message")
            return
        wanted = client.hash_of(self.mechanisms(), self.bindings())
        if client.downgrade_hash != wanted:
            raise Failure(f"{self.name}: the downgrade hash is {client.downgrade_hash}, not {wanted}")

    def _binding(self, name: str, options: dict):
        kind = options.get("cb")
        if not name.endswith("-PLUS"):
            return None if kind in (None, "n") else "y"
        if kind is None:
            offered = self.bindings() or list(BINDINGS)
            kind = next((b for b in BINDINGS if b in offered), None)
            if kind is None:
                raise Failure(f"{self.name}: no channel binding in common with {offered}")
        return kind, self.wire.channel_binding(kind)

    async def _exchange(self, name: str, client, failure: str | None) -> None:
        first = base64.b64encode(client.first()).decode() or "="
        self.send(f"<auth xmlns='{SASL}' mechanism='{name}'>{first}</auth>")
        while True:
            def ready():
                for index, element in enumerate(self.inbox):
                    if element.tag.startswith(f"{{{SASL}}}"):
                        return self.inbox.pop(index)
                return None
            answer = await self.until(ready, f"answer to {name}")
            data = base64.b64decode(answer.text) if answer.text and answer.text != "=" else b""
            kind = answer.tag.partition("}")[2]
            if kind == "challenge":
                reply = base64.b64encode(client.answer(data)).decode()
                self.send(f"<response xmlns='{SASL}'>{reply}</response>")
            elif kind == "success":
                client.finish(data)
                if failure:
                    raise Failure(f"{self.name}: {name} succeeded, expected the failure {failure}")
                return
            else:
                conditions = [child.tag.partition("}")[2] for child in answer]
                if failure and any(c in failure.split("|") for c in conditions):
                    return
                raise Failure(f"{self.name}: {name} failed with {conditions}, expected {failure or 'success'}")

    async def bind(self, resource: str | None = None) -> None:
        asked = f"<resource>{resource}</resource>" if resource else ""
        number = next(_ids)
        self.send(f"<iq type='set' id='bind-{number}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{asked}</bind></iq>")
        element = await self.expect(
            f"<iq type='result' id='bind-{number}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{{_}}</jid></bind></iq>")
        self.jid = next(element.iter("{urn:ietf:params:xml:ns:xmpp-bind}jid")).text
        self.variables[self.name if "/" in self.name else f"{self.name}.jid"] = self.jid
        if resource and not self.jid.endswith(f"/{resource}"):
            raise Failure(f"{self.name}: bound {self.jid}, asked for {resource}")

    async def login(self, options: dict) -> None:
        if options.get("direct"):
            await self.connect("tls", options)
            await self.open()
        else:
            await self.connect()
            await self.open()
            await self.starttls(options)
            await self.open()
        await self.auth(options)
        await self.open()
        if options.get("bind", True):
            await self.bind(self.name.partition("/")[2] or None)

    async def online(self, options: dict) -> None:
        """Login, roster (which makes it an interested resource) and initial presence; waits until the server has handled it (RFC 6121 section 4.2.2)."""
        await self.login(options)
        if options.get("roster", "yes") == "yes":
            number = next(_ids)
            self.send(f"<iq type='get' id='roster-{number}'><query xmlns='jabber:iq:roster'/></iq>")
            await self.expect(f"<iq type='result' id='roster-{number}'/>")
        priority = f"<priority>{options['priority']}</priority>" if "priority" in options else ""
        self.send(f"<presence>{priority}</presence>")
        await self.sync()

    async def sync(self) -> None:
        """A ping to the server and its answer: everything sent before is handled."""
        number = next(_ids)
        self.send(f"<iq type='get' id='sync-{number}' to='{self.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        wanted = pattern.parse(f"<iq type='~result|error' id='sync-{number}'/>")
        await self.until(lambda: self.take(wanted), "pong")

    async def barrier(self, other: "Session") -> None:
        """A message from here to the other's full address: what went there before has arrived when it has."""
        number = next(_ids)
        self.send(f"<message to='{other.jid}' id='barrier-{number}' type='chat'><body>barrier</body></message>")
        await other.expect(f"<message id='barrier-{number}'><body>barrier</body></message>")

    # How it ends.

    async def stream_error(self, conditions: str, within: float | None = None) -> None:
        def ready():
            for index, element in enumerate(self.inbox):
                if element.tag == STREAM + "error":
                    return self.inbox.pop(index)
            return None
        error = await self.until(ready, f"stream error {conditions}", within)
        found = [child.tag.removeprefix(ERRORS) for child in error if child.tag.startswith(ERRORS)]
        if not found or found[0] not in conditions.split("|"):
            raise Failure(f"{self.name}: the stream error is {found}, not {conditions}")

    async def stream_end(self, within: float | None = None) -> None:
        await self.until(lambda: True if self.ended else None, "</stream:stream>", within, open_needed=not self.ended)

    async def closed(self, within: float | None = None, notify: bool = False) -> None:
        """The peer has closed TCP; with `notify`: close_notify came before."""
        await self.until(lambda: True if self.wire.closed else None, "end of the connection", within, open_needed=False)
        if notify:
            self._notified_first()

    async def notified(self, within: float | None = None) -> None:
        await self.until(lambda: True if self.wire.notified or self.wire.closed or self.wire.broken else None, "close_notify", within, open_needed=False)
        self._notified_first()

    def _notified_first(self) -> None:
        if not self.wire.notified:
            raise Failure(f"{self.name}: the connection ended without close_notify ({self.wire.order}, {self.wire.broken})")

    async def goodbye(self) -> None:
        """The whole closing handshake from this side (RFC 6120 section 4.4)."""
        if not self.wire or self.wire.closed:
            return
        self.send("</stream:stream>")
        await self.stream_end()
        self.wire.notify()
        self.wire.fin()
        await self.closed()

    def drop(self) -> None:
        if self.wire:
            self.wire.drop()
