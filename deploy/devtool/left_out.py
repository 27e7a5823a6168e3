"""A plug-in of pytest for `./dev test --fast`: counts by file what the markers leave out, while the tests are collected
anyway. The processes of a run collect the same tests and write the same file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deploy.devtool.place import OWN

if TYPE_CHECKING:  # ./dev itself runs without pytest
    import pytest

MARKERS = ("services", "slow", "nginx", "browser")
COUNTED = OWN / "results" / "left-out.json"

_files: Counter[str] = Counter()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """What `-k` leaves out comes here too."""
    _files.update(
        item.nodeid.partition("::")[0]
        for item in items
        if any(item.get_closest_marker(name) for name in MARKERS)
    )


def pytest_collection_finish() -> None:
    """Write the file, also when nothing was left out."""
    whole = COUNTED.with_suffix(f".{os.getpid()}")
    whole.write_text(json.dumps(_files))
    whole.replace(COUNTED)


def counted() -> dict[str, int]:
    """How many tests of which file were left out. Raises `OSError` or `ValueError` when nobody counted."""
    return dict(sorted(json.loads(COUNTED.read_text()).items()))
