"""How signals belong together on a screen (pure): setpoint and readback, phasors, words and bits, channels alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from iocs.signals import Archive, Direction, Kind, Signal

RBV = "_RBV"
MAGNITUDE, ANGLE = ":MAG", ":ANG"


@dataclass(frozen=True, slots=True)
class Line:
    """What stands in one line: a label, at most one setpoint, what is read.

    Attributes:
        label: what people read.
        setpoint: what may be put, or None.
        readbacks: one; two for a phasor; none where a setpoint has no readback of its own.
    """

    label: str
    setpoint: Signal | None
    readbacks: tuple[Signal, ...]

    @property
    def signals(self) -> tuple[Signal, ...]:
        """All signals of the line."""
        return ((self.setpoint,) if self.setpoint else ()) + self.readbacks


@dataclass(frozen=True, slots=True)
class Family:
    """Channels alike: groups whose signals have the same names after the channel's own.

    Attributes:
        name: what stands for all of them, e.g. "CH".
        members: each channel's place ("CH0") and heading ("CH0 mesh"), in order.
        signals: those of one channel; names without the place, docs without what tells the channels apart.
    """

    name: str
    members: tuple[tuple[str, str], ...]
    signals: tuple[Signal, ...]


def common(texts: Sequence[str]) -> str:
    """Give what all texts begin with."""
    first, last = min(texts), max(texts)
    return next((first[:length] for length in range(len(first), 0, -1) if last.startswith(first[:length])), "")


def place_of(signals: Sequence[Signal]) -> str:
    """Give what all names begin with, up to a colon: "CH0:"; empty where there is nothing."""
    if len(signals) < 2:
        return ""
    return common([signal.name for signal in signals]).rpartition(":")[0]


def groups(signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """Give the signals by their group, in order of declaration."""
    result: dict[str, list[Signal]] = {}
    for signal in signals:
        result.setdefault(signal.group or "Other", []).append(signal)
    return result


def families(grouped: dict[str, list[Signal]]) -> tuple[list[Family], dict[str, list[Signal]]]:
    """Find the channels alike; gives them, and the groups that are left."""
    alike: dict[tuple[object, ...], list[tuple[str, str, list[Signal]]]] = {}
    for title, signals in grouped.items():
        place = place_of(signals)
        if place:
            shape = tuple((signal.name[len(place) :], signal.kind, signal.direction) for signal in signals)
            alike.setdefault(shape, []).append((place, title, signals))
    found, left = [], dict(grouped)
    for channels in alike.values():
        if len(channels) < 2:
            continue
        name = common([place for place, _, _ in channels]).strip(":0123456789") or "CHANNEL"
        signals = tuple(_common(same) for same in zip(*(channel for _, _, channel in channels), strict=True))
        place = channels[0][0] + ":"
        signals = tuple(replace(signal, name=signal.name.removeprefix(place)) for signal in signals)
        found.append(Family(name, tuple((place, title) for place, title, _ in channels), signals))
        for _, title, _ in channels:
            del left[title]
    return found, left


def _common(same: tuple[Signal, ...]) -> Signal:
    """One signal for the same of all channels: the widest limits, and what is common in the docs."""
    docs = [signal.doc for signal in same]
    tail = common([doc[::-1] for doc in docs])[::-1]
    doc = docs[0] if len(set(docs)) == 1 else tail.partition(": ")[2] or tail.lstrip(": ")
    limits = [signal.limits for signal in same if signal.limits]
    widest = (min(low for low, _ in limits), max(high for _, high in limits)) if limits else None
    return replace(same[0], doc=doc, limits=widest)


def lines(signals: Sequence[Signal], place: str = "") -> list[Line]:
    """Put scalars into lines: a setpoint beside its readback, a phasor's magnitude beside its angle.

    Args:
        signals: of one box.
        place: what to leave out at the beginning of labels.
    """
    by_name = {signal.name: signal for signal in signals if signal.count == 1}
    result, done = [], set()
    for name, signal in by_name.items():
        if name in done:
            continue
        label = name.removeprefix(place)
        other = by_name.get(name + RBV)
        angle = by_name.get(name[: -len(MAGNITUDE)] + ANGLE) if name.endswith(MAGNITUDE) else None
        if signal.writable and other is not None and not other.writable:
            result.append(Line(label, signal, (other,)))
            done.add(other.name)
        elif angle is not None and not signal.writable:
            result.append(Line(label[: -len(MAGNITUDE)], None, (signal, angle)))
            done.add(angle.name)
        elif signal.writable:
            result.append(Line(label, signal, ()))
        else:
            result.append(Line(label, None, (signal,)))
    return result


def words(signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """Find status words and their bits: STAT, and STAT:ON, STAT:OVC ... where there are four or more."""
    names = {signal.name for signal in signals if signal.kind is Kind.INT}
    bits: dict[str, list[Signal]] = {}
    for signal in signals:
        parent = signal.name.rpartition(":")[0]
        if parent in names and is_switch(signal):
            bits.setdefault(parent, []).append(signal)
    return {parent: found for parent, found in bits.items() if len(found) > 3}


def is_switch(signal: Signal) -> bool:
    """Whether two states are the two of a lamp: Off and On, No and Yes, 0 and 1, No and Overload."""
    return signal.kind is Kind.ENUM and len(signal.states) == 2 and signal.states[0].upper() in ("OFF", "NO", "0")


def is_measured(signal: Signal) -> bool:
    """Whether it is a number with a unit that somebody measured: what is worth a curve. Ages and delays are not."""
    return (
        signal.direction is Direction.READBACK
        and signal.kind is Kind.FLOAT
        and signal.count == 1
        and signal.unit not in ("", "s")
        and not signal.name.endswith(RBV)
    )


def key_signals(signals: Sequence[Signal]) -> list[Signal]:
    """Give what a device is about: what its rows measure; else what is measured and archived; else all measured."""
    measured = [signal for signal in signals if is_measured(signal)]
    columns = [signal for signal in measured if signal.row]
    return columns or [signal for signal in measured if signal.archive is Archive.MONITOR] or measured
