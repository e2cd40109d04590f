"""What holds for all tests: properties are tried on the same examples every time, and no clock judges."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "course", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("course")
