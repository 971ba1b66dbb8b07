"""Cases: what must not be guessed (RFC 4975 sections 7.1 and 14.1, RFC 4976 section 6.3): URIs and transaction identifiers of the relay and of an endpoint."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter

from . import digest
from .cases import case, check, expect
from .endpoint import Failed
from .frames import Uri, path, request
from .logins import challenge
from .stage import Stage, meet
from .tools import described, tool

COUNT = 200                         # of each kind; an account has 256 URIs at most
ENDPOINTS = 24                      # runs of the tool
# Bits that the standard demands. We claim 128; so many samples show them but for three or so.
SESSION, TRANSACTION, RELAY, CLAIM = 80, 64, 64, 120


def pairs(values) -> int:
    """How many pairs of equal values there are."""
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def bits(idents: list[str]) -> float:
    """The collision entropy of each position, summed: what position says nothing about another one. Raises `Failed` where one does."""
    expect(len({len(ident) for ident in idents}), 1, "lengths")
    expect(len(set(idents)), len(idents), "different identifiers")
    columns = list(zip(*idents))
    total = len(idents) * (len(idents) - 1) / 2
    alike = [pairs(column) / total for column in columns]
    for (one, p), (other, q) in itertools.combinations(enumerate(alike), 2):
        both, wanted = pairs(zip(columns[one], columns[other])), p * q * total
        # Seven standard deviations: one of 325 in a run of a thousand million.
        if p < 1 and q < 1 and both > wanted + 7 * math.sqrt(wanted) + 7:
            raise Failed(f"characters {one} and {other} go together in {both} pairs, not in {wanted:.0f}")
    for before, after in itertools.pairwise(idents):
        same = sum(map(str.__eq__, before, after))
        check(same <= len(columns) // 2, f"{same} characters of one identifier are those of the one before")
    return -sum(map(math.log2, alike))


async def uris(stage: Stage) -> list[str]:
    """The session ids of URIs that one account gets one after the other."""
    account, credentials = await stage.credentials(stage.one)
    connection = await stage.connect(stage.one)
    asked = await challenge(connection, stage.one, Uri.fresh(stage.source, 9))
    login, came = digest.Login(digest.choose(asked.all("WWW-Authenticate"), ["SHA-256"]), credentials.username, credentials.password), []
    for _ in range(COUNT):
        frame = request("AUTH", [stage.one.uri], [Uri.fresh(stage.source, 9)], ("Authorization", login.authorization(str(stage.one.uri))))
        answer = await connection.transact(frame)
        expect(answer.code, 200, f"AUTH with the same nonce, count {login.count}")
        uri, = path(answer.get("Use-Path") or "")
        came.append(uri.session or "")
    return came


async def transactions(stage: Stage) -> list[str]:
    """The identifiers that the relay gives to what it forwards."""
    alice, bob = await asyncio.gather(stage.person(stage.one), stage.person(stage.one, raw=True))
    meet(alice, bob)
    came = []
    for _ in range(COUNT):
        await alice.connection.send(alice.session, b"?", failure="no")
        came.append((await bob.connection.frame()).tid)
    return came


async def endpoints(stage: Stage) -> list[str]:
    """The session ids of an endpoint that is started again and again."""
    async def one(number: int) -> str:
        sdp = stage.folder / f"chance-{number}.sdp"
        running = asyncio.ensure_future(tool(stage, "receive", "--sdp", str(sdp), "--timeout", "60", folder=stage.folder))
        try:
            text = await described(sdp, running)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        line, = (line for line in text.splitlines() if line.startswith("a=path:"))
        return Uri.parse(line[len("a=path:"):]).session or ""
    return [await one(number) for number in range(ENDPOINTS)]


@case("chance", "session ids of relay and endpoint and the relay's transaction identifiers are 128 random bits each, none of them like another", "S1-01 S1-L5 S1-L8")
async def chance(stage: Stage) -> str:
    kinds = {"relay URIs": (uris, RELAY), "transaction identifiers": (transactions, TRANSACTION), "endpoint URIs": (endpoints, SESSION)}
    said = []
    for (name, (_, least)), idents in zip(kinds.items(), await asyncio.gather(*(draw(stage) for draw, _ in kinds.values()))):
        seen = bits(idents)
        # Few samples say less.
        check(seen >= max(least, CLAIM - 2_000 / len(idents) ** 1.5), f"{name}: {seen:.1f} bits in {len(idents)} of them, such as {idents[:3]}")
        said.append(f"{name} {seen:.1f} bits")
    return ", ".join(said)
