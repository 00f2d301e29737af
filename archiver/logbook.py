"""What the archiver says about its work in its log: the counts, and what it cannot find."""

import logging
import os
from typing import Protocol

from archiver.device_recorder import DeviceRecorder
from archiver.foreign_pv import ForeignPv
from archiver.outlet import Outlet
from archiver.pv_recorder import PvRecorder

log = logging.getLogger(__name__)


class Works(Protocol):
    """What there is to tell of."""

    devices: list[DeviceRecorder]
    pvs: dict[str, PvRecorder]
    foreign: list[ForeignPv]
    outlets: list[Outlet]


class Logbook:
    """The log of one recorder."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._said: dict[str, str] = {}

    def say_counts(self, when: str = "") -> None:
        """Log the counts that have changed."""
        told = {row.source.pv: row.counts() for device in self._works.devices for row in device.rows.values()}
        if single := self._works.pvs.values():
            seen, repeats = sum(pv.seen for pv in single), sum(pv.repeats for pv in single)
            recorded = sum(pv.recorded for pv in single)
            text = f"{seen} events, {recorded} recorded, {repeats} repeats"
            if refused := sum(pv.refused for pv in self._works.foreign):
                text += f", {refused} refused as simulated"
            told[f"{len(single)} single PVs"] = text
        for outlet in self._works.outlets:
            counts = outlet.counts()
            dropped = "".join(f", {count} dropped ({reason})" for reason, count in counts.dropped.items())
            told[outlet.sink.name] = f"{counts.seen} seen, {counts.written} written, {counts.waiting} waiting{dropped}"
        for who, text in told.items():
            if when or self._said.get(who) != text:
                self._said[who] = text
                log.info("%s: %s%s", who, when, text)

    def say_not_found(self) -> None:
        """Log what was not found, and where it is searched."""
        silent = [device.pvs for device in self._works.devices if device.catalogue is None and device.expected]
        silent += [pv.recorder.source.pv for pv in self._works.foreign if not pv.connected]
        if silent:
            addresses = os.environ.get("EPICS_CA_ADDR_LIST", "")
            where = f"EPICS_CA_ADDR_LIST is {addresses!r}" if addresses else "EPICS_CA_ADDR_LIST is not set"
            log.warning(
                "no answer yet for %s (%s). Is 'python -m iocs run' running? If it runs on another host, set "
                "EPICS_CA_ADDR_LIST to that host's address. The search goes on",
                ", ".join(silent),
                where,
            )
