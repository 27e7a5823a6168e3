"""What the web client says, by key, in English: tests find things on a screen by the words that a person reads there."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Final

from deploy.devtool.place import ROOT

FOLDER: Final = ROOT / "clients/web/src/words/en"
_ARGUMENT: Final = re.compile(r"\{[^{}]*\}")


@cache
def _words() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= json.loads(path.read_text())
    return found


def words(key: str, **arguments: str) -> str:
    """The text of a key, with its arguments put in. Raises `KeyError`."""
    text = _words()[key]
    for name, value in arguments.items():
        text = text.replace("{" + name + "}", value)
    return text


def pattern(key: str) -> re.Pattern[str]:
    """What the text of a key looks like, whatever its arguments are."""
    return re.compile("^" + ".+".join(re.escape(part) for part in _ARGUMENT.split(_words()[key])) + "$")
