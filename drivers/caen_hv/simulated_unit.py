"""The behaviour of a simulated supply: channels that ramp, feed a load and trip; no wire, no clock.

It reads requests with a small parser of its own and takes what real units were seen to take (CR alone, colons in place
of commas, `BD:0`), so that a mistake of the driver's is not hidden by the same mistake here.
"""

import re
from dataclasses import dataclass, field

ON, RUP, RDW, OVC, OVV, UNV, MAXV, TRIP, _, _, DIS, KILL, ILK, _ = (1 << n for n in range(14))
NEVER = 1000.0  # s; TRIP at its maximum: held at the current limit for ever
STEP = 0.05  # s; longest piece of time in the behaviour

# Formats of a typical x1470: total width and decimals.
FORMATS = {
    **dict.fromkeys(("VSET", "VMON", "VMIN", "VMAX"), (6, 1)),
    **dict.fromkeys(("ISET", "IMIN", "IMAX"), (7, 2)),
    **dict.fromkeys(("MAXV", "MVMIN", "MVMAX"), (4, 0)),
    **dict.fromkeys(("RUP", "RUPMIN", "RUPMAX", "RDW", "RDWMIN", "RDWMAX"), (3, 0)),
    **dict.fromkeys(("TRIP", "TRIPMIN", "TRIPMAX"), (6, 1)),
    **dict.fromkeys(("VDEC", "ISDEC", "IMDEC", "MVDEC", "RUPDEC", "RDWDEC", "TRIPDEC"), (1, 0)),
}
LIMITS = {
    **{"VMIN": 0.0, "VMAX": 8000.0, "VDEC": 1},
    **{"IMIN": 0.0, "IMAX": 3000.0, "ISDEC": 2},
    **{"MVMIN": 0.0, "MVMAX": 8100.0, "MVDEC": 0},
    **{"RUPMIN": 1.0, "RUPMAX": 500.0, "RUPDEC": 0},
    **{"RDWMIN": 1.0, "RDWMAX": 500.0, "RDWDEC": 0},
    **{"TRIPMIN": 0.0, "TRIPMAX": NEVER, "TRIPDEC": 1},
}
BOUNDS = {
    "VSET": ("VMIN", "VMAX"),
    "ISET": ("IMIN", "IMAX"),
    "MAXV": ("MVMIN", "MVMAX"),
    "RUP": ("RUPMIN", "RUPMAX"),
    "RDW": ("RDWMIN", "RDWMAX"),
    "TRIP": ("TRIPMIN", "TRIPMAX"),
}
WORDS = {"PDWN": ("KILL", "RAMP"), "IMRANGE": ("HIGH", "LOW")}


@dataclass
class SimulatedChannel:
    """One output and what hangs on it. All attributes may be changed at any time.

    Attributes:
        vset, maxv: V. iset: uA. rup, rdw: V/s. trip: s. pdwn, imrange, pol: as the unit says them.
        on: ON was obeyed. disabled: the front switch is off.
        load: ohm; what the output feeds. capacitance: F. leak: uA more, whatever the voltage.
        broken: the output collapses and nothing is flagged (seen with firmware 1.04); only a power cycle ends it.
        forced: bits of STAT that are set besides (over power, over temperature ...).
        volts: V at the output.
    """

    vset: float = 0.0
    iset: float = 100.0
    maxv: float = 8100.0
    rup: float = 50.0
    rdw: float = 100.0
    trip: float = 1.0
    pdwn: str = "RAMP"
    imrange: str = "HIGH"
    pol: str = "+"
    on: bool = False
    disabled: bool = False
    load: float = 1e9
    capacitance: float = 0.0
    leak: float = 0.0
    broken: bool = False
    forced: int = 0
    volts: float = 0.0
    _flags: int = field(default=0, repr=False)  # TRIP, KILL: kept until ON or BDCLR
    _ramp: int = field(default=0, repr=False)
    _over: float = field(default=0.0, repr=False)  # s of over current
    _limiting: bool = field(default=False, repr=False)

    @property
    def current(self) -> float:
        """Current now, uA."""
        return self.volts / max(self.load, 1.0) * 1e6 + (self.leak if self.volts > 0 else 0.0)

    def step(self, dt: float, interlock: bool) -> None:
        """Go on by `dt` seconds."""
        live = self.on and not self.disabled and not interlock
        target = min(self.vset, self.maxv) if live else 0.0
        before = self.volts
        if self.broken:
            self.volts, self._ramp = self.volts * max(0.0, 1 - dt / 4), 0
        elif target > self.volts:
            self.volts, self._ramp = min(target, self.volts + self.rup * dt), RUP
        elif not live and (self.pdwn == "KILL" or self.disabled):
            self.volts, self._ramp = max(0.0, self.volts * (1 - dt / max(self.load * self.capacitance, dt))), 0
        elif target < self.volts:
            self.volts, self._ramp = max(target, self.volts - self.rdw * dt), RDW
        if self.volts == target:
            self._ramp = 0
        charging = self.capacitance * max(0.0, self.volts - before) / dt * 1e6
        if self.current + charging >= self.iset:  # the supply becomes a current source
            self.volts = min(self.volts, max(before, max(0.0, self.iset - self.leak) * 1e-6 * self.load))
            if charging == 0.0 or self.current >= self.iset:
                self.volts = min(self.volts, max(0.0, self.iset - self.leak) * 1e-6 * self.load)
        self._limiting = live and self.current + charging >= self.iset * 0.9999
        self._over = self._over + dt if self._limiting else 0.0
        if self._limiting and self.trip < NEVER and self._over >= self.trip:
            self.on, self._over, self._limiting = False, 0.0, False
            self._flags |= TRIP

    def kill(self) -> None:
        """Bring the output down at once, as the front panel's KILL does."""
        self.on, self.volts, self._ramp = False, 0.0, 0
        self._flags |= KILL

    def switch_on(self) -> None:
        """Obey ON: what was latched is forgotten."""
        self.on, self._flags, self._over = True, 0, 0.0

    def clear(self) -> None:
        """Obey BDCLR."""
        self._flags = 0

    def power_cycle(self) -> None:
        """Lose the output; the settings are kept."""
        self.on, self.volts, self.broken, self._flags, self._ramp, self._over = False, 0.0, False, 0, 0, 0.0
        self._limiting = False

    def stat(self, interlock: bool) -> int:
        """Give STAT."""
        live = self.on and not self.disabled and not interlock
        bits = self._flags | self.forced | self._ramp
        bits |= ON if live else 0
        bits |= OVC if self._limiting else 0
        bits |= UNV if live and self.volts < min(self.vset, self.maxv) - 2.5 else 0
        bits |= OVV if live and self.volts > self.vset + 2.5 else 0
        bits |= MAXV if live and self.vset > self.maxv and self.volts >= self.maxv else 0
        return bits | (DIS if self.disabled else 0) | (ILK if interlock else 0)


@dataclass
class SimulatedBoard:
    """One unit with its channels. All attributes may be changed at any time.

    Attributes:
        name, serial, firmware: identity. channels: see `SimulatedChannel`.
        silent: it does not answer, as if it were not on the line.
        local: the panel is in LOCAL. interlock: the contact is active. contact: BDILKM. termination: BDTERM.
        alarm: further bits of BDALARM (16 power failure, 32 over power, 64 HV clock).
        clips: VSET above MAXV is cut to MAXV instead of refused (it is not known which a real unit does).
        limits: what *MIN, *MAX and *DEC say.
    """

    name: str = "R1470ET"
    serial: str = "174"
    firmware: str = "1.08"
    channels: list[SimulatedChannel] = field(default_factory=lambda: [SimulatedChannel() for _ in range(4)])
    silent: bool = False
    local: bool = False
    interlock: bool = False
    contact: str = "CLOSED"
    termination: str = "ON"
    alarm: int = 0
    clips: bool = False
    limits: dict[str, float] = field(default_factory=lambda: dict(LIMITS))
    _latched: int = field(default=0, repr=False)

    def step(self, seconds: float) -> None:
        """Go on by so many seconds."""
        pieces = min(2000, max(1, round(seconds / STEP)))
        for _piece in range(pieces):
            for number, channel in enumerate(self.channels):
                if self.interlock:
                    channel.on = False
                channel.step(seconds / pieces, self.interlock)
                if channel.stat(self.interlock) & (OVC | TRIP | KILL | ILK):
                    self._latched |= 1 << number

    def power_cycle(self) -> None:
        """Go off and on again."""
        self._latched = 0
        for channel in self.channels:
            channel.power_cycle()

    def answer(self, request: "SimulatedRequest") -> str:
        """Obey a request for this board; give the reply's text behind the board number."""
        if request.verb == "MON":
            return self._mon(request)
        if request.verb == "SET":
            return "LOC:ERR" if self.local else self._set(request)
        return "CMD:ERR"

    def _mon(self, request: "SimulatedRequest") -> str:
        board = {
            "BDNAME": self.name,
            "BDNCH": str(len(self.channels)),
            "BDFREL": self.firmware,
            "BDSNUM": self.serial,
            "BDILK": "YES" if self.interlock else "NO",
            "BDILKM": self.contact,
            "BDCTR": "LOCAL" if self.local else "REMOTE",
            "BDTERM": self.termination,
            "BDALARM": f"{self._latched | self.alarm:05d}",
        }
        if request.par in board:
            return f"CMD:OK,VAL:{board[request.par]}"
        texts = [self._value(channel, request.par) for channel in self.channels]
        if "" in texts:
            return "PAR:ERR"
        if request.channel is None or request.channel > len(self.channels):
            return "CH:ERR"
        return "CMD:OK,VAL:" + (";".join(texts) if request.channel == len(texts) else texts[request.channel])

    def _value(self, channel: SimulatedChannel, par: str) -> str:
        if par == "STAT":
            return f"{channel.stat(self.interlock):05d}"
        if par in WORDS or par == "POL":
            return str(getattr(channel, par.lower()))
        low = channel.imrange == "LOW"
        if par == "IMON":
            amount = min(channel.current, self.limits["IMAX"] / (10 if low else 1))
            return f"{amount:07.3f}" if low else f"{amount:07.2f}"
        values = self.limits | {"VMON": channel.volts, "IMDEC": 3 if low else 2}
        values |= {name: getattr(channel, name.lower()) for name in BOUNDS}
        if par not in values:
            return ""
        width, decimals = FORMATS[par]
        return f"{values[par]:0{width}.{decimals}f}"

    def _set(self, request: "SimulatedRequest") -> str:
        if request.par == "BDCLR":
            self._latched = 0
            for channel in self.channels:
                channel.clear()
            return "CMD:OK"
        if request.par == "BDILKM":
            if request.value not in ("OPEN", "CLOSED"):
                return "VAL:ERR"
            self.contact = request.value
            return "CMD:OK"
        if request.par not in (*BOUNDS, *WORDS, "ON", "OFF"):
            return "PAR:ERR"
        if request.channel is None or request.channel > len(self.channels):
            return "CH:ERR"
        every = request.channel == len(self.channels)
        for channel in self.channels if every else [self.channels[request.channel]]:
            if not self._obey(channel, request.par, request.value):
                return "VAL:ERR"
        return "CMD:OK"

    def _obey(self, channel: SimulatedChannel, par: str, value: str | None) -> bool:
        if par == "ON":
            if not channel.disabled and not self.interlock:
                channel.switch_on()
        elif par == "OFF":
            channel.on = False
        elif par in WORDS:
            if value not in WORDS[par]:
                return False
            setattr(channel, par.lower(), value)
        else:
            low, high = (self.limits[name] for name in BOUNDS[par])
            if value is None or re.fullmatch(r" *\d+(\.\d*)?", value) is None or not low <= float(value) <= high:
                return False
            amount = round(float(value), FORMATS[par][1])
            if par == "VSET" and amount > channel.maxv:
                if not self.clips:
                    return False
                amount = channel.maxv
            setattr(channel, par.lower(), amount)
        return True


@dataclass(frozen=True)
class SimulatedRequest:
    """A request as a unit reads it."""

    board: int
    verb: str
    par: str
    channel: int | None = None
    value: str | None = None


def understand(line: bytes) -> SimulatedRequest | None:
    """Read a line; None when there is no board number in it, so that no unit answers."""
    text = line.decode("ascii", "replace").strip()
    head = re.match(r"\$BD[:,]?(\d{1,2})(?!\d)", text)
    if head is None:
        return None
    words = dict(re.findall(r"(CMD|CH|PAR|VAL):([^,:]*)", text[head.end() :]))
    channel = int(words["CH"]) if words.get("CH", "").isdigit() else None
    return SimulatedRequest(
        int(head[1]), words.get("CMD", ""), words.get("PAR", ""), channel, words.get("VAL") if "VAL" in words else None
    )
