"""FSD50K as banks of single sounds for simulation: OUT/train, OUT/val (both of the dev set) and OUT/eval.

    python data_prep/fsd50k.py FOLDER OUT [--download]
    python data_prep/fsd50k.py FOLDER OUT --split train

Layout (zenodo.org/records/4060432): FSD50K.ground_truth/{dev,eval}.csv, FSD50K.{dev,eval}_audio/<fname>.wav and
FSD50K.metadata/{dev,eval}_clips_info_FSD50K.json, all in FOLDER. fname is the Freesound id, without an ending. A clip's
licence, title and uploader are in the JSON.

Labels are smeared upwards: a clip of `Electric_guitar` lists `Guitar`, `Plucked_string_instrument`, ... too. The
hierarchy is in none of the files. Inferred from the labels of dev.csv and eval.csv together: A lies above B if every
clip that lists B lists A, and A is on more clips, or on the same ones and behind B in most. The order alone does not
tell: what was annotated stands before what was smeared, so an annotated `Drum` may stand before `Snare_drum`. Of a
label on fewer than FEWEST clips nothing is concluded. A clip becomes an item if exactly one of its labels lies above
none of its others; it is of that class, which may be a broad one ("Animal" where nothing more precise was annotated).
The other clips are left out, counted and printed. A mixture shows a sound's class and not the broader ones, so only
classes that lie above no other are declared as annotated throughout. dev's labels may be incomplete: other sounds can
be heard in some of its clips.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.caption_files import (
    LEFT_OUT,
    find_file,
    left_out_table,
    object_of,
    read_json,
    read_table,
    text_of,
)
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.schema import Event
from flam_train.vocabulary import Vocabulary

SPLITS = ("train", "val", "eval")

ARCHIVES = [
    # The parts of a zip come before its last one, which is what 7-Zip unpacks.
    Archive(f"https://zenodo.org/records/4060432/files/{name}?download=1", name, f"md5:{md5}", how)
    for name, md5, how in (
        ("FSD50K.ground_truth.zip", "ca27382c195e37d2269c4c866dd73485", "python"),
        ("FSD50K.metadata.zip", "b9ea0c829a411c1d42adb9da539ed237", "python"),
        ("FSD50K.dev_audio.z01", "faa7cf4cc076fc34a44a479a5ed862a3", None),
        ("FSD50K.dev_audio.z02", "8f9b66153e68571164fb1315d00bc7bc", None),
        ("FSD50K.dev_audio.z03", "1196ef47d267a993d30fa98af54b7159", None),
        ("FSD50K.dev_audio.z04", "d088ac4e11ba53daf9f7574c11cccac9", None),
        ("FSD50K.dev_audio.z05", "81356521aa159accd3c35de22da28c7f", None),
        ("FSD50K.dev_audio.zip", "c480d119b8f7a7e32fdb58f3ea4d6c5a", "7-zip"),
        ("FSD50K.eval_audio.z01", "3090670eaeecc013ca1ff84fe4442aeb", None),
        ("FSD50K.eval_audio.zip", "6fa47636c3a3ad5c7dfeba99f2637982", "7-zip"),
    )
]
"""The md5s are those that the loader of soundata states."""

FEWEST = 20
"""Clips of a label from which on "every clip that lists it" says something."""

LONGEST = 30.0
"""Seconds of the longest clips: the nominal end of an event whose extent is found in the audio."""


@dataclass(frozen=True)
class Row:
    """A clip of dev.csv or eval.csv: `subset` is "dev" or "eval", `split` one of SPLITS."""

    where: str
    fname: str
    labels: tuple[str, ...]
    subset: str
    split: str


def read_rows(folder: Path) -> list[Row]:
    """The rows of dev.csv and eval.csv, of the one that is there if the other is not.

    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    classes = Vocabulary.load("fsd50k").classes
    rows = []
    for subset in ("dev", "eval"):
        path = folder / "FSD50K.ground_truth" / f"{subset}.csv"
        if not path.is_file():
            continue
        seen: dict[str, str] = {}
        columns = ("fname", "labels", "mids", "split") if subset == "dev" else ("fname", "labels", "mids")
        for where, row in read_table(path, columns):
            fname, labels = row["fname"], tuple(row["labels"].split(","))
            if not (fname.isascii() and fname.isdecimal()):
                raise ValueError(
                    f"{where}: fname {fname!r} is not a number (a Freesound id without .wav): mend the row"
                )
            unknown = [label for label in labels if label not in classes]
            if unknown:
                raise ValueError(f"{where}: label {unknown[0]!r} is none of the {len(classes)} of FSD50K: mend the row")
            if len(set(labels)) < len(labels) or len(labels) != len(row["mids"].split(",")):
                raise ValueError(
                    f"{where}: {len(labels)} labels, {len(set(labels))} of them different, and "
                    f"{len(row['mids'].split(','))} mids: mend the row"
                )
            split = row["split"] if subset == "dev" else "eval"
            if split not in (SPLITS[:2] if subset == "dev" else SPLITS[2:]):
                raise ValueError(f"{where}: split {split!r} is neither train nor val: mend the row")
            if fname in seen:
                raise ValueError(f"{where}: {fname} is listed in {seen[fname]} too: remove one")
            seen[fname] = where
            rows.append(Row(where, fname, labels, subset, split))
    if not rows:
        raise ValueError(
            f"{folder}: FSD50K.ground_truth/dev.csv and eval.csv are missing or empty: give the folder that has "
            "FSD50K.ground_truth/, FSD50K.metadata/ and FSD50K.dev_audio/"
        )
    return rows


def infer_ancestors(clips: Sequence[tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """{label: the labels above it}, as the module's docstring says; labels on fewer than FEWEST clips have none."""
    count = Counter(label for labels in clips for label in labels)
    common: dict[str, set[str]] = {}
    for labels in clips:
        for label in labels:
            common.setdefault(label, set(labels)).intersection_update(labels)
    # Of a class whose only child is on all of its clips the order tells: what was smeared stands behind.
    behind: Counter[tuple[str, str]] = Counter()
    for labels in clips:
        for n, label in enumerate(labels):
            behind.update((label, a) for a in labels[n + 1 :] if a in common[label] and count[a] == count[label])
    return {
        label: frozenset(a for a in shared if count[a] > count[label] or 2 * behind[label, a] > count[label])
        if count[label] >= FEWEST
        else frozenset()
        for label, shared in common.items()
    }


def most_specific(labels: tuple[str, ...], ancestors: Mapping[str, frozenset[str]]) -> list[str]:
    """The labels of a clip that lie above none of its others, in their order."""
    above = {a for label in labels for a in ancestors[label]}
    return [label for label in labels if label not in above]


def read_fsd50k(folder: Path, splits: Iterable[str] = SPLITS) -> dict[str, Listing]:
    """{split: the bank of its clips with one most specific label}; the other clips are in its file LEFT_OUT.

    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    rows = read_rows(folder)
    ancestors = infer_ancestors([row.labels for row in rows])
    broad = frozenset().union(*ancestors.values())
    vocabulary = Vocabulary.load("fsd50k")
    out = {}
    for split in splits:
        chosen = [row for row in rows if row.split == split]
        if not chosen:
            raise ValueError(f"{folder}: no clips of {split}: choose other splits with --split, or fetch its csv")
        info = _clips_info(folder, chosen[0].subset)
        found = [(row, most_specific(row.labels, ancestors)) for row in chosen]
        recordings = [_recording(folder, row, labels[0], info) for row, labels in found if len(labels) == 1]
        left_out = [(row.fname, "several: " + ", ".join(labels)) for row, labels in found if len(labels) > 1]
        leaves = {r.events[0].label for r in recordings} - broad
        out[split] = Listing(
            f"fsd50k-{split}",
            recordings,
            "bank",
            "fsd50k",
            annotates=sorted({vocabulary.concept(label).id for label in leaves}),
            details={"maker": "data_prep/fsd50k.py", "left_out": len(left_out), "broad_classes": sorted(broad)},
            files={LEFT_OUT: left_out_table(left_out)},
        )
    return out


def _clips_info(folder: Path, subset: str) -> tuple[str, dict]:
    path = find_file(folder, (f"FSD50K.metadata/{subset}_clips_info_FSD50K.json",), f"the licences of {subset}")
    return str(path), object_of(read_json(path), str(path))


def _recording(folder: Path, row: Row, label: str, info: tuple[str, dict]) -> Recording:
    path, clips = info
    where = f"{path}: clip {row.fname}"
    if row.fname not in clips:
        raise ValueError(f"{row.where}: clip {row.fname} is not in {path}: fetch FSD50K.metadata again")
    clip = object_of(clips[row.fname], where)
    uploader = text_of(clip, "uploader", where)
    return Recording(
        key=row.fname,
        path=folder / f"FSD50K.{row.subset}_audio" / f"{row.fname}.wav",
        where=row.where,
        events=(Event(0.0, LONGEST, label),),
        source=f"freesound.org sound {row.fname} by {uploader}: {text_of(clip, 'title', where)}",
        licence=text_of(clip, "license", where),
        split=row.split,
        ids=(f"freesound:{row.fname}",),
        details={"labels": list(row.labels)},
    )


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    out = read_fsd50k(args.folder, args.split)
    for split, listing in out.items():
        print(
            f"{listing.corpus}: {len(listing.recordings):,} clips have a single most specific label; "
            f"{listing.details['left_out']:,} have several and are left out, listed in {args.out / split / LEFT_OUT}"
        )
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=lambda args: ARCHIVES, download="labels, metadata and audio")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="[all]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
