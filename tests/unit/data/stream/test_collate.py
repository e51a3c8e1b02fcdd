from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_train.data.shards.schema import Event
from flam_train.data.stream.clips import Clip
from flam_train.data.stream.collate import FILLER, Concepts, collate_captions, collate_events
from flam_train.data.stream.order import Place
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Concept, Vocabulary, phrase_id

GRID = FrameGrid(8, 2.0)
CLOSED = Vocabulary(
    "closed",
    {
        "dog_bark": Concept("dog", ("dog barking", "a dog barks", "barking"), ("hound",)),
        "rain": Concept("rain", ("rain", "it rains")),
        "cat": Concept("cat", ("a cat",)),
    },
)
OTHER = Vocabulary("other", {"DOG": Concept("dog", ("woof", "a dog barks")), "wind": Concept("wind", ("wind",))})
OPEN = Vocabulary("open", {})
CONCEPTS = Concepts([CLOSED, OTHER, OPEN], [["dog", "rain"], [], []])


class Texts:
    """A tokenizer that remembers what it was given: one token a text."""

    def __call__(self, texts):
        self.texts = texts
        return torch.arange(len(texts))[:, None] + 1, torch.ones(len(texts), 1, dtype=torch.int64)


def clip(key, *events, corpus=0, captions=(), **more):
    waveform = np.full(96_000, 7, dtype=np.int16)
    return Clip(key, waveform, 2.0, tuple(captions), tuple(Event(*e) for e in events), corpus, seed=len(key), **more)


def bad(key, corpus=0):
    return clip(key).failed(f"{key} is broken")


def places(clips, pass_=0):
    return [Place(c.corpus, pass_, 0, 0) for c in clips]


def frame_batch(clips, step=0, seed=0, pass_=0, concepts=CONCEPTS, **more):
    texts = Texts()
    options = {"tokenizer": texts, "grid": GRID, "concepts": concepts, "seed": seed, **more}
    return collate_events(clips, places(clips, pass_), step, **options), texts.texts


def column(batch, concept):
    return batch.phrase_ids_C.tolist().index(phrase_id(concept))


def test_labels_and_columns():
    clips = [
        clip("a", (0.0, 0.5, "dog_bark"), (1.0, 1.25, "dog_bark"), (0.0, 2.0, "rain")),
        clip("b", (0.25, 0.5, "DOG"), corpus=1),
        clip("c", (1.75, 2.0, "a violin plays"), corpus=2),
        clip("d"),
    ]
    batch, texts = frame_batch(clips)
    ids = batch.phrase_ids_C.tolist()
    assert ids == sorted(phrase_id(c) for c in ("dog", "rain", "a violin plays"))
    assert batch.label_BCT.dtype == torch.bool
    frames = {(0, "dog"): [0, 1, 4], (0, "rain"): list(range(8)), (1, "dog"): [1], (2, "a violin plays"): [7]}
    expected = torch.zeros(4, 3, 8, dtype=torch.bool)
    for (row, concept), positive in frames.items():
        expected[row, column(batch, concept), positive] = True
    assert torch.equal(batch.label_BCT, expected)
    assert batch.phrase_valid_C.all()
    assert batch.corpus_B.tolist() == [0, 1, 2, 0]
    assert batch.audio_valid_B.all()
    assert texts[column(batch, "a violin plays")] == "a violin plays"
    assert texts[column(batch, "rain")] in ("rain", "it rains")
    assert batch.mixture is None
    for name in ("phrase_ids_C", "annotated_in_C", "corpus_B", "seed_B", "tokens_CL", "attention_CL"):
        assert getattr(batch, name).dtype == torch.int64


def test_who_annotates_what():
    clips = [clip("a", (0, 1, "cat")), clip("b", (0, 1, "dog"), (0, 1, "wind"), corpus=2), clip("c", (0, 1, "rain"))]
    batch, _ = frame_batch(clips)
    bits = {c: int(batch.annotated_in_C[column(batch, c)]) for c in ("cat", "dog", "wind", "rain")}
    # Corpus 0 declares dog and rain only; corpus 1 its vocabulary; the open corpus 2 what stands in its clips.
    assert bits == {"cat": 0, "dog": 0b111, "wind": 0b110, "rain": 0b001}
    top = Concepts([OPEN] * 62 + [CLOSED], [[]] * 63)
    assert top.annotated_in("rain", set()) == 2**62
    with pytest.raises(ValueError, match="64 corpora in data/frame, at most 63"):
        Concepts([OPEN] * 64, [[]] * 64)


def test_at_most_so_many_phrases_are_drawn_of_a_clip_and_the_others_keep_true_labels():
    labels = [f"sound {n}" for n in range(9)]
    crowded = clip("a", *((0, 1, label) for label in labels), corpus=2)
    few = clip("b", (0, 2, "sound 3"), corpus=2)
    drawn = set()
    for pass_ in range(12):
        batch, _ = frame_batch([crowded], pass_=pass_, phrases_per_clip=5)
        assert (len(batch.phrase_ids_C), int(batch.phrase_valid_C.sum())) == (9, 5)
        assert batch.label_BCT[0, :, :4].all()
        drawn.add(tuple(batch.phrase_valid_C.tolist()))
        again, _ = frame_batch([crowded], pass_=pass_, step=3)
        assert torch.equal(again.phrase_valid_C, batch.phrase_valid_C)  # from (seed, pass, key), not from the step
        both, _ = frame_batch([few, crowded], pass_=pass_)
        assert both.phrase_valid_C[column(both, "sound 3")]
        extra = both.phrase_valid_C & ~batch.phrase_valid_C
        assert set(both.phrase_ids_C[extra].tolist()) <= {phrase_id("sound 3")}
    assert len(drawn) > 6


def test_a_concept_has_one_phrasing_a_step_on_all_ranks_and_corpora():
    ranks = [
        [clip("a", (0, 1, "dog_bark"))],
        [clip("b", (0, 1, "DOG"), corpus=1)],
        [clip("c", (0, 1, "dog"), corpus=2)],
    ]
    said = [[frame_batch(clips, step)[1][0] for clips in ranks] for step in range(40)]
    assert all(len(set(step)) == 1 for step in said)
    assert {step[0] for step in said} == {"dog barking", "a dog barks", "barking", "woof"}
    # The order in which a run names its corpora does not matter.
    turned = Concepts([OTHER, CLOSED], [[], []])
    assert all(turned.phrase("dog", 0, step) == CONCEPTS.phrase("dog", 0, step) for step in range(40))


def test_what_one_vocabulary_holds_out_another_must_not_train_on():
    cheat = Vocabulary("cheat", {"d": Concept("dog", ("Hound",))})
    with pytest.raises(ValueError, match=r"'Hound' for 'dog' is held out in the vocabulary of 'closed'.*remove one"):
        Concepts([CLOSED, cheat], [[], []])


def test_bad_clips_keep_their_rows():
    clips = [bad("a"), clip("b", (0, 1, "rain")), clip("c", (0, 1, "trumpet")), bad("d")]
    batch, _ = frame_batch(clips)
    assert batch.audio_valid_B.tolist() == [False, True, False, False]
    assert batch.phrase_ids_C.tolist() == [phrase_id("rain")]
    assert batch.waveform_BS.count_nonzero(dim=1).tolist() == [0, 96_000, 0, 0]
    assert batch.errors[0] == "a is broken"
    assert batch.errors[1].startswith("c: class 'trumpet' is not in the vocabulary of 'closed': add it")
    assert batch.seed_B.tolist() == [1, 1, 1, 1]


def test_a_batch_without_any_event_has_a_column_that_is_not_valid():
    for clips in ([clip("a"), clip("b")], [bad("a"), bad("b")]):
        batch, texts = frame_batch(clips)
        assert batch.phrase_ids_C.tolist() == [phrase_id("dog")]
        assert not batch.phrase_valid_C.any()
        assert batch.label_BCT.shape == (2, 1, 8)
        assert not batch.label_BCT.any()
        assert texts[0] in ("dog barking", "a dog barks", "barking", "woof")
    assert frame_batch([clip("a")], concepts=Concepts([OPEN], [[]]))[1] == [FILLER]


def global_batch(clips, seed=0, pass_=0):
    texts = Texts()
    return collate_captions(clips, places(clips, pass_), 0, tokenizer=texts, seed=seed), texts.texts


def test_one_caption_of_several():
    clips = [clip(f"k{n}", captions=("x", "y", "z")) for n in range(40)]
    batch, texts = global_batch(clips)
    assert set(texts) == {"x", "y", "z"}
    assert batch.caption_ids_C.tolist() == [phrase_id(t) for t in texts]
    assert global_batch(clips)[1] == texts
    assert global_batch(clips, pass_=1)[1] != texts
    assert global_batch(clips, seed=1)[1] != texts
    assert global_batch(clips[7:9])[1] == texts[7:9]
    assert batch.clip_valid_B.all()
    assert batch.keys[3] == "k3"


def test_clips_without_captions_are_bad():
    batch, texts = global_batch([clip("a", captions=("x",)), clip("b"), bad("c")])
    assert batch.clip_valid_B.tolist() == [True, False, False]
    assert batch.waveform_BS.count_nonzero(dim=1).tolist() == [96_000, 0, 0]
    assert batch.errors == [
        "b: no caption: prepare it with captions, or take its corpus out of data/global",
        "c is broken",
    ]
    assert len(texts) == len(batch.tokens_CL) == 3
    none, _ = global_batch([bad("a"), bad("b")])
    assert not none.clip_valid_B.any()
    assert len(none.tokens_CL) == 2


def test_pieces_of_mixtures():
    a = clip("a", captions=("x",), pieces=[(5, 10, 0, 0.5), (99, 20, 48_000, 1.0)], fade=480)
    c = clip("c", captions=("x",), pieces=[(7, 30, 1, 0.25)], fade=480)
    clips = [a, clip("b", captions=("x",)), c, replace(a.failed("gone"), key="d")]
    for batch in (global_batch(clips)[0], frame_batch(clips)[0]):
        mixture = batch.mixture
        assert mixture.clip_P.tolist() == [0, 0, 2]
        assert mixture.start_P.tolist() == [5, 99, 7]
        assert mixture.length_P.tolist() == [10, 20, 30]
        assert mixture.onset_P.tolist() == [0, 48_000, 1]
        assert mixture.gain_P.tolist() == [0.5, 1.0, 0.25]
        assert (mixture.gain_P.dtype, mixture.clip_P.dtype, mixture.fade) == (torch.float32, torch.int64, 480)
    with pytest.raises(ValueError, match=r"fades of \[48, 480\] samples"):
        global_batch([a, replace(c, fade=48)])
    empty = global_batch([clip("e", captions=("x",), pieces=[])])[0].mixture
    assert empty.clip_P.shape == (0,)
