"""What is shown: nothing that another person writes can steer the terminal; programs get exactly one document."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from leeside.cli.exits import Ending, Exit
from leeside.cli.screen import Screen, age, clean, moment, plain, short
from leeside_protocol import resources as r


def screen(*, as_json: bool = False) -> tuple[Screen, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Screen(json=as_json, out=Console(file=out, width=60), err=Console(file=err, width=60)), out, err


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    shown = clean(text)
    assert len(shown) == len(text)
    assert not any(
        (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\u2066\u200f" for c in shown
    )


def test_ordinary_writing_stays_as_it_is() -> None:
    for text in ("Grüße, Róisín", "日本語", "می\u200cخواهم", "👩\u200d⚕️".replace("\ufe0f", "")):
        assert clean(text) == text
    assert clean("a\tb\x1b[2J") == "a b\ufffd[2J"


def test_markup_of_others_is_text() -> None:
    shown, out, _ = screen()
    shown.say("[bold red]hello[/]")
    assert out.getvalue() == "[bold red]hello[/]\n"


def test_a_table_for_people_and_a_document_for_programs() -> None:
    shown, out, _ = screen()
    shown.table("Members", ("id", "name"), [("ab", "Rosa")], [{"id": "ab"}])
    assert "Rosa" in out.getvalue()
    shown, out, _ = screen(as_json=True)
    shown.table("Members", ("id", "name"), [("ab", "Rosa")], [{"id": b"\xab"}])
    assert json.loads(out.getvalue()) == [{"id": "ab"}]


def test_what_is_there_to_be_copied_is_never_broken() -> None:
    shown, out, _ = screen()
    root = "0123456789abcdef" * 4
    shown.facts(
        [("agency root", root), ("next", "an administrator compares it: leeside device approve " * 2)], {}
    )
    lines = out.getvalue().splitlines()
    assert lines[0] == f"agency root  {root}"
    assert lines[1].startswith("next         an administrator")
    assert len(lines) == 4
    assert all(line.startswith(" " * 13) and len(line) <= 60 for line in lines[2:])


def test_a_title_is_text_too() -> None:
    shown, out, _ = screen()
    shown.table("Exported to /media/[red]/x[/y]\x1b[2J", ("id",), [("ab",)], [])
    assert "/media/[red]/x[/y]\ufffd[2J" in out.getvalue()


def test_a_question_cannot_repaint_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert screen()[0].confirm("End the membership of \x1b[2JRosa?") is False
    assert "\ufffd[2JRosa?" in capsys.readouterr().err


def test_an_empty_table_says_so() -> None:
    shown, out, _ = screen()
    shown.table("Members", ("id",), [], [])
    assert out.getvalue() == "None.\n"


def test_errors_go_to_standard_error() -> None:
    shown, out, err = screen()
    shown.end(Ending(Exit.NOT_FOUND, "not_found", "There is no such thing."))
    assert out.getvalue() == ""
    assert "(not_found)" in err.getvalue()
    shown, out, err = screen(as_json=True)
    shown.end(Ending(Exit.NOT_FOUND, "not_found", "There is no such thing."))
    assert out.getvalue() == ""
    assert json.loads(err.getvalue())["error"] == {
        "code": "not_found",
        "exit": 7,
        "detail": "There is no such thing.",
    }


def test_an_alarm_is_as_wide_as_the_terminal() -> None:
    shown, _, err = screen()
    shown.end(Ending(Exit.ALARM, "E_FORK", "Talk by voice. " * 8))
    lines = err.getvalue().splitlines()
    assert len(lines) >= 4
    assert {len(line) for line in lines} == {60}


def test_plain_values() -> None:
    assert plain(r.Agency("0" * 32, "a", b"\x01", 5)) == {
        "id": "0" * 32,
        "label": "a",
        "root_pub": "01",
        "created_ms": 5,
        "person": "device",
        "person_hours": 12,
        "revision": 0,
        "video": False,
        "video_phone": "",
    }
    assert plain({b"\x02": (b"\x03", {1})}) == {"02": ["03", [1]]}


@pytest.mark.parametrize(
    ("gone_ms", "shown"),
    [(0, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (-5, "0 s")],
)
def test_ages(gone_ms: int, shown: str) -> None:
    assert age(1_000_000_000 - gone_ms, 1_000_000_000) == shown


def test_moments_and_ids() -> None:
    assert moment(0) == "-"
    assert moment(2**53) == "?"
    assert short(bytes(range(16))) == "000102030405"
