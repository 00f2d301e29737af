"""`python -m archiver serve SITE`: the answers over HTTP, on loopback unless the site file says otherwise."""

import gzip
import json
import logging
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from archiver.history import History
from archiver.serve.answers import Answers, Refused
from iocs.config import Site

log = logging.getLogger(__name__)

AT_ONCE = 4  # requests that read at a time; others wait
LINE_WITHIN = 30.0  # s for a client to say what it wants


def run(site: Site) -> int:
    """Serve until SIGINT or SIGTERM; 0 done, 2 the address cannot be used."""
    table = site.serve
    try:
        server = _Server((table.address, table.port), site)
    except OSError as error:
        log.error("cannot serve on %s port %d: %s", table.address, table.port, error.strerror or error)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = server.server_address[:2]
    print(
        f"archive of {site.name} on http://{host}:{port}: Phoebus json:http://{host}:{port}, "
        f"Archiver Appliance http://{host}:{port}/retrieval",
        flush=True,
    )
    with server:
        server.serve_forever(poll_interval=0.1)
    log.info("stop")
    return 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        super().__init__(address, _Request)
        self.site = site
        self.reading = threading.Semaphore(AT_ONCE)

    def answers(self) -> Answers:
        """Give the answers of now: catalogues may have changed since the last request."""
        return Answers(History.of_site(self.site), self.site.name, self.site.serve)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong; a client that goes away is nothing."""
        log.debug("a request of %s ended early", client_address, exc_info=True)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = LINE_WITHIN

    @property
    def _house(self) -> _Server:
        if not isinstance(self.server, _Server):
            raise TypeError("requests are answered by this module's server alone")
        return self.server

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        try:
            with self._house.reading:
                status, body = 200, self._house.answers().answer(url.path, dict(parse_qsl(url.query)))
        except Refused as refused:
            status, body = refused.status, {"error": str(refused)}
        except Exception:  # whatever it is, this request ends, not the server
            log.exception("%s could not be answered", self.path)
            status, body = 500, {"error": "a fault of this program; it is in its log"}
        self._say(status, json.dumps(body, allow_nan=False, separators=(",", ":")).encode())

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000:
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log requests for whoever looks for them."""
        log.debug(format, *args)
