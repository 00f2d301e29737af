"""CAEN's C library as the package pycaenhv finds and loads it, in the words of the package caen-libs. Blocks.

For whoever has pycaenhv and not caen-libs. Only its search for the library is used: its own calls hand the number of
the channel over as the number of channels (in some versions), read four bytes into two, and know no labels and no
settings of boards.

Source: CAENHVWrapper.h, the functions and types of the N1470 family. An unknown parameter succeeds there and leaves
the output as it was, so every output is filled beforehand with what cannot be.
"""

import ctypes
import importlib
import math
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_short, c_ubyte, c_uint, c_ushort, c_void_p
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, ClassVar, NamedTuple

NAME = 10  # bytes of a parameter's name in a list
TEXT = 1024  # bytes of a label
WIDE_SERIALS = 7  # release from which serial numbers have 32 bits
UNTOUCHED = 0x7FFF_FFFF

SystemType = IntEnum(
    "SystemType",
    "SY1527 SY2527 SY4527 SY5527 N568 V65XX N1470 V8100 N568E DT55XX FTK DT55XXE N1068 SMARTHV NGPS N1168 R6060",
    start=0,
)
LinkType = IntEnum("LinkType", "TCPIP RS232 CAENET USB OPTLINK USB_VCP USB3 A4818", start=0)


@unique
class Code(IntEnum):
    """Results of calls."""

    OK = 0
    SYSERR = 1
    WRITEERR = 2
    READERR = 3
    TIMEERR = 4
    DOWN = 5
    OUTOFRANGE = 10
    PARAMPROPNOTFOUND = 21
    PARAMNOTFOUND = 22
    DEVALREADYOPEN = 24
    INVALIDPARAMETER = 26
    FUNCTIONNOTAVAILABLE = 27
    SOCKETERROR = 28
    COMMUNICATIONERROR = 29
    NOTCONNECTED = 0x1002
    OS = 0x1003
    LINKNOTSUPPORTED = 0x1006
    UNKNOWN = 0x7FFF

    @classmethod
    def _missing_(cls, value: object) -> "Code":
        return cls.UNKNOWN


class ParamType(IntEnum):
    """Types of parameters."""

    NUMERIC = 0
    ONOFF = 1
    CHSTATUS = 2
    BDSTATUS = 3
    BINARY = 4
    STRING = 5
    ENUM = 6
    CMD = 7


class ParamUnit(IntEnum):
    """Units of numbers."""

    NONE = 0
    AMPERE = 1
    VOLT = 2
    WATT = 3
    CELSIUS = 4
    HERTZ = 5
    BAR = 6
    VPS = 7
    SECOND = 8
    OTHER = 9

    @classmethod
    def _missing_(cls, value: object) -> "ParamUnit":
        return cls.OTHER


class Error(Exception):
    """A call failed; `code` says how."""

    def __init__(self, function: str, result: int) -> None:
        self.code = Code(result)
        super().__init__(f"{function} gives {result:#x} ({self.code.name})")


class Version(NamedTuple):
    """A firmware release."""

    major: int
    minor: int


class Board(NamedTuple):
    """A board in its slot."""

    slot: int
    model: str
    serial_number: int
    n_channel: int
    fw_version: Version


@dataclass(frozen=True, slots=True)
class ParamProp:
    """What the library tells about a parameter; `exp` is the power of ten of its unit."""

    type: ParamType
    unit: ParamUnit | None = None
    exp: int = 0
    decimal: int = 0
    minval: float = 0.0
    maxval: float = 0.0
    offstate: str = ""
    onstate: str = ""


class _Functions:
    """Functions of the library that pycaenhv has loaded, with argument types of our own."""

    ARGUMENTS: ClassVar[dict[str, tuple[Any, ...]]] = {
        "InitSystem": (c_int, c_int, c_char_p, c_char_p, c_char_p, POINTER(c_int)),
        "DeinitSystem": (c_int,),
        "GetCrateMap": (c_int, POINTER(c_ushort), *(c_void_p,) * 6),
        "GetChParamInfo": (c_int, c_ushort, c_ushort, c_void_p, POINTER(c_int)),
        "GetBdParamInfo": (c_int, c_ushort, c_void_p),
        "GetChParamProp": (c_int, c_ushort, c_ushort, c_char_p, c_char_p, c_void_p),
        "GetBdParamProp": (c_int, c_ushort, c_char_p, c_char_p, c_void_p),
        "GetChParam": (c_int, c_ushort, c_char_p, c_ushort, POINTER(c_ushort), c_void_p),
        "SetChParam": (c_int, c_ushort, c_char_p, c_ushort, POINTER(c_ushort), c_void_p),
        "GetBdParam": (c_int, c_ushort, POINTER(c_ushort), c_char_p, c_void_p),
        "SetBdParam": (c_int, c_ushort, POINTER(c_ushort), c_char_p, c_void_p),
        "Free": (c_void_p,),
    }

    def __init__(self, library: Any) -> None:
        made = {
            name: ctypes.CFUNCTYPE(c_int, *types)((f"CAENHV_{name}", library)) for name, types in self.ARGUMENTS.items()
        }
        self._made: dict[str, Callable[..., int]] = made
        release = ctypes.CFUNCTYPE(c_char_p)(("CAENHVLibSwRel", library))() or b""
        major = release.split(b".")[0]
        self.serial: Any = c_uint if major.isdigit() and int(major) >= WIDE_SERIALS else c_ushort

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            Error: it fails.
        """
        if result := self._made[name](*arguments):
            raise Error(name, result)

    def free(self, pointer: Any) -> None:
        """Give back memory that the library has allocated."""
        if pointer:
            self._made["Free"](ctypes.cast(pointer, c_void_p))


class Device:
    """One session; see `caen_libs.caenhvwrapper.Device`, whose methods these are. Every one raises `Error`."""

    def __init__(self, library: Any, handle: int) -> None:
        self._library, self._handle = library, handle

    @classmethod
    def open(cls, system: int, link: int, argument: str) -> "Device":
        """Begin a session."""
        handle = c_int(-1)
        library = _Functions(importlib.import_module("pycaenhv.functions").lib)
        library.call("InitSystem", int(system), int(link), argument.encode(), b"", b"", byref(handle))
        return cls(library, handle.value)

    def close(self) -> None:
        """End the session."""
        self._library.call("DeinitSystem", self._handle)

    def get_crate_map(self) -> list[Board | None]:
        """Give the board in each slot, None for an empty one."""
        slots, counts, serials = c_ushort(), POINTER(c_ushort)(), POINTER(self._library.serial)()
        models, words = POINTER(c_char)(), POINTER(c_char)()
        low, high = POINTER(c_ubyte)(), POINTER(c_ubyte)()
        lists = counts, models, words, serials, low, high
        try:
            self._library.call("GetCrateMap", self._handle, byref(slots), *map(byref, lists))
            found: list[Board | None] = []
            at = ctypes.cast(models, c_void_p).value or 0
            for slot in range(slots.value):
                model = ctypes.string_at(at)
                at += len(model) + 1
                board = Board(
                    slot, model.decode("latin-1"), serials[slot], counts[slot], Version(high[slot], low[slot])
                )
                found.append(board if counts[slot] else None)
            return found
        finally:
            for each in lists:
                self._library.free(each)

    def get_ch_param_info(self, slot: int, channel: int) -> list[str]:
        """List the parameters of a channel."""
        names, count = POINTER(c_char)(), c_int()
        try:
            self._library.call("GetChParamInfo", self._handle, slot, channel, byref(names), byref(count))
            return [_cell(names, number) for number in range(count.value)]
        finally:
            self._library.free(names)

    def get_bd_param_info(self, slot: int) -> list[str]:
        """List the parameters of a board; an empty name is the last."""
        names = POINTER(c_char)()
        try:
            self._library.call("GetBdParamInfo", self._handle, slot, byref(names))
            found: list[str] = []
            while names and (name := _cell(names, len(found))):
                found.append(name)
            return found
        finally:
            self._library.free(names)

    def get_ch_param_prop(self, slot: int, channel: int, name: str) -> ParamProp:
        """Give what is told about a parameter of a channel."""
        return self._prop("GetChParamProp", (slot, channel), name)

    def get_bd_param_prop(self, slot: int, name: str) -> ParamProp:
        """Give what is told about a parameter of a board."""
        return self._prop("GetBdParamProp", (slot,), name)

    def get_ch_param(self, slot: int, channels: Sequence[int], name: str) -> list[Any]:
        """Read a parameter of some channels."""
        values = _room(self.get_ch_param_prop(slot, channels[0], name).type, len(channels))
        which = (c_ushort * len(channels))(*channels)
        self._library.call("GetChParam", self._handle, slot, name.encode(), len(channels), which, byref(values))
        return list(values)

    def set_ch_param(self, slot: int, channels: Sequence[int], name: str, value: float) -> None:
        """Set a parameter of some channels, of all to the same."""
        values = _room(self.get_ch_param_prop(slot, channels[0], name).type, len(channels))
        values[:] = [value] * len(channels)
        which = (c_ushort * len(channels))(*channels)
        self._library.call("SetChParam", self._handle, slot, name.encode(), len(channels), which, byref(values))

    def get_bd_param(self, slots: Sequence[int], name: str) -> list[Any]:
        """Read a parameter of some boards."""
        values = _room(self.get_bd_param_prop(slots[0], name).type, len(slots))
        which = (c_ushort * len(slots))(*slots)
        self._library.call("GetBdParam", self._handle, len(slots), which, name.encode(), byref(values))
        return list(values)

    def set_bd_param(self, slots: Sequence[int], name: str, value: None) -> None:
        """Give some boards an order."""
        which, nothing = (c_ushort * len(slots))(*slots), (c_int * len(slots))()
        self._library.call("SetBdParam", self._handle, len(slots), which, name.encode(), byref(nothing))

    def _prop(self, function: str, place: tuple[int, ...], name: str) -> ParamProp:
        def told(what: bytes, out: Any) -> Any:
            self._library.call(function, self._handle, *place, name.encode(), what, byref(out))
            return out.value

        number = told(b"Type", c_uint(UNTOUCHED))
        if number == UNTOUCHED:
            raise Error(function, Code.PARAMNOTFOUND)
        kind = ParamType(number)
        match kind:
            case ParamType.NUMERIC:
                unit, exp = ParamUnit(told(b"Unit", c_ushort(0))), told(b"Exp", c_short(0))
                low, high = told(b"Minval", c_float(0)), told(b"Maxval", c_float(0))
                return ParamProp(kind, unit, exp, told(b"Decimal", c_short(0)), low, high)
            case ParamType.ONOFF:
                off, on = (told(state, ctypes.create_string_buffer(TEXT)) for state in (b"Offstate", b"Onstate"))
                return ParamProp(kind, offstate=off.decode("latin-1"), onstate=on.decode("latin-1"))
        return ParamProp(kind)


def _cell(names: Any, number: int) -> str:
    return names[number * NAME : (number + 1) * NAME].split(b"\0")[0].decode("latin-1")


def _room(kind: ParamType, count: int) -> Any:
    """Give room for so many values, filled with what none of them can be."""
    if kind is ParamType.NUMERIC:
        return (c_float * count)(*[math.nan] * count)
    return (c_int * count)(*[-1] * count)
