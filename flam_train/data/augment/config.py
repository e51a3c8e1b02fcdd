"""Which augmentations there are, and how strong: the section `augment` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from flam_train.batch import SAMPLE_RATE
from flam_train.settings import setting, settle

MOST_DB = 200
"""More than lies between a sample's smallest step and what 16 bits hold."""

RANGES = ("mix_db", "background_db", "low_hz", "high_hz", "gain_db")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to clips in training, in this order. Ranges are [lowest, highest], drawn uniformly (bounds of the
    band on a logarithmic scale)."""

    shift_seconds: float = setting(
        0.0, "a clip and its events are rolled in time by up to so much, either way; 0: none are", least=0, most=3600
    )
    mix_share: float = setting(
        0.0, "share of the clips with events that another clip of their corpus is added to", least=0, most=1
    )
    mix_db: tuple[float, float] = setting(
        (-6.0, 6.0), "level of the added clip, relative to the clip's", least=-MOST_DB, most=MOST_DB
    )
    background: tuple[str, ...] = setting((), "folders of bank shards with backgrounds; none: none are added")
    background_share: float = setting(0.5, "share of the clips that a background is added to", least=0, most=1)
    background_db: tuple[float, float] = setting(
        (-30.0, -10.0), "level of the background, relative to the clip's", least=-MOST_DB, most=MOST_DB
    )
    band_share: float = setting(0.0, "share of the clips that are heard through a cheap microphone", least=0, most=1)
    low_hz: tuple[float, float] = setting((50.0, 300.0), "where its band begins (-3 dB)", above=0, most=SAMPLE_RATE / 2)
    high_hz: tuple[float, float] = setting((4000.0, 12_000.0), "where its band ends", above=0, most=SAMPLE_RATE / 2)
    gain_db: tuple[float, float] = setting(
        (0.0, 0.0), "by which the whole is made louder", least=-MOST_DB, most=MOST_DB
    )

    def __post_init__(self) -> None:
        settle(self, "augment")
        for name in RANGES:
            lowest, highest = getattr(self, name)
            if lowest > highest:
                raise ValueError(f"augment.{name}: [{lowest:g}, {highest:g}] must be [lowest, highest]")
        if self.low_hz[1] >= self.high_hz[0]:
            raise ValueError(
                f"augment.low_hz: up to {self.low_hz[1]:g} must lie below high_hz, from {self.high_hz[0]:g} on"
            )

    @property
    def on(self) -> bool:
        """Whether anything is done at all."""
        shares = (self.shift_seconds, self.mix_share, self.band_share, self.background and self.background_share)
        return any(shares) or self.gain_db != (0.0, 0.0)

    def sounds(self, kind: str) -> int:
        """How many are added to a clip of the stream `kind` at most."""
        return (self.mix_share > 0 and kind != "global") + (bool(self.background) and self.background_share > 0)

    def said(self) -> str:
        """In a line, what is done."""
        parts = {
            f"shift by up to {self.shift_seconds:g} s": self.shift_seconds,
            f"mix {self.mix_share:g} of the clips with events": self.mix_share,
            f"background in {self.background_share:g}": bool(self.background) and self.background_share,
            f"band limits in {self.band_share:g}": self.band_share,
            f"gain of {self.gain_db[0]:g} to {self.gain_db[1]:g} dB": self.gain_db != (0.0, 0.0),
        }
        return ", ".join(text for text, on in parts.items() if on) or "none"
