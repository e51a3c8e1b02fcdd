"""Phrases that a tokenizer makes the same of."""

from __future__ import annotations

import pytest

from flam_train.models.same_tokens import same_tokens, told, unknown
from flam_train.models.text import ByteBackend, Tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "cat", "a", "##s", "bark"]


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory) -> Tokenizer:
    """As MiniLM's: it ignores case, and has one token for all that it does not know."""
    from transformers import BertTokenizerFast

    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(WORDS))
    return Tokenizer(BertTokenizerFast(str(path)), 8)


def each(*labels: str) -> dict[str, list[str]]:
    return {label: [label] for label in labels}


def test_what_becomes_the_same(wordpiece):
    long = " ".join(["a"] * 8)
    said = each("dog", "Dog", "dogs", "🐕", "ⵣⵣ", f"{long} dog", f"{long} cat", "cat", "a cat")
    assert same_tokens(said, wordpiece) == [("Dog", "dog"), (f"{long} cat", f"{long} dog"), ("ⵣⵣ", "🐕")]
    assert unknown(said, wordpiece) == ["ⵣⵣ", "🐕"]
    alike, strange = told(said, wordpiece)
    assert alike.startswith("labels that become the same tokens, so that no score tells them apart: 'Dog' and 'dog'; ")
    assert strange.startswith("labels that the tokenizer knows nothing of: 'ⵣⵣ', '🐕': write words of a language")


def test_phrasings_of_one_concept_may_be_the_same(wordpiece):
    assert same_tokens({"hound": ["dog", "Dog"], "cat": ["cat"]}, wordpiece) == []
    assert same_tokens({"hound": ["a dog"], "seal": ["a dog", "cat"]}, wordpiece) == [("a dog",)]
    assert told(each("dog", "cat"), wordpiece) == []
    assert told({}, wordpiece) == []


def test_bytes_differ_but_behind_the_cut():
    bytes_ = Tokenizer(ByteBackend(), 10)
    said = each("0123456789a", "0123456789b", "🐕", "🐈")
    assert same_tokens(said, bytes_) == [("0123456789a", "0123456789b")]
    assert unknown(said, bytes_) == []


def test_many_are_counted_and_long_ones_shortened():
    said = each(*(f"{n:02d}" + "x" * 70 + ending for n in range(7) for ending in ("yes", "no")))
    (line,) = told(said, Tokenizer(ByteBackend(), 70))
    assert line.count(" and '") == 5
    assert "(and 2 more)" in line
    assert f"'00{'x' * 28} ... {'x' * 22}yes'" in line
