"""Train, fine-tune and evaluate FLAM: frame-wise language-audio models that find any phrase in any recording.

Floors, each importing only those before it: frames, batch, settings, vocabulary, distributed < losses, metrics, models,
data, plotting < checkpoints < inference < evaluation < training < cli. Read `batch/tensors.py` first, what a
step is made of, then `models/flam.py`. Every package says in its `__init__.py` what comes in, what goes out and which
file to read.
"""

from flam_train import renamed as renamed

__version__ = "0.1.0"
