from .calibration import Calibration as Calibration
from .detection import Auroc as Auroc, auroc as auroc, median_filter as median_filter, partial_auroc as partial_auroc
from .f1 import F1 as F1, event_f1 as event_f1, frame_f1 as frame_f1, segment_f1 as segment_f1
from .psd import Psds as Psds, PsdsParameters as PsdsParameters, psds as psds
from .retrieval import chance_level as chance_level, retrieval_metrics as retrieval_metrics
from .streaming import FrameAUROC as FrameAUROC, Retrieval as Retrieval, TimedDetection as TimedDetection
