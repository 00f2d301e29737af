"""The table of a gas sensor in the site file, and how its board's lines are described there."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator

from drivers.bme680 import formats
from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Format, Quantity
from drivers.link import parse_address
from iocs.config import DeviceSettings, Table

PORT = 4001  # of a raw serial server
BAUD = 115200

_QUANTITIES = ", ".join(f"{name} ({unit})" if unit else name for name, unit in formats.UNITS.items())


def _quantity(name: object) -> object:
    if name not in formats.UNITS:
        raise ValueError(f"is one of {_QUANTITIES}; leave it out to pass over a field")
    return name


class FieldTable(Table):
    """One field of a line: `{ name = "temperature", offset = 273.15 }`; `{}` is passed over."""

    name: Annotated[Quantity, BeforeValidator(_quantity)] | None = Field(
        None, description=f"What it is: {_QUANTITIES}; left out = passed over."
    )
    key: str = Field("", description="Its key in JSON, with dots into inner objects; default: its name.")
    text: str | None = Field(None, description="It must read so.")
    scale: FiniteFloat = Field(1.0, description="Value = number * scale + offset, in the unit of the name.")
    offset: FiniteFloat = Field(0.0, description="See scale; 273.15 for degC.")
    range: tuple[FiniteFloat, FiniteFloat] | None = Field(
        None,
        description="Values beyond it are refused, in the unit of the name; default and widest: what a BME680 can say.",
    )
    decimals: int | None = Field(None, ge=0, le=15, description="Exactly so many digits after the point.")
    jump: FiniteFloat | None = Field(
        None,
        description="More change waits for a second reading; for gas a factor. Default: 2 K, 500 Pa, 5 %, 1.5.",
    )

    def field(self) -> formats.Field:
        """Give it as the driver has it."""
        low, high = self.range or (None, None)
        return formats.Field(
            self.name, self.key, self.text, self.scale, self.offset, low, high, self.decimals, self.jump
        )


class LineTable(Table):
    """`[device.line]`: a format of one's own, in place of `format`."""

    request: str = Field("", description='Text that asks for a line, e.g. "R"; left out = the board streams.')
    separator: str = Field("", description="Between the fields; or pattern, or json.")
    pattern: str = Field("", description="Regular expression of the whole line with groups (?P<temperature>...) ...")
    json_lines: bool = Field(False, alias="json", strict=True, description="Each line is a JSON object.")
    fields: list[FieldTable] = Field(description="The fields in the order of the line (with pattern, json: by name).")
    checksum: Literal["", "crc16", "xor"] = Field(
        "",
        description='After a "*": crc16 = CRC-16/CCITT-FALSE, 4 hexadecimal digits; xor = 2, as in NMEA 0183.',
    )
    empty_line: bool = Field(False, strict=True, description="A reading is several lines, up to an empty one.")

    @field_validator("request")
    @classmethod
    def _request(cls, request: str) -> str:
        if not request.isascii():
            raise ValueError("must be ASCII characters")
        return request

    def model_post_init(self, context: object) -> None:
        """Refuse what makes no sense together."""
        self.format()

    def format(self) -> Format:
        """Give it as the driver has it.

        Raises:
            ValueError: it makes no sense; the text says why.
        """
        return Format(
            "own",
            tuple(each.field() for each in self.fields),
            request=self.request.encode("ascii"),
            separator=self.separator,
            pattern=self.pattern,
            json=self.json_lines,
            checksum=self.checksum,
            empty_line=self.empty_line,
        )


class GasSettings(DeviceSettings):
    """The table of a gas sensor."""

    link: str = Field(
        description="serial:///dev/serial/by-id/... of the board (115200 baud unless given), or tcp://host:port."
    )
    format: Literal["auto", "countinghouse", "picosec"] = Field(
        "auto", description="The board's sketch: ours, that of picosec-daq, or whichever of the two answers."
    )
    line: LineTable | None = Field(None, description="[device.line]: a format of one's own, in place of format.")
    period: float = Field(10.0, ge=0.05, le=3600, description="Seconds from reading to reading at the start: PERIOD.")
    timeout: float = Field(1.0, gt=0, le=60, description="Seconds for an answer.")
    boot: float = Field(2.5, ge=0, le=60, description="Seconds that the board may need after its line was opened.")
    warmup: FiniteFloat = Field(1800.0, ge=0, description="Seconds after power-up in which the gas resistance settles.")
    frozen_after: int = Field(20, ge=0, description="Equal readings after which the values are in doubt; 0 = never.")
    reference_temperature: FiniteFloat = Field(20.0, gt=-273.15, description="degC at which DENSITY is 1.")
    reference_pressure: FiniteFloat = Field(1013.25, gt=0, description="hPa at which DENSITY is 1.")

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        address = parse_address(link, PORT)
        if address.scheme != "tcp" and "baud" not in address.options:
            link = f"{link}{'&' if address.options else '?'}baud={BAUD}"
        return str(parse_address(link, PORT))

    def model_post_init(self, context: object) -> None:
        """Refuse what does not go together."""
        if self.line is not None and "format" in self.model_fields_set:
            raise ValueError("format and line exclude one another: line describes a format of your own")
        if self.lost_after is not None and self.lost_after <= self.period + self.timeout:
            raise ValueError(
                f"lost_after = {self.lost_after:g} is not longer than period + timeout = "
                f"{self.period + self.timeout:g}: the sensor would be lost between two readings"
            )

    @property
    def formats(self) -> tuple[Format, ...]:
        """What the board may speak."""
        if self.line is not None:
            return (self.line.format(),)
        return {"auto": (COUNTINGHOUSE, PICOSEC), "countinghouse": (COUNTINGHOUSE,), "picosec": (PICOSEC,)}[self.format]
