"""The federation matrix: each row of credentials, each peer, each direction, with stock clients at both ends."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import tomllib
from dataclasses import dataclass, field

from ..stock import Stock
from .peers import PASSWORD, Proof, peer
from .sites import DATA, Cell, Domain, World, rows

PATIENCE = 25.0


class Client(Stock):
    """A stock client that waits for one message or one error."""

    def __init__(self, domain: Domain, resource: str = "lab"):
        # The domains' certificates are what the servers look at; many are wrong on purpose.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        super().__init__(f"{domain.account}/{resource}", PASSWORD, "PLAIN", tls)
        self.came: asyncio.Future = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: self.send_presence())
        self.add_event_handler("message", self._on)
        self.add_event_handler("message_error", self._on)

    def _on(self, message) -> None:
        if not self.came.done():
            self.came.set_result(message)


@dataclass
class Result:
    """What was seen in a cell."""

    cell: Cell
    outcome: str = "not run"            # delivered, or the condition of the error that came back
    text: str = ""                      # of that error
    proof: Proof = field(default_factory=Proof)         # what the subject recorded of the peer
    theirs: Proof = field(default_factory=Proof)        # how the peer authenticated the subject
    connections: tuple[int, int] = (0, 0)       # to the peer, to the subject
    seconds: float = 0.0
    expected: dict = field(default_factory=dict)

    def wrong(self) -> list[str]:
        """How it differs from what is expected."""
        seen = {"outcome": self.outcome, "proof": self.proof.by, "theirs": self.theirs.by,
                "connections": list(self.connections)}
        keys = [key for key in seen if key in self.expected]
        if not keys:
            return ["no expectation"]
        lies = []
        if self.cell.direction == "out" and self.proof.wire and self.theirs.by in ("external", "dialback") and self.proof.wire != self.theirs.by:
            lies = [f"explain says that they took us by {self.proof.wire}, and they say {self.theirs.by}"]
        return lies + [f"{key} is {seen[key]!r}, not {self.expected[key]!r}" for key in keys if seen[key] != self.expected[key]]

    def plain(self) -> dict:
        """As it is written for the table in docs/."""
        return {"row": self.cell.row["name"], "title": self.cell.row["title"], "peer": self.cell.peer, "direction": self.cell.direction,
                "outcome": self.outcome, "text": self.text, "proof": self.proof.by, "theirs": self.theirs.by,
                "more": self.proof.more, "connections": list(self.connections), "wrong": self.wrong(),
                "why": self.expected.get("why", "")}


async def play(cell: Cell, servers: dict) -> Result:
    """One message, and what became of it; where the sender has a second domain, then one from that: the connection that is there may carry it too."""
    result, started = Result(cell), time.monotonic()
    for sender in filter(None, (cell.sender, cell.second)):
        await message(result, sender, cell, servers)
        if result.outcome != "delivered":
            break
    ours, theirs = ([domain.relay.connections for domain in (own, cell.second) if domain and domain.server == own.server]
                    for own in (cell.ours, cell.theirs))
    result.connections = (sum(theirs), sum(ours))
    result.seconds = time.monotonic() - started
    return result


async def message(result: Result, from_domain: Domain, cell: Cell, servers: dict) -> None:
    """One message, and what became of it."""
    sender, receiver = Client(from_domain), Client(cell.receiver)
    try:
        await asyncio.gather(sender.come(servers[from_domain.server].host), receiver.come(servers[cell.receiver.server].host))
        sender.send_message(receiver.boundjid, f"from {cell.name}", mtype="chat")
        done, _ = await asyncio.wait([sender.came, receiver.came], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if receiver.came in done:
            came = receiver.came.result()
            good = came["from"].bare == from_domain.account and came["body"] == f"from {cell.name}"
            result.outcome = "delivered" if good else f"a wrong message from {came['from']}"
        elif sender.came in done:
            error = sender.came.result()["error"]
            result.outcome, result.text = error["condition"], error["text"]
        else:
            result.outcome = "silence"
    except (TimeoutError, asyncio.TimeoutError):
        result.outcome = "no login"
    finally:
        for client in (sender, receiver):
            await client.go()


async def run(args) -> int:
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    started = time.monotonic()
    subject = args.subject
    peers = args.peers or (["nuncio2", "prosody", "ejabberd"] if subject == "nuncio" else ["ejabberd"])
    expected = tomllib.loads((DATA / f"expected-{subject}.toml").read_text())
    world = World(args.folder)
    servers: dict = {}
    results: list[Result] = []
    failed = 0
    try:
        cells = [await world.cell(row, subject, name, direction)
                 for row in rows(args.only) for name in peers if name in row.get("peers", peers) for direction in ("out", "in")]
        await world.start()
        servers = {name: peer(args.folder / name, world, name, args.binary) for name in (subject, *peers)}
        await asyncio.gather(*(server.start() for server in servers.values()))
        print(f"{len(servers)} servers with {len(world.domains)} domains stand after {time.monotonic() - started:.1f} s")
        width = asyncio.Semaphore(args.width)

        async def one(cell: Cell) -> Result:
            async with width:
                return await play(cell, servers)
        results = await asyncio.gather(*(one(cell) for cell in cells))
        for result in results:
            await observe(result, servers, subject, expected)
        failed = report(results)
        if args.json:
            args.json.write_text(json.dumps([result.plain() for result in results], indent=1))
    finally:
        if failed or not results:
            for name, server in servers.items():
                print(f"--- the end of {name}'s log\n{server.log()[-3000:]}")
            print(world.dns.log()[-3000:])
        await asyncio.gather(*(server.stop() for server in servers.values()))
        await world.stop()
    print(f"federation of {subject}: {len(results)} cases in {time.monotonic() - started:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


async def observe(result: Result, servers: dict, subject: str, expected: dict) -> None:
    """What both servers recorded, and what should be."""
    cell = result.cell
    way, back = cell.direction, {"in": "out", "out": "in"}[cell.direction]
    ours, theirs = cell.ours.name, cell.theirs.name
    patience = 3.0 if result.outcome == "delivered" else 0.5
    result.proof = await servers[subject].proof(ours, theirs, way, patience)
    result.theirs = await servers[cell.peer].proof(theirs, ours, back, patience)
    result.expected = expected.get(cell.row["name"], {}).get(cell.peer, {}).get(way, {})


def report(results: list[Result]) -> int:
    failed = 0
    for result in results:
        wrong = result.wrong()
        failed += bool(wrong)
        to, back = result.connections
        print(f"{result.cell.name:<28} {result.seconds:5.1f}s  {'pass' if not wrong else 'FAIL'}  {result.outcome:<26} "
              f"{result.proof.by:<10} by them: {result.theirs.by:<10} {to}+{back}  {result.proof.more} / {result.theirs.more}")
        if wrong:
            print(f"    {'; '.join(wrong)}{'; it said: ' + result.text if result.text else ''}")
    return failed
