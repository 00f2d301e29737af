"""`python -m archiver serve SITE`: page and archive over HTTP, on loopback unless the site file says otherwise.

A thread a request from the standard library's server: a laboratory has a handful of viewers, and a thread that writes
to one of them cannot hold up another. What they look at is watched once for all, in a thread of its own.
"""

import logging
import signal
import socket
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from archiver.history import History
from archiver.serve.answers import Answers
from archiver.serve.following import Follow
from archiver.serve.live import Live
from archiver.serve.request import Request
from archiver.serve.seeding import seed
from archiver.serve.watching import Watching
from iocs.config import Site

log = logging.getLogger(__name__)

AT_ONCE = 4  # requests that read the archive at a time; others wait
MOST_VIEWERS = 100  # clients that are told as things happen
MOST_CONNECTIONS = 400  # of all clients; more are closed at once, before files and threads run out


def run(site: Site) -> int:
    """Serve until SIGINT or SIGTERM; 0 done, 2 the address or the network cannot be used."""
    table = site.serve
    try:
        server = Server((table.address, table.port), site)
    except OSError as error:
        cure = "choose another port under [serve], 0 for any that is free"
        log.error("cannot serve on %s port %d: %s; %s", table.address, table.port, error.strerror or error, cure)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.watching.start()
        server.watching.call(server.live.start)
    except (OSError, ValueError) as error:
        log.error("PVs cannot be watched: %s", error)
        return 2
    host, port = server.server_address[:2]
    print(
        f"page of {site.name}: http://{host}:{port}/\n"
        f"archive of {site.name} on http://{host}:{port}: Phoebus json:http://{host}:{port}, "
        f"Archiver Appliance http://{host}:{port}/retrieval, screens in browsers ws://{host}:{port}/pvws/pv",
        flush=True,
    )
    if site.archive.csv.enabled:
        threading.Thread(target=seed, args=(site, server.live, server.watching), daemon=True).start()
    with server:
        server.serve_forever(poll_interval=0.1)
    server.watching.stop()
    log.info("stop")
    return 0


class Server(ThreadingHTTPServer):
    """The listening socket and what its requests share.

    Args:
        address: host and port.
        site: whose page and archive it is.

    Attributes:
        names: what this server may be called in a Host header, besides addresses.
        reading: how many may read the archive at a time.
        viewers: how many more clients may be told as things happen.
        watching: the thread in which PVs are watched.
        follow: the PVs that web sockets follow.
        live: the devices that the page shows.
    """

    daemon_threads = True
    request_queue_size = 128  # the library's 5 make a client that comes with many others wait for a second

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        super().__init__(address, Request)
        self.site = site
        own = socket.gethostname().lower()
        self.names = {"localhost", own, f"{own}.local", *(name.lower() for name in site.serve.hosts)}
        self.reading = threading.Semaphore(AT_ONCE)
        self.viewers = threading.Semaphore(MOST_VIEWERS)
        self._places = threading.Semaphore(MOST_CONNECTIONS)
        self.watching = Watching()
        self.follow = Follow(self.watching)
        self.live = Live(site, self.watching)

    def answers(self) -> Answers:
        """Give the answers of now: catalogues may have changed since the last request."""
        return Answers(History.of_site(self.site), self.site.name, self.site.serve)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is a place left."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            log.debug("%s is one connection too many", client_address)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong; a client that goes away is nothing."""
        log.debug("a request of %s ended early", client_address, exc_info=True)
