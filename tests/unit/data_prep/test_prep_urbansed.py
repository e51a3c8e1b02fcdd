"""data_prep/urbansed.py: URBAN-SED as it is published, and shards made of it."""

from __future__ import annotations

import urbansed
from strong_labels import (
    COMMON,
    events,
    failure,
    jams,
    samples,
    text,
    tone,
    urbansed_folder,
)

from flam_train.data.shards.corpus import Corpus


def test_urbansed_txt_and_jams_say_the_same(tmp_path):
    folder = urbansed_folder(tmp_path / "URBAN-SED_v2.0.0")
    for labels in ("txt", "jams"):
        urbansed.main([str(folder), str(tmp_path / labels), "--labels", labels, *COMMON])
    for split in urbansed.SPLITS:
        (txt,), (jam,) = (samples(tmp_path / labels / split).values() for labels in ("txt", "jams"))
        assert events(txt) == events(jam) == [(0.265813, 0.675981, "gun_shot"), (9.163, 10.0, "dog_bark")]
        assert txt.details["ids"] == jam.details["ids"] == ["freesound:86278", "freesound:36902"]
        assert txt.split == split
        assert len(Corpus(tmp_path / "txt" / split).annotates) == 10


def test_urbansed_without_jams_or_events(tmp_path):
    folder = urbansed_folder(tmp_path / "urbansed")
    (folder / "annotations/train/soundscape_train_bimodal0.jams").unlink()
    text(folder / "annotations/train/soundscape_train_uniform7.txt")
    tone(folder / "audio/train/soundscape_train_uniform7.wav")
    urbansed.main([str(folder), str(tmp_path / "out"), "--split", "train", *COMMON])
    found = samples(tmp_path / "out" / "train")
    assert len(found["soundscape_train_bimodal0"].events) == 2
    assert found["soundscape_train_uniform7"].events == ()
    assert Corpus(tmp_path / "out" / "train").manifest["details"]["without_ids"] == 2


def test_urbansed_faults(tmp_path, capsys):
    folder = urbansed_folder(tmp_path / "urbansed")
    path = folder / "annotations/train/soundscape_train_bimodal0.txt"
    text(path, "0.1\t0.2\tgun_shot", "0.1\t0.2\tcat")
    assert ".txt: row 2: label 'cat' is unknown" in failure(urbansed, capsys, folder, tmp_path / "out")
    text(path, "0.1\t0.2\tgun_shot")
    jam = path.with_suffix(".jams")
    text(jam, jams((0.1, -0.2, "gun_shot", "86278-6-0-0.wav")))
    assert ".jams: observation 2: 0.1 to -0.1 s" in failure(urbansed, capsys, folder, tmp_path / "out")
    text(jam, '{"annotations": [}')
    assert ".jams: row 1: not JSON" in failure(urbansed, capsys, folder, tmp_path / "out")
    assert "no .txt there" in failure(urbansed, capsys, tmp_path, tmp_path / "out")
