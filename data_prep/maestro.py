"""MAESTRO Real: recordings of 3 to 5 min of five scenes with soft labels for every second; and MAESTRO Synthetic.

    python data_prep/maestro.py FOLDER OUT
    python data_prep/maestro.py FOLDER OUT --split real --threshold 0.3

Layout of Real: zenodo.org/records/7244360, the development set. FOLDER holds development_audio/<scene>/<name>.wav and
development_annotation/soft_labels_<scene>/<name>.txt (no header: onset TAB offset TAB class TAB value, seconds of 1 s).
A class that is not listed for a second has value 0 there [inferred]; values above 1 are rounding and become 1. Events
are the stretches of consecutive seconds in which a value is greater than --threshold (0.5: equal is not enough, as
in DCASE). The values themselves stay for evaluation in details["soft"]: [onset, offset, class, value] of those that are
listed, in seconds from the window's start; its place in the recording is details["cut_from"]. The layout of the
evaluation set's labels is not known, and it is not read.

Layout of Synthetic: zenodo.org/records/5126478, audio.zip and meta.zip unpacked in FOLDER: audio/**/<name>.wav and
estimated_strong_labels/**/mturk_<name>.csv, which is separated by tabs and has a header of three columns that begins
with `onset` [the names of the others are inferred]. Its six classes have hard labels. The ground truth is not read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels.rows import fault, seconds
from flam_train.data.labels.soft import MOST
from flam_train.data.labels.strong_files import concepts, read_event, read_rows, sounds
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.schema import Event
from flam_train.vocabulary import Vocabulary

REAL = (
    "birds_singing", "car", "people talking", "footsteps", "children voices", "wind_blowing", "brakes_squeaking",
    "large_vehicle", "cutlery and dishes", "metro approaching", "metro leaving", "furniture dragging", "coffee machine",
    "door opens/closes", "announcement", "shopping cart", "cash register beeping",
)  # fmt: skip
"""The labels verbatim."""

EVALUATED = REAL[:11]
DOWNLOADS = {
    "real": [  # the md5s are those that the loader of soundata states
        Archive("https://zenodo.org/records/7244360/files/development_audio.zip", "development_audio.zip",
                "md5:3de7cb4f92a115a6f5cc077a41ca07b3"),
        Archive("https://zenodo.org/records/7244360/files/development_annotation.zip", "development_annotation.zip",
                "md5:e6a3f84f8020725d559b38ccb494ef3d"),
    ],
    "synthetic": [  # Zenodo's record states the md5s
        Archive("https://zenodo.org/records/5126478/files/audio.zip", "audio.zip"),
        Archive("https://zenodo.org/records/5126478/files/meta.zip", "meta.zip"),
    ],
}  # fmt: skip
SYNTHETIC = ("car_horn", "children_voices", "dog_bark", "engine_idling", "siren", "street_music")
THRESHOLD = 0.5

Soft = list[tuple[float, float, str, float]]


def read_soft(path: Path, vocabulary: Vocabulary) -> Soft:
    """(onset, offset, class, value) of every row, the value cut to 1. Raises ValueError that names the file, the row
    (from 1) and the fix."""
    out: Soft = []
    seen: dict[tuple[float, str], int] = {}
    for row, (onset, offset, label, cell) in read_rows(path, ("onset", "offset", "class", "value"), header=False):
        value = seconds(cell, str(path), row, "value")
        if not 0 <= value <= MOST:
            raise fault(str(path), f"the value {value} is not 0 to 1: mend or remove the row", row)
        if label not in REAL:
            raise fault(str(path), f"{ascii(label)[:60]} is none of the labels of MAESTRO Real: mend the row", row)
        for e in read_event(onset, offset, label, vocabulary, path, row):
            if (e.onset, label) in seen:
                what = f"{label!r} at {e.onset} s has a value in row {seen[e.onset, label]}: remove one"
                raise fault(str(path), what, row)
            seen[e.onset, label] = row
            out.append((e.onset, e.offset, label, min(value, 1.0)))
    return out


def harden(soft: Soft, threshold: float) -> tuple[Event, ...]:
    """Events where the value is greater than the threshold; those of a class that touch are one."""
    merged: dict[str, list[list[float]]] = {}
    for onset, offset, label, _ in sorted(row for row in soft if row[3] > threshold):
        spans = merged.setdefault(label, [])
        if spans and onset <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], offset)
        else:
            spans.append([onset, offset])
    events = [Event(a, b, label) for label, spans in merged.items() for a, b in spans]
    return tuple(sorted(events, key=lambda e: (e.onset, e.offset, e.label)))


def read_real(folder: Path, vocabulary: Vocabulary, threshold: float = THRESHOLD) -> list[Recording]:
    """The recordings of the development set, by scene and name."""
    annotation, audio = folder / "development_annotation", folder / "development_audio"
    files: dict[str, dict[str, Path]] = {}
    out = []
    for path in sorted(annotation.glob("soft_labels_*/*.txt")):
        scene = path.parent.name.removeprefix("soft_labels_")
        in_scene = files.setdefault(scene, sounds(audio / scene))
        soft = read_soft(path, vocabulary)
        out.append(
            Recording(
                key=as_key(path.stem),
                path=in_scene.get(path.stem, audio / scene / f"{path.stem}.wav"),
                where=f"{path}: row 1",
                events=harden(soft, threshold),
                source=f"MAESTRO Real {scene}/{path.stem}",
                licence="Tampere University, academic and non-commercial",
                split="development",
                details={"scene": scene},
                timed={"soft": [list(row) for row in soft]},
            )
        )
    if not out:
        raise ValueError(f"{annotation}: no soft_labels_<scene>/*.txt there: unpack development_annotation.zip here")
    return out


def read_synthetic(folder: Path, vocabulary: Vocabulary) -> list[Recording]:
    """The recordings of MAESTRO Synthetic, by name."""
    labels = folder / "estimated_strong_labels"
    files = sounds(folder / "audio")
    out = []
    for path in sorted(labels.rglob("mturk_*.csv")):
        stem = path.stem.removeprefix("mturk_")
        events: list[Event] = []
        for row, (onset, offset, label) in read_rows(path, ("onset", "offset", "class"), header=False):
            if row == 1:
                if onset != "onset":
                    raise fault(str(path), "the header must begin with onset: mend it", 1)
                continue
            if label not in SYNTHETIC:
                raise fault(str(path), f"{ascii(label)[:60]} is none of {', '.join(SYNTHETIC)}: mend the row", row)
            events += read_event(onset, offset, label, vocabulary, path, row)
        out.append(
            Recording(
                key=as_key(stem),
                path=files.get(stem, folder / "audio" / f"{stem}.wav"),
                where=f"{path}: row 1",
                events=tuple(events),
                source=f"MAESTRO Synthetic {stem}",
                licence="not stated; sounds of Freesound, see the archive's credits",
                split="synthetic",
            )
        )
    if not out:
        raise ValueError(f"{labels}: no mturk_*.csv there: unpack meta.zip here")
    return out


def archives(args: argparse.Namespace) -> list[Archive]:
    return [archive for split in args.split or ("real",) for archive in DOWNLOADS[split]]


def check(args: argparse.Namespace) -> None:
    if not 0 <= args.threshold < 1:
        raise ValueError(f"--threshold {args.threshold}: it must be at least 0 and less than 1")


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    vocabulary = Vocabulary.load("maestro")
    there = {"real": "development_annotation", "synthetic": "estimated_strong_labels"}
    splits = args.split or [split for split, name in there.items() if (args.folder / name).is_dir()]
    if not splits:
        raise ValueError(f"{args.folder}: neither {' nor '.join(there.values())} is there: give the unpacked archives")
    out = {}
    for split in splits:
        details = {"maker": "data_prep/maestro.py", "split": split}
        if split == "real":
            recordings = read_real(args.folder, vocabulary, args.threshold)
            details |= {"threshold": args.threshold, "evaluated": list(EVALUATED)}
        else:
            recordings = read_synthetic(args.folder, vocabulary)
        annotates = concepts(vocabulary, REAL if split == "real" else SYNTHETIC)
        out[split] = Listing(f"maestro-{split}", recordings, "events", "maestro", annotates, details)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=archives, download="audio and labels")
    parser.add_argument("--split", nargs="+", choices=("real", "synthetic"), help="[those that are there]")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="of soft labels, exclusive [%(default)s]")
    prepare.run(parser, listings, argv, check)


if __name__ == "__main__":
    main()
