"""`nuncio check` on the ten prepared domains: one good, nine broken in one way each (show 4)."""

from __future__ import annotations

import asyncio
import json
import time

from .broken import Broken, build, load
from .peers import peer
from .sites import World


async def run(args) -> int:
    """The last line must name the cause by its code, the status must be 0 or 1, and `--json` must be JSON that says the same."""
    started, world, servers, brokens, results = time.monotonic(), World(args.folder), [], [], []
    try:
        await world.domain({"name": "home"}, "nuncio", "check", "out", {"zone": "uns", "certificate": "good", "policy": "authenticated"})
        brokens = [await build(world, data) for data in load(args.only, checked=True)]
        await world.start()
        server = peer(args.folder / "nuncio", world, "nuncio", args.binary)
        servers.append(server)
        await server.start()
        results = await asyncio.gather(*(one(broken, server) for broken in brokens))
        for name, seconds, last, wrong in results:
            print(f"{name:<16} {seconds:5.1f}s  {'FAIL' if wrong else 'pass'}  {last}" + (f"\n    {wrong}" if wrong else ""))
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
        for broken in brokens:
            await broken.responder.stop()
        await world.stop()
    failed = sum(bool(result[3]) for result in results)
    print(f"nuncio check: {len(results)} cases in {time.monotonic() - started:.1f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


async def one(broken: Broken, server) -> tuple[str, float, str, str]:
    begun = time.monotonic()
    (status, text), (json_status, said) = await asyncio.gather(
        server.tried("check", broken.name), server.tried("check", broken.name, "--json"))
    last = (text.strip().splitlines() or [""])[-1]
    good = broken.data["code"] == "none"
    codes = {broken.data["code"], broken.data.get("code_in", broken.data["code"])}
    wrong = []
    if status != (0 if good else 1) or json_status != status:
        wrong.append(f"status {status}, with --json {json_status}")
    if not good and not any(f"[{code}]" in last for code in codes):
        wrong.append(f"the last line names none of {', '.join(sorted(codes))}:\n{text}")
    try:
        json.loads(said)
    except ValueError as error:
        wrong.append(f"--json is no JSON: {error}")
    if not good and not any(f'"{code}"' in said for code in codes):
        wrong.append("--json does not name the cause")
    return broken.data["name"], time.monotonic() - begun, last, "; ".join(wrong)
