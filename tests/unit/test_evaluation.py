"""The protocols over tiny shards with a model whose scores are known."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flam_train.batch import SAMPLE_RATE, AudioEmbeddings, TextEmbeddings, to_float
from flam_train.data.corpus import Corpus
from flam_train.data.schema import Event, Record
from flam_train.data.shards import write_manifest, write_shard
from flam_train.evaluation.figures import clip_figure, clips_with_most_classes
from flam_train.evaluation.result import Result, read_results
from flam_train.evaluation.retrieval import evaluate_retrieval
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import evaluate_sed, recompute, score_corpus
from flam_train.frames import FrameGrid
from flam_train.vocabulary import Concept, Vocabulary

VOCABULARY = """corpus: tones
classes:
  low: {phrasings: [a low tone, humming], held_out: [a deep sound]}
  high: {phrasings: [a high tone], held_out: [a shrill sound, whistling]}
  silent: {phrasings: [nothing at all]}
"""
PITCH = {"low": 500, "high": 4000}
WORDS = {"low": ("low", "humming", "deep"), "high": ("high", "shrill", "whistling")}


class Ear(torch.nn.Module):
    """Hears two tones: an embedding is the loudness of either, a text's which of them its words name."""

    default_method = "unbiased"

    def __init__(self):
        super().__init__()
        self.grid = FrameGrid(8, 2.0)
        self.provenance = {"sha256": "0" * 64, "seed": 7}
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def embed_audio(self, waveform_BS):
        assert waveform_BS.dtype == torch.int16
        assert waveform_BS.shape[1] == 2 * SAMPLE_RATE
        part = to_float(waveform_BS).reshape(len(waveform_BS), 8, -1)
        spectrum = torch.fft.rfft(part).abs() / part.shape[-1]
        bins = [round(p * part.shape[-1] / SAMPLE_RATE) for p in PITCH.values()]
        frame = torch.nn.functional.normalize(
            torch.cat([spectrum[..., bins], torch.full((*part.shape[:2], 1), 0.02)], -1), dim=-1
        )
        return AudioEmbeddings(torch.nn.functional.normalize(frame.mean(1), dim=-1), frame)

    def embed_text(self, phrases):
        rows = [[float(any(w in p for w in words)) for words in WORDS.values()] for p in phrases]
        text = torch.tensor([[*row, 0.0 if any(row) else 1.0] for row in rows])
        return TextEmbeddings(
            torch.nn.functional.normalize(text, dim=-1), torch.full((len(rows),), 20.0), torch.full((len(rows),), -8.0)
        )

    def localize(self, frame_BTD, text, method="unbiased"):
        logit = text.scale_C[:, None] * (frame_BTD @ text.text_CD.T).transpose(1, 2) + text.bias_C[:, None]
        p = torch.sigmoid(logit)
        return p if method == "biased" else p / (p + torch.sigmoid(text.bias_C)[:, None])


def tone(seconds, events):
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros_like(time)
    for e in events:
        wave += 0.4 * np.sin(2 * np.pi * PITCH[e.label] * time) * ((time >= e.onset) & (time < e.offset))
    return (wave * 32767).astype(np.int16)


CLIPS = [
    (2.0, (Event(0.0, 1.0, "low"), Event(1.5, 2.0, "high"))),
    (2.0, (Event(0.5, 1.5, "high"),)),
    (4.5, (Event(0.25, 1.0, "low"), Event(1.5, 3.0, "low"), Event(4.0, 4.5, "high"))),  # three windows
    (1.1, ()),  # shorter than a window: the padding is not scored
]
CAPTIONS = [("a low then a high tone",), ("a high tone", "something shrill"), ("humming",), ("nothing",)]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "tones"
    folder.mkdir()
    (folder / "vocabulary.yaml").write_text(VOCABULARY)
    samples = [
        (Record(f"clip{n}", seconds, CAPTIONS[n], events, split="test"), tone(seconds, events))
        for n, (seconds, events) in enumerate(CLIPS)
    ]
    entry = write_shard(folder / "shard-000000.tar", samples)
    annotates = ["low", "high", "silent"]
    write_manifest(folder, "tones", [entry], vocabulary=str(folder / "vocabulary.yaml"), annotates=annotates)
    return Corpus(folder)


def test_sed(corpus, tmp_path):
    done = []
    result = evaluate_sed(
        Ear(), corpus, batch_size=3, scores_path=tmp_path / "scores.npz", progress=lambda *n: done.append(n)
    )
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

    again = recompute(tmp_path / "scores.npz")
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert (again.model, again.data, again.parameters) == (result.model, result.data, result.parameters)
    scores = Scores.load(tmp_path / "scores.npz")
    assert scores.frame_start_N1.tolist() == [0, 8, 16, 34, 38]
    low = scores.label_KF[scores.classes.index("low"), 16:34]
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


def test_sed_of_held_out_phrasings(corpus):
    result = evaluate_sed(Ear(), corpus, phrasings="held_out", method="biased", skip=frozenset({"psds", "f1"}))
    assert result.protocol == "sed/held_out"
    assert result.parameters["classes without such a phrasing (left out)"] == ["silent"]
    assert result.metrics["auroc/macro"] == 1.0
    assert not [n for n in result.metrics if n.startswith(("PSDS", "event", "frame_f1 biased"))]


def test_retrieval(corpus, tmp_path):
    result = evaluate_retrieval(Ear(), corpus, embeddings_path=tmp_path / "embeddings.npz", batch_size=2)
    assert result.metrics["text_to_audio/R@1"] == 1.0
    assert result.metrics["text_to_audio/R@1 over chance"] == 4.0
    assert result.parameters["captions in all"] == 5
    kept = np.load(tmp_path / "embeddings.npz")
    assert kept["audio_ND"].shape == (4, 3)
    assert kept["clip_of_text_M"].tolist() == [0, 1, 1, 2, 3]
    with pytest.raises(ValueError, match=r"'clip0' has\s1 and others have 2"):
        evaluate_retrieval(Ear(), corpus, captions="sets")


def test_a_damaged_clip_is_reported_not_hidden(corpus):
    damaged = bytearray((corpus.folder / "shard-000000.tar").read_bytes())
    at = damaged.find(b"fLaC", damaged.find(b"clip1"))
    damaged[at + 200 : at + 260] = bytes(60)
    (corpus.folder / "shard-000000.tar").write_bytes(damaged)
    result = evaluate_sed(Ear(), corpus, skip=frozenset({"psds", "f1"}))
    assert (result.clips_expected, result.clips_evaluated) == (4, 3)
    assert list(result.missing) == ["clip1"]
    assert "shard-000000.tar" in result.missing["clip1"]


def test_result_file(corpus, tmp_path):
    result = evaluate_sed(Ear(), corpus, skip=frozenset({"psds", "f1"}))
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
    with pytest.raises(ValueError, match="choose of"):
        evaluate_sed(Ear(), corpus, method="best")
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
    with pytest.raises(ValueError, match=r"scores\.npz"):
        recompute(tmp_path / "scores.npz")


def test_open_corpus_scores_every_label(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    events = (Event(0.0, 1.0, "a low tone"),)
    wave = tone(2.0, [SimpleNamespace(onset=0.0, offset=1.0, label="low")])
    entry = write_shard(folder / "shard-000000.tar", [(Record("one", 2.0, (), events), wave)])
    write_manifest(folder, "open", [entry], vocabulary=None, annotates=[])
    result = evaluate_sed(Ear(), Corpus(folder), skip=frozenset({"psds"}))
    assert result.metrics["auroc/macro"] == 1.0
    assert result.vocabulary is None
    with pytest.raises(ValueError, match="no held-out"):
        evaluate_sed(Ear(), Corpus(folder), phrasings="held_out")
    with pytest.raises(ValueError, match="not one caption"):
        evaluate_retrieval(Ear(), Corpus(folder))
