"""Which rules find events in long recordings, and how well: 5 minutes each, made of the sounds of a bank.

    python tests/bench/bench_detection.py EXPORT BANK [--count 12] [--seed 0] [--grid] [--keep FOLDER]

BANK: shards of data_prep/esc.py (its train or test folder), of sounds that the model of EXPORT has not learnt from. A
recording is a noise floor of a drawn colour and level, with 12 to 24 sounds at drawn times, 10 to 40 dB above it.
Prints event F1 (onsets within .2 s, offsets within .2 s or a fifth of the event), mean IoU of found and annotated time,
and how many events have a single frame: of the default rules, of a bare threshold of .5, and with --grid of every
combination in GRID, the best first; and how much of what they find stays within a frame where the same recording is
cut elsewhere, or begins with silence.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from flam_train.batch import INT16_SCALE, SAMPLE_RATE
from flam_train.checkpoints.export import load_export
from flam_train.data.shards.corpus import Corpus
from flam_train.detection.events import Detection, Rules, events_of
from flam_train.detection.scoring import Listening, Scores, score
from flam_train.metrics import event_f1, mean_iou

SECONDS = 300
EVENTS = (12, 24)
FLOOR_DB, SNR_DB = (-60, -40), (10, 40)
OTHERWISE = {"cut": (47.1, 0.0), "silence": (0.0, 33.3)}
"""Seconds that are cut off, and those of silence before."""
BARE = Rules(threshold=0.5, low=1.0, median=0.0, close=0.0, shortest=0.0, smooth=0.0)
GRID = {
    "threshold": (0.7, 0.75, 0.8, 0.85, 0.9),
    "low": (0.3, 0.4, 0.5, 0.7),
    "smooth": (0.0, 0.2, 0.3, 0.4),
    "median": (0.0, 0.95, 1.6),
    "close": (0.7, 1.3),
    "shortest": (0.0, 0.35, 0.65),
}
BEST = 40
FINE = 0.01
"""Seconds of the frames in which events of detections are told to the metrics."""

Truth = list[tuple[float, float, str]]


def noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """float64 [S] of power 1, its spectrum falling by 0 to 6 dB an octave."""
    spectrum = rng.normal(size=samples // 2 + 1) + 1j * rng.normal(size=samples // 2 + 1)
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(0, 1)
    wave_S = np.fft.irfft(spectrum, samples)
    return wave_S / np.sqrt(np.mean(wave_S**2))


def recording(bank: Corpus, rng: np.random.Generator, numbers: Sequence[int] | None = None) -> tuple[np.ndarray, Truth]:
    """numbers: of the sounds that may be drawn; None: all."""
    numbers = range(len(bank)) if numbers is None else numbers
    wave_S = noise(rng, SECONDS * SAMPLE_RATE)
    floor, truth = 10 ** (rng.uniform(*FLOOR_DB) / 20), []
    wave_S *= floor
    for _ in range(rng.integers(EVENTS[0], EVENTS[1] + 1)):
        number = numbers[int(rng.integers(len(numbers)))]
        event = bank.record(number).events[0]
        sound_S = bank.waveform(number, event.onset, event.offset - event.onset) / INT16_SCALE
        at = int(rng.integers(len(wave_S) - len(sound_S)))
        begin, end = at / SAMPLE_RATE, (at + len(sound_S)) / SAMPLE_RATE
        if any(label == event.label and begin < b + 1 and a < end + 1 for a, b, label in truth):
            continue
        level = floor * 10 ** (rng.uniform(*SNR_DB) / 20)
        wave_S[at : at + len(sound_S)] += sound_S * level / np.sqrt(np.mean(sound_S**2))
        truth.append((begin, end, event.label))
    return wave_S / max(1.0, np.abs(wave_S).max() / 0.9), truth


@dataclass
class Made:
    """otherwise: scores of the same, as OTHERWISE says."""

    scores: Scores
    truth: Truth
    otherwise: dict[str, Scores]


@dataclass
class Measured:
    """kept: of each of OTHERWISE, the mean over recordings."""

    f1: float
    macro: float
    iou: float
    found: int
    single: int
    kept: list[float]

    def __str__(self) -> str:
        kept = "  ".join(f"{share:7.3f}" for share in self.kept)
        return f"{self.f1:8.3f}  {self.macro:5.3f}  {self.iou:8.3f}  {self.found:6d}  {self.single:12d}  {kept}"


def measured(made: list[Made], classes: list[str], rules: Rules) -> Measured:
    active, found = [], 0
    single, shares = 0, []
    for one in made:
        active_KT = torch.zeros(len(classes), round(SECONDS / FINE))
        events = events_of(one.scores, rules)
        for event in events:
            span = slice(round(event.onset / FINE), round(event.offset / FINE))
            active_KT[classes.index(event.phrase), span] = 1
            found += 1
            single += event.offset - event.onset < 1.5 * one.scores.time.frame_seconds
        active.append(active_KT)
        by = one.scores.time.frame_seconds + 1e-3
        shares.append(
            [
                kept(events, events_of(one.otherwise[name], rules), lead - cut, (cut + 5, SECONDS), by)
                for name, (cut, lead) in OTHERWISE.items()
            ]
        )
    about = ([one.truth for one in made], classes, [SECONDS] * len(made), FINE)
    f1 = event_f1(active, *about).at(0.5)
    return Measured(f1.micro, f1.macro, mean_iou(active, *about).value, found, single, list(np.mean(shares, axis=0)))


def kept(before: list[Detection], after: list[Detection], shift: float, span: tuple[float, float], by: float) -> float:
    """The share of events within a span that another way of listening finds within `by` seconds, with times moved."""
    inside = [e for e in before if span[0] < e.onset and e.offset < span[1]]
    same = [
        any(f.phrase == e.phrase and abs(f.onset - e.onset - shift) <= by and abs(f.offset - e.offset - shift) <= by
            for f in after)
        for e in inside
    ]  # fmt: skip
    return sum(same) / max(len(same), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("bank")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the recordings")
    args = parser.parse_args()
    model, bank = load_export(args.export), Corpus(args.bank)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        waves, truths = zip(*(recording(bank, rng) for _ in range(args.count)), strict=True)
        classes = sorted({label for truth in truths for _, _, label in truth})
        text = model.embed_text(classes)

        def heard(name: str, wave_S: np.ndarray) -> Scores:
            soundfile.write(path := folder / name, wave_S, SAMPLE_RATE)
            return score(Listening(model, path), classes, text)

        def otherwise(wave_S: np.ndarray) -> dict[str, Scores]:
            return {
                name: heard(
                    "other.wav",
                    np.concatenate([np.zeros(round(lead * SAMPLE_RATE)), wave_S[round(cut * SAMPLE_RATE) :]]),
                )
                for name, (cut, lead) in OTHERWISE.items()
            }

        made = [
            Made(heard(f"{n}.wav", wave_S), truth, otherwise(wave_S))
            for n, (wave_S, truth) in enumerate(zip(waves, truths, strict=True))
        ]
        print(f"{args.count} recordings of {SECONDS} s, {sum(map(len, truths))} events of {len(classes)} classes")
        others = "  ".join(f"{name:>7s}" for name in OTHERWISE)
        print(f"{'':75s} event F1  macro  mean IoU  events  of one frame  {others}")
        tried = {"default rules": Rules(), "a bare threshold of .5": BARE}
        numbers = {rules: measured(made, classes, rules) for rules in tried.values()}
        if args.grid:
            grid = [Rules(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())]
            numbers |= {rules: measured(made, classes, rules) for rules in grid}
            best = sorted(grid, key=lambda rules: -numbers[rules].f1)[:BEST]
            tried |= {", ".join(f"{k} {getattr(rules, k):g}" for k in GRID): rules for rules in best}
        for name, rules in tried.items():
            print(f"{name:75s} {numbers[rules]}")


if __name__ == "__main__":
    main()
