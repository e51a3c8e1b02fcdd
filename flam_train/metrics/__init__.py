"""The field's metrics, exact over all thresholds, for sets of any size; none knows a model or a corpus.

In: scores and events of recordings (`timed.py`). Out: AUROC and average precision, F1 of frames, segments, events and
intersections, error rate, mean IoU, PSDS, cross triggers, tagging, calibration, retrieval; how sure they are
(`bootstrap.py`). Read `detection.py` first; `reference.py` has the same numbers by the field's own packages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
