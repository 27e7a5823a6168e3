"""What nodes tell each other over the bus: what was just stored, or passed on, in one log.

Theory of operation. The store is the truth; a hint only saves reading it. A receiver takes the entries of a
hint when their generation is the store's and they follow its head without a hole; in every other case it
reads the store. A hint carries a MAC under a key derived from the nodes' common secret, so whoever can
write to the bus can delay a message, and never plant one.

Form: 16 bytes of keyed BLAKE2b over topic and rest, 8 bytes naming the node, then a MessagePack array tagged
1 or 3. A node knows its own hints by the name, before any other work.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelAddress, DeviceId
from leeside_protocol.messages import Entry

MAC_BYTES: Final = 16
NODE_BYTES: Final = 8
_BODY_AT: Final = MAC_BYTES + NODE_BYTES
HINT_BYTES: Final = 262_144
"""A hint that would carry more carries its range alone, and receivers read the store."""


class StoredHint(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Entries with the offsets (after, to] stand in the log. `entries` empty: read them from the store."""

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

    values: tuple[StreamHintValue, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[StoredHint | StreamHint]] = msgspec.msgpack.Decoder(
    StoredHint | StreamHint
)


def topic_of(agency: AgencyId, address: ChannelAddress) -> str:
    """The bus topic of a log."""
    return f"{agency.hex()}/{address.hex()}"


class HintSeal:
    """Encodes and checks hints under the nodes' secret (32 bytes) for the node of this name (8 bytes)."""

    __slots__ = ("_node", "_secret")

    def __init__(self, secret: bytes, node: bytes) -> None:
        self._secret = secret
        self._node = node

    def encode(self, topic: str, hint: StoredHint | StreamHint) -> bytes:
        """The bytes for the bus; without its entries when they are too many."""
        body = _encoder.encode(hint)
        if len(body) > HINT_BYTES and isinstance(hint, StoredHint):
            body = _encoder.encode(StoredHint(hint.generation, hint.after, hint.to, ()))
        rest = self._node + body
        return self._mac(topic, rest) + rest

    def own(self, data: bytes) -> bool:
        """Whether this node wrote it (or someone who wants that to be believed: then nothing is lost)."""
        return data[MAC_BYTES:_BODY_AT] == self._node

    def decode(self, topic: str, data: bytes) -> StoredHint | StreamHint | None:
        """The hint, or None for what no node of ours wrote for this topic."""
        if not hmac.compare_digest(self._mac(topic, data[MAC_BYTES:]), data[:MAC_BYTES]):
            return None
        try:
            return _decoder.decode(data[_BODY_AT:])
        except msgspec.MsgspecError:
            # Another version's form: the store has what it says.
            return None

    def _mac(self, topic: str, rest: bytes) -> bytes:
        mac = hashlib.blake2b(topic.encode("ascii"), key=self._secret, digest_size=MAC_BYTES)
        mac.update(rest)
        return mac.digest()
