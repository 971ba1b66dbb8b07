"""Cases: credentials by XEP-0215 from an XMPP account, AUTH with them, and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from . import digest
from .cases import case, check, expect
from .endpoint import Connection, Failed, Gone, Refused, Session, context
from .frames import Frame, Uri, ident, path, request
from .stage import PASSWORD, PORT, Person, Relay, Stage, meet
from .transfers import texts


async def challenge(connection: Connection, relay: Relay, local: Uri, *headers: tuple[str, str], before: Sequence[Uri] = ()) -> Frame:
    return await connection.transact(request("AUTH", [*before, relay.uri], [local], *headers))


async def attempt(connection: Connection, relay: Relay, local: Uri, username: str, password: str, *headers: tuple[str, str],
                  before: Sequence[Uri] = ()) -> Frame:
    """Both rounds of AUTH, through those relays `before` it, whatever comes of it; the last answer."""
    asked = await challenge(connection, relay, local, before=before)
    login = digest.Login(digest.choose(asked.all("WWW-Authenticate"), ["SHA-256", "MD5"]), username, password)
    return await challenge(connection, relay, local, ("Authorization", login.authorization(str(relay.uri))), *headers, before=before)


@case("login/challenge", "the challenge: strongest hash first, quoted qop=\"auth\", opaque, the host as realm, no Basic", "S1-L4 S1-R5")
async def challenges(stage: Stage) -> str:
    seen = {}
    for relay in (stage.one, stage.brief):
        connection = await stage.connect(relay)
        answer = await challenge(connection, relay, Uri.fresh(stage.source, 9))
        expect(answer.code, 401, "AUTH without credentials")
        headers = answer.all("WWW-Authenticate")
        for text in headers:
            check(text.startswith("Digest ") and 'qop="auth"' in text and "opaque=" in text and "domain=" not in text, f"a challenge for no stock client: {text}")
        found = [digest.Challenge.parse(text) for text in headers]
        check(all(one.realm == relay.domain and len(one.nonce) >= 16 for one in found), f"the realm or the nonce: {headers}")
        seen[relay.label] = [one.algorithm for one in found]
    expect(seen, {"one": ["SHA-256", "MD5"], "brief": ["MD5"]}, "the algorithms")
    return "SHA-256 and MD5; MD5 alone where it is configured"


@case("login/algorithms", "AUTH by SHA-256 and by MD5, the relay proves that it knows the password too; Use-Path and Expires", "S1-L5 S1-R5 S1-01")
async def algorithms(stage: Stage) -> str:
    uris = set()
    for relay, hashes in ((stage.one, ["SHA-256"]), (stage.one, ["MD5"]), (stage.brief, ["MD5"])):
        person = await stage.person(relay, algorithms=hashes)
        for _ in range(5):
            # Each AUTH is for one more session.
            person.session.relays += await person.connection.auth(relay.uri, Uri.fresh(stage.source, 9), person.credentials.username,
                                                                  person.credentials.password, algorithms=hashes)
        for uri in person.session.relays:
            expect((uri.scheme, uri.host, uri.port), ("msrps", relay.domain, PORT), "Use-Path")
            check(len(uri.session or "") >= 22, f"a session id of {len(uri.session or '')} characters")
            uris.add(uri.session)
        check(60 <= person.expires <= 3_600 or relay is stage.brief and 1 <= person.expires <= 60, f"Expires: {person.expires}")
    expect(len(uris), 18, "different URIs")
    common = [sum(a == b for a, b in zip(one, other)) for one in uris for other in uris if one < other]
    check(max(common) <= 10, f"two URIs have {max(common)} characters in common places")
    return "18 URIs"


@case("login/expires", "Expires out of bounds is answered by 423 with the bound; who asks for none gets as long as the credentials are good", "S1-L6")
async def bounds(stage: Stage) -> str:
    _, credentials = await stage.credentials(stage.one)
    connection, local = await stage.connect(stage.one), Uri.fresh(stage.source, 9)
    for asked, header in (("5", "Min-Expires"), ("999999", "Max-Expires")):
        answer = await attempt(connection, stage.one, local, credentials.username, credentials.password, ("Expires", asked))
        expect((answer.code, bool(answer.get(header))), (423, True), f"Expires: {asked}")
    answer = await attempt(connection, stage.one, local, credentials.username, credentials.password, ("Expires", "120"))
    expect((answer.code, answer.get("Expires")), (200, "120"), "Expires: 120")
    # Who asks for none does not renew: it is as long as the credentials.
    answer = await attempt(connection, stage.one, Uri.fresh(stage.source, 9), credentials.username, credentials.password)
    left = int(credentials.username.partition(":")[0]) - time.time()
    check(answer.code == 200 and abs(int(answer.get("Expires") or 0) - left) < 10, f"without Expires: {answer}, and {left:.0f} s are left of the credentials")
    return f"423 for 5 and 999999, 200 for 120; {answer.get('Expires')} s without a word"


@case("login/xep-0215", "an XMPP login is told host, port, transport, username, password and their end", "S1-R5 S1-10")
async def discovery(stage: Stage) -> str:
    account, login = await stage.account(stage.one)
    try:
        services = [one for one in await login.services() if one.get("transport") == "tcp"]
        expect([(one.get("type"), one.get("host"), one.get("port")) for one in services], [("msrp", stage.one.domain, str(PORT))], "the services")
        first, second = await login.fetch(), await login.fetch()
        check(account in first.username and PASSWORD not in (first.password, second.password), f"credentials {first}")
    finally:
        await login.go()
    # What another account has got is no use with its own name, nor a later end with an old password.
    connection, local = await stage.connect(stage.one), Uri.fresh(stage.source, 9)
    end, _, name = first.username.partition(":")
    lies = [(f"{int(end) + 3_600}:{name}", first.password), (f"{end}:admin@{stage.one.domain}", first.password)]
    for username, password in lies:
        expect((await attempt(connection, stage.one, local, username, password)).code, 401, f"AUTH as {username}")
    return f"good until {first.expires}; neither the name nor the end can be changed"


@case("login/wrong", "wrong passwords, unknown users and the account's own password are refused by 401", "S1-L4")
async def wrong(stage: Stage) -> str:
    account, credentials = await stage.credentials(stage.one)
    tries = [(credentials.username, "guess"), (account, PASSWORD), (account.partition("@")[0], PASSWORD), ("nobody", ""), ("", "")]
    for username, password in tries:
        connection, local = await stage.connect(stage.one), Uri.fresh(stage.source, 9)
        expect((await attempt(connection, stage.one, local, username, password)).code, 401, f"AUTH as {username!r}")
    return f"{len(tries)} ways"


@case("login/certificate", "AUTH with a client certificate that names one account, and no password; certificates that prove nothing are challenged", "S1-R5 S1-10")
async def certificate(stage: Stage) -> str:
    relay, domain = stage.one, stage.one.domain
    (account, login), (other, more), bob = await asyncio.gather(stage.account(relay), stage.account(relay), stage.person(relay))
    await asyncio.gather(login.go(), more.go())

    async def auth(kind: str, *addresses: str) -> tuple[Connection, Uri, Frame]:
        credential = stage.pki.make(f"client-{kind}-{ident(6)}", "", kind, names=[], addresses=addresses)
        connection, local = await stage.connect(relay, tls=context(stage.pki.trusted, (credential.chain, credential.key))), Uri.fresh(stage.source, 9)
        return connection, local, await challenge(connection, relay, local)
    for kind, *addresses in (("self-signed", account), ("stranger", account), ("expired", account), ("wrong-purpose", account), ("client-only", account, other),
                             ("client-only", f"nobody@{domain}"), ("client-only", domain), ("client-only", "someone@elsewhere.example"), ("client-only",)):
        _, _, answer = await auth(kind, *addresses)
        expect(answer.code, 401, f"AUTH with a certificate ({kind}) for {addresses}")
    connection, local, answer = await auth("client-only", account)
    expect((answer.code, answer.get("Authentication-Info")), (200, None), "AUTH with a certificate for the account")
    alice = Person(account, relay, None, connection, Session(local, path(answer.get("Use-Path") or "")))
    connection.sessions[local] = alice.session
    meet(alice, bob)
    said = await texts(alice, bob)
    # The account is what counts.
    await relay.run("account", "disable", account)
    await connection.closed()
    _, _, answer = await auth("client-only", account)
    expect(answer.code, 403, "AUTH with the certificate of a disabled account")
    return f"{said}; 403 and the end when the account is disabled"


async def ended(alice: Person, bob: Person, within: float = 20) -> str:
    """Neither can Alice send any more, nor does what is sent to her arrive; how that is told."""
    deadline = time.monotonic() + within
    while True:
        try:
            sent = await alice.connection.send(alice.session, b"still there?")
            if sent.errors:
                how = f"sending is answered by {sent.errors[0].code}"
                break
        except Gone as gone:
            how = f"the connection is {gone}"
            break
        if time.monotonic() > deadline:
            raise Failed("the session still stands")
        await asyncio.sleep(0.2)
    while not bob.session.inbox.empty():
        bob.session.inbox.get_nowait()
    sent = await bob.connection.send(bob.session, b"are you there?")
    code = await sent.error(40)
    return f"{how}; the other side gets {code}"


async def refused(stage: Stage, person: Person) -> int:
    """The code of AUTH with credentials that were good."""
    try:
        await stage.arrive(person.relay, person.account, person.credentials)
    except Refused as answer:
        if answer.answer.code not in (401, 403):
            raise
        return answer.answer.code
    raise Failed(f"{person.account} has logged in")


@case("end/uri", "a URI ends after the Expires that was asked for", "S1-L5")
async def uri_ends(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.brief, stage.one)
    alice = await stage.again(alice, expires=3)
    expect(alice.expires, 3, "Expires")
    meet(alice, bob)
    await alice.connection.send(alice.session, b"soon over")
    expect(bytes((await bob.session.message()).data), b"soon over", "what arrived")
    return await ended(alice, bob)


@case("end/credentials", "credentials that have expired are refused, and sessions that were begun with them end", "S1-R5 S1-10")
async def credentials_end(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.brief, stage.one)
    await alice.connection.send(alice.session, b"as long as it lasts")
    await bob.session.message()
    last = int(alice.credentials.username.partition(":")[0])
    await asyncio.sleep(max(last - time.time(), 0) + 1)             # the end is what is looked at
    code = await refused(stage, alice)
    return f"AUTH is answered by {code}; {await ended(alice, bob)}"


@case("end/renewed", "who logs in again in time goes on, with the session that there is", "S1-L5 S1-R5")
async def renewed(stage: Stage) -> str:
    account, login = await stage.account(stage.brief)
    try:
        first = await login.fetch()
        alice, bob = await asyncio.gather(stage.arrive(stage.brief, account, first), stage.person(stage.one))
        last = int(first.username.partition(":")[0])
        await asyncio.sleep(max(last - time.time() - 10, 0))
        second = await login.fetch()
    finally:
        await login.go()
    alice.session.relays = await alice.connection.auth(stage.brief.uri, alice.session.local, second.username, second.password)
    meet(alice, bob)
    await asyncio.sleep(max(last - time.time(), 0) + 2)
    await alice.connection.send(alice.session, b"still here")
    expect(bytes((await bob.session.message()).data), b"still here", "what arrived after the first credentials' end")
    await bob.connection.send(bob.session, b"so am I")
    expect(bytes((await alice.session.message()).data), b"so am I", "the answer")
    return "both ways after the end of the first credentials"


async def ends(stage: Stage, *words: str) -> str:
    alice, bob = await stage.pair(stage.one, stage.two)
    await alice.connection.send(alice.session, b"while it lasts")
    await bob.session.message()
    await stage.one.run("account", *words, alice.account)
    said = await ended(alice, bob)
    return f"{said}; AUTH is answered by {await refused(stage, alice)}"


@case("end/disabled", "a disabled account is refused, and its live sessions end", "S1-R5 S1-10")
async def disabled(stage: Stage) -> str:
    return await ends(stage, "disable")


@case("end/deleted", "a deleted account is refused, and its live sessions end", "S1-R5 S1-10")
async def deleted(stage: Stage) -> str:
    return await ends(stage, "delete")


@case("end/closed", "a URI ends with the client's connection", "S1-L5")
async def closed(stage: Stage) -> str:
    alice, bob = await stage.pair(stage.one, stage.one)
    await alice.connection.close()
    sent = await bob.connection.send(bob.session, b"are you there?")
    code = await sent.error()
    again = await stage.arrive(stage.one, alice.account, alice.credentials)
    check(again.session.relays[0] != alice.session.relays[0], "the same URI came again")
    return f"{code}"
