"""Frame embeddings of a recording in a file: another phrase or threshold needs no encoder.

The file is a .npy of float16 [T, D], which NumPy opens, with a description behind the array: JSON, its length, a mark.
Shape suffixes: T frames, D embedding width.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Generator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from flam_train.detection.scoring import Frames, Time
from flam_train.disk import naming
from flam_train.models.flam import FLAM

KEPT = ".frames.npy"
"""The ending of such a file."""

FORMAT = 2
"""Of the description: one more where an older flam_train would read it wrongly, or frames mean something else."""

BLOCK = 4096
"""Frames that are read at once."""

_MARK = b"FLAMKEPT"


class Keeping:
    """The frames of a recording, written to a file as they pass: block after block, when iterated, once.

    They come out as they are kept, rounded to float16, so that what is found in them is found in the file, too. The
    file is there when the last has passed, whole or not at all, and no more than a block is in memory.
    """

    def __init__(self, frames: Frames, path: Path, bound: Mapping[str, Any]) -> None:
        """bound: plain data that tells what the frames depend on, `read_kept` asks for the same."""
        self.model = frames.model
        self.time: Time | None = None
        self._frames, self._path, self._bound = frames, path, bound

    def __iter__(self) -> Generator[Tensor, None, None]:
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(draft, "wb") as file:
                count, width = 0, 0
                for frame_TD in self._frames:
                    half_TD = frame_TD.to(torch.float16)
                    with naming(path, draft):
                        if not count:
                            width = half_TD.shape[1]
                            _write_header(file, 0, width)
                        file.write(half_TD.cpu().numpy().astype("<f2", copy=False).tobytes())
                    count += len(half_TD)
                    yield half_TD.to(frame_TD.dtype)
                time = self._frames.time
                assert time is not None
                assert time.frames <= count
                with naming(path, draft):
                    self._finish(file, time, width)
                    os.replace(draft, path)
            self.time = time
        finally:
            draft.unlink(missing_ok=True)

    def _finish(self, file: BinaryIO, time: Time, width: int) -> None:
        file.seek(0)
        _write_header(file, time.frames, width)
        file.seek(2 * time.frames * width, os.SEEK_CUR)
        file.truncate()  # what follows is padding
        about = {"format": FORMAT, "bound": dict(self._bound), "time": asdict(time)}
        text = json.dumps(about, allow_nan=False).encode()
        file.write(text + struct.pack("<Q", len(text)) + _MARK)
        file.flush()
        os.fsync(file.fileno())


class Kept:
    """The frames of a recording as they were kept: float32 blocks on the model's device, when iterated.

    frame_TD: float16, memory-mapped
    """

    def __init__(self, model: FLAM, frame_TD: np.ndarray, time: Time) -> None:
        self.model, self.frame_TD = model, frame_TD
        self.time: Time | None = time

    def __iter__(self) -> Generator[Tensor, None, None]:
        for first in range(0, len(self.frame_TD), BLOCK):
            block_TD = np.asarray(self.frame_TD[first : first + BLOCK], np.float32)
            yield torch.from_numpy(block_TD).to(self.model.device)


def read_kept(path: Path, model: FLAM, bound: Mapping[str, Any]) -> Kept | None:
    """What `Keeping` wrote for the same `bound`. None where there is no such file, it is of other settings, or it is
    not whole: then it is made again."""
    about, frame_TD = kept_frames(path) or (None, np.zeros(0))
    if about is None or about["bound"] != json.loads(json.dumps(bound)):
        return None
    time = about["time"] | {"dead": tuple((a, b) for a, b in about["time"]["dead"])}
    return Kept(model, frame_TD, Time(**time))


def kept_frames(path: Path) -> tuple[dict[str, Any], np.ndarray] | None:
    """(description: format, bound, time; float16 [T, D], memory-mapped) of a file; None as in `read_kept`."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(16, size), os.SEEK_END)
        tail = file.read()
        length = int.from_bytes(tail[:8], "little")
        if tail[8:] != _MARK or length > size - 16:
            return None
        file.seek(-16 - length, os.SEEK_END)
        text = file.read(length)
    try:
        about, frame_TD = json.loads(text), np.load(path, mmap_mode="r")
    except ValueError:  # damaged
        return None
    return (about, frame_TD) if about.get("format") == FORMAT else None


def _write_header(file: BinaryIO, frames: int, width: int) -> None:
    """As long for any number of frames: NumPy leaves room for more of them."""
    about = {"shape": (frames, width), "fortran_order": False, "descr": "<f2"}
    np.lib.format.write_array_header_1_0(file, about)
