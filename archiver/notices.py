"""What is worth waking somebody for (pure): which troubles there are, when each is told, and how many at a time.

A trouble is told once when it has lasted long enough, and once when it is over. At most so many messages are sent in an
hour; what is beyond is told with the next one.
"""

from collections import deque
from dataclasses import dataclass, field

HOUR = 3600.0


@dataclass(slots=True)
class _Trouble:
    text: str
    since: float
    told: bool = False


@dataclass(slots=True)
class Notices:
    """The troubles there are.

    Attributes:
        most_per_hour: messages.
    """

    most_per_hour: int
    _troubles: dict[str, _Trouble] = field(default_factory=dict)
    _news: list[str] = field(default_factory=list)
    _sent: deque[float] = field(default_factory=deque)

    def bad(self, key: str, text: str, now: float, after: float = 0.0) -> None:
        """Take note of a trouble that is there; it is told when it has lasted for `after` seconds."""
        trouble = self._troubles.setdefault(key, _Trouble(text, now))
        trouble.text = text
        if not trouble.told and now - trouble.since >= after:
            trouble.told = True
            self._news.append(text)

    def good(self, key: str) -> None:
        """Take note that a trouble is not there, or no more."""
        trouble = self._troubles.pop(key, None)
        if trouble is not None and trouble.told:
            self._news.append(f"over: {trouble.text}")

    def due(self, now: float) -> str:
        """Give the message that is to be sent now, empty if there is none. It counts as sent."""
        while self._sent and self._sent[0] <= now - HOUR:
            self._sent.popleft()
        if not self._news or len(self._sent) >= self.most_per_hour:
            return ""
        self._sent.append(now)
        news, self._news = self._news, []
        return "\n".join(news) + "\n"

    @property
    def waiting(self) -> int:
        """Troubles, and ends of troubles, that are not sent yet."""
        return len(self._news)
