"""A real InfluxDB 1.6 for tests, and before it a server with the paths of version 1 and 2 that fails as it is told."""

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.processes import free_port, wait_for

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
max-body-size = {most}
max-row-limit = 0
"""


def influxd() -> Path:
    """Give the server's program, or skip saying how it is brought."""
    for path in (os.environ.get("INFLUXD"), ROOT / ".cache/influxdb/usr/bin/influxd", shutil.which("influxd")):
        if path and Path(path).exists():
            return Path(path)
    pytest.skip("influxd is absent; `make influxd` brings it (Debian)")


class InfluxDb:
    """A server of one's own."""

    def __init__(self, folder: Path, most_bytes: int = 25_000_000) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "influxdb.conf"
        config.write_text(
            CONFIG.format(folder=self.folder, port=self.port, rpc=free_port(), most=self.most_bytes), encoding="utf-8"
        )
        with (self.folder / "influxd.log").open("ab") as log:
            self.process = subprocess.Popen([influxd(), "run", "-config", config], stdout=log, stderr=log)
        wait_for(self._answers, "answer of influxd")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "influxd.log").read_text()
        try:
            self.ask("SHOW DATABASES")
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, query: str, database: str = "", path: str = "/query", body: bytes = b"") -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        words = {"db": database, "epoch": "ns", **({"q": query} if query else {})}
        try:
            connection.request("POST", f"{path}?{urlencode(words)}", body)
            text = connection.getresponse().read()
        finally:
            connection.close()
        told = json.loads(text) if text else {}
        assert "error" not in told, told
        return told

    def points(self, database: str, measurement: str = "/.*/") -> list[dict]:
        """Give all points, each a table of its fields, tags and `time` (ns); absent ones are left out."""
        told = self.ask(f"SELECT * FROM {measurement}", database)
        found = []
        for series in told["results"][0].get("series", ()):
            for values in series["values"]:
                pairs = zip(series["columns"], values, strict=True)
                found.append({"measurement": series["name"], **{k: v for k, v in pairs if v is not None}})
        return found


class Shim:
    """`/api/v2/write` and `/write` before an InfluxDB 1, and the faults that a server has.

    Attributes:
        fault: "" (none), a status such as "503", "hang" (no answer), "drop" (written, the answer lost), "slow" (0.3 s),
            "late" (written, the answer comes when nobody waits any more).
        token: what is demanded; empty = anything, but something.
        retry_after: what refusals ask for, s.
    """

    def __init__(self, database: InfluxDb) -> None:
        self.fault, self.token, self.retry_after = "", "", 0
        self.requests = self.refused = 0
        shim = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *words: object) -> None:
                pass

            def do_POST(self) -> None:
                shim.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that went away

        self._database = database
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        url = urlsplit(request.path)
        words = dict(parse_qsl(url.query))
        self.requests += 1
        fault = self.fault
        given = request.headers.get("Authorization", "")
        if url.path == "/api/v2/write" and (not given or (self.token and given != f"Token {self.token}")):
            self._say(request, 401, b'{"code":"unauthorized","message":"unauthorized access"}')
            return
        if fault.isdigit():
            self.refused += 1
            self._say(request, int(fault), b'{"code":"fault","message":"as it was told"}')
            return
        if fault == "hang":
            wait_for(lambda: self.fault != "hang", "end of the fault", 60)
            request.close_connection = True
            return
        status, text = self._pass_on(url.path, words, body, request.headers.get("Content-Encoding", ""))
        if fault == "slow":
            time.sleep(0.3)
        if fault == "late":
            wait_for(lambda: self.fault != "late", "end of the fault", 60)
        if fault in ("drop", "late"):
            request.close_connection = True
            return
        self._say(request, status, text)

    def _pass_on(self, path: str, words: dict[str, str], body: bytes, encoding: str) -> tuple[int, bytes]:
        database = words.get("bucket") or words.get("db", "")
        assert words.get("precision") == "ns"
        connection = http.client.HTTPConnection("127.0.0.1", self._database.port, timeout=20)
        headers = {"Content-Encoding": "gzip"} if encoding == "gzip" else {}
        try:
            query = urlencode({"db": database, "precision": "n"})
            connection.request("POST", f"/write?{query}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except OSError:
            return 503, b'{"message":"the database is down"}'
        finally:
            connection.close()
        if answer.status >= 400 and path.startswith("/api/v2"):
            text = json.dumps({"code": "invalid", "message": json.loads(text)["error"]}).encode()
        return answer.status, text

    def _say(self, request: BaseHTTPRequestHandler, status: int, text: bytes) -> None:
        request.send_response(status)
        if self.retry_after and status in (429, 503):
            request.send_header("Retry-After", str(self.retry_after))
        if status != 204:
            request.send_header("Content-Length", str(len(text)))
            request.send_header("Content-Type", "application/json")
        request.end_headers()
        if status != 204:
            request.wfile.write(text)


@contextmanager
def running(folder: Path, *databases: str, most_bytes: int = 25_000_000):
    """Run an InfluxDB with some databases."""
    server = InfluxDb(folder, most_bytes)
    try:
        server.start()
        for database in databases:
            server.ask(f'CREATE DATABASE "{database}"')
        yield server
    finally:
        server.stop()


@contextmanager
def before(server: InfluxDb):
    """Run the server with faults before an InfluxDB."""
    shim = Shim(server)
    try:
        yield shim
    finally:
        shim.fault = ""
        shim.close()
