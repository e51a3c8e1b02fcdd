"""Text-to-audio and audio-to-text retrieval over a corpus with captions.

Shape suffixes: N clips, M captions, D embedding width.
"""

from __future__ import annotations

import numpy as np
import torch

from flam_train.evaluation.choices import CAPTIONS
from flam_train.evaluation.embeddings import Embeddings, window_rule
from flam_train.evaluation.result import Result
from flam_train.metrics.retrieval import chance_level, retrieval_metrics


def result_of(found: Embeddings, captions: str = "all") -> Result:
    """The numbers of kept embeddings, without model or audio. With sets each metric is the mean over them.

    Beside the metrics of `retrieval_metrics`: `.../chance R@1`, and `.../R@1 over chance` (how many times chance).
    Raises ValueError for sets that do not cover every clip.
    """
    if captions not in CAPTIONS:
        raise ValueError(f"captions {captions!r}: choose of {CAPTIONS}")
    audio_ND, text_MD = torch.from_numpy(found.audio_ND), torch.from_numpy(found.text_MD)
    counts = [len(said) for said in found.captions]
    clip_of_text_M = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    if captions == "all":
        rounds = [_with_chance(audio_ND, text_MD, clip_of_text_M)]
    else:
        rounds = [_with_chance(audio_ND, text_MD[rows], clip_of_text_M[rows]) for rows in _sets(found)]
    table = {name: np.array([one[name] for one in rounds]) for name in rounds[0]}
    about = {name: value for name, value in found.about.items() if name != "seconds"}
    return Result(
        protocol="retrieval",
        split="+".join(sorted(set(found.splits) - {""})),
        parameters={
            "captions": captions,
            "caption sets": len(rounds),
            "captions in all": len(found.texts),
            "clips without a caption": sum(not said for said in found.captions),
            "windows": window_rule(found.windows, found.about["seconds"]),
            "ties": "against the system",
            "median rank": "rounded down",
        },
        metrics={name: float(values.mean()) for name, values in table.items()},
        spread={name: float(values.std()) for name, values in table.items()} if len(rounds) > 1 else {},
        **about,
    )


def _with_chance(audio_ND, text_MD, clip_of_text_M) -> dict[str, float]:
    values = retrieval_metrics(audio_ND, text_MD, clip_of_text_M) | chance_level(clip_of_text_M, len(audio_ND))
    for side in ("text_to_audio", "audio_to_text"):
        values[f"{side}/R@1 over chance"] = values[f"{side}/R@1"] / values[f"{side}/chance R@1"]
    return values


def _sets(found: Embeddings) -> list[list[int]]:
    """Rows of the first captions, of the second captions, ...; every clip must have as many."""
    counts = [len(said) for said in found.captions]
    if len(set(counts)) != 1:
        few = int(np.argmin(counts))
        raise ValueError(
            f"{found.about['dataset']}: caption sets need as many captions for every clip, but {found.keys[few]!r} has "
            f"{counts[few]} and others have {max(counts)}: use all captions at once"
        )
    return [list(range(k, counts[0] * len(counts), counts[0])) for k in range(counts[0])]
