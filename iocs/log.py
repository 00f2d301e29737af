"""Logging of all commands: one line an event, with time (UTC), level and device, to stderr or to a file."""

import argparse
import contextvars
import logging
import sys
import time
from pathlib import Path

device: contextvars.ContextVar[str] = contextvars.ContextVar("device", default="-")
"""Name of the device that the running task works for; every line logged from there carries it."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of logging."""
    parser.add_argument(
        "--log-level", choices=LEVELS, default="INFO", type=str.upper, help="least severe lines to log (INFO)"
    )
    file = parser.add_mutually_exclusive_group()
    file.add_argument("--log-file", type=Path, metavar="FILE", help="append the log to FILE instead of stderr")
    file.add_argument("--log-overwrite", type=Path, metavar="FILE", help="write the log to FILE, beginning anew")


def start(options: argparse.Namespace) -> None:
    """Set up logging as the options say.

    Raises:
        OSError: the log file cannot be opened.
    """
    file = options.log_file or options.log_overwrite
    handler = (
        logging.FileHandler(file, mode="w" if options.log_overwrite else "a", encoding="utf-8")
        if file
        else logging.StreamHandler(sys.stderr)
    )
    formatter = Lines("%(asctime)s.%(msecs)03dZ %(levelname)-8s %(device)-8s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_name_device)
    logging.basicConfig(level=options.log_level, handlers=[handler], force=True)
    # caproto reports every client's every step at INFO, and its own batching as warnings.
    logging.getLogger("caproto").setLevel(max(logging.getLevelName(options.log_level), logging.ERROR))


class Lines(logging.Formatter):
    """Formats lines that nobody can forge: clients and boxes have a say in many, so control characters are escaped.

    The further lines of a text that has several are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging calls it so)
        """Give the line without its traceback."""
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(each if each.isprintable() else _ESCAPES.get(each, repr(each)[1:-1]) for each in text)


_ESCAPES = {"\n": "\n    ", "\t": "\t"}


def _name_device(record: logging.LogRecord) -> bool:
    record.device = device.get()
    return True


class Quiet(logging.Filter):
    """Lets so many lines through in each period; says how many it kept back with the first line of the next one."""

    def __init__(self, lines: int = 20, period: float = 10.0) -> None:
        super().__init__()
        self.lines, self.period = lines, period
        self._began, self._said, self._kept = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line may be written."""
        if record.created - self._began >= self.period or record.created < self._began:
            if self._kept:
                record.msg = f"{record.getMessage()} ({self._kept} lines before this were kept back)"
                record.args = ()
            self._began, self._said, self._kept = record.created, 0, 0
        self._said += 1
        self._kept += self._said > self.lines
        return self._said <= self.lines


def quieten(name: str) -> logging.Logger:
    """Give a logger whose lines are bounded in rate, as clients can bring them about."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, Quiet) for each in logger.filters):
        logger.addFilter(Quiet())
    return logger
