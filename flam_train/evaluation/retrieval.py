"""Text-to-audio and audio-to-text retrieval over a corpus with captions.

Shape suffixes: N clips, M captions, D embedding width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.data.corpus import Corpus
from flam_train.data.tars import replace_with
from flam_train.evaluation.result import Result, describe_data, describe_model
from flam_train.evaluation.sed import split_of
from flam_train.evaluation.windows import Progress, Reading
from flam_train.metrics.retrieval import chance_level, retrieval_metrics

CAPTIONS = ("all", "sets")


def evaluate_retrieval(
    model: Any,
    corpus: Corpus,
    *,
    captions: str = "all",
    batch_size: int = 16,
    embeddings_path: str | Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Embeds the first seconds of each clip (the model's clip length) and its captions, and ranks them all.

    captions         "all": all captions at once (AudioCaps). "sets": the first caption of every clip, then the second
                     of every clip, ...; each metric is the mean over these sets with its spread (Clotho)
    embeddings_path  where the embeddings are kept (.npz: audio_ND, text_MD, clip_of_text_M, keys, captions)

    Beside the metrics of `retrieval_metrics`: `.../chance R@1`, and `.../R@1 over chance` (how many times chance).
    Raises ValueError for a corpus without captions, or sets that do not cover every clip.
    """
    if captions not in CAPTIONS:
        raise ValueError(f"captions {captions!r}: choose of {CAPTIONS}")
    reading = Reading(corpus, model.grid, batch_size, whole=False, progress=progress)
    clips, order = [], []
    with torch.inference_mode():
        for owners, waveform_BS in reading:
            clips.append(model.embed_audio(waveform_BS.to(_device(model))).clip_BD.float().cpu())
            order += owners
        records = [reading.records[index] for index in order]
        sentences = [(n, caption) for n, record in enumerate(records) for caption in record.captions]
        if not sentences:
            raise ValueError(f"{corpus.folder}: not one caption in this corpus: nothing to retrieve by")
        texts = [caption for _, caption in sentences]
        parts = [model.embed_text(texts[a : a + 256]).text_CD.float().cpu() for a in range(0, len(texts), 256)]
    audio_ND, text_MD = torch.cat(clips), torch.cat(parts)
    clip_of_text_M = torch.tensor([n for n, _ in sentences])
    if embeddings_path is not None:
        Path(embeddings_path).parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {
            "audio_ND": audio_ND.numpy(),
            "text_MD": text_MD.numpy(),
            "clip_of_text_M": clip_of_text_M.numpy(),
        }
        names: dict[str, Any] = {"keys": np.array([r.key for r in records]), "captions": np.array(texts)}
        replace_with(Path(embeddings_path), lambda file: np.savez(file, **kept, **names))
    if captions == "all":
        rounds = [_with_chance(audio_ND, text_MD, clip_of_text_M)]
    else:
        rounds = [_with_chance(audio_ND, text_MD[rows], clip_of_text_M[rows]) for rows in _sets(corpus, records)]
    table = {name: np.array([one[name] for one in rounds]) for name in rounds[0]}
    return Result(
        protocol="retrieval",
        dataset=corpus.name,
        split=split_of(records),
        vocabulary=corpus.manifest["vocabulary"],
        parameters={
            "captions": captions,
            "caption sets": len(rounds),
            "clips": len(records),
            "captions in all": len(texts),
            "clips without a caption": sum(not r.captions for r in records),
            "seconds of each clip": model.grid.seconds,
            "ties": "against the system",
            "median rank": "rounded down",
            "batch size": batch_size,
        },
        metrics={name: float(values.mean()) for name, values in table.items()},
        spread={name: float(values.std()) for name, values in table.items()} if len(rounds) > 1 else {},
        clips_expected=len(corpus),
        clips_evaluated=len(records),
        missing=reading.missing,
        model=describe_model(model),
        data=describe_data(corpus),
        seed=model.provenance.get("seed"),
    )


def _with_chance(audio_ND, text_MD, clip_of_text_M) -> dict[str, float]:
    values = retrieval_metrics(audio_ND, text_MD, clip_of_text_M) | chance_level(clip_of_text_M, len(audio_ND))
    for side in ("text_to_audio", "audio_to_text"):
        values[f"{side}/R@1 over chance"] = values[f"{side}/R@1"] / values[f"{side}/chance R@1"]
    return values


def _sets(corpus: Corpus, records) -> list[list[int]]:
    """Rows of the first captions, of the second captions, ...; every clip must have as many."""
    counts = {len(r.captions) for r in records}
    if len(counts) != 1:
        few = min(records, key=lambda r: len(r.captions))
        raise ValueError(
            f"{corpus.folder}: caption sets need as many captions for every clip, but {few.key!r} has "
            f"{len(few.captions)} and others have {max(counts)}: use all captions at once"
        )
    count = counts.pop()
    return [list(range(k, count * len(records), count)) for k in range(count)]


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
