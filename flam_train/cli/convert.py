"""flam-convert: others' checkpoints into exports, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flam_train import checkpoints  # lazy: its names are imported as they are used, torch with them
from flam_train.checkpoints.openflam_names import AUDIO
from flam_train.cli.evaluate import told
from flam_train.data.shards.tars import replace_with, sha256_of
from flam_train.disk import check_writable

DESCRIPTION = """Checkpoints of others into exports, and back.

  flam-convert openflam open_flam_oct17.pth runs/openflam/export     # OpenFLAM's file, then eval/protocols.py
  flam-convert to-openflam runs/flam/export flam.pth                 # for OpenFLAM's own inference

An export carries the tokenizer's files: --tokenizer is a folder of them, or a name that the hub knows.
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="flam-convert", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    theirs = kinds.add_parser("openflam", help="OpenFLAM's checkpoint file to an export")
    theirs.add_argument("file", type=Path)
    theirs.add_argument("out", type=Path, help="folder of the export")
    theirs.add_argument("--audio", choices=AUDIO, default="base", help="its audio encoder [base]")
    theirs.add_argument("--tokenizer", default="roberta-base", help="[roberta-base]")
    ours = kinds.add_parser("to-openflam", help="an export to a file with OpenFLAM's names")
    ours.add_argument("export", type=Path)
    ours.add_argument("out", type=Path, help="the file")
    args = parser.parse_args(argv)
    sys.exit(told(lambda: _to_export(args) if args.kind == "openflam" else _to_file(args)))


def _to_export(args: argparse.Namespace) -> None:
    check_writable(args.out, "OUT")
    model = checkpoints.from_openflam(checkpoints.read_state(args.file), args.audio, args.tokenizer)
    about = {"name": args.file.stem, "source": f"OpenFLAM's {args.file.name}", "source_sha256": sha256_of(args.file)}
    print(f"export  {checkpoints.save_export(model, args.out, about)}")


def _to_file(args: argparse.Namespace) -> None:
    import torch  # not for --help

    check_writable(args.out.parent, "OUT")
    state = checkpoints.to_openflam(checkpoints.load_export(args.export))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    replace_with(args.out, lambda file: torch.save(state, file))
    print(f"file  {args.out}")
