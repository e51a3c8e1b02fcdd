"""Small copies of the strongly labelled corpora as they are published, every quirk of their label files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.data.shards.corpus import Corpus

COMMON = ["--processes", "1", "--quiet"]


def tone(path: Path, seconds: float = 0.5, rate: int = 22_050) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * t), rate)
    return path


def text(path: Path, *rows: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(row + end for row in rows).encode())
    return path


def samples(folder: Path) -> dict:
    corpus = Corpus(folder, verify=True)
    return {r.key: r for r in (corpus.record(i) for i in range(len(corpus)))}


def events(record) -> list[tuple]:
    return [(round(e.onset, 6), round(e.offset, 6), e.label) for e in record.events]


def failure(module, capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as left:
        module.main([*map(str, args), *COMMON])
    assert left.value.code == 2
    return capsys.readouterr().err


HEADER = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel"
NAMES = (
    "/m/053hz1\tCheering",
    "/m/05tny_\tBark",
    "/m/0md09\tPower saw, circular saw, table saw",
    "/t/dd00092\tWind noise (microphone)",
)


def audioset(folder: Path) -> Path:
    """Ids that begin with '-', '_' and 'Y' and hold '_'; each clip's file called in another way."""
    text(folder / "mid_to_display_name.tsv", *NAMES)
    text(
        folder / "audioset_train_strong.tsv",
        HEADER,
        "-a_b-c_d-e__30000\t0.100\t0.300\t/m/05tny_",
        "s9d-2nhuJCQ_30000\t0.200\t10.000\t/m/053hz1",
        "Y_345678901_0\t0.000\t0.250\t/m/0md09",
        "-a_b-c_d-e__30000\t0.200\t0.400\t/m/053hz1",
        "__________a_239800\t0.100\t0.100\t/m/05tny_",
        "gone5678901_1000\t0.100\t0.200\t/m/05tny_",
    )
    text(folder / "audioset_eval_strong.tsv", HEADER, "evalclip901_0\t0.000\t0.500\t/t/dd00092")
    text(
        folder / "audioset_eval_strong_framed_posneg.tsv",
        HEADER + "\tpresent",
        "evalclip901_0\t0.000\t0.960\t/m/05tny_\tNOT_PRESENT",
        "evalclip901_0\t0.000\t0.960\t/t/dd00092\tPRESENT",
        "elsewhere01_0\t0.000\t0.960\t/t/dd00092\tPRESENT",
    )
    tone(folder / "audio/train/-a_b-c_d-e__30000.flac")
    tone(folder / "audio/train/Ys9d-2nhuJCQ.wav", rate=44_100)
    tone(folder / "audio/Y_345678901.wav", rate=8_000)
    tone(folder / "audio/Y__________a_239.800_249.800.wav")
    tone(folder / "audio/eval/evalclip901.ogg", rate=16_000)
    return folder


STRONG = "filename\tonset\toffset\tevent_label"
REAL_CLIP = "Y00pbt6aJV8Y_350.000_360.000.wav"


def desed_folder(folder: Path) -> Path:
    metadata, audio = folder / "metadata", folder / "audio"
    text(
        metadata / "validation/validation.tsv",
        STRONG,
        f"{REAL_CLIP}\t0.000\t9.971\tVacuum_cleaner",
        "Y-_rRk1eZzyA_30.000_40.000.wav\t\t\t",
        f"{REAL_CLIP}\t0.200\t10.115\tSpeech",
        "YYoutubeId01_0.000_10.000.wav\t0.100\t0.200\tDog",
    )
    for name in (REAL_CLIP, "Y-_rRk1eZzyA_30.000_40.000.wav", "YYoutubeId01_0.000_10.000.wav"):
        tone(audio / "validation/validation" / name, 0.5, 44_100)
    text(metadata / "eval/public.tsv", STRONG, "1Ro0FgMWTUE_120_130.wav\t0.100\t11.000\tFrying")
    tone(audio / "eval/public/1Ro0FgMWTUE_120_130.wav", 0.3)
    text(
        metadata / "train/weak.tsv",
        "filename\tevent_labels",
        "YKK227gPpRn4_30.000_40.000.wav\tAlarm_bell_ringing,Speech",
        "Yabc_efghi-k_0.000_10.000.wav\tCat",
    )
    for name in ("YKK227gPpRn4_30.000_40.000", "Yabc_efghi-k_0.000_10.000"):
        tone(audio / f"train/weak/{name}.wav")
    text(metadata / "train/unlabel_in_domain.tsv", "filename", "Ynever_read__0.000_10.000.wav")
    text(metadata / "train/audioset_strong.tsv", STRONG, f"{REAL_CLIP}\t0.000\t0.500\tDishes")
    tone(audio / "train/strong_label_real" / REAL_CLIP)
    for split, folds in (("train", "synthetic21_train"), ("validation", "synthetic21_validation")):
        below = f"{split}/{folds}/soundscapes"
        text(folder / f"dcase_synth/metadata/{below}.tsv", STRONG, "0.wav\t0.1\t0.4\tBlender", "10.wav\t0\t0.4\tCat")
        tone(folder / f"dcase_synth/audio/{below}/0.wav", rate=16_000)
        tone(folder / f"dcase_synth/audio/{below}/10.flac", rate=16_000)  # converted by its owner
    return folder


def jams(*found: tuple) -> str:
    """As scaper 0.1 wrote them: the background first; `event_duration` is not the extent."""
    data = [
        {
            "duration": duration,
            "value": {
                "event_duration": duration * 1.2,
                "source_time": 0.0,
                "role": role,
                "time_stretch": None if role == "background" else 0.8,
                "label": label,
                "pitch_shift": None,
                "snr": 15.2,
                "source_file": f"/scratch/soundbanks/train/{role}/{label}/{source}",
                "event_time": time,
            },
            "time": time,
            "confidence": 1.0,
        }
        for time, duration, label, source, role in (
            (0.0, 10.0, "noise", "brownian.wav", "background"),
            *((*row, "foreground") for row in found),
        )
    ]
    annotation = {"namespace": "scaper", "sandbox": {}, "data": data, "duration": 10.0, "time": 0}
    return json.dumps({"annotations": [annotation], "file_metadata": {"jams_version": "0.2.2"}}, indent=2)


def urbansed_folder(folder: Path) -> Path:
    names = {
        "train": "soundscape_train_bimodal0",
        "validate": "soundscape_validate_uniform1",
        "test": "soundscape_test_x",
    }
    for split, name in names.items():
        labels = folder / "annotations" / split / name
        text(
            labels.with_suffix(".txt"),
            "0.265813\t0.675981\tgun_shot",
            "9.163\t10.000000000000002\tdog_bark",
            end="\r\n" if split == "test" else "\n",
        )
        text(
            labels.with_suffix(".jams"),
            jams((0.265813, 0.410168, "gun_shot", "86278-6-0-0.wav"), (9.163, 0.837, "dog_bark", "36902-3-1-0.wav")),
        )
        tone(folder / "audio" / split / f"{name}.wav", 10.0, 8_000)
    return folder


def maestro_folder(folder: Path) -> Path:
    text(
        folder / "development_annotation/soft_labels_cafe_restaurant/cafe_restaurant_00.txt",
        "0.0\t1.0\tcutlery and dishes\t0.22607917138849756",
        "0.0\t1.0\tpeople talking\t1.0000000000000002",
        "1.0\t2.0\tpeople talking\t0.7",
        "2.0\t3.0\tpeople talking\t0.5",
        "3.0\t4.0\tpeople talking\t0.51",
        "3.0\t4.0\tdoor opens/closes\t0.9",
        "9.0\t10.0\tfootsteps\t0.8",
        "10.0\t11.0\tfootsteps\t0.8",
    )
    tone(folder / "development_audio/cafe_restaurant/cafe_restaurant_00.wav", 12.5, 8_000)
    return folder
