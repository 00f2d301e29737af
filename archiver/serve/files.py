"""The page's own files, and what a browser may do with them: nothing comes from or goes to anywhere else."""

from functools import cache
from importlib.resources import files

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _pages() -> dict[str, tuple[bytes, str]]:
    folder = files("archiver.serve") / "page"
    found = {f"/{entry.name}": entry for entry in folder.iterdir() if entry.name.rpartition(".")[2] in KINDS}
    return {name: (entry.read_bytes(), KINDS[name.rpartition(".")[2]]) for name, entry in found.items()}


def page(path: str) -> tuple[bytes, str] | None:
    """Give a file of the page and its type; None where there is none of that path."""
    return _pages().get("/index.html" if path == "/" else path)
