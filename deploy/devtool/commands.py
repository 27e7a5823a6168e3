"""The commands of `./dev` and what each sets up before it starts."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.devtool.checks import check
from deploy.devtool.doctor import doctor
from deploy.devtool.packages import install, lock
from deploy.devtool.place import OWN, ROOT, VENV_BIN, keep_bytecode, run, say
from deploy.devtool.sections import LEFT_OUT, run_pytest, run_sections, run_vitest, tell
from deploy.devtool.services import CHROMIUM, POSTGRES, REDIS, provide, provide_compiler
from deploy.devtool.web import WEB, build, environment, install_modules, lock_modules, node_folder

HELP = """\
./dev COMMAND: sets itself up (into .venv/ and .dev/ of this folder), then runs the command.

  demo [--no-web] [options]            a server, a small agency and a drill, on this machine
                                       --no-web: in terminals only, needs no npm registry
  test [--fast] [pytest arguments]     every test; --fast: no servers and browsers, under a minute
                                       with paths: just those (./dev test -- tests/core -k policy)
                                       clients/web/src/…: the web client's own, with vitest
  check [rules|format|types|layers|web]  ruff, mypy --strict, pyright strict, import-linter,
                                       svelte-check, eslint, prettier
  faults NAME [--short|--full] [--json]  break something on purpose; says what held
  bench NAME [--short] [--json] [--keep]  fanout, ingest, storm, memory or sealing: measure against peers, in
                                       one interleaved run; web: the client in a browser against its
                                       limits; video-net: calls on weak links; --keep: into docs/results
  shots [part of a name ...]           pictures of every view, state and theme, on one sheet to look at
        --guides                       those of docs/guides, in their place
  doctor                               what this machine has and lacks for the above
  lock [--upgrade]                     write the locks anew from pyproject.toml and clients/web/package.json
  web                                  build the web client into the server, where its sources changed
  setup                                install only: packages of Python and of the web client
  help                                 this text

Environment: LEESIDE_NO_APT=1 never uses apt. LEESIDE_TEST_REDIS, LEESIDE_TEST_POSTGRES, LEESIDE_TEST_NGINX,
LEESIDE_TEST_CHROMIUM and LEESIDE_TEST_FIREFOX name programs to use. HTTPS_PROXY, UV_DEFAULT_INDEX: as for uv; npm has
its own configuration.
Exit codes: 0 all holds, 1 something failed, 2 wrong usage, 78 this machine lacks something and the fix is printed."""

EXIT_USAGE = 2
GUIDE_PICTURES = ROOT / "docs/guides/pictures"
OF_WEB = "clients/web"
IN_BROWSERS = ("tests/web", "tests/journeys")
"""Tests that are served the built client."""


def usage(problem: str) -> int:
    """Wrong arguments: say so, and where the right ones are."""
    say(f"{problem}; see ./dev help")
    return EXIT_USAGE


def replace_process(*command: str) -> int:
    """Hand the terminal over to another program; signals then reach it directly."""
    os.chdir(ROOT)
    os.execv(command[0], list(command))  # noqa: S606


def demo(arguments: Sequence[str]) -> int:
    """Install and build, then become `leeside demo`."""
    install()
    if "--no-web" not in arguments and "--help" not in arguments:
        build()
    return replace_process(str(VENV_BIN / "leeside"), "demo", *arguments)


def test(arguments: Sequence[str]) -> int:
    """All sections, or with a path just that; the last line printed is the sum."""
    fast = "--fast" in arguments
    options = [word for word in arguments if word not in ("--fast", "--")]
    ours, theirs = named(options, "tests/"), named(options, f"{OF_WEB}/")
    started_s = time.monotonic()
    if not fast and not theirs:
        provide_compiler()
    install()
    if not fast and not theirs:
        os.environ.update(provide())
    if not fast and ((not ours and not theirs) or any(word.startswith(IN_BROWSERS) for word in ours)):
        build()
    elif not ours:
        install_modules()
    if theirs:
        outcomes = run_vitest([str(Path(word).relative_to(OF_WEB)) for word in theirs])
    elif ours:
        chosen = ["-m", f"not ({LEFT_OUT})"] if fast else []
        outcomes = run_pytest("chosen", [*chosen, *options])
    else:
        outcomes = run_sections(options, fast=fast)
    return tell(outcomes, time.monotonic() - started_s)


def named(options: Sequence[str], below: str) -> list[str]:
    """The arguments that name something below this folder that exists."""
    return [word for word in options if word.startswith(below) and (ROOT / word.partition("::")[0]).exists()]


def faults(arguments: Sequence[str]) -> int:
    """`python -m tests.faults NAME …` with the real servers named in the environment."""
    if not arguments or arguments[0].startswith("-"):
        return usage("faults needs a name")
    install()
    os.environ.update(provide((REDIS, POSTGRES)))
    return run((VENV_BIN / "python", "-m", "tests.faults", *arguments))


def bench(arguments: Sequence[str]) -> int:
    """`python -m tests.bench NAME …`; it installs the peers that the named benchmark compares with."""
    if not arguments or arguments[0].startswith("-"):
        return usage("bench needs a name")
    install()
    if arguments[0] == "web":
        build()
        os.environ.update(provide((CHROMIUM,)))
    return run((VENV_BIN / "python", "-m", "tests.bench", *arguments))


def check_command(arguments: Sequence[str]) -> int:
    """Install, then the static checks, all or those named."""
    install()
    return check(arguments)


def shots(arguments: Sequence[str]) -> int:
    """A picture of every view, state and theme, and a sheet of them all; with words only those that hold one.

    `--guides`: the few of docs/guides, in their place.
    """
    guides = "--guides" in arguments
    if guides and len(arguments) > 1:
        return usage("shots --guides takes nothing else")
    install()
    install_modules()
    os.environ.update(provide((CHROMIUM,)))
    if guides:
        return run(("node", "e2e/guide-pictures.mjs", GUIDE_PICTURES), environment(node_folder()), WEB)
    folder = OWN / "shots"
    code = run(("node", "e2e/shots.mjs", folder, *arguments), environment(node_folder()), WEB)
    say(f"look at them: {folder / 'index.html'}")
    return code


def doctor_command(arguments: Sequence[str]) -> int:
    """Look, change nothing."""
    return usage("doctor takes no arguments") if arguments else doctor()


def lock_command(arguments: Sequence[str]) -> int:
    """Write the locks anew; `--upgrade` takes the newest versions."""
    if any(word != "--upgrade" for word in arguments):
        return usage("lock knows only --upgrade")
    upgrade = "--upgrade" in arguments
    code = lock(upgrade=upgrade)
    if code:
        return code
    install()  # it may bring the Node.js that npm runs on
    return lock_modules(upgrade=upgrade)


def web(arguments: Sequence[str]) -> int:
    """Install, then build the web client where its sources changed."""
    if arguments:
        return usage("web takes no arguments")
    install()
    build()
    return 0


def setup(arguments: Sequence[str]) -> int:
    """Install, and nothing else."""
    if arguments:
        return usage("setup takes no arguments")
    install()
    install_modules()
    return 0


def show_help(_arguments: Sequence[str]) -> int:
    """Print what there is."""
    print(HELP)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "demo": demo,
    "test": test,
    "check": check_command,
    "faults": faults,
    "bench": bench,
    "shots": shots,
    "doctor": doctor_command,
    "lock": lock_command,
    "web": web,
    "setup": setup,
    "help": show_help,
    "--help": show_help,
    "-h": show_help,
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    if not arguments:
        show_help(())
        return EXIT_USAGE
    command = COMMANDS.get(arguments[0])
    if command is None:
        return usage(f"{arguments[0]}: no such command")
    keep_bytecode(os.environ)
    try:
        return command(arguments[1:])
    except KeyboardInterrupt:
        say("interrupted")
        return 130
