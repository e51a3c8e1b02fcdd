"""AudioSet Strong: 10 s of YouTube videos with the onsets and offsets of 456 classes.

    python data_prep/audioset_strong.py FOLDER OUT
    python data_prep/audioset_strong.py FOLDER OUT --split eval --clips CLIPS --max-missing 0.3

Layout: research.google.com/audioset/download_strong.html. FOLDER holds audioset_train_strong.tsv and
audioset_eval_strong.tsv (segment_id, start_time_seconds, end_time_seconds, label; the label is a MID, the times are
seconds of the clip) and mid_to_display_name.tsv (no header). A segment_id is the video's id and the clip's start in ms:
s9d-2nhuJCQ_30000. The published files have 447 labels in train and 416 in eval, 407 in both and 456 in all; that is
checked, unless --subset says that the files are a part of them.

The audio is not published, and how it is called depends on who fetched it: below CLIPS are sought <id>_<start in ms>,
<id>_<start>_<end> with three decimals, each also with a Y before it, Y<id> and <id>; any format. Each file is the clip,
not the whole video. Videos that are gone are listed as missing: a share of 0.1 to 0.3 is usual [inferred].

Clips without any event are not in the label files. Labels are those that annotators chose, not passed on upwards: a
bark is a Bark and not also a Dog. An event of no length (onset = offset) is left out.

--framed also reads audioset_eval_strong_framed_posneg.tsv (a further column `present`: PRESENT or NOT_PRESENT,
frames of 0.96 s), the only file with explicit negatives, into details["framed"] of the clips of eval:
[onset, offset, class, present], in seconds of the clip.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels.rows import fault
from flam_train.data.labels.strong_files import concepts, known, read_event, read_rows, sounds
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.schema import Event
from flam_train.vocabulary import Vocabulary

COLUMNS = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
LABELS = {"train": 447, "eval": 416}
IN_BOTH, IN_ALL = 407, 456
CLIP = 10.0
LICENCE = "labels: CC BY 4.0; audio: of the video"
PUBLISHED = "https://storage.googleapis.com/us_audioset/youtube_corpus/strong"
NAMES, FRAMED = "mid_to_display_name.tsv", "audioset_eval_strong_framed_posneg.tsv"
_SEGMENT = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{1,9})")


def read_names(path: Path, vocabulary: Vocabulary) -> dict[str, str]:
    """{MID: display name}. Raises ValueError that names the file, the row and the fix."""
    names: dict[str, str] = {}
    for row, (mid, name) in read_rows(path, ("mid", "display name"), header=False):
        if mid in names:
            raise fault(str(path), f"{mid} has a row before: remove one", row)
        names[mid] = known(name, vocabulary, path, row)
    return names


def read_labels(
    path: Path, names: dict[str, str], vocabulary: Vocabulary
) -> tuple[dict[str, tuple[int, list[Event]]], set[str]]:
    """({segment_id: (its first row, its events)}, the classes of all rows). Raises ValueError that names the file, the
    row (1 is the header) and the fix."""
    out: dict[str, tuple[int, list[Event]]] = {}
    labels = set()
    for row, (segment, onset, offset, mid) in read_rows(path, COLUMNS):
        parse_segment(segment, path, row)
        labels.add(_name(mid, names, path, row))
        event = read_event(onset, offset, names[mid], vocabulary, path, row)
        out.setdefault(segment, (row, []))[1].extend(event)
    return out, labels


def read_framed(path: Path, names: dict[str, str], vocabulary: Vocabulary) -> dict[str, list[list]]:
    """{segment_id: [[onset, offset, class, present], ...]}, in seconds of the clip."""
    out: dict[str, list[list]] = {}
    for row, (segment, onset, offset, mid, present) in read_rows(path, (*COLUMNS, "present")):
        parse_segment(segment, path, row)
        if present not in ("PRESENT", "NOT_PRESENT"):
            raise fault(str(path), f"{ascii(present)[:60]} is neither PRESENT nor NOT_PRESENT: mend the row", row)
        for e in read_event(onset, offset, _name(mid, names, path, row), vocabulary, path, row):
            out.setdefault(segment, []).append([e.onset, e.offset, e.label, present == "PRESENT"])
    return out


def parse_segment(segment: str, path: Path, row: int) -> tuple[str, int]:
    """(video, start in ms). An id may hold '_' and '-' and begin with them: only its length tells where it ends."""
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        raise fault(str(path), f"{ascii(segment)[:60]} is not <id of 11 characters>_<start in ms>: mend the row", row)
    return match[1], int(match[2])


def _name(mid: str, names: dict[str, str], path: Path, row: int) -> str:
    if mid not in names:
        raise fault(str(path), f"label {ascii(mid)[:60]} is no MID of mid_to_display_name.tsv: mend one of them", row)
    return names[mid]


def read_audioset_strong(
    path: Path, names: dict[str, str], vocabulary: Vocabulary, clips: Path, files: dict[str, Path], split: str
) -> tuple[list[Recording], set[str]]:
    """The clips of a label file in its order, and the classes that it names. `files`: `sounds(clips)`."""
    segments, labels = read_labels(path, names, vocabulary)
    of_video = Counter(parse_segment(s, path, row)[0] for s, (row, _) in segments.items())
    out = []
    for segment, (row, events) in segments.items():
        video, start = parse_segment(segment, path, row)
        out.append(
            Recording(
                key=segment,
                path=find_clip(files, video, start, of_video[video] == 1) or clips / f"{segment}.wav",
                where=f"{path}: row {row}",
                events=tuple(events),
                source=f"https://www.youtube.com/watch?v={video}, from {start / 1000:.3f} s",
                licence=LICENCE,
                split=split,
                ids=(f"youtube:{video}",),
            )
        )
    return out, labels


def find_clip(files: dict[str, Path], video: str, start: int, alone: bool) -> Path | None:
    """The file of the clip that begins at `start` ms. alone: whether it is the video's only clip, so that the video's
    id says all."""
    begin = start / 1000
    names = [f"{video}_{start}", f"{video}_{begin:.3f}_{begin + CLIP:.3f}"]
    candidates = [prefix + name for name in names for prefix in ("", "Y")] + [f"Y{video}", video] * alone
    return next((files[name] for name in candidates if name in files), None)


def check_labels(names: dict[str, str], found: dict[str, set[str]], folder: Path) -> None:
    """Whether the label files are whole, by the numbers of labels that are published."""
    facts = {"mid_to_display_name.tsv": (len(set(names.values())), IN_ALL)}
    facts |= {f"audioset_{split}_strong.tsv": (len(labels), LABELS[split]) for split, labels in found.items()}
    if len(found) == 2:
        facts["both label files"] = (len(found["train"] & found["eval"]), IN_BOTH)
        facts["the label files together"] = (len(found["train"] | found["eval"]), IN_ALL)
    for what, (number, published) in facts.items():
        if number != published:
            raise ValueError(
                f"{folder}: {what}: {number} labels instead of {published}: fetch the files again, or say --subset if "
                "they are meant to be a part"
            )


def archives(args: argparse.Namespace) -> list[Archive]:
    """The label files; their server states the md5s."""
    files = [NAMES, *(f"audioset_{split}_strong.tsv" for split in args.split), *[FRAMED] * args.framed]
    return [Archive(f"{PUBLISHED}/{name}", name, unpack=None) for name in files]


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    vocabulary = Vocabulary.load("audioset_strong")
    names = read_names(args.folder / NAMES, vocabulary)
    clips = args.clips or next((p for p in [args.folder / "audio"] if p.is_dir()), args.folder)
    files = sounds(clips)
    out, found = {}, {}
    for split in args.split:
        path = args.folder / f"audioset_{split}_strong.tsv"
        recordings, found[split] = read_audioset_strong(path, names, vocabulary, clips, files, split)
        details = {"maker": "data_prep/audioset_strong.py", "split": split, "subset": args.subset}
        if args.framed and split == "eval":
            framed = read_framed(args.folder / FRAMED, names, vocabulary)
            recordings = [replace(r, details={"framed": framed[r.key]}) if r.key in framed else r for r in recordings]
            details["framed"] = sum(bool(r.details) for r in recordings)
        annotates = concepts(vocabulary, found[split])
        corpus = f"audioset_strong-{split}"
        out[split] = Listing(corpus, recordings, "events", "audioset_strong", annotates, details)
    if args.subset:
        print(f"--subset: not checked whether the labels are {LABELS}, {IN_BOTH} in both, {IN_ALL} in all")
    else:
        check_labels(names, found, args.folder)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, "the three label files", archives, download="the label files")
    parser.add_argument("--split", nargs="+", choices=tuple(LABELS), default=list(LABELS), help="[both]")
    parser.add_argument("--clips", type=Path, metavar="CLIPS", help="the audio [FOLDER/audio, else FOLDER]")
    parser.add_argument("--subset", action="store_true", help="the label files are a part of the published ones")
    parser.add_argument("--framed", action="store_true", help="read the explicit negatives of eval too")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
