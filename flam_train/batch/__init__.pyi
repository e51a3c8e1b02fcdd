from .sound import INT16_SCALE as INT16_SCALE, SAMPLE_RATE as SAMPLE_RATE
from .tensors import (
    SMALL as SMALL,
    Added as Added,
    AudioEmbeddings as AudioEmbeddings,
    Augment as Augment,
    Draws as Draws,
    FrameBatch as FrameBatch,
    GlobalBatch as GlobalBatch,
    Movable as Movable,
    Pieces as Pieces,
    StepBatch as StepBatch,
    TextEmbeddings as TextEmbeddings,
    full_precision as full_precision,
    to_float as to_float,
    token_row as token_row,
)
