"""What a client has open: a channel to a PV, and its subscriptions."""

from typing import TYPE_CHECKING

from iocs.ca.server import wire
from iocs.ca.server.encoding import CHAR, STRING, Form
from iocs.ca.server.names import Address
from iocs.ca.server.pv import ALARM, LONG_SIZE, PROPERTY, Pv

if TYPE_CHECKING:
    from iocs.ca.server.circuit import Circuit

READ, WRITE = 1, 2  # access rights
ENOUGH = 1 << 17  # bytes of events that wait for the end of the loop's turn


class Channel:
    """A client's channel.

    Attributes:
        cid, sid: its numbers on the client's and on our side.
        name: as the client asked for it.
        address: the name taken apart.
        rights: READ and WRITE, as the client was told.
        puts: that are under way.
        gets: that wait for them.
    """

    __slots__ = ("_form", "address", "cid", "circuit", "gets", "name", "puts", "pv", "rights", "sid", "subscriptions")

    def __init__(self, circuit: "Circuit", cid: int, sid: int, name: str, address: Address, pv: Pv) -> None:
        self.circuit, self.cid, self.sid, self.name, self.address, self.pv = circuit, cid, sid, name, address, pv
        self.rights = 0
        self.puts = self.gets = 0
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
        queued: a slow client is to get every event of some seconds.
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
        "mask",
        "number",
        "queued",
    )

    def __init__(self, channel: Channel, number: int, mask: int, form: Form) -> None:
        self.channel, self.circuit, self.number, self.mask, self.form = channel, channel.circuit, number, mask, form
        self.deadband = channel.address.deadband
        self.queued = channel.pv.signal.queued
        self._last: object = None
        self._count = self._size = -1
        self._head = b""
        channel.subscriptions.add(self)
        self.circuit.subscriptions[number] = self
        self._join()

    def _join(self) -> None:
        if self.channel.rights & READ:
            self.channel.pv.subscriptions.setdefault(self.form, []).append(self)

    def _leave(self) -> None:
        of_pv = self.channel.pv.subscriptions
        of_form = of_pv.get(self.form, [])
        if self in of_form:
            of_form.remove(self)
            if not of_form:
                del of_pv[self.form]

    def passes(self, value: object, flags: int) -> bool:
        """Whether the filter dbnd lets an event pass: alarms and properties always, values by their distance."""
        deadband, last = self.deadband, self._last
        if deadband is not None and not flags & (ALARM | PROPERTY):
            if isinstance(value, int | float) and isinstance(last, int | float):
                size = abs(last) * deadband.size / 100 if deadband.relative else deadband.size
                if abs(value - last) <= size:
                    return False
        self._last = value
        return True

    def tell(self) -> None:
        """Send the present value, or why there is none: at once, or when a slow client takes events again."""
        if self.circuit.slow and not self.queued:
            self.circuit.hold(self)
        else:
            self.send()

    def send(self) -> None:
        """Send the present value, or why there is none."""
        pv = self.channel.pv
        if not self.channel.rights & READ:
            self._fail(wire.NO_READ)
            return
        try:
            whole = pv.encoded(self.form)
        except ValueError:
            self._fail(wire.GET_FAILED)
            return
        self._last = pv.value
        self.push(whole)

    def push(self, whole: tuple[int, bytes | bytearray]) -> None:
        """Send an event: number of elements and body."""
        count, body = whole
        if count != self._count or len(body) != self._size:
            self._count, self._size = count, len(body)
            self._head = wire.message(wire.EVENT, len(body), self.form.dtype, count, wire.NORMAL, self.number)
        circuit = self.circuit
        if circuit.slow and self.queued:
            circuit.queue(self, self._head, body)
            return
        circuit.updates += 1
        out = circuit.out
        out.append(self._head)
        out.append(body)
        if not circuit.scheduled:
            circuit.schedule()
        circuit.fresh += self._size
        if circuit.fresh > ENOUGH:
            circuit.flush()

    def _fail(self, status: int) -> None:
        self._count = -1
        self.circuit.say(wire.message(wire.EVENT, 0, self.form.dtype, 0, status, self.number))

    def rights_changed(self) -> None:
        """Begin or end the flow of events, as the channel may now be read or not."""
        self._leave()
        self._join()
        self.circuit.forget(self)
        self.tell()

    def close(self) -> None:
        """End it; nothing of it is sent any more."""
        self._leave()
        self.circuit.forget(self)
        self.circuit.subscriptions.pop(self.number, None)
        self.channel.subscriptions.discard(self)
