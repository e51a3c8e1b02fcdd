from . import (
    card as card,
    checked as checked,
    compared as compared,
    drawn as drawn,
    protocol as protocol,
    report as report,
    resampled as resampled,
    result as result,
    retrieval as retrieval,
    sed as sed,
    seeds as seeds,
    zero_shot as zero_shot,
)
from .embeddings import Embeddings as Embeddings, embed_corpus as embed_corpus
from .frame_embeddings import FrameEmbeddings as FrameEmbeddings, embed_frames as embed_frames
from .protocol import Protocol as Protocol
from .result import Result as Result, read_results as read_results
from .scores import Scores as Scores
from .sed import SedMetrics as SedMetrics
