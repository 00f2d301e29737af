"""The conversation with a board: one question at a time, answers to it alone, and when the board is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Field, Format, Quantity
from drivers.bme680.lines import Refusal
from drivers.bme680.plausible import Judged
from drivers.bme680.protocol import Identity, Trouble, checksum
from drivers.bme680.session import Counts, Measured, Phase, Session
from drivers.errors import DeviceError, LinkTimeout

GOOD = b"294.31;98123;41.20;120345\r\n"
STREAM = Format("stream", PICOSEC.fields, separator=";")


def own(number=1, uptime=100, gas=120345, body=""):
    body = body or f"D,{number},{uptime},29431,98123,41203,{gas}"
    return f"{body}*{checksum('crc16', body)}\r\n".encode()


class Talk:
    """A session, its clock, and what has happened."""

    def __init__(self, *formats, **options):
        self.now = 1000.0
        self.session = Session(formats or (PICOSEC,), Counts(), **options)
        self.events = self.session.start(self.now)
        self.sent = []

    def wait(self, seconds):
        """Let time pass, doing what is due when it is due."""
        end = self.now + seconds
        while self.session.failure is None:
            self.now = min(max(self.session.deadline, self.now), end)
            self.events += self.session.tick(self.now)
            self.sent += [(self.now - 1000, request) for request in self.session.requests]
            self.session.requests.clear()
            if self.now >= end:
                return

    def come(self, data):
        self.events += self.session.receive(data, self.now, int(self.now * 1e9))
        self.wait(0)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def times(self):
        return [round(at, 3) for at, _ in self.sent]


def test_it_waits_for_the_boot_asks_once_and_keeps_the_period():
    talk = Talk(boot=2.5)
    talk.wait(2.4)
    assert talk.sent == []
    talk.wait(0.1)
    assert talk.sent == [(2.5, b"R")]
    talk.wait(0.2)
    talk.come(GOOD)  # the first of its kind: a second one confirms it soon
    assert talk.of(Measured)[0].judged.held and not talk.of(Measured)[0].judged.values
    talk.wait(0.5)
    assert talk.times == [2.5, 3.2]
    for _ in range(3):
        talk.come(GOOD)
        talk.wait(10)
    assert talk.times == [2.5, 3.2, 13.2, 23.2, 33.2]
    assert talk.of(Phase) == [Phase.BOOTING, Phase.RUNNING]
    assert talk.of(Measured)[1].judged.values[Quantity.PRESSURE] == 98123


def test_a_line_of_a_board_that_has_booted_ends_the_wait():
    talk = Talk(PICOSEC, COUNTINGHOUSE, boot=5)
    talk.wait(0.5)
    talk.come(b"\xff\x00" + own(body="I,countinghouse-bme680,1.0,0")[2:])  # garbage of the reset
    assert talk.sent == []
    talk.come(own(body="I,countinghouse-bme680,1.0,0"))
    assert talk.times == [0.5] and talk.of(Identity) == [Identity("countinghouse-bme680 1.0", 0)]


def test_what_nobody_asked_for_is_refused():
    talk = Talk(boot=0)
    talk.come(GOOD)  # from before we asked
    assert [refusal.reason for refusal in talk.of(Refusal)] == ["UNASKED"] and not talk.of(Measured)
    talk.wait(0)
    talk.come(GOOD + GOOD)  # sent twice
    assert len(talk.of(Measured)) == 1 and talk.session.counts.refused == {"UNASKED": 2}


def test_a_late_answer_is_not_taken_for_the_next_one():
    talk = Talk(boot=0, timeout=1, period=10)
    talk.wait(1.3)
    talk.come(GOOD)
    talk.wait(0.1)
    assert talk.times == [0] and talk.session.counts.refused == {"UNASKED": 1}
    talk.wait(0.2)
    assert talk.times == [0, 1.5] and not talk.of(Measured) and talk.of(Phase)[-1] is Phase.SILENT


def test_three_requests_without_an_answer_end_the_session():
    talk = Talk(boot=0, timeout=1)
    talk.wait(60)
    assert talk.times == [0, 1.5, 3] and round(talk.now - 1000, 3) == 4
    assert isinstance(talk.session.failure, LinkTimeout) and talk.session.counts.timeouts == 3
    assert "3 requests without a usable answer; no answer to 'R'" in str(talk.session.failure)


def test_a_refused_answer_may_be_followed_by_a_good_one_and_is_the_reason_if_not():
    talk = Talk(boot=0)
    talk.wait(0)
    talk.come(b"\x00\xff\r\n" + GOOD)
    assert len(talk.of(Measured)) == 1 and talk.session.counts.refused == {"BYTES": 1}
    talk.wait(0.5)
    while talk.session.failure is None:
        talk.come(b"294.31;98123\r\n")
        talk.wait(1.5)
    assert "refused: fields: 2, not 4: 294.31;98123" in str(talk.session.failure)


def test_half_a_line_is_never_joined_with_a_later_one():
    talk = Talk(boot=0, timeout=1)
    talk.wait(0)
    talk.come(b"294.31;98")
    talk.wait(3)
    talk.come(b"123;41.20;120345\r\n")
    assert not talk.of(Measured)
    assert talk.session.counts.refused == {"UNFINISHED": 1, "FIELDS": 1}


def test_half_a_line_before_the_question_is_not_joined_with_its_answer():
    talk = Talk(boot=0, period=10)
    for wait in (0, 0.5):
        talk.wait(wait)
        talk.come(GOOD)
    talk.wait(9.9)
    talk.come(b"294.31;9")
    talk.wait(0.2)
    talk.come(GOOD)
    assert talk.session.counts.refused == {"UNFINISHED": 1} and len(talk.of(Measured)) == 3


def test_after_a_reset_that_the_board_tells_itself_no_line_is_missing():
    talk = Talk(COUNTINGHOUSE, boot=0, period=1)
    talk.wait(0)
    talk.come(own(500, uptime=4711))
    talk.come(own(body="I,countinghouse-bme680,1.0,0"))
    talk.wait(1)
    talk.come(own(1, uptime=1))
    assert (talk.session.counts.restarts, talk.session.counts.missed) == (1, 0) and len(talk.of(Measured)) == 2


def test_troubles_of_the_sensor():
    talk = Talk(boot=0)
    talk.wait(0)
    talk.come(b"Failed to begin reading :(\r\n")
    assert talk.of(Trouble) == [Trouble.BEGIN_FAILED] and talk.of(Phase)[-1] is Phase.TROUBLE
    talk.wait(1)
    talk.come(GOOD)
    assert talk.of(Phase)[-1] is Phase.RUNNING and talk.session.failure is None
    talk.wait(1)
    for _ in range(3):
        talk.come(b"Failed to complete reading :(\r\n")
        talk.wait(1)
    assert isinstance(talk.session.failure, DeviceError) and "could not complete" in str(talk.session.failure)
    talk = Talk(boot=2.5)
    talk.come(b"Could not find a valid BME680 sensor, check wiring!\r\n")
    assert isinstance(talk.session.failure, DeviceError) and "check its wiring" in str(talk.session.failure)
    assert talk.sent == [], "it would not hear us any more"


def test_troubles_in_a_stream_of_frames_of_several_lines():
    fields = (Field(Quantity.TEMPERATURE, offset=273.15), Field(Quantity.PRESSURE, scale=100))
    frames = Format("two lines", fields, separator="\r\n", empty_line=True)
    good = b"21.1\r\n981.2\r\n\r\n"
    talk = Talk(frames, boot=0, period=2)
    for text in (good, good, b"Failed to perform reading :(\r\n" + good, b"\r\n" + good):
        talk.come(text)
        talk.wait(2)
    assert talk.of(Trouble) == [Trouble.READING_FAILED] and len(talk.of(Measured)) == 3 and not talk.of(Refusal)
    talk.come(b"Could not find a valid BME680 sensor, check wiring!\r\n")  # and hangs: no empty line comes
    talk.wait(1.5)
    assert isinstance(talk.session.failure, DeviceError) and "check its wiring" in str(talk.session.failure)


def test_without_a_good_reading_the_board_is_lost_though_it_answers():
    talk = Talk(COUNTINGHOUSE, boot=0, period=1, lost_after=3)
    talk.wait(0)
    talk.come(own(1))
    good = talk.now
    number = 1
    while talk.session.failure is None and number < 50:
        number += 1
        talk.wait(1)
        talk.come(own(number, body=f"D,{number},{100 + number},,98123,41203,0"))
        talk.wait(0.5)
    assert talk.now - good == pytest.approx(3, abs=0.01)
    assert "no good reading for 3 s; refused: temperature: '' is no number" in str(talk.session.failure)


def test_a_new_period_counts_at_once():
    talk = Talk(COUNTINGHOUSE, boot=0, period=3600, lost_after=10800)
    talk.wait(0)
    talk.come(own(1))
    talk.wait(100)
    assert talk.times == [0, 0]  # R, and I: who are you
    talk.session.period = 10
    talk.wait(0)
    assert talk.times == [0, 0, 100]
    talk.come(own(2))
    talk.wait(25)
    assert talk.times[:4] == [0, 0, 100, 100] and talk.times[4] == 110


def test_it_asks_who_the_board_is_until_it_knows():
    talk = Talk(COUNTINGHOUSE, boot=0)
    talk.wait(0)
    talk.come(own(1))
    talk.wait(10)
    talk.come(own(2))
    talk.come(own(body="I,countinghouse-bme680,1.0,200"))
    talk.wait(10)
    talk.come(own(3, 210))
    assert [request for _, request in talk.sent] == [b"R", b"I", b"R", b"I", b"R"]


def test_missing_lines_lines_sent_twice_and_resets_are_counted():
    talk = Talk(Format("own stream", COUNTINGHOUSE.fields, separator=",", checksum="crc16"))
    talk.come(own(65534, 10) + own(65535, 11) + own(0, 12) + own(3, 13) + own(3, 13) + own(4, 14))
    assert (talk.session.counts.missed, talk.session.counts.restarts) == (2, 0)
    assert talk.session.counts.refused == {"UNASKED": 1} and len(talk.of(Measured)) == 5
    talk.come(own(0, 1) + own(1, 2))
    assert (talk.session.counts.missed, talk.session.counts.restarts) == (2, 1)


def test_a_stream_is_heard_without_asking_and_lost_when_it_ends():
    talk = Talk(STREAM, period=1, lost_after=3)
    for _ in range(5):
        talk.come(GOOD)
        talk.wait(1)
    assert talk.sent == [] and len(talk.of(Measured)) == 5 and talk.of(Phase)[-1] is Phase.RUNNING
    talk.wait(1.1)
    assert talk.of(Phase)[-1] is Phase.SILENT
    talk.wait(5)
    assert isinstance(talk.session.failure, LinkTimeout) and talk.now - 1000 == pytest.approx(7)


def test_the_first_line_that_is_understood_settles_the_sketch():
    for line, format in ((GOOD, PICOSEC), (own(), COUNTINGHOUSE)):
        talk = Talk(PICOSEC, COUNTINGHOUSE, boot=0)
        talk.wait(0)
        talk.come(b"what?\r\n")
        assert len(talk.session.formats) == 2
        talk.come(line)
        assert talk.session.formats == (format,) and len(talk.of(Measured)) == 1
    talk = Talk(COUNTINGHOUSE, PICOSEC, boot=0)
    talk.wait(0)
    talk.come(b"29.31;98123;41.20;120345\r\n" + own()[:-3] + b"X\r\n")
    assert talk.session.counts.refused == {"RANGE": 1, "CHECKSUM": 1}, "each by the format that it nearly has"


@given(st.lists(st.sampled_from([b"R", GOOD, GOOD[:9], b"\r\n", b"\x00", b"nan;nan;nan;0\r\n", own(), b"9" * 300])))
def test_whatever_comes_nothing_but_asked_for_values_is_measured(pieces):
    talk = Talk(PICOSEC, COUNTINGHOUSE, boot=0)
    for piece in pieces:
        talk.wait(0.7)
        talk.come(piece)
    asked = sum(request == b"R" for _, request in talk.sent)
    assert len(talk.of(Measured)) <= asked
    for measured in talk.of(Measured):
        assert isinstance(measured.judged, Judged)
        assert set(measured.judged.values.items()) <= {
            *(("temperature", 294.31), ("pressure", 98123), ("humidity", 41.2), ("humidity", 41.203)),
            *(("gas", 120345), ("sequence", 1), ("uptime", 100)),
        }


@pytest.mark.parametrize(("period", "timeout"), [(1, 1), (10, 1), (0.5, 0.5), (3600, 5)])
def test_one_answer_that_is_missing_is_no_loss(period, timeout):
    """With the default of `lost_after`: three periods, at least a period and two timeouts."""
    lost_after = max(3 * period, period + 2 * timeout)
    talk = Talk(COUNTINGHOUSE, boot=0, period=period, timeout=timeout, lost_after=lost_after)
    for number in range(1, 11):
        asked = len(talk.sent)
        while len(talk.sent) == asked and talk.session.failure is None:
            talk.wait(max(0.01, talk.session.deadline - talk.now))
        if number != 5:
            talk.wait(0.4 * timeout)
            talk.come(own(number))
    assert talk.session.failure is None and talk.session.counts.timeouts == 1


def test_what_a_reset_leaves_on_the_line_does_not_spoil_the_boards_first_words():
    talk = Talk(boot=2.5)
    talk.come(b"\x00\xff\xff\x00")
    talk.wait(0.5)  # a short boot loader
    talk.come(b"Could not find a valid BME680 sensor, check wiring!\r\n")
    assert isinstance(talk.session.failure, DeviceError)
    assert talk.session.counts.refused == {"UNFINISHED": 1}
