"""What a supply tells about itself, as it is kept for the next start (pure): boards, channels, what settings take."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """What a setting takes, as the unit says: from `low` to `high` in the setting's own unit, with so many decimals."""

    low: float
    high: float
    decimals: int


@dataclass(frozen=True, slots=True)
class BoardShape:
    """One board.

    Attributes:
        board: its address, 0..31.
        model, serial, firmware: as it names itself.
        channels: for each channel, the range of each setting by its name (VSET in V, ISET in uA ...).
    """

    board: int
    model: str
    serial: str
    firmware: str
    channels: tuple[dict[str, Range], ...]

    def __str__(self) -> str:
        return f"CAEN {self.model}, {len(self.channels)} channels, serial {self.serial}, firmware {self.firmware}"


def to_plain(boards: tuple[BoardShape, ...]) -> dict[str, Any]:
    """Give the shape as JSON can hold it."""
    return {
        "boards": [
            {
                "board": board.board,
                "model": board.model,
                "serial": board.serial,
                "firmware": board.firmware,
                "channels": [
                    {name: [span.low, span.high, span.decimals] for name, span in sorted(channel.items())}
                    for channel in board.channels
                ],
            }
            for board in boards
        ]
    }


def from_plain(shape: Any) -> tuple[BoardShape, ...]:
    """Read a shape; none at all gives no boards."""
    return tuple(
        BoardShape(
            board["board"],
            board["model"],
            board["serial"],
            board["firmware"],
            tuple({name: Range(*span) for name, span in channel.items()} for channel in board["channels"]),
        )
        for board in (shape or {}).get("boards", ())
    )
