"""Cases: receivers that do not read. Who sends to them is held, nobody else is, and the relay keeps little, however many they are."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

from .cases import case, check, expect
from .endpoint import Connection
from .frames import Frame, Uri, ident, request
from .midway import broken_off, told
from .stage import Person, Stage
from .transfers import texts

LIMIT = 64 * 2 ** 20                # of the relay's memory, with everything
QUIET = 1.5                         # seconds in which nobody can write any more: then all are held


def pause(connection: Connection, reading: bool = False) -> None:
    transport = connection.writer.transport
    (transport.resume_reading if reading else transport.pause_reading)()


async def held(writing: list[asyncio.Future], written) -> None:
    """All have ended, or nothing has been written for a while."""
    before = None
    while before != (now := written()):
        before = now
        if (await asyncio.wait(writing, timeout=QUIET))[1] == set():
            return


@case("pressure/one", "a receiver that does not read has its sender held, and nobody else; when it reads, everything arrives", "S1-R4 S1-L12")
async def one_slow(stage: Stage) -> str:
    (alice, bob), others = await asyncio.gather(stage.pair(stage.slow, stage.slow), stage.pair(stage.slow, stage.slow))
    body = os.urandom(40_000_000)
    bob.session.keep = False
    chunk = await alice.connection.begin(alice.session, body)
    pause(bob.connection)
    writing = asyncio.ensure_future(chunk.more())
    await held([writing], lambda: chunk.at)
    taken = chunk.at
    check(not writing.done(), f"{taken} octets were taken from the sender")
    said = await texts(*others)
    pause(bob.connection, reading=True)
    await writing
    await chunk.end()
    message = await bob.session.message(60)
    expect((message.size, message.sha256()), (len(body), hashlib.sha256(body).hexdigest()), "the message")
    return f"held after {taken / 1e6:.1f} MB; beside it {said}"


@case("pressure/shared", "behind a second relay, whose one connection with the first is everybody's: what is for a receiver that does not read is given up and reported, "
      "so that others go on", "S1-R4 S1-L11")
async def shared(stage: Stage) -> str:
    (alice, bob), others = await asyncio.gather(stage.pair(stage.slow, stage.two), stage.pair(stage.slow, stage.two))
    chunk = await alice.connection.begin(alice.session, os.urandom(40_000_000))
    pause(bob.connection)
    writing = asyncio.ensure_future(chunk.more())
    await held([writing], lambda: chunk.at)
    started, taken = time.monotonic(), chunk.at
    said = await texts(*others)
    waited = time.monotonic() - started
    await writing
    await chunk.end()
    pause(bob.connection, reading=True)
    passed = await broken_off(chunk, bob.session)
    return f"given up by {await told(chunk, 408)}, after {taken / 1e6:.1f} MB were taken and {passed / 1e6:.1f} MB passed; {said} in {waited:.1f} s"


@case("pressure/slow", "two files of 64 MiB over the one connection between two relays, one of them to a receiver that reads a tenth of the time: both arrive", "S1-R4 S1-L12")
async def slow(stage: Stage) -> str:
    pairs = await asyncio.gather(*(stage.pair(stage.slow, stage.two, keep=False) for _ in range(2)))
    body = os.urandom(64 * 2 ** 20)
    digest = hashlib.sha256(body).hexdigest()

    async def limp(connection: Connection) -> None:
        """Reads a tenth of the time."""
        while True:
            for reading, seconds in ((False, 0.09), (True, 0.01)):
                pause(connection, reading)
                await asyncio.sleep(seconds)
    limping = asyncio.ensure_future(limp(pairs[0][1].connection))
    took = []

    async def file(alice: Person, bob: Person) -> None:
        started = time.monotonic()
        sent = await alice.connection.send(alice.session, body, "application/octet-stream", within=300)
        message = await bob.session.message(300)
        expect((sent.errors, message.size, message.sha256()), ([], len(body), digest), "the file")
        took.append(time.monotonic() - started)
    try:
        await asyncio.gather(*(file(*pair) for pair in pairs))
    finally:
        limping.cancel()
    return " and ".join(f"{len(body) / seconds / 1e6:.0f} MB/s" for seconds in took)


@case("pressure/stalls", "a receiver that reads a little just before it would be given up, again and again, on a connection that is everybody's: others wait "
      "for it for a while and no longer", "S1-R4 S1-L12")
async def stalls(stage: Stage) -> str:
    (alice, bob), others = await asyncio.gather(stage.pair(stage.slow, stage.two), stage.pair(stage.slow, stage.two))
    await texts(*others)
    chunk = await alice.connection.begin(alice.session, os.urandom(80_000_000))
    pause(bob.connection)
    writing = asyncio.ensure_future(chunk.more())
    await held([writing], lambda: chunk.at)

    def passed() -> int:
        message = bob.session.arriving.get(chunk.sent.ident)
        return message.size if message else 0

    async def stall() -> None:
        while not chunk.errors():
            await asyncio.sleep(5)
            pause(bob.connection, reading=True)
            await asyncio.sleep(0)
            before = passed()
            await bob.connection.until(lambda: passed() > before + 1_000_000, "some of the file")
            pause(bob.connection)
    stalling, started = asyncio.ensure_future(stall()), time.monotonic()
    waits = []
    while not chunk.errors():
        check(time.monotonic() - started < 60, f"it is not given up in a minute: others waited for {waits}, {passed()} have passed, {chunk.at} taken")
        before = time.monotonic()
        await texts(*others)
        waits.append(time.monotonic() - before)
    stalling.cancel()
    seconds = time.monotonic() - started
    await writing
    await chunk.end()
    return f"given up by {await told(chunk, 408)} after {seconds:.0f} s; meanwhile others waited for {', '.join(f'{wait:.1f}' for wait in waits)} s"


SENDERS, URIS, BODY = 6, 200, 100_000


@case("pressure/many", "many sessions with a receiver that does not read: the relay stays below 64 MiB, and everything arrives when it reads", "S1-R4 S1-L12")
async def many_slow(stage: Stage) -> str:
    bob, *alices = await asyncio.gather(*(stage.person(stage.slow, raw=bool(number)) for number in range(SENDERS + 1)))
    # Bob has many URIs on one connection, and everybody writes to all of them.
    paths: list[list[Uri]] = []
    for _ in range(URIS):
        local = Uri.fresh(stage.source, 9)
        paths.append([*await bob.connection.auth(stage.slow.uri, local, bob.credentials.username, bob.credentials.password), local])
    bob.connection.raw = True
    pause(bob.connection)
    body, written = os.urandom(BODY), 0

    async def write(alice: Person) -> None:
        nonlocal written
        for to in paths:
            frame = request("SEND", [*alice.session.relays, *to], [alice.session.local], ("Message-ID", ident()), ("Byte-Range", f"1-*/{BODY}"),
                            ("Failure-Report", "no"), body=body)
            await alice.connection.write(frame.encode())
            written += BODY
    writing = [asyncio.ensure_future(write(alice)) for alice in alices]
    await held(writing, lambda: written)
    before = written
    pause(bob.connection, reading=True)
    came: dict[tuple[str, str], bytearray] = {}
    done = 0
    while done < SENDERS * URIS:
        frame: Frame = await bob.connection.frame(60)
        key = (str(frame.to[0]), str(frame.sender[-1]))
        came.setdefault(key, bytearray()).extend(frame.body or b"")
        if frame.flag == "$":
            check(came[key] == body, f"{len(came[key])} octets of {BODY} from {key}")
            came[key].clear()
            done += 1
        else:
            expect(frame.flag, "+", f"the flag of a chunk from {key}")
    await asyncio.gather(*writing)
    check(stage.slow.memory < LIMIT, f"the relay has grown to {stage.slow.memory}")
    return f"{done} messages of {BODY} octets, {before / 1e6:.0f} MB of them written before any was read; at most {stage.slow.memory / 2 ** 20:.0f} MiB"
