"""PLAIN, EXTERNAL and SCRAM as the client speaks them (RFC 4616, 5802, 7677), written apart from the server's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


class SaslError(Exception):
    """The server's part of the exchange is wrong."""


class Plain:
    def __init__(self, user: str, password: str, authzid: str = ""):
        self._first = f"{authzid}\0{user}\0{password}".encode()

    def first(self) -> bytes:
        return self._first

    def answer(self, challenge: bytes) -> bytes:
        raise SaslError(f"PLAIN has no challenge, got {challenge!r}")

    def finish(self, data: bytes) -> None:
        if data:
            raise SaslError("PLAIN's success carries no data")


class External(Plain):
    def __init__(self, authzid: str = ""):
        self._first = authzid.encode()


class Scram:
    """`binding` is None (the client knows none), "y" (it does, but the server offers none), or (kind, data)."""

    def __init__(self, mechanism: str, user: str, password: str, binding=None, authzid: str = ""):
        self._hash = HASHES[mechanism.removesuffix("-PLUS")]
        self._password = password.encode()
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._nonce = base64.b64encode(os.urandom(18)).decode()
        if binding is None or binding == "y":
            flag, self._data = ("n" if binding is None else "y"), b""
        else:
            flag, self._data = f"p={binding[0]}", binding[1]
        zid = "a=" + authzid.replace("=", "=3D").replace(",", "=2C") if authzid else ""
        self._gs2 = f"{flag},{zid},"
        self._bare = f"n={name},r={self._nonce}"
        self._signature = None
        self.downgrade_hash = None   # XEP-0474's attribute of the server's first message

    def first(self) -> bytes:
        return (self._gs2 + self._bare).encode()

    def answer(self, challenge: bytes) -> bytes:
        if self._signature is not None:
            self._verify(challenge)
            return b""
        text = challenge.decode()
        fields = attributes(text)
        nonce, salt, rounds = fields["r"], base64.b64decode(fields["s"]), int(fields["i"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslError("the server did not extend the nonce")
        if rounds < 4096:
            raise SaslError(f"only {rounds} iterations")
        self.downgrade_hash = fields.get("h")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, rounds)
        channel = base64.b64encode(self._gs2.encode() + self._data).decode()
        final = f"c={channel},r={nonce}"
        message = f"{self._bare},{text},{final}".encode()
        client = self._mac(salted, b"Client Key")
        proof = bytes(a ^ b for a, b in zip(client, self._mac(hashlib.new(self._hash, client).digest(), message)))
        self._signature = self._mac(self._mac(salted, b"Server Key"), message)
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def hash_of(self, mechanisms: list[str], bindings: list[str]) -> str:
        """XEP-0474 section 5: over the sorted lists of mechanisms and channel bindings."""
        text = "\x1e".join(sorted(mechanisms))
        if bindings:
            text += "\x1f" + "\x1e".join(sorted(bindings))
        return base64.b64encode(hashlib.new(self._hash, text.encode()).digest()).decode()

    def finish(self, data: bytes) -> None:
        if self._signature is None:
            raise SaslError("success before the proof")
        if self._signature != b"done":
            self._verify(data)

    def _verify(self, data: bytes) -> None:
        fields = attributes(data.decode())
        if "v" not in fields or base64.b64decode(fields["v"]) != self._signature:
            raise SaslError("the server's signature is wrong: it does not know the password")
        self._signature = b"done"

    def _mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._hash)


def attributes(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)
