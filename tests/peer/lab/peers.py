"""Prosody and ejabberd as federation peers: each serves its half of the cells and tells how it authenticated each stream."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..subjects import Subject, escape
from .sites import Domain, World

PASSWORD = "laboratory"
MODULES = Path(__file__).parent / "prosody"


@dataclass
class Proof:
    """How a server authenticated the other end of a stream: `external` or `dialback` at the rivals, the prooftype at Nuncio."""

    by: str = "-"
    more: str = ""
    code: str = ""                  # why not, if not
    findings: tuple[str, ...] = ()  # why each prooftype proved nothing
    wire: str = ""                  # by what Nuncio says the pair was authorised on the wire


class Peer(Subject):
    """A server of the laboratory: at an address of its own, with the standard ports."""

    def __init__(self, folder: Path, world: World, name: str):
        super().__init__(folder)
        self.world, self.name = world, name
        self.host = world.address(name)
        self.domains = world.of(name)
        self.port = 5222

    async def proof(self, local: str, remote: str, way: str, patience: float) -> Proof:
        """How this server authenticated `remote` on the stream that it got (`in`) or opened (`out`); logs are written late."""
        deadline = time.monotonic() + patience
        while (found := await self.look(local, remote, way)) is None and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return found or Proof()

    async def look(self, local: str, remote: str, way: str) -> Proof | None:
        raise NotImplementedError


class LabProsody(Peer):
    """Prosody of the Debian package, with libunbound, which validates for DANE."""

    user = "prosody" if os.geteuid() == 0 else None

    def launch(self) -> subprocess.Popen:
        (self.folder / "data").mkdir()
        (self.folder / "empty").mkdir()
        (self.folder / "certificates").mkdir()
        shutil.copytree(MODULES, self.folder / "modules")
        config = self.folder / "prosody.cfg.lua"
        anchor = self.world.dns.anchor
        config.write_text(f"""
            data_path = "{self.folder}/data"; pidfile = "{self.folder}/prosody.pid"; daemonize = false
            plugin_paths = {{ "{self.folder}/modules" }}; certificates = "{self.folder}/certificates"
            interfaces = {{ "{self.host}" }}; c2s_ports = {{ 5222 }}; s2s_ports = {{ 5269 }}; s2s_direct_tls_ports = {{ 5270 }}
            c2s_direct_tls_ports = {{ }}; http_ports = {{ }}; https_ports = {{ }}
            modules_enabled = {{ "disco", "saslauth", "tls", "dialback", "ping", "s2s_bidi", "smacks", "lab" }}
            authentication = "internal_plain"; storage = "internal"; allow_registration = false
            c2s_require_encryption = true; s2s_require_encryption = true; s2s_secure_auth = false; s2s_timeout = 15
            use_ipv6 = false; use_dane = true
            unbound = {{ resolvconf = false; hoststxt = false; forward = {{ "{self.world.dns.resolver}" }}; trusted = "{anchor}";
              options = {{ ["do-not-query-localhost:"] = "no" }} }}
            ssl = {{ cafile = "{self.world.pki.trusted}"; capath = "{self.folder}/empty" }}
            log = {{ {{ levels = {{ min = "debug" }}; to = "file"; filename = "{self.folder}/prosody.log" }} }}
            """ + "".join(map(self._virtual_host, self.domains)))
        for domain in self.domains:
            folder = self.folder / "data" / escape(domain.name) / "accounts"
            folder.mkdir(parents=True)
            (folder / "u.dat").write_text('return {\n\t["password"] = "%s";\n};\n' % PASSWORD)
            if domain.settings.get("direct_tls"):
                # By the name that the client hello asks for; what stands at the virtual host is for STARTTLS only.
                shutil.copy(domain.credential.chain, self.folder / "certificates" / f"{domain.name}.crt")
                shutil.copy(domain.credential.key, self.folder / "certificates" / f"{domain.name}.key")
        self.own(self.user)
        return self.spawn(["prosody", "--config", str(config), "-F"], user=self.user)

    def _virtual_host(self, domain: Domain) -> str:
        text = f"""
            VirtualHost "{domain.name}"
              ssl = {{ certificate = "{domain.credential.chain}"; key = "{domain.credential.key}" }}
            """
        if not domain.settings.get("client_certificate", True):
            text += 'lab_no_client_certificate = true; s2s_ssl = { verify = "none" }\n'
        return text

    def log(self) -> str:
        path = self.folder / "prosody.log"
        return super().log() + (path.read_text(errors="replace")[-6000:] if path.exists() else "")

    async def look(self, local: str, remote: str, way: str) -> Proof | None:
        text = (self.folder / "prosody.log").read_text(errors="replace")
        found = re.findall(rf"LAB {way} {re.escape(local)} {re.escape(remote)} (\S+) (.*)", text)
        return Proof(found[-1][0].lower(), found[-1][1]) if found else None


class LabEjabberd(Peer):
    """ejabberd of the Debian package, one Erlang node without distribution."""

    user = "ejabberd" if os.geteuid() == 0 else None

    def launch(self) -> subprocess.Popen:
        for part in ("logs", "spool", "certificates"):
            (self.folder / part).mkdir()
        for index, domain in enumerate(self.domains):
            both = domain.credential.chain.read_text() + domain.credential.key.read_text()
            (self.folder / "certificates" / f"{index}.pem").write_text(both)
        hosts = json.dumps([domain.name for domain in self.domains])
        config = self.folder / "ejabberd.yml"
        config.write_text(f"""
hosts: {hosts}
loglevel: debug
certfiles: ["{self.folder}/certificates/*.pem"]
ca_file: "{self.world.pki.trusted}"
s2s_use_starttls: required
s2s_cafile: "{self.world.pki.trusted}"
s2s_timeout: 60 s
s2s_dns_timeout: 5 s
s2s_dns_retries: 1
s2s_max_retry_delay: 5 s
outgoing_s2s_families: [ipv4]
outgoing_s2s_timeout: 5 s
auth_password_format: plain
auth_use_cache: false
listen:
  - {{port: 5222, ip: "{self.host}", module: ejabberd_c2s, starttls: true, max_stanza_size: 262144, access: all, shaper: none}}
  - {{port: 5269, ip: "{self.host}", module: ejabberd_s2s_in}}
  - {{port: 5270, ip: "{self.host}", module: ejabberd_s2s_in, tls: true}}
  - {{port: 5280, ip: "{self.host}", module: ejabberd_http, request_handlers: {{"/api": mod_http_api}}}}
acl:
  loopback: {{ip: ["127.0.0.0/8"]}}
api_permissions:
  "local api":
    from: mod_http_api
    who: {{ip: "127.0.0.0/8"}}
    what: "*"
modules:
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_ping: {{}}
  mod_s2s_dialback: {{}}
  mod_stream_mgmt: {{}}
""")
        resolver = self.world.dns.resolver.replace(".", ",")
        (self.folder / "inetrc").write_text(f"{{resolv_conf,\"\"}}.\n{{lookup,[file,dns]}}.\n{{nameserver,{{{resolver}}}}}.\n")
        self.own(self.user)
        libraries = next(Path("/usr/lib").glob("*/ejabberd-*")).parent
        env = {"EJABBERD_CONFIG_PATH": str(config), "EJABBERD_LOG_PATH": str(self.folder / "logs" / "ejabberd.log"),
               "ERL_LIBS": str(libraries), "HOME": str(self.folder), "ERL_CRASH_DUMP": str(self.folder / "logs" / "crash.dump"),
               "ERL_INETRC": str(self.folder / "inetrc")}
        erl = ["erl", "+K", "true", "+S", "2:2", "-noinput", "-mnesia", "dir", f'"{self.folder}/spool"', "-s", "ejabberd"]
        return self.spawn(self._with_resolver(erl), env=env)

    def _with_resolver(self, words: list[str]) -> list[str]:
        """Erlang asks the system's resolver for addresses, whatever its own configuration says: it gets a resolv.conf of its own."""
        path = self.folder / "resolv.conf"
        path.write_text(f"nameserver {self.world.dns.resolver}\noptions timeout:3 attempts:1\n")
        drop = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups"] if self.user else ["setpriv"]
        mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", *([] if self.user else ["-Ur"]), "-m", "sh", "-c", mount, str(path), *drop, "--pdeathsig", "KILL", *words]

    async def start(self) -> None:
        await super().start()
        await self.ready(5280)
        for domain in self.domains:
            await asyncio.to_thread(self._register, domain.name)

    def _register(self, domain: str) -> None:
        body = json.dumps({"user": "u", "host": domain, "password": PASSWORD}).encode()
        request = urllib.request.Request(f"http://{self.host}:5280/api/register", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=20).read()

    def _text(self) -> str:
        path = self.folder / "logs" / "ejabberd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def log(self) -> str:
        return super().log() + self._text()[-6000:]

    async def look(self, local: str, remote: str, way: str) -> Proof | None:
        pair = f"inbound s2s (\\S+) authentication {remote} -> {local} " if way == "in" else \
            f"outbound s2s (\\S+) authentication {local} -> {remote} "
        found = re.findall(f"Accepted {pair}", self._text())
        return Proof(found[-1].lower()) if found else None


def peer(folder: Path, world: World, name: str, binary: Path | None = None) -> Peer:
    """The server of that name, not yet started; its domains must be known."""
    if name.startswith("nuncio"):
        from .ours import LabNuncio
        return LabNuncio(folder, world, name, binary)
    return {"prosody": LabProsody, "ejabberd": LabEjabberd}[name](folder, world, name)
