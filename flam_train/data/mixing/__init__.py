"""Mixtures from a bank of single sounds, for shards and while training: the same specs, the same arithmetic.

In: a `Bank` (shards of single sounds) and a `MixRecipe` (conf/mixing). Out: clips with timed events and captions. Read
`recipe.py` first, then `draw.py` (what sounds when, as plain data) and `render.py` (as audio).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
