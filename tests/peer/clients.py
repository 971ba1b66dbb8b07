"""Stock clients talk through the subject: two slixmpp clients with different SASL mechanisms, and two profanity clients."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback

import slixmpp

from .session import Failure
from .subjects import subject
from .terminal import Profanity, Terminal

PATIENCE = 30.0


class Client(slixmpp.ClientXMPP):
    """A stock client that remembers what it saw. It answers no subscription request by itself."""

    def __init__(self, jid: str, password: str, mechanism: str, ca: str):
        super().__init__(jid, password, sasl_mech=mechanism)
        self.ca_certs = ca
        self.auto_authorize = None
        self.auto_subscribe = False
        self.enable_plaintext = False
        self.mechanism = mechanism
        for plugin in ("xep_0030", "xep_0199", "xep_0198", "xep_0203", "xep_0280", "xep_0191"):
            self.register_plugin(plugin)
        self.seen: list[tuple[str, str, str]] = []       # kind, from, text
        self._changed = asyncio.Event()
        self.failure = None
        self.add_event_handler("session_start", lambda _: self._note("session", jid, ""))
        self.add_event_handler("failed_auth", lambda _: self._fail("authentication failed"))
        self.add_event_handler("ssl_invalid_chain", lambda e: self._fail(f"certificate not trusted: {e}"))
        self.add_event_handler("message", self._on_message)
        self.add_event_handler("changed_status", lambda p: self._note(f"presence {p['type']}", str(p["from"]), p["status"]))
        self.add_event_handler("presence_subscribe", lambda p: self._note("subscribe", p["from"].bare, ""))
        self.add_event_handler("presence_subscribed", lambda p: self._note("subscribed", p["from"].bare, ""))

    def _note(self, kind, who, text):
        self.seen.append((kind, str(who), str(text)))
        self._changed.set()

    def _fail(self, why):
        self.failure = why
        self._changed.set()

    def _on_message(self, message):
        if message["type"] in ("chat", "normal"):
            late = "delayed message" if message.xml.find("{urn:xmpp:delay}delay") is not None else "message"
            self._note(late, message["from"].bare, message["body"])

    async def sees(self, kind: str, who: str, text: str = "") -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(k == kind and w.partition("/")[0] == who.partition("/")[0] and text in t for k, w, t in self.seen):
            self._changed.clear()
            left = deadline - time.monotonic()
            if self.failure or left <= 0:
                raise Failure(f"{self.boundjid.bare} has not seen {kind} of {who} {text!r}: {self.failure or self.seen}")
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def come(self, host: str, port: int) -> None:
        self.seen.clear()
        self.connect(host, port)
        await self.sees("session", self.requested_jid.bare)
        await self.get_roster(timeout=PATIENCE)
        self.send_presence()

    async def go(self) -> None:
        await asyncio.wait_for(self.disconnect(wait=2), PATIENCE)


class Play:
    """The steps that have been shown, each printed as it is done."""

    def __init__(self):
        self.started = time.monotonic()
        self.done = 0

    def tell(self, text: str) -> None:
        self.done += 1
        print(f"{time.monotonic() - self.started:6.1f}s  {text}")


async def run(args) -> int:
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
    server = subject(args.subject, args.folder / "server", args.binary)
    terminal = Terminal(args.folder / "terminal")
    play = Play()
    clients: list[Client] = []
    try:
        await server.start()
        await terminal.start()
        await act(play, server, terminal, clients)
        failed = 0
    except Exception as error:
        failed = 1
        print(f"FAIL: {error}" if isinstance(error, Failure) else "".join(traceback.format_exception(error)))
        print(f"--- the end of {args.subject}'s log\n{server.log()[-3000:]}")
    finally:
        for client in clients:
            if client.transport:
                client.abort()
        await terminal.stop()
        await server.stop()
    print(f"clients against {args.subject}: {play.done} cases in {time.monotonic() - play.started:.1f} s")
    print(f"{play.done} passed, {failed} failed")
    return failed


async def act(play: Play, server, terminal: Terminal, clients: list[Client]) -> None:
    passwords = {name: f"{name}-password" for name in ("alice", "bob", "carol", "dave")}
    jids = {name: f"{name}@{server.domain}" for name in passwords}
    for name, password in passwords.items():
        await server.add_account(name, server.domain, password)
    play.tell("accounts alice, bob, carol and dave made")

    mechanisms = {"alice": "SCRAM-SHA-256", "bob": "PLAIN"}
    for name, mechanism in mechanisms.items():
        clients.append(Client(jids[name], passwords[name], mechanism, str(server.ca)))
        await clients[-1].come(server.host, server.port)
        play.tell(f"{name} logs in with slixmpp {slixmpp.__version__}, {mechanism}")
    alice, bob = clients
    carol, dave = (Profanity(terminal, name) for name in ("carol", "dave"))
    for client in (carol, dave):
        await client.start()
        line = await client.connects(jids[client.name], server.host, server.port, passwords[client.name])
        play.tell(f"{client.name} logs in with profanity: {line}")

    # slixmpp with slixmpp.
    alice.send_presence_subscription(jids["bob"], ptype="subscribe")
    await bob.sees("subscribe", jids["alice"])
    bob.send_presence_subscription(jids["alice"], ptype="subscribed")
    bob.send_presence_subscription(jids["alice"], ptype="subscribe")
    await alice.sees("subscribe", jids["bob"])
    alice.send_presence_subscription(jids["bob"], ptype="subscribed")
    await alice.sees("presence available", jids["bob"])
    await bob.sees("presence available", jids["alice"])
    play.tell("alice and bob subscribe to each other and see each other's presence")

    # profanity with profanity.
    await carol.types(f"/sub request {jids['dave']}")
    await dave.sees("Received subscription request from", "authorization request")
    await dave.types(f"/sub allow {jids['carol']}")
    await dave.types(f"/sub request {jids['carol']}")
    await carol.sees("Received subscription request from", "authorization request")
    await carol.types(f"/sub allow {jids['dave']}")
    await carol.sees(f"++ {jids['dave']}")
    await dave.sees(f"++ {jids['carol']}")
    play.tell("carol and dave subscribe to each other and see each other come online")

    # slixmpp with profanity.
    alice.send_presence_subscription(jids["carol"], ptype="subscribe")
    await carol.sees(f"{jids['alice']}")
    await carol.types(f"/sub allow {jids['alice']}")
    await carol.types(f"/sub request {jids['alice']}")
    await alice.sees("subscribe", jids["carol"])
    alice.send_presence_subscription(jids["carol"], ptype="subscribed")
    await alice.sees("presence available", jids["carol"])
    play.tell("alice and carol subscribe to each other and see each other's presence")
    await carol.types("/status set away")
    await alice.sees("presence away", jids["carol"])
    play.tell("alice sees that carol is away")
    await carol.types("/status set online")

    alice.send_message(jids["bob"], "Hello Bob, this is Alice", mtype="chat")
    await bob.sees("message", jids["alice"], "Hello Bob, this is Alice")
    bob.send_message(jids["alice"], "Hello Alice, Bob here", mtype="chat")
    await alice.sees("message", jids["bob"], "Hello Alice, Bob here")
    play.tell("alice and bob exchange messages")
    await carol.types(f"/msg {jids['dave']} tea is ready")
    await dave.sees("carol")
    await dave.types("/win 2")
    await dave.sees("tea is ready")
    await dave.types("coming at once")
    await carol.sees("coming at once")
    play.tell("carol and dave exchange messages")
    await carol.types(f"/msg {jids['alice']} what news")
    await alice.sees("message", jids["carol"], "what news")
    alice.send_message(jids["carol"], "none but good", mtype="chat")
    await carol.sees("none but good")
    play.tell("alice and carol exchange messages")

    # Away, and back.
    await bob.go()
    await alice.sees("presence unavailable", jids["bob"])
    play.tell("bob goes offline, and alice sees it")
    alice.send_message(jids["bob"], "for when you are back", mtype="chat")
    await alice["xep_0199"].ping(server.domain, timeout=PATIENCE)
    bob = Client(jids["bob"], passwords["bob"], "SCRAM-SHA-1", str(server.ca))
    clients.append(bob)
    await bob.come(server.host, server.port)
    await bob.sees("delayed message", jids["alice"], "for when you are back")
    play.tell("bob comes back, with SCRAM-SHA-1, and gets his offline message")
    await dave.types("/disconnect")
    await dave.sees("logged out", "disconnected", "Disconnected")
    await carol.types("/win 1")
    await carol.sees(f"-- {jids['dave']}")
    play.tell("dave goes offline, and carol sees it")
    await carol.types(f"/msg {jids['dave']} your tea gets cold")
    await carol.sees("your tea gets cold")
    alice.send_message(jids["dave"], "dave where are you", mtype="chat")
    await alice["xep_0199"].ping(server.domain, timeout=PATIENCE)
    await dave.types("/win 1")
    await dave.types("/clear")
    await dave.connects(jids["dave"], server.host, server.port, passwords["dave"])
    await dave.types(f"/msg {jids['carol']}")
    await dave.sees("your tea gets cold")
    await dave.types(f"/msg {jids['alice']}")
    await dave.sees("dave where are you")
    play.tell("dave comes back and gets his offline messages")
