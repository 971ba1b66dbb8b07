"""What the cases stand on: Nuncio servers with their relays, Kamailio as another relay, a resolver, a private CA, and people."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from ..lab.dns import Block, Dns
from ..lab.pki import Pki
from ..stock import Stock
from ..subjects import Subject, command, free_ports
from .endpoint import Connection, Failed, Session, context
from .frames import Uri, ident
from .kamailio import Kamailio, Neighbour
from .websocket import WebConnection

ZONE = "uns.lab"
PORT = 2855
WEB = 8443                          # for WebSocket
PASSWORD = "on the stage"
KAMAILIO = "xyz123"                 # of every user there, as in its manual
SERVICES = "urn:xmpp:extdisco:2"
PATIENCE = 30.0
CONFIG = """
data = "data"

[[domain]]
name = "{domain}"
certificate = "{credential.chain}"
key = "{credential.key}"

[listen]
c2s = ["{host}:5222"]
c2s_tls = []
http = ["{host}:8080"]
msrp = ["{at}:{port}"]
msrp_websocket = {web}

[log]
level = "info,nuncio_relay=debug"
format = "text"

[accounts]
scram_iterations = 4096

[limits]
connects_per_second = 1000

[timeouts]
close_seconds = 2

[federation]
enabled = false
authorities = ["{trusted}"]

[federation.dns]
servers = ["{resolver}:53"]
validate = "local"
trust_anchors = "{anchor}"

[tls]
client_authorities = ["{trusted}"]

[msrp]
{msrp}
{more}"""
ALSO = """
[[domain]]
name = "{domain}"
certificate = "{credential.chain}"
key = "{credential.key}"
"""
# What one of the servers has beyond that; loopback is no public network.
MSRP = 'allow_networks = ["127.0.0.0/8"]\n'


class Relay(Subject):
    """A Nuncio server with its relay, at an address of its own on the usual ports."""

    def __init__(self, stage: Stage, label: str, host: str, binary: Path, msrp: str = "", domain: str = "", relay: tuple[str, int] | None = None,
                 also: str = ""):
        super().__init__(stage.folder / label)
        self.stage, self.label, self.xmpp, self.binary, self.msrp = stage, label, host, binary, MSRP + msrp
        self.name = self.domain = domain or f"{label}.{ZONE}"
        self.host, self.port = relay or (host, PORT)
        self.web = [f"{host}:{WEB}"] if relay is None else []
        self.config = self.folder / "nuncio.toml"
        self.credential = stage.pki.make(label, self.domain)
        self.also = also            # another domain that it serves
        self.more = also and ALSO.format(domain=also, credential=stage.pki.make(f"{label}-also", also))

    def launch(self) -> subprocess.Popen:
        dns = self.stage.dns
        anchor = self.folder / "anchor"
        anchor.write_text(dns.anchor + "\n")
        self.config.write_text(CONFIG.format(domain=self.domain, credential=self.credential, host=self.xmpp, at=self.host, port=self.port, web=json.dumps(self.web), trusted=self.stage.pki.trusted,
                                             resolver=dns.resolver, anchor=anchor, msrp=self.msrp, more=self.more))
        return self.spawn([str(self.binary), "serve", "--config", str(self.config)])

    async def start(self) -> None:
        log = self.folder / "out.log"
        before = log.stat().st_size if log.exists() else 0
        await super().start()
        # The relay listens before the server takes commands.
        async with asyncio.timeout(PATIENCE):
            while b" listening " not in log.read_bytes()[before:]:
                await asyncio.sleep(0.02)

    async def run(self, *words: str, text: str = "") -> str:
        return await command(str(self.binary), *words, "--config", str(self.config), text=text)

    async def add(self, account: str) -> None:
        await self.run("account", "add", account, "--password-stdin", text=PASSWORD + "\n")

    @property
    def uri(self) -> Uri:
        return Uri.parse(f"msrps://{self.domain};tcp")

    @property
    def memory(self) -> int:
        """The most octets that it has held in memory, ever."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmHWM")


@dataclass
class Pass:
    """Credentials for a relay, as XEP-0215 brings them."""

    host: str
    port: int
    username: str
    password: str
    expires: str


class Login(Stock):
    """A stock XMPP client that asks for the relay's credentials."""

    def __init__(self, account: str, authorities: Path):
        super().__init__(f"{account}/stage", PASSWORD, "SCRAM-SHA-256", ssl.create_default_context(cafile=str(authorities)))

    async def services(self) -> list[dict]:
        """All that the server says of services of the type msrp."""
        iq = self.make_iq_get(ito=self.boundjid.domain)
        iq.xml.append(ET.fromstring(f"<services xmlns='{SERVICES}' type='msrp'/>"))
        answer = await iq.send(timeout=PATIENCE)
        return [dict(service.attrib) for service in answer.xml.iter(f"{{{SERVICES}}}service")]

    async def fetch(self) -> Pass:
        found = [one for one in await self.services() if one.get("transport", "tcp") == "tcp"]
        if len(found) != 1:
            raise Failed(f"XEP-0215 names {len(found)} relays over tcp: {found}")
        one = found[0]
        missing = [name for name in ("host", "port", "username", "password", "expires") if not one.get(name)]
        if missing:
            raise Failed(f"XEP-0215 says nothing of {missing}: {sorted(one)}")
        return Pass(one["host"], int(one["port"]), one["username"], one["password"], one["expires"])


@dataclass
class Person:
    """Somebody with a connection to a relay and a session on it."""

    account: str
    relay: Subject
    credentials: Pass
    connection: Connection
    session: Session
    expires: int = 0


@dataclass
class Stage:
    """Everything, and what has to end with it."""

    folder: Path
    binary: Path
    block: Block = field(default_factory=Block)
    open: list[Connection] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)                  # what no log may have
    _names: itertools.count = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self):
        self.pki = Pki(self.folder / "pki")
        self.dns = Dns(self.folder / "dns", self.block)
        self.client = context(self.pki.trusted)                     # the TLS of our clients
        self.source = self.block.host(3)                            # where they come from
        self.one = Relay(self, "one", self.block.host(10), self.binary, also=f"also.{ZONE}")
        self.two = Relay(self, "two", self.block.host(11), self.binary)
        # Short times, for what has to end; MD5 alone, as if there were only old clients; few logins.
        self.brief = Relay(self, "brief", self.block.host(12), self.binary, BRIEF)
        # For what takes much memory, or has connections between relays stand still.
        self.slow = Relay(self, "slow", self.block.host(15), self.binary)
        # A case starts it, and stops it, and starts it again.
        self.returning = Relay(self, "returning", self.block.host(16), self.binary)
        credential = self.pki.make("kamailio", f"kamailio.{ZONE}")
        neighbours = [Neighbour(relay.domain, relay.host, PORT) for relay in (self.one, self.two)]
        self.kamailio = Kamailio(self.folder / "kamailio", f"kamailio.{ZONE}", self.block.host(20), PORT, credential, self.pki.trusted, KAMAILIO,
                                 neighbours)
        for relay in (*self.servers, self.returning):
            self.dns.add(relay.name, "A", relay.host)
            self.dns.add(f"_msrps._tcp.{relay.name}", "SRV", f"0 0 {PORT} {relay.name}.")
        self.endpoint = f"endpoint.{ZONE}"                          # an endpoint of ours that relays connect to
        self.dns.add(self.endpoint, "A", self.block.host(5))
        # A relay at a hoster: SRV leads to another name, whose certificate nobody but a TLSA record vouches for.
        self.hosted = {}
        for zone in ("sec.lab", ZONE):
            port, name = free_ports(1, self.block.host(5))[0], f"hoster.{zone}"
            credential = self.pki.make(f"hoster-{zone}", name, "self-signed")
            self.dns.add(f"_msrps._tcp.outer.{zone}", "SRV", f"0 0 {port} {name}.")
            self.dns.add(name, "A", self.block.host(5))
            self.dns.add(f"_{port}._tcp.{name}", "TLSA", credential.tlsa(3, 1, 1))
            self.hosted[zone] = (port, credential)

    @property
    def relays(self) -> list[Relay]:
        return [self.one, self.two, self.brief, self.slow]

    @property
    def servers(self) -> list[Subject]:
        return [*self.relays, self.kamailio]

    async def start(self) -> None:
        await self.dns.start()
        await asyncio.gather(*(server.start() for server in self.servers))

    async def stop(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self.open), return_exceptions=True)
        await asyncio.gather(*(server.stop() for server in self.servers))
        await self.dns.stop()

    async def connect(self, relay: Subject, raw: bool = False, tls=None, name: str = "") -> Connection:
        connection = await Connection.open((relay.host, relay.port), tls or self.client, name or relay.name, self.source, raw)
        self.open.append(connection)
        return connection

    async def browse(self, relay: Relay, **words) -> WebConnection:
        """A WebSocket; `words` of the handshake."""
        connection = await WebConnection.open((relay.host, WEB), self.client, relay.name, self.source, **words)
        self.open.append(connection)
        return connection

    async def account(self, relay: Relay) -> tuple[str, Login]:
        """A new account, logged in over XMPP."""
        account = f"u{next(self._names)}@{relay.domain}"
        await relay.add(account)
        login = Login(account, self.pki.trusted)
        await login.come(relay.xmpp)
        return account, login

    async def person(self, relay: Subject, **options) -> Person:
        """Somebody new with an XMPP account there and relay credentials from it; at Kamailio with the password that everybody has."""
        return await self.arrive(relay, *await self.credentials(relay), **options)

    async def credentials(self, relay: Subject) -> tuple[str, Pass]:
        """Of somebody new."""
        if not isinstance(relay, Relay):
            account = f"u{next(self._names)}"
            return account, Pass(relay.name, relay.port, account, KAMAILIO, "")
        account, login = await self.account(relay)
        try:
            return account, await login.fetch()
        finally:
            await login.go()

    async def arrive(self, relay: Subject, account: str, credentials: Pass, *, algorithms: list[str] | None = None, expires: int | None = None,
                     keep: bool = True, raw: bool = False, web: bool = False) -> Person:
        """A new connection of somebody who has credentials, and AUTH on it. `web`: as a client in a browser, which knows no address of its own."""
        connection = await (self.browse(relay) if web else self.connect(relay))
        at = Uri.parse(f"msrps://{relay.name}:{WEB};ws" if web else f"msrps://{relay.name};tcp")
        local = Uri.parse(f"msrps://{ident(12).lower()}.invalid:{PORT}/{ident(22)};ws") if web else Uri.fresh(self.source, 9)
        relays = await connection.auth(at, local, credentials.username, credentials.password, algorithms=algorithms, expires=expires,
                                       mutual=isinstance(relay, Relay))
        self.secrets |= {credentials.password, *(uri.session for uri in (local, *relays) if uri.session)}
        session = Session(local, relays, keep)
        connection.sessions[local] = session
        connection.raw = raw
        return Person(account, relay, credentials, connection, session, connection.expires)

    async def again(self, person: Person, **options) -> Person:
        """The same account and credentials on another connection."""
        return await self.arrive(person.relay, person.account, person.credentials, **options)

    async def pair(self, first: Subject, second: Subject, **options) -> tuple[Person, Person]:
        """Two people who have each other's path."""
        alice, bob = await asyncio.gather(self.person(first, **options), self.person(second, **options))
        meet(alice, bob)
        return alice, bob


def meet(alice: Person, bob: Person) -> None:
    """What SDP would do."""
    alice.session.peer, bob.session.peer = bob.session.path(), alice.session.path()


BRIEF = """algorithms = ["md5"]
credentials_seconds = 60
expires_least = 1
"""
