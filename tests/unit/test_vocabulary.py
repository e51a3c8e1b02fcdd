from __future__ import annotations

import subprocess
import sys

import pytest

from flam_train.vocabulary import Concept, Vocabulary, phrase_id

TEXT = """
corpus: esc10
classes:
  dog_bark:
    concept: dog bark
    phrasings: [dog barking, a dog barks]
    held_out: [a dog is barking loudly]
  clock_tick: clock ticking
  sea_waves: [waves, the sea]
"""


def load(tmp_path, text):
    path = tmp_path / "v.yaml"
    path.write_text(text)
    return Vocabulary.load(path)


def test_a_file(tmp_path):
    vocabulary = load(tmp_path, TEXT)
    assert vocabulary.corpus == "esc10"
    assert list(vocabulary.classes) == ["dog_bark", "clock_tick", "sea_waves"]
    dog = Concept("dog bark", ("dog barking", "a dog barks"), ("a dog is barking loudly",))
    assert vocabulary.concept("dog_bark") == dog
    assert vocabulary.concept("clock_tick") == Concept("clock tick", ("clock ticking",))
    with pytest.raises(ValueError, match=r"class 'cat' is not in the vocabulary of 'esc10': add it .*dog_bark"):
        vocabulary.concept("cat")


def test_open_corpora():
    assert Vocabulary("x", {}).concept("a man speaks") == Concept("a man speaks", ("a man speaks",))
    assert Vocabulary.open("x", ["rain"]).concept("rain") == Concept("rain", ("rain",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {", "not YAML"),
        ("corpus: x", "needs `corpus: NAME` and `classes:`"),
        ("classes: {}", "at least one class"),
        ("classes: {dog: {phrasing: [a]}}", "class 'dog': unknown key 'phrasing'; known: concept"),
        ("classes: {dog: []}", "class 'dog' has no phrasing"),
        ("classes: {dog: ['']}", "none of them empty"),
        ("classes: {dog: [3]}", "must be a list of phrases"),
        ("classes: {dog: {phrasings: [A bark], held_out: [a bark]}}", "'a bark' is both trained and held out"),
    ],
)
def test_bad_files_name_file_class_and_fix(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"v\.yaml: .*{message}"):
        load(tmp_path, text)


def test_a_phrase_has_one_id_in_every_process():
    ids = [phrase_id(p) for p in ("dog bark", "rain", "犬")]
    assert len(set(ids)) == 3
    assert all(-(2**63) <= i < 2**63 for i in ids)
    code = "from flam_train.vocabulary import phrase_id; print([phrase_id(p) for p in ('dog bark', 'rain', '犬')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(ids)
    # blake2b, digest of 8 bytes, little endian, signed
    assert phrase_id("") == int.from_bytes(bytes.fromhex(EMPTY), "little", signed=True)


EMPTY = "e4a6a0577479b2b4"  # b2sum -l 64 < /dev/null


@pytest.mark.parametrize(("name", "classes"), [("fsd50k", 200), ("vggsound", 309), ("urbansound8k", 10)])
def test_vocabularies_are_whole_and_leak_nothing(name, classes):
    vocabulary = Vocabulary.load(name)
    assert (vocabulary.corpus, len(vocabulary.classes)) == (name, classes)
    phrasings = [p for c in vocabulary.classes.values() for p in c.phrasings]
    assert all(len(c.phrasings) >= 2 for c in vocabulary.classes.values())
    # For zero shot, two classes must not be said in the same words.
    assert len({p.casefold() for p in phrasings}) == len(phrasings)
    assert not [p for p in phrasings if "_" in p or p != p.strip()]
    others = [Vocabulary.load(other) for other in ("esc10", "esc50", "synthetic")]
    held_out = {p.casefold() for other in others for c in other.classes.values() for p in c.held_out}
    assert held_out.isdisjoint(p.casefold() for p in phrasings)


def test_vocabularies_are_in_their_corpus_order():
    fsd = list(Vocabulary.load("fsd50k").classes)
    assert fsd == sorted(fsd)
    assert (fsd[53], fsd[69]) == ("Crushing", "Electric_guitar")  # as in vocabulary.csv
    assert list(Vocabulary.load("vggsound").classes)[:3] == [
        "ambulance siren",
        "basketball bounce",
        "bird chirping, tweeting",
    ]
    assert list(Vocabulary.load("urbansound8k").classes)[3] == "dog_bark"
