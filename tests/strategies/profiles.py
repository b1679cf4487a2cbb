"""How hard hypothesis tries: a little and always the same, or more with another profile.

``HYPOTHESIS_PROFILE=thorough`` tries many more examples, new ones on every run.
"""

import os

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "thorough",
    max_examples=1000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "quick", settings.get_profile("thorough"), max_examples=50, derandomize=True, database=None
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
