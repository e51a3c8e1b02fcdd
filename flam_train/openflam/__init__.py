"""OpenFLAM's published calls: scripts written for it change one import.

In: a checkpoint of OpenFLAM's, an export or a hub's, clips, texts. Out: vectors and maps of scores. Read `model.py`
first; `sanity.py` is what its `sanity_check` looks at.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
