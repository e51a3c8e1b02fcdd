"""From waveform to normalised log-mel beside torch's and torchaudio's own; what is drawn from a clip's seed."""

from __future__ import annotations

import pytest
import torch
import torchaudio

from flam_train.batch import to_float
from flam_train.models.flam import FLAM
from flam_train.models.frontend import Frontend, FrontendConfig, LogMel, MelNorm, mask_frequencies, stretch
from flam_train.models.htsat import fold
from flam_train.models.seeded import uniform


def torchaudios(config: FrontendConfig, waveform_BS: torch.Tensor) -> torch.Tensor:
    """float64, mel_BNF in dB."""
    mel = torchaudio.transforms.MelSpectrogram(
        config.sample_rate, config.n_fft, hop_length=config.hop, f_min=config.low_hz, f_max=config.high_hz,
        n_mels=config.mel_bins, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    return 10 * torch.log10(mel.double()(to_float(waveform_BS).double()).clamp(min=1e-10)).mT


@pytest.mark.parametrize("shape", [{}, {"seconds": 2.0, "n_fft": 512, "hop": 160, "mel_bins": 32, "low_hz": 0.0}])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_log_mel_beside_torchaudios(shape, dtype):
    config = FrontendConfig(**shape)
    r = torch.Generator().manual_seed(3)
    loud_B1 = torch.tensor([[3000.0], [1.0], [0.0]])  # the last one is silence: the floor of -100 dB
    waveform_BS = (torch.randn(3, config.samples, generator=r) * loud_B1).to(torch.int16)
    got = LogMel(config)(waveform_BS if dtype == torch.int16 else to_float(waveform_BS))
    assert got.dtype == torch.float32
    assert got.shape == (3, config.samples // config.hop + 1, config.mel_bins)
    assert got[2].unique().tolist() == [-100]
    assert (got.double() - torchaudios(config, waveform_BS)).abs().max() < 1e-4


def test_log_mels_gradient_is_torchaudios():
    """Of a waveform that is learnt: gain, or an attack on the model."""
    config = FrontendConfig(seconds=0.5)
    r = torch.Generator().manual_seed(4)
    waveform_BS = 0.1 * torch.randn(2, config.samples, generator=r)
    wanted_BNF = torch.randn(2, config.samples // config.hop + 1, config.mel_bins, generator=r)
    mine, theirs = (waveform_BS.clone().requires_grad_() for _ in range(2))
    (LogMel(config)(mine) * wanted_BNF).sum().backward()
    (torchaudios(config, theirs) * wanted_BNF).sum().backward()
    assert torch.allclose(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4 * float(theirs.grad.abs().max()))


def test_a_clips_log_mel_is_its_own():
    """Bit for bit, whichever clips stand beside it."""
    waveform_BS = torch.randint(-3000, 3000, (4, 48_000), dtype=torch.int16, generator=torch.Generator().manual_seed(5))
    logmel = LogMel(FrontendConfig(seconds=1.0))
    assert torch.equal(logmel(waveform_BS)[2:3], logmel(waveform_BS[2:3]))


def test_bn0_beside_torchs():
    norm, twin = MelNorm(6), torch.nn.BatchNorm2d(6)
    with torch.no_grad():
        for x in (norm, twin):
            x.weight.copy_(torch.rand(6, generator=torch.Generator().manual_seed(1)))
            x.bias.copy_(torch.rand(6, generator=torch.Generator().manual_seed(2)))
    for _ in range(3):
        mel_BNF = 20 * torch.randn(5, 40, 6) - 60
        want = twin(mel_BNF.permute(0, 2, 1)[..., None])[..., 0].permute(0, 2, 1)
        assert torch.allclose(norm(mel_BNF), want, atol=1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(norm, name), getattr(twin, name), rtol=1e-5), name
    mel_BNF = torch.randn(2, 40, 6)
    norm.eval(), twin.eval()
    assert torch.allclose(norm(mel_BNF), twin(mel_BNF.permute(0, 2, 1)[..., None])[..., 0].permute(0, 2, 1), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_bn0_before_the_stretch_beside_the_stretch_before_bn0(training):
    """Values, gradients of scale, bias and input, and statistics, in float64."""
    r = torch.Generator().manual_seed(6)
    mel_BNF = (20 * torch.randn(3, 41, 8, generator=r) - 60).double()
    wanted_BNF = torch.randn(3, 64, 8, generator=r).double()
    found = []
    for stretched in (True, False):
        norm = MelNorm(8).double().train(training)
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 8))
            norm.bias.copy_(torch.linspace(-1, 1, 8))
        x = mel_BNF.clone().requires_grad_()
        out = norm(x, frames=64) if stretched else stretch(norm(x), 64)
        (out * wanted_BNF).sum().backward()
        found.append([out.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_the_front_end_stretches_for_its_encoder(small_config):
    torch.manual_seed(0)
    model = FLAM(small_config).train()
    waveform_BS = (1000 * torch.randn(2, 480_000)).to(torch.int16)
    seed_B = torch.tensor([3, 4])
    plain = Frontend(small_config.frontend)
    plain.load_state_dict(model.frontend.state_dict())
    mel_BNF = model.frontend(waveform_BS, seed_B)
    assert mel_BNF.shape == (2, 1024, 64)
    assert plain(waveform_BS, seed_B).shape == (2, 1001, 64)
    model.eval(), plain.eval()
    assert torch.allclose(fold(model.frontend(waveform_BS)), fold(plain(waveform_BS)), atol=1e-4)


def test_bn0_leaves_out_invalid_clips():
    norm, twin = MelNorm(3), MelNorm(3)
    good, junk = torch.randn(4, 10, 3), torch.full((1, 10, 3), 1e6)
    norm(torch.cat([good[:2], junk, good[2:]]), torch.tensor([True, True, False, True, True]))
    twin(good)
    assert torch.allclose(norm.running_mean, twin.running_mean, atol=1e-6)
    before = norm.running_mean.clone()
    assert norm(junk, torch.tensor([False])).isfinite().all()
    assert torch.equal(norm.running_mean, before)  # a batch without a valid clip teaches nothing


def test_seeded_numbers():
    seeds = torch.tensor([0, 1, -1, 2**62, -(2**63)])
    draw = uniform(seeds, 1, 1000)
    assert draw.shape == (5, 1000)
    assert ((draw >= 0) & (draw < 1)).all()
    assert torch.equal(uniform(seeds.flip(0), 1, 1000).flip(0), draw)  # of the seed, not of the row
    assert torch.equal(uniform(seeds, 1, 10), draw[:, :10])
    assert (draw.mean(1) - 0.5).abs().max() < 0.05
    other = uniform(seeds, 2, 1000)
    pairs = torch.corrcoef(torch.cat([draw, other]))
    assert (pairs - torch.eye(10)).abs().max() < 0.15


def test_seeded_numbers_are_splitmix64():
    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    seed, stream = 123456789, 7
    base = mix((mix((seed + golden) % 2**64) + stream * 0x632BE5AB) % 2**64)
    want = [(mix((base + n * golden) % 2**64) >> 40) / 2**24 for n in range(1, 6)]
    assert uniform(torch.tensor([seed]), stream, 5)[0].tolist() == want


def test_frequency_masks():
    seeds = torch.arange(2000)
    mel_BNF = torch.ones(2000, 3, 64)
    masked = mask_frequencies(mel_BNF, seeds, 2, 8)
    width = (masked[:, 0] == 0).sum(1)
    assert width.max() <= 16
    assert width.float().mean() == pytest.approx(8, abs=0.6)  # two stripes of 0 to 8, seldom overlapping
    assert torch.equal(masked[:, 0], masked[:, 2])
    assert torch.equal(mask_frequencies(mel_BNF[:5], seeds[:5].flip(0), 2, 8).flip(0), masked[:5])
