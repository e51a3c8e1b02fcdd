"""data_prep/desed.py: DESED as it is published, and shards made of it."""

from __future__ import annotations

import desed
import pytest
from strong_labels import (
    COMMON,
    REAL_CLIP,
    STRONG,
    desed_folder,
    events,
    failure,
    samples,
    text,
)

from flam_train.data.shards.corpus import Corpus


def test_desed_to_shards(tmp_path):
    out = tmp_path / "out"
    desed.main([str(desed_folder(tmp_path / "desed")), str(out), *COMMON])
    assert sorted(p.name for p in out.iterdir()) == sorted(desed.SPLITS)
    validation = samples(out / "validation")
    assert len(validation) == 3
    clip = validation["Y00pbt6aJV8Y_350_000_360_000"]
    assert events(clip) == [(0.0, 0.5, "Vacuum_cleaner"), (0.2, 0.5, "Speech")]  # offsets past the end are cut
    assert clip.details["ids"] == ["youtube:00pbt6aJV8Y"]
    assert clip.source == REAL_CLIP
    negative = validation["Y-_rRk1eZzyA_30_000_40_000"]  # `name TAB TAB TAB`
    assert (negative.events, negative.details["ids"]) == ((), ["youtube:-_rRk1eZzyA"])
    assert validation["YYoutubeId01_0_000_10_000"].details["ids"] == ["youtube:YoutubeId01"]
    public = samples(out / "public")["1Ro0FgMWTUE_120_130"]
    assert events(public) == [(0.1, 0.3, "Frying")]
    assert public.details["ids"] == ["youtube:1Ro0FgMWTUE"]
    synthetic = samples(out / "synthetic")
    assert {key: events(r) for key, r in synthetic.items()} == {"0": [(0.1, 0.4, "Blender")], "10": [(0.0, 0.4, "Cat")]}
    assert "ids" not in synthetic["0"].details
    assert len(samples(out / "synthetic-validation")) == 2
    for clip in samples(out / "weak").values():  # somewhere in the whole clip
        assert [(t.label, t.onset, t.offset) for t in clip.tags] == [
            (label, 0.0, clip.duration) for label in clip.details["classes"]
        ]
    assert any(clip.tags for clip in samples(out / "weak").values())
    assert events(samples(out / "real")["Y00pbt6aJV8Y_350_000_360_000"]) == [(0.0, 0.5, "Dishes")]
    for split in desed.SPLITS:
        corpus = Corpus(out / split)
        assert corpus.name == f"desed-{split}"
        assert len(corpus.annotates) == (0 if split == "weak" else 10)


def test_desed_weak_labels_become_captions(tmp_path):
    desed.main([str(desed_folder(tmp_path / "desed")), str(tmp_path / "out"), "--split", "weak", *COMMON])
    weak = samples(tmp_path / "out" / "weak")
    bell = weak["YKK227gPpRn4_30_000_40_000"]
    assert bell.captions[0] == "an alarm or a bell rings and a person speaks"
    assert len(bell.captions) == len(set(bell.captions)) == 4
    assert bell.details["classes"] == ["Alarm_bell_ringing", "Speech"]
    assert bell.events == ()
    assert weak["Yabc_efghi-k_0_000_10_000"].captions[0] == "a cat"
    assert desed.join(("a", "b", "c")) == "a, b and c"


def test_desed_youtube_ids_are_told_by_their_length():
    assert desed.youtube_id("YYYYYYYYYYYY_0.000_10.000") == "Y" * 11
    assert desed.youtube_id("YYYYYYYYYYY_0_10") == "Y" * 11
    assert desed.youtube_id("Y_a_b_c_d_e__0.000_10.000") == "_a_b_c_d_e_"
    assert desed.youtube_id("17") is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{REAL_CLIP}\t0.1\t\tSpeech", "row 3: offset '' is not a number"),
        (f"{REAL_CLIP}\t0.1\t0.2\t", "row 3: label '' is unknown"),
        (f"{REAL_CLIP}\t0.1\t0.2\tspeech", "row 3: label 'speech' is unknown"),
        (f"{REAL_CLIP}\t0.1\t0.2", "row 3: 3 cells instead of 4"),
        ("\t0.1\t0.2\tSpeech", "row 3: '' is not the name of a file"),
        (f"a/{REAL_CLIP}\t0.1\t0.2\tSpeech", "row 3: "),
    ],
)
def test_desed_rows_are_checked(tmp_path, capsys, row, message):
    folder = desed_folder(tmp_path)
    path = folder / "metadata/validation/validation.tsv"
    text(path, STRONG, f"{REAL_CLIP}\t0.1\t0.2\tSpeech", row)
    said = failure(desed, capsys, folder, tmp_path / "out", "--split", "validation")
    assert f"validation.tsv: {message}" in said
    text(path, "filename\tonset\toffset", f"{REAL_CLIP}\t0.1\t0.2")
    assert "row 1: the header must be" in failure(desed, capsys, folder, tmp_path / "out", "--split", "validation")


def test_desed_says_which_labels_are_not_there(tmp_path, capsys):
    assert "metadata/eval/public.tsv" in failure(desed, capsys, tmp_path, tmp_path / "out", "--split", "public")
    assert "mend the folder" in failure(desed, capsys, tmp_path, tmp_path / "out")
