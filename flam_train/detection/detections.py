"""Events as a list that knows its recording, and becomes a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from flam_train.detection.events import Detection
from flam_train.detection.tables.formats import FORMATS, write
from flam_train.detection.tables.recorded import Recorded
from flam_train.detection.tables.rows import CHANNEL, CLOCK, columns_of, rows_of

if TYPE_CHECKING:
    import pandas

UNNAMED = Recorded("recording", 0.0, 48_000)
"""What an array without a name is called."""


class Detections(list[Detection]):
    """The events of a recording, in the order of time.

    recording: what is known of it (`Recorded`, whose own `detections` are not used). Each `to_...` returns the text of
    a table (`flam_train.detection.tables` says what stands in which), and writes it to `path`, if one is given, in
    UTF-8, whole or not at all.
    """

    def __init__(self, detections: Iterable[Detection] = (), recording: Recorded = UNNAMED) -> None:
        super().__init__(detections)
        self.recording = recording

    @overload
    def __getitem__(self, at: SupportsIndex) -> Detection: ...
    @overload
    def __getitem__(self, at: slice) -> Detections: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Detection | Detections:
        found = super().__getitem__(at)
        return Detections(found, self.recording) if isinstance(found, list) else found

    @property
    def recorded(self) -> Recorded:
        """The recording with these events: what the writers of `FORMATS` take."""
        seconds = max([self.recording.seconds, *(d.offset for d in self)])
        return replace(self.recording, seconds=seconds, detections=tuple(self))

    def to_dataframe(self) -> pandas.DataFrame:
        """A row an event, with the columns of csv; date-times are those of pandas, with their zone.

        ImportError if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe() needs pandas: pip install pandas") from error
        rows = [self.recorded]
        frame = pandas.DataFrame(list(rows_of(rows)), columns=columns_of(rows))
        types: dict[str, Any] = dict.fromkeys(("onset", "offset", "score", "peak"), "float64")
        frame = frame.astype(types | ({CHANNEL: "Int64"} if CHANNEL in frame else {}))
        if self.recording.start is not None:
            for column in CLOCK:
                frame[column] = pandas.to_datetime(frame[column], utc=True).dt.tz_convert(self.recording.start.tzinfo)
        return frame

    def to_audacity(self, path: str | PathLike[str] | None = None) -> str:
        """A label track."""
        return self._text("audacity", path)

    def to_raven(self, path: str | PathLike[str] | None = None) -> str:
        """A selection table."""
        return self._text("raven", path)

    def to_desed_tsv(self, path: str | PathLike[str] | None = None) -> str:
        """A table as DESED has it."""
        return self._text("tsv", path)

    def to_jams(self, path: str | PathLike[str] | None = None) -> str:
        """JAMS, in the namespace `tag_open`."""
        return self._text("jams", path)

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """One object of the recording and its events."""
        return self._text("json", path)

    def _text(self, name: str, path: str | PathLike[str] | None) -> str:
        text = FORMATS[name].text([self.recorded])
        if path is not None:
            write(Path(path), text)
        return text
