"""What will happen to a clip, drawn from its seed as plain data, and its events and tags as they will be.

Shape suffixes: S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flam_train.batch import SAMPLE_RATE, Added, Draws
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.mixing.item_cache import ItemCache
from flam_train.data.shards.schema import Event, Tag
from flam_train.data.stream.clips import Clip
from flam_train.data.stream.order import stable_seed
from flam_train.data.stream.tags import of_clip

REACH = 1000
"""A clip is mixed with one of so many that come next in its corpus: these lie in shards that are read anyway."""


class Augmentation:
    """Draws for the clips of a stream: a `data.stream.clips.Augmenter`. Pickles.

    backgrounds  the bank of `config.background`, None without one
    mix          whether clips are mixed: not where a caption speaks of the whole clip

    Each augmentation has numbers of its own: to change one leaves the others' draws as they are.
    """

    def __init__(self, config: AugmentConfig, seconds: float, backgrounds: ItemCache | None, mix: bool) -> None:
        """seconds: of a clip. Raises ValueError where no background is so long, and for a longer shift."""
        if config.shift_seconds > seconds:
            raise ValueError(f"augment.shift_seconds={config.shift_seconds:g}: clips last {seconds:g} s: at most that")
        self.config, self.samples = config, round(seconds * SAMPLE_RATE)
        self.mix_share = config.mix_share if mix else 0.0
        self.backgrounds = backgrounds if config.background_share else None
        if self.backgrounds is not None and not len(self.backgrounds.bank.backgrounds_of(self.samples)):
            raise ValueError(
                f"augment.background: no background of at least {seconds:g} s in {', '.join(config.background)}: add a "
                "bank that has one, for instance of data_prep/synthetic.py OUT --only-backgrounds"
            )

    def partner(self, seed: int, position: int) -> int:
        """A function of the position alone: it is asked before anything is read, and on any number of ranks."""
        if not self.mix_share:
            return 0
        mixed, further = uniform(stable_seed(seed, position), "partner", 2)
        return 1 + int(further * REACH) if mixed < self.mix_share else 0

    def clip(self, clip: Clip, other: Clip | None) -> Clip:
        """The clip with its draws. other: what it is mixed with, if it is; not with a bad sample, nor where `hides`."""
        if clip.error is not None:
            return clip
        shift = self._shift(clip.seed, "shift")
        events, sounds, added = rolled(clip.events, shift, self.samples), [], []
        tags = rolled_tags(clip, shift, self.samples)
        if other is not None and other.error is None and not (hides(clip, other) or hides(other, clip)):
            (level,) = uniform(clip.seed, "mix", 1)
            by = self._shift(clip.seed, "mix shift")
            events += rolled(other.events, by, self.samples)
            tags += rolled_tags(other, by, self.samples)
            sounds.append(other.waveform_S)
            added.append(Added(_samples(other), by, between(self.config.mix_db, level)))
        if self.backgrounds is not None:
            heard, item, start, level = uniform(clip.seed, "background", 4)
            if heard < self.config.background_share:
                try:
                    sounds.append(self._background(self.backgrounds, item, start))
                except (ValueError, OSError) as error:
                    return clip.failed(f"augment.background: {error}")
                added.append(Added(self.samples, 0, between(self.config.background_db, level)))
        limited, low, high = uniform(clip.seed, "band", 3)
        bounds = [np.log(self.config.low_hz), np.log(self.config.high_hz)]
        low_hz, high_hz = (float(np.exp(between(b, u))) for b, u in zip(bounds, (low, high), strict=True))
        (gain,) = uniform(clip.seed, "gain", 1)
        draws = Draws(
            shift=shift,
            samples=_samples(clip),
            added=tuple(added),
            band=(low_hz, high_hz) if limited < self.config.band_share else None,
            gain_db=between(self.config.gain_db, gain),
        )
        # What sounds may now lie anywhere in it, also where there was padding.
        return replace(clip, duration=self.samples / SAMPLE_RATE, events=events, tags=tags, draws=draws, added=sounds)

    def _shift(self, seed: int, name: str) -> int:
        (way,) = uniform(seed, name, 1)
        return round((2 * way - 1) * self.config.shift_seconds * SAMPLE_RATE)

    def _background(self, bank: ItemCache, which: float, where: float) -> np.ndarray:
        fitting = bank.bank.backgrounds_of(self.samples)
        item = int(fitting[int(which * len(fitting))])
        start = int(where * (int(bank.bank.samples[item]) - self.samples + 1))
        return bank.read(item, start, self.samples)


def uniform(seed: int, name: str, count: int) -> list[float]:
    """Numbers in [0, 1) of 53 bits, each name its own: the same in every process, version and machine."""
    bits = np.random.PCG64(stable_seed(seed, name)).random_raw(count) >> np.uint64(11)
    return (bits * 2.0**-53).tolist()


def between(bounds: Sequence[float] | np.ndarray, share: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)


def hides(clip: Clip, other: Clip) -> bool:
    """Whether a mixture of the two could say that a sound is in the frames of the other's events alone, though the clip
    has it as a tag, somewhere. Labels are not compared: several may be one concept."""
    return bool(other.events) and not {tag.label for tag in clip.tags} <= {event.label for event in clip.events}


def rolled(events: Sequence[Event], shift: int, samples: int) -> tuple[Event, ...]:
    """Events of a clip of `samples` that is rolled by `shift` samples. One that passes the end goes on at the
    beginning, as two events; less than a sample is nothing."""
    if not shift:
        return tuple(events)
    seconds, out = samples / SAMPLE_RATE, []
    for event in events:
        onset = (event.onset + shift / SAMPLE_RATE) % seconds
        offset = onset + event.offset - event.onset
        out.append(replace(event, onset=onset, offset=min(offset, seconds)))
        out.append(replace(event, onset=0.0, offset=offset - seconds))
    return tuple(event for event in out if event.offset - event.onset >= 1 / SAMPLE_RATE)


def rolled_tags(clip: Clip, shift: int, samples: int) -> tuple[Tag, ...]:
    """Weak labels of a clip that is rolled by `shift` of its `samples`, padding included.

    What is heard somewhere in seconds that now pass the end is heard somewhere in the clip: the tag becomes the whole
    clip's. One that was not of the clip (`of_clip`) is of no clip afterwards either: it has no end.
    """
    seconds, out = samples / SAMPLE_RATE, []
    for tag in clip.tags:
        if not of_clip(tag, clip.duration) or tag.offset is None:
            out.append(Tag(tag.label, 0.0, math.inf))
            continue
        first, last = max(tag.onset, 0.0), min(tag.offset, clip.duration)
        onset = (first + shift / SAMPLE_RATE) % seconds
        offset = onset + last - first
        out.append(Tag(tag.label, onset, offset) if offset <= seconds else Tag(tag.label, 0.0, seconds))
    return tuple(out)


def _samples(clip: Clip) -> int:
    return round(clip.duration * SAMPLE_RATE)
