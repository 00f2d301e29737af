"""Help of a program's commands: each has those lines of the program's examples that show it."""

import argparse
import textwrap
from typing import Any


def told(examples: str, command: str, help: str, description: str = "") -> dict[str, Any]:
    """Give what `add_parser` wants to be told of a command.

    Args:
        examples: of the whole program, one a line: what to write, then what that is for.
        command: its name.
        help: what it does, in a line among the other commands.
        description: the same at length; default: as in that line.
    """
    lines = [line for line in examples.splitlines() if f" {command} " in line]
    return {
        "help": help,
        "description": textwrap.fill(description or f"{help[0].upper()}{help[1:]}.", 80),
        "epilog": "\n".join(["examples:", *lines]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
