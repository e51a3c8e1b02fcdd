"""FLAM's losses. Each is the loss of the joined batch of all ranks; torch.distributed is found by itself.

In: embeddings and labels of this rank. Out: unweighted scalars. Read `framewise.py` first (FLAM's own loss), then
`prior.py`, `contrastive.py` and `weak.py`; `phrases.py` says what a pair of a clip and a phrase is, over ranks,
`terms.py` what a loss is before its mean.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
