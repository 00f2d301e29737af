"""The wire of the simulated supply: one session over TCP, or a serial port; faults, and a log of all that was said."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import IO, Any, Literal, Self

from drivers.caen_hv.faults import Faults
from drivers.caen_hv.simulated_unit import SimulatedBoard, SimulatedChannel, understand
from drivers.knobs import fits
from drivers.pty_port import PtyPort

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """One line of the wire log.

    Attributes:
        time_ns: since 1970.
        what: request, reply (with the faults in it, empty = none was sent), connected, refused, closed, reset, power.
        text: bytes as text (backslash escapes), or the peer.
    """

    time_ns: int
    what: Literal["request", "reply", "connected", "refused", "closed", "reset", "power"]
    text: str = ""


class Simulator:
    """One or more boards on a line. Use it as `async with Simulator() as simulator:`, connect to `simulator.address`.

    Over TCP it takes one session, as the unit does: a second client is cut off at once. A unit that is stuck takes
    connections and says nothing, until power is switched off and on.

    Args:
        boards: by number; None = one of four channels.
        host, port: where it listens; port 0 = any free one.
        pty: name of a serial port to be made in place of TCP; empty = any name.
        speed: so many times faster than real time.
        out: file for the wire log, one JSON object a line; None = only in memory.

    Attributes:
        boards, speed: as given, may be changed. faults: see `Faults`. stuck: see above.
        log: everything that was said, in order.
    """

    def __init__(
        self,
        boards: dict[int, SimulatedBoard] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pty: str | None = None,
        speed: float = 1.0,
        out: Callable[[Said], None] | None = None,
    ) -> None:
        self.boards = boards if boards is not None else {0: SimulatedBoard()}
        self.host = host
        self.port = port
        self.speed = speed
        self.faults = Faults()
        self.stuck = False
        self.log: list[Said] = []
        self._out = out
        self._pty_name = pty
        self._pty: PtyPort | None = None
        self._server: asyncio.Server | None = None
        self._session: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = b""
        self._clock = time.monotonic()

    @property
    def address(self) -> str:
        """Where a client finds it."""
        return self._pty.address if self._pty else f"tcp://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._power_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._power_off()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        if self._pty is not None:
            self._pty.close()

    def requests(self, verb: str = "") -> list[str]:
        """Give the requests that came, those of MON or SET alone if asked."""
        return [said.text for said in self.log if said.what == "request" and f"CMD:{verb}" in said.text]

    async def set(self, **changes: Any) -> None:
        """Set faults and states by name: what one line on stdin does.

        The attributes of `Faults` (`lost=1`, `mute=True` ...); `speed`, `stuck`; the deeds `drop=True` (cut the
        connection), `power=False` or `True`, `kill=True` (the front panel's KILL); and
        `board={"number": 0, "local": True}`, `channel={"board": 0, "number": 3, "load": 1e6}` with the attributes of
        `SimulatedBoard` and `SimulatedChannel`; without number all are meant.

        Raises:
            ValueError: there is no such name; the message says which there are.
        """
        names = [each.name for each in fields(Faults) if not each.name.startswith("_")]
        for key, value in changes.items():
            match key, value:
                case ("drop", True):
                    self.drop()
                case ("power", bool()):
                    await (self._power_on() if value else self._power_off())
                case ("kill", True):
                    self.catch_up()
                    for each in self._boards(None):
                        for channel in each.channels:
                            channel.kill()
                case ("board", dict()):
                    self.catch_up()
                    for each in self._boards(value.get("number")):
                        _change(each, value, ("number",))
                case ("channel", dict()):
                    self.catch_up()
                    for each in self._channels(value.get("board"), value.get("number")):
                        _change(each, value, ("board", "number"))
                case ("speed", int() | float()) | ("stuck", bool()):
                    self.catch_up()
                    setattr(self, key, value)
                case (_, _) if key in names and fits(getattr(Faults(), key), value):
                    setattr(self.faults, key, value)
                case _:
                    known = ", ".join(("drop", "power", "kill", "board", "channel", "speed", "stuck", *names))
                    raise ValueError(f"{key}={value!r} is not known here, or not with that value; known: {known}")

    def drop(self) -> None:
        """Cut the connection."""
        if self._session is not None:
            self._session.transport.abort()
        if self._pty is not None:
            self._pty.unplug()
            self._pty.replug()

    def catch_up(self) -> None:
        """Let the behaviour go on to now."""
        now = time.monotonic()
        seconds, self._clock = (now - self._clock) * self.speed, now
        if seconds > 0:
            for board in self.boards.values():
                board.step(seconds)

    async def _power_on(self) -> None:
        self._clock = time.monotonic()
        if self._pty_name is not None:
            if self._pty is None:
                self._pty = PtyPort(self._pty_name or None)
                self._start(self._serve_pty(self._pty))
            self._pty.replug()
        elif self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        self._say("power", "on")

    async def _power_off(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()
        if self._pty is not None:
            self._pty.unplug()
        self.stuck, self._held = False, b""
        for board in self.boards.values():
            board.power_cycle()
        self._say("power", "off")

    def _start(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        peer = "{}:{}".format(*writer.get_extra_info("peername"))
        if self._session is not None:
            self._say("refused", peer)
            writer.close()
            return
        self._session = writer
        self._say("connected", peer)
        ended: Literal["closed", "reset"] = "reset"
        try:
            rest = b""
            while data := await reader.read(4096):
                rest = await self._take(rest + data, writer.write)
            ended = "closed"
        except OSError as error:
            log.debug("the client went away: %s", error)
        except asyncio.CancelledError:
            pass  # we are leaving; asyncio's own callback would report the cancellation as an error
        finally:
            self.stuck = self.stuck or (ended == "reset" and self.faults.sticky)
            self._session = None
            self._say(ended, peer)
            writer.transport.abort()

    async def _serve_pty(self, port: PtyPort) -> None:
        rest = b""
        while True:
            rest = await self._take(rest + await port.read(), port.write)

    async def _take(self, data: bytes, write: Callable[[bytes], None]) -> bytes:
        """Obey the whole lines in `data`; give what is left."""
        *lines, rest = data.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r")
        for line in lines:
            if line:
                await self._obey(line, write)
        return rest[-1024:]

    async def _obey(self, line: bytes, write: Callable[[bytes], None]) -> None:
        faults = self.faults
        self._say("request", _text(line))
        request = understand(line)
        if faults.mute or self.stuck or request is None or request.board not in self.boards:
            return
        if self.boards[request.board].silent:
            return
        if faults.take("ignored"):
            return
        self.catch_up()
        setting = request.verb == "SET"
        if setting and faults.take("refused"):
            answer = "VAL:ERR"
        elif setting and faults.take("swallowed"):
            answer = "CMD:OK"
        else:
            answer = self.boards[request.board].answer(request)
        if faults.take("lost"):
            self._say("reply")
            return
        reply = faults.reply(f"#BD:{request.board:02d},{answer}\r\n".encode(), request.par)
        await asyncio.sleep(faults.slow + (faults.late_by if faults.take("late") else 0.0))
        await self._send(reply, write)

    async def _send(self, reply: bytes, write: Callable[[bytes], None]) -> None:
        faults = self.faults
        if faults.take("merged"):
            self._held += reply
            return
        reply, self._held = self._held + reply, b""
        if faults.take("cut"):
            write(reply[: len(reply) // 2])
            await asyncio.sleep(0)
            self._say("reply", _text(reply[: len(reply) // 2]))
            self.drop()
            return
        self._say("reply", _text(reply))
        for piece in [reply[n : n + 1] for n in range(len(reply))] if faults.split else [reply]:
            write(piece)
            await asyncio.sleep(0.001 if faults.split else 0)
        if faults.take("doubled"):
            self._say("reply", _text(reply))
            asyncio.get_running_loop().call_later(faults.doubled_by, write, reply)

    def _boards(self, number: int | None) -> list[SimulatedBoard]:
        return [board for n, board in self.boards.items() if number in (None, n)]

    def _channels(self, board: int | None, number: int | None) -> list[SimulatedChannel]:
        return [c for each in self._boards(board) for n, c in enumerate(each.channels) if number in (None, n)]

    def _say(self, what: Any, text: str = "") -> None:
        said = Said(time.time_ns(), what, text)
        self.log.append(said)
        if self._out is not None:
            self._out(said)


def write_log(file: IO[str]) -> Callable[[Said], None]:
    """Give what writes the wire log into a file, a JSON object a line, each at once."""

    def write(said: Said) -> None:
        print(json.dumps(asdict(said)), file=file, flush=True)

    return write


def _change(what: SimulatedBoard | SimulatedChannel, changes: dict[str, Any], but: tuple[str, ...]) -> None:
    hidden = ("channels", "limits")
    known = [each.name for each in fields(what) if not each.name.startswith("_") and each.name not in hidden]
    for key, value in changes.items():
        if key in but:
            continue
        if key not in known or not fits(getattr(what, key), value):
            raise ValueError(f"{key}={value!r} is not known here, or not with that value; known: {', '.join(known)}")
        setattr(what, key, value)


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace").replace("\r", "\\r").replace("\n", "\\n")
