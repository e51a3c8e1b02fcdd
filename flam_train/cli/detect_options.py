"""The options of flam-detect run, and what they take."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path

from flam_train import detection  # lazy: its names are imported as they are used
from flam_train.data.sound.channels import channel_of
from flam_train.detection.recordings import decoded
from flam_train.detection.tables.formats import FORMATS
from flam_train.models.methods import METHODS
from flam_train.settings import SETTING

PRECISIONS = ("32", "bf16", "16")


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("export", metavar="EXPORT", help="a folder, or hf://OWNER/NAME")
    add("recordings", nargs="+", metavar="RECORDING", help="files, folders, globs, @LIST, -")
    add("--phrases", nargs="+", action="extend", default=[], metavar="PHRASE", help="what to listen for")
    add("--phrases-file", type=Path, metavar="FILE", help="a text file, a phrase a line")
    add("--out", type=Path, required=True, help="the folder of results")

    heard = parser.add_argument_group("what is listened to")
    heard.add_argument("--from", dest="start", type=_seconds, default=0.0, metavar="TIME", help="90, 1:30 or 1:02:00.5")
    heard.add_argument("--to", dest="stop", type=_seconds, metavar="TIME", help="[the end]")
    heard.add_argument(
        "--channels", type=_channel, default="mean", help="mean, first, loudest, each, or a number from 1 [mean]"
    )

    events = parser.add_argument_group("what is an event")
    for rule in fields(detection.Rules):
        says = f"{rule.metadata[SETTING].says} [{rule.default}]"
        if rule.name == "threshold":
            says = f'{says}; "a siren=.7", which may come again, is that of one phrase'
            events.add_argument("--threshold", type=_threshold, action="append", default=[], metavar="X", help=says)
        else:
            events.add_argument(f"--{rule.name}", type=float, metavar="X", help=says)
    events.add_argument("--method", choices=METHODS, help="of scoring [the model's own, or that of the calibration]")
    events.add_argument(
        "--calibration",
        metavar="FILE",
        help="of flam-detect calibrate; none: not even that of the export [EXPORT/calibration.json, if it is there]",
    )

    files = parser.add_argument_group("what is written")
    files.add_argument(
        "--relative-to",
        type=Path,
        metavar="FOLDER",
        help="recordings are called, and results lie, as recordings lie below it [the folder that holds --out]",
    )
    some = ", ".join(FORMATS)
    files.add_argument("--format", nargs="+", default=["tsv"], choices=FORMATS, metavar="NAME", help=f"{some} [tsv]")
    files.add_argument("--excel", action="store_true", help="csv that Excel opens by a double click")
    files.add_argument("--plot", action="store_true", help="a picture of each recording: spectrogram, scores, events")
    files.add_argument("--scores", action="store_true", help="the scores of all frames, as .npz")
    files.add_argument("--keep", action="store_true", help="keep frames: other phrases or thresholds need no encoder")

    files.add_argument("--clips", type=_at_least_one, metavar="N", help="cut N events out for a person to judge")
    files.add_argument("--clips-by", choices=("best", "spread"), default="best", help="which: [best]")
    files.add_argument("--margin", type=_seconds, default=2.0, metavar="S", help="seconds on both sides of them [2]")

    clock = parser.add_argument_group("clock times")
    clock.add_argument(
        "--start", dest="start_time", metavar="TIME", help="when the one recording begins: 2024-01-31T23:59:59+01:00"
    )
    clock.add_argument("--zone", help="of times that say none: +02:00, UTC, Europe/Berlin")
    clock.add_argument("--name-pattern", metavar="FORM", help="how names tell the time: REC%%Y%%m%%d_%%H%%M%%S")

    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--device", default="auto", help="auto, cpu, cuda:N, mps; several: cuda:0,cuda:1, a process each [auto]"
    )
    machine.add_argument("--precision", default="32", choices=PRECISIONS, help="of the encoder [32]")
    machine.add_argument(
        "--batch-size", type=_at_least_one, metavar="N", help="windows at once [4 on the CPU, else 32]"
    )
    machine.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="of the recordings, every N-th")
    machine.add_argument("--quiet", action="store_true", help="only what failed is told on standard error")


_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


def _seconds(text: str) -> float:
    """Seconds, minutes:seconds or hours:minutes:seconds."""
    match = _TIME.fullmatch(text.strip())
    if match is None or (match[2] and float(match[3]) >= 60) or (match[1] and int(match[2]) >= 60):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give 90, 1:30 or 1:02:00.5")
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def _threshold(text: str) -> tuple[str | None, float]:
    """(phrase, or None for all; its threshold)."""
    phrase, equals, number = text.rpartition("=")
    try:
        return decoded(phrase).strip() if equals else None, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no threshold: give .7, or "a siren=.7" for one phrase') from None


def _channel(text: str) -> str | int:
    if text == "each":
        return text
    try:
        return channel_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or each") from error


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no part: give I/N with I from 1 to N, like 3/8")
    return int(match[1]), int(match[2])


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)
