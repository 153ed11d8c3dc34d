"""Settings for every unit test."""

from hypothesis import settings

# Unit tests run at each save: fewer examples, and no deadline on a busy machine.
settings.register_profile("unit", max_examples=40, deadline=None)
settings.load_profile("unit")
