"""Label files of any of the formats people have: one file of code a format, `recognise.py` to tell them apart.

In: the bytes of a label file. Out: `Labels`, matched with recordings by `attach.py`. Read `rows.py` first. A parser is
a pure function (bytes, file name for messages, Wanted) -> Labels; it raises ValueError that names file, row and fix,
and nothing else. What a person has said of rows (`answers.py`) is taken behind it; `judged.py` gives both answers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
