"""The client's side of one connection to a PMU: which commands to send, what the bytes mean, when to give up (pure).

No wire and no clock: bytes and the time (seconds of any steady clock) come in, commands and events go out. `client`
ties it to a link. Sources: C37.118.2-2011, clauses 6.2 (time), 6.3 (STAT), 6.5 (configuration), 6.6 (commands).
"""

import logging
from collections import Counter, deque
from datetime import UTC, datetime

from drivers.c37118 import frames
from drivers.c37118.asking import Asking
from drivers.c37118.channels import same_layout
from drivers.c37118.events import Awaiting, Configured, Data, Header, Told
from drivers.c37118.frames import (
    Command,
    Configuration,
    DataFrame,
    Fragment,
    Fragments,
    FrameType,
    HeaderFrame,
)
from drivers.c37118.order import Order
from drivers.c37118.stream import Stream
from drivers.c37118.timeline import Counts, Timeline
from drivers.errors import LinkTimeout, ProtocolError
from drivers.link import Datagram

log = logging.getLogger(__name__)

CONFIGURATION_CHANGE = 0x0400  # STAT bit 10
FOREIGN_SHOWN = 24  # bytes of what is no C37.118 that an error tells
FIRST_WORD = 10.0  # seconds that a stream nobody asked for has to begin, when its data rate is not known yet
LONGEST_WAIT = 20_000  # frames kept while a configuration is awaited; older ones are dropped and counted
MOST_BYTES = 1 << 25  # of those frames


class Session:
    """One connection: start-up (commands 1, 6 or else 5, 2), data, configuration changes, silence.

    A CFG-3 outranks a CFG-2: while it is in use, a CFG-2 that comes unasked only tells by its CFGCNT that the
    configuration has changed.

    Args:
        idcode: of the stream, as the site file says.
        known: the configuration that was last in use, or None.
        counts, timeline: of the client; they outlive the connection.
        lost_after: seconds without a good data frame; None = three periods and at least 2 s.
        answer_timeout: seconds to wait for a configuration.
        tries: requests for a configuration before giving up.
        asks: False = a stream that nobody asks for: its configuration comes by itself, or is `known`.
        cfg3: whether to ask for a CFG-3 first.
        header: whether to ask for the header frame.
        reorder_wait: seconds that a frame is waited for when a later one has come (datagrams only).
        earliest_ns, ahead: stamps before `earliest_ns`, or more than `ahead` seconds later than their arrival, are
            refused: the PMU's clock is not set.

    Attributes:
        asking: for what, and when.
        configuration: in use; None until the PMU has sent it.
        configuration_frame: the last configuration as received, all its frames.
        commands: to be sent now, oldest first; the caller empties it.
        whole: True when the bytes so far end with a frame's end.
    """

    def __init__(
        self,
        idcode: int,
        known: Configuration | None,
        counts: Counts,
        timeline: Timeline,
        *,
        lost_after: float | None = None,
        answer_timeout: float = 2.0,
        tries: int = 3,
        asks: bool = True,
        cfg3: bool = False,
        header: bool = False,
        reorder_wait: float = 0.1,
        earliest_ns: int = 0,
        ahead: float = float("inf"),
    ) -> None:
        self.idcode = idcode
        self.asking = Asking(answer_timeout, tries, cfg3, known is not None and known.type is FrameType.CFG3)
        self.configuration: Configuration | None = None
        self.configuration_frame = b""
        self.commands: list[Command] = []
        self.whole = True
        self._known = known
        self._previous: Configuration | None = None  # in force before this connection, until its first data frame
        self._counts = counts
        self._timeline = timeline
        self._lost_after = lost_after
        self._answer_timeout = answer_timeout
        self._asks = asks
        self._header = header
        self._plausible = (earliest_ns, ahead * 1e9)
        self._stream = Stream()
        self._datagrams = Stream()
        self._order = Order(counts, reorder_wait)
        self._fragments = Fragments()
        self._parts: list[bytes] = []  # frames of a CFG-3 that is under way
        self._open_bytes = 0  # received, not yet part of a frame, not yet skipped
        self._foreign: bytes | None = b""  # how the connection began, until a frame has come
        self._strangers: set[int] = set()
        self._trouble = ""  # what was wrong with the last frame that was of no use
        self._told: set[int] = set()  # types of frames of which a dropped one was told
        self._by_size = False  # a configuration is awaited because a frame has another size than by the one in use
        self._data_on = False
        self._not_before = 0.0  # an answer that changed nothing is not asked for again at once
        self._data_until: float | None = None  # without data until then: lost
        self._announced = False  # STAT bit 10 is set
        self._next: Configuration | None = None  # announced, not yet in force
        self._waiting: deque[tuple[bytes, int, bool]] | None = None  # data frames that a new configuration must decode

    @property
    def deadline(self) -> float:
        """When `tick` must be called at the latest."""
        return min(at for at in (self.asking.at, self._data_until, self._order.deadline) if at is not None)

    def start(self, now: float) -> None:
        """Begin: the first commands are due."""
        if not self._asks:
            self._data_until = now + (self._silence if self._known or self._lost_after else FIRST_WORD)
            return
        self.asking.begin(now)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Do what is due by `now`: ask (again) for the configuration.

        Raises:
            LinkTimeout: no answer, or no data; the message says what was seen instead and what to try.
        """
        asking = self.asking
        if asking.at is not None and now >= asking.at:
            if asking.used_up and self._urgent:
                raise LinkTimeout(self._no_configuration())
            if asking.used_up:
                asking.stop()  # only announced so far: asked again when the change comes
                return
            if self._urgent and (asking.again or self.configuration is None):
                self.commands.append(Command.DATA_OFF)  # some PMUs answer only while data is off
                self._data_on = False
            self.commands.append(asking.command(now))
        unanswered = self._urgent and asking.at is not None  # has a deadline of its own
        if self._data_until is not None and now >= self._data_until and not unanswered:
            silence = self._silence if self.configuration or self._known or self._lost_after else FIRST_WORD
            raise LinkTimeout(f"no data for {silence:g} s{self._why_silent()}")

    def receive(self, data: bytes, now: float, arrival_ns: int) -> list[Told]:
        """Take received bytes (or a `Datagram`, or nothing), give the events that are due, in order.

        Raises:
            ProtocolError: the PMU speaks the 2024 edition.
        """
        self._open_bytes += len(data)
        if self._foreign is not None:
            self._foreign = (self._foreign + data)[:FOREIGN_SHOWN]
        if isinstance(data, Datagram):
            events = self._take(self._datagrams.feed(data) + self._datagrams.flush(), now, arrival_ns, True)
        else:
            events = self._take(self._stream.feed(data), now, arrival_ns)
        self._post(self._order.due(now, self._period), now, events)
        return events

    def end(self, now: float, arrival_ns: int) -> list[Told]:
        """Give the events of what the end of the connection sets free."""
        events = self._take(self._stream.flush(), now, arrival_ns)
        self._post(self._order.due(float("inf"), self._period), now, events)
        return events

    def _take(self, received: list[bytes], now: float, arrival_ns: int, datagram: bool = False) -> list[Told]:
        events: list[Told] = []
        for frame in received:
            self._foreign = None
            self._open_bytes -= len(frame)
            idcode = int.from_bytes(frame[4:6], "big")
            kind = frame[1] >> 4
            if idcode != self.idcode:
                self._strangers.add(idcode)
                self._counts.strangers += 1
            elif kind == FrameType.DATA:
                self._data(frame, arrival_ns, now, events, datagram)
            elif kind in (FrameType.CFG2, FrameType.CFG3):
                self._configured(frame, now, events)
            elif kind == FrameType.HEADER:
                message = frames.decode(frame)
                if isinstance(message, HeaderFrame):
                    events.append(Header(message.text))
        for stream in (self._stream, self._datagrams):
            self._counts.bad_crc += stream.bad_crc
            self._counts.skipped_bytes += stream.skipped_bytes
            self._open_bytes -= stream.skipped_bytes
            stream.bad_crc = stream.skipped_bytes = 0
            newer, stream.newer = stream.newer, Counter()
            self._open_bytes -= newer.total()
            if self.idcode in newer:  # that of another one, on a port that streams share, is nothing to us
                raise ProtocolError(
                    "the PMU speaks the 2024 edition of C37.118, unsupported: set it to C37.118.2-2011 or C37.118-2005"
                )
            self._strangers.update(newer)
            self._counts.strangers += stream.unsupported
            stream.unsupported = 0
        self.whole = self._open_bytes <= 0
        return events

    @property
    def _urgent(self) -> bool:
        """Without the answer there is no data."""
        return self.configuration is None or self._waiting is not None

    @property
    def _silence(self) -> float:
        """Seconds without data that count as a dead link."""
        if self._lost_after is not None:
            return self._lost_after
        return max(2.0, 3 * self.configuration.period) if self.configuration else 2.0

    @property
    def _period(self) -> float:
        return self.configuration.period if self.configuration else 1.0

    def _why_silent(self) -> str:
        if self._trouble:
            return f"; the last frame: {self._trouble}"
        if self._strangers and not self._asks:
            return f"; {self._others()}"
        return ""

    def _data(self, frame: bytes, arrival_ns: int, now: float, events: list[Told], datagram: bool) -> None:
        if self.configuration is None and not self._asks and self._waiting is None:
            self._begin_unasked(frame, now, events)
        if self.configuration is None and self._waiting is None:
            return  # between request and answer
        if self._waiting and self._by_size and self.configuration:
            if len(frame) == frames.expected_size(self.configuration):  # nothing has changed but that one frame
                self._counts.undecodable += len(self._waiting) - 1  # the first one is counted as stale
                self._waiting, self._by_size = None, False
        if self._waiting is not None or self.configuration is None:
            self._keep(frame, arrival_ns, datagram)
            if not self._asks:
                self._data_until = now + self._silence
            return
        previous, self._previous = self._previous, None
        if previous is not None and self._came_early(previous, frame):
            following = self.configuration
            self._activate(previous, now, events)
            self._next, self._announced = following, True
        try:
            message = _data_frame(frame, self.configuration)
            announced = any(pmu.stat & CONFIGURATION_CHANGE for pmu in message.pmus)
        except frames.StaleConfiguration as error:
            self._counts.stale += 1
            self._trouble = str(error)
            self._changeover(frame, arrival_ns, now, events, datagram)
            return
        except ProtocolError as error:
            self._undecodable(frame, error)
            return
        if self._announced and not announced:
            self._changeover(frame, arrival_ns, now, events, datagram)
            return
        if announced and not self._announced:
            self._announced = True
            self._ask(now)
        self._hand_out(message, arrival_ns, now, events, datagram)

    def _begin_unasked(self, frame: bytes, now: float, events: list[Told]) -> None:
        """Take the first data frame of a stream that nobody asks for: by the known configuration if the size fits."""
        known = self._known
        if known is not None and len(frame) == frames.expected_size(known):
            self._activate(known, now, events)
            return
        self._waiting = deque()
        why = "its size is another than by the last known one" if known else "none is known yet"
        events.append(Awaiting(f"data of stream {self.idcode} come and wait for their configuration: {why}"))

    def _came_early(self, previous: Configuration, frame: bytes) -> bool:
        """Tell whether the first data frame still is of the configuration `previous`: we connected during a notice.

        Then STAT of the first block, which is at the same place in any layout, has bit 10 set.
        """
        return (
            bool(int.from_bytes(frame[14:16]) & CONFIGURATION_CHANGE)
            and len(frame) == frames.expected_size(previous)
            and not same_layout(previous, self.configuration)
        )

    def _changeover(self, frame: bytes, arrival_ns: int, now: float, events: list[Told], datagram: bool) -> None:
        """Take the first frame of a new layout: with the announced configuration, or else once the PMU has sent one."""
        self._announced = False
        following, self._next = self._next, None
        self._waiting = deque()
        self._keep(frame, arrival_ns, datagram)
        if following is not None and not same_layout(following, self.configuration):
            self._activate(following, now, events)
        elif self._asks:
            self._ask(now)
        elif following is not None:
            self._activate(following, now, events)
        else:
            known = self.configuration
            self._by_size = known is not None and len(frame) != frames.expected_size(known)
            events.append(Awaiting(f"the layout of stream {self.idcode} has changed; its configuration is awaited"))

    def _configured(self, frame: bytes, now: float, events: list[Told]) -> None:
        try:
            configuration = self._configuration(frame, now)
        except ProtocolError as error:
            self._undecodable(frame, error)
            return
        if configuration is None:
            return
        if configuration.type is FrameType.CFG2:
            if self._holds_cfg3 and not self.asking.asked:
                if _counts_of(configuration) != _counts_of(self.configuration) and self._next is None:
                    self._ask(now)
                return
        self.asking.answered(configuration.type is FrameType.CFG2)
        self.configuration_frame = b"".join(self._parts) if configuration.type is FrameType.CFG3 else frame
        if self._announced and self._waiting is None:
            self._next = configuration
        else:
            self._activate(configuration, now, events)
        if self._asks and not self._data_on:
            if self._header:
                self.commands.append(Command.SEND_HEADER)
                self._header = False
            self.commands.append(Command.DATA_ON)
            self._data_on = True
            self._data_until = now + self._silence

    @property
    def _holds_cfg3(self) -> bool:
        return self.configuration is not None and self.configuration.type is FrameType.CFG3

    def _configuration(self, frame: bytes, now: float) -> Configuration | None:
        """Read a configuration frame; None where it is a fragment and others are to come.

        Raises:
            ProtocolError: it is damaged in itself.
        """
        message = frames.decode(frame)
        if isinstance(message, Fragment):
            self._parts = [*(self._parts if message.index != 1 else ()), frame]
            whole = self._fragments.add(message)
            if whole is None:
                self.asking.fragment(now)
            self._counts.undecodable += self._fragments.dropped
            self._fragments.dropped = 0
            return whole
        self._parts = [frame]
        return message if isinstance(message, Configuration) else None

    def _activate(self, configuration: Configuration, now: float, events: list[Told]) -> None:
        """Use `configuration` from here on, first for the frames that waited for it."""
        self._by_size = False
        first = self.configuration is None
        changed = not same_layout(configuration, self._known)
        self._previous = self._known if first else None
        self._not_before = now + (0.0 if changed else self._answer_timeout)
        self.configuration = self._known = configuration
        if first or changed:
            events.append(Configured(configuration, changed))
        waiting, self._waiting = self._waiting or (), None
        for frame, arrival_ns, datagram in waiting:
            try:
                message = _data_frame(frame, configuration)
            except ProtocolError as error:
                self._undecodable(frame, error)
                continue
            self._announced = any(pmu.stat & CONFIGURATION_CHANGE for pmu in message.pmus)
            self._hand_out(message, arrival_ns, now, events, datagram)

    def _hand_out(self, message: DataFrame, arrival_ns: int, now: float, events: list[Told], datagram: bool) -> None:
        configuration = self.configuration
        if configuration is None:
            return
        earliest_ns, ahead_ns = self._plausible
        if not earliest_ns <= message.time_ns <= arrival_ns + ahead_ns:
            self._counts.bad_times += 1
            self._trouble = f"its time {_date(message.soc)} is refused: the PMU's clock is not set (or the host's)"
            return
        self._data_until = now + self._silence
        self._trouble = ""
        if message.fracsec >= configuration.time_base:
            self._counts.bad_fracsec += 1
        if datagram:
            self._post(self._order.add(message, arrival_ns, configuration.period, now), now, events)
        else:
            self._post([(message, arrival_ns)], now, events)

    def _post(self, messages: list[tuple[DataFrame, int]], now: float, events: list[Told]) -> None:
        for message, arrival_ns in messages:
            if self._timeline.new(message, self._period):
                self._counts.frames += 1
                events.append(Data(message, arrival_ns))

    def _ask(self, now: float) -> None:
        """Ask for the configuration, unless that is under way."""
        if self._asks:
            self.asking.begin(max(now, self._not_before))

    def _keep(self, frame: bytes, arrival_ns: int, datagram: bool) -> None:
        if self._waiting is not None:
            self._waiting.append((frame, arrival_ns, datagram))
            if len(self._waiting) > min(LONGEST_WAIT, MOST_BYTES // len(frame)):
                self._waiting.popleft()
                self._counts.undecodable += 1

    def _undecodable(self, frame: bytes, error: ProtocolError) -> None:
        if frame[1] not in self._told:
            self._told.add(frame[1])
            log.warning("frame dropped: %s (further ones of its type are counted)", error)
        self._counts.undecodable += 1
        self._trouble = str(error)

    def _no_configuration(self) -> str:
        times = self.asking.asked
        asked = f"no configuration came, asked {times} times over {times * self._answer_timeout:g} s"
        if self._strangers:
            return self._others()
        if self._trouble:
            return f"{asked}; the last frame: {self._trouble}"
        if self._foreign:
            return f"{asked}; what came is no C37.118 ({self._foreign!r}...): is that the port of the PMU?"
        return f"{asked}: is {self.idcode} the PMU's IDCODE, and does no other client hold it?"

    def _others(self) -> str:
        others = ", ".join(str(idcode) for idcode in sorted(self._strangers))
        return f"answers with IDCODE {others}, the site file says {self.idcode}: set idcode to what the PMU has"


def _date(soc: int) -> str:
    return datetime.fromtimestamp(soc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _counts_of(configuration: Configuration | None) -> list[int]:
    return [pmu.cfgcnt for pmu in configuration.pmus] if configuration else []


def _data_frame(frame: bytes, configuration: Configuration) -> DataFrame:
    message = frames.decode(frame, configuration)
    if not isinstance(message, DataFrame):
        raise ProtocolError(f"no data frame: {frame[:32].hex()}")
    return message
