"""From the plan to batches: which sample stands where, read, cut and collated by the workers of a loader.

In: corpora and a seed. Out: `GlobalBatch` and `FrameBatch` of a step, the same on any number of ranks and workers. Read
`order.py` first: everything follows from it; then `clips.py` and `collate.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
