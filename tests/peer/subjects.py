"""The servers under test, each a private instance in a folder of its own, on ports that the system chose."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .ca import Authority
from .script import Unsupported

DOMAIN, OTHER = "localhost", "other.localhost"


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on; for servers that cannot take port 0."""
    held = [socket.socket() for _ in range(count)]
    try:
        for sock in held:
            sock.bind((host, 0))
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


def die_with_parent() -> None:
    """The child gets SIGKILL when this process ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Subject:
    """What every suite needs of a server."""

    name = "?"
    host = "127.0.0.1"
    port: int
    tls_port: int | None = None
    domain, other_domain = DOMAIN, OTHER
    sources = True                  # each case comes from an address of its own
    ca: Path

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen | None = None

    # What each subject has to say for itself.

    def launch(self) -> subprocess.Popen:
        raise NotImplementedError

    async def add_account(self, local: str, domain: str, password: str) -> None:
        raise NotImplementedError

    async def operate(self, verb: str, arguments: list[str], scene) -> None:
        raise Unsupported(f"server {verb}")

    def client_certificate(self, jid: str):
        """Certificate chain and key of a client, from a CA that the subject trusts, with an XmppAddr."""
        authority = getattr(self, "authority", None)
        if authority is None:
            raise Unsupported("client certificates")
        stem = "client-" + re.sub(r"\W", "-", jid)
        return tuple(map(str, authority.leaf(stem, [f"otherName:1.3.6.1.5.5.7.8.5;UTF8:{jid}"])))

    # Common.

    def spawn(self, command: list[str], *, env=None, user: str | None = None, log: str = "out.log") -> subprocess.Popen:
        """In this process's group, so that whoever ends the group ends the server too."""
        out = open(self.folder / log, "ab")
        return subprocess.Popen(command, cwd=self.folder, env={**os.environ, **(env or {})}, user=user, group=user,
                                extra_groups=[] if user else None,
                                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)

    def own(self, user: str | None) -> None:
        """Gives the folder to the user that the server runs as."""
        if user is None:
            return
        entry = pwd.getpwnam(user)
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, entry.pw_uid, entry.pw_gid)

    async def start(self) -> None:
        self.process = self.launch()
        await self.ready(self.port)

    async def ready(self, port: int, within: float = 60) -> None:
        deadline = time.monotonic() + within
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} at its start:\n{self.log()}")
            try:
                _, writer = await asyncio.open_connection(self.host, port)
                writer.close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not listen on port {port} after {within:g} s:\n{self.log()}") from None
                await asyncio.sleep(0.1)

    def log(self) -> str:
        path = self.folder / "out.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    async def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            deadline = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()


async def command(*words: str, text: str = "", env=None, user: str | None = None) -> str:
    """Runs a command to its end; its output, or an error with what it said."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
        user=user, preexec_fn=die_with_parent)
    out, _ = await process.communicate(text.encode())
    if process.returncode:
        raise RuntimeError(f"{' '.join(words[:3])} ended with {process.returncode}: {out.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


class Prosody(Subject):
    """Prosody of the Debian package, not as a daemon."""

    name = "prosody"
    user = "prosody" if os.geteuid() == 0 else None

    def launch(self) -> subprocess.Popen:
        self.port, self.tls_port, s2s = free_ports(3)
        self.authority = Authority(self.folder / "ca")
        self.ca = self.authority.certificate
        chain, key = self.authority.leaf("server", [f"DNS:{DOMAIN}", f"DNS:{OTHER}"])
        self.config = self.folder / "prosody.cfg.lua"
        (self.folder / "data").mkdir(exist_ok=True)
        self.config.write_text(f"""
            data_path = "{self.folder}/data"; pidfile = "{self.folder}/prosody.pid"; daemonize = false
            interfaces = {{ "127.0.0.1" }}; c2s_ports = {{ {self.port} }}; c2s_direct_tls_ports = {{ {self.tls_port} }}
            s2s_ports = {{ {s2s} }}; http_ports = {{ }}; https_ports = {{ }}
            admins = {{ "admin@{DOMAIN}" }}
            modules_enabled = {{ "disco", "roster", "saslauth", "tls", "blocklist", "carbons", "pep", "private", "smacks",
              "vcard_legacy", "csi_simple", "ping", "register", "time", "version", "lastactivity", "offline", "uptime",
              "admin_adhoc", "admin_shell", "server_contact_info" }}
            modules_disabled = {{ "s2s" }}
            authentication = "internal_plain"; storage = "internal"; c2s_timeout = 3; c2s_close_timeout = 2
            c2s_require_encryption = true; smacks_hibernation_time = 60; allow_registration = false
            smacks_max_unacked_stanzas = 1000
            contact_info = {{ abuse = {{ "xmpp:admin@{DOMAIN}" }} }}
            ssl = {{ certificate = "{chain}"; key = "{key}" }}
            c2s_direct_tls_ssl = {{ certificate = "{chain}"; key = "{key}" }}
            log = {{ {{ levels = {{ min = "info" }}; to = "file"; filename = "{self.folder}/prosody.log" }} }}
            VirtualHost "{DOMAIN}"
            VirtualHost "{OTHER}"
            """)
        self.own(self.user)
        return self.spawn(["prosody", "--config", str(self.config), "-F"], user=self.user)

    async def start(self) -> None:
        await super().start()
        await self.add_account("admin", DOMAIN, "admin-secret")

    async def add_account(self, local: str, domain: str, password: str) -> None:
        # The format of Prosody's internal store; prosodyctl would start a Lua for each account.
        folder = self.folder / "data" / escape(domain) / "accounts"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{escape(local)}.dat"
        path.write_text('return {\n\t["password"] = "%s";\n};\n' % password.replace('"', '\\"'))
        if self.user:
            entry = pwd.getpwnam(self.user)
            for item in (folder.parent, folder, path):
                os.chown(item, entry.pw_uid, entry.pw_gid)

    async def operate(self, verb: str, arguments: list[str], scene) -> None:
        if verb == "reload-certificate":
            self.authority.leaf("server", [f"DNS:{DOMAIN}", f"DNS:{OTHER}"])
            self.own(self.user)
            self.process.send_signal(signal.SIGHUP)
        else:
            raise Unsupported(f"server {verb}")


def escape(name: str) -> str:
    """Prosody's file names: what is no letter or digit as %xx."""
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{b:02x}" for b in c.encode()) for c in name)


class Ejabberd(Subject):
    """ejabberd of the Debian package: one Erlang node without distribution, so there is no epmd and no cookie."""

    name = "ejabberd"
    user = "ejabberd" if os.geteuid() == 0 else None

    def launch(self) -> subprocess.Popen:
        self.port, self.tls_port, self.api_port = free_ports(3)
        self.authority = Authority(self.folder / "ca")
        self.ca = self.authority.certificate
        chain, key = self.authority.leaf("server", [f"DNS:{DOMAIN}", f"DNS:{OTHER}"])
        both = self.folder / "server.pem"
        both.write_text(chain.read_text() + key.read_text())
        for name in ("logs", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        config = self.folder / "ejabberd.yml"
        config.write_text(f"""
hosts: ["{DOMAIN}", "{OTHER}"]
loglevel: info
certfiles: ["{both}"]
ca_file: "{self.ca}"
auth_password_format: plain
auth_use_cache: false
negotiation_timeout: 3 s
disable_sasl_mechanisms: ["X-OAUTH2", "DIGEST-MD5"]
listen:
  - {{port: {self.port}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: true, starttls_required: true, max_stanza_size: 262144, access: c2s, shaper: none}}
  - {{port: {self.tls_port}, ip: "127.0.0.1", module: ejabberd_c2s, tls: true, max_stanza_size: 262144, access: c2s, shaper: none}}
  - {{port: {self.api_port}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{"/api": mod_http_api}}}}
acl:
  admin: {{user: ["admin@{DOMAIN}"]}}
  loopback: {{ip: ["127.0.0.0/8"]}}
access_rules:
  c2s: {{allow: all}}
  configure: {{allow: admin}}
api_permissions:
  "local api":
    from: mod_http_api
    who: {{ip: "127.0.0.0/8"}}
    what: "*"
modules:
  mod_adhoc: {{}}
  mod_blocking: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_client_state: {{}}
  mod_configure: {{}}
  mod_disco: {{server_info: [{{modules: all, name: "abuse-addresses", urls: ["xmpp:admin@{DOMAIN}"]}}]}}
  mod_http_api: {{}}
  mod_last: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_private: {{}}
  mod_roster: {{versioning: true}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline, resume_timeout: 60 s}}
  mod_time: {{}}
  mod_vcard: {{search: false}}
  mod_version: {{}}
""")
        (self.folder / "inetrc").write_text("{lookup,[file,native]}.\n")
        self.own(self.user)
        libraries = next(Path("/usr/lib").glob("*/ejabberd-*")).parent
        env = {"EJABBERD_CONFIG_PATH": str(config), "EJABBERD_LOG_PATH": str(self.folder / "logs" / "ejabberd.log"),
               "ERL_LIBS": str(libraries), "HOME": str(self.folder), "ERL_CRASH_DUMP": str(self.folder / "logs" / "crash.dump"),
               "ERL_INETRC": str(self.folder / "inetrc")}
        return self.spawn(["erl", "+K", "true", "+S", "2:2", "-noinput", "-mnesia", "dir", f'"{self.folder}/spool"', "-s", "ejabberd"],
                          env=env, user=self.user)

    def log(self) -> str:
        path = self.folder / "logs" / "ejabberd.log"
        return super().log() + (path.read_text(errors="replace")[-4000:] if path.exists() else "")

    async def start(self) -> None:
        await super().start()
        await self.ready(self.api_port)
        await self.add_account("admin", DOMAIN, "admin-secret")

    async def add_account(self, local: str, domain: str, password: str) -> None:
        import json
        import urllib.request
        body = json.dumps({"user": local, "host": domain, "password": password}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}/api/register", body,
                                         {"Content-Type": "application/json"})
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=20).read())


def subject(name: str, folder: Path, binary: Path | None, profile: str = "plain") -> Subject:
    """The subject of that name, not yet started."""
    if name == "nuncio":
        from .nuncio import Nuncio
        if binary is None:
            raise RuntimeError("the subject nuncio needs --binary")
        return Nuncio(folder, binary, profile)
    kinds = {"prosody": Prosody, "ejabberd": Ejabberd}
    for tool in {"prosody": ["prosody"], "ejabberd": ["erl"]}[name]:
        if shutil.which(tool) is None:
            raise RuntimeError(f"{name} is not installed: no command {tool}")
    return kinds[name](folder)
