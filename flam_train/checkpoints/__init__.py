"""Weights on a disk, as we and others read and write them.

In: a model, or a path of anybody's weights. Out: an export folder (`export.py`: read it first), from a hub too
(`hub.py`), a `Conversion` of what others wrote (`foreign.py` recognises it, `conversion.py` has what all converters
share, `openflam.py`, `laion.py`, `htsat.py` and `hf_clap.py` are one each), ONNX graphs (`onnx.py`), what a run starts
from (`initial.py`). What a run resumes from is `training/fault_tolerance`'s.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
