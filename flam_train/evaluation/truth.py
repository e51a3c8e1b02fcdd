"""What the descriptions of a corpus say: which frames lie inside a recording, what happens in it, what is not known."""

from __future__ import annotations

from collections.abc import Iterable

from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.evaluation.windows import Reading
from flam_train.frames import FrameGrid
from flam_train.metrics.detection import Detection
from flam_train.vocabulary import Vocabulary


def frames_inside(reading: Reading, record: Record) -> int:
    """How many frames of its windows, at least one."""
    windows = reading.count(record.duration)
    grid = FrameGrid(reading.grid.frames * windows, reading.grid.seconds * windows)
    return max(1, int(grid.valid(record.duration).sum()))


def check_labels(corpus: Corpus, known: set[str], ignored: set[str], soft_threshold: float | None) -> None:
    """As `events_of` of every recording: a mistake is told before hours of work, not in the middle of it."""
    for number in range(len(corpus)):
        try:
            record = corpus.record(number)
        except (ValueError, OSError):  # `windows.Reading` counts it as missing and says why
            continue
        events_of(corpus, number, record, known, ignored, soft_threshold)


def events_of(
    corpus: Corpus, number: int, record: Record, known: set[str], ignored: set[str], soft_threshold: float | None
) -> list[Detection]:
    """The events of a recording that are not ignored, (onset, offset, class) in seconds. soft_threshold: as in
    `frame_embeddings.embed_frames`. Raises ValueError that names shard and sample for one of an unknown class, and for
    soft labels that are none."""
    truth = record.events if soft_threshold is None else _hardened(corpus, number, record, soft_threshold)
    for event in truth:
        if event.label not in known and event.label not in ignored:
            raise ValueError(
                f"{corpus.where(number)}: class {event.label!r} is not among those to be scored: "
                "add it to the vocabulary (and to what the corpus annotates), or mend the label"
            )
    return [(event.onset, event.offset, event.label) for event in truth if event.label not in ignored]


def unknown_in(record: Record) -> list[str]:
    """Labels that are tagged and have no event: heard somewhere, but nobody knows in which frames."""
    return sorted({tag.label for tag in record.tags} - {event.label for event in record.events})


def only_listed(corpus: Corpus, vocabulary: Vocabulary, classes: Iterable[str]) -> list[str]:
    """The classes of which a clip that does not list them says nothing: those of an open corpus that it does not
    declare as annotated throughout (`Corpus.annotates`)."""
    if corpus.vocabulary.classes:
        return []
    declared = set(corpus.annotates)
    return [name for name in classes if vocabulary.concept(name).id not in declared]


def _hardened(corpus: Corpus, number: int, record: Record, threshold: float) -> tuple[Event, ...]:
    """Where soft labels, details["soft"] = [onset, offset, class, value], are greater than the threshold."""
    soft = record.details.get("soft")
    if not isinstance(soft, list):
        raise ValueError(f"{corpus.where(number)}: has no soft labels: prepare it with data_prep/maestro.py")
    try:
        return tuple(
            Event(float(a), min(float(b), record.duration), str(c))
            for a, b, c, value in soft
            if value > threshold and a < record.duration
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{corpus.where(number)}: a soft label is not [onset, offset, class, value] ({error}): prepare it "
            "with data_prep/maestro.py"
        ) from error
