"""Whether shards are what their manifest says and fit to train on; and which of their samples are in test sets.

    python data_prep/verify.py shards/clotho
    python data_prep/verify.py shards/audioset_strong/train --against shards/audiocaps/test --exclude overlap.txt

SHARDS is a folder of shards, or one with such folders below it (train/, test/). Every sample is read and decoded. An
error (exit code 1) is what training would stumble over or be misled by; a warning (exit code 0) is what recordings may
be like: look at a few of them. Overlap with the sets of --against is found by the ids that recordings bear across
corpora (youtube:..., freesound:...) and by audio that is the same bit for bit; `flam-train data.exclude=[overlap.txt]`
trains without it. Labels that the text model cannot tell apart are named too (--text). Exit code 2: the command was
wrong; nothing was checked.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flam_train import evaluation, plotting  # lazy: their names are imported as they are used, matplotlib with them
from flam_train.cli import prepare
from flam_train.data.preparation.corpus_writer import cores, progress_bar
from flam_train.data.preparation.overlap import Overlap, overlap
from flam_train.data.preparation.recordings import as_key
from flam_train.data.preparation.verification import Report, check_corpus
from flam_train.data.shards.cache import is_url
from flam_train.data.shards.checks import ERRORS, WARNINGS, WHOLE_ONLY
from flam_train.data.shards.exclusion import write_excluded
from flam_train.data.shards.tars import MANIFEST
from flam_train.disk import check_writable
from flam_train.paths import conf_file
from flam_train.settings import from_plain

if TYPE_CHECKING:
    from flam_train.models.text import Tokenizer


def corpora(places: list[str]) -> list[str]:
    """Each place that holds a manifest, or those below it that do. Raises ValueError for one that does not exist."""
    out = []
    for place in places:
        folder = Path(place)
        if is_url(place) or (folder / MANIFEST).is_file():
            out.append(place.rstrip("/"))
        elif not folder.is_dir():
            raise ValueError(f"{place}: no such folder: give folders of shards")
        else:
            # Without a manifest anywhere it is a corpus whose preparation was interrupted: that is told as an error.
            out += sorted(str(path.parent) for path in folder.rglob(MANIFEST)) or [place]
    return list(dict.fromkeys(out))


def check(places: list[str], args: argparse.Namespace) -> list[Report]:
    reports = []
    for place in places:
        with progress_bar(not args.quiet, "samples") as progress:
            task = progress.add_task(place, total=None)
            tick = lambda done, total: progress.update(task, completed=done, total=total)  # noqa: B023, E731
            reports.append(check_corpus(place, args.quick, args.processes, tick))
    return reports


def table(report: Report) -> Table:
    """A row for each check: how many, and where the first few are."""
    hours = float(report.seconds_N.sum()) / 3600
    holds = f"{len(report.seconds_N):,} clips, {hours:,.2f} hours, {report.captions:,} captions, "
    holds += f"{report.labels.total():,} labels of {len(report.labels):,} classes"
    where = report.folder if report.name == report.folder else f"{report.name} in {report.folder}"
    out = Table(title=escape(where), caption=holds if report.corpus else None, title_justify="left")
    for column in ("check", "found", "samples", "of all", "the first"):
        out.add_column(column, justify="right" if column in ("samples", "of all") else "left")
    for name, meaning in (ERRORS | WARNINGS).items():
        count = report.findings.count[name]
        done = report.corpus is not None and not (report.quick and name in WHOLE_ONLY)
        state = ("[red]error" if name in ERRORS else "[yellow]warning") if count else "[green]good" if done else "-"
        share = f"{count / len(report.seconds_N):.1%}" if count and len(report.seconds_N) else ""
        first = [f"{f.key} ({f.shard})" if f.key else f.shard for f in report.findings.first.get(name, ())]
        out.add_row(f"{name}: {meaning}", state, f"{count:,}" if count else "", share, escape("\n".join(first)))
    return out


def overlap_table(found: list[Overlap]) -> Table:
    """A row for each pair of corpora; '-' where a pair cannot be compared in that way."""
    out = Table(title="overlap", title_justify="left")
    for column in ("samples of", "are in", "by id", "by audio", "together", "of all"):
        out.add_column(column, justify="left" if column in ("samples of", "are in") else "right")
    for pair in found:
        named = len(pair.of.ids_M) and len(pair.other.ids_M)
        heard = pair.of.sound_N.any() and pair.other.sound_N.any()
        out.add_row(
            escape(pair.of.name), escape(pair.other.name), f"{len(pair.by_id):,}" if named else "-",
            f"{len(pair.by_sound):,}" if heard else "-", f"{len(pair.rows):,}",
            f"{len(pair.rows) / max(len(pair.of.seconds_N), 1):.1%}",
        )  # fmt: skip
    return out


def tokenizer_of(text: str | None) -> Tokenizer | None:
    """Of a name in conf/text, a .yaml file or an export; None: MiniLM's, or none where its files are not here."""
    from flam_train.checkpoints.export import TOKENIZER, read_config
    from flam_train.models.text import TextConfig, build_tokenizer, load_tokenizer, minilm_from_package

    if text is None:
        text = "minilm" if minilm_from_package() else None
    if text is None:
        return None
    if Path(text).is_dir():
        return load_tokenizer(str(Path(text) / TOKENIZER), read_config(Path(text)).text.max_tokens)
    path = conf_file("text", text)
    return build_tokenizer(from_plain(TextConfig, str(path), yaml.safe_load(path.read_text(encoding="utf-8"))))


def confused(reports: list[Report], text: str | None) -> list[str]:
    """A line for each corpus and kind of labels that the text model cannot tell apart."""
    from flam_train.models.same_tokens import told

    found = [report for report in reports if report.corpus and report.labels]
    tokenizer = tokenizer_of(text) if found else None
    if tokenizer is None:
        return []
    lines = []
    for report in found:
        assert report.corpus is not None
        classes = report.corpus.vocabulary.classes
        said = {c.id: c.phrasings + c.held_out for c in classes.values()} or {label: [label] for label in report.labels}
        lines += [f"{report.name}: {line}" for line in told(said, tokenizer)]
    return lines


def draw(reports: list[Report], folder: Path) -> list[Path]:
    """The figures of each corpus that could be read; corpora of one name are numbered."""
    out = []
    taken: set[str] = set()
    for report in reports:
        if not len(report.seconds_N):
            continue
        name = next(
            n for k in itertools.count(1) if (n := as_key(report.name) + (f"-{k}" if k > 1 else "")) not in taken
        )
        taken.add(name)
        seconds = report.seconds_N[report.seconds_N > 0]
        if len(seconds):
            figure = evaluation.report.corpus_figures.duration_histogram_figure(seconds, name)
            out.append(plotting.save_figure(figure, folder / f"{name}-durations.png"))
        if report.labels:
            figure = evaluation.report.corpus_figures.class_histogram_figure(report.labels, name)
            out.append(plotting.save_figure(figure, folder / f"{name}-classes.png"))
    return out


def run(args: argparse.Namespace, console: Console) -> bool:
    """Whether all is good. Raises ValueError for what is wrong with the command."""
    if args.exclude and not args.against:
        raise ValueError("--exclude writes what is in the sets of --against: give these too")
    if args.processes < 1:
        raise ValueError(f"--processes {args.processes}: at least 1")
    for option, folder in (("--exclude", args.exclude and args.exclude.parent), ("--plots", args.plots)):
        if folder is not None:
            check_writable(folder, option)
    places, against = corpora(args.shards), corpora(args.against)
    tests = {Path(p).resolve() for p in against}
    both = {Path(p).resolve() for p in args.shards} & tests
    if both:
        raise ValueError(f"{min(both)} is to be checked against itself: name it once")
    places = [place for place in places if Path(place).resolve() not in tests]
    if not places:
        raise ValueError("nothing is left to check: SHARDS holds the sets of --against only")
    reports, others = check(places, args), check(against, args)
    for report in reports + others:
        console.print(table(report))
        for name in ERRORS | WARNINGS:
            for finding in report.findings.first.get(name, ()):
                kind = "error" if name in ERRORS else "warning"
                console.print(f"{kind}: {finding.message}", markup=False, highlight=False, soft_wrap=True)
    alike = confused(reports, args.text)
    for line in alike:
        console.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)
    pairs = [overlap(a, b) for a, b in [*itertools.combinations(reports, 2), *itertools.product(reports, others)]]
    if pairs:
        console.print(overlap_table(pairs))
    for report in reports + others if pairs else []:
        if report.corpus and not len(report.ids_M):
            console.print(f"{report.name}: no sample has an id: overlap is found by audio alone", soft_wrap=True)
    if args.plots:
        for path in draw(reports + others, args.plots):
            console.print(f"figure: {path}", markup=False, highlight=False, soft_wrap=True)
    errors = sum(report.findings.errors for report in reports + others)
    warnings = sum(report.findings.warnings for report in reports + others) + len(alike)
    if args.exclude and errors:
        console.print(f"{args.exclude}: not written: with errors it would not be complete", soft_wrap=True)
    elif args.exclude:
        rows = {}
        for pair in pairs[-len(reports) * len(others) :]:
            for corpus, key, reason in pair.reasons():
                rows.setdefault((corpus, key), reason)
        write_excluded(args.exclude, ((corpus, key, reason) for (corpus, key), reason in sorted(rows.items())))
        console.print(
            f"{args.exclude}: {len(rows):,} samples: flam-train data.exclude=[{args.exclude}] leaves them out",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(f"{errors:,} errors, {warnings:,} warnings", highlight=False)
    return not errors


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", metavar="SHARDS", help="folders (or URLs) of shards")
    parser.add_argument("--against", nargs="+", default=[], metavar="SHARDS", help="test sets to look for in SHARDS")
    parser.add_argument("--exclude", type=Path, metavar="OUT.txt", help="write what is in them: corpus, key, reason")
    parser.add_argument(
        "--text", metavar="NAME|EXPORT", help="whose tokenizer tells labels apart: of conf/text, or an export [minilm]"
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write histograms of classes and durations there")
    parser.add_argument("--quick", action="store_true", help="labels and ids only: no sha256, nothing is decoded")
    parser.add_argument("--processes", type=int, default=cores(), metavar="N", help="[%(default)s]")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    with prepare.answered(parser):
        console = Console()
        try:
            # Into a file or a pipe, where nothing says how wide it may be.
            good = run(args, console if console.is_terminal else Console(width=160))
        except KeyboardInterrupt:  # nothing is kept that the same command could go on with
            parser.exit(130, "\nstopped\n")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
