"""ESC-50, or its subset ESC-10, as banks of events.

    python data_prep/esc.py ESC-50-master OUT               # meta/esc50.csv and audio/*.wav, as published
    python data_prep/esc.py ESC-50-master OUT --esc10-only  # the ten classes of ESC-10
    python data_prep/esc.py esc10 OUT                       # a folder with esc10.csv and audio/*.ogg

OUT/train has the events of all folds but --test-fold, OUT/test those of that fold. ESC's clips are padded with digital
silence to 5 s, so where the event is comes from the signal's energy. Mixing needs backgrounds too: see
data_prep/synthetic.py --only-backgrounds.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.audio import AUDIO, read_recording
from flam_train.data.bank import describe, sounding_extent
from flam_train.data.corpus_writer import CorpusPlan, cores, write_corpus
from flam_train.data.schema import Event, Record
from flam_train.data.tars import sha256_of
from flam_train.vocabulary import Vocabulary

LAYOUTS = {  # the label file, its columns, and its vocabulary
    "meta/esc50.csv": (("filename", "fold", "target", "category", "esc10", "src_file", "take"), "esc50"),
    "esc10.csv": (("filename", "fold", "category", "phrase", "freesound_id", "take", "attribution"), "esc10"),
}


@dataclass(frozen=True)
class Row:
    """One recording: `where` it stands in the label file, its audio, fold, class, Freesound id and licence."""

    where: str
    audio: Path
    fold: int
    category: str
    source: str
    licence: str


def find_layout(folder: Path) -> Path:
    """The label file of an ESC folder."""
    for name in LAYOUTS:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{folder}: neither {' nor '.join(LAYOUTS)} is there: give the unpacked ESC-50 (the folder that has meta/ and "
        "audio/), or an esc10 folder"
    )


def read_rows(folder: Path, esc10_only: bool = False) -> tuple[list[Row], Vocabulary]:
    """The recordings of an ESC folder in the file's order, and the vocabulary their categories belong to.

    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    path = find_layout(folder)
    columns, name = LAYOUTS[path.relative_to(folder).as_posix()]
    vocabulary = Vocabulary.load(name)
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: row 1: no column {sorted(missing)[0]!r}: the header must be {','.join(columns)}")
        for raw in reader:
            where = f"{path}: row {reader.line_num}"
            if None in raw or None in raw.values():
                raise ValueError(f"{where}: it must have {len(columns)} fields like the header: mend or remove the row")
            if raw["category"] not in vocabulary.classes:
                raise ValueError(
                    f"{where}: category {raw['category']!r} is unknown: mend it, or add it to "
                    f"conf/vocabulary/{name}.yaml"
                )
            if raw["fold"] not in {"1", "2", "3", "4", "5"}:
                raise ValueError(f"{where}: fold {raw['fold']!r} is not 1 to 5: mend the row")
            if raw.get("esc10", "True") not in ("True", "False"):
                raise ValueError(f"{where}: esc10 is {raw['esc10']!r}: it must be True or False")
            if esc10_only and raw.get("esc10") == "False":
                continue
            audio = folder / "audio" / raw["filename"]
            if not audio.is_file():
                raise ValueError(f"{where}: {audio} is missing: fetch the recording, or remove the row")
            rows.append(Row(where, audio, int(raw["fold"]), raw["category"], *_origin(raw)))
    if not rows:
        raise ValueError(f"{path}: no recordings: the file has only a header")
    if len({row.audio for row in rows}) < len(rows):
        twice = next(row for n, row in enumerate(rows) if row.audio in {r.audio for r in rows[:n]})
        raise ValueError(f"{twice.where}: {twice.audio.name} is listed twice: remove one")
    return rows, vocabulary


def _origin(raw: dict[str, str]) -> tuple[str, str]:
    """Source and licence of a recording: the attribution where the file has it."""
    if "attribution" in raw:
        return raw["attribution"], raw["attribution"].rpartition("[")[2].rstrip("]") or raw["attribution"]
    licence = "CC-BY-3.0" if raw["esc10"] == "True" else "CC-BY-NC-3.0"
    return f"ESC-50 {raw['filename']}, from freesound.org sound {raw['src_file']}", licence


@dataclass(frozen=True)
class Maker:
    """Recording n as an item of a bank, cut to where its event is. Picklable."""

    rows: tuple[Row, ...]

    def __call__(self, n: int) -> tuple[Record, np.ndarray]:
        row = self.rows[n]
        waveform = read_recording(row.audio, row.where)
        extent = sounding_extent(waveform)
        if extent is None:
            raise ValueError(f"{row.where}: {row.audio} is silent throughout: fetch it again, or remove the row")
        waveform = waveform[extent[0] : extent[1]]
        duration = len(waveform) / SAMPLE_RATE
        record = Record(
            key=row.audio.stem.replace(".", "_").replace(" ", "_"),
            duration=duration,
            events=(Event(0.0, duration, row.category),),
            source=row.source,
            licence=row.licence,
            split=f"fold{row.fold}",
            details=describe(waveform, "event") | {"cut_from": [extent[0] / SAMPLE_RATE, extent[1] / SAMPLE_RATE]},
        )
        return record, waveform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="ESC-50 as published, or an esc10 folder")
    parser.add_argument("out", type=Path, help="folder for train/ and test/")
    parser.add_argument("--test-fold", type=int, choices=range(1, 6), default=5)
    parser.add_argument("--esc10-only", action="store_true", help="of ESC-50, the classes of ESC-10 only")
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--audio", choices=AUDIO, default="flac")
    args = parser.parse_args()
    try:
        rows, vocabulary = read_rows(args.folder, args.esc10_only)
        concepts = sorted({vocabulary.concept(row.category).id for row in rows})
        for split in ("train", "test"):
            chosen = tuple(row for row in rows if (row.fold == args.test_fold) == (split == "test"))
            if not chosen:
                raise ValueError(f"{args.folder}: no recordings are left for {split} with --test-fold {args.test_fold}")
            details = {"maker": "data_prep/esc.py", "split": split, "test_fold": args.test_fold}
            details |= {"esc10_only": args.esc10_only, "labels_sha256": sha256_of(find_layout(args.folder))}
            plan = CorpusPlan(
                corpus=f"{vocabulary.corpus}-{split}",
                samples=len(chosen),
                per_shard=min(200, -(-len(chosen) // 8)),
                audio=args.audio,
                vocabulary=vocabulary.corpus,
                annotates=concepts,
                details=details,
            )
            write_corpus(args.out / split, plan, Maker(chosen), args.processes)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
