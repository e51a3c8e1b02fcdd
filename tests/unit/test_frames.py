from __future__ import annotations

import numpy as np
import pytest

from flam_train.frames import FrameGrid

GRID = FrameGrid(32, 10.0)


def test_the_grid():
    assert GRID.frame_seconds == 0.3125
    edges = GRID.edges()
    assert (edges[0], edges[-1], len(edges)) == (0.0, 10.0, 33)
    for bad in ((0, 10.0), (32, 0.0), (32, float("nan"))):
        with pytest.raises(ValueError, match="at least 1 frame"):
            FrameGrid(*bad)


def plain(onset, offset, grid):
    """The rule in words, frame by frame."""
    row = []
    for t in range(grid.frames):
        a, b = t * grid.frame_seconds, (t + 1) * grid.frame_seconds
        inside = max(0.0, min(b, offset) - max(a, onset))
        covers = inside >= (b - a) / 2 - 1e-6
        holds = inside >= (offset - onset) / 2 - 1e-6
        row.append(inside > 0 and (covers or holds))
    return row


def test_labels_equal_the_rule_in_words():
    rng = np.random.default_rng(0)
    for grid in (GRID, FrameGrid(128, 10.0), FrameGrid(7, 3.0)):
        onset = rng.uniform(0, grid.seconds, 500)
        offset = np.minimum(onset + rng.exponential(0.4, 500) + 1e-4, grid.seconds)
        labels = grid.labels(onset, offset)
        assert labels.dtype == bool
        np.testing.assert_array_equal(labels, [plain(*e, grid) for e in zip(onset, offset, strict=True)])
        assert labels.any(axis=1).all()  # no event is lost, however short


@pytest.mark.parametrize(
    ("onset", "offset", "frames"),
    [
        (0.0, 0.3125, [0]),
        (0.0, 0.4687, [0]),  # less than half of frame 1
        (0.0, 0.46875, [0, 1]),  # half of it
        (0.15625, 0.46875, [0, 1]),  # half of either
        (0.3, 0.31, [0]),  # shorter than half a frame: where most of it lies
        (0.3025, 0.3225, [0, 1]),  # half of it in each
        (9.99, 10.0, [31]),
        (0.0, 10.0, list(range(32))),
        (0.9375, np.float32(1.25), [3]),
    ],
)
def test_boundaries(onset, offset, frames):
    assert np.flatnonzero(GRID.labels([onset], [offset])[0]).tolist() == frames


def test_no_events_and_events_outside():
    assert GRID.labels([], []).shape == (0, 32)
    assert not GRID.labels([11.0, 3.0], [12.0, 3.0]).any()


def test_valid_frames_of_a_short_recording():
    assert GRID.valid(10.0).all()
    assert GRID.valid(0.0).sum() == 0
    assert GRID.valid(0.4687).sum() == 1
    assert GRID.valid(0.46875).sum() == 2
    assert GRID.valid(99.0).all()


def test_segments_and_back():
    assert GRID.segments(np.zeros(32)) == []
    active = np.zeros(32, dtype=bool)
    active[[0, 1, 5, 31]] = True
    assert GRID.segments(active) == [(0.0, 0.625), (1.5625, 1.875), (9.6875, 10.0)]
    rng = np.random.default_rng(1)
    for _ in range(20):
        active = rng.random(32) < 0.5
        pairs = GRID.segments(active)
        back = GRID.labels([a for a, _ in pairs], [b for _, b in pairs]).any(axis=0)
        np.testing.assert_array_equal(back, active)
