"""Random scores and events with what goes wrong in real ones, and plain counts over them, for the tests of metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

Event = tuple[float, float, str]


@dataclass
class Problem:
    scores: list[torch.Tensor]
    events: list[list[Event]]
    classes: list[str]
    durations: list[float] | None
    frame_seconds: float

    def arguments(self) -> tuple:
        return self.scores, self.events, self.classes, self.durations, self.frame_seconds


def problem(seed: int, most_recordings: int = 10, most_frames: int = 40) -> Problem:
    """By the seed: ties (scores of one decimal), recordings of unequal length, one of a single frame, some without
    events; events that overlap or touch, of one frame or less, past the end; durations that end inside a frame; a class
    that is never or always detected; float32."""
    r = np.random.default_rng(seed)
    classes = [f"class {k}" for k in range(int(r.integers(1, 6)))]
    hop = float(r.choice([0.3125, 0.1, 0.02, 1.0]))
    scores, events, durations = [], [], []
    for n in range(int(r.integers(1, most_recordings + 1))):
        frames = 1 if n == 1 else int(r.integers(2, most_frames + 1))
        seconds = frames * hop * (float(r.choice([1.0, 0.97, r.uniform(0.3, 1.0)])) if seed % 2 else 1.0)
        score = r.random((len(classes), frames))
        found: list[Event] = []
        for k, name in enumerate(classes):
            end, density = 0.0, r.uniform(0, 0.8)
            while r.random() < density:
                onset = max(0.0, end + r.choice([0.0, r.uniform(-2 * hop, 6 * hop)]))
                offset = onset + r.choice([hop, r.uniform(0.1 * hop, 8 * hop), round(r.integers(1, 5) * hop, 6)])
                if round(onset - seconds, 6) >= 0:
                    break
                found.append((onset, offset, name))
                score[k, int(onset / hop) : int(offset / hop) + 1] += r.uniform(0, 1)
                end = offset
        r.shuffle(found)
        if seed % 3 == 0:
            score = np.round(score / 2, 1)
        if seed % 7 == 1:
            score[0] = 0.0 if seed % 2 else 2.0
        scores.append(torch.from_numpy(score.astype(np.float32 if seed % 4 == 0 else np.float64)))
        events.append([(a, b, str(c)) for a, b, c in found])
        durations.append(seconds)
    return Problem(scores, events, classes, durations if seed % 2 else None, hop)


def with_events(p: Problem) -> Problem:
    """Only the classes that have an event."""
    present = {name for found in p.events for _, _, name in found}
    kept = [k for k, name in enumerate(p.classes) if name in present]
    return Problem([s[kept] for s in p.scores], p.events, [p.classes[k] for k in kept], p.durations, p.frame_seconds)


def merged(events: list[Event], name: str) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for a, b in sorted((a, b) for a, b, c in events if c == name):
        if out and round(a - out[-1][1], 6) <= 0:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out


def spans(
    score_T: np.ndarray, threshold: float, seconds: float, hop: float, reached: bool
) -> list[tuple[float, float]]:
    """Runs of frames that reach (or pass) the threshold, in seconds, ending with the recording."""
    out, begin = [], None
    frames = [t for t in range(len(score_T)) if round(t * hop - seconds, 6) < 0]
    for t in [*frames, None]:
        active = t is not None and (score_T[t] >= threshold if reached else score_T[t] > threshold)
        if active and begin is None:
            begin = t
        if not active and begin is not None:
            end = len(frames) if t is None else t
            out.append((begin * hop, min(end * hop, seconds)))
            begin = None
    return out
