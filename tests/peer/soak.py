"""A long mixed load: logins, messages, resumptions, broken connections and bad input. Nothing gets lost, nothing grows."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from .kill import PASSWORD, Peer, World, settle
from .nuncio import Nuncio
from .session import Failure, Session

PAIRS = 8
RUBBISH = [b"GET / HTTP/1.1\r\n\r\n", b"<stream:stream", b"\x16\x03\x01\x00\xff" + bytes(64), b"<a>" * 3000, b"\x00", b""]


def resident(pid: int) -> int:
    """Resident memory in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Load:
    def __init__(self, world: World, seed: int):
        self.world, self.chance = world, random.Random(seed)
        self.until = 0.0
        self.messages = self.logins = self.resumptions = self.refused = 0

    async def pair(self, index: int) -> None:
        """Two accounts that talk, one of them with a bad line."""
        number = 0
        while time.monotonic() < self.until:
            one, other = Peer(self.world, f"one{index}/soak"), Peer(self.world, f"other{index}/soak")
            await asyncio.gather(one.login(), other.login())
            self.logins += 2
            for peer in (one, other):
                peer.session.send("<presence/>")
                await settle(peer)
            sent = []
            for _ in range(self.chance.randrange(5, 60)):
                number += 1
                sent.append(f"s-{index}-{number}")
                one.send(f"<message to='{other.jid}' type='chat' id='{sent[-1]}'><body>{'x' * self.chance.randrange(1, 2000)}"
                         "</body></message>", sent[-1])
                if self.chance.random() < 0.1:
                    other.read()
                    await other.resume()
                    self.resumptions += 1
                await one.pause(self.chance.uniform(0, 0.01))
            await settle(one)
            deadline = time.monotonic() + 30
            while set(sent) - set(other.messages):
                if other.lost or time.monotonic() > deadline:
                    raise Failure(f"pair {index}: not delivered: {sorted(set(sent) - set(other.messages))[:5]}")
                await other.pause(0.1)
            doubled = [m for m in set(other.messages) if other.messages.count(m) > 1]
            if doubled:
                raise Failure(f"pair {index}: delivered twice: {doubled[:5]}")
            self.messages += len(sent)
            other.session.send(f"<a xmlns='urn:xmpp:sm:3' h='{other.came}'/>")
            await settle(other)
            other.session.send(f"<a xmlns='urn:xmpp:sm:3' h='{other.came}'/>")
            for peer in (one, other):
                peer.session.send("</stream:stream>")
                await peer.session.stream_end()
                peer.session.drop()

    async def vandal(self) -> None:
        """Connections that come to nothing."""
        while time.monotonic() < self.until:
            session = Session("vandal/soak", self.world, "127.0.9.9", {}, time.monotonic())
            try:
                await session.connect(self.chance.choice(["tcp", "tls"]))
                session.send(self.chance.choice(RUBBISH))
                if self.chance.random() < 0.5:
                    await asyncio.sleep(self.chance.uniform(0, 0.2))
            except Failure:
                pass
            session.drop()
            self.refused += 1
            await asyncio.sleep(self.chance.uniform(0, 0.05))


async def run(args) -> int:
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    started = time.monotonic()
    server = Nuncio(args.folder / "server", args.binary, "kill")
    failed = 0
    load = None
    try:
        await server.start()
        load = Load(World(server), seed)
        for index in range(PAIRS):
            for name in (f"one{index}", f"other{index}"):
                await server.add_account(name, server.domain, PASSWORD)
        sizes = []
        phase = args.minutes * 60 / 4
        for quarter in range(4):
            load.until = time.monotonic() + phase
            await asyncio.gather(*(load.pair(i) for i in range(PAIRS)), load.vandal(), load.vandal())
            sizes.append(resident(server.process.pid))
            print(f"quarter {quarter + 1}: {sizes[-1] // 1024} MiB resident, {load.messages} messages, {load.logins} logins")
        if sizes[3] > sizes[1] * 1.2 + 16 * 1024:
            raise Failure(f"memory grows: {[size // 1024 for size in sizes]} MiB at the quarters")
        if "panicked" in (server.folder / "out.log").read_text(errors="replace"):
            raise Failure("the server has panicked")
    except Exception as error:
        import traceback
        failed = 1
        print(f"FAIL (seed {seed}): {error}" if isinstance(error, Failure) else "".join(traceback.format_exception(error)))
        print(f"--- the end of nuncio's log\n{server.log()[-3000:]}")
    finally:
        await server.stop()
    told = f"{load.messages} messages, {load.logins} logins, {load.resumptions} resumptions, {load.refused} vandals" if load else "nothing"
    print(f"soak against nuncio: 1 cases in {time.monotonic() - started:.1f} s; {told}; seed {seed}")
    print(f"{1 - failed} passed, {failed} failed")
    return failed
