"""The face of the server: signals go in, PVs come out."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from iocs.ca.access import Access
from iocs.ca.putlog import PutLog
from iocs.ca.server.circuit import Client
from iocs.ca.server.context import Context, Counts, check_version
from iocs.ca.server.limits import Limits
from iocs.ca.server.pv import OnRefused, Put, Pv, Urgent, tell
from iocs.signals import Reading, Signal, Status

log = logging.getLogger(__name__)

FAREWELL = 1.0  # s; how long the end waits for clients that still take what they were sent


class Server:
    """The PVs of one process.

    Attributes:
        interfaces: addresses to listen on.
        port: TCP port in use, once started (EPICS_CAS_SERVER_PORT or EPICS_CA_SERVER_PORT if free, else another).
    """

    def __init__(
        self,
        interfaces: Iterable[str] = ("127.0.0.1",),
        *,
        access: Access | None = None,
        put_log: PutLog | None = None,
        limits: Limits | None = None,
        port: int | None = None,
    ) -> None:
        """`port`: TCP port to listen on and no other; None: the usual one if it is free, else any."""
        self.interfaces = list(interfaces)
        self._pvs: dict[str, Pv] = {}
        self._watchers: dict[str, list[Callable[[Reading], None]]] = {}  # they stay when a PV is served anew
        self._context = Context(self._pvs, self.interfaces, limits or Limits(), access, put_log)
        self._context.fixed_port = port
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int | None:
        """TCP port in use, None before the start."""
        return self._context.tcp_port or None

    @property
    def names(self) -> list[str]:
        """Names of all PVs served now."""
        return list(self._pvs)

    @property
    def counts(self) -> Counts:
        """What has been counted up to now."""
        return self._context.counted()

    def clients(self) -> list[Client]:
        """Give who is connected now."""
        return [circuit.client for circuit in self._context.circuits]

    def rights_changed(self) -> None:
        """Tell every client its rights anew, where they have changed."""
        for circuit in tuple(self._context.circuits):
            circuit.rights_changed()

    def serve(
        self,
        prefix: str,
        signals: Iterable[Signal],
        put: Put | None = None,
        on_refused: OnRefused | None = None,
        urgent: Urgent | None = None,
    ) -> None:
        """Add PVs, UDF and INVALID until the first post. Who has searched for one of them is answered.

        Args:
            prefix: what stands before each signal's name.
            signals: what to serve.
            put: called for every put of a setpoint or command, with what the client sent; it checks the value
                (`signals.acceptable`), carries it out, and raises Refused if it does not.
            on_refused: called for every put that was refused, whether `put` refused it or was not even asked (no right,
                a readback, a field, no value, too many), with the name that the client used, the value (None where it
                was not understood), who, and why.
            urgent: says of a put, with what the client sent, whether it is carried out at once, whatever other puts
                wait or are under way; without it puts to one PV take turns.

        Raises:
            ValueError: a name is served already.
        """
        for signal in signals:
            name = prefix + signal.name
            if name in self._pvs:
                raise ValueError(f"PV {name} is served already")
            pv = self._pvs[name] = Pv(name, signal, put if signal.writable else None, on_refused)
            pv.urgent = urgent
            pv.watchers = self._watchers.get(name, pv.watchers)
        self._context.search.prefix(prefix)
        # At the end of the turn: what is posted along with it is there when clients come.
        if self._serving is not None:
            asyncio.get_running_loop().call_soon(self._context.search.appeared)
            self._context.beacons.restart()

    def describe(self, prefix: str, signals: Iterable[Signal]) -> None:
        """Change what is told of PVs that stay: unit, limits, alarm limits, precision, labels, deadbands, words.

        Clients keep their channels; who asked for PROPERTY events gets one, and who watches a field its new value.

        Raises:
            KeyError: a name is not served.
            ValueError: clients were told another type (`signals.same_type`): withdraw the PV and serve it anew.
        """
        for signal in signals:
            self._pvs[prefix + signal.name].describe(signal)

    def withdraw(self, names: Iterable[str]) -> None:
        """Take PVs out of service; clients are told at once.

        Whoever watches in this process gets a last reading with `connected` False.
        """
        for name in set(names):
            self._pvs.pop(name).disconnect()

    def post(self, prefix: str, time_ns: int, values: Mapping[str, Any]) -> None:
        """Post a batch of values that were taken together. To be called in the event loop; it does not wait.

        Args:
            prefix: what stands before each name.
            time_ns: when the values were taken, ns since 1970.
            values: by signal name; a value or `Bad`. What is not of its kind makes that PV INVALID, logged once.
                An array is not copied and must not be changed after this.

        Raises:
            KeyError: a name is not served; nothing after it is posted.
        """
        pvs = self._pvs
        for name, value in values.items():
            pvs[prefix + name].post(value, time_ns)

    def invalidate(self, names: Iterable[str], status: Status) -> None:
        """Make PVs INVALID with the given status, keeping their last value and stamp."""
        for name in names:
            self._pvs[name].invalidate(status)

    def reading(self, name: str) -> Reading | None:
        """Give the newest reading of a PV, None if it is not served here."""
        pv = self._pvs.get(name)
        return pv.reading if pv else None

    def states(self, name: str) -> tuple[str, ...] | None:
        """Give the names of a PV's states, empty if it is no enum; None if it is not served here."""
        pv = self._pvs.get(name)
        return pv.signal.states if pv else None

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> Callable[[], None]:
        """Call `on_reading` now and at every event of a PV served here; gives the function that ends it.

        When the PV is withdrawn and served anew, the watcher hears of both.

        Raises:
            KeyError: the PV is not served here.
        """
        pv = self._pvs[name]
        pv.watchers = self._watchers.setdefault(name, pv.watchers)
        pv.watchers.append(on_reading)
        tell(on_reading, name, pv.reading)

        def close() -> None:
            with contextlib.suppress(ValueError):
                pv.watchers.remove(on_reading)

        return close

    async def start(self) -> None:
        """Open the sockets and begin to serve.

        Raises:
            OSError: an address cannot be used; the text says which.
        """
        check_version()
        self._serving = asyncio.create_task(self._context.run(startup_hook=self._context.started))
        ready = asyncio.create_task(self._context.ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            error = self._serving.exception()
            at = f" port {port}" if (port := self._context.fixed_port) is not None else ""
            raise OSError(f"cannot serve on {', '.join(self.interfaces)}{at}: {error}") from error

    async def wait(self) -> None:
        """Wait until serving ends; it should not, so this ends with the reason as an exception."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Send what is still to be sent, then close all connections."""
        circuits = tuple(self._context.circuits)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while not all(circuit.idle for circuit in circuits if circuit.connected):  # noqa: ASYNC110  (nothing tells when the last byte has gone)
                    await asyncio.sleep(0.01)
        for circuit in circuits:
            circuit.close()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
