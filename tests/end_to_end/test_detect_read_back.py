"""What flam-detect run has written, read as labels by data_prep/custom.py: the same events, whatever recordings are
called and wherever they lie."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest
from detect_runs import LOOSE, PHRASES, noise, run

from flam_train.data.labels.attach import attach
from flam_train.data.labels.rows import Wanted
from flam_train.detection.tables.formats import FORMATS

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

ALIKE = ("a.wav", "A.WAV", "a.flac", "s/a.wav", "S/a.wav", "S/A.wav", "clips/b.wav", "two  spaces.wav")
"""Names that would share their results on some disk."""

NAMELESS = ("audacity", "textgrid")
"""Formats in which joined recordings have no names."""

SAYING = ("audacity", "jams", "raven", "textgrid")
"""Formats of which channels are read unasked; in tables and JSON a column may mean anything: --columns names it."""

Events = dict[str, list[tuple[int, int, str, int | None]]]
"""{recording: [(onset in ms, offset, label, channel)]}, sorted."""


def read(folder: str, labels: str | None, format: str | None = None) -> Events:
    found = attach(Path(folder), labels and Path(labels), Wanted(), format)
    assert all(r.spoken for r in found.recordings)
    rows = ((r.name, row) for r in found.recordings for _, row, _ in r.rows)
    return by_recording(((name, row.onset, row.offset, row.label, row.channel) for name, row in rows), found.recordings)


def written(out: str, folder: str | Path) -> Events:
    """By the joined JSON, relative to the recordings' folder, which it calls so."""
    every = json.loads((Path(out) / "events.json").read_text())
    rows = (
        (e["filename"], e["onset"], e["offset"], unicodedata.normalize("NFC", e["event_label"]), e.get("channel"))
        for e in every["events"]
    )
    return {str(Path(name).relative_to(folder)): some for name, some in by_recording(rows).items()}


def by_recording(rows, recordings=()) -> Events:
    found = defaultdict(list, {r.name: [] for r in recordings})
    for name, onset, offset, *others in rows:
        found[name].append((round(1000 * onset), round(1000 * offset), *others))
    return {name: sorted(some) for name, some in found.items()}


def without_channels(events: Events) -> Events:
    return {name: sorted((*event[:3], None) for event in some) for name, some in events.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_recordings_called_alike(export, format):
    for n, name in enumerate((*ALIKE, long := f"{'x' * 200}.wav")):
        noise(f"rec/{name}", 3 + n, seed=n)
    command = (export, "rec", "--phrases", *PHRASES, "a\u0308", *LOOSE, "--keep", "--out", "out", "--format")
    run(*command, "json")
    every = written("out", "rec")
    assert set(every) == {*ALIKE, long}
    run(*command, format)
    for labels in ("out/rec", "out"):
        assert without_channels(read("rec", labels)) == every, labels
    joined = f"out/events{FORMATS[format].suffix}"
    if format in NAMELESS:
        with pytest.raises(ValueError, match=r"does not say whose: give the folder .* --labels out$"):
            read("rec", joined)
    else:
        assert without_channels(read("rec", joined)) == every


@pytest.mark.parametrize("format", FORMATS)
def test_each_channel(export, format, capsys):
    noise("rec/a.wav", 5, channels=2)
    noise("rec/A.wav", 5, channels=3, seed=1)
    command = (export, "rec", "--phrases", *PHRASES, "rain (channel 1)", *LOOSE, "--keep", "--channels", "each")
    run(*command, "--out", "out", "--format", "json")
    every = written("out", "rec")
    assert {event[3] for event in every["A.wav"]} == {1, 2, 3}
    capsys.readouterr()
    run(*command, "--out", "out", "--format", format)
    said = capsys.readouterr().out
    assert all(Path(line.split()[-1]).is_file() for line in said.splitlines() if line.startswith("events  "))
    back = read("rec", "out")
    if format in SAYING:
        assert back == every
    assert without_channels(back) == without_channels(every)


@pytest.mark.parametrize("relative", [False, True])
def test_recordings_from_elsewhere(export, tmp_path, monkeypatch, relative):
    """Neither they nor results need stay where they were."""
    for n, name in enumerate(("a.wav", "A.wav", "s/a.wav")):
        noise(f"far/night 1/{name}", 5 + n, seed=n)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    rec = tmp_path / "far" / "night 1"
    command = (export, rec, "--phrases", *PHRASES, *LOOSE, "--format", *FORMATS, "--out")
    command = (*command, "out", "--relative-to", rec) if relative else (*command, "out")
    for part in ("1/3", "3/3", "2/3"):
        run(*command, "--part", part)
    every = written("out", "." if relative else rec)
    assert sorted(every) == ["A.wav", "a.wav", "s/a.wav"]
    place = Path("out", "." if relative else f"elsewhere{rec}")
    tsv = (place / "a.wav.tsv").read_bytes()
    run(export, rec / "a.wav", *command[2:])  # of a subset, they are called as before
    assert (place / "a.wav.tsv").read_bytes() == tsv
    run(*command)
    (tmp_path / "moved").mkdir()
    rec.rename(tmp_path / "moved" / "disk")
    Path("out").rename(tmp_path / "moved" / "results")
    monkeypatch.chdir(tmp_path / "moved")
    for path in Path("results").rglob("*.*"):  # each format, alone in its folder
        name = next((n for n, kind in FORMATS.items() if str(path).endswith(kind.suffix)), None)
        if name == "audacity" and str(path).endswith(FORMATS["raven"].suffix):
            name = "raven"
        if name is not None and path.name.startswith(("a.wav.", "A.wav", "events.")):
            to = Path("by", name, path.relative_to("results"))
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    for name in FORMATS:
        for file in ("settings.json", "summary.csv"):
            shutil.copy(f"results/{file}", f"by/{name}/{file}")
        assert without_channels(read("disk", f"by/{name}")) == every, name
        if name not in NAMELESS:
            assert without_channels(read("disk", f"by/{name}/events{FORMATS[name].suffix}")) == every, name
