"""Train, fine-tune and evaluate FLAM: frame-wise language-audio models that find any phrase in any recording.

Floors, each importing only those before it: frames, batch, settings, vocabulary, distributed < losses, metrics, models,
data, plotting < checkpoints < detection < inference, openflam < evaluation < training < cli. Read `batch/tensors.py`
first, what a step is made of, then `models/flam.py`. Every package says in its `__init__.py` what comes in, what goes
out and which file to read.
"""

import lazy_loader

from flam_train import renamed as renamed

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
