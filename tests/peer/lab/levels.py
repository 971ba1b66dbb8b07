"""The table of XEP-0238: six types of service, each with each, both sides played by servers of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass

from .matrix import Client, PATIENCE
from .ours import LabNuncio
from .sites import NUMBERS, Domain, World

# The types: what they demand, whether they encrypt, whether they do dialback, and their certificate.
TYPES = {
    1: ("verified", "never", True, "good"),
    2: ("verified", "optional", True, "self-signed"),
    3: ("verified", "optional", True, "good"),
    4: ("encrypted", "required", True, "self-signed"),
    5: ("encrypted", "required", True, "good"),
    6: ("authenticated", "required", False, "good"),
}
# The printed table; rows are initiators, columns receivers: unsuccessful, verified, encrypted, trusted.
TABLE = ["VVVUUU", "VVEEUU", "VVEEET", "UEEEEU", "UETETT", "UUTUTT"]
# Where the table says less than its own protocol flows, which are followed here (crates/dna/tests/dna/xep0238.rs says why).
FLOWS = {(2, 2): "E", (3, 2): "E", (3, 3): "T", (3, 5): "T", (2, 5): "E"}
LETTERS = {"verified": "V", "encrypted": "E", "authenticated": "T"}
ZONE = "uns"


def wanted(initiator: int, receiver: int) -> str:
    return FLOWS.get((initiator, receiver), TABLE[initiator - 1][receiver - 1])


class TypeOfService(LabNuncio):
    """Nuncio, configured as one of the types."""

    def __init__(self, folder, world, name, binary):
        super().__init__(folder, world, name, binary)
        self.kind = int(name[-1])

    def configured(self, text: str) -> str:
        policy, tls, dialback, _ = TYPES[self.kind]
        more = f'require = "{policy}"\ntls = "{tls}"\ndialback = {str(dialback).lower()}\nqueue_seconds = 8'
        return text.replace('require = "authenticated"\nqueue_seconds = 18', more)

    async def level(self, local: str, remote: str) -> str:
        """To what level the pair is proven now, if it is."""
        said = json.loads(await self.run("federation", "list", "--json"))
        rows = said["federation"] if isinstance(said, dict) else said
        for row in rows:
            if row.get("local") == local and row.get("domain") == remote and row.get("level"):
                return row["level"]
        return "-"


@dataclass
class Cell:
    """One initiator, one receiver."""

    initiator: int
    receiver: int
    ours: Domain
    theirs: Domain


async def play(cell: Cell, servers: dict) -> dict:
    begun = time.monotonic()
    one, other = servers[cell.ours.server], servers[cell.theirs.server]
    sender, receiver = Client(cell.ours), Client(cell.theirs)
    seen, why = "U", ""
    try:
        await asyncio.gather(sender.come(one.host), receiver.come(other.host))
        sender.send_message(receiver.boundjid, "are you there", mtype="chat")
        done, _ = await asyncio.wait([sender.came, receiver.came], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if receiver.came in done:
            levels = [await one.level(cell.ours.name, cell.theirs.name), await other.level(cell.theirs.name, cell.ours.name)]
            seen = min((LETTERS.get(level, "?") for level in levels), key="?VET".index)
            why = " and ".join(levels)
        elif sender.came in done:
            why = str(sender.came.result()["error"]["text"])
        else:
            seen, why = "?", "silence"
    finally:
        await asyncio.gather(sender.go(), receiver.go())
    return {"cell": (cell.initiator, cell.receiver), "seen": seen, "why": why, "seconds": time.monotonic() - begun}


async def run(args) -> int:
    """Prints the table; 1 if a cell is not as wanted."""
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    started = time.monotonic()
    for kind in TYPES:
        NUMBERS.update({f"nuncio-a{kind}": 60 + 2 * kind, f"nuncio-b{kind}": 80 + 2 * kind})
    world, servers = World(args.folder), {}
    failed, results = 0, []
    try:
        cells = []
        for initiator in TYPES:
            for receiver in TYPES:
                row = {"name": f"t{initiator}-to-t{receiver}"}
                sides = []
                for here, there, kind in (("a", "b", initiator), ("b", "a", receiver)):
                    other = receiver if here == "a" else initiator
                    # The policy is the rule that the other side has for this domain.
                    settings = {"zone": ZONE, "certificate": TYPES[kind][3], "policy": TYPES[other][0]}
                    sides.append(await world.domain(row, f"nuncio-{here}{kind}", f"{there}{other}", "x", settings))
                cells.append(Cell(initiator, receiver, *sides))
        await world.start()
        servers = {name: TypeOfService(args.folder / name, world, name, args.binary)
                   for name in (f"nuncio-{side}{kind}" for side in "ab" for kind in TYPES)}
        await asyncio.gather(*(server.start() for server in servers.values()))
        print(f"{len(servers)} servers stand after {time.monotonic() - started:.1f} s")
        results = await asyncio.gather(*(play(cell, servers) for cell in cells))
        print("       to " + "  ".join(str(kind) for kind in TYPES))
        for initiator in TYPES:
            print(f"type {initiator}:   " + "  ".join(result["seen"] for result in results if result["cell"][0] == initiator))
        for result in results:
            if result["seen"] != wanted(*result["cell"]):
                failed += 1
                print(f"type {result['cell'][0]} to {result['cell'][1]}: {result['seen']}, expected {wanted(*result['cell'])}: {result['why']}")
                if args.verbose:
                    print(servers[f"nuncio-a{result['cell'][0]}"].log()[-2500:])
    finally:
        await asyncio.gather(*(server.stop() for server in servers.values()))
        await world.stop()
    print(f"XEP-0238: {len(results)} cells in {time.monotonic() - started:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0
