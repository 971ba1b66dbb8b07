"""What the stock clients of several suites have in common."""

from __future__ import annotations

import asyncio
import ssl

import slixmpp

PORT = 5222
PATIENCE = 30.0


class Stock(slixmpp.ClientXMPP):
    """A client that says when it is online, and can be gone at once."""

    def __init__(self, jid: str, password: str, mechanism: str, tls: ssl.SSLContext):
        super().__init__(jid, password, sasl_mech=mechanism)
        self.ssl_context = tls
        self.enable_direct_tls = False
        self.online = asyncio.Event()
        self.add_event_handler("session_start", lambda _: self.online.set())

    async def come(self, host: str) -> None:
        self.connect(host, PORT)
        await asyncio.wait_for(self.online.wait(), PATIENCE)

    async def go(self) -> None:
        """Without a word."""
        if self.transport:
            self.abort()
        if self._run_out_filters:
            self._run_out_filters.cancel()
            await asyncio.gather(self._run_out_filters, return_exceptions=True)
