"""The published sets, each by its protocol (conf/eval): whatever of them lies in the folder of shards.

    python eval/protocols.py runs/x/export --shards shards --out results
    python eval/protocols.py runs/x/export --shards shards --out results --only clotho desed my_protocol.yaml
    python eval/protocols.py --recompute --out results          # the numbers again, without model or audio
    torchrun --nproc-per-node 8 eval/protocols.py ...           # or srun: the same numbers
    python eval/table.py results --paper --out results/table    # then: the paper's table, ours below

A protocol states set, split, words, windows, post-processing, metrics and how many clips there should be. Scores are
kept below OUT/scores, one file each; a run that was stopped goes on, and what is there already is not scored again. At
the end stands what was not evaluated, and why.
"""

from __future__ import annotations

import argparse
import sys

from flam_train import checkpoints, evaluation  # lazy: their names are imported as they are used, torch with them
from flam_train.cli.evaluate import bootstrap_of, bootstrap_options, is_first, note, options, ranks, report, told
from flam_train.disk import check_writable
from flam_train.evaluation.choices import protocols
from flam_train.evaluation.progress import progress_line
from flam_train.evaluation.result import Result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", nargs="?", help="an export folder, or hf://OWNER/NAME")
    parser.add_argument("--shards", default="shards", help="where data_prep wrote them, or its URL [shards]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(protocols())}, or .yaml files [all]")
    parser.add_argument("--recompute", action="store_true", help="only the metrics, from the scores below --out")
    parser.add_argument("--figures", action="store_true", help="pictures of each set, below OUT/figures")
    bootstrap_options(parser, of="AUROC, F1, recalls, accuracy and their kin", psds=True)
    options(parser)
    args = parser.parse_args()
    check_writable(args.out, "--out")
    how = bootstrap_of(args)
    chosen = [evaluation.Protocol.load(name) for name in args.only or protocols()]
    if args.recompute:
        # One that was asked for by name must be there.
        there = [p for p in chosen if args.only or p.kept(args.out).is_file()]
        for protocol in there:
            finish(protocol, evaluation.protocol.recompute(protocol, args.out, note, how), args)
        left_out(chosen, there, f"no scores below {args.out}")
        return
    if args.export is None:
        parser.error("give an export, or --recompute")
    # One that was asked for by name must be there.
    there = chosen if args.only else [p for p in chosen if evaluation.protocol.is_there(p, args.shards)]
    if not there:
        raise ValueError(f"{args.shards}: none of the sets is there: prepare one, see data_prep/README.md")
    with ranks(args) as device:
        model = checkpoints.load_export(args.export, device)
        for protocol in there:
            made = evaluation.protocol.run(
                protocol,
                model,
                args.shards,
                args.out,
                batch_size=args.batch_size,
                workers=args.workers,
                progress=progress_line,
                note=note,
                how=how,
            )
            finish(protocol, made, args)
        if is_first():
            left_out(chosen, there, f"no shards below {args.shards}")


def finish(protocol: evaluation.Protocol, results: list[Result], args: argparse.Namespace) -> None:
    """On the first rank; the others have no results."""
    report(results, args.out)
    for path in evaluation.protocol.tables(protocol, args.out) if results else ():
        print(f"  classes  {path}")
    if args.figures and results:
        for path in evaluation.protocol.figures(protocol, args.out, args.out / "figures"):
            print(f"  figure   {path}")


def left_out(chosen: list[evaluation.Protocol], there: list[evaluation.Protocol], why: str) -> None:
    for protocol in chosen:
        if protocol not in there:
            print(f"not evaluated: {protocol.name} ({protocol.title}): {why}")


if __name__ == "__main__":
    sys.exit(told(main))
