"""The runner: `python -m peer raw|conversations|clients|library|kill|soak --subject NAME...`; `cargo xtask interop` starts it."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from . import script, verbs  # noqa: F401 (verbs adds to script's)
from .subjects import subject

TESTS = Path(__file__).resolve().parent.parent


def known(name: str) -> dict[str, str]:
    """The conversations that a subject is known to fail, with the reason."""
    path = TESTS / "known" / f"{name}.toml"
    return tomllib.loads(path.read_text()).get("known", {}) if path.exists() else {}


async def run_cases(args) -> int:
    cases = script.load(TESTS / args.suite)
    if args.only:
        cases = [case for case in cases if any(case.id.startswith(only) for only in args.only)]
    server = subject(args.subject, args.folder, args.binary, profile=args.suite)
    started = time.monotonic()
    try:
        await server.start()
        results = await script.run_all(cases, server, args.width)
    finally:
        await server.stop()
    if args.json:
        args.json.write_text(json.dumps({
            "suite": args.suite, "subject": args.subject,
            "cases": [{"id": r.case.id, "title": r.case.title, "ok": r.ok if r.offered else None, "why": r.why} for r in results]}))
    expected = known(args.subject) if args.suite == "conversations" else {}
    rival = args.subject != "nuncio"
    failed = passed = told = 0
    for result in results:
        reason = expected.get(result.case.id)
        if args.suite == "raw" and rival:
            verdict = "pass" if result.ok else "no" if result.offered else "n/a"      # a rival's score is told, not judged
            passed, told = passed + result.ok, told + (not result.ok)
        elif result.ok and reason is None:
            verdict, passed = "pass", passed + 1
        elif not result.ok and reason is not None:
            verdict, told = f"known failure: {reason}", told + 1
        else:
            verdict, failed = ("FAIL" if reason is None else "FAIL: passes, but stands in the list of known failures"), failed + 1
        print(f"{result.case.id:<12} {result.seconds:5.1f}s  {verdict}  {result.case.title}")
        if not result.ok and (verdict.startswith("FAIL") or args.verbose or args.suite == "raw"):
            print(f"             {result.why[:1500]}")
        if (not result.ok and verdict.startswith("FAIL") and reason is None) or args.verbose:
            print("\n".join(f"               | {line}" for line in result.transcript[-args.lines:]))
    score = sum(r.ok for r in results)
    print(f"{args.suite} against {args.subject}: {score} of {len(results)} cases in {time.monotonic() - started:.1f} s")
    failed += score == 0                                 # then it is not the subject that is at fault
    print(f"{passed} passed, {failed} failed, {told} skipped")
    if failed:
        print(f"--- the end of {args.subject}'s log\n{server.log()[-2500:]}")
    return 1 if failed else 0


async def main() -> int:
    parser = argparse.ArgumentParser(prog="peer")
    parser.add_argument("suite", choices=["raw", "conversations", "clients", "library", "kill", "soak", "federation", "broken", "check", "levels", "msrp"])
    parser.add_argument("--subject", default="nuncio", choices=["nuncio", "prosody", "ejabberd"])
    parser.add_argument("--binary", type=Path, help="the nuncio binary")
    parser.add_argument("--client", type=Path, help="library: the example `resume` of the client library")
    parser.add_argument("--generator", type=Path, help="msrp: the example `frames` of the crate msrp")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--width", type=int, help="how many cases run at once (8; of msrp 20, which mostly wait)")
    parser.add_argument("--lines", type=int, default=40, help="lines of transcript shown of a failed case")
    parser.add_argument("--rounds", type=int, default=5, help="kill: how many")
    parser.add_argument("--minutes", type=float, default=1, help="soak: how long")
    parser.add_argument("--seed", type=int, help="kill: of the random choices")
    parser.add_argument("--verbose", action="store_true", help="show every transcript")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    parser.add_argument("--peer", dest="peers", action="append", help="federation: only against this server")
    parser.add_argument("--only", action="append", help="only cases whose id begins so")
    args = parser.parse_args()
    args.width = args.width or (20 if args.suite == "msrp" else 8)
    if args.binary:
        args.binary = args.binary.resolve()
    if args.client:
        args.client = args.client.resolve()
    if args.generator:
        args.generator = args.generator.resolve()
    args.folder = Path(tempfile.mkdtemp(prefix="nuncio-interop-"))
    os.chmod(args.folder, 0o755)
    # Whoever started this may be ended without a chance to say so.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        if args.suite == "clients":
            from .clients import run
            return await run(args)
        if args.suite == "library":
            from .library import run
            return await run(args)
        if args.suite == "kill":
            from .kill import run
            return await run(args)
        if args.suite == "soak":
            from .soak import run
            return await run(args)
        if args.suite == "federation":
            from .lab.matrix import run
            return await run(args)
        if args.suite == "check":
            from .lab.check import run
            return await run(args)
        if args.suite == "levels":
            from .lab.levels import run
            return await run(args)
        if args.suite == "msrp":
            from .msrp.suite import run
            return await run(args)
        if args.suite == "broken":
            from .lab.broken import run
            return await run(args)
        return await run_cases(args)
    except asyncio.CancelledError:
        print("ended by a signal")
        return 1
    except Exception as error:
        import traceback
        traceback.print_exc()
        print(f"{args.suite} against {args.subject} could not run: {error}\n0 passed, 1 failed")
        return 1
    finally:
        if args.keep:
            print(f"kept: {args.folder}")
        else:
            shutil.rmtree(args.folder, ignore_errors=True)


sys.exit(asyncio.run(main()))
