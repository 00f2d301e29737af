"""One session of CAEN's C library, spoken to in the native protocol's requests and replies. Everything here blocks.

Source: CAENHVWrapper through `caen-libs` (see `drivers.caen_hv.binding`), and the parameters of the N1470 family in
it (a slot is a board; several channels a call). Parameters are found in what the unit lists, whatever their
spelling: the library takes unknown ones, succeeds, and leaves the output as it was. Units, powers of ten, decimals and
labels are read, not assumed.
"""

import math
import re
from typing import Any

from drivers.caen_hv.binding import load
from drivers.caen_hv.parameters import N1470
from drivers.errors import LinkError, LinkTimeout, ProtocolError

GONE = ("DOWN", "SOCKETERROR", "COMMUNICATIONERROR", "NOTCONNECTED", "DEVALREADYOPEN", "OS")
REFUSED = {"OUTOFRANGE": "VAL", "INVALIDPARAMETER": "VAL", "PARAMNOTFOUND": "PAR", "PARAMPROPNOTFOUND": "PAR"}

# native name -> names in the library, the unit (its number there) and the power of ten of ours
NUMBERS = {
    "VSET": (("VSet",), 2, 0),
    "ISET": (("ISet",), 1, -6),
    "MAXV": (("MaxV",), 2, 0),
    "RUP": (("RUp",), 7, 0),
    "RDW": (("RDwn",), 7, 0),
    "TRIP": (("Trip",), 8, 0),
    "VMON": (("VMon",), 2, 0),
    "IMONH": (("IMonH",), 1, -6),
    "IMONL": (("IMonL",), 1, -6),
}
# native name -> names in the library, and the native words of the values 0 and 1 where its labels are others
WORDS = {
    "PDWN": (("PDwn",), ("KILL", "RAMP")),
    "IMRANGE": (("ImonRange", "IMRange"), ("HIGH", "LOW")),
    "POL": (("Polarity",), ()),
    "BDILK": (("BdIlk",), ("NO", "YES")),
    "BDILKM": (("BdIlkM",), ()),
    "BDCTR": (("BdCtr",), ()),
}
BITS = {"STAT": ("ChStatus",), "BDALARM": ("BdAlarm",)}
BOUNDS = {
    bound: (parameter.name, which)
    for parameter in N1470.values()
    for bound, which in (
        (parameter.minimum, "minval"),
        (parameter.maximum, "maxval"),
        (parameter.decimals, "decimal"),
    )
    if bound
}
NUMERIC = 0  # a type of parameters

_REQUEST = re.compile(
    rb"\$BD:(?P<board>\d\d),CMD:(?P<verb>MON|SET)(?:,CH:(?P<channel>\d+))?,PAR:(?P<par>\w+)(?:,VAL:(?P<value>\S+))?\r\n"
)


class Library:
    """One session of the library. Everything in it blocks, and is called in the one thread.

    Args:
        where: the address, for messages.
        path: of the library; empty = where the loader finds it.
        system, link, argument: as InitSystem takes them.

    Attributes:
        doubts: what is doubtful about IMON as it was read last, by board and channel; empty for nothing.

    Raises:
        LinkError: it cannot be loaded, or there is no connection.
    """

    def __init__(self, where: str, path: str, system: str, link: str, argument: str) -> None:
        self._where = where
        self._binding = binding = load(where, path)
        try:
            kinds = binding.SystemType[system], binding.LinkType[link]
        except KeyError as error:
            known = ", ".join((*binding.SystemType.__members__, *binding.LinkType.__members__))
            raise LinkError(f"{where}: the library knows no {error.args[0]!r}; known: {known}") from None
        try:
            self._device = binding.Device.open(*kinds, argument)
        except binding.Error as error:
            raise LinkError(
                f"{where}: no connection: {error}; is the supply on, and no other program on it?"
            ) from error
        self._props: dict[tuple[int, int | None, str], Any] = {}
        self._names: dict[tuple[int, int | None], dict[str, str]] = {}
        self._crate_is_fresh = False
        self.doubts: dict[tuple[int, int], str] = {}
        try:
            self._boards()
        except LinkError:
            self.close()
            raise

    def close(self) -> None:
        """End the session."""
        try:
            self._device.close()
        except self._binding.Error:
            return  # it is gone, which is what was wanted

    def answer(self, asked: bytes) -> bytes:
        """Carry out one request of the native protocol; give its reply.

        Raises:
            LinkTimeout: the supply did not answer. LinkError: the session is lost. ProtocolError: nonsense came.
        """
        match = _REQUEST.fullmatch(asked)
        if match is None:
            raise LinkError(f"{self._where}: {asked!r} is no request")
        board, par = int(match["board"]), match["par"].decode()
        head = f"#BD:{board:02d},"
        try:
            if not self._is_there(board):
                self._crate_is_fresh = False  # it may have come since
            if not self._is_there(board):
                raise LinkTimeout(f"{self._where}: there is no board in slot {board}")
            channels = self._channels(board, match["channel"])
            if match["verb"] == b"SET":
                self._set(board, channels, par, (match["value"] or b"").decode())
                return f"{head}CMD:OK\r\n".encode()
            return f"{head}CMD:OK,VAL:{';'.join(self._get(board, channels, par))}\r\n".encode()
        except _Absent as absent:
            return f"{head}{absent.args[0]}:ERR\r\n".encode()
        except self._binding.Error as error:
            name = error.code.name
            if name in REFUSED:
                return f"{head}{REFUSED[name]}:ERR\r\n".encode()
            self._crate_is_fresh = False
            if name in GONE:
                raise LinkError(f"{self._where}: {error}") from error
            raise LinkTimeout(f"{self._where}: {asked.decode().strip()}: {error}") from error
        except ValueError as error:  # a type or unit that the binding does not know
            raise ProtocolError(f"{self._where}: {asked.decode().strip()}: {error}") from error

    def _boards(self) -> Any:
        """Give the crate map; asked again after something went wrong, so that another unit is noticed."""
        if not self._crate_is_fresh:
            try:
                self._map = self._device.get_crate_map()
            except self._binding.Error as error:
                raise LinkError(f"{self._where}: {error}") from error
            self._crate_is_fresh = True
            self._props.clear()
            self._names.clear()
        return self._map

    def _is_there(self, board: int) -> bool:
        return board < len(self._boards()) and self._boards()[board] is not None

    def _channels(self, board: int, channel: bytes | None) -> list[int] | None:
        """Give the channels that a request means; None for the board."""
        if channel is None:
            return None
        count = self._boards()[board].n_channel
        if int(channel) > count:
            raise _Absent("CH")
        return list(range(count)) if int(channel) == count else [int(channel)]

    # Reading

    def _get(self, board: int, channels: list[int] | None, par: str) -> list[str]:
        if channels is None and par in ("BDNAME", "BDNCH", "BDSNUM", "BDFREL"):
            told = self._boards()[board]
            version = f"{told.fw_version.major}.{told.fw_version.minor:02d}"
            return [
                {"BDNAME": told.model, "BDNCH": str(told.n_channel), "BDFREL": version}.get(
                    par, str(told.serial_number)
                )
            ]
        if par == "IMON":
            return self._currents(board, channels)
        if par in NUMBERS:
            return self._numbers(board, channels, par)
        if par in BOUNDS:
            setting, which = BOUNDS[par]
            return [self._bound(board, channel, setting, which) for channel in self._some(channels)]
        if par == "IMDEC":
            ranges = self._get(board, channels, "IMRANGE")
            pairs = zip(self._some(channels), ranges, strict=True)
            return [self._bound(board, channel, f"IMON{now[0]}", "decimal") for channel, now in pairs]
        if par in WORDS:
            names, words = WORDS[par]
            name = self._name(board, channels, names)
            return [self._word(board, channels, name, words, value) for value in self._values(board, channels, name)]
        if par in BITS:
            values = self._values(board, channels, self._name(board, channels, BITS[par]))
            return [f"{self._bits(par, value):05d}" for value in values]
        raise _Absent("PAR")

    def _numbers(self, board: int, channels: list[int] | None, par: str) -> list[str]:
        channels = self._some(channels)
        name = self._name(board, channels, NUMBERS[par][0])
        read = self._values(board, channels, name)
        found = []
        for channel, value in zip(channels, read, strict=True):
            scale, decimals = self._scale(board, channel, par, name)
            number = value * scale if isinstance(value, float) else math.nan
            if not math.isfinite(number):
                raise ProtocolError(f"{self._where}: {name} of channel {channel} is {value!r}")
            found.append(f"{abs(number):.{decimals}f}")
        return found

    def _currents(self, board: int, channels: list[int] | None) -> list[str]:
        """Give IMON, whichever of its two parameters has it."""
        channels = self._some(channels)
        high, low = self._numbers(board, channels, "IMONH"), self._numbers(board, channels, "IMONL")
        try:
            ranges = self._get(board, channels, "IMRANGE")
        except _Absent:
            ranges = [""] * len(channels)
        found = []
        for channel, *each in zip(channels, high, low, ranges, strict=True):
            text, self.doubts[board, channel] = merged(*each)
            found.append(text)
        return found

    def _bound(self, board: int, channel: int, setting: str, which: str) -> str:
        name = self._name(board, [channel], NUMBERS[setting][0])
        scale, decimals = self._scale(board, channel, setting, name)
        if which == "decimal":
            return str(decimals)
        prop = self._device.get_ch_param_prop(board, channel, name)  # ISet's change with the range
        return f"{(prop.minval if which == 'minval' else prop.maxval) * scale:.{decimals}f}"

    def _word(self, board: int, channels: list[int] | None, name: str, words: tuple[str, ...], value: Any) -> str:
        if value not in (0, 1):
            raise ProtocolError(f"{self._where}: {name} is {value!r}, not 0 or 1")
        return self._states(board, channels, name, words)[int(value)]

    def _states(self, board: int, channels: list[int] | None, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """Give the native words for 0 and 1: what the library labels them, if those are native words."""
        prop = self._prop(board, channels[0] if channels else None, name)
        labels = tuple(str(label or "").upper() for label in (prop.offstate, prop.onstate))
        if name == "Polarity":
            signs = {"+": ("+", "POS"), "-": ("-", "NEG")}
            labels = tuple(
                next((sign for sign, parts in signs.items() if any(part in label for part in parts)), label)
                for label in labels
            )
        return words if words and set(labels) != set(words) else labels

    def _bits(self, par: str, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            raise ProtocolError(f"{self._where}: {par} is {value!r}, which is no bit field")
        return value

    def _values(self, board: int, channels: list[int] | None, name: str) -> list[Any]:
        if channels is None:
            return self._device.get_bd_param([board], name)
        return self._device.get_ch_param(board, channels, name)

    # Setting

    def _set(self, board: int, channels: list[int] | None, par: str, value: str) -> None:
        if par == "BDCLR":
            self._device.set_bd_param([board], self._name(board, None, ("BdClr",)), None)
        elif par in ("ON", "OFF"):
            self._device.set_ch_param(
                board, self._some(channels), self._name(board, channels, ("Pw",)), int(par == "ON")
            )
        elif par in WORDS:
            names, words = WORDS[par]
            name = self._name(board, channels, names)
            states = self._states(board, channels, name, words)
            if value not in states:
                raise _Absent("VAL")
            self._device.set_ch_param(board, self._some(channels), name, states.index(value))
        elif par in NUMBERS:
            channels = self._some(channels)
            name = self._name(board, channels, NUMBERS[par][0])
            scale, _ = self._scale(board, channels[0], par, name)
            self._device.set_ch_param(board, channels, name, float(value) / scale)
        else:
            raise _Absent("PAR")

    # What the library calls things

    def _some(self, channels: list[int] | None) -> list[int]:
        if channels is None:
            raise _Absent("CH")
        return channels

    def _name(self, board: int, channels: list[int] | None, names: tuple[str, ...]) -> str:
        """Give the spelling of a parameter in this family; the library takes unknown ones and says nothing."""
        key = board, channels[0] if channels else None
        if key not in self._names:
            told = (
                self._device.get_bd_param_info(board)
                if key[1] is None
                else self._device.get_ch_param_info(board, key[1])
            )
            self._names[key] = {name.lower(): name for name in told}
        found = [self._names[key][name.lower()] for name in names if name.lower() in self._names[key]]
        if not found:
            raise _Absent("PAR")
        return found[0]

    def _prop(self, board: int, channel: int | None, name: str) -> Any:
        key = board, channel, name
        if key not in self._props:
            device = self._device
            self._props[key] = (
                device.get_bd_param_prop(board, name)
                if channel is None
                else device.get_ch_param_prop(board, channel, name)
            )
        return self._props[key]

    def _scale(self, board: int, channel: int, par: str, name: str) -> tuple[float, int]:
        """Give the factor from the library's value to ours, and the decimals."""
        prop, (_, unit, power) = self._prop(board, channel, name), NUMBERS[par]
        if int(prop.type) != NUMERIC or int(prop.unit) != unit:
            kind = f"{prop.type.name}{'' if prop.unit is None else f' in {prop.unit.name}'}"
            raise ProtocolError(f"{self._where}: the library says that {name} is {kind}; that cannot be")
        return 10.0 ** (prop.exp - power), max(int(prop.decimal), 0)


class _Absent(Exception):
    """This family has not what was asked for; the argument is the native protocol's word for it."""


def merged(high: str, low: str, now: str) -> tuple[str, str]:
    """Give IMON of the two that the library has, of which only that of the range in use is live: the other reads 0.

    Args:
        high: IMonH, uA.
        low: IMonL, uA.
        now: the range, HIGH or LOW; empty where it is not told.

    Returns:
        IMON, and what is doubtful about it: both are live. It is that of the range then, or the larger one.
    """
    own, other = (high, low) if now == "HIGH" else (low, high) if now else sorted((high, low), key=float, reverse=True)
    if float(own) == 0:
        return (other if float(other) else own), ""
    return own, f"IMonH = {high} uA and IMonL = {low} uA, and one should read 0" if float(other) else ""
