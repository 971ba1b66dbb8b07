"""What a proven server may still not do, and what an unproven one cannot: each attack, and that the good pair goes on."""

from __future__ import annotations

import time

from .intruder import Ended, Intruder

VICTIM = "victim.sec.lab"               # a domain that the intruder does not hold


async def all_of(good, ours, server, client) -> list[dict]:
    """Each attack by the good domain's server, which is proven by its certificate. `None` is well."""
    results = []
    for attack in (forged_from, unsolicited_answers, rejected_pair, forged_key, injected_plaintext):
        begun = time.monotonic()
        intruder = Intruder(good.name, ours.name, good.responder.credential)
        try:
            wrong = await attack(intruder, good, ours, server, client) or ""
        except Ended as end:
            wrong = f"the stream ended: {end}"
        except TimeoutError:
            wrong = "no answer"
        await intruder.go()
        stolen = [text for sender, text in client.messages if sender.endswith(VICTIM)]
        if stolen:
            wrong += f"; delivered in the victim's name: {stolen}"
        results.append({"name": f"attack {attack.__name__}", "outcome": "held off" if not wrong else "FAILED", "code": "", "text": "",
                        "seconds": time.monotonic() - begun, "wrong": wrong})
    return results


async def enter(intruder: Intruder, server) -> None:
    if not await intruder.authenticate(await intruder.open(server.host)):
        raise Ended("EXTERNAL was not offered")


async def still_good(intruder: Intruder, good, ours, client, text: str) -> str | None:
    intruder.message(ours.account, f"u@{good.name}", text)
    return None if await client.gets(f"u@{good.name}", text) else "the good pair is no longer served"


async def forged_from(intruder, good, ours, server, client) -> str | None:
    """RFC 6120 section 8.1.2.2, section 4.9.3.9: a stanza of a domain that is not proven on the stream ends it."""
    await enter(intruder, server)
    intruder.message(ours.account, f"u@{VICTIM}", "I am somebody else")
    try:
        await intruder.hears("nothing")
    except Ended as end:
        return None if str(end) == "invalid-from" else f"the stream ended with {end}"
    return "nothing"


async def unsolicited_answers(intruder, good, ours, server, client) -> str | None:
    """XEP-0220 section 4: answers that nobody asked for prove nothing (S3-13)."""
    await enter(intruder, server)
    for answer in ("result", "verify"):
        intruder.say(f"<db:{answer} from='{VICTIM}' to='{ours.name}' id='x' type='valid'/>")
    if wrong := await still_good(intruder, good, ours, client, "after unsolicited answers"):
        return wrong
    intruder.message(ours.account, f"u@{VICTIM}", "proven by myself")
    try:
        await intruder.hears("nothing")
    except Ended as end:
        return None if str(end) == "invalid-from" else f"the stream ended with {end}"
    return "nothing"


async def rejected_pair(intruder, good, ours, server, client) -> str | None:
    """RFC 7712 section 4.4: a pair that is rejected does not take the stream down for the others."""
    await enter(intruder, server)
    if (kind := await intruder.assert_domain(VICTIM)) == "valid":
        return "the victim's domain was accepted"
    wrong = await still_good(intruder, good, ours, client, "after a rejected pair")
    return wrong and f"{wrong} after {kind}"


async def forged_key(intruder, good, ours, server, client) -> str | None:
    """XEP-0220 section 2.1.2: a key that the domain's own server does not know, from a server without a certificate."""
    intruder.credential = None
    try:
        await intruder.open(server.host)
        kind = await intruder.assert_domain(good.name)
    except Ended:
        return None
    return "a forged key was accepted" if kind == "valid" else None


async def injected_plaintext(intruder, good, ours, server, client) -> str | None:
    """RFC 6120 section 5.3.4 and S0-33: what came in clear text behind `<starttls/>` is not heard within TLS."""
    injected = f"<message from='u@{VICTIM}' to='{ours.account}'><body>injected</body></message>"
    try:
        features = await intruder.open(server.host, plain=injected)
        await intruder.authenticate(features)
    except (Ended, OSError):
        return None                     # ended, which is as good as ignored
    return await still_good(intruder, good, ours, client, "after injected plaintext")
