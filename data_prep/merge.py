"""The parts that a job array made, as one corpus.

    python data_prep/clotho.py CLOTHO OUT --part 1/8     # to 8/8, on as many machines
    python data_prep/merge.py OUT

Every folder in OUT that holds parts gets its manifest; nothing is moved, and it may be run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.merging import merge
from flam_train.disk import check_writable


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the OUT that the parts were made with")
    args = parser.parse_args(argv)
    with prepare.answered(parser):
        folders = sorted({part.parent for part in args.out.rglob("part-*-of-*") if part.is_dir()})
        if not folders:
            raise ValueError(f"{args.out}: has no parts: prepare them with --part 1/N to N/N first")
        check_writable(args.out, "OUT")
        for folder in folders:
            print(prepare.report(merge(folder)))


if __name__ == "__main__":
    main()
