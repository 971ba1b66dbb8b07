"""A local certificate authority by the openssl command: leaves carry both extended key usages (RFC 6120 section 13.7.1.2)."""

from __future__ import annotations

import subprocess
from pathlib import Path

LEAF = """basicConstraints=CA:FALSE
keyUsage=digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName={names}
"""


class Authority:
    """Keys and certificates under one folder. `ca.crt` is what clients trust."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=Interop test CA", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout", str(self._key), "-out", str(self.certificate))

    def leaf(self, stem: str, names: list[str], days: int = 20) -> tuple[Path, Path]:
        """`names` as openssl writes them: `DNS:localhost`, `otherName:1.3.6.1.5.5.7.8.5;UTF8:romeo@localhost`."""
        key, csr, crt = (self.folder / f"{stem}.{end}" for end in ("key", "csr", "crt"))
        ext = self.folder / f"{stem}.ext"
        ext.write_text(LEAF.format(names=",".join(names)))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={stem}",
                "-keyout", str(key), "-out", str(csr))
        openssl("x509", "-req", "-in", str(csr), "-CA", str(self.certificate), "-CAkey", str(self._key),
                "-CAcreateserial", "-days", str(days), "-extfile", str(ext), "-out", str(crt))
        chain = self.folder / f"{stem}.pem"
        chain.write_text(crt.read_text() + self.certificate.read_text())
        return chain, key


def openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
