"""One line of comma separated values, whose quotes are doubled (RFC 4180) or tripled (pure).

Both ways of writing a quote inside a quoted field are met in the wild, and no header says which. A line is read
strictly with doubled quotes; if that fails, strictly with tripled ones; if that fails too, leniently, which the caller
tells of. A quoted field never runs past the end of its line, so that one stray quote costs one line. Every way is
linear in the length of the line.
"""

import re
from enum import StrEnum

BLANKS = " \t"
_CLOSING = re.compile(r'"(?=[ \t]*(?:,|$))')
_FILLED = re.compile(r"[^ \t]|$")


class Rule(StrEnum):
    """How the quotes of a line were read."""

    DOUBLED = "doubled"
    TRIPLED = "tripled"
    LENIENT = "lenient"


def split(line: str) -> tuple[list[str], Rule]:
    """Split a line into its fields, quotes decoded, nothing trimmed (but for what lies outside quotes when lenient).

    Args:
        line: the text without its line end.
    """
    if '"' not in line:
        return line.split(","), Rule.DOUBLED
    if (fields := _strict(line, 2)) is not None:
        return fields, Rule.DOUBLED
    if (fields := _strict(line, 3)) is not None:
        return fields, Rule.TRIPLED
    return _lenient(line), Rule.LENIENT


def _strict(line: str, quotes: int) -> list[str] | None:
    """Split a line in which so many quotes stand for one; None when the line does not obey the rule."""
    fields: list[str] = []
    at, end = 0, len(line)
    while True:
        if line.startswith('"', at):
            parts: list[str] = []
            at += 1
            while True:
                first = line.find('"', at)
                if first < 0:
                    return None
                after = first
                while line.startswith('"', after):
                    after += 1
                count, odd = divmod(after - first, quotes)
                parts += line[at:first], '"' * count
                at = after
                if odd == 1 and (at == end or line[at] == ","):
                    break
                if odd:
                    return None
            fields.append("".join(parts))
        else:
            comma = line.find(",", at)
            comma = end if comma < 0 else comma
            if line.find('"', at, comma) >= 0:
                return None
            fields.append(line[at:comma])
            at = comma
        if at >= end:
            return fields
        at += 1


def _lenient(line: str) -> list[str]:
    """Split a line somehow: a quote closes where a comma follows; one that never closes ends at the next comma."""
    fields: list[str] = []
    at, end, closes = 0, len(line), True
    while True:
        found = _FILLED.search(line, at)
        first = found.start() if found else end
        closing = _CLOSING.search(line, first + 1) if closes and line.startswith('"', first) else None
        if closing:
            fields.append(line[first + 1 : closing.start()])
            found = _FILLED.search(line, closing.end())
            at = found.start() if found else end
        else:
            closes = closes and not line.startswith('"', first)
            comma = line.find(",", at)
            at = end if comma < 0 else comma
            fields.append(line[first:at].removeprefix('"').strip(BLANKS))
        if at >= end:
            return fields
        at += 1
