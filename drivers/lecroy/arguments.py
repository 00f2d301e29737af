"""Arguments of a scope's verbs, seen to before anything is sent (pure)."""

import re
from collections.abc import Sequence


def one_of(what: str, word: str, words: Sequence[str]) -> str:
    """Give the word in capitals.

    Raises:
        ValueError: it is none of `words`.
    """
    if str(word).upper() not in words:
        raise ValueError(f"{what} {word!r}: it may be {', '.join(words)}")
    return str(word).upper()


def within(what: str, value: float, low: float, high: float, unit: str) -> float:
    """Give the value.

    Raises:
        ValueError: it is not within `low` .. `high`.
    """
    if not low <= value <= high:
        raise ValueError(f"{what} {value!r}: it may be {low:g} .. {high:g} {unit}".rstrip())
    return value


def whole(what: str, value: float, low: int, high: int) -> int:
    """Give the value as a whole number.

    Raises:
        ValueError: it is none, or not within `low` .. `high`.
    """
    if within(what, value, low, high, "") != int(value):
        raise ValueError(f"{what} {value!r}: it has to be a whole number")
    return int(value)


def trace_name(trace: str | int, known: Sequence[str]) -> str:
    """Give the name of a trace; 2 is C2.

    Raises:
        ValueError: it is none of `known`.
    """
    return one_of("trace", f"C{trace}" if isinstance(trace, int) else trace, known)


def quoted(what: str, text: str, most: int) -> str:
    """Give a text within quotes.

    Raises:
        ValueError: it is longer than `most`, or the scope could not read it.
    """
    if len(text) > most or re.search(r"['\"\x00-\x1f]", text) or not text.isascii():
        raise ValueError(f"{what} {text!r}: at most {most} ASCII characters without quotes")
    return f"'{text}'"
