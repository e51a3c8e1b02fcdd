"""Intervals in results and tables, two models compared, which recordings are drawn together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from in_process import script
from tone_corpus import Ear, write_tones

from flam_train.evaluation.compared import Differs, check_same, compare
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.frame_embeddings import FrameEmbeddings, embed_frames
from flam_train.evaluation.groups import units_of
from flam_train.evaluation.parts import Kept
from flam_train.evaluation.report.table import result_tables
from flam_train.evaluation.resampled import intervals, resampled
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics, result_of

CHOSEN = SedMetrics(metrics=("auroc", "dprime", "frame_f1", "segment_f1", "event_f1", "precision_recall", "psds"))
COMPARED = SedMetrics(metrics=("auroc", "frame_f1", "segment_f1", "event_f1", "psds"))
ORIGIN = {
    "source": ["x/a_1.wav", "x/a_2.wav", "x/b_1.wav", "x/b_1.wav"],
    "details": [{"site": "north"}, {"site": "south"}, {"site": "north", "cut_from": [0.0, 4.5], "long": "x" * 999},
                {"site": "south", "cut_from": [4.5, 5.6], "spec": {"a": 1}}],
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("shards") / "tones", **ORIGIN)


@pytest.fixture(scope="module")
def made(corpus):
    return embed_frames(Ear(), corpus)


def noisy(made: FrameEmbeddings, seed: int, much: float = 0.6) -> FrameEmbeddings:
    frame_FD = made.frame_FD + much * np.random.default_rng(seed).standard_normal(made.frame_FD.shape)
    return replace(made, frame_FD=(frame_FD / np.linalg.norm(frame_FD, axis=1, keepdims=True)).astype(np.float32))


def copied(made: FrameEmbeddings, weight_U, unit_N) -> FrameEmbeddings:
    """A set in which the recordings really stand as often as their unit is drawn."""
    at = [n for n, unit in enumerate(unit_N.tolist()) for _ in range(int(weight_U[unit]))]
    start = made.frame_start_N1
    pieces = [made.frame_FD[start[n] : start[n + 1]] for n in at]
    lists = ("keys", "splits", "durations", "events", "sources", "details", "unknown")
    return replace(
        made,
        frame_FD=np.concatenate(pieces),
        frame_start_N1=np.cumsum([0, *map(len, pieces)]),
        **{name: [getattr(made, name)[n] for n in at] for name in lists},
    )


@pytest.mark.parametrize("group", [None, "site"])
def test_every_number_is_that_of_a_set_of_copies(made, group):
    kept = noisy(made, 0)
    how = Bootstrap(12, seed=1, group=group, psds=True)
    drawn = how.drawn(kept)
    said: list[str] = []
    values = resampled(Scores(kept), CHOSEN, drawn, True, said.append)
    assert said[0].startswith("PSDS of 12 resamples and 2 phrasings: about 0.")  # before all else
    assert len(values) == 2 + 3 + 4 * 2 + 3 * 4 + 3
    compared = 0
    for r, weight_U in enumerate(drawn.weight_UR.T):
        other = copied(kept, weight_U, drawn.unit_N)
        if not any(other.events):
            continue
        want = result_of(Scores(other), CHOSEN).metrics
        for name, value_R in values.items():
            assert float(value_R[r]) == pytest.approx(want[name], abs=1e-12, nan_ok=True), (r, name)
            compared += 1
    assert compared > 100
    found = intervals(Scores(kept), CHOSEN, how)
    assert found["how"]["unit"] == ("recordings" if group is None else "groups by site")
    assert found["how"]["units"] == (3 if group is None else 2)
    low, high = (found["of"]["auroc/macro"][end] for end in ("low", "high"))
    assert low <= float(values["auroc/macro"][0]) <= high


def test_units(made, tmp_path):
    assert made.sources == ORIGIN["source"]
    assert made.details[2] == {"site": "north", "cut_from": [0.0, 4.5]}  # what is long is not kept
    assert made.details[3] == {"site": "south", "cut_from": [4.5, 5.6]}
    for group, units, what in (
        (None, [0, 1, 2, 2], "recordings"),
        ("source", [0, 1, 2, 2], "groups by source"),
        ("site", [0, 1, 0, 1], "groups by site"),
        (r"/([ab])_", [0, 0, 1, 1], r"groups by /([ab])_"),
        (r"clip[01]|b", [0, 1, 2, 2], r"groups by clip[01]|b"),  # in keys where not in sources
    ):
        unit_N, said = units_of(made, group)
        assert (unit_N.tolist(), said) == (units, what)
    for group, message in (
        ("sight", r"--group sight: tones: no such detail \(it has source, site\): name one, or give a regular"),
        ("(b", r"--group \(b: no regular expression \(.*\): mend it"),
        ("a_(.)", r"clip 'clip2' \(and 1 more\) has no group: mend the expression"),
    ):
        with pytest.raises(ValueError, match=message):
            units_of(made, group)
    half = replace(made, details=[{"site": "north"}, {}, {"site": "x"}, {"site": ""}])
    with pytest.raises(ValueError, match=r"clip 'clip1' \(and 1 more\) has no group: group by something else"):
        units_of(half, "site")
    assert units_of(half)[1] == "clips"
    with pytest.raises(ValueError, match="tones: 1 unit: of one recording"):
        Bootstrap(5, group="(x)").drawn(made)


def test_what_was_kept_before_sources_were(corpus, made, tmp_path):
    path = tmp_path / "old.safetensors"
    embed_frames(Ear(), corpus, path=path)
    kept = Kept.read(path)
    Kept(kept.arrays, {k: v for k, v in kept.facts.items() if k not in ("sources", "details")}).write(path)
    old = FrameEmbeddings.load(path)
    assert (old.sources, old.details) == ([], [])
    assert units_of(old) == (pytest.approx(np.arange(4)), "clips")
    assert units_of(old, r"clip(\d)")[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"--group source: tones was kept before sources were: run the same script on"):
        units_of(old, "source")
    with pytest.raises(ValueError, match="no such detail"):
        units_of(old, "site")
    ear = Ear()
    again = embed_frames(ear, corpus, path=path)
    assert ear.heard == 0  # the records alone are read
    assert again.details == made.details == FrameEmbeddings.load(path).details
    with pytest.raises(ValueError, match="frames of 4 recordings but sources of 3"):
        replace(made, sources=made.sources[:3])


def test_results_of_before_and_with_intervals(made, tmp_path):
    scores = Scores(noisy(made, 0))
    result = result_of(scores, SedMetrics(metrics=("auroc",)))
    path = result.write(tmp_path / "old")
    assert "intervals" not in json.loads(path.read_text())  # a reader of before reads it
    assert Result.read(path) == result
    sure = replace(result, intervals=intervals(scores, SedMetrics(metrics=("auroc",)), Bootstrap(30, 0.9, 4)))
    assert Result.read(sure.write(tmp_path / "new")) == sure
    line = "[low, high]: 90 % percentile bootstrap over 3 recordings, 30 resamples, seed 4"
    assert line in sure.summary()
    of = sure.intervals["of"]["auroc/macro"]
    assert f" [{of['low']:.4f}, {of['high']:.4f}]" in sure.summary()
    tables = result_tables([sure], intervals=True)
    assert f"{sure.metrics['auroc/macro']:.3f} [{of['low']:.3f}, {of['high']:.3f}]" in tables[0].rows[0]
    assert line in tables[0].notes
    assert " ± " in result_tables([sure])[0].rows[0][4]
    assert " ± " in result_tables([result], intervals=True)[0].rows[0][4]
    raw = json.loads((tmp_path / "new" / f"{sure.name}.json").read_text())
    for broken in ([], {"how": {}}, {"how": raw["intervals"]["how"], "of": {"auroc/macro": {"low": 0.1}}}):
        if broken == []:
            message = "'intervals' is not an object"
        else:
            message = "'intervals' does not say how"
        (tmp_path / "broken.json").write_text(json.dumps(raw | {"intervals": broken}))
        with pytest.raises(ValueError, match=message):
            Result.read(tmp_path / "broken.json")


def test_the_best_of_a_column_with_intervals(made):
    results = []
    for name, value in (("a", 0.41), ("b", 0.52)):
        one = result_of(Scores(made), SedMetrics(metrics=("auroc",)))
        of = {"auroc/macro": {"low": value - 0.02, "high": value + 0.02, "error": 0.01}}
        how = {"unit": "clips", "units": 4, "resamples": 9, "level": 0.95, "seed": 0, "method": "percentile bootstrap"}
        results.append(replace(one, metrics={"auroc/macro": value}, spread={}, model={"name": name, "sha256": "0"},
                               intervals={"how": how, "of": of}))  # fmt: skip
    (table,) = result_tables(results, intervals=True)
    assert table.pieces(1, 4) == [("0.520", True), (" [0.500, 0.540]", False)]
    assert table.pieces(0, 4) == [("0.410", False), (" [0.390, 0.430]", False)]
    assert len([note for note in table.notes if "[low, high]" in note]) == 1


def test_compare(made):
    clear, dull = noisy(made, 0, 0.2), noisy(made, 1, 1.5)
    how, found = compare(Scores(clear), Scores(dull), COMPARED, Bootstrap(50))
    assert not [name for name in found if name.startswith("PSDS")]
    one = found["auroc/micro"]
    assert one["difference"] == pytest.approx(one["a"] - one["b"])
    assert one["a better"] > 0.9
    assert one["low"] <= one["difference"] <= one["high"]
    back = compare(Scores(dull), Scores(clear), COMPARED, Bootstrap(50))[1]["auroc/micro"]
    assert back["a better"] == pytest.approx(1 - one["a better"])
    assert (back["low"], back["high"]) == pytest.approx((-one["high"], -one["low"]))
    same = compare(Scores(clear), Scores(clear), COMPARED, Bootstrap(50))[1]
    assert {(x["difference"], x["low"], x["high"], x["a better"]) for x in same.values()} == {(0.0, 0.0, 0.0, 0.5)}
    assert how["units"] == 3


def test_what_cannot_be_compared(made):
    fewer = copied(made, np.array([1, 1, 1, 0]), np.arange(4))
    words = made.words["trained"]
    dumb = replace(made, words={"trained": replace(words, classes=words.classes[:2])})
    moved = replace(made, events=[[(0.0, 1.1, "low")], *made.events[1:]])
    for other, message in (
        (fewer, "clips differ, 4 and 3: 'clip3' is not in both: evaluate both on the same shards"),
        (dumb, "classes differ, 3 and 2: 'silent' is not in both"),
        (moved, "truth differs: events of clip 'clip0'"),
        (replace(made, durations=[*made.durations[:3], 1.0]), "truth differs: durations of clip 'clip3'"),
    ):
        with pytest.raises(Differs, match=message):
            check_same(Scores(made), Scores(other))


def test_scripts(made, tmp_path):
    a, b = (noisy(made, n, 0.4 + n).save(tmp_path / f"{'ab'[n]}.safetensors") for n in (0, 1))
    few = ("--metrics", "auroc", "event_f1")
    done = script("eval/sed.py", a, *few, "--bootstrap", "40", "--group", "site", "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "[low, high]: 95 % percentile bootstrap over 2 groups by site, 40 resamples, seed 0" in done.stdout
    (path,) = (tmp_path / "results").glob("*.json")
    found = Result.read(path)
    assert sorted(found.intervals["of"]) == ["auroc/macro", "auroc/micro", "event_f1/macro", "event_f1/micro"]
    assert found.intervals["how"]["resamples"] == 40
    table = script("eval/table.py", tmp_path / "results", "--intervals", "--out", tmp_path / "table")
    assert table.returncode == 0, table.stderr
    low, high = found.interval("auroc/macro")
    assert f"{found.metrics['auroc/macro']:.3f} [{low:.3f}, {high:.3f}]" in (tmp_path / "table.md").read_text()
    plain = script("eval/table.py", tmp_path / "results")
    assert "[low" not in plain.stdout

    done = script("eval/compare.py", a, b, *few, "--bootstrap", "40", "--out", tmp_path / "new" / "ab.json")
    assert done.returncode == 0, done.stderr
    assert "between: 95 %, 40 resamples of 3 recordings, seed 0, trained phrasings" in done.stdout
    assert "auroc/macro" in done.stdout
    raw = json.loads((tmp_path / "new" / "ab.json").read_text())
    assert raw["how"]["units"] == 3
    assert raw["metrics"]["auroc/macro"]["difference"] > 0

    fewer = copied(made, np.array([1, 1, 1, 0]), np.arange(4)).save(tmp_path / "fewer.safetensors")
    result = str(tmp_path / "results")
    for arguments, message in (
        (("eval/sed.py", a, "--group", "site", "--out", result), "--group says how to bootstrap: give --bootstrap too"),
        (("eval/sed.py", a, "--bootstrap", "1", "--out", result), "bootstrap.resamples: 1 must be at least 2"),
        (
            ("eval/sed.py", a, "--bootstrap", "--level", "95", "--out", result),
            "bootstrap.level: 95 must be above 0 and below 1",
        ),
        (("eval/sed.py", a, *few, "--bootstrap", "9", "--group", "sight", "--out", result), "no such detail"),
        (("eval/sed.py", a, "--seed", "3", "--out", result), "--seed says how to bootstrap: give --bootstrap too"),
        (("eval/sed.py", a, "--bootstrap", "--seed", "-1", "--out", result), "bootstrap.seed: -1 must be at least 0"),
        (("eval/sed.py", a, "--metrics", "ap", "--bootstrap", "9", "--out", result), "of ap no resample is computed"),
        (
            ("eval/sed.py", a, *few, "--bootstrap", "9", "--bootstrap-psds", "--out", result),
            "psds is not among --metrics",
        ),
        (("eval/compare.py", a, b, "--metrics", "psds"), "of psds no resample is computed"),
        (("eval/compare.py", a, fewer), f"{a} and {fewer}: clips differ, 4 and 3: 'clip3' is not in both"),
        (("eval/compare.py", a, tmp_path / "c.safetensors"), "c.safetensors: not readable"),
    ):
        wrong = script(*arguments)
        assert wrong.returncode == 2, wrong.stderr
        assert message in wrong.stderr
        assert "Traceback" not in wrong.stderr
