"""Embeddings of every frame of a corpus beside its events and the words to ask for, kept in one file.

Every score is a frame's cosine with a phrase, so one pass over the audio serves all words, methods and metrics, and
what is kept does not grow with the vocabulary.

Shape suffixes: F frames of all recordings, D embedding width, N recordings, M texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.data.shards.corpus import Corpus
from flam_train.distributed import rank
from flam_train.evaluation.embeddings import device_of, embed_texts
from flam_train.evaluation.groups import ORIGIN, origin_of
from flam_train.evaluation.parts import Kept, forget_parts, identity, in_parts, is_kept, of_clips
from flam_train.evaluation.result import describe
from flam_train.evaluation.truth import check_labels, events_of, frames_inside, only_listed, unknown_in
from flam_train.evaluation.windows import Progress, Reading
from flam_train.evaluation.words import Words, asked_of, content_of, labels_of
from flam_train.metrics.detection import Detection
from flam_train.vocabulary import Vocabulary


@dataclass(frozen=True)
class FrameEmbeddings:
    """frame_FD                 float32, unit length; frames past a recording's end are left out
    frame_start_N1           int64: where each recording's frames begin; the last entry is F
    text_MD, scale_M, bias_M float32: of each text
    texts                    M strings: every phrase of `words` once
    words                    by kind of phrasings
    keys, splits, durations, events  of N recordings; durations in seconds, events (onset, offset, class)
    frame_seconds
    method                   of scoring, the model's own
    asked                    vocabulary, classes and soft_threshold, as they were given
    about                    what of the `Result` is known: clips expected, missing, model, data
    digest                   `parts.identity` of how the frames were made
    sources, details         of N recordings, as their `Record` has them, details without what is long (`groups`): which
                             recordings are alike
    unknown                  of N recordings, `truth.unknown_in`
    only_listed              `truth.only_listed`, of all classes
                             these four are empty where they were kept before they were
    """

    frame_FD: np.ndarray
    frame_start_N1: np.ndarray
    text_MD: np.ndarray
    scale_M: np.ndarray
    bias_M: np.ndarray
    texts: list[str]
    words: dict[str, Words]
    keys: list[str]
    splits: list[str]
    durations: list[float]
    events: list[list[Detection]]
    frame_seconds: float
    method: str
    asked: dict[str, Any]
    about: dict[str, Any]
    digest: str = ""
    sources: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[list[str]] = field(default_factory=list)
    only_listed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        recordings = len(self.frame_start_N1) - 1
        for name in ("keys", "splits", "durations", "events", *LATER):
            if len(getattr(self, name)) != recordings and (name not in LATER or getattr(self, name)):
                raise ValueError(
                    f"{self.about['dataset']}: frames of {recordings} recordings but {name} of "
                    f"{len(getattr(self, name))}: each needs both, remove what is kept and run again"
                )
        finite_F = np.isfinite(self.frame_FD).all(axis=1)
        if not finite_F.all():
            n = int(np.searchsorted(self.frame_start_N1, np.flatnonzero(~finite_F)[0], side="right")) - 1
            raise ValueError(
                f"recording {self.keys[n]!r}: a frame's embedding is not a number: look at the clip, or at the model"
            )
        finite_M = np.isfinite(self.text_MD).all(axis=1) & np.isfinite(self.scale_M) & np.isfinite(self.bias_M)
        if not finite_M.all():
            text = self.texts[int(np.flatnonzero(~finite_M)[0])]
            raise ValueError(f"the embedding of {text!r} is not a number: look at the model")

    def save(self, path: str | Path) -> Path:
        """One file, whole or not at all."""
        kind = {"kind": "frames", "model": self.about["model"].get("sha256"), "complete": not self.about["missing"]}
        words = {phrasings: asdict(one) for phrasings, one in self.words.items()}
        plain = {name: getattr(self, name) for name in (*_PLAIN, *LATER, "only_listed")} | {"words": words}
        return Kept({name: getattr(self, name) for name in _ARRAYS}, kind | plain).write(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> FrameEmbeddings:
        """What `save` wrote; ValueError names the file."""
        kept = Kept.read(Path(path))
        if kept.facts.get("kind") != "frames" or set(kept.arrays) != set(_ARRAYS):
            raise ValueError(f"{path}: not what a detection kept: remove it, or give another --out, and run again")
        values: dict[str, Any] = kept.arrays | kept.named(path, *_PLAIN, "words")
        values["events"] = [[(a, b, c) for a, b, c in found] for found in values["events"]]
        values |= {name: kept.facts.get(name, []) for name in (*LATER, "only_listed")}
        values["words"] = {kind: Words(**words) for kind, words in values["words"].items()}
        return cls(**values)


LATER = (*ORIGIN, "unknown")
"""Of N recordings, and not in what was kept by older versions."""

_OF_TEXTS = ("text_MD", "scale_M", "bias_M")
_ARRAYS = ("frame_FD", "frame_start_N1", *_OF_TEXTS)
_PLAIN = ("texts", "keys", "splits", "durations", "events", "frame_seconds", "method", "asked", "about", "digest")


def embed_frames(
    model: Any,
    corpus: Corpus,
    *,
    phrasings: Sequence[str] = ("trained",),
    vocabulary: Vocabulary | None = None,
    classes: Sequence[str] | None = None,
    soft_threshold: float | None = None,
    batch_size: int = 16,
    workers: int = 0,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> FrameEmbeddings | None:
    """Embeds every frame of a corpus, and what is to be asked for in it.

    model           a FLAM in eval mode: `grid`, `embed_audio`, `embed_text`, `default_method`, `provenance`
    phrasings       of `choices.PHRASINGS`: which phrasings of each class are asked for; a class without any of the kind
                    is left out and named in the result
    vocabulary      another than the corpus' own
    classes         only these; events of others are left out
    soft_threshold  the labels are details["soft"] where greater than this, instead of the events (MAESTRO)
    workers         processes that read and decode
    path            where the embeddings are kept, and while they are made, their parts: a run that was stopped goes on,
                    several ranks share the work, and frames that are there already are not made again, even for other
                    words

    Recordings longer than the model's clip are read in consecutive windows. On ranks other than the first the answer is
    None. Raises ValueError for a choice that does not exist, an event of an unknown class, a corpus without events.
    """
    asked = asked_of(vocabulary, classes, soft_threshold)
    name = vocabulary.corpus if vocabulary else corpus.manifest["vocabulary"]
    vocabulary = vocabulary or corpus.vocabulary
    named = {"vocabulary": name, "vocabulary sha256": content_of(vocabulary)}
    words = {kind: Words.of(corpus, vocabulary, kind, classes) for kind in phrasings}
    known = {name for one in words.values() for name in (*one.classes, *one.left_out)}
    ignored = set(vocabulary.classes or labels_of(corpus)) - set(classes) if classes else set()
    about = describe(model, corpus)
    digest = identity(
        model, about, kind="frames", known=sorted(known), ignored=sorted(ignored),
        soft_threshold=soft_threshold, batch_size=batch_size, grid=asdict(model.grid),
    )  # fmt: skip
    if path is not None and is_kept(Path(path), digest, about["model"]):
        return _asking(model, corpus, Path(path), vocabulary, words, asked, named) if rank() == 0 else None
    check_labels(corpus, known, ignored, soft_threshold)

    def part(numbers: range, done: Callable[[], None]) -> Kept:
        reading = Reading(corpus, model.grid, batch_size, "all", workers)
        heard: dict[int, list[np.ndarray]] = {}
        with torch.inference_mode():
            for owners, waveform_BS in reading.batches(numbers, done):
                frame_BTD = model.embed_audio(waveform_BS.to(device_of(model))).frame_BTD.float().cpu().numpy()
                for row, number in enumerate(owners):
                    heard.setdefault(number, []).append(frame_BTD[row])
        records = [reading.records[number] for number in heard]
        events = [events_of(corpus, n, reading.records[n], known, ignored, soft_threshold) for n in heard]
        frames_N = [frames_inside(reading, record) for record in records]
        frame_FD = [np.concatenate(found)[:frames] for found, frames in zip(heard.values(), frames_N, strict=True)]
        return Kept(
            {"frame_FD": np.concatenate(frame_FD) if frame_FD else np.zeros((0, 0), dtype=np.float32)},
            {
                "keys": [record.key for record in records],
                "splits": [record.split for record in records],
                "durations": [record.duration for record in records],
                "events": events,
                **origin_of(records),
                "unknown": [unknown_in(record) for record in records],
                "frames": frames_N,
                "missing": reading.missing,
            },
        )

    folder = None if path is None else Path(path).with_name(f".{Path(path).name}.parts")
    parts = in_parts(len(corpus), part, folder, digest, progress)
    if not parts:
        return None
    later = LATER if all(name in one.facts for one in parts for name in LATER) else ()
    lists, missing = of_clips(parts, ("keys", "splits", "durations", "events", *later), corpus.folder)
    if not any(lists["events"]):
        raise ValueError(f"{corpus.folder}: not one event of these classes in this corpus: nothing to detect")
    lists["events"] = [[(a, b, c) for a, b, c in found] for found in lists["events"]]
    made = FrameEmbeddings(
        frame_FD=np.concatenate([one.arrays["frame_FD"] for one in parts if one.facts["keys"]]),
        frame_start_N1=np.cumsum([0, *(frames for one in parts for frames in one.facts["frames"])]),
        frame_seconds=model.grid.frame_seconds,
        method=model.default_method,
        asked=asked,
        about=about | named | {"clips_evaluated": len(lists["keys"]), "missing": missing, "batch size": batch_size},
        digest=digest,
        only_listed=only_listed(corpus, vocabulary, sorted(known)),
        **lists,
        **_said(model, words),
    )
    if path is not None and folder is not None:
        made.save(path)
        if not missing:  # else the next run reads again the parts with clips that could not be read, and no others
            forget_parts(folder, digest)
    return made


def _asking(
    model: Any,
    corpus: Corpus,
    path: Path,
    vocabulary: Vocabulary,
    words: dict[str, Words],
    asked: dict[str, Any],
    named: dict[str, Any],
) -> FrameEmbeddings:
    """What is kept, with these words beside those that answer the same question of the same vocabulary (`named`); kept
    again if they are new, or if it did not say yet where recordings come from and what is not known of them."""
    kept = FrameEmbeddings.load(path)
    if not kept.sources or not kept.unknown:
        number_of = {corpus.key(n): n for n in range(len(corpus))}
        records = [corpus.record(number_of[key]) for key in kept.keys]
        found = {name for one in kept.words.values() for name in (*one.classes, *one.left_out)}
        listed = only_listed(corpus, vocabulary, sorted(found))
        kept = replace(kept, **origin_of(records), unknown=[unknown_in(r) for r in records], only_listed=listed)
        kept.save(path)
    same = asked == kept.asked and named.items() <= kept.about.items()
    both = (kept.words if same else {}) | words
    if same and both == kept.words:
        return kept
    changed = replace(kept, asked=asked, about=kept.about | named, **_said(model, both))
    changed.save(path)
    return changed


def _said(model: Any, words: dict[str, Words]) -> dict[str, Any]:
    """The fields of `FrameEmbeddings` that are of texts."""
    texts = list(dict.fromkeys(phrase for one in words.values() for said in one.phrases for phrase in said))
    text = embed_texts(model, texts)
    arrays = (text.text_CD, text.scale_C, text.bias_C)
    return {"words": words, "texts": texts} | {n: x.numpy() for n, x in zip(_OF_TEXTS, arrays, strict=True)}
