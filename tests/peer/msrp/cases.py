"""What is played: a case is a coroutine over the stage that raises `Failed`, or returns a few words on what it saw."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .endpoint import Failed
from .stage import Stage


@dataclass
class Case:
    """One line of the table."""

    ident: str
    title: str
    demands: str                    # requirement numbers
    play: Callable[[Stage], Awaitable[str | None]]


ALL: list[Case] = []


def case(ident: str, title: str, demands: str):
    def add(play):
        ALL.append(Case(ident, title, demands, play))
        return play
    return add


def expect(seen, wanted, what: str) -> None:
    if seen != wanted:
        raise Failed(f"{what}: {seen!r}, not {wanted!r}")


def check(good, what: str) -> None:
    if not good:
        raise Failed(what)
