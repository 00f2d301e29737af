"""A Channel Access client that behaves, beside those that do not: what it notices is the server's fault."""

import threading
import time

from tests.processes import DEADLINE
from tests.raw_ca import Command, RawClient, get, subscribe


class Witness(threading.Thread):
    """A client that behaves, in a thread: it watches counting PVs and reads one again and again.

    Attributes:
        updates: events received, all PVs together.
        lost: values that were jumped over.
        slowest_get: s.
    """

    def __init__(self, port: int, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.updates = self.lost = 0
        self.slowest_get = 0.0
        self._client = RawClient(port)
        sids = self._client.channels(names)
        self._client.send(*(subscribe(sid, number) for number, sid in enumerate(sids)))
        self._sid = sids[0]
        self._last: dict[int, float] = {}
        self._failure: BaseException | None = None
        self._stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self.join()
        self._client.socket.close()

    def run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # noqa: BLE001  (told by `check`)
            self._failure = error

    def _watch(self) -> None:
        asked: float | None = None
        pause_until = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if asked is None and now >= pause_until:
                self._client.send(get(self._sid))
                asked = now
            try:
                received = self._client.receive(0.05)
            except TimeoutError:
                continue
            assert received is not None, "the server closed the connection of a client that behaved"
            if received.command == Command.READ_NOTIFY and asked is not None:
                now = time.monotonic()
                self.slowest_get = max(self.slowest_get, now - asked)
                asked, pause_until = None, now + 0.02
            elif received.command == Command.EVENT_ADD:
                value = received.double
                self.lost += round(value - self._last.get(received.second, value - 1) - 1)
                self._last[received.second] = value
                self.updates += 1
            if asked is not None:
                self.slowest_get = max(self.slowest_get, time.monotonic() - asked)

    def more(self, updates: int, deadline: float = DEADLINE) -> None:
        """Wait for so many more updates."""
        wanted, end = self.updates + updates, time.monotonic() + deadline
        while self.updates < wanted:
            if self._failure is not None:
                raise AssertionError("the witness was hurt") from self._failure
            assert time.monotonic() < end, f"{updates} more updates did not come within {deadline} s"
            time.sleep(0.005)

    def check(self, slowest_get: float = 1.0) -> None:
        """Fail if it lost an update, or had to wait."""
        if self._failure is not None:
            raise AssertionError("the witness was hurt") from self._failure
        assert self.lost == 0, f"a client that behaved lost {self.lost} of {self.updates} updates"
        assert self.slowest_get < slowest_get, f"a client that behaved waited {self.slowest_get:.2f} s for a get"
