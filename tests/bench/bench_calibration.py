"""What `flam-detect calibrate` changes: found on long recordings of half of a bank's sounds, told on those of the rest.

    python tests/bench/bench_calibration.py EXPORT BANK [--find 12] [--report 12] [--seed 0] [--swap] [--keep FOLDER]
        [--phrases PHRASE ...]

BANK as in bench_detection.py, which makes the recordings; sounds of one source are in one half. They are written as
shards, and calibrated and reported on by the command's own functions. Prints what the command prints.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from bench_detection import recording

from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import load_export
from flam_train.cli.detect_calibrate import lines
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.data.sound.reading import as_int16
from flam_train.detection.calibrating import calibrate
from flam_train.detection.events import Rules
from flam_train.detection.labelled import read_labelled


def halves(bank: Corpus) -> tuple[list[int], list[int]]:
    """Numbers of sounds: sources of each class in turn to one half and to the other."""
    place: dict[tuple[str, str], int] = {}
    counts: dict[str, int] = {}
    out: tuple[list[int], list[int]] = ([], [])
    for number in range(len(bank)):
        record = bank.record(number)
        label = record.events[0].label
        key = (label, record.source or record.key)
        if key not in place:
            place[key] = counts[label] = counts.get(label, -1) + 1
        out[place[key] % 2].append(number)
    return out


def write(folder: Path, bank: Corpus, numbers: list[int], count: int, rng: np.random.Generator) -> Path:
    samples = []
    for n in range(count):
        wave_S, truth = recording(bank, rng, numbers)
        events = tuple(Event(round(a, 6), round(b, 6), label) for a, b, label in sorted(truth))
        key = f"recording-{n:03d}"
        samples.append((Record(key, len(wave_S) / SAMPLE_RATE, events=events, source=key), as_int16(wave_S)))
    entry = write_shard(folder / "shard-000000.tar", samples)
    about = {"vocabulary": bank.manifest["vocabulary"], "annotates": bank.annotates}
    write_manifest(folder, folder.name, [entry], **about)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("bank")
    parser.add_argument("--find", type=int, default=12, help="recordings [%(default)s]")
    parser.add_argument("--report", type=int, default=12, help="recordings [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--swap", action="store_true", help="found on the other half, reported on the first")
    parser.add_argument("--keep", type=Path, help="folder for the shards and calibration.json")
    parser.add_argument("--phrases", nargs="+")
    args = parser.parse_args()
    model, bank = load_export(args.export), Corpus(args.bank)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        find, report = reversed(halves(bank)) if args.swap else halves(bank)
        data = [
            read_labelled(model, write(folder / name, bank, numbers, count, rng), args.phrases)
            for name, numbers, count in (("find", find, args.find), ("report", report, args.report))
        ]
        found = calibrate(data[0], Rules(), data[1])
        found.write(folder / "calibration.json")
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
