"""Files of a conversation: what another person called one leads nowhere but into the folder that was named."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside.cli.files import FILE_NAME_BYTES, file_name, typed_path


@pytest.mark.parametrize(
    ("given_name", "saved"),
    [
        ("plan.pdf", "plan.pdf"),
        ("Plan (2) größer.pdf", "Plan (2) größer.pdf"),
        ("../../.bashrc", "_.._.bashrc"),
        (".hidden", "hidden"),
        ("..", "file"),
        ("a\\b", "a_b"),
        ("x\x1b[2J\n.pdf", "x\ufffd[2J_.pdf"),
        (". .profile", "profile"),
        ("\x00", "\ufffd"),
    ],
)
def test_a_name_is_a_plain_name(given_name: str, saved: str) -> None:
    assert file_name(given_name) == saved


@given(st.text(min_size=1, max_size=255))
def test_no_name_leaves_the_folder(name: str) -> None:
    saved = file_name(name)
    assert saved == PurePath(saved).name
    assert not saved.startswith(".")
    assert 0 < len(saved.encode(errors="surrogatepass")) <= FILE_NAME_BYTES


def test_a_path_may_be_typed_or_dropped_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "Ana's plan.pdf"
    path.touch()
    for text in (str(path), f'"{path}"', str(path).replace(" ", "\\ ").replace("'", "\\'")):
        assert typed_path(text) == path
    assert typed_path("it's not there") == Path("it's not there")
    assert typed_path("~nobody here") == Path("~nobody here")
