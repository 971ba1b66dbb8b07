"""tshark as an oracle of framing: what it sees in frames that our encoder wrote, against what they are meant to say."""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from ..subjects import die_with_parent
from .endpoint import Failed

PORT = 2855
HEADERS = 40                        # of IP and TCP, in front of each frame
CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\r\n")      # tshark writes them as they are, XML has none
COLUMNS = ["length", "start", "comment", "tid", "to", "from", "message", "range", "success", "failure", "status", "name", "value", "type", "body", "flag"]
# The columns that tshark has a field for.
FIELDS = {"to": "msrp.to.path", "from": "msrp.from.path", "message": "msrp.messageid", "range": "msrp.byte.range",
          "success": "msrp.success.report", "failure": "msrp.failure.report", "status": "msrp.status", "type": "msrp.content.type"}
KNOWN = {"Use-Path": "msrp.use.path", "WWW-Authenticate": "msrp.www.authenticate", "Authorization": "msrp.authorization",
         "Authentication-Info": "msrp.authentication.info"}


def pcap(path: Path, frames: list[bytes]) -> None:
    """One TCP segment a frame, without link layer and without checksums."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101))
        sequence = 1
        for number, frame in enumerate(frames):
            tcp = struct.pack(">HHIIBBHHH", 40_000, PORT, sequence & 0xFFFFFFFF, 1, 5 << 4, 0x18, 65_535, 0, 0) + frame
            packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), number & 0xFFFF, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\2") + tcp
            out.write(struct.pack("<IIII", number // 1_000, number % 1_000 * 1_000, len(packet), len(packet)) + packet)
            sequence += len(frame)


async def dissected(path: Path):
    """For each packet the fields of tshark's dissection: name to the list of (text as bytes, position, size)."""
    tshark = shutil.which("tshark")
    if tshark is None:
        raise RuntimeError("no command tshark: install the Debian package tshark")
    process = await asyncio.create_subprocess_exec(
        tshark, "-n", "-r", str(path), "-d", f"tcp.port=={PORT},msrp", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.check_checksum:FALSE",
        "-o", "tcp.analyze_sequence_numbers:FALSE", "-T", "pdml", "-J", "msrp", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent)
    parser, found = ET.XMLPullParser(["start", "end"]), []
    root = None
    while data := await process.stdout.read(2 ** 20):
        parser.feed(data.translate(None, CONTROLS))
        for event, element in parser.read_events():
            if event == "start":
                root = element if root is None else root
            elif element.tag == "packet":
                fields: dict[str, list] = {}
                for field in element.iter("field"):
                    if field.get("name"):
                        fields.setdefault(field.get("name"), []).append((field.get("show") or "", int(field.get("pos") or 0), int(field.get("size") or 0)))
                found.append(fields)
                root.clear()
    if await process.wait():
        raise RuntimeError(f"tshark ended with {process.returncode}")
    return found


def differences(row: dict, frame: bytes, fields: dict) -> list[str]:
    """How what tshark sees differs from what the frame is meant to say."""
    wrong = []

    def same(name: str, wanted: str | None, field: str):
        seen = [text for text, *_ in fields.get(field, [])]
        if seen != ([] if wanted is None else [wanted]):
            wrong.append(f"{name}: {field} is {seen}, not {wanted!r}")
    for name, field in FIELDS.items():
        same(name, None if row[name] == "-" else row[name], field)
    if (tids := [text for text, *_ in fields.get("msrp.transaction.id", [])]) != [row["tid"]] * 2:
        wrong.append(f"the transactions of the first and the last line are {tids}")
    if row["start"].isdigit():
        same("code", row["start"], "msrp.status.code")
        same("method", None, "msrp.method")
    else:
        same("method", row["start"], "msrp.method")
        same("code", None, "msrp.status.code")
    if row["name"] in KNOWN:
        same(row["name"], row["value"], KNOWN[row["name"]])
    same("flag", row["flag"], "msrp.cnt.flg")
    end, data = fields.get("msrp.end.line", []), fields.get("msrp.data", [])
    ends = len(frame) - len(f"-------{row['tid']}$\r\n")
    if [at for _, at, _ in end] != [HEADERS + ends]:
        wrong.append(f"the end-line is {end}, not at {HEADERS + ends}")
    # tshark's data reach to the end of the packet: the body is what stands before the line end that belongs to the end-line.
    body = None if row["body"] == "-" else int(row["body"])
    if [at for _, at, _ in data] != ([] if body is None else [HEADERS + ends - 2 - body]):
        wrong.append(f"the body of {body} octets is {[at for _, at, _ in data]}, and the end-line {end}")
    return wrong


async def run(folder: Path, generator: Path, count: int, seed: int) -> str:
    """Writes the frames, has them dissected and compares; what was seen, or `Failed`."""
    folder.mkdir(parents=True, exist_ok=True)
    done = await asyncio.create_subprocess_exec(str(generator), str(folder), str(count), str(seed), preexec_fn=die_with_parent)
    if await done.wait():
        raise RuntimeError(f"{generator.name} ended with {done.returncode}")
    rows = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in (folder / "told.tsv").read_text().splitlines()]
    data, frames, at = (folder / "frames.bin").read_bytes(), [], 0
    for row in rows:
        frames.append(data[at:at + int(row["length"])])
        at += int(row["length"])
    if len(rows) != count or at != len(data):
        raise RuntimeError(f"{len(rows)} of {count} frames, {at} of {len(data)} octets")
    path = folder / "frames.pcap"
    pcap(path, frames)
    packets = await dissected(path)
    if len(packets) != count:
        raise Failed(f"tshark sees {len(packets)} packets, not {count}")
    wrong = [(number, what) for number, (row, frame, fields) in enumerate(zip(rows, frames, packets))
             if (what := differences(row, frame, fields))]
    if wrong:
        raise Failed(f"{len(wrong)} of {count} frames differ, number {wrong[0][0]} so: {'; '.join(wrong[0][1])}")
    return f"{count} frames of {len(data)} octets"
