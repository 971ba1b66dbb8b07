"""The broken domains: one small server each, and what the server under test says of them when it has to talk to them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import tomllib
from dataclasses import dataclass

from . import attacks
from .intruder import Ended, Intruder
from .matrix import PATIENCE, Client
from .peers import Proof, peer
from .pki import Credential
from .posh import WELL_KNOWN, Site, document, reference
from .responder import Responder
from .sites import DATA, Domain, World

DEFAULTS = {"zone": "uns", "certificate": "self-signed", "srv": "own", "how": "good", "body": "own", "policy": "authenticated"}
CLOSED = 9                          # the port "discard": nobody listens there
CHECKS = 8                          # runs of `nuncio check` at once


class Writer(Client):
    """A stock client that writes to all of them and keeps the errors that come back, by domain."""

    def __init__(self, domain: Domain):
        super().__init__(domain)
        self.errors: dict[str, object] = {}
        self.messages: list[tuple[str, str]] = []           # sender, text

    def _on(self, message) -> None:
        if message["type"] == "error":
            self.errors[message["from"].domain] = message["error"]
        else:
            self.messages.append((message["from"].bare, message["body"]))

    async def gets(self, sender: str, text: str, within: float = 5.0) -> bool:
        deadline = time.monotonic() + within
        while (sender, text) not in self.messages and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return (sender, text) in self.messages


@dataclass
class Broken:
    """A broken domain and the server behind it."""

    name: str                       # the domain
    data: dict
    responder: Responder
    site: Site | None = None


def load(only: list[str] | None = None, checked: bool = False) -> list[dict]:
    found = [DEFAULTS | domain for domain in tomllib.loads((DATA / "broken.toml").read_text())["domain"]]
    if checked:
        found = [domain for domain in found if domain.get("check")]
    return [domain for domain in found if not only or any(domain["name"].startswith(start) for start in only)]


async def build(world: World, data: dict) -> Broken:
    """The domain's certificate, records, document and server; the server runs."""
    name = f"{data['name']}.{data['zone']}.lab"
    stem = f"broken-{data['name']}"
    more = {"with_root": True} if data.get("with_root") else {}
    credential = world.pki.make(stem, name, data["certificate"], **more)
    responder = Responder(name, world.block.host(50), credential, data["how"])
    await responder.start()
    broken = Broken(name, data, responder)
    if data["zone"] == "dead":
        return broken
    dns, target = world.dns, f"s2s.{name}"
    match data["srv"]:
        case "own":
            pass
        case "dot":
            dns.add(f"_xmpp-server._tcp.{name}", "SRV", "0 0 0 .")
        case "nowhere":
            target = f"nowhere.{name}"
        case "loop":
            dns.add(f"loop.{name}", "CNAME", f"again.{name}.")
            dns.add(f"again.{name}", "CNAME", f"loop.{name}.")
            target = f"loop.{name}"
    if data["srv"] != "dot":
        port = CLOSED if data["srv"] == "closed" else responder.port
        dns.add(f"_xmpp-server._tcp.{name}", "SRV", f"0 0 {port} {target}.")
    dns.add(f"s2s.{name}", "A", responder.host)
    dns.add(name, "A", data.get("web_address", world.web.host))
    if "tlsa" in data:
        dns.add(f"_{responder.port}._tcp.s2s.{name}", "TLSA", tlsa(world, data, name, credential))
    if "posh" in data:
        broken.site = posh(world, data, name, credential)
    return broken


def tlsa(world: World, data: dict, name: str, credential: Credential) -> str:
    wanted = data["tlsa"]
    if isinstance(wanted, str):
        return credential.tlsa(*map(int, wanted.split()))
    if "data" in wanted:
        return wanted["data"]
    other = world.pki.make(f"other-{data['name']}", name)
    return other.tlsa(*map(int, wanted["record"].split()))


def posh(world: World, data: dict, name: str, credential: Credential) -> Site:
    """The domain's web server with its document."""
    path = WELL_KNOWN.format(service="xmpp-server")
    good = document(credential)
    web = world.pki.make(f"web-{data['name']}", name, data.get("web_certificate", "good"))
    site = Site(web, how=data["posh"], to=data.get("to", ""))
    site.pages[path] = bodies(world, data, name, credential, good)
    if data["body"] in ("reference", "nested"):
        host = f"hosting-{name}"
        second = reference(f"https://{name}{path}") if data["body"] == "nested" else good
        world.dns.add(host, "A", world.web.host)
        world.web.add(host, Site(world.pki.make(f"web-{host}", host), {"/tenant.json": second}))
    return world.web.add(name, site)


def bodies(world: World, data: dict, name: str, credential: Credential, good: dict) -> dict | bytes:
    match data["body"]:
        case "own":
            return good
        case "reference" | "nested":
            return reference(f"https://hosting-{name}/tenant.json")
        case "other":
            return document(world.pki.make(f"other-{data['name']}", name))
        case "array":
            return b"[]"
        case "deep":
            return b'{"x":' * 200 + b"1" + b"}" * 200
        case "both":
            return good | {"url": f"https://{name}/tenant.json"}
        case "empty":
            return {"fingerprints": [], "expires": 100}
        case "unknown-hash":
            print_ = base64.b64encode(credential.fingerprint()).decode()
            return {"fingerprints": [{"sha-1": print_}], "expires": 100}
        case "expired":
            return good | {"expires": 0}
        case "no-expiry":
            return {"fingerprints": good["fingerprints"]}
    raise ValueError(f"no kind of document {data['body']}")


async def run(args) -> int:
    """The subject's user writes to each of them; the reason that the subject gives must be the one expected, and a good pair stays good."""
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    started = time.monotonic()
    world = World(args.folder)
    subject, servers = args.subject, {}
    results: list[dict] = []
    brokens: list[Broken] = []
    failed = 0
    try:
        ours = await world.domain({"name": "home"}, subject, "broken", "out",
                                  {"zone": "uns", "certificate": "good", "policy": "authenticated"})
        brokens = [await build(world, data) for data in load(args.only)]
        await world.start()
        server = servers[subject] = peer(args.folder / subject, world, subject, args.binary)
        await server.start()
        print(f"{subject} and {len(brokens)} domains stand after {time.monotonic() - started:.1f} s")
        client = Writer(ours)
        await client.come(server.host)
        results = await asyncio.gather(*(one(broken, ours, server, client) for broken in brokens))
        results += await asyncio.gather(*(inbound(broken, ours, server, client) for broken in brokens if speaks(broken)))
        if subject == "nuncio":
            turns = asyncio.Semaphore(CHECKS)
            results += await asyncio.gather(*(checked(broken, ours, server, turns) for broken in brokens))
        if good := next((broken for broken in brokens if broken.data["name"] == "good"), None):
            results += await attacks.all_of(good, ours, server, client)
        await client.go()
        failed = sum(bool(result["wrong"]) for result in results)
        for result in results:
            print(f"{result['name']:<20} {result['seconds']:5.1f}s  {'FAIL' if result['wrong'] else 'pass'}  {result['outcome']:<26} "
                  f"{result['code']}" + (f"\n    {result['wrong']}" if result["wrong"] else ""))
        if args.json:
            args.json.write_text(json.dumps(results, indent=1))
        if failed:
            print(f"--- the end of {subject}'s log\n{server.log()[-3000:]}")
    finally:
        await asyncio.gather(*(server.stop() for server in servers.values()))
        for broken in brokens:
            await broken.responder.stop()
        await world.stop()
    print(f"broken domains and {subject}: {len(results)} cases in {time.monotonic() - started:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


async def one(broken: Broken, ours: Domain, server, client: Writer) -> dict:
    """A message to the domain: what its sender hears, and what the server says why."""
    begun = time.monotonic()
    outcome, text = "silence", ""
    client.send_message(f"u@{broken.name}", "are you there", mtype="chat")
    while time.monotonic() < begun + PATIENCE + 20 and outcome == "silence":
        if broken.responder.received:
            outcome = "delivered"
        elif broken.name in client.errors:
            error = client.errors[broken.name]
            outcome, text = error["condition"], error["text"]
        else:
            await asyncio.sleep(0.05)
    said: Proof = await server.proof(ours.name, broken.name, "out", 1.0)
    wrong = verdict(broken, server, outcome, said, broken.data["code"])
    return {"name": broken.data["name"], "outcome": outcome, "code": said.code, "text": text, "seconds": time.monotonic() - begun,
            "wrong": wrong}


def verdict(broken: Broken, server, outcome: str, said: Proof, wanted: str) -> str:
    """What is wrong, if anything."""
    if wanted == "none":
        return "" if outcome == "delivered" else f"{outcome}, {said.by} [{said.code}] {said.more}; expected it to be delivered"
    if outcome == "delivered" or said.code != wanted:
        return f"{outcome}, {said.by} [{said.code}] {said.more}; expected {wanted}"
    also = broken.data.get("also")
    if also and not any(f"[{also}]" in finding for finding in said.findings):
        return f"no finding names {also}: {said.findings}"
    return ""


def speaks(broken: Broken) -> bool:
    """Whether what is broken of it matters to a stream that it opens."""
    return broken.data["how"] == "good" and broken.data["srv"] == "own" and broken.data["zone"] != "dead"


async def checked(broken: Broken, ours: Domain, server, turns: asyncio.Semaphore) -> dict:
    """`nuncio check`: the same cause as the server's, on its last line, in words that say what to do, and status 1 where there is one."""
    async with turns:
        begun = time.monotonic()
        status, said = await server.tried("check", broken.name, "--from", ours.name, "--json")
        _, text = await server.tried("check", broken.name, "--from", ours.name)
    report, wanted, last = json.loads(said), broken.data["code"], text.rstrip().splitlines()[-1]
    wrong = ""
    if wanted == "none":
        if status != 0 or not report["accepted"] or not last.startswith("accepted: "):
            wrong = f"status {status}, {last}; expected it to be accepted"
    elif status != 1 or report["accepted"] or report["code"] != wanted or f"[{wanted}]" not in last:
        wrong = f"status {status}, [{report['code']}], {last}; expected {wanted}"
    elif not report["advice"] or report["advice"].startswith("look into the logs"):
        wrong = f"no advice for {wanted}"
    return {"name": f"check {broken.data['name']}", "outcome": f"status {status}", "code": report["code"] or "accepted", "text": last,
            "seconds": time.monotonic() - begun, "wrong": wrong}


async def inbound(broken: Broken, ours: Domain, server, client: Writer) -> dict:
    """The broken domain opens a stream with its certificate, and tries dialback when EXTERNAL is not offered."""
    begun = time.monotonic()
    intruder = Intruder(broken.name, ours.name, broken.responder.credential)
    try:
        if await intruder.authenticate(await intruder.open(server.host)):
            intruder.message(ours.account, f"u@{broken.name}", "let me in")
            outcome = "delivered" if await client.gets(f"u@{broken.name}", "let me in") else "lost"
        else:
            outcome = f"dialback {await intruder.assert_domain(broken.name)}"
    except Ended as end:
        outcome = str(end)
    except TimeoutError:
        outcome = "silence"
    said: Proof = await server.proof(ours.name, broken.name, "in", 1.0)
    await intruder.go()
    wrong = verdict(broken, server, outcome, said, broken.data.get("code_in", broken.data["code"]))
    return {"name": f"from {broken.data['name']}", "outcome": outcome, "code": said.code, "text": said.more,
            "seconds": time.monotonic() - begun, "wrong": wrong}
