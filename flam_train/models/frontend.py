"""From waveform to normalised log-mel.

Shape suffixes: B clips, S samples, N mel frames (1001 for 10 s, 1024 where they are stretched), F mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from flam_train.batch import SAMPLE_RATE, full_precision, to_float
from flam_train.distributed import sum_over_ranks
from flam_train.models.seeded import uniform
from flam_train.settings import setting, settle

MASK_STREAM = 1
"""The stream of a clip's seed that its frequency masks are drawn from."""


@dataclass(frozen=True)
class FrontendConfig:
    """FLAM's front end; every number is part of the trained model. Seconds, Hz, bins."""

    seconds: float = setting(10.0, "length of a clip", above=0, most=3600)
    sample_rate: int = setting(SAMPLE_RATE, "Hz; shards hold 48,000", least=1, most=10**6)
    n_fft: int = setting(1024, "samples of a window", least=2, most=2**20)
    hop: int = setting(480, "samples from one window to the next", least=1, most=2**20)
    mel_bins: int = setting(64, "bands of the spectrogram", least=1, most=1024)
    low_hz: float = setting(50.0, "where the lowest band begins", least=0, most=10**6)
    high_hz: float = setting(14_000.0, "where the highest band ends", above=0, most=10**6)
    mask_stripes: int = setting(2, "bands of bins that are masked in training", least=0, most=1024)
    mask_bins: int = setting(8, "how many bins each of them has at most", least=0, most=1024)

    def __post_init__(self) -> None:
        settle(self, "model.frontend")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"model.frontend.low_hz: {self.low_hz:g} must be below high_hz, {self.high_hz:g}")
        for name in ("mask_stripes", "mask_bins"):
            if getattr(self, name) > self.mel_bins:
                raise ValueError(
                    f"model.frontend.{name}: {getattr(self, name)} must be at most mel_bins, {self.mel_bins}"
                )
        if self.samples <= self.n_fft // 2:  # the first window is filled up with its mirror image
            raise ValueError(
                f"model.frontend.seconds: {self.seconds:g} are {self.samples} samples, which must be more than half of "
                f"n_fft, {self.n_fft}"
            )

    @property
    def samples(self) -> int:
        return round(self.seconds * self.sample_rate)


class LogMel(nn.Module):
    """waveform_BS (int16, or float in [-1, 1)) -> mel_BNF float32 in dB: 10 log10(max(power, 1e-10)), no top_db.

    torchaudio's MelSpectrogram in other words: power is re^2 + im^2 instead of the square of an absolute value, whose
    root costs a CPU more than the Fourier transform.
    """

    def __init__(self, config: FrontendConfig):
        super().__init__()
        with torch.device("cpu"):  # torchaudio looks at its numbers: a model built on `meta` has none
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate=config.sample_rate,
                n_fft=config.n_fft,
                hop_length=config.hop,
                f_min=config.low_hz,
                f_max=config.high_hz,
                n_mels=config.mel_bins,
                norm="slaney",
                mel_scale="slaney",
                power=2.0,
            )
        # Functions of the configuration, not of training: they stay out of checkpoints.
        for module in self.mel.modules():
            module._non_persistent_buffers_set.update(module._buffers)

    def forward(self, waveform_BS: Tensor) -> Tensor:
        with torch.autocast(waveform_BS.device.type, enabled=False):  # power spectra span more than bf16 resolves
            if waveform_BS.is_cpu and not torch.compiler.is_compiling():  # one clip at a time fits into the cache
                return torch.cat([self._decibels(one_1S) for one_1S in waveform_BS.split(1)])
            return self._decibels(waveform_BS)

    def _decibels(self, waveform_BS: Tensor) -> Tensor:
        window, n_fft, hop = self.mel.spectrogram.window, self.mel.n_fft, self.mel.hop_length
        spectrum_BFN = torch.stft(
            to_float(waveform_BS).to(window.dtype), n_fft, hop, window=window, pad_mode="reflect", return_complex=True
        )
        real_BNF, imaginary_BNF = torch.view_as_real(spectrum_BFN.mT).unbind(-1)
        power_BNF = real_BNF.square() + imaginary_BNF.square()
        return 10.0 * torch.log10((power_BNF @ self.mel.mel_scale.fb).clamp(min=1e-10))


def stretch(mel_BNF: Tensor, frames: int) -> Tensor:
    """[B, frames, F]: bicubic in time, ends on ends, as HTS-AT does it."""
    return F.interpolate(mel_BNF[:, None], size=(frames, mel_BNF.shape[2]), mode="bicubic", align_corners=True)[:, 0]


class MelNorm(nn.Module):
    """Batch normalisation of each mel bin (HTS-AT's bn0) over the *valid* clips of all ranks.

    The mel spectrogram has no parameters, so the statistics carry no gradient and one small sum over ranks before
    the encoder makes them those of the joined batch; torch's SyncBatchNorm has no CPU path and counts padding.
    Parameters and buffers are named as nn.BatchNorm2d's.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, bins: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(bins))
        self.bias = nn.Parameter(torch.zeros(bins))
        self.register_buffer("running_mean", torch.zeros(bins))
        self.register_buffer("running_var", torch.ones(bins))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @torch.no_grad()
    def statistics(self, mel_BNF: Tensor, valid_B: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(count, mean_F, var_F) in float64 over the valid clips of all ranks; var is the biased one."""
        weight_B = torch.ones(len(mel_BNF), device=mel_BNF.device) if valid_B is None else valid_B
        weight_B = weight_B.double() * mel_BNF.shape[1]
        # Each clip's moments in float32 are exact enough; the sums over clips and ranks are not.
        var_BF, mean_BF = torch.var_mean(full_precision(mel_BNF), dim=1, correction=0)
        var_BF, mean_BF = var_BF.double(), mean_BF.double()
        sums = sum_over_ranks(
            torch.cat([weight_B.sum()[None], weight_B @ mean_BF, weight_B @ (var_BF + mean_BF.square())])
        )
        count, (mean_F, square_F) = sums[0], (sums[1:] / sums[0].clamp(min=1)).chunk(2)
        return count, mean_F, (square_F - mean_F.square()).clamp(min=0)

    def forward(self, mel_BNF: Tensor, valid_B: Tensor | None = None, frames: int | None = None) -> Tensor:
        """frames: that they are stretched to, between taking the mean away and scale and bias. It is the same as
        stretching what comes out, for a stretch is linear and leaves constants as they are; but scale and bias learn,
        and their gradients need not go back through the stretch.
        """
        if self.training:
            count, mean_F, var_F = self.statistics(mel_BNF, valid_B)
            self._update(count, mean_F, var_F)
            mean_F, var_F = mean_F.to(self.running_mean), var_F.to(self.running_var)
        else:
            mean_F, var_F = self.running_mean, self.running_var
        scale_F = self.weight * torch.rsqrt(var_F + self.eps)
        centred_BNF = mel_BNF - mean_F
        if frames not in (None, mel_BNF.shape[1]):
            centred_BNF = stretch(centred_BNF, frames)
        return centred_BNF * scale_F + self.bias

    @torch.no_grad()
    def _update(self, count: Tensor, mean_F: Tensor, var_F: Tensor) -> None:
        unbiased_F = var_F * count / (count - 1).clamp(min=1)
        # Nothing changes where no clip is valid; asking the device whether that is so would wait for it.
        some = count > 0
        weight = (some * self.momentum).to(self.running_mean)
        self.running_mean.lerp_(mean_F.to(self.running_mean), weight)
        self.running_var.lerp_(unbiased_F.to(self.running_var), weight)
        self.num_batches_tracked += some


def mask_frequencies(mel_BNF: Tensor, seed_B: Tensor, stripes: int, bins: int) -> Tensor:
    """Sets `stripes` bands of up to `bins` mel bins to zero (the mean, after normalisation), drawn from each seed."""
    all_bins = mel_BNF.shape[2]
    draw_B2K = uniform(seed_B, MASK_STREAM, 2 * stripes).view(len(seed_B), 2, stripes)
    width_BK = (draw_B2K[:, 0] * (bins + 1)).long()
    first_BK = (draw_B2K[:, 1] * (all_bins - width_BK + 1)).long()
    bin_F = torch.arange(all_bins, device=mel_BNF.device)
    masked_BF = ((bin_F >= first_BK[:, :, None]) & (bin_F < (first_BK + width_BK)[:, :, None])).any(1)
    return mel_BNF.masked_fill(masked_BF[:, None, :], 0.0)


class Frontend(nn.Module):
    """waveform_BS -> normalised log-mel_BNF, masked in training, stretched to `frames` (None: as many as there are)."""

    def __init__(self, config: FrontendConfig, frames: int | None = None):
        super().__init__()
        self.config, self.frames = config, frames
        self.logmel = LogMel(config)
        self.bn0 = MelNorm(config.mel_bins)

    def forward(
        self, waveform_BS: Tensor | Sequence[Tensor], seed_B: Tensor | None = None, valid_B: Tensor | None = None
    ) -> Tensor:
        """waveform_BS: all clips, or several tensors of them whose spectra are in memory one at a time (bn0 needs all
        mel spectrograms, but they are small). seed_B: int64, the clip's frequency masks are drawn from it in training;
        none are made without it. valid_B: bool, clips that count in bn0's statistics.
        Raises ValueError for a clip of another length."""
        parts = [waveform_BS] if isinstance(waveform_BS, Tensor) else waveform_BS
        for part in parts:
            if part.ndim != 2 or part.shape[1] != self.config.samples:
                raise ValueError(
                    f"the encoder takes clips of {self.config.seconds} s ({self.config.samples} samples at "
                    f"{self.config.sample_rate} Hz) as [B, S], got {tuple(part.shape)}: pad with zeros or cut"
                )
        mel_BNF = self.bn0(torch.cat([self.logmel(part) for part in parts]), valid_B, self.frames)
        if self.training and seed_B is not None:
            mel_BNF = mask_frequencies(mel_BNF, seed_B, self.config.mask_stripes, self.config.mask_bins)
        return mel_BNF
