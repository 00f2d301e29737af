"""A session that asks for a CFG-3, or for nothing at all, and datagrams: without wire and clock."""

from binascii import crc_hqx
from typing import Any

import pytest

from drivers.c37118 import frames
from drivers.c37118.events import Awaiting, Configured, Data, Header, Told
from drivers.c37118.frames import Command, Configuration, FrameType
from drivers.c37118.session import FIRST_WORD, Session
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.timeline import Counts, Timeline
from drivers.errors import LinkTimeout, ProtocolError
from drivers.link import Datagram

NOW_NS = 1_790_000_000 * 10**9


class Talk:
    """A session and a simulated stream, tied together by hand."""

    def __init__(self, *, known: Configuration | None = None, stream: dict | None = None, **settings: Any) -> None:
        self.stream = SimulatedStream(clock=lambda: NOW_NS, **(stream or {}))
        self.counts = Counts()
        self.session = Session(1, known, self.counts, Timeline(self.counts), **settings)
        self.events: list[Told] = []
        self.now = 0.0
        self.session.start(self.now)

    def asked(self) -> list[Command]:
        commands, self.session.commands = list(self.session.commands), []
        return commands

    def say(self, data: bytes | None, datagram: bool = False) -> None:
        assert data is not None
        self.events += self.session.receive(Datagram(data) if datagram else data, self.now, NOW_NS)

    def step(self, count: int = 1, datagram: bool = False) -> None:
        for _ in range(count):
            for frame in self.stream.step():
                self.say(frame, datagram)
            self.now += 0.02

    def wait(self, seconds: float) -> list[Command]:
        self.now += seconds
        self.session.tick(self.now)
        return self.asked()

    @property
    def data(self) -> list[Data]:
        return [event for event in self.events if isinstance(event, Data)]

    @property
    def kinds(self) -> list[FrameType]:
        return [event.configuration.type for event in self.events if isinstance(event, Configured)]


def test_a_cfg3_in_fragments_is_waited_for_and_used() -> None:
    talk = Talk(cfg3=True, stream={"cfg3": True, "fragment": 200})
    assert talk.asked() == [Command.DATA_OFF, Command.SEND_CFG3]
    answer = talk.stream.answer(Command.SEND_CFG3)
    assert answer is not None
    size = int.from_bytes(answer[2:4])
    talk.say(answer[:size])
    assert talk.wait(1.5) == []  # the rest is on its way
    talk.say(answer[size:])
    assert talk.asked() == [Command.DATA_ON]
    talk.step(3)
    assert talk.kinds == [FrameType.CFG3] and len(talk.data) == 3
    assert talk.session.configuration_frame == answer


def test_a_cfg2_comes_after_a_second_without_a_cfg3_and_is_not_asked_twice() -> None:
    talk = Talk(cfg3=True)
    assert talk.asked() == [Command.DATA_OFF, Command.SEND_CFG3]
    assert talk.wait(0.9) == []
    assert talk.wait(0.2) == [Command.DATA_OFF, Command.SEND_CFG2]
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    assert talk.asked() == [Command.DATA_ON]
    assert talk.session.asking.cfg3 is False
    talk.stream.reconfigure(phasors=("VA",), notice=0)
    talk.step()
    assert talk.wait(2.0) == [Command.SEND_CFG2]


def test_who_has_sent_a_cfg3_is_asked_again_for_it_when_the_answer_is_lost() -> None:
    talk = Talk(cfg3=True, stream={"cfg3": True})
    talk.say(talk.stream.answer(Command.SEND_CFG3))
    again = Talk(cfg3=True, known=talk.session.configuration, stream={"cfg3": True})
    assert again.asked() == [Command.DATA_OFF, Command.SEND_CFG3]
    assert again.wait(1.1) == [Command.DATA_OFF, Command.SEND_CFG3]
    again.say(again.stream.answer(Command.SEND_CFG3))
    assert again.asked() == [Command.DATA_ON] and again.session.asking.cfg3
    again.stream.reconfigure(phasors=("VA",), notice=0)
    again.step()
    assert [again.wait(seconds) for seconds in (2.0, 1.1, 1.1, 1.1)] == [
        [Command.SEND_CFG3],
        *[[Command.DATA_OFF, Command.SEND_CFG3]] * 2,
        [Command.DATA_OFF, Command.SEND_CFG2],  # another box, perhaps
    ]


def test_while_a_cfg3_is_in_use_a_cfg2_tells_only_that_something_changed() -> None:
    talk = Talk(cfg3=True, stream={"cfg3": True})
    talk.say(talk.stream.answer(Command.SEND_CFG3))
    talk.asked()
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    talk.step(2)
    assert (talk.kinds, talk.asked(), len(talk.data)) == ([FrameType.CFG3], [], 2)
    talk.stream.reconfigure(latitude=1.0, notice=0)
    talk.step()
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    assert talk.wait(0.5) == [Command.SEND_CFG3]
    talk.say(talk.stream.answer(Command.SEND_CFG3))
    assert talk.kinds == [FrameType.CFG3] * 2


def test_a_header_is_asked_for_once_and_handed_out() -> None:
    talk = Talk(header=True)
    talk.asked()
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    assert talk.asked() == [Command.SEND_HEADER, Command.DATA_ON]
    talk.say(talk.stream.answer(Command.SEND_HEADER))
    assert talk.events[-1] == Header("Countinghouse simulated PMU")


def test_data_that_come_by_themselves_wait_for_their_configuration() -> None:
    talk = Talk(asks=False)
    assert talk.asked() == []
    talk.step(100, datagram=True)
    (event,) = talk.events
    assert isinstance(event, Awaiting) and "stream 1 come and wait" in event.reason
    talk.say(talk.stream.answer(Command.SEND_CFG2), datagram=True)
    assert len(talk.data) == 100 and talk.counts.missed == 0
    talk.step(3, datagram=True)
    assert (len(talk.data), talk.asked()) == (103, [])


def test_data_that_come_by_themselves_are_read_by_the_configuration_of_the_last_time() -> None:
    known = SimulatedStream(clock=lambda: NOW_NS).configuration()
    talk = Talk(asks=False, known=known)
    talk.step(3, datagram=True)
    assert len(talk.data) == 3
    assert [event.changed for event in talk.events if isinstance(event, Configured)] == [False]
    talk = Talk(asks=False, known=known)
    talk.stream.reconfigure(phasors=("VA",), notice=0)
    talk.step(2, datagram=True)
    assert not talk.data and "another than by the last known one" in str(talk.events[0])
    talk.stream.reconfigure(phasors=("VA", "VB"), notice=0)
    talk.say(talk.stream.answer(Command.SEND_CFG2), datagram=True)
    talk.step(2, datagram=True)
    assert len(talk.data) == 2 and talk.counts.undecodable == 2


def test_a_new_layout_of_a_stream_nobody_asks_for() -> None:
    talk = Talk(asks=False, stream={"repeat": 1.0})
    talk.step(60, datagram=True)
    before = len(talk.data)
    talk.stream.reconfigure(phasors=("VA",), notice=0)
    talk.step(60, datagram=True)
    assert any(isinstance(event, Awaiting) and "layout" in event.reason for event in talk.events)
    assert before == 60 and len(talk.data) == 120 and talk.asked() == []
    assert talk.counts.missed == 0


def test_one_frame_of_another_size_costs_a_stream_nobody_asks_for_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(asks=False)
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    talk.step(2)
    for size in (20, 22, 24):
        head = bytes.fromhex("aa01") + size.to_bytes(2) + bytes.fromhex("0001 6ab13b80 00000000 0000")
        head += bytes(size - 2 - len(head))
        talk.say(head + crc_hqx(head, 0xFFFF).to_bytes(2))
        talk.step(2)
    assert len(talk.data) == 8 and talk.counts.missed == 0
    assert (talk.counts.stale, talk.counts.undecodable) == (3, 0)  # each once
    assert [type(event) for event in talk.events if not isinstance(event, Data)] == [Configured, *[Awaiting] * 3]
    for soc in range(3):
        head = bytes.fromhex("aa31 0016 0001") + soc.to_bytes(4) + bytes(10)
        talk.say(head + crc_hqx(head, 0xFFFF).to_bytes(2))
    assert len([message for message in caplog.messages if "frame dropped" in message]) == 1
    assert talk.counts.undecodable == 3


def test_silence_of_a_stream_nobody_asks_for() -> None:
    talk = Talk(asks=False)
    assert talk.wait(FIRST_WORD - 0.1) == []
    with pytest.raises(LinkTimeout, match=r"no data for 10 s$"):
        talk.wait(0.2)
    talk = Talk(asks=False, stream={"idcode": 7})
    talk.step(1, datagram=True)
    with pytest.raises(LinkTimeout, match="answers with IDCODE 7, the site file says 1"):
        talk.wait(FIRST_WORD)


@pytest.mark.parametrize("datagram", [True, False])
def test_another_stream_of_the_2024_edition_is_passed_over_and_counted(datagram: bool) -> None:
    def newer(idcode: int) -> bytes:
        head = bytes.fromhex("aa83 0012") + idcode.to_bytes(2) + bytes(10)
        return head + crc_hqx(head, 0xFFFF).to_bytes(2)

    talk = Talk(asks=False)
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    talk.say(newer(99) * 2, datagram)
    talk.step(3, datagram)
    assert (len(talk.data), talk.counts.strangers, talk.session.whole) == (3, 2, True)
    with pytest.raises(ProtocolError, match="2024 edition"):
        talk.say(newer(99) + newer(1), datagram)


def test_nothing_goes_on_in_the_next_datagram() -> None:
    talk = Talk(asks=False)
    talk.say(talk.stream.answer(Command.SEND_CFG2), datagram=True)
    (frame,) = talk.stream.step()
    talk.say(frame[:30], datagram=True)
    talk.say(frame[30:], datagram=True)
    talk.step(2, datagram=True)
    assert len(talk.data) == 2 and talk.counts.skipped_bytes == len(frame)
    assert talk.session.whole


def test_datagrams_are_put_in_order_and_counted() -> None:
    talk = Talk(asks=False)
    talk.say(talk.stream.answer(Command.SEND_CFG2), datagram=True)
    made = [talk.stream.step()[0] for _ in range(10)]
    for index in (0, 2, 1, 1, 4, 5, 6, 7, 8):  # 3 is lost
        talk.say(made[index], datagram=True)
    assert len(talk.data) == 3 and talk.session.deadline == pytest.approx(0.1)
    talk.now += 0.1
    talk.say(b"")
    times = [event.frame.time_ns for event in talk.data]
    assert times == sorted(times) and len(times) == 8
    counts = talk.counts
    assert (counts.missed, counts.reordered, counts.duplicates, counts.too_late) == (1, 1, 1, 0)
    talk.say(made[3], datagram=True)
    assert counts.too_late == 1


@pytest.mark.parametrize(("jump", "refused"), [(0.0, False), (3599.0, False), (3700.0, True), (-1e9, True)])
def test_times_that_cannot_be_are_refused(jump: float, refused: bool) -> None:
    talk = Talk(earliest_ns=946_684_800 * 10**9, ahead=3600.0)
    talk.say(talk.stream.answer(Command.SEND_CFG2))
    talk.stream.jump(jump)
    talk.step(5)
    assert (len(talk.data), talk.counts.bad_times) == ((0, 5) if refused else (5, 0))
    if refused:
        with pytest.raises(LinkTimeout, match=r"its time (2026|1995)-.* is refused: the PMU's clock is not set"):
            talk.wait(3.0)


def test_a_configuration_with_nan_in_it_is_the_same_when_it_comes_again() -> None:
    whole = SimulatedStream(cfg3=True, clock=lambda: NOW_NS).configuration(FrameType.CFG3)
    frame = bytearray(frames.encode(whole))
    at = frame.index(bytes.fromhex("42520000"))  # latitude 52.5
    frame[at : at + 4] = bytes.fromhex("7fc00000")
    envelope = bytes(frame[:-2])
    from binascii import crc_hqx

    sent = envelope + crc_hqx(envelope, 0xFFFF).to_bytes(2)
    talk = Talk(cfg3=True)
    talk.say(sent)
    talk.say(sent)
    assert len(talk.kinds) == 1
