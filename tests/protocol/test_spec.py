"""The specification's tables against the code: errors, close codes, messages, limits, generated files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leeside_protocol import limits
from leeside_protocol.errors import CloseCode, Next, WireError, after_close
from leeside_protocol.ids import ChannelKind, StateKind
from leeside_protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES
from leeside_protocol.video.signalling import BRIDGE_SIGNALS, CLIENT_SIGNALS
from tests.support.generate import generated

SPEC = Path(__file__).resolve().parents[2] / "protocol/spec"


def _rows(chapter: str, pattern: str) -> list[tuple[str, ...]]:
    return [tuple(m.groups()) for m in re.finditer(pattern, (SPEC / chapter).read_text(), re.MULTILINE)]


def test_error_table_equals_the_code() -> None:
    rows = _rows("90-errors.md", r"^\| (\d{3}) \| `(\w+)` \| (\d{3}) \|")
    assert rows == [(str(int(e)), e.label, str(e.http_status)) for e in WireError]


def test_close_code_table_equals_the_code() -> None:
    rows = _rows("90-errors.md", r"^\| (4\d{3}) \| `(\w+)` \| [^|]+ \| (\w+) \|")
    assert rows == [(str(int(c)), c.label, after_close(c).value) for c in CloseCode]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 3000, 4099, 4300, 4999])
def test_unknown_close_codes_mean_reconnect(code: int) -> None:
    assert after_close(code) is Next.RECONNECT


@pytest.mark.parametrize(("code", "then"), [(4150, Next.SIGN_IN), (4250, Next.STOP), (4050, Next.RECONNECT)])
def test_a_code_of_the_future_is_treated_by_its_range(code: int, then: Next) -> None:
    assert after_close(code) is then


def test_only_the_first_range_may_be_repeated_unchanged() -> None:
    assert [e for e in WireError if e.may_retry] == [e for e in WireError if int(e) < 200]


def test_message_tables_equal_the_code() -> None:
    for source, types in (("client", CLIENT_MESSAGES), ("server", SERVER_MESSAGES)):
        rows: dict[str, tuple[int, list[str]]] = {}
        for chapter in ("02-session.md", "03-channels.md"):
            for tag, name, fields in _rows(chapter, rf"^\| (\d+) \| (\w+) \| {source} \| (.*) \|$"):
                # "heads `[[address, offset]..]`, degraded `bool` = false" -> heads, degraded
                bare = re.sub(r"`[^`]*`", "", fields)
                rows[name] = (int(tag), [re.split(r"[ =]", f.strip())[0] for f in bare.split(",")])
        assert rows == {t.__name__: (t.__struct_config__.tag, list(t.__struct_fields__)) for t in types}


def test_signal_table_equals_the_code() -> None:
    for source, types in (("client", CLIENT_SIGNALS), ("bridge", BRIDGE_SIGNALS)):
        rows: dict[str, tuple[int, list[str]]] = {}
        for tag, name, fields in _rows("09-video.md", rf"^\| (\d+) \| (\w+) \| {source} \| (.*) \|$"):
            bare = re.sub(r"`[^`]*`", "", fields)
            rows[name] = (int(tag), [re.split(r"[ =]", f.strip())[0] for f in bare.split(",")])
        assert rows == {t.__name__: (t.__struct_config__.tag, list(t.__struct_fields__)) for t in types}


def test_address_and_key_tables_equal_the_code() -> None:
    kinds = _rows("01-encoding.md", r"^\| (\w+) \| `(\w)` 0x([0-9a-f]{2}) \|")
    ours = [(k.name.lower(), k.value.decode(), k.value.hex()) for k in (*ChannelKind, *StateKind)]
    assert sorted(kinds) == sorted(ours)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("| a socket message | {:,} bytes |", limits.FRAME_BYTES),
        ("| a sealed payload | {:,} bytes |", limits.PAYLOAD_BYTES),
        ("| a token | {:,} bytes |", limits.TOKEN_BYTES),
        ("| subscriptions of a socket | {:,} |", limits.SUBSCRIPTIONS),
        ("| unacknowledged publishes of a socket | {:,}, or", limits.IN_FLIGHT_MESSAGES),
        (", or {:,} bytes | the server stops reading", limits.IN_FLIGHT_BYTES),
        ("| entries of a batch | {:,} |", limits.PAGE_ENTRIES),
        ("| a commit with its boxes | {:,} bytes |", limits.COMMIT_BYTES),
        ("| a directory entry | {:,} bytes |", limits.DIRECTORY_ENTRY_BYTES),
        ("| a JSON body | {:,} bytes |", limits.JSON_BODY_BYTES),
        ("| devices of a roster | {:,} |", limits.ROSTER_DEVICES),
        ("MiB in chunks of {:,} bytes |", limits.BLOB_CHUNK_BYTES),
    ],
)
def test_limits_of_the_spec_are_the_limits_of_the_code(text: str, value: int) -> None:
    assert text.format(value) in (SPEC / "01-encoding.md").read_text()


def test_generated_files_are_what_the_types_say() -> None:
    for path, text in generated().items():
        assert path.read_text() == text, f"{path.name} is old: run python -m tests.support.generate"
