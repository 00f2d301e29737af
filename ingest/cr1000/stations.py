"""Many stations in one call: a TOML of `[[station]]` tables, each with a rule that tells which files are its own."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from iocs.config import ConfigError, sentences
from iocs.tables import SitePath, Table

NAME = "{station}"


class StationTable(Table):
    """`[[station]]`; relative paths count from the file's folder, and `{station}` in them is the station's name."""

    name: str = Field("", description="The station, as in NAME.cfg; empty: `files` tells by {station}.")
    config: SitePath = Field(description="The folder of global.cfg, NAME.cfg and sensors/.")
    files: SitePath = Field(description='Which files are its own, as in "{station}/*.dat".')
    csv: SitePath | None = Field(None, description="The CSV file.")
    influx: SitePath | None = Field(None, description="The site file whose [archive.influx] is the server.")
    table: str = Field("", description="Which table of the files to take.")

    @field_validator("files")
    @classmethod
    def _tells_one_name(cls, files: Path) -> Path:
        if str(files).count(NAME) > 1 and any(NAME in part for part in files.parts if part.count(NAME) > 1):
            raise ValueError("{station} stands twice in one part of the path")
        return files

    def at(self, path: Path, name: str) -> Path:
        """Give a path for a station."""
        return Path(str(path).replace(NAME, name))

    def found(self) -> Iterator[tuple[str, list[Path]]]:
        """Give the stations that have files, each with its own in order of their names."""
        rule = str(self.at(self.files, self.name) if self.name else self.files)
        by_name: dict[str, list[Path]] = {}
        for path in sorted(glob(rule.replace(NAME, "*"), recursive=True)):
            name = self.name or self.station_of(Path(path))
            if name and Path(path).is_file():
                by_name.setdefault(name, []).append(Path(path))
        yield from by_name.items()

    def station_of(self, path: Path) -> str:
        """Give the station to which a file belongs by the rule; empty if to none."""
        rule = str(self.at(self.files, self.name) if self.name else self.files)
        found = re.fullmatch(_expression(rule), str(path))
        if not found:
            return ""
        return self.name or found.groupdict().get("station", "")


def _expression(rule: str) -> str:
    """Write a rule as a regular expression, `*` and `?` within a folder, `**` over folders."""
    text, seen = "", False
    for piece in re.split(r"(\{station\}|\*\*/|\*|\?)", rule):
        if piece == NAME:
            text += "(?P=station)" if seen else r"(?P<station>[^/]+)"
            seen = True
        else:
            text += {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return text


def load(path: Path) -> list[StationTable]:
    """Read a file of stations.

    Raises:
        ConfigError: all its mistakes.
    """
    path = path.resolve()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(path, [f"is not TOML: {error}"]) from error
    mistakes = [f"[{name}]: no such table; write [[station]]" for name in data if name != "station"]
    given = data.get("station", [])
    tables: list[StationTable] = []
    if not given or not isinstance(given, list):
        mistakes.append("no [[station]] in it")
        given = []
    for number, table in enumerate(given):
        where = f'[[station]] "{table["name"] if table.get("name") else number + 1}"'
        try:
            made = StationTable.model_validate(table, context={"directory": path.parent})
        except ValidationError as error:
            mistakes += sentences(error, table, where)
            continue
        if not made.name and NAME not in str(made.files):
            mistakes.append(f"{where}, key name: is missing, and there is no {NAME} in files")
        elif made.csv is not None and not made.name and NAME not in str(made.csv):
            mistakes.append(f"{where}, key csv: has no {NAME}, so that stations would write over each other")
        tables.append(made)
    if mistakes:
        raise ConfigError(path, mistakes)
    return tables


def chosen(tables: Sequence[StationTable], paths: Sequence[Path]) -> Iterator[tuple[StationTable, str, list[Path]]]:
    """Give stations with all their files: those to which the paths belong, or every one when there are no paths.

    Raises:
        LookupError: a path is no station's by any rule.
    """
    named: dict[tuple[int, str], list[Path]] = {}
    for path in paths:
        whole = path.absolute()
        found = ((number, table.station_of(whole)) for number, table in enumerate(tables))
        key = next(((number, name) for number, name in found if name), None)
        if key is None:
            raise LookupError(f"{path}: no rule of a [[station]] tells whose file it is")
        named.setdefault(key, []).append(whole)
    for number, table in enumerate(tables):
        there = dict(table.found())
        names = [name for at, name in named if at == number] if paths else there
        for name in names:
            yield table, name, list(dict.fromkeys([*there.get(name, ()), *named.get((number, name), ())]))
