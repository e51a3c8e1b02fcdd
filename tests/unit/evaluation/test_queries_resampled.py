"""Intervals of retrieval and zero-shot classification beside plain loops; protocols and tables that carry them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkout import ROOT
from in_process import script
from tone_corpus import Ear, write_tones

from flam_train.evaluation import retrieval, zero_shot
from flam_train.evaluation.compared import Differs, compare_retrieval
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.embeddings import Embeddings, embed_corpus
from flam_train.evaluation.parts import Kept
from flam_train.evaluation.protocol import Protocol, recompute
from flam_train.evaluation.report import figures
from flam_train.evaluation.report.published import paper_tables
from flam_train.evaluation.report.table import result_tables
from flam_train.evaluation.result import read_results

CLASSES = ("dog", "rain", "bell")
SITES = ["north", "south", "north", "west", "south", "west", "west", "north"]


def made(seed: int = 0, each: int = 2) -> Embeddings:
    r = np.random.default_rng(seed)
    audio_ND = r.standard_normal((len(SITES), 6)).astype(np.float32)
    captions = [[f"{n} {k}" for k in range(each)] for n in range(len(SITES))]
    said = [text for some in captions for text in some]
    text_MD = audio_ND.repeat(each, axis=0) + 1.5 * r.standard_normal((len(said), 6)).astype(np.float32)
    about = {"dataset": "noise", "vocabulary": None, "clips_expected": len(SITES), "clips_evaluated": len(SITES),
             "missing": {}, "model": {"sha256": "0" * 64}, "data": {}, "seed": 0, "seconds": 1.0}  # fmt: skip
    return Embeddings(
        audio_ND, text_MD, said, [f"clip{n}" for n in range(len(SITES))], captions,
        [CLASSES[n % 3] for n in range(len(SITES))], ["a", "b"] * 4, "first", about,
        sources=SITES, details=[{"site": site} for site in SITES],
    )  # fmt: skip


@pytest.mark.parametrize("captions", ["all", "sets", "shared"])
@pytest.mark.parametrize("group", [None, "site"])
def test_retrieval_beside_a_loop(captions, group):
    found = made()
    how = Bootstrap(20, 0.9, seed=3, group=group)
    drawn = how.drawn(found)
    of = retrieval.intervals(found, how, captions)["of"]
    score_NM = torch.from_numpy(found.audio_ND @ found.text_MD.T)
    sets = [range(0, 16, 2), range(1, 16, 2)] if captions == "sets" else [range(16)]
    plain = {}
    for side, k in (("text_to_audio", 1), ("text_to_audio", 5), ("audio_to_text", 1)):
        rows = []
        for weight_U in drawn.weight_UR.T[1:].tolist():
            values = []
            for chosen in sets:
                right = asked = 0
                for unit, m in (
                    [(drawn.unit_N[m // 2], m) for m in chosen]
                    if side == "text_to_audio"
                    else [(drawn.unit_N[n], n) for n in range(8)]
                ):
                    if side == "text_to_audio":
                        rank = sum(bool(score_NM[n, m] >= score_NM[m // 2, m]) for n in range(8) if n != m // 2)
                    else:
                        own = max(score_NM[m, c] for c in chosen if c // 2 == m)
                        rank = sum(bool(score_NM[m, c] >= own) for c in chosen if c // 2 != m)
                    right += weight_U[unit] * (rank < k)
                    asked += weight_U[unit]
                values.append(right / asked)
            rows.append(np.mean(values))
        plain[f"{side}/R@{k}"] = np.quantile(rows, [0.05, 0.95])
    for name, ends in plain.items():
        if captions == "shared" and name.startswith("text_to_audio"):
            assert name not in of
            continue
        assert (of[name]["low"], of[name]["high"]) == pytest.approx(tuple(ends), abs=1e-12), name
    mean = retrieval.result_of(found, captions).metrics
    assert all(one["low"] <= mean[name] + 1e-9 and mean[name] - 1e-9 <= one["high"] for name, one in of.items())
    assert {name.split("/")[1] for name in of} >= {"R@1", "R@5", "R@10", "mean_rank"}


@pytest.mark.parametrize("group", [None, "site"])
def test_zero_shot_beside_a_loop(group):
    found, words = made(), [["0 0"], ["1 0", "1 1"], ["2 1"]]
    how = Bootstrap(30, seed=2, group=group)
    drawn = how.drawn(found)
    between = zero_shot.intervals(found, how, list(CLASSES), words, "mine")
    rank_N, own_N = zero_shot.ranks_of(found, list(CLASSES), words, "mine")
    assert 0 < (rank_N == 0).mean() < 1
    for name, group_N in (
        ("accuracy", np.zeros(8)),
        ("accuracy/mean over classes", own_N),
        ("accuracy/mean over folds", np.arange(8) % 2),
    ):
        rows = []
        for weight_U in drawn.weight_UR.T[1:].numpy():
            weight_N = weight_U[drawn.unit_N.numpy()]
            mine = [group_N == g for g in np.unique(group_N)]
            means = [((rank_N == 0) * weight_N)[at].sum() / weight_N[at].sum() for at in mine if weight_N[at].sum()]
            rows.append(np.mean(means))
        want = np.quantile(rows, [0.025, 0.975])
        assert (between["of"][name]["low"], between["of"][name]["high"]) == pytest.approx(tuple(want), abs=1e-12)
    top_N = rank_N < 5
    rows = [(top_N * w).sum() / w.sum() for w in (drawn.weight_UR.numpy().T[1:, drawn.unit_N.numpy()])]
    want = np.quantile(rows, [0.025, 0.975])
    top = between["of"]["accuracy/top 5"]
    assert (top["low"], top["high"]) == pytest.approx(tuple(want), abs=1e-12)
    assert between["how"]["unit"] == ("clips" if group is None else "groups by site")


def test_shared_captions_of_several_clips(monkeypatch):
    """Clips 0 and 1 have the same caption: both are right for it."""
    found = made(each=1)
    texts = ["0 0", "0 0", *found.texts[2:]]
    same = replace(
        found, texts=texts, captions=[[text] for text in texts], text_MD=found.text_MD[[0, 0, *range(2, len(texts))]]
    )
    how = Bootstrap(15, seed=4)
    drawn = how.drawn(same)
    of = retrieval.resampled(same, drawn, "shared")
    score_NM = torch.from_numpy(same.audio_ND @ same.text_MD.T)
    once = [0, *range(2, 8)]  # columns of different captions
    place_N = [0, 0, *range(1, 7)]
    rank_N = []
    for n in range(8):
        right = once[place_N[n]]
        rank_N.append(sum(bool(score_NM[n, m] >= score_NM[n, right]) for m in once if m != right))
    for r, weight_U in enumerate(drawn.weight_UR.T.tolist()):
        weight_N = [weight_U[unit] for unit in drawn.unit_N.tolist()]
        mean = sum(w * rank for w, rank in zip(weight_N, rank_N, strict=True)) / sum(weight_N)
        assert float(of["audio_to_text/mean_rank"][r]) == pytest.approx(mean + 1)
        mAP = sum(w * (rank < 16) / (rank + 1) for w, rank in zip(weight_N, rank_N, strict=True)) / sum(weight_N)
        assert float(of["audio_to_text/mAP@16"][r]) == pytest.approx(mAP)
    assert not [name for name in of if name.startswith("text_to_audio")]
    drawn_there = []
    monkeypatch.setattr(figures, "retrieval_examples", lambda *rankings: drawn_there.extend(rankings))
    figures.retrieval_figures(same, "shared")
    (dog,) = [one for one in drawn_there[0] if one.query == "0 0"]
    right = {name for name, _, is_right in dog.found if is_right}
    assert right == {name for name, _, _ in dog.found} & {"clip0", "clip1"}
    assert len(drawn_there[0]) == 5


def test_two_retrievals_compared(tmp_path):
    a, b = made(0), replace(made(0), audio_ND=made(5).audio_ND)
    how, found = compare_retrieval(a, b, Bootstrap(40, group="site"))
    one = found["text_to_audio/R@1"]
    assert (one["a"], one["b"]) == tuple(retrieval.result_of(x).metrics["text_to_audio/R@1"] for x in (a, b))
    assert one["low"] <= one["difference"] <= one["high"]
    assert how["units"] == 3
    with pytest.raises(Differs, match="captions of clip 'clip3' differ"):
        compare_retrieval(a, replace(b, captions=[*b.captions[:3], ["x", "y"], *b.captions[4:]]), Bootstrap(5))
    with pytest.raises(Differs, match="clips differ, 8 and 8: 'clip0' is not in both"):
        compare_retrieval(a, replace(b, keys=["x", *b.keys[1:]]), Bootstrap(5))
    paths = [x.save(tmp_path / f"{n}.safetensors") for n, x in enumerate((a, b))]
    done = script("eval/compare.py", *paths, "--bootstrap", "40", "--captions", "sets", "--out", tmp_path / "ab.json")
    assert done.returncode == 0, done.stderr
    assert "40 resamples of 8 clips, seed 0, captions sets" in done.stdout
    assert json.loads((tmp_path / "ab.json").read_text())["metrics"]["audio_to_text/R@5"]["undefined"] == 0


def test_what_else_is_right_by_protocol(tmp_path):
    found, out = made(), tmp_path / "out"
    (tmp_path / "right.csv").write_text("caption,key\n0 0,clip1\n0 0,clip2\n")
    text = "{kind: retrieval, shards: x, title: mine, captions: shared, relevant: right.csv}\n"
    (tmp_path / "mine.yaml").write_text(text)
    protocol = Protocol.load(str(tmp_path / "mine.yaml"))
    found.save(protocol.kept(out))
    (result,) = recompute(protocol, out)
    want = retrieval.result_of(found, "shared", {"0 0": ["clip1", "clip2"]})
    assert result.metrics == want.metrics
    assert result.parameters["relevant captions"] == 1
    assert result.parameters["relevant sha256"] == want.parameters["relevant sha256"]
    (table,) = result_tables([result])
    assert "T2A mAP@16" in table.columns
    (tmp_path / "mine.yaml").write_text(text.replace("shared", "all"))
    with pytest.raises(ValueError, match="told of `captions: shared`"):
        Protocol.load(str(tmp_path / "mine.yaml"))
    for written, message in (
        (b"caption,key\n", "lists nothing"),
        (b"caption,key\n\xff,x\n", "not UTF-8 .* at byte 12"),
    ):
        (tmp_path / "right.csv").write_bytes(written)
        with pytest.raises(ValueError, match=rf"right\.csv: {message}"):
            retrieval.read_relevant(tmp_path / "right.csv")


def test_what_was_kept_before_sources_were(tmp_path):
    corpus = write_tones(tmp_path / "tones", [("low high",), ("high",), ("low",), ("nothing",)], source=list("abcd"))
    path = tmp_path / "kept.safetensors"
    first = embed_corpus(Ear(), corpus, path=path)
    kept = Kept.read(path)
    Kept(kept.arrays, {k: v for k, v in kept.facts.items() if k not in ("sources", "details")}).write(path)
    old = Embeddings.load(path)
    assert old.sources == []
    with pytest.raises(ValueError, match="kept before sources were: run the same script on the export and the shards"):
        Bootstrap(5, group="source").drawn(old)
    ear = Ear()
    assert embed_corpus(ear, corpus, path=path).sources == first.sources == list("abcd")
    assert ear.heard == 0
    assert Embeddings.load(path).sources == list("abcd")


def test_scripts(tmp_path):
    kept = made().save(tmp_path / "kept.safetensors")
    done = script("eval/retrieval.py", kept, "--bootstrap", "50", "--group", "site", "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "[low, high]: 95 % percentile bootstrap over 3 groups by site, 50 resamples, seed 0" in done.stdout
    ((_, result),) = read_results([tmp_path / "results"])
    low, high = result.interval("text_to_audio/R@1")
    assert low < high
    wrong = script("eval/retrieval.py", kept, "--group", "site", "--out", tmp_path / "results")
    assert (wrong.returncode, "give --bootstrap too" in wrong.stderr) == (2, True)
    wrong = script("eval/retrieval.py", kept, "--bootstrap", "--group", "sight", "--out", tmp_path / "results")
    assert (wrong.returncode, "no such detail (it has source, site)" in wrong.stderr) == (2, True)


def test_zero_shot_script(tmp_path):
    found = made(each=1)
    texts = [f"the {name}" for name in CLASSES]
    kept = replace(found, texts=texts, text_MD=found.text_MD[:3]).save(tmp_path / "kept.safetensors")
    (tmp_path / "mine.yaml").write_text("corpus: mine\nclasses:\n" + "".join(f"  {c}: [{c}]\n" for c in CLASSES))
    asked = ("--vocabulary", tmp_path / "mine.yaml", "--templates", "the {}", "--bootstrap", "30", "--level", "0.8")
    done = script("eval/zero_shot.py", kept, *asked, "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "80 % percentile bootstrap over 8 clips, 30 resamples" in done.stdout
    ((_, result),) = read_results([tmp_path / "results"])
    assert set(result.intervals["of"]) == {
        "accuracy", "accuracy/mean over folds", "accuracy/mean over classes", "accuracy/top 5",
    }  # fmt: skip


def test_protocols_and_the_paper_table(tmp_path):
    found, out = made(each=5), tmp_path / "out"
    found.save(Protocol.load("clotho").kept(out))
    done = script("eval/protocols.py", "--recompute", "--only", "clotho", "--bootstrap", "50", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "8 clips, 50 resamples, seed 0" in done.stdout
    ((_, result),) = read_results([out])
    plain = recompute(Protocol.load("clotho"), out)[0]
    assert (plain.intervals, plain.metrics) == ({}, result.metrics)
    for intervals in (False, True):
        tables = paper_tables(ROOT / "eval" / "paper_table.yaml", [result], intervals)
        (row,) = [r for table in tables for r, kind in zip(table.rows, table.kinds, strict=True) if kind == "ours"]
        cells = [text for text in row[2:] if text]
        assert {"[" in cell for cell in cells} == {intervals}
        notes = "".join(note for table in tables for note in table.footnotes.values())
        assert ("percentile bootstrap over 8 clips" in notes) == intervals
        apart = [r for table in tables for r, kind in zip(table.rows, table.kinds, strict=True) if kind == "difference"]
        assert apart  # reads the number before the bracket
    shown = script("eval/table.py", out, "--paper", "--intervals")
    assert shown.returncode == 0, shown.stderr
