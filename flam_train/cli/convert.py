"""flam-convert: checkpoints, others' and those of runs, into exports, and back; what goes with a model given away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from flam_train import checkpoints, evaluation  # lazy: their names are imported as they are used, torch with them
from flam_train.checkpoints.hub import is_hub
from flam_train.checkpoints.openflam_names import AUDIO
from flam_train.cli.answers import printing
from flam_train.cli.evaluate import told
from flam_train.data.shards.tars import replace_with, sha256_of
from flam_train.disk import check_writable
from flam_train.evaluation.choices import protocols

Run = Callable[[argparse.Namespace], None]

DESCRIPTION = """Checkpoints of others into exports, and back; a model as ONNX graphs; its model card.

  flam-convert look 630k-audioset-best.pt                            # what it is, and what a run would take from it
  flam-convert clap 630k-audioset-best.pt runs/laion/export          # LAION-CLAP's file
  flam-convert clap clap-htsat-unfused runs/laion/export             # a folder of Hugging Face's ClapModel
  flam-convert openflam open_flam_oct17.pth runs/openflam/export     # OpenFLAM's file, then eval/protocols.py
  flam-convert to-openflam runs/flam/export flam.pth                 # for OpenFLAM's own inference
  flam-convert to-hf-clap runs/flam/export flam-clap                 # for transformers.ClapModel
  flam-convert checkpoint runs/flam/best.ckpt runs/flam/export-best  # a checkpoint of a run, in its folder
  flam-convert onnx runs/flam/export runs/flam/onnx                  # for onnxruntime: needs flam-train[export]
  flam-convert card runs/flam/export results                         # README.md beside the weights

An export carries the tokenizer's files: --tokenizer is a folder of them, or a name that the hub knows. EXPORT is a
folder, or a repository on the hub: hf://OWNER/NAME, hf://OWNER/NAME@REVISION.
"""


@printing()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="flam-convert", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)

    def kind(name: str, run: Run, help: str, *operands: str) -> argparse.ArgumentParser:
        one = kinds.add_parser(name, help=help)
        for operand in operands:
            one.add_argument(operand, type=str if operand in ("export", "path") else Path)  # it may be on the hub
        one.set_defaults(run=run)
        return one

    kind("look", _look, "what a file or folder holds: everything that init= takes", "path")
    clap = kind("clap", _clap, "LAION-CLAP's file, or Hugging Face's folder, to an export", "path", "out")
    clap.add_argument("--tokenizer", help="[the folder's own, else roberta-base]")
    theirs = kind("openflam", _openflam, "OpenFLAM's checkpoint file to an export", "file", "out")
    theirs.add_argument("--audio", choices=AUDIO, help="its audio encoder must be this one [any]")
    theirs.add_argument("--tokenizer", default="roberta-base", help="[roberta-base]")
    kind("to-openflam", _to_openflam, "an export to a file with OpenFLAM's names", "export", "out")
    kind("to-hf-clap", _to_hf_clap, "an export to a folder of Hugging Face's ClapModel", "export", "out")
    kind("checkpoint", _checkpoint, "last.ckpt, best.ckpt or step-*.ckpt of a run folder to an export", "file", "out")
    kind("onnx", _to_onnx, "an export to two ONNX graphs, checked beside it in onnxruntime", "export", "out")
    card = kind("card", _to_card, "an export's model card, from its provenance and its results", "export")
    card.add_argument("results", type=Path, nargs="*", help="results JSON files, or folders of them")
    card.add_argument("--name", help="of the model [that of its run]")
    card.add_argument(
        "--licence", default="unknown", metavar="ID", help="of the weights, in the hub's spelling [%(default)s]"
    )
    card.add_argument("--out", type=Path, metavar="FILE", help="[EXPORT/README.md]")
    card.add_argument("--overwrite", action="store_true", help="a card that is there")
    args = parser.parse_args(argv)
    sys.exit(told(lambda: args.run(args)))


def _checkpoint(args: argparse.Namespace) -> None:
    from flam_train.training.exports import export_checkpoint  # not for --help

    check_writable(args.out, "OUT")
    print(f"export  {export_checkpoint(args.file, args.out)}")


def _look(args: argparse.Namespace) -> None:
    print("\n".join(checkpoints.recognise(args.path).table.lines()))


def _clap(args: argparse.Namespace) -> None:
    check_writable(args.out, "OUT")
    found = checkpoints.recognise(args.path)
    model = found.model(args.tokenizer or found.tokenizer)
    print("\n".join(found.table.lines()))
    name = args.path.rstrip("/").rsplit("/", 1)[-1]
    about = {"name": name if is_hub(args.path) else Path(args.path).stem, "source": f"{found.table.source}: {name}"}
    if Path(args.path).is_file():
        about["source_sha256"] = sha256_of(Path(args.path))
    print(f"export  {checkpoints.save_export(model, args.out, about)}")


def _openflam(args: argparse.Namespace) -> None:
    check_writable(args.out, "OUT")
    model = checkpoints.from_openflam(checkpoints.read_state(args.file), args.audio, args.tokenizer)
    about = {"name": args.file.stem, "source": f"OpenFLAM's {args.file.name}", "source_sha256": sha256_of(args.file)}
    print(f"export  {checkpoints.save_export(model, args.out, about)}")


def _to_openflam(args: argparse.Namespace) -> None:
    import torch  # not for --help

    check_writable(args.out.parent, "OUT")
    if args.out.exists():
        raise ValueError(f"{args.out}: is there: name a new file, or remove it")
    state = checkpoints.to_openflam(checkpoints.load_export(args.export))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    replace_with(args.out, lambda file: torch.save(state, file))
    print(f"file  {args.out}")


def _to_onnx(args: argparse.Namespace) -> None:
    check_writable(args.out, "OUT")
    found = checkpoints.save_onnx(checkpoints.load_export(args.export), args.out)
    print(f"onnx  {args.out}\nfrom the model: {', '.join(f'{name} {by:.1e}' for name, by in found.items())}")


def _to_card(args: argparse.Namespace) -> None:
    if args.out is None and is_hub(args.export):
        raise ValueError(f"{args.export}: say with --out where to write its card")
    out = args.out or Path(args.export) / "README.md"
    config, provenance = checkpoints.read_config(args.export), checkpoints.read_provenance(args.export)
    check_writable(out.parent, "--out")
    if out.exists() and not args.overwrite:
        raise ValueError(f"{out}: is there: --overwrite replaces it, --out writes elsewhere")
    given = [result for _, result in evaluation.read_results(args.results)]
    results = evaluation.card.of_model(given, provenance)
    if given and not results:
        raise ValueError(f"{', '.join(map(str, args.results))}: no result is of {args.export}'s weights: evaluate it")
    name = args.name or provenance.get("name") or provenance.get("run") or Path(args.export).resolve().name
    text = evaluation.card.model_card(
        provenance,
        config,
        results,
        [evaluation.Protocol.load(name) for name in protocols()],
        name=name,
        licence=args.licence,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_with(out, lambda file: file.write(text.encode()))
    others = f", {len(given) - len(results)} others left out" if len(given) > len(results) else ""
    print(f"card  {out} ({len(results)} results{others})")


def _to_hf_clap(args: argparse.Namespace) -> None:
    check_writable(args.out, "OUT")
    print("\n".join(checkpoints.save_hf_clap(checkpoints.load_export(args.export), args.out).lines()))
    print(f"folder  {args.out}")
