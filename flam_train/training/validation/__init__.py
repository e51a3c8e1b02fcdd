"""Validation while training: how well each class is located, and how well captions find their clips.

In: the clips of a corpus, batch by batch, over any number of ranks. Out: named numbers, those that `evaluation` gives
on the same shards. Read `asked.py` first (what is asked of a corpus), then `corpus.py`, `located.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
