"""What the laboratory's domains are: a domain for each side of each cell, with the credentials of its row."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .dns import Block, Dns
from .pki import Credential, Pki
from .posh import WELL_KNOWN, Site, Web, document, reference
from .relay import Relay

DATA = Path(__file__).parents[2] / "federation"
NUMBERS = {"nuncio": 10, "prosody": 20, "ejabberd": 30, "nuncio2": 40}


@dataclass
class Domain:
    """One domain at one server, for one cell."""

    name: str
    server: str
    settings: dict
    relay: Relay
    credential: Credential | None = None
    target: str = ""
    account: str = field(init=False)

    def __post_init__(self):
        self.account = f"u@{self.name}"


@dataclass
class Cell:
    """One row against one peer in one direction: `in` is from the peer to the subject."""

    row: dict
    peer: str
    direction: str
    ours: Domain
    theirs: Domain
    second: Domain | None = None        # another domain of the side that opens the connection

    @property
    def name(self) -> str:
        return f"{self.row['name']}/{self.peer}/{self.direction}"

    @property
    def sender(self) -> Domain:
        return self.ours if self.direction == "out" else self.theirs

    @property
    def receiver(self) -> Domain:
        return self.theirs if self.direction == "out" else self.ours


def rows(only: list[str] | None = None) -> list[dict]:
    found = tomllib.loads((DATA / "rows.toml").read_text())["row"]
    return [row for row in found if not only or any(row["name"].startswith(start) for start in only)]


class World:
    """The DNS, the authorities, the web server and all domains of a run."""

    def __init__(self, folder: Path):
        self.block = Block()
        self.pki = Pki(folder / "pki")
        self.dns = Dns(folder / "dns", self.block)
        self.web = Web(self.block.host(3), folder / "web")
        self.domains: list[Domain] = []
        self.relays: list[Relay] = []
        self.hosts: set[str] = set()                        # that stand in DNS already
        self._shared: dict[str, Credential] = {}            # of hosts with several tenants

    def address(self, server: str) -> str:
        return self.block.host(NUMBERS[server])

    async def cell(self, row: dict, subject: str, peer: str, direction: str) -> Cell:
        beginner = row.get("initiator", {}).get({"out": subject, "in": peer}[direction].rstrip("2"), {})
        ours = await self.domain(row, subject, peer, direction, {**row, **(beginner if direction == "out" else {})})
        theirs = await self.domain(row, peer, subject, direction, {**row, **(beginner if direction == "in" else {})})
        second = None
        if row.get("second"):
            server, other = (subject, peer) if direction == "out" else (peer, subject)
            second = await self.domain({**row, "name": f"{row['name']}2"}, server, other, direction, row)
        return Cell(row, peer, direction, ours, theirs, second)

    async def domain(self, row: dict, server: str, other: str, direction: str, settings: dict) -> Domain:
        """The domain with its records, certificate, document and relay."""
        zone = settings["zone"]
        name = f"{row['name']}-{direction}-{other}.{server}.{zone}.lab"
        direct = settings.get("direct_tls", False)
        relay = Relay(self.block.host(NUMBERS[server] + 1), (self.address(server), 5270 if direct else 5269))
        await relay.start()
        domain = Domain(name, server, settings, relay)
        domain.target = f"hosting-{row['name']}.{server}.{zone}.lab" if settings.get("hosted") else f"s2s.{name}"
        domain.credential = self._credential(domain)
        self.dns.add(name, "A", self.web.host)
        self.dns.add(f"_xmpp{'s' if direct else ''}-server._tcp.{name}", "SRV", f"0 0 {relay.port} {domain.target}.")
        if domain.target not in self.hosts:
            self.hosts.add(domain.target)
            self.dns.add(domain.target, "A", relay.host)
        for kind in settings.get("tlsa", []):
            numbers = tuple(map(int, kind.split()))
            self.dns.add(f"_{relay.port}._tcp.{domain.target}", "TLSA", domain.credential.tlsa(*numbers))
        if settings.get("posh"):
            path, said = WELL_KNOWN.format(service="xmpp-server"), document(domain.credential)
            if settings.get("hosted"):
                # RFC 7711 section 3.2: the tenant's document refers to the host's.
                host = f"web-{domain.target}"
                if host not in self.hosts:
                    self.hosts.add(host)
                    self.dns.add(host, "A", self.web.host)
                    self.web.add(host, Site(self.pki.make(f"web-{host}", host)))
                self.web.sites[host].pages[f"/{name}.json"] = said
                said = reference(f"https://{host}/{name}.json")
            self.web.add(name, Site(self.pki.make(f"web-{name}", name), {path: said}))
        self.domains.append(domain)
        self.relays.append(relay)
        return domain

    def _credential(self, domain: Domain) -> Credential:
        """A domain's own, or the one that all tenants of a host share."""
        name, kind = domain.name, domain.settings["certificate"]
        if not domain.settings.get("hosted"):
            return self.pki.make(name, name, kind)
        if domain.server == "ejabberd":
            # It finds a domain's certificate by any name in it; to us a common name is none (RFC 9525).
            return self.pki.make(name, domain.target, kind, common=name[:64])
        if domain.target not in self._shared:
            self._shared[domain.target] = self.pki.make(domain.target, domain.target, kind)
        return self._shared[domain.target]

    def of(self, server: str) -> list[Domain]:
        return [domain for domain in self.domains if domain.server == server]

    async def start(self) -> None:
        await self.dns.start()
        await self.web.start()

    async def stop(self) -> None:
        for relay in self.relays:
            await relay.stop()
        await self.web.stop()
        await self.dns.stop()
