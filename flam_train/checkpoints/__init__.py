"""Weights on a disk, as others read and write them.

In: a model, or a file of others. Out: an export folder (`export.py`: read it first), from a hub too (`hub.py`),
OpenFLAM's checkpoint (`openflam.py`), ONNX graphs (`onnx.py`), what a run starts from (`initial.py`). What a run
resumes from is `training/fault_tolerance`'s.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
