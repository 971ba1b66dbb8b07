"""profanity in tmux: a person at a terminal, typing and reading."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from .session import Failure
from .subjects import die_with_parent

PATIENCE = 30.0


class Terminal:
    """One tmux server with one window per client; ends with this process."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "tmux.sock"
        self.server: subprocess.Popen | None = None

    async def start(self) -> None:
        # -D: tmux does not become a daemon, so it stays in our process group.
        self.server = subprocess.Popen(
            ["tmux", "-D", "-S", str(self.socket), "-f", "/dev/null"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            preexec_fn=die_with_parent)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline or self.server.poll() is not None:
                raise RuntimeError("tmux does not start")
            await asyncio.sleep(0.05)

    async def tmux(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", str(self.socket), *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"})
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"tmux {words[0]}: {err.decode().strip()}")
        return out.decode(errors="replace")

    async def stop(self) -> None:
        if self.server and self.server.poll() is None:
            try:
                await self.tmux("kill-server")
                self.server.wait(10)
            except (RuntimeError, subprocess.TimeoutExpired):
                self.server.kill()
                self.server.wait()


class Profanity:
    """One running profanity with a home of its own."""

    def __init__(self, terminal: Terminal, name: str):
        self.terminal = terminal
        self.name = name
        self.home = terminal.folder / name

    async def start(self) -> None:
        config = self.home / ".config" / "profanity"
        config.mkdir(parents=True)
        (config / "profrc").write_text("[notifications]\nmessage=false\n[ui]\nsplash=false\n[logging]\nchlog=false\n")
        command = (f"env HOME={self.home} XDG_CONFIG_HOME={self.home}/.config XDG_DATA_HOME={self.home}/.local/share "
                   "LC_ALL=C.UTF-8 TERM=screen-256color profanity -l DEBUG")
        await self.terminal.tmux("new-session", "-d", "-s", self.name, "-x", "160", "-y", "50", command)
        await self.sees("Profanity")

    async def screen(self) -> str:
        return await self.terminal.tmux("capture-pane", "-p", "-t", self.name)

    async def types(self, text: str) -> None:
        await self.terminal.tmux("send-keys", "-t", self.name, "-l", text)
        await self.terminal.tmux("send-keys", "-t", self.name, "Enter")

    async def sees(self, *texts: str, within: float = PATIENCE) -> str:
        """Waits until one of the texts is on the screen; which."""
        deadline = time.monotonic() + within
        while True:
            screen = await self.screen()
            for text in texts:
                if text in screen:
                    return text
            if time.monotonic() > deadline:
                shown = "\n".join(f"    | {line}" for line in screen.splitlines() if line.strip())
                raise Failure(f"{self.name}'s profanity does not show {' or '.join(texts)} within {within:g} s:\n{shown}")
            await asyncio.sleep(0.15)

    async def connects(self, jid: str, host: str, port: int, password: str) -> str:
        line = f"/connect {jid} server {host} port {port} tls trust"
        await self.types(line)
        await self.sees("Enter password")
        await self.types(password)
        await self.sees("logged in successfully")
        return line
