"""How long a recording is, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 1 << 20
"""Samples that are decoded at once, of all channels together."""


@dataclass(frozen=True)
class Length:
    """Of one recording.

    frames    samples of each channel, at `rate` (Hz)
    how       "header": the file says so, and it fits what is there; "counted": its frames or packets were counted;
              "decoded": all of it was decoded
    lead      seconds of them that are silence, because the sound track starts so much later than the file
    """

    frames: int
    rate: int
    channels: int
    how: str
    lead: float = 0.0

    @property
    def seconds(self) -> float:
        return self.frames / self.rate
