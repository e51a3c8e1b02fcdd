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
