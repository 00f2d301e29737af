"""Any configuration, and any data frame of it, for hypothesis."""

import math
from fractions import Fraction

from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    DataFrame,
    DigitalWord,
    FrameType,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    TimeQuality,
)

NAMES = st.sampled_from(["", "VA", "a name of 16 by.", "Süd", "  lead", "VA"])
FLOATS = st.floats(width=32)


def counts(least: int = -32767, most: int = 32767) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(least, most) | st.sampled_from([least, most, 0])


def exact(count: int | None, numerator: int, denominator: int, offset: int = 0) -> float:
    return math.nan if count is None else float(offset + Fraction(count * numerator, denominator))


PMUS = st.builds(
    PmuConfiguration,
    station=NAMES,
    idcode=st.integers(0, 0xFFFF),
    format=st.integers(0, 15) | st.integers(0, 0xFFFF),
    phasors=st.lists(st.builds(PhasorChannel, NAMES, st.booleans(), st.integers(0, 0xFFFFFF)), max_size=4).map(tuple),
    analogs=st.lists(
        st.builds(AnalogChannel, NAMES, st.integers(0, 255), st.integers(-0x800000, 0x7FFFFF)), max_size=3
    ).map(tuple),
    digitals=st.lists(
        st.builds(
            DigitalWord, NAMES.map(lambda name: (name, *("D1",) * 15)), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)
        ),
        max_size=2,
    ).map(tuple),
    fnom=st.integers(0, 0xFFFF),
    cfgcnt=st.integers(0, 0xFFFF),
)
HEADS = {
    "idcode": st.integers(0, 0xFFFF),
    "soc": st.integers(0, 0xFFFFFFFF),
    "tq": st.integers(0, 255).map(TimeQuality),
    "fracsec": st.integers(0, 0xFFFFFF),
    "version": st.sampled_from([1, 2]),
}
CONFIGURATIONS = st.builds(
    Configuration,
    type=st.sampled_from([FrameType.CFG1, FrameType.CFG2]),
    time_base=st.integers(1, 0xFFFFFF),
    pmus=st.lists(PMUS, min_size=1, max_size=3).map(tuple),
    data_rate=st.integers(-32768, 32767).filter(bool),
    time_base_flags=st.integers(0, 255),
    **HEADS,
)


@st.composite
def pmu_data(draw, pmu: PmuConfiguration) -> PmuData:
    phasors = []
    for channel in pmu.phasors:
        if pmu.phasors_float:
            phasors.append((Polar if pmu.polar else Rect)(draw(FLOATS), draw(FLOATS)))
        elif pmu.polar:
            angle = draw(counts())
            magnitude = None if angle is None else draw(st.integers(0, 65535))
            phasors.append(Polar(exact(magnitude, channel.factor, 100_000), exact(angle, 1, 10_000)))
        else:
            phasors.append(Rect(*(exact(draw(counts()), channel.factor, 100_000) for _ in "xy")))
    if pmu.freq_float:
        freq, rocof = draw(FLOATS), draw(FLOATS)
    else:
        freq, rocof = exact(draw(counts()), 1, 1000, 50 if pmu.fnom & 1 else 60), exact(draw(counts()), 1, 100)
    return PmuData(
        stat=draw(st.integers(0, 0xFFFF)),
        phasors=tuple(phasors),
        freq=freq,
        rocof=rocof,
        analogs=tuple(draw(FLOATS) if pmu.analogs_float else exact(draw(counts()), 1, 1) for _ in pmu.analogs),
        digitals=tuple(draw(st.integers(0, 0xFFFF)) for _ in pmu.digitals),
    )


@st.composite
def data_frames(draw, configuration: Configuration) -> DataFrame:
    head = {name: draw(HEADS[name]) for name in ("soc", "tq", "fracsec", "version")}
    return DataFrame(
        idcode=configuration.idcode,
        time_ns=frames.time_ns(head["soc"], head["fracsec"], configuration.time_base),
        pmus=tuple(draw(pmu_data(pmu)) for pmu in configuration.pmus),
        **head,
    )
