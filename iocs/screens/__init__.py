"""Screens for Phoebus, made from catalogues: `python -m iocs screens SITE -o DIR`."""

from pathlib import Path

from iocs.screens.pages import MAIN, screens

__all__ = ["MAIN", "screens", "write"]


def write(files: dict[str, str], directory: Path) -> None:
    """Write the files; those that would not change are left alone.

    Raises:
        OSError: a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
