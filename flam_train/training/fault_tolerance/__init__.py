"""What keeps a run from being lost: signals, kills, full disks, dead or hanging ranks, two jobs in one folder.

In: a run folder and the processes of a run. Out: `last.ckpt`, whole or the older one, and an exit code that says what
to do. Read `checkpoint.py` first, then `interrupt.py` (requests to stop), `watch.py` (who died or hangs), `lock.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
