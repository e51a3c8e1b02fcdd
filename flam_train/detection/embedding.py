"""A recording of any length -> one embedding a frame: overlapping windows, cross-faded.

Shape suffixes: S samples, W windows, T frames, H half frames, D embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.batch import full_precision
from flam_train.detection.threads import ahead, in_parallel, threads_for
from flam_train.models.flam import FLAM
from flam_train.settings import one_of

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}

AHEAD = 2
"""Batches of windows that are read while another is embedded."""


@dataclass(frozen=True)
class Windows:
    """Where the model listens: windows of its length that begin every `hop` half frames of the recording's time, from
    its beginning on, whatever part of it is read.

    frames   of a window
    samples  of a window
    hop      half frames from one to the next, an odd number: every other window begins in the middle of a frame

    What a frame says of a sound depends on where in the frame it begins. Where two windows hear it, half a frame apart,
    that evens out, and less changes where a recording is cut elsewhere.
    """

    frames: int
    samples: int
    hop: int

    @classmethod
    def of(cls, model: FLAM) -> Windows:
        """Half a window apart, and half a frame where a window has an even number of frames: nearly every frame lies
        in two."""
        return cls(model.grid.frames, model.config.frontend.samples, model.grid.frames // 2 * 2 + 1)

    @property
    def frame_samples(self) -> float:
        return self.samples / self.frames

    @property
    def hop_samples(self) -> float:
        return self.hop * self.frame_samples / 2

    def start(self, number: int) -> int:
        """The first sample of a window."""
        return math.floor(number * self.hop_samples + 0.5)

    def count(self, samples: int) -> int:
        """How many there are until the last reaches the end of so many samples."""
        return 1 + max(0, math.ceil((samples - self.samples - 0.5) / self.hop_samples))

    def of_frames(self, first: int, behind: int) -> range:
        """Numbers of the windows that see any of the frames from `first` to the one before `behind`."""
        earliest = max(0, 2 * (first - self.frames) // self.hop + 1)
        return range(earliest, max(earliest, (2 * behind - 1) // self.hop) + 1)

    def cut(self, pieces: Iterable[np.ndarray], first: int = 0) -> Iterator[np.ndarray]:
        """int16 [S] of one window after the other, from number `first` on, at least one. What is behind the recording's
        end is zero. pieces: from the first sample of that window on."""
        kept, begin, number, at = [np.zeros(0, np.int16)], self.start(first), first, self.start(first)
        for piece_S in pieces:
            kept.append(piece_S)
            at += len(piece_S)
            if self.start(number) + self.samples > at:
                continue
            joined_S = np.concatenate(kept)
            while (here := self.start(number)) + self.samples <= at:
                yield joined_S[here - begin : here - begin + self.samples]
                number += 1
            begin, kept = here, [joined_S[here - begin :].copy()]  # windows overlap: the next begins in what is read
        if number < max(self.count(at), first + 1):
            last_S = np.zeros(self.samples, np.int16)
            rest_S = np.concatenate(kept)
            last_S[: len(rest_S)] = rest_S[: self.samples]
            yield last_S


def embed(
    model: FLAM,
    pieces: Iterable[np.ndarray],
    batch_size: int = 8,
    precision: str = "32",
    early: int = AHEAD,
    first: int = 0,
) -> Generator[Tensor, None, None]:
    """frame_TD of a recording, block after block: unit vectors, float32, on the model's device.

    pieces      int16 [S] at 48 kHz: together the recording, or a part of it that begins where a window does. Their
                errors are raised here
    batch_size  windows that are embedded at once; halved where memory is short. On the CPU threads share them: that is
                faster than all cores at one small operation after the other, and leaves none idle while one reads
    precision   one of PRECISIONS, that of the encoder
    early       batches that a thread of its own reads early; 0: no threads, each is read when it is needed
    first       number of the window that `pieces` begin with. The first frame is the one in which it begins, be it in
                its middle: then that frame lacks what earlier windows say
    Where several windows see a frame, its vector is their mean, weighted by how far the frame lies from their edges, as
    unit vector: it does not jump where another window begins. A window that begins in the middle of a frame sees each
    frame with two of its own, half of each.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} must be at least 1")
    windows = Windows.of(model)
    joined = CrossFade(windows, first)
    threads = threads_for(model.device, batch_size) if early else 1
    size = batch_size // threads
    encoder = _Encoder(model, size, precision)
    read = _batches(windows.cut(pieces, first), size)
    with (
        ahead(read, threads * early) if early else nullcontext(read) as batches,
        closing(in_parallel(encoder, batches, threads)) as embedded,
    ):
        for window_WTD in embedded:
            yield joined.add(window_WTD)
    yield joined.rest()


class CrossFade:
    """Frames of overlapping windows, added up one batch after the other: on half frames, where all windows begin, of
    which two in a row are a frame of the recording."""

    def __init__(self, windows: Windows, first: int = 0) -> None:
        """first: number of the first window. Frames begin with the one in which it begins."""
        self._windows = windows
        # From the first frame on that is not given yet: of half frames what has been added up, and where the next
        # window begins, 0 or 1.
        self._tail_HD: Tensor | None = None
        self._next = windows.hop * first % 2
        # Where only one window is seen, its weight does not matter: vectors have length 1 in the end.
        edge_H = torch.arange(2 * windows.frames) + 0.5
        self._weight_H1 = torch.minimum(edge_H, 2 * windows.frames - edge_H)[:, None]

    def add(self, window_WTD: Tensor) -> Tensor:
        """The next windows; returns the frames [T, D] that none of the coming ones sees."""
        W, T, D = window_WTD.shape
        hop, at = self._windows.hop, self._next
        sum_HD = window_WTD.new_zeros(at + (W - 1) * hop + 2 * T, D)
        if self._tail_HD is not None:
            sum_HD[: len(self._tail_HD)] = self._tail_HD
        weight_H1 = self._weight_H1.to(window_WTD.device)
        for half_HD in window_WTD.repeat_interleave(2, dim=1):
            sum_HD[at : at + 2 * T] += weight_H1 * half_HD
            at += hop
        done = at // 2 * 2
        self._tail_HD, self._next = sum_HD[done:], at - done
        return _paired(sum_HD[:done])

    def rest(self) -> Tensor:
        """The frames [T, D] of the last window that are not given yet; of the last of them it may see half."""
        if self._tail_HD is None:
            raise ValueError("there is no window")
        return _paired(F.pad(self._tail_HD, (0, 0, 0, len(self._tail_HD) % 2)))


def _paired(sum_HD: Tensor) -> Tensor:
    """frame_TD: unit vectors."""
    return F.normalize(sum_HD[::2] + sum_HD[1::2], dim=-1)


class _Encoder:
    """frame_WTD of waveform_WS; where memory is short, of fewer at once, from then on."""

    def __init__(self, model: FLAM, size: int, precision: str) -> None:
        self._model, self._size = model, size
        self._dtype = PRECISIONS[one_of("precision", precision, PRECISIONS)]

    def __call__(self, waveform_WS: Tensor) -> Tensor:
        found: list[Tensor] = []
        done = 0
        while done < len(waveform_WS):
            part_WS = waveform_WS[done : done + self._size]
            try:
                found.append(self._frames(part_WS))
            except RuntimeError as error:  # torch.OutOfMemoryError is one, and mps has none of its own
                if self._size == 1 or "out of memory" not in str(error):
                    raise
                self._size //= 2
                continue
            done += len(part_WS)
        return torch.cat(found)

    def _frames(self, waveform_WS: Tensor) -> Tensor:
        device = self._model.device
        with torch.inference_mode(), torch.autocast(device.type, self._dtype, enabled=self._dtype is not None):
            return full_precision(self._model.embed_audio(waveform_WS.to(device, non_blocking=True)).frame_BTD)


def _batches(windows: Iterable[np.ndarray], size: int) -> Generator[Tensor, None, None]:
    """waveform_WS int16."""
    batch: list[np.ndarray] = []
    for window_S in windows:
        batch.append(window_S)
        if len(batch) == size:
            yield torch.from_numpy(np.stack(batch))
            batch = []
    if batch:
        yield torch.from_numpy(np.stack(batch))
