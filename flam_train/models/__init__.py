"""FLAM and its parts: an audio encoder, a text encoder, the heads between them.

In: int16 waveforms at 48 kHz, and phrases. Out: embeddings of clips, frames and phrases, unit length. Read `flam.py`
first, then `frontend.py` and `htsat.py` (audio), `text.py` (towers), `mga.py` (the baseline MGA-CLAP).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
