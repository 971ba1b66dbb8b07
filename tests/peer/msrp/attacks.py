"""Cases: what broke other relays, and what an attacker would try, by raw sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess

from ..subjects import die_with_parent
from . import digest
from .cases import case, check, expect
from .endpoint import Connection, Failed, Gone, context
from .frames import Uri, ident, request
from .logins import attempt, challenge
from .stage import PORT, Person, Relay, Stage
from .transfers import listener, texts

HEADS = "To-Path: {to}\r\nFrom-Path: {sender}\r\n"


async def mallory(stage: Stage, relay: Relay | None = None) -> Connection:
    """Somebody without credentials, who reads everything and answers nothing."""
    return await stage.connect(relay or stage.one, raw=True)


def spam(to: str, sender: str, *more: str, body: bytes = b"spam") -> bytes:
    head = f"MSRP {ident(12)} SEND\r\n" + HEADS.format(to=to, sender=sender) + f"Message-ID: {ident()}\r\nByte-Range: 1-{len(body)}/{len(body)}\r\n"
    tid = head.split(" ")[1]
    return (head + "".join(f"{line}\r\n" for line in more) + "Content-Type: text/plain\r\n\r\n").encode() + body + f"\r\n-------{tid}$\r\n".encode()


async def answer(connection: Connection, data: bytes, within: float = 60) -> int | str:
    """What comes first after the data: a code, or the end of the connection."""
    try:
        await connection.write(data)
        while (frame := await connection.frame(within)).code is None:
            pass
        return frame.code
    except Gone:
        return "closed"


async def alive(connection: Connection, relay: Relay, stage: Stage) -> bool:
    """Whether the relay still answers on this connection: everything before has been handled when it does. If it does not, it ends the connection."""
    try:
        probe = request("AUTH", [relay.uri], [Uri.fresh(stage.source, 9)])
        await connection.write(probe.encode())
        while (frame := await connection.frame(60)).tid != probe.tid:
            pass
        return frame.code == 401
    except Gone:
        return False


async def quiet(stage: Stage, person: Person, came: asyncio.Queue, uri: Uri) -> None:
    """The victim has heard nothing: the first that it hears is this person, who may send there."""
    person.session.peer = [uri]
    sending = asyncio.ensure_future(person.connection.send(person.session, b"I may", failure="no"))
    victim: Connection = await asyncio.wait_for(came.get(), 20)
    stage.open.append(victim)
    frame = await victim.frame()
    await sending
    expect((frame.method, frame.body), ("SEND", b"I may"), "the first that the victim hears")
    check(victim.frames.empty() and came.empty(), "the victim hears more than that")


@case("attack/open-relay", "nothing is forwarded for who has no credentials, whatever the path says", "S1-L7 S1-R4")
async def open_relay(stage: Stage) -> str:
    server, came, victim = await listener(stage, stage.endpoint, raw=True)
    try:
        alice = await stage.person(stage.one, raw=True)
        token, me = str(alice.session.relays[0]), f"msrps://{stage.source}:9/{ident()};tcp"
        host = f"msrps://{stage.one.domain}"
        paths = [f"{host}:{PORT};tcp {victim}", f"{host};tcp {victim}", f"{host}:{PORT}/{ident()};tcp {victim}", f"{host}:{PORT};tcp {host}:{PORT};tcp {victim}",
                 f"{token} {victim}", f"{token} {token} {victim}", token.swapcase().replace("MSRPS", "msrps").replace(";TCP", ";tcp") + f" {victim}",
                 token + ";x=y " + str(victim)]
        seen = []
        for sender in (me, str(alice.session.local), f"{token} {alice.session.local}"):
            for to in paths:
                connection = await mallory(stage)
                await connection.write(spam(to, sender, "Failure-Report: no") + spam(to, sender))
                seen.append(await alive(connection, stage.one, stage))
                await connection.close()
        await quiet(stage, alice, came, victim)
    finally:
        server.close()
    return f"{len(seen)} lies, {seen.count(False)} of them ended the connection"


@case("attack/not-ours", "a request whose first hop is somebody else ends the connection", "S1-L3")
async def not_ours(stage: Stage) -> str:
    for to in (f"msrps://other.{stage.one.domain}:{PORT}/x;tcp", f"msrps://{stage.one.domain}:{PORT + 1}/x;tcp", f"msrps://{stage.endpoint}:{PORT}/x;tcp"):
        connection = await mallory(stage)
        expect(await answer(connection, spam(to, f"msrps://{stage.source}:9/x;tcp")), "closed", to)
    return "closed without a word"


@case("attack/guessing", "guessing URIs is cut short, and sessions that do not exist are 481", "S1-01 S1-03")
async def guessing(stage: Stage) -> str:
    connection, codes = await mallory(stage), []
    for _ in range(200):
        to = f"msrps://{stage.one.domain}:{PORT}/{ident()};tcp msrps://{stage.endpoint}:9/x;tcp"
        code = await answer(connection, spam(to, f"msrps://{stage.source}:9/x;tcp"))
        if code == "closed":
            break
        codes.append(code)
    else:
        raise Failed("200 guesses on one connection")
    expect(set(codes), {481}, "the answers")
    return f"481 for {len(codes)} guesses, then the end"


@case("attack/second-connection", "who sends under a name that another connection uses is answered by 506", "S1-03")
async def second_connection(stage: Stage) -> str:
    bob = await stage.person(stage.one)
    peer = Uri.fresh(stage.source, 9)
    bob.session.peer = [peer]
    token = bob.session.relays[0]
    first, second = await mallory(stage), await mallory(stage)
    expect(await answer(first, spam(f"{token} {bob.session.local}", str(peer))), 200, "the first connection")
    expect(bytes((await bob.session.message()).data), b"spam", "what arrived")
    code = await answer(second, spam(f"{token} {bob.session.local}", str(peer)))
    expect(code, 506, "the second connection")
    check(bob.session.inbox.empty(), "what the second one sent arrived")
    # What Bob answers goes to the first.
    await bob.connection.send(bob.session, b"to whom?", failure="no")
    expect((await first.frame()).body, b"to whom?", "what the first one gets")
    return "506"


@case("attack/binary", "bodies of any octets, split anywhere, even inside the end-line, arrive as they are", "S1-R4")
async def split(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.one)
    bodies = [bytes(range(256)), b"\r\n-------", b"\r", b"\n-------\r\n", b"", os.urandom(3_000)]
    for body in bodies:
        for cut in (1, 7):
            frame = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", f"1-{len(body)}/{len(body)}"),
                            ("Failure-Report", "no"), body=body + b"\r\n-------" if cut == 7 else body)
            data = frame.encode()
            # Whole up to the last octets of the body; from there in small records.
            near = max(len(data) - 60, 0)
            await alice.connection.write(data[:near])
            for at in range(near, len(data), cut):
                await alice.connection.write(data[at:at + cut])
            expect(bytes((await bob.session.message()).data), frame.body, f"{body[:20]!r}, cut by {cut}")
    return f"{len(bodies)} bodies, cut by 1 and by 7"


@case("attack/tid-in-body", "a body with its own end-line and another flag, or a longer transaction, does not end there", "S1-R4")
async def false_ends(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.one)
    for inner in ("\r\n-------{0}?\r\n", "\r\n-------{0}$x", "\r\n-------{0}x$\r\n", "x-------{0}$\r\n", "\r\n------{0}$\r\n", "\r\n-------{0}$\n"):
        tid = ident(20)
        body = ("before" + inner.format(tid) + "after").encode()
        frame = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", f"1-{len(body)}/{len(body)}"),
                        ("Failure-Report", "no"), body=body)
        await alice.connection.write(frame.encode().replace(frame.tid.encode(), tid.encode()))
        expect(bytes((await bob.session.message()).data), body, f"{inner!r}")
    return "six kinds"


RANGES = ["1-18446744073709551615/*", "1-18446744073709551616/18446744073709551616", "18446744073709551615-18446744073709551615/*", "0-4/4", "5-1/4", "1-4/2",
          "9223372036854775807-*/*", "-1-4/4", "1-4", "1-4/4/4", "1--4/4", "*-4/4", "1-4294967296/4294967296", "99999999999999999999999999-*/*", "1-4/-1", ""]


@case("attack/ranges", "wrapped, huge and senseless ranges cost the frame at most", "S1-R4")
async def ranges(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.one)
    bob.connection.raw = True                                       # what a range that may be demands of memory is the receiver's matter
    before, codes = stage.one.memory, {}
    for text in RANGES:
        tid = ident(12)
        frame = (f"MSRP {tid} SEND\r\n" + HEADS.format(to=" ".join(map(str, alice.session.to())), sender=alice.session.local) + f"Message-ID: {ident()}\r\n"
                 f"Byte-Range: {text}\r\nContent-Type: text/plain\r\n\r\nspam\r\n-------{tid}$\r\n")
        waiting = alice.connection.expecting(tid)
        await alice.connection.write(frame.encode())
        code = (await asyncio.wait_for(waiting, 10)).code
        codes[code] = codes.get(code, 0) + 1
    expect(set(codes), {200, 400}, "the answers")
    for _ in range(codes[200]):
        expect((await bob.connection.frame()).body, b"spam", "what went on")
    bob.connection.raw = False
    await texts(alice, bob)
    check(stage.one.memory < before + 64 * 2 ** 20, f"the relay grew from {before} to {stage.one.memory}")
    return ", ".join(f"{count} times {code}" for code, count in codes.items())


@case("attack/floods", "floods of headers, endless lines and endless paths are refused in bounded memory", "S1-L2")
async def floods(stage: Stage) -> str:
    before = stage.one.memory
    me = f"msrps://{stage.source}:9/x;tcp"
    first = "MSRP abcdefgh SEND\r\n" + HEADS.format(to=stage.one.uri, sender=me)
    end = b"-------abcdefgh$\r\n"
    floods = {"100 fields": first.encode() + b"X: y\r\n" * 100 + end, "100 000 fields": first.encode() + b"X: y\r\n" * 100_000 + end,
              "a field of 100 kB": first.encode() + b"X: " + b"y" * 100_000 + b"\r\n" + end, "a line of 50 MB": b"MSRP " + b"a" * 50_000_000,
              "a field of 50 MB": first.encode() + b"X: " + b"y" * 50_000_000, "a name of 50 MB": first.encode() + b"y" * 50_000_000,
              "1 000 hops": b"MSRP abcdefgh SEND\r\nTo-Path:" + f" {me}".encode() * 1_000 + f"\r\nFrom-Path: {me}\r\n".encode() + end,
              "a body of AUTH of 50 MB": first.replace("SEND", "AUTH").encode() + b"Content-Type: text/plain\r\n\r\n" + b"y" * 50_000_000 + b"\r\n" + end}

    async def flood(name: str, data: bytes) -> str:
        connection = await mallory(stage)
        try:
            for at in range(0, len(data), 2 ** 18):
                await connection.write(data[at:at + 2 ** 18])
        except Gone:
            pass
        stands = await alive(connection, stage.one, stage)
        code = connection.frames.get_nowait().code if not connection.frames.empty() else None
        check(not stands or data.endswith(end), f"{name}: the connection still stands")
        await connection.close()
        return f"{name}: {code or ('goes on' if stands else 'closed')}"
    seen = await asyncio.gather(*(flood(*one) for one in floods.items()))
    check(stage.one.memory < before + 32 * 2 ** 20, f"the relay grew from {before} to {stage.one.memory}")
    return "; ".join(seen)


@case("attack/garbage", "what is no MSRP, and no TLS, is let go", "S1-L2 S1-06")
async def garbage(stage: Stage) -> str:
    words = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"<?xml version='1.0'?><stream:stream>", b"\r\n" * 100, b"MSRP\r\n", b"MSRP a SEND\r\n", os.urandom(4_000),
             b"MSRP " + b"a" * 33 + b" SEND\r\n", b"MSRP abcd 99 x\r\n", b"INVITE sip:x SIP/2.0\r\n\r\n", b"\0" * 5_000]
    async def spoken(data: bytes) -> None:
        expect(await answer(await mallory(stage), data + b"\r\n\r\n"), "closed", f"{data[:30]!r}")
    await asyncio.gather(*map(spoken, words))
    # In clear: AUTH is not even read (RFC 4976 section 9.2).
    plain = await Connection.open((stage.one.host, PORT), source=stage.source, raw=True)
    stage.open.append(plain)
    expect(await answer(plain, request("AUTH", [stage.one.uri], [Uri.fresh(stage.source, 9)]).encode()), "closed", "AUTH in clear")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        old = context(stage.pki.trusted)
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = version
        try:
            await Connection.open((stage.one.host, PORT), old, stage.one.domain, stage.source)
        except Gone:
            continue
        raise Failed(f"the relay speaks {version.name}")
    return f"{len(words)} kinds; AUTH in clear; TLS 1.0 and 1.1"


@case("attack/replay", "a credential that is said again is stale, and no failure", "S1-R5 S1-L4")
async def replay(stage: Stage) -> str:
    _, credentials = await stage.credentials(stage.one)
    connection, local = await stage.connect(stage.one), Uri.fresh(stage.source, 9)
    asked = await challenge(connection, stage.one, local)
    made = digest.Login(digest.choose(asked.all("WWW-Authenticate"), ["SHA-256"]), credentials.username, credentials.password)
    said = made.authorization(str(stage.one.uri))
    expect((await connection.transact(request("AUTH", [stage.one.uri], [local], ("Authorization", said)))).code, 200, "the first time")
    for target in (connection, await stage.connect(stage.one)):
        again = await target.transact(request("AUTH", [stage.one.uri], [local], ("Authorization", said)))
        stale = [digest.Challenge.parse(text).stale for text in again.all("WWW-Authenticate")]
        expect((again.code, all(stale) and bool(stale)), (401, True), "the same again")
    later = made.authorization(str(stage.one.uri))                  # the next count
    expect((await connection.transact(request("AUTH", [stage.one.uri], [local], ("Authorization", later)))).code, 200, "the next count")
    forged = digest.Login(digest.Challenge(made.challenge.realm, made.challenge.nonce[::-1], "SHA-256", made.challenge.opaque, False, {}),
                          credentials.username, credentials.password).authorization(str(stage.one.uri))
    expect((await connection.transact(request("AUTH", [stage.one.uri], [local], ("Authorization", forged)))).code, 401, "a nonce of our own")
    return "401 with stale=true on both connections; the next count is good"


@case("attack/brute-force", "a few wrong passwords end the connection", "S1-L4")
async def brute_force(stage: Stage) -> str:
    connection, local, count = await stage.connect(stage.two), Uri.fresh(stage.source, 9), 0
    try:
        while count < 100:
            expect((await attempt(connection, stage.two, local, f"9999999999:victim@{stage.two.domain}", f"guess {count}")).code, 401, "a guess")
            count += 1
    except Gone:
        return f"after {count} guesses"
    raise Failed("100 guesses on one connection")


AIMS = 45                           # ports of the victim; an account has 30 connections a minute


@case("attack/aimed", "an answer whose path aims the relay at others costs few connections", "S1-L18")
async def aimed(stage: Stage) -> str:
    alice = await stage.person(stage.two)
    victims = [await listener(stage, stage.endpoint, raw=True) for _ in range(AIMS)]
    got, codes = 0, {}
    try:
        for _, came, uri in victims:
            alice.session.peer = [uri]
            sent = await alice.connection.send(alice.session, b"x")
            reached, told = asyncio.ensure_future(came.get()), asyncio.ensure_future(sent.failure())
            if sent.errors:
                codes[sent.errors[0].code] = codes.get(sent.errors[0].code, 0) + 1
            else:
                await asyncio.wait([reached, told], return_when=asyncio.FIRST_COMPLETED)
                if reached.done():
                    got += 1
                    await reached.result().close()
                else:
                    codes[told.result()] = codes.get(told.result(), 0) + 1
            for task in (reached, told):
                task.cancel()
            await asyncio.gather(reached, told, return_exceptions=True)
        check(0 < got <= 30, f"{got} connections for {AIMS} requests; {codes}")
    finally:
        for server, *_ in victims:
            server.close()
    return f"{got} connections for {AIMS} requests; refused: " + ", ".join(f"{count} times {code}" for code, count in codes.items())


@case("attack/private", "the relay does not connect to addresses that are not public and not allowed", "S1-L18")
async def private(stage: Stage) -> str:
    alice = await stage.person(stage.one)
    codes = []
    for host in ("10.255.255.1", "192.168.255.1", "169.254.169.254", "[::1]", "[fe80::1]"):
        alice.session.peer = [Uri.parse(f"msrps://{host}:{PORT}/{ident()};tcp")]
        sent = await alice.connection.send(alice.session, b"x", failure="yes")
        codes.append(await sent.error())
    return f"reported: {codes}"


@case("attack/cut", "a sender that is gone in the middle of a message: the peer is told so", "S1-L12")
async def cut(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.two)
    body = os.urandom(300_000)
    frame = request("SEND", alice.session.to(), [alice.session.local], ("Message-ID", ident()), ("Byte-Range", "1-*/1000000"), ("Failure-Report", "no"),
                    body=body)
    await alice.connection.write(frame.head() + body)
    alice.connection.writer.transport.abort()
    message = await bob.session.message(30)
    check(message.aborted and message.data == body[:len(message.data)], "the message is not told to be cut")
    await bob.connection.send(bob.session, b"?", failure="no")
    return f"# after {len(message.data)} of 300000 octets"


@case("attack/probation", "a connection that says nothing, or nothing good, ends after 30 s", "S1-L2")
async def probation(stage: Stage) -> str:
    silent, busy = await mallory(stage), await mallory(stage)
    half = await mallory(stage)
    await half.write(b"MSRP abcdefgh AUTH\r\nTo-Path: ")
    await asyncio.gather(silent.closed(60), half.closed(60))
    check(not await alive(busy, stage.one, stage), "a connection without credentials stands after that")
    raw = socket.create_connection((stage.one.host, PORT), 5)
    raw.close()
    return "silent, and half a line"


async def openssl(stage: Stage, *words: str, text: str = "") -> str:
    """What `openssl s_client` says of the relay."""
    process = await asyncio.create_subprocess_exec("openssl", "s_client", "-connect", f"{stage.one.host}:{PORT}", "-servername", stage.one.domain,
                                                   "-CAfile", str(stage.pki.trusted), "-verify_return_error", *words, stdin=subprocess.PIPE,
                                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
    try:
        process.stdin.write(text.encode())
        await process.stdin.drain()
        # The end of what we say would end it before it has heard the answer: the relay's probation does.
        return (await asyncio.wait_for(process.stdout.read(), 60)).decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@case("attack/tls", "a client that asks for renegotiation is let go; every client is asked for a certificate, and shown that of the name it asks for", "S2-09 S1-L1")
async def renegotiation(stage: Stage) -> str:
    again, plain = await asyncio.gather(openssl(stage, "-tls1_2", text="R\n"), openssl(stage, "-tls1_2"))
    check("RENEGOTIATING" in again and ("no renegotiation" in again or "closed" in again.lower() or "error" in again), f"after R: {again[-600:]}")
    check("Client Certificate Types:" in plain, f"no client certificate is asked for: {plain[:1500]}")
    for name in (stage.one.domain, stage.one.also):
        connection = await stage.connect(stage.one, name=name)          # which looks at the name in the certificate
        answer = await connection.transact(request("AUTH", [Uri.parse(f"msrps://{name};tcp")], [Uri.fresh(stage.source, 9)]))
        realms = {digest.Challenge.parse(text).realm for text in answer.all("WWW-Authenticate")}
        expect((answer.code, realms), (401, {name}), f"AUTH at {name}")
    return "no renegotiation; a certificate is asked for; two names, two certificates"


@case("attack/log", "no log has a password or a session's URI, whatever was done above", "S1-02 S1-01")
async def log(stage: Stage) -> str:
    size = 0
    check(" was issued " in (stage.one.folder / "out.log").read_text(errors="replace"), "the relay logs nothing at all")
    for relay in stage.relays:
        text = (relay.folder / "out.log").read_text(errors="replace")
        size += len(text)
        found = [secret for secret in stage.secrets if secret in text]
        check(not found, f"the log of {relay.label} has {len(found)} of {len(stage.secrets)} secrets, such as {found[:1]}")
    return f"{len(stage.secrets)} secrets, {size} characters of logs"


@case("attack/end", "after all that, everybody else talks as before, and the servers have not grown", "S1-R4")
async def end(stage: Stage) -> str:
    await texts(*await stage.pair(stage.one, stage.two))
    grown = ", ".join(f"{relay.label}: {relay.memory / 2 ** 20:.0f} MiB at most" for relay in stage.relays)
    check(all(relay.memory < 64 * 2 ** 20 for relay in stage.relays), grown)
    return grown
