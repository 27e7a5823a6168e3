"""What may go wrong in sealing, by code.

Every check in this package ends in one exception, `SealingError`, and the code says which
rule failed.  The codes are part of the wire format: a test vector names the code that each
mutation must bring (spec chapter 04, "Codes").

A failed check leaves the state it was asked about unchanged.
"""

from __future__ import annotations

from enum import StrEnum


class SealingCode(StrEnum):
    """The rule that failed.  Values are stable; spec chapter 04 says what each one means."""

    # Shape
    E_ENCODING = "E_ENCODING"
    E_FORMAT = "E_FORMAT"
    # Signatures and chains
    E_SIG = "E_SIG"
    E_CHAIN = "E_CHAIN"
    E_DUPLICATE = "E_DUPLICATE"
    E_FORK = "E_FORK"
    E_CLOCK = "E_CLOCK"
    # Directory
    E_AGENCY = "E_AGENCY"
    E_DIR = "E_DIR"
    E_DIR_CHAIN = "E_DIR_CHAIN"
    E_DIR_SIGNER = "E_DIR_SIGNER"
    E_DIR_BEHIND = "E_DIR_BEHIND"
    E_DIR_FORK = "E_DIR_FORK"
    E_HEAD_ROLLBACK = "E_HEAD_ROLLBACK"
    # Who may
    E_AUTHZ = "E_AUTHZ"
    E_COMPARTMENT = "E_COMPARTMENT"
    E_REVOKED = "E_REVOKED"
    E_EXPIRED = "E_EXPIRED"
    E_UNKNOWN_DEVICE = "E_UNKNOWN_DEVICE"
    E_DEVKEY = "E_DEVKEY"
    E_RECORDS = "E_RECORDS"
    E_GUEST = "E_GUEST"
    E_AUTH = "E_AUTH"
    # Keys and boxes
    E_COMMITMENT = "E_COMMITMENT"
    E_BOX = "E_BOX"
    E_BOXLIST = "E_BOXLIST"
    E_NO_KEY = "E_NO_KEY"
    E_UNKNOWN_EPOCH = "E_UNKNOWN_EPOCH"
    E_GRANT = "E_GRANT"
    # Frames and what hangs on them
    E_AEAD = "E_AEAD"
    E_REPLAY = "E_REPLAY"
    E_STALE_POSITION = "E_STALE_POSITION"
    E_LOG_FORK = "E_LOG_FORK"
    E_ATTACHMENT = "E_ATTACHMENT"
    # Local state
    E_STATE = "E_STATE"


class SealingError(Exception):
    """A sealing rule was broken; `code` says which.

    `detail` is a fixed phrase written here, never text taken from the input, so it may be
    logged.  Callers decide on `code` alone.
    """

    def __init__(self, code: SealingCode, detail: str = "") -> None:
        super().__init__(f"{code.value}: {detail}" if detail else code.value)
        self.code = code
        self.detail = detail
