"""Our server with group commit switched off: every message is a transaction and a sync of its own.

    python serve_ungrouped.py serve --config FILE

Everything else is as `leeside-server`: what is compared is the grouping alone.
"""

from __future__ import annotations

import sys

from leeside_server import cli
from leeside_server.adapters import sqlite_writer
from leeside_server.relay import intake

if __name__ == "__main__":
    setattr(sqlite_writer, "BATCH_ITEMS", 1)  # noqa: B010
    setattr(intake, "BATCH_ITEMS", 1)  # noqa: B010
    sys.argv[0] = "leeside-server"
    sys.exit(cli.main())
