"""The client library against the subject: it logs in, loses its connections and resumes, over STARTTLS and over direct TLS."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from .subjects import die_with_parent, subject

PATIENCE = 120
# What a login must have proven. Debian's rivals bind channels by tls-unique only, which TLS 1.3 does not have.
PROVEN = {"nuncio": ["Tls13", "SCRAM-SHA-512-PLUS", "tls-exporter", "knows the password"],
          "prosody": ["Tls13", "SCRAM-SHA-256", "knows the password"],
          "ejabberd": ["Tls13", "SCRAM-SHA-512", "knows the password"]}
# Prosody offers no -PLUS over TLS 1.3. ejabberd does, and does not say that it has only tls-unique (no XEP-0440), so it must be told apart.
MECHANISMS = {"ejabberd": ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]}


async def run(args) -> int:
    if args.client is None or not args.client.is_file():
        raise RuntimeError(f"no example of the client library: --client {args.client}")
    server = subject(args.subject, args.folder / "server", args.binary)
    started = time.monotonic()
    passed = failed = 0
    try:
        await server.start()
        for name in ("alice", "bob"):
            await server.add_account(name, server.domain, f"{name}-password")
        for start, port in (("starttls", server.port), ("direct", server.tls_port)):
            done, problem = await play(args.client, server, start, port)
            passed += done
            if problem:
                failed += 1
                print(f"FAIL: {start}: {problem}")
        if failed:
            print(f"--- the end of {args.subject}'s log\n{server.log()[-3000:]}")
    finally:
        await server.stop()
    print(f"library against {args.subject}: {passed} cases in {time.monotonic() - started:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return failed


async def play(client: Path, server, start: str, port: int) -> tuple[int, str]:
    """Runs the example; how many things it has seen, and what went wrong."""
    passwords = {"ALICE": "alice-password", "BOB": "bob-password"}
    process = await asyncio.create_subprocess_exec(
        str(client), f"{server.host}:{port}", start, str(server.ca), server.domain, *MECHANISMS.get(server.name, []), env={**os.environ, **passwords},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    except asyncio.TimeoutError:
        process.kill()
        return 0, f"not done after {PATIENCE} s"
    lines = out.decode(errors="replace").splitlines()
    for line in lines:
        print(f"        {start}: {line}")
    logins = [line for line in lines if " logs in: " in line]
    if process.returncode:
        return max(len(lines) - 1, 0), f"ended with {process.returncode}"
    if len(logins) != 2 or not all(word in line for line in logins for word in PROVEN[server.name]):
        return len(lines), f"the logins have not proven {PROVEN[server.name]}"
    return len(lines), ""
