"""One hypothesis profile for the house: the same examples every time, and no timed assertion.

To look further, `pytest --hypothesis-profile=explore` draws anew.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("house")
