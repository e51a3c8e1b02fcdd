"""A recording of any length -> one embedding a frame: overlapping windows, cross-faded.

Shape suffixes: S samples, W windows, T frames, D embedding width.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flam_train.batch import full_precision
from flam_train.models.flam import FLAM
from flam_train.settings import one_of

Item = TypeVar("Item")

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}

END = StopIteration()
"""What a thread that reads ahead says last."""

AHEAD = 2
"""Batches of windows that are read while another is embedded."""


@dataclass(frozen=True)
class Windows:
    """Where the model listens: windows of its length that begin every `hop` frames of the recording's time, from its
    beginning on, whatever part of it is read.

    frames   of a window
    samples  of a window
    hop      frames from one to the next; a frame lies in `frames / hop` of them
    """

    frames: int
    samples: int
    hop: int

    @classmethod
    def of(cls, model: FLAM) -> Windows:
        return cls(model.grid.frames, model.config.frontend.samples, model.grid.frames // 2)

    @property
    def frame_samples(self) -> float:
        return self.samples / self.frames

    def start(self, number: int) -> int:
        """The first sample of a window."""
        return round(number * self.hop * self.frame_samples)

    def count(self, samples: int) -> int:
        """How many there are until the last reaches the end of so many samples."""
        return 1 + max(0, -(-(samples - self.samples) // round(self.hop * self.frame_samples)))

    def cut(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """int16 [S] of one window after the other. What is behind the recording's end is zero."""
        kept, begin, number, at = [np.zeros(0, np.int16)], 0, 0, 0
        for piece_S in pieces:
            kept.append(piece_S)
            at += len(piece_S)
            if self.start(number) + self.samples > at:
                continue
            joined_S = np.concatenate(kept)
            while (first := self.start(number)) + self.samples <= at:
                yield joined_S[first - begin : first - begin + self.samples]
                number += 1
            begin, kept = first, [joined_S[first - begin :].copy()]  # windows overlap: the next begins in what is read
        if number < self.count(at):
            last_S = np.zeros(self.samples, np.int16)
            rest_S = np.concatenate(kept)
            last_S[: len(rest_S)] = rest_S[: self.samples]
            yield last_S


def embed(
    model: FLAM, pieces: Iterable[np.ndarray], batch_size: int = 8, precision: str = "32", early: int = AHEAD
) -> Generator[Tensor, None, None]:
    """frame_TD of a recording, block after block: unit vectors, float32, on the model's device.

    pieces      int16 [S] at 48 kHz: together the recording, or a part of it that begins where a window does. Their
                errors are raised here
    batch_size  windows that are embedded at once; halved where memory is short
    precision   one of PRECISIONS, that of the encoder
    early       batches that a thread of its own reads early; 0: no thread, each is read when it is needed
    Where several windows see a frame, its vector is their mean, weighted by how far the frame lies from their edges, as
    unit vector: it does not jump where another window begins.
    """
    windows = Windows.of(model)
    joined = CrossFade(windows)
    read = _batches(windows.cut(pieces), batch_size)
    with ahead(read, early) if early else nullcontext(read) as batches:
        for window_WTD in _embedded(model, batches, batch_size, precision):
            yield joined.add(window_WTD)
    yield joined.rest()


class CrossFade:
    """Frames of overlapping windows, added up one batch after the other."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._tail_TD: Tensor | None = None
        # A frame that only one window sees is that window's, whatever its weight: vectors have length 1 in the end.
        edge_T = torch.arange(windows.frames) + 0.5
        self._weight_T1 = torch.minimum(edge_T, windows.frames - edge_T)[:, None]

    def add(self, window_WTD: Tensor) -> Tensor:
        """The next windows; returns the frames [T, D] that none of the coming ones sees."""
        W, T, D = window_WTD.shape
        hop = self._windows.hop
        sum_TD = window_WTD.new_zeros((W - 1) * hop + T, D)
        if self._tail_TD is not None:
            sum_TD[: len(self._tail_TD)] = self._tail_TD
        for number, weighted_TD in enumerate(window_WTD * self._weight_T1.to(window_WTD.device)):
            sum_TD[number * hop : number * hop + T] += weighted_TD
        self._tail_TD = sum_TD[W * hop :]
        return F.normalize(sum_TD[: W * hop], dim=-1)

    def rest(self) -> Tensor:
        """The frames [T, D] of the last window that are not given yet."""
        if self._tail_TD is None:
            raise ValueError("there is no window")
        return F.normalize(self._tail_TD, dim=-1)


def _embedded(model: FLAM, batches: Iterable[Tensor], size: int, precision: str) -> Iterator[Tensor]:
    """frame_WTD of batches of windows."""
    device = model.device
    dtype = PRECISIONS[one_of("precision", precision, PRECISIONS)]
    for waveform_WS in batches:
        done = 0
        while done < len(waveform_WS):
            part_WS = waveform_WS[done : done + size].to(device, non_blocking=True)
            try:
                with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
                    frame_WTD = full_precision(model.embed_audio(part_WS).frame_BTD)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                continue
            done += len(part_WS)
            yield frame_WTD


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


@contextmanager
def ahead(items: Generator[Item, None, None], count: int = AHEAD) -> Iterator[Iterator[Item]]:
    """The same items, of which a thread makes the next `count` early. It ends with this context, and closes `items`;
    what is raised there is raised here, in its place."""
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(*what: Any) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put(what, timeout=0.1)
                return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item, None):
                    break
            else:
                put(None, END)
        except BaseException as error:
            put(None, error)
        finally:
            items.close()

    def taken() -> Iterator[Item]:
        while True:
            item, error = made.get()
            if error is END:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=make, name="reads ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()
