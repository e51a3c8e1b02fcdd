"""What is done to the waveforms of training clips, drawn from each clip's seed and applied on the device.

In: a `Clip` as its source gives it, and perhaps another of its corpus. Out: the clip with the sounds that will be added
to it, its events where they will be, and `Draws`, plain data; on the device, waveforms that these were applied to.
Read `config.py` first, then `draw.py` (what will happen) and `apply.py` (to samples).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
