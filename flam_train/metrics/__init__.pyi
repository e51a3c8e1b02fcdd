from .calibration import Calibration as Calibration
from .detection import Auroc as Auroc, auroc as auroc, median_filter as median_filter, partial_auroc as partial_auroc
from .error_rate import ErrorRate as ErrorRate, segment_error_rate as segment_error_rate
from .f1 import F1 as F1, event_f1 as event_f1, frame_f1 as frame_f1, segment_f1 as segment_f1
from .intersection import (
    CrossTriggers as CrossTriggers,
    MeanIou as MeanIou,
    cross_triggers as cross_triggers,
    intersection_f1 as intersection_f1,
    mean_iou as mean_iou,
)
from .psd import Psds as Psds, PsdsParameters as PsdsParameters, psds as psds
from .ranking import (
    AveragePrecision as AveragePrecision,
    DPrime as DPrime,
    average_precision as average_precision,
    d_prime as d_prime,
)
from .retrieval import chance_level as chance_level, retrieval_metrics as retrieval_metrics
from .streaming import Retrieval as Retrieval
from .tagging import Tagging as Tagging, clip_scores as clip_scores, tagging_metrics as tagging_metrics
