"""Long recordings: memory of `flam-detect run`, and its time beside the encoder alone.

    python tests/bench/bench_long.py EXPORT [--hours 1 8] [--minutes 10] [--rounds 3] [--batch-size 4]

Recordings are noise that swells, FLAC, 48 kHz. Memory is the peak of a process of its own (VmHWM: all of it, torch and
weights too) with ten phrases, for each number of hours. Time: from the file to events, and the encoder on the same
windows in the same batches, read before, taking turns in one process; the ratio is how much of the speed is left, and
beside it what would be left if all cores did nothing but decode the file and run the encoder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import load_export
from flam_train.data.sound.streaming import Stream
from flam_train.detection.embedding import Windows
from flam_train.detection.events import events_of
from flam_train.detection.scoring import Listening, score

PHRASES = [
    "a dog barks", "a siren", "rain", "an engine running", "applause", "a telephone ringing", "a door slams",
    "a bird sings", "music", "someone speaks",
]  # fmt: skip

PEAK = """
import sys
from flam_train.cli import detect
try:
    detect.main(sys.argv[1:])
finally:
    with open("/proc/self/status") as file:
        print(next(line for line in file if line.startswith("VmHWM")), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--hours", type=float, nargs="*", default=[1, 8])
    parser.add_argument("--minutes", type=float, default=10, help="of the recording that is timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio(args, noise(folder / "timed.flac", args.minutes / 60))
        for hours in args.hours:
            path = noise(folder / f"{hours:g}.flac", hours)
            command = [sys.executable, "-c", PEAK, "run", args.export, path, "--out", folder / "out", "--quiet"]
            command += ["--device", "cpu", "--batch-size", args.batch_size, "--phrases", *PHRASES]
            before = time.monotonic()
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            took = time.monotonic() - before
            if done.returncode:
                sys.exit(done.stderr)
            peak = int(done.stderr.split()[-2]) / 1e6
            print(f"{hours:g} h: peak {peak:.3f} GB, {took:.0f} s, {hours * 3600 / took:.0f} x real time", flush=True)
            path.unlink()


def noise(path: Path, hours: float) -> Path:
    rng, time_S = np.random.default_rng(0), np.arange(SAMPLE_RATE * 60) / SAMPLE_RATE
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 60)):
            file.write(rng.normal(size=len(time_S)) * 0.05 * (1 + np.sin(0.7 * time_S)))
    return path


def ratio(args: argparse.Namespace, path: Path) -> None:
    model, cores = load_export(args.export), torch.get_num_threads()
    windows = np.stack(list(Windows.of(model).cut(Stream(path))))
    batches = torch.from_numpy(windows).split(args.batch_size)
    found, most = [], []
    for _ in range(args.rounds):
        before = time.monotonic()
        events_of(score(Listening(model, path, batch_size=args.batch_size), PHRASES))
        whole = time.monotonic() - before
        before = time.monotonic()
        with torch.inference_mode():
            for waveform_WS in batches:
                model.embed_audio(waveform_WS)
        alone = time.monotonic() - before
        before = time.monotonic()
        with soundfile.SoundFile(path) as file:
            for _block in file.blocks(1 << 20, dtype="int16"):
                pass
        decoding = time.monotonic() - before
        found.append(alone / whole)
        most.append(alone / (alone + decoding / cores))
        times = f"file to events {whole:.2f} s, encoder alone {alone:.2f} s, decoding alone {decoding:.2f} s"
        print(f"  {times}: {found[-1]:.2f} of at most {most[-1]:.2f}", flush=True)
    median = f"{statistics.median(found):.2f} of at most {statistics.median(most):.2f}"
    print(f"{args.minutes:g} min, {len(windows)} windows, {cores} cores: ratio {median}", flush=True)


if __name__ == "__main__":
    main()
