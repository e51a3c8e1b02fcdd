"""Before a run: what it would do (`flam-train --dry-run`), and whether every node has what it needs (`--check`). And
several runs, one after the other (`-m`).

In: a configuration, and the processes that torchrun or srun started. Out: lines for a person, and an exit code. Read
`check.py` first, then `node.py` (one machine) and `meeting.py` (how they find one another); of a sweep `points.py`
(what a line stands for) and `sweep.py` (its runs).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
