"""data_prep/{fsd50k,urbansound8k,vggsound,esc}.py on small copies of the published layouts, quirk by quirk."""

from __future__ import annotations

import json
from pathlib import Path

import esc
import fsd50k
import pytest
import urbansound8k
import vggsound
from zero_shot_labels import US8K, VGG, esc50, sound, us8k, vgg

from flam_train.data.mixing.bank import Bank
from flam_train.data.preparation.caption_files import LEFT_OUT
from flam_train.data.preparation.listing import read_missing
from flam_train.data.shards.corpus import Corpus

QUIET = ("--processes", "1", "--quiet")


def records(folder: Path) -> dict:
    corpus = Corpus(folder, verify=True)
    return {corpus.key(i): corpus.record(i) for i in range(len(corpus))}


# FSD50K --------------------------------------------------------------------------------------------------------------

GUITAR = "Electric_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music"
BASS = "Bass_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music"
SNARE = "Snare_drum,Drum,Percussion,Musical_instrument,Music"
BASS_DRUM = "Bass_drum,Drum,Percussion,Musical_instrument,Music"
ODD = "Bass_drum,Drum,Snare_drum,Percussion,Musical_instrument,Music"  # the annotated Drum stands before Snare_drum
BARK = "Bark,Dog,Domestic_animals_and_pets,Animal"
BIRD = "Bird,Wild_animals,Animal"
CHIRP = "Chirp_and_tweet,Bird_vocalization_and_bird_call_and_bird_song,Bird,Wild_animals,Animal"
DRUM = "Drum,Percussion,Musical_instrument,Music"

LABELS = [GUITAR, BASS, SNARE, BASS_DRUM, BARK, BIRD, CHIRP, DRUM]


def mids(labels: str) -> str:
    return ",".join(f"/m/{n}" for n in range(labels.count(",") + 1))


def fsd(folder: Path, extra: list[tuple[str, str, str]] = (), audio: int = 1, eval_rows: int = 1) -> Path:
    """dev.csv and eval.csv with 20 clips of each of LABELS and `extra` (fname, labels, split) in dev; audio for the
    first `audio` clips of every label and for the extra ones."""
    dev = [
        (str(1000 * k + n), labels, "val" if n == 0 else "train") for k, labels in enumerate(LABELS) for n in range(20)
    ]
    dev += extra
    evaluation = [(str(90_000 + n), CHIRP) for n in range(eval_rows)]
    truth, about = folder / "FSD50K.ground_truth", folder / "FSD50K.metadata"
    truth.mkdir(parents=True)
    about.mkdir()
    with open(truth / "dev.csv", "w", newline="", encoding="utf-8") as file:
        file.write("fname,labels,mids,split\n")
        file.writelines(f'{name},"{labels}","{mids(labels)}",{split}\n' for name, labels, split in dev)
    with open(truth / "eval.csv", "w", newline="", encoding="utf-8") as file:
        file.write("fname,labels,mids\n")
        file.writelines(f'{name},"{labels}","{mids(labels)}"\n' for name, labels in evaluation)
    clip = {"title": "a ü.wav", "description": "", "tags": [], "license": "http://creativecommons.org/licenses/by/3.0/"}
    for subset, rows in (("dev", dev), ("eval", evaluation)):
        info = {row[0]: clip | {"uploader": f"someone{row[0]}"} for row in rows}
        (about / f"{subset}_clips_info_FSD50K.json").write_text(json.dumps(info), encoding="utf-8")
    names = [str(1000 * k + n) for k in range(len(LABELS)) for n in range(audio)] + [row[0] for row in extra]
    for name in names:
        sound(folder / "FSD50K.dev_audio" / f"{name}.wav")
    for name, _ in evaluation:
        sound(folder / "FSD50K.eval_audio" / f"{name}.wav")
    return folder


def test_fsd50k_as_banks(tmp_path, capsys):
    extra = [("50007", ODD, "train"), ("50008", GUITAR, "train"), ("50009", f"{BARK},Speech,Human_voice", "train")]
    folder = fsd(tmp_path / "FSD50K", extra)
    fsd50k.main([str(folder), str(tmp_path / "out"), *QUIET, "--max-missing", "1"])
    train, val, test = (records(tmp_path / "out" / split) for split in ("train", "val", "eval"))
    assert set(train) == {"50008"}  # the other clips have no audio here
    assert sorted(r.events[0].label for r in val.values()) == sorted(labels.split(",")[0] for labels in LABELS)
    assert set(test) == {"90000"}
    guitar = train["50008"]
    assert guitar.licence == "http://creativecommons.org/licenses/by/3.0/"
    assert guitar.source == "freesound.org sound 50008 by someone50008: a ü.wav"
    assert guitar.split == "train"
    assert guitar.details["ids"] == ["freesound:50008"]
    assert guitar.details["labels"] == GUITAR.split(",")
    assert (guitar.events[0].onset, guitar.events[0].offset) == (0.0, guitar.duration)
    assert guitar.duration == pytest.approx(0.3, abs=0.011)
    left_out = (tmp_path / "out" / "train" / LEFT_OUT).read_text()
    assert left_out.splitlines()[1:] == [
        "50007\tseveral: Bass_drum, Snare_drum",
        "50009\tseveral: Bark, Speech, Human_voice",  # on one clip each: nothing is concluded
    ]
    assert "153 clips have a single most specific label; 2 have several" in capsys.readouterr().out
    corpus = Corpus(tmp_path / "out" / "val")
    assert corpus.name == "fsd50k-val"
    # What lies above another class is not declared: a mixture with a bark does not list "Dog".
    assert corpus.annotates == sorted(
        ["electric guitar", "bass guitar", "snare drum", "bass drum", "dog barking", "bird chirping"]
    )
    assert set(Bank(tmp_path / "out" / "val").by_label) == {r.events[0].label for r in val.values()}


def test_fsd50k_hierarchy_is_inferred_from_all_clips():
    clips = [tuple(labels.split(",")) for labels in (*LABELS * 20, ODD)]
    ancestors = fsd50k.infer_ancestors(clips)
    assert ancestors["Electric_guitar"] == set(GUITAR.split(",")[1:])
    assert ancestors["Snare_drum"] == {"Drum", "Percussion", "Musical_instrument", "Music"}
    assert ancestors["Chirp_and_tweet"] >= {"Bird", "Animal"}
    assert ancestors["Bird"] == {"Wild_animals", "Animal"}  # on the same clips as Wild_animals, but before it
    assert not ancestors["Music"]
    assert fsd50k.most_specific(tuple(ODD.split(",")), ancestors) == ["Bass_drum", "Snare_drum"]
    assert fsd50k.most_specific(tuple(DRUM.split(",")), ancestors) == ["Drum"]


def test_fsd50k_reads_what_is_there(tmp_path):
    folder = fsd(tmp_path / "FSD50K", eval_rows=25)
    (folder / "FSD50K.ground_truth" / "dev.csv").unlink()
    with pytest.raises(ValueError, match="no clips of train: choose other splits with --split"):
        fsd50k.read_fsd50k(folder)
    assert len(fsd50k.read_rows(folder)) == 25
    (folder / "FSD50K.metadata" / "eval_clips_info_FSD50K.json").write_text("{}")
    with pytest.raises(ValueError, match=r"eval.csv: row 2: clip 90000 is not in .*eval_clips_info"):
        fsd50k.read_fsd50k(folder, ["eval"])
    (folder / "FSD50K.ground_truth" / "eval.csv").unlink()
    with pytest.raises(ValueError, match=r"dev.csv and eval.csv are missing"):
        fsd50k.read_rows(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('64760.wav,"Bark","/m/1",train', "row 162: fname '64760.wav' is not a number"),
        ('64760,"Bark,Dgo","/m/1,/m/2",train', "row 162: label 'Dgo' is none of the 200"),
        ('64760,"Bark,Dog","/m/1",train', "row 162: 2 labels, 2 of them different, and 1 mids"),
        ('64760,"Bark,Bark","/m/1,/m/1",train', "row 162: 2 labels, 1 of them different"),
        ('64760,"Bark","/m/1",test', "row 162: split 'test' is neither train nor val"),
        ('64760,"Bark","/m/1"', "row 162: 3 fields, the header has 4"),
        ('1000,"Bark","/m/1",train', "row 162: 1000 is listed in .*row 22 too"),
    ],
)
def test_fsd50k_rows_are_checked(tmp_path, row, message):
    folder = fsd(tmp_path / "FSD50K", audio=0)
    with open(folder / "FSD50K.ground_truth" / "dev.csv", "a") as file:
        file.write(row + "\n")
    with pytest.raises(ValueError, match=r"dev\.csv: " + message):
        fsd50k.read_rows(folder)


# UrbanSound8K --------------------------------------------------------------------------------------------------------


def test_urbansound8k(tmp_path):
    folder = us8k(tmp_path / "UrbanSound8K")
    urbansound8k.main([str(folder), str(tmp_path / "out"), *QUIET])
    got = records(tmp_path / "out")
    assert set(got) == {"100032-3-0-0", "100263-2-0-117", "100648-1-0-0"}
    kids = got["100263-2-0-117"]
    assert (kids.split, kids.captions, kids.events) == ("fold5", ("children playing",), ())
    assert kids.details == {"class": "children_playing", "salience": 1, "ids": ["freesound:100263"]}
    assert kids.licence == "CC-BY-NC-3.0"
    # start and end are places in the Freesound recording: the slice is taken whole.
    assert kids.duration == pytest.approx(0.5, abs=1e-3)
    corpus = Corpus(tmp_path / "out")
    assert (corpus.name, corpus.manifest["vocabulary"]) == ("urbansound8k", "urbansound8k")
    urbansound8k.main([str(folder), str(tmp_path / "ten"), *QUIET, "--folds", "10"])
    assert set(records(tmp_path / "ten")) == {"100648-1-0-0"}
    assert Corpus(tmp_path / "ten").name == "urbansound8k-fold10"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("100263,58.5", "abc,58.5", "row 3: fsID 'abc' is not a number"),
        ("1,5,2,children", "1,11,2,children", "row 3: fold '11' is not 1 to 10"),
        ("2,children_playing", "3,children_playing", "row 3: class 'children_playing' with classID '3'"),
        ("2,children_playing", "2,children", "row 3: class 'children' with classID '2'"),
        ("62.5,1,5", "62.5,3,5", "row 3: salience '3' is neither 1 nor 2"),
        ("100263-2-0-117.wav", "../x.wav", "row 3: '../x.wav' is not the name of a file"),
        (",62.5", "", "row 3: 7 fields, the header has 8"),
        ("classID", "classId", "row 1: no column 'classID'"),
    ],
)
def test_urbansound8k_rows_are_checked(tmp_path, old, new, message):
    folder = us8k(tmp_path / "UrbanSound8K", US8K.replace(old, new))
    with pytest.raises(ValueError, match=r"UrbanSound8K\.csv: ") as error:
        urbansound8k.read_urbansound8k(folder)
    assert message in str(error.value)


# VGGSound ------------------------------------------------------------------------------------------------------------

TEST_CSV = '---g-f_I2yQ_000001.mp4,people marching\r\n_547JTmvb9g_000185.mp4,"bird chirping, tweeting"\r\n'


def test_vggsound(tmp_path):
    folder = vgg(tmp_path / "VGGSound")
    argv = [str(folder), str(tmp_path / "out"), *QUIET, "--split", "test", "train", "--max-missing", "0.3"]
    vggsound.main(argv)
    test, train = records(tmp_path / "out" / "test"), records(tmp_path / "out" / "train")
    assert set(test) == {"---g-f_I2yQ_000001", "_547JTmvb9g_000185", "Y8-g2rof7E__000049"}
    assert set(train) == {"--0PQM4-hqg_000030"}
    heart = test["Y8-g2rof7E__000049"]
    assert heart.details == {"class": "heart sounds, heartbeat", "ids": ["youtube:Y8-g2rof7E_"]}
    assert heart.captions == ("heartbeat",)
    assert heart.split == "test"
    missing = read_missing(tmp_path / "out" / "test")
    assert [(key, Path(file).name, why) for key, file, why in missing] == [
        ("Y8-g2rof7E__100000", "Y8-g2rof7E__100000.mp4", "missing")
    ]
    assert Corpus(tmp_path / "out" / "test").name == "vggsound-test"


def test_vggsounds_second_layout_gives_the_same(tmp_path):
    folder = vgg(tmp_path / "clips", TEST_CSV, "elsewhere/test.csv")
    labels = folder / "elsewhere" / "test.csv"
    vggsound.main([str(folder), str(tmp_path / "out"), *QUIET, "--labels", str(labels)])
    got = records(tmp_path / "out" / "test")
    assert {key: r.details["class"] for key, r in got.items()} == {
        "---g-f_I2yQ_000001": "people marching",
        "_547JTmvb9g_000185": "bird chirping, tweeting",
    }
    assert not vggsound.read_vggsound(labels, folder, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---g-f_I2y,1,people marching,test\n", "row 1: '---g-f_I2y' is not a YouTube id"),
        (VGG + "---g-f_I2yQ,1.5,people marching,test\n", "row 6: start '1.5' is not a whole number"),
        (VGG + "---g-f_I2yQ,1,people marching,val\n", "row 6: split 'val' is neither train nor test"),
        (VGG + "---g-f_I2yQ,1,bird chirping, tweeting,test\n", "row 6: 5 fields"),
        (VGG + "---g-f_I2yQ,1,people\n", "row 6: 3 fields"),
        (VGG + "---g-f_I2yQ,1,march,test\n", "row 6: label 'march' is none of the 309"),
        (TEST_CSV + "---g-f_I2yQ_1.mp4,people marching\r\n", "row 3: '---g-f_I2yQ_1.mp4' is not <11"),
        (VGG + '---g-f_I2yQ,1,"people', "row 6: not CSV"),
    ],
)
def test_vggsounds_rows_are_checked(tmp_path, text, message):
    folder = vgg(tmp_path / "VGGSound", text)
    with pytest.raises(ValueError, match=r"vggsound\.csv: row ") as error:
        vggsound.read_vggsound(folder / "data" / "vggsound.csv", folder)
    assert message in str(error.value)


# ESC -----------------------------------------------------------------------------------------------------------------


def test_esc_whole_for_zero_shot(tmp_path):
    folder = esc50(tmp_path / "ESC-50-master")
    esc.main([str(folder), str(tmp_path / "out"), *QUIET, "--zero-shot"])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["zero-shot"]
    got = records(tmp_path / "out" / "zero-shot")
    birds = got["5-9032-B-14"]
    assert (birds.duration, birds.captions, birds.events, birds.split) == (5.0, ("birds chirping",), (), "fold5")
    assert birds.details == {"class": "chirping_birds", "ids": ["freesound:9032"]}
    corpus = Corpus(tmp_path / "out" / "zero-shot")
    assert (corpus.name, corpus.manifest["vocabulary"]) == ("esc50-zero-shot", "esc50")


# Vocabularies --------------------------------------------------------------------------------------------------------
