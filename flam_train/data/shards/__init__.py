"""A corpus on a disk, or behind a URL: plain WebDataset tars, an index beside each, one manifest.

In: records (`schema.py`) with their waveforms, or the tars of others. Out: a `Corpus`, whose samples are found by
number. Read `schema.py` first, then `writing.py` and `corpus.py`; `checks.py` says what may be wrong with a shard.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
