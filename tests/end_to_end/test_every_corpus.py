"""`experiment=openflam` on shards of every public corpus at once, and which corpus annotates what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_runs import TINY

from flam_train.batch import SAMPLE_RATE
from flam_train.cli.train import compose_conf
from flam_train.data.schema import Event, Record
from flam_train.data.shards import write_manifest, write_shard
from flam_train.training.run import build, train
from flam_train.vocabulary import Vocabulary, phrase_id

CAPTIONED = {
    "audiocaps/train", "audiocaps/val", "clotho/development", "clotho/validation", "freesound/train",
    "audioset_acd/train", "wavcaps/AudioSet_SL", "wavcaps/BBC_Sound_Effects", "wavcaps/FreeSound", "wavcaps/SoundBible",
}  # fmt: skip
STRONG = {
    "audioset_strong/train": ["Bark", "Speech", "Siren", "Dishes, pots, and pans"],
    "audioset_strong/eval": ["Bark", "Speech"],
    "urbansed/train": ["dog_bark", "siren", "jackhammer"],
    "urbansed/validate": ["dog_bark", "siren"],
    "desed/real": ["Dog", "Speech", "Dishes"],
    "desed/synthetic": ["Dog", "Blender"],
    "desed/validation": ["Dog", "Speech"],
    "maestro/real": ["car", "footsteps"],
    "simulated/train": ["a dog barks in a hall", "rain on a tin roof"],
}
OPEN = "simulated/train"
"""Its classes are phrases: it has no vocabulary, and annotates what is in its clips."""


def write(folder: Path, labels: list[str] | None) -> None:
    rng = np.random.default_rng(len(str(folder)))
    name = "-".join(folder.parts[-2:])
    samples = []
    for n in range(6):
        waveform = (500 * rng.normal(size=10 * SAMPLE_RATE)).astype(np.int16)
        events = (Event(1.0, 4.0, labels[n % len(labels)]),) if labels else ()
        captions = () if labels else (f"something of {name} number {n}",)
        samples.append((Record(f"{name}-{n}", 10.0, captions, events), waveform))
    vocabulary = None if labels is None or name == OPEN.replace("/", "-") else folder.parent.name
    annotates = [c.id for c in Vocabulary.load(vocabulary).classes.values()] if vocabulary else []
    entries = [write_shard(folder / "shard-000000.tar", samples, "wav")]
    write_manifest(folder, name, entries, vocabulary=vocabulary, annotates=annotates)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for name in CAPTIONED:
        write(folder / name, None)
    for name, labels in STRONG.items():
        write(folder / name, labels)
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
    assert used == CAPTIONED | set(STRONG)


@pytest.mark.parametrize("rule", ["negative", "mask"])
def test_a_step_of_every_corpus_at_once(rule, shards, tmp_path):
    export = train(compose_conf(overrides(shards, tmp_path / "run", f"loss.unannotated={rule}")))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["loss"]["unannotated"] == rule
    assert (export / "config.json").is_file()


def test_which_corpus_annotates_which_concept_is_what_the_vocabularies_say(shards, tmp_path):
    run = build(compose_conf(overrides(shards, tmp_path / "run", "steps=30")))
    stream = run.data.events
    assert stream is not None
    concepts = {phrase_id(c.id): c.id for source in stream.sources for c in source.vocabulary.classes.values()}
    concepts |= {phrase_id(phrase): phrase for phrase in STRONG[OPEN]}
    bit = next(k for k, source in enumerate(stream.sources) if not source.vocabulary.classes)
    seen = set()
    for step in range(30):
        events = run.data.steps_of(0, 1)[step].events
        for identity, bits in zip(events.phrase_ids_C.tolist(), events.annotated_in_C.tolist(), strict=True):
            concept = concepts[identity]
            if concept in STRONG[OPEN]:
                assert bits == 1 << bit
                seen.add(concept)
                continue
            says = {k for k, source in enumerate(stream.sources) if concept in source.annotates}
            own = {
                k
                for k, source in enumerate(stream.sources)
                if source.vocabulary.classes
                and concept in {c.id for c in Vocabulary.load(source.corpus.manifest["vocabulary"]).classes.values()}
            }
            assert {k for k in range(63) if bits >> k & 1} == says == own
            seen.add(frozenset(own))
    # "dog barking" is AudioSet's and URBAN-SED's, but not DESED's, whose dogs do more than bark.
    assert any(isinstance(own, frozenset) and len(own) > 1 for own in seen)
    assert set(STRONG[OPEN]) <= seen
