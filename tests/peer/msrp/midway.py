"""Cases: what ends while a SEND is under way (RFC 4976 section 6.4.1): who is told, and of what."""

from __future__ import annotations

import asyncio
import os
import time

from .cases import case, check, expect
from .endpoint import Connection, Message, Open, Session
from .stage import Person, Stage, meet
from .transfers import listener

SIZE, FIRST = 400_000, 150_000      # octets of the message, and of those that go before the end
SECONDS = 6                         # for which a URI is good


async def under_way(sender: Person, receiver: Connection, session: Session, failure: str = "yes") -> tuple[Open, Message]:
    """A SEND whose beginning has gone, and of which something has arrived."""
    chunk = await sender.connection.begin(sender.session, os.urandom(SIZE), failure)
    await chunk.more(FIRST)
    name = chunk.sent.ident
    await receiver.until(lambda: name in session.arriving and session.arriving[name].size > 0, "the beginning of the message")
    return chunk, session.arriving[name]


async def broken_off(chunk: Open, session: Session) -> int:
    """The receiver has been told by `#` that nothing follows; how many octets it has got."""
    came = await session.message()
    expect((came.ident, came.aborted, came.data == chunk.frame.body[:len(came.data)]), (chunk.sent.ident, True, True), "what arrived")
    check(len(came.data) < chunk.sent.size, "all of it arrived")
    return len(came.data)


def cut_short(chunk: Open, session: Session) -> int:
    """The receiver has not got all of it. Whether it is told so depends on the relay before the one that refuses: if that has ended its chunk by `+` to let others pass,
    nobody knows of the message any more. How many octets it has got."""
    came = session.arriving.get(chunk.sent.ident)
    while came is None:
        came = session.inbox.get_nowait()
    check(came.size < SIZE, "all of it arrived")
    return came.size


async def told(chunk: Open, code: int, late: bool = False) -> str:
    """The sender, in the middle of its chunk, has been told once that it has failed, and why: by its own relay's response to it. Nothing else has told so, and
    no 200 the opposite. `late`: another relay has found out, and the chunk may have had its response by then; then it is reported, no octet of it twice."""
    await chunk.failure()
    if late and chunk.sent.reports:
        expect(chunk.codes() in ([], [200]), True, f"the response to a chunk that is reported, {chunk.codes()}, is none or 200")
        ranges = [report.range for report in chunk.sent.reports]
        expect((set(chunk.errors()), len(set(ranges))), ({code}, len(ranges)), "what is reported of the chunk, and how many ranges")
        return f"{code} by report"
    expect((chunk.errors(), chunk.codes()), ([code], [code]), "what is told of the chunk, and the response to it")
    return str(code)


async def uri_ends(stage: Stage, whose: str, failure: str, sender: Person, receiver: Person) -> str:
    """The URI of one of them ends, at the relay with the short times."""
    brief = {sender.connection: whose == "the sender's", receiver.connection: whose != "the sender's"}
    alice, bob = await asyncio.gather(*(stage.again(one, expires=SECONDS if brief[one.connection] else None) for one in (sender, receiver)))
    end = time.monotonic() + SECONDS
    meet(alice, bob)
    chunk, _ = await under_way(alice, bob.connection, bob.session, failure)
    await asyncio.sleep(max(end - time.monotonic(), 0) + 0.5)       # the end is what is looked at
    await chunk.more()
    await chunk.end()
    later = await alice.connection.send(alice.session, b"and this?")
    code = await later.error()
    expect(code, 481, f"{whose}, {failure}: what comes after the end")
    if failure != "no":
        await chunk.failure()
    passed = await broken_off(chunk, bob.session) if sender.relay is stage.brief else cut_short(chunk, bob.session)
    check(passed < SIZE, f"{passed} octets have passed")
    if failure != "no":
        return await told(chunk, 481, late=sender.relay is not stage.brief)
    expect((chunk.errors(), chunk.codes()), ([], []), f"{whose}: what is told with Failure-Report: no")
    return "nothing"


@case("end/uri-mid-send", "a URI that ends in the middle of a SEND: the receiver is told by #, the sender of what was lost, if it wants to know",
      "S1-L5 S1-L11 S1-09")
async def uri_mid_send(stage: Stage) -> str:
    alice, bob, carol = await asyncio.gather(stage.person(stage.brief), stage.person(stage.brief), stage.person(stage.one))
    ways = [(whose, failure, *pair) for whose, *pair in (("the sender's", alice, carol), ("the receiver's", alice, bob), ("the receiver's behind another relay", carol, bob))
            for failure in ("yes", "partial", "no")]
    said = await asyncio.gather(*(uri_ends(stage, *way) for way in ways))
    return "; ".join(f"{whose}, {failure}: {one}" for (whose, failure, *_), one in zip(ways, said))


async def hop_dies(stage: Stage, person: Person, failure: str) -> str:
    sessions: dict = {}
    server, came, uri = await listener(stage, stage.endpoint, sessions=sessions)
    try:
        alice = await stage.again(person)
        bob = sessions[uri] = Session(uri)
        alice.session.peer, bob.peer = [uri], alice.session.path()
        chunk = await alice.connection.begin(alice.session, os.urandom(SIZE), failure)
        await chunk.more(FIRST)
        reached: Connection = await asyncio.wait_for(came.get(), 20)
        stage.open.append(reached)
        await reached.until(lambda: any(message.size for message in bob.arriving.values()), "the beginning of the message")
        reached.writer.transport.abort()
        await reached.closed()
    finally:
        server.close()
    how = await told(chunk, 408) if failure != "no" else "nothing"
    await chunk.more()
    await chunk.end()
    # Whoever has answered to the next request has had the time to report on the one before.
    later = await alice.connection.send(alice.session, b"anybody?")
    check(later.errors or await later.failure() >= 400, "what comes after the end is not refused")
    if failure == "no":
        expect((chunk.errors(), chunk.codes()), ([], []), "what is told with Failure-Report: no")
    else:
        await told(chunk, 408)
    return f"{failure}: {how}"


@case("report/partial-next-hop-dies", "a next hop that dies in the middle of a SEND is reported to who wants to hear it, with Failure-Report: partial as well",
      "S1-09 S1-L11")
async def next_hop_dies(stage: Stage) -> str:
    alice = await stage.person(stage.one)
    return "; ".join(await asyncio.gather(*(hop_dies(stage, alice, failure) for failure in ("yes", "partial", "no"))))
