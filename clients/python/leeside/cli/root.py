"""The root command: global options, the list of commands, and the one place where errors become sentences."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from leeside.cli.exits import Ending, Exit, ending_of
from leeside.cli.invocation import Connect, Dial, Invocation, connect, dial, first_of
from leeside.cli.manual import show_plainly
from leeside.cli.screen import Screen
from leeside.profile import profile

DEBUG: Final = "LEESIDE_DEBUG"

_WITH_VALUE: Final = frozenset({"--profile", "--server", "--ca-file", "--passphrase-file"})
_FLAGS: Final = frozenset({"--json", "--keyring"})

EPILOG: Final = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 not signed in, 4 try again, 5 alarm: stop and "
    "talk by voice, 6 keystore, 7 not found, 8 someone else changed it first, 130 interrupted. "
    "Global options may stand anywhere on the line. Not a substitute for 911 or 988."
)


def hoist(args: Sequence[str]) -> list[str]:
    """The same line with the global options in front, so that they may stand anywhere before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    left = list(args)
    while left:
        arg = left.pop(0)
        if arg == "--":
            rest += [arg, *left]
            break
        if arg in _FLAGS or (arg.split("=", 1)[0] in _WITH_VALUE and "=" in arg):
            front.append(arg)
        elif arg in _WITH_VALUE:
            front.append(arg)
            if left:
                front.append(left.pop(0))
        else:
            rest.append(arg)
    return front + rest


class Root(TyperGroup):
    """Hoists the global options, and ends every failure with a sentence, its code and an exit code."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        show_plainly(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoist(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if os.environ.get(DEBUG):
                raise
            ending = _ending(error)
            if ending is None:
                raise
            found = ctx.find_object(Invocation)
            screen = found.screen if found is not None else Screen(json="--json" in sys.argv)
            screen.end(ending)
            raise typer.Exit(int(ending.exit_code)) from None


def _ending(error: BaseException) -> Ending | None:
    if isinstance(error, BaseExceptionGroup):
        return _ending(first_of(error))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(error, KeyboardInterrupt | typer.Abort) or type(error) is EOFError:
        # Ctrl-C, or Ctrl-D where something was asked. (A stream that ends early is an error of a class below EOFError.)
        return Ending(Exit.INTERRUPTED, "interrupted", "Interrupted.")
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has left: nothing can be shown any more, and a flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(int(Exit.FAILED))
    if type(error).__module__.split(".")[0] in {"click", "typer"} or isinstance(
        error, SystemExit | GeneratorExit
    ):
        return None
    known = ending_of(error)
    if known is not None:
        return known
    return Ending(
        Exit.FAILED,
        type(error).__name__,
        f"Something inside leeside went wrong that nobody foresaw. {DEBUG}=1 shows where; please report it.",
    )


def _say_version(context: typer.Context, asked: bool) -> None:
    if asked:
        number = importlib.metadata.version("leeside")
        Screen(json=bool(context.params.get("json"))).say(f"leeside {number}", {"version": number})
        raise typer.Exit


def build(connecting: Connect = connect, dialing: Dial = dial) -> typer.Typer:
    """The whole command line. `connecting` makes the `Api` and `dialing` the socket: tests give others."""
    from leeside.cli import (
        agency,
        backup,
        channel,
        chat,
        consult,
        demo,
        device,
        doctor,
        incident,
        ladder,
        member,
        oncall,
        records,
        rota,
        share,
        status,
        unit,
        watch,
    )

    app = typer.Typer(
        cls=Root,
        name="leeside",
        help="Sealed messages, positions and status for crisis response teams.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(  # pyright: ignore[reportUnusedFunction]
        context: typer.Context,
        name: Annotated[
            str,
            typer.Option(
                "--profile", envvar="LEESIDE_PROFILE", help="Which of this machine's profiles to use."
            ),
        ] = "default",
        server: Annotated[str, typer.Option(envvar="LEESIDE_SERVER", help="The server's address.")] = "",
        ca_file: Annotated[
            Path | None,
            typer.Option(
                envvar="LEESIDE_CA_FILE", help="Trust this authority (PEM) instead of the system's."
            ),
        ] = None,
        json: Annotated[
            bool, typer.Option("--json", is_eager=True, help="One JSON document on standard output.")
        ] = False,
        passphrase_file: Annotated[
            Path | None,
            typer.Option(
                envvar="LEESIDE_PASSPHRASE_FILE", help="Read the passphrase from this file (mode 0600)."
            ),
        ] = None,
        keyring: Annotated[
            bool, typer.Option("--keyring", help="Open new key files by the system's keyring.")
        ] = False,
        version: Annotated[
            bool,
            typer.Option("--version", help="Say the version and stop.", is_eager=True, callback=_say_version),
        ] = False,
    ) -> None:
        del version
        screen = Screen(json=json)
        context.obj = Invocation(
            profile(name), screen, server, ca_file, passphrase_file, keyring, connect=connecting, dial=dialing
        )

    app.add_typer(agency.app, name="agency")
    app.add_typer(member.app, name="member")
    app.add_typer(device.app, name="device")
    app.add_typer(unit.app, name="unit")
    app.add_typer(channel.app, name="channel")
    app.add_typer(incident.app, name="incident")
    app.add_typer(consult.app, name="consult")
    app.add_typer(status.app, name="status")
    app.add_typer(records.app, name="records")
    app.add_typer(rota.app, name="rota")
    app.add_typer(ladder.app, name="ladder")
    for module in (oncall, chat, watch, share, doctor, backup, demo):
        module.register(app)
    app.command("sign-out")(device.sign_out)
    return app
