"""VGGSound for zero-shot classification: every clip whole, with the phrase of its label as caption.

    python data_prep/vggsound.py FOLDER OUT                       # the test clips -> OUT/test
    python data_prep/vggsound.py FOLDER OUT --split train test    # needs vggsound.csv
    python data_prep/vggsound.py CLIPS OUT --labels vggsound.csv  # the labels lie elsewhere

Layouts (github.com/hche11/VGGSound, data/; neither file has a header): vggsound.csv is id, start in whole seconds,
label, train or test, as others quote it (the file itself was not at hand); test.csv, which was, is a file name (id,
start in six digits, ".mp4") and a label, lines ending in CRLF. Which of the two a file is shows in the number of
fields of its first row; in a folder with both, vggsound.csv is read. Labels with commas are quoted. Clips are called
<id>_<start in six digits>, last 10 s, and may lie anywhere below FOLDER, as .mp4 or as what users made of it (inferred:
.flac, .wav, ...). Ids begin with anything, "-" and "_" too. A clip's label is details["class"].
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import by_stem, files_below
from flam_train.data.preparation.caption_files import find_file
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import github
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.vocabulary import Vocabulary

LICENCE = "CC-BY-4.0 (labels; the audio is its uploader's)"

SPLITS = ("train", "test")

COMMIT = "9bbc7491c054a203e53584c0065df336e1322bb7"
BLOBS = {"data/vggsound.csv": "53da0dc492b8a3fadf770f0f175cef1e652c0447"}
"""Of github.com/hche11/VGGSound at that commit."""

LABELS = ("vggsound.csv", "data/vggsound.csv", "test.csv", "data/test.csv")

NAME = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})\.mp4")


def read_vggsound(labels: Path, clips: Path, split: str = "test") -> list[Recording]:
    """The clips of a split, in the file's order; `labels` is one of the two files, `clips` the folder of the media.

    Raises ValueError that names file, row (1 is the first line: there is no header) and fix.
    """
    vocabulary = Vocabulary.load("vggsound")
    files = by_stem(files_below(clips))
    recordings = []
    for where, youtube, start, label, of_split in _rows(labels):
        if label not in vocabulary.classes:
            raise ValueError(
                f"{where}: label {label!r} is none of the {len(vocabulary.classes)} of conf/vocabulary/vggsound.yaml: "
                "mend the row (labels with commas are quoted)"
            )
        if of_split != split:
            continue
        stem = f"{youtube}_{start:06d}"
        recordings.append(
            Recording(
                key=as_key(stem),
                path=files.get(stem, clips / f"{stem}.mp4"),
                where=where,
                captions=(vocabulary.classes[label].phrasings[0],),
                source=f"youtube.com/watch?v={youtube}, {start} s to {start + 10} s",
                licence=LICENCE,
                split=split,
                ids=(f"youtube:{youtube}",),
                details={"class": label},
            )
        )
    return recordings


def _rows(path: Path) -> Iterator[tuple[str, str, int, str, str]]:
    """(where, id, start in seconds, label, split) of every row of either layout."""
    reader = csv.reader(_lines(path), strict=True)
    width = 0
    while True:
        first = reader.line_num + 1
        where = f"{path}: row {first}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{where}: not CSV ({error}): mend the quotes of the row") from error
        if fields is None:
            return
        if not fields:
            continue
        width = width or len(fields)
        if width not in (2, 4) or len(fields) != width:
            raise ValueError(
                f"{where}: {len(fields)} fields: it must be id,start,label,split like vggsound.csv, or name,label like "
                "test.csv, in all rows alike (labels with commas are quoted)"
            )
        yield where, *(_named(where, *fields) if width == 2 else _timed(where, *fields))


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for n, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if n == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: row {n}: not UTF-8 ({error.reason}): fetch the file again") from error


def _named(where: str, name: str, label: str) -> tuple[str, int, str, str]:
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{where}: {name!r} is not <11 characters>_<6 digits>.mp4: mend the row")
    return match[1], int(match[2]), label, "test"


def _timed(where: str, youtube: str, start: str, label: str, split: str) -> tuple[str, int, str, str]:
    if re.fullmatch(r"[A-Za-z0-9_-]{11}", youtube) is None:
        raise ValueError(f"{where}: {youtube!r} is not a YouTube id of 11 characters: mend the row")
    if re.fullmatch(r"[0-9]{1,6}", start) is None:
        raise ValueError(f"{where}: start {start!r} is not a whole number of seconds: mend the row")
    if split not in SPLITS:
        raise ValueError(f"{where}: split {split!r} is neither train nor test: mend the row")
    return youtube, int(start), label, split


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    labels = args.labels or find_file(args.folder, LABELS, "the list of VGGSound's clips")
    if not labels.is_file():
        raise ValueError(f"{labels} is missing: give vggsound.csv or test.csv")
    details = {"maker": "data_prep/vggsound.py"}
    return {
        split: Listing(
            f"vggsound-{split}", read_vggsound(labels, args.folder, split), "captions", "vggsound", details=details
        )
        for split in args.split
    }


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__,
        "the clips, and one of the two lists",
        archives=lambda args: github("hche11/VGGSound", COMMIT, BLOBS),
        download="vggsound.csv",
    )
    parser.add_argument("--labels", type=Path, help="vggsound.csv or test.csv [found in FOLDER]")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=("test",), help="[test]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
