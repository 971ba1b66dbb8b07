"""Knot as the authority of a root zone of our own and all below it, and unbound as the validating resolver in front."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from ..subjects import die_with_parent

# How each zone below "lab." is signed: "nsec", "nsec3", not at all, or so that its DS does not match.
ZONES = {"sec.lab": "nsec", "sec3.lab": "nsec3", "uns.lab": "unsigned", "bog.lab": "bogus", "dead.lab": "dead",
         "rsa.lab": "nsec3", "rsa512.lab": "nsec", "p384.lab": "nsec3", "ed.lab": "nsec"}
# With what, by name and number; those that are not here with ECDSA P-256.
ALGORITHMS = {"rsa.lab": ("RSASHA256", 8), "rsa512.lab": ("RSASHA512", 10), "p384.lab": ("ECDSAP384SHA384", 14), "ed.lab": ("ED25519", 15)}
USUAL = ("ECDSAP256SHA256", 13)
TYPES = {"A": 1, "SOA": 6, "SRV": 33, "TLSA": 52}


class Block:
    """A /24 of loopback addresses that nobody else uses: standard ports, and yet several laboratories at once."""

    def __init__(self):
        for _ in range(50):
            self.prefix = f"127.{1 + secrets.randbelow(253)}.{secrets.randbelow(256)}"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((self.host(1), 53))
                    return
                except PermissionError:
                    raise RuntimeError("the laboratory needs the ports 53 and 443 of loopback addresses: run it as root, or set "
                                       "net.ipv4.ip_unprivileged_port_start to 53") from None
                except OSError:
                    continue
        raise RuntimeError("no free block of loopback addresses")

    def host(self, number: int) -> str:
        return f"{self.prefix}.{number}"


class Dns:
    """Records first (`add`), then `start`. Every name lies in one of `ZONES`."""

    def __init__(self, folder: Path, block: Block):
        self.folder = folder
        self.authority, self.resolver, self.nobody = block.host(1), block.host(2), block.host(4)
        self.records: dict[str, list[str]] = {zone: [] for zone in ZONES}
        self.anchor = ""
        self._processes: list[subprocess.Popen] = []
        for part in ("run", "keys", "db", "zones"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def add(self, owner: str, kind: str, data: str, ttl: int = 300) -> None:
        self.records[self.zone_of(owner)].append(f"{owner}. {ttl} {kind} {data}")

    @staticmethod
    def zone_of(owner: str) -> str:
        for zone in ZONES:
            if owner == zone or owner.endswith("." + zone):
                return zone
        raise ValueError(f"{owner} lies in none of {', '.join(ZONES)}")

    async def start(self) -> None:
        for tool in ("knotd", "keymgr", "unbound"):
            if not find(tool):
                raise RuntimeError(f"no command {tool}: install the Debian packages knot and unbound")
        config = self._knot_config()
        signed = [".", "lab", *(zone for zone, how in ZONES.items() if how in ("nsec", "nsec3", "bogus"))]
        delegations = await asyncio.gather(*(asyncio.to_thread(self._key, config, zone) for zone in signed))
        self._write(dict(zip(signed, delegations)))
        self.anchor = delegations[0]
        self._spawn("knotd", "-c", str(config))
        unbound = self.folder / "unbound.conf"
        unbound.write_text(f"""
server:
  interface: {self.resolver}
  port: 53
  outgoing-interface: {self.resolver}
  access-control: 127.0.0.0/8 allow
  chroot: ""
  username: ""
  directory: "{self.folder}"
  pidfile: ""
  do-not-query-localhost: no
  do-ip6: no
  module-config: "validator iterator"
  use-syslog: no
  logfile: ""
  val-log-level: 2
  log-queries: yes
  num-threads: 1
  infra-host-ttl: 1
  outbound-msg-retry: 2
  trust-anchor: "{self.anchor}"
stub-zone:
  name: "."
  stub-addr: {self.authority}
remote-control:
  control-enable: no
""")
        await answers(self.authority, "lab", "SOA")
        self._spawn("unbound", "-d", "-c", str(unbound))
        await answers(self.resolver, "sec.lab", "SOA")

    def _knot_config(self) -> Path:
        zones = [".", "lab", *(zone for zone, how in ZONES.items() if how != "dead")]
        how = {".": "nsec", "lab": "nsec", **ZONES}
        kind = {zone: ("nsec3" if how[zone] == "nsec3" else "nsec", ALGORITHMS.get(zone, USUAL)[0]) for zone in zones}
        lines = [f"  - domain: {'.' if zone == '.' else zone + '.'}\n    file: \"{self._file(zone)}\"" +
                 ("" if how[zone] == "unsigned" else f"\n    dnssec-signing: on\n    dnssec-policy: {'-'.join(kind[zone])}") for zone in zones]
        policies = [f"  - id: {denial}-{algorithm}\n    algorithm: {algorithm}\n    single-type-signing: on\n    manual: on\n"
                    f"    nsec3: {'on' if denial == 'nsec3' else 'off'}" for denial, algorithm in sorted(set(kind.values()))]
        config = self.folder / "knot.conf"
        config.write_text(f"""
server:
    rundir: "{self.folder}/run"
    listen: [ {self.authority}@53 ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 2
log:
  - target: stderr
    any: warning
database:
    storage: "{self.folder}/db"
    kasp-db: "{self.folder}/keys"
    journal-db-max-size: 50M
    kasp-db-max-size: 20M
    timer-db-max-size: 5M
policy:
""" + "\n".join(policies) + f"""
template:
  - id: default
    storage: "{self.folder}/zones"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
""" + "\n".join(lines) + "\n")
        return config

    def _file(self, zone: str) -> Path:
        return self.folder / "zones" / ("root.zone" if zone == "." else f"{zone}.zone")

    def _key(self, config: Path, zone: str) -> str:
        """Makes the zone's key; its DS record."""
        def keymgr(*words: str) -> str:
            done = subprocess.run([find("keymgr"), "-c", str(config), zone if zone == "." else zone + ".", *words],
                                  capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise RuntimeError(f"keymgr {zone} {words[0]} failed: {done.stdout}{done.stderr}")
            return done.stdout
        algorithm, number = ALGORITHMS.get(zone, USUAL)
        keymgr("generate", f"algorithm={algorithm}", "ksk=yes", "zsk=yes")
        return next(line for line in keymgr("ds").splitlines() if f" {number} 2 " in line).strip()

    def _write(self, delegations: dict[str, str]) -> None:
        head = "$TTL 300\n{0} SOA ns.lab. admin.lab. 1 300 300 3000 60\n{0} NS ns.lab.\n"
        self._file(".").write_text(head.format(".") + f"lab. NS ns.lab.\nns.lab. A {self.authority}\n{delegations['lab']}\n")
        lab = head.format("lab.") + f"ns.lab. A {self.authority}\nnobody.lab. A {self.nobody}\n"
        for zone, how in ZONES.items():
            lab += f"{zone}. NS {'nobody' if how == 'dead' else 'ns'}.lab.\n"
            if how in ("nsec", "nsec3"):
                lab += delegations[zone] + "\n"
            if how == "bogus":
                text = delegations[zone].split()
                text[-1] = text[-1][::-1]
                lab += " ".join(text) + "\n"
            if how != "dead":
                self._file(zone).write_text(head.format(zone + ".") + "\n".join(self.records[zone]) + "\n")
        self._file("lab").write_text(lab)

    def _spawn(self, tool: str, *words: str) -> None:
        log = open(self.folder / f"{tool}.log", "ab")
        self._processes.append(subprocess.Popen([find(tool), *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=subprocess.STDOUT, preexec_fn=die_with_parent))

    def log(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    async def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                await asyncio.to_thread(process.wait, 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def find(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


async def answers(server: str, name: str, kind: str, within: float = 20) -> None:
    """Waits until the server answers this question with a record."""
    deadline = time.monotonic() + within
    while True:
        rcode, count, _ = await asyncio.to_thread(ask, server, name, kind)
        if rcode == 0 and count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server} does not answer {name} {kind}: rcode {rcode}, {count} records")
        await asyncio.sleep(0.1)


def ask(server: str, name: str, kind: str) -> tuple[int, int, bool]:
    """One question over UDP: rcode (-1: no answer), number of answers, and whether they are validated (AD)."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"
    packet = struct.pack(">HHHHHH", secrets.randbelow(65536), 0x0120, 1, 0, 0, 0) + question + struct.pack(">HH", TYPES[kind], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect((server, 53))
            sock.send(packet)
            reply = sock.recv(4096)
        except OSError:
            return -1, 0, False
    _, flags, _, count, _, _ = struct.unpack(">HHHHHH", reply[:12])
    return flags & 15, count, bool(flags & 0x20)
