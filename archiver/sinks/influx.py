"""InfluxDB: encoded batches brought to version 1 by plain HTTP, to version 2 by influxdb-client (its retries off).

The spool is the retry. The same point written twice is one point, so an answer that was lost costs nothing.
"""

import gzip
import http.client
import json
import logging
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from archiver.batch import Batch
from archiver.sinks.line_protocol import LineEncoder, by_bucket, halves
from archiver.sinks.point_names import Names
from archiver.sinks.sink import WRITTEN, Encoded, Outcome, Verdict
from iocs.archive_tables import InfluxTable

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 20  # 10,000 points and more
GZIP_LEVEL = 1
CURES = {
    401: "the token is wrong or missing",
    403: "the token may not write there",
    404: "there is no such database or bucket; the archiver makes none",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said.

    Attributes:
        status: of HTTP.
        text: the reason.
        wait: s that it asks us to wait.
    """

    status: int
    text: str = ""
    wait: float = 0.0


class Transport(Protocol):
    """How lines get to a server."""

    def send(self, bucket: str, data: bytes) -> Answer:
        """Send lines.

        Raises:
            OSError: there is no answer.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Version1:
    """`/write` of InfluxDB 1, over one connection that stays."""

    def __init__(self, table: InfluxTable, token: str) -> None:
        url = urlsplit(table.url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=table.timeout)
        self._path = url.path
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if table.gzip:
            self._headers["Content-Encoding"] = "gzip"
        if token:
            self._headers["Authorization"] = "Basic " + b64encode(token.encode()).decode()
        self._gzip = table.gzip

    def send(self, bucket: str, data: bytes) -> Answer:
        """Send lines.

        Raises:
            OSError: there is no answer.
        """
        body = gzip.compress(data, GZIP_LEVEL) if self._gzip else data
        query = urlencode({"db": bucket, "precision": "ns"})
        try:
            self._connection.request("POST", f"{self._path}/write?{query}", body, self._headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise OSError(f"no answer: {type(error).__name__} {error}".rstrip()) from error
        return Answer(answer.status, _reason(text), _seconds(answer.headers.get("Retry-After")))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


class Version2:
    """`/api/v2/write`, by influxdb-client."""

    def __init__(self, table: InfluxTable, token: str) -> None:
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.service.write_service import WriteService

        self._client = InfluxDBClient(
            url=table.url, token=token, org=table.org, timeout=round(table.timeout * 1000), retries=False
        )
        self._service = WriteService(self._client.api_client)
        self._org = table.org
        self._gzip = table.gzip

    def send(self, bucket: str, data: bytes) -> Answer:
        """Send lines.

        Raises:
            OSError: there is no answer.
        """
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        body = gzip.compress(data, GZIP_LEVEL) if self._gzip else data
        encoding = "gzip" if self._gzip else "identity"
        try:
            self._service.post_write(self._org, bucket, body, precision="ns", content_encoding=encoding)  # type: ignore[arg-type]  # bytes are sent as they are
        except ApiException as error:
            headers: Any = error.headers or {}
            return Answer(int(error.status or 0), _reason(error.body or b""), _seconds(headers.get("Retry-After")))
        except HTTPError as error:
            raise OSError(f"no answer: {type(error).__name__}: {error}") from error
        return Answer(204)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class Influx:
    """The InfluxDB store.

    Args:
        table: `[archive.influx]`.
        taken: the last time of each PV in the run before, ns.

    Raises:
        LookupError: the token is not to be had, or influxdb-client is not installed; the text says what to do.

    Attributes:
        fault: why nothing is taken at the moment, empty when all is well.
    """

    name = "influx"
    most_bytes = MOST_BYTES

    def __init__(self, table: InfluxTable, taken: Mapping[str, int] = MappingProxyType({})) -> None:
        self.fault = ""
        self._table = table
        self._token = table.token()
        self._encoder = LineEncoder(Names(table.names, table.point), taken)
        self._transport = self._connect()
        self._fault_since = 0.0

    def _connect(self) -> Transport:
        if self._table.version == 1:
            return Version1(self._table, self._token)
        try:
            return Version2(self._table, self._token)
        except ImportError:
            raise LookupError(
                "[archive.influx] with version = 2 needs influxdb-client: pip install 'countinghouse[influx]'"
            ) from None

    @property
    def moved(self) -> int:
        """Events that got another time stamp, as another event of their PV had theirs."""
        return self._encoder.moved

    def encode(self, batch: Batch) -> Encoded:
        """Give the batch as line protocol."""
        return self._encoder.encode(batch)

    def split(self, data: bytes) -> list[Encoded]:
        """Part the lines into halves."""
        return halves(data)

    def write(self, data: bytes) -> Outcome:
        """Bring lines to the server."""
        for bucket, lines in by_bucket(data, self._table.bucket).items():
            try:
                answer = self._transport.send(bucket, lines)
            except OSError as error:
                return self._later(str(error), 0.0)
            if answer.status not in (200, 204):
                return self._judge(answer, bucket)
        self._heal()
        return WRITTEN

    def refusals(self) -> list[str]:
        """Ask each bucket to take nothing at all: the token is tried, and no point is written.

        Returns:
            Why it would not take points, with what to do; empty: it would.
        """
        found = []
        for bucket in dict.fromkeys([self._table.bucket, *(p.bucket for p in self._table.point.values() if p.bucket)]):
            try:
                answer = self._transport.send(bucket, b"")
            except OSError as error:
                return [f"{error}; is InfluxDB running there, and is the url right?"]
            if answer.status not in (200, 204, 400):  # 400: version 2 wants points, and has nothing else against us
                found.append(_told(answer, bucket))
        return found

    def _judge(self, answer: Answer, bucket: str) -> Outcome:
        if answer.status in (400, 413, 422):  # something among it, or too much of it
            return Outcome(Verdict.SPLIT, f"{answer.status} {answer.text}".strip())
        if answer.status == 401:
            self._renew_token()
        return self._later(_told(answer, bucket), answer.wait)

    def _renew_token(self) -> None:
        """Read the token again: it may have been changed while we run."""
        try:
            token = self._table.token()
        except LookupError as error:
            log.error("influx: %s", error)
            return
        if token != self._token:
            self._token = token
            self._transport.close()
            self._transport = self._connect()
            log.info("influx: the token was changed; it is used from now on")

    def _later(self, reason: str, wait: float) -> Outcome:
        """Say once what is wrong, and again when something else is."""
        if reason != self.fault:
            log.error("influx: %s takes nothing: %s; what comes waits in the spool", self._table.url, reason)
        if not self.fault:
            self._fault_since = time.monotonic()
        self.fault = reason
        return Outcome(Verdict.LATER, reason, wait)

    def _heal(self) -> None:
        if self.fault:
            log.warning("influx: writing again after %.0f s", time.monotonic() - self._fault_since)
            self.fault = ""

    def resume(self, mark: dict[str, Any]) -> None:
        """Do nothing: what comes twice is one point."""

    def mark(self) -> dict[str, Any]:
        """Give nothing: what the server has confirmed is safe with it."""
        return {}

    def marked(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()


def _told(answer: Answer, bucket: str) -> str:
    text = f"{answer.status} {answer.text}".strip()
    cure = CURES.get(answer.status)
    return f"{text} ({cure}; bucket {bucket!r})" if cure else text


def _reason(body: bytes | str) -> str:
    """Give the server's words: version 1 says `error`, version 2 `message`."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:
        told = json.loads(text)
        text = str(told.get("error") or told.get("message") or text)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300]


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:  # a date: our own pauses will do
        return 0.0
