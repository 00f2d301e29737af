"""Names as clients write them: RECORD, RECORD.FIELD, RECORD.FIELD$, with a filter in brackets or braces at the end."""

import json
from typing import Any, NamedTuple

import caproto as ca

LONGEST = 300  # characters; a longer name is not looked at

Part = tuple[int, int | None, int]


class Deadband(NamedTuple):
    """Filter dbnd: events only where the value moved by more than `size`, or by `size` percent if `relative`."""

    size: float
    relative: bool


class Address(NamedTuple):
    """A name taken apart: what is wanted of a record.

    Attributes:
        record: the PV's own name.
        field: VAL where none is given.
        long: text as characters (`$`).
        part: filter arr as a Python slice.
        deadband: filter dbnd.
        now: filter ts, the time of sending instead of the value's own.
    """

    record: str
    field: str = "VAL"
    long: bool = False
    part: Part | None = None
    deadband: Deadband | None = None
    now: bool = False


def parse(name: str) -> Address | None:
    """Take a name apart; None where it asks for a filter that is not served (it must not be passed over in silence).

    Source: EPICS Base, "Channel Filters"; arr, dbnd and ts are served.
    """
    if "." not in name:
        return Address(name)
    if len(name) > LONGEST:
        return None
    try:
        _, record, field, modifiers = ca.parse_record_field(name)
        if modifiers is None:
            return Address(record, field or "VAL")
        long = ca.RecordModifiers.long_string in modifiers
        part, deadband, now = _filters(modifiers.filter_) if modifiers.filter_ else (None, None, False)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # as caproto's parser says that it cannot
        return None
    return Address(record, field or "VAL", long, part, deadband, now)


def _filters(text: str) -> tuple[Part | None, Deadband | None, bool]:
    if text.startswith("{"):
        text = _checked(json.loads(text, object_pairs_hook=_once))
    parsed = ca.parse_channel_filter(text)
    if parsed.sync is not None:
        raise ValueError("the filter sync is not served")
    part = deadband = None
    if parsed.arr is not None:
        start, stop, step = parsed.arr.s or 0, parsed.arr.e, 1 if parsed.arr.i is None else parsed.arr.i
        if step < 1:
            raise ValueError(f"step {step} of a filter is below 1")
        # Channel Access means the last element too; -1 is the very last one
        part = (start, None if stop is None or stop == -1 else stop + 1, step)
    if parsed.dbnd is not None:
        deadband = Deadband(parsed.dbnd.d, parsed.dbnd.m == "rel")
    return part, deadband, bool(parsed.ts)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON in which nothing stands twice: of two filters none may be passed over."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("something stands twice in a filter")
    return found


def _checked(filters: dict[str, Any]) -> str:
    """Give the filters as caproto's parser takes them: it fails on the long form of dbnd, and takes any ts."""
    if None in filters.values():
        raise ValueError("null is no filter")
    deadband = filters.get("dbnd")
    if isinstance(deadband, dict) and "d" in deadband and {*deadband} <= {"m", "d"}:
        mode = deadband.get("m", "abs")
        if mode not in ("abs", "rel"):
            raise ValueError(f"the filter dbnd has no mode {mode!r}")
        filters["dbnd"] = {mode: deadband["d"]}
    if filters.get("ts", {}) != {}:
        raise ValueError("the filter ts is served without options")
    return json.dumps(filters)
