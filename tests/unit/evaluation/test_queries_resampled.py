"""Intervals of retrieval and zero-shot classification beside plain loops; protocols and tables that carry them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from checkout import ROOT
from in_process import script
from tone_corpus import Ear, write_tones

from flam_train.evaluation import retrieval, zero_shot
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.embeddings import Embeddings, embed_corpus
from flam_train.evaluation.parts import Kept
from flam_train.evaluation.protocol import Protocol, recompute
from flam_train.evaluation.report.published import paper_tables
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
    assert between["how"]["unit"] == ("clips" if group is None else "groups by site")


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
