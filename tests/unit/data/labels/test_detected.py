"""Results of detection as label files: names with tags and channels, files of several recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flam_train.data.labels.attach import attach
from flam_train.data.labels.detected import of_channel, tag_of
from flam_train.data.labels.recognise import parse
from flam_train.data.labels.rows import Wanted

LABEL = "1.000\t2.000\train\n"


def there(folder: Path, *recordings: str) -> Path:
    for name in recordings:
        (folder / "recs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "recs" / name).touch()
    (folder / "labels").mkdir()
    return folder / "recs"


def found(folder: Path, labels: Path | None = None) -> dict[str, list]:
    """{recording: [(label, channel)]}, those without a channel first."""
    attached = attach(folder, labels).recordings
    return {
        r.name: sorted(((row.label, row.channel) for _, row, _ in r.rows), key=lambda e: e[1] or 0)
        for r in attached
        if r.spoken
    }


def test_a_tag_stands_for_the_name_that_it_was_made_of(tmp_path):
    recs = there(tmp_path, "a.wav", "A.WAV", "Site/b.wav", "site/b.wav")
    for name in ("a.wav.txt", f"A.WAV~{tag_of('A.WAV')}.txt", f"S~{tag_of('Site')}/b.wav.txt", "site/b.wav.txt"):
        (tmp_path / "labels" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "labels" / name).write_text(f"1\t2\t{name}\n")
    assert found(recs, tmp_path / "labels") == {
        "A.WAV": [(f"A.WAV~{tag_of('A.WAV')}.txt", None)],
        "Site/b.wav": [(f"S~{tag_of('Site')}/b.wav.txt", None)],
        "a.wav": [("a.wav.txt", None)],
        "site/b.wav": [("site/b.wav.txt", None)],
    }


def test_a_tag_of_no_recording_is_a_name(tmp_path):
    recs = there(tmp_path, "a.wav", "b~01234567.wav")
    (tmp_path / "labels" / "b~01234567.txt").write_text(LABEL)
    assert found(recs, tmp_path / "labels") == {"b~01234567.wav": [("rain", None)]}
    (tmp_path / "labels" / "c~01234567.txt").write_text(LABEL)
    with pytest.raises(ValueError, match="names no recordings and none is called 'c~01234567'"):
        found(recs, tmp_path / "labels")


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_of_each_channel(tmp_path, beside):
    recs = there(tmp_path, "a.wav", "A.wav", "b.wav", "b.wav.channel-2.wav")
    folder = recs if beside else tmp_path / "labels"
    for name in ("a.wav", f"A.wav~{tag_of('A.wav')}"):
        for channel in (1, 12):
            (folder / f"{name}{of_channel(channel, '.txt')}").write_text(LABEL)
    (folder / "b.wav.channel-2.txt").write_text(LABEL)  # of the recording that is called so
    both = [("rain", 1), ("rain", 12)]
    want = {"a.wav": both, "A.wav": both, "b.wav.channel-2.wav": [("rain", None)]}
    assert found(recs, None if beside else folder) == want


def test_what_is_made_of_all_recordings_is_passed_over_or_refused(tmp_path):
    recs = there(tmp_path, "a.wav", "events.wav")
    labels = tmp_path / "labels"
    for name in ("a.wav.txt", "events.txt", "events.channel-1.txt", "events.wav.txt"):
        (labels / name).write_text(LABEL)
    plain = found(recs, labels)  # of a folder that is no result folder
    assert plain == {"a.wav": [("rain", None)], "events.wav": [("rain", None), ("rain", None), ("rain", 1)]}
    for name in ("settings.json", "summary.csv"):
        (labels / name).write_text("")
    assert found(recs, labels) == {"a.wav": [("rain", None)], "events.wav": [("rain", None)]}
    for name in ("events.txt", "events.channel-1.txt"):
        with pytest.raises(ValueError, match=f"{name}: holds events of several .* give .*, --labels {labels}$"):
            found(recs, labels / name)


def jams(*annotations: dict) -> bytes:
    """Of (time, duration, value) as data."""
    keys = ("time", "duration", "value")
    data = [[dict(zip(keys, one, strict=True)) for one in a["data"]] for a in annotations]
    made = [{"namespace": "tag_open", **a, "data": some} for a, some in zip(annotations, data, strict=True)]
    return json.dumps({"annotations": made, "sandbox": {"format": "flam-detections"}}).encode()


def test_jams_of_several_recordings_end_to_end():
    a = {
        "data": [(1.5, 0.25, "rain"), (2.0, 1.0, "dog")],
        "time": 0.0,
        "sandbox": {"filename": "a.wav", "channel": [2, None]},
    }
    silent = {"data": [], "time": 10.0, "sandbox": {"filename": "b.wav"}}
    c = {"data": [(31.25, 0.5, "rain")], "time": 30.25, "sandbox": {"filename": "s/c.wav"}}
    read, _ = parse(jams(a, silent, c), "events.jams")
    rows = [(row.recording, row.onset, row.offset, row.label, row.channel) for row in read.rows]
    assert rows == [
        ("a.wav", 1.5, 1.75, "rain", 2),
        ("a.wav", 2.0, 3.0, "dog", None),
        ("s/c.wav", 1.0, 1.5, "rain", None),
    ]
    assert [named.recording for named in read.without] == ["b.wav"]
    read, _ = parse(jams(c), "c.jams")
    assert (read.of, read.rows[0].recording, read.rows[0].onset) == (("s/c.wav",), None, 1.0)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"sandbox": {}}, "annotation 1: its sandbox has no filename: write the file again"),
        ({"sandbox": {"filename": "a.wav", "channel": [1, 2]}}, "annotation 1: its sandbox's channels are not one for"),
        ({"sandbox": {"filename": "a.wav", "channel": [0]}}, "annotation 1: its sandbox's channels are not one for"),
        ({"time": None}, "annotation 1: time None is not a number of seconds"),
    ],
)
def test_jams_of_detection_that_were_altered(changed, fault):
    with pytest.raises(ValueError, match=fault):
        parse(jams({"data": [(1, 1, "rain")], "time": 0, "sandbox": {"filename": "a.wav"}} | changed), "a.jams")


def textgrid(**tiers: str) -> bytes:
    items = "\n".join(
        f'"IntervalTier" "{name}" 0 9 {len(labels.split("|"))} '
        + " ".join(f'{n} {n + 1} "{label}"' for n, label in enumerate(labels.split("|")))
        for name, labels in tiers.items()
    )
    return f'File type = "ooTextFile"\nObject class = "TextGrid"\n0 9 <exists> {len(tiers)} {items}'.encode()


def test_tiers_that_are_classes_need_no_choice():
    read, _ = parse(
        textgrid(**{"rain": "|rain|rain", "a  dog (channel 2)": "a dog", "dog (channel 1)": "dog (channel 1)"}),
        "a.TextGrid",
    )
    found = [(row.onset, row.label, row.channel) for row in read.rows]
    assert found == [(1, "rain", None), (2, "rain", None), (0, "a dog", 2), (0, "dog (channel 1)", None)]
    for name, labels in (("dog", "dog|cat"), ("sounds", "dog"), ("dog (channel 0)", "dog"), ("", "dog")):
        with pytest.raises(ValueError, match="has several tiers"):
            parse(textgrid(**{"rain": "rain", name: labels}), "a.TextGrid")
    only, _ = parse(textgrid(rain="rain", dog="dog"), "a.TextGrid", Wanted(tier="dog"))
    assert [row.label for row in only.rows] == ["dog"]
