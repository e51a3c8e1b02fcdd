"""`experiment=openflam` on shards of every public corpus at once, and which corpus annotates what."""

from __future__ import annotations

from pathlib import Path

import audiocaps
import audioset_acd
import audioset_strong
import clotho
import desed
import freesound
import maestro
import numpy as np
import pytest
import urbansed
import wavcaps
import yaml
from caption_labels import HEADER, IDS, clotho_folder, laion, prepared, sound, table, tar, wavcaps_folder
from strong_labels import audioset, desed_folder, maestro_folder, urbansed_folder
from tiny_runs import TINY

from flam_train.batch import SAMPLE_RATE
from flam_train.cli.train import compose_conf
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.training.run import build, train
from flam_train.vocabulary import Vocabulary, phrase_id

CAPTIONED = {
    "audiocaps/train", "audiocaps/val", "clotho/development", "clotho/validation", "freesound/train",
    "audioset_acd/train", "wavcaps/AudioSet_SL", "wavcaps/BBC_Sound_Effects", "wavcaps/FreeSound", "wavcaps/SoundBible",
}  # fmt: skip
HOME = "Alarm_bell_ringing Blender Cat Dishes Dog Electric_shaver_toothbrush Frying Running_water Speech Vacuum_cleaner"
STREET = "air_conditioner car_horn children_playing dog_bark drilling engine_idling gun_shot jackhammer siren"
ANNOTATED = {  # the classes of each corpus as published; of AudioSet those of the tests' small copy
    "audioset_strong/train": ["Cheering", "Bark", "Power saw, circular saw, table saw"],
    "audioset_strong/eval": ["Wind noise (microphone)"],
    "urbansed/train": [*STREET.split(), "street_music"],
    "urbansed/validate": [*STREET.split(), "street_music"],
    "desed/real": HOME.split(),
    "desed/synthetic": HOME.split(),
    "desed/validation": HOME.split(),
    "maestro/real": [
        "birds_singing", "car", "people talking", "footsteps", "children voices", "wind_blowing", "brakes_squeaking",
        "large_vehicle", "cutlery and dishes", "metro approaching", "metro leaving", "furniture dragging",
        "coffee machine", "door opens/closes", "announcement", "shopping cart", "cash register beeping",
    ],
}  # fmt: skip
OPEN = "simulated/train"
"""Its classes are phrases: it has no vocabulary, and annotates what is in its clips."""

PHRASES = ["a dog barks in a hall", "rain on a tin roof"]


def captioned(made: Path, shards: Path) -> None:
    """The captioned corpora as published, small, through their scripts."""
    rows = [(n, video, 30, f"Caption {n} of a sound") for n, video in enumerate(IDS)]
    table(made / "audiocaps/dataset/train.csv", [HEADER, *rows])
    five = [(10 * k + n, video, 30, f"Caption {k} of {video}") for k in range(5) for n, video in enumerate(IDS)]
    table(made / "audiocaps/dataset/val.csv", [HEADER, *five])
    for video in IDS:
        sound(made / "audiocaps/train" / f"{video}_30.wav")
        sound(made / "audiocaps/val" / f"{video}_30.wav")
    prepared(audiocaps, made / "audiocaps", shards / "audiocaps", "--split", "train", "val")
    for split in ("development", "validation"):
        clotho_folder(made / "clotho", [f"{split} {n}.wav" for n in range(4)], [], split)
        for n in range(4):
            sound(made / "clotho" / split / f"{split} {n}.wav", 0.5)
    prepared(clotho, made / "clotho", shards / "clotho", "--split", "development", "validation")
    tar(made / "freesound/train_1/0.tar", [(str(n), laion(n + 1, [f"rain number {n}"])) for n in range(4)])
    prepared(freesound, made / "freesound", shards / "freesound")
    table(made / "acd/train.csv", [("youtube_id", "caption"), *((f"Y{video}", "A bell rings.") for video in IDS)])
    for video in IDS:
        sound(made / "acd" / f"Y{video}.flac")
    prepared(audioset_acd, made / "acd", shards / "audioset_acd", "--split", "train")
    prepared(wavcaps, wavcaps_folder(made / "wavcaps"), shards / "wavcaps")


def strong(made: Path, shards: Path) -> None:
    prepared(audioset_strong, audioset(made / "as"), shards / "audioset_strong", "--subset", "--max-missing", 0.2)
    prepared(urbansed, urbansed_folder(made / "urbansed"), shards / "urbansed", "--split", "train", "validate")
    prepared(desed, desed_folder(made / "desed"), shards / "desed", "--split", "real", "synthetic", "validation")
    prepared(maestro, maestro_folder(made / "maestro"), shards / "maestro")


def simulated(folder: Path) -> None:
    """As simulate.py writes mixtures of phrases (tests of data_prep run it)."""
    rng = np.random.default_rng(0)
    samples = []
    for n in range(6):
        waveform = (500 * rng.normal(size=10 * SAMPLE_RATE)).astype(np.int16)
        samples.append((Record(f"mixture-{n}", 10.0, (), (Event(1.0, 4.0, PHRASES[n % 2]),)), waveform))
    entries = [write_shard(folder / "shard-000000.tar", samples, "wav")]
    write_manifest(folder, "simulated-train", entries, vocabulary=None, annotates=[])


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Everything that the public corpora's own scripts make, where README says they write it."""
    made, folder = tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("shards")
    captioned(made, folder)
    strong(made, folder)
    simulated(folder / OPEN)
    return folder


def overrides(shards: Path, folder: Path, *more: str) -> list[str]:
    small = ["steps=1", "trainer.validate_every=1", "global_batch=16", "frame_batch=24"]
    return ["experiment=openflam", *TINY, *small, f"shards={shards}", f"run_dir={folder}", *more]


def test_the_scripts_write_where_the_configuration_looks(shards):
    conf = compose_conf(["experiment=openflam", f"shards={shards}"])
    used = {
        str(Path(entry[key]).relative_to(shards))
        for kind in ("global", "frame")
        for entry in conf["data"][kind].values()
        for key in ("path", "validation")
        if entry[key]
    }
    assert used == CAPTIONED | set(ANNOTATED) | {OPEN}
    assert all((shards / name / "manifest.json").is_file() for name in used)


@pytest.mark.parametrize("rule", ["negative", "mask"])
def test_a_step_of_every_corpus_at_once(rule, shards, tmp_path):
    export = train(compose_conf(overrides(shards, tmp_path / "run", f"loss.unannotated={rule}")))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["loss"]["unannotated"] == rule
    assert (export / "config.json").is_file()


def test_which_corpus_annotates_which_concept_is_what_the_vocabularies_say(shards, tmp_path):
    run = build(compose_conf(overrides(shards, tmp_path / "run", "steps=30")))
    stream = run.data.events
    assert stream is not None
    names = [str(source.corpus.folder.relative_to(shards)) for source in stream.sources]
    assert set(names) == {
        name for name in ANNOTATED if name.split("/")[1] not in ("eval", "validate", "validation")
    } | {OPEN}
    annotated = {OPEN: set(PHRASES)}  # by corpus, from what is published and the vocabulary files alone
    for name, classes in ANNOTATED.items():
        vocabulary = Vocabulary.load(name.split("/")[0])
        annotated[name] = {vocabulary.concept(label).id for label in classes}
    concepts = {phrase_id(concept): concept for found in annotated.values() for concept in found}
    seen: dict[str, set[str]] = {}
    for step in range(30):
        events = run.data.steps_of(0, 1)[step].events
        for identity, bits in zip(events.phrase_ids_C.tolist(), events.annotated_in_C.tolist(), strict=True):
            concept = concepts[identity]
            says = {name for k, name in enumerate(names) if bits >> k & 1}
            assert says == {name for name in names if concept in annotated[name]}
            seen[concept] = says
    # "dog barking" is AudioSet's and URBAN-SED's, but not DESED's, whose dogs do more than bark.
    assert seen["dog barking"] == {"audioset_strong/train", "urbansed/train"}
    assert set(PHRASES) <= set(seen)
