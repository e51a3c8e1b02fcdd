"""Which recording a label file means: paths that belong together, folder by folder."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest

from flam_train.data.labels.matching import Names, parts_of, recording_of

SITES = ["siteA/x.WAV", "siteA/only.wav", "siteB/y.wav", "2023/siteC/z.wav", "2024/siteC/z.wav", "top.wav"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.WAV", "siteA/x.WAV"),
        ("x", "siteA/x.WAV"),
        ("x.flac", "siteA/x.WAV"),  # what was labelled before it was converted
        ("siteA/x.WAV", "siteA/x.WAV"),
        ("/data/siteA/x.WAV", "siteA/x.WAV"),
        (r"D:\rec\siteA\x.WAV", "siteA/x.WAV"),
        ("./siteA/x.WAV", "siteA/x.WAV"),
        ("file:///C:/my%20data/siteA/x.WAV", "siteA/x.WAV"),
        ("https://host/rec/siteA/x.WAV?dl=1#t=3", "siteA/x.WAV"),
        ("s3://bucket/siteA/x%2EWAV", "siteA/x.WAV"),
        ("siteB/x.WAV", None),
        ("https://host/siteB/x.WAV", None),
        ("/data/siteB/x.WAV", None),
        ("/siteA/deeper/x.WAV", None),
        ("2024/siteC/z.wav", "2024/siteC/z.wav"),
        ("/disk/2024/siteC/z.wav", "2024/siteC/z.wav"),
        ("/disk/top.wav", "top.wav"),
        ("", None),
        ("..", None),
    ],
)
def test_a_path_and_a_recording_belong_together_when_one_ends_with_the_other(name, found):
    n = Names(SITES).find(name, "t.csv")
    assert (None if n is None else SITES[n]) == found


def test_of_several_the_one_beside_the_label_file_is_meant():
    names = Names(SITES)
    with pytest.raises(ValueError, match=r"t\.csv: row 3: 'z\.wav' may be any of 2 recordings \(2023/siteC/z\.wav, 20"):
        names.find("z.wav", "t.csv", 3)
    assert names.find("z.wav", "t.csv", 3, beside="2024/siteC") == 4
    assert names.find("siteC/z.wav", "t.csv", 3, beside="2023") == 3
    with pytest.raises(ValueError, match="give its path"):
        names.find("z.wav", "t.csv", 3, beside="elsewhere")
    assert names.find("../../top.wav", "t.csv", beside="2023/siteC") == 5
    assert names.find("../siteC/z.wav", "t.csv", beside="2024/siteC") == 4
    assert names.find("../x.WAV", "t.csv", beside="siteA") is None  # it would lie above
    nested = Names(["x.wav", "a/x.wav", "b/a/x.wav"])
    assert nested.find("x.wav", "t.csv") == 0  # its very path
    assert nested.find("a/x.wav", "t.csv") == 1
    assert nested.find("x.wav", "t.csv", beside="b/a") == 2
    assert nested.find("/disk/b/a/x.wav", "t.csv") == 2  # with which it shares the most
    both = Names(["a.wav", "a.flac"])
    assert both.find("a.flac", "t.csv") == 1
    with pytest.raises(ValueError, match=r"'a' may be any of 2 recordings \(a\.wav, a\.flac\)"):
        both.find("a", "t.csv")


def test_letters_that_look_alike_are_one():
    for form in ("NFC", "NFD"):
        names = Names([unicodedata.normalize(form, "Grünspecht/ä.wav")])
        for other in ("NFC", "NFD"):
            assert names.find(unicodedata.normalize(other, "Grünspecht/ä.wav"), "t.csv") == 0


def test_against_the_plain_rule():
    rng = random.Random(0)
    for _ in range(300):
        path = lambda: "/".join(rng.choice("ab") for _ in range(rng.randrange(1, 4)))  # noqa: E731
        recordings = sorted({path() + ".wav" for _ in range(6)})
        name = path() + ".wav"
        slashed = ["/" + r for r in recordings]
        plain = [
            n for n, r in enumerate(slashed) if r.endswith("/" + name) or f"/{name}".endswith(r)
        ]  # fmt: skip
        try:
            found = Names(recordings).find(name, "t")
        except ValueError:
            assert len(plain) > 1
        else:
            assert found in plain if plain else found is None


def test_names_of_label_files():
    for file, name in {
        "x/a.b.Table.1.selections.txt": "x/a.b",
        "a.selections.csv": "a",
        "a.wav.txt": "a",
        "a.BirdNET.selection.table.txt": "a",
        "s/a.BirdNET.results.csv": "s/a",
        "a_350.000_360.000.txt": "a_350.000_360.000",
        "a_labels.txt": "a_labels",
    }.items():
        assert recording_of(file) == name
    assert parts_of(r"a\b//c.wav") == ("a", "b", "c.wav")


def test_what_a_name_may_have_meant():
    names = Names(SITES)
    assert "siteA/x.WAV" in names.nearest("siteB/x.WAV")
    assert "only.wav" in names.nearest("onli.wav")


def test_thousands_of_one_name_take_no_time_each():
    names = Names([f"{n // 100}/{n}/x.wav" for n in range(20_000)])
    start = time.process_time()
    assert [names.find(f"/data/{n // 100}/{n}/x.wav", "t.csv") for n in range(20_000)] == list(range(20_000))
    assert [names.find("x.wav", "t.csv", beside=f"{n // 100}/{n}") for n in range(20_000)] == list(range(20_000))
    assert time.process_time() - start < 60  # a search through all of them for each takes minutes
