"""What a put to a scope's PV asks of the scope: PV name and value to the driver's verb."""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.lecroy.scope import Scope

DEEDS = ("ARM", "STOP", "FORCE", "STORE")


async def do(scope: Scope, deed: str) -> None:
    """Carry out one of `DEEDS`.

    Raises:
        DriverError: the scope refuses.
    """
    await {"ARM": scope.arm, "STOP": scope.stop, "FORCE": scope.force, "STORE": scope.store}[deed]()


async def put_setting(scope: Scope, name: str, word: Any, now: Callable[[], Mapping[str, Any]]) -> None:
    """Set one setting; the verbs check it and see whether the scope refuses.

    Args:
        scope: connected.
        name: of the setpoint, e.g. "C1:VDIV".
        word: its value, of an enum the word.
        now: gives the present values, enums as words, of what the scope takes only together.

    Raises:
        ValueError: the value makes no sense; nothing was sent.
        DriverError: the scope refuses.
    """
    channel, _, leaf = name.partition(":") if name[:1] == "C" and name[1:2].isdigit() else ("", "", name)
    if channel:
        verbs = {
            "VDIV": scope.volt_div,
            "OFST": scope.offset,
            "CPL": scope.coupling,
            "BWL": scope.bandwidth_limit,
            "ATTN": scope.attenuation,
            "TRLV": scope.trig_level,
            "TRSL": scope.trig_slope,
            "TRCP": scope.trig_coupling,
            "ON": scope.display,
        }
        await verbs[leaf](channel, word)
        return
    match leaf:
        case "TRTYPE":
            await scope.trig_select(word, now()["TRSRC"])
        case "TRSRC":
            await scope.trig_select(now()["TRTYPE"], word)
        case "SEQ:ON":
            await scope.sequence(word)
        case "SEQ:N":
            await scope.sequence(now()["SEQ:ON"], word)
        case "AUTOSTORE":
            await scope.autostore_mode(word)
        case "WFSU:SP" | "WFSU:NP" | "WFSU:FP" | "WFSU:SN":
            setup = {key: now()[f"WFSU:{key}"] for key in ("FP", "NP", "SP", "SN")} | {leaf[5:]: word}
            await scope.waveform_setup(*setup.values())
        case _:
            plain = {
                "TDIV": scope.time_div,
                "TRDL": scope.trig_delay,
                "MSIZ": scope.memory_size,
                "TRMD": scope.trig_mode,
                "TRWI": scope.trig_window,
            }
            await plain[leaf](word)
