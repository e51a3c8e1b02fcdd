"""LAION-CLAP's and HTS-AT's checkpoints beside what their own code computes (laion/README.md, htsat/make.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from by_formula import tokens, waveforms, weight
from torch import Tensor

from flam_train.checkpoints.htsat import THEIRS, convert_htsat
from flam_train.checkpoints.htsat_names import front_end, text_positions, windows
from flam_train.checkpoints.laion import convert_laion
from flam_train.models.frontend import FrontendConfig
from flam_train.models.htsat import PRESETS

FOLDER = Path(__file__).parent


def shapes(name: str) -> dict[str, list[int]]:
    return json.loads((FOLDER / f"{name}_state_dict.json").read_text())


def constants(prefix: str, audio: str, frontend: FrontendConfig) -> dict[str, Tensor]:
    return front_end(frontend, prefix) | windows(PRESETS[audio], prefix)


def without_memory(name: str, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of full size: `given`, and zeros that share one number."""
    return {k: given[k] if k in given else torch.zeros(()).expand(shape) for k, shape in shapes(name).items()}


@pytest.fixture(scope="module")
def laion() -> dict[str, Tensor]:
    fixed = constants("audio_branch.", "tiny", FrontendConfig())
    spec = shapes("laion/tiny_small_text")
    state = {k: fixed[k] if k in fixed else weight(k, shape) for k, shape in spec.items()}
    return {k: torch.tensor(0) if k.endswith("num_batches_tracked") else v for k, v in state.items()}


def test_the_same_embeddings_as_laions_own_code(laion):
    with np.load(FOLDER / "laion/tiny_outputs.npz") as file:
        want = {k: torch.from_numpy(file[k]) for k in file.files}
    out = convert_laion(laion)
    model = out.model()
    wave_BS, (tokens_CL, attention_CL) = waveforms(), tokens(1000)
    with torch.inference_mode():
        clip_BD = model.embed_audio(wave_BS).clip_BD
        text_CD = model.embed_tokens(tokens_CL, attention_CL).text_CD
        logmel_NF = model.frontend.logmel(wave_BS[:1])[0]
        frame_BTD = model.audio(model.frontend(wave_BS[:2]))
    assert (clip_BD - want["clip_BD"]).abs().max() < 1e-5
    assert (text_CD - want["text_CD"]).abs().max() < 1e-5
    near = want["frame_BTD"].abs().max()
    assert (frame_BTD[..., :24] - want["frame_BTD"]).abs().max() < 1e-4 * near
    assert (logmel_NF[::50] - want["logmel_NF"]).abs().max() < 1e-2  # dB
    matrix = laion["audio_branch.logmel_extractor.melW"][:, [0, 31, 63]]
    assert (matrix - want["mel_columns"]).abs().max() < 1e-6 * want["mel_columns"].max()
    assert model.default_method == "cosine"
    assert out.table.fresh == ()


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_every_name_of_a_laion_file_is_explained(size):
    given = constants("audio_branch.", size, FrontendConfig()) | text_positions(514, "text_branch.")
    state = without_memory(f"laion/{size}", given)
    state["text_branch.embeddings.position_ids"] = given["text_branch.embeddings.position_ids"]  # of older transformers
    out = convert_laion(state)
    assert out.config.audio == PRESETS[size]
    assert out.config.text.architecture["num_hidden_layers"] == 12
    assert {k.split(".")[0] for k in out.state} == {
        "frontend", "audio", "audio_projection", "text", "text_projection", "logit_scale",
    }  # fmt: skip
    lines = "\n".join(out.table.lines())
    assert len(lines.splitlines()) < 12
    for part in ("tscam_conv", "text_transform", "logit_scale_t", "computed here", "fresh  nothing"):
        assert part in lines


def test_a_laion_file_that_does_not_fit_is_told(laion):
    with pytest.raises(ValueError, match=r"a fusion checkpoint: .* take an unfused one.*mel_conv2d"):
        convert_laion(without_memory("laion/tiny_fusion", {}))
    with pytest.raises(ValueError, match="PANN, not an HTS-AT"):
        convert_laion({**laion, "audio_branch.conv_block1.conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no RoBERTa"):
        convert_laion({**laion, "text_branch.resblocks.0.ln_1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no RoBERTa"):
        convert_laion({**laion, "text_branch.embeddings.token_type_embeddings.weight": torch.zeros(2, 768)})
    other = front_end(FrontendConfig(high_hz=8000.0), "audio_branch.")
    with pytest.raises(ValueError, match=r"other numbers than .*: audio_branch\.logmel_extractor\.melW"):
        convert_laion({**laion, **other})
    with pytest.raises(ValueError, match=r"shape \(3,\) is not \(768,\): audio_branch\.norm\.weight"):
        convert_laion({**laion, "audio_branch.norm.weight": torch.zeros(3)})


def test_what_is_unexplained_is_told_in_a_few_lines(laion):
    lacking = {k: v for k, v in laion.items() if ".mlp." not in k or "layers.0" in k}
    with pytest.raises(ValueError, match=r"missing: audio_branch\.layers\.\*\.blocks") as error:
        convert_laion({**lacking, **{f"adapter.{n}.weight": torch.zeros(1) for n in range(99)}})
    said = str(error.value)
    assert "unknown: adapter.*.weight (99)" in said
    assert len(said.splitlines()) < 8
    assert len(said) < 600


def test_a_wider_window_is_taken_over(laion):
    wide = FrontendConfig(n_fft=1536)
    out = convert_laion({**laion, **front_end(wide, "audio_branch.")})
    assert out.config.frontend == wide


def test_htsat_by_names_and_shapes():
    given = constants("sed_model.", "tiny", THEIRS)
    state = without_memory("htsat/tiny", given)
    out = convert_htsat(state)
    assert out.config.audio == PRESETS["tiny"]
    assert {k.split(".")[0] for k in out.state} == {"frontend", "audio"}
    lines = "\n".join(out.table.lines())
    assert "trained at 32 kHz with windows of 32.0 ms, here 48 kHz with windows of 21.3 ms" in lines
    assert "classifier" in lines
    with pytest.raises(ValueError, match=r"no whole model; start a run from it with init="):
        out.model()
    bare = convert_htsat({k.removeprefix("sed_model."): v for k, v in state.items()})
    assert bare.table == out.table
    averaged = convert_htsat({k: v.float() for k, v in state.items()})  # its script averages constants and counts, too
    assert averaged.state["frontend.bn0.num_batches_tracked"].dtype == torch.int64


def test_an_htsat_of_other_mel_bands_is_refused():
    given = constants("sed_model.", "tiny", FrontendConfig(sample_rate=16_000, high_hz=8000.0))
    with pytest.raises(ValueError, match="other frequencies than it learned"):
        convert_htsat(without_memory("htsat/tiny", given))


def test_levels_are_those_that_htsat_learned():
    """What the note on its front end says: at 48 kHz the bands have the levels that they had at 32 kHz."""
    from flam_train.models.frontend import LogMel

    g = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 96_000, generator=g)
    # The same band-limited noise at both rates.
    spectrum = torch.fft.rfft(noise)[:, : 48_000 // 3 + 1]
    at_48 = torch.fft.irfft(torch.nn.functional.pad(spectrum, (0, 48_001 - spectrum.shape[1])), n=96_000)
    at_32 = torch.fft.irfft(torch.nn.functional.pad(spectrum, (0, 32_001 - spectrum.shape[1])), n=64_000) * 2 / 3
    theirs, ours = LogMel(THEIRS)(at_32)[0].mean(0), LogMel(FrontendConfig())(at_48)[0].mean(0)
    inside = slice(8, 50)  # bands that lie whole within the noise
    assert (theirs - ours)[inside].abs().mean() < 0.5  # dB
