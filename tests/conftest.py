"""
How hypothesis looks for examples.

    default     the same examples for the same code, so that a run says the same everywhere
    search      new examples each time, and more of them: `scripts/test pytest -- --hypothesis-profile=search`
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile("search", derandomize=False, deadline=None, max_examples=1_000)
settings.load_profile("default")
