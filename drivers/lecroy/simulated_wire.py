"""A VXI-11 server on real TCP for the simulated scope: core channel, abort channel, port mapper if wanted.

Each connection has a thread, so that payloads leave from where they lie. Messages are executed in order by one thread,
as the scope's parser does: a WAIT in one link's message holds up those of all.
"""

import contextlib
import queue
import socket
import threading
from typing import Self

from drivers.lecroy.faults import Faults
from drivers.lecroy.simulated_calls import ABORT, CORE, MAPPER, Connection, Link
from drivers.lecroy.simulated_commands import Commands
from drivers.lecroy.simulated_rpc import Gone
from drivers.lecroy.simulated_scope import SimulatedScope

_MOST_LINKS = 16
QUERY_ERROR = 4  # bit of ESR


class Simulator:
    """A scope on the network. Use it as `with Simulator() as simulator:`, connect to `simulator.address`.

    Args:
        scope: None = a new one.
        host, port: where it listens; port 0 = any free one.
        mapper_port: where its port mapper listens; None = it has none, 0 = any free one.

    Attributes:
        scope, faults: may be changed; hold `scope.changed` while doing so.
        messages: all that was executed, in order.
    """

    def __init__(
        self,
        scope: SimulatedScope | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        mapper_port: int | None = None,
    ) -> None:
        self.scope = scope or SimulatedScope()
        self.faults = Faults()
        self.host, self.port, self.mapper_port, self.abort_port = host, port, mapper_port, 0
        self.messages: list[str] = []
        self.commands = Commands(self.scope, self.faults)
        self.changed = self.scope.changed
        self.links: dict[int, Link] = {}
        self.lock_holder: Link | None = None
        self._next_link = 0
        self._listeners: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._queue: queue.SimpleQueue[tuple[Link, int, bytes] | None] = queue.SimpleQueue()
        self._parser: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where a client finds it."""
        return f"vxi11://{self.host}:{self.port}/inst0"

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def power_on(self) -> None:
        """Listen; the settings are what they were."""
        if self._parser is not None:
            return
        self.port = self._listen(self.port, CORE)
        self.abort_port = self._listen(self.abort_port, ABORT)
        if self.mapper_port is not None:
            self.mapper_port = self._listen(self.mapper_port, MAPPER)
        self._queue = queue.SimpleQueue()
        self._parser = threading.Thread(target=self._parse, args=(self._queue,), daemon=True)
        self._parser.start()

    def power_off(self) -> None:
        """Cut all connections and stop listening; what is in memory is gone."""
        if self._parser is None:
            return
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners.clear()
        self.drop()
        with self.changed:
            self.commands.cancelled = True
            self.changed.notify_all()
        self._queue.put(None)
        self._parser.join()
        self._parser = None
        with self.changed:
            self.scope.power_on()

    def drop(self) -> None:
        """Cut all connections."""
        with self.changed:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def _listen(self, port: int, program: int) -> int:
        listener = socket.create_server((self.host, port))
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, program), daemon=True).start()
        return listener.getsockname()[1]

    def _accept(self, listener: socket.socket, program: int) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # closed
            connection = Connection(self, sock, program)
            with self.changed:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: "Connection") -> None:
        try:
            connection.serve()
        except (OSError, Gone):
            pass  # the client, or power, has gone
        finally:
            with self.changed:
                self._connections.discard(connection)
                for link in [link for link in self.links.values() if link.connection is connection]:
                    self.end_link(link)
            connection.close()

    def make_link(self, connection: "Connection") -> Link | None:
        """Make a link; None = there are too many."""
        if self.faults.links_full or len(self.links) >= _MOST_LINKS:
            return None
        link = self.links[self._next_link] = Link(self._next_link, connection)
        self._next_link += 1
        return link

    def end_link(self, link: Link) -> None:
        """End a link; its lock goes with it."""
        self.links.pop(link.number, None)
        self.break_off(link)
        if self.lock_holder is link:
            self.lock_holder = None
        self.changed.notify_all()

    def break_off(self, link: Link) -> None:
        """Forget what the link has said and was to hear, and wake whoever waits."""
        link.aborted = True
        link.clears += 1
        link.coming.clear()
        link.reply = memoryview(b"")
        if link.pending:
            self.commands.cancelled = True
        self.changed.notify_all()

    def take(self, link: Link, message: bytes) -> None:
        """Have a message executed. A reply that was not read is lost, as the scope says by ESR's query error."""
        if link.reply:
            link.reply = memoryview(b"")
            self.scope.status.ESR |= QUERY_ERROR
        link.pending += 1
        self._queue.put((link, link.clears, message))

    def _parse(self, messages: "queue.SimpleQueue[tuple[Link, int, bytes] | None]") -> None:
        while (item := messages.get()) is not None:
            link, clears, message = item
            with self.changed:
                if link.clears == clears:
                    self.messages.append(message.decode("latin-1").strip())
                    reply = self.commands.execute(message)
                    if link.clears == clears:
                        link.reply = memoryview(reply)
                link.pending -= 1
                self.changed.notify_all()
