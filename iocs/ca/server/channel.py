"""What a client has open: a channel to a PV, and its subscriptions."""

from typing import TYPE_CHECKING

import caproto as ca

from iocs.ca.server import wire
from iocs.ca.server.encoding import CHAR, STRING, Form
from iocs.ca.server.names import Address, Deadband
from iocs.ca.server.pv import ALARM, LONG_SIZE, PROPERTY, Pv

if TYPE_CHECKING:
    from iocs.ca.server.circuit import Circuit

READ, WRITE = 1, 2  # access rights
NO_READ_ACCESS = wire.code(ca.CAStatus.ECA_NORDACCESS)
GET_FAILED = wire.code(ca.CAStatus.ECA_GETFAIL)
LARGE = 1 << 16  # bytes; such a body is sent at once, so that no two of them wait


class Channel:
    """A client's channel.

    Attributes:
        cid, sid: its numbers on the client's and on our side.
        name: as the client asked for it.
        address: the name taken apart.
        rights: READ and WRITE, as the client was told.
        puts: that are under way.
    """

    __slots__ = ("_form", "address", "cid", "circuit", "name", "puts", "pv", "rights", "sid", "subscriptions")

    def __init__(self, circuit: "Circuit", cid: int, sid: int, name: str, address: Address, pv: Pv) -> None:
        self.circuit, self.cid, self.sid, self.name, self.address, self.pv = circuit, cid, sid, name, address, pv
        self.rights = 0
        self.puts = 0
        self._form = Form(-1, 0)
        self.subscriptions: set[Subscription] = set()
        pv.channels.add(self)

    @property
    def shape(self) -> tuple[int, int]:
        """Native type and number of elements, as the client is told: of what the name's filters leave."""
        native, count = self.pv.native, self.pv.size
        if self.address.long and native == STRING:
            native, count = CHAR, LONG_SIZE
        if self.address.part is not None:
            count = max(1, len(range(count)[slice(*self.address.part)]))
        return native, count

    def form(self, dtype: int, count: int) -> Form:
        """Give the form of a value that the client asks for on this channel; mostly it is the one of last time."""
        form, address = self._form, self.address
        if form.dtype != dtype or form.elements != count:
            form = self._form = Form(dtype, count, address.long, address.part, address.now)
        return form

    def close(self) -> None:
        """End the channel and its subscriptions; nothing of them is sent any more."""
        for subscription in tuple(self.subscriptions):
            subscription.close()
        self.pv.channels.discard(self)
        self.circuit.channels.pop(self.sid, None)


class Subscription:
    """A client's subscription to events.

    Attributes:
        number: the client's number of it.
        mask: the kinds of event that it wants.
        deadband: filter dbnd, None for all events.
    """

    __slots__ = (
        "_count",
        "_head",
        "_last",
        "_size",
        "channel",
        "circuit",
        "deadband",
        "form",
        "large",
        "mask",
        "number",
        "queued",
    )

    def __init__(self, channel: Channel, number: int, mask: int, form: Form) -> None:
        self.channel, self.circuit, self.number, self.mask, self.form = channel, channel.circuit, number, mask, form
        self.deadband: Deadband | None = channel.address.deadband
        self.queued = channel.pv.signal.queued
        self.large = False
        self._last: float | None = None
        self._count = self._size = -1
        self._head = b""
        channel.subscriptions.add(self)
        self.circuit.subscriptions[number] = self
        if channel.rights & READ:
            channel.pv.subscriptions.setdefault(form, []).append(self)

    def first(self) -> None:
        """Send the present value, or that it may not be read."""
        channel = self.channel
        if not channel.rights & READ:
            self.fail(NO_READ_ACCESS)
            return
        try:
            whole = channel.pv.encoded(self.form)
        except ValueError:
            self.fail()
            return
        self._last = channel.pv.value
        self.push(whole)

    def passes(self, value: object, flags: int) -> bool:
        """Whether the filter dbnd lets an event pass: alarms and properties always, values by their distance."""
        deadband, last = self.deadband, self._last
        number = isinstance(value, int | float)
        if deadband is not None and number and isinstance(last, int | float) and not flags & (ALARM | PROPERTY):
            size = abs(last) * deadband.size / 100 if deadband.relative else deadband.size
            if abs(value - last) <= size:
                return False
        self._last = value if number else None
        return True

    def push(self, whole: tuple[int, bytes | bytearray]) -> None:
        """Send an event: at once, or when a slow client can take it again."""
        count, body = whole
        if count != self._count or len(body) != self._size:
            self._count, self._size = count, len(body)
            self.large = len(body) >= LARGE
            self._head = wire.message(wire.EVENT, len(body), self.form.dtype, count, wire.NORMAL, self.number)
        circuit = self.circuit
        circuit.updates += 1
        if circuit.slow:
            circuit.hold(self, self._head, body)
            return
        out = circuit.out
        out.append(self._head)
        out.append(body)
        if not circuit.scheduled:
            circuit.schedule()
        if self.large or len(out) > wire.MOST_PARTS:
            circuit.flush()

    def fail(self, status: int = GET_FAILED) -> None:
        """Send an event without a value that says why there is none."""
        self.circuit.withhold(self)
        self._count = -1
        head = wire.message(wire.EVENT, 0, self.form.dtype, 0, status, self.number)
        if self.circuit.slow:
            self.circuit.hold(self, head, b"")
        else:
            self.circuit.say(head)

    def rights_changed(self) -> None:
        """Begin or end the flow of events, as the channel may now be read or not."""
        self._leave()
        if self.channel.rights & READ:
            self.channel.pv.subscriptions.setdefault(self.form, []).append(self)
        self.first()

    def close(self) -> None:
        """End it; nothing of it is sent any more."""
        self._leave()
        self.circuit.withhold(self)
        self.circuit.subscriptions.pop(self.number, None)
        self.channel.subscriptions.discard(self)

    def _leave(self) -> None:
        of_pv = self.channel.pv.subscriptions
        of_form = of_pv.get(self.form, [])
        if self in of_form:
            of_form.remove(self)
            if not of_form:
                del of_pv[self.form]
