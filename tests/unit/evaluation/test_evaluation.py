"""Detection over tiny shards with a model whose scores are known, what is kept of it, and results."""

import json
import math
import runpy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checkout import ROOT
from in_process import script
from tone_corpus import Ear, tone, write_tones

from flam_train import plotting
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.evaluation import parts
from flam_train.evaluation import scores as scores_module
from flam_train.evaluation.checked import compare
from flam_train.evaluation.embeddings import embed_corpus
from flam_train.evaluation.frame_embeddings import FrameEmbeddings, embed_frames
from flam_train.evaluation.report import figures
from flam_train.evaluation.report.figures import clip_figure, clips_with_most_classes
from flam_train.evaluation.result import Result, read_results
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, of_frames, result_of
from flam_train.metrics.calibration import calibration
from flam_train.metrics.detection import PSDS, THRESHOLDS, auroc, frame_f1
from flam_train.metrics.ranking import average_precision
from flam_train.vocabulary import Concept, Vocabulary


@pytest.fixture
def corpus(tmp_path):
    return write_tones(tmp_path / "tones")


ALL, FEW = SedMetrics().metrics, ("auroc", "frame_f1")


def evaluate_sed(model, corpus, metrics=ALL, method=None, phrasings="trained", **options):
    made = embed_frames(model, corpus, phrasings=[phrasings], **options)
    return result_of(Scores(made, phrasings), SedMetrics(method, metrics))


def score_corpus(model, corpus, **options):
    return Scores(embed_frames(model, corpus, **options))


def test_sed(corpus, tmp_path):
    done, path = [], tmp_path / "scores.safetensors"
    result = evaluate_sed(Ear(), corpus, batch_size=3, path=path, progress=lambda *n: done.append(n))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (result.protocol, result.dataset, result.split, result.seed) == ("sed/trained", "tones", "test", 7)
    assert (result.clips_expected, result.clips_evaluated, result.missing) == (4, 4, {})
    assert result.metrics["auroc/macro"] == 1.0
    assert result.metrics["frame_f1 best/macro"] == 1.0
    assert result.metrics["segment_f1 best/macro"] == 1.0
    assert result.spread["auroc/macro"] == 0.0  # two phrasings of "low": two rounds
    assert result.parameters["phrases"][1] == {"low": "humming", "high": "a high tone", "silent": "nothing at all"}
    assert result.parameters["classes without ground truth (left out)"] == ["silent"]
    # 250 ms frames: 8 + 8 + 18 + 4 (1.1 s: the fifth frame has less than half inside).
    assert result.parameters["frames"] == 38
    psds = [name for name in result.metrics if name.startswith("PSDS")]
    assert psds[0] == "PSDS1[dtc=0.7,gtc=0.7,cttc=none,alpha_ct=0,alpha_st=1,max_efpr=100]"

    scores = Scores(FrameEmbeddings.load(path))
    again = result_of(scores)
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert (again.model, again.data, again.parameters) == (result.model, result.data, result.parameters)
    assert scores.kept.frame_start_N1.tolist() == [0, 8, 16, 34, 38]
    low = scores.label_KF()[scores.classes.index("low"), 16:34]
    assert np.flatnonzero(low).tolist() == [1, 2, 3, 6, 7, 8, 9, 10, 11]  # across the border of two windows


def test_figures_of_the_clips_with_most_classes(corpus):
    scores = score_corpus(Ear(), corpus)
    # clip0 and clip2 have the same two classes: one of each mix comes first.
    assert clips_with_most_classes(scores, 3) == [0, 1, 3]
    assert clips_with_most_classes(scores, 9) == [0, 1, 3, 2]
    figure = clip_figure(scores, 2, corpus.waveform(2))
    below = figure.axes[1]
    assert [text.get_text() for text in below.get_yticklabels()] == ["a low tone", "a high tone", "nothing at all"]
    assert below.get_xlim() == (0, 4.5)
    assert len(below.patches) == 3
    assert "clip2, 0 to 4.5 s" in [text.get_text() for text in figure.texts]
    cut = clip_figure(scores, 2, corpus.waveform(2), start=20.0, threshold=0.5)
    assert cut.axes[1].get_xlim() == (20.0, 24.5)
    found = [(int(line.get_ydata()[0]), *line.get_xdata()) for line in cut.axes[1].lines]
    assert sorted(found)[:3] == [(0, 20.25, 21.0), (0, 21.5, 23.0), (1, 24.0, 24.5)]


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [(None, None, 0.5), ("cosine", None, None), ("cosine", 0.7, 0.7), ("biased", 0.01, 0.01)],
)
def test_heatmaps_of_the_script(tmp_path, monkeypatch, method, given, expected):
    """Their time is that of the recording that a sample was cut from; the threshold is the one of F1, or the given."""
    found = []
    sed = runpy.run_path(str(ROOT / "eval" / "sed.py"))
    monkeypatch.setattr(figures, "clip_figure", lambda *given, **how: found.append(how))
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: path)
    corpus = write_tones(tmp_path / "tones", details=[{"cut_from": [30.0, 32.0]}, {}, {}, {}])
    args = SimpleNamespace(plot=2, threshold=given, out=tmp_path)
    sed["plot"](score_corpus(Ear(), corpus), corpus, "sed-trained", method, args)
    assert found == [{"method": method, "start": start, "threshold": expected} for start in (30.0, 0.0)]


def test_a_threshold_that_no_score_is_above(tmp_path):
    done = script("eval/sed.py", tmp_path, tmp_path, "--plot", "1", "--threshold", "50")
    assert done.returncode == 2
    assert "--threshold 50: scores lie in [0, 1], give one from 0 to below 1" in done.stderr


def test_of_a_long_recording_the_stretch_with_most_classes(corpus, monkeypatch):
    monkeypatch.setattr(figures, "LONGEST", 2.0)
    scores = score_corpus(Ear(), corpus)
    waveform_S = corpus.waveform(2)
    figure = clip_figure(scores, 2, waveform_S, start=100.0)
    above, below = figure.axes[:2]
    assert below.get_xlim() == (100, 102)  # the events of each stretch are of one class, so the first
    seen = replace(scores.kept, events=[*scores.kept.events[:2], [*scores.events[2], (4.0, 4.5, "low")], []])
    figure = clip_figure(Scores(seen), 2, waveform_S, start=100.0)
    above, below = figure.axes[:2]
    assert below.get_xlim() == above.get_xlim() == (104, 104.5)
    assert [text.get_text() for text in below.get_yticklabels()][:2] == ["a high tone", "a low tone"]
    assert above.collections[0].get_coordinates()[0, -1, 0] == pytest.approx(104.5, abs=0.02)
    assert [(box.get_x(), box.get_width()) for box in below.patches] == [(104, 0.5)] * 2


def test_sed_of_held_out_phrasings(corpus):
    result = evaluate_sed(Ear(), corpus, phrasings="held_out", method="biased", metrics=FEW)
    assert result.protocol == "sed/held_out"
    assert result.parameters["classes without such a phrasing (left out)"] == ["silent"]
    assert result.metrics["auroc/macro"] == 1.0
    assert not [n for n in result.metrics if n.startswith(("PSDS", "event", "frame_f1 biased"))]


def test_only_some_classes_and_soft_labels(tmp_path):
    soft = [
        [[0.0, 1.0, "low", 0.9], [1.0, 2.0, "low", 0.5], [1.0, 2.0, "high", 0.6]],
        [[0.0, 1.0, "high", 0.8], [1.0, 2.0, "high", 0.8]],
        [
            [0.0, 1.0, "low", 1.0],
            [1.0, 2.0, "low", 0.9],
            [2.0, 3.0, "low", 0.7],
            [4.0, 5.0, "high", 1.0],
            [5.0, 6.0, "low", 1.0],
        ],
        [],
    ]
    corpus = write_tones(tmp_path / "tones", details=[{"soft": found} for found in soft])
    scores = score_corpus(Ear(), corpus, soft_threshold=0.5)
    # Half is not more than half; what passes the recording's end is cut.
    assert scores.events[0] == [(0.0, 1.0, "low"), (1.0, 2.0, "high")]
    assert scores.events[2][-1] == (4.0, 4.5, "high")
    assert scores.facts["parameters"]["labels"] == "soft ones greater than 0.5"
    only = score_corpus(Ear(), corpus, classes=("high",))
    assert only.classes == ["high"]
    assert {c for found in only.events for _, _, c in found} == {"high"}
    result = result_of(scores, SedMetrics(metrics=("mpauc", "segment_f1")))
    assert result.metrics["MPAUC"] == 1.0
    assert result.parameters["segment seconds"] == 1.0
    with pytest.raises(ValueError, match="class 'shrill' is not in vocabulary 'tones'"):
        score_corpus(Ear(), corpus, classes=("shrill",))
    with pytest.raises(ValueError, match="tones: not one event of these classes in this corpus"):
        score_corpus(Ear(), corpus, classes=("silent",))
    for row in ([0.0, 1.0, "low"], [0.0, 1.0, "low", "much"]):
        wrong = write_tones(tmp_path / "wrong", details=[{"soft": [row]}] + [{"soft": []}] * 3)
        with pytest.raises(ValueError, match=r"sample 0 .*: a soft label is not \[onset, offset, class, value\]"):
            score_corpus(Ear(), wrong, soft_threshold=0.5)
    soft = [{"soft": []}] * 3 + [{"soft": [[0.0, 1.0, "shrill", 0.9]]}]
    ear, unknown = Ear(), write_tones(tmp_path / "unknown", details=soft)
    with pytest.raises(ValueError, match=r"sample 3 .*: class 'shrill' is not among those to be scored"):
        score_corpus(ear, unknown, soft_threshold=0.5)
    assert ear.heard == 0  # told before the work, not after it
    with pytest.raises(ValueError, match=r"sample 0 .*: has no soft labels"):
        score_corpus(Ear(), write_tones(tmp_path / "hard"), soft_threshold=0.5)


def test_scores_that_are_no_numbers(corpus):
    class Deaf(Ear):
        def embed_audio(self, waveform_BS):
            heard = super().embed_audio(waveform_BS)
            heard.frame_BTD[-1, 3] = torch.nan
            heard.clip_BD[-1] = torch.nan
            return heard

    with pytest.raises(ValueError, match="recording 'clip3': a frame's embedding is not a number"):
        score_corpus(Deaf(), corpus)
    with pytest.raises(ValueError, match="the embedding of 'clip3' is not a number"):
        embed_corpus(Deaf(), corpus)


def test_workers_and_a_run_that_was_stopped(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_CLIPS", 2)
    path = tmp_path / "scores.safetensors"
    whole = score_corpus(Ear(), corpus, batch_size=2)

    class Stops(Ear):
        def embed_audio(self, waveform_BS):
            if self.heard >= 2:
                raise KeyboardInterrupt
            return super().embed_audio(waveform_BS)

    with pytest.raises(KeyboardInterrupt):
        score_corpus(Stops(), corpus, batch_size=2, path=path)
    assert not path.exists()
    ear, done = Ear(), []
    gone_on = score_corpus(ear, corpus, batch_size=2, path=path, workers=1, progress=lambda *n: done.append(n))
    assert ear.heard == 4  # the two windows of the first part were there
    assert done == [(2, 4), (3, 4), (4, 4)]
    assert np.array_equal(gone_on.kept.frame_FD, whole.kept.frame_FD)
    assert gone_on.events == whole.events
    assert [p.name for p in tmp_path.glob("*scores*")] == [path.name]
    # Once more, and other words: nothing is heard.
    ear = Ear()
    again = score_corpus(ear, corpus, batch_size=2, path=path)
    assert ear.heard == 0
    assert result_of(again).metrics == pytest.approx(result_of(whole).metrics, nan_ok=True)
    other = embed_frames(ear, corpus, batch_size=2, path=path, phrasings=["held_out"])
    assert ear.heard == 0
    assert list(other.words) == ["trained", "held_out"]
    assert FrameEmbeddings.load(path).words == other.words
    fresh = embed_frames(Ear(), corpus, batch_size=2, phrasings=["held_out"])
    found = [Scores(made, "held_out").score_KF("unbiased", 1) for made in (other, fresh)]
    assert torch.equal(*found)
    assert torch.equal(Scores(other).score_KF("biased"), whole.score_KF("biased"))
    other = Ear()
    other.provenance = {"sha256": "1" * 64}
    with pytest.raises(ValueError, match=r"scores.safetensors: holds the scores of another model: give another --out"):
        score_corpus(other, corpus, batch_size=2, path=path)
    other.provenance = {}
    with pytest.raises(ValueError, match="this model has no sha256"):
        score_corpus(other, corpus)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"scores.safetensors: not readable"):
        score_corpus(ear, corpus, batch_size=2, path=path)


def test_another_vocabulary_needs_no_second_hearing(corpus, tmp_path):
    path, ear = tmp_path / "scores.safetensors", Ear()
    embed_frames(ear, corpus, path=path, phrasings=["trained", "held_out"])
    ear.heard = 0
    mine = Vocabulary("mine", {c: Concept(c, (f"{said} it is",)) for c, said in
                               (("low", "humming"), ("high", "shrill"), ("silent", "nothing"))})  # fmt: skip
    made = embed_frames(ear, corpus, path=path, vocabulary=mine)
    assert ear.heard == 0
    assert list(made.words) == ["trained"]  # the other vocabulary's words are no answer to this question
    assert made.texts == ["humming it is", "shrill it is", "nothing it is"]
    assert result_of(Scores(made)).vocabulary == "mine"
    assert result_of(Scores(FrameEmbeddings.load(path))).metrics["auroc/macro"] == 1.0
    again = embed_frames(ear, corpus, path=path)
    assert result_of(Scores(again)).vocabulary == corpus.manifest["vocabulary"]
    # Other classes are other events.
    embed_frames(ear, corpus, path=path, classes=("high",))
    assert ear.heard == 6


@pytest.mark.parametrize("pairs", [1, 50, 10**6])
def test_a_few_classes_at_a_time(corpus, monkeypatch, pairs):
    r = np.random.default_rng(0)
    made = embed_frames(Ear(), corpus, phrasings=["trained"])
    noisy = made.frame_FD + 0.6 * r.standard_normal(made.frame_FD.shape).astype(np.float32)
    scores = Scores(replace(made, frame_FD=noisy / np.linalg.norm(noisy, axis=1, keepdims=True)))
    monkeypatch.setattr(scores_module, "PAIRS", pairs)
    method = "unbiased"
    whole, label_FK = scores.score_KF(method).T, scores.label_KF().T
    found = of_frames(partial(scores.blocks, method), {"auroc", "ap", "frame_f1", "calibration"})
    area, want = found.auroc, auroc(whole, label_FK)
    assert 0.5 < want.macro < 0.99
    assert (area.macro, area.micro, area.left_out) == (want.macro, want.micro, want.left_out)
    precision = average_precision(whole, label_FK)
    assert (found.average_precision.macro, found.average_precision.micro) == (precision.macro, precision.micro)
    assert torch.equal(found.f1.hit_PK, frame_f1(whole, label_FK, THRESHOLDS).hit_PK)
    assert torch.equal(found.f1.raised_PK, frame_f1(whole, label_FK, THRESHOLDS).raised_PK)
    one = calibration(whole, label_FK)
    assert (found.calibration.ece, found.calibration.brier) == pytest.approx((one.ece, one.brier), abs=1e-12)
    assert scores.positives_K.tolist() == label_FK.sum(dim=0).tolist()
    held = of_frames(partial(scores.blocks, method, 0, scores.score_KF(method)), {"auroc"})
    assert held.auroc.macro == want.macro
    assert held.f1 is held.calibration is held.average_precision is None
    assert of_frames(partial(scores.blocks, "cosine"), {"calibration"}, probable=False).calibration is None


def test_the_references_agree(corpus):
    lines = list(compare(score_corpus(Ear(), corpus), SedMetrics()))
    assert [line.split(":")[0] for line in lines] == [f"checked  {n}" for n in (*PSDS, "segment F1", "event F1")]
    assert all(float(line.rsplit(" ", 1)[1]) < 1e-9 for line in lines)


def test_a_damaged_clip_is_reported_not_hidden(corpus):
    damaged = bytearray((corpus.folder / "shard-000000.tar").read_bytes())
    at = damaged.find(b"fLaC", damaged.find(b"clip1"))
    damaged[at + 200 : at + 260] = bytes(60)
    (corpus.folder / "shard-000000.tar").write_bytes(damaged)
    result = evaluate_sed(Ear(), corpus, metrics=FEW)
    assert (result.clips_expected, result.clips_evaluated) == (4, 3)
    assert list(result.missing) == ["clip1"]
    assert "shard-000000.tar" in result.missing["clip1"]


def test_a_clip_that_can_be_read_again_is_not_left_out(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_CLIPS", 2)
    path = tmp_path / "scores.safetensors"
    whole = (corpus.folder / "shard-000000.tar").read_bytes()
    damaged = bytearray(whole)
    at = damaged.find(b"fLaC", damaged.find(b"clip1"))
    damaged[at + 200 : at + 260] = bytes(60)
    (corpus.folder / "shard-000000.tar").write_bytes(damaged)
    assert len(score_corpus(Ear(), Corpus(corpus.folder), path=path).kept.keys) == 3
    ear = Ear()
    assert len(score_corpus(ear, Corpus(corpus.folder), path=path).kept.keys) == 3
    assert ear.heard == 1  # of the damaged clip's part the other one, and no other part
    (corpus.folder / "shard-000000.tar").write_bytes(whole)
    assert len(score_corpus(Ear(), Corpus(corpus.folder), path=path).kept.keys) == 4


def test_result_file(corpus, tmp_path):
    result = evaluate_sed(Ear(), corpus, metrics=FEW)
    path = result.write(tmp_path / "results")
    assert path.name == "sed-trained-tones-test.json"
    (tmp_path / "results" / "other.json").write_text("{}")
    ((found, read),) = read_results([tmp_path / "results"])
    assert found == path
    assert read == result
    nothing = Result(**{**vars(result), "metrics": {"auroc/macro": math.nan}})
    assert json.loads(nothing.write(tmp_path / "nan.json").read_text())["metrics"]["auroc/macro"] is None
    assert math.isnan(Result.read(tmp_path / "nan.json").metrics["auroc/macro"])


def test_user_mistakes(corpus, tmp_path):
    with pytest.raises(ValueError, match="'best' is not known"):
        evaluate_sed(Ear(), corpus, method="best")
    with pytest.raises(ValueError, match="'roc' is not known: did you mean auroc"):
        SedMetrics(metrics=("roc",))
    with pytest.raises(ValueError, match="median_frames: 2: a median takes an odd"):
        SedMetrics(median_frames=2)
    with pytest.raises(ValueError, match=r"median_frames_of\.low: 4: a median takes an odd"):
        SedMetrics(median_frames_of={"low": 4})
    with pytest.raises(ValueError, match=r"median_frames_of\.low: 'x' is not a whole number"):
        SedMetrics(median_frames_of={"low": "x"})
    with pytest.raises(ValueError, match=r"median_frames_of: \[3\] needs `key: value`"):
        SedMetrics(median_frames_of=[3])
    with pytest.raises(ValueError, match="median_frames_of: class 'lo' is not scored"):
        result_of(score_corpus(Ear(), corpus), SedMetrics(median_frames_of={"lo": 3}))
    with pytest.raises(ValueError, match="phrasings: 'new' is not known"):
        embed_frames(Ear(), corpus, phrasings=["new"])
    with pytest.raises(ValueError, match="tones: kept with trained phrasings, not held_out"):
        Scores(embed_frames(Ear(), corpus), "held_out")
    poorer = Vocabulary("poorer", {"low": Concept("low", ("a low tone",))})
    with pytest.raises(ValueError, match=r"shard-000000.tar: sample 0 .*class 'high'"):
        evaluate_sed(Ear(), corpus, vocabulary=poorer)
    (tmp_path / "a.json").write_text('{"result": 99}')
    with pytest.raises(ValueError, match="another version"):
        Result.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="not a result"):
        Result.read(tmp_path / "a.json")
    with pytest.raises(ValueError, match="no such file"):
        read_results([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no results"):
        read_results([tmp_path / "empty"])
    made = embed_frames(Ear(), corpus)
    for change, message in (
        ({"events": made.events[:3]}, "tones: frames of 4 recordings but events of 3"),
        ({"frame_start_N1": made.frame_start_N1[:4]}, "tones: frames of 3 recordings but keys of 4"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(made, **change)
    with pytest.raises(ValueError, match=r"scores\.safetensors: not readable"):
        FrameEmbeddings.load(tmp_path / "scores.safetensors")
    embed_corpus(Ear(), corpus, path=tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match="not what a detection kept"):
        FrameEmbeddings.load(tmp_path / "e.safetensors")


def test_open_corpus_scores_every_label(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    events = (Event(0.0, 1.0, "a low tone"),)
    wave = tone(2.0, [SimpleNamespace(onset=0.0, offset=1.0, label="low")])
    entry = write_shard(folder / "shard-000000.tar", [(Record("one", 2.0, (), events), wave)])
    write_manifest(folder, "open", [entry], vocabulary=None, annotates=[])
    result = evaluate_sed(Ear(), Corpus(folder), metrics=FEW)
    assert result.metrics["auroc/macro"] == 1.0
    assert result.vocabulary is None
    only = embed_frames(Ear(), Corpus(folder), classes=("a low tone",))
    assert Scores(only).classes == ["a low tone"]
    with pytest.raises(ValueError, match="no event is labelled 'a high tone': mend the protocol"):
        embed_frames(Ear(), Corpus(folder), classes=("a high tone",))
    with pytest.raises(ValueError, match="no held-out"):
        evaluate_sed(Ear(), Corpus(folder), phrasings="held_out")
    with pytest.raises(ValueError, match="not one caption"):
        embed_corpus(Ear(), Corpus(folder))
