"""The formats by name.

Format 1 (`VERSION`; a name or a meaning of these never changes without another number):

    tsv       DESED's: filename onset offset event_label, and channel where channels are looked at one by one
    csv       filename onset offset event_label score peak, then channel and onset_datetime offset_datetime, each where
              it is known of any recording
    json      {format, version, recordings: [{filename, duration, rate, start}], events: [{as the columns of csv}]}
    jsonl     an event a line, as those of json
    audacity  a label track: onset offset phrase; where channels are looked at one by one, a file a channel, the ending
              `.channel-N.txt`
    raven     a selection table: Selection View Channel, Begin Time (s) ... Annotation Score Peak, then Begin Date and
              Begin Clock Time where the start is known
    jams      an annotation a recording, `tag_open`: score is the confidence, peak and channel lie in its sandbox
    textgrid  a tier a phrase; where channels are looked at one by one, one a channel: phrase (channel N)

onset and offset are seconds of the recording, with 3 decimals; score and peak the mean and the highest score, with 4;
duration is the recording's, in seconds; rate that of its file in Hz; date-times are ISO 8601 with zone. Files are UTF-8
and the same bytes in every locale, lines end in LF (CSV for Excel: CR LF, and a byte order mark). Only json says of
which recordings nothing was found: in tables an event is a row, and no row is no event.

Where several recordings are joined, each row names its own; audacity, jams and textgrid have no place for that, and
raven wants both: there recordings lie end to end, as if they were one.

What does not stand there as it was given: white space in a phrase is one space in all but json, jsonl and jams, and so
it is for whoever reads these as labels; other control characters are spaces, and what is no character is U+FFFD. A
phrase that a spreadsheet would take for a formula has an apostrophe in front in tsv, csv and raven
(`flam_train.data.labels.formulas`), which is dropped where they are read as labels. Phrases that mean nothing to
readers of tables, like NA and nocall, are not read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from flam_train.data.labels.detected import of_channel
from flam_train.data.shards.tars import replace_with
from flam_train.detection.tables.audacity import to_audacity
from flam_train.detection.tables.jams import to_jams
from flam_train.detection.tables.json_text import to_json, to_jsonl
from flam_train.detection.tables.raven import to_raven
from flam_train.detection.tables.recorded import Recorded
from flam_train.detection.tables.separated import to_csv, to_tsv
from flam_train.detection.tables.textgrid import to_textgrid


class Format(NamedTuple):
    """How names of its files end, as their tools and `flam_train.data.labels` know them; the text of one recording, or
    of several joined; whether that says in which channel an event was found."""

    suffix: str
    text: Callable[[Sequence[Recorded]], str]
    says_channel: bool = True


FORMATS = {
    "tsv": Format(".tsv", to_tsv),
    "csv": Format(".csv", to_csv),
    "json": Format(".json", to_json),
    "jsonl": Format(".jsonl", to_jsonl),
    "audacity": Format(".txt", to_audacity, says_channel=False),
    "raven": Format(".Table.1.selections.txt", to_raven),
    "jams": Format(".jams", to_jams),
    "textgrid": Format(".TextGrid", to_textgrid),
}


def endings(kind: Format, channels: Sequence[int] = ()) -> dict[str, int | None]:
    """{ending: the channel that such a file is of; None: of all}. channels: those that were looked at one by one."""
    if kind.says_channel or not channels:
        return {kind.suffix: None}
    return {of_channel(channel, kind.suffix): channel for channel in channels}


def texts(kind: Format, recorded: Sequence[Recorded]) -> dict[str, str]:
    """{ending: text} of the files of one recording, or of several joined."""
    made = {}
    for ending, channel in endings(kind, channels_of(recorded)).items():
        made[ending] = kind.text(recorded if channel is None else [_only(one, channel) for one in recorded])
    return made


class ByChannel(Protocol):
    @property
    def channels(self) -> tuple[int, ...]: ...


def channels_of(recorded: Iterable[ByChannel]) -> list[int]:
    """All that were looked at one by one."""
    return sorted({channel for one in recorded for channel in one.channels})


def _only(one: Recorded, channel: int) -> Recorded:
    return replace(one, detections=tuple(d for d in one.detections if d.channel == channel))


def write(path: Path, text: str) -> None:
    """In UTF-8, whole or not at all. OSError that names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_with(path, lambda file: file.write(text.encode()))
