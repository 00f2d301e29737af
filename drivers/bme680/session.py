"""The conversation with one board, without a wire or a clock (pure): bytes and times in, requests and events out.

One request is under way at a time. What nobody asked for, a late answer too, is refused. Opening the line may have
reset the board, so it is given time to boot.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from drivers.bme680.formats import Format
from drivers.bme680.lines import Lines, Reason, Refusal
from drivers.bme680.plausible import Judged, Plausibility
from drivers.bme680.protocol import TROUBLES, Identity, Reading, Trouble, decode, saying
from drivers.errors import DeviceError, DriverError, LinkTimeout

LINE_LIMIT = 256  # bytes
FRAME_LIMIT = 1024  # bytes of a frame of several lines
NOISE = 0.2  # s of quiet after which what a reset has left on the line is no beginning of the board's first words


class Phase(Enum):
    """Where the conversation is."""

    ABSENT = 0
    OPENING = 1
    BOOTING = 2
    RUNNING = 3
    SILENT = 4
    TROUBLE = 5


@dataclass
class Counts:
    """What happened since the program began; it outlives sessions.

    Attributes:
        readings: lines that were understood and asked for.
        refused: what was refused, by reason.
        timeouts: requests that nothing usable answered in time.
        spikes: values that were held back because no second one had confirmed them.
        novalues: fields without a usable value in lines that were good otherwise.
        missed: lines that the sequence numbers say were sent and did not come.
        troubles: times that the board told of a trouble with its sensor.
        restarts: times that the board was reset, as its uptime tells.
        uptime: of the newest line, s; None where the format has none.
        last_bad: the last refusal.
    """

    readings: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    timeouts: int = 0
    spikes: int = 0
    novalues: int = 0
    missed: int = 0
    troubles: int = 0
    restarts: int = 0
    uptime: float | None = None
    last_bad: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading that was judged, and when it came, ns since 1970."""

    judged: Judged
    time_ns: int


Event = Measured | Refusal | Trouble | Identity | Phase


class Session:
    """One session on an open line: `start`, then `receive` what comes and `tick` at `deadline` until `failure` is set.

    Args:
        formats: those that the board may speak; the first line that one of them fits settles which. All of them poll
            with the same request, or there is one only.
        counts: gone on with.
        period: seconds from request to request; in a stream, from line to line.
        timeout: seconds for an answer; half of it is the quiet after one that was not usable, before the next request.
        boot: seconds that a board may need after the line was opened, unless it speaks sooner.
        lost_after: seconds without a reading after which the board is lost.
        frozen_after: see `Plausibility`.
        tries: requests in a row without a usable answer after which the board is lost.

    Attributes:
        requests: bytes to send, taken out by whoever sends them.
        failure: why the session is over, None while it is not.
        period: may be changed at any time.
    """

    def __init__(
        self,
        formats: tuple[Format, ...],
        counts: Counts,
        *,
        period: float = 10.0,
        timeout: float = 1.0,
        boot: float = 2.5,
        lost_after: float = 30.0,
        frozen_after: int = 20,
        tries: int = 3,
    ) -> None:
        self.formats = formats
        self.counts = counts
        self.period = period
        self.lost_after = lost_after
        self.requests: list[bytes] = []
        self.failure: DriverError | None = None
        self.phase = Phase.ABSENT
        self._timeout = timeout
        self._quiet = timeout / 2
        self._boot = boot
        self._frozen_after = frozen_after
        self._tries = tries
        self._lines = Lines(FRAME_LIMIT if formats[0].empty_line else LINE_LIMIT, empty_line=formats[0].empty_line)
        self._polls = bool(formats[0].request)
        self._plausibility: Plausibility | None = None
        self._identified = False
        self._sequence: int | None = None
        self._misses = 0
        self._why = ""  # what was wrong last, empty after a reading
        self._answer = ""  # what was wrong with what has come since the last request
        self._asked_at: float | None = None  # None while no answer is awaited
        self._due = 0.0  # when to ask next
        self._last_due = 0.0
        self._good_at = 0.0
        self._heard_at = 0.0  # any bytes
        self._read_at = 0.0  # a line that was understood

    def start(self, now: float) -> list[Event]:
        """Begin: the line has just been opened."""
        self._due = self._last_due = self._good_at = now + self._boot
        self._heard_at = self._read_at = now
        return self._enter(Phase.BOOTING)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the latest."""
        times = [self._good_at + self.lost_after]
        if self._lines.unfinished:
            times.append(self._heard_at + self._slowness)
        if self.phase is Phase.RUNNING and not self._polls:
            times.append(self._read_at + 2 * self.period)
        if self._polls:
            times.append(self._next_due() if self._asked_at is None else self._asked_at + self._timeout)
        return min(times)

    def receive(self, data: bytes, now: float, time_ns: int) -> list[Event]:
        """Take what has come."""
        events: list[Event] = []
        if data:
            self._heard_at = now
        for frame in self._lines.feed(data):
            if self.failure is None:
                events += self._take(frame, now, time_ns)
        return events

    def tick(self, now: float) -> list[Event]:
        """Do what is due: ask, give up waiting, give the board up."""
        events: list[Event] = []
        if self.failure is not None:
            return events
        if self._lines.unfinished and now >= self._heard_at + self._slowness:
            events += self._give_up(now)
        if self._asked_at is not None and now >= self._asked_at + self._timeout:
            self.counts.timeouts += 1
            events += self._discard()
            events += self._miss(now, self._answer or f"no answer to {self.formats[0].request.decode()!r}")
        if self.phase is Phase.RUNNING and not self._polls and now >= self._read_at + 2 * self.period:
            events += self._enter(Phase.SILENT)
        if self.failure is None and now >= self._good_at + self.lost_after:
            self._fail(f"no good reading for {self.lost_after:g} s" + (f"; {self._why}" if self._why else ""))
        if self.failure is None and self._polls and self._asked_at is None and now >= self._next_due():
            events += self._discard()  # what lies here belongs to no question of ours
            self.requests.append(self.formats[0].request)
            self._asked_at = now
            due = self._next_due()
            self._last_due = due if now - due < min(self._timeout, self.period) else now  # keep the beat
            self._answer = ""
        return events

    def end(self) -> list[Event]:
        """The line is being closed: what lies unfinished is lost."""
        return self._discard()

    # Within

    def _take(self, frame: bytes | Refusal, now: float, time_ns: int) -> list[Event]:
        message = frame if isinstance(frame, Refusal) else self._decode(frame)
        match message:
            case Refusal():
                return self._refuse(message)
            case Identity():
                self._identified = True
                self._note_uptime(message.uptime)
                self._awake(now)
                return [message]
            case Trouble():
                return self._trouble(message, now)
            case Reading():
                return self._read(message, frame if isinstance(frame, bytes) else b"", now, time_ns)

    def _decode(self, line: bytes) -> Reading | Trouble | Identity | Refusal:
        """Decode by the formats that are possible; the first that understands a line is the one from then on."""
        refusal: Refusal | None = None
        for format in self.formats:
            message = decode(format, line)
            if not isinstance(message, Refusal):
                if not isinstance(message, Trouble):
                    self.formats = (format,)
                return message
            if refusal is None or refusal.reason in (Reason.FORM, Reason.FIELDS) or b"*" not in line:
                refusal = message
        if refusal is None:
            raise ValueError("a session needs a format")
        return refusal

    def _read(self, reading: Reading, line: bytes, now: float, time_ns: int) -> list[Event]:
        self._note_uptime(reading.values.get("uptime"))
        again = self._note_sequence(reading.values.get("sequence"))
        if again or (self._polls and self._asked_at is None):
            self._awake(now)
            why = "the same sequence number again" if again else "nobody asked for it"
            return self._refuse(Refusal(Reason.UNASKED, line, why))
        self._asked_at = None
        self._read_at = now
        self._misses = 0
        self._why = ""
        self.counts.readings += 1
        if self._plausibility is None:
            self._plausibility = Plausibility(self.formats[0], self._frozen_after)
        judged = self._plausibility.judge(reading)
        self.counts.spikes += len(judged.held)
        self.counts.novalues += len(judged.bad)
        self._due = self._last_due + self.period
        if judged.held:  # a second reading, soon, shows whether it is true
            self._due = min(self._due, now + self._quiet)
            self._why = f"{', '.join(judged.held)}: waits for a second reading to confirm it"
        if judged.values.keys() - {"sequence", "uptime"}:
            self._good_at = now
        if self.formats[0].identify and not self._identified:
            self.requests.append(self.formats[0].identify)
        return [*self._enter(Phase.RUNNING), Measured(judged, time_ns)]

    def _trouble(self, trouble: Trouble, now: float) -> list[Event]:
        if trouble is Trouble.NONE:
            return []
        self.counts.troubles += 1
        events: list[Event] = [trouble, *self._enter(Phase.TROUBLE)]
        if trouble is Trouble.NOT_FOUND:
            self.failure = DeviceError(TROUBLES[trouble])
            return events
        return events + self._miss(now, TROUBLES[trouble], Phase.TROUBLE)

    def _miss(self, now: float, why: str, phase: Phase = Phase.SILENT) -> list[Event]:
        """One more request without a usable answer. A late one may still come: it is waited for and dropped."""
        self._asked_at = None
        self._why = why
        self._misses += 1
        self._due = now + self._quiet
        if self._misses >= self._tries and self._polls:
            if phase is Phase.TROUBLE:
                self.failure = DeviceError(why)
            else:
                self._fail(f"{self._misses} requests without a usable answer; {why}")
        return self._enter(phase)

    def _fail(self, why: str) -> None:
        self.failure = LinkTimeout(f"{why}; is this the right board, its sketch, its baud rate, its format?")

    def _refuse(self, refusal: Refusal) -> list[Event]:
        self.counts.refused[refusal.reason] += 1
        self.counts.last_bad = refusal
        if self._asked_at is not None or not self._polls:
            self._why = self._answer = f"refused: {refusal}"
        return [refusal]

    def _give_up(self, now: float) -> list[Event]:
        """Give up an unfinished frame. After "Could not find ..." a sketch hangs, and no empty line ever comes."""
        refusal = self._lines.discard()
        if refusal is None:
            return []
        trouble = saying(refusal.line)
        return self._refuse(refusal) if trouble is None else self._trouble(trouble, now)

    def _discard(self) -> list[Event]:
        refusal = self._lines.discard()
        return [] if refusal is None else self._refuse(refusal)

    def _awake(self, now: float) -> None:
        """The board has spoken: it has booted."""
        if self.phase is Phase.BOOTING and self._polls:
            self._due = self._last_due = min(self._due, now)

    @property
    def _slowness(self) -> float:
        """How long the rest of a line may take."""
        return min(NOISE, self._timeout) if self.phase is Phase.BOOTING else self._timeout

    def _next_due(self) -> float:
        """When to ask; a shorter period that was set meanwhile counts at once."""
        return min(self._due, self._last_due + self.period) if self.phase is Phase.RUNNING else self._due

    def _note_uptime(self, uptime: float | None) -> None:
        """Count a reset of the board, which shows in a smaller uptime than the last; its lines are numbered anew."""
        if uptime is None:
            return
        if self.counts.uptime is not None and uptime < self.counts.uptime:
            self.counts.restarts += 1
            self._sequence = None
        self.counts.uptime = uptime

    def _note_sequence(self, number: float | None) -> bool:
        """Count what is missing before a line; tell whether it has come already."""
        if number is None:
            return False
        last, self._sequence = self._sequence, int(number)
        if last is None:
            return False
        self.counts.missed += max(0, (self._sequence - last) % 65536 - 1)
        return self._sequence == last

    def _enter(self, phase: Phase) -> list[Event]:
        if phase is self.phase:
            return []
        self.phase = phase
        return [phase]
