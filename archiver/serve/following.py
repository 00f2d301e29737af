"""Those who follow PVs by the pvws protocol: what each wants, and what it has been told. All of it runs in the loop."""

import asyncio
import json
import logging
from typing import Any

from archiver.serve import pvws
from archiver.serve.mailbox import Mailbox
from archiver.serve.watching import Watching
from iocs.ca.client import NOTHING, Watch
from iocs.ca.metadata import Metadata
from iocs.signals import Reading

log = logging.getLogger(__name__)

READ_WITHIN = 5.0  # s for reading what a PV is
ARRAY_EVERY = 1.0  # s between updates of an array
MOST_FOLLOWED = 20_000  # PVs that all clients together may follow


class Followed:
    """One PV that is followed: what it is, its newest reading, who wants it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.watch: Watch
        self.metadata: Metadata | None = None
        self.asking: asyncio.Task[None] | None = None
        self.followers: dict[Session, None] = {}


class Follow:
    """The PVs that all clients follow, each watched once.

    Args:
        watching: the loop.
    """

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._pvs: dict[str, Followed] = {}

    def add(self, name: str, session: "Session") -> None:
        """Let a session have a PV.

        Raises:
            ValueError: it cannot be one, or there are too many.
        """
        pv = self._pvs.get(name)
        if pv is None:
            if len(self._pvs) >= MOST_FOLLOWED:
                raise ValueError(f"{MOST_FOLLOWED} PVs are followed already; {name} is one too many")
            pv = Followed(name)
            pv.watch = self._watching.client.watch(name, lambda reading: self._take(pv, reading))
            self._pvs[name] = pv
        pv.followers[session] = None

    def drop(self, name: str, session: "Session") -> None:
        """Take a PV from a session; it is watched no longer when nobody wants it."""
        pv = self._pvs[name]
        pv.followers.pop(session, None)
        if not pv.followers:
            del self._pvs[name]
            pv.watch.end()
            if pv.asking is not None:
                pv.asking.cancel()

    def known(self, name: str) -> tuple[Metadata | None, Reading]:
        """Give what is known of a PV that is followed."""
        pv = self._pvs[name]
        return pv.metadata, pv.watch.reading

    def _take(self, pv: Followed, reading: Reading) -> None:
        if not reading.connected:
            pv.metadata = None if pv.asking is None else pv.metadata
        elif pv.metadata is None and pv.asking is None:
            pv.asking = self._watching.loop.create_task(self._ask(pv))
        for session in pv.followers:
            session.changed(pv.name)

    async def _ask(self, pv: Followed) -> None:
        """Read what a PV is."""
        try:
            pv.metadata = await self._watching.client.metadata(pv.name, READ_WITHIN)
        except (TimeoutError, PermissionError) as error:
            log.info("%s: what it is cannot be read: %s", pv.name, error)
        finally:
            pv.asking = None
        for session in pv.followers:
            session.changed(pv.name)


class Session:
    """One client: what it follows, and what it has been told.

    Args:
        follow: the PVs of all clients.
        mailbox: where messages to the client go.
    """

    def __init__(self, follow: Follow, mailbox: Mailbox) -> None:
        self._follow, self._mailbox = follow, mailbox
        self._names: dict[str, str] = {}  # as the client writes it -> the PV
        self._aliases: dict[str, list[str]] = {}
        self._told: dict[str, Metadata | None] = {}
        self._changed: dict[str, None] = {}
        self._array_at: dict[str, float] = {}

    def take(self, text: str | bytes) -> None:
        """Do what a message asks for; mistakes are told to the client."""
        try:
            request = pvws.parse(text)
        except ValueError as error:
            self._say(pvws.failure(str(error)))
            return
        match request.type:
            case "subscribe":
                for name in request.pvs:
                    self._subscribe(name)
            case "clear":
                for name in request.pvs:
                    self._clear(name)
            case "list":
                self._say({"type": "list", "pvs": list(self._names)})
            case "echo":
                self._mailbox.put(text if isinstance(text, bytes) else text.encode())

    def _subscribe(self, name: str) -> None:
        if name in self._names:
            return
        try:
            if len(self._names) >= pvws.MOST_PVS:
                raise ValueError(f"{name}: {pvws.MOST_PVS} PVs are the most for one client")
            pv = pvws.channel_access_name(name)
            self._follow.add(pv, self)
        except ValueError as error:
            self._say(pvws.failure(str(error)))
            return
        self._names[name] = pv
        self._aliases.setdefault(pv, []).append(name)
        self._told.pop(name, None)
        self._changed[pv] = None

    def _clear(self, name: str) -> None:
        pv = self._names.pop(name, None)
        if pv is None:
            return
        self._told.pop(name, None)
        self._aliases[pv].remove(name)
        if not self._aliases[pv]:
            del self._aliases[pv]
            self._changed.pop(pv, None)
            self._follow.drop(pv, self)

    def close(self) -> None:
        """End all subscriptions."""
        for name in list(self._names):
            self._clear(name)

    def changed(self, pv: str) -> None:
        """Note that there is something new of a PV."""
        self._changed[pv] = None

    def tell(self, now: float) -> None:
        """Send what has changed since the last time, of each PV its newest value."""
        late: dict[str, None] = {}
        for pv in self._changed:
            metadata, reading = self._follow.known(pv)
            if metadata is None and reading.connected:
                late[pv] = None  # it comes with what the PV is
                continue
            if metadata is not None and metadata.count > 1:
                if now - self._array_at.get(pv, 0.0) < ARRAY_EVERY:
                    late[pv] = None
                    continue
                self._array_at[pv] = now
            for name in self._aliases.get(pv, ()):
                self._tell(name, metadata, reading)
        self._changed = late

    def _tell(self, name: str, metadata: Metadata | None, reading: Reading) -> None:
        if metadata is None or reading is NOTHING or not reading.connected:
            self._told.pop(name, None)
            self._say({"type": "update", "pv": name, "severity": "UNDEFINED", "readonly": True})
            return
        message = pvws.update(name, reading, metadata)
        if self._told.get(name) is not metadata:
            message = {**pvws.first(name, metadata), **message}
            self._told[name] = metadata
        self._say(message)

    def _say(self, message: dict[str, Any]) -> None:
        self._mailbox.put(json.dumps(message, separators=(",", ":"), allow_nan=False).encode())
