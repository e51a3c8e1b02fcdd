"""Your own recordings and labels.

    python data_prep/custom.py FOLDER OUT                          # a label file beside each recording: a.wav, a.txt
    python data_prep/custom.py FOLDER OUT --labels labels.csv      # one table for all, with a column of file names
    python data_prep/custom.py FOLDER OUT --labels LABELS_FOLDER   # label files elsewhere, called like the recordings
    python data_prep/custom.py FOLDER OUT --captions captions.csv  # filename,caption: for the global objective
    python data_prep/custom.py FOLDER OUT --report-only            # what would become of it; nothing is written

Recordings may lie in folders and have any length and format. Labels may be tables with or without a header (DESED,
DCASE, sed_eval, MAESTRO), Audacity label tracks, JAMS, Raven selection tables, Praat TextGrids, ELAN files or one JSON
a clip: what each file is, is told by its content and shown; --format forces it. Labels are phrases as they are
written, each its own concept, unless --vocabulary gives classes with phrasings.

OUT/train, OUT/validation and OUT/test get different recordings, drawn by a hash of seed and name, or whole groups of
them (--group: a site, a night, an animal), or those of a list (--splits: columns filename and split).
Say --complete if every occurrence of every label was annotated in all recordings: then absence means absence, and
recordings without labels are negatives. Else they are left out; recordings whose label file is empty, or that a table
lists without an event, are kept. Captions are kept with events only in recordings of a single window (under 11 s); all
are kept with --kind captions, which stores recordings whole, up to 60 s.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels.attach import Attached, Labelled, Names, attach
from flam_train.data.labels.recognise import FORMATS
from flam_train.data.labels.report import outside, report
from flam_train.data.labels.rows import ALL_TIERS, Wanted, fault
from flam_train.data.labels.tables import ROLES
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.planned import windows
from flam_train.data.preparation.recordings import Recording, Unusable, as_key, seconds_of
from flam_train.data.preparation.splits import ENOUGH, SPLITS, draw, grouped, lacking, read_list
from flam_train.data.shards.schema import Event
from flam_train.settings import nearest
from flam_train.vocabulary import Vocabulary


def length(r: Labelled) -> float | None:
    """Seconds, None if the audio cannot be read (it is listed as missing when shards are written)."""
    try:
        return seconds_of(r.path)
    except Unusable:
        return None


def events_of(r: Labelled, seconds: float | None, points: float | None, known: Vocabulary | None) -> list[Event]:
    """A recording's events. ValueError that names file and row: a label that is no class, a point without length."""
    out = []
    for file, row, unit in r.rows:
        onset, offset = row.onset, row.offset
        if known is not None and row.label not in known.classes:
            raise fault(
                file,
                f"{row.label!r} is no class of the vocabulary, {nearest(row.label, known.classes)}: mend it, or add it "
                "to the vocabulary",
                row.row,
                unit,
            )
        if onset == offset:
            if points is None:
                raise fault(
                    file,
                    f"{row.label!r} is a point at {onset:g} s: say how long points last with --points",
                    row.row,
                    unit,
                )
            offset = onset + points / 2
            if seconds is None or onset <= seconds:  # else it stays behind the end, and is left out
                onset = max(0.0, onset - points / 2)
        out.append(Event(onset, offset, row.label))
    return out


@dataclass
class Taken:
    """What becomes of the chosen recordings.

    bad       rows outside their recording, each with what is wrong and the fix
    faults    those of them that lie outside by more than half a second, with the path of their file
    dropped   recordings whose captions are left out, because they become several samples
    """

    recordings: list[Recording] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    dropped: int = 0

    def take(self, r: Labelled, seconds: float | None, kind: str, args: argparse.Namespace, known: Vocabulary | None):
        """Adds a recording. ValueError as in `events_of`."""
        for file, row, unit in r.rows:
            wrong = None if seconds is None else outside(row.onset, row.offset, seconds)
            if wrong is not None:
                what, far = wrong
                at = f"{unit} {row.row}: {row.label!r}: {what}"
                self.bad.append(f"{Path(file).name}: {at}")
                self.faults += [f"{file}: {at}"] if far else []
        single = kind == "captions" or seconds is None or len(windows(kind, seconds)) == 1
        self.dropped += bool(r.captions) and not single
        self.recordings.append(
            Recording(
                key=as_key(r.name.removesuffix(r.path.suffix)),
                path=r.path,
                where=str(r.path),
                captions=tuple(r.captions) if single else (),
                events=tuple(events_of(r, seconds, args.points, known)),
                source=r.name,
                licence=args.licence,
            )
        )


def notes_of(found: Attached, name: str, kind: str, args: argparse.Namespace, taken: Taken) -> list[str]:
    """The first lines of the report: what was read as what, and what is left out."""
    lines = [f"{name}: {len(found.recordings)} recordings"]
    for format, files in sorted(found.formats.items()):
        file, why = files[0]
        lines.append(f"labels: {len(files)} files as {format}; {file}: {why}")
    silent = sum(r.spoken and not r.rows for r in found.recordings)
    unlabelled = sum(not r.spoken for r in found.recordings)
    if kind == "captions":
        lines.append(f"{len(found.recordings) - len(taken.recordings)} recordings have no captions: left out")
    else:
        kept = "kept as negatives, --complete" if args.complete else "left out; negatives with --complete"
        lines += [f"{silent} recordings have labels that say they have no event: kept"] if silent else []
        lines += [f"{unlabelled} recordings have no labels: {kept}"] if unlabelled else []
    if taken.dropped:
        lines.append(
            f"{taken.dropped} recordings are longer than a window: their captions are left out; see --kind captions"
        )
    return lines


def splits_of(found: Attached, taken: Taken, args: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """The split of each recording's source, and how it was found."""
    names = [r.source for r in taken.recordings]
    if args.splits:
        if args.validation_share is not None:
            raise ValueError("--splits says what validates: leave out --validation-share")
        known = Names(found.recordings)

        def find(name: str, row: int) -> str | None:
            n = known.find(name, str(args.splits), row)
            return None if n is None else found.recordings[n].name

        return read_list(args.splits, names, find), [f"splits: as listed in {args.splits.name}"]
    by = grouped(names, args.group, {}) if args.group else {r.source: r.key for r in taken.recordings}
    groups = f"{len(set(by.values()))} groups by {args.group}, each in one split" if args.group else "by recording"
    splits = draw(by, args.test_share, args.validation_share, args.seed)
    notes = [f"splits: drawn {groups}"]
    if args.validation_share is None:
        validates = "validation" in splits.values()
        notes.append(
            "validation: drawn from what does not test, a share of 0.1; --validation-share 0 trains on it"
            if validates
            else f"validation: none, there are fewer than {ENOUGH} recordings to train on; see --validation-share"
        )
    return splits, notes


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    """Reads all, prints the report; ValueError that names file, row and fix."""
    if not 0 <= args.test_share <= 1:
        raise ValueError(f"--test-share {args.test_share} is no share: from 0 to 1")
    if not 0 <= (args.validation_share or 0) < 1:
        raise ValueError(f"--validation-share {args.validation_share} is no share: from 0 to below 1")
    if args.points is not None and not args.points > 0:
        raise ValueError(f"--points {args.points}: points must last more than 0 s")
    known = Vocabulary.load(args.vocabulary) if args.vocabulary else None
    wanted = Wanted(args.columns, args.tier, args.unlabelled, args.encoding)
    found = attach(args.folder, args.labels, wanted, args.format, args.captions)
    kind = args.kind or ("events" if any(r.spoken for r in found.recordings) else "captions")
    if kind == "captions":
        chosen = [r for r in found.recordings if r.captions]
    else:
        chosen = [r for r in found.recordings if r.spoken or args.complete]
    if not chosen:
        raise ValueError(f"{args.folder}: no recording has {'labels' if kind == 'events' else kind}: check them")
    with ThreadPoolExecutor(16) as pool:
        lengths = dict(zip((r.name for r in chosen), pool.map(length, chosen), strict=True))
    taken = Taken()
    for r in chosen:
        taken.take(r, lengths[r.name], kind, args, known)
    splits, how = splits_of(found, taken, args)
    by_split = {s: [r for r in taken.recordings if splits[r.source] == s] for s in SPLITS}
    by_split = {s: some for s, some in by_split.items() if some}
    name = args.name or as_key(args.folder.resolve().name).lower()
    events = {s: Counter(e.label for r in some for e in r.events) for s, some in by_split.items()}
    notes = [*notes_of(found, name, kind, args, taken), *how, *lacking(events)]
    told = report({s: [(r, lengths[r.source]) for r in some] for s, some in by_split.items()}, kind, notes, taken.bad)
    print(told)
    if taken.faults and not args.cut:
        more = len(taken.faults) - 1
        raise ValueError(taken.faults[0] + (f" (and {more} more such rows)" if more else ""))
    if args.report_only:
        return {}
    concepts = {known.concept(e.label).id if known else e.label for r in taken.recordings for e in r.events}
    vocabulary, files = args.vocabulary, {"report.txt": told}
    if vocabulary and Path(vocabulary).suffix in (".yaml", ".yml"):
        vocabulary = Path(vocabulary).with_suffix(".yaml").name
        files[vocabulary] = Path(args.vocabulary).read_text(encoding="utf-8")
    return {
        split: Listing(
            corpus=f"{name}-{split}",
            recordings=some,
            kind=kind,
            vocabulary=vocabulary,
            annotates=sorted(concepts) if args.complete else [],
            details={"complete": args.complete, "rows_outside": len(taken.bad)},
            files=files,
        )
        for split, some in by_split.items()
    }


def columns(text: str) -> dict[str, str]:
    """`role=name,...` as a dict."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    for role, equals, name in pairs:
        if role not in ROLES or not equals or not name:
            raise argparse.ArgumentTypeError(f"{role!r} must be one of {', '.join(ROLES)}, with =NAME")
    return {role: name for role, _, name in pairs}


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__, "the recordings, in folders or not, with their label files beside them or elsewhere"
    )
    parser.add_argument("--labels", type=Path, help="a label file for all, or a folder of label files")
    parser.add_argument("--format", choices=FORMATS, help="of the label files, instead of recognising it")
    parser.add_argument(
        "--columns", type=columns, default={}, metavar="ROLE=NAME,...",
        help=f"what columns of a table are ({', '.join(ROLES)}): names of its header, or numbers from 1 without one",
    )  # fmt: skip
    parser.add_argument("--tier", help=f"tier of ELAN and TextGrid, namespace of JAMS; {ALL_TIERS!r}: every one")
    parser.add_argument("--unlabelled", metavar="PHRASE", help="label of rows that have none")
    parser.add_argument("--encoding", help="of the label files, if neither UTF-8 nor marked")
    parser.add_argument("--captions", type=Path, help="a table filename,caption or filename,caption_1,caption_2,...")
    parser.add_argument("--kind", choices=("events", "captions"), help="what to store [events if there are labels]")
    parser.add_argument("--vocabulary", help="a .yaml of classes and phrasings, or a name of conf/vocabulary")
    parser.add_argument("--complete", action="store_true", help="every occurrence of every label was annotated")
    parser.add_argument("--cut", action="store_true", help="cut what lies outside the audio instead of failing")
    parser.add_argument("--points", type=float, metavar="SECONDS", help="how long a label without length lasts")
    parser.add_argument("--test-share", type=float, default=0.1, help="of the recordings or groups [%(default)s]")
    parser.add_argument(
        "--validation-share", type=float, metavar="SHARE",
        help=f"of those that do not test [0.1 where these are {ENOUGH} recordings or more, else 0]",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--group", metavar="COLUMN|folder|REGEX",
        help="what stays in one split: a column of the table, each folder, or what a parenthesis matches in the path",
    )  # fmt: skip
    how.add_argument("--splits", type=Path, metavar="FILE", help="a table filename,split instead of drawing them")
    parser.add_argument("--name", help="of the corpus [the folder's]")
    parser.add_argument("--licence", default="", help="of the recordings, stored with each sample")
    parser.add_argument("--report-only", action="store_true", help="report and write nothing")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
