"""Seconds to frames and back. The only code in the project that does either.

Shape suffixes: T frames, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Seconds. Onsets come from decimal text and float32 files: a boundary that misses a frame's
# half by less than this is on it.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class FrameGrid:
    """`frames` equal frames over a clip of `seconds`. FLAM: 32 frames over 10 s (0.3125 s each)."""

    frames: int = 32
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.seconds > 0:
            raise ValueError(
                f"a frame grid needs at least 1 frame and more than 0 s, got {self.frames} frames over {self.seconds} s"
            )

    @property
    def frame_seconds(self) -> float:
        return self.seconds / self.frames

    def edges(self) -> np.ndarray:
        """Frame boundaries, float64 [T + 1], in seconds from the clip's start."""
        return np.linspace(0.0, self.seconds, self.frames + 1)

    def labels(self, onset_E, offset_E) -> np.ndarray:
        """Which frames each event makes positive: bool [E, T]; onsets and offsets in seconds.

        A frame is positive if the event covers at least half of the frame, or if at least half of
        the event lies in the frame (so an event shorter than half a frame is never lost).
        """
        onset = np.asarray(onset_E, dtype=np.float64).reshape(-1, 1)
        offset = np.asarray(offset_E, dtype=np.float64).reshape(-1, 1)
        edges = self.edges()
        overlap = np.minimum(offset, edges[1:]) - np.maximum(onset, edges[:-1])
        enough = 0.5 * np.minimum(self.frame_seconds, np.maximum(offset - onset, 0.0))
        return (overlap >= enough - TOLERANCE) & (overlap > 0)

    def valid(self, duration: float) -> np.ndarray:
        """Frames of which at least half lies inside a recording of `duration` seconds: bool [T]."""
        edges = self.edges()
        return np.minimum(duration, edges[1:]) - edges[:-1] >= 0.5 * self.frame_seconds - TOLERANCE

    def segments(self, active_T) -> list[tuple[float, float]]:
        """Maximal runs of active frames as (onset, offset) in seconds."""
        active = np.concatenate([[False], np.asarray(active_T, dtype=bool), [False]])
        change = np.flatnonzero(active[1:] != active[:-1])
        edges = self.edges()
        return [(float(edges[a]), float(edges[b])) for a, b in zip(change[::2], change[1::2], strict=True)]
