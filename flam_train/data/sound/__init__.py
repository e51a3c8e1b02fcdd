"""Sound files of any kind: how long they are, how sure that is, and their samples as shards hold them.

In: a recording in whatever libsndfile or ffmpeg reads, told by its content and not by its name. Out: its `Length`, and
int16 at 48 kHz, mono. Read `reading.py` first, then `opening.py` (one way of opening for all) and `look.py` (where a
header's word is taken, and where frames are counted).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
