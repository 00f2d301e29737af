"""ONC RPC over TCP for the simulated scope: record marks, call headers, refusals, and the faults of a wire.

Source: RFC 1057 (RPC), RFC 1014 (XDR).
"""

import contextlib
import socket
import struct
import time

from drivers.lecroy.faults import Faults

MOST_SENT = 1 << 20  # bytes that a client may write at once
_MOST_CALL = MOST_SENT + 4096


class Garbage(Exception):
    """Arguments that cannot be read."""


class Gone(Exception):
    """The connection is to end."""


class Reader:
    """Reads the arguments of a call (XDR)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def uint(self) -> int:
        """Read an unsigned integer."""
        if self.at + 4 > len(self.data):
            raise Garbage
        self.at += 4
        return int.from_bytes(self.data[self.at - 4 : self.at], "big")

    def opaque(self) -> bytes:
        """Read bytes of variable length."""
        size = self.uint()
        if self.at + size > len(self.data):
            raise Garbage
        self.at += size + (-size & 3)
        return self.data[self.at - size - (-size & 3) :][:size]


class RpcConnection:
    """One TCP connection to one program of which there is one version.

    Args:
        sock: connected.
        program, version: their numbers.
        faults: what goes wrong with replies.
    """

    def __init__(self, sock: socket.socket, program: int, version: int, faults: Faults) -> None:
        self.sock, self.program, self.version, self.faults = sock, program, version, faults
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cut(self) -> None:
        """End it at once; its thread will find out."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self.sock.close()

    def serve(self) -> None:
        """Answer calls until the client goes."""
        while True:
            self._call(Reader(self._record()))

    def answer(self, procedure: int, call: Reader) -> tuple[bytes, memoryview] | None:
        """Carry out a call: what its results begin with, and a payload that ends them; None = there is no such one.

        Raises:
            Garbage: its arguments cannot be read.
        """
        raise NotImplementedError

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self.sock.recv_into(view)
            if not count:
                raise Gone
            view = view[count:]
        return bytes(data)

    def _record(self) -> bytes:
        record, last = b"", False
        while not last:
            mark = int.from_bytes(self._exactly(4), "big")
            last, size = bool(mark >> 31), mark & 0x7FFFFFFF
            if len(record) + size > _MOST_CALL:
                raise Gone
            record += self._exactly(size)
        return record

    def _call(self, call: Reader) -> None:
        try:
            xid, kind, version, program, edition, procedure = (call.uint() for _ in range(6))
            for _ in range(2):  # credentials, verifier
                call.uint()
                call.opaque()
        except Garbage:
            raise Gone from None
        if kind != 0:
            raise Gone
        if version != 2:
            self._send(struct.pack(">6I", xid, 1, 1, 0, 2, 2))
            return
        head = [xid, 1, 0, 0, 0]
        if program != self.program:
            self._send(struct.pack(">6I", *head, 1))
            return
        if edition != self.version:
            self._send(struct.pack(">8I", *head, 2, self.version, self.version))
            return
        try:
            answer = (b"", memoryview(b"")) if procedure == 0 else self.answer(procedure, call)
        except Garbage:
            self._send(struct.pack(">6I", *head, 4))
            return
        if answer is None:
            self._send(struct.pack(">6I", *head, 3))
            return
        results, payload = answer
        if self.faults.take("wrong_xid"):
            head[0] = (head[0] + 1000) & 0xFFFFFFFF
        self._send(struct.pack(">6I", *head, 0) + results, payload)

    def _send(self, head: bytes, payload: memoryview | None = None) -> None:
        faults = self.faults
        payload = memoryview(b"") if payload is None else payload
        if faults.mute:
            return
        wait = faults.slow + (faults.late_by if faults.take("late") else 0.0)
        if wait:
            time.sleep(wait)
        if faults.take("garbage"):
            head = bytes(255 - byte for byte in head)
        pad = bytes(-len(payload) & 3)
        size = len(head) + len(payload) + len(pad)
        half = [struct.pack(">I", size | 1 << 31), head, payload[: len(payload) // 2]]
        if payload and faults.take("cut"):
            self._send_all(half)
            self.cut()
            raise Gone
        if payload and faults.take("stall"):
            self._send_all(half)
            while self.sock.recv(4096):
                pass  # until the client goes
            raise Gone
        if faults.fragments:
            record = head + bytes(payload) + pad
            pieces = [record[n : n + faults.fragments] for n in range(0, len(record), faults.fragments)]
            for number, piece in enumerate(pieces, 1):
                self._send_all([struct.pack(">I", len(piece) | (number == len(pieces)) << 31), piece])
            return
        self._send_all([struct.pack(">I", size | 1 << 31), head, payload, pad])

    def _send_all(self, parts: "list[bytes | memoryview]") -> None:
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            sent = self.sock.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if views and sent:
                views[0] = views[0][sent:]
