"""The options and the report that all scripts of data_prep/ share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.progress import TaskID

from flam_train.cli.answers import ENDS, answer, printing
from flam_train.data.preparation.corpus_writer import cores, progress_bar
from flam_train.data.preparation.download import download
from flam_train.data.preparation.listing import MISSING, Listing, Options, prepare, refuse_others
from flam_train.data.preparation.published import Archive
from flam_train.data.shards.audio import AUDIO
from flam_train.data.shards.corpus import Corpus
from flam_train.data.sound.channels import WORDS, Channel, channel_of
from flam_train.disk import check_writable

Archives = Callable[[argparse.Namespace], Sequence[Archive]]

Read = Callable[[argparse.Namespace], dict[str, Listing]]
"""The corpora that the arguments ask for, each with the folder below OUT that it goes to ("": OUT itself)."""


def parser(
    description: str | None,
    folder: str = "the corpus as published, unpacked",
    archives: Archives | None = None,
    unpacked: str = "",
    download: str = "the published files",
    channels: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """With FOLDER, OUT and the common options; a script adds its own.

    archives  what --download brings into FOLDER for the given arguments; the corpus then is FOLDER/`unpacked`
    download  what that is, in words for --help
    channels  what else --channel may be; the script then says the channel of its recordings itself
    """
    out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("folder", type=Path, help=folder)
    out.add_argument("out", type=Path, help="folder for the shards")
    common = out.add_argument_group("common to all scripts")
    common.add_argument(
        "--part", type=_part, default=(1, 1), metavar="I/N", help="make the I-th of N parts, then merge.py"
    )
    common.add_argument("--processes", type=int, default=cores(), help="[%(default)s]")
    common.add_argument("--audio", choices=AUDIO, default="flac", help="[%(default)s]")
    common.add_argument("--per-shard", type=int, default=500, metavar="N", help="samples a shard [%(default)s]")
    common.add_argument("--seed", type=int, default=0, help="of the permutation over shards [%(default)s]")
    common.add_argument(
        "--max-missing", type=float, default=0.05, metavar="SHARE", help="fail above this share [%(default)s]"
    )
    common.add_argument(
        "--channel", type=lambda text: text if text in channels else _channel(text), default="mean",
        metavar="|".join((*WORDS, "N", *channels)),
        help="of recordings that have several: their mean, one by its number from 1, or the loudest [%(default)s]",
    )  # fmt: skip
    common.add_argument("--quiet", action="store_true", help="no progress bars")
    if archives is not None:
        common.add_argument("--download", action="store_true", help=f"fetch {download} into FOLDER first")
        out.set_defaults(archives=archives, unpacked=unpacked)
    return out


def run(
    parser: argparse.ArgumentParser,
    read: Read,
    argv: list[str] | None = None,
    check: Callable[[argparse.Namespace], None] = lambda args: None,
    splits: Sequence[str] = (),
) -> None:
    """Reads the labels, writes the shards, prints the report. What goes wrong is answered in a line (`answered`).

    check   raises ValueError for arguments that cannot work, before anything is fetched
    splits  folders below OUT among which the same recordings are shared out (`refuse_others`)
    """
    args = parser.parse_args(argv)
    with answered(parser):
        options = Options(
            args.part, args.processes, args.audio, args.per_shard, args.seed, args.max_missing, not args.quiet
        )
        check(args)
        if not getattr(args, "report_only", False):
            check_writable(args.out, "OUT")
        if getattr(args, "download", False):
            check_writable(args.folder, "FOLDER")
            fetch(args.archives(args), args.folder, options.show)
            args.folder = args.folder / args.unpacked
        listings = {name: with_channel(found, args.channel) for name, found in read(args).items()}
        refuse_others(args.out, listings, options, splits if listings else ())
        for name, listing in listings.items():
            print(report(prepare(listing, args.out / name, options)))


@contextmanager
def answered(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What ends a script before its time is told in a line (`answers`)."""
    with printing():
        try:
            yield
        except ENDS as error:
            parser.exit(*answer(error))


def with_channel(listing: Listing, channel: Channel) -> Listing:
    """The same with that channel of every recording for which the script does not say another."""
    if channel == "mean" or (isinstance(channel, str) and channel not in WORDS):
        return listing
    chosen = [replace(r, channel=channel) if r.channel == "mean" else r for r in listing.recordings]
    return replace(listing, recordings=chosen)


def fetch(archives: Sequence[Archive], folder: Path, show: bool = True) -> None:
    """Downloads with a bar for what is being done. Raises ValueError that names the address and the fix."""
    with progress_bar(show, "bytes") as progress:
        bars: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in bars:
                for bar in bars.values():  # there may be hundreds
                    progress.remove_task(bar)
                bars.clear()
                bars[what] = progress.add_task(what)
            progress.update(bars[what], completed=done, total=total or None)

        download(archives, folder, update)


def report(folder: Path) -> str:
    """What a folder of shards holds, in a few lines."""
    corpus = Corpus(folder)
    m, d = corpus.manifest, corpus.manifest["details"]
    said = "".join(
        f", {d[what]:,} {what} in the clips" + (f" of {d[labels]:,} labels" if labels in d else "")
        for what, labels in (("events", "labels"), ("tags", "tagged_labels"))
        if d.get(what)
    )
    lines = [
        f"{folder}: {corpus.name}, {m['samples']:,} clips in {len(m['shards'])} shards, "
        f"{m['seconds'] / 3600:.2f} hours{said}"
    ]
    if d.get("missing"):
        lines.append(f"  missing or unreadable: {d['missing']:,} of {d['recordings']:,}, listed in {folder / MISSING}")
    if d.get("seconds_left_out"):
        lines.append(f"  left out behind the last windows: {d['seconds_left_out']:,} s")
    return "\n".join(lines)


def _channel(text: str) -> Channel:
    try:
        return channel_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, like 3/8")
    return int(match[1]), int(match[2])
