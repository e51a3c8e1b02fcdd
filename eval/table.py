"""Results as a table: on the terminal, and as Markdown, LaTeX, CSV and a page that opens in any browser.

    python eval/table.py results/ --out results/table
    python eval/table.py results/ --paper                      # published rows, ours below them
    python eval/table.py results/ --paper --out results/table --figures results/heatmaps runs/demo/curves.png
    python eval/table.py results/ --require sed/trained auroc/macro 0.95 \\
                                  --require retrieval text_to_audio/R@1 5xchance

The best numbers of a column are bold. Every --require is printed as reached or missed, with the number; one that is
missed makes the exit code 1; a mistake in the call or in a file makes it 2.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import rich.box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from flam_train.cli.evaluate import told
from flam_train.data.shards.tars import replace_with
from flam_train.disk import check_writable
from flam_train.evaluation.report.about import about
from flam_train.evaluation.report.formats import latex, markdown, to_csv
from flam_train.evaluation.report.html import to_html
from flam_train.evaluation.report.published import paper_tables
from flam_train.evaluation.report.requirements import check
from flam_train.evaluation.report.table import Table, result_tables
from flam_train.evaluation.result import read_results

PAPER = Path(__file__).resolve().parent / "paper_table.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results JSON files, or folders of them")
    parser.add_argument("--out", type=Path, metavar="NAME", help="writes NAME.md, NAME.tex, NAME.csv and NAME.html")
    parser.add_argument(
        "--figures",
        type=Path,
        nargs="+",
        default=[],
        metavar="PNG",
        help="files, or folders with all below them: they go into NAME.html",
    )
    parser.add_argument(
        "--intervals", action="store_true", help="behind each number between what it lies, where --bootstrap found it"
    )
    parser.add_argument(
        "--paper", nargs="?", type=Path, const=PAPER, metavar="YAML", help="published numbers beside ours"
    )
    parser.add_argument(
        "--require",
        nargs=3,
        action="append",
        default=[],
        metavar=("PROTOCOL", "METRIC", "MIN"),
        help="MIN: 0.9 or 5xchance",
    )
    args = parser.parse_args()
    if args.figures and not args.out:
        parser.error("--figures are for NAME.html: say with --out where to write it")
    if args.out:
        check_writable(args.out.parent, "--out")
    figures = [figure for given in args.figures for figure in figures_of(given)]
    results = [result for _, result in read_results(args.results)]
    tables = result_tables(results, args.intervals) + (
        paper_tables(args.paper, results, args.intervals) if args.paper else []
    )
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables:
        show(console, table)
    if args.out:
        title = "Results beside published numbers" if args.paper else "Results"
        args.out.parent.mkdir(parents=True, exist_ok=True)
        written = {
            ".md": markdown(tables),
            ".tex": latex(tables),
            ".csv": to_csv(tables),
            ".html": to_html(tables, title, figures, about(results, datetime.now(UTC))),
        }
        for ending, text in written.items():
            path = args.out.with_name(args.out.name + ending)
            replace_with(path, lambda file, text=text: file.write(text.encode()))
            print(f"table  {path}")
    verdicts = [verdict for requirement in args.require for verdict in check(results, *requirement)]
    for verdict in verdicts:
        print(verdict)
    return 0 if all(verdict.reached for verdict in verdicts) else 1


def figures_of(given: Path) -> list[tuple[str, Path]]:
    """The name of each figure, with the folders above it, and its file: none where nothing was drawn.

    Raises ValueError for a path where there is nothing.
    """
    if given.is_file():
        return [(f"{given.absolute().parent.name}/{given.stem}", given)]
    if not given.is_dir():
        raise ValueError(f"--figures {given}: no such file or folder: name PNG files, or folders of them")
    return [(path.relative_to(given).with_suffix("").as_posix(), path) for path in sorted(given.rglob("*.png"))]


def show(console: Console, table: Table) -> None:
    """A wide table is turned over, so that nothing is cut off: a column a result."""
    title = Text(table.title, style="bold")
    heads, rows = table.columns, [[cell(table, n, c) for c in range(len(row))] for n, row in enumerate(table.rows)]
    if len(heads) > 9 and len(rows) <= 8:
        heads, rows = ["", *(row[0].plain for row in rows)], [
            [Text(column), *(row[n] for row in rows)] for n, column in enumerate(heads) if n
        ]  # fmt: skip
    drawn = RichTable(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for n, head in enumerate(heads):
        drawn.add_column(Text(head), justify="right" if n else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)
    for line in table.remarks():
        console.print(Text(f"  {line}", style="dim"))
    console.print()


def cell(table: Table, n: int, c: int) -> Text:
    mark = table.marks.get((n, c))
    pieces = [(piece, "bold" if best else "") for piece, best in table.pieces(n, c)]
    return Text.assemble(*pieces, f" ({mark})" if mark else "")


if __name__ == "__main__":
    sys.exit(told(main))
