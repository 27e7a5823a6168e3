"""Rate limits of requests: per source address, stricter where nobody has signed in, and per device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leeside_protocol.errors import WireError
from leeside_protocol.ids import DeviceId
from leeside_server.core.rates import Buckets, Rate
from leeside_server.relay.http.refusals import Refused
from leeside_server.relay.http.settings import HttpSettings

REPORT_EVERY_S: Final = 60.0
DEVICE_KEYS: Final = Rate(1 / 600, 10)
"""DeviceKeys that one device publishes. One a day is right. A commit must name the newest, so that a member which
published new ones all the time would let no commit stand but the one that drops it."""
TEST_PAGES: Final = Rate(1 / 20, 3)
"""Tests of one device: each may ring a telephone."""
REFUSALS_REPORTED: Final = Rate(1 / 60, 5)
"""Security events of one kind of refusal about one device or member."""


class RequestLimits:
    """The buckets of one node. Each node counts for itself: behind n nodes a source gets n times as much."""

    def __init__(self, settings: HttpSettings) -> None:
        self._sources: Final = Buckets(settings.requests_per_source)
        self._devices: Final = Buckets(settings.requests_per_device)
        self._device_keys: Final = Buckets(DEVICE_KEYS)
        self._tests: Final = Buckets(TEST_PAGES)
        self._strict: Final[Mapping[str, Buckets]] = _strict(settings)
        self._refusals: Final = Buckets(REFUSALS_REPORTED)
        self._reported_s: dict[str, float] = {}

    def check_source(self, source: str, route: str, now_s: float) -> None:
        """`rate_limited` with the time to wait, by the source's address and what it asks for."""
        key = source.encode()
        wait_s = self._sources.take(key, now_s)
        strict = self._strict.get(route)
        if wait_s == 0.0 and strict is not None:
            wait_s = strict.take(key, now_s)
        _refuse(wait_s)

    def check_device(self, device: DeviceId, now_s: float) -> None:
        """`rate_limited` with the time to wait, by the device that signed in."""
        _refuse(self._devices.take(device, now_s))

    def check_device_key(self, device: DeviceId, now_s: float) -> None:
        """`rate_limited` for a device that publishes one new DeviceKey after the other."""
        _refuse(self._device_keys.take(device, now_s))

    def check_test(self, device: DeviceId, now_s: float) -> None:
        """`rate_limited` for a device that pages itself all the time."""
        _refuse(self._tests.take(device, now_s))

    def report(self, route: str, now_s: float) -> bool:
        """Whether this refusal is to be recorded: one a minute and route, so that a flood fills no store."""
        last_s = self._reported_s.get(route)
        if last_s is not None and now_s - last_s < REPORT_EVERY_S:
            return False
        self._reported_s[route] = now_s
        return True

    def report_refusal(self, event: str, subject: bytes, now_s: float) -> bool:
        """Whether this refusal of a device that showed who it is, or of a code, is to be recorded. Security events stay
        for good, and who is refused may ask on and on."""
        return self._refusals.take(event.encode() + subject, now_s) == 0.0


def _strict(settings: HttpSettings) -> dict[str, Buckets]:
    sign_ins = Buckets(settings.sign_ins_per_source)
    enrolments = Buckets(settings.enrolments_per_source)
    return {
        "create_agency": Buckets(settings.agencies_per_source),
        "redeem": enrolments,
        "take_guest_link": enrolments,
        "oidc_enrolment": enrolments,
        "challenge": sign_ins,
        "sign_in": sign_ins,
        "person_options": sign_ins,
        "oidc_start": sign_ins,
        "oidc_callback": sign_ins,
        "refresh": sign_ins,
    }


def _refuse(wait_s: float) -> None:
    if wait_s > 0.0:
        raise Refused(WireError.RATE_LIMITED, "too many requests", retry_ms=max(1, round(wait_s * 1000)))
