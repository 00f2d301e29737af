"""A port server of RFC 2217 for tests, on pyserial's `PortManager`: a server that we did not write."""

import contextlib
import os
import select
import socket
import threading
import tty

import serial
from serial.rfc2217 import PortManager


class _Pty(serial.Serial):
    """pyserial's port on a pty: what a pty does not have is written down instead."""

    cts = dsr = ri = cd = False  # a pty has no modem lines to read

    def __init__(self, path):
        self.lines = {}
        super().__init__(path, timeout=0)

    def _update_dtr_state(self):
        self.lines["dtr"] = self._dtr_state

    def _update_rts_state(self):
        self.lines["rts"] = self._rts_state


class PortServer:
    """One serial port, served to one client after the other on 127.0.0.1.

    Attributes:
        port: TCP port.
        box: descriptor of the box's side of the serial port.
        serial: pyserial's port, to look at what the client has set.
        connected: a client is there.
    """

    def __init__(self):
        self.box, near_end = os.openpty()
        tty.setraw(near_end)
        self.serial = _Pty(os.ttyname(near_end))
        os.close(near_end)
        self.connected = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        """End; a second time does nothing."""
        if not self._thread.is_alive():
            return
        os.close(self._stopping)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._listening.close()
        self.serial.close()
        os.close(self.box)
        os.close(self._stop)

    def _serve(self):
        while self._stop not in select.select([self._listening, self._stop], [], [])[0]:
            connection, _ = self._listening.accept()
            self.connected = True
            with connection, contextlib.suppress(ConnectionError):
                self._serve_one(connection)
            self.connected = False

    def _serve_one(self, connection):
        class Wire:
            write = staticmethod(connection.sendall)

        manager = PortManager(self.serial, Wire)
        while True:
            ready = select.select([connection, self.serial.fd, self._stop], [], [])[0]
            if self._stop in ready:
                return
            if self.serial.fd in ready:
                connection.sendall(b"".join(manager.escape(self.serial.read(65536))))
            if connection in ready:
                if not (raw := connection.recv(65536)):
                    return
                self._write(b"".join(manager.filter(raw)))

    def _write(self, data):
        while data and self._stop not in select.select([self._stop], [self.serial.fd], [])[0]:
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.serial.fd, data) :]
