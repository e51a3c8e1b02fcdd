"""Recordings in which it is known what is heard, scored: shards with timed events, or events that a person has judged.

Shape suffixes: C phrases, T frames, E events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flam_train.batch import SAMPLE_RATE, TextEmbeddings
from flam_train.data.labels.judged import Judged, read_judged
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.tars import sha256_of
from flam_train.data.sound.waveforms import Waveform
from flam_train.detection.scoring import Listening, Scores, Time, score
from flam_train.frames import FrameGrid
from flam_train.models.flam import FLAM
from flam_train.settings import nearest

Event = tuple[float, float, str]
"""Onset and offset in seconds, phrase."""

Progress = Callable[[int, int], None]
"""Told of recordings done, and of all."""


@dataclass(frozen=True)
class Labelled:
    """A recording of which something is known.

    source    recordings of one source are alike
    label_CT  bool: frames in which the phrase is heard
    known_CT  bool: frames of which that is known
    events    in which phrases are heard, ordered by onset
    judged    (event, whether it is one): found by a model, and listened to. Empty in shards
    """

    source: str
    scores: Scores
    label_CT: np.ndarray
    known_CT: np.ndarray
    events: tuple[Event, ...]
    judged: tuple[tuple[Event, bool], ...] = ()


@dataclass(frozen=True)
class Data:
    """Labelled recordings, scored by one model.

    phrases     C, of which all recordings have scores
    concepts    of each phrase: what it says. Those with the same one are heard in the same events
    judged      only single spans are known; else all of each recording is, but for what is in no `known_CT`
    weights, method   sha256 of the model's; of `FLAM.localize`
    about       plain data: kind, name, sha256
    """

    phrases: tuple[str, ...]
    concepts: tuple[str, ...]
    recordings: tuple[Labelled, ...]
    judged: bool
    weights: str
    method: str
    about: dict[str, Any]

    def of(self, recordings: Sequence[Labelled]) -> Data:
        """The same, of some of its recordings."""
        return replace(self, recordings=tuple(recordings))


@dataclass(frozen=True)
class Hearing:
    """What scores recordings: a model, what it is asked, and as in `Listening`. method: of `FLAM.localize`."""

    model: FLAM
    phrases: tuple[str, ...]
    text: TextEmbeddings
    method: str
    batch_size: int
    precision: str

    @classmethod
    def of(
        cls, model: FLAM, phrases: Sequence[str], method: str | None = None, batch_size: int = 8, precision: str = "32"
    ) -> Hearing:
        with torch.inference_mode():
            text = model.embed_text(list(phrases))
        return cls(model, tuple(phrases), text, method or model.default_method, batch_size, precision)

    def scores(self, source: Path | Waveform) -> Scores:
        listening = Listening(self.model, source, batch_size=self.batch_size, precision=self.precision)
        return score(listening, self.phrases, self.text, self.method)


def read_labelled(
    model: FLAM,
    path: Path | str,
    phrases: Sequence[str] | None = None,
    method: str | None = None,
    batch_size: int = 8,
    precision: str = "32",
    progress: Progress | None = None,
) -> Data:
    """Of a folder of shards, or its URL, or of a table of judged clips (.csv).

    phrases  only these. None: every phrasing that is trained of each class that shards annotate; of an open corpus its
             labels; of a table what stands in it
    Others as in `Listening` and `score`. Raises ValueError that names the data and the fix: no event in it, a phrase
    that none of its labels has, an event of an unknown class, an unreadable clip, a model without a sha256.
    """
    weights = model.provenance.get("sha256")
    if not weights:
        raise ValueError("this model has no sha256 to know it by: calibrate an export")
    if str(path).lower().endswith(".csv"):
        found = _judged(Path(path), phrases)
    else:
        found = _shards(Corpus(path), phrases)
    concept_of, about, recordings, judged = found
    hearing = Hearing.of(model, list(concept_of), method, batch_size, precision)
    made = []
    for done, one in enumerate(recordings, 1):
        made.append(one(hearing))
        if progress is not None:
            progress(done, len(recordings))
    concepts = tuple(concept_of.values())
    return Data(hearing.phrases, concepts, tuple(made), judged, weights, hearing.method, about)


Make = Callable[[Hearing], Labelled]

Found = tuple[dict[str, str], dict[str, Any], list[Make], bool]
"""Phrases and their concepts, about, what makes each recording, whether only judged spans are known."""


def _shards(corpus: Corpus, wanted: Sequence[str] | None) -> Found:
    said, concept_of = _phrasings(corpus, wanted)
    events = [_events(corpus, number, said) for number in range(len(corpus))]
    if not any(labels for labels, _ in events):
        raise ValueError(f"{corpus.folder}: not one timed event of these phrases: give shards with strong labels")
    heard = {phrase for labels, _ in events for _, _, phrase in labels}
    if wanted and (silent := [phrase for phrase in wanted if phrase not in heard]):
        raise ValueError(
            f"{corpus.folder}: phrase {silent[0]!r} is in none of its events: leave it out of --phrases, phrases "
            "without events get the threshold of unseen ones"
        )

    def make(number: int) -> Make:
        def heard_in(hearing: Hearing) -> Labelled:
            labels, unknown = events[number]
            record = corpus.record(number)
            wave = Waveform(corpus.waveform(number, record=record), SAMPLE_RATE, corpus.where(number))
            scores = hearing.scores(wave)
            known_C = np.array([phrase not in unknown for phrase in scores.phrases])
            label_CT = frames_of(scores, labels)
            known_CT = np.broadcast_to(known_C[:, None], label_CT.shape)
            return Labelled(record.source or record.key, scores, label_CT, known_CT, labels)

        return heard_in

    # As `evaluation.result` tells data apart: two folders with the same shards are the same data.
    joined = "".join(f"{entry.sha256}\n" for entry in corpus.entries)
    sha256 = hashlib.sha256(joined.encode()).hexdigest()
    about = {"kind": "shards", "name": corpus.name, "sha256": sha256}
    return concept_of, about, [make(number) for number in range(len(corpus))], False


def _phrasings(corpus: Corpus, wanted: Sequence[str] | None) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(label -> what it is called, phrase -> concept)."""
    classes = corpus.vocabulary.classes
    if classes:
        annotated = set(corpus.annotates)
        said = {name: list(c.phrasings) for name, c in classes.items() if not annotated or c.id in annotated}
        known = {p: c.id for n, c in classes.items() if n in said for p in (*c.held_out, *c.phrasings)}
        if wanted:
            said = {name: [*said[name], *classes[name].held_out] for name in said}
    else:
        labels = sorted({event.label for number in range(len(corpus)) for event in corpus.record(number).events})
        said, known = {label: [label] for label in labels}, {label: label for label in labels}
    if unknown := [phrase for phrase in wanted or () if phrase not in known]:
        raise ValueError(
            f"--phrases: {unknown[0]!r} is nothing that {corpus.folder} labels: {nearest(unknown[0], known)}"
        )
    asked = dict.fromkeys(wanted or (phrase for phrases in said.values() for phrase in phrases))
    said = {label: [phrase for phrase in phrases if phrase in asked] for label, phrases in said.items()}
    return said | {name: [] for name in classes if name not in said}, {phrase: known[phrase] for phrase in asked}


def _events(corpus: Corpus, number: int, said: dict[str, list[str]]) -> tuple[tuple[Event, ...], set[str]]:
    """(events, phrases of which it is not known when they are heard: tagged, but without an event)."""
    record = corpus.record(number)
    for event in record.events:
        if event.label not in said and corpus.vocabulary.classes:
            raise ValueError(
                f"{corpus.where(number)}: class {event.label!r} is not in vocabulary {corpus.vocabulary.corpus!r}: "
                "add it there, or mend the label"
            )
    found = sorted((e.onset, e.offset, phrase) for e in record.events for phrase in said.get(e.label, ()))
    tagged = {phrase for tag in record.tags for phrase in said.get(tag.label, ())}
    return tuple(found), tagged - {phrase for _, _, phrase in found}


def _judged(table: Path, wanted: Sequence[str] | None) -> Found:
    rows = read_judged(table)
    known = dict.fromkeys(row.phrase for row in rows)
    if unknown := [phrase for phrase in wanted or () if phrase not in known]:
        raise ValueError(f"--phrases: {unknown[0]!r} is not judged in {table}: {nearest(unknown[0], known)}")
    asked = dict.fromkeys(wanted or known)
    of_file: dict[str, list[Judged]] = {}
    for row in rows:
        if row.phrase in asked:
            of_file.setdefault(row.filename, []).append(row)
    verdicts = {row.heard for mine in of_file.values() for row in mine}
    for heard, what in ((True, "to be one"), (False, "not to be one")):
        if heard not in verdicts:
            raise ValueError(f"{table}: no event is judged {what}: judge more clips, of lower scores too")
    sizes = []
    for name in of_file:
        if not (path := table.parent / name).is_file():
            raise ValueError(f"{table}: clip {name} is not there: put it back, or take its rows out")
        sizes.append(f"{name}\t{path.stat().st_size}\n")

    def make(name: str) -> Make:
        def heard_in(hearing: Hearing) -> Labelled:
            scores = hearing.scores(table.parent / name)
            mine = [((row.onset, row.offset, row.phrase), row.heard) for row in of_file[name]]
            events = tuple(sorted(event for event, heard in mine if heard))
            known_CT = frames_of(scores, [event for event, _ in mine])
            return Labelled(of_file[name][0].source, scores, frames_of(scores, events), known_CT, events, tuple(mine))

        return heard_in

    content = hashlib.sha256((sha256_of(table) + "\n" + "".join(sizes)).encode()).hexdigest()
    about = {"kind": "judged", "name": table.name, "sha256": content}
    return {phrase: phrase for phrase in asked}, about, [make(name) for name in of_file], True


def frames_of(scores: Scores, events: Sequence[Event]) -> np.ndarray:
    """bool [C, T]: frames in which phrases are heard (`FrameGrid.labels`). scores: from a recording's beginning on."""
    label_CT = np.zeros(scores.score_CT.shape, bool)
    if not events:
        return label_CT
    row = {phrase: c for c, phrase in enumerate(scores.phrases)}
    onset_E, offset_E, phrase_E = zip(*events, strict=True)
    np.logical_or.at(label_CT, [row[phrase] for phrase in phrase_E], grid_of(scores.time).labels(onset_E, offset_E))
    return label_CT


def grid_of(time: Time) -> FrameGrid:
    return FrameGrid(time.frames, time.frames * time.frame_seconds)
