"""Text-to-audio and audio-to-text retrieval over a corpus with captions.

Shape suffixes: N clips, M captions, D embedding width.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.evaluation.choices import CAPTIONS
from flam_train.evaluation.drawn import Bootstrap, Drawn
from flam_train.evaluation.embeddings import Embeddings, window_rule
from flam_train.evaluation.result import Result
from flam_train.metrics.bootstrap import mean_resampled
from flam_train.metrics.relevance import relevance_ranks
from flam_train.metrics.retrieval import Ranked, chance_level, retrieval_ranks
from flam_train.settings import nearest

Relevant = Mapping[str, Sequence[str]]
"""{caption: keys of clips}."""


def result_of(found: Embeddings, captions: str = "all", relevant: Relevant | None = None) -> Result:
    """The numbers of kept embeddings, without model or audio. With sets each metric is the mean over them.

    relevant  {caption: keys of the clips that are right for it}, beside those that have it: then, and with shared
              captions, the metrics are those of `relevance_metrics`, else of `retrieval_metrics`
    Beside them: `.../chance R@1`, and `.../R@1 over chance` (how many times chance).
    Raises ValueError for sets that do not cover every clip, and for relevant captions or clips that are not there.
    """
    sides = ("text_to_audio", "audio_to_text")
    rounds = []
    for found_in in ranks_of(found, captions, relevant):
        values: dict[str, float] = {}
        for side in sides:
            one = found_in.sides[side]
            values |= {f"{side}/{name}": value for name, value in one.means().items()}
            if captions != "shared":
                values[f"{side}/median_rank"] = one.median_rank()
        values |= found_in.chance
        values |= {f"{side}/R@1 over chance": values[f"{side}/R@1"] / values[f"{side}/chance R@1"] for side in sides}
        rounds.append(values)
    table = {name: np.array([one[name] for one in rounds]) for name in rounds[0]}
    about = {name: value for name, value in found.about.items() if name != "seconds"}
    also = {"relevant captions": len(relevant), "relevant sha256": _sha256(relevant)} if relevant is not None else {}
    return Result(
        protocol="retrieval",
        split="+".join(sorted(set(found.splits) - {""})),
        parameters={
            "captions": captions,
            "caption sets": len(rounds),
            "captions in all": len(found.texts),
            "clips without a caption": sum(not said for said in found.captions),
            "windows": window_rule(found.windows, found.about["seconds"]),
            "right clips of a caption": "all that have it, or for which it is relevant"
            if captions == "shared"
            else "its own",
            "ties": "against the system",
            "median rank": "rounded down",
            **also,
        },
        metrics={name: float(values.mean()) for name, values in table.items()},
        spread={name: float(values.std()) for name, values in table.items()} if len(rounds) > 1 else {},
        **about,
    )


def intervals(
    found: Embeddings, how: Bootstrap, captions: str = "all", relevant: Relevant | None = None
) -> dict[str, Any]:
    """The field of a `Result`: of recalls, mAP and mean ranks, clips drawn with their captions. With shared captions
    only of `audio_to_text`: a caption of several clips is none's. Errors as in `result_of` and `Bootstrap.drawn`."""
    drawn = how.drawn(found)
    return drawn.intervals(
        resampled(found, drawn, captions, relevant),
        gallery="whole in every resample: clips and captions are drawn as queries",
    )


def resampled(
    found: Embeddings, drawn: Drawn, captions: str = "all", relevant: Relevant | None = None
) -> dict[str, torch.Tensor]:
    """value_R float64 by the name of the metric in a `Result`, the mean over caption sets."""
    rounds = []
    for one in ranks_of(found, captions, relevant):
        values = {}
        for side, unit_I in one.unit_of_query(drawn.unit_N).items():
            ranked = one.sides[side]
            for name, value_Q in ranked.of_each().items():
                values[f"{side}/{name}"] = mean_resampled(value_Q, unit_I[ranked.query_Q], drawn.weight_UR)
        rounds.append(values)
    return {name: torch.stack([values[name] for values in rounds]).mean(dim=0) for name in rounds[0]}


@dataclass(frozen=True)
class Round:
    """sides: of `retrieval_ranks`; chance: its R@1 by an order drawn at random, by name; clip_of_text_M: whose each
    caption is, None where captions are shared."""

    sides: dict[str, Ranked]
    chance: dict[str, float]
    clip_of_text_M: torch.Tensor | None = None

    def unit_of_query(self, unit_N: torch.Tensor) -> dict[str, torch.Tensor]:
        """By side, of all its possible queries; unit_N: of the clips."""
        units = {"audio_to_text": unit_N}
        return units if self.clip_of_text_M is None else {"text_to_audio": unit_N[self.clip_of_text_M]} | units


def ranks_of(found: Embeddings, captions: str = "all", relevant: Relevant | None = None) -> list[Round]:
    """What each caption and clip found: one round, of caption sets one each. Arguments and errors as in `result_of`."""
    if captions not in CAPTIONS:
        raise ValueError(f"captions {captions!r}: choose of {CAPTIONS}")
    if relevant is not None and captions != "shared":
        raise ValueError(f"captions {captions!r}: what is relevant is told of shared captions")
    audio_ND, text_MD = torch.from_numpy(found.audio_ND), torch.from_numpy(found.text_MD)
    clip_of_text_M = owners_of(found)
    if captions == "shared":
        return [_shared(found, relevant)]
    sets = _sets(found) if captions == "sets" else [list(range(len(text_MD)))]
    return [
        Round(
            retrieval_ranks(audio_ND, text_MD[rows], clip_of_text_M[rows]),
            chance_level(clip_of_text_M[rows], len(audio_ND)),
            clip_of_text_M[rows],
        )
        for rows in sets
    ]


@dataclass(frozen=True)
class Shared:
    """Captions that are equal as one, with all clips that are right for it: texts, once_MD their embeddings, and pairs
    (text_X, clip_X) int64."""

    texts: list[str]
    once_MD: torch.Tensor
    text_X: torch.Tensor
    clip_X: torch.Tensor

    @classmethod
    def of(cls, found: Embeddings, relevant: Relevant | None = None) -> Shared:
        """Raises ValueError for relevant captions or clips that are not there."""
        row_of: dict[str, int] = {}
        text_X = [row_of.setdefault(text, len(row_of)) for text in found.texts]
        clip_X = owners_of(found).tolist()
        clip_of = {key: n for n, key in enumerate(found.keys)}
        for caption, keys in (relevant or {}).items():
            if caption not in row_of:
                raise ValueError(f"{caption!r} is relevant to {keys[0]!r}, and no caption: {nearest(caption, row_of)}")
            for key in keys:
                if key not in clip_of:
                    raise ValueError(f"{caption!r} is relevant to {key!r}, which is no clip: {nearest(key, clip_of)}")
                text_X.append(row_of[caption])
                clip_X.append(clip_of[key])
        first = {text: m for m, text in reversed(list(enumerate(found.texts)))}
        once_MD = torch.from_numpy(found.text_MD)[[first[text] for text in row_of]]
        return cls(list(row_of), once_MD, *torch.unique(torch.tensor([text_X, clip_X]), dim=1))


def _shared(found: Embeddings, relevant: Relevant | None) -> Round:
    shared, audio_ND = Shared.of(found, relevant), torch.from_numpy(found.audio_ND)
    chance = {}
    for side, row_X, others in (
        ("text_to_audio", shared.text_X, len(audio_ND)),
        ("audio_to_text", shared.clip_X, len(shared.texts)),
    ):
        right = row_X.unique(return_counts=True)[1].double()
        chance[f"{side}/chance R@1"] = float((right / others).mean())
    return Round(relevance_ranks(audio_ND, shared.once_MD, shared.text_X, shared.clip_X), chance)


def owners_of(found: Embeddings) -> torch.Tensor:
    """clip_of_text_M int64: whose each caption is."""
    counts = torch.tensor([len(said) for said in found.captions])
    return torch.arange(len(counts)).repeat_interleave(counts)


def _sha256(relevant: Relevant) -> str:
    pairs = sorted((caption, key) for caption, keys in relevant.items() for key in keys)
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()


def read_relevant(path: Path) -> Relevant:
    """Of a CSV with the columns `caption` and `key`, a row for each clip that is right for a caption. ValueError names
    file, row and fix."""
    out: dict[str, list[str]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    with io.StringIO(text, newline="") as file:
        rows = csv.DictReader(file)
        for name in ("caption", "key"):
            if name not in (rows.fieldnames or ()):
                raise ValueError(f"{path}: no column {name!r}, it has {', '.join(rows.fieldnames or ())}: rename one")
        for row in rows:
            caption, key = (" ".join((row[name] or "").split()) for name in ("caption", "key"))
            if not caption or not key:
                raise ValueError(f"{path}: row {rows.line_num}: names no caption or no clip: fill it in, or remove it")
            out.setdefault(caption, []).append(key)
    if not out:
        raise ValueError(
            f"{path}: lists nothing: give a row for each clip that is right for a caption, or leave it out"
        )
    return out


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
