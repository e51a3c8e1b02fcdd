"""flam-detect run: one process or several, and what is said at the end."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from flam_train import detection  # lazy: its names are imported as they are used, torch with some of them
from flam_train.cli.detect_options import options
from flam_train.cli.evaluate import told
from flam_train.cli.stopping import deaf, stoppable
from flam_train.data.labels.detected import CLIPS, EVENTS, HOURS, SUMMARY
from flam_train.detection.recordings import Recording
from flam_train.detection.tables.formats import channels_of, endings
from flam_train.disk import check_writable

__all__ = ["DESCRIPTION", "HELP", "options", "run"]

HELP = "events of phrases in recordings, of any number and length"

DESCRIPTION = """Finds phrases in recordings of any format and length.

  flam-detect run EXPORT a.wav b.mp3 --phrases "a dog barks" "a siren" --out found
  flam-detect run EXPORT recordings/ --phrases-file birds.txt --out found --format raven --keep
  find /data -name '*.WAV' | flam-detect run EXPORT - --phrases "a chainsaw" --out found
  flam-detect run EXPORT night.flac --from 1:02:00 --to 1:05:00 --phrases "an owl" --out found --plot

Recordings are files, folders, globs, @LIST (a text file with one a line) or - (the same on standard input). The same
command again does what is not done, or has changed. Exit codes: 0 all done, 3 some failed, 1 none done, 2 a mistake in
the command, 130 stopped.
"""

SOME, NONE = 3, 1
"""Exit codes: some recordings failed, none was done."""


def run(args: argparse.Namespace) -> int:
    phrases = detection.phrases_of(args.phrases, args.phrases_file)
    recordings = detection.recordings_of(args.recordings, args.out, relative_to=args.relative_to)
    mine = detection.part_of(recordings, args.part)
    wanted = _wanted(args, phrases, recordings)
    check_writable(args.out, "--out")
    if args.clips:
        detection.check_clips(args.out)

    from flam_train.checkpoints.export import read_provenance  # torch: not for --help, nor for a mistyped option
    from flam_train.detection.job import Job
    from flam_train.devices import device_of, name_of

    weights = read_provenance(args.export)["sha256"]
    wanted = _calibrated(args, wanted, weights)
    devices = [device_of(name) for name in args.device.split(",")]
    job = Job(args.export, weights, args.out, wanted, args.quiet)
    results = wanted.results(job.folder, job.weights)
    with results.held(args.part, recordings):
        to_do = results.to_do(mine)
        if not args.quiet:
            before = f", {len(mine) - len(to_do)} of them done before" if len(to_do) < len(mine) else ""
            on = f", on {', '.join(map(name_of, devices))}" if to_do else ""
            print(f"{len(mine)} recording{'' if len(mine) == 1 else 's'}{before}{on}", file=sys.stderr)
        try:
            if len(devices) > 1 and len(to_do) > 1:
                _together(job, to_do, devices)
            elif to_do:
                detection.work(job, to_do, devices[0])
        except KeyboardInterrupt:
            _join(results, recordings, wanted)
            raise
        outcomes = _join(results, recordings, wanted)
        if args.clips:
            _cut(args, outcomes, wanted)
    own = set(mine)
    statuses = Counter(outcome.status for recording, outcome in outcomes if recording in own)
    _say(results.folder, outcomes, wanted, bool(args.clips) and not statuses["not done"])
    if statuses["failed"] or statuses["not done"]:
        return SOME if statuses["done"] else NONE
    return 0


def _wanted(args: argparse.Namespace, phrases: list[str], recordings: list[Recording]) -> detection.Analysis:
    if args.stop is not None and args.stop <= args.start:
        raise ValueError(f"--to {args.stop:g} s lies before --from {args.start:g} s: swap them")
    zone = None if args.zone is None else detection.zone_of(args.zone)
    given = None
    if args.start_time is not None:
        if len(recordings) > 1:
            raise ValueError(f"--start is of one recording, and there are {len(recordings)}: use --name-pattern")
        given = detection.given_clock(args.start_time, zone)
    rules = _rules(args)
    formats = list(dict.fromkeys(args.format))
    if args.excel and "csv" not in formats:
        formats.append("csv")
    return detection.Analysis(
        tuple(phrases),
        detection.Rules(**{name: value for name, value in rules.items() if value is not None}),
        _thresholds(args, phrases),
        start=args.start,
        stop=args.stop,
        channel=args.channels,
        method=args.method,
        precision=args.precision,
        batch_size=args.batch_size,
        formats=tuple(formats),
        excel=args.excel,
        plot=args.plot,
        scores=args.scores,
        keep=args.keep,
        clocks=detection.Clocks(given, zone, args.name_pattern),
    )


def _join(
    results: detection.Results, recordings: Sequence[Recording], wanted: detection.Analysis
) -> detection.Outcomes:
    with results.joining():
        return detection.join(results, recordings, wanted.writers)


def _calibrated(args: argparse.Namespace, wanted: detection.Analysis, weights: str) -> detection.Analysis:
    """With the calibration that was asked for, or lies in the export. What the command line says of events, goes."""
    from flam_train.detection.calibration import of_export, read  # torch, as above

    if args.calibration == "none":
        return wanted
    if args.calibration is None:
        found = of_export(args.export, weights, args.method)
    else:
        found = Path(args.calibration), read(args.calibration, weights, args.method)
    if found is None:
        return wanted
    path, calibration = found
    if not args.quiet:
        data = calibration.data["found"]
        print(f"calibrated by {path} ({data['recordings']:,} recordings of {data['name']})", file=sys.stderr)
    given = {name: value for name, value in _rules(args).items() if value is not None}
    thresholds = {} if "threshold" in given else calibration.thresholds_for(wanted.phrases)
    rules = replace(calibration.rules_of(wanted.rules), **given)
    wanted = replace(wanted, calibration=calibration, method=calibration.method)
    return replace(wanted, rules=rules, thresholds={**thresholds, **wanted.thresholds})


def _rules(args: argparse.Namespace) -> dict[str, float | None]:
    rules = {rule.name: getattr(args, rule.name) for rule in fields(detection.Rules)}
    of_all = [value for phrase, value in args.threshold if phrase is None]
    return rules | {"threshold": of_all[-1] if of_all else None}


def _thresholds(args: argparse.Namespace, phrases: Sequence[str]) -> dict[str, float]:
    """Of single phrases."""
    given = {phrase: value for phrase, value in args.threshold if phrase is not None}
    for phrase, value in given.items():
        if phrase not in phrases:
            raise ValueError(f"--threshold: {phrase!r} is none of the phrases: mend it, or add it to them")
        detection.Rules(threshold=value)  # checks it
    return given


def _cut(args: argparse.Namespace, outcomes: detection.Outcomes, wanted: detection.Analysis) -> None:
    """The clips of all recordings, as soon as all parts are done."""
    waiting = sum(outcome.status == "not done" for _, outcome in outcomes)
    if waiting:
        print(f"no clips yet: {waiting} recordings are not done", file=sys.stderr)
        return
    events = ((recording, outcome.events) for recording, outcome in outcomes)
    chosen = detection.choose(events, args.clips, args.clips_by)
    channel = "mean" if wanted.channel == detection.EACH else wanted.channel
    for reason in detection.write_clips(args.out, chosen, args.margin, channel, wanted.excel):
        print(f"no clip: {reason}", file=sys.stderr)


def _together(job: detection.Job, recordings: Sequence[Recording], devices: Sequence[str]) -> None:
    """A process for each device; each takes every n-th recording. What ended one of them early, it has told itself."""
    context = multiprocessing.get_context("spawn")
    count = min(len(devices), len(recordings))
    processes = [
        context.Process(target=_one_of, args=(job, recordings[n::count], devices[n], f"{n + 1}/{count}"))
        for n in range(count)
    ]
    try:
        with deaf():
            for process in processes:
                process.start()
        for process in processes:
            process.join()
    finally:  # after Ctrl-C, which they do not hear: this is what stops them
        started = [process for process in processes if process.pid is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def _one_of(job: detection.Job, recordings: Sequence[Recording], device: str, name: str) -> None:
    with stoppable(), detection.writing(job.folder):  # the first process may be killed, and this one not
        sys.exit(told(lambda: _work(job, recordings, device, name)))


def _work(job: detection.Job, recordings: Sequence[Recording], device: str, name: str) -> int:
    try:
        detection.work(job, recordings, device, name)
    except KeyboardInterrupt:  # the first process tells it
        return 130
    return 0


def _say(folder: Path, outcomes: detection.Outcomes, wanted: detection.Analysis, clips: bool) -> None:
    """What was found, and where it is: on standard output."""
    statuses = Counter(outcome.status for _, outcome in outcomes)
    events = Counter(event.phrase for _, outcome in outcomes for event in outcome.events)
    print(", ".join(f"{count} {status}" for status, count in statuses.items()))
    if wanted.calibration is not None:
        print(f"calibrated on {wanted.calibration.data['found']['name']}")
    for phrase in wanted.phrases:
        print(f"{events[phrase]:8,} {phrase}")
    channels = channels_of(outcome for _, outcome in outcomes)
    for kind in wanted.writers.values():
        for ending in endings(kind, channels):
            print(f"events   {folder / f'{EVENTS}{ending}'}")
    if clips:
        print(f"clips    {folder / CLIPS}")
    print(f"summary  {folder / SUMMARY}")
    if (folder / HOURS).exists():
        print(f"hours    {folder / HOURS}", flush=True)
