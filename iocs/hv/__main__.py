"""`python -m iocs.hv set`: one channel of a supply from the command line."""

import argparse
import sys
from collections.abc import Sequence

from iocs.hv import set as set_command

EXAMPLES = """examples:
  python -m iocs.hv set site.toml -c 3 -v 250 -i 2            250 V and 2 uA on channel 3
  python -m iocs.hv set site.toml -c 3 --on --wait            switch it on, wait until it is there
  python -m iocs.hv set site.toml -c 3 --off                  switch it off
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0 done, 1 refused or not confirmed, 2 bad usage or configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m iocs.hv", description="High voltage.", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    set_ = commands.add_parser(
        "set",
        help="set one channel, through the IOC that owns the supply",
        description="Set one channel, through the IOC that owns the supply.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    set_command.add_options(set_)
    return set_command.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
