"""A recording is listened to, and what came of it put into the result folder.

Shape suffixes: T frames, D embedding width.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO
from zoneinfo import ZoneInfo

from torch import Tensor

from flam_train import plotting  # lazy: matplotlib only for pictures
from flam_train.batch import TextEmbeddings
from flam_train.data.labels.detected import of_channel
from flam_train.data.sound.length import Length
from flam_train.data.sound.opening import measure
from flam_train.detection.clock import Clock, clock_of, time_text
from flam_train.detection.events import Detection, by_onset, events_of
from flam_train.detection.kept import KEPT, Keeping, read_kept
from flam_train.detection.progress import Progress
from flam_train.detection.recordings import Recording, decoded
from flam_train.detection.results import EACH, Dead, Outcome, Results, Write
from flam_train.detection.score_files import write_scores
from flam_train.detection.scoring import Frames, Listening, Scores, Time, score
from flam_train.detection.summary import clock_of_outcome, recorded_of
from flam_train.detection.tables.formats import texts
from flam_train.detection.wanted import Analysis, Clocks
from flam_train.models.flam import FLAM

if TYPE_CHECKING:
    from flam_train.plotting import Overview

MEANING = "score: how much more likely the phrase is here than usual; 0.5 is no more than usual"
CALIBRATED = "score: in how many of such frames the phrase is heard (calibrated)"

SCORES, PLOT = ".scores.npz", ".png"
"""The endings of such results."""


def analyse(
    model: FLAM, text: TextEmbeddings, recording: Recording, results: Results, wanted: Analysis, progress: Progress
) -> Outcome:
    """Listens to a recording and puts what came of it. What is wrong with it makes it a failed one, with the reason;
    OSError where its results cannot be written."""
    finger_print = results.finger_print(recording)
    files: dict[str, Write] = {}
    try:
        begin = _begin(recording, wanted.clocks)
        length = measure(recording.path)
        if wanted.start >= length.seconds:
            where = f"{recording.path}: ends at {length.seconds:.2f} s, before {wanted.start:g} s"
            raise ValueError(f"{where}: give an earlier part")
        found = _listened(model, text, recording, results, wanted, length, progress)
        outcome = _outcome(model, wanted, length, found, begin)
        files = _files(recording, wanted, found, outcome)
    except ValueError as error:
        outcome = Outcome("failed", " ".join(str(error).split()))
    results.put(recording, finger_print, outcome, files)
    return outcome


@dataclass(frozen=True)
class _Heard:
    """Of one channel, None where channels are not looked at one by one. overview: for a picture."""

    channel: int | None
    scores: Scores
    overview: Overview | None


def _listened(
    model: FLAM,
    text: TextEmbeddings,
    recording: Recording,
    results: Results,
    wanted: Analysis,
    length: Length,
    progress: Progress,
) -> list[_Heard]:
    channels = range(1, length.channels + 1) if wanted.channel == EACH else [None]
    found = []
    for channel in channels:
        frames, overview = _frames(model, recording, results, wanted, channel)
        scores = score(_Watched(frames, progress), wanted.phrases, text, wanted.method)
        found.append(_Heard(channel, wanted.calibration.apply(scores) if wanted.calibration else scores, overview))
    return found


def _frames(
    model: FLAM, recording: Recording, results: Results, wanted: Analysis, channel: int | None
) -> tuple[Frames, Overview | None]:
    """From the encoder, or as they were kept for these weights, this file and what is listened to of it."""
    path = results.file(recording, of_channel(channel, KEPT))
    bound = results.frames_bound(recording) | {"channel": channel}
    listening = Listening(
        model,
        recording.path,
        wanted.start,
        wanted.stop,
        wanted.channel if channel is None else channel,
        wanted.batch_size or 1,
        wanted.precision,
    )
    overview = plotting.Overview(listening.stream.start) if wanted.plot else None
    kept = read_kept(path, model, bound)
    if kept is not None:
        if overview is not None:
            for piece_S in listening.stream:
                overview.feed(piece_S)
        return kept, overview
    if overview is not None:
        listening.tap = overview.feed
    return (Keeping(listening, path, bound) if wanted.keep else listening), overview


class _Watched:
    """Frames that tell how many seconds of what is wanted have passed."""

    def __init__(self, frames: Frames, progress: Progress) -> None:
        self.model, self._frames, self._progress = frames.model, frames, progress

    @property
    def time(self) -> Time | None:
        return self._frames.time

    def __iter__(self) -> Generator[Tensor, None, None]:
        for frame_TD in self._frames:
            self._progress.heard(len(frame_TD) * self.model.grid.frame_seconds)
            yield frame_TD


def _begin(recording: Recording, clocks: Clocks) -> tuple[Clock | None, list[str]]:
    """When it begins, and what there is to say of that. A name that only looks like a time is no reason to leave a
    recording out, one that does not fit a pattern that was given is."""
    try:
        clock = clocks.given or clock_of(recording.path, clocks.zone, clocks.pattern)
    except ValueError as error:
        if clocks.pattern is not None:
            raise
        return None, [str(error).removeprefix(f"{recording.path}: ")]
    if clock is not None and clock.begin.tzinfo is None:
        return clock, ["its zone is not known, and tables have no clock times: give --zone"]
    return clock, []


def _outcome(
    model: FLAM, wanted: Analysis, length: Length, found: Sequence[_Heard], begin: tuple[Clock | None, list[str]]
) -> Outcome:
    clock, notes = begin
    time = found[0].scores.time
    top = model.config.frontend.high_hz
    if length.rate < 2 * top:
        said = f"at {length.rate:,} Hz nothing is above {length.rate // 2:,} Hz, and the model listens up to {top:,.0f}"
        notes = [*notes, said]
    if all(not heard.scores.time.heard().any() for heard in found):
        notes = [*notes, "nothing sounds in it"]
    events = [e for heard in found for e in events_of(heard.scores, wanted.rules, wanted.thresholds, heard.channel)]
    zone = clock.begin.tzinfo if clock else None
    return Outcome(
        "done",
        seconds=max(length.seconds, time.stop),  # ffmpeg may decode a little more than a header says
        rate=length.rate,
        start=time.start,
        analysed=time.stop - time.start,
        dead=tuple(Dead(*span, heard.channel) for heard in found for span in heard.scores.time.dead),
        begin=time_text(clock.begin) if clock else "",
        zone=zone.key if isinstance(zone, ZoneInfo) else "",
        notes=tuple(notes),
        events=tuple(sorted(events, key=by_channel_too)),
        channels=tuple(heard.channel for heard in found if heard.channel is not None),
    )


def by_channel_too(event: Detection) -> tuple[float, str, int]:
    return (*by_onset(event), event.channel or 0)


def _files(recording: Recording, wanted: Analysis, found: Sequence[_Heard], outcome: Outcome) -> dict[str, Write]:
    """What is written of a recording, by endings."""
    recorded, clock = recorded_of(recording, outcome), clock_of_outcome(outcome)
    files: dict[str, Write] = {}
    for kind in wanted.writers.values():
        for ending, text in texts(kind, [recorded]).items():
            files[ending] = partial(_write_text, text)
    for heard in found if wanted.plot else ():
        files[of_channel(heard.channel, PLOT)] = partial(_draw, recording, wanted, heard, outcome, clock)
    if wanted.scores:
        files[SCORES] = partial(write_scores, [heard.scores for heard in found], [heard.channel for heard in found])
    return files


def _draw(
    recording: Recording, wanted: Analysis, heard: _Heard, outcome: Outcome, clock: Clock | None, file: BinaryIO
) -> None:
    assert heard.overview is not None
    row = {phrase: n for n, phrase in enumerate(wanted.phrases)}
    figure = plotting.recording_figure(
        heard.scores.score_CT,
        heard.scores.time.edges(),
        wanted.phrases,
        [(e.onset, e.offset, row[e.phrase]) for e in outcome.events if e.channel == heard.channel],
        log_mel=heard.overview.log_mel(),
        dead=heard.scores.time.dead,
        clock=clock.at if clock else None,
        threshold=None if wanted.thresholds else wanted.rules.threshold,
        meaning=CALIBRATED if wanted.calibration and wanted.calibration.shares else MEANING,
        title=decoded(recording.path.name) + ("" if heard.channel is None else f", channel {heard.channel}"),
    )
    plotting.write_figure(figure, file)


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode())
