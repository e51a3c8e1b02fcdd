"""Zero-shot classification: each clip gets the class whose phrases lie nearest to it.

Shape suffixes: N clips, K classes, M texts, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from flam_train.evaluation.choices import PHRASES
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.embeddings import Embeddings, window_rule
from flam_train.evaluation.result import Result
from flam_train.metrics.bootstrap import mean_resampled
from flam_train.vocabulary import Vocabulary


def prompts(
    vocabulary: Vocabulary, templates: Sequence[str], phrases: str = "first"
) -> tuple[list[str], list[list[str]]]:
    """(classes, the texts of each): every template around every phrasing. Raises ValueError for one without {}."""
    if phrases not in PHRASES:
        raise ValueError(f"phrases {phrases!r}: choose of {PHRASES}")
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise ValueError(f"templates {list(templates)}: each needs one {{}} where the phrase of the class stands")
    texts = []
    for concept in vocabulary.classes.values():
        said = concept.phrasings if phrases == "all" else concept.phrasings[:1]
        texts.append([template.replace("{}", phrase) for template in templates for phrase in said])
    return list(vocabulary.classes), texts


def result_of(found: Embeddings, classes: list[str], texts: list[list[str]], vocabulary: str) -> Result:
    """Accuracy of all clips, of each fold (a record's split) and its mean with the spread over folds, of each class.

    A class' embedding is the mean of its texts', made unit length. Of equal scores the clip's own class loses. Raises
    ValueError for a clip whose class is none of `classes`, and for a text that was not embedded.
    """
    rank_N, own_N = ranks_of(found, classes, texts, vocabulary)
    right_N = rank_N == 0
    folds = {split: np.array([s == split for s in found.splits]) for split in sorted(set(found.splits))}
    per_fold = np.array([right_N[chosen].mean() for chosen in folds.values()])
    of_class = [right_N[own_N == k].mean() for k in range(len(classes)) if (own_N == k).any()]
    about = {name: value for name, value in found.about.items() if name not in ("seconds", "vocabulary")}
    return Result(
        protocol="zero_shot",
        split="+".join(folds) if len(folds) <= 2 else f"{len(folds)} folds",
        vocabulary=vocabulary,
        parameters={
            "classes": len(classes),
            "classes without a clip": [name for name in classes if name not in set(found.classes)],
            "phrases": dict(zip(classes, texts, strict=True)),
            "folds": {split: int(chosen.sum()) for split, chosen in folds.items()},
            "windows": window_rule(found.windows, found.about["seconds"]),
            "ties": "against the system",
        },
        metrics={
            "accuracy": float(right_N.mean()),
            "accuracy/mean over folds": float(per_fold.mean()),
            "accuracy/mean over classes": float(np.mean(of_class)),
            "accuracy/top 5": float((rank_N < 5).mean()),
            "accuracy/chance": 1.0 / len(classes),
        },
        spread={"accuracy/mean over folds": float(per_fold.std())} if len(folds) > 1 else {},
        **about,
    )


def intervals(
    found: Embeddings, how: Bootstrap, classes: list[str], texts: list[list[str]], vocabulary: str
) -> dict[str, Any]:
    """The field of a `Result`. Errors as in `result_of` and `Bootstrap.drawn`."""
    drawn = how.drawn(found)
    rank_N, own_N = (torch.from_numpy(x) for x in ranks_of(found, classes, texts, vocabulary))
    right_N = (rank_N == 0).double()
    fold_N = torch.from_numpy(np.unique(found.splits, return_inverse=True)[1])

    def mean(value_N: torch.Tensor, group_N: torch.Tensor) -> torch.Tensor:
        """Of each group's own mean; a group of which none is drawn is left out."""
        groups = [(group_N == g).nonzero()[:, 0] for g in group_N.unique()]
        means = [mean_resampled(value_N[at], drawn.unit_N[at], drawn.weight_UR) for at in groups]
        return torch.stack(means).nanmean(dim=0)

    all_N = torch.zeros_like(own_N)
    values = {
        "accuracy": mean(right_N, all_N),
        "accuracy/mean over folds": mean(right_N, fold_N),
        "accuracy/mean over classes": mean(right_N, own_N),
        "accuracy/top 5": mean((rank_N < 5).double(), all_N),
    }
    return drawn.intervals(values, classes="one of which no clip is drawn is left out of that resample's mean")


def ranks_of(
    found: Embeddings, classes: list[str], texts: list[list[str]], vocabulary: str
) -> tuple[np.ndarray, np.ndarray]:
    """(rank_N, own_N) int64: at which place, from 0, a clip's own class stands among all, and which it is. Arguments
    and errors as in `result_of`."""
    number = {name: k for k, name in enumerate(classes)}
    for key, name in zip(found.keys, found.classes, strict=True):
        if name not in number:
            raise ValueError(
                f"{found.about['dataset']}: clip {key!r} has class {name!r}, which vocabulary {vocabulary!r} does not "
                "know: prepare the corpus again, or name its own vocabulary"
            )
    row = {text: m for m, text in enumerate(found.texts)}
    if unknown := [text for said in texts for text in said if text not in row]:
        raise ValueError(
            f"{found.about['dataset']}: kept without {unknown[0]!r}: give the templates and phrases of then"
        )
    text_MD = torch.from_numpy(found.text_MD)
    class_KD = torch.stack([normalize(text_MD[[row[text] for text in said]].mean(0), dim=0) for said in texts])
    score_NK = torch.from_numpy(found.audio_ND) @ class_KD.T
    own_N = torch.tensor([number[name] for name in found.classes])
    own_score_N1 = score_NK.gather(1, own_N[:, None])
    return ((score_NK >= own_score_N1).sum(dim=1) - 1).numpy(), own_N.numpy()
