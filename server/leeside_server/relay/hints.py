"""What nodes tell each other over the bus: what was just stored, or passed on, in one log.

Theory of operation. The store is the truth; a hint only saves reading it. A receiver takes the entries of a
hint when their generation is the store's and they follow its head without a hole; in every other case it
reads the store. A hint carries a MAC under a key derived from the nodes' common secret, so whoever can
write to the bus can delay a message, and never plant one.

Form: 16 bytes of keyed BLAKE2b over topic and body, then the body, a MessagePack array tagged 1 or 3.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelAddress, DeviceId
from leeside_protocol.messages import Entry

MAC_BYTES: Final = 16
HINT_BYTES: Final = 262_144
"""A hint that would carry more carries its range alone, and receivers read the store."""


class StoredHint(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Entries with the offsets (after, to] stand in the log. `entries` empty: read them from the store."""

    node: bytes
    generation: int
    after: int
    to: int
    entries: tuple[Entry, ...]


class StreamHintValue(msgspec.Struct, frozen=True, array_like=True):
    """One value of the stream lane."""

    key: bytes
    device: DeviceId
    at_ms: int
    payload: bytes


class StreamHint(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The newest stream values of one tick."""

    node: bytes
    values: tuple[StreamHintValue, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[StoredHint | StreamHint]] = msgspec.msgpack.Decoder(
    StoredHint | StreamHint
)


def topic_of(agency: AgencyId, address: ChannelAddress) -> str:
    """The bus topic of a log."""
    return f"{agency.hex()}/{address.hex()}"


class HintSeal:
    """Encodes and checks hints under the nodes' secret (32 bytes)."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, topic: str, hint: StoredHint | StreamHint) -> bytes:
        """The bytes for the bus; without its entries when they are too many."""
        body = _encoder.encode(hint)
        if len(body) > HINT_BYTES and isinstance(hint, StoredHint):
            body = _encoder.encode(StoredHint(hint.node, hint.generation, hint.after, hint.to, ()))
        return self._mac(topic, body) + body

    def decode(self, topic: str, data: bytes) -> StoredHint | StreamHint | None:
        """The hint, or None for what no node of ours wrote for this topic."""
        body = data[MAC_BYTES:]
        if not hmac.compare_digest(self._mac(topic, body), data[:MAC_BYTES]):
            return None
        try:
            return _decoder.decode(body)
        except msgspec.MsgspecError:
            # Another version's form: the store has what it says.
            return None

    def _mac(self, topic: str, body: bytes) -> bytes:
        mac = hashlib.blake2b(topic.encode("ascii"), key=self._secret, digest_size=MAC_BYTES)
        mac.update(body)
        return mac.digest()
