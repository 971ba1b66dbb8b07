"""Cases: MSRP over WebSocket (RFC 7977): clients in browsers, and what no browser would send."""

from __future__ import annotations

import asyncio
import os

from .cases import case, check, expect
from .endpoint import Connection, Failed, Gone
from .frames import Uri, ident, request
from .stage import PORT, WEB, Person, Stage, meet
from .transfers import file, texts
from .websocket import (BINARY, CLOSE, CONTINUATION, CONTROL, NORMAL, PING, PONG, PROTOCOL, TEXT, Declined, WebConnection, framed, handshake,
                        in_frames)


@case("web/login", "XEP-0215 names the relay for WebSocket; AUTH over it by SHA-256 and by MD5; the URI that comes is for everybody", "S1-L5 S1-R5 RFC 7977 5.3")
async def login(stage: Stage) -> str:
    account, client = await stage.account(stage.one)
    try:
        services = [one for one in await client.services() if one.get("transport") == "ws"]
        credentials = await client.fetch()
    finally:
        await client.go()
    expect([(one.get("host"), one.get("port"), bool(one.get("password"))) for one in services], [(stage.one.domain, str(WEB), True)], "the services")
    for hashes in (["SHA-256"], ["MD5"]):
        person = await stage.arrive(stage.one, account, credentials, algorithms=hashes, web=True)
        uri, = person.session.relays
        expect(str(uri), f"msrps://{stage.one.domain}:{PORT}/{uri.session};tcp", "Use-Path")
    return f"wss port {services[0]['port']}"


@case("web/text", "text and octets both ways between a client on WebSocket and one on TLS, at the same relay, at another, and on WebSocket as well",
      "S1-R4 S1-L8 RFC 7977 5.1")
async def text(stage: Stage) -> str:
    async def talk(first: dict, second: dict, relay) -> str:
        alice, bob = await asyncio.gather(stage.person(stage.one, **first), stage.person(relay, **second))
        meet(alice, bob)
        return await texts(alice, bob)
    web = {"web": True}
    said = await asyncio.gather(talk(web, {}, stage.one), talk(web, {}, stage.two), talk(web, web, stage.one))
    return f"three pairs, {said[0]}"


@case("web/file", "5 MB of random octets each way between WebSocket and TLS, byte-exact, one frame of MSRP in each message", "S1-R4 RFC 7977 5.1")
async def files(stage: Stage) -> str:
    alice, bob = await asyncio.gather(stage.person(stage.one, web=True), stage.person(stage.two))
    meet(alice, bob)
    size = 5_000_000
    return f"{await file(alice, bob, None, size)}; back {await file(bob, alice, None, size)}"


@case("web/handshake", "a handshake for another path, subprotocol, version or method is refused as HTTP has it; Origin and query do not matter",
      "RFC 6455 4.2 RFC 7977 4.1")
async def handshakes(stage: Stage) -> str:
    good = [{}, {"target": "/msrp?x=y"}, {"protocol": "chat, msrp"}, {"fields": {"Origin": "https://elsewhere.example"}}, {"fields": {"Origin": "null"}},
            {"fields": {"Sec-WebSocket-Extensions": "permessage-deflate"}}, {"fields": {"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"}}]
    bad = [(404, {"target": "/"}), (404, {"target": "/msrp/"}), (404, {"target": "/MSRP"}), (400, {"protocol": None}), (400, {"protocol": "xmpp"}),
           (400, {"protocol": "msrps, MSRP"}), (405, {"method": "POST"}), (400, {"version": "HTTP/1.0"}), (426, {"fields": {"Sec-WebSocket-Version": "8"}}),
           (426, {"fields": {"Upgrade": "h2c"}}), (400, {"fields": {"Connection": "close"}}), (400, {"fields": {"Host": None}}),
           (400, {"fields": {"Sec-WebSocket-Key": "c2hvcnQ="}}), (400, {"fields": {"Sec-WebSocket-Key": None}}), (400, {"fields": {"Sec-WebSocket-Key": "?" * 24}}),
           (431, {"fields": {"X": "y" * 9_000}})]

    async def refused(status: int, words: dict) -> None:
        try:
            await stage.browse(stage.one, **words)
        except Declined as declined:
            expect(declined.status, status, f"{words}")
            if status == 426:
                expect(declined.fields.get("sec-websocket-version"), "13", "the version that is named")
            return
        raise Failed(f"{words} was answered by 101")
    await asyncio.gather(*(stage.browse(stage.one, **words) for words in good), *(refused(*one) for one in bad))
    # Never in clear; and MSRP alone is no WebSocket.
    for data, tls in ((handshake(f"{stage.one.domain}:{WEB}", "dGhlIHNhbXBsZSBub25jZQ=="), None),
                      (request("AUTH", [stage.one.uri], [Uri.fresh(stage.source, 9)]).encode() + b"\r\n\r\n", stage.client)):
        connection = await Connection.open((stage.one.host, WEB), tls, stage.one.domain, stage.source, raw=True)
        stage.open.append(connection)
        await connection.write(data)
        why = await connection.closed()
        check("101" not in why, f"{data[:20]!r} is answered by {why}")
    return f"{len(good)} are good, {len(bad)} are refused; neither in clear nor without a handshake"


@case("web/fragments", "messages of text and binary, in frames of any sizes with control frames between them, are what they are whole", "S1-R4 RFC 6455 5.4 RFC 7977 4.2")
async def fragments(stage: Stage) -> str:
    alice, bob = await asyncio.gather(stage.person(stage.one, web=True), stage.person(stage.one))
    meet(alice, bob)
    web: WebConnection = alice.connection
    kinds = [(BINARY, []), (TEXT, []), (BINARY, [1, 0, 2, 0, 0, 200]), (TEXT, [3] * 40), (BINARY, [125, 126, 127])]
    for web.opcode, web.sizes in kinds:
        await texts(alice, bob)
    web.opcode, web.sizes = BINARY, []
    # Pings in the middle of a message, and a pong that nobody asked for.
    body = os.urandom(70_000)
    whole = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", f"1-*/{len(body)}"), ("Failure-Report", "no"),
                    body=body).encode()
    pings = [b"", b"in the middle", os.urandom(CONTROL)]
    parts = in_frames(BINARY, whole, [20_000, 20_000, 20_000])
    for ping, part in zip(pings, parts):
        await web.say(part + framed(PONG, b"nobody asked") + framed(PING, ping))
        # Of several only the last has to be answered (RFC 6455 section 5.5.3).
        expect(await asyncio.wait_for(web.pongs.get(), 20), ping, "the pong")
    await web.say(b"".join(parts[len(pings):]))
    expect(bytes((await bob.session.message()).data) == body, True, "whether what arrived is what was sent")
    return f"{len(kinds)} ways to cut, {len(pings)} pings inside a message"


BROKEN = {
    "no mask": framed(BINARY, b"MSRP", mask=None), "a reserved bit": framed(BINARY, b"MSRP", reserved=4), "an unknown type": framed(3, b"MSRP"),
    "an unknown control frame": framed(11), "a continuation of nothing": framed(CONTINUATION, b"MSRP"),
    "a message inside a message": framed(BINARY, b"MSRP ", last=False) + framed(BINARY, b"abcd"), "a ping in pieces": framed(PING, b"x", last=False),
    "a ping of 126 octets": framed(PING, b"x" * 126), "a close frame of 126 octets": framed(CLOSE, b"\x03\xe8" + b"x" * 124),
    "a length of 2^63": framed(BINARY, b"MSRP", length=2 ** 63), "a length of 2^64-1": framed(BINARY, b"MSRP", length=2 ** 64 - 1),
}


@case("web/broken", "frames that no client may send end the connection with 1002: without a mask, too large, out of turn", "RFC 6455 5.1 5.2 5.5")
async def broken(stage: Stage) -> str:
    alice, bob = await asyncio.gather(stage.person(stage.one, web=True), stage.person(stage.one))
    meet(alice, bob)

    async def lie(what: str, data: bytes) -> None:
        person = await stage.again(alice, web=True)
        await person.connection.say(data)
        await person.connection.closed()
        expect(person.connection.code, PROTOCOL, f"{what}: the code of the close frame")
    await asyncio.gather(*(lie(*one) for one in BROKEN.items()))
    # What is well framed and no MSRP ends it too, and a frame that is merely very long costs nothing.
    person = await stage.again(alice, web=True)
    await person.connection.say(framed(BINARY, b"GET / HTTP/1.1\r\n\r\n"))
    await person.connection.closed()
    expect(person.connection.code, NORMAL, "no MSRP: the code of the close frame")
    before, endless = stage.one.memory, await stage.again(alice, web=True)
    await endless.connection.say(framed(BINARY, b"MSRP " + b"a" * 200_000, length=2 ** 62))
    await endless.connection.closed()
    check(stage.one.memory < before + 16 * 2 ** 20, f"the relay grew from {before} to {stage.one.memory}")
    await texts(alice, bob)
    return f"{len(BROKEN)} kinds; nobody else is disturbed"


@case("web/pings", "a flood of pings, and nobody who reads the pongs: the relay keeps little, and answers the last one", "RFC 6455 5.5.3 S1-L2")
async def pings(stage: Stage) -> str:
    alice = await stage.person(stage.one, web=True)
    web: WebConnection = alice.connection
    before, count = stage.one.memory, 50_000
    web.writer.transport.pause_reading()
    flood = framed(PING, mask=b"abcd") * 1_000

    async def write() -> None:
        for _ in range(count // 1_000):
            await web.say(flood)
        await web.say(framed(PING, b"the last"))
    writing = asyncio.ensure_future(write())
    # Whether the relay takes them all unread or stops to read is its affair; it gets the time to do either.
    await asyncio.wait([writing], timeout=5)
    grown = stage.one.memory - before
    web.writer.transport.resume_reading()
    answers = 0
    await asyncio.wait_for(writing, 60)
    while await asyncio.wait_for(web.pongs.get(), 20) != b"the last":
        answers += 1
    check(grown < 16 * 2 ** 20, f"the relay grew by {grown}")
    check(answers <= count, f"{answers} pongs for {count} pings")
    return f"{answers} pongs for {count} pings, {grown} octets more at most"


async def gone(bob: Person) -> int:
    """What is sent to somebody who has gone."""
    sent = await bob.connection.send(bob.session, b"are you there?")
    return await sent.error()


@case("web/close", "close frames from either side are answered and end the connection, and with it the URI; without one it was cut", "S1-L5 S1-10 RFC 6455 5.5.1 7.1")
async def close(stage: Stage) -> str:
    alice, bob = await asyncio.gather(stage.person(stage.one, web=True), stage.person(stage.one))
    meet(alice, bob)
    await texts(alice, bob)
    expect(await alice.connection.leave(), NORMAL, "the answer to our close frame")
    expect((await gone(bob), alice.connection.why), (481, "closed"), "what Bob hears")
    # In the middle of a SEND: its receiver is told by #.
    alice = await stage.again(alice, web=True)
    meet(alice, bob)
    body = os.urandom(100_000)
    frame = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", f"1-*/{len(body)}"), ("Failure-Report", "no"),
                    body=body)
    await alice.connection.say(framed(BINARY, frame.head() + body[:50_000], last=False))
    alice.connection.writer.transport.abort()
    message = await bob.session.message()
    expect((message.aborted, message.data == body[:len(message.data)]), (True, True), "the message that was cut")
    # The relay's own: the account may not use it any more.
    alice = await stage.again(alice, web=True)
    await stage.one.run("account", "disable", alice.account)
    await alice.connection.closed()
    expect(alice.connection.code, NORMAL, "the relay's close frame")
    return "from either side"


@case("web/probation", "a WebSocket on which no request succeeds ends after 30 s, pings or not", "S1-L2")
async def probation(stage: Stage) -> str:
    silent, busy = await stage.browse(stage.one), await stage.browse(stage.one)
    unheard = await Connection.open((stage.one.host, WEB), stage.client, stage.one.domain, stage.source, raw=True)
    stage.open.append(unheard)
    await unheard.write(b"GET /msrp HTTP/1.1\r\nHost: ")

    async def ping() -> None:
        try:
            while True:
                await busy.say(framed(PING))
                await asyncio.wait_for(busy.pongs.get(), 20)
                await asyncio.sleep(1)                              # as a browser does
        except (Gone, TimeoutError):
            pass
    pinging = asyncio.ensure_future(ping())
    try:
        await asyncio.gather(silent.closed(60), busy.closed(60), unheard.closed(60))
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
    expect((silent.code, busy.code), (NORMAL, NORMAL), "the close frames")
    return "silent, pinging, and half a handshake"
