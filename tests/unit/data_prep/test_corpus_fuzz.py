"""Malformed label files of the published corpora: what is read is valid, or a ValueError names file and row."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from pathlib import Path

import audiocaps
import audioset_acd
import audioset_strong
import clotho
import desed
import esc
import freesound
import fsd50k
import maestro
import pytest
import urbansed
import urbansound8k
import vggsound
import wavcaps
from caption_labels import CC0, HEADER, IDS, clotho_folder, dump, laion, table
from label_mutations import malformed
from strong_labels import NAMES, audioset, desed_folder, maestro_folder, text, urbansed_folder

from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.schema import Record
from flam_train.vocabulary import Vocabulary

Case = tuple[Path, Callable[[], object]]
"""A label file to spoil, and what reads it."""

MIDS = dict(row.split("\t") for row in NAMES)


def _audiocaps(folder: Path) -> Case:
    path = table(folder / "train.csv", [HEADER, (1, IDS[0], 30, "a, b"), (2, IDS[1], 0, "c")], "\r\n")
    return path, lambda: audiocaps.read_audiocaps(folder, "train")


def _clotho(folder: Path, name: str) -> Case:
    clotho_folder(folder, ["a, b.wav", " c.wav"], [("a, b.wav", "k", "1", "l", "", "é", CC0)])
    return folder / f"clotho_{name}_evaluation.csv", lambda: clotho.read_clotho(folder, "evaluation")


def _wavcaps(folder: Path) -> Case:
    data = [{"id": "Yb0RFKhbpFJA.wav", "caption": "a"}, {"id": 7, "caption": "b", "href": "x"}]
    return dump(folder / "as_final.json", {"data": data}), lambda: wavcaps.read_wavcaps(folder, "AudioSet_SL")[0]


def _blacklist(folder: Path) -> Case:
    path = dump(folder / "list.json", {"AudioSet": ["Yr1nicOVtvkQ.wav"], "FreeSound": ["117790", 8]})
    return path, lambda: wavcaps.read_blacklist([path])


def _freesound(folder: Path) -> Case:
    return dump(folder / "a.json", laion(1, ["x"])), lambda: freesound.read_freesound(folder, "train")[0]


def _audioset_acd(folder: Path) -> Case:
    rows = [("youtube_id", "caption"), ("YPsERnugT1hs", "a, b"), ("oPRC3zComfA_000117", "c")]
    path = table(folder / "train.csv", rows)
    return path, lambda: audioset_acd.read_audioset_acd(folder, "train", ("audioset", "vggsound"))[0]


def _audioset(folder: Path, name: str) -> Case:
    vocabulary = Vocabulary.load("audioset_strong")
    path = audioset(folder) / name
    if name.startswith("mid"):
        return path, lambda: audioset_strong.read_names(path, vocabulary)
    read = audioset_strong.read_framed if "framed" in name else audioset_strong.read_labels
    return path, lambda: read(path, MIDS, vocabulary)


def _desed(folder: Path, name: str) -> Case:
    path = desed_folder(folder) / "metadata" / name
    read = desed.read_weak if "weak" in name else desed.read_strong
    return path, lambda: read(path, folder / "none", "x", Vocabulary.load("desed"))


def _urbansed(folder: Path, suffix: str) -> Case:
    path = urbansed_folder(folder) / f"annotations/train/soundscape_train_bimodal0{suffix}"
    read = urbansed.read_jams if suffix == ".jams" else urbansed.read_txt
    return path, lambda: read(path, Vocabulary.load("urbansed"))


def _maestro(folder: Path) -> Case:
    path = maestro_folder(folder) / "development_annotation/soft_labels_cafe_restaurant/cafe_restaurant_00.txt"
    return path, lambda: maestro.read_soft(path, Vocabulary.load("maestro"))


def _maestro_synthetic(folder: Path) -> Case:
    rows = ("onset\toffset\tevent_label", "0.5\t1.5\tdog_bark", "0\t1\tchildren_voices")
    path = text(folder / "estimated_strong_labels/mturk_scape_1.csv", *rows)
    return path, lambda: maestro.read_synthetic(folder, Vocabulary.load("maestro"))


def _fsd50k(folder: Path) -> Case:
    rows = ("fname,labels,mids", '7,"Bark,Dog,Domestic_animals_and_pets,Animal","/m/05tny_,/m/0bt9lr,/m/068hy,/m/0jbk"')
    return text(folder / "FSD50K.ground_truth/eval.csv", *rows), lambda: fsd50k.read_rows(folder)


def _urbansound8k(folder: Path) -> Case:
    row = "100032-3-0-0.wav,100032,0,0.317551,1,5,3,dog_bark"
    path = text(folder / urbansound8k.LABELS, ",".join(urbansound8k.COLUMNS), row)
    return path, lambda: urbansound8k.read_urbansound8k(folder)


def _vggsound(folder: Path, *rows: str) -> Case:
    path = text(folder / "labels.csv", *rows)
    return path, lambda: vggsound.read_vggsound(path, folder)


def _esc(folder: Path) -> Case:
    rows = ("filename,fold,target,category,esc10,src_file,take", "1-100032-A-0.wav,1,0,dog,True,100032,A")
    return text(folder / "meta/esc50.csv", *rows), lambda: esc.read_esc(folder)


CASES: dict[str, Callable[[Path], Case]] = {
    "audiocaps": _audiocaps,
    "clotho captions": lambda folder: _clotho(folder, "captions"),
    "clotho metadata": lambda folder: _clotho(folder, "metadata"),
    "wavcaps": _wavcaps,
    "wavcaps blacklist": _blacklist,
    "freesound": _freesound,
    "audioset_acd": _audioset_acd,
    "audioset_strong names": lambda folder: _audioset(folder, "mid_to_display_name.tsv"),
    "audioset_strong labels": lambda folder: _audioset(folder, "audioset_train_strong.tsv"),
    "audioset_strong framed": lambda folder: _audioset(folder, "audioset_eval_strong_framed_posneg.tsv"),
    "desed strong": lambda folder: _desed(folder, "validation/validation.tsv"),
    "desed weak": lambda folder: _desed(folder, "train/weak.tsv"),
    "urbansed txt": lambda folder: _urbansed(folder, ".txt"),
    "urbansed jams": lambda folder: _urbansed(folder, ".jams"),
    "maestro real": _maestro,
    "maestro synthetic": _maestro_synthetic,
    "fsd50k": _fsd50k,
    "urbansound8k": _urbansound8k,
    "vggsound test": lambda folder: _vggsound(folder, "---g-f_I2yQ_000001.mp4,people marching"),
    "esc": _esc,
}
CASES["vggsound"] = lambda folder: _vggsound(
    folder, "---g-f_I2yQ,1,people marching,test", '_547JTmvb9g,185,"bird chirping, tweeting",train'
)
EACH = 20_000 // len(CASES) + 1
WHOLE_FILE = re.compile("only a header|missing or empty|empty|cannot be read")


def fuzz(name: str, folder: Path, examples: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr(Vocabulary, "load", functools.cache(Vocabulary.load))
    path, read = CASES[name](folder)
    good = path.read_bytes().decode("iso-8859-1" if name == "clotho metadata" else "utf-8")
    read()
    told = {"valid": 0, "faults": 0}

    def one(data: bytes, _: random.Random) -> None:
        path.write_bytes(data)
        try:
            found = read()
        except ValueError as error:
            assert type(error) is ValueError  # noqa: PT017
            said = str(error)
            assert str(path) in said or path.name in said, said
            assert re.search(r"(row|entry|observation|annotation) \d", said) or WHOLE_FILE.search(said), said
            told["faults"] += 1
            return
        told["valid"] += 1
        for r in found if isinstance(found, list) else ():
            if isinstance(r, Recording):
                record = Record(r.key, 1.0, r.captions, (), r.source, r.licence, r.split, r.details)
                record.check(r.where).to_json().encode()

    malformed(good, examples, one)
    return told


@pytest.mark.parametrize("name", CASES)
def test_fifty_malformed_label_files(name, tmp_path, monkeypatch):
    told = fuzz(name, tmp_path, 50, monkeypatch)
    assert sum(told.values()) >= 50
    assert told["faults"] > 0


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", CASES)
def test_twenty_thousand_malformed_label_files(name, tmp_path, monkeypatch):
    told = fuzz(name, tmp_path, EACH, monkeypatch)
    assert sum(told.values()) >= EACH
    assert told["valid"] > 0.01 * EACH
    assert told["faults"] > 0.2 * EACH
