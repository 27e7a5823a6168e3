"""Stories play on the stages of tests/support/stage.py."""

from tests.support.stage import own_stage, shared_stage, stage, town

__all__ = ["own_stage", "shared_stage", "stage", "town"]
