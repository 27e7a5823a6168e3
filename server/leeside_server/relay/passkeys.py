"""Passkeys as WebAuthn has them (level 3), over the library `webauthn`: what a browser is asked, and what it answered.

Every proof must come from a page of our own origins, be made for our relying party, and say that the authenticator verified
the person (fingerprint, face or PIN). What the library's parsers find wrong they say in many classes of error, some with
the input in them: all of them are `PasskeyRefused` here, without a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from leeside_protocol.ids import MemberId

if TYPE_CHECKING:
    from webauthn.helpers.structs import AuthenticatorSelectionCriteria, PublicKeyCredentialDescriptor

NAME: Final = "Leeside"


class PasskeyRefused(Exception):
    """What the browser answered does not hold."""


class RelyingParty(msgspec.Struct, frozen=True):
    """Whom passkeys are made for: a host, and the origins whose pages may use them."""

    id: str
    origins: tuple[str, ...]


class NewPasskey(msgspec.Struct, frozen=True):
    """A credential that was just made."""

    credential: bytes
    public_key: bytes
    sign_count: int
    syncs: bool
    synced: bool


class Used(msgspec.Struct, frozen=True):
    """What the authenticator told at a sign-in."""

    sign_count: int
    synced: bool


def relying_party(public_origins: Sequence[str]) -> RelyingParty | None:
    """The host of the first origin, and all origins at it or below. None where there is no such host: browsers make no
    passkeys for addresses."""
    hosts = [urlsplit(origin).hostname or "" for origin in public_origins]
    if not hosts or not hosts[0] or _is_address(hosts[0]):
        return None
    served = zip(public_origins, hosts, strict=True)
    return RelyingParty(
        hosts[0], tuple(origin for origin, host in served if f".{host}".endswith(f".{hosts[0]}"))
    )


def registration_options(
    party: RelyingParty,
    member: MemberId,
    name: str,
    challenge: bytes,
    known: Sequence[bytes],
    timeout_ms: int,
) -> str:
    """What `navigator.credentials.create` is asked with, as JSON. `known` are credentials that are there already."""
    from webauthn import generate_registration_options, options_to_json

    options = generate_registration_options(
        rp_id=party.id,
        rp_name=NAME,
        user_id=member,
        user_name=name,
        challenge=challenge,
        timeout=timeout_ms,
        authenticator_selection=_selection(),
        exclude_credentials=_descriptors(known),
    )
    return options_to_json(options)


def sign_in_options(party: RelyingParty, challenge: bytes, timeout_ms: int) -> str:
    """What `navigator.credentials.get` is asked with, as JSON: any passkey for us that the person has there."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=timeout_ms,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify_new(party: RelyingParty, answer: str, challenge: bytes) -> NewPasskey:
    """The credential that a browser made. Raises `PasskeyRefused`."""
    from webauthn import verify_registration_response
    from webauthn.helpers.structs import CredentialDeviceType

    try:
        made = verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001
        raise PasskeyRefused from None
    return NewPasskey(
        made.credential_id,
        made.credential_public_key,
        made.sign_count,
        made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        made.credential_backed_up,
    )


def credential_of(answer: str) -> tuple[bytes, bytes | None]:
    """Which credential signed, and the user handle it has, if it says. Nothing is verified. Raises `PasskeyRefused`."""
    from webauthn.helpers import parse_authentication_credential_json

    try:
        parsed = parse_authentication_credential_json(answer)
    except Exception:  # noqa: BLE001
        raise PasskeyRefused from None
    return parsed.raw_id, parsed.response.user_handle


def verify_used(party: RelyingParty, answer: str, challenge: bytes, public_key: bytes) -> Used:
    """What an authenticator signed at a sign-in. Its counter is the caller's to compare. Raises `PasskeyRefused`."""
    from webauthn import verify_authentication_response

    try:
        shown = verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001
        raise PasskeyRefused from None
    return Used(shown.new_sign_count, shown.credential_backed_up)


def _selection() -> AuthenticatorSelectionCriteria:
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    return AuthenticatorSelectionCriteria(
        resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
    )


def _descriptors(credentials: Sequence[bytes]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    return [PublicKeyCredentialDescriptor(id=credential) for credential in credentials]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
