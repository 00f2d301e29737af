"""The protocol of PV Web Socket (pure), for browser runtimes of .bob screens. Read only: `write` is refused.

Source: github.com/ornl-epics/pvws, WebSocket.java (requests) and Vtype2Json.java (updates). Metadata comes with the
first update and after a reconnect; the client merges what follows. Arrays are Base64 of little-endian elements.
"""

import base64
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from iocs.ca.metadata import Metadata
from iocs.signals import Kind, Reading

PATH = "/pvws/pv"
MOST_PVS = 5000  # that one client may subscribe to


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for: subscribe, clear, list, ping, or echo; and of which PVs."""

    type: str
    pvs: tuple[str, ...] = ()


def parse(text: str | bytes) -> Request:
    """Read a client's message.

    Raises:
        ValueError: it is none, or asks for what there is not; the text says so to the client.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("a message is an object with 'type'")
    match message.get("type"):
        case "subscribe" | "monitor":
            return Request("subscribe", _names(message))
        case "clear":
            return Request("clear", _names(message))
        case "list" | "ping" | "echo" as kind:
            return Request(kind)
        case "write":
            raise ValueError(f"{message.get('pv')} is not written: this server only shows; use Channel Access")
        case other:
            raise ValueError(f"there is no message {other!r}; there are subscribe, clear, list, ping, echo")


def _names(message: dict[str, Any]) -> tuple[str, ...]:
    names = message.get("pvs")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("'pvs' must be a list of names")
    if len(names) > MOST_PVS:
        raise ValueError(f"{len(names)} PVs; at most {MOST_PVS} are given to one client")
    return tuple(dict.fromkeys(names))


def channel_access_name(name: str) -> str:
    """Give the Channel Access name of a PV as screens write it (`ca://NAME`, `NAME`).

    Raises:
        ValueError: it is a PV of another kind.
    """
    scheme, found, rest = name.partition("://")
    if not found:
        if name.startswith("="):
            raise ValueError(f"{name}: formulas are not computed here")
        return name
    if scheme != "ca":
        raise ValueError(f"{name}: only Channel Access is spoken here, not {scheme}://")
    return rest


def first(name: str, metadata: Metadata) -> dict[str, Any]:
    """Give what stands in the first update of a PV."""
    told: dict[str, Any] = {"type": "update", "pv": name, "vtype": _type(metadata), "readonly": True}
    if metadata.kind is Kind.ENUM:
        return {**told, "labels": list(metadata.states)}
    if metadata.kind in (Kind.STR, Kind.TEXT):
        return told
    told |= {"units": metadata.unit, "precision": metadata.precision}
    limits: dict[str, float] = {}
    if metadata.display and metadata.display[0] < metadata.display[1]:  # equal ones are how a server has none
        limits |= zip(("min", "max"), metadata.display, strict=True)
    if metadata.alarms and any(metadata.alarms):
        limits |= zip(("alarm_low", "warn_low", "warn_high", "alarm_high"), metadata.alarms, strict=True)
    return told | {key: limit for key, limit in limits.items() if math.isfinite(limit)}


def update(name: str, reading: Reading, metadata: Metadata) -> dict[str, Any]:
    """Give a value as an update; that of a PV which is not served has neither value nor text."""
    told: dict[str, Any] = {"type": "update", "pv": name}
    if not reading.connected or reading.value is None:
        return {**told, "severity": "UNDEFINED"}
    severity = "NONE" if reading.severity == 0 else reading.severity.name
    told |= {"severity": severity, "seconds": reading.time_ns // 10**9, "nanos": reading.time_ns % 10**9}
    value = reading.value
    if isinstance(value, str):
        return {**told, "text": value}
    if isinstance(value, list):
        return {**told, "text": "\n".join(map(str, value))}
    if isinstance(value, np.ndarray):
        key, wire = ("b64dbl", "<f8") if value.dtype.kind == "f" else ("b64int", "<i4")
        return {**told, key: base64.b64encode(value.astype(wire).tobytes()).decode()}
    if metadata.kind is Kind.ENUM:
        state = metadata.states[value] if 0 <= value < len(metadata.states) else str(value)
        return {**told, "value": value, "text": state}
    return {**told, "value": value if math.isfinite(value) else "NaN"}


def failure(text: str) -> dict[str, Any]:
    """Give the answer to what cannot be done."""
    return {"type": "error", "message": text}


def _type(metadata: Metadata) -> str:
    word = {Kind.FLOAT: "VDouble", Kind.INT: "VInt", Kind.ENUM: "VEnum"}.get(metadata.kind, "VString")
    return word + "Array" if metadata.count > 1 and metadata.kind in (Kind.FLOAT, Kind.INT) else word
