"""`nuncio check` on the ten prepared domains: one good, nine broken in one way each (show 4)."""

from __future__ import annotations

import asyncio
import time

from .broken import CHECKS, build, checked, load
from .peers import peer
from .sites import World


async def run(args) -> int:
    """The last line of each, as `broken.checked` judges it."""
    started, world, servers, brokens, results = time.monotonic(), World(args.folder), [], [], []
    try:
        ours = await world.domain({"name": "home"}, "nuncio", "check", "out", {"zone": "uns", "certificate": "good", "policy": "authenticated"})
        brokens = [await build(world, data) for data in load(args.only, checked=True)]
        await world.start()
        server = peer(args.folder / "nuncio", world, "nuncio", args.binary)
        servers.append(server)
        await server.start()
        turns = asyncio.Semaphore(CHECKS)
        results = await asyncio.gather(*(checked(broken, ours, server, turns) for broken in brokens))
        for result in results:
            print(f"{result['name']:<20} {result['seconds']:5.1f}s  {'FAIL' if result['wrong'] else 'pass'}  {result['outcome']}: {result['text']}"
                  + (f"\n    {result['wrong']}" if result["wrong"] else ""))
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
        for broken in brokens:
            await broken.responder.stop()
        await world.stop()
    failed = sum(bool(result["wrong"]) for result in results)
    print(f"nuncio check: {len(results)} cases in {time.monotonic() - started:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0
