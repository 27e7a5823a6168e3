"""One person's device that asks a TURN server for far more than its share.

    python -m tests.support.turn_flood HOST PORT USERNAME CREDENTIAL ATTEMPTS

prints what it was answered as an object from code to count, 0 for what was granted.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter

from tests.support.turn_client import Address, Refused, TurnClient


def ask_for_many(server: Address, username: str, credential: str, attempts: int) -> Counter[int]:
    """What each attempt is answered with, from a socket of its own; 0 where it was granted. All that were granted are held until
    the last."""
    found: Counter[int] = Counter()
    with contextlib.ExitStack() as held:
        for _ in range(attempts):
            client = TurnClient(server, username, credential)
            try:
                client.allocate()
            except Refused as refusal:
                found[refusal.code] += 1
                client.close()
            else:
                found[0] += 1
                held.enter_context(client)
    return found


if __name__ == "__main__":
    host, port, username, credential, attempts = sys.argv[1:]
    print(json.dumps(ask_for_many((host, int(port)), username, credential, int(attempts))))
