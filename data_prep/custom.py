"""Your own recordings and labels.

    python data_prep/custom.py FOLDER OUT                          # a label file beside each recording: a.wav, a.txt
    python data_prep/custom.py FOLDER OUT --labels labels.csv      # one table for all, with a column of file names
    python data_prep/custom.py FOLDER OUT --labels LABELS_FOLDER   # label files elsewhere, called like the recordings
    python data_prep/custom.py FOLDER OUT --captions captions.csv  # filename,caption: for the global objective
    python data_prep/custom.py FOLDER OUT --report-only            # what would become of it; nothing is written

Recordings may lie in folders and have any length and format. Labels may be tables with or without a header (DESED,
DCASE, sed_eval, MAESTRO), Audacity label tracks, JAMS, Raven selection tables, Praat TextGrids, ELAN files, one JSON a
clip or a line, or of BirdNET, Kaleidoscope, Label Studio, VIA, Sonic Visualiser, HTK, DCASE few-shot or subtitles: what
each file is, is told by its content and shown; --format forces it. Labels are phrases as they are written, each its own
concept, unless --vocabulary gives classes with phrasings.

OUT/train, OUT/validation and OUT/test get different recordings, drawn by a hash of seed and name, or whole groups of
them (--group: a site, a night, an animal), or those of a list (--splits: columns filename and split).
Labels without times, or with those of a longer stretch, are tags (a table filename,event_labels as DESED's weak.tsv, or
filename,label): the phrase is heard somewhere in the recording. They are stored beside events, for data/weak.
A column `heard` with yes and no is a person's word on each row: no is no event, an empty cell is not judged, and what
nobody has judged is neither an event nor absent.
Say --complete if every occurrence of every label was annotated in all recordings: then absence means absence, and
recordings without labels are negatives. Else they are left out; recordings whose label file is empty, or that a table
lists without an event, are kept. Captions are kept with events only in recordings of a single window (under 11 s); all
are kept with --kind captions, which stores recordings whole, up to 60 s.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels import spelling
from flam_train.data.labels.attach import attach
from flam_train.data.labels.attached import Attached, Labelled, by_channel
from flam_train.data.labels.columns import ROLES
from flam_train.data.labels.matching import Names
from flam_train.data.labels.recognise import FORMATS
from flam_train.data.labels.report import LISTED, report
from flam_train.data.labels.rows import ALL_TIERS, Wanted
from flam_train.data.labels.split_lists import read_list
from flam_train.data.labels.taking import Choices, Taken, keys_of, read_as, refuse_false_negatives, spelled
from flam_train.data.preparation.corpus_writer import progress_bar
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.recordings import as_key
from flam_train.data.preparation.splits import ENOUGH, FOLDER, draw, grouped, lacking
from flam_train.data.shards.places import SPLITS
from flam_train.data.sound.channels import channel_levels
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.opening import measure
from flam_train.settings import nearest
from flam_train.vocabulary import Vocabulary

RAVEN = "raven"
"""--channel: those that the rows of Raven's (or Kaleidoscope's) tables name, each a recording of its own."""

FAINT = 10.0
"""dB by which the mean of a recording's channels may lie below the loudest of them before the report warns."""


def listen(r: Labelled, mean: bool) -> tuple[float | None, float]:
    """(seconds, dB by which the mean of its channels lies below the loudest one: 0 unless `mean` is what is taken).
    Seconds are None if the audio cannot be read; it is listed as missing when shards are written."""
    try:
        return measure(r.path).seconds, channel_levels(r.path) if mean else 0.0
    except Unusable:
        return None, 0.0


def notes_of(found: Attached, chosen: int, dropped: int, kind: str, complete: bool) -> list[str]:
    """Lines of the report about recordings without labels."""
    lines = []
    silent = sum(r.spoken and not (r.rows or r.unknown or r.tags) for r in found.recordings)
    unheard = sum(r.unheard and not r.spoken for r in found.recordings)
    unlabelled = sum(not r.spoken and not r.unheard for r in found.recordings)
    if kind == "captions":
        lines.append(f"{len(found.recordings) - chosen} recordings have no captions: left out")
    else:
        kept = "kept as negatives, --complete" if complete else "left out; negatives with --complete"
        lines += [f"{silent} recordings have labels that say they have no event: kept"] if silent else []
        lines += [f"{unlabelled} recordings have no labels: {kept}"] if unlabelled else []
        lines += [f"{unheard} recordings have not been listened to, their label files say: left out"] if unheard else []
    if dropped:
        lines.append(f"{dropped} recordings are longer than a window: their captions are left out; see --kind captions")
    return lines


def splits_of(found: Attached, chosen: list[Labelled], args: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """The split of each recording's name, and how it was found."""
    names = [r.name for r in chosen]
    if args.splits:
        if args.validation_share is not None:
            raise ValueError("--splits says what validates: leave out --validation-share")
        known = Names([r.name for r in found.recordings])

        def find(name: str, row: int) -> str | None:
            n = known.find(name, str(args.splits), row)
            return None if n is None else found.recordings[n].name

        splits, elsewhere = read_list(args.splits, names, find, args.encoding)
        notes = [f"splits: as listed in {args.splits.name}"]
        notes += [f"  {elsewhere} of its rows are of recordings that are not in the folder: passed over"] * bool(
            elsewhere
        )
        return splits, notes
    # Channels of one recording are one unit, and so are a.wav and a.flac, which may be the same sound.
    by = {r.name: as_key(r.name.removesuffix(r.path.suffix)) for r in chosen}
    if args.group:
        column = {r.name: r.about[args.group] for r in chosen if args.group in r.about}
        by = grouped(names, args.group, column, tuple(found.headers))
    groups = f"{len(set(by.values()))} groups by {args.group}, each in one split" if args.group else "by recording"
    splits = draw(by, args.test_share, args.validation_share, args.seed)
    notes = [f"splits: drawn {groups}"]
    if args.validation_share is None:
        drawn = "drawn from what does not test, a share of 0.1; --validation-share 0 trains on it"
        none = f"none where fewer than {ENOUGH} recordings or one group train; --validation-share draws it"
        notes.append(f"validation: {drawn if 'validation' in splits.values() else none}")
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
    wanted = Wanted(
        args.columns, args.tier, args.unlabelled, args.encoding, args.unit, None if args.group == FOLDER else args.group
    )
    found = attach(args.folder, args.labels, wanted, args.format, args.captions, [args.splits] if args.splits else [])
    used = {pair for _, columns in found.columns for pair in columns}
    for role, column in args.columns.items():
        if (role, column.strip()) not in used:
            formats = ", ".join(sorted(found.formats))
            what = f"--columns {role}={column}: no label file has it (they were read as {formats})"
            raise ValueError(f"{what}: mend it, leave it out, or say another --format")
    if args.complete:
        refuse_false_negatives(found, args.folder, args.labels, wanted)
    kind = args.kind or ("events" if any(r.spoken for r in found.recordings) else "captions")
    if kind == "captions":
        chosen = [r for r in found.recordings if r.captions]
    else:
        chosen = [r for r in found.recordings if r.spoken or (args.complete and not r.unheard)]
    if not chosen:
        unheard = sum(r.unheard for r in found.recordings)
        why = f": their label files say that nobody has listened to {unheard} of them" if unheard else ": check them"
        wanted_kind = kind if args.kind == "captions" or args.captions else "labels"
        raise ValueError(f"{args.folder}: no recording has {wanted_kind}{why}")
    with ThreadPoolExecutor(16) as pool, progress_bar(not args.quiet, "recordings") as progress:
        listened = pool.map(partial(listen, mean=args.channel in ("mean", RAVEN)), chosen)
        listened = progress.track(listened, len(chosen), description="measuring recordings")
        about = dict(zip((r.name for r in chosen), listened, strict=True))
    lengths = {name: seconds for name, (seconds, _) in about.items()}
    moved = found.align(lengths)
    seen = [r for r in chosen if any((row.channel or 1) > 1 for _, row, _ in r.rows)]
    if args.channel == RAVEN:
        chosen = by_channel(chosen)
        if all(r.channel is None for r in chosen):
            raise ValueError(f"--channel {RAVEN}: no row of a label file says a channel: take one by its number")
    joined = {} if known or args.keep_spelling else spelling.join(chosen)
    repeated = spelling.drop_repeated(chosen)
    choices = Choices(kind, args.points, known, args.licence, args.complete)
    taken = Taken(choices, keys_of(chosen, lengths, kind), found.filled, found.in_seconds)
    for r in chosen:
        taken.take(r, lengths[r.name])
    taken.check_unit()
    splits, how = splits_of(found, chosen, args)
    both = list(zip(chosen, taken.recordings, strict=True))
    by_split = {s: [(r, lengths[own.name]) for own, r in both if splits[own.name] == s] for s in SPLITS}
    by_split = {s: some for s, some in by_split.items() if some}
    name = args.name or as_key(args.folder.resolve().name).lower()
    events = {s: Counter(x.label for r, _ in some for x in (*r.events, *r.tags)) for s, some in by_split.items()}
    notes = [f"{name}: {len(found.recordings)} recordings", *read_as(found)]
    if moved:
        first = Path(moved[0]).name
        notes.append(f"{len(moved)} files begin later than their recording: their times are moved, {first}")
    if repeated:
        again = "events are there more than once, equal in recording, phrase and times: each counts once"
        notes.append(f"{repeated} {again}")
    if seen and args.channel == "mean":
        notes.append(f"rows name channels, {seen[0].name}: --channel {RAVEN} stores those that they name")
    faint = [f"{r.name} ({about[r.name][1]:.0f} dB)" for r in chosen if r.channel is None and about[r.name][1] >= FAINT]
    if faint:
        listed = ", ".join(faint[:LISTED]) + (", ..." if len(faint) > LISTED else "")
        notes.append(
            f"warning: the mean of the channels of {len(faint)} recordings lies {FAINT:g} dB or more below the loudest "
            f"of them: {listed}: take one with --channel"
        )
    notes += spelled(joined, spelling.near([label for some in events.values() for label in some]))
    notes += [*notes_of(found, len(chosen), taken.dropped, kind, args.complete), *how, *lacking(events)]
    told = report(by_split, kind, notes, taken.bad, args.folder)
    print(told)
    if taken.faults and not args.cut:
        more = len(taken.faults) - 1
        raise ValueError(taken.faults[0] + (f" (and {more} more such rows)" if more else ""))
    if args.report_only:
        return {}
    concepts = {known.concept(e.label).id if known else e.label for r in taken.recordings for e in (*r.events, *r.tags)}
    vocabulary, files = args.vocabulary, {"report.txt": told}
    if vocabulary and Path(vocabulary).suffix in (".yaml", ".yml"):
        vocabulary = Path(vocabulary).with_suffix(".yaml").name
        files[vocabulary] = Path(args.vocabulary).read_text(encoding="utf-8")
    return {
        split: Listing(
            corpus=f"{name}-{split}",
            recordings=[r for r, _ in some],
            kind=kind,
            vocabulary=vocabulary,
            annotates=sorted(concepts) if args.complete else [],
            details={"complete": args.complete, "rows_outside": len(taken.bad)},
            files=files,
        )
        for split, some in by_split.items()
    }


def columns(text: str) -> dict[str, str]:
    """`role=name,...` as a dict; a name may hold commas."""
    pairs = [pair.partition("=") for pair in re.split(r",(?=\s*\w+=)", text)]
    for role, equals, name in pairs:
        if role not in ROLES or not equals or not name:
            raise argparse.ArgumentTypeError(
                f"{role!r} must be one of {', '.join(ROLES)}, with =NAME: {nearest(role, ROLES)}"
            )
    return {role: name for role, _, name in pairs}


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__, "the recordings, in folders or not, with their label files beside them or elsewhere", channels=(RAVEN,)
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
    parser.add_argument("--unit", choices=("s", "ms"), default="s", help="of times whose column names no unit [s]")
    parser.add_argument("--keep-spelling", action="store_true", help="labels that differ in case or '_' stay apart")
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
    prepare.run(parser, listings, argv, splits=SPLITS)


if __name__ == "__main__":
    main()
