"""Phrases are those that were given; what cannot be one is told by its place."""

from __future__ import annotations

import pytest

from flam_train.detection.phrases import cut_phrases, phrases_of
from flam_train.models.text import ByteBackend, Tokenizer


def test_words_then_a_file_and_each_once(tmp_path):
    file = tmp_path / "phrases.txt"
    file.write_bytes('\ufeffrain\r\n\r\n# of birds\r\n  a dog barking \r\n=HYPERLINK("x")\n🐶 犬が吠える'.encode())
    assert phrases_of([" a siren", "rain", "a siren"], file) == [
        "a siren", "rain", "a dog barking", '=HYPERLINK("x")', "🐶 犬が吠える",
    ]  # fmt: skip
    assert phrases_of([], str(file))[0] == "rain"


def test_one_phrase_is_no_list_of_letters():
    assert phrases_of("siren") == ["siren"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no phrase: give --phrases or --phrases-file"),
        (["a dog", ""], "phrase 2 is empty: write one, or remove it"),
        ([" \t"], "phrase 1 is empty"),
        (["a\tdog"], r"phrase 1 'a\\tdog' has a tab inside: write a space, or two phrases"),
        (["a\ndog"], r"phrase 1 'a\\ndog' has a newline inside"),
        (["a\0dog"], r"phrase 1 'a\\x00dog' has a control character inside"),
        (["a\u2028dog"], "has a control character inside"),
        (["\udce9"], r"phrase 1 '\\udce9' is no UTF-8 text"),
        (["dog", "recs/*.WAV"], r"phrase 'recs/\*.WAV' is called like a recording: give recordings before --phrases"),
    ],
)
def test_what_is_no_phrase(words, message):
    with pytest.raises(ValueError, match=message):
        phrases_of(words)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n# none\n", "phrases.txt: holds no phrase: write one a line"),
        (b"rain\na\tb\n", r"phrases.txt, line 2 'a\\tb' has a tab inside"),
        (b"rain\n\xe9t\xe9\n", "phrases.txt: is no UTF-8 text .*, byte 5.: save it as UTF-8"),
    ],
)
def test_what_is_no_file_of_phrases(data, message, tmp_path):
    (tmp_path / "phrases.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        phrases_of([], tmp_path / "phrases.txt")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        phrases_of(["rain"], tmp_path / "none.txt")


def test_what_the_tokenizer_cuts_is_said():
    tokenizer = Tokenizer(ByteBackend(), 8)
    assert cut_phrases(["12345678", "rain"], tokenizer) == []
    said = cut_phrases(["rain", "x" * 10_000], tokenizer)
    assert said == [
        f"phrase '{'x' * 57}...' has 10,000 tokens, and the model reads 8: its end does not count, shorten it"
    ]
