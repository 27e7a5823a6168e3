"""A worker of the bridge that finds no fast way of packets.

python -m tests.bench.plain_worker FD
"""

import sys

from leeside_server.video import fastways, worker


def _nothing() -> None:
    """As where it was not built."""


if __name__ == "__main__":
    fastways.load = _nothing  # type: ignore[assignment]
    sys.exit(worker.main())
