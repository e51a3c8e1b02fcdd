"""data_prep/audioset_strong.py: AudioSet Strong as it is published, and shards made of it."""

from __future__ import annotations

from pathlib import Path

import audioset_strong
import pytest
from strong_labels import (
    COMMON,
    HEADER,
    audioset,
    events,
    failure,
    samples,
    text,
)

from flam_train.data.shards.corpus import Corpus
from flam_train.vocabulary import Vocabulary


def test_audioset_strong_to_shards(tmp_path, capsys):
    folder, out = audioset(tmp_path / "as"), tmp_path / "out"
    audioset_strong.main([str(folder), str(out), "--subset", "--framed", "--max-missing", "0.2", *COMMON])
    assert "not checked" in capsys.readouterr().out
    train = samples(out / "train")
    assert sorted(train) == sorted(["-a_b-c_d-e__30000", "s9d-2nhuJCQ_30000", "Y_345678901_0", "__________a_239800"])
    # Rows of a clip need not be adjacent, names hold commas, an offset at 10 s passes the end of this clip.
    assert events(train["-a_b-c_d-e__30000"]) == [(0.1, 0.3, "Bark"), (0.2, 0.4, "Cheering")]
    assert events(train["s9d-2nhuJCQ_30000"]) == [(0.2, 0.5, "Cheering")]
    assert events(train["Y_345678901_0"]) == [(0.0, 0.25, "Power saw, circular saw, table saw")]
    assert events(train["__________a_239800"]) == []  # its only event has no length
    assert train["Y_345678901_0"].details["ids"] == ["youtube:Y_345678901"]
    assert train["-a_b-c_d-e__30000"].details["ids"] == ["youtube:-a_b-c_d-e_"]
    assert "from 30.000 s" in train["s9d-2nhuJCQ_30000"].source
    assert "gone5678901_1000" in (out / "train" / "missing.tsv").read_text()
    corpus = Corpus(out / "train")
    assert (corpus.name, corpus.manifest["vocabulary"]) == ("audioset_strong-train", "audioset_strong")
    assert corpus.annotates == ["cheering", "dog barking", "power saw"]
    assert corpus.manifest["details"]["subset"] is True
    evaluated = samples(out / "eval")["evalclip901_0"]
    assert Corpus(out / "eval").annotates == ["wind noise"]
    assert evaluated.details["framed"] == [
        [0.0, 0.96, "Bark", False],
        [0.0, 0.96, "Wind noise (microphone)", True],
    ]


def test_audioset_strong_asserts_its_numbers_of_labels(tmp_path, capsys):
    said = failure(audioset_strong, capsys, audioset(tmp_path), tmp_path / "out")
    assert "4 labels instead of 456" in said
    assert "--subset" in said
    names = {f"m{n}": f"name {n}" for n in range(456)}
    train, evaluated = {f"name {n}" for n in range(447)}, {f"name {n}" for n in range(40, 456)}
    audioset_strong.check_labels(names, {"train": train, "eval": evaluated}, tmp_path)
    for found, message in [
        ({"train": train - {"name 0"}}, "446 labels instead of 447"),
        ({"eval": evaluated | {"name 0"}}, "417 labels instead of 416"),
        ({"train": train, "eval": evaluated - {"name 455"} | {"name 0"}}, "408 labels instead of 407"),
    ]:
        with pytest.raises(ValueError, match=message):
            audioset_strong.check_labels(names, found, tmp_path)


def test_an_audioset_file_named_by_the_video_alone_is_no_clip_of_several(tmp_path):
    files = {name: Path(name) for name in ("Yabcdefghij_", "abcdefghij__30000")}
    find = audioset_strong.find_clip
    assert find(files, "abcdefghij_", 30_000, False) == Path("abcdefghij__30000")
    assert find(files, "abcdefghij_", 60_000, False) is None
    assert find(files, "abcdefghij_", 60_000, True) == Path("Yabcdefghij_")
    assert find(files, "Yabcdefghij", 0, True) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("s9d-2nhuJCQ_30000\t0.1\t0.2\t/m/none", "label '/m/none' is no MID"),
        ("s9d-2nhuJCQ\t0.1\t0.2\t/m/05tny_", "is not <id of 11 characters>_<start in ms>"),
        ("s9d-2nhuJC_30000\t0.1\t0.2\t/m/05tny_", "is not <id of 11 characters>_<start in ms>"),
        ("s9d-2nhuJCQ_30000\t0.3\t0.2\t/m/05tny_", "0.3 to 0.2 s is no stretch of time"),
        ("s9d-2nhuJCQ_30000\t-1\t0.2\t/m/05tny_", "-1.0 to 0.2 s is no stretch of time"),
        ("s9d-2nhuJCQ_30000\tnan\t0.2\t/m/05tny_", "onset 'nan' is not a number"),
        ("s9d-2nhuJCQ_30000\t0.1\t0.2", "3 cells instead of 4"),
    ],
)
def test_audioset_rows_are_checked(tmp_path, capsys, row, message):
    folder = audioset(tmp_path)
    text(folder / "audioset_train_strong.tsv", HEADER, "s9d-2nhuJCQ_30000\t0.1\t0.2\t/m/05tny_", row)
    said = failure(audioset_strong, capsys, folder, tmp_path / "out", "--subset", "--split", "train")
    assert "audioset_train_strong.tsv: row 3: " in said
    assert message in said


def test_audioset_strong_vocabulary_is_whole():
    vocabulary = Vocabulary.load("audioset_strong")
    concepts = vocabulary.classes
    assert len(concepts) == 456
    assert {"Ducks, geese, waterfowl", "Slurp, drinking straw", "Inside, large room or hall"} <= set(concepts)
    assert len({c.id for c in concepts.values()}) == 456
    phrasings = [p.casefold() for c in concepts.values() for p in c.phrasings]
    assert len(set(phrasings)) == len(phrasings)
    assert all(1 <= len(c.phrasings) <= 3 for c in concepts.values())
    assert all(p.isascii() and p == p.strip() and not p[0].isupper() for c in concepts.values() for p in c.phrasings)
    assert concepts["Bark"].id == Vocabulary.load("esc50").concept("dog").id
