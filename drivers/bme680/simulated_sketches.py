"""What the simulated board's sketches say: our own, that of picosec-daq, and two that stream."""

from collections.abc import Mapping

SKETCHES = ("countinghouse", "picosec", "adafruit", "json")
POLLED = ("countinghouse", "picosec")
NAME = "countinghouse-bme680"
VERSION = "1.0"

NOT_FOUND = "Could not find a valid BME680 sensor, check wiring!"
BEGIN_FAILED = "Failed to begin reading :("
READING_FAILED = "Failed to complete reading :("


def crc16(text: str) -> int:
    """CRC-16/CCITT-FALSE bit by bit, not the driver's way."""
    crc = 0xFFFF
    for byte in text.encode("ascii"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ (0x1021 if crc & 0x8000 else 0)
            crc &= 0xFFFF
    return crc


def summed(body: str) -> str:
    """Give a line of our own sketch, with its checksum."""
    return f"{body}*{crc16(body):04X}"


def identity(uptime: int) -> str:
    """Our sketch's answer to `I`, and its first line after a reset."""
    return summed(f"I,{NAME},{VERSION},{uptime}")


def trouble(sketch: str, text: str) -> str:
    """What a sketch says instead of a reading."""
    if sketch == "countinghouse":
        return summed(f"E,{(NOT_FOUND, BEGIN_FAILED, READING_FAILED).index(text) + 1}")
    return READING_FAILED.replace("complete", "perform") if sketch == "adafruit" and text == READING_FAILED else text


def line(
    sketch: str,
    reading: tuple[float, float, float, float],
    said: Mapping[str, str],
    sequence: int,
    uptime: int,
    swapped: bool = False,
) -> str:
    """Give a reading's line (or lines).

    Args:
        sketch: one of `SKETCHES`.
        reading: K, Pa, %, Ohm.
        said: texts in place of a field's own: "temperature", "pressure", "humidity", "gas".
        sequence: number of the line, for our own sketch.
        uptime: s, for our own sketch.
        swapped: the first two fields have changed places.
    """
    kelvin, pascal, percent, ohm = reading
    match sketch:
        case "countinghouse":
            texts = [f"{kelvin * 100:.0f}", f"{pascal:.0f}", f"{percent * 1000:.0f}", f"{ohm:.0f}"]
        case "picosec":
            texts = [f"{kelvin:.2f}", f"{pascal:.0f}", f"{percent:.2f}", f"{ohm:.0f}"]
        case _:
            texts = [f"{kelvin - 273.15:.2f}", f"{pascal / 100:.2f}", f"{percent:.2f}", f"{ohm / 1000:.2f}"]
    names = ("temperature", "pressure", "humidity", "gas")
    t, p, rh, gas = (said.get(name, text) for name, text in zip(names, texts, strict=True))
    if swapped:
        t, p = p, t
    match sketch:
        case "countinghouse":
            return summed(f"D,{sequence % 65536},{uptime},{t},{p},{rh},{gas}")
        case "picosec":
            return f"{t};{p};{rh};{gas}"
        case "json":
            return f'{{"t": {t}, "p": {p}, "bme": {{"rh": {rh}, "gas": {gas}}}}}'
    return f"Temperature = {t} *C\r\nPressure = {p} hPa\r\nHumidity = {rh} %\r\nGas = {gas} KOhms\r\n"
