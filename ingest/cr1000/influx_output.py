"""A station's points in InfluxDB, through the archiver's sink: what is written again is the same point."""

import http.client
import json
import logging
import time
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from archiver.sinks.influx import Influx
from archiver.sinks.sink import Verdict
from ingest.cr1000 import influx_text
from ingest.cr1000.columns import Chunk
from iocs.archive_tables import InfluxTable

log = logging.getLogger(__name__)

PAUSE, LONGEST_PAUSE = 0.2, 5.0  # s between attempts
NEVER, EVER = -(2**63) + 2**20, 2**63 - 2**20  # what InfluxDB takes as times


class NotWritten(Exception):
    """The server takes nothing; the text says why."""


class InfluxOutput:
    """Takes rows, in any order.

    Args:
        table: where the server is, as `[archive.influx]` says it.
        station: the tag.
        measurement: of the points.
        patience: s to wait for a server that is away.

    Raises:
        LookupError: the token is not to be had, or influxdb-client is not installed.

    Attributes:
        points: that were written.
        refused: points that the server refuses for ever.
    """

    def __init__(
        self, table: InfluxTable, station: str, measurement: str = influx_text.MEASUREMENT, patience: float = 60.0
    ) -> None:
        self._table, self._station, self._measurement, self._patience = table, station, measurement, patience
        self._sink = Influx(table)
        self._start = influx_text.start_of(station, measurement)
        self._waiting: list[bytes] = []
        self._size = 0
        self.points = self.refused = 0

    def take(self, chunk: Chunk, text: bytes | None = None) -> None:
        """Take rows, and what `influx_text.lines` gives of them where it is known.

        Raises:
            NotWritten: the server was away for too long.
        """
        lines = influx_text.lines(chunk, self._start) if text is None else text
        most = self._sink.most_bytes
        while lines:
            cut = len(lines) if len(lines) <= most else lines.rfind(b"\n", 0, most) + 1 or len(lines)
            if self._size and self._size + cut > most:
                self._flush()
            self._waiting.append(lines[:cut])
            self._size += cut
            lines = lines[cut:]

    def finish(self) -> None:
        """Write what waits.

        Raises:
            NotWritten: the server was away for too long.
        """
        self._flush()
        self._sink.close()

    def abandon(self) -> None:
        """Let go of the server; what was written is written."""
        self._sink.close()

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            self._write(data)

    def _write(self, data: bytes) -> None:
        end, pause = time.monotonic() + self._patience, PAUSE
        while True:
            outcome = self._sink.write(data)
            match outcome.verdict:
                case Verdict.WRITTEN:
                    self.points += data.count(b"\n")
                    return
                case Verdict.LATER:
                    if time.monotonic() + pause > end:
                        raise NotWritten(f"{self._table.url} takes nothing: {outcome.reason}; run it again later")
                    time.sleep(max(pause, min(outcome.wait, LONGEST_PAUSE)))
                    pause = min(2 * pause, LONGEST_PAUSE)
                case _:
                    parts = self._sink.split(data) if outcome.verdict is Verdict.SPLIT else []
                    if len(parts) < 2:
                        self.refused += data.count(b"\n")
                        log.error("influx: %s refuses %s: %s", self._table.url, data[:200], outcome.reason)
                        return
                    for part in parts:
                        self._write(part.data)
                    return

    def remove(self, first_ns: int = NEVER, last_ns: int = EVER) -> None:
        """Remove all points of the station from a time up to and including another.

        Raises:
            NotWritten: the server does not.
            LookupError: the token is not to be had.
        """
        where = {"_measurement": self._measurement, **influx_text.tags(self._station)}
        if self._table.version == 1:
            tags = " AND ".join(f"\"{name}\" = '{_quoted(text)}'" for name, text in list(where.items())[1:])
            text = f'DELETE FROM "{self._measurement}" WHERE {tags} AND time >= {first_ns} AND time <= {last_ns}'
            self._ask("/query", {"db": self._table.bucket, "q": text}, b"")
            return
        predicate = " AND ".join(f'{name}="{text}"' for name, text in where.items())
        body = {"start": _rfc3339(first_ns), "stop": _rfc3339(last_ns), "predicate": predicate}
        where_to = {"org": self._table.org, "bucket": self._table.bucket}
        self._ask("/api/v2/delete", where_to, json.dumps(body).encode())

    def _ask(self, path: str, words: dict[str, str], body: bytes) -> None:
        url, token = urlsplit(self._table.url), self._table.token()
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=self._table.timeout)
        version2 = f"Token {token}"
        allowed = version2 if self._table.version == 2 else "Basic " + b64encode(token.encode()).decode()
        headers = {"Content-Type": "application/json", **({"Authorization": allowed} if token else {})}
        try:
            connection.request("POST", f"{url.path}{path}?{urlencode(words)}", body, headers)
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotWritten(
                f"{self._table.url}: old points cannot be removed: {type(error).__name__} {error}"
            ) from error
        finally:
            connection.close()
        if answer.status >= 300 or b'"error"' in told:
            reason = told[:200].decode(errors="replace")
            raise NotWritten(f"{self._table.url} answers {answer.status}: old points cannot be removed: {reason}")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _rfc3339(time_ns: int) -> str:
    """Write a time for version 2, to the second that holds it or, of an open end, as far as its days go."""
    seconds = min(max(time_ns // 10**9, -(2**33)), 9_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"
