"""A table of a newer logger over HTTP: its web server's command `dataquery`, in the format TOA5.

CR1000X, CR6, CR300 and Granite answer it (CR1000 manual, table "DataQuery API Command Parameters"; CSI Web Server
manual, "DataQuery"). A failed command is answered with 200 too: only what begins as a TOA5 table is believed. Stamps
are the logger's own time, without a zone. Nothing is ever written to the logger.
"""

import http.client
import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from drivers.errors import DeviceError, LinkError, LinkTimeout, ProtocolError
from ingest.cr1000.quoting import split

MOST = 64 << 20  # bytes of an answer


class DataQuery:
    """Asks one logger for one table, over a connection of its own each time: loggers have few.

    Args:
        link: http://host:port or https://...
        table: its name in the logger.
        user, password: for Basic authentication; an empty user sends none.
        timeout: seconds for each wait.
    """

    def __init__(self, link: str, table: str, user: str = "", password: str = "", timeout: float = 5.0) -> None:
        self.link, self.table = link.rstrip("/"), table
        self._url, self._timeout = urlsplit(self.link), timeout
        self._headers = {"Accept": "text/plain", "Connection": "close"}
        if user:
            self._headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def newest(self, records: int) -> bytes:
        """Give the newest records as a TOA5 table: its header and whole lines."""
        return self._ask("most-recent", records)

    def since(self, record: int) -> bytes:
        """Give the records from one on, itself too; all that the logger has where it has not got that one."""
        return self._ask("since-record", record)

    def _ask(self, mode: str, p1: int) -> bytes:
        """Ask.

        Raises:
            LinkError: no answer, or it was cut.
            DeviceError: the logger refused.
            ProtocolError: what came is no table.
        """
        asked = {"command": "dataquery", "uri": f"dl:{self.table}", "format": "toa5", "mode": mode, "p1": p1}
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=self._timeout)
        try:
            connection.request("GET", f"{self._url.path}/?{urlencode(asked, safe=':')}", headers=self._headers)
            answer = connection.getresponse()
            told = answer.length is not None or answer.chunked  # how long it is: else nobody knows whether it is whole
            data = answer.read(MOST + 1)
            if answer.length:  # read(n) does not complain of an early end
                raise http.client.IncompleteRead(data, answer.length)
        except TimeoutError as error:
            raise LinkTimeout(f"{self.link}: no answer within {self._timeout:g} s; is the logger on?") from error
        except (OSError, http.client.HTTPException) as error:
            raise LinkError(f"{self.link}: no answer: {type(error).__name__} {error}".rstrip()) from error
        finally:
            connection.close()
        if answer.status in (401, 403):
            raise DeviceError(f"{self.link}: user or password refused (HTTP {answer.status}); see user, password_env")
        if answer.status != 200:
            raise DeviceError(f"{self.link}: HTTP {answer.status} {answer.reason}")
        if len(data) > MOST:
            raise ProtocolError(
                f"{self.link}: the answer is longer than {MOST} bytes; put what is older into the file that keeps it"
            )
        if not data.startswith((b'"TOA5"', b"TOA5,")):
            said = " ".join(data[:120].decode("latin-1").split())
            raise ProtocolError(f"{self.link}: no TOA5 table {self.table!r} came but {said!r}; is the name right?")
        whole = data if told and not data.endswith(b"\n") else data[: data.rfind(b"\n") + 1]
        return whole if whole.endswith(b"\n") else whole + b"\r\n"


class Kept:
    """The file in which what a logger told is kept, a TOA5 table: the station's record.

    It ends with a whole line at every moment that counts: what a kill left of one is taken away, and asked for again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header = b""
        self._last = b""
        self.opened = False

    def open(self) -> None:
        """Find out what is there.

        Raises:
            OSError: it cannot be read or written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            self._header = b"".join(file.readline(1 << 16) for _ in range(4))
            file.seek(max(size - (1 << 17), len(self._header), 0))
            lines = file.read()
            whole = lines.rfind(b"\n") + 1
            if whole < len(lines) or not self._header.endswith(b"\n"):
                size = size - len(lines) + whole if self._header.count(b"\n") == 4 else 0
                file.truncate(size)
                self._header = self._header if size else b""
            kept = lines[:whole].splitlines()
            self._last = kept[-1] if kept else b""
        self.opened = True

    def fetch(self, logger: DataQuery) -> bytes:
        """Ask for all that is new, keep it, give it as a table; its header alone where nothing is new.

        Raises:
            DriverError: see `DataQuery`.
            OSError: it cannot be kept.
        """
        if not self.opened:
            self.open()
        record = _record(self._header, self._last) if self._last else 0
        header, lines = _parted(logger.since(record))
        if self._last and lines and _record(header, lines[0]) == record and lines[0].strip() != self._last.strip():
            header, lines = _parted(logger.since(0))  # it counts anew, and has come past where it was
        new = lines[1:] if lines and lines[0].strip() == self._last.strip() else lines
        if new:
            data = (header if header != self._header else b"") + b"".join(new)
            with self.path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._header, self._last = header, new[-1]
        return header + b"".join(new)


def _parted(table: bytes) -> tuple[bytes, list[bytes]]:
    lines = table.splitlines(keepends=True)
    return b"".join(lines[:4]), [line for line in lines[4:] if line.strip()]


def _record(header: bytes, line: bytes) -> int:
    """Give the record number of a line.

    Raises:
        ProtocolError: it has none.
    """
    try:
        names = split(header.splitlines()[1].decode("latin-1"))[0]
        return int(split(line.decode("latin-1").strip())[0][names.index("RECORD")])
    except (ValueError, IndexError) as error:
        raise ProtocolError(f"a table without RECORD numbers cannot be kept without loss: {line[:80]!r}") from error
