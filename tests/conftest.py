"""What holds for every test: real servers by fixture, and the same random examples each time."""

import gc
import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.service_fixtures"]

# Derandomised: a test that failed for one person fails for the next. The search for new examples is `--hypothesis-profile=search`.
settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2_000)
# What `./dev test --fast` takes: the same examples, fewer of them.
settings.register_profile("brief", parent=settings.get_profile("steady"), max_examples=30)
settings.load_profile("steady")

# A shell that starts us in the background has us ignore Ctrl-C, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported until now lives as long as the process: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
