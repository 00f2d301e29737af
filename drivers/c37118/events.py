"""What a client hears from a PMU (pure)."""

from dataclasses import dataclass

from drivers.c37118.frames import Configuration, DataFrame


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration in use from the next frame on. `changed`: other than the one before (or given at the start)."""

    configuration: Configuration
    changed: bool


@dataclass(frozen=True, slots=True)
class Data:
    """A data frame. `arrival_ns`: when its last bytes were read, host clock, ns since 1970."""

    frame: DataFrame
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header frame: the PMU's words about itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Data come that cannot be decoded yet, for `reason`; they are kept."""

    reason: str


Told = Configured | Data | Header | Awaiting
