"""What waits for one client that is written to as things happen: bounded, and a client that is slow is let go."""

import threading
from collections import deque
from collections.abc import Callable

MOST = 4_000_000  # bytes that may wait for one client


class Mailbox:
    """Messages from the loop that watches to the thread that writes to one client.

    Args:
        on_slow: ends the client's connection; called once, when more waits than may.
        most: bytes that may wait.

    Attributes:
        slow: whether the client was let go because it did not read.
    """

    def __init__(self, on_slow: Callable[[], None], most: int = MOST) -> None:
        self._on_slow, self._most = on_slow, most
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self.slow = False

    def put(self, message: bytes) -> None:
        """Add a message; never waits."""
        with self._changed:
            if self._closed:
                return
            if self._waiting and self._bytes + len(message) > self._most:  # one alone may be as long as it is
                self.slow = self._closed = True
                self._waiting.clear()
            else:
                self._waiting.append(message)
                self._bytes += len(message)
            self._changed.notify()
        if self.slow:
            self._on_slow()

    def take(self) -> bytes | None:
        """Wait for a message; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            message = self._waiting.popleft()
            self._bytes -= len(message)
            return message

    def close(self) -> None:
        """Let `take` end once all is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
