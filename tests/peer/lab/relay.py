"""A TCP relay in front of each domain: it counts the connections, and can behave badly."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Listens at one address for one domain and passes everything on to the domain's server."""

    def __init__(self, host: str, target: tuple[str, int]):
        self.host, self.target = host, target
        self.port = 0
        self.connections = 0
        self.strip_starttls = False             # a man in the middle who hides the feature (S3-30)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        try:
            to_reader, to_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._pass(reader, to_writer, False), self._pass(to_reader, writer, self.strip_starttls))
        finally:
            for end in (writer, to_writer):
                end.close()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, strip: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if strip:
                    data = data.replace(b"urn:ietf:params:xml:ns:xmpp-tls", b"urn:ietf:params:xml:ns:xmpp-no!")
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
