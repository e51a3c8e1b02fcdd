"""What travels between the data, the model and the losses.

In: nothing. Out: the dataclasses of a step (`tensors.py`, read it first), and what an audio sample is (`sound.py`),
which those who only prepare audio read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
