"""UrbanSound8K for zero-shot classification: every slice whole, with the phrase of its class as caption.

    python data_prep/urbansound8k.py UrbanSound8K OUT              # all ten folds
    python data_prep/urbansound8k.py UrbanSound8K OUT --folds 10   # one of them
    python data_prep/urbansound8k.py DOWNLOADS OUT --download      # fetches the archive into DOWNLOADS first

Layout (zenodo.org/records/1203745; the csv was read in a published copy): metadata/UrbanSound8K.csv with the header
below and audio/fold1 to audio/fold10. A slice's class is details["class"], its fold the split ("fold5"), the Freesound
recording it was cut from an id. `start` and `end` of the csv are places in that recording, not in the slice. Several
slices come from one recording and lie in one fold: never divide them otherwise. URBAN-SED is made of these sounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.caption_files import file_name, find_file, read_table
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.vocabulary import Vocabulary

LABELS = "metadata/UrbanSound8K.csv"

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")

FOLDS = tuple(range(1, 11))

LICENCE = "CC-BY-NC-3.0"

ARCHIVE = Archive(
    "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
    "UrbanSound8K.tar.gz",
    "md5:9aa69802bbf37fb986f71ec1483a196e",
)


def read_urbansound8k(folder: Path, folds: Sequence[int] = FOLDS) -> list[Recording]:
    """The slices of some folds, in the file's order. ValueError that names file, row (1 is the header) and fix."""
    path = find_file(folder, (LABELS,), "the csv of UrbanSound8K")
    vocabulary = Vocabulary.load("urbansound8k")
    classes = list(vocabulary.classes)
    recordings = []
    for where, row in read_table(path, COLUMNS):
        name, label, fsid = file_name(row["slice_file_name"], where), row["class"], row["fsID"]
        if not (fsid.isascii() and fsid.isdecimal()):
            raise ValueError(f"{where}: fsID {fsid!r} is not a number: mend the row")
        if row["fold"] not in {str(k) for k in FOLDS}:
            raise ValueError(f"{where}: fold {row['fold']!r} is not 1 to 10: mend the row")
        if label not in classes or row["classID"] != str(classes.index(label)):
            known = ", ".join(f"{k} {c}" for k, c in enumerate(classes))
            raise ValueError(f"{where}: class {label!r} with classID {row['classID']!r}: mend the row; known: {known}")
        if row["salience"] not in ("1", "2"):
            raise ValueError(f"{where}: salience {row['salience']!r} is neither 1 nor 2: mend the row")
        if int(row["fold"]) not in folds:
            continue
        recordings.append(
            Recording(
                key=as_key(Path(name).stem),
                path=folder / "audio" / f"fold{row['fold']}" / name,
                where=where,
                captions=(vocabulary.classes[label].phrasings[0],),
                source=f"UrbanSound8K {name}, from freesound.org sound {fsid}",
                licence=LICENCE,
                split=f"fold{row['fold']}",
                ids=(f"freesound:{fsid}",),
                details={"class": label, "salience": int(row["salience"])},
            )
        )
    return recordings


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    folds = tuple(sorted(set(args.folds)))
    name = "urbansound8k" + ("" if folds == FOLDS else "-fold" + "-".join(map(str, folds)))
    recordings = read_urbansound8k(args.folder, folds)
    return {"": Listing(name, recordings, "captions", "urbansound8k", details={"maker": "data_prep/urbansound8k.py"})}


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=lambda args: [ARCHIVE], unpacked="UrbanSound8K", download=ARCHIVE.name)
    parser.add_argument("--folds", type=int, nargs="+", choices=FOLDS, default=FOLDS, help="[all]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
