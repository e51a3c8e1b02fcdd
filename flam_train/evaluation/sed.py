"""Sound event detection: every class of a vocabulary scored in every frame of a corpus.

A class can be said in several ways. In round p every class is asked for by its p-th phrasing (a class with fewer
starts again from its first); the metrics are computed per round, and the result is their mean with the spread over
rounds. So a number never hides which words were used, and no phrasing is picked.

Shape suffixes: B windows, S samples, T frames of a window, F frames of all recordings, R rounds, K classes,
C = R K phrases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.batch import TextEmbeddings
from flam_train.data.corpus import Corpus
from flam_train.data.schema import Event, Record
from flam_train.distributed import rank
from flam_train.evaluation.parts import Kept, forget_parts, identity, in_parts, is_kept
from flam_train.evaluation.result import Result, describe_data, describe_model
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed_metrics import SedMetrics, sed_metrics
from flam_train.evaluation.windows import Progress, Reading
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection
from flam_train.models.flam import cosines
from flam_train.vocabulary import Vocabulary

PHRASINGS = ("trained", "held_out")


def score_corpus(
    model: Any,
    corpus: Corpus,
    *,
    phrasings: str = "trained",
    vocabulary: Vocabulary | None = None,
    classes: tuple[str, ...] | None = None,
    soft_threshold: float | None = None,
    batch_size: int = 16,
    workers: int = 0,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> Scores | None:
    """The cosine of every frame, class and phrasing, beside the labels.

    model           a FLAM in eval mode: `grid`, `embed_audio`, `embed_text`, `default_method`, `provenance`
    phrasings       "trained" or "held_out": which phrasings of each class are asked for; a class without any of the
                    kind is left out and named in the result
    vocabulary      another than the corpus' own
    classes         only these; events of others are left out
    soft_threshold  the labels are details["soft"] where greater than this, instead of the events (MAESTRO)
    workers         processes that read and decode
    path            where the scores are kept, and while they are made, their parts: a run that was stopped goes on,
                    several ranks share the work, and scores that are there already are not made again

    Recordings longer than the model's clip are read in consecutive windows; frames past a recording's end are left out.
    On ranks other than the first the answer is None. Raises ValueError for a choice that does not exist, an event of an
    unknown class, a corpus without events.
    """
    if phrasings not in PHRASINGS:
        raise ValueError(f"phrasings {phrasings!r}: choose of {PHRASINGS}")
    given, vocabulary = vocabulary, vocabulary or corpus.vocabulary
    names, phrases, without = phrase_rounds(vocabulary, corpus, phrasings, classes)
    ignored = set(without) | (set(vocabulary.classes) - set(classes) if classes else set())
    data, about = describe_data(corpus), describe_model(model)
    digest = identity(
        model, about, kind="sed", data=data["sha256"], phrases=phrases, classes=names,
        ignored=sorted(ignored), soft_threshold=soft_threshold, batch_size=batch_size, grid=asdict(model.grid),
    )  # fmt: skip
    if path is not None and is_kept(Path(path), digest, about):
        return Scores.load(path) if rank() == 0 else None
    text = _embed(model, [phrase for chosen in phrases for phrase in chosen])

    def part(numbers: range, done: Callable[[], None]) -> Kept:
        reading = Reading(corpus, model.grid, batch_size, "all", workers)
        found: dict[int, list[np.ndarray]] = {}
        with torch.inference_mode():
            for owners, waveform_BS in reading.batches(numbers, done):
                frame_BTD = model.embed_audio(waveform_BS.to(text.text_CD.device)).frame_BTD
                cosine_BCT = cosines(frame_BTD, text.text_CD).cpu().numpy()
                for row, number in enumerate(owners):
                    found.setdefault(number, []).append(cosine_BCT[row])
        labelled = [_labels(reading, number, names, ignored, soft_threshold) for number in found]
        frames = [label_KT.shape[1] for label_KT, _ in labelled]
        cosines_CT = [np.concatenate(found[n], axis=1)[:, :t] for n, t in zip(found, frames, strict=True)]
        records = [reading.records[number] for number in found]
        nothing = np.zeros((len(text.text_CD), 0), dtype=np.float32), np.zeros((len(names), 0), dtype=bool)
        return Kept(
            {
                "cosine_CF": np.concatenate([nothing[0], *cosines_CT], axis=1),
                "label_KF": np.concatenate([nothing[1], *(label_KT for label_KT, _ in labelled)], axis=1),
            },
            {
                "keys": [record.key for record in records],
                "splits": sorted({record.split for record in records}),
                "durations": [record.duration for record in records],
                "frames": frames,
                "events": [events for _, events in labelled],
                "missing": reading.missing,
            },
        )

    folder = None if path is None else Path(path).with_name(f".{Path(path).name}.parts")
    parts = in_parts(len(corpus), part, folder, digest, progress)
    if not parts:
        return None
    missing = {key: why for one in parts for key, why in one.facts["missing"].items()}
    keys = [key for one in parts for key in one.facts["keys"]]
    if not keys:
        why = next(iter(missing.values()), "the manifest lists no clip")
        raise ValueError(f"{corpus.folder}: not one clip could be read: {why}")
    facts = {
        "protocol": f"sed/{phrasings}",
        "dataset": corpus.name,
        "split": split_of(part.facts["splits"] for part in parts),
        "vocabulary": corpus.manifest["vocabulary"] if vocabulary is corpus.vocabulary else vocabulary.corpus,
        "parameters": {
            "phrasings": phrasings,
            "several phrasings": "each metric is the mean over phrasings",
            "classes without such a phrasing (left out)": without,
            "windows": f"consecutive, {model.grid.seconds:g} s",
            "batch size": batch_size,
        },
        "clips_expected": len(corpus),
        "clips_evaluated": len(keys),
        "missing": missing,
        "model": about,
        "data": data,
        "seed": model.provenance.get("seed"),
    }
    if soft_threshold is not None:
        facts["parameters"]["labels"] = f"soft ones greater than {soft_threshold:g}"
    shape = (len(phrases), len(names), -1)
    scores = Scores(
        cosine_RKF=np.concatenate([one.arrays["cosine_CF"] for one in parts], axis=1).reshape(shape),
        scale_RK=text.scale_C.float().cpu().numpy().reshape(shape[:2]),
        bias_RK=text.bias_C.float().cpu().numpy().reshape(shape[:2]),
        label_KF=np.concatenate([one.arrays["label_KF"] for one in parts], axis=1),
        frame_start_N1=np.cumsum([0, *(t for one in parts for t in one.facts["frames"])]),
        frame_seconds=model.grid.frame_seconds,
        classes=names,
        phrases=phrases,
        keys=keys,
        durations=[seconds for one in parts for seconds in one.facts["durations"]],
        events=[[(a, b, c) for a, b, c in found] for one in parts for found in one.facts["events"]],
        method=model.default_method,
        asked=asked(phrasings, given, classes, soft_threshold),
        facts=facts,
        digest=digest,
    )
    if path is not None and folder is not None:
        scores.save(path)
        forget_parts(folder, digest)
    return scores


def asked(
    phrasings: str, vocabulary: Vocabulary | None, classes: tuple[str, ...] | None, soft_threshold: float | None
) -> dict[str, Any]:
    """What scores were asked for, as plain data: those of other words are other scores."""
    return {
        "phrasings": phrasings,
        "vocabulary": vocabulary.corpus if vocabulary else None,
        "classes": list(classes) if classes else None,
        "soft_threshold": soft_threshold,
    }


def result_of(scores: Scores, chosen: SedMetrics | None = None, note: Callable[[str], None] | None = None) -> Result:
    """The numbers of kept scores, without model or audio."""
    metrics, spread, parameters = sed_metrics(scores, chosen or SedMetrics(), note)
    facts = scores.facts | {"parameters": scores.facts["parameters"] | parameters}
    return Result(**facts, metrics=metrics, spread=spread)


def phrase_rounds(
    vocabulary: Vocabulary, corpus: Corpus, phrasings: str, wanted: tuple[str, ...] | None = None
) -> tuple[list[str], list[list[str]], list[str]]:
    """(classes, one list of phrases a round, classes without such a phrasing).

    Of a vocabulary the classes that are wanted, or that the corpus annotates; in an open corpus every label there is.
    """
    if not vocabulary.classes:
        if phrasings == "held_out":
            raise ValueError(f"{corpus.folder}: an open corpus has no held-out phrasings: evaluate the trained ones")
        labels = sorted({event.label for n in range(len(corpus)) for event in corpus.record(n).events})
        if not labels:
            raise ValueError(f"{corpus.folder}: not one event in this corpus: nothing to detect")
        return labels, [labels], []
    annotated = set(corpus.annotates)
    unknown = set(wanted or ()) - set(vocabulary.classes)
    if unknown:
        raise ValueError(f"class {sorted(unknown)[0]!r} is not in vocabulary {vocabulary.corpus!r}: mend the protocol")
    concepts = {
        c: v for c, v in vocabulary.classes.items() if (c in wanted if wanted else not annotated or v.id in annotated)
    }
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


def split_of(splits: Iterable[Iterable[str]]) -> str:
    return "+".join(sorted({split for some in splits for split in some} - {""}))


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


def _labels(
    reading: Reading, number: int, classes: list[str], ignored: set[str], soft_threshold: float | None
) -> tuple[np.ndarray, list[Detection]]:
    """Labels bool [K, T] of the frames inside the recording, and its events of these classes."""
    record = reading.records[number]
    windows = reading.count(record.duration)
    grid = replace(reading.grid, frames=reading.grid.frames * windows, seconds=reading.grid.seconds * windows)
    frames = max(1, int(grid.valid(record.duration).sum()))
    row = {name: k for k, name in enumerate(classes)}
    label_KT = np.zeros((len(classes), frames), dtype=bool)
    events: list[Detection] = []
    truth = record.events if soft_threshold is None else _hardened(reading, number, record, soft_threshold)
    for event, active_T in zip(truth, _active(grid, truth), strict=True):
        if event.label in ignored:
            continue
        if event.label not in row:
            raise ValueError(
                f"{reading.corpus.where(number)}: class {event.label!r} is not among those to be scored: "
                "add it to the vocabulary (and to what the corpus annotates), or mend the label"
            )
        label_KT[row[event.label]] |= active_T[:frames]
        events.append((event.onset, event.offset, event.label))
    return label_KT, events


def _hardened(reading: Reading, number: int, record: Record, threshold: float) -> tuple[Event, ...]:
    """Where soft labels, details["soft"] = [onset, offset, class, value], are greater than the threshold."""
    soft = record.details.get("soft")
    if not isinstance(soft, list):
        raise ValueError(f"{reading.corpus.where(number)}: has no soft labels: prepare it with data_prep/maestro.py")
    return tuple(Event(a, min(b, record.duration), c) for a, b, c, value in soft if value > threshold)


def _active(grid: FrameGrid, events: tuple[Event, ...]) -> np.ndarray:
    return grid.labels([e.onset for e in events], [e.offset for e in events])
