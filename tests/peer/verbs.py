"""Verbs that only the raw-socket table needs: ill-formed bytes, `openssl s_client`, and the end of a connection in detail."""

from __future__ import annotations

import asyncio
import base64
import math
import re

from . import pattern, sasl, script
from .session import Failure
from .subjects import die_with_parent


async def v_ignored_or(s, _scene, text):
    """What was sent just now was ignored (the stream goes on), or the stream ended with that condition."""
    s.send(f"<iq type='get' id='still' to='{s.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
    pong = pattern.parse("<iq id='still' type='~result|error'/>")

    def ready():
        if any(e.tag.endswith("}error") and e.tag.startswith("{http://etherx") for e in s.inbox):
            return "error"
        return None if s.take(pong) is None else "pong"
    if await s.until(ready, f"pong or stream error {text}") == "error":
        await s.stream_error(text)


async def v_expect_any(s, _scene, text):
    """One of several patterns, between `||`."""
    wanted = [pattern.parse(part.strip()) for part in text.split("||")]

    def ready():
        return next((e for e in map(s.take, wanted) if e is not None), None)
    await s.until(ready, f"one of {text}")


async def v_expect_jid(s, _scene, text):
    if not s.jid or s.jid.partition("/")[0] != text:
        raise Failure(f"{s.name}: bound {s.jid}, not {text}")


async def v_unpredictable(s, _scene, text):
    """Stream ids differ, and each is long enough for 64 bits of chance (RFC 6120 section 4.7.3)."""
    ids = text.split()
    if len(set(ids)) != len(ids):
        raise Failure(f"{s.name}: stream ids are used again: {ids}")
    for one in ids:
        alphabet = 10 if one.isdigit() else 16 if re.fullmatch(r"[0-9a-fA-F-]+", one) else 62
        bits = len(one.replace("-", "")) * math.log2(alphabet)
        if bits < 60:
            raise Failure(f"{s.name}: the stream id {one!r} holds {bits:.0f} bits at most")


async def v_plain_after_starttls(s, _scene, _text):
    user, _, password = s.subject.credentials(s.name)
    first = base64.b64encode(sasl.Plain(user, password).first()).decode()
    s.send(f"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
           f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{first}</auth>")
    await s.expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")


async def v_many_attributes(s, _scene, text):
    s.send("<iq " + " ".join(f"a{i}='1'" for i in range(int(text))) + "/>")


async def v_bytewise(s, _scene, text):
    for byte in text.encode():
        s.wire.send(bytes([byte]))
        await s.wire.drain()
        await asyncio.sleep(0)  # lets the loop write each byte for itself
    s.note(">", f"byte by byte: {text}")


async def v_wrong_binding(s, _scene, text):
    """SCRAM with the right password and another channel's binding must fail."""
    user, _, password = s.subject.credentials(s.name)
    client = sasl.Scram(text, user, password, ("tls-exporter", bytes(32)))
    await s._exchange(text, client, "not-authorized|malformed-request")


async def v_guesses(s, _scene, text):
    """At most so many more failed logins; the stream must end before they are used up."""
    first = base64.b64encode(b"\0nobody\0guess").decode()
    for _ in range(int(text)):
        try:
            s.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{first}</auth>")
            await s.expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        except Failure:
            if s.ended or s.wire.closed or s.wire.notified:
                s.wire.notify()
                s.wire.fin()
                return
            raise
    raise Failure(f"{s.name}: the stream bore {text} more failed logins")


async def v_crowd(s, scene, text):
    """So many connections at once from this address; some must be turned away, and some served. They stay."""
    served = refused = 0
    for _ in range(int(text)):
        one = type(s)(s.name, s.subject, s.source, dict(s.variables), s.started)
        one.patience = 5
        scene.held.append(one)
        try:
            await one.connect()
            one.send_header()
            await one.read_header()
            served += 1
        except Failure:
            refused += 1
    if not refused or not served:
        raise Failure(f"{s.name}: of {text} connections {served} were served and {refused} refused")


async def v_deaf(s, _scene, _text):
    """Stops reading from the socket."""
    s.wire.stop_reading()


async def v_flood(s, _scene, text):
    """`COUNT ADDRESS`: so many messages of 4 KB."""
    count, _, to = text.partition(" ")
    for _ in range(int(count)):
        s.wire.send(f"<message to='{to}' type='chat'><body>{'x' * 4000}</body></message>".encode())
        await s.wire.drain()


async def v_untouched(s, scene, _text):
    """Since `mark` not one byte came, TLS records included."""
    more = s.wire.tls_bytes - scene.marks.get(f"{s.name} tls", 0)
    if more:
        raise Failure(f"{s.name}: {more} bytes of TLS came")


class Client:
    """One run of `openssl s_client`, typed at and read."""

    def __init__(self, process):
        self.process = process
        self.output = ""
        self.seen = 0
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self):
        while data := await self.process.stdout.read(65536):
            self.output += data.decode("utf-8", "backslashreplace")
            self.changed.set()
        await self.process.wait()
        self.changed.set()

    async def until(self, ready, what: str, within: float):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            self.changed.clear()
            if found := ready():
                return found
            if loop.time() > deadline or (self.process.returncode is not None and self.task.done()):
                raise Failure(f"s_client: no {what}; it said: ...{self.output[self.seen:][-600:]!r}")
            try:
                await asyncio.wait_for(self.changed.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                pass

    def end(self):
        if self.process.returncode is None:
            self.process.kill()


async def v_s_client(s, scene, text):
    words = text.split()
    port = s.subject.port if "-starttls" in words else s.subject.tls_port
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(s.subject.ca), *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent)
    if old := scene.tools.get(s.name):
        old.end()
    scene.tools[s.name] = Client(process)
    s.note("-", f"s_client {text}")


async def v_s_type(s, scene, text):
    tool = scene.tools[s.name]
    s.note(">", text)
    try:
        tool.process.stdin.write(text.encode() + b"\n")
        await tool.process.stdin.drain()
    except ConnectionError as error:
        raise Failure(f"s_client ended too early: ...{tool.output[-600:]!r}") from error


async def v_s_expect(s, scene, text):
    tool = scene.tools[s.name]

    def ready():
        found = re.search(text, tool.output[tool.seen:])
        if found:
            tool.seen += found.end()
            return True
        return False
    await tool.until(ready, text, s.patience)


async def v_s_ends(s, scene, _text):
    tool = scene.tools[s.name]
    await tool.until(lambda: tool.process.returncode is not None and tool.task.done(), "end of s_client", s.patience)


async def v_s_never(s, scene, text):
    tool = scene.tools[s.name]
    if text in tool.output:
        raise Failure(f"s_client said {text!r}")


async def v_s_at_most(s, scene, text):
    count, _, what = text.partition(" ")
    found = len(re.findall(what, scene.tools[s.name].output))
    if found > int(count):
        raise Failure(f"s_client saw {found} times {what}")


script.VERBS.update({name.removeprefix("v_").replace("_", "-"): function
                     for name, function in list(globals().items()) if name.startswith("v_")})
