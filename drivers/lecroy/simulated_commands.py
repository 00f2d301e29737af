"""The commands of the simulated scope: messages in, replies out (X-Stream remote control manual WM-RCM-E)."""

import time
from typing import Any

import numpy as np

from drivers.lecroy.faults import Faults
from drivers.lecroy.numbers import number
from drivers.lecroy.simulated_language import (
    ATTENUATIONS,
    CHOICES,
    COMMAND,
    LONG,
    NAMES,
    RANGES,
    REGISTERS,
    UNITS,
    WARNING,
    Refusal,
    pairs,
    split,
    written,
)
from drivers.lecroy.simulated_scope import CHANNELS, MEMORY, SOURCES, TIMEBASES, VAB, SimulatedScope
from drivers.lecroy.simulated_signal import block, codes


class Commands:
    """Obeys messages on a `SimulatedScope`. The caller holds `scope.changed`.

    Args:
        scope: the scope.
        faults: change waveform blocks before they leave.
    """

    def __init__(self, scope: SimulatedScope, faults: Faults) -> None:
        self.scope = scope
        self.faults = faults
        self._ready: tuple[object, bytes] = (None, b"")  # what was asked for last, and the reply
        self.cancelled = False  # set to break off a WAIT

    def execute(self, message: bytes) -> bytes:
        """Obey a message; give the reply with its line end, empty for none."""
        replies: list[bytes] = []
        path = ""
        self.cancelled = False
        for text in split(message.decode("latin-1").rstrip("\r\n")):
            match = COMMAND.fullmatch(text)
            if match is None:
                continue
            path, header = (match[1] or path).upper(), match[2].upper()
            header = LONG.get(header, header)
            self.scope.catch_up(time.monotonic())
            try:
                reply = self._one(path, header, bool(match[3]), match[4])
            except Refusal as refusal:
                setattr(self.scope.status, refusal.register, refusal.number)
                self.scope.status.ESR |= 32 if refusal.register == "CMR" else 16
                continue
            except ValueError:
                self.scope.status.CMR = 3
                self.scope.status.ESR |= 32
                continue
            if reply is not None:
                warned = self.scope.vicp and header != "*IDN"
                replies.append(WARNING.encode() if warned else reply)
            if self.cancelled:
                return b""
        if len(replies) == 1 and replies[0] is self._ready[1]:
            return replies[0]  # a long reply as it is, without another copy
        return b";".join(reply.removesuffix(b"\n") for reply in replies) + b"\n" if replies else b""

    def _one(self, path: str, header: str, query: bool, text: str) -> bytes | None:
        scope = self.scope
        arguments = [part.strip() for part in text.split(",")] if text else []
        if query:
            if header in ("WF", "WAVEFORM"):
                return self._waveform(path, (arguments or ["ALL"])[0].upper())
            return self._reply(path, header, *self._asked(path, header, arguments))
        method = getattr(self, "_do_" + header.lower().replace("*", ""), None)
        if method is not None:
            method(path, arguments)
        else:
            self._set(path, header, arguments)
        scope.catch_up(time.monotonic())
        return None

    def _reply(self, path: str, header: str, value: str, unit: str = "") -> bytes:
        if self.scope.CHDR == "OFF":
            return value.encode("latin-1")
        name = NAMES.get(header, header) if self.scope.CHDR == "LONG" else header
        lead = (
            f"{path}:"
            if path and header in ("VDIV", "OFST", "CPL", "ATTN", "TRA", "PAVA", "TRLV", "TRSL", "TRCP")
            else ""
        )
        return f"{lead}{name} {value}{' ' + unit if unit else ''}".encode("latin-1")

    def _holder(self, path: str, header: str) -> Any:
        if header in ("VDIV", "OFST", "CPL", "ATTN", "TRA"):
            if path not in self.scope.channels:
                raise Refusal("CMR", 2)
            return self.scope.channels[path]
        if header in ("TRLV", "TRSL", "TRCP"):
            if path not in SOURCES:
                raise Refusal("CMR", 2)
            return self.scope.sources[path]
        if header in ("TDIV", "TRDL", "TRMD", "TRWI", "MSIZ", "CHDR", "CFMT", "CORD"):
            return self.scope
        raise Refusal("CMR", 1)

    def _asked(self, path: str, header: str, arguments: list[str]) -> tuple[str, str]:
        scope = self.scope
        match header:
            case "*IDN":
                return f"LECROY,{scope.model},{scope.serial},{scope.firmware}", ""
            case "*OPC":
                return "1", ""
            case "*STB" | "*ESR" | "INR" | "DDR" | "CMR" | "EXR" | "URR":
                return str(self._status(header.strip("*"))), ""
            case "ALST":
                return ",".join(f"{name},{self._status(name):06d}" for name in REGISTERS), ""
            case "SEQ":
                return f"{scope.SEQ},{scope.segments},{written(scope.segment_size)}", ""
            case "WFSU":
                return "SP,{},NP,{},FP,{},SN,{}".format(*scope.WFSU), ""
            case "TRSE":
                rest = "".join(f",{key},{value}" for key, value in scope.trigger.items() if key != "TYPE")
                return scope.trigger["TYPE"] + rest, ""
            case "BWL":
                modes = {name: channel.BWL for name, channel in scope.channels.items()}
                if len(set(modes.values())) == 1:
                    return modes["C1"], ""
                return ",".join(f"{name},{mode}" for name, mode in modes.items()), ""
            case "STST":
                trace, where, mode, kind = scope.STST
                return f"{trace},{where},AUTO,{mode},FORMAT,{kind}", ""
            case "DIR":
                return f"DISK,{arguments[1] if len(arguments) > 1 else 'HDD'},'{' '.join(scope.stored)}'", ""
            case "FLNM":
                kind = arguments[1] if len(arguments) > 1 else "C1"
                return f"TYPE,{kind},FILE,'{scope.file_names.get(kind, 'Trace')}'", ""
            case "WFTX":
                return f"'{self._channel(path).text.decode('latin-1')}'", ""
            case "PAVA":
                return self._parameters(path, [argument.upper() for argument in arguments]), ""
            case "CPL" if self._channel(path).overload:
                return "OVL", ""
        value = getattr(self._holder(path, header), header)
        if isinstance(value, str):
            return value, ""
        unit = UNITS.get(header, "")
        if header == "TRDL" and value < 0:
            unit = "S"
        return written(value), unit if scope.CHDR != "OFF" else ""

    def _status(self, name: str) -> int:
        scope = self.scope
        if name == "DDR":
            overloads = (channel.overload for channel in scope.channels.values())
            scope.status.DDR |= sum(1 << n for n, overload in enumerate(overloads) if overload)
        return scope.status.take(name)

    def _channel(self, path: str) -> Any:
        if path not in CHANNELS:
            raise Refusal("CMR", 2)
        return self.scope.channels[path]

    def _set(self, path: str, header: str, arguments: list[str]) -> None:
        holder = self._holder(path, header)
        if not arguments:
            raise Refusal("EXR", 27)
        if header in CHOICES:
            self._choose(holder, header, arguments[0].upper())
            return
        if header == "CFMT":
            if len(arguments) != 3 or arguments[1].upper() not in ("BYTE", "WORD"):
                raise Refusal("EXR", 22)
            self.scope.CFMT = f"DEF9,{arguments[1].upper()},BIN"
            return
        asked = number(arguments[0])
        value = asked
        if header == "TDIV":
            value = min(TIMEBASES, key=lambda step: abs(np.log10(step / max(asked, 1e-15))))
        elif header == "MSIZ":
            value = max((size for size in MEMORY if size <= asked), default=MEMORY[0])
        elif header == "ATTN":
            value = min(ATTENUATIONS, key=lambda step: abs(step - asked))
        elif header in RANGES:
            value = float(f"{min(max(asked, RANGES[header][0]), RANGES[header][1]):.3g}")
        if abs(value - asked) > 1e-9 * abs(asked):
            self.scope.status.STB |= VAB
        setattr(holder, header, float(value))

    def _choose(self, holder: Any, header: str, word: str) -> None:
        if word not in CHOICES[header]:
            raise Refusal("CMR", 5)
        if header == "TRMD":
            self.scope.set_mode(word)
        else:
            setattr(holder, header, word)
        if header == "CPL":
            holder.overload = False

    def _waveform(self, path: str, what: str) -> bytes:
        scope = self.scope
        if path not in CHANNELS or what not in ("ALL", "DESC", "TEXT", "TIME", "DAT1", "DAT2"):
            raise Refusal("CMR", 2 if path not in CHANNELS else 5)
        if scope.taken is None:
            raise Refusal("EXR", 31)
        channel = scope.channels[path]
        taken = scope.taken
        lead = {"OFF": f"{what},", "SHORT": f"{path}:WF {what},", "LONG": f"{path}:WAVEFORM {what},"}[scope.CHDR]
        asked = (lead, path, scope.acquired, scope.CFMT, scope.CORD, scope.WFSU, channel.text)
        if self._ready[0] != asked:
            data = block(
                taken,
                path,
                codes(taken, path, channel.pulse),
                kind=int("WORD" in scope.CFMT),
                order=int(scope.CORD == "LO"),
                setup=scope.WFSU,
                text=channel.text,
                what=what,
            )
            self._ready = (asked, lead.encode() + data + b"\n")
        whole = self._ready[1]
        if self.faults.spoils_blocks:
            return lead.encode() + self.faults.block(whole[len(lead) : -1])
        return whole

    def _parameters(self, path: str, names: list[str]) -> str:
        channel, taken = self._channel(path), self.scope.taken
        if taken is None:
            return ",".join(f"{name},UNDEF,IV" for name in names)
        vdiv, offset, _, probe = taken.vertical[path]
        volts = codes(taken, path, channel.pulse)[0].astype(float) * vdiv * probe / 8000.3 * 256 - offset
        low, high = float(volts.min()), float(volts.max())
        told = {
            "MEAN": volts.mean(),
            "PKPK": high - low,
            "MAX": high,
            "MIN": low,
            "RMS": np.sqrt((volts**2).mean()),
            "SDEV": volts.std(),
            "AMPL": high - low,
            "BASE": low,
            "TOP": high,
        }
        wanted = list(told) if names in ([], ["ALL"]) else names
        return ",".join(f"{n},{told[n]:.5E} V,OK" if n in told else f"{n},UNDEF,IV" for n in wanted)

    # Commands that are not one setting

    def _do_arm(self, path: str, arguments: list[str]) -> None:
        self.scope.arm()

    def _do_stop(self, path: str, arguments: list[str]) -> None:
        self.scope.stop()

    def _do_frtr(self, path: str, arguments: list[str]) -> None:
        self.scope.force()

    def _do_cls(self, path: str, arguments: list[str]) -> None:
        self.scope.status = type(self.scope.status)(ESR=0)

    def _do_wait(self, path: str, arguments: list[str]) -> None:
        """Hold up all parsing until there is nothing more to wait for: acquired, or the time is over."""
        scope = self.scope
        number_then = scope.acquired
        end = time.monotonic() + number(arguments[0]) if arguments else float("inf")
        while not self.cancelled and scope.armed and scope.acquired == number_then:
            now = time.monotonic()
            scope.catch_up(now)
            due = scope.next_due()
            wait = min(end - now, 1.0 if due is None else due - now, 1.0)
            if now >= end:
                return
            if wait > 0:
                scope.changed.wait(wait)

    def _do_seq(self, path: str, arguments: list[str]) -> None:
        scope = self.scope
        if not arguments or arguments[0].upper() not in ("ON", "OFF"):
            raise Refusal("CMR", 5)
        if len(arguments) > 1:
            scope.segments = min(max(int(number(arguments[1])), 2), 20_000)
            if scope.segments != number(arguments[1]):
                scope.status.STB |= VAB
        if len(arguments) > 2:
            scope.segment_size = max((size for size in MEMORY if size <= number(arguments[2])), default=MEMORY[0])
        scope.SEQ = arguments[0].upper()
        if scope.armed:
            scope.set_mode(scope.TRMD)

    def _do_wfsu(self, path: str, arguments: list[str]) -> None:
        now = dict(zip(("SP", "NP", "FP", "SN"), self.scope.WFSU, strict=True))
        for key, value in pairs(arguments):
            if key not in now:
                raise Refusal("CMR", 5)
            now[key] = int(number(value))
        self.scope.WFSU = (now["SP"], now["NP"], now["FP"], now["SN"])

    def _do_trse(self, path: str, arguments: list[str]) -> None:
        if not arguments or arguments[0].upper() not in ("DROP", "EDGE", "GLIT", "INTV", "STD", "SNG", "SQ", "TEQ"):
            raise Refusal("CMR", 5)
        trigger = {"TYPE": arguments[0].upper(), "SR": self.scope.trigger["SR"], "HT": self.scope.trigger["HT"]}
        for key, value in pairs(arguments[1:]):
            if key not in ("SR", "HT", "HV", "HV2") or (key == "SR" and value.upper() not in SOURCES):
                raise Refusal("CMR", 5)
            trigger[key] = value.upper()
        self.scope.trigger = trigger

    def _do_bwl(self, path: str, arguments: list[str]) -> None:
        named = pairs(arguments) if len(arguments) > 1 else [(name, arguments[0]) for name in CHANNELS]
        for name, mode in named:
            if name not in CHANNELS or mode.upper() not in CHOICES["BWL"]:
                raise Refusal("CMR", 5)
            self.scope.channels[name].BWL = mode.upper()

    def _do_stst(self, path: str, arguments: list[str]) -> None:
        named = dict(pairs(arguments[2:]))
        self.scope.STST = (
            arguments[0].upper(),
            arguments[1].upper(),
            named.get("AUTO", "OFF"),
            named.get("FORMAT", "BINARY"),
        )

    def _do_sto(self, path: str, arguments: list[str]) -> None:
        self.scope.store((arguments or ["ALL_DISPLAYED"])[0].upper())

    def _do_flnm(self, path: str, arguments: list[str]) -> None:
        named = dict(pairs(arguments))
        self.scope.file_names[named["TYPE"]] = named["FILE"].strip("'")

    def _do_dir(self, path: str, arguments: list[str]) -> None:
        self.scope.folder = arguments[-1].strip("'")

    def _do_del(self, path: str, arguments: list[str]) -> None:
        if self.scope.stored.pop(arguments[-1].strip("'"), None) is None:
            raise Refusal("EXR", 58)

    def _do_wftx(self, path: str, arguments: list[str]) -> None:
        self._channel(path).text = ",".join(arguments).strip("'\"").encode("latin-1")
