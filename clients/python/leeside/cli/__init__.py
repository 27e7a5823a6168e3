"""`leeside`: the command line for people. `leeside --help` lists the commands; `exits` the exit codes.

The global options (`--profile`, `--server`, `--json`, ...) may stand anywhere on the line.
"""

from __future__ import annotations

from leeside.cli.root import build


def main() -> None:
    """Run the command line; never returns."""
    build()()
