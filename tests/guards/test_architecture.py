"""Documents name files, and things in files, that exist; and link to pages that do."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from deploy.devtool.place import ROOT

PAGES: Final = tuple(
    path
    for path in (
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "deploy").rglob("*.md")),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    )
)
NAMED: Final = re.findall(
    r"`((?:server|protocol|clients|tests)/[\w/]+\.py)(?:::(\w+))?`",
    (ROOT / "docs/architecture.md").read_text(),
)
NAMED_IN_THE_CLIENT: Final = re.findall(
    r"`(clients/web/[\w/.-]+\.(?:ts|svelte|js))`", (ROOT / "docs/architecture.md").read_text()
)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|<img [^>]*src=\"([^\"]+)\"")
GUIDES: Final = ROOT / "docs/guides"
PICTURE_BYTES: Final = 80_000


@cache
def names_in(path: str) -> frozenset[str]:
    """Classes, functions and methods of a file."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_page_leads_through_the_code() -> None:
    assert len(NAMED) >= 25
    assert sum(bool(name) for _, name in NAMED) >= 15


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_what_the_architecture_names_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert not name or name in names_in(path)


def test_what_the_architecture_names_of_the_web_client_exists() -> None:
    assert len(NAMED_IN_THE_CLIENT) >= 15
    assert [path for path in NAMED_IN_THE_CLIENT if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        target
        for found in LINK.findall(page.read_text())
        for target in found
        if target and "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_picture_of_the_guides_is_shown_and_small() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in GUIDES.glob("*.md")
        for found in LINK.findall(page.read_text())
        for target in found
        if target.endswith(".png")
    }
    there = set((GUIDES / "pictures").iterdir())
    assert shown == there
    assert [path.name for path in there if path.stat().st_size > PICTURE_BYTES] == []
