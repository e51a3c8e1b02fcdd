"""URBAN-SED 2.0: 10,000 synthetic soundscapes of 10 s with ten classes of UrbanSound8K.

    python data_prep/urbansed.py URBAN-SED_v2.0.0 OUT
    python data_prep/urbansed.py URBAN-SED_v2.0.0 OUT --labels jams

Layout: zenodo.org/records/1324404. FOLDER holds audio/<split>/*.wav and annotations/<split>/*.txt beside *.jams, the
splits being train, validate and test; the names soundscape_{validate,test}_* are inferred. A .txt (no header: onset TAB
offset TAB class) and a .jams (one annotation of namespace `scaper`) say the same: of the JAMS the true extents are time
and duration of the observations (`event_duration` precedes the stretching), and its background `noise` is left out.
Offsets may pass 10 s by rounding.

The sounds are those of UrbanSound8K (folds 1-6 in train, 7 and 8 in validate, 9 and 10 in test), so a model that has
trained here has heard that corpus: where the JAMS is there, the Freesound ids of the sounds become the clip's ids,
whichever labels are read.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels.rows import fault, seconds
from flam_train.data.labels.strong_files import concepts, read_event, read_rows, sounds
from flam_train.data.preparation.caption_files import file_name, object_of, read_json
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.schema import Event
from flam_train.vocabulary import Vocabulary

ARCHIVE = Archive(
    "https://zenodo.org/records/1324404/files/URBAN-SED_v2.0.0.tar.gz?download=1",
    "URBAN-SED_v2.0.0.tar.gz",
    "md5:a2d24a2148ece7c021fcc079ee87c2dc",
)

SPLITS = ("train", "validate", "test")
UNIT = "observation"
_SOURCE = re.compile(r"(?:.*[/\\])?([0-9]{1,11})-[0-9]+-[0-9]+-[0-9]+\.wav")


def read_txt(path: Path, vocabulary: Vocabulary) -> tuple[Event, ...]:
    """The events of a .txt, in its order. Raises ValueError that names the file, the row (from 1) and the fix."""
    rows = read_rows(path, ("onset", "offset", "class"), header=False)
    return tuple(
        e for row, (onset, offset, label) in rows for e in read_event(onset, offset, label, vocabulary, path, row)
    )


def read_jams(path: Path, vocabulary: Vocabulary) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """(events, ids of the Freesound sounds they were made of), in the file's order. Raises ValueError that names the
    file, the observation (from 1) and the fix."""
    annotations = object_of(read_json(path), f"{path}: row 1").get("annotations")
    found = annotations if isinstance(annotations, list) else []
    scaper = [a for a in found if isinstance(a, dict) and a.get("namespace") == "scaper"]
    if len(scaper) != 1 or not isinstance(scaper[0].get("data"), list):
        raise fault(str(path), "needs one annotation of namespace 'scaper' with a list `data`: fetch it again", 1)
    events: list[Event] = []
    ids: dict[str, None] = {}
    for n, raw in enumerate(scaper[0]["data"], 1):
        where = f"{path}: {UNIT} {n}"
        observation = object_of(raw, where)
        value = object_of(observation.get("value"), where)
        if value.get("role") not in ("background", "foreground"):
            raise fault(str(path), "its role is neither background nor foreground: fetch the file again", n, UNIT)
        if value["role"] == "background":
            continue
        onset = seconds(observation.get("time"), str(path), n, "time", UNIT)
        length = seconds(observation.get("duration"), str(path), n, "duration", UNIT)
        events += read_event(onset, onset + length, value.get("label"), vocabulary, path, n, UNIT)
        match = _SOURCE.fullmatch(str(value.get("source_file")))
        if match:
            ids[f"freesound:{int(match[1])}"] = None
    return tuple(events), tuple(ids)


def read_urbansed(folder: Path, split: str, labels: str, vocabulary: Vocabulary) -> list[Recording]:
    """The soundscapes of a split, by name. labels: "txt" or "jams"."""
    annotations, audio = folder / "annotations" / split, folder / "audio" / split
    files = sounds(audio)
    out = []
    for path in sorted(annotations.glob(f"*.{labels}")):
        stem = file_name(path.stem, str(path))
        jams = path.with_suffix(".jams")
        events, ids = read_jams(jams, vocabulary) if jams.is_file() else ((), ())
        out.append(
            Recording(
                key=as_key(stem),
                path=files.get(stem, audio / f"{stem}.wav"),
                where=f"{path}: row 1",
                events=read_txt(path, vocabulary) if labels == "txt" else events,
                source=f"URBAN-SED 2.0 {stem}",
                licence="CC BY 4.0",
                split=split,
                ids=ids,
            )
        )
    if not out:
        raise ValueError(f"{annotations}: no .{labels} there: give the folder that holds annotations/ and audio/")
    return out


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    vocabulary = Vocabulary.load("urbansed")
    annotates = concepts(vocabulary, set(vocabulary.classes))
    out = {}
    for split in args.split:
        recordings = read_urbansed(args.folder, split, args.labels, vocabulary)
        details = {"maker": "data_prep/urbansed.py", "split": split, "labels": args.labels}
        details["without_ids"] = sum(not r.ids for r in recordings)
        out[split] = Listing(f"urbansed-{split}", recordings, "events", "urbansed", annotates, details)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__, archives=lambda args: [ARCHIVE], unpacked="URBAN-SED_v2.0.0", download=ARCHIVE.name
    )
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="[all]")
    parser.add_argument("--labels", choices=("txt", "jams"), default="txt", help="[%(default)s]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
