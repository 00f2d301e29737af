"""The client's side of a connection without wire and clock: changes of configuration, silence, any chunking."""

import itertools
from binascii import crc_hqx
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.events import Configured, Data
from drivers.c37118.frames import Command, Configuration, DataFrame
from drivers.c37118.session import LONGEST_WAIT, Session
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.timeline import Counts, Timeline
from drivers.errors import LinkTimeout

START = [Command.DATA_OFF, Command.SEND_CFG2]


class Talk:
    """A session and a simulated stream, tied together by hand."""

    def __init__(self, stream: SimulatedStream, known: Configuration | None = None, **settings: Any) -> None:
        self.stream = stream
        self.counts = Counts()
        self.session = Session(stream.idcode, known, self.counts, Timeline(self.counts), **settings)
        self.events: list[Configured | Data] = []
        self.now = 0.0
        self.session.start(self.now)

    def asked(self) -> list[Command]:
        """Take the commands that are due."""
        commands, self.session.commands = list(self.session.commands), []
        return commands

    def say(self, data: bytes | None) -> None:
        assert data is not None
        self.events += self.session.receive(data, self.now, 0)

    def answer(self) -> None:
        self.say(self.stream.answer(Command.SEND_CFG2))

    def frames(self, count: int = 1) -> None:
        for _ in range(count):
            for frame in self.stream.step():
                self.say(frame)
            self.now += 0.02

    def begin(self) -> "Talk":
        assert self.asked() == START
        self.answer()
        assert self.asked() == [Command.DATA_ON]
        return self

    @property
    def data(self) -> list[DataFrame]:
        return [event.frame for event in self.events if isinstance(event, Data)]

    @property
    def kinds(self) -> str:
        """The events in short: C configured, c configured with nothing new, d data."""
        return "".join("d" if isinstance(event, Data) else "C" if event.changed else "c" for event in self.events)


def stream_at(rate: int = 50) -> SimulatedStream:
    return SimulatedStream(rate=rate, clock=lambda: 1000 * 10**9)


def test_connecting_during_a_notice_decodes_with_the_configuration_still_in_force() -> None:
    stream = stream_at()
    known = stream.configuration()
    stream.reconfigure(phasors=("VA",), notice=0.1)
    talk = Talk(stream, known).begin()
    talk.frames(8)
    assert talk.kinds == "CC" + "d" * 5 + "C" + "ddd"
    assert [len(frame.pmus[0].phasors) for frame in talk.data] == [8] * 5 + [1] * 3
    assert (talk.counts.missed, talk.counts.undecodable) == (0, 0)


@pytest.mark.parametrize("change", [{"phasors": ("VA",)}, {"station": "OTHER"}])
def test_a_pmu_that_answers_with_the_old_configuration_until_the_change(change: dict) -> None:
    talk = Talk(stream_at()).begin()
    old = talk.stream.answer(Command.SEND_CFG2)
    talk.frames(3)
    talk.stream.reconfigure(notice=0.1, **change)
    talk.frames(1)
    talk.session.tick(talk.now)
    assert talk.asked() == [Command.SEND_CFG2]
    talk.say(old)
    talk.frames(6)
    talk.session.tick(talk.now)
    assert talk.asked() == [Command.SEND_CFG2]
    talk.answer()
    talk.frames(2)
    assert talk.kinds == "C" + "d" * 8 + "C" + "d" * 4
    assert talk.counts.missed == 0
    assert talk.asked() == []


def test_a_notice_that_is_not_answered_loses_nothing_until_the_change() -> None:
    talk = Talk(stream_at(), answer_timeout=0.1).begin()
    talk.stream.reconfigure(phasors=("VA",), notice=2.0)
    commands = []
    for _ in range(100):
        talk.frames(1)
        talk.session.tick(talk.now)
        commands += talk.asked()
    assert commands == [Command.SEND_CFG2] * 3  # data is not switched off for it
    talk.frames(1)
    talk.session.tick(talk.now)
    assert talk.asked() == [Command.SEND_CFG2]
    talk.now += 0.1
    talk.session.tick(talk.now)
    assert talk.asked() == START  # now there is no data without it
    talk.answer()
    assert talk.asked() == [Command.DATA_ON]
    assert talk.kinds == "C" + "d" * 100 + "Cd"


def test_silence_after_a_notice_that_was_not_answered() -> None:
    talk = Talk(stream_at(), answer_timeout=0.1).begin()
    talk.stream.reconfigure(phasors=("VA",), notice=60.0)
    talk.frames(1)
    with pytest.raises(LinkTimeout, match="no data for 2 s"):
        for _ in range(30):
            talk.session.tick(talk.now)
            talk.now += 0.1


def test_one_frame_of_a_wrong_size_costs_only_itself() -> None:
    talk = Talk(stream_at()).begin()
    talk.frames(3)
    body = talk.stream.step()[0][:-2]
    body = body[:2] + (len(body) + 4).to_bytes(2) + body[4:] + b"\0\0"
    wrong = body + crc_hqx(body, 0xFFFF).to_bytes(2)
    talk.say(wrong)
    talk.frames(3)
    talk.session.tick(talk.now)
    assert talk.asked() == [Command.SEND_CFG2]
    talk.answer()
    assert talk.kinds == "C" + "d" * 6
    assert (talk.counts.stale, talk.counts.undecodable, talk.counts.missed) == (1, 1, 1)
    # Another one: the answer brought nothing new, so that it is not asked for again at once.
    talk.say(wrong)
    talk.session.tick(talk.now)
    assert talk.asked() == []
    talk.now += 2.0
    talk.session.tick(talk.now)
    assert talk.asked() == [Command.SEND_CFG2]


def test_frames_that_wait_for_a_configuration_are_bounded() -> None:
    talk = Talk(stream_at()).begin()
    talk.frames(1)
    talk.stream.reconfigure(phasors=("VA",), notice=0.0)
    for _ in range(LONGEST_WAIT + 10):
        talk.say(talk.stream.step()[0])
    talk.answer()
    assert len(talk.data) == LONGEST_WAIT + 1
    assert talk.counts.undecodable == 10


@pytest.mark.parametrize(("rate", "seconds"), [(50, 2.0), (1, 3.0), (-5, 15.0)])
def test_silence_is_three_periods_and_at_least_two_seconds(rate: int, seconds: float) -> None:
    talk = Talk(stream_at(rate)).begin()
    talk.say(talk.stream.step()[0])
    assert talk.session.deadline == pytest.approx(talk.now + seconds)
    talk.now += seconds - 0.01
    talk.session.tick(talk.now)
    talk.now += 0.01
    with pytest.raises(LinkTimeout, match="no data for"):
        talk.session.tick(talk.now)


def test_fracsec_of_a_second_and_more_is_carried_and_counted() -> None:
    talk = Talk(stream_at()).begin()
    talk.frames(1)
    (last,) = talk.data
    late = replace(last, fracsec=talk.stream.time_base + 20_000)
    talk.say(frames.encode(late, talk.stream.configuration()))
    assert talk.counts.bad_fracsec == 1
    assert talk.data[-1].time_ns == (last.soc + 1) * 10**9 + 20_000_000


def test_frames_of_other_streams_are_passed_over() -> None:
    talk = Talk(stream_at()).begin()
    other = SimulatedStream(idcode=99)
    talk.say(other.answer(Command.SEND_CFG2))
    talk.say(other.step()[0])
    talk.frames(2)
    assert talk.kinds == "Cdd"
    assert talk.counts.strangers == 2


def _conversation() -> bytes:
    stream = stream_at()
    pieces = [stream.answer(Command.SEND_CFG2) or b"", *(stream.step()[0] for _ in range(3)), b"\xaa\x01\x00\xaa"]
    stream.reconfigure(phasors=("VA",), notice=0.06)
    pieces += [stream.step()[0], stream.answer(Command.SEND_CFG2) or b"", *(stream.step()[0] for _ in range(5))]
    return b"".join(pieces)


CONVERSATION = _conversation()


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=40))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    talk = Talk(stream_at())
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(CONVERSATION)]):
        talk.say(CONVERSATION[begin:end])
    assert talk.kinds == "CddddddCddd"
    assert talk.counts.skipped_bytes == 4
    assert talk.session.whole


def test_another_program_on_the_port_is_told_with_what_it_said() -> None:
    talk = Talk(stream_at(), tries=1, answer_timeout=1.0)
    talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(LinkTimeout, match=r"no C37.118 \(b'HTTP/1.1 400.*is that the port of the PMU"):
        talk.session.tick(1.0)


def test_truncated_and_foreign_bytes_end_in_silence() -> None:
    talk = Talk(stream_at(), tries=1, answer_timeout=1.0)
    talk.say(CONVERSATION[:200])
    talk.say(b"SSH-2.0-OpenSSH_9.6\r\n" * 10)
    with pytest.raises(LinkTimeout, match="no configuration came"):
        talk.session.tick(1.0)
