"""One channel of several: which, and how loud they are.

Shape suffixes: S samples, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from flam_train.data.sound import ffmpeg
from flam_train.data.sound.faults import Fault, named
from flam_train.data.sound.length import Length
from flam_train.data.sound.opening import Native, measure, opened

Channel = str | int
"""Which is taken: "mean" of all, "first", "loudest" (the greatest variance over the whole recording), or a number
from 1."""

WORDS = ("mean", "first", "loudest")

WHOLE, EXCERPTS, EXCERPT = 30.0, 6, 1.0
"""Seconds up to which a recording is listened to as a whole for its levels; of a longer one, how many parts, and
seconds of each."""

NUMPY_ADDS_PAIRS = 8
"""From so many numbers on it does not add them one after the other."""


def channel_of(text: str) -> Channel:
    """What `--channel` takes. Raises ValueError."""
    if text in WORDS:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no channel: {', '.join(WORDS)}, or a number from 1")
    return int(text)


def check_channel(channel: Channel, channels: int) -> None:
    """Raises Fault if a recording of so many has it not, or it is none."""
    if channel not in WORDS and (isinstance(channel, (str, bool)) or channel < 1 or channel % 1):
        raise Fault(f"{channel!r} is no channel", f"{', '.join(WORDS)}, or a number from 1")
    if isinstance(channel, int) and channel > channels:
        plural = "s" if channels > 1 else ""
        what = f"has {channels} channel{plural}, channel {channel} is wanted"
        raise Fault(what, "take another, mend the channel in its label file, or leave it out")


def mixed(wave_SC: np.ndarray, channel: Channel) -> np.ndarray:
    """[S]: the mean of all channels, or one; not "loudest", for which the whole recording must be known."""
    if channel != "mean":
        return wave_SC[:, 0 if channel == "first" else int(channel) - 1]
    count = wave_SC.shape[1]
    if count >= NUMPY_ADDS_PAIRS:
        return wave_SC.mean(axis=1)
    total_S = wave_SC[:, 0]
    for other in range(1, count):  # the bits of `mean`, which takes a third of the time of preparing a recording
        total_S = total_S + wave_SC[:, other]
    return total_S / count


def loudest(path: Path) -> int:
    """The number of the channel that is loudest over the whole recording; of equals the first. Raises as `measure`."""
    if measure(path).channels == 1:
        return 1
    about = path.stat()
    return _loudest(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(1 << 12)
def _loudest(path: Path, size: int, changed: int) -> int:
    with opened(path) as sound:
        return loudest_of(sound.blocks())


def loudest_of(blocks: Iterable[np.ndarray]) -> int:
    """As `loudest`, of the [S, C] that together are a recording."""
    return 1 + int(np.argmax(_squares(blocks)[:-1]))


def channel_levels(path: Path | str) -> float:
    """By how many dB the mean of the channels lies below the loudest of them: 0 for one channel or equal ones, 3 for
    two of independent sound, 18 for one of eight that sounds, infinity for opposite phases.

    Of a longer recording than `WHOLE` excerpts tell; if these are digital silence, all of it. Raises as `measure`.
    """
    path = Path(path)
    length = measure(path)
    if length.channels == 1:
        return 0.0
    squares = _squares(_excerpts(path, length)) if length.seconds > WHOLE else np.zeros(1)
    if not squares.any():
        with opened(path, length.lead) as sound:
            squares = _squares(sound.blocks())
    top, mean = squares[:-1].max(), squares[-1]
    if mean == 0 or top == 0:
        return float("inf") if top else 0.0
    return max(0.0, 10 * float(np.log10(top / mean)))


def _excerpts(path: Path, length: Length) -> Iterator[np.ndarray]:
    """Nothing of a recording that cannot be read from the middle on."""
    places = ((np.arange(EXCERPTS) + 0.5) / EXCERPTS * length.seconds).tolist()
    count = int(EXCERPT * length.rate)
    with opened(path, 0.0) as sound:
        if isinstance(sound, Native):
            for at in places if sound.seekable else ():
                yield from sound.blocks(int(at * length.rate), count)
            return
    for at in places:
        with named(path), ffmpeg.decoding(path, at=at) as piped:
            yield from piped.blocks(0, count)


def _squares(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """[C + 1]: sums of the squares of each channel about its mean, and last of the mean of channels. No block: zeros.

    Constant offsets are no sound: a dead input may have a large one.
    """
    count, sums, squares, origin = 0, np.zeros(1), np.zeros(1), None
    for block_SC in blocks:
        every = [*block_SC.T, mixed(block_SC, "mean")]
        if origin is None:  # about a first sample the sums of a constant are 0 exactly
            origin = [one_S[0] for one_S in every]
        every = [one_S - at for one_S, at in zip(every, origin, strict=True)]
        count += len(block_SC)
        sums = sums + np.array([one_S.sum() for one_S in every])
        squares = squares + np.array([np.square(one_S).sum() for one_S in every])
    return np.maximum(squares - sums**2 / max(count, 1), 0.0)
