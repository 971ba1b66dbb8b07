"""Cases: a stock client through one relay of Nuncio, through two, and through one of Nuncio and Kamailio."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

from ..subjects import Subject
from .cases import case, check, expect
from .endpoint import SHORT, Connection, Failed, Session, context, listen
from .frames import Uri, ident, request
from .kamailio import FRAME
from .stage import Person, Stage

FILE = 50_000_000
STEP = FRAME // 2                   # of chunks on a way with Kamailio


async def texts(alice: Person, bob: Person) -> str:
    """A message each way with its success report; short ones, empty ones, and what no relay should look into."""
    bodies = [b"hello", b"", bytes(range(256)), b"\xff\xfe\x80 no UTF-8", b"\r\n-------abcd$\r\n", b"-------" * 50, "grüße".encode(), b"\r\n"]
    for sender, receiver in ((alice, bob), (bob, alice)):
        for body in bodies:
            sent = await sender.connection.send(sender.session, body, "application/octet-stream", success=True)
            expect([str(error) for error in sent.errors], [], "errors")
            message = await receiver.session.message()
            expect((message.ident, bytes(message.data), message.content_type), (sent.ident, body, "application/octet-stream"), "what arrived")
            await sent.success()
    return f"{len(bodies)} messages each way, each reported"


async def file(alice: Person, bob: Person, chunk: int | None, size: int = FILE) -> str:
    """Random octets from Alice to Bob, byte-exact, while Bob writes to Alice."""
    data = os.urandom(size)
    wanted, started, spoken = hashlib.sha256(data).hexdigest(), time.monotonic(), 0
    alice.session.keep, bob.session.keep = True, False
    sending = asyncio.ensure_future(alice.connection.send(alice.session, data, "application/octet-stream", chunk=chunk, success=True, within=120))
    while not sending.done():
        await bob.connection.send(bob.session, b"going on?", within=60)
        expect(bytes((await alice.session.message(60)).data), b"going on?", "the text beside the file")
        spoken += 1
    sent = sending.result()
    expect([str(error) for error in sent.errors], [], "errors")
    message = await bob.session.message(120)
    expect((message.size, message.sha256()), (size, wanted), "the file")
    await sent.success(60)
    seconds = time.monotonic() - started
    return f"{size // 1_000_000} MB in {seconds:.1f} s, sent in {sent.chunks} chunks, arrived in {message.chunks}, {spoken} texts beside it"


@case("one/text", "text and octets both ways through one relay, each reported", "S1-R4 S1-L8 S1-L9")
async def one_text(stage: Stage) -> str:
    return await texts(*await stage.pair(stage.one, stage.one))


@case("one/file", "50 MB of random octets in one long chunk through one relay, byte-exact", "S1-R4 S1-L12")
async def one_file(stage: Stage) -> str:
    return await file(*await stage.pair(stage.one, stage.one), chunk=None)


@case("one/small-chunks", "5 MB in chunks of 2 kB through one relay", "S1-L12")
async def one_small(stage: Stage) -> str:
    return await file(*await stage.pair(stage.one, stage.one), chunk=SHORT, size=5_000_000)


@case("two/text", "the same through two relays of Nuncio", "S1-L8 S1-L14")
async def two_text(stage: Stage) -> str:
    return await texts(*await stage.pair(stage.one, stage.two))


@case("two/file", "50 MB of random octets through two relays of Nuncio, byte-exact", "S1-R4 S1-L14")
async def two_file(stage: Stage) -> str:
    return await file(*await stage.pair(stage.one, stage.two), chunk=None)


async def beside_kamailio(stage: Stage, first: Subject, second: Subject) -> tuple[Person, Person]:
    """A pair that has talked: Kamailio loses what comes while it connects to the other relay."""
    pair = await stage.pair(first, second)
    for sender, receiver in (pair, pair[::-1]):
        for number in range(5):
            await sender.connection.send(sender.session, b"%d" % number)
            try:
                while bytes((await receiver.session.message(5)).data) != b"%d" % number:
                    pass
                break
            except Failed:
                continue
        else:
            raise Failed("five messages were lost one after the other")
    return pair


@case("kamailio/text", "text and octets both ways through Nuncio and Kamailio, each reported", "S1-R4 S1-L14")
async def kamailio_text(stage: Stage) -> str:
    return await texts(*await beside_kamailio(stage, stage.one, stage.kamailio))


@case("kamailio/file-to", "50 MB of random octets through Nuncio and then Kamailio, byte-exact", "S1-R4")
async def kamailio_to(stage: Stage) -> str:
    return await file(*await beside_kamailio(stage, stage.one, stage.kamailio), chunk=STEP)


@case("kamailio/file-from", "50 MB of random octets through Kamailio and then Nuncio, byte-exact", "S1-R4")
async def kamailio_from(stage: Stage) -> str:
    return await file(*await beside_kamailio(stage, stage.kamailio, stage.one), chunk=STEP)


async def listener(stage: Stage, name: str, credential=None, raw: bool = False, sessions: dict | None = None):
    """An endpoint without a relay that waits for connections, and the URI that it gives to peers."""
    credential = credential or stage.pki.make(f"endpoint-{ident(6)}", stage.endpoint)
    server, came = await listen(stage.block.host(5), context(certificate=(credential.chain, credential.key), server=True), raw, sessions)
    return server, came, Uri.fresh(name, server.sockets[0].getsockname()[1])


@case("endpoint/reached", "the relay connects to a peer that has no relay, by TLS and by name", "S1-04 S1-R4")
async def endpoint_reached(stage: Stage) -> str:
    sessions: dict[Uri, Session] = {}
    server, came, uri = await listener(stage, stage.endpoint, sessions=sessions)
    try:
        alice = await stage.person(stage.one)
        bob = sessions[uri] = Session(uri)
        alice.session.peer, bob.peer = [uri], alice.session.path()
        sending = asyncio.ensure_future(alice.connection.send(alice.session, b"are you there?", success=True))
        connection: Connection = await asyncio.wait_for(came.get(), 20)
        stage.open.append(connection)
        sent = await sending
        expect(bytes((await bob.message()).data), b"are you there?", "what arrived")
        await sent.success()
        await connection.send(bob, b"yes")
        expect(bytes((await alice.session.message()).data), b"yes", "the answer")
    finally:
        server.close()
    return "there and back on the relay's connection"


@case("endpoint/impostor", "a next hop with another name, or of nobody's authority, gets nothing", "S1-04 S1-L14")
async def endpoint_impostor(stage: Stage) -> str:
    codes = []
    for kind in ("wrong-name", "stranger", "expired", "self-signed"):
        server, came, uri = await listener(stage, stage.endpoint, stage.pki.make(f"impostor-{kind}", stage.endpoint, kind), raw=True)
        try:
            alice = await stage.person(stage.one)
            alice.session.peer = [uri]
            sent = await alice.connection.send(alice.session, b"for my friend only")
            code = await sent.error()
            while not came.empty():
                connection = came.get_nowait()
                check(connection.frames.empty(), f"{kind}: the impostor got {connection.frames}")
                await connection.close()
            codes.append(f"{kind} {code}")
        finally:
            server.close()
    return ", ".join(codes)


@case("report/unreachable", "a next hop that is not there is reported to who wants to hear it, and to nobody else", "S1-09 S1-L11")
async def unreachable(stage: Stage) -> str:
    alice = await stage.person(stage.one)
    alice.session.peer = [Uri.parse(f"msrps://{stage.endpoint}:9/{ident(22)};tcp")]
    seen = []
    for failure in ("yes", "partial"):
        sent = await alice.connection.send(alice.session, b"anybody?", failure=failure)
        seen.append(f"{failure} {await sent.error()}")
    quiet = await alice.connection.send(alice.session, b"anybody?", failure="no")
    # Whoever has answered to the next request has had the time to report on the one before.
    await (await alice.connection.send(alice.session, b"anybody?", failure="partial")).failure()
    expect(quiet.reports, [], "reports with Failure-Report: no")
    return ", ".join(seen) + ", no nothing"


@case("report/408", "a peer that says nothing is reported as 408 after 30 s", "S1-L10")
async def silence(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.one)
    bob.connection.mute = True
    started = time.monotonic()
    sent = await alice.connection.send(alice.session, b"say something")
    code = await sent.failure(45)
    expect(code, 408, "the report")
    check(time.monotonic() - started > 25, f"reported after {time.monotonic() - started:.1f} s")
    return f"after {time.monotonic() - started:.0f} s"


@case("report/481", "what the peer refuses is reported to the sender: 481 and 415", "S1-L11 S1-03")
async def refused(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.two)
    bob.session.accept = {"text/plain"}
    sent = await alice.connection.send(alice.session, b"<b>", "text/html")
    expect(await sent.failure(), 415, "a media type that was not agreed on")
    del bob.connection.sessions[bob.session.local]
    sent = await alice.connection.send(alice.session, b"hello?")
    expect(await sent.failure(), 481, "a session that is no more")
    return "415 and 481"


@case("methods", "unknown methods and fields go through both relays and are answered by the peer", "S1-A1 S1-L13 S1-L17")
async def methods(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.two)
    for method in ("FOOBAR", "NICKNAME"):
        answer = await alice.connection.transact(request(method, alice.session.to(), [alice.session.local], ("X-Unknown", "y" * 4_000)))
        expect((answer.code, answer.sender[-1]), (501, bob.session.local), f"{method}")
    bob.connection.raw = True
    value = "\u00fcber: " + "z" * 4_000
    frame = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", "1-2/2"), ("Failure-Report", "no"),
                    ("X-Unknown", value), body=b"hi")
    await alice.connection.write(frame.encode())
    came = await bob.connection.frame()
    expect((came.get("X-Unknown"), came.body, came.get("Failure-Report")), (value, b"hi", "no"), "what arrived")
    check(came.tid != frame.tid, "the transaction identifier of the first hop went on to the last")
    return "501 from the peer; fields as they were; another transaction on the last hop"
