"""What the descriptions of a corpus say: which frames lie inside a recording, and what happens in it."""

from __future__ import annotations

from flam_train.data.schema import Event, Record
from flam_train.evaluation.windows import Reading
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection


def frames_inside(reading: Reading, record: Record) -> int:
    """How many frames of its windows, at least one."""
    windows = reading.count(record.duration)
    grid = FrameGrid(reading.grid.frames * windows, reading.grid.seconds * windows)
    return max(1, int(grid.valid(record.duration).sum()))


def events_of(
    reading: Reading, number: int, known: set[str], ignored: set[str], soft_threshold: float | None
) -> list[Detection]:
    """The events of a recording that are not ignored, (onset, offset, class) in seconds. soft_threshold: as in
    `frame_embeddings.embed_frames`. Raises ValueError that names shard and sample for one of an unknown class, and for
    soft labels that are none."""
    record = reading.records[number]
    truth = record.events if soft_threshold is None else _hardened(reading, number, record, soft_threshold)
    for event in truth:
        if event.label not in known and event.label not in ignored:
            raise ValueError(
                f"{reading.corpus.where(number)}: class {event.label!r} is not among those to be scored: "
                "add it to the vocabulary (and to what the corpus annotates), or mend the label"
            )
    return [(event.onset, event.offset, event.label) for event in truth if event.label not in ignored]


def _hardened(reading: Reading, number: int, record: Record, threshold: float) -> tuple[Event, ...]:
    """Where soft labels, details["soft"] = [onset, offset, class, value], are greater than the threshold."""
    soft = record.details.get("soft")
    if not isinstance(soft, list):
        raise ValueError(f"{reading.corpus.where(number)}: has no soft labels: prepare it with data_prep/maestro.py")
    try:
        return tuple(
            Event(float(a), min(float(b), record.duration), str(c))
            for a, b, c, value in soft
            if value > threshold and a < record.duration
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{reading.corpus.where(number)}: a soft label is not [onset, offset, class, value] ({error}): prepare it "
            "with data_prep/maestro.py"
        ) from error
