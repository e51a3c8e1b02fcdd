"""Auto-ACD, from its label files as published to shards."""

from __future__ import annotations

import audioset_acd
import pytest
from caption_labels import (
    prepared,
    records,
    refused,
    sound,
    table,
)

from flam_train.data.shards.corpus import Corpus


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ('The audio caption for the given information could be: "A dog barks in a park."', "A dog barks in a park."),
        ("The audio caption for the given information could be: A dog barks.", "A dog barks."),
        ("A possible audio caption could be:\n“A dog barks.”", "A dog barks."),
        ('"A dog barks."', "A dog barks."),
        ('"Hello" and "goodbye" are said', '"Hello" and "goodbye" are said'),
        ("The man says: hello", "The man says: hello"),
        ("A man reads a caption: it rains", "A man reads a caption: it rains"),
        ('The audio caption for the given information could be: ""', ""),
    ],
)
def test_what_the_language_model_put_around_a_caption(text, caption):
    assert audioset_acd.plain_caption(text) == caption


def test_audioset_acd(tmp_path, capsys):
    folder, out = tmp_path / "acd", tmp_path / "out"
    wrapper = 'The audio caption for the given information could be: "{}"'
    rows = [
        ("YPsERnugT1hs", "A lady in a dress speaks softly, then laughs"),
        ("oPRC3zComfA_000117", "Electronic music plays"),
        ("YYabcdefghij", "An id that begins with Y"),
        ("Yabcdefghij_", "An id that ends with _"),
        ("YoPRC3zComfA", "Another clip of a video that VGGSound took one of"),
        ("Yabcdefghij_000030", "A row of VGGSound whose id begins with Y"),
        ("YPsERnugT1hs", wrapper.format("A lady speaks")),
        ("YPsERnugT1hs", "A lady in a dress speaks softly, then laughs"),
        ("Y-abcdefghij", wrapper.format("")),
    ]
    table(folder / "train.csv", [("youtube_id", "caption"), *rows])
    sound(folder / "audio/YPsERnugT1hs.flac", rate=32_000)
    sound(folder / "audio/Yabcdefghij_30.wav", 0.6)
    sound(folder / "audio/oPRC3zComfA_000117.wav", 0.5)
    prepared(audioset_acd, folder, out, "--split", "train", "--max-missing", 0.5)
    assert "audioset-acd-train: left out 1 of 5 recordings (no caption 1)" in capsys.readouterr().out
    found = records(out / "train")
    # The file Yabcdefghij_30 is a clip of "Yabcdefghij", not of "abcdefghij_".
    assert sorted(found) == ["YPsERnugT1hs", "YYabcdefghij"]
    assert found["YPsERnugT1hs"].captions == ("A lady in a dress speaks softly, then laughs", "A lady speaks")
    assert found["YPsERnugT1hs"].details["ids"] == ["youtube:PsERnugT1hs"]
    prepared(
        audioset_acd,
        folder,
        tmp_path / "both",
        "--split",
        "train",
        "--of",
        "audioset",
        "vggsound",
        "--max-missing",
        0.5,
    )
    found = records(tmp_path / "both/train")
    assert Corpus(tmp_path / "both/train").name == "auto-acd-train"
    assert found["Yabcdefghij_000030"].details["ids"] == ["youtube:Yabcdefghij"]
    assert found["Yabcdefghij_000030"].duration == pytest.approx(0.6)
    assert found["oPRC3zComfA_000117"].duration == pytest.approx(0.5)


@pytest.mark.parametrize(
    "name", ["", "PsERnugT1hs", "XPsERnugT1hs", "oPRC3zComfA_00011x", "oPRC3zComfA-000117", "Y1234567890ä"]
)
def test_audioset_acd_refuses_other_ids(tmp_path, capsys, name):
    table(tmp_path / "acd/test.csv", [("youtube_id", "caption"), ("YPsERnugT1hs", "a"), (name, "b")])
    message = refused(capsys, audioset_acd, tmp_path / "acd", tmp_path / "out", "--split", "test")
    assert f"test.csv: row 3: youtube_id {name!r} is neither" in message
