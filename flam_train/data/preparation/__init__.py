"""From a published corpus to shards: what the scripts of data_prep/ share.

In: a `Listing` of recordings, as a script read it from a corpus' label files. Out: shards, a manifest, and the list of
what was missing; bytes that do not depend on when a run was killed. Read `listing.py` first, then `recordings.py` (what
a recording is) and `verification.py` (whether shards are right).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
