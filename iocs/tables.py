"""What every table of the site file is made of."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


class Table(BaseModel):
    """A table of the site file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _from_site_file(path: Path, info: ValidationInfo) -> Path:
    return (info.context or {}).get("directory", Path()) / path


SitePath = Annotated[Path, AfterValidator(_from_site_file)]
"""A path in the site file: a relative one counts from the site file's folder."""
