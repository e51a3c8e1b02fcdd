"""Recordings begin when their names and tags say it; zones are never guessed."""

from __future__ import annotations

import struct
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import soundfile
from needs import FFMPEG

from flam_train.detection.clock import Clock, clock_of, events_by_hour, given_clock, time_of_day, time_text, zone_of

BERLIN = ZoneInfo("Europe/Berlin")
LATE = "2024-01-31T23:59:59"


@pytest.fixture
def begin(tmp_path):
    """The text of the time at which a file of some name begins."""

    def of(name: str, **options) -> str | None:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
        clock = clock_of(tmp_path / name, **options)
        return None if clock is None else clock.begin.isoformat()

    return of


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("20240131_235959.WAV", LATE),
        ("20240131_235959T.WAV", LATE),  # AudioMoth, triggered
        ("24E144036070AE94_20240131_235959.WAV", LATE),
        ("5A72586F.WAV", "2018-01-31T23:59:43+00:00"),  # AudioMoth, old
        ("SITE-1_20240131_235959.wav", LATE),  # Song Meter
        ("SM4_0+1_20240131_235959.wav", LATE),
        ("SITE_20240131$235959.wav", LATE),
        ("SITE_20240131_235959_000.wav", LATE),
        ("2MM01234_20240131_235959-0001.wav", LATE),
        ("S4A_20240131_235959+0200.flac", LATE + "+02:00"),
        ("20240131T235959Z.flac", LATE + "+00:00"),
        ("20240131T235959-0330_REC.flac", LATE + "-03:30"),
        ("2024-01-31T23:59:59.wav", LATE),
        ("2024-01-31T23:59:59.25Z.wav", LATE + ".250000+00:00"),
        ("2024-01-31T23-59-59+01-00.wav", LATE + "+01:00"),
        ("2024-01-31T23:59:59+02.wav", LATE + "+02:00"),
        ("rec 2024-01-31 23.59.59.m", LATE),
        ("garden_2024-01-31_23-59-59-01.wav", LATE),
        ("99999999_999999_20240131_235959.wav", LATE),  # a number, and a time
        ("1234567890_123456.wav", None),
        ("20240131.wav", None),
        ("12345678.WAV", None),
        ("abcdef12.wav", None),
        ("dog.wav", None),
    ],
)
def test_names(name, want, begin):
    assert begin(name) == want


@pytest.mark.parametrize(
    ("name", "text"),
    [("20240231_235959.WAV", "20240231_235959"), ("2024-13-31T23:59:59Z.wav", "2024-13-31T23:59:59Z"),
     ("A_20240131_246000.wav", "20240131_246000")],
)  # fmt: skip
def test_dates_that_do_not_exist_are_told_by_file(name, text, begin):
    with pytest.raises(
        ValueError, match=rf"{name}: '{text}' in its name is no time \(.*\): rename it, or give its start"
    ):
        begin(name)


def test_a_zone_counts_where_the_name_says_none(begin):
    assert begin("20240131_235959.WAV", zone=BERLIN) == LATE + "+01:00"
    assert begin("20240731_235959.WAV", zone=BERLIN) == "2024-07-31T23:59:59+02:00"
    assert begin("20240131T235959Z.flac", zone=BERLIN) == LATE + "+00:00"
    with pytest.raises(ValueError, match=r"20240331_023000.WAV: there is no 2024-03-31 02:30:00 in Europe/Berlin"):
        begin("20240331_023000.WAV", zone=BERLIN)


@pytest.mark.parametrize(
    ("pattern", "name", "want"),
    [
        ("REC%y%m%d-%H%M", "x_REC240131-2359_1.wav", "2024-01-31T23:59:00"),
        ("%d.%m.%Y %I-%M %p", "31.01.2024 11-59 PM.wav", "2024-01-31T23:59:00"),
        ("%Y-%m-%d/%H%M%S", "2024-01-31/235959.wav", LATE),
        ("%Y%j_%H%M%S.%f%z", "2024031_235959.5+0100.wav", LATE + ".500000+01:00"),
        ("100%%_%Y%m%d%H%M%S", "100%_20240131235959.wav", LATE),
    ],
)
def test_patterns_of_one_s_own(pattern, name, want, begin):
    assert begin(name, pattern=pattern) == want


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%Y%m%d_%H%M%S", r"x\.wav: 'x\.wav' does not fit the pattern '%Y%m%d_%H%M%S': mend the pattern"),
        ("%Y%m%d", "does not tell a date and an hour"),
        ("%H%M%S", "does not tell a date and an hour"),
        ("%Y%m%d_%H_%H", "tells a part of the time twice"),
        ("%Y%B%d_%H", "'%B' is not known: there are %Y"),
        ("%Y%m%d_%H%", "'%' is not known"),
    ],
)
def test_patterns_that_cannot_be(pattern, message, begin):
    with pytest.raises(ValueError, match=message):
        begin("x.wav", pattern=pattern)


def test_a_pattern_s_impossible_date(begin):
    with pytest.raises(ValueError, match=r"x20240231_10\.wav: '20240231_10' is no time of '%Y%m%d_%H'"):
        begin("x20240231_10.wav", pattern="%Y%m%d_%H")


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def comment(text: str) -> bytes:
    return chunk(b"LIST", b"INFO" + chunk(b"IART", b"AudioMoth") + chunk(b"ICMT", text.encode() + b"\0"))


def bext(date: str, time: str) -> bytes:
    return chunk(b"bext", bytes(320) + date.encode() + time.encode() + bytes(300))


def wav(path: Path, before: bytes = b"", behind: bytes = b"", unknown: bool = False) -> Path:
    data = bytes(1001)
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))
    samples = b"data" + (b"\xff" * 4 if unknown else struct.pack("<I", len(data))) + data + b"\0"
    body = b"WAVE" + form + before + samples + behind
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


MOTH = "Recorded at {} by AudioMoth 24E144036070AE94 at medium gain while battery was 4.2V and temperature was 14.5C."


@pytest.mark.parametrize(
    ("tag", "want"),
    [
        (comment(MOTH.format("23:59:59 31/01/2024 (UTC)")), LATE + "+00:00"),
        (comment(MOTH.format("23:59:59.250 31/01/2024 (UTC-3:30)")), LATE + ".250000-03:30"),
        (comment(MOTH.format("23:59:59 31/01/2024 (UTC+2)")), LATE + "+02:00"),
        (comment(MOTH.format("23:59:59 31/01/2018")), "2018-01-31T23:59:59+00:00"),
        (bext("2024-01-31", "23:59:59"), LATE),
        (bext("2024/01/31", "23-59-59"), LATE),
        (bext("0000-00-00", "00:00:00"), None),
        (bext("\0" * 10, "\0" * 8), None),
        (
            chunk(b"guan", b"GUANO|Version: 1.0\nMake: X\nTimestamp: 2024-01-31T23:59:59+02:00\nNote: y"),
            LATE + "+02:00",
        ),
        (chunk(b"guan", b"GUANO|Version: 1.0\nTimestamp: 2024-01-31 23:59:59\n"), LATE),
        (bext("2020-01-01", "00:00:00") + comment(MOTH.format("23:59:59 31/01/2024 (UTC)")), LATE + "+00:00"),
        (comment("a fine day"), None),
        (chunk(b"junk", b"odd"), None),
    ],
)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_tags(tag, want, place, tmp_path):
    clock = clock_of(wav(tmp_path / "a.wav", **{place: tag}))
    assert clock == (None if want is None else Clock(datetime.fromisoformat(want), "tag"))


def test_a_tag_behind_samples_whose_header_was_never_finished(tmp_path):
    clock = clock_of(wav(tmp_path / "a.wav", behind=bext("2024-01-31", "23:59:59"), unknown=True))
    assert clock is not None
    assert clock.begin.isoformat() == LATE


def test_a_given_zone_counts_where_the_tag_says_none(tmp_path):
    def at(tag, **options):
        return clock_of(wav(tmp_path / "a.wav", tag), **options).begin.isoformat()

    assert at(bext("2024-01-31", "23:59:59"), zone=BERLIN) == LATE + "+01:00"
    assert at(comment(MOTH.format("23:59:59 31/01/2024 (UTC+8)")), zone=BERLIN) == LATE + "+08:00"


def test_a_name_takes_its_zone_from_a_tag_of_the_same_time(tmp_path):
    tag = comment(MOTH.format("23:59:58 31/01/2024 (UTC+2)"))
    same = clock_of(wav(tmp_path / "20240131_235959.WAV", tag))
    assert (same.begin.isoformat(), same.source) == (LATE + "+02:00", "name")
    other = clock_of(wav(tmp_path / "20240131_225959.WAV", tag))
    assert other.begin.isoformat() == "2024-01-31T22:59:59"


def test_a_tag_with_a_date_that_does_not_exist(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.wav: its Broadcast Wave chunk says '2024-02-31T10:00:00', which is no time"
    ):
        clock_of(wav(tmp_path / "a.wav", bext("2024-02-31", "10:00:00")))


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_file_that_is_cut_off_says_nothing_or_the_truth(cut, tmp_path):
    path = wav(tmp_path / "a.wav", bext("2024-01-31", "23:59:59"))
    path.write_bytes(path.read_bytes()[:cut])
    clock = clock_of(path)
    assert clock is None or clock.begin.isoformat() == LATE


def test_other_files_without_tags(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(100), 8000)
    (tmp_path / "b.wav").write_bytes(b"not audio")
    assert clock_of(tmp_path / "a.flac") is clock_of(tmp_path / "b.wav") is None


@pytest.mark.parametrize(
    ("said", "want"), [("2024-01-31T23:59:59Z", LATE + "+00:00"), ("1970-01-01T00:00:00Z", None), (None, None)]
)
@FFMPEG
def test_creation_time_of_what_ffmpeg_reads(said, want, tmp_path):
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anullsrc=d=0.1"]
    tag = [] if said is None else ["-metadata", f"creation_time={said}"]
    subprocess.run([*command, *tag, str(tmp_path / "a.m4a")], check=True)
    clock = clock_of(tmp_path / "a.m4a")
    assert (clock and clock.begin.isoformat()) == want


@pytest.mark.parametrize(
    ("text", "hours"),
    [("Z", 0), ("utc", 0), ("+02:00", 2), ("-0330", -3.5), ("UTC+2", 2), ("UTC-3:30", -3.5), ("GMT+10", 10), ("+5", 5),
     ("Europe/Berlin", 1)],
)  # fmt: skip
def test_zones(text, hours):
    assert datetime(2024, 1, 31, tzinfo=zone_of(text)).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "Europe", "Europe/Nowhere", "+25:00", "+01:70", "../etc/passwd", "x" * 300])
def test_what_is_no_zone(text):
    with pytest.raises(ValueError, match=r"is no zone: give an offset from UTC, like \+02:00, or a name"):
        zone_of(text)


def test_a_given_start():
    assert given_clock(LATE).begin == datetime(2024, 1, 31, 23, 59, 59)
    assert given_clock("2024-01-31 23:59:59.5+02:00").begin.isoformat() == LATE + ".500000+02:00"
    assert given_clock(LATE, BERLIN) == Clock(datetime(2024, 1, 31, 23, 59, 59, tzinfo=BERLIN), "given")
    for text in ("2024-01-31", "23:59:59", "2024-02-31T10:00:00", "now"):
        with pytest.raises(ValueError, match=rf"'{text}' is no time: give date and time"):
            given_clock(text)


def test_times_of_events_cross_changes_of_the_clock():
    clock = Clock(datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), "name")
    assert time_text(clock.at(0)) == "2024-10-27T02:30:00.000+02:00"
    assert time_text(clock.at(3600)) == "2024-10-27T02:30:00.000+01:00"
    assert time_text(clock.at(7200.1236)) == "2024-10-27T03:30:00.124+01:00"
    assert time_text(Clock(datetime(2024, 12, 31, 23, 59, 59), "name").at(0.9996)) == "2025-01-01T00:00:00.000"
    assert time_of_day(clock.at(5 * 3600 + 1.0625)) == "06:30:01.063"


def hours(clock: Clock, onsets: list[float], start: float, stop: float) -> list[tuple[str, float, int]]:
    return [
        (h.begin.strftime("%d %H:%M %z").strip(), h.seconds, h.events)
        for h in events_by_hour(clock, onsets, start, stop)
    ]


def test_events_an_hour():
    clock = Clock(datetime(2024, 1, 31, 22, 50), "name")
    assert hours(clock, [700.0, 599.99, 600.0, 7800.5], 300.0, 7800.5) == [
        ("31 22:00", 300.0, 1), ("31 23:00", 3600.0, 2), ("01 00:00", 3600.0, 0), ("01 01:00", 0.5, 1),
    ]  # fmt: skip
    assert hours(clock, [], 0.0, 600.0) == [("31 22:00", 600.0, 0)]
    assert hours(clock, [600.0], 0.0, 600.0) == [("31 22:00", 600.0, 1)]  # at its very end
    assert events_by_hour(clock, [700.0], 600.0, 1500.0)[0].rate == pytest.approx(4)


def test_hours_where_clocks_are_set_back():
    clock = Clock(datetime(2024, 10, 27, 1, 30, tzinfo=BERLIN), "name")
    assert hours(clock, [1800.0, 5400.0, 9000.0], 0.0, 10_000.0) == [
        ("27 01:00 +0200", 1800.0, 0), ("27 02:00 +0200", 3600.0, 1), ("27 02:00 +0100", 3600.0, 1),
        ("27 03:00 +0100", 1000.0, 1),
    ]  # fmt: skip


def test_full_hours_are_those_of_the_zone():
    clock = Clock(datetime(2024, 1, 31, 10, 15, tzinfo=timezone(timedelta(hours=5, minutes=30))), "name")
    assert hours(clock, [0.0], 0.0, 60.0) == [("31 10:00 +0530", 60.0, 1)]
    assert Clock(datetime(2024, 1, 31, tzinfo=UTC), "tag").at(1).tzinfo is UTC
