"""The suite: all cases on one stage, tshark as oracle, and the table."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from pathlib import Path

from . import attacks, chains, chance, logins, midway, oracle, pressure, tools, transfers, web
from .cases import ALL, Case
from .endpoint import Failed
from .stage import Stage

LIMIT = 270                         # seconds of a case
FRAMES, SEED = 10_000, 1
LAST = ("attack/end", "attack/log")
CASES = {module.__file__ for module in (attacks, chains, chance, logins, midway, pressure, tools, transfers, web)} | {__file__}


async def one(case: Case, stage: Stage, turns: asyncio.Semaphore) -> dict:
    async with turns:
        started, result = time.monotonic(), {"id": case.ident, "title": case.title, "demands": case.demands, "ok": False, "why": ""}
        try:
            async with asyncio.timeout(LIMIT):
                result["why"] = await case.play(stage) or ""
            result["ok"] = True
        except TimeoutError:
            result["why"] = f"not done after {LIMIT} s: " + traceback.format_exc(limit=-4)
        except Failed as failed:
            # The line of a case, rather than of what it stands on.
            line = next(frame for frame in reversed(traceback.extract_tb(failed.__traceback__)) if frame.filename in CASES)
            result["why"] = f"{failed} ({Path(line.filename).name}:{line.lineno})"
        except Exception:
            result["why"] = traceback.format_exc(limit=-4)
        result["seconds"] = time.monotonic() - started
        return result


async def framing(args) -> dict:
    """Not a case of the stage: it needs no server."""
    result = {"id": "framing", "title": f"tshark sees in {FRAMES} random frames of our encoder what they are meant to say", "demands": "RFC 4975 section 9",
              "ok": False, "why": "no generator: --generator"}
    started = time.monotonic()
    try:
        if args.generator is not None:
            result["why"] = await oracle.run(args.folder / "oracle", args.generator, FRAMES, SEED)
            result["ok"] = True
    except Exception as error:
        result["why"] = str(error)
    result["seconds"] = time.monotonic() - started
    return result


async def run(args) -> int:
    for name in ("slixmpp", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started, stage = time.monotonic(), Stage(args.folder, args.binary)
    cases = [case for case in ALL if not args.only or any(case.ident.startswith(only) for only in args.only)]
    results, turns = [], asyncio.Semaphore(args.width)
    try:
        await stage.start()
        print(f"{len(stage.servers)} relays stand after {time.monotonic() - started:.1f} s")
        waiting = [one(case, stage, turns) for case in cases if case.ident not in LAST]
        if not args.only or "framing" in args.only:
            waiting.append(framing(args))
        results = list(await asyncio.gather(*waiting))
        results += [await one(case, stage, turns) for case in cases if case.ident in LAST]
    finally:
        await stage.stop()
        failed = report(results)
        if failed or not results:
            for server in stage.servers:
                print(f"--- the end of {server.name}'s log\n{server.log()[-3000:]}")
    if args.json:
        args.json.write_text(json.dumps({"suite": "msrp", "subject": args.subject, "cases": results}, indent=1))
    print(f"msrp against {args.subject}: {len(results)} cases in {time.monotonic() - started:.1f} s")
    if failed:
        print("short: " + ", ".join(result["id"] for result in results if not result["ok"]))
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


def report(results: list[dict]) -> int:
    for result in results:
        print(f"{result['id']:<28} {result['seconds']:5.1f}s  {'pass' if result['ok'] else 'FAIL'}  {result['title']} [{result['demands']}]")
        print("\n".join(f"{'':<37}{line}" for line in result["why"].splitlines()[:30]))
    return sum(not result["ok"] for result in results)
