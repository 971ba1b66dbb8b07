"""A factory for certificates, good ones and every kind of wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")       # RFC 4985, IA5String
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")      # RFC 6120 section 13.7.1.4, UTF8String
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH,
            "code": ExtendedKeyUsageOID.CODE_SIGNING}


@dataclass
class Credential:
    """A chain and its key as PEM files; the leaf's bytes for TLSA records and fingerprints."""

    chain: Path
    key: Path
    leaf: x509.Certificate
    issuers: list[x509.Certificate]

    def tlsa(self, usage: int, selector: int, matching: int) -> str:
        """The record's text: of the leaf, or for usages 0 and 2 of the topmost authority in the chain."""
        certificate = (self.issuers or [self.leaf])[-1] if usage in (0, 2) else self.leaf
        data = der(certificate) if selector == 0 else certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        data = {0: lambda d: d, 1: lambda d: hashlib.sha256(d).digest(), 2: lambda d: hashlib.sha512(d).digest()}[matching](data)
        return f"{usage} {selector} {matching} {data.hex()}"

    def fingerprint(self) -> bytes:
        return hashlib.sha256(der(self.leaf)).digest()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def other(oid: x509.ObjectIdentifier, tag: int, text: str) -> x509.OtherName:
    return x509.OtherName(oid, bytes([tag, len(text)]) + text.encode())


class Authority:
    """A CA below another, or a root. `permitted` are the only domains that it may certify."""

    def __init__(self, folder: Path, name: str, parent: Authority | None = None, permitted: list[str] | None = None):
        self.folder, self.name, self.parent = folder, name, parent
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = base(name, self.key, days=(-1, 30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage(authority=True), critical=True)
        if permitted:
            constraint = x509.NameConstraints([x509.DNSName(domain) for domain in permitted], None)
            builder = builder.add_extension(constraint, critical=True)
        issuer = parent or self
        builder = builder.issuer_name(parent.certificate.subject if parent else named(name))
        self.certificate = builder.sign(issuer.key, hashes.SHA256())
        self.path = folder / f"{name}.crt".replace(" ", "-")
        self.path.write_bytes(pem(self.certificate))

    def chain(self) -> list[x509.Certificate]:
        """Itself and those above it, the root last."""
        return [self.certificate, *(self.parent.chain() if self.parent else [])]

    def issue(self, stem: str, **what) -> Credential:
        return credential(self.folder, stem, self, **what)


def credential(folder: Path, stem: str, authority: Authority | None, *, names=(), srv=(), addresses=(), common=None,
               purposes=("server", "client"), days=(-1, 20), with_root=False) -> Credential:
    """A leaf: signed by `authority`, or by itself. `names` are dNSNames, `srv` SRVNames, `addresses` XmppAddrs."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = base(common or stem[:60], key, days)
    builder = builder.issuer_name(authority.certificate.subject if authority else named(common or stem[:60]))
    alternatives = [x509.DNSName(name) for name in names]
    alternatives += [other(SRV_NAME, 0x16, name) for name in srv]
    alternatives += [other(XMPP_ADDR, 0x0C, name) for name in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(usage(authority=False), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage([PURPOSES[purpose] for purpose in purposes]), critical=False)
    leaf = builder.sign(authority.key if authority else key, hashes.SHA256())
    issuers = authority.chain() if authority else []
    sent = issuers if with_root else issuers[:-1]
    chain, keys = folder / f"{stem}.pem", folder / f"{stem}.key"
    chain.write_bytes(b"".join(map(pem, [leaf, *sent])))
    keys.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    return Credential(chain, keys, leaf, issuers)


def base(name: str, key, days: tuple[int, int]) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (x509.CertificateBuilder().subject_name(named(name)).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0])).not_valid_after(now + timedelta(days=days[1])))


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
                         key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                         decipher_only=False)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Pki:
    """The laboratory's authorities: one that everybody trusts, one below it that is constrained, one that nobody trusts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = Authority(folder, "Laboratory root")
        self.second = Authority(folder, "Second root")          # trusted as well: for the man in the middle
        self.issuing = Authority(folder, "Laboratory CA", self.root)
        self.constrained = Authority(folder, "Constrained CA", self.root, ["elsewhere.example"])
        self.stranger = Authority(folder, "Stranger root")
        self.trusted = folder / "trusted.pem"
        self.trusted.write_bytes(self.root.path.read_bytes() + self.second.path.read_bytes())

    def make(self, stem: str, domain: str, kind: str = "good", **more) -> Credential:
        """A certificate of that kind for the domain."""
        what = {"names": [domain], **more}
        star, label = domain.partition(".")[2], domain.partition(".")[0]
        authority: Authority | None = self.issuing
        match kind:
            case "good":
                pass
            case "server-only":
                what["purposes"] = ["server"]
            case "client-only":
                what["purposes"] = ["client"]
            case "no-purpose":
                what["purposes"] = []
            case "wrong-purpose":
                what["purposes"] = ["code"]
            case "expired":
                what["days"] = (-20, -1)
            case "not-yet":
                what["days"] = (5, 20)
            case "wrong-name":
                what |= {"names": [f"not-{domain}"], "common": f"not-{domain}"[:64]}
            case "common-name-only":
                what |= {"names": [], "common": domain}
            case "wildcard":
                what["names"] = [f"*.{star}"]
            case "partial-wildcard":
                what["names"] = [f"{label[:1]}*.{star}"]
            case "srv-name":
                what |= {"names": [], "srv": [f"_xmpp-server.{domain}"]}
            case "client-srv-name":
                what |= {"names": [], "srv": [f"_xmpp-client.{domain}"]}
            case "xmpp-address":
                what |= {"names": [], "addresses": [domain]}
            case "name-constrained":
                authority = self.constrained
            case "stranger":
                authority = self.stranger
            case "second":
                authority = self.second
            case "self-signed":
                authority = None
            case _:
                raise ValueError(f"no kind of certificate {kind}")
        return credential(self.folder, stem, authority, **what)
