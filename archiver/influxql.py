"""Names and texts as InfluxQL wants them (pure)."""


def name(text: str) -> str:
    """Quote a measurement, tag or field."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def string(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
