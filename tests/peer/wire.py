"""One TCP connection with TLS by memory BIO, so that every alert, close_notify and FIN is seen for itself."""

from __future__ import annotations

import asyncio
import hashlib
import socket

from OpenSSL import SSL
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class WireError(Exception):
    """The connection or its TLS did not do what the script needs."""


class Wire:
    """Bytes in both directions. What comes in goes to `sink(bytes)`; `changed()` is called whenever anything happened."""

    def __init__(self, sink, changed):
        self._sink = sink
        self._changed = changed
        self._reader = None
        self._writer = None
        self._task = None
        self._tls = None
        self._handshake = None
        self.received = 0          # application bytes received on this connection
        self.tls_bytes = 0         # bytes received below TLS
        self.notified = False      # the peer sent close_notify
        self.eof = False           # the peer sent FIN
        self.reset = False         # the connection was reset
        self.broken = None         # the connection was reset, or TLS failed here: the reason
        self.order = []            # "notify", "eof", "broken" as they came
        self.resumed = False       # the TLS handshake reused a session

    @property
    def closed(self) -> bool:
        """The peer has ended TCP. A failure of TLS alone is no end."""
        return self.eof or self.reset

    async def connect(self, host: str, port: int, source: str | None, within: float) -> None:
        local = (source, 0) if source else None
        self._reader, self._writer = await asyncio.wait_for(
            asyncio.open_connection(host, port, local_addr=local), within
        )
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._read())

    async def start_tls(self, name: str, ca: str, within: float, *, alpn=None, version=None, session=None,
                        certificate=None, ciphers=None) -> None:
        """Handshake as the client; verifies the chain against `ca` and the name by RFC 6125 (dNSName only)."""
        if session is None:
            context = self._new_context(ca, alpn, version, certificate, ciphers)
        else:
            session, context = session   # OpenSSL resumes a session within its context only
        self._context = context
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        tls.set_tlsext_host_name(name.encode("idna"))
        if session is not None:
            tls.set_session(session)
        self._tls = tls
        self._handshake = asyncio.get_running_loop().create_future()
        self._advance()
        await asyncio.wait_for(asyncio.shield(self._handshake), within)
        names = self.names()
        if name not in names and "*." + name.partition(".")[2] not in names:
            raise WireError(f"the certificate names {names}, not {name}")
        self.resumed = bool(SSL._lib.SSL_session_reused(tls._ssl))

    @staticmethod
    def _new_context(ca, alpn, version, certificate, ciphers) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(VERSIONS[version] if version else SSL.TLS1_2_VERSION)
        if version:
            context.set_max_proto_version(VERSIONS[version])
        context.load_verify_locations(ca)
        context.set_verify(SSL.VERIFY_PEER, lambda _c, _x, _e, _d, ok: bool(ok))
        context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
        if ciphers:
            context.set_cipher_list(ciphers.encode())
        if alpn:
            context.set_alpn_protos([alpn.encode()])
        if certificate:
            context.use_certificate_chain_file(certificate[0])
            context.use_privatekey_file(certificate[1])
        return context

    def certificate(self) -> x509.Certificate:
        return self._tls.get_peer_certificate().to_cryptography()

    def names(self) -> list[str]:
        """The dNSNames of the peer's certificate."""
        try:
            found = self.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return found.value.get_values_for_type(x509.DNSName)

    def channel_binding(self, kind: str) -> bytes:
        """RFC 9266 `tls-exporter`, RFC 5929 `tls-server-end-point`."""
        if kind == "tls-exporter":
            return self._tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        if kind == "tls-server-end-point":
            cert = self.certificate()
            used = cert.signature_hash_algorithm
            name = used.name if used and used.name not in ("md5", "sha1") else "sha256"
            return hashlib.new(name, cert.public_bytes(Encoding.DER)).digest()
        raise WireError(f"no such channel binding here: {kind}")

    @property
    def tls_version(self) -> str:
        return self._tls.get_protocol_version_name() if self._tls else "none"

    @property
    def alpn(self) -> str:
        return self._tls.get_alpn_proto_negotiated().decode() if self._tls else ""

    def session(self):
        """What `start_tls` takes to resume."""
        return self._tls.get_session(), self._context

    def renegotiate(self) -> None:
        """Ask for a TLS 1.2 renegotiation, as RFC 6120 section 5.3.5 forbids it to be answered."""
        self._tls.renegotiate()
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise WireError(f"TLS would not renegotiate: {error}") from error
        self._flush()

    def send(self, data: bytes) -> None:
        if self._writer is None:
            raise WireError("not connected")
        if self._tls is None:
            self._writer.write(data)
            return
        view = memoryview(data)
        while view:
            try:
                sent = self._tls.send(view[:16384])
            except SSL.Error as error:
                raise WireError(f"TLS cannot send: {error!r}") from error
            view = view[sent:]
            self._flush()

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            pass  # the reader reports it

    def notify(self) -> None:
        """Send close_notify and keep reading."""
        if self._tls is None:
            return
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass
        self._flush()

    def fin(self) -> None:
        """Send FIN, without close_notify."""
        if self._writer and self._writer.can_write_eof():
            try:
                self._writer.write_eof()
            except OSError:
                pass

    def drop(self) -> None:
        """Close at once, by RST where bytes are unread."""
        if self._task:
            self._task.cancel()
            self._task = None
        if self._tls:
            # Otherwise OpenSSL would not resume the session: RFC 2246 forbade it, RFC 5246 section 7.2.1 does not.
            self._tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        if self._writer:
            self._writer.transport.abort()
            self._writer = None

    def stop_reading(self) -> None:
        """From now on the peer's bytes stay in the socket."""
        if self._task:
            self._task.cancel()
            self._task = None
        if self._writer:
            self._writer.transport.pause_reading()

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self.tls_bytes += len(data)
                if self._tls is None:
                    self.received += len(data)
                    self._sink(data)
                elif self.broken is None:
                    self._tls.bio_write(data)
                    self._advance()
                self._changed()
            self._mark("eof")
            self.eof = True
            if self._handshake and not self._handshake.done():
                self._handshake.set_exception(WireError("the peer closed during the TLS handshake"))
        except ConnectionError as error:
            self.reset = True
            self._fail(f"connection broken: {error}")
        self._changed()

    def _advance(self) -> None:
        if not self._handshake.done():
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                return
            except SSL.Error as error:
                self._flush()
                self._handshake.set_exception(WireError(f"TLS handshake failed: {reason(error)}"))
                self._fail(f"TLS handshake failed: {reason(error)}")
                return
            self._handshake.set_result(None)
        while True:
            try:
                data = self._tls.recv(65536)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                if not self.notified:
                    self.notified = True
                    self._mark("notify")
                break
            except SSL.Error as error:
                self._fail(f"TLS failed: {reason(error)}")
                break
            self.received += len(data)
            self._sink(data)
        self._flush()

    def _flush(self) -> None:
        while True:
            try:
                out = self._tls.bio_read(65536)
            except SSL.WantReadError:
                return
            if self._writer is not None and not self._writer.is_closing():
                self._writer.write(out)

    def _fail(self, why: str) -> None:
        self.broken = self.broken or why
        self._mark("broken")

    def _mark(self, what: str) -> None:
        if what not in self.order:
            self.order.append(what)


def reason(error: SSL.Error) -> str:
    """OpenSSL's own words for a failure."""
    parts = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(part[-1]) for part in parts) or repr(error)
