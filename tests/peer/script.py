"""Scripts: conversations as data. One case is a TOML table with `id`, `title` and `script`, one step a line:

    romeo/orchard online priority=1
    romeo/orchard send <message to='{juliet}'><body>Hi</body></message>
    juliet/balcony expect <message from='{romeo/orchard}'><body>Hi</body></message>

A step is an actor, a verb and its arguments; an indented line goes on with the one before. An actor is an account and
perhaps a resource; each case gets accounts of its own, so `{juliet}` is her bare JID in this run. `{domain}`, `{port}`,
`{tls-port}` and whatever a pattern captured are variables too. The actor `server` is the subject's operator.
Patterns are described in `pattern.py`, the verbs below in `VERBS`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import shlex
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from . import pattern
from .session import Failure, Session

_scenes = itertools.count(1)


@dataclass
class Case:
    id: str
    title: str
    steps: list[tuple[int, str, str, str]]
    file: str
    absent: list[str] = field(default_factory=list)      # accounts that the script names but that must not exist
    alone: bool = False                                   # runs with no other case beside it (it touches the whole server)


@dataclass
class Result:
    case: Case
    ok: bool
    why: str
    seconds: float
    transcript: list[str]
    offered: bool = True      # whether the subject has the means that the case needs of its operator


class Unsupported(Exception):
    """The subject has no means for this step; the case counts as not passed."""


def load(folder: Path) -> list[Case]:
    cases = []
    for path in sorted(folder.glob("*.toml")):
        for table in tomllib.loads(path.read_text())["case"]:
            cases.append(Case(table["id"], table["title"], steps(table["script"], f"{path.name}: {table['id']}"), path.name,
                              table.get("absent", []), table.get("alone", False)))
    ids = [case.id for case in cases]
    doubled = {i for i in ids if ids.count(i) > 1}
    if doubled or not cases:
        raise ValueError(f"{folder}: no case, or ids used twice: {sorted(doubled)}")
    return cases


def steps(text: str, where: str) -> list[tuple[int, str, str, str]]:
    found: list[list] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            if not found:
                raise ValueError(f"{where}: the first line is indented")
            found[-1][3] += "\n" + line.strip()
            continue
        actor, _, rest = line.partition(" ")
        verb, _, arguments = rest.strip().partition(" ")
        if verb not in VERBS and actor != "server":
            raise ValueError(f"{where}, line {number}: no verb {verb!r}")
        found.append([number, actor, verb, arguments.strip()])
    return [tuple(step) for step in found]


class Scene:
    """One case's run against a subject: its accounts, actors and variables."""

    def __init__(self, case: Case, subject):
        self.case = case
        self.server = subject
        self.number = next(_scenes)
        self.name = subject.name
        self.host, self.port, self.tls_port = subject.host, subject.port, subject.tls_port
        self.domain, self.ca = subject.domain, subject.ca
        self.sessions: dict = {}
        self.actors: dict[str, Session] = {}
        self.held: list = []                   # connections that stay open until the case is over
        self.addresses: dict[str, str] = {}    # each account comes from an address of its own
        self.variables = {"domain": subject.domain, "port": str(subject.port), "tls-port": str(subject.tls_port),
                          "other-domain": subject.other_domain, "admin": f"admin@{subject.domain}"}
        self.marks: dict[str, int] = {}
        self.tools: dict = {}
        self.variables["scratch"] = str(subject.folder)
        self.started = time.monotonic()

    def address(self, account: str) -> str | None:
        if not self.server.sources:
            return None
        place = len(self.addresses) + 7
        return self.addresses.setdefault(account, f"127.{1 + self.number // 250}.{place}.{1 + self.number % 250}")

    def local(self, account: str) -> str:
        return account if account == "admin" else f"{account}-{self.number}"

    def password(self, account: str) -> str:
        return "admin-secret" if account == "admin" else f"secret of {account}, {self.number}"

    def credentials(self, actor: str) -> tuple[str, str, str]:
        account, _, domain = actor.partition("/")[0].partition("@")
        domain = self.server.other_domain if domain == "other" else self.domain
        return self.local(account), domain, self.password(account)

    def client_certificate(self, account: str):
        return self.server.client_certificate(f"{self.local(account)}@{self.domain}")

    async def prepare(self) -> None:
        accounts = {}
        for _, name, _, _ in self.case.steps:
            if name == "server" or "tcp" == name:
                continue
            account = name.partition("/")[0]
            local, domain, password = self.credentials(name)
            self.variables[account] = f"{local}@{domain}"
            self.variables[f"{account}.user"] = local
            if name not in self.variables:
                self.variables[name] = f"{local}@{domain}/{name.partition('/')[2]}"
            if account not in self.case.absent:
                accounts[account] = (local, domain, password)
        for name in self.case.absent:
            self.variables[name] = f"{self.local(name)}@{self.domain}"
        for account, (local, domain, password) in accounts.items():
            if account != "admin":
                await self.server.add_account(local, domain, password)

    def actor(self, name: str) -> Session:
        if name not in self.actors:
            self.actors[name] = Session(name, self, self.address(name.partition("/")[0]), self.variables, self.started)
            _, self.actors[name].domain, _ = self.credentials(name)
        return self.actors[name]

    async def step(self, actor: str, verb: str, arguments: str) -> None:
        arguments = pattern.substitute(arguments, self.variables)
        if actor == "server":
            await self.server.operate(verb, shlex.split(arguments), self)
            return
        await VERBS[verb](self.actor(actor), self, arguments)

    async def run(self) -> Result:
        step, offered = "", True
        try:
            await self.prepare()
            for number, actor, verb, arguments in self.case.steps:
                step = f"line {number} ({actor} {verb} {arguments.splitlines()[0][:90] if arguments else ''})"
                await asyncio.wait_for(self.step(actor, verb, arguments), 90)
            result = (True, "")
        except (Failure, pattern.Mismatch) as error:
            result = (False, f"{step}: {error}")
        except Unsupported as error:
            result, offered = (False, f"{step}: not offered by {self.name}: {error}"), False
        except asyncio.TimeoutError:
            result = (False, f"{step}: took longer than 90 s")
        except Exception as error:  # a fault of the subject that the script did not foresee, or of the runner: shown as such
            result = (False, f"{step}: unforeseen {error!r}")
        finally:
            for session in [*self.actors.values(), *self.held]:
                session.drop()
            for tool in self.tools.values():
                tool.end()
        lines = sorted((line for session in self.actors.values() for line in session.transcript), key=lambda line: float(line[:8]))
        return Result(self.case, *result, time.monotonic() - self.started, lines, offered)


async def run_all(cases: list[Case], subject, width: int) -> list[Result]:
    """Cases side by side, `width` at a time; those marked `alone` after them, one by one."""
    gate = asyncio.Semaphore(width)

    async def one(case: Case) -> Result:
        async with gate:
            return await Scene(case, subject).run()

    results = list(await asyncio.gather(*(one(c) for c in cases if not c.alone)))
    for case in cases:
        if case.alone:
            results.append(await Scene(case, subject).run())
    order = {case.id: index for index, case in enumerate(cases)}
    return sorted(results, key=lambda r: order[r.case.id])


# Verbs.

def options(text: str) -> tuple[list[str], dict]:
    """Words and `name=value` pairs."""
    words, named = [], {}
    for part in shlex.split(text):
        name, equals, value = part.partition("=")
        if equals and name.replace("-", "").replace(":", "").isalnum():
            named[name] = value
        else:
            words.append(part)
    return words, named


def within(text: str) -> tuple[str, float | None]:
    """An optional leading `within=SECONDS`."""
    if text.startswith("within="):
        first, _, rest = text.partition(" ")
        return rest.strip(), float(first.removeprefix("within="))
    return text, None


async def v_connect(s, _scene, text):
    words, named = options(text)
    await s.connect(words[0] if words else "tcp", named)


async def v_header(s, _scene, text):
    s.send_header(options(text)[1])


async def v_open(s, _scene, text):
    await s.open(options(text)[1])


async def v_read_header(s, _scene, text):
    await s.read_header()
    if text:
        pattern_text = pattern.parse(text)
        captured = pattern.match(pattern_text, s.header, s.variables)
        s.variables.update(captured)


async def v_features(s, _scene, text):
    if s.features is None:
        await s.read_features()
    if text:
        s.variables.update(pattern.match(pattern.parse(text), s.features, s.variables))


async def v_starttls(s, _scene, text):
    await s.starttls(options(text)[1])


async def v_handshake(s, _scene, text):
    words, named = options(text)
    if not words:
        await s.handshake(named)
        return
    try:
        await s.handshake(named)
    except Failure:
        return
    raise Failure(f"{s.name}: the TLS handshake succeeded with {named}")


async def v_auth(s, _scene, text):
    words, named = options(text)
    if words:
        named["mechanism"] = words[0]
    await s.auth(named)


async def v_auth_start(s, _scene, text):
    """The mechanism, and its initial response in clear text (`\\0` for NUL)."""
    name, _, first = text.partition(" ")
    data = base64.b64encode(first.replace("\\0", "\0").encode()).decode()
    s.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{name}'>{data}</auth>")


async def v_offers(s, _scene, text):
    words, _ = options(text)
    for word in words:
        name = word.removeprefix("no:")
        if (name in s.mechanisms()) == word.startswith("no:"):
            raise Failure(f"{s.name}: mechanisms are {', '.join(s.mechanisms()) or 'none'}; wanted {word}")


async def v_bind(s, _scene, text):
    await s.bind(text or None)


async def v_login(s, _scene, text):
    words, named = options(text)
    if words:
        named["mechanism"] = words[0]
    if named.get("bind") == "no":
        named["bind"] = False
    await s.login(named)


async def v_online(s, _scene, text):
    words, named = options(text)
    if words:
        named["mechanism"] = words[0]
    await s.online(named)


async def v_send(s, _scene, text):
    s.send(text)


async def v_raw(s, _scene, text):
    """Bytes: `\\xNN`, `\\n`, `\\0` as in Python; the rest as UTF-8."""
    s.send(text.encode("latin-1", "backslashreplace").decode("unicode-escape").encode("latin-1")
           if "\\" in text else text.encode())


async def v_repeat(s, _scene, text):
    count, _, what = text.partition(" ")
    data = what.encode() * int(count)
    step = 65536
    for start in range(0, len(data), step):
        if s.wire.closed or s.wire.broken:
            return  # the peer has had enough; the next step says what is expected of it
        try:
            s.send(data[start:start + step])
        except Failure:
            return
        await s.wire.drain()


async def v_expect(s, _scene, text):
    text, limit = within(text)
    await s.expect(text, limit)


async def v_next(s, _scene, text):
    text, limit = within(text)
    await s.expect(text, limit, strict=True)


async def v_never(s, _scene, text):
    wanted = pattern.parse(text)
    for element in s.inbox:
        if pattern.matches(wanted, element, s.variables) is not None:
            raise Failure(f"{s.name}: received what must not come: {pattern.show(element)}")


async def v_empty(s, _scene, _text):
    if s.inbox:
        raise Failure(f"{s.name}: received more than expected: {s.unread()}")


async def v_clear(s, _scene, _text):
    s.inbox.clear()


async def v_sync(s, _scene, _text):
    await s.sync()


async def v_barrier(s, scene, text):
    for name in text.split():
        await s.barrier(scene.actor(name))


async def v_error(s, _scene, text):
    text, limit = within(text)
    await s.stream_error(text, limit)


async def v_end(s, _scene, text):
    await s.stream_end(within(text)[1])


async def v_closed(s, _scene, text):
    text, limit = within(text)
    await s.closed(limit, notify="notify" in text.split())


async def v_notified(s, _scene, text):
    await s.notified(within(text)[1])


async def v_refused(s, _scene, text):
    """The whole of a stream error: the error, the closing tag, close_notify if inside TLS, and the end of TCP."""
    text, limit = within(text)
    await s.stream_error(text, limit)
    await s.stream_end()
    if s.wire.tls_version != "none":
        await s.notified()
        s.wire.notify()
    await s.closed()


async def v_rejected(s, _scene, text):
    """A stream error and the end of TCP; how politely it ends is another case's matter."""
    text, limit = within(text)
    await s.stream_error(text, limit)
    s.wire.notify()
    s.wire.fin()
    await s.closed()


async def v_mark(s, scene, _text):
    scene.marks[s.name] = s.wire.received
    scene.marks[f"{s.name} tls"] = s.wire.tls_bytes


async def v_silent(s, scene, _text):
    more = s.wire.received - scene.marks.get(s.name, 0)
    if more:
        raise Failure(f"{s.name}: {more} bytes of XML came, none expected; {s.transcript[-1:]}")


async def v_bounded(s, scene, text):
    more = s.wire.received - scene.marks.get(s.name, 0)
    if more > int(text):
        raise Failure(f"{s.name}: {more} bytes came, at most {text} expected")


async def v_close(s, _scene, _text):
    s.send("</stream:stream>")


async def v_notify(s, _scene, _text):
    s.wire.notify()


async def v_fin(s, _scene, _text):
    s.wire.fin()


async def v_drop(s, _scene, _text):
    s.drop()


async def v_goodbye(s, _scene, _text):
    await s.goodbye()


async def v_renegotiate(s, _scene, _text):
    s.note("-", "renegotiation asked for")
    try:
        s.wire.renegotiate()
    except Exception as error:
        raise Failure(f"{s.name}: {error}") from error


async def v_tls(s, _scene, text):
    words, named = options(text)
    for name, wanted in named.items():
        found = {"version": s.wire.tls_version, "alpn": s.wire.alpn, "resumed": "yes" if s.wire.resumed else "no",
                 "names": wanted if wanted in s.wire.names() else str(s.wire.names())}[name]
        if found != wanted:
            raise Failure(f"{s.name}: TLS {name} is {found}, not {wanted}")


async def v_keep(s, scene, text):
    """Keeps the TLS session under a name, for `connect tls session=NAME` or `starttls session=NAME`."""
    scene.sessions[text] = s.wire.session()


async def v_differs(s, _scene, text):
    words = text.split()
    if len(set(words)) != len(words):
        raise Failure(f"{s.name}: these must differ: {words}")


async def v_equal(s, _scene, text):
    words = shlex.split(text)
    if len(set(words)) != 1:
        raise Failure(f"{s.name}: these must be equal: {words}")


async def v_dribble(s, _scene, text):
    """`N PAUSE BYTE`: N times BYTE (`_` is a space), PAUSE seconds apart, until the peer closes; a slow sender, not a way to wait."""
    count, pause, what = text.split(" ", 2)
    what = what.replace("_", " ")
    for _ in range(int(count)):
        if s.wire.closed or s.wire.notified or s.ended:
            return
        try:
            s.send(what)
        except Failure:
            return
        await asyncio.sleep(float(pause))
    raise Failure(f"{s.name}: the subject bore {count} bytes, {pause} s apart")


VERBS = {name.removeprefix("v_").replace("_", "-"): function for name, function in list(globals().items())
         if name.startswith("v_")}
