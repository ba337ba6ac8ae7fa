"""Hypothesis profiles: the gate draws the same examples each time, a person may ask for more.

`HYPOTHESIS_PROFILE=thorough pytest tests/property` takes minutes and draws anew.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Files and processes make single examples slow now and then on shared machines; that is no finding.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
