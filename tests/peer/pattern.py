"""Elements by expat, and the patterns that scripts match them with.

A pattern is XML. It matches an element of the same name and namespace that has at least the pattern's attributes,
children (in any order) and text. In attribute values and text:
    {_}          anything, but present
    {absent}     the attribute must not be there (as the only text: the element must be without text)
    {name}       a known variable's value; an unknown name is captured
    ~REGEX       a full match
A child `<not xmlns='test'>...</not>` holds children that must not match; `<only xmlns='test'/>` forbids children that the
pattern does not name. A pattern or child named `any` in the namespace "test" matches every element.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

TEST = "{test}"
for _prefix, _name in (("", "jabber:client"), ("stream", "http://etherx.jabber.org/streams")):
    ET.register_namespace(_prefix or "c", _name)
VARIABLE = re.compile(r"\{([a-zA-Z0-9_./@-]+)\}")


class Mismatch(Exception):
    """Why a pattern did not match, or a stream cannot be read."""


class StreamParser:
    """Feeds expat; tells the header, each complete child of the root, and the end."""

    def __init__(self, on_header, on_element, on_end):
        self._pull = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._root = None
        self._calls = (on_header, on_element, on_end)

    def feed(self, data: bytes) -> None:
        self._pull.feed(data)
        for event, element in self._pull.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
                    self._calls[0](element)
                continue
            self._depth -= 1
            if self._depth == 1:
                self._root.remove(element)
                self._calls[1](element)
            elif self._depth == 0:
                self._calls[2]()


def parse(text: str) -> ET.Element:
    """One pattern or stanza; `jabber:client` is its default namespace, the prefix `stream` is declared."""
    wrapped = f"<w xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{text}</w>"
    try:
        children = list(ET.fromstring(wrapped))
    except ET.ParseError as error:
        raise Mismatch(f"this pattern is no XML ({error}): {text}") from error
    if len(children) != 1:
        raise Mismatch(f"a pattern is one element: {text}")
    return children[0]


def substitute(text: str, variables: dict[str, str]) -> str:
    """Every known `{name}` by its value; unknown ones stay."""
    return VARIABLE.sub(lambda m: variables.get(m.group(1), m.group(0)), text)


def match(pattern: ET.Element, element: ET.Element, variables: dict[str, str]) -> dict[str, str]:
    """The captures, or `Mismatch`."""
    captures: dict[str, str] = {}
    _match(pattern, element, variables, captures)
    return captures


def matches(pattern: ET.Element, element: ET.Element, variables: dict[str, str]) -> dict[str, str] | None:
    try:
        return match(pattern, element, variables)
    except Mismatch:
        return None


def _match(pattern, element, variables, captures):
    if pattern.tag != TEST + "any" and pattern.tag != element.tag:
        raise Mismatch(f"the element is {element.tag}, not {pattern.tag}")
    for name, wanted in pattern.attrib.items():
        found = element.get(name)
        if wanted == "{absent}":
            if found is not None:
                raise Mismatch(f"attribute {name} is there: {found!r}")
        elif found is None:
            raise Mismatch(f"attribute {name} is missing in {element.tag}")
        else:
            _value(f"attribute {name}", wanted, found, variables, captures)
    text = (pattern.text or "").strip()
    if text == "{absent}":
        if (element.text or "").strip():
            raise Mismatch(f"{element.tag} has text {element.text!r}")
    elif text:
        _value(f"text of {element.tag}", text, (element.text or "").strip(), variables, captures)
    used: set[int] = set()
    only = False
    for child in pattern:
        if child.tag == TEST + "not":
            for unwanted in child:
                if any(matches(unwanted, found, variables) is not None for found in element):
                    raise Mismatch(f"{element.tag} has the unwanted child {unwanted.tag}")
        elif child.tag == TEST + "only":
            only = True
        else:
            _child(child, element, variables, captures, used)
    if only and len(used) != len(element):
        raise Mismatch(f"{element.tag} has {len(element)} children, expected {len(used)}")


def _child(pattern, element, variables, captures, used):
    why = "there is none"
    for index, found in enumerate(element):
        if index in used:
            continue
        attempt = dict(captures)
        try:
            _match(pattern, found, variables, attempt)
        except Mismatch as error:
            if found.tag == pattern.tag:
                why = str(error)
            continue
        captures.update(attempt)
        used.add(index)
        return
    raise Mismatch(f"no child of {element.tag} matches {pattern.tag}: {why}")


def _value(where, wanted, found, variables, captures):
    if wanted == "{_}":
        return
    whole = VARIABLE.fullmatch(wanted)
    if whole:
        known = variables.get(whole.group(1), captures.get(whole.group(1)))
        if known is None:
            captures[whole.group(1)] = found
        elif known != found:
            raise Mismatch(f"{where} is {found!r}, not {known!r}")
    elif wanted.startswith("~"):
        if not re.fullmatch(substitute(wanted[1:], {**variables, **captures}), found, re.DOTALL):
            raise Mismatch(f"{where} is {found!r}, which does not match {wanted[1:]}")
    else:
        value = substitute(wanted, {**variables, **captures})
        if value != found:
            raise Mismatch(f"{where} is {found!r}, not {value!r}")


def show(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode")
