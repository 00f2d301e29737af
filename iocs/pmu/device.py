"""A PMU's or concentrator's C37.118 stream as PVs: every frame in the row of each station."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from drivers.c37118.client import Awaiting, Client, Configured, Connected, Counts, Data, Header, Lost
from drivers.c37118.frames import Configuration, DataFrame, FrameType, TimeQuality, decode_whole, encode_whole
from drivers.c37118.recording import Recorder
from drivers.c37118.transport import comes_by_itself, link_of
from iocs.config import Finding
from iocs.device import Device, Place
from iocs.pmu.quality import Policy
from iocs.pmu.settings import PmuSettings, stream_address
from iocs.pmu.signals import HEADER, LINK, STATUS, STREAM, Station, count_values, stations
from iocs.signals import Signal
from iocs.simulation import simulator

log = logging.getLogger(__name__)

SIMULATED_HOST = "127.0.0.1"


class PMU(Device):
    """A stream. `shape` is its last configuration (hex, time stamp cleared), so that its PVs exist while it is away."""

    Settings = PmuSettings
    settings: PmuSettings

    def __init__(self, settings: PmuSettings, place: Place) -> None:
        super().__init__(settings, place)
        self._counts = Counts()  # since the process started: they outlive ENABLE and every session
        self._policy = Policy(settings.invalid_when, settings.minor_when, settings.max_time_error)

    @staticmethod
    def signals(settings: PmuSettings, shape: str | None) -> list[Signal]:
        """What each station has: FREQ, ROCOF, the channels of the configuration, status; and the state of the link."""
        link = [*LINK, HEADER] if settings.header else [*LINK]
        if shape is None:
            return [*STREAM, *STATUS, *link]
        own = stations(_configuration(shape), settings.angle, settings.anunit)
        return [*(signal for station in own for signal in station.signals), *link]

    @staticmethod
    @contextmanager
    def simulate(settings: PmuSettings) -> Iterator[PmuSettings]:
        """Run a simulated PMU of the same IDCODE that is reached the same way."""
        link = stream_address(settings.link)
        options = ["--port", "0", "--idcode", str(settings.idcode), "--cfg3", "--repeat", "10"]
        update: dict[str, str] = {}
        if comes_by_itself(link):
            way = replace(link, host=SIMULATED_HOST, options={"commands": "off", "interface": SIMULATED_HOST})
            options += ["--by-itself", "--data-to", f"{SIMULATED_HOST}:{link.port}"]
            with simulator("drivers.c37118.simulator", options):
                yield settings.model_copy(update={"link": str(way)})
            return
        if link.scheme == "udp":
            options.append("--udp")
        if settings.data is not None:
            port = stream_address(settings.data).port
            options += ["--data-to", f"{SIMULATED_HOST}:{port}"]
            update["data"] = f"udp://{SIMULATED_HOST}:{port}?interface={SIMULATED_HOST}"
        with simulator("drivers.c37118.simulator", options) as address:
            yield settings.model_copy(update={**update, "link": address})

    @staticmethod
    async def check(settings: PmuSettings) -> tuple[list[Finding], str | None]:
        """Take one configuration of the stream."""
        async with aclosing(_client(settings).events()) as events:
            async for event in events:
                if isinstance(event, Lost):
                    return [Finding(False, event.reason)], None
                if isinstance(event, Configured):
                    return [Finding(True, f"sends {_words(event.configuration)}")], shape_of(event.configuration)
        return [Finding(False, f"{settings.link}: the stream ended")], None

    async def run(self) -> None:
        """Follow the stream; the client reconnects by itself."""
        settings, configuration = self.settings, _configuration(self.shape) if self.shape else None
        record = Recorder(settings.record) if settings.record else None
        client = _client(settings, configuration, record=record, backoff=self.backoff, counts=self._counts)
        self._stations: Sequence[Station] = self._stations_of(configuration) if configuration else ()
        self._scalars_at = 0
        self._shown: tuple[int, ...] = ()
        self._header: str | None = None
        self._period = configuration.period if configuration else 1.0
        self._counted = (time.monotonic(), self._counts.frames)
        said = False  # that we are connected, since data came last
        async with aclosing(client.events()) as events:
            async for event in events:
                match event:
                    case Data():
                        said = False
                        self._take(event.frame, event.arrival_ns)
                    case Configured():
                        self._configure(event.configuration)
                    case Lost() | Awaiting():
                        if self.online:
                            self._count(time.monotonic())
                        self.lost(event.reason)
                    case Header():
                        self._header = event.text if settings.header else None
                    case Connected():
                        if not said:
                            log.info("connected to %s", event.address)
                        said = True

    @property
    def lost_after(self) -> float:
        """Three periods, at least 2 s: the client watches it; this is the net below."""
        return self.settings.lost_after or max(3 * getattr(self, "_period", 1.0), 2.0) + 0.5

    def _configure(self, configuration: Configuration) -> None:
        self._stations = self._stations_of(configuration)
        self._period = configuration.period
        self._shown = ()
        self.identify(_words(configuration))
        self.reshape(shape_of(configuration))

    def _stations_of(self, configuration: Configuration) -> Sequence[Station]:
        return stations(configuration, self.settings.angle, self.settings.anunit)

    def _take(self, frame: DataFrame, arrival_ns: int) -> None:
        """Post a frame: all of it as rows, and as single values as often as `scalar_rate` allows or status asks."""
        if not self._stations:
            return
        status = (frame.tq.raw, *(data.stat for data in frame.pmus))
        due = not 0 <= frame.time_ns - self._scalars_at < 0.999e9 / self.settings.scalar_rate or status != self._shown
        values = {}
        for station, data in zip(self._stations, frame.pmus, strict=True):
            doubt = self._policy.judge(data.stat, frame.tq.raw)
            values |= station.values(data, frame.tq, doubt, scalars=due)
        if due:
            if not self._shown or not self.online:
                for station in self._stations:
                    values |= station.installation()
            self._scalars_at, self._shown = frame.time_ns, status
            values["LATE"] = (arrival_ns - frame.time_ns) / 1e9
        if self._header is not None:
            values["HEADER"], self._header, due = self._header, None, True
        self.post(frame.time_ns, values, scalars=due)
        now = time.monotonic()
        if now - self._counted[0] >= 1:
            self._count(now)

    def _count(self, now: float) -> None:
        since, frames_then = self._counted
        if now == since:
            return
        self._counted = (now, self._counts.frames)
        rate = (self._counts.frames - frames_then) / (now - since)
        self.post(time.time_ns(), {"RATE": rate, **count_values(self._counts)})


def _words(configuration: Configuration) -> str:
    """Say what a stream is."""
    rate = f"{configuration.data_rate}/s" if configuration.data_rate > 0 else f"one each {-configuration.data_rate} s"
    kind = {FrameType.CFG1: "CFG-1", FrameType.CFG2: "CFG-2"}.get(configuration.type, "CFG-3")
    pmus = configuration.pmus
    phasors = sum(len(pmu.phasors) for pmu in pmus)
    hertz = " and ".join(sorted({f"{pmu.nominal} Hz" for pmu in pmus}))
    names = f"{len(pmus)} PMUs (IDCODE {configuration.idcode})"
    if len(pmus) == 1:
        names = " ".join(f"{pmu.station} (IDCODE {pmu.idcode})" for pmu in pmus)
    return f"{names}, {phasors} phasors, {rate}, {hertz}, {kind}"


def _client(settings: PmuSettings, configuration: Configuration | None = None, **more: Any) -> Client:
    link = stream_address(settings.link)
    return Client(
        link_of(link, stream_address(settings.data) if settings.data else None, settings.idcode),
        settings.idcode,
        configuration,
        lost_after=settings.lost_after,
        asks=not comes_by_itself(link),
        cfg3=settings.configuration == "cfg3",
        header=settings.header,
        reorder_wait=settings.reorder_wait,
        ahead=settings.max_ahead,
        **more,
    )


def _configuration(shape: str) -> Configuration:
    return decode_whole(bytes.fromhex(shape))


def shape_of(configuration: Configuration) -> str:
    """Give a configuration as what is kept: its frame (or frames) without the instant at which it was sent."""
    kind = FrameType.CFG3 if configuration.type is FrameType.CFG3 else FrameType.CFG2
    return encode_whole(replace(configuration, type=kind, soc=0, fracsec=0, tq=TimeQuality(0))).hex()
