"""Strongly labelled corpora as they are published: every quirk of their label files, and shards made of them."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flam_train.data.corpus import Corpus
from flam_train.data.schema import Event
from flam_train.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_prep"))

import audioset_strong  # noqa: E402
import desed  # noqa: E402
import maestro  # noqa: E402
import urbansed  # noqa: E402

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


# ---------------------------------------------------------------------------------------------------- AudioSet Strong

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


def test_audioset_strong_to_shards(tmp_path, capsys):
    folder, out = audioset(tmp_path / "as"), tmp_path / "out"
    audioset_strong.main([str(folder), str(out), "--subset", "--framed", "--max-missing", "0.2", *COMMON])
    assert "not checked" in capsys.readouterr().out
    train = samples(out / "train")
    assert sorted(train) == sorted(["-a_b-c_d-e__30000", "s9d-2nhuJCQ_30000", "Y_345678901_0", "__________a_239800"])
    # Rows of a clip need not be adjacent, names hold commas, an offset at 10 s passes the end of this clip.
    assert events(train["-a_b-c_d-e__30000"]) == [(0.1, 0.3, "Bark"), (0.2, 0.4, "Cheering")]
    assert events(train["s9d-2nhuJCQ_30000"]) == [(0.2, 0.5, "Cheering")]
    assert events(train["Y_345678901_0"]) == [(0.0, 0.25, "Power saw, circular saw, table saw")]
    assert events(train["__________a_239800"]) == []  # its only event has no length
    assert train["Y_345678901_0"].details["ids"] == ["youtube:Y_345678901"]
    assert train["-a_b-c_d-e__30000"].details["ids"] == ["youtube:-a_b-c_d-e_"]
    assert "from 30.000 s" in train["s9d-2nhuJCQ_30000"].source
    assert "gone5678901_1000" in (out / "train" / "missing.tsv").read_text()
    corpus = Corpus(out / "train")
    assert (corpus.name, corpus.manifest["vocabulary"]) == ("audioset_strong-train", "audioset_strong")
    assert corpus.annotates == ["cheering", "dog barking", "power saw"]
    assert corpus.manifest["details"]["subset"] is True
    evaluated = samples(out / "eval")["evalclip901_0"]
    assert Corpus(out / "eval").annotates == ["wind noise"]
    assert evaluated.details["framed"] == [
        [0.0, 0.96, "Bark", False],
        [0.0, 0.96, "Wind noise (microphone)", True],
    ]


def test_audioset_strong_asserts_its_numbers_of_labels(tmp_path, capsys):
    said = failure(audioset_strong, capsys, audioset(tmp_path), tmp_path / "out")
    assert "4 labels instead of 456" in said
    assert "--subset" in said
    names = {f"m{n}": f"name {n}" for n in range(456)}
    train, evaluated = {f"name {n}" for n in range(447)}, {f"name {n}" for n in range(40, 456)}
    audioset_strong.check_labels(names, {"train": train, "eval": evaluated}, tmp_path)
    for found, message in [
        ({"train": train - {"name 0"}}, "446 labels instead of 447"),
        ({"eval": evaluated | {"name 0"}}, "417 labels instead of 416"),
        ({"train": train, "eval": evaluated - {"name 455"} | {"name 0"}}, "408 labels instead of 407"),
    ]:
        with pytest.raises(ValueError, match=message):
            audioset_strong.check_labels(names, found, tmp_path)


def test_an_audioset_file_named_by_the_video_alone_is_no_clip_of_several(tmp_path):
    files = {name: Path(name) for name in ("Yabcdefghij_", "abcdefghij__30000")}
    find = audioset_strong.find_clip
    assert find(files, "abcdefghij_", 30_000, False) == Path("abcdefghij__30000")
    assert find(files, "abcdefghij_", 60_000, False) is None
    assert find(files, "abcdefghij_", 60_000, True) == Path("Yabcdefghij_")
    assert find(files, "Yabcdefghij", 0, True) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("s9d-2nhuJCQ_30000\t0.1\t0.2\t/m/none", "label '/m/none' is no MID"),
        ("s9d-2nhuJCQ\t0.1\t0.2\t/m/05tny_", "is not <id of 11 characters>_<start in ms>"),
        ("s9d-2nhuJC_30000\t0.1\t0.2\t/m/05tny_", "is not <id of 11 characters>_<start in ms>"),
        ("s9d-2nhuJCQ_30000\t0.3\t0.2\t/m/05tny_", "0.3 to 0.2 s is no stretch of time"),
        ("s9d-2nhuJCQ_30000\t-1\t0.2\t/m/05tny_", "-1.0 to 0.2 s is no stretch of time"),
        ("s9d-2nhuJCQ_30000\tnan\t0.2\t/m/05tny_", "onset 'nan' is not a number"),
        ("s9d-2nhuJCQ_30000\t0.1\t0.2", "3 cells instead of 4"),
    ],
)
def test_audioset_rows_are_checked(tmp_path, capsys, row, message):
    folder = audioset(tmp_path)
    text(folder / "audioset_train_strong.tsv", HEADER, "s9d-2nhuJCQ_30000\t0.1\t0.2\t/m/05tny_", row)
    said = failure(audioset_strong, capsys, folder, tmp_path / "out", "--subset", "--split", "train")
    assert "audioset_train_strong.tsv: row 3: " in said
    assert message in said


def test_audioset_strong_vocabulary_is_whole():
    vocabulary = Vocabulary.load("audioset_strong")
    concepts = vocabulary.classes
    assert len(concepts) == 456
    assert {"Ducks, geese, waterfowl", "Slurp, drinking straw", "Inside, large room or hall"} <= set(concepts)
    assert len({c.id for c in concepts.values()}) == 456
    phrasings = [p.casefold() for c in concepts.values() for p in c.phrasings]
    assert len(set(phrasings)) == len(phrasings)
    assert all(1 <= len(c.phrasings) <= 3 for c in concepts.values())
    assert all(p.isascii() and p == p.strip() and not p[0].isupper() for c in concepts.values() for p in c.phrasings)
    assert concepts["Bark"].id == Vocabulary.load("esc50").concept("dog").id


# -------------------------------------------------------------------------------------------------------------- DESED

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


# ---------------------------------------------------------------------------------------------------------- URBAN-SED


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


# ------------------------------------------------------------------------------------------------------------ MAESTRO


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


def test_maestro_real_to_shards(tmp_path):
    maestro.main([str(maestro_folder(tmp_path / "maestro")), str(tmp_path / "out"), *COMMON])
    found = samples(tmp_path / "out" / "real")
    assert sorted(found) == ["cafe_restaurant_00-0000", "cafe_restaurant_00-0001"]
    first, second = found["cafe_restaurant_00-0000"], found["cafe_restaurant_00-0001"]
    # Strictly greater than 0.5: the third second is none; seconds that touch are one event, cut at the window's edge.
    assert events(first) == [
        (0.0, 2.0, "people talking"),
        (3.0, 4.0, "door opens/closes"),
        (3.0, 4.0, "people talking"),
        (9.0, 10.0, "footsteps"),
    ]
    assert events(second) == [(0.0, 1.0, "footsteps")]
    assert second.details["cut_from"] == [10.0, 12.5]
    # Soft values of the window, in seconds from its start, at most 1.
    assert len(first.details["soft"]) == 7
    assert [0.0, 1.0, "people talking", 1.0] in first.details["soft"]
    assert second.details["soft"] == [[0.0, 1.0, "footsteps", 0.8]]
    corpus = Corpus(tmp_path / "out" / "real")
    assert corpus.manifest["details"]["threshold"] == 0.5
    assert len(corpus.annotates) == 17
    assert len(corpus.manifest["details"]["evaluated"]) == 11
    assert set(maestro.REAL + maestro.SYNTHETIC) == set(corpus.vocabulary.classes)


def test_maestro_threshold(tmp_path, capsys):
    folder = maestro_folder(tmp_path / "maestro")
    maestro.main([str(folder), str(tmp_path / "out"), "--threshold", "0.2", *COMMON])
    first = samples(tmp_path / "out" / "real")["cafe_restaurant_00-0000"]
    assert (0.0, 4.0, "people talking") in events(first)
    assert (0.0, 1.0, "cutlery and dishes") in events(first)
    assert "less than 1" in failure(maestro, capsys, folder, tmp_path / "out", "--threshold", "1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.0\t2.0\tcar\t-0.1", "the value -0.1 is not 0 to 1"),
        ("1.0\t2.0\tcar\t55", "the value 55.0 is not 0 to 1"),
        ("1.0\t2.0\tcar_horn\t0.5", "'car_horn' is none of the labels of MAESTRO Real"),
        ("0.0\t1.0\tcar\t0.4", "'car' at 0.0 s has a value in row 1"),
        ("1.0\t2.0\tcar", "3 cells instead of 4"),
        ("onset\toffset\tevent_label\tvalue", "value 'value' is not a number"),
    ],
)
def test_maestro_rows_are_checked(tmp_path, capsys, row, message):
    path = text(tmp_path / "development_annotation/soft_labels_x/x_00.txt", "0.0\t1.0\tcar\t0.5", row)
    said = failure(maestro, capsys, tmp_path, tmp_path / "out")
    assert f"{path}: row 2: " in said
    assert message in said


def test_maestro_synthetic_to_shards(tmp_path, capsys):
    labels = tmp_path / "estimated_strong_labels/a/mturk_scape_1.csv"
    text(labels, "onset\toffset\tevent_label", "0.5\t1.5\tdog_bark", "0\t1\tchildren_voices")
    tone(tmp_path / "audio/b/scape_1.wav", 2.0, 8_000)
    maestro.main([str(tmp_path), str(tmp_path / "out"), *COMMON])
    assert events(samples(tmp_path / "out" / "synthetic")["scape_1"]) == [
        (0.5, 1.5, "dog_bark"),
        (0.0, 1.0, "children_voices"),
    ]
    assert len(Corpus(tmp_path / "out" / "synthetic").annotates) == 6
    text(labels, "filename\toffset\tevent_label")
    assert "row 1: the header must begin with onset" in failure(maestro, capsys, tmp_path, tmp_path / "other")
    assert "neither development_annotation nor" in failure(maestro, capsys, tmp_path / "b", tmp_path / "other")


def test_one_event_a_stretch():
    soft = [(1.0, 2.0, "car", 0.9), (0.0, 1.0, "car", 0.6), (0.0, 1.0, "footsteps", 0.5), (3.0, 4.0, "car", 0.8)]
    assert maestro.harden(soft, 0.5) == (Event(0.0, 2.0, "car"), Event(3.0, 4.0, "car"))


# ----------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ["desed", "urbansed", "maestro"])
def test_vocabularies_have_phrasings_and_hold_some_out(name):
    by_concept = {c.id: c for c in Vocabulary.load(name).classes.values()}
    concepts = by_concept.values()
    assert all(by_concept[c.id] == c for c in Vocabulary.load(name).classes.values())
    said = [p.casefold() for c in concepts for p in c.phrasings + c.held_out]
    assert len(set(said)) == len(said)
    assert all(len(c.phrasings) >= 3 and len(c.held_out) >= 2 for c in concepts)


def test_no_phrasing_means_two_things():
    """With the concepts of all corpora in one batch, it would be positive and negative at once."""
    meanings: dict[str, set[str]] = {}
    for name in ("audioset_strong", "desed", "urbansed", "maestro", "esc10", "urbansound8k"):
        for concept in Vocabulary.load(name).classes.values():
            for said in concept.phrasings:
                meanings.setdefault(said.casefold(), set()).add(concept.id)
    assert {said: ids for said, ids in meanings.items() if len(ids) > 1} == {}


def test_malformed_files_are_told_by_file_and_row(tmp_path):
    """Bytes changed, dropped and doubled: a valid result, or a ValueError that names the file; nothing else."""
    vocabularies = {n: Vocabulary.load(n) for n in ("audioset_strong", "desed", "urbansed", "maestro")}
    names = dict(row.split("\t") for row in NAMES)
    audioset(tmp_path / "as"), desed_folder(tmp_path / "desed")
    urbansed_folder(tmp_path / "urban"), maestro_folder(tmp_path / "maestro")
    metadata, audio = tmp_path / "desed/metadata", tmp_path / "none"
    scape = tmp_path / "urban/annotations/train/soundscape_train_bimodal0"
    soft = tmp_path / "maestro/development_annotation/soft_labels_cafe_restaurant/cafe_restaurant_00.txt"
    parsers = {
        tmp_path / "as/audioset_train_strong.tsv": lambda p: audioset_strong.read_labels(
            p, names, vocabularies["audioset_strong"]
        ),
        tmp_path / "as/audioset_eval_strong_framed_posneg.tsv": lambda p: audioset_strong.read_framed(
            p, names, vocabularies["audioset_strong"]
        ),
        tmp_path / "as/mid_to_display_name.tsv": lambda p: audioset_strong.read_names(
            p, vocabularies["audioset_strong"]
        ),
        metadata / "validation/validation.tsv": lambda p: desed.read_strong(p, audio, "x", vocabularies["desed"]),
        metadata / "train/weak.tsv": lambda p: desed.read_weak(p, audio, "x", vocabularies["desed"]),
        scape.with_suffix(".txt"): lambda p: urbansed.read_txt(p, vocabularies["urbansed"]),
        scape.with_suffix(".jams"): lambda p: urbansed.read_jams(p, vocabularies["urbansed"]),
        soft: lambda p: maestro.read_soft(p, vocabularies["maestro"]),
    }
    rng = random.Random(0)
    odd = [
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"-",
        b"9" * 400,
        b"1e999",
        b"nan",
        b'"',
        b"{",
        b"[",
        b"null",
        b"\\ud800",
    ]
    refused = 0
    for path, parse in parsers.items():
        whole = path.read_bytes()
        parse(path)
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(data) + 1)
                data[at : at + rng.choice([0, 0, 1, 1, 8])] = rng.choice([*odd, b"", bytes(data[at : at + 20])])
            path.write_bytes(data)
            try:
                parse(path)
            except ValueError as error:
                refused += 1
                assert str(error).startswith(f"{path}: "), error  # noqa: PT017
                assert any(f": {unit} " in str(error) for unit in ("row", "observation")), error  # noqa: PT017
    assert refused > 300
