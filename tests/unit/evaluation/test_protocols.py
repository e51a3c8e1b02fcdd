"""Protocols: the files in conf/eval, and every one of them run over tiny shards in its place."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch.multiprocessing as mp
import yaml
from checkout import ROOT
from tone_corpus import CLASSES, CLIPS, Ear, vocabulary_file, write_tones

from flam_train.data.shards.corpus import Corpus
from flam_train.evaluation import parts
from flam_train.evaluation.choices import protocols
from flam_train.evaluation.protocol import Protocol, is_there, recompute, run, tables
from flam_train.evaluation.result import Result, read_results

PUBLISHED = {
    "audioset_strong": 16_996, "desed": 692, "urbansed": 2_000, "audiocaps": 975, "clotho": 1_045, "asfx": 10_129,
    "esc50": 2_000, "urbansound8k": 8_732, "vggsound": 15_446, "maestro": None, "asfx_sed": None, "simulated": None,
}  # fmt: skip
FIVE = [tuple(f"{words} {n}" for n in range(5)) for words in ("low high", "high", "low", "nothing")]


def test_every_protocol_is_there_and_states_what_is_published():
    assert {name: Protocol.load(name).clips for name in protocols()} == PUBLISHED
    kinds = {name: Protocol.load(name).kind for name in protocols()}
    assert [n for n, kind in kinds.items() if kind == "retrieval"] == ["asfx", "audiocaps", "clotho"]
    assert [n for n, kind in kinds.items() if kind == "zero_shot"] == ["esc50", "urbansound8k", "vggsound"]
    assert Protocol.load("clotho").captions == "sets"
    assert len(Protocol.load("maestro").classes) == 11


def tiny(name: str, shards: Path) -> Protocol:
    """The protocol as it is, but for the words of the tones: its shards are written where it looks for them."""
    protocol = Protocol.load(name)
    soft = [{"class": label, "soft": [[e.onset, e.offset, e.label, 0.9] for e in found]} for label, (_, found) in
            zip(CLASSES, CLIPS, strict=True)]  # fmt: skip
    folds = {"split": ["fold1", "fold2", "fold1", "fold2"]} if protocol.kind == "zero_shot" else {}
    name = protocol.corpus or "any"
    more = {"phrases": protocol.open, "details": soft, **folds}
    corpus = write_tones(shards / protocol.shards, FIVE, events=protocol.kind == "sed", name=name, **more)
    if protocol.kind == "zero_shot":
        protocol = replace(protocol, vocabulary=vocabulary_file(corpus.folder))
    return replace(protocol, classes=("low", "high") if protocol.classes else None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_protocol_from_shards_to_a_result(name, tmp_path):
    protocol = tiny(name, tmp_path / "shards")
    assert is_there(protocol, tmp_path / "shards")
    (result,) = run(protocol, Ear(), tmp_path / "shards", tmp_path / "out", batch_size=2)
    assert result.dataset == name
    assert result.clips_evaluated == result.parameters["clips in the shards"] == 4
    assert result.clips_expected == (PUBLISHED[name] or 4)
    assert result.parameters["set"] == protocol.title
    assert "windows" in result.parameters
    main = {"sed": "auroc/macro", "retrieval": "text_to_audio/R@1", "zero_shot": "accuracy"}[protocol.kind]
    assert 0.5 <= result.metrics[main] <= 1
    if name == "clotho":
        assert result.parameters["caption sets"] == 5
    if name == "maestro":
        assert result.metrics["MPAUC"] == 1.0
        assert not any(metric.startswith("PSDS") for metric in result.metrics)
    # The numbers again, without model or audio.
    for tar in (tmp_path / "shards").rglob("*.tar"):
        tar.unlink()
    (again,) = recompute(protocol, tmp_path / "out")
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert again.parameters == result.parameters
    assert Result.read(result.write(tmp_path / "out")).metrics == pytest.approx(result.metrics, nan_ok=True)
    assert [r.dataset for _, r in read_results([tmp_path / "out"])] == [name]


def test_tables_of_classes_where_a_protocol_asks_for_them(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "{kind: sed, title: mine, shards: mine, phrasings: [trained, held_out], "
        "scoring: {metrics: [tagging, class_thresholds, cross_triggers], tagging_pool: mean, dtc: 0.1, cttc: 0.5}}"
    )
    protocol = Protocol.load(str(tmp_path / "mine.yaml"))
    write_tones(tmp_path / "shards" / "mine", FIVE, name="any")
    results = run(protocol, Ear(), tmp_path / "shards", tmp_path / "out", batch_size=2)
    assert results[0].metrics["tagging/mAP"] == 1.0
    assert results[0].parameters["cross triggers"].endswith("(cttc 0.5)")
    assert sorted(path.name for path in tables(protocol, tmp_path / "out")) == [
        f"mine-{phrasings}-{kind}.csv"
        for phrasings in ("held_out", "trained")
        for kind in ("classes", "cross-triggers")
    ]
    assert tables(replace(protocol, scoring=None), tmp_path / "out") == []


def test_scores_of_other_words_are_not_measured_as_these(tmp_path):
    for name, change in (
        ("esc50", {"templates": ("{}",)}),
        ("desed", {"classes": ("low",)}),
        ("clotho", {"windows": "mean"}),
    ):
        protocol = tiny(name, tmp_path / "shards")
        run(protocol, Ear(), tmp_path / "shards", tmp_path / "out")
        recompute(protocol, tmp_path / "out")
        with pytest.raises(ValueError, match=f"made with other words, classes or windows than protocol {name}"):
            recompute(replace(protocol, **change), tmp_path / "out")


def test_an_edited_vocabulary_is_another_one(tmp_path):
    protocol = replace(tiny("desed", tmp_path / "shards"), vocabulary=vocabulary_file(tmp_path / "words"))
    ear = Ear()
    run(protocol, ear, tmp_path / "shards", tmp_path / "out")
    recompute(protocol, tmp_path / "out")
    file = Path(protocol.vocabulary)
    file.write_text(file.read_text().replace("[a low tone, humming]", "[a shrill sound, humming]"))
    with pytest.raises(ValueError, match="made with other words, classes or windows than protocol desed"):
        recompute(protocol, tmp_path / "out")
    heard = ear.heard
    (result,) = run(protocol, ear, tmp_path / "shards", tmp_path / "out")
    assert ear.heard == heard  # the same classes
    assert result.parameters["phrases"][0]["low"] == "a shrill sound"
    assert result.metrics["auroc/macro"] < 0.9


def test_other_templates_need_no_second_hearing(tmp_path):
    protocol, ear = tiny("esc50", tmp_path / "shards"), Ear()
    (first,) = run(protocol, ear, tmp_path / "shards", tmp_path / "out")
    heard = ear.heard
    # Only the second template names what is heard: each counts.
    other = replace(protocol, templates=("nothing but {}", "{}"))
    (again,) = run(other, ear, tmp_path / "shards", tmp_path / "out")
    assert ear.heard == heard
    assert again.parameters["phrases"] != first.parameters["phrases"]
    fresh = run(other, Ear(), tmp_path / "shards", tmp_path / "fresh")[0]
    assert again.metrics == fresh.metrics


def test_shards_at_a_url(tmp_path):
    protocol = tiny("clotho", tmp_path / "shards")
    url = f"file://{tmp_path}/shards"
    assert is_there(protocol, url)
    assert not is_there(protocol, f"file://{tmp_path}/elsewhere")
    (here,) = run(protocol, Ear(), tmp_path / "shards", tmp_path / "here")
    (there,) = run(protocol, Ear(), url, tmp_path / "there")
    assert here.metrics == there.metrics
    with pytest.raises(ValueError, match=r"elsewhere/clotho/evaluation: no shards there: prepare Clotho"):
        run(protocol, Ear(), f"file://{tmp_path}/elsewhere", tmp_path / "out")


def test_two_kinds_of_phrasings(tmp_path):
    protocol = replace(tiny("desed", tmp_path / "shards"), phrasings=("trained", "held_out"))
    ear = Ear()
    results = run(protocol, ear, tmp_path / "shards", tmp_path / "out")
    assert [r.protocol for r in results] == ["sed/trained", "sed/held_out"]
    assert [p.name for p in (tmp_path / "out/scores").iterdir()] == ["desed.safetensors"]
    assert ear.heard == 6  # once for both


def _on_a_rank(number: int, world: int, folder: str) -> None:
    import torch.distributed as dist

    meeting = Path(folder) / f"meeting{world}"
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=number, world_size=world)
    parts.PART_CLIPS = 1
    for name in ("urbansed", "clotho"):
        protocol = replace(Protocol.load(name), shards=f"{name}-{world}", corpus=None)
        results = run(protocol, Ear(), Path(folder), Path(folder) / f"out{world}")
        # Once more, from what is there: the others still have nothing.
        again = run(protocol, Ear(), Path(folder), Path(folder) / f"out{world}")
        assert len(results) == len(again) == (number == 0)
        for result in results:
            result.write(Path(folder) / f"out{world}")
    dist.destroy_process_group()


def test_several_ranks_give_the_same_numbers(tmp_path):
    """Three ranks and four clips: unequal shares; each clip once."""
    found = {}
    for world in (1, 3):
        for name in ("urbansed", "clotho"):
            write_tones(tmp_path / f"{name}-{world}", FIVE, events=name == "urbansed")
        mp.start_processes(_on_a_rank, (world, str(tmp_path)), world, start_method="forkserver")
        found[world] = {r.dataset: r for _, r in read_results([tmp_path / f"out{world}"])}
    for name in ("urbansed", "clotho"):
        one, three = found[1][name], found[3][name]
        assert three.metrics == pytest.approx(one.metrics, nan_ok=True, abs=0)
        assert three.clips_evaluated == 4


def test_more_clips_than_the_published_set(tmp_path):
    protocol = replace(tiny("desed", tmp_path), clips=3)
    with pytest.raises(ValueError, match=r"4 clips, but DESED, public evaluation has 3: another split\?"):
        run(protocol, Ear(), tmp_path, tmp_path / "out")
    other = replace(protocol, clips=None, corpus="desed-validation")
    with pytest.raises(ValueError, match=r"holds corpus 'desed-public', but protocol desed is of 'desed-validation'"):
        run(other, Ear(), tmp_path, tmp_path / "out")
    write_tones(tmp_path / "simulated/test")
    with pytest.raises(ValueError, match="labelled with the classes of 'tones', but protocol simulated is of open"):
        run(Protocol.load("simulated"), Ear(), tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"urbansed/test: no shards there: prepare URBAN-SED, test"):
        run(Protocol.load("urbansed"), Ear(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "tagging"}, "kind: 'tagging' is not known"),
        ({"captions": "one"}, "captions: 'one' is not known"),
        ({"windows": "last"}, "windows: 'last' is not known"),
        ({"clips": 0}, "clips 0: how many"),
        ({"phrasings": ["all"]}, "phrasings: 'all' is not known"),
        ({"scoring": {"medain_frames": 3}}, "unknown key 'medain_frames': did you mean median_frames"),
        ({"scoring": {"psds": {"mine": {"dtc": 2, "gtc": 0.1, "cttc": None, "alpha_ct": 0, "alpha_st": 1}}}}, "dtc 2"),
        ({"titel": "x"}, "unknown key 'titel': did you mean title"),
        ({"title": None, "shards": None}, "missing|None"),
    ],
)  # fmt: skip
def test_mistakes_in_a_protocol(change, message, tmp_path):
    raw = {"kind": "sed", "title": "a set", "shards": "a/b"} | change
    raw = {key: value for key, value in raw.items() if value is not None}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ValueError, match=message):
        Protocol.load(str(tmp_path / "mine.yaml"))


def test_files_that_are_no_protocols(tmp_path):
    (tmp_path / "a.yaml").write_text("- one\n")
    with pytest.raises(ValueError, match="needs one `key: value` a line"):
        Protocol.load(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_text("kind: [\n")
    with pytest.raises(ValueError, match="not YAML"):
        Protocol.load(str(tmp_path / "a.yaml"))
    with pytest.raises(ValueError, match=r"no eval named 'desd'"):
        Protocol.load("desd")
    zero = Protocol("mine", "zero_shot", "a", "a set")
    write_tones(tmp_path / "a")
    with pytest.raises(ValueError, match="needs a vocabulary"):
        run(zero, Ear(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("script", "fixture", "arguments"),
    [
        ("desed", "desed_folder", ["--split", "public"]),
        ("urbansed", "urbansed_folder", ["--split", "test"]),
        ("maestro", "maestro_folder", []),
        ("audioset_strong", "audioset", ["--split", "eval", "--subset"]),
    ],
)
def test_scripts_write_what_their_protocols_look_for(script, fixture, arguments, tmp_path):
    import strong_labels

    folder = getattr(strong_labels, fixture)(tmp_path / "published")
    out = tmp_path / "shards" / script
    importlib.import_module(script).main([str(folder), str(out), *arguments, "--processes", "1", "--quiet"])
    protocol = Protocol.load(script)
    assert is_there(protocol, tmp_path / "shards")
    assert Corpus(tmp_path / "shards" / protocol.shards).name == protocol.corpus


def test_the_words_of_every_file_are_what_it_says():
    """Comments name the script that writes the shards, where the protocol looks for them."""
    for name in protocols():
        text = (ROOT / "conf/eval" / f"{name}.yaml").read_text()
        script = re.search(r"data_prep/(\w+)\.py", text)
        assert script
        assert (ROOT / "data_prep" / f"{script[1]}.py").is_file()
        assert f"SHARDS/{Protocol.load(name).shards.split('/')[0]}" in text
