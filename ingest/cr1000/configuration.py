"""A station's configuration: global.cfg, STATION.cfg over it, the files of its sensors; compiled to pieces of time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ingest.cr1000.declarations import STRING, Broken, Declaration, Description, declarations, unsafe
from ingest.cr1000.layers import Layer, Pieces
from ingest.cr1000.parameters import description
from ingest.cr1000.records import Finding, Findings, Place, records
from ingest.cr1000.sensors import SensorType

GLOBAL = "global"
Line = TypeVar("Line", Declaration, Description)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a station.

    Attributes:
        name: the canonical one, as T1.
        text: its values are text, not numbers.
        declarations: where its values come from, when.
        descriptions: what is added to its description, when.
    """

    name: str
    text: bool
    declarations: Pieces[Declaration]
    descriptions: Pieces[Description]

    def description(self, time_ns: int) -> str:
        """Give the description at an instant."""
        added = self.descriptions.at(time_ns)
        return description(self.name, added.text if added else "")


@dataclass
class Configuration:
    """What is known of a station.

    Attributes:
        directory: where the files are.
        station: its name, in lower case.
        findings: all faults and warnings.
        parameters: those that can be published, in the order in which the files first name them.
        broken: those that cannot, for faults of their lines.
        types: the sensor types that its lines name.
        lines: all good lines in the order of the stack, the lowest first.
    """

    directory: Path
    station: str
    findings: Findings = field(default_factory=Findings)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    types: dict[str, SensorType] = field(default_factory=dict)
    lines: list[Declaration | Description] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A hash of all that the files mean; a comment or a note does not change it."""
        said = [[_meaning(line) for line in self.lines], sorted(self.broken)]
        for name, kind in sorted(self.types.items()):
            said.append(
                [name, [(stem, [_meaning(line) for line in lines]) for stem, lines in sorted(kind.lines.items())]]
            )
        return hashlib.sha256(repr(said).encode()).hexdigest()


def load(directory: Path, station: str, *, lenient: bool = False) -> Configuration:
    """Read a station's configuration; never raises for what is in the files.

    Args:
        directory: holds global.cfg (which may be absent), STATION.cfg, and sensors/TYPE/.
        station: its name, in any case.
        lenient: sensors of a type that has no folder are taken as they are; else their parameters are broken.

    Returns:
        The configuration; its findings tell what is wrong, with file, line and field.
    """
    station = station.strip().lower()
    made = Configuration(directory, station)
    if not station or unsafe(station) or station in (GLOBAL, "."):
        made.findings.faults.append(Finding(Place(str(directory)), 0, f"{station!r} is no name of a station"))
        return made
    own = directory / f"{station}.cfg"
    if not own.is_file():
        known = sorted(path.stem for path in directory.glob("*.cfg") if path.stem != GLOBAL)
        cure = f"stations there: {', '.join(known)}" if known else "there is no station in this folder"
        made.findings.faults.append(
            Finding(Place(str(own)), 0, f"there is no such file, so no station {station!r}; {cure}")
        )
        return made
    for path in (directory / f"{GLOBAL}.cfg", own):
        if path.exists():
            for line in declarations(records(path, str(path), made.findings)):
                if isinstance(line, Broken):
                    made.broken.add(line.parameter)
                else:
                    made.lines.append(line)
    _compile(made)
    _load_sensors(made, lenient)
    made.parameters = {name: found for name, found in made.parameters.items() if name not in made.broken}
    return made


def _compile(made: Configuration) -> None:
    declared: dict[str, list[Declaration]] = {}
    described: dict[str, list[Description]] = {}
    for line in made.lines:
        if isinstance(line, Declaration):
            declared.setdefault(line.parameter, []).append(line)
        else:
            described.setdefault(line.parameter, []).append(line)
    for name, lines in declared.items():
        pieces = _pieces(lines)
        seen = [line for line in pieces.values if line]
        text = any(line.type == STRING for line in seen)
        for other in seen:
            if (other.type == STRING) is not text:
                why = f"{name} is text by other lines and a number by this one; its values must be of one kind"
                made.findings.faults.append(Finding(other.place, 4, why))
                made.broken.add(name)
        made.parameters[name] = Parameter(name, text, pieces, _pieces(described.get(name, [])))
    for name in described.keys() - declared.keys() - made.broken:
        for line in described[name]:
            made.findings.warnings.append(Finding(line.place, 3, f"a description of {name}, which no line declares"))


def _pieces(lines: Sequence[Line]) -> Pieces[Line]:
    return Pieces([Layer(line.start, line.end, line) for line in lines])


def _load_sensors(made: Configuration, lenient: bool) -> None:
    root = made.directory / "sensors"
    folders = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}
    for name, parameter in made.parameters.items():
        for line in dict.fromkeys(line for line in parameter.declarations.values if line and line.sensor):
            if line.type not in made.types:
                alike = [path for folder, path in folders.items() if folder.lower() == line.type]
                folder = folders.get(line.type) or (alike[0] if len(alike) == 1 else None)
                shown = folder or root / line.type
                made.types[line.type] = SensorType(folder, line.type, shown, made.findings)
            if line.type in folders or any(folder.lower() == line.type for folder in folders):
                continue
            if lenient:
                found = made.findings.warnings
                found.append(
                    Finding(line.place, 4, f"no folder {root / line.type}: {name} is taken as it is (--lenient)")
                )
            else:
                cure = "make it with a default.cfg, or allow identity with --lenient"
                found = made.findings.faults
                found.append(
                    Finding(line.place, 4, f"no folder {root / line.type}, so {name} is not calibrated: {cure}")
                )
                made.broken.add(name)


def _meaning(line: object) -> tuple[object, ...]:
    names = [name for name in getattr(type(line), "__slots__", ()) if name != "place"]
    return (type(line).__name__, *(getattr(line, name) for name in names))
