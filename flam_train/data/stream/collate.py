"""Clips to batches: the captions, phrases and labels of one rank's share of a step.

All draws are hashes of (seed, pass, key) or (seed, step, concept): they are the same on any rank and in any worker.

Shape suffixes: B clips, C phrases or captions, T frames, L tokens, S samples, P pieces of online mixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import Augment, Draws, FrameBatch, GlobalBatch, Pieces, token_row
from flam_train.data.stream import shared
from flam_train.data.stream.clips import Clip, Source
from flam_train.data.stream.order import Place, stable_seed
from flam_train.data.stream.tags import of_clip
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Vocabulary, phrase_id

Tokenizer = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Texts to (tokens_CL int64, attention_CL int64)."""

MOST_CORPORA = 63
"""Bits of `annotated_in_C` (int64, its sign left alone)."""

FILLER = "a sound"
"""Stands where a tensor needs a row and there is no text; always marked invalid."""

NO_CAPTION = "no caption: prepare it with captions, or take its corpus out of data/global"


def collate_captions(
    clips: Sequence[Clip], places: Sequence[Place], step: int, *, tokenizer: Tokenizer, seed: int
) -> GlobalBatch:
    """One caption for each clip, of several drawn from (seed, pass, key). A clip without captions is a bad sample.

    seed  the stream's (`Stream.seed`)
    """
    clips = [c if c.captions or c.error else c.failed(f"{c.key}: {NO_CAPTION}") for c in clips]
    captions = [
        clip.captions[stable_seed(seed, place.pass_, clip.key, "caption") % len(clip.captions)]
        if clip.captions
        else FILLER
        for clip, place in zip(clips, places, strict=True)
    ]
    tokens_CL, attention_CL = tokenizer(captions)
    return GlobalBatch(
        waveform_BS=_waveforms(clips, "captions"),
        tokens_CL=tokens_CL,
        attention_CL=attention_CL,
        caption_ids_C=torch.tensor([phrase_id(caption) for caption in captions]),
        clip_ids_B=torch.tensor([phrase_id(f"{clip.corpus}/{clip.key}") for clip in clips]),
        clip_valid_B=torch.tensor([clip.error is None for clip in clips]),
        corpus_B=torch.tensor([clip.corpus for clip in clips]),
        seed_B=torch.tensor([clip.seed for clip in clips]),
        keys=[clip.key for clip in clips],
        errors=[clip.error for clip in clips if clip.error is not None],
        mixture=_pieces(clips, "captions"),
        augment=_augment(clips, "captions"),
    )


class Concepts:
    """What the corpora of a stream annotate, and how it is said. Built once, the same on every rank.

    A concept in several corpora has the phrasings of all of them. A corpus annotates what it declares; if it declares
    nothing, its vocabulary; without a vocabulary (an open corpus) only what stands in its clips.
    """

    def __init__(self, vocabularies: Sequence[Vocabulary], annotates: Sequence[Sequence[str]]) -> None:
        """Raises ValueError for more than 63 corpora, or a phrasing that one corpus trains on and another holds out."""
        if len(vocabularies) > MOST_CORPORA:
            raise ValueError(f"{len(vocabularies)} corpora in data/frame, at most {MOST_CORPORA}: join some of them")
        self.vocabularies = list(vocabularies)
        merged: dict[str, set[str]] = {}
        held_out: dict[tuple[str, str], str] = {}
        self._annotated: dict[str, int] = {}
        self._open = 0
        for k, (vocabulary, declared) in enumerate(zip(vocabularies, annotates, strict=True)):
            for concept in vocabulary.classes.values():
                merged.setdefault(concept.id, set()).update(concept.phrasings)
                held_out.update({(concept.id, p.casefold()): vocabulary.corpus for p in concept.held_out})
            complete = list(declared) or [concept.id for concept in vocabulary.classes.values()]
            for concept_id in complete:
                self._annotated[concept_id] = self._annotated.get(concept_id, 0) | 1 << k
            self._open |= (not complete) << k
        for concept_id, phrasings in merged.items():
            for phrasing in sorted(phrasings):
                if (concept_id, phrasing.casefold()) in held_out:
                    raise ValueError(
                        f"{phrasing!r} for {concept_id!r} is held out in the vocabulary of "
                        f"{held_out[concept_id, phrasing.casefold()]!r} and trained on in another: remove one of them"
                    )
        self._phrasings = {concept_id: sorted(phrasings) for concept_id, phrasings in merged.items()}

    @classmethod
    def of(cls, sources: Sequence[Source]) -> Concepts:
        return cls([source.vocabulary for source in sources], [source.annotates for source in sources])

    def said(self, labels: Iterable[str] = ()) -> dict[str, list[str]]:
        """The phrasings of every concept of the vocabularies, and of labels of open corpora."""
        return {label: [label] for label in labels} | self._phrasings

    def phrase(self, concept_id: str, seed: int, step: int) -> str:
        """The one phrasing that the concept has in this step, on every rank."""
        phrasings = self._phrasings.get(concept_id, [concept_id])
        return phrasings[stable_seed(seed, step, concept_id, "phrasing") % len(phrasings)]

    def annotated_in(self, concept_id: str, positive_in: set[int]) -> int:
        """Bit k: corpus k annotates the concept. `positive_in`: the corpora whose clips here have it."""
        present = sum(1 << k for k in positive_in) & self._open
        return self._annotated.get(concept_id, 0) | present

    def any(self) -> str:
        """Some concept, for a column that a batch without events still needs."""
        first = self.vocabularies[0].classes if self.vocabularies else {}
        return next((concept.id for concept in first.values()), FILLER)


def collate_events(
    clips: Sequence[Clip],
    places: Sequence[Place],
    step: int,
    *,
    tokenizer: Tokenizer,
    grid: FrameGrid,
    concepts: Concepts,
    seed: int,
    phrases_per_clip: int = 5,
    weak: bool = False,
) -> FrameBatch:
    """The columns are all concepts with an event or a tag in these clips, in the order of their ids.

    Valid are those that were drawn: of each clip up to `phrases_per_clip` of its concepts, from (seed, pass, key).
    The labels of the others are true too: another rank may have drawn them. A clip with a label that its vocabulary
    does not know is a bad sample. A batch without any event gets one column, not valid.
    seed  the stream's (`Stream.seed`)
    weak  tags are labels too (`heard`)
    """
    clips, events, unknown = list(clips), [], []
    for row, clip in enumerate(clips):
        try:
            found, open_ = heard(clip, concepts.vocabularies[clip.corpus], weak)
        except ValueError as error:
            clips[row] = clip.failed(f"{clip.key}: {error}")
            found, open_ = [], set()
        events.append(found)
        unknown.append(open_)
    positive_in: dict[str, set[int]] = {}
    drawn: set[str] = set()
    for clip, place, found, open_ in zip(clips, places, events, unknown, strict=True):
        mine = {concept for concept, _, _ in found}
        for concept in mine | open_:
            positive_in.setdefault(concept, set()).add(clip.corpus)
        lots = sorted(mine, key=lambda c: stable_seed(seed, place.pass_, clip.key, c, "draw"))
        drawn.update(lots[:phrases_per_clip])
    columns = sorted(positive_in, key=phrase_id) or [concepts.any()]
    tokens_CL, attention_CL = tokenizer([concepts.phrase(concept, seed, step) for concept in columns])
    annotated = [concepts.annotated_in(concept, positive_in.get(concept, set())) for concept in columns]
    kind = "tags" if weak else "events"
    ids = [phrase_id(concept) for concept in columns]
    return FrameBatch(
        waveform_BS=_waveforms(clips, kind),
        tokens_CL=tokens_CL,
        attention_CL=attention_CL,
        phrase_ids_C=torch.tensor(ids),
        phrase_valid_C=torch.tensor([concept in drawn for concept in columns]),
        annotated_in_C=torch.tensor(annotated),
        label_BCT=torch.from_numpy(_labels(events, columns, grid)),
        audio_valid_B=torch.tensor([clip.error is None for clip in clips]),
        corpus_B=torch.tensor([clip.corpus for clip in clips]),
        seed_B=torch.tensor([clip.seed for clip in clips]),
        keys=[clip.key for clip in clips],
        errors=[clip.error for clip in clips if clip.error is not None],
        mixture=_pieces(clips, kind),
        augment=_augment(clips, kind),
        unknown_BC=torch.tensor([[c in open_ for c in columns] for open_ in unknown]) if any(unknown) else None,
        row_of={n: token_row(*row) for n, *row in zip(ids, tokens_CL, attention_CL, strict=True)},
    )


def heard(clip: Clip, vocabulary: Vocabulary, weak: bool) -> tuple[list[tuple[str, float, float]], set[str]]:
    """What is heard in a clip, (concept, onset, offset), and concepts of which its labels leave open whether it is.

    Events are heard in their seconds. A tag leaves open in which of its own: without an event of its concept that is
    not known. weak: it is heard somewhere in them, and not known only where they reach out of the clip (`of_clip`).
    Raises ValueError for a label that the vocabulary does not know.
    """
    found = [(vocabulary.concept(e.label).id, e.onset, e.offset) for e in clip.events]
    open_ = set()
    for tag in clip.tags:
        concept = vocabulary.concept(tag.label).id
        if weak and of_clip(tag, clip.duration) and tag.offset is not None:
            found.append((concept, max(tag.onset, 0.0), min(tag.offset, clip.duration)))
        else:
            open_.add(concept)
    return found, open_ - {concept for concept, _, _ in found}


def _labels(events: list[list[tuple[str, float, float]]], columns: list[str], grid: FrameGrid) -> np.ndarray:
    column = {concept: c for c, concept in enumerate(columns)}
    label_BCT = np.zeros((len(events), len(columns), grid.frames), dtype=bool)
    for row, found in enumerate(events):
        frames_ET = grid.labels([onset for _, onset, _ in found], [offset for _, _, offset in found])
        for (concept, _, _), frames_T in zip(found, frames_ET, strict=True):
            label_BCT[row, column[concept]] |= frames_T
    return label_BCT


def _waveforms(clips: Sequence[Clip], kind: str) -> Tensor:
    if all(clip.pieces is not None for clip in clips):
        # All silent until they are mixed on the device: one row, expanded, travels for the whole batch.
        return torch.from_numpy(clips[0].waveform_S)[None].expand(len(clips), -1)
    out_BS = shared.empty(f"{kind} waveforms", (len(clips), len(clips[0].waveform_S)), torch.int16)
    np.stack([clip.waveform_S for clip in clips], out=out_BS.numpy())
    return out_BS


def _augment(clips: Sequence[Clip], kind: str) -> Augment | None:
    if all(clip.draws is None for clip in clips):
        return None
    sounds = [sound_S for clip in clips for sound_S in clip.added]
    added_PS = shared.empty(f"{kind} added", (len(sounds), len(clips[0].waveform_S)), torch.int16)
    if sounds:
        np.stack(sounds, out=added_PS.numpy())
    return Augment([clip.draws or Draws() for clip in clips], added_PS)


def _pieces(clips: Sequence[Clip], kind: str) -> Pieces | None:
    mixed = [(row, clip) for row, clip in enumerate(clips) if clip.pieces is not None]
    if not mixed:
        return None
    fades = sorted({clip.fade for _, clip in mixed})
    if len(fades) > 1:
        raise ValueError(f"the recipes mixed in one batch have fades of {fades} samples: give them the same fade")
    if not any(clip.sounds is not None for _, clip in mixed):
        return Pieces.of([(row, *piece) for row, clip in mixed for piece in clip.pieces or ()], fades[0])
    if any(clip.sounds is None for _, clip in mixed):
        raise ValueError("one batch mixes from a bank in memory and from one that is not: give both a memory_gib")
    sounds = [sound_S for _, clip in mixed for sound_S in clip.sounds or ()]
    starts = np.cumsum([0, *map(len, sounds)]).tolist()
    numbers = ((row, *piece) for row, clip in mixed for piece in clip.pieces or ())
    rows = [
        (row, start, length, onset, gain) for (row, _, length, onset, gain), start in zip(numbers, starts, strict=False)
    ]
    audio_N = shared.empty(f"{kind} pieces", (starts[-1],), torch.int16)
    if sounds:
        np.concatenate(sounds, out=audio_N.numpy())
    return Pieces.of(rows, fades[0], audio_N)
