"""The clock time at which a recording begins, by its name, its tags, or as given; times of events, and events an hour.

A time has the zone that its name or tag says, else the one that was given, else none: then it is naive, and its text
has no offset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from flam_train.data.sound.suffixes import SUFFIXES
from flam_train.detection.clock_tags import Tag, tags_of

_ZONE = r"(?P<zone>Z|[+-]\d\d[:.-]?(?:00|15|30|45)|\+\d\d)?"
"""A minus and two digits may be a number that counts files."""

_NAMES = (
    # ISO 8601, and as file systems take it, with - . or _ instead of colons
    re.compile(
        r"(?<!\d)(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T_ ](?P<H>\d\d)(?P<sep>[:.h_-])(?P<M>\d\d)(?P=sep)(?P<S>\d\d)"
        rf"(?:[.,](?P<f>\d+))?{_ZONE}(?!\d)"
    ),
    # AudioMoth and Song Meter, whose $ says that its clock was set by satellite; ISO 8601 without its marks
    re.compile(
        r"(?<!\d)(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)[_$T-](?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)(?:\.(?P<f>\d+))?"
        rf"{_ZONE}(?!\d)"
    ),
)
_HEXADECIMAL = re.compile(r"[0-9A-F]{8}")
_AUDIOMOTHS = range(
    int(datetime(2016, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())
)
"""Seconds since 1970 that eight hexadecimal digits may mean: others are a date, or a number."""

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)

_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "j": r"\d{3}", "H": r"\d\d", "I": r"\d\d",
    "p": "[AaPp][Mm]", "M": r"\d\d", "S": r"\d\d", "f": r"\d{1,6}", "z": r"(?:Z|[+-]\d\d:?\d\d)",
}  # fmt: skip
"""Of strptime, those that mean the same in every language."""


@dataclass(frozen=True)
class Clock:
    """begin: when a recording begins, naive where nothing says its zone. source: "given", "name" or "tag"."""

    begin: datetime
    source: str

    def at(self, seconds: float) -> datetime:
        """The time so many seconds into the recording, in the same zone, across changes of its clocks too."""
        after = timedelta(microseconds=round(seconds * 1e6))
        if self.begin.tzinfo is None:
            return self.begin + after
        return (self.begin.astimezone(UTC) + after).astimezone(self.begin.tzinfo)


@dataclass(frozen=True)
class Hour:
    """begin: the full hour. seconds: how much of it was analysed. events: how many of them begin in it."""

    begin: datetime
    seconds: float
    events: int

    @property
    def rate(self) -> float:
        """Events an hour of what was analysed."""
        return self.events * 3600 / self.seconds if self.seconds else math.nan


def clock_of(path: Path | str, zone: tzinfo | None = None, pattern: str | None = None) -> Clock | None:
    """When a recording begins. None where neither its name nor its tags say it.

    zone     of names and tags that say none (`zone_of`)
    pattern  how strptime would read a part of the name (of the path, if it has a `/`), such as "REC%y%m%d_%H%M";
             then nothing else is looked at
    Names: ISO 8601, AudioMoth's (its old form of eight hexadecimal digits is UTC), Song Meter's. Where a name says no
    zone, and none was given, that of a tag with the same time counts. Tags: AudioMoth's comment, GUANO, Broadcast Wave;
    of what ffmpeg reads, creation_time. Raises ValueError that names the file: a date or time that does not exist, or a
    pattern that the name does not fit.
    """
    path = Path(path)
    if pattern is not None:
        return Clock(_in_zone(_by_pattern(path, pattern), zone, path), "name")
    named = _by_name(path)
    if named is not None and (named.tzinfo or zone):
        return Clock(_in_zone(named, zone, path), "name")
    tags = tags_of(path)
    if named is not None:
        same = [tag for tag in tags if abs(_read(tag, path).replace(tzinfo=None) - named) < timedelta(seconds=2)]
        zones = [at.tzinfo for tag in same if (at := _read(tag, path)).tzinfo is not None]
        return Clock(named.replace(tzinfo=zones[0]) if zones else named, "name")
    return Clock(_in_zone(_read(tags[0], path), zone, path), "tag") if tags else None


def given_clock(text: str, zone: tzinfo | None = None) -> Clock:
    """What `--start` says: ISO 8601, with or without a zone. Raises ValueError that names what was given."""
    try:
        begin = datetime.fromisoformat(text.strip())
    except ValueError:
        begin = None
    if begin is None or not re.search(r"\d[T ]\d", text):
        raise ValueError(
            f"{text!r} is no time: give date and time, like 2024-01-31T23:59:59 or 2024-01-31T23:59:59+02:00"
        )
    return Clock(_in_zone(begin, zone, text), "given")


def zone_of(text: str) -> tzinfo:
    """A zone by its offset (+02:00, -0330, UTC+2, Z) or its name (Europe/Berlin). Raises ValueError that names it."""
    if text.strip().upper() in ("Z", "UTC", "GMT"):
        return UTC
    if (match := _OFFSET.fullmatch(text.strip())) and int(match[2]) <= 14 and int(match[3] or 0) < 60:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(text.strip())
    except (LookupError, ValueError, OSError) as error:  # OSError: the name of a folder, or one that is too long
        raise ValueError(
            f"{text!r} is no zone: give an offset from UTC, like +02:00, or a name, like Europe/Berlin"
        ) from error


def events_by_hour(clock: Clock, onsets: Iterable[float], start: float, stop: float) -> list[Hour]:
    """The full hours between two times of a recording (s), those without events too. onsets: s into it."""
    first = clock.at(start).replace(minute=0, second=0, microsecond=0)  # full by the zone's own clock
    ahead = (_instant(clock.at(start)) - _instant(first)).total_seconds()
    # In seconds from there: two times of one zone are subtracted as if its clocks never changed.
    end, count = ahead + stop - start, max(1, math.ceil((ahead + stop - start) / 3600))
    events = [0] * count
    for onset in onsets:
        events[min(max(int((ahead + onset - start) / 3600), 0), count - 1)] += 1
    return [
        Hour(Clock(first, "").at(3600 * n), round(min(end, 3600 * (n + 1)) - max(ahead, 3600 * n), 3), events[n])
        for n in range(count)
    ]


def time_text(time: datetime) -> str:
    """ISO 8601 with milliseconds, and the offset where the zone is known."""
    return _to_milliseconds(time).isoformat(timespec="milliseconds")


def time_of_day(time: datetime) -> str:
    """HH:MM:SS.mmm, as Raven writes Begin Clock Time."""
    return _to_milliseconds(time).strftime("%H:%M:%S.%f")[:-3]


def _to_milliseconds(time: datetime) -> datetime:
    """`isoformat` cuts: half a millisecond is added first."""
    return Clock(time, "").at(0.0005)


def _instant(time: datetime) -> datetime:
    return time if time.tzinfo is None else time.astimezone(UTC)


def _by_name(path: Path) -> datetime | None:
    """Raises ValueError if what looks like a time is none."""
    impossible: tuple[str, ValueError] | None = None
    name = path.stem if path.suffix.lower() in SUFFIXES else path.name
    for form in _NAMES:
        for match in form.finditer(name):
            try:
                return _time(match)
            except ValueError as error:
                impossible = impossible or (match[0], error)
    if impossible is not None:
        text, said = impossible
        raise ValueError(f"{path}: {text!r} in its name is no time ({said}): rename it, or give its start") from said
    if _HEXADECIMAL.fullmatch(name) and int(name, 16) in _AUDIOMOTHS:
        return datetime.fromtimestamp(int(name, 16), UTC)
    return None


def _time(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (int(match[name]) for name in "YmdHMS")
    fraction = int((match["f"] or "0")[:6].ljust(6, "0"))
    zone = zone_of(re.sub(r"(?<=\d)[.-]", ":", match["zone"])) if match["zone"] else None
    return datetime(year, month, day, hour, minute, second, fraction, zone)


def _by_pattern(path: Path, pattern: str) -> datetime:
    where = str(path) if "/" in pattern else path.name
    match = pattern_of(pattern).search(where)
    if match is None:
        raise ValueError(f"{path}: {where!r} does not fit the pattern {pattern!r}: mend the pattern, or rename it")
    try:
        return datetime.strptime(match[0], pattern)
    except ValueError as error:
        raise ValueError(f"{path}: {match[0]!r} is no time of {pattern!r} ({error}): rename it") from error


@cache
def pattern_of(pattern: str) -> re.Pattern[str]:
    """What finds such a time in a name. Raises ValueError that names the pattern."""
    form, known = "", list[str]()
    for text in re.findall(r"%.?|[^%]+", pattern):
        if text == "%%" or not text.startswith("%"):
            form += re.escape("%" if text == "%%" else text)
        elif text[1:] in _DIRECTIVES:
            known.append(text[1:])
            form += _DIRECTIVES[text[1:]]
        else:
            some = " ".join(f"%{name}" for name in _DIRECTIVES)
            raise ValueError(f"pattern {pattern!r}: {text!r} is not known: there are {some}, and %% for a %")
    there = set(known)
    if len(known) > len(there):
        raise ValueError(f"pattern {pattern!r}: tells a part of the time twice: leave one out")
    day = {"m", "d"} <= there or "j" in there
    if not (there & {"Y", "y"} and day and ("H" in there or {"I", "p"} <= there)):
        raise ValueError(f"pattern {pattern!r}: does not tell a date and an hour: write one like REC%Y%m%d_%H%M%S")
    first, last = (r"(?<!\d)" if form[:2] == r"\d" else ""), (r"(?!\d)" if form[-1:] in "d}" else "")
    return re.compile(first + form + last)


def _read(tag: Tag, path: Path) -> datetime:
    try:
        at = datetime.fromisoformat(tag.time)
        zone = zone_of(tag.zone) if tag.zone else None
    except ValueError as error:
        raise ValueError(f"{path}: its {tag.name} says {tag.time!r}, which is no time: give its start") from error
    return at if zone is None else at.replace(tzinfo=zone)


def _in_zone(time: datetime, zone: tzinfo | None, where: Path | str) -> datetime:
    """The time in its own zone, else in the given one. Raises ValueError for one that clocks leave out in spring."""
    if time.tzinfo is not None or zone is None:
        return time
    there = time.replace(tzinfo=zone)
    if there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != time:
        raise ValueError(f"{where}: there is no {time} in {zone}, where clocks jump over it: give its offset from UTC")
    return there
