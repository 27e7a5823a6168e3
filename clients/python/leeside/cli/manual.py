"""What `--help` shows: values in people's words, commands in the order in which people need them."""

from __future__ import annotations

from typing import Any, Final

VALUES: Final = {"str": "TEXT", "path": "FILE", "int": "NUMBER", "float": "NUMBER", "bool": ""}
"""What stands behind an option for a value of that type; nothing behind a switch."""

PANELS: Final[dict[str, tuple[str, ...]]] = {
    "Every day": ("chat", "watch", "status", "share", "incident", "consult", "channel", "unit"),
    "On call": ("oncall", "rota", "ladder"),
    "People and keys": ("member", "device", "agency", "records"),
    "This machine": ("doctor", "sign-out", "backup", "restore", "demo"),
}
"""The commands of `leeside --help`, each in one panel."""


def show_plainly(root: Any) -> None:
    """Set what help shows of a whole command line, before it is shown."""
    order = [name for names in PANELS.values() for name in names]
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    root.commands = dict(sorted(root.commands.items(), key=lambda item: order.index(item[0])))
    for name, command in root.commands.items():
        command.rich_help_panel = panel_of[name]
    _words(root)


def _nothing(ctx: Any) -> None:
    del ctx


def _words(command: Any) -> None:
    for param in command.params:
        kind = param.type_descriptor
        if kind.is_choice:
            if param.param_type_name == "option":
                param.metavar = "|".join(str(choice.value) for choice in kind.choices)
            continue
        word = VALUES.get(param.bare_type().removeprefix("list[").removesuffix("]").lower())
        if kind.is_path:
            word = VALUES["path"]
        if kind.is_ranged:
            word = VALUES["int"]
        if word is None:
            continue
        # The names of arguments say what they are; only options need a word for their value.
        if param.param_type_name == "option":
            param.metavar = word if param.metavar is None else param.metavar
        else:
            param.display_type_rich = _nothing
    for inner in getattr(command, "commands", {}).values():
        _words(inner)
