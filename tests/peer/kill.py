"""`kill -9` under load, again and again: nothing acknowledged is lost, nothing comes twice to a client that resumed.

Four clients send with stream management, to one who is away and to one who is there and loses its connection now and then; a
fifth edits its roster. The server is killed in the middle and started anew on the same folder. Acknowledged is what the stream's
`h` counts (XEP-0198) and what a result answers.
"""

from __future__ import annotations

import asyncio
import random
import time

from . import pattern
from .nuncio import Nuncio
from .session import Failure, Session

SM = "urn:xmpp:sm:3"
STANZAS = tuple(f"{{jabber:client}}{name}" for name in ("message", "presence", "iq"))
PASSWORD = "kill-password"


class World:
    """What a `Session` asks of its surroundings."""

    def __init__(self, server: Nuncio):
        self.server = server
        self.name, self.host, self.domain, self.ca = server.name, server.host, server.domain, server.ca
        self.sessions: dict = {}

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def tls_port(self) -> int:
        return self.server.tls_port

    def credentials(self, actor: str) -> tuple[str, str, str]:
        return actor.partition("/")[0], self.domain, PASSWORD


class Peer:
    """A client with stream management: counts what comes, answers requests, knows what of its own was acknowledged."""

    def __init__(self, world: World, name: str):
        self.session = Session(name, world, None, {}, time.monotonic())
        self.came = 0                      # stanzas received since `enable`, over resumptions
        self.messages: list[str] = []      # their ids
        self.sent: list[str] = []          # what we sent since `enable`
        self.acknowledged = 0              # how much of it the server's h counts
        self.answered: set[str] = set()    # IQs of ours with a result
        self.stream_id = None
        self.jid = None

    async def login(self, enable: bool = True) -> None:
        s = self.session
        await s.connect("tls")
        await s.open()
        await s.auth({"mechanism": "SCRAM-SHA-1"})
        await s.open()
        await s.bind(s.name.partition("/")[2])
        self.jid = s.jid
        if enable:
            s.send(f"<enable xmlns='{SM}' resume='true'/>")
            enabled = await s.expect(f"<enabled xmlns='{SM}' id='{{_}}'/>")
            self.stream_id = enabled.get("id")

    async def resume(self) -> None:
        s = self.session
        s.drop()
        await s.connect("tls")
        await s.open()
        await s.auth({"mechanism": "SCRAM-SHA-1"})
        await s.open()
        s.send(f"<resume xmlns='{SM}' previd='{self.stream_id}' h='{self.came}'/>")
        await s.expect(f"<resumed xmlns='{SM}' previd='{self.stream_id}'/>")
        s.jid = self.jid

    def send(self, text: str, number: str) -> None:
        self.sent.append(number)
        self.session.send(text)

    def read(self) -> None:
        """Takes everything out of the inbox."""
        s = self.session
        inbox, s.inbox = s.inbox, []
        for element in inbox:
            if element.tag in STANZAS:
                self.came += 1
                if element.tag.endswith("message"):
                    self.messages.append(element.get("id", ""))
                elif element.tag.endswith("iq") and element.get("type") == "result":
                    self.answered.add(element.get("id", ""))
                elif element.tag.endswith("iq") and element.get("type") == "error":
                    raise Failure(f"{s.name}: {pattern.show(element)}")
            elif element.tag == f"{{{SM}}}r":
                s.send(f"<a xmlns='{SM}' h='{self.came}'/>")
            elif element.tag == f"{{{SM}}}a":
                self.acknowledged = max(self.acknowledged, int(element.get("h")))

    @property
    def lost(self) -> bool:
        return self.session.wire.closed or self.session.wire.broken is not None or self.session.ended

    async def pause(self, seconds: float) -> None:
        """Lets what comes be read for so long, or until the connection ends."""
        deadline = time.monotonic() + seconds
        while not self.lost and (left := deadline - time.monotonic()) > 0:
            self.session._event.clear()
            self.read()
            try:
                await asyncio.wait_for(self.session._event.wait(), left)
            except asyncio.TimeoutError:
                pass
        self.read()


class Round:
    """One life of the server."""

    def __init__(self, world: World, number: int, chance: random.Random, ledger: "Ledger"):
        self.world, self.number, self.chance, self.ledger = world, number, chance, ledger
        self.over = False

    async def run(self) -> None:
        senders = [Peer(self.world, f"sender{i}/kill") for i in range(4)]
        editor = Peer(self.world, "editor/kill")
        there = Peer(self.world, "there/kill")
        await asyncio.gather(*(peer.login() for peer in [*senders, editor, there]))
        there.session.send("<presence/>")
        tasks = [asyncio.create_task(self._send(peer, "away" if i % 2 else "there", i)) for i, peer in enumerate(senders)]
        tasks.append(asyncio.create_task(self._edit(editor)))
        tasks.append(asyncio.create_task(self._receive(there)))
        try:
            await asyncio.sleep(self.chance.uniform(0.1, 0.7))
            self.world.server.process.kill()
            self.over = True
            await asyncio.to_thread(self.world.server.process.wait)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
        finally:
            for task in tasks:
                task.cancel()
        for i, peer in enumerate(senders):
            peer.read()
            wanted = self.ledger.away if i % 2 else self.ledger.there
            wanted.update(peer.sent[:peer.acknowledged])
        editor.read()
        self.ledger.names = max([self.ledger.names, *(int(n.removeprefix("edit-")) for n in editor.answered if n.startswith("edit-"))])
        there.read()
        doubled = [m for m in set(there.messages) if there.messages.count(m) > 1]
        if doubled:
            raise Failure(f"round {self.number}: these came twice to a client that resumed: {sorted(doubled)[:5]}")
        self.ledger.received_there.update(there.messages)
        for peer in [*senders, editor, there]:
            peer.session.drop()

    async def _send(self, peer: Peer, to: str, index: int) -> None:
        count = 0
        while not peer.lost and not self.over:
            count += 1
            number = f"m-{self.number}-{index}-{count}"
            try:
                peer.send(f"<message to='{to}@{self.world.domain}' type='chat' id='{number}'><body>{number}</body></message>", number)
                if count % 3 == 0:
                    peer.session.send(f"<r xmlns='{SM}'/>")
            except Failure:
                return
            await peer.pause(self.chance.uniform(0, 0.01))

    async def _edit(self, peer: Peer) -> None:
        while not peer.lost and not self.over:
            self.ledger.edits += 1
            number = self.ledger.edits
            try:
                peer.send(f"<iq type='set' id='edit-{number}'><query xmlns='jabber:iq:roster'>"
                          f"<item jid='friend@{self.world.domain}' name='{number}'/></query></iq>", str(number))
            except Failure:
                return
            await peer.pause(self.chance.uniform(0, 0.02))

    async def _receive(self, peer: Peer) -> None:
        while not self.over:
            await peer.pause(self.chance.uniform(0.05, 0.3))
            if self.over:
                return
            if peer.lost or self.chance.random() < 0.5:
                try:
                    await asyncio.wait_for(peer.resume(), 5)
                except (Failure, asyncio.TimeoutError, OSError):
                    if not self.over:
                        # The server may just have been killed; then it is over in a moment.
                        await asyncio.sleep(0.2)
                        if not self.over:
                            raise
                    return


class Ledger:
    """What was acknowledged and what was received, over all rounds."""

    def __init__(self):
        self.away: set[str] = set()
        self.there: set[str] = set()
        self.received_away: set[str] = set()
        self.received_there: set[str] = set()
        self.names = 0
        self.edits = 0


async def collect(world: World, account: str, ledger: Ledger, number: int) -> None:
    """Logs in, takes what was kept, acknowledges it; a second login gets nothing of it again."""
    received = ledger.received_away if account == "away" else ledger.received_there
    first = Peer(world, f"{account}/collect")
    await first.login()
    first.session.send("<presence/>")
    await settle(first)
    first.session.send(f"<a xmlns='{SM}' h='{first.came}'/>")
    await settle(first)
    first.session.send("</stream:stream>")
    await first.session.stream_end()
    first.session.drop()
    doubled = [m for m in set(first.messages) if first.messages.count(m) > 1]
    if doubled:
        raise Failure(f"round {number}: {account} got these offline messages twice at one login: {sorted(doubled)[:5]}")
    received.update(first.messages)
    second = Peer(world, f"{account}/again")
    await second.login()
    second.session.send("<presence/>")
    await settle(second)
    second.session.drop()
    again = set(first.messages) & set(second.messages)
    if again:
        raise Failure(f"round {number}: {account} acknowledged these, and got them again: {sorted(again)[:5]}")
    received.update(second.messages)


async def settle(peer: Peer) -> None:
    """Until the answer to a request sent now has come, and so everything before it."""
    number = f"settle-{random.randrange(1 << 60)}"
    peer.session.send(f"<iq type='get' id='{number}' to='{peer.session.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
    deadline = time.monotonic() + 20
    while number not in peer.answered:
        if peer.lost or time.monotonic() > deadline:
            raise Failure(f"{peer.session.name}: no pong; {peer.session.transcript[-3:]}")
        await peer.pause(0.2) if not peer.session.inbox else peer.read()


async def check_roster(world: World, ledger: Ledger, number: int) -> None:
    if not ledger.names:
        return
    session = Session("editor/check", world, None, {}, time.monotonic())
    peer = Peer(world, "editor/check")
    peer.session = session
    await peer.login(enable=False)
    session.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
    answer = await session.expect("<iq type='result' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
    names = [int(item.get("name", "0")) for item in answer.iter("{jabber:iq:roster}item")]
    session.drop()
    if not names or max(names) < ledger.names:
        raise Failure(f"round {number}: the roster says {names}, but change {ledger.names} was answered with a result")


async def run(args) -> int:
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    started = time.monotonic()
    server = Nuncio(args.folder / "server", args.binary, "kill")
    ledger = Ledger()
    done = failed = 0
    try:
        await server.start()
        world = World(server)
        for account in ["sender0", "sender1", "sender2", "sender3", "editor", "away", "there"]:
            await server.add_account(account, server.domain, PASSWORD)
        for number in range(1, args.rounds + 1):
            await Round(world, number, chance, ledger).run()
            await server.start_again()
            await asyncio.gather(collect(world, "away", ledger, number), collect(world, "there", ledger, number),
                                 check_roster(world, ledger, number))
            for who, wanted, received in (("away", ledger.away, ledger.received_away), ("there", ledger.there, ledger.received_there)):
                missing = wanted - received
                if missing:
                    raise Failure(f"round {number}: acknowledged to the sender, but never given to {who}: {sorted(missing)[:5]} "
                                  f"({len(missing)} of {len(wanted)})")
            done += 1
            if number % 20 == 0:
                print(f"{number} rounds, {len(ledger.away) + len(ledger.there)} messages acknowledged, {time.monotonic() - started:.0f} s")
        if not ledger.away or not ledger.there or not ledger.names:
            raise Failure("the rounds were too short: nothing was acknowledged")
    except Exception as error:
        import traceback
        failed = 1
        print(f"FAIL (seed {seed}): {error}" if isinstance(error, Failure) else "".join(traceback.format_exception(error)))
        print(f"--- the end of nuncio's log\n{server.log()[-3000:]}")
    finally:
        await server.stop()
    print(f"kill against nuncio: {done} cases in {time.monotonic() - started:.1f} s; acknowledged: {len(ledger.away)} messages to one away, "
          f"{len(ledger.there)} to one there, {ledger.names} of {ledger.edits} roster changes; seed {seed}")
    print(f"{done} passed, {failed} failed")
    return failed
