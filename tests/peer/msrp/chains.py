"""Cases: relays behind relays (RFC 4976 sections 5.1 and 8): a client logs in at the outer one through the inner one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from .cases import case, check, expect
from .endpoint import Gone, Session, context, listen
from .frames import Uri, request
from .logins import attempt, refused
from .midway import cut_short, told, under_way
from .stage import Pass, Person, Relay, Stage, meet
from .tools import running
from .transfers import texts


@dataclass
class Chained:
    """Somebody who is reached through two relays, with an account at each."""

    inner: Person
    outer: Relay
    account: str                    # at the outer relay
    credentials: Pass

    @property
    def session(self) -> Session:
        return self.inner.session

    async def auth(self, **options) -> list[Uri]:
        """AUTH at the outer relay through the inner one."""
        inner = self.inner
        return await inner.connection.auth(self.outer.uri, inner.session.local, self.credentials.username, self.credentials.password,
                                           before=inner.session.relays[:1], **options)


async def chained(stage: Stage, inner: Relay, outer: Relay, **options) -> Chained:
    person, credentials = await asyncio.gather(stage.person(inner), stage.credentials(outer))
    made = Chained(person, outer, *credentials)
    both = await made.auth(**options)
    expect([uri.host for uri in both], [inner.domain, outer.domain], "the hosts of Use-Path")
    expect(both[0], person.session.relays[0], "the inner relay's URI")
    person.session.relays = both
    return made


@case("chain/auth", "AUTH at a second relay through the first; messages come in and go out through both", "S1-L5 S1-L14")
async def auth(stage: Stage) -> str:
    alice, bob = await asyncio.gather(chained(stage, stage.one, stage.two), stage.person(stage.brief))
    meet(alice.inner, bob)
    return await texts(alice.inner, bob)


@case("chain/renewed", "AUTH again in time, at both relays: the same URIs come back, and are good for the new time", "S1-L5")
async def renewed(stage: Stage) -> str:
    bob = await stage.person(stage.two)
    alice = await chained(stage, stage.one, stage.brief, expires=5)
    end, first = time.monotonic() + 5, list(alice.session.relays)
    inner = alice.inner
    own = await inner.connection.auth(stage.one.uri, inner.session.local, inner.credentials.username, inner.credentials.password)
    expect(own, first[:1], "the inner relay's Use-Path")
    expect(await alice.auth(expires=40), first, "the outer relay's Use-Path")
    meet(inner, bob)
    await asyncio.sleep(max(end - time.monotonic(), 0) + 1)         # the end is what is looked at
    return await texts(inner, bob)


@case("chain/disabled", "an account that is disabled at the outer relay: what is under way breaks off and is reported, nothing passes any more, "
      "and the inner relay's URI stays good", "S1-R5 S1-10 S1-L11")
async def disabled(stage: Stage) -> str:
    alice, bob, carol = await asyncio.gather(chained(stage, stage.one, stage.two), stage.person(stage.brief), stage.person(stage.one))
    meet(alice.inner, bob)
    chunk, _ = await under_way(alice.inner, bob.connection, bob.session)
    await stage.two.run("account", "disable", alice.account)
    code = await refused(stage, Person(alice.account, stage.two, alice.credentials, alice.inner.connection, alice.session))
    await chunk.more()
    await chunk.end()
    cut_short(chunk, bob.session)
    how = await told(chunk, 481, late=True)
    for sender in (alice.inner, bob):
        sent = await sender.connection.send(sender.session, b"still there?")
        expect(await sent.error(), 481, f"what {sender.account} sends after that")
    alice.session.relays = alice.session.relays[:1]
    meet(alice.inner, carol)
    await texts(alice.inner, carol)
    return f"AUTH is answered by {code}; what was under way is told by {how}"


@case("chain/others", "one client's credentials end at the outer relay: what others have under way through both relays goes on", "S1-L14 S1-R5")
async def others(stage: Stage) -> str:
    alice = await chained(stage, stage.one, stage.brief)
    last = int(alice.credentials.username.partition(":")[0])
    await asyncio.sleep(max(last - time.time() - 25, 0))
    carol, dave = await asyncio.gather(chained(stage, stage.one, stage.brief), stage.person(stage.two))
    meet(carol.inner, dave)
    chunk, _ = await under_way(carol.inner, dave.connection, dave.session)
    await asyncio.sleep(max(last - time.time(), 0) + 1.5)           # the end is what is looked at
    code = await refused(stage, Person(alice.account, stage.brief, alice.credentials, alice.inner.connection, alice.session))
    await chunk.more()
    await chunk.end()
    came = await dave.session.message()
    expect((came.ident, came.aborted, came.data == chunk.frame.body), (chunk.sent.ident, False, True), "what was under way")
    await texts(carol.inner, dave)
    return f"AUTH of the one is answered by {code}; the other's message arrives whole"


@case("chain/restarted", "the outer relay starts again: the URI that it gave out is still good there, and voided for ever by the end of its account", "S1-L15 S1-10")
async def restarted(stage: Stage) -> str:
    async with running(stage.returning):
        alice, bob, carol = await asyncio.gather(chained(stage, stage.one, stage.returning), stage.person(stage.two), stage.person(stage.two))
        meet(alice.inner, bob)
        await texts(alice.inner, bob)
    async with running(stage.returning):
        # What is on the way to a connection that has just ended is lost, and reported.
        meet(alice.inner, carol)
        said = await texts(alice.inner, carol)
        await stage.returning.run("account", "disable", alice.account)
        for sender in (alice.inner, carol):
            sent = await sender.connection.send(sender.session, b"still there?")
            expect(await sent.error(), 481, f"what {sender.account} sends after that")
    async with running(stage.returning):
        # The seal alone would still be good: nothing in memory says that it was voided.
        await stage.returning.run("account", "enable", alice.account)
        for _ in range(2):
            code = await (await carol.connection.send(carol.session, b"and now?")).error()
            # Lost with the connection that has just ended, as above.
            if code != 408:
                break
        expect(code, 481, "what is sent when the account is enabled again, after another start")
    return said


@case("chain/brute-force", "who guesses through a relay is cut off by it; who only asks for challenges is not, nor is anybody else there", "S1-L4")
async def brute_force(stage: Stage) -> str:
    guesser, patient = await asyncio.gather(stage.person(stage.one), stage.person(stage.one))
    account, credentials = await stage.credentials(stage.two)
    count = 0
    try:
        while count < 50:
            answer = await attempt(guesser.connection, stage.two, guesser.session.local, f"9999999999:{account}", f"guess {count}", before=guesser.session.relays)
            expect(answer.code, 401, "a guess")
            count += 1
        check(False, f"{count} guesses on one connection")
    except Gone:
        pass
    for _ in range(12):
        frame = request("AUTH", [*patient.session.relays, stage.two.uri], [patient.session.local])
        expect((await patient.connection.transact(frame)).code, 401, "a request for a challenge")
    made = Chained(patient, stage.two, account, credentials)
    both = await made.auth()
    return f"after {count} guesses; {len(both)} URIs after twelve challenges, for the account that was guessed at"


@case("chain/delegated", "`_msrps._tcp` leads to another name only where DNSSEC says so, and DANE says whose certificate it is", "S3-31 S1-L14")
async def delegated(stage: Stage) -> str:
    said = {}
    for zone, (port, credential) in stage.hosted.items():
        server, came = await listen(stage.block.host(5), context(certificate=(credential.chain, credential.key), server=True), raw=True, port=port)
        try:
            alice = await stage.person(stage.one)
            frame = request("AUTH", [*alice.session.relays, Uri.parse(f"msrps://outer.{zone};tcp")], [alice.session.local])
            asking, reached = asyncio.ensure_future(alice.connection.transact(frame, 40)), asyncio.ensure_future(came.get())
            await asyncio.wait([asking, reached], return_when=asyncio.FIRST_COMPLETED)
            if reached.done():
                stage.open.append(reached.result())
                getting = asyncio.ensure_future(reached.result().frame(30))
                await asyncio.wait([asking, getting], return_when=asyncio.FIRST_COMPLETED)
                got = not getting.cancelled() and getting.done() and not getting.exception()
                getting.cancel()
            else:
                got = False
            said[zone] = "AUTH arrives" if got else f"refused by {asking.result().code}" if asking.done() and not asking.exception() else "refused"
            for task in (asking, reached):
                task.cancel()
            await asyncio.gather(asking, reached, return_exceptions=True)
        finally:
            server.close()
    check(said["sec.lab"] == "AUTH arrives" and said["uns.lab"].startswith("refused"), f"{said}")
    return ", ".join(f"{zone}: {how}" for zone, how in said.items())
