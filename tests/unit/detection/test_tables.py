"""Tables of events: to the letter of each format, the same in every locale, and read back as labels."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import unicodedata
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flam_train.data.labels.attach import attach
from flam_train.data.labels.formulas import as_meant
from flam_train.data.labels.recognise import parse
from flam_train.data.labels.rows import NOTHING, Wanted, is_no_call
from flam_train.detection.events import Detection
from flam_train.detection.tables import FORMATS, Recorded
from flam_train.detection.tables.formats import texts
from flam_train.detection.tables.separated import to_csv

GOLDEN = Path(__file__).parent / "golden"
END_TO_END = ("audacity", "textgrid")
"""Formats without a place for names of files."""

STREET = Recorded(
    "site A/street.wav",
    10.0004375,
    44_100,
    (
        Detection(0.0, 1.25, "dog barking", 0.75, 0.91234),
        Detection(0.313, 0.938, '=HYPERLINK("x")', 0.5, 0.5),
        Detection(9.375, 10.0, "dog barking", 0.625, 0.7),
    ),
    Path("/data/site A/street.wav"),
    datetime(2024, 10, 27, 2, 59, 59, 500_000, ZoneInfo("Europe/Berlin")),  # clocks are put back half a second later
)
YARD = Recorded("yard.flac", 4.0, 48_000, (Detection(1.0, 2.0, '"Vögel" 鳥 🐦', 0.6),), Path("/data/yard.flac"))
SILENT = Recorded("silent.wav", 2.0, 8_000, (), Path("/data/silent.wav"))
ALL = [STREET, YARD, SILENT]

PHRASES = (
    "dog barking",
    "a\tb",
    "first\r\nsecond\nthird",
    'say "hi"',
    '"quoted"',
    '"',
    '""',
    "it's",
    "<b>bold</b> &amp; [x](y) \\n",
    '=HYPERLINK("x")',
    "'=1",
    "x;=1+1;y",
    "-5 dB, +3",
    "@home",
    "# no comment",
    "0.5",
    "1,5;2",
    "\\ backslash",
    "🐕‍🦺 barks",
    "כלב נובח",
    "犬が吠える",
    "e\u0301 Ä",
    "a\u00a0b\u2028c",
    "bell\x07 half \ud83d",
    "long " * 2000 + "end",
)


def read_back(folder: Path, named: dict[str, Recorded], name: str, labels: Path | None = None) -> dict[str, list]:
    """{recording: [(onset in ms, offset, phrase)]} as `custom.py` reads it."""
    for file in named:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    found = attach(folder, labels, Wanted())
    expected = {"tsv": "table", "csv": "table", "json": "clip_json", "jsonl": "json_lines"}.get(name, name)
    assert set(found.formats) == {expected}
    return {r.name: sorted((*_ms(row.onset, row.offset), row.label) for _, row, _ in r.rows) for r in found.recordings}


def _ms(*seconds: float) -> tuple[int, ...]:
    return tuple(round(1000 * s) for s in seconds)


def meant(phrase: str) -> str:
    """What readers make of any label: NFC, single spaces; what they refuse stands there as in `tables`."""
    text = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else " " if c == "\x07" else c for c in phrase)
    return " ".join(unicodedata.normalize("NFC", text).split())


def expected(one: Recorded, begin: float = 0.0) -> list:
    return sorted((*_ms(begin + d.onset, begin + d.offset), meant(d.phrase)) for d in one.detections)


@pytest.mark.parametrize("name", FORMATS)
def test_to_the_letter(name):
    suffix, text = FORMATS[name].suffix, FORMATS[name].text
    assert text(ALL).encode() == (GOLDEN / f"all{suffix}").read_bytes()


def test_a_channel_column_where_channels_are_looked_at_one_by_one():
    stereo = replace(YARD, detections=(Detection(1.0, 2.0, "rain", 0.6, 0.7, 2), Detection(1.5, 2.5, "rain", 0.6)))
    assert FORMATS["tsv"].text([stereo]) == (
        "filename\tonset\toffset\tevent_label\tchannel\n"
        "yard.flac\t1.000\t2.000\train\t2\n"
        "yard.flac\t1.500\t2.500\train\t\n"
    )
    assert FORMATS["csv"].text([stereo]) == (
        "filename,onset,offset,event_label,score,peak,channel\n"
        "yard.flac,1.000,2.000,rain,0.6000,0.7000,2\n"
        "yard.flac,1.500,2.500,rain,0.6000,,\n"
    )
    lines = [line.split("\t") for line in FORMATS["raven"].text([stereo]).splitlines()]
    assert [line[2] for line in lines] == ["Channel", "2", "1"]
    assert json.loads(FORMATS["jams"].text([stereo]))["annotations"][0]["sandbox"]["channel"] == [2, None]
    assert [json.loads(line)["channel"] for line in FORMATS["jsonl"].text([stereo]).splitlines()] == [2, None]


def test_a_label_track_of_each_channel():
    one = replace(YARD, detections=(Detection(1.0, 2.0, "rain", 0.6, 0.7, 2),), channels=(1, 2))
    both = replace(STREET, detections=(Detection(1.5, 2.5, "dog", 0.6, 0.7, 3),), channels=(1, 2, 3))
    assert texts(FORMATS["audacity"], [one]) == {".channel-1.txt": "", ".channel-2.txt": "1.000\t2.000\train\n"}
    joined = {1: "", 2: "1.000\t2.000\train\n", 3: "5.500\t6.500\tdog\n"}  # as long as the recordings are
    assert texts(FORMATS["audacity"], [one, both]) == {f".channel-{n}.txt": text for n, text in joined.items()}
    assert set(texts(FORMATS["audacity"], [YARD])) == {".txt"}
    for name in set(FORMATS) - {"audacity"}:
        assert texts(FORMATS[name], [one, both]) == {FORMATS[name].suffix: FORMATS[name].text([one, both])}


def test_a_channel_column_also_of_nothing():
    nothing = replace(YARD, detections=(), channels=(1, 2))
    assert FORMATS["tsv"].text([nothing]) == "filename\tonset\toffset\tevent_label\tchannel\n"
    assert FORMATS["csv"].text([nothing]) == "filename,onset,offset,event_label,score,peak,channel\n"


def test_csv_for_excel_has_a_mark_and_its_line_ends():
    plain = to_csv(ALL)
    assert to_csv(ALL, excel=True) == "\ufeff" + plain.replace("\n", "\r\n")
    assert "\r" not in plain


@pytest.mark.parametrize("name", ["tsv", "csv", "raven"])
@pytest.mark.parametrize("excel", [False, True])
def test_no_cell_of_a_phrase_is_a_formula(name, excel):
    one = replace(YARD, detections=tuple(Detection(0.0, 1.0, p, 0.5) for p in PHRASES))
    text = to_csv([one], excel) if name == "csv" else FORMATS[name].text([one])
    for separator in (",", "\t", ";"):  # whichever a spreadsheet takes for the separator
        for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator):
            cells = [cell for cell in row if name == "csv" or separator != ","]  # of tabs nobody makes commas
            assert not any(cell.lstrip()[:1] in tuple("=+-@") for cell in cells), row


def test_names_of_files_that_begin_like_formulas_are_the_same_files_in_csv(tmp_path):
    one = replace(YARD, file="-take, 1.flac")
    text = to_csv([one])
    assert text.splitlines()[1].startswith('"./-take, 1.flac",')
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert read_back(tmp_path, {one.file: one}, "csv", tmp_path / "labels.csv") == {one.file: expected(one)}


@pytest.mark.parametrize("name", FORMATS)
def test_each_recording_read_back(name, tmp_path):
    spread = tuple(Detection(round(k * 1.1, 3), round(k * 1.1 + 0.777, 3), p, 0.5, 0.6) for k, p in enumerate(PHRASES))
    named = {one.file: one for one in (replace(STREET, seconds=60.0, detections=spread), YARD, SILENT)}
    for one in named.values():
        path = tmp_path / f"{one.file}{FORMATS[name].suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(FORMATS[name].text([one]).encode())
    assert read_back(tmp_path, named, name) == {file: expected(one) for file, one in named.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_joined_read_back(name, tmp_path):
    spread = tuple(Detection(k / 3, k / 3 + 0.25, p, 0.5, 0.6) for k, p in enumerate(PHRASES))
    spread = tuple(replace(d, onset=round(d.onset, 3), offset=round(d.offset, 3)) for d in spread)
    ones = [replace(STREET, seconds=60.00049), replace(YARD, detections=spread, seconds=9.00049), SILENT, STREET]
    ones[-1] = replace(STREET, file="site B/street.wav", path=Path("/data/site B/street.wav"))
    path = tmp_path / f"all{FORMATS[name].suffix}"
    path.write_bytes(FORMATS[name].text(ones).encode())
    if name in END_TO_END:
        begins = [0.0, *accumulate(one.seconds for one in ones)]
        rows = [row for one, begin in zip(ones, begins, strict=False) for row in expected(one, round(begin, 3))]
        whole = tmp_path / "whole"
        whole.mkdir()
        path = path.rename(whole / f"all{FORMATS[name].suffix}")
        assert read_back(whole, {"all.wav": SILENT}, name) == {"all.wav": sorted(rows)}
    else:
        assert read_back(tmp_path, {o.file: o for o in ones}, name, path) == {o.file: expected(o) for o in ones}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=4), st.sampled_from(sorted(FORMATS)))
def test_any_phrase_read_back(tmp_path_factory, phrases, name):
    kept = [p for p in phrases if meant(p) and not _is_refused(p)]
    one = replace(YARD, detections=tuple(Detection(0.5 + k, 0.75 + k, p, 0.5) for k, p in enumerate(kept)))
    text = FORMATS[name].text([one])
    labels, _ = parse(text.encode(), f"yard.flac{FORMATS[name].suffix}", Wanted())
    assert sorted((*_ms(r.onset, r.offset), r.label) for r in labels.rows) == expected(one)


def _is_refused(phrase: str) -> bool:
    """What readers of tables take for nothing, and what only `test_control_characters_are_spaces` is about."""
    nothing = meant(phrase) in NOTHING or is_no_call(phrase)
    return nothing or any(unicodedata.category(c) in ("Cc", "Cs") or c == "\ufeff" for c in phrase)


@pytest.mark.parametrize("name", FORMATS)
def test_control_characters_are_spaces(name):
    one = replace(YARD, detections=(Detection(0.0, 1.0, "a\x00b\x1b\x7f\x85\x9fc\udc80", 0.5),))
    labels, _ = parse(FORMATS[name].text([one]).encode(), f"yard.flac{FORMATS[name].suffix}")
    assert [row.label for row in labels.rows] == ["a b c\ufffd"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("phrase", ["", " \n", "\ufeff"])
def test_a_phrase_of_nothing_is_refused(name, phrase):
    with pytest.raises(ValueError, match="has nothing that can be read: write what is to be heard"):
        FORMATS[name].text([replace(YARD, detections=(Detection(0.0, 1.0, phrase, 0.5),))])


def test_json_keeps_phrases_as_they_are():
    phrase = 'first\n\t "second"  e\u0301'
    one = replace(YARD, detections=(Detection(0.0, 1.0, phrase, 0.5),))
    assert json.loads(FORMATS["json"].text([one]))["events"][0]["event_label"] == phrase
    assert json.loads(FORMATS["jsonl"].text([one]))["event_label"] == phrase
    assert json.loads(FORMATS["jams"].text([one]))["annotations"][0]["data"][0]["value"] == phrase


@pytest.mark.parametrize("name", ["json", "jsonl", "jams"])
def test_json_is_strict(name):
    one = replace(YARD, detections=(Detection(0.0, 1.0, "rain", math.nan, math.inf),))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for text in [FORMATS[name].text([one])] if name != "jsonl" else FORMATS[name].text([one]).splitlines():
        json.loads(text, parse_constant=refuse)


def test_json_knows_recordings_without_events(tmp_path):
    for one in ALL:
        (tmp_path / one.file).parent.mkdir(exist_ok=True)
        (tmp_path / one.file).touch()
    (tmp_path / "all.json").write_bytes(FORMATS["json"].text(ALL).encode())
    found = attach(tmp_path, tmp_path / "all.json")
    assert {r.name for r in found.recordings if r.spoken} == {one.file for one in ALL}


@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_pandas_reads_tables(name):
    phrases = [p for p in PHRASES if p == meant(p)]
    one = replace(YARD, detections=tuple(Detection(0.0, 1.0, p, 0.5) for p in phrases))
    frame = pandas.read_csv(io.StringIO(FORMATS[name].text([one])), sep={"tsv": "\t", "csv": ","}[name], dtype=str)
    assert [as_meant(p) for p in frame.event_label] == phrases


def tiers_of(text: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """(name, [(xmin, xmax, text)]) of each, by lines."""
    tiers: list[tuple[str, list[tuple[str, str, str]]]] = []
    values: list[str] = []
    for line in text.splitlines()[5:]:
        key, _, value = line.strip().partition(" = ")
        if key == "name":
            tiers.append((value[1:-1], []))
        elif key == "text":
            tiers[-1][1].append((*values[-2:], value[1:-1]))
        else:
            values.append(value)
    return tiers


times = st.integers(0, 4000).map(lambda ms: ms / 1000)
detections = st.builds(
    lambda a, b, phrase, channel: Detection(min(a, b), max(a, b), phrase, 0.5, channel=channel),
    times, times, st.sampled_from(["rain", "dog"]), st.sampled_from([None, 1, 2]),
)  # fmt: skip


@given(st.lists(detections, max_size=8), st.sampled_from([4.0, 4.0001234, 5.5]))
def test_tiers_cover_the_whole_and_have_no_empty_interval(found, seconds):
    tiers = tiers_of(FORMATS["textgrid"].text([replace(YARD, seconds=seconds, detections=tuple(found))]))
    assert tiers
    for _, intervals in tiers:
        stop = max(seconds, 4.001) if any(d.onset == 4.0 for d in found) else seconds
        assert (intervals[0][0], float(intervals[-1][1])) == ("0", pytest.approx(stop, abs=1e-6))
        assert all(a[1] == b[0] for a, b in pairwise(intervals))
        assert all(float(end) > float(begin) for begin, end, _ in intervals)
    written = defaultdict(list)
    for name, intervals in tiers:
        written[name] += [_ms(float(a), float(b)) for a, b, text in intervals if text]
    wanted = defaultdict(list)
    for d in found:
        onset, offset = _ms(d.onset, d.offset)
        name = d.phrase if d.channel is None else f"{d.phrase} (channel {d.channel})"
        wanted[name].append((onset, max(offset, onset + 1)))
    assert {name: sorted(rows) for name, rows in written.items() if rows} == {n: sorted(r) for n, r in wanted.items()}


def test_without_events_a_textgrid_has_a_tier():
    assert tiers_of(FORMATS["textgrid"].text([SILENT])) == [("events", [("0", "2", "")])]


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_date_times_have_their_zone(zone):
    one = replace(YARD, start=datetime(2023, 12, 31, 23, 59, 59, tzinfo=zone))
    row = next(csv.DictReader(io.StringIO(FORMATS["csv"].text([one]))))
    assert datetime.fromisoformat(row["onset_datetime"]) == datetime(2024, 1, 1, tzinfo=zone)
    assert datetime.fromisoformat(row["offset_datetime"]).utcoffset() == zone.utcoffset(None)
    raven = FORMATS["raven"].text([one]).splitlines()[1].split("\t")
    assert raven[-2:] == ["2024/01/01", "00:00:00.000"]


def test_a_start_without_zone_is_refused():
    with pytest.raises(ValueError, match=r"yard.flac: its start .* has no zone"):
        replace(YARD, start=datetime(2024, 1, 1))


@pytest.mark.parametrize("language", ["C", "de_DE.UTF-8"])
def test_the_same_bytes_in_every_locale(language, tmp_path):
    code = (
        "import contextlib, locale, sys; from pathlib import Path\n"
        "with contextlib.suppress(locale.Error): locale.setlocale(locale.LC_ALL, '')\n"
        "from flam_train.detection.tables import FORMATS, write\n"
        "from test_tables import ALL\n"
        "for f in FORMATS.values(): write(Path(sys.argv[1]) / ('all' + f.suffix), f.text(ALL))\n"
    )
    env = os.environ | {"LC_ALL": language, "LANG": language, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=env)
    for suffix in (kind.suffix for kind in FORMATS.values()):
        assert (tmp_path / f"all{suffix}").read_bytes() == (GOLDEN / f"all{suffix}").read_bytes()
