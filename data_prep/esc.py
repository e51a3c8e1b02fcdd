"""ESC-50, or its subset ESC-10, as banks of single sounds, or whole for zero-shot classification.

    python data_prep/esc.py ESC-50-master OUT               # meta/esc50.csv and audio/*.wav, as published
    python data_prep/esc.py ESC-50-master OUT --esc10-only  # the ten classes of ESC-10
    python data_prep/esc.py esc10 OUT                       # a folder with esc10.csv and audio/*.ogg
    python data_prep/esc.py ESC-50-master OUT --zero-shot   # all clips whole -> OUT/zero-shot

Layout: github.com/karolpiczak/ESC-50. OUT/train has the events of all folds but --test-fold, OUT/test those of that
fold. ESC's clips are padded with digital silence to 5 s, so where the event is comes from the signal's energy. For zero
shot each clip has the phrase of its class as caption and the class itself in details["class"]; its fold is the split.
Mixing needs backgrounds too: see data_prep/synthetic.py --only-backgrounds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.caption_files import file_name, find_file, read_table
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.schema import Event
from flam_train.data.shards.tars import sha256_of
from flam_train.vocabulary import Vocabulary

ARCHIVE = Archive(
    # Made by GitHub on demand; the md5 is the one that the loader of soundata states.
    "https://github.com/karolpiczak/ESC-50/archive/master.zip",
    "ESC-50-master.zip",
    "md5:7771e4b9d86d0945acce719c7a59305a",
)

LAYOUTS = {  # the label file, its columns, and its vocabulary
    "meta/esc50.csv": (("filename", "fold", "target", "category", "esc10", "src_file", "take"), "esc50"),
    "esc10.csv": (("filename", "fold", "category", "phrase", "freesound_id", "take", "attribution"), "esc10"),
}

SECONDS = 5.0
"""Length of every clip: the nominal end of an event whose extent is found in the audio."""


def find_layout(folder: Path) -> Path:
    """The label file of an ESC folder."""
    return find_file(folder, tuple(LAYOUTS), "ESC's label file (in the folder that has audio/)")


def read_esc(folder: Path, esc10_only: bool = False) -> tuple[list[Recording], Vocabulary]:
    """The recordings of an ESC folder in the file's order, as items of a bank, and the vocabulary of their categories.

    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    path = find_layout(folder)
    columns, name = LAYOUTS[path.relative_to(folder).as_posix()]
    vocabulary = Vocabulary.load(name)
    recordings = []
    for where, raw in read_table(path, columns):
        if raw["category"] not in vocabulary.classes:
            raise ValueError(
                f"{where}: category {raw['category']!r} is unknown: mend it, or add it to conf/vocabulary/{name}.yaml"
            )
        if raw["fold"] not in {"1", "2", "3", "4", "5"}:
            raise ValueError(f"{where}: fold {raw['fold']!r} is not 1 to 5: mend the row")
        if raw.get("esc10", "True") not in ("True", "False"):
            raise ValueError(f"{where}: esc10 is {raw['esc10']!r}: it must be True or False")
        number = raw.get("src_file") or raw.get("freesound_id", "")
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"{where}: the Freesound id {number!r} is not a number: mend the row")
        if esc10_only and raw.get("esc10") == "False":
            continue
        source, licence = _origin(raw)
        audio = folder / "audio" / file_name(raw["filename"], where)
        recordings.append(
            Recording(
                key=as_key(audio.stem),
                path=audio,
                where=where,
                events=(Event(0.0, SECONDS, raw["category"]),),
                source=source,
                licence=licence,
                split=f"fold{raw['fold']}",
                ids=(f"freesound:{number}",),
            )
        )
    if not recordings:
        raise ValueError(f"{path}: no recordings: the file has only a header")
    return recordings, vocabulary


def _origin(raw: dict[str, str]) -> tuple[str, str]:
    """Source and licence of a recording: the attribution where the file has it."""
    if "attribution" in raw:
        return raw["attribution"], raw["attribution"].rpartition("[")[2].rstrip("]") or raw["attribution"]
    licence = "CC-BY-3.0" if raw["esc10"] == "True" else "CC-BY-NC-3.0"
    return f"ESC-50 {raw['filename']}, from freesound.org sound {raw['src_file']}", licence


def whole(recording: Recording, vocabulary: Vocabulary) -> Recording:
    """A bank's item as a clip to be classified: the class' first phrasing is its caption."""
    label = recording.events[0].label
    caption = vocabulary.concept(label).phrasings[0]
    return replace(recording, events=(), captions=(caption,), details={"class": label})


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    recordings, vocabulary = read_esc(args.folder, args.esc10_only)
    name = vocabulary.corpus
    details = {"maker": "data_prep/esc.py", "esc10_only": args.esc10_only}
    details |= {"labels_sha256": sha256_of(find_layout(args.folder))}
    if args.zero_shot:
        clips = [whole(r, vocabulary) for r in recordings]
        return {"zero-shot": Listing(f"{name}-zero-shot", clips, "captions", name, details=details)}
    annotates = sorted({vocabulary.concept(r.events[0].label).id for r in recordings})
    out = {}
    for split in ("train", "test"):
        chosen = [r for r in recordings if (r.split == f"fold{args.test_fold}") == (split == "test")]
        if not chosen:
            raise ValueError(f"{args.folder}: no recordings are left for {split} with --test-fold {args.test_fold}")
        about = details | {"split": split, "test_fold": args.test_fold}
        out[split] = Listing(f"{name}-{split}", chosen, "bank", name, annotates, about)
    return out


def main(argv: list[str] | None = None) -> None:
    folder = "ESC-50 as published, or an esc10 folder"
    parser = prepare.parser(
        __doc__, folder=folder, archives=lambda args: [ARCHIVE], unpacked="ESC-50-master", download=ARCHIVE.name
    )
    parser.add_argument("--test-fold", type=int, choices=range(1, 6), default=5, help="[%(default)s]")
    parser.add_argument("--esc10-only", action="store_true", help="of ESC-50, the classes of ESC-10 only")
    parser.add_argument("--zero-shot", action="store_true", help="all clips whole, instead of the banks")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
