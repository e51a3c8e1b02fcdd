"""Sound event detection: every class of a vocabulary scored in every frame of a corpus.

A class can be said in several ways. In round p every class is asked for by its p-th phrasing (a class with fewer
starts again from its first); the metrics are computed per round, and the result is their mean with the spread over
rounds. So a number never hides which words were used, and no phrasing is picked.

Shape suffixes: B windows, S samples, T frames of a window, F frames of all recordings, R rounds, K classes,
C = R K phrases.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.batch import TextEmbeddings
from flam_train.data.corpus import Corpus
from flam_train.data.schema import Record
from flam_train.evaluation.result import Result, describe_data, describe_model
from flam_train.evaluation.scores import Scores, sed_metrics
from flam_train.evaluation.windows import Progress, Reading
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection
from flam_train.models.flam import METHODS
from flam_train.vocabulary import Vocabulary

PHRASINGS = ("trained", "held_out")


def evaluate_sed(
    model: Any,
    corpus: Corpus,
    *,
    phrasings: str = "trained",
    method: str | None = None,
    vocabulary: Vocabulary | None = None,
    batch_size: int = 16,
    scores_path: str | Path | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
    skip: frozenset[str] = frozenset(),
) -> Result:
    """Scores a corpus and computes frame AUROC and F1, segment and event F1, PSDS.

    scores_path  where scores and labels are kept (.npz), see `recompute`
    skip, note   see `evaluation.scores.sed_metrics`; everything else, and the errors, as in `score_corpus`
    """
    scores = score_corpus(
        model,
        corpus,
        phrasings=phrasings,
        method=method,
        vocabulary=vocabulary,
        batch_size=batch_size,
        progress=progress,
    )
    if scores_path is not None:
        scores.save(scores_path)
    return result_of(scores, skip, note)


def score_corpus(
    model: Any,
    corpus: Corpus,
    *,
    phrasings: str = "trained",
    method: str | None = None,
    vocabulary: Vocabulary | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Scores:
    """One score for every frame, class and phrasing, beside the labels.

    model        a FLAM in eval mode: `grid`, `embed_audio`, `embed_text`, `localize`, `default_method`, `provenance`
    phrasings    "trained" or "held_out": which phrasings of each class are asked for; a class without any of the kind
                 is left out and named in the result
    method       "unbiased" (Eq. 9), "approximate" (Eq. 8), "biased" (sigmoid(alpha cos + beta)) or "cosine"; None is
                 the model's `default_method`; the biased score is kept beside the others
    vocabulary   another than the corpus' own

    Recordings longer than the model's clip are read in consecutive windows; frames past a recording's end are left out.
    Raises ValueError for a choice that does not exist, an event of an unknown class, a corpus without events.
    """
    method = method or model.default_method
    if method not in METHODS or phrasings not in PHRASINGS:
        raise ValueError(f"method {method!r}, phrasings {phrasings!r}: choose of {METHODS} and {PHRASINGS}")
    vocabulary = vocabulary or corpus.vocabulary
    classes, phrases, without = phrase_rounds(vocabulary, corpus, phrasings)
    text = _embed(model, [phrase for chosen in phrases for phrase in chosen])
    reading = Reading(corpus, model.grid, batch_size, whole=True, progress=progress)
    parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    with torch.inference_mode():
        for owners, waveform_BS in reading:
            frame_BTD = model.embed_audio(waveform_BS.to(text.text_CD.device)).frame_BTD
            score_BCT = model.localize(frame_BTD, text, method=method).float().cpu().numpy()
            biased_BCT = (
                score_BCT
                if method == "biased"
                else model.localize(frame_BTD, text, method="biased").float().cpu().numpy()
            )
            for row, index in enumerate(owners):
                parts.setdefault(index, []).append((score_BCT[row], biased_BCT[row]))
    labels = [_labels(reading, index, classes, without) for index in parts]
    frames = [label_KT.shape[1] for label_KT, _ in labels]

    def joined(which: int) -> np.ndarray:
        recordings = [
            np.concatenate([p[which] for p in parts[index]], axis=1)[:, :count]
            for index, count in zip(parts, frames, strict=True)
        ]
        return np.concatenate(recordings, axis=1).reshape(len(phrases), len(classes), -1)

    records = [reading.records[index] for index in parts]
    facts = {
        "protocol": f"sed/{phrasings}",
        "dataset": corpus.name,
        "split": split_of(records),
        "vocabulary": corpus.manifest["vocabulary"] if vocabulary is corpus.vocabulary else vocabulary.corpus,
        "parameters": {
            "method": method,
            "phrasings": phrasings,
            "several phrasings": "each metric is the mean over phrasings",
            "classes without such a phrasing (left out)": without,
            "batch size": batch_size,
        },
        "clips_expected": len(corpus),
        "clips_evaluated": len(records),
        "missing": reading.missing,
        "model": describe_model(model),
        "data": describe_data(corpus),
        "seed": model.provenance.get("seed"),
    }
    return Scores(
        score_RKF=joined(0),
        biased_RKF=joined(1),
        label_KF=np.concatenate([label_KT for label_KT, _ in labels], axis=1),
        frame_start_N1=np.concatenate([[0], np.cumsum(frames)]),
        frame_seconds=model.grid.frame_seconds,
        classes=classes,
        phrases=phrases,
        keys=[record.key for record in records],
        durations=[record.duration for record in records],
        events=[events for _, events in labels],
        facts=facts,
    )


def recompute(scores_path: str | Path, skip: frozenset[str] = frozenset(), note=None) -> Result:
    """The result again from the scores that `evaluate_sed` kept, without model or audio."""
    return result_of(Scores.load(scores_path), skip, note)


def result_of(scores: Scores, skip: frozenset[str] = frozenset(), note=None) -> Result:
    metrics, spread, parameters = sed_metrics(scores, skip, note)
    facts = json.loads(json.dumps(scores.facts))
    facts["parameters"] |= parameters
    return Result(**facts, metrics=metrics, spread=spread)


def phrase_rounds(
    vocabulary: Vocabulary, corpus: Corpus, phrasings: str
) -> tuple[list[str], list[list[str]], list[str]]:
    """(classes, one list of phrases a round, classes without such a phrasing).

    Of a vocabulary only the classes that the corpus annotates; in an open corpus every label that occurs.
    """
    if not vocabulary.classes:
        if phrasings == "held_out":
            raise ValueError(f"{corpus.folder}: an open corpus has no held-out phrasings: evaluate the trained ones")
        labels = sorted({event.label for n in range(len(corpus)) for event in corpus.record(n).events})
        if not labels:
            raise ValueError(f"{corpus.folder}: not one event in this corpus: nothing to detect")
        return labels, [labels], []
    annotated = set(corpus.annotates)
    concepts = {c: v for c, v in vocabulary.classes.items() if not annotated or v.id in annotated}
    ways = {c: v.phrasings if phrasings == "trained" else v.held_out for c, v in concepts.items()}
    classes = [c for c, said in ways.items() if said]
    if not classes:
        raise ValueError(
            f"{corpus.folder}: no class of vocabulary {vocabulary.corpus!r} that it annotates has {phrasings} "
            f"phrasings: write `{'phrasings' if phrasings == 'trained' else 'held_out'}` for its classes, or name "
            "another vocabulary"
        )
    rounds = max(len(ways[c]) for c in classes)
    chosen = [[ways[c][p % len(ways[c])] for c in classes] for p in range(rounds)]
    return classes, chosen, [c for c, said in ways.items() if not said]


def split_of(records: list[Record]) -> str:
    return "+".join(sorted({record.split for record in records} - {""}))


def _embed(model: Any, phrases: list[str], batch: int = 256) -> TextEmbeddings:
    """Each different phrase goes through the text tower once."""
    unique = list(dict.fromkeys(phrases))
    with torch.inference_mode():
        parts = [model.embed_text(unique[a : a + batch]) for a in range(0, len(unique), batch)]
    row = {phrase: n for n, phrase in enumerate(unique)}
    rows = torch.tensor([row[phrase] for phrase in phrases], device=parts[0].text_CD.device)
    return TextEmbeddings(
        *(torch.cat([getattr(p, name) for p in parts])[rows] for name in ("text_CD", "scale_C", "bias_C"))
    )


def _labels(reading: Reading, index: int, classes: list[str], without: list[str]) -> tuple[np.ndarray, list[Detection]]:
    """Labels bool [K, T] of the frames inside the recording, and its events of these classes."""
    record = reading.records[index]
    windows = reading.count(record.duration)
    grid = replace(reading.grid, frames=reading.grid.frames * windows, seconds=reading.grid.seconds * windows)
    frames = max(1, int(grid.valid(record.duration).sum()))
    row = {name: k for k, name in enumerate(classes)}
    label_KT = np.zeros((len(classes), frames), dtype=bool)
    events: list[Detection] = []
    for event, active_T in zip(record.events, _active(grid, record), strict=True):
        if event.label in without:
            continue
        if event.label not in row:
            raise ValueError(
                f"{reading.corpus.where(index)}: class {event.label!r} is not among those to be scored: "
                "add it to the vocabulary (and to what the corpus annotates), or mend the label"
            )
        label_KT[row[event.label]] |= active_T[:frames]
        events.append((event.onset, event.offset, event.label))
    return label_KT, events


def _active(grid: FrameGrid, record: Record) -> np.ndarray:
    return grid.labels([e.onset for e in record.events], [e.offset for e in record.events])
