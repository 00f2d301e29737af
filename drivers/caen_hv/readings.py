"""When a reading is believed: as many values as channels, in the form they always had, bit fields twice the same."""

from drivers.caen_hv.line import Line, Priority
from drivers.caen_hv.parameters import Parameter
from drivers.caen_hv.protocol import Reply, Request, decimals, decode
from drivers.caen_hv.unit import SETTINGS, Unit
from drivers.errors import ProtocolError

BIT_READS = 5  # reads of a bit field among which two in a row must agree

Value = float | int | str


class Readings:
    """Reads the parameters of the boards on a line; remembers what their answers look like."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._forms: dict[tuple[int, str], tuple[int, ...]] = {}  # decimals of each channel
        self._bits: dict[tuple[int, str], tuple[Value, ...]] = {}  # what was last believed

    def expect(self, unit: Unit) -> None:
        """Begin anew with a board: numbers have the decimals that it told, of bit fields nothing is believed yet."""
        for memory in (self._forms, self._bits):
            for key in [key for key in memory if key[0] == unit.board]:
                del memory[key]
        self._forms[unit.board, "IMON"] = unit.imon_decimals
        for name in SETTINGS:
            told = tuple(each[name].decimals for each in unit.limits if name in each)
            if len(told) == unit.channels:
                self._forms[unit.board, name] = told
                if name == "VSET":
                    self._forms[unit.board, "VMON"] = told

    async def read(self, unit: Unit, parameter: Parameter, priority: Priority) -> tuple[Value, ...]:
        """Give one value a channel, or the one of a board parameter.

        Corrupted status words were seen on real units: a bit field that differs from the last one is read again until
        two reads in a row agree.

        Raises:
            DriverError: as `Line.ask`; ProtocolError when a bit field never agrees.
        """
        values = await self._ask(unit, parameter, priority)
        if parameter.kind != "bits":
            return values
        key = (unit.board, parameter.name)
        last = self._bits.get(key)
        for _again in range(BIT_READS):
            if values == last:
                self._bits[key] = values
                return values
            last, values = values, await self._ask(unit, parameter, priority)
        self._bits.pop(key, None)
        raise ProtocolError(
            f"{self._line.link.address}: {parameter.name} of board {unit.board} differs at each of {BIT_READS} reads; "
            f"last {values}"
        )

    async def _ask(self, unit: Unit, parameter: Parameter, priority: Priority) -> tuple[Value, ...]:
        where = f"{self._line.link.address}: {parameter.name}"
        count = 1 if parameter.board else unit.channels
        key = (unit.board, parameter.name)
        found: list[tuple[Value, ...]] = []
        odd: list[tuple[int, ...]] = []

        def take(reply: Reply) -> None:
            if len(reply.values) != count:
                raise ProtocolError(f"{where}: {len(reply.values)} values instead of {count}")
            values = tuple(decode(parameter, text) for text in reply.values)
            if parameter.kind == "number":
                form = tuple(map(decimals, reply.values))
                # Other decimals are believed when they come again after the line was checked: a range was switched.
                if form != self._forms.get(key, form) and form not in odd:
                    odd.append(form)
                    raise ProtocolError(f"{where}: {';'.join(reply.values)} has other decimals than expected")
                self._forms[key] = form
            found.append(values)

        channel = None if parameter.board else unit.channels
        request = Request(unit.board, parameter.name, channel)
        await self._line.ask(request, priority, take, form=self._form(unit, parameter))
        return found[-1]

    def _form(self, unit: Unit, parameter: Parameter) -> tuple[int, ...] | None:
        """Give what an answer looks like; None where nothing else looks like it, or where it is not known yet."""
        if parameter.board or parameter.kind == "word":
            return None
        if parameter.kind == "bits":
            return (0,) * unit.channels
        return self._forms.get((unit.board, parameter.name))
