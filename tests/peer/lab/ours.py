"""Nuncio as a server of the laboratory."""

from __future__ import annotations

import asyncio
import json
import subprocess

from ..subjects import command, die_with_parent
from .peers import PASSWORD, Peer, Proof

CONFIG = """
data = "data"

[listen]
c2s = ["{host}:5222"]
c2s_tls = []
http = []
msrp = []
s2s = ["{host}:5269"]
s2s_tls = ["{host}:5270"]

[log]
level = "info,nuncio_federation=debug"
format = "text"

[accounts]
scram_iterations = 4096

[limits]
connects_per_second = 1000

[timeouts]
login_seconds = 10
close_seconds = 2

[federation]
enabled = true
authorities = ["{trusted}"]
require = "authenticated"
queue_seconds = 18

[federation.dns]
servers = ["{resolver}:53"]
validate = "local"
trust_anchors = "{anchor}"

[federation.posh]
authorities = ["{trusted}"]
allow_networks = ["127.0.0.0/8"]
"""
DOMAIN = """
[[domain]]
name = "{name}"
certificate = "{chain}"
key = "{key}"
hosted = {hosted}
"""
RULE = """
[[federation.peer]]
domain = "{name}"
require = "{policy}"
"""


class LabNuncio(Peer):
    """The binary, with the laboratory's resolver, anchor and authorities."""

    def __init__(self, folder, world, name, binary):
        super().__init__(folder, world, name)
        if binary is None:
            raise RuntimeError("nuncio needs --binary")
        self.binary = binary
        self.config = folder / "nuncio.toml"

    def configured(self, text: str) -> str:
        """The configuration before it is written; for servers that differ."""
        return text

    def launch(self) -> subprocess.Popen:
        anchor = self.folder / "anchor"
        anchor.write_text(self.world.dns.anchor + "\n")
        text = "".join(DOMAIN.format(name=domain.name, chain=domain.credential.chain, key=domain.credential.key,
                                     hosted=str(bool(domain.settings.get("hosted") or domain.settings["certificate"] == "wrong-name")).lower())
                       for domain in self.domains)
        head = CONFIG.format(host=self.host, resolver=self.world.dns.resolver, anchor=anchor, trusted=self.world.pki.trusted)
        rules = "".join(RULE.format(name=domain.name, policy=domain.settings["policy"])
                        for domain in self.world.domains if domain.server != self.name)
        self.config.write_text(self.configured(head) + text + rules)
        return self.spawn([str(self.binary), "serve", "--config", str(self.config)])

    async def start(self) -> None:
        await super().start()
        for domain in self.domains:
            await self.run("account", "add", domain.account, "--password-stdin", text=PASSWORD + "\n")

    async def run(self, *words: str, text: str = "") -> str:
        return await command(str(self.binary), *words, "--config", str(self.config), text=text)

    async def tried(self, *words: str) -> tuple[int, str]:
        """A command whose status is part of the answer; status and standard output."""
        command = [str(self.binary), *words, "--config", str(self.config)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        out, err = await process.communicate()
        if process.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {err.decode(errors='replace')}")
        return process.returncode, out.decode(errors="replace")

    async def explain(self, remote: str) -> dict:
        """What the command says; its status is 1 while the domain fails."""
        return json.loads((await self.tried("federation", "explain", remote, "--json"))[1])

    async def look(self, local: str, remote: str, way: str) -> Proof | None:
        """RFC 7712's result for the pair: of the stream that they opened (`in`) or that we opened (`out`)."""
        said = await self.explain(remote)
        opened = {"in": "them", "out": "us"}[way]
        for stream in said["streams"]:
            if stream["local"] == local and stream["opened-by"] == opened:
                return Proof(stream["proven-by"], f"{stream['strength']}, {stream['evidence']}", wire=stream["authorised-by"])
        for attempt in said["attempts"]:
            if attempt["local"] == local and attempt["direction"] == way and attempt["code"] != "authorised":
                return Proof("refused", attempt["text"], attempt["code"], tuple(attempt["findings"]))
        return None
