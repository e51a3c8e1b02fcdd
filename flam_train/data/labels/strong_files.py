"""Reading the tab-separated label files of strongly labelled corpora; every fault is told by file and row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flam_train.data.labels.rows import fault, lines_of, seconds
from flam_train.data.preparation.audio_folders import by_stem, files_below
from flam_train.data.shards.schema import Event
from flam_train.vocabulary import Vocabulary


def read_rows(path: Path, columns: Sequence[str], header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """(row, cells) of every row of a file; row 1 is the first line, empty lines are passed over. Cells are taken as
    they are: nothing is quoted in these files, and names hold spaces and commas.

    header  whether the first line must be the names of `columns`; without one they only name the cells
    Raises ValueError that names the file, the row and the fix.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise fault(str(path), f"cannot be read ({error.strerror}): fetch it, or mend the folder") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise fault(str(path), f"not UTF-8 ({error.reason}): fetch the file again", row) from error
    for row, line in enumerate(lines_of(text), 1):
        cells = line.split("\t")
        if header and row == 1:
            if cells != list(columns):
                raise fault(str(path), f"the header must be {' '.join(columns)}, separated by tabs: mend it", 1)
        elif line:
            if len(cells) != len(columns):
                what = f"{len(cells)} cells instead of {len(columns)} ({', '.join(columns)}), separated by tabs"
                raise fault(str(path), f"{what}: mend or remove the row", row)
            yield row, cells


def read_event(
    onset: object, offset: object, label: object, vocabulary: Vocabulary, path: Path, row: int, unit: str = "row"
) -> tuple[Event, ...]:
    """The event of a row, times in seconds; none if it has no length. It may pass the recording's end.

    Raises ValueError for a time that is none, a negative onset, an offset before the onset, an unknown label.
    """
    begin, end = seconds(onset, str(path), row, "onset", unit), seconds(offset, str(path), row, "offset", unit)
    if begin < 0 or end < begin:
        raise fault(str(path), f"{begin} to {end} s is no stretch of time: mend or remove the {unit}", row, unit)
    name = known(label, vocabulary, path, row, unit)
    return (Event(begin, end, name),) if end > begin else ()


def known(label: object, vocabulary: Vocabulary, path: Path, row: int, unit: str = "row") -> str:
    """The label itself, if it is a class of the vocabulary."""
    if not isinstance(label, str) or label not in vocabulary.classes:
        what = f"label {ascii(label)[:60]} is unknown: mend it, or add it to conf/vocabulary/{vocabulary.corpus}.yaml"
        raise fault(str(path), what, row, unit)
    return label


def sounds(folder: Path) -> dict[str, Path]:
    """{name without the ending: file} of all sound files below a folder: a corpus may have been converted."""
    return by_stem(files_below(folder))


def concepts(vocabulary: Vocabulary, labels: Sequence[str] | set[str]) -> list[str]:
    """The sorted ids of the concepts of some classes: what a corpus annotates."""
    return sorted({vocabulary.concept(label).id for label in labels})
