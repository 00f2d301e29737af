"""What clients ask for, message by message (EPICS Base, Channel Access protocol specification, "Messages")."""

import asyncio
import contextlib
import logging
import struct
import time
from typing import TYPE_CHECKING, Any

import caproto as ca

from iocs.ca.server import encoding, wire
from iocs.ca.server.channel import READ as MAY_READ
from iocs.ca.server.channel import WRITE as MAY_WRITE
from iocs.ca.server.channel import Channel, Subscription
from iocs.ca.server.fields import record_type
from iocs.ca.server.wire import Request
from iocs.signals import Refused, label

if TYPE_CHECKING:
    from iocs.ca.server.circuit import Circuit

log = logging.getLogger(__name__)

NO_READ = wire.code(ca.CAStatus.ECA_NORDACCESS)
NO_WRITE = wire.code(ca.CAStatus.ECA_NOWTACCESS)
# Never ECA_BADTYPE: its severity makes libca's tools abort
GET_FAILED = wire.code(ca.CAStatus.ECA_GETFAIL)
PUT_FAILED = wire.code(ca.CAStatus.ECA_PUTFAIL)
BAD_COUNT = wire.code(ca.CAStatus.ECA_BADCOUNT)
NO_MEMORY = wire.code(ca.CAStatus.ECA_ALLOCMEM)
STRAY_COUNT = 256  # elements; clients may ask for so many of a scalar
SMALLEST_ROOM = 16384  # bytes; so much is read of every put, for a refusal in the device's own words
SETTLE = 0.02  # s; how long a get waits for the same channel's put, as caput reads back at once


def _version(circuit: "Circuit", request: Request) -> None:
    circuit.greeted = True
    circuit.say(wire.version())


def _name(circuit: "Circuit", request: Request) -> None:
    name = wire.text(request.body)[:80]
    if request.command == wire.USER:
        circuit.user = name
    else:
        circuit.host = name
    circuit.named()


def _search(circuit: "Circuit", request: Request) -> None:
    """A client that uses us as its name server."""
    context, cid = circuit.context, request.first
    address = context.search.address_for(circuit.peer[0])
    if address is not None and context.exists(wire.text(request.body)):
        circuit.say(wire.found(context.tcp_port, address, cid))
    elif request.dtype == wire.REPLY_WANTED:
        circuit.say(wire.HEADER.pack(wire.NOT_FOUND, 0, wire.REPLY_WANTED, wire.MINOR, cid, cid))


def _create(circuit: "Circuit", request: Request) -> None:
    cid = request.first
    channel = circuit.new_channel(cid, wire.text(request.body))
    if channel is None:
        circuit.say(wire.HEADER.pack(wire.CREATE_FAILED, 0, 0, 0, cid, 0))
        return
    native, size = channel.shape
    circuit.say(
        wire.HEADER.pack(wire.ACCESS_RIGHTS, 0, 0, 0, cid, channel.rights)
        + wire.message(wire.CREATE, 0, native, size, cid, channel.sid)
    )


def _clear(circuit: "Circuit", request: Request) -> None:
    channel = circuit.channel(request.first)
    channel.close()
    circuit.say(wire.HEADER.pack(wire.CLEAR, 0, 0, 0, channel.sid, channel.cid))


def _events(circuit: "Circuit", request: Request) -> None:
    circuit.events(request.command == wire.EVENTS_ON)


def _echo(circuit: "Circuit", request: Request) -> None:
    circuit.say(wire.HEADER.pack(wire.ECHO, 0, 0, 0, 0, 0))


def _nothing(circuit: "Circuit", request: Request) -> None:
    """READ_SYNC, obsolete."""


def _subscribe(circuit: "Circuit", request: Request) -> None:
    _, dtype, count, sid, number, body = request
    channel = circuit.channel(sid)
    (mask,) = struct.unpack_from(">H", body, 12)
    if number in circuit.subscriptions:
        raise wire.Malformed(f"subscription {number} is there already")
    if len(circuit.subscriptions) >= circuit.limits.subscriptions:
        circuit.context.counts.refused += 1
        most = f"at most {circuit.limits.subscriptions} subscriptions a client"
        circuit.error(request.head, channel.cid, NO_MEMORY, most)
    elif dtype > encoding.LAST_TYPE or not mask or count > max(channel.shape[1], STRAY_COUNT):
        words = f"no events of type {dtype}, {count} elements, mask {mask}"
        circuit.error(request.head, channel.cid, GET_FAILED, words)
    else:
        channel.pv.refresh()
        Subscription(channel, number, mask, channel.form(dtype, count)).first()


def _unsubscribe(circuit: "Circuit", request: Request) -> None:
    _, dtype, count, sid, number, _ = request
    subscription = circuit.subscriptions.get(number)
    if subscription is None:
        raise wire.Malformed(f"there is no subscription {number}")
    subscription.close()
    circuit.say(wire.message(wire.EVENT, 0, dtype, count, sid, number))


def _read(circuit: "Circuit", request: Request) -> None:
    command, dtype, count, sid, ioid, _ = request
    read(circuit, command, dtype, count, sid, ioid)


def read(circuit: "Circuit", command: int, dtype: int, count: int, sid: int, ioid: int) -> None:
    """Answer a get: at once, unless a put of the same channel is under way."""
    channel = circuit.channel(sid)
    if channel.puts:
        circuit.context.server_tasks.create(_read_settled(circuit, channel, command, dtype, count, ioid))
    else:
        _answer_read(circuit, channel, command, dtype, count, ioid)


async def _read_settled(circuit: "Circuit", channel: Channel, command: int, dtype: int, count: int, ioid: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE):
            await channel.pv.settled()
    if circuit.connected and channel.sid in circuit.channels:
        _answer_read(circuit, channel, command, dtype, count, ioid)


def _answer_read(circuit: "Circuit", channel: Channel, command: int, dtype: int, count: int, ioid: int) -> None:
    pv = channel.pv
    if not channel.rights & MAY_READ:
        status, reason = NO_READ, "read access denied"
    elif count > STRAY_COUNT and count > channel.shape[1]:
        status, reason = BAD_COUNT, f"{channel.name} has at most {channel.shape[1]} elements"
    else:
        try:
            pv.refresh()
            if dtype <= encoding.LAST_TYPE:
                length, body = pv.encoded(channel.form(dtype, count))
            else:
                length, body = 1, _special(channel, dtype)
            first = wire.NORMAL if command == wire.READ_NOTIFY else channel.cid
            circuit.say(wire.message(command, len(body), dtype, length, first, ioid), body)
            return
        except ValueError as error:
            status, reason = GET_FAILED, str(error)
    if command == wire.READ_NOTIFY:
        circuit.say(wire.message(command, 0, dtype, 0, status, ioid))
    else:
        circuit.error(Request(command, dtype, count, channel.sid, ioid).head, channel.cid, status, reason)


def _special(channel: Channel, dtype: int) -> bytes:
    pv = channel.pv
    if dtype == encoding.CLASS_NAME:
        return record_type(pv).encode().ljust(40, b"\0")
    if dtype == encoding.STSACK_STRING:
        text = pv.encoded(channel.form(encoding.STRING, 1))[1]
        return struct.pack(">HHHH", pv.status, pv.severity, 1, 0) + bytes(text)
    raise ValueError(f"there is no DBR type {dtype} to read")


def refuse_oversize(circuit: "Circuit", request: Request, size: int) -> bool:
    """Refuse a put of far more than the PV holds before its body has come; say whether it was refused."""
    channel = circuit.channel(request.first)
    most = channel.shape[1] if channel.address.long else channel.pv.size
    if size <= max(most * encoding.SIZES[request.dtype % 7], SMALLEST_ROOM):
        return False
    reason = f"{request.elements} elements are given, at most {most} fit"
    _note(circuit, channel, channel.pv.value, None, reason)
    _answer_put(circuit, channel, request, PUT_FAILED, reason)
    return True


def _write(circuit: "Circuit", request: Request) -> None:
    channel = circuit.channel(request.first)
    if not channel.rights & MAY_WRITE:
        reason = f"write access to {channel.name} denied"
        value = None
        with contextlib.suppress(Refused):  # no value of the PV's kind: nothing to write down
            value = channel.pv.understood(request.dtype, request.elements, request.body)
        _note(circuit, channel, channel.pv.value, value, reason)
        _answer_put(circuit, channel, request, NO_WRITE, reason)
        return
    channel.puts += 1
    circuit.puts += 1
    circuit.context.server_tasks.create(_put(circuit, channel, request))


async def _put(circuit: "Circuit", channel: Channel, request: Request) -> None:
    """Carry out a put in a task of its own, so that no other client waits; it goes on if this client leaves."""
    pv, value, reason, readback = channel.pv, None, "", None
    old = pv.value
    try:
        value = pv.understood(request.dtype, request.elements, request.body)
        async with pv.turn():
            old = pv.value
            await pv.carry_out(value, f"{circuit.user or '?'}@{circuit.peer[0]}")
            readback = pv.value
    except Refused as error:
        reason = str(error) or "refused"
    except Exception as error:
        log.exception("put of %s failed", channel.name)
        reason = f"internal error: {type(error).__name__}: {error}"
    finally:
        circuit.put_ended(channel)
    _note(circuit, channel, old, value, reason, readback)
    if circuit.connected and channel.sid in circuit.channels:
        _answer_put(circuit, channel, request, PUT_FAILED if reason else wire.NORMAL, reason)


def _note(circuit: "Circuit", channel: Channel, old: Any, new: Any, reason: str, readback: Any = None) -> None:
    """Write a put into the put log, and count it if it was refused."""
    context = circuit.context
    context.counts.puts += 1
    context.counts.refused_puts += bool(reason)
    if context.put_log is not None:
        peer = f"{circuit.peer[0]}:{circuit.peer[1]}"
        signal = channel.pv.signal
        values = label(signal, old), label(signal, new)
        who = time.time_ns(), peer, circuit.user, channel.name
        context.put_log.note(*who, *values, not reason, reason, readback=label(signal, readback))


def _answer_put(circuit: "Circuit", channel: Channel, request: Request, status: int, reason: str) -> None:
    """Answer a put. A refusal comes with its reason in an error message, which caput prints.

    libca finds the channel of an error about a WRITE by the client's number in its last word; of one about a
    WRITE_NOTIFY it would print nothing.
    """
    command, dtype, elements, sid, ioid, _ = request
    if status != wire.NORMAL:
        told = Request(wire.WRITE, dtype, elements, sid, channel.cid) if command == wire.WRITE_NOTIFY else request
        circuit.error(told.head, channel.cid, status, reason)
    if command == wire.WRITE_NOTIFY:
        circuit.say(wire.HEADER.pack(command, 0, dtype, min(elements, 0xFFFF), status, ioid))


OF_CHANNEL = frozenset(  # whose first parameter is a channel's number
    (wire.EVENT, wire.EVENT_CANCEL, wire.READ, wire.WRITE, wire.CLEAR, wire.READ_NOTIFY, wire.WRITE_NOTIFY)
)
HANDLERS = {
    wire.VERSION: _version,
    wire.EVENT: _subscribe,
    wire.EVENT_CANCEL: _unsubscribe,
    wire.READ: _read,
    wire.WRITE: _write,
    wire.SEARCH: _search,
    wire.EVENTS_OFF: _events,
    wire.EVENTS_ON: _events,
    wire.READ_SYNC: _nothing,
    wire.CLEAR: _clear,
    wire.READ_NOTIFY: _read,
    wire.CREATE: _create,
    wire.WRITE_NOTIFY: _write,
    wire.USER: _name,
    wire.HOST: _name,
    wire.ECHO: _echo,
}
