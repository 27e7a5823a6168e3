"""From an epoch's random bytes to the keys of its classes and senders.

`KDF(s, label, [ctx], n)` = HKDF-SHA-256 (RFC 5869) with an empty salt and
`info = PAE("leeside1 " + label, ctx..)`.  Spec chapter 04, "Key schedule".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import PREFIX, ZERO32, pae, u64
from leeside_protocol.sealing.public.entries import CLASSES

Random: TypeAlias = Callable[[int], bytes]
"""Gives that many bytes from a cryptographic source; tests give a seeded one."""

SECRET_BYTES: Final = 32
SENDER_KEY_BYTES: Final = 32
SENDER_SALT_BYTES: Final = 12

ClassSecrets: TypeAlias = dict[int, bytes]


def kdf(secret: bytes, label: bytes, context: list[bytes], length: int = SECRET_BYTES) -> bytes:
    return HKDF(hashes.SHA256(), length, None, pae(PREFIX + label, *context)).derive(secret)


@dataclass(frozen=True, slots=True, repr=False)
class EpochKeys:
    """What an epoch secret gives.  The epoch secret itself is not kept."""

    classes: ClassSecrets
    chain: bytes


def epoch_secret(
    fresh: bytes, chain: bytes | None, channel_id: ChannelId, epoch: int, prev_hash: bytes
) -> bytes:
    """A new epoch's secret.  Mixing in the chain is only a hedge against one bad source of randomness."""
    return kdf(fresh, b"epoch", [chain or ZERO32, channel_id, u64(epoch), prev_hash])


def epoch_keys(secret: bytes, channel_id: ChannelId, epoch: int, prev_hash: bytes) -> EpochKeys:
    context = [channel_id, u64(epoch), prev_hash]
    return EpochKeys(
        {c: kdf(secret, b"class", [bytes([c]), *context]) for c in CLASSES}, kdf(secret, b"chain", context)
    )


def commitment(secret: bytes, key_class: int, channel_id: ChannelId, epoch: int) -> bytes:
    """What the committer signs of a class secret, so that all members hold the same one."""
    return kdf(secret, b"commitment", [bytes([key_class]), channel_id, u64(epoch)])


def check_commitments(commit: Commit, secrets: Mapping[int, bytes]) -> None:
    """That each secret is the one signed for its class; else `E_COMMITMENT`."""
    for key_class, secret in secrets.items():
        expected = commit.commitments[key_class - 1]
        if commitment(secret, key_class, commit.channel_id, commit.epoch) != expected:
            raise SealingError(SealingCode.E_COMMITMENT, "not the secret that was signed")


def sender_key(
    class_secret: bytes, commit_hash: bytes, device_id: DeviceId, sid: bytes, key_class: int
) -> tuple[bytes, bytes]:
    """The AES-256-GCM key and the 12-byte salt of one sender instance."""
    out = kdf(
        class_secret,
        b"sender",
        [commit_hash, device_id, sid, bytes([key_class])],
        SENDER_KEY_BYTES + SENDER_SALT_BYTES,
    )
    return out[:SENDER_KEY_BYTES], out[SENDER_KEY_BYTES:]


def nonce(salt: bytes, counter: int) -> bytes:
    """12 bytes: the salt XOR a counter, as in RFC 9180 and RFC 9605."""
    return (int.from_bytes(salt, "big") ^ counter).to_bytes(12, "big")
