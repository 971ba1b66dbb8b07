"""Cases: `nuncio msrp check` on our relay and endpoint and on Kamailio, and `nuncio msrp send` through the relay."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

from ..subjects import Subject, die_with_parent, free_ports
from .cases import case, check, expect
from .endpoint import Failed
from .kamailio import Kamailio
from .stage import KAMAILIO, Pass, Relay, Stage

LOOPBACK = "127.0.0.1"
NAME = "localhost"                  # the only name that the system's resolver knows here
LONGEST = 240.0  #  probation alone is 30 s, and it is tried more than once


async def tool(stage: Stage, *words: str, text: str = "", folder: Path | None = None) -> tuple[int, str]:
    """Runs `nuncio msrp ...`; its status and what it says."""
    process = await asyncio.create_subprocess_exec(str(stage.binary), "msrp", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                   stderr=subprocess.STDOUT, cwd=folder, preexec_fn=die_with_parent)
    try:
        out, _ = await asyncio.wait_for(process.communicate(text.encode()), LONGEST)
    except (TimeoutError, asyncio.TimeoutError):
        raise Failed(f"nuncio msrp {words[0]} is not done after {LONGEST:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(errors="replace")


async def checked(stage: Stage, *words: str, text: str = "") -> tuple[int, dict]:
    """What `nuncio msrp check` says."""
    status, said = await tool(stage, "check", *words, "--ca", str(stage.pki.trusted), "--timeout", "4", "--json", text=text)
    try:
        return status, json.loads(said)
    except ValueError:
        raise Failed(f"status {status}: {said[:800]}") from None


@asynccontextmanager
async def running(server: Subject):
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def near(stage: Stage, label: str, number: int):
    """A relay of ours by a name that tools can look up."""
    relay = Relay(stage, label, stage.block.host(number), stage.binary, domain=NAME, relay=(LOOPBACK, free_ports(1)[0]))
    async with running(relay):
        yield relay


async def passes(stage: Stage, relay: Relay) -> Pass:
    return (await stage.credentials(relay))[1]


async def described(sdp: Path, receiving: asyncio.Future) -> str:
    """The session description that `nuncio msrp receive` writes."""
    while not sdp.exists() or not (text := sdp.read_text()).endswith("\n"):
        if receiving.done():
            raise Failed(f"nuncio msrp receive: {receiving.result()}")
        await asyncio.sleep(0.05)
    return text


def fallen(said: dict) -> list[str]:
    return [f"{one['name']}: {one['reason']}" for one in said["cases"] if one["result"] == "fail"]


@case("check/relay", "`nuncio msrp check` finds nothing wrong with our relay", "S1-L1 S1-L7")
async def check_relay(stage: Stage) -> str:
    async with near(stage, "checked", 13) as relay:
        credentials = await passes(stage, relay)
        status, said = await checked(stage, f"msrps://{NAME}:{relay.port};tcp", "--user", credentials.username, "--password-stdin",
                                     text=credentials.password + "\n")
        expect((fallen(said), status), ([], 0), "what fails")
        check(said["passed"] > 20, f"{said['passed']} passed")
    return f"{said['passed']} passed, {said['not_applicable']} not applicable"


@case("check/kamailio", "`nuncio msrp check` names the open relay that Kamailio is, as its manual configures it", "S1-R4 S1-L7")
async def check_kamailio(stage: Stage) -> str:
    host, port = LOOPBACK, free_ports(1)[0]
    kamailio = Kamailio(stage.folder / "kamailio-checked", NAME, host, port, stage.pki.make("kamailio-checked", NAME), stage.pki.trusted, KAMAILIO)
    async with running(kamailio):
        status, said = await checked(stage, f"msrps://{NAME}:{port};tcp", "--user", "alice", "--password-stdin", text=KAMAILIO + "\n")
        failed = [one["name"] for one in said["cases"] if one["result"] == "fail"]
        named = any(name.startswith("open-relay") for name in failed)
        expect((status, named), (1, True), f"the status, and whether {failed} has the open relay")
    return f"{said['passed']} passed; failed: {', '.join(failed)}"


@case("check/endpoint", "`nuncio msrp check` finds nothing wrong with `nuncio msrp receive`", "S1-03 S1-A1")
async def check_endpoint(stage: Stage) -> str:
    folder = stage.folder / "receive"
    folder.mkdir()
    sdp = folder / "bob.sdp"
    receiving = asyncio.ensure_future(tool(stage, "receive", "--sdp", str(sdp), "--count", "100000", "--timeout", "230", "--max-size", "10000000",
                                           folder=folder))
    try:
        await described(sdp, receiving)
        status, said = await checked(stage, "--sdp", str(sdp))
        expect((fallen(said), status), ([], 0), "what fails")
        check(said["passed"] > 25, f"{said['passed']} passed")
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    return f"{said['passed']} passed, {said['not_applicable']} not applicable"


@case("send/file", "`nuncio msrp send` brings 20 MB of random octets through our relay to `nuncio msrp receive`", "S1-R4")
async def send_file(stage: Stage) -> str:
    folder = stage.folder / "send"
    (folder / "came").mkdir(parents=True)
    sdp, data = folder / "bob.sdp", os.urandom(20_000_000)
    (folder / "random.bin").write_bytes(data)
    async with near(stage, "sent", 14) as relay:
        alice, bob = await passes(stage, relay), await passes(stage, relay)
        at = ("--relay", f"msrps://{NAME}:{relay.port};tcp", "--password-stdin", "--ca", str(stage.pki.trusted))
        receiving = asyncio.ensure_future(tool(stage, "receive", "--sdp", str(sdp), "--folder", str(folder / "came"), *at, "--user", bob.username,
                                               text=bob.password + "\n"))
        try:
            await described(sdp, receiving)
            status, said = await tool(stage, "send", "--to-sdp", str(sdp), "--file", str(folder / "random.bin"), *at, "--user", alice.username,
                                      text=alice.password + "\n")
            expect(status, 0, f"nuncio msrp send says {said[-500:]!r}")
            status, said = await receiving
            expect(status, 0, f"nuncio msrp receive says {said[-500:]!r}")
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
    came = list((folder / "came").iterdir())
    expect([path.read_bytes() == data for path in came], [True], f"whether {came} is the file")
    return "byte-exact"
