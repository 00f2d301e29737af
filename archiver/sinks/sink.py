"""What a store is to the archiver: `encode` makes bytes (pure), `write` brings them there and says what came of it.

Encoded batches can be joined: `write(a + b)` stores both. So a spool around a sink can hold, join and halve them, and
whoever needs no spool calls `write(encode(batch).data)` and looks at the outcome.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from archiver.batch import Batch


class Verdict(Enum):
    """What came of a write."""

    WRITTEN = "written"  # all of it
    LATER = "later"  # nothing of it counts as written: try the same bytes again
    SPLIT = "split"  # too much, or something wrong among it: try its parts
    REFUSE = "refuse"  # this will never be taken


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a write.

    Attributes:
        verdict: what to do.
        reason: why, where it was not written.
        wait: s that the store asks us to wait.
    """

    verdict: Verdict
    reason: str = ""
    wait: float = 0.0


WRITTEN = Outcome(Verdict.WRITTEN)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch in the words of a store.

    Attributes:
        data: the bytes.
        count: records in them.
    """

    data: bytes
    count: int


class Sink(Protocol):
    """A store.

    Attributes:
        name: "csv", "influx".
        most_bytes: how much to bring at once.
    """

    name: str
    most_bytes: int

    def encode(self, batch: Batch) -> Encoded:
        """Give the batch as bytes. Touches nothing outside."""
        ...

    def write(self, data: bytes) -> Outcome:
        """Bring encoded batches to the store. May block, but not for ever."""
        ...

    def split(self, data: bytes) -> list[Encoded]:
        """Give two halves, or only one part where it cannot be parted."""
        ...

    def resume(self, mark: dict[str, Any]) -> None:
        """Take up where a run before gave `mark`; what it wrote later comes again. Call it before the first write."""
        ...

    def mark(self) -> dict[str, Any]:
        """Wait until what was written is safe; give what `resume` needs, as plain data for JSON.

        Raises:
            OSError: it is not safe.
        """
        ...

    def marked(self) -> None:
        """Take note that the last mark is safe."""
        ...

    def close(self) -> None:
        """Let go of the store; nothing is written after this."""
        ...
