"""A recording, or a part of it -> one embedding a frame -> how far each frame matches each phrase.

Shape suffixes: C phrases, T frames, D embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE, TextEmbeddings
from flam_train.data.sound.channels import Channel
from flam_train.data.sound.streaming import Blocks, Stream
from flam_train.detection.embedding import AHEAD, Windows, embed
from flam_train.models.flam import FLAM
from flam_train.models.methods import METHODS
from flam_train.settings import one_of

Span = tuple[float, float]

PIECE = 1 << 14
"""Frames: an hour and a half."""

AT_ONCE = 1 << 11
"""Frames whose scores are worked out together: ten minutes."""

LEAST_SHARE = 0.5
"""Of a frame that must sound: as much as an event must cover of it to count (`FrameGrid.labels`)."""


@dataclass(frozen=True)
class Time:
    """Frames of a recording, or of a part of it.

    first          number of the first of them: frame t begins `(first + t) * frame_seconds` s into the recording
    frames         how many
    frame_seconds  s
    start, stop    where the part begins and ends: s into the recording
    dead           spans in s in which nothing sounds (`data.sound.streaming.DeadTime`)
    """

    first: int
    frames: int
    frame_seconds: float
    start: float
    stop: float
    dead: tuple[Span, ...] = ()

    def edges(self) -> np.ndarray:
        """Where frames begin and end: float64 [T + 1], s into the recording, cut at the part's ends. What less than
        half a frame is left behind the last one at a recording's end belongs to it."""
        edges = (self.first + np.arange(self.frames + 1)) * self.frame_seconds
        edges = np.clip(edges, self.start, self.stop)
        edges[-1] = self.stop
        return edges

    def heard(self) -> np.ndarray:
        """bool [T]: frames of which at least half sounds, of what the part has of them."""
        edges = self.edges()
        silent_T = np.zeros(self.frames)
        for first, stop in self.dead:
            a = max(int(first / self.frame_seconds) - self.first, 0)
            b = min(math.ceil(stop / self.frame_seconds) - self.first, self.frames)
            inside = np.minimum(stop, edges[a + 1 : b + 1]) - np.maximum(first, edges[a:b])
            silent_T[a:b] += np.maximum(inside, 0.0)
        return silent_T <= (1 - LEAST_SHARE) * np.diff(edges)


class Listening:
    """A recording on its way through the encoder: frame_TD, block after block, when iterated.

    time: after that. What there is behind `time.frames` is padding.
    tap: is called, by the thread that reads, with every piece that is read: int16 [S] at 48 kHz, from `stream.start` on
    """

    def __init__(
        self,
        model: FLAM,
        source: Path | str | Blocks,
        start: float = 0.0,
        stop: float | None = None,
        channel: Channel = "mean",
        batch_size: int = 8,
        precision: str = "32",
        early: int = AHEAD,
    ) -> None:
        """Of the seconds from `start` to `stop` (None: the end); every window that sees one of their frames is read, so
        that they are those of the whole. Others as in `Stream` and `embed`."""
        if start < 0 or (stop is not None and stop <= start):
            to = "the end" if stop is None else f"{stop:g} s"
            raise ValueError(
                f"from {start:g} s to {to}: give a part within the recording, that ends behind its beginning"
            )
        self.model, self.start, self.stop = model, start, stop
        self.batch_size, self.precision, self.early = batch_size, precision, early
        windows, seconds = Windows.of(model), model.grid.frame_seconds
        self._first = int(start / seconds)
        seen = windows.of_frames(self._first, self._first + 1 if stop is None else math.ceil(stop / seconds))
        self._number = seen[0]
        self._skip = self._first - windows.hop * self._number // 2
        begin, length = windows.start(seen[0]), None
        if stop is not None:
            length = (windows.start(seen[-1]) + windows.samples - begin) / SAMPLE_RATE
        self.stream = Stream(source, begin / SAMPLE_RATE, length, channel)
        self.tap: Callable[[np.ndarray], None] | None = None
        self.time: Time | None = None

    def __iter__(self) -> Generator[Tensor, None, None]:
        seconds, first, skip = self.model.grid.frame_seconds, self._first, self._skip
        pieces = self.stream if self.tap is None else _tapped(self.stream, self.tap)
        embedded = embed(self.model, pieces, self.batch_size, self.precision, self.early, self._number)
        with closing(embedded) as frames:
            for frame_TD in frames:
                here_TD = frame_TD[skip:]
                skip = max(skip - len(frame_TD), 0)
                if len(here_TD):
                    yield here_TD
        end = self.stream.start + self.stream.samples / SAMPLE_RATE
        stop = end if self.stop is None else min(end, self.stop)
        if stop <= self.start:
            where = f"{self.stream.source}: ends at {end:.2f} s, before {self.start:g} s"
            raise ValueError(f"{where}: give an earlier part")
        last = (stop if stop == end else math.ceil(stop / seconds) * seconds) / seconds
        dead = [(max(a, self.start), min(b, stop)) for a, b in self.stream.dead if a < stop and b > self.start]
        self.time = Time(first, max(1, round(last) - first), seconds, self.start, stop, tuple(dead))


def _tapped(pieces: Iterable[np.ndarray], tap: Callable[[np.ndarray], None]) -> Iterator[np.ndarray]:
    for piece_S in pieces:
        tap(piece_S)
        yield piece_S


class Frames(Protocol):
    """The embeddings of a recording, frame_TD, block after block: from the encoder (`Listening`) or as they were kept
    (`kept.Kept`). time: of the frames, after the last block."""

    model: FLAM

    @property
    def time(self) -> Time | None: ...

    def __iter__(self) -> Generator[Tensor, None, None]: ...


@dataclass(frozen=True)
class Scores:
    """score_CT: float32 in [0, 1], how far frame t matches phrase c; 0 where nothing sounds."""

    phrases: tuple[str, ...]
    score_CT: np.ndarray
    time: Time


def score(
    listening: Frames, phrases: Sequence[str], text: TextEmbeddings | None = None, method: str | None = None
) -> Scores:
    """Listens to all of a recording for phrases. text: of the phrases, if it is known already; method: as in
    `FLAM.localize`."""
    model = listening.model
    one_of("localisation method", method or model.default_method, METHODS)
    with torch.inference_mode(), closing(iter(listening)) as frames:
        text = model.embed_text(list(phrases)) if text is None else text
        many = _gathered(frames)
        score_CT = _joined(model.localize(frame_TD[None], text, method)[0].cpu().numpy() for frame_TD in many)
    time = listening.time
    assert time is not None
    score_CT = score_CT[:, : time.frames]
    return Scores(tuple(phrases), silenced(score_CT, time), time)


def _gathered(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """frame_TD of AT_ONCE frames or a few more: a call for each window would wait for Python's lock, which the threads
    of the encoder hold most of the time."""
    gathered: list[Tensor] = []
    for block_TD in blocks:
        gathered.append(block_TD)
        if sum(map(len, gathered)) >= AT_ONCE:
            yield torch.cat(gathered)
            gathered = []
    if gathered:
        yield torch.cat(gathered)


def _joined(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """[C, T] of blocks of its columns. They are copied into few large pieces: many small ones that stay, between the
    large ones that come and go, would leave memory in splinters, 30 MB an hour."""
    pieces: list[np.ndarray] = []
    filled = PIECE
    for block_CT in blocks:
        while block_CT.shape[1]:
            if filled == PIECE:
                pieces.append(np.empty((len(block_CT), PIECE), block_CT.dtype))
                filled = 0
            part_CT = block_CT[:, : PIECE - filled]
            pieces[-1][:, filled : filled + part_CT.shape[1]] = part_CT
            filled += part_CT.shape[1]
            block_CT = block_CT[:, part_CT.shape[1] :]
    pieces[-1] = pieces[-1][:, :filled]
    return np.concatenate(pieces, axis=1)


def silenced(score_CT: np.ndarray, time: Time) -> np.ndarray:
    """float32: 0 where nothing sounds."""
    return np.where(time.heard(), score_CT, np.float32(0))
