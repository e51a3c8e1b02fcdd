"""Pairs of a recording and a class of which nothing is known: of one class, as if these recordings were not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_sed_assembly import CHOSEN, kept  # noqa: F401
from tone_corpus import Ear, write_tones

from flam_train.data.shards.schema import Record, Tag
from flam_train.evaluation.choices import METRICS
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.frame_embeddings import FrameEmbeddings, embed_frames
from flam_train.evaluation.resampled import resampled
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import result_of
from flam_train.evaluation.truth import only_listed, unknown_in
from flam_train.evaluation.words import Words

WITHOUT_PSDS = replace(CHOSEN, metrics=tuple(name for name in METRICS if name != "psds"), median_frames_of={})


def of_class(kept: FrameEmbeddings, name: str, phrase: str) -> FrameEmbeddings:  # noqa: F811
    return replace(kept, words={"trained": Words([name], [[phrase]], [])})


def only(kept: FrameEmbeddings, recordings: list[int]) -> FrameEmbeddings:  # noqa: F811
    start = kept.frame_start_N1
    pieces = [kept.frame_FD[start[n] : start[n + 1]] for n in recordings]
    lists = {name: [getattr(kept, name)[n] for n in recordings] for name in ("keys", "splits", "durations", "events")}
    ends = np.cumsum([0, *map(len, pieces)])
    return replace(kept, frame_FD=np.concatenate(pieces), frame_start_N1=ends, unknown=[], only_listed=[], **lists)


@pytest.mark.parametrize(("name", "phrase"), [("dog", "barking"), ("rain", "rain")])
@pytest.mark.parametrize("how", ["tags", "only listed"])
def test_every_number_is_that_of_the_recordings_that_are_known(how, name, phrase, kept):  # noqa: F811
    """But PSDS, which counts hours."""
    one = of_class(kept, name, phrase)
    known = [n for n, events in enumerate(one.events) if name in {c for _, _, c in events}]
    assert 0 < len(known) < 5
    if how == "tags":
        unknown = [[name, "hum"] if n not in known else [] for n in range(5)]
        got = Scores(replace(one, unknown=unknown))
    else:
        assert Scores(replace(one, only_listed=[name])).unknown_NK is None  # the paper's rule: they lack it
        got = Scores(replace(one, only_listed=[name]), unannotated="mask")
    want = result_of(Scores(only(one, known)), WITHOUT_PSDS)
    found = result_of(got, WITHOUT_PSDS)
    assert found.metrics == pytest.approx(want.metrics, nan_ok=True)
    assert found.parameters["pairs of recording and class that count in nothing"] == 5 - len(known)
    drawn = Bootstrap(5, seed=1).drawn(got.kept)
    values = resampled(got, replace(WITHOUT_PSDS, metrics=("auroc", "frame_f1", "segment_f1", "event_f1")), drawn)
    for key, value_R in values.items():
        assert float(value_R[0]) == pytest.approx(want.metrics[key]), key


def test_what_is_not_known_is_no_false_alarm_of_psds(kept):  # noqa: F811
    loud = replace(kept, unknown=[[], [], ["dog", "rain"], ["dog", "rain"], []])
    silent = kept.frame_FD.copy()
    silent[kept.frame_start_N1[2] : kept.frame_start_N1[4]] = -kept.text_MD[:3].sum(0)
    silent /= np.linalg.norm(silent, axis=1, keepdims=True)
    chosen = replace(CHOSEN, metrics=("psds",), median_frames=1, median_frames_of={})
    want = result_of(Scores(replace(kept, frame_FD=silent)), chosen).metrics
    assert result_of(Scores(loud), chosen).metrics == pytest.approx(want)
    assert result_of(Scores(kept), chosen).metrics != pytest.approx(want)
    listed = result_of(Scores(replace(kept, only_listed=["dog"]), unannotated="mask"), chosen)
    assert listed.metrics == {}
    assert "not all are known" in listed.parameters["psds"]


def test_tags_without_events_are_kept_and_asked_for_again(tmp_path):
    assert unknown_in(Record("k", 2.0, tags=(Tag("b"), Tag("a"), Tag("b")))) == ["a", "b"]
    tags = [(), (Tag("low"),), (Tag("low"),), (Tag("high"), Tag("silent"))]
    corpus, path = write_tones(tmp_path / "tones", tags=tags), tmp_path / "kept.safetensors"
    made = embed_frames(Ear(), corpus, path=path)
    assert made.unknown == FrameEmbeddings.load(path).unknown == [[], ["low"], [], ["high", "silent"]]
    assert (made.only_listed, only_listed(corpus, corpus.vocabulary, ["low"])) == ([], [])
    replace(made, unknown=[]).save(path)  # as an older version kept it
    assert embed_frames(Ear(), corpus, path=path).unknown == FrameEmbeddings.load(path).unknown == made.unknown
    opened = write_tones(tmp_path / "open", phrases=True)
    assert embed_frames(Ear(), opened).only_listed == ["high", "low"]


def test_another_rule_is_refused(kept):  # noqa: F811
    with pytest.raises(ValueError, match=r"unannotated: 'absent' is not known"):
        Scores(kept, unannotated="absent")
