"""Events as files that other tools open: one small module a format.

In: `Recorded`, what was found in each recording. Out: text, of one recording or of several joined; `FORMATS` names the
writers, `write` puts a file in its place. Read `formats.py` first, which
says what stands in each format, then `recorded.py` and `rows.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
