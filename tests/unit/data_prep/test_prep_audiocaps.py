"""AudioCaps, from its label files as published to shards."""

from __future__ import annotations

import audiocaps
import pytest
from caption_labels import (
    HEADER,
    IDS,
    prepared,
    records,
    refused,
    sound,
    table,
)

from flam_train.data.preparation.listing import read_missing
from flam_train.data.shards.corpus import Corpus


def test_audiocaps_1(tmp_path):
    folder, out = tmp_path / "audiocaps", tmp_path / "out"
    train = [(91139 + n, i, 130, f"A woman’s voice, number {n} ") for n, i in enumerate(IDS)]
    table(folder / "dataset/train.csv", [HEADER, *train], "\r\n")
    # One row a caption; the rows of a clip do not stand together.
    test = [(10 * k + n, i, 30, f"Caption {k} of {i}") for k in range(5) for n, i in enumerate(IDS[:2])]
    table(folder / "dataset/test.csv", [HEADER, *test], "\r\n")
    sound(folder / "train" / f"Y{IDS[0]}.wav", rate=32_000)
    sound(folder / "train" / f"{IDS[1]}_130.flac", rate=44_100)
    sound(folder / "train" / f"{IDS[2]}.wav", rate=16_000)
    sound(folder / "train" / f"Y{IDS[3]}.ogg")
    sound(folder / "test" / f"Y{IDS[0]}_30.wav", 0.5)
    prepared(audiocaps, folder, out, "--split", "train", "test", "--max-missing", 0.5)
    assert Corpus(out / "train").name == "audiocaps-train"
    found = records(out / "train")
    assert sorted(found) == sorted(f"Y{i}_130" for i in IDS)
    record = found["Yr1nicOVtvkQ_130"]
    assert record.captions == ("A woman’s voice, number 0",)
    assert record.duration == pytest.approx(0.3)
    assert record.details == {"audiocap_ids": ["91139"], "ids": ["youtube:r1nicOVtvkQ"]}
    assert record.split == "train"
    found = records(out / "test")
    assert list(found) == ["Yr1nicOVtvkQ_30"]
    assert found["Yr1nicOVtvkQ_30"].captions == tuple(f"Caption {k} of {IDS[0]}" for k in range(5))
    assert [(key, why) for key, _, why in read_missing(out / "test")] == [("Y-abcdefghij_30", "missing")]
    # The test clip's own file is not the training clip's: its name says another start.
    assert records(out / "train")["Yr1nicOVtvkQ_130"].duration != 0.5


def test_audiocaps_2_and_whole_videos(tmp_path):
    folder, out = tmp_path / "audiocaps", tmp_path / "out"
    rows = [(1, IDS[0], 0, "a dog barks"), (2, IDS[1], 2, "rain"), (3, IDS[0], 0, "a dog is barking")]
    table(folder / "dataset2.0/train.csv", [HEADER, *rows])
    table(folder / "dataset/train.csv", [HEADER, (1, IDS[0], 0, "A dog barks")], "\r\n")
    for i in IDS[:2]:
        sound(tmp_path / "videos" / f"{i}.wav", 13, 8_000)
    options = ["--version", "2.0", "--split", "train", "--recordings", tmp_path / "videos", "--whole-videos"]
    prepared(audiocaps, folder, out, *options)
    assert Corpus(out / "train").name == "audiocaps2-train"
    found = records(out / "train")
    assert found[f"Y{IDS[0]}_0"].captions == ("a dog barks", "a dog is barking")
    assert found[f"Y{IDS[1]}_2"].duration == pytest.approx(10)
    assert found[f"Y{IDS[1]}_2"].details["cut_from"] == [2, 12]
    # A downloader's names; a number in another folder is something else.
    sound(folder / "train/3.ogg")
    sound(folder / "val/2.ogg")
    paths = [r.path for r in audiocaps.read_audiocaps(folder, "train", "2.0")]
    assert paths == [folder / "train/3.ogg", folder / f"Y{IDS[1]}.wav"]
    # Two clips of one video: a file that does not say which it is serves neither.
    table(folder / "dataset2.0/train.csv", [HEADER, (1, IDS[0], 0, "a"), (2, IDS[0], 50, "b")])
    sound(folder / "x" / f"{IDS[0]}.wav")
    path = sound(folder / "x" / f"{IDS[0]}_50.wav")
    first, second = audiocaps.read_audiocaps(folder, "train", "2.0")
    assert not first.path.exists()
    assert second.path == path


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        ([(1, "short", 0, "a")], "train", "row 2: youtube_id 'short' is not"),
        ([(1, IDS[0], 0, "a"), (1, IDS[1], "1.5", "a")], "train", "row 3: start_time '1.5' is not"),
        ([(1, IDS[0], 0, " ")], "train", "row 2: the caption is empty"),
        ([(1, IDS[0], 0, "a")], "val", "row 2: clip r1nicOVtvkQ has 1 captions, not 5"),
        ([(1, IDS[0], 0)], "train", "row 2: 3 fields, the header has 4"),
        ([], "train", "the labels list no recording"),
    ],
)
def test_audiocaps_refuses(tmp_path, capsys, rows, split, message):
    table(tmp_path / "ac" / f"{split}.csv", [HEADER, *rows])
    assert message in refused(capsys, audiocaps, tmp_path / "ac", tmp_path / "out", "--split", split)


def test_audiocaps_without_labels(tmp_path, capsys):
    message = refused(capsys, audiocaps, tmp_path, tmp_path / "out")
    assert "AudioCaps 1.0's train.csv is not there, neither as dataset/train.csv nor as train.csv" in message
