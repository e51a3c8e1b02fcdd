"""flam-detect: phrases found in recordings, in files that other tools open."""

from __future__ import annotations

import argparse
import sys

from flam_train.cli import detect_calibrate, detect_run
from flam_train.cli.answers import printing
from flam_train.cli.evaluate import told
from flam_train.cli.stopping import stoppable

DESCRIPTION = """Finds phrases in recordings.

  flam-detect run EXPORT street.wav --phrases "a dog barks" "a siren" --out found
  flam-detect run EXPORT recordings/ --phrases-file birds.txt --out found --format raven audacity --plot
  flam-detect calibrate EXPORT shards/mine

EXPORT is a folder that a run of flam-train has written, or a repository on the hub: hf://OWNER/NAME.
"""


@printing()
def main(argv: list[str] | None = None) -> None:
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be of any bytes, in any locale
    parser = argparse.ArgumentParser(
        prog="flam-detect", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="COMMAND")
    for name, module in {"run": detect_run, "calibrate": detect_calibrate}.items():
        one = kinds.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.options(one)
        one.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    with stoppable():
        sys.exit(told(lambda: args.run(args)))


if __name__ == "__main__":
    main()
