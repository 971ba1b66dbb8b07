"""The client's side of Digest in AUTH (RFC 4976 section 9.1, RFC 2617, RFC 7616)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:,|$)')


class Refused(Exception):
    """The other side's words do not allow a login, or do not prove that it knows the password."""


def parameters(text: str) -> dict[str, str]:
    """`name=value` or `name="value"`, with commas between."""
    found, at = {}, 0
    while at < len(text):
        match = PARAMETER.match(text, at)
        if not match:
            raise Refused(f"no parameter at {text[at:at + 40]!r}")
        value = match[2]
        found[match[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = match.end()
    return found


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass
class Challenge:
    """One WWW-Authenticate header."""

    realm: str
    nonce: str
    algorithm: str
    opaque: str | None
    stale: bool
    given: dict

    @classmethod
    def parse(cls, text: str) -> Challenge:
        scheme, _, rest = text.partition(" ")
        if scheme.lower() != "digest":
            raise Refused(f"the scheme {scheme}")
        found = parameters(rest)
        if "auth" not in found.get("qop", "").split(","):
            raise Refused(f"qop is {found.get('qop')!r} and not auth (RFC 4976 section 9.1)")
        if "realm" not in found or "nonce" not in found:
            raise Refused(f"no realm or no nonce: {text}")
        return cls(found["realm"], found["nonce"], found.get("algorithm", "MD5").upper(), found.get("opaque"),
                   found.get("stale", "").lower() == "true", found)


def choose(headers: list[str], allowed: list[str]) -> Challenge:
    """The first of those that this client knows, in the relay's order (RFC 7616 section 3.7); unknown schemes are passed over."""
    for text in headers:
        if text.lower().startswith("digest "):
            challenge = Challenge.parse(text)
            if challenge.algorithm in allowed:
                return challenge
    raise Refused(f"none of {allowed} in {headers}")


class Login:
    """A username and a password for one challenge; `nc` counts how often its nonce was used."""

    def __init__(self, challenge: Challenge, username: str, password: str):
        self.challenge, self.username, self.password = challenge, username, password
        self.count, self.cnonce = 0, ""

    def _hash(self, *parts: str) -> str:
        return HASHES[self.challenge.algorithm](":".join(parts).encode()).hexdigest()

    def _response(self, method: str, uri: str) -> str:
        secret = self._hash(self.username, self.challenge.realm, self.password)
        return self._hash(secret, self.challenge.nonce, f"{self.count:08x}", self.cnonce, "auth", self._hash(method, uri))

    def authorization(self, uri: str, method: str = "AUTH", **changed: str) -> str:
        """The value of the header; `changed` for lies."""
        self.count += 1
        self.cnonce = secrets.token_hex(8)
        words = {"username": quoted(self.username), "realm": quoted(self.challenge.realm), "nonce": quoted(self.challenge.nonce),
                 "uri": quoted(uri), "qop": "auth", "nc": f"{self.count:08x}", "cnonce": quoted(self.cnonce),
                 "response": quoted(self._response(method, uri)), "algorithm": self.challenge.algorithm}
        if self.challenge.opaque is not None:
            words["opaque"] = quoted(self.challenge.opaque)
        words.update(changed)
        return "Digest " + ", ".join(f"{name}={value}" for name, value in words.items())

    def check(self, info: str, uri: str) -> None:
        """Authentication-Info: the relay knows the password too. rspauth, cnonce, nc and qop must be there."""
        found = parameters(info)
        wanted = {"cnonce": self.cnonce, "nc": f"{self.count:08x}", "qop": "auth", "rspauth": self._response("", uri)}
        for name, value in wanted.items():
            if not hmac.compare_digest(found.get(name, ""), value):
                raise Refused(f"Authentication-Info says {name}={found.get(name)!r}, not {value!r}")
