"""Corpora of recordings with captions and timed events, from what was published to the batches of a step.

In: label files and recordings. Out: shards on a disk (`Corpus`), and batches of them (`stream.dataset`). Seven floors,
each importing only those before it: sound (recordings of any format; first `sound/reading.py`), shards (a corpus on a
disk; first `shards/schema.py`), stream (from the plan to batches; first `stream/order.py`), mixing (clips made from
single sounds), augment (what is done to clips in training), preparation (from a published corpus to shards), labels
(label files of all formats).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
