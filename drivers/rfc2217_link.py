"""A `Link` to a serial port of another computer or a port server, with its speed and its control lines (RFC 2217).

The address is `rfc2217://host:port?baud=9600`; options as for a serial port of our own (`drivers.serial_link`), but for
`dtr=hupcl-off`. For a port server in raw mode, where speed and frame are set at the server, `tcp://host:port` does.
"""

import asyncio

from drivers import rfc2217
from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.link import Address
from drivers.tcp_link import TcpLink

_NAMES = {
    rfc2217.SET_BAUDRATE: "baud",
    rfc2217.SET_DATASIZE: "data bits",
    rfc2217.SET_PARITY: "parity",
    rfc2217.SET_STOPSIZE: "stop bits",
    rfc2217.SET_CONTROL: "flow control or DTR",
}


class Rfc2217Link(TcpLink):
    """A `Link` to a port behind Telnet; after `open` the server has confirmed every setting."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._telnet = rfc2217.Telnet()
        self._data = b""  # what was heard while an answer to the server had to be sent
        self._sending = asyncio.Lock()

    async def open(self, timeout: float) -> None:
        """Connect and set the port up, all within `timeout` seconds."""
        until = asyncio.get_running_loop().time() + timeout
        await super().open(timeout)
        self._telnet, self._data = rfc2217.Telnet(), b""
        heard = bytearray()
        try:
            async with asyncio.timeout_at(until):
                await self._set_up(heard)
        except (TimeoutError, LinkError) as error:
            await self.close()
            why = f"{self.address}: no port set up within {timeout:g} s" if isinstance(error, TimeoutError) else error
            said = f"; it said {bytes(heard[:80])!r}" if heard else ""
            kind = LinkTimeout if isinstance(error, TimeoutError) else LinkError
            raise kind(f"{why}{said}; does RFC 2217 listen there, and is nobody else on this port?") from None
        except BaseException:
            await self.close()
            raise

    async def _set_up(self, heard: bytearray) -> None:
        """Agree on RFC 2217, send the settings, wait until each is confirmed; what comes before is not ours."""
        telnet, options = self._telnet, self.address.options
        await self._send_raw(telnet.begin())
        while telnet.serves_ports is None:
            heard += await self._next()
        if not telnet.serves_ports:
            raise LinkError(f"{self.address}: the server does not know RFC 2217")
        asked = rfc2217.settings(
            int(options.get("baud", "9600")),
            options.get("frame", "8N1"),
            options.get("xonxoff", "off"),
            options.get("dtr", "keep"),
        )
        await self._send_raw(b"".join(rfc2217.command(number, value) for number, value in asked))
        while rfc2217.PURGE_DATA not in [number for number, _ in telnet.said]:  # the last one; answers keep the order
            heard += await self._next()
        for number, value in asked:
            confirmed = [answer for of, answer in telnet.said if of == number]
            if number != rfc2217.PURGE_DATA and value not in confirmed:
                got = int.from_bytes(confirmed[-1], "big") if confirmed else "nothing"
                raise LinkError(
                    f"{self.address}: the server does not set {_NAMES[number]}: "
                    f"asked for {int.from_bytes(value, 'big')}, it confirmed {got} (numbers of RFC 2217)"
                )

    async def _next(self) -> bytes:
        await self._wait("read")
        return await self._receive()

    async def _receive(self) -> bytes:
        while not self._data and (raw := await super()._receive()):
            try:
                self._data += self._telnet.feed(raw)
            except ProtocolError as error:
                await self.close()
                raise LinkError(f"{self.address}: {error}") from error
            if self._telnet.answers:
                answers, self._telnet.answers = bytes(self._telnet.answers), bytearray()
                await self._send_raw(answers)
        data, self._data = self._data, b""
        return data

    async def _send(self, data: bytes) -> None:
        await self._send_raw(rfc2217.escape(data))

    async def _send_raw(self, raw: bytes) -> None:
        async with self._sending:  # an answer to the server must not fall into the middle of a message
            await super()._send(raw)

    def _reason(self, error: OSError | None) -> str:
        return "the port server closed the connection" if error is None else super()._reason(error)
