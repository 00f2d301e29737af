"""What a logger's web server answers, apart from its sockets: a table that grows by one row each interval."""

import csv
import io
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

MEMORY = 1000  # records that it holds
ERRORS = '{"outcome": 1, "description": "%s"}'  # with HTTP status 200, as the real one


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP; `length` is what its header says, where that is not the truth."""

    status: int
    body: bytes
    length: int | None = None


class SimulatedLogger:
    """Replays the rows of a TOA5 table, with stamps of now and record numbers of its own, over and over.

    Attributes:
        mute: it takes connections and does not answer.
        standing: no rows are added.
        failing: the text of an error with which it answers every command.
        cut: answers end in the middle.
    """

    def __init__(
        self,
        table: Sequence[Sequence[str]],
        interval: float,
        *,
        user: str = "",
        password: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._header, self._rows = table[:4], table[4:]
        if len(self._header) < 4 or not self._rows or self._header[0][0] != "TOA5":
            raise ValueError("not a TOA5 table with rows")
        self._name = self._header[0][-1]
        self._names = list(self._header[1])
        self._interval, self._clock = interval, clock
        self._auth = "Basic " + b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._first = int(clock() / interval) - 100  # it has been on for a while
        self._newest: int | None = None
        self.mute = self.standing = self.cut = False
        self.failing = ""

    def reset(self) -> None:
        """Forget all records, count from 0 again."""
        self._first = self._now

    @property
    def _now(self) -> int:
        if not self.standing or self._newest is None:
            self._newest = int(self._clock() / self._interval)
        return self._newest

    def answer(self, target: str, authorization: str | None) -> Answer:
        """Answer a GET."""
        if self._auth and authorization != self._auth:
            return Answer(401, b"Unauthorized")
        asked = {key: values[-1] for key, values in parse_qs(urlsplit(target).query).items()}
        if self.failing:
            return Answer(200, (ERRORS % self.failing).encode())
        if asked.get("command") != "dataquery" or asked.get("uri") != f"dl:{self._name}":
            return Answer(200, (ERRORS % "Unrecognized request").encode())
        if asked.get("format") != "toa5":
            return Answer(200, (ERRORS % "this simulator knows toa5 alone").encode())
        newest = self._now - self._first
        oldest = max(newest - MEMORY + 1, 0)
        try:
            p1 = int(asked.get("p1", ""))
        except ValueError:
            return Answer(200, (ERRORS % "p1").encode())
        match asked.get("mode"):
            case "most-recent":
                first = max(newest - p1 + 1, oldest)
            case "since-record":
                first = p1 if oldest <= p1 <= newest else oldest
            case _:
                return Answer(200, (ERRORS % "mode").encode())
        body = self._table(range(first, newest + 1))
        return Answer(200, body[: len(body) * 2 // 3], len(body)) if self.cut else Answer(200, body)

    def _table(self, records: range) -> bytes:
        out = io.StringIO()
        quoted = csv.writer(out, quoting=csv.QUOTE_ALL)
        quoted.writerows(self._header)
        for record in records:
            cells = list(self._rows[(self._first + record) % len(self._rows)])
            stamp = datetime.fromtimestamp((self._first + record) * self._interval, UTC)
            told = {"TIMESTAMP": f'"{stamp:%Y-%m-%d %H:%M:%S}{_fraction(stamp)}"', "RECORD": str(record)}
            for column, name in enumerate(self._names):
                cells[column] = told.get(name) or _cell(cells[column])
            out.write(",".join(cells) + "\r\n")
        return out.getvalue().encode()


def _fraction(stamp: datetime) -> str:
    return f".{stamp.microsecond:06d}".rstrip("0") if stamp.microsecond else ""


def _cell(text: str) -> str:
    try:
        float(text)
        return text if text.strip("-+0123456789.eE") == "" else f'"{text}"'
    except ValueError:
        return '"' + text.replace('"', '""') + '"'
