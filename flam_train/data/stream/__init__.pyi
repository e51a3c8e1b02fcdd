from .classes import ByClass as ByClass
from .clips import Augmenter as Augmenter, Clip as Clip, ShardSource as ShardSource, Source as Source
from .collate import Concepts as Concepts, collate_captions as collate_captions, collate_events as collate_events
from .dataset import ClipsDataset as ClipsDataset, Steps as Steps, StepSampler as StepSampler, Stream as Stream
from .order import Order as Order, Place as Place, interleave as interleave
