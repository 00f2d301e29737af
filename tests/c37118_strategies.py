"""Any configuration, and any data frame of it, for hypothesis."""

import math
from fractions import Fraction

from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.envelope import Envelope, seal
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    DataFrame,
    DigitalWord,
    FrameType,
    Installation,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    ScaledAnalog,
    ScaledPhasor,
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

LONG_NAMES = NAMES | st.text(max_size=80).filter(lambda name: len(name.encode()) < 256)
POSITIVE = st.floats(2.0**-20, 2.0**20, width=32)
PMUS3 = st.builds(
    PmuConfiguration,
    station=LONG_NAMES,
    idcode=st.integers(0, 0xFFFF),
    format=st.integers(0, 15),
    phasors=st.lists(
        st.builds(
            ScaledPhasor,
            LONG_NAMES,
            st.integers(0, 0xFFFF),
            st.integers(0, 255),
            st.integers(0, 255),
            POSITIVE,
            st.just(0.0) | st.floats(-3, 3, width=32),
        ),
        max_size=4,
    ).map(tuple),
    analogs=st.lists(st.builds(ScaledAnalog, LONG_NAMES, POSITIVE, st.floats(-1024, 1024, width=16)), max_size=3).map(
        tuple
    ),
    digitals=st.lists(
        st.builds(
            DigitalWord,
            LONG_NAMES.map(lambda name: (name, *("D1",) * 15)),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFF),
        ),
        max_size=2,
    ).map(tuple),
    fnom=st.integers(0, 0xFFFF),
    cfgcnt=st.integers(0, 0xFFFF),
    installation=st.builds(
        Installation,
        st.binary(min_size=16, max_size=16),
        st.floats(-90, 90, width=32) | st.just(math.inf),
        st.floats(-180, 180, width=32) | st.just(math.inf),
        st.floats(width=32, allow_nan=False),
        st.characters(max_codepoint=255),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
    ),
)
CONFIGURATIONS3 = st.builds(
    Configuration,
    type=st.just(FrameType.CFG3),
    time_base=st.integers(1, 0xFFFFFF),
    pmus=st.lists(PMUS3, min_size=1, max_size=3).map(tuple),
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


@st.composite
def wire_frames(draw, configuration: Configuration) -> bytes:
    """Give the bytes of a data frame: any fields that stand for one value only."""
    words: list[float] = []
    for pmu in configuration.pmus:
        word, short = st.integers(0, 0xFFFF), st.integers(-0x7FFF, 0x7FFF)
        number = st.floats(-(2.0**40), 2.0**40, width=32)
        words.append(draw(word))
        for _ in pmu.phasors:
            words.append(draw(number if pmu.phasors_float else word if pmu.polar else short))
            if pmu.polar:
                words.append(draw(st.floats(-7, 7, width=32) if pmu.phasors_float else st.integers(-31415, 31415)))
            else:
                words.append(draw(number if pmu.phasors_float else short))
        words += [draw(number if pmu.freq_float else short) for _ in "fr"]
        words += [draw(number if pmu.analogs_float else short) for _ in pmu.analogs]
        words += [draw(word) for _ in pmu.digitals]
    head = Envelope(FrameType.DATA, 2, configuration.idcode, draw(st.integers(0, 2**32 - 1)), 0, 0)
    return seal(head, configuration.data_struct.pack(*words))
