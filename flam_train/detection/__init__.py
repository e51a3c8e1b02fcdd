"""Recordings of any length, and what is heard in them: events in seconds, in files that other tools open.

In: a model, recordings in any format, phrases. Out: one embedding a frame, scores of frames, events. Read
`embedding.py` first (windows and how they are joined), then `scoring.py`, `smoothing.py` and `events.py`; of many
recordings `recordings.py` (which are meant), `analysis.py` (what is done with each) and `results.py` (what is kept of
it). `clips.py` cuts out what a person is to judge; `calibrating.py` finds thresholds, `calibration.py` applies them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
