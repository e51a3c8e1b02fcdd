"""Use a trained model: load an export, embed, localise phrases in recordings of any length.

Shape suffixes: S samples, C phrases, T frames, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import load_export
from flam_train.data.sound.channels import Channel
from flam_train.data.sound.reading import read
from flam_train.frames import FrameGrid
from flam_train.models.flam import FLAM

__all__ = ["Detection", "detect", "load_model", "read_recording", "score_recording"]

load_model = load_export


@dataclass(frozen=True)
class Detection:
    """A phrase found between two times (seconds); score: the mean over its frames, in [0, 1]."""

    onset: float
    offset: float
    phrase: str
    score: float


@torch.inference_mode()
def score_recording(
    model: FLAM, waveform_S: Tensor, phrases: list[str], method: str | None = None, batch_size: int = 8
) -> Tensor:
    """score_CT of a 48 kHz mono recording of any length (int16, or float in [-1, 1]), T frames of `model.grid`.

    method: as in `FLAM.localize`.
    The recording is read in windows of the grid's length, half overlapping; of each frame the window counts in which
    it lies farther from the edges, since a window's first and last frames see less around them.
    Raises ValueError for an empty recording.
    """
    grid, window = model.grid, model.config.frontend.samples
    if waveform_S.ndim != 1 or len(waveform_S) == 0:
        raise ValueError(f"a recording is one row of samples, got shape {tuple(waveform_S.shape)}")
    frames = max(1, round(len(waveform_S) / SAMPLE_RATE / grid.frame_seconds))
    hop = window // 2
    starts = list(range(0, max(1, len(waveform_S) - window + hop), hop))
    text = model.embed_text(phrases)
    score_CT = torch.zeros(len(phrases), grid.frames // 2 * (len(starts) + 1))
    half, quarter = grid.frames // 2, grid.frames // 4
    for first in range(0, len(starts), batch_size):
        chosen = starts[first : first + batch_size]
        waveform_WS = waveform_S.new_zeros((len(chosen), window))
        for row, start in enumerate(chosen):
            piece = waveform_S[start : start + window]
            waveform_WS[row, : len(piece)] = piece
        frame_WTD = model.embed_audio(waveform_WS.to(model.device)).frame_BTD
        for row, score in enumerate(model.localize(frame_WTD, text, method).cpu()):
            number = first + row
            left = 0 if number == 0 else quarter
            score_CT[:, number * half + left : number * half + grid.frames] = score[:, left:]
    return score_CT[:, :frames]


def detect(
    model: FLAM, waveform_S: Tensor, phrases: list[str], threshold: float = 0.5, method: str | None = None
) -> list[Detection]:
    """Runs of frames whose score is above `threshold`, ordered by onset. See `score_recording`."""
    score_CT = score_recording(model, waveform_S, phrases, method)
    frames = score_CT.shape[1]
    grid = FrameGrid(frames, frames * model.grid.frame_seconds)
    duration = len(waveform_S) / SAMPLE_RATE
    found = []
    for phrase, score_T in zip(phrases, score_CT, strict=True):
        for onset, offset in grid.segments(score_T > threshold):
            inside_T = torch.from_numpy(grid.labels(onset, offset)[0])
            found.append(Detection(onset, min(offset, duration), phrase, float(score_T[inside_T].mean())))
    return sorted(found, key=lambda d: (d.onset, d.phrase))


def read_recording(path: str | Path, channel: Channel = "mean") -> Tensor:
    """A sound file of any format, rate and channels as int16 [S], 48 kHz mono.

    channel  "mean" of all channels, "first", "loudest", or a number from 1
    Raises ValueError that names the file and the fix.
    """
    return torch.from_numpy(read(path, channel=channel))
