"""What clients ask for, message by message (EPICS Base, Channel Access protocol specification, "Messages")."""

import asyncio
import contextlib
import logging
import struct
import time
from typing import TYPE_CHECKING, Any

from iocs.ca.server import encoding, wire
from iocs.ca.server.channel import READ, WRITE, Channel, Subscription
from iocs.ca.server.fields import record_type
from iocs.ca.server.pv import ASKED, Pv
from iocs.ca.server.wire import Request
from iocs.signals import Refused, label

if TYPE_CHECKING:
    from iocs.ca.server.circuit import Circuit

log = logging.getLogger(__name__)

STRAY_READ = 256  # elements; clients may ask for so many of a scalar
STRAY_PUT = 1024  # elements; so many are read of every put, for a refusal in the device's own words
PUT_OVERHEAD = 4096  # bytes that a put costs besides its own while it waits
SETTLE = 0.02  # s; how long a get waits for the same channel's put, as caput reads back at once
SETTLING = 16  # gets of a channel that wait so; more are no reading back, and each costs a task


def _version(circuit: "Circuit", request: Request) -> None:
    circuit.greet()
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
    if address is not None and context.find(wire.text(request.body)):
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
        circuit.error(request.head, channel.cid, wire.NO_MEMORY, most)
    elif dtype > encoding.LAST_TYPE or not mask or count > max(channel.shape[1], STRAY_READ):
        words = f"no events of type {dtype}, {count} elements, mask {mask}"
        circuit.error(request.head, channel.cid, wire.GET_FAILED, words)
    else:
        channel.pv.refresh()
        Subscription(channel, number, mask, channel.form(dtype, count)).tell()


def _unsubscribe(circuit: "Circuit", request: Request) -> None:
    circuit.channel(request.first)
    subscription = circuit.subscriptions.get(request.second)
    if subscription is None:
        raise wire.Malformed(f"there is no subscription {request.second}")
    subscription.close()
    circuit.say(wire.message(wire.EVENT, 0, *request[1:5]))


def _read(circuit: "Circuit", request: Request) -> None:
    read(circuit, *request[:5])


def read(circuit: "Circuit", command: int, dtype: int, count: int, sid: int, ioid: int) -> None:
    """Answer a get: at once, unless a put of the same channel is under way."""
    channel = circuit.channel(sid)
    if channel.puts and channel.gets < SETTLING:
        channel.gets += 1
        circuit.context.server_tasks.create(_read_settled(circuit, channel, command, dtype, count, ioid))
    else:
        _answer_read(circuit, channel, command, dtype, count, ioid)


async def _read_settled(circuit: "Circuit", channel: Channel, *asked: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE):
            await channel.pv.settled()
    channel.gets -= 1
    if circuit.connected and channel.sid in circuit.channels:
        _answer_read(circuit, channel, *asked)


def _answer_read(circuit: "Circuit", channel: Channel, command: int, dtype: int, count: int, ioid: int) -> None:
    pv = channel.pv
    if not channel.rights & READ:
        status, reason = wire.NO_READ, "read access denied"
    elif count > STRAY_READ and count > channel.shape[1]:
        status, reason = wire.BAD_COUNT, f"{channel.name} has at most {channel.shape[1]} elements"
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
            status, reason = wire.GET_FAILED, str(error)
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


def _write(circuit: "Circuit", request: Request) -> None:
    channel = circuit.channel(request.first)
    if not _refused(circuit, channel, request, len(request.body)):
        size = len(request.body) + PUT_OVERHEAD
        channel.puts += 1
        circuit.puts += 1
        circuit.put_bytes += size
        circuit.context.put_bytes += size
        circuit.context.server_tasks.create(_put(circuit, channel, request, size))


def refused_early(circuit: "Circuit", request: Request, size: int) -> bool:
    """Refuse a put for which nothing speaks before its body has come; say whether its body is to be passed over."""
    try:
        return _refused(circuit, circuit.channel(request.first), request, size)
    except wire.Late:
        return True


def _refused(circuit: "Circuit", channel: Channel, request: Request, size: int) -> bool:
    """Refuse a put that the device need not be asked for."""
    pv, limits, context = channel.pv, circuit.limits, circuit.context
    most = limits.memory // 2
    given = max(request.elements, size // encoding.SIZES[request.dtype % 7])
    fit = max(pv.size, channel.shape[1])
    status = wire.PUT_FAILED
    if not pv.writable:
        status, reason = wire.NO_WRITE, f"{pv.name} cannot be put"
    elif not channel.rights & WRITE:
        status, reason = wire.NO_WRITE, f"write access to {channel.name} denied"
    elif not request.elements or given > max(fit, STRAY_PUT):
        reason = f"{given} elements are given, at most {fit} fit"
    elif circuit.puts >= limits.puts and not _urgent(pv, request):
        reason = f"{circuit.puts} puts of this client wait already"
    elif context.put_bytes + size > most and circuit.put_bytes + size > most // len(context.circuits):
        reason = f"puts that wait hold {context.put_bytes} bytes already; there are {most} for all clients"
    else:
        return False
    value = None
    with contextlib.suppress(Refused):  # no value of the PV's kind, or not there yet: nothing to write down
        value = pv.understood(request.dtype, request.elements, request.body)
    _end_put(circuit, channel, request, pv.value, value, status, reason)
    return True


def _urgent(pv: Pv, request: Request) -> bool:
    """Tell whether a put waits for no other one."""
    if pv.urgent is None:
        return False
    try:
        return pv.urgent(pv.name, pv.understood(request.dtype, request.elements, request.body))
    except Refused:  # no value, or not there yet
        return False


async def _put(circuit: "Circuit", channel: Channel, request: Request, size: int) -> None:
    """Carry out a put in a task of its own, so that no other client waits; it goes on if this client leaves."""
    pv, value, reason = channel.pv, None, ""
    old = pv.value
    ASKED.set(time.monotonic())
    try:
        value = pv.understood(request.dtype, request.elements, request.body)
        if pv.put is not None and _urgent(pv, request):
            await pv.put(pv.name, value, circuit.who)
        else:
            waits = circuit.turns.locked()
            async with circuit.turns:
                if waits and not circuit.connected:
                    raise Refused("its client left while it waited")
                async with pv.turn() as put:
                    old = pv.value
                    await put(pv.name, value, circuit.who)
    except Refused as error:
        reason = str(error) or "refused"
    except asyncio.CancelledError:  # the last that this task does is to tell it
        reason = "the server was stopped before the device confirmed"
    except Exception as error:
        log.exception("put of %s failed", channel.name)
        reason = f"internal error: {type(error).__name__}: {error}"
    finally:
        channel.puts -= 1
        circuit.puts -= 1
        circuit.put_bytes -= size
        circuit.context.put_bytes -= size
    _end_put(circuit, channel, request, old, value, wire.PUT_FAILED if reason else wire.NORMAL, reason)


def _end_put(
    circuit: "Circuit", channel: Channel, request: Request, old: Any, new: Any, status: int, reason: str
) -> None:
    """Count a put, write it into the put log, tell whoever serves the PV of a refusal, and answer the client.

    A refusal comes with its reason in an error message, which caput prints. libca finds the channel of an error about a
    WRITE by the client's number in its last word; of one about a WRITE_NOTIFY it would print nothing.
    """
    context, pv = circuit.context, channel.pv
    context.counts.puts += 1
    context.counts.refused_puts += bool(reason)
    if context.put_log is not None:
        peer, values = "{}:{}".format(*circuit.peer), (label(pv.signal, old), label(pv.signal, new))
        readback = None if reason else label(pv.signal, pv.value)
        who = time.time_ns(), peer, circuit.user, channel.name
        context.put_log.note(*who, *values, not reason, reason, readback=readback)
    if reason and pv.on_refused is not None:
        pv.on_refused(channel.name, new, circuit.who, reason)
    if not circuit.connected or channel.sid not in circuit.channels:
        return
    command, dtype, elements, sid, ioid, _ = request
    if status != wire.NORMAL:
        told = Request(wire.WRITE, dtype, elements, sid, channel.cid) if command == wire.WRITE_NOTIFY else request
        circuit.error(told.head, channel.cid, status, reason)
    if command == wire.WRITE_NOTIFY:
        circuit.say(wire.HEADER.pack(command, 0, dtype, min(elements, 0xFFFF), status, ioid))


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
