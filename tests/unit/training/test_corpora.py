"""Which shards a run reads and validates on, by what name they are told, and what may be monitored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from http_folder import serve
from recording_files import tone
from shard_samples import corpus, sample
from tiny_runs import TINY

from flam_train.cli.train import compose_conf
from flam_train.data.preparation.listing import Listing, Options, prepare
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event
from flam_train.training.configuration import read_data
from flam_train.training.corpora import CorpusConfig
from flam_train.training.description import describe
from flam_train.training.launch.node import places
from flam_train.training.run import build

DOG = [(0.0, 0.05, "dog")]


def labelled(key: str):
    return sample(key, events=DOG)


@pytest.fixture
def above(tmp_path) -> Path:
    """train/, validation/ and test/ of 5, 2 and 1 clips, the manifest of each with the name of its folder."""
    for split, sizes in (("train", (3, 2)), ("validation", (2,)), ("test", (1,))):
        corpus(tmp_path / "mine" / split, sizes, name=split, make=labelled)
    return tmp_path / "mine"


def conf(*overrides: str) -> dict:
    return compose_conf([*TINY, "data/global=[]", "global_batch=0", "frame_batch=2", "data/frame=[custom]", *overrides])


def test_train_and_validation_are_found_below_a_folder(above):
    given = conf(f"data.frame.custom.path={above}")
    run = build(given)
    said = describe(run)
    assert f"2 clips a step from custom (5 clips of {above}/train)" in said
    assert f"  val    custom (2 clips of {above}/validation)" in said
    assert [*places(read_data(given))] == [f"{above}/train", f"{above}/validation"]
    assert build(conf(f"data.frame.custom.path={above}", "trainer.monitor=val/custom/event_f1")).data.validation


def test_a_warm_up_that_the_run_does_not_end_is_told(above):
    told = {
        steps: describe(build(conf(f"data.frame.custom.path={above}", f"steps={steps}", "optim.warmup_steps=100")))
        for steps in (4, 99, 100)
    }
    assert "warning: optim.warmup_steps=100 of 4 steps: lr rises until the end, to 4% of it" in told[4]
    assert "lr rises until the end, to 99% of it" in told[99]
    assert "warmup" not in told[100]


def test_what_is_given_is_what_is_taken(above):
    entry = CorpusConfig(path=f"{above}/train")
    assert entry.with_splits() == entry  # a folder of shards: nothing beside it is taken
    assert "val    none: no corpus" in describe(build(conf(f"data.frame.custom.path={above}/train")))
    given = CorpusConfig(path=str(above), validation=f"{above}/test", weight=2.0).with_splits()
    assert given == CorpusConfig(path=f"{above}/train", validation=f"{above}/test", weight=2.0)
    shutil.rmtree(above / "validation")
    assert CorpusConfig(path=f"{above}/").with_splits() == CorpusConfig(path=f"{above}/train")
    mixed = CorpusConfig(bank=(str(above),), path=str(above))
    assert mixed.with_splits() == mixed


def test_behind_a_url_too(above):
    with serve(above) as server:
        found = CorpusConfig(path=server.url).with_splits()
        assert found == CorpusConfig(path=f"{server.url}/train", validation=f"{server.url}/validation")
        with pytest.raises(ValueError, match=f"{server.url} has no manifest.json; it has test/, train/, validation/"):
            Corpus(server.url)


def test_a_folder_above_shards_is_told_what_lies_in_it(above):
    hint = rf"{above} has no manifest\.json; it has test/, train/, validation/: name one of them, like {above}/test"
    with pytest.raises(ValueError, match=hint):
        Corpus(above)
    shutil.rmtree(above / "train")
    with pytest.raises(ValueError, match=r"it has test/, validation/: name one of them"):
        build(conf(f"data.frame.custom.path={above}"))
    with pytest.raises(ValueError, match="nowhere: is not there: mend the path, or prepare the corpus first"):
        Corpus(above.parent / "nowhere")


def test_corpora_are_told_apart_by_their_configured_names(above, tmp_path):
    """The manifests of both say `train`, as data_prep/simulate.py calls what it writes to a folder of that name."""
    other = tmp_path / "other" / "train"
    corpus(other, (4,), name="train", make=labelled)
    both = ["data/frame=[custom,synthetic]", f"data.frame.custom.path={above}", f"data.frame.synthetic.path={other}"]
    run = build(conf(*both, "data.frame.synthetic.validation=null"))
    assert [source.name for source in run.data.events.sources] == ["custom", "synthetic"]
    assert "from custom (5 clips of" in describe(run)
    assert "synthetic (4 clips of" in describe(run)
    for tar in other.glob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    clips, _ = run.data.events.clips(0, 2)
    assert {clip.error.split(":")[0] for clip in clips if clip.error} == {"synthetic"}


def test_what_a_validation_corpus_does_not_have_cannot_be_monitored(above):
    """Captions alone; and labels that are not complete, of which the log says what is scored."""
    path = f"data.frame.custom.path={above}"
    shutil.rmtree(above / "validation")
    corpus(above / "validation", (1,), name="validation")
    with pytest.raises(ValueError, match=r"monitor=val/custom/auroc_macro: is not computed, .* have no events"):
        build(conf(path, "trainer.monitor=val/custom/auroc_macro"))
    assert build(conf(path, "trainer.monitor=val/custom/text_to_audio_R@1")).config.trainer.monitor
    shutil.rmtree(above / "validation")
    corpus(
        above / "validation", (2,), name="validation", make=lambda key: sample(key, 2.0, events=[(0.0, 0.9, "a bird")])
    )
    run = build(conf(path, "trainer.monitor=val/custom/auroc_macro"))
    assert "custom: labels are not complete: each of 1 is scored in the clips that list it" in describe(run)


def test_a_run_knows_whose_recordings_it_learns_from(tmp_path):
    recordings = [
        Recording(f"r{n}", tone(tmp_path / f"{n}.wav", 0.2), f"row {n}", events=(Event(0, 0.1, "dog"),), licence="CC0",
                  details={"author": author})
        for n, author in enumerate(("Ann", "Bob", "Ann"))
    ]  # fmt: skip
    made = prepare(Listing("mine-train", recordings, "events"), tmp_path / "mine", Options(processes=1, show=False))
    found = build(conf(f"data.frame.custom.path={made}")).data.provenance()
    whole = {"name": "mine-train", "sha256": Corpus(made).provenance()["sha256"], "samples": 3, "seconds": 0.6}
    credits = {"licences": {"CC0": 3}, "authors": {"Ann": 2, "Bob": 1}}
    (corpus,) = found["frame"]["custom"]
    assert found.keys() == {"frame"}
    assert corpus | {"seconds": round(corpus["seconds"], 6)} == whole | credits
