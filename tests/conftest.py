"""What holds for every test: real servers by fixture, and the same random examples each time."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.service_fixtures"]

# Derandomised: a test that failed for one person fails for the next. The search for new examples is `--hypothesis-profile=search`.
settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile("steady")
