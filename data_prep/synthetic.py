"""A bank of sounds made from formulas: 16 classes and backgrounds, every instance different.

    python data_prep/synthetic.py OUT                       # OUT/train and OUT/test
    python data_prep/synthetic.py OUT --only-backgrounds    # backgrounds for banks of real events

The shards are banks as data_prep/simulate.py and online mixing read them. Instances of train and test differ. The
same seed gives the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # its rooms are imported as they are used

from flam_train.batch import SAMPLE_RATE
from flam_train.cli import prepare
from flam_train.data.mixing.levels import LEVEL_HOP, describe
from flam_train.data.preparation.corpus_writer import CorpusPlan, cores, write_corpus
from flam_train.data.shards.audio import AUDIO, to_int16
from flam_train.data.shards.schema import Event, Record
from flam_train.disk import check_writable
from flam_train.vocabulary import Vocabulary

Random = np.random.Generator
SPLITS = ("train", "test")


def time_axis(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def noise(rng: Random, seconds: float, slope: float = 0.0) -> np.ndarray:
    """Gaussian noise whose power falls with frequency ** -slope, RMS 1: 0 is white, 1 pink, 2 brown."""
    n = round(seconds * SAMPLE_RATE)
    x = rng.standard_normal(scipy.fft.next_fast_len(n, real=True))
    if slope:
        falling = np.maximum(scipy.fft.rfftfreq(len(x), 1 / SAMPLE_RATE), 20.0) ** (-slope / 2)
        x = scipy.fft.irfft(scipy.fft.rfft(x) * falling, len(x))
    x = x[:n]
    return x / np.sqrt(np.mean(x**2))


def band(x: np.ndarray, low: float, high: float, order: int = 2) -> np.ndarray:
    return scipy.signal.sosfilt(scipy.signal.butter(order, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), x)


def resonance(x: np.ndarray, frequency: float, width: float) -> np.ndarray:
    """A two-pole resonator: `width` is its -3 dB bandwidth in Hz."""
    r = np.exp(-np.pi * width / SAMPLE_RATE)
    return scipy.signal.lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * frequency / SAMPLE_RATE), r * r], x)


def tone(frequency, seconds: float | None = None, harmonics=(1.0,)) -> np.ndarray:
    """A harmonic tone of the given (or constant) frequency; `harmonics` are amplitudes of partials 1, 2, ..."""
    f = np.asarray(frequency, dtype=np.float64)
    if f.ndim == 0:
        f = np.full(round((seconds or 1.0) * SAMPLE_RATE), float(f))
    phase = 2 * np.pi * np.cumsum(f) / SAMPLE_RATE
    return sum(a * np.sin(k * phase) * (k * f < 20_000) for k, a in enumerate(harmonics, 1) if a)


def ends(x: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Raised-cosine attack and release, in seconds."""
    x = x.copy()
    a, r = (min(round(s * SAMPLE_RATE), len(x) // 2) for s in (attack, release))
    x[:a] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(a) / max(a, 1))
    x[len(x) - r :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(r) / max(r, 1))
    return x


def scatter(parts: list[tuple[float, np.ndarray]], seconds: float | None = None) -> np.ndarray:
    """Sounds added at their onsets (seconds); as long as needed, or cut to `seconds`."""
    end = max(round(at * SAMPLE_RATE) + len(x) for at, x in parts)
    out = np.zeros(end if seconds is None else max(end, round(seconds * SAMPLE_RATE)))
    for at, x in parts:
        start = round(at * SAMPLE_RATE)
        out[start : start + len(x)] += x
    return out if seconds is None else out[: round(seconds * SAMPLE_RATE)]


def in_a_row(rng: Random, count: int, make: Callable[[], np.ndarray], low: float, high: float) -> np.ndarray:
    """`count` sounds one after the other with pauses of `low` to `high` seconds."""
    at, parts = 0.0, []
    for _ in range(count):
        x = make()
        parts.append((at, x))
        at += len(x) / SAMPLE_RATE + rng.uniform(low, high)
    return scatter(parts)


def siren(rng: Random) -> np.ndarray:
    t = time_axis(rng.uniform(2.0, 6.0))
    low, rate = rng.uniform(450, 750), rng.uniform(0.25, 0.8)
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * (rate * t + rng.random()))
    x = tone(low * rng.uniform(1.8, 2.6) ** sweep, harmonics=(1.0, rng.uniform(0.2, 0.5), rng.uniform(0.1, 0.4)))
    return ends(x, 0.15, 0.3)


def bird_chirp(rng: Random) -> np.ndarray:
    base, swing, length = rng.uniform(2800, 5500), rng.uniform(-0.35, 0.35), rng.uniform(0.05, 0.14)

    def chirp() -> np.ndarray:
        u = np.linspace(0, 1, round(length * rng.uniform(0.8, 1.2) * SAMPLE_RATE))
        f = base * (1 + swing * u + 0.12 * np.sin(2 * np.pi * u * rng.uniform(0.8, 2.5))) * rng.uniform(0.95, 1.05)
        return tone(f, harmonics=(1.0, 0.12)) * np.sin(np.pi * u) ** 0.7

    gap = rng.uniform(0.03, 0.16)
    return in_a_row(rng, int(rng.integers(5, 20)), chirp, 0.7 * gap, 1.4 * gap)


def bell(rng: Random) -> np.ndarray:
    f0, decay = rng.uniform(350, 1100), rng.uniform(0.6, 1.6)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 3.0, 4.1]) * rng.uniform(0.985, 1.015, 8)
    amplitude = np.array([0.4, 1.0, 0.7, 0.5, 0.8, 0.4, 0.3, 0.2]) * rng.uniform(0.6, 1.4, 8)
    t = time_axis(min(4.5, 2.5 * decay))
    parts = [
        a * np.sin(2 * np.pi * f0 * r * t) * np.exp(-t * (0.6 + 0.5 * r) / decay)
        for r, a in zip(ratios, amplitude, strict=True)
    ]
    strike = ends(sum(parts), 0.002, 0.2)
    every = rng.uniform(0.6, 1.2)
    return scatter([(k * every, rng.uniform(0.7, 1.0) * strike) for k in range(int(rng.integers(1, 4)))])


def engine(rng: Random) -> np.ndarray:
    seconds = rng.uniform(2.0, 6.0)
    t = time_axis(seconds)
    f = rng.uniform(28, 65) * (
        1 + rng.uniform(0.02, 0.25) * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t + rng.uniform(0, 6))
    )
    partials = rng.uniform(0.5, 1.0, 24) / np.arange(1, 25) ** rng.uniform(0.5, 0.9)
    throb = 1 + 0.5 * tone(f / 2)
    return ends((tone(f, harmonics=tuple(partials)) + 0.25 * band(noise(rng, seconds), 150, 900)) * throb, 0.3, 0.4)


def rain(rng: Random) -> np.ndarray:
    seconds = rng.uniform(2.5, 6.0)
    hiss = band(noise(rng, seconds), rng.uniform(2500, 4500), rng.uniform(12_000, 18_000), 1)
    drops = np.zeros(len(hiss))
    at = rng.integers(0, len(hiss), int(seconds * rng.uniform(100, 300)))
    np.add.at(drops, at, rng.exponential(1.0, len(at)) * rng.choice([-1, 1], len(at)))
    drops = resonance(drops, rng.uniform(4000, 8000), 1500.0)
    return ends(hiss + rng.uniform(2, 5) * drops / max(drops.std(), 1e-9) * 0.2, 0.3, 0.4)


def clock_tick(rng: Random) -> np.ndarray:
    every, f, ratio = rng.uniform(0.22, 0.55), rng.uniform(1800, 4200), rng.uniform(0.7, 0.95)
    t = time_axis(0.05)

    def click(frequency: float) -> np.ndarray:
        body = np.sin(2 * np.pi * frequency * t) + 0.5 * np.sin(2 * np.pi * 2.7 * frequency * t)
        return (body + 0.6 * rng.standard_normal(len(t)) * np.exp(-t / 0.001)) * np.exp(-t / rng.uniform(0.003, 0.007))

    count = int(rng.uniform(2.0, 6.0) / every)
    return scatter([(k * every, click(f if k % 2 else ratio * f)) for k in range(max(count, 4))])


def alarm_beep(rng: Random) -> np.ndarray:
    f, on = rng.uniform(1900, 3300), rng.uniform(0.07, 0.18)
    beep = ends(tone(f, on, (1.0, 0.0, 0.35, 0.0, 0.15)), 0.004, 0.004)
    group, pause = int(rng.integers(2, 5)), rng.uniform(0.3, 0.6)
    at = [g * (2 * on * group + pause) + 2 * on * k for g in range(int(rng.integers(2, 5))) for k in range(group)]
    return scatter([(a, beep) for a in at])


def dog_bark(rng: Random) -> np.ndarray:
    f0, formants = rng.uniform(180, 420), (rng.uniform(500, 900), rng.uniform(1100, 1900))

    def bark() -> np.ndarray:
        seconds = rng.uniform(0.14, 0.3)
        u = np.linspace(0, 1, round(seconds * SAMPLE_RATE))
        source = tone(f0 * (1 + 0.45 * np.sin(np.pi * u) - 0.25 * u), harmonics=tuple(1 / k for k in range(1, 20)))
        source = source + 0.5 * rng.standard_normal(len(u))
        x = sum(resonance(source, f, w) / w for f, w in zip(formants, (120.0, 200.0), strict=True))
        return ends(x / np.abs(x).max() * (1 - u) ** 0.6 * np.minimum(1, u / 0.06), 0.0, 0.02)

    return in_a_row(rng, int(rng.integers(2, 8)), bark, 0.12, 0.5)


def door_knock(rng: Random) -> np.ndarray:
    f, t = rng.uniform(110, 260), time_axis(0.16)
    every = rng.uniform(0.16, 0.32)

    def knock() -> np.ndarray:
        thump = np.sin(2 * np.pi * f * t) * np.exp(-t / rng.uniform(0.018, 0.035))
        wood = np.sin(2 * np.pi * rng.uniform(3.0, 3.4) * f * t) * np.exp(-t / 0.012)
        return thump + 0.6 * wood + 0.25 * rng.standard_normal(len(t)) * np.exp(-t / 0.002)

    return scatter([(k * every * rng.uniform(0.95, 1.05), knock()) for k in range(int(rng.integers(3, 9)))])


def whistle(rng: Random) -> np.ndarray:
    seconds = rng.uniform(0.8, 3.0)
    u = np.linspace(0, 1, round(seconds * SAMPLE_RATE))
    start, turn, end = rng.uniform(900, 2200, 3)
    f = start * (1 - u) ** 2 + 2 * turn * u * (1 - u) + end * u**2
    f = f * (1 + 0.012 * np.sin(2 * np.pi * rng.uniform(4, 7) * seconds * u))
    return ends(tone(f, harmonics=(1.0, 0.05)) + 0.03 * band(noise(rng, seconds)[: len(u)], 1000, 5000), 0.08, 0.15)


def bubbles(rng: Random) -> np.ndarray:
    seconds = rng.uniform(1.5, 5.0)
    parts = []
    for _ in range(int(seconds * rng.uniform(9, 22))):
        t = time_axis(rng.uniform(0.03, 0.09))
        f = rng.uniform(350, 1300) * (1 + rng.uniform(4, 12) * t)
        x = tone(f) * np.exp(-t / rng.uniform(0.01, 0.025)) * np.minimum(1, t / 0.003)
        parts.append((rng.uniform(0, seconds - 0.1), rng.uniform(0.3, 1.0) * x))
    return scatter(parts)


def insect_buzz(rng: Random) -> np.ndarray:
    seconds = rng.uniform(1.5, 5.0)
    t = time_axis(seconds)
    drift = np.interp(t, np.linspace(0, seconds, 12), rng.uniform(-1, 1, 12))
    f = rng.uniform(160, 330) * (1 + 0.09 * drift)
    wings = tone(f, harmonics=tuple(rng.uniform(0.5, 1.0, 30) / np.arange(1, 31) ** 0.35))
    near = 0.6 + 0.4 * np.interp(t, np.linspace(0, seconds, 9), rng.uniform(-1, 1, 9))
    return ends(band(wings, 300, rng.uniform(4000, 7000), 1) * near, 0.15, 0.2)


def applause(rng: Random) -> np.ndarray:
    seconds = rng.uniform(2.0, 6.0)
    t = time_axis(0.02)
    claps = []
    for _ in range(8):
        x = resonance(
            rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.002, 0.005)), rng.uniform(800, 2200), 500.0
        )
        claps.append(x / np.abs(x).max())
    at = np.sort(rng.uniform(0, seconds, int(seconds * rng.uniform(45, 110))))
    x = scatter([(a, rng.uniform(0.2, 1.0) * claps[rng.integers(8)]) for a in at], seconds)
    return ends(x, 0.2, 0.4)


def thunder(rng: Random) -> np.ndarray:
    seconds = rng.uniform(3.0, 6.0)
    t = time_axis(seconds)
    rumble = band(noise(rng, seconds, 1.0), 35, rng.uniform(160, 280))
    envelope = sum(
        rng.uniform(0.3, 1.0) * np.where(t > at, np.exp(-(t - at) / rng.uniform(0.4, 1.4)), 0.0)
        for at in [0.0, *rng.uniform(0, 0.6 * seconds, int(rng.integers(2, 5)))]
    )
    crack = band(rng.standard_normal(len(t)), 200, 3000) * np.exp(-t / rng.uniform(0.05, 0.15)) * rng.uniform(0.05, 0.3)
    return ends(rumble / rumble.std() * 0.3 * envelope + crack, 0.01, 0.5)


def telephone_ring(rng: Random) -> np.ndarray:
    f, warble, on = rng.uniform(1000, 1500), rng.uniform(16, 26), rng.uniform(0.5, 1.1)
    t = time_axis(on)
    high = np.sign(np.sin(2 * np.pi * warble * t)) * 0.5 + 0.5
    ring = ends(tone(f * rng.uniform(1.18, 1.3) ** high, harmonics=(1.0, 0.4, 0.3, 0.2)), 0.01, 0.05)
    return in_a_row(rng, int(rng.integers(1, 4)), lambda: ring, 0.35, 0.7)


def car_horn(rng: Random) -> np.ndarray:
    f, ratio = rng.uniform(300, 460), rng.choice([1.19, 1.25, 1.26, 1.33])
    partials = tuple(rng.uniform(0.6, 1.0, 14) / np.arange(1, 15) ** 0.5)

    def blast() -> np.ndarray:
        seconds = rng.uniform(0.25, 1.3)
        return ends(tone(f, seconds, partials) + tone(f * ratio, seconds, partials), 0.015, 0.04)

    return in_a_row(rng, int(rng.integers(1, 4)), blast, 0.12, 0.4)


SOUNDS: dict[str, Callable[[Random], np.ndarray]] = {
    f.__name__: f
    for f in (
        siren, bird_chirp, bell, engine, rain, clock_tick, alarm_beep, dog_bark,
        door_knock, whistle, bubbles, insect_buzz, applause, thunder, telephone_ring, car_horn,
    )
}  # fmt: skip


def background(rng: Random) -> np.ndarray:
    """Coloured noise that slowly swells, half of the time with mains hum: 11 to 15 s."""
    seconds = rng.uniform(11.0, 15.0)
    t = time_axis(seconds)
    x = noise(rng, seconds, rng.uniform(0.7, 2.0))
    x *= 1 + rng.uniform(0.0, 0.4) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.3) * t + rng.random()))
    if rng.random() < 0.5:
        hum = tone(rng.choice([50.0, 60.0]), seconds, tuple(rng.uniform(0, 1, 8) / np.arange(1, 9)))
        x = x + rng.uniform(0.1, 1.0) * hum[: len(x)]
    return x


@dataclass(frozen=True)
class Maker:
    """Item n of a split: first `instances` of each class in turn, then the backgrounds. Picklable."""

    split: str
    seed: int
    instances: int
    classes: tuple[str, ...]

    def __call__(self, n: int) -> tuple[Record, np.ndarray]:
        events = self.instances * len(self.classes)
        is_event = n < events
        label = self.classes[n % len(self.classes)] if is_event else "background"
        instance = n // len(self.classes) if is_event else n - events
        kind = list(SOUNDS).index(label) if is_event else len(SOUNDS)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), kind, instance])
        x = (SOUNDS[label] if is_event else background)(rng)
        x = x / np.abs(x).max() * rng.uniform(0.4, 0.9)
        waveform = to_int16(x, f"{label} {instance}")
        details = describe(waveform, "event" if is_event else "background")
        duration = len(waveform) / SAMPLE_RATE
        heard: tuple[Event, ...] = ()
        if is_event:
            level = np.array(details["level_db"])
            loud = np.flatnonzero(level > level.max() - 50)
            heard = (Event(loud[0] * LEVEL_HOP, min((loud[-1] + 1) * LEVEL_HOP, duration), label),)
        key = f"{label}-{self.split}-{self.seed}-{instance:04d}"
        return Record(key, duration, (), heard, "data_prep/synthetic.py", "CC0-1.0", self.split, details), waveform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for train/ and test/")
    parser.add_argument("--instances", type=int, default=24, help="training instances a class (test: a third of it)")
    parser.add_argument("--backgrounds", type=int, default=24, help="training backgrounds (test: a third of it)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--audio", choices=AUDIO, default="flac")
    parser.add_argument("--only-backgrounds", action="store_true", help="no events: backgrounds for real sounds")
    args = parser.parse_args()
    if min(args.instances, args.backgrounds) < 1 or args.seed < 0:
        parser.error("--instances and --backgrounds must be at least 1, --seed at least 0")
    with prepare.answered(parser):
        check_writable(args.out, "OUT")
        classes = () if args.only_backgrounds else tuple(SOUNDS)
        vocabulary = None if args.only_backgrounds else "synthetic"
        concepts = sorted({Vocabulary.load(vocabulary).concept(label).id for label in classes}) if vocabulary else []
        for split in SPLITS:
            instances, backgrounds = (
                n if split == "train" else max(1, n // 3) for n in (args.instances, args.backgrounds)
            )
            details = {"maker": "data_prep/synthetic.py", "split": split, "seed": args.seed, "instances": instances}
            details |= {"backgrounds": backgrounds, "classes": list(classes)}
            samples = instances * len(classes) + backgrounds
            name = f"{vocabulary or 'backgrounds'}-{split}"
            plan = CorpusPlan(name, samples, min(100, -(-samples // 8)), args.audio, vocabulary, concepts, details)
            write_corpus(args.out / split, plan, Maker(split, args.seed, instances, classes), args.processes)


if __name__ == "__main__":
    main()
