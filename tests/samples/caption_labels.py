"""Captioned corpora as they are published, small: for the tests of their scripts."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Record

IDS = ["r1nicOVtvkQ", "-abcdefghij", "_abcdefghij", "Yabcdefghij"]
HEADER = ("audiocap_id", "youtube_id", "start_time", "caption")
FIVE = tuple(f"caption_{n}" for n in range(1, 6))
META = ("file_name", "keywords", "sound_id", "sound_link", "start_end_samples", "manufacturer", "license")
CC0 = "http://creativecommons.org/publicdomain/zero/1.0/"
DEEP = "mnt/fast/nobackup/scratch4weeks/xm00178/WavCaps/data/waveforms"


def sound(path: Path, seconds: float = 0.3, rate: int = 22_050, frequency: float = 440.0) -> Path:
    """A tone, in the format that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * frequency / rate * np.arange(round(seconds * rate))), rate)
    return path


def table(path: Path, rows: list[tuple], end: str = "\n", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def dump(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def prepared(module, *args: object) -> None:
    module.main([*map(str, args), "--processes", "1", "--quiet"])


def records(folder: Path) -> dict[str, Record]:
    corpus = Corpus(folder, verify=True)
    return {corpus.key(i): corpus.record(i) for i in range(len(corpus))}


def refused(capsys, module, *args: object) -> str:
    """The message of a script that refuses its input."""
    with pytest.raises(SystemExit) as stop:
        prepared(module, *args)
    assert stop.value.code == 2
    return capsys.readouterr().err


def clotho_folder(folder: Path, names: list[str], meta: list[tuple], split: str = "evaluation") -> Path:
    rows = [(name, *(f"Caption {n} of {name.strip()}" + " " * (n == 3) for n in range(5))) for name in names]
    table(folder / f"clotho_captions_{split}.csv", [("file_name", *FIVE), *rows], "\r\n", "ascii")
    table(folder / f"clotho_metadata_{split}.csv", [META, *meta], "\r\n", "iso-8859-1")
    return folder


def wavcaps_folder(folder: Path) -> Path:
    def source(path: str, rows: list[dict]) -> None:
        dump(
            folder / "json_files" / path,
            {"num_captions_per_audio": 1, "data": [r | {"audio": "wav_path"} for r in rows]},
        )

    source("AudioSet_SL/as_final.json", [
        {"id": "Yb0RFKhbpFJA.wav", "caption": "Wind and a man speaking are heard", "duration": 10.0},
        {"id": "Yr1nicOVtvkQ.wav", "caption": "A woman talks", "duration": 10.0},
        {"id": "Y-YYabcdefgh.wav", "caption": " ", "duration": 10.0},
    ])  # fmt: skip
    source("BBC_Sound_Effects/bbc_final.json", [{
        "description": "Crows", "category": "['Nature']", "caption": "Crows caw.", "id": "NHU05051026", "duration": 8.1,
        "download_link": "https://sound-effects-media.bbcrewind.co.uk/zip/NHU05051026.wav.zip",
    }])  # fmt: skip
    common = {"tags": ["a"], "description": "d", "author": "someone", "download_link": "https://example.org/s.flac"}
    source("FreeSound/fsd_final.json", [
        common | {"id": "117790", "file_name": "x.wav", "href": "/people/x/", "duration": 3.1, "caption": "A door."},
        common | {"id": "70", "file_name": "y.mp3", "href": "/people/y/", "duration": 3.1, "caption": "Drums."},
    ])  # fmt: skip
    source("SoundBible/sb_final.json", [
        {"title": "t", "description": "d", "author": "a", "href": "h", "caption": "Bells ring.", "id": "70",
         "duration": 1.5, "download_link": "http://soundbible.com/grab.php?id=70&type=wav"},
    ])  # fmt: skip
    sound(folder / f"Zip_files/AudioSet_SL/{DEEP}/AudioSet_SL_flac/Yb0RFKhbpFJA.flac", rate=32_000)
    sound(folder / f"Zip_files/AudioSet_SL/{DEEP}/AudioSet_SL_flac/Yr1nicOVtvkQ.flac", rate=32_000)
    sound(folder / f"Zip_files/BBC_Sound_Effects/{DEEP}/BBC_Sound_Effects_flac/NHU05051026.flac", rate=32_000)
    for number in ("70", "117790"):
        sound(folder / f"Zip_files/FreeSound/{DEEP}/FreeSound_flac/{number}.flac", 0.4, 32_000)
    sound(folder / f"Zip_files/SoundBible/{DEEP}/SoundBible_flac/70.flac", 0.7, 32_000)
    return folder


def laion(number: int, text: list[str], **more: object) -> dict:
    about = {"id": number, "title": f"{number}.wav", "description": "d", "tags": ["a"], "username": "someone"}
    about |= {"download_url": f"https://freesound.org/data/{number}.wav"}
    return {"text": text, "tag": ["dog", "park"], "original_data": about} | more


def tar(path: Path, samples: list[tuple[str, dict]], cut: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for n, (name, label) in enumerate(samples):
            audio = io.BytesIO()
            soundfile.write(audio, 0.3 * np.sin(np.arange(9600 + 2400 * n) / 10), 48_000, format="FLAC")
            for suffix, data in (("flac", audio.getvalue()), ("json", json.dumps(label).encode())):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    if cut:
        os.truncate(path, path.stat().st_size - cut)
    return path
