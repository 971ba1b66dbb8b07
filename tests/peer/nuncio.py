"""Nuncio as a subject: the binary, its configuration, its commands and its metrics."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

from .ca import Authority
from .script import Unsupported
from .session import Failure
from .subjects import DOMAIN, OTHER, Subject, command

CONFIG = """
data = "data"

[[domain]]
name = "{domain}"
admins = ["admin@{domain}"]
contacts.abuse = ["xmpp:admin@{domain}"]

[[domain]]
name = "{other}"

[listen]
c2s = ["127.0.0.1:0"]
c2s_tls = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
msrp = ["127.0.0.1:0"]

[federation]
enabled = false

[log]
level = "{level}"
format = "json"

[tls]
client_authorities = ["{ca}"]

[accounts]
scram_iterations = 4096

[limits]
connects_per_second = 1000
failed_logins_per_stream = 5
failed_logins_per_account = 20
{limits}

[timeouts]
{timeouts}
"""
TIMEOUTS = {"raw": "login_seconds = 3\nclose_seconds = 2\nreset_seconds = 2", "conversations": "close_seconds = 2"}
LIMITS = {"kill": "offline_messages = 100000\nstanzas_per_second = 100000\nbytes_per_second = 100000000"}


class Nuncio(Subject):
    """The binary under test, configured for the suite `profile`."""

    name = "nuncio"

    def __init__(self, folder: Path, binary: Path, profile: str = "conversations"):
        super().__init__(folder)
        self.binary = binary
        self.profile = profile
        self.config = folder / "nuncio.toml"
        self._counters: dict[str, float] = {}

    def launch(self) -> subprocess.Popen:
        self.authority = Authority(self.folder / "clients-ca")
        self.config.write_text(CONFIG.format(
            domain=DOMAIN, other=OTHER, level="info", ca=self.authority.certificate,
            limits=LIMITS.get(self.profile, ""), timeouts=TIMEOUTS.get(self.profile, TIMEOUTS["conversations"])))
        self.ca = self.folder / "data" / "tls" / "ca.pem"
        return self.spawn([str(self.binary), "serve", "--config", str(self.config)])

    async def start(self) -> None:
        self.process = self.launch()
        await self._reached()
        await self.add_account("admin", DOMAIN, "admin-secret")

    async def start_again(self) -> None:
        """After a kill: on the same folder, with whatever ports it gets."""
        (self.folder / "out.log").rename(self.folder / "before.log")
        self.process = self.spawn([str(self.binary), "serve", "--config", str(self.config)])
        await self._reached()

    async def _reached(self) -> None:
        deadline = time.monotonic() + 60
        while not (found := self._listening()):
            if self.process.poll() is not None:
                raise RuntimeError(f"nuncio ended with {self.process.returncode} at its start:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"nuncio has not said where it listens:\n{self.log()}")
            await asyncio.sleep(0.02)
        self.port, self.tls_port, self.http_port = (port(found[key]) for key in ("c2s", "c2s_tls", "http"))

    def _listening(self) -> dict | None:
        path = self.folder / "out.log"
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            if line.startswith("{") and line.endswith("}"):
                said = json.loads(line)
                if said.get("message") == "listening":
                    return said
        return None

    async def run(self, *words: str, text: str = "") -> str:
        return await command(str(self.binary), *words, "--config", str(self.config), text=text)

    async def add_account(self, local: str, domain: str, password: str) -> None:
        await self.run("account", "add", f"{local}@{domain}", "--password-stdin", text=password + "\n")

    async def operate(self, verb: str, arguments: list[str], scene) -> None:
        if verb in ("reset", "reload"):
            await self.run(verb)
        elif verb in ("disable", "enable", "delete"):
            await self.run("account", verb, scene.variables[arguments[0]])
        elif verb == "add":
            await self.add_account(*scene.credentials(arguments[0]))
        elif verb == "end-session":
            await self.run("session", "end", scene.variables.get(arguments[0], arguments[0]))
        elif verb == "metric-before":
            self._counters[arguments[0]] = await self._metric(arguments[0])
        elif verb == "metric-risen":
            await self._until_risen(arguments[0])
        else:
            raise Unsupported(f"server {verb}")

    async def _metric(self, part: str) -> float:
        """The sum of all counters whose name holds `part`."""
        def fetch() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as answer:
                return answer.read().decode()
        text = await asyncio.to_thread(fetch)
        values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                  if not line.startswith("#") and part in re.split(r"[{ ]", line)[0]]
        if not values:
            raise Failure(f"/metrics has no counter named like {part!r}")
        return sum(values)

    async def _until_risen(self, part: str) -> None:
        deadline = time.monotonic() + 5
        while await self._metric(part) <= self._counters[part]:
            if time.monotonic() > deadline:
                raise Failure(f"the counter {part} has not risen")
            await asyncio.sleep(0.1)


def port(said) -> int:
    """The port of the first address of a log field such as `[127.0.0.1:5222]`."""
    return int(re.search(r":(\d+)\]?$", str(said).split(",")[0].strip()).group(1))
