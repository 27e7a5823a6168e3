"""Sealing's cryptography in real browsers: own vectors, Wycheproof, RFC 9180, and HPKE against another library."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.make_sealing_vectors import PATH
from tests.web.sealing_page import BROWSERS, run_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[2]
PUBLISHED = {
    "wycheproof: Ed25519": ("wycheproof_ed25519.json", 151),
    "wycheproof: X25519": ("wycheproof_x25519.json", 518),
    "wycheproof: AES-GCM": ("wycheproof_aes_gcm.json", 133),
    "wycheproof: HKDF-SHA-256": ("wycheproof_hkdf_sha256.json", 86),
}
"""By group: the file, and how many of its tests are of sizes that sealing uses."""


@pytest.mark.parametrize("browser_name", BROWSERS)
def test_every_vector_holds(browser_name: str) -> None:
    passed = run_page(browser_name)["passed"]
    own: dict[str, Any] = json.loads(PATH.read_text())
    for section in ("directory", "commits", "frames", "grants", "archives", "attachments"):
        assert passed[f"own: {section}"] == len(own[section])
    assert passed["own: boxes"] == 4
    assert (passed["own: media"], passed["own: seen"], passed["own: encoding"]) == (1, 1, 4)
    assert passed["HPKE against another library"] == 8
    assert passed["RFC 9180"] == 2
    folder = Path(os.environ.get("LEESIDE_VECTORS") or CHECKOUT.parent / "shared" / "vectors")
    for group, (name, count) in PUBLISHED.items():
        assert passed.get(group, 0) == (count if (folder / name).is_file() else 0)
