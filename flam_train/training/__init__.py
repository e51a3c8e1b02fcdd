"""A training run: what a step is, how it goes on, how it ends.

In: a configuration of plain data (conf/). Out: a run folder with `last.ckpt`, curves and an export. Floors: the step
(`module.py`, with data, optimiser, loggers) < fault_tolerance/ < `trainer.py`, `run.py` < launch/. Read
`objective.py` first (what is minimised), `module.py` (a step), then `run.py` (from the configuration to the export).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
