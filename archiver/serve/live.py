"""What happens now, for the page: each PV of the site is watched once, however many look."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from archiver.history import kept_catalogues
from archiver.serve.board import BIN, BINS, Board, shown, thinned, watched
from archiver.serve.mailbox import Mailbox
from archiver.serve.watching import Watching
from iocs.ca import statistics
from iocs.ca.client import Watch
from iocs.config import ARCHIVER, Site
from iocs.signals import Catalogue, Reading, Signal

log = logging.getLogger(__name__)

QUIET = 2.0  # s without news after which a viewer is told that there are none
UNASKED = 10.0  # s after which an array that nobody asked for again is watched no longer
MOST_POINTS = 1200  # of a curve
MOST_ARRAYS = 64  # watched at a time


class Live:
    """The devices of a site, and who looks at them. All but the constructor runs in the loop of `watching`.

    Args:
        site: the site.
        watching: where PVs are watched.
    """

    def __init__(self, site: Site, watching: Watching) -> None:
        self.board = Board()
        self._site, self._watching = site, watching
        names = [device.name for device in site.devices]
        self._names = [*names, *statistics.likely(site.prefix, names), ARCHIVER]
        self._viewers: list[Mailbox] = []
        self._watches: dict[str, dict[str, Watch]] = {}
        self._arrays: dict[str, tuple[Watch, float]] = {}
        self._told_at = 0.0
        self._bad: dict[str, str] = {}

    def start(self) -> None:
        """Begin to watch: first what the devices were when the archiver last saw them, then what they say."""
        kept = kept_catalogues(self._site)
        for name in self._names:
            if name in kept:
                self._learn(name, kept[name])
            self._watching.client.watch(f"{self._site.prefix}{name}:PVS", self._listener(name))
        self._watching.tellers.append(self._tell)

    def _listener(self, name: str) -> Callable[[Reading], None]:
        def on_reading(reading: Reading) -> None:
            connected = reading.connected and isinstance(reading.value, str) and reading.value != ""
            if connected and reading.value != self._bad.get(name):
                try:
                    self._learn(name, Catalogue.from_json(reading.value))
                except ValueError as error:
                    self._bad[name] = reading.value
                    log.error("%s%s:PVS does not hold a catalogue: %s", self._site.prefix, name, error)
            if connected is not (name in self.board.connected):
                (self.board.connected.add if connected else self.board.connected.discard)(name)
                self._send("link", {"device": name, "connected": connected})

        return on_reading

    def _learn(self, name: str, catalogue: Catalogue) -> None:
        if catalogue == self.board.devices.get(name):
            return
        self.board.learn(name, catalogue)
        watches, signals, wanted = self._watches.setdefault(name, {}), shown(catalogue), watched(catalogue)
        for pv in set(watches) - set(wanted):
            watches.pop(pv).end()
        for pv, asked in wanted.items():
            if pv in watches:
                watches[pv].end()
            watches[pv] = self._watching.client.watch(asked, self._taker(pv, signals[pv]))
        self._send("device", self._device(name))

    def _taker(self, pv: str, signal: Signal) -> Callable[[Reading], None]:
        return lambda reading: self.board.take(pv, signal, reading)

    # -- viewers

    def enter(self, mailbox: Mailbox) -> None:
        """Let a viewer have all there is, and from then on what changes."""
        devices = [self._device(name) for name in self.board.devices]
        mailbox.put(_event("devices", {"site": self._site.name, "prefix": self._site.prefix, "devices": devices}))
        mailbox.put(_event("values", {"now": _now(), "values": self.board.everything()}))
        self._viewers.append(mailbox)

    def _device(self, name: str) -> dict[str, Any]:
        return {**self.board.device(name), "place": self._names.index(name)}

    def leave(self, mailbox: Mailbox) -> None:
        """Let a viewer go."""
        self._viewers.remove(mailbox)

    def sparks(self, device: str) -> dict[str, Any]:
        """Give the last hour of a device's numbers.

        Raises:
            LookupError: there is no such device.
        """
        now = _now()
        return {"now": now, "every": BIN, "sparks": self.board.sparks(device, now / 1000 - BIN * BINS)}

    def curve(self, names: list[str]) -> dict[str, Any]:
        """Give arrays of the site as they are now, x before y; they are watched as long as somebody asks.

        Raises:
            LookupError: a name is no array of the site, or there is none.
        """
        if not names:
            raise LookupError("of which array? write /live/curve?y=NAME, or x=NAME&y=NAME")
        arrays = {pv for each in self.board.devices.values() for pv, signal in shown(each).items() if signal.count > 1}
        for name in names:
            if name not in arrays:
                raise LookupError(f"{name} is no array of this site")
        readings = [self._array(name) for name in names]
        if not all(reading.connected and hasattr(reading.value, "__len__") for reading in readings):
            return {"x": [], "y": []}
        y = readings[-1]
        x = readings[0].value if len(readings) == 2 else np.arange(len(y.value))
        thin = thinned(x, y.value, MOST_POINTS)
        return {"x": thin[0], "y": thin[1], "severity": int(y.severity), "ms": y.time_ns // 10**6}

    def _array(self, name: str) -> Reading:
        now = self._watching.loop.time()
        if name not in self._arrays:
            if len(self._arrays) >= MOST_ARRAYS:
                raise LookupError(f"{MOST_ARRAYS} arrays are looked at already")
            self._arrays[name] = self._watching.client.watch(name, lambda reading: None), now
        watch = self._arrays[name][0]
        self._arrays[name] = watch, now
        return watch.reading

    def _tell(self, now: float) -> None:
        for name, (watch, asked) in list(self._arrays.items()):
            if now - asked > UNASKED:
                watch.end()
                del self._arrays[name]
        changes = self.board.changes()
        if changes or now - self._told_at > QUIET:
            self._told_at = now
            self._send("values", {"now": _now(), "values": changes})

    def _send(self, event: str, data: dict[str, Any]) -> None:
        if self._viewers:
            message = _event(event, data)
            for mailbox in self._viewers:
                mailbox.put(message)


def _now() -> int:
    return time.time_ns() // 10**6


def _event(name: str, data: dict[str, Any]) -> bytes:
    """Write a server-sent event (HTML Living Standard, 9.2)."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"event: {name}\ndata: {text}\n\n".encode()
