"""One HTTP request: whether it is for us, and who answers it. Nothing here writes to any PV."""

import gzip
import json
import logging
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

from archiver.serve import files, hosts, pvws
from archiver.serve.answers import Refused
from archiver.serve.following import Session
from archiver.serve.mailbox import Mailbox
from archiver.serve.websocket import Absent, NotAccepted, WebSocket

if TYPE_CHECKING:
    from archiver.serve.server import Server

log = logging.getLogger(__name__)

LINE_WITHIN = 30.0  # s for a client to say what it wants
JSON = "application/json"


class Request(BaseHTTPRequestHandler):
    """Answers one client, request after request."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Countinghouse", ""
    timeout = LINE_WITHIN

    @property
    def _house(self) -> "Server":
        return cast("Server", self.server)

    def do_GET(self) -> None:
        """Answer."""
        try:
            self._check_host()
            try:
                url = urlsplit(self.path)
            except ValueError as error:
                raise Refused(400, f"{self.path!r} is no address: {error}") from error
            self._answer(url.path, parse_qsl(url.query))
        except Refused as refused:
            self._say_json({"error": str(refused)}, refused.status)
        except OSError:
            raise  # the client is not there any more
        except Exception:  # whatever it is, this request ends, not the server
            log.exception("%s could not be answered", self.path)
            self._say_json({"error": "a fault of this program; it is in its log"}, 500)

    def _check_host(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body, which nobody reads, is not to be taken for the next request
        given = self.headers.get_all("Host", [])
        if len(given) > 1:
            raise Refused(400, f"there are {len(given)} Host headers")
        host = given[0] if given else ""
        if not hosts.is_ours(host, self._house.names):
            cure = "ask by address, or add the name to hosts of [serve]"
            raise Refused(421, f"{host!r} is no name of this server: {cure}")

    def _answer(self, path: str, words: list[tuple[str, str]]) -> None:
        live, watching = self._house.live, self._house.watching
        if path == pvws.PATH:
            self._pvws()
        elif path == "/live":
            self._stream()
        elif path in ("/live/sparks", "/live/curve"):
            given = [value for _, value in words]
            try:
                if path == "/live/sparks":
                    answer = watching.call(live.sparks, given[0] if given else "")
                else:
                    answer = watching.call(live.curve, given)
            except LookupError as error:
                raise Refused(404, str(error.args[0])) from error
            self._say_json(answer)
        elif (file := files.page(path)) is not None:
            self._say(*file)
        else:
            with self._house.reading:
                answer = self._house.answers().answer(path, dict(words))
            self._say_json(answer)

    def _stream(self) -> None:
        """Tell a page what happens, as server-sent events, until it goes."""
        live, watching = self._house.live, self._house.watching
        with self._viewer() as mailbox:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            watching.call(live.enter, mailbox)
            try:
                while (message := mailbox.take()) is not None:
                    self.wfile.write(message)
            finally:
                watching.call(live.leave, mailbox)

    # -- web sockets

    def _pvws(self) -> None:
        origin = self.headers.get("Origin")
        if not hosts.may_connect(origin, self.headers.get("Host", ""), self._house.names):
            raise Refused(403, f"pages of {origin} may not connect: add its host to hosts of [serve]")
        with self._viewer() as mailbox:
            try:
                web = WebSocket(self.connection, self.path, dict(self.headers.items()))
            except Absent as absent:
                raise Refused(501, str(absent)) from absent
            except NotAccepted as refused:
                log.info("%s: no web socket: %s", self.client_address[0], refused)
                return
            watching = self._house.watching
            session = Session(self._house.follow, mailbox)
            watching.call(watching.tellers.append, session.tell)
            writer = threading.Thread(target=self._write, args=(mailbox, web), daemon=True)
            writer.start()
            try:
                for message in web.messages():
                    watching.call(session.take, message)
            finally:
                watching.call(watching.tellers.remove, session.tell)
                watching.call(session.close)
                mailbox.close()
                writer.join()

    def _write(self, mailbox: Mailbox, web: WebSocket) -> None:
        with suppress(OSError):
            while (message := mailbox.take()) is not None:
                web.send(message)

    # -- common

    @contextmanager
    def _viewer(self) -> Any:
        """Take one of the places of those who are told as things happen; gives its mailbox."""
        if not self._house.viewers.acquire(blocking=False):
            raise Refused(503, "too many are looking already; close a page")
        self.close_connection = True
        self.connection.settimeout(None)  # it may be quiet for long; who does not read is found by what waits
        mailbox = Mailbox(self._let_go)
        try:
            yield mailbox
        finally:
            self._house.viewers.release()

    def _let_go(self) -> None:
        log.warning("%s reads too slowly and is let go", self.client_address[0])
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _say_json(self, answer: Any, status: int = 200) -> None:
        self._say(json.dumps(answer, allow_nan=False, separators=(",", ":")).encode(), JSON, status)

    def _say(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", files.POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000:
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log requests for whoever looks for them."""
        log.debug(format, *args)
