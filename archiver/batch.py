"""What is recorded (pure): samples of single PVs, rows, and marks of what could not be recorded.

A `Batch` is what came within a moment, in order. It is what sinks encode.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from iocs.signals import Catalogue, Reading, Row


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A PV whose events are recorded. A new one is made when what is known of it changes.

    Attributes:
        pv: its full name.
        device: the device's name; of a foreign PV what stands before the last colon, or all of it.
        name: the signal's name within the device; of a foreign PV what stands behind the last colon.
        site_name: the name without the site's prefix, where it has that: the name that patterns see.
        states: labels of an enum; empty for all else.
    """

    pv: str
    device: str
    name: str
    site_name: str
    states: tuple[str, ...] = ()

    @property
    def channel(self) -> str:
        """What stands before the last colon of the signal's name (CH0 of CH0:VMON), empty where there is none."""
        return self.name.rpartition(":")[0]


def foreign(pv: str, prefix: str = "", states: tuple[str, ...] = ()) -> Source:
    """Give the source of a PV that no catalogue tells of."""
    head, _, tail = pv.rpartition(":")
    return Source(pv, head or pv, tail, pv.removeprefix(prefix), states)


class Event(StrEnum):
    """What a mark says of a PV."""

    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    GAP = "GAP"  # events that were sent or taken, and are not in the data
    STOPPED = "STOPPED"  # the archiver ended: nothing is known until the next record


@dataclass(frozen=True, slots=True)
class Mark:
    """A record that is no value, so that a line is not drawn through what nobody knows.

    Attributes:
        event: what happened.
        time_ns: when: by the archiver's clock; of a gap, when the first missing event was due or came.
        missing: events that a gap lost; 0 where that is not known.
        value: none, as of a reading before its first value.
    """

    event: Event
    time_ns: int
    missing: int = 0
    value: None = None


@dataclass(frozen=True, slots=True)
class RowRecord:
    """One row.

    Attributes:
        source: the row PV.
        layout: its columns; the same object as long as they are the same.
        time_ns: when the values were taken.
        values: one for each column; NaN for what is absent or INVALID.
        sequence: its number since the serving process began.
        version: of the catalogue that names the columns.
    """

    source: Source
    layout: Row
    time_ns: int
    values: Sequence[float]
    sequence: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """What the state of an enum is called, told behind its sample: for stores that keep it with the number.

    Attributes:
        time_ns: of the sample.
        text: the label.
    """

    time_ns: int
    text: str


@dataclass(slots=True)
class Batch:
    """What came within a moment.

    Attributes:
        arrived_ns: when it was closed, by the archiver's clock.
        samples: readings and marks, each with its source, in order of arrival.
        rows: in order of arrival.
        labels: of samples of this batch or an earlier one.
    """

    arrived_ns: int = 0
    samples: list[tuple[Source, Reading | Mark]] = field(default_factory=list)
    rows: list[RowRecord] = field(default_factory=list)
    labels: list[tuple[Source, Label]] = field(default_factory=list)

    def __len__(self) -> int:
        """Give the number of events: samples, marks and rows."""
        return len(self.samples) + len(self.rows)

    def as_gaps(self, known: dict[Source, Mark]) -> dict[Source, Mark]:
        """Give marks for a batch that is lost: one for each PV, with its number of values, added to known ones.

        A lost mark leaves a gap too, of no values: without it a line would be drawn through what nobody knows.
        """
        gaps = dict(known)
        for source, what in [*self.samples, *((row.source, row) for row in self.rows)]:
            gap = gaps.get(source) or Mark(Event.GAP, what.time_ns)
            gaps[source] = replace(gap, missing=gap.missing + (what.missing if isinstance(what, Mark) else 1))
        return gaps


def source_of(catalogue: Catalogue, name: str, prefix: str, states: tuple[str, ...] = ()) -> Source:
    """Give the source of a signal or row that a catalogue tells of; `prefix` is the site's."""
    pv = catalogue.prefix + name
    return Source(pv, catalogue.device, name, pv.removeprefix(prefix), states)
