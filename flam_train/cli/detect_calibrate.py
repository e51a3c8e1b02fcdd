"""flam-detect calibrate: thresholds, and scores that mean something, from labelled recordings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flam_train.checkpoints.hub import is_hub
from flam_train.detection.events import SECONDS, Rules  # no torch
from flam_train.devices import device_of
from flam_train.disk import check_writable
from flam_train.evaluation.progress import progress_line
from flam_train.models.methods import METHODS

if TYPE_CHECKING:
    from flam_train.detection.calibration import Calibration
    from flam_train.detection.labelled import Data

HELP = "thresholds of phrases, from labelled recordings"

DESCRIPTION = """Finds a threshold for each phrase, one for phrases that no data have, and a temperature that
makes scores mean something, on recordings in which it is known what is heard; tells what that changes on others.

  flam-detect calibrate runs/flam/export shards/dcase/train --report shards/dcase/test
  flam-detect calibrate runs/flam/export shards/mine --out mine.json        # two thirds to find, a third to report on
  flam-detect calibrate runs/flam/export detected/clips/clips.csv           # clips that a person has judged

What is found is kept in the export as calibration.json, where flam-detect run finds it, with the sha256 of the weights
and of the data. A calibrated score is the share of the frames with such a score in which the phrase is heard, where
phrases are as frequent as in the data. Of judged clips only thresholds are found: a model has chosen those frames.
"""

PHRASES = 30
"""So many rows of phrases are printed."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("export", help="an export folder, or hf://OWNER/NAME")
    parser.add_argument("data", help="a folder of shards with timed events, or a table of judged clips (.csv)")
    parser.add_argument("--report", metavar="DATA", help="other data to report on [a third of the sources of DATA]")
    parser.add_argument("--phrases", nargs="+", metavar="PHRASE", help="only these [all that the data label]")
    parser.add_argument("--method", choices=METHODS, help="of scoring [the model's own]")
    for name in SECONDS:
        parser.add_argument(f"--{name}", type=float, metavar="SECONDS", help="as in flam-detect run, and its default")
    parser.add_argument("--low", type=float, metavar="SHARE", help="as in flam-detect run [the best]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="[EXPORT/calibration.json]")
    parser.add_argument("--overwrite", action="store_true", help="a calibration that is there")
    parser.add_argument("--batch-size", type=int, default=8, help="windows at once [%(default)s]")
    parser.add_argument("--precision", choices=("32", "bf16", "16"), default="32", help="of the encoder [%(default)s]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N, mps [auto]")


def run(args: argparse.Namespace) -> None:
    from flam_train.checkpoints.export import load_export  # not for --help
    from flam_train.detection.calibrating import calibrate
    from flam_train.detection.labelled import read_labelled

    out = _out(args)
    given = {name: getattr(args, name) for name in SECONDS if getattr(args, name) is not None}
    rules = Rules(**given)
    if args.low is not None:
        replace(rules, low=args.low)  # checks it
    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: at least 1")
    model = load_export(args.export, device_of(args.device))

    def read(path: str, phrases: list[str] | None) -> Data:
        line = progress_line(Path(path).name)
        return read_labelled(model, path, phrases, args.method, args.batch_size, args.precision, line)

    data = read(args.data, args.phrases)
    other = read(args.report, args.phrases) if args.report else None
    found = calibrate(data, rules, other, args.low)
    found.write(out)
    print("\n".join(lines(found)))
    print(f"calibration  {out}")


def _out(args: argparse.Namespace) -> Path:
    """Where it is written: looked at before there is work to lose."""
    if args.out is None and is_hub(args.export):
        raise ValueError(f"{args.export}: say with --out where to write its calibration")
    out = args.out or Path(args.export) / "calibration.json"
    if args.out is None:
        if not out.parent.is_dir():
            raise ValueError(f"{args.export}: no such folder: give an export")
        try:
            check_writable(out.parent, "EXPORT")
        except ValueError as error:
            raise ValueError(f"{error} with --out FILE") from error
    else:
        check_writable(out.parent, "--out")
    if out.exists() and not args.overwrite:
        raise ValueError(f"{out}: is there: --overwrite replaces it, --out writes elsewhere")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def lines(found: Calibration) -> list[str]:
    """What is told of it: one line a number, before and after, then one a phrase, the most frequent first."""
    report, on = found.report, found.data["reported"]
    before, after, judged = report["before"], report["after"], on["kind"] == "judged"
    what = "F1 of judged events" if judged else "event F1"
    rows = [
        ("expected calibration error", before["ece"], after["ece"]),
        (f"{what}, mean over phrases", before["event_f1"], after["event_f1"]),
        (f"{what}, of all events", before["event_f1_micro"], after["event_f1_micro"]),
        (f"{what}, phrases as if unseen", before["event_f1"], after["event_f1_unseen"]),
        ("mean IoU", before["mean_iou"], after["mean_iou"]),
    ]
    count, minutes, events = on["recordings"], on["seconds"] / 60, sum(on["events"].values())
    out = [
        f"found on {found.data['found']['recordings']:,} recordings of {found.data['found']['name']}, reported on "
        f"{count:,} of {on['name']} ({minutes:,.1f} min, {events:,} events of {len(on['events'])} phrases)",
        f"temperature {found.temperature:.3f}, bias {found.bias:.3f}, low {found.low:g}, threshold of unseen phrases "
        f"{found.unseen:g}",
        f"{'':40s}  before   after",
        *(f"{name:40s}  {_number(a)}   {_number(b)}" for name, a, b in rows if (a, b) != (None, None)),
        f"{'phrase':30s} {'events':>9s}  before   after  unseen  threshold",
    ]
    phrases = sorted(report["phrases"].items(), key=lambda item: (-item[1]["events"], item[0]))
    for phrase, one in phrases[:PHRASES]:
        numbers = "   ".join(_number(one[name]) for name in ("before", "after", "unseen"))
        out.append(f"{phrase[:30]:30s} {one['events']:9,d}  {numbers}  {one['threshold']:9g}")
    return out + ([f"and {len(phrases) - PHRASES} more phrases: see the file"] if len(phrases) > PHRASES else [])


def _number(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}".replace("0.", " .", 1)
