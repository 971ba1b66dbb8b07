"""The HTTPS server of the laboratory's domains: POSH documents (RFC 7711), good ones and bad ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from .pki import Credential

WELL_KNOWN = "/.well-known/posh/{service}.json"


def document(*credentials: Credential, expires: int = 86400) -> dict:
    """RFC 7711 section 3: fingerprints of these certificates."""
    prints = [{"sha-256": base64.b64encode(credential.fingerprint()).decode()} for credential in credentials]
    return {"fingerprints": prints, "expires": expires}


def reference(url: str, expires: int = 86400) -> dict:
    """RFC 7711 section 3: the fingerprints stand elsewhere."""
    return {"url": url, "expires": expires}


@dataclass
class Site:
    """What one domain's web server says. `how` is a behaviour of `Web.BEHAVIOURS`."""

    credential: Credential
    pages: dict[str, dict | bytes] = field(default_factory=dict)      # path -> document
    how: str = "good"
    to: str = ""                                                      # of redirects
    asked: list[str] = field(default_factory=list)                    # the paths, as they were asked for


class Web:
    """One listener for all domains; which one is meant is told by SNI."""

    BEHAVIOURS = ("good", "missing", "forbidden", "error", "not-json", "wrong-type", "huge", "slow", "silent", "cut-off",
                  "redirect", "redirect-loop")

    def __init__(self, host: str, folder: Path):
        self.host = host
        self.sites: dict[str, Site] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()
        self.folder = folder

    def add(self, domain: str, site: Site) -> Site:
        if site.how not in self.BEHAVIOURS:
            raise ValueError(f"no behaviour {site.how}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.credential.chain, site.credential.key)
        self._contexts[domain] = context
        self.sites[domain] = site
        return site

    async def start(self) -> None:
        if not self.sites:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first = next(iter(self.sites.values()))
        context.load_cert_chain(first.credential.chain, first.credential.key)
        context.sni_callback = self._choose
        self._server = await asyncio.start_server(self._accept, self.host, 443, ssl=context, ssl_handshake_timeout=10)

    def _choose(self, sock, name, _context) -> None:
        if name in self._contexts:
            sock.context = self._contexts[name]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, ssl.SSLError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            name = next((line.partition(":")[2].strip() for line in head if line.lower().startswith("host:")), "")
            site = self.sites.get(name.partition(":")[0])
            if site is None:
                await self._say(writer, "421 Misdirected Request", b"")
            else:
                site.asked.append(path)
                await self._answer(site, path, writer)
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.close()

    async def _answer(self, site: Site, path: str, writer: asyncio.StreamWriter) -> None:
        page = site.pages.get(path)
        body = page if isinstance(page, bytes) else json.dumps(page).encode()
        match site.how:
            case "missing":
                await self._say(writer, "404 Not Found", b"")
            case "forbidden":
                await self._say(writer, "403 Forbidden", b"")
            case "error":
                await self._say(writer, "500 Internal Server Error", b"")
            case "redirect":
                await self._say(writer, "302 Found", b"", f"Location: {site.to}\r\n")
            case "redirect-loop":
                await self._say(writer, "302 Found", b"", f"Location: {path}\r\n")
            case "silent":
                await asyncio.sleep(60)
            case _ if page is None:
                await self._say(writer, "404 Not Found", b"")
            case "good":
                await self._say(writer, "200 OK", body)
            case "not-json":
                await self._say(writer, "200 OK", b"<html>fingerprints</html>")
            case "wrong-type":
                await self._say(writer, "200 OK", body, content="text/html")
            case "huge":
                await self._say(writer, "200 OK", b'{"expires":1,"fingerprints":[' + b" " * 4_000_000 + b"]}")
            case "slow":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                for byte in body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            case "cut-off":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
                writer.write(body[:len(body) // 2])
                await writer.drain()

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, status: str, body: bytes, more: str = "", content: str = "application/json") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
