"""Draws applied to waveforms, on whatever device they are.

Row by row: what becomes of a clip does not depend on which others are in its batch, to the last bit.

Shape suffixes: B clips, S samples, P added sounds, F frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flam_train.batch import INT16_SCALE, SAMPLE_RATE, Augment

ORDER = 4
"""Of the band limits' Butterworth magnitudes: 24 dB an octave."""


@torch.no_grad()
def augmented(augment: Augment, waveform_BS: Tensor) -> Tensor:
    """waveform_BS (int16) rolled, with its added sounds, band-limited and made louder: float32 in units of full scale,
    which loud ones may pass.

    An added sound's level is relative to the clip's (both RMS, without padding; of a silent clip it is relative to the
    sound's own).
    """
    out_BS = torch.empty(waveform_BS.shape, dtype=torch.float32, device=waveform_BS.device)
    sounds = iter(augment.added_PS)
    for row, draws in enumerate(augment.draws):
        clip_S = waveform_BS[row].roll(draws.shift).to(torch.float32)
        for added, sound_S in zip(draws.added, sounds, strict=False):
            power, own = mean_square(waveform_BS[row], draws.samples), mean_square(sound_S, added.samples)
            ratio = torch.where((power > 0) & (own > 0), power / own, 1.0)
            scale = (10 ** (added.level_db / 20) * ratio.sqrt()).to(torch.float32)
            clip_S += scale * sound_S.roll(added.shift)
        if draws.band is not None:
            clip_S = band_limited(clip_S, *draws.band)
        out_BS[row] = clip_S * (10 ** (draws.gain_db / 20) / INT16_SCALE)
    return out_BS


def mean_square(waveform_S: Tensor, samples: int) -> Tensor:
    """Of the first samples of an int16 waveform: float64, exact in any order (whole numbers, their sum below 2^53)."""
    sounding_S = waveform_S[:samples].to(torch.float64)
    return sounding_S.dot(sounding_S) / max(1, samples)


def band_limited(waveform_S: Tensor, low_hz: float, high_hz: float) -> Tensor:
    """float32, 3 dB lower at both bounds, by multiplication of the spectrum: nothing moves in time."""
    spectrum_F = torch.fft.rfft(waveform_S)
    frequency_F = torch.fft.rfftfreq(len(waveform_S), 1 / SAMPLE_RATE, device=waveform_S.device)
    loss_F = (1 + (low_hz / frequency_F) ** (2 * ORDER)) * (1 + (frequency_F / high_hz) ** (2 * ORDER))
    return torch.fft.irfft(spectrum_F * loss_F.rsqrt(), len(waveform_S))
