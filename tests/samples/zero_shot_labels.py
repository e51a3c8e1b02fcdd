"""Small copies of ESC-50, UrbanSound8K and VGGSound, laid out as published."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

US8K = """slice_file_name,fsID,start,end,salience,fold,classID,class
100032-3-0-0.wav,100032,0,0.317551,1,5,3,dog_bark
100263-2-0-117.wav,100263,58.5,62.5,1,5,2,children_playing
100648-1-0-0.wav,100648,4.823402,5.471927,2,10,1,car_horn
"""

VGG = """---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,waterfall burbling,train
_547JTmvb9g,185,"bird chirping, tweeting",test
Y8-g2rof7E_,49,"heart sounds, heartbeat",test
Y8-g2rof7E_,100000,playing tympani,test
"""


def sound(path: Path, seconds: float = 0.3, rate: int = 44_100, channels: int = 1, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    x = 0.3 * np.sin(np.arange(round(seconds * rate)) * 0.1)
    soundfile.write(path, np.stack([x] * channels, axis=1), rate, subtype=subtype)


def us8k(folder: Path, text: str = US8K) -> Path:
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata" / "UrbanSound8K.csv").write_text(text, newline="")
    sound(folder / "audio" / "fold5" / "100032-3-0-0.wav", 0.318, 96_000, 2, "PCM_24")
    sound(folder / "audio" / "fold5" / "100263-2-0-117.wav", 0.5, 11_025, 1, "PCM_U8")
    sound(folder / "audio" / "fold10" / "100648-1-0-0.wav", 0.65, 44_100, 2)
    return folder


def vgg(folder: Path, text: str = VGG, name: str = "data/vggsound.csv") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, newline="")
    sound(folder / "test" / "---g-f_I2yQ_000001.flac", 0.4, 16_000, 2)
    sound(folder / "video" / "--0PQM4-hqg_000030.wav", 0.4)
    sound(folder / "test" / "_547JTmvb9g_000185.wav", 0.2)
    sound(folder / "test" / "Y8-g2rof7E__000049.wav", 0.2)
    return folder


def esc50(folder: Path) -> Path:
    rows = [
        ("1-100032-A-0.wav", 1, 0, "dog", "True", 100032, "A"),
        ("5-9032-B-14.wav", 5, 14, "chirping_birds", "False", 9032, "B"),
    ]
    (folder / "meta").mkdir(parents=True)
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "fold", "target", "category", "esc10", "src_file", "take"), *rows])
    for name, *_ in rows:
        sound(folder / "audio" / name, 5.0)
    return folder
