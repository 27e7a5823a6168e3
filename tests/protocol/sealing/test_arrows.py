"""`sealing.public` holds no key; the specification names every code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from leeside_protocol.sealing import public
from leeside_protocol.sealing.errors import SealingCode

MODULES = sorted(Path(public.__file__).parent.glob("*.py"))
SPEC = Path(__file__).parents[3] / "protocol" / "spec" / "04-sealing.md"
FORBIDDEN = re.compile(r"opening|aead|ciphers|hpke$|x25519|PrivateKey|AESGCM|HKDF")


def imported(path: Path) -> set[str]:
    """Every name that a module imports, with its module in front."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_the_observer_can_open_nothing(path: Path) -> None:
    names = imported(path)
    assert not [n for n in names if FORBIDDEN.search(n)]
    assert names or path.stem == "__init__"


def test_the_rule_would_find_a_key() -> None:
    """The same search over the member's side finds what it must."""
    opening = Path(public.__file__).parents[1] / "opening"
    found = {p.stem for p in opening.glob("*.py") if any(FORBIDDEN.search(n) for n in imported(p))}
    assert {"hpke", "keys", "frames", "attachments"} <= found


def test_the_specification_and_the_code_name_the_same_codes() -> None:
    told = set(re.findall(r"`(E_[A-Z_]+)`", SPEC.read_text().split("## Codes")[1]))
    assert told == set(SealingCode)
