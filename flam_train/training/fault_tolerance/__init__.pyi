from .checkpoint import AtomicCheckpointIO as AtomicCheckpointIO, Checkpoints as Checkpoints
from .interrupt import StopOnRequest as StopOnRequest, StopRequested as StopRequested
from .lock import RunLock as RunLock
from .watch import Watch as Watch
