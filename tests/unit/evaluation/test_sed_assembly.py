"""Every number of a detection's result beside the same number put together plainly, from noisy kept embeddings."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.ndimage
import torch

from flam_train.evaluation.frame_embeddings import FrameEmbeddings
from flam_train.evaluation.report.classes import class_csv, save_tables
from flam_train.evaluation.report.figures import sed_figures
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import METRICS, SedMetrics, result_of
from flam_train.evaluation.words import Words, asked_of
from flam_train.metrics.calibration import calibration
from flam_train.metrics.detection import (
    THRESHOLDS,
    auroc,
    event_f1,
    frame_f1,
    partial_auroc,
    psds,
    segment_f1,
    segments,
)  # fmt: skip
from flam_train.metrics.error_rate import segment_error_rate
from flam_train.metrics.intersection import cross_triggers, intersection_f1, mean_iou
from flam_train.metrics.ranking import average_precision, d_prime
from flam_train.metrics.tagging import tagging_metrics

HOP = 0.25
LENGTHS = [9, 16, 4, 1, 12]
TEXTS = ["a dog", "barking", "rain", "hum", "a deep hum"]
WORDS = {
    "trained": Words(["dog", "rain"], [["a dog", "rain"], ["barking", "rain"]], ["hum"]),
    "held_out": Words(["hum"], [["hum"], ["a deep hum"]], ["dog", "rain"]),
}
CHOSEN = SedMetrics(
    metrics=METRICS,
    median_frames=5,
    median_frames_of={"rain": 3},
    segment_seconds=0.6,
    max_fpr=0.3,
    collar_seconds=0.3,
    offset_share=0.6,
    dtc=0.4,
    gtc=0.6,
    cttc=0.2,
    tagging_pool="mean",
    psds={
        "strict": {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 1.0, "max_efpr": 2000.0},
        "even": {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 0.0, "max_efpr": 2000.0},
        "loose": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "max_efpr": 3000.0},
    },
)


@pytest.fixture(scope="module")
def kept() -> FrameEmbeddings:
    r = np.random.default_rng(3)
    text_MD = r.normal(size=(5, 12)).astype(np.float32)
    text_MD /= np.linalg.norm(text_MD, axis=1, keepdims=True)
    start_N1 = np.cumsum([0, *LENGTHS])
    frame_FD = 0.35 * r.normal(size=(start_N1[-1], 12)).astype(np.float32)
    events: list = [
        [(0.0, 1.1, "dog"), (0.25, 1.3, "dog"), (1.5, 2.25, "rain"), (0.5, 1.0, "hum")],
        [(0.6, 2.0, "rain"), (2.5, 3.9, "dog"), (3.0, 3.5, "hum")],
        [(0.25, 0.75, "hum")],
        [],
        [(0.5, 1.25, "dog"), (1.0, 2.75, "rain")],
    ]
    of = {"dog": [0, 1], "rain": [2], "hum": [3, 4]}
    for start, found in zip(start_N1, events, strict=False):
        for onset, offset, name in found:
            frame_FD[start + int(onset / HOP) : start + int(offset / HOP) + 1] += 0.6 * text_MD[of[name]].mean(0)
    return FrameEmbeddings(
        frame_FD=frame_FD / np.linalg.norm(frame_FD, axis=1, keepdims=True),
        frame_start_N1=start_N1,
        text_MD=text_MD,
        scale_M=np.array([4, 7, 10, 3, 6], dtype=np.float32),
        bias_M=np.array([-1, -2, -4, -0.5, -3], dtype=np.float32),
        texts=TEXTS,
        words=WORDS,
        keys=[f"r{n}" for n in range(5)],
        splits=["test"] * 5,
        durations=[n * HOP - 0.05 for n in LENGTHS],
        events=events,
        frame_seconds=HOP,
        method="unbiased",
        asked=asked_of(None, None, None),
        about={
            "dataset": "d", "vocabulary": None, "vocabulary sha256": "", "clips_expected": 5, "clips_evaluated": 5,
            "missing": {}, "model": {}, "data": {}, "seed": 0, "seconds": 4.0, "batch size": 2,
        },
    )  # fmt: skip


def plain(kept: FrameEmbeddings, phrasings: str, r: int, method: str) -> dict[str, float]:
    """Of one round, class by class and recording by recording, in the given method and beside it biased."""
    words = kept.words[phrasings]

    def score(kind: str) -> torch.Tensor:
        rows = []
        for phrase in words.phrases[r]:
            m = kept.texts.index(phrase)
            cosine = kept.frame_FD.astype(np.float64) @ kept.text_MD[m].astype(np.float64)
            p, q = (1 / (1 + np.exp(-x)) for x in (kept.scale_M[m] * cosine + kept.bias_M[m], kept.bias_M[m]))
            rows.append({"unbiased": p / (p + q), "biased": p, "cosine": (1 + cosine) / 2}[kind])
        return torch.from_numpy(np.stack(rows)).float()

    label = torch.zeros(len(words.classes), len(kept.frame_FD), dtype=torch.bool)
    events = [[e for e in found if e[2] in words.classes] for found in kept.events]
    for start, length, found in zip(kept.frame_start_N1, LENGTHS, events, strict=False):
        for onset, offset, name in found:
            for t in range(length):
                inside = min(offset, (t + 1) * HOP) - max(onset, t * HOP)
                label[words.classes.index(name), start + t] |= inside >= 0.5 * min(HOP, offset - onset) - 1e-6
    out = {}
    area = auroc(score(method).T, label.T)
    out |= {"auroc/macro": area.macro, "auroc/micro": area.micro}
    d = d_prime(area)
    out |= {"dprime/macro": d.macro, "dprime/micro": d.micro, "dprime/of macro AUROC": d.of_macro}
    ranked = average_precision(score(method).T, label.T)
    out |= {"ap/macro": ranked.macro, "ap/micro": ranked.micro}
    clips = [score(method)[:, a : a + n].mean(dim=1) for a, n in zip(kept.frame_start_N1, LENGTHS, strict=False)]
    tagged = torch.tensor([[any(c == name for _, _, c in found) for name in words.classes] for found in events])
    tags = tagging_metrics(torch.stack(clips), tagged)
    out |= {"tagging/mAP": tags.average_precision.macro, "tagging/AP micro": tags.average_precision.micro}
    out |= {"tagging/auroc": tags.auroc.macro, "tagging/dprime": tags.d_prime.macro}
    out["tagging/dprime of macro AUROC"] = tags.d_prime.of_macro
    out |= {"tagging/f1": tags.f1.macro, "tagging/f1 micro": tags.f1.micro}
    for name, kind in {"": method, **({} if method in ("biased", "cosine") else {" biased": "biased"})}.items():
        curve, found = frame_f1(score(kind).T, label.T, THRESHOLDS), calibration(score(kind).T, label.T)
        out |= {f"frame_f1{name}/macro": curve.at(0.5).macro, f"frame_f1{name}/micro": curve.at(0.5).micro}
        out |= {f"frame_f1{name} best/{key}": getattr(curve.best, key) for key in ("macro", "micro", "threshold")}
        if method != "cosine":
            out |= {f"calibration{name}/ECE": found.ece, f"calibration{name}/Brier": found.brier}
    pieces = [score(method)[:, a : a + n].numpy() for a, n in zip(kept.frame_start_N1, LENGTHS, strict=False)]
    widths = {"dog": 5, "hum": 5, "rain": 3}
    smooth = [
        torch.from_numpy(np.stack([
            scipy.ndimage.median_filter(row, widths[name], mode="nearest")
            for name, row in zip(words.classes, piece, strict=True)
        ]))
        for piece in pieces
    ]  # fmt: skip
    timed = (smooth, events, words.classes, kept.durations, HOP)
    frame = frame_f1(score(method).T, label.T, THRESHOLDS)
    segment, event = segment_f1(*timed, THRESHOLDS, 0.6), event_f1(*timed, THRESHOLDS, 0.3, 0.6)
    for kind, curve in (("frame", frame), ("segment", segment), ("event", event)):
        rates = curve.rates_at(0.5)
        for what in ("precision", "recall"):
            out |= {f"{kind}_{what}/{mean}": getattr(rates, f"{what}_{mean}") for mean in ("macro", "micro")}
        out[f"{kind}_f1 best of each class/macro"] = curve.best_of_each.macro
    wrong, iou = segment_error_rate(*timed, 0.5, 0.6), mean_iou(*timed)
    out |= {"segment_er": wrong.value, "miou": iou.value, "cross_triggers": cross_triggers(*timed, 0.5, 0.4, 0.2).share}
    out |= {f"segment_er/{x}": getattr(wrong, x) for x in ("macro", "substitutions", "deletions", "insertions")}
    out["miou/macro"] = iou.macro
    intersection = intersection_f1(*timed, THRESHOLDS, 0.4, 0.6)
    for name, curve in (("segment_f1", segment), ("event_f1", event), ("intersection_f1", intersection)):
        out |= {f"{name}/macro": curve.at(0.5).macro, f"{name}/micro": curve.at(0.5).micro}
        out |= {f"{name} best/{key}": getattr(curve.best, key) for key in ("macro", "micro", "threshold")}
    out["MPAUC"] = partial_auroc(*segments(*timed, 0.6), 0.3).macro
    for name, p in CHOSEN.psds.items():
        out[f"{name}[{p}]"] = psds(*timed, missing="skip", **asdict(p)).value
    return out


@pytest.mark.parametrize("method", ["unbiased", "biased", "cosine"])
@pytest.mark.parametrize("phrasings", WORDS)
def test_every_number_is_that_of_its_parts(kept, phrasings, method):
    result = result_of(Scores(kept, phrasings), replace(CHOSEN, method=method))
    rounds = [plain(kept, phrasings, r, method) for r in range(2)]
    assert set(result.metrics) == set(rounds[0])
    for name, value in result.metrics.items():
        both = [one[name] for one in rounds]
        assert value == pytest.approx(np.mean(both), abs=1e-5, nan_ok=True), name
        if np.isfinite(both).all():
            assert result.spread[name] == pytest.approx(np.std(both), abs=1e-5), name
        else:  # d' of what is ranked without fault, or where there is no false detection
            assert name not in result.spread
            assert name.startswith(("dprime/", "tagging/dprime", "cross_triggers")), name
    # What these numbers tell apart: the rounds, the settings of PSDS, and what is left out.
    assert result.spread["auroc/micro"] > 0.001
    assert result.parameters["classes without such a phrasing (left out)"] == WORDS[phrasings].left_out
    if phrasings == "trained":
        assert len({round(v, 4) for k, v in result.metrics.items() if "max_efpr" in k}) == 3


def test_a_table_of_classes_and_one_of_cross_triggers(kept, tmp_path):
    scores = Scores(kept)
    paths = save_tables(scores, CHOSEN, tmp_path / "new", "set")
    assert [path.name for path in paths] == ["set-classes.csv", "set-cross-triggers.csv"]
    dog, rain = csv.DictReader(paths[0].read_text().splitlines())
    one = replace(kept, words={"trained": Words(["dog", "rain"], [["a dog", "rain"]], [])})  # the first phrasing
    metrics = result_of(Scores(one), CHOSEN).metrics

    def mean(column: str) -> float:
        return (float(dog[column]) + float(rain[column])) / 2

    assert (dog["class"], dog["events"], dog["positive frames"], rain["events"]) == ("dog", "3", "14", "3")
    for column, name in (
        ("frame AUROC", "auroc/macro"),
        ("frame AP", "ap/macro"),
        ("segment F1 at 0.5", "segment_f1/macro"),
        ("event precision at 0.5", "event_precision/macro"),
        ("frame recall at 0.5", "frame_recall/macro"),
        ("best event F1 (chosen on this set)", "event_f1 best of each class/macro"),
    ):
        assert mean(column) == pytest.approx(metrics[name]), column
    for row in (dog, rain):
        assert float(row["best frame threshold (chosen on this set)"]) in THRESHOLDS
    crossed = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["detected"] for row in crossed] == ["dog", "rain"]
    assert [row[f"on {row['detected']}"] for row in crossed] == ["0", "0"]
    wrong, there = (sum(int(row[x]) for row in crossed) for x in ("wrong", "on another class"))
    assert there / wrong == pytest.approx(metrics["cross_triggers"])
    assert sum(int(row["on dog"]) + int(row["on rain"]) for row in crossed) == there > 0
    assert save_tables(scores, SedMetrics(), tmp_path, "set") == []
    nothing = replace(kept, events=[[(0.0, 1.0, "dog")], *[[]] * 4])
    assert (
        list(csv.DictReader(class_csv(Scores(nothing), CHOSEN).splitlines()))[1]["best event F1 (chosen on this set)"]
        == ""
    )
    figures = sed_figures(scores, replace(CHOSEN, metrics=("cross_triggers",)), "set")
    assert "set, cross triggers, the first of 2 phrasings: 2 classes" in [
        t.get_text() for t in figures["cross-triggers"].texts
    ]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"dtc": 0}, "dtc: 0 must be above 0 and at most 1"),
        ({"gtc": 1.5}, r"gtc: 1\.5 must be"),
        ({"cttc": "a"}, "cttc: 'a' is not a number"),
        ({"tagging_pool": "median"}, "tagging_pool"),
        ({"max_fpr": 2}, "max_fpr: 2 must be above 0 and at most 1"),
        ({"segment_seconds": -1}, "segment_seconds: -1 must be above 0"),
        ({"collar_seconds": "x"}, "collar_seconds: 'x' is not a number"),
        ({"offset_share": math.nan}, "offset_share: nan is not a number"),
        ({"metrics": ("iou",)}, "metrics"),
    ],
)
def test_settings_that_are_none(wrong, match):
    with pytest.raises(ValueError, match=match):
        SedMetrics(**wrong)


def test_positive_frames_are_counted_once(kept):
    """Two events of the first recording overlap."""
    scores = Scores(kept)
    assert scores.positives_K.tolist() == scores.label_KF().sum(dim=1).tolist() == [5 + 6 + 3, 3 + 6 + 7]
    assert scores.label_KF(range(1, 2), range(9, 25)).tolist() == scores.label_KF()[1:2, 9:25].tolist()
    assert scores.label_KF(frames=range(0)).shape == (2, 0)


def test_more_than_memory_holds_is_refused_before_it_is_tried(kept, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 20)
    with pytest.raises(ValueError, match=r"of 2 classes in 42 frames need 0 GB and there are 0: choose --metrics"):
        result_of(Scores(kept), SedMetrics(metrics=("psds",)))
    result_of(Scores(kept), SedMetrics(metrics=("auroc",)))


def test_the_file_keeps_all_of_it(kept, tmp_path):
    again = FrameEmbeddings.load(kept.save(tmp_path / "a.safetensors"))
    for phrasings in WORDS:
        assert result_of(Scores(again, phrasings)).metrics == result_of(Scores(kept, phrasings)).metrics
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o044  # colleagues may read it


@pytest.mark.parametrize(
    ("settings", "name"), [(None, "even"), (["strict"], "strict without the penalty for unevenness")]
)
def test_the_chart_of_classes_shows_the_number_of_the_table(kept, settings, name):
    psds = {n: CHOSEN.psds[n] for n in settings or CHOSEN.psds}
    chosen = replace(CHOSEN, metrics=("auroc", "psds"), psds=psds)
    one = replace(kept, words={"trained": Words(["dog", "rain"], [["a dog", "rain"]], [])})
    metrics = result_of(Scores(one), CHOSEN).metrics
    of_table = {key.split("[")[0]: value for key, value in metrics.items()}
    chart = sed_figures(Scores(one), chosen, "set")["classes"]
    assert [text.get_text() for text in chart.legends[0].get_texts()] == [
        f"frame AUROC, mean {of_table['auroc/macro']:.3f} (dashed) over 2",
        f"{name}, mean {of_table['even']:.3f} (dashed) over 2",
    ]
    assert of_table["even"] > of_table["strict"] + 0.01
    titles = [sed_figures(Scores(x), chosen, "set")["classes"].texts[-1].get_text() for x in (one, kept)]
    assert titles == ["set, by class: 2 classes", "set, by class, the first of 2 phrasings: 2 classes"]
