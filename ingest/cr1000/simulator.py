"""A simulated logger on real HTTP, that replays a TOA5 table: `python -m ingest.cr1000.simulator --replay FILE`.

The first line on stdout is `listening on ADDRESS ...`. Each line on stdin is a JSON object of what is to change:
`{"mute": true}`, `{"standing": true}`, `{"failing": "busy"}`, `{"cut": true}`, `{"reset": true}`; `set` on stdout says
that it is so. SIGINT and SIGTERM end it with code 0.
"""

import argparse
import asyncio
import csv
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

from drivers.knobs import fits, until_stopped
from ingest.cr1000.simulated_logger import SimulatedLogger

MOST = 100_000  # rows of the table that are replayed
KNOBS = ("mute", "standing", "failing", "cut")


def main() -> int:
    """Run until SIGINT or SIGTERM; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ingest.cr1000.simulator", description="A logger with a web server."
    )
    parser.add_argument(
        "--replay", type=Path, required=True, metavar="FILE", help="a TOA5 table; its rows are repeated"
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port, 0 = any free one (default)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds from row to row (default %(default)s)")
    parser.add_argument("--user", default="", help="who may ask; default: everybody")
    parser.add_argument("--password-env", default="", metavar="NAME", help="environment variable with the password")
    options = parser.parse_args()
    try:
        with options.replay.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            table = list(islice(csv.reader(file), MOST + 4))
        password = os.environ.get(options.password_env, "")
        logger = SimulatedLogger(table, options.interval, user=options.user, password=password)
    except (OSError, ValueError) as error:
        print(f"{options.replay} cannot be replayed: {error}", file=sys.stderr)
        return 2
    asyncio.run(_serve(logger, options.port))
    return 0


async def _serve(logger: SimulatedLogger, port: int) -> None:
    server = serving(logger, port)
    print(f"listening on http://127.0.0.1:{server.server_port} as a logger", flush=True)

    async def change(reset: bool = False, **knobs: object) -> None:
        for name, value in knobs.items():
            if name not in KNOBS or not fits(getattr(logger, name), value):
                raise ValueError(f"{name} = {value!r}; what can be set: reset, {', '.join(KNOBS)}")
            setattr(logger, name, value)
        if reset:
            logger.reset()
        print("set", flush=True)

    async with until_stopped(change) as stop:
        await stop.wait()
    server.shutdown()
    server.server_close()


def serving(logger: SimulatedLogger, port: int = 0) -> ThreadingHTTPServer:
    """Answer for a logger on a port of this host, 0 = any free one, in threads of their own."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(logger))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def _handler(logger: SimulatedLogger) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while logger.mute:
                time.sleep(0.02)
            answer = logger.answer(self.path, self.headers.get("Authorization"))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep silent."""

    return Handler


if __name__ == "__main__":
    sys.exit(main())
