"""OpenFLAM's calls: names, shapes and meanings; what does not fit is said in a line."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hub_server import Repository
from hub_server import hub as hub_of
from others_weights import small_flam, tokenizer

import flam_train
from flam_train import OpenFLAM
from flam_train.checkpoints.export import save_export
from flam_train.checkpoints.openflam import to_openflam
from flam_train.inference import score_recording
from flam_train.models.flam import FLAM
from flam_train.openflam.model import RELEASED

TEXTS = ["a dog barks", "rain", "a siren"]


@pytest.fixture(scope="module")
def export(tmp_path_factory, small_config):
    torch.manual_seed(3)
    return save_export(FLAM(small_config), tmp_path_factory.mktemp("made") / "export", {})


@pytest.fixture(scope="module")
def model(export):
    return flam_train.load(export)


def clips(count: int, seconds: float = 10.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, round(seconds * 48_000), generator=generator).clamp(-4, 4) / 4


def test_shapes_and_meanings(model):
    audio, flam = clips(2), model.flam
    with torch.inference_mode():
        want, text = flam.embed_audio(audio), flam.embed_text(TEXTS)
    assert torch.equal(model.get_global_audio_features(audio), want.clip_BD)
    assert torch.equal(model.get_local_audio_features(audio), want.frame_BTD)
    assert torch.equal(model.get_text_features(TEXTS), text.text_CD)
    assert model.get_logit_scale().tolist() == [1.0]
    out = model.get_text_branch_output(TEXTS)
    assert out.shape == (3, 64)
    assert torch.allclose(model.get_per_text_logit_scale(out), text.scale_C)
    assert torch.allclose(model.get_per_text_logit_bias(out), text.bias_C)
    assert model.get_per_text_logit_scale(out[:1]).shape == model.get_per_text_logit_bias(out[:1]).shape == ()
    with pytest.raises(ValueError, match=r"of shape \(64,\): get_text_branch_output's \[C, 64\] is expected"):
        model.get_per_text_logit_bias(out[0])


@pytest.mark.parametrize("method", ["unbiased", "approximate"])
def test_similarity_of_all_pairs_and_of_one_to_one(model, method):
    audio = clips(3)
    every = model.get_local_similarity(audio, TEXTS, method=method, cross_product=True)
    assert every.shape == (3, 3, 32)
    alpha, beta = (
        head(model.get_text_branch_output(TEXTS)).double()[None, :, None]
        for head in (model.get_per_text_logit_scale, model.get_per_text_logit_bias)
    )
    cosine = torch.einsum("btd,cd->bct", model.get_local_audio_features(audio), model.get_text_features(TEXTS)).double()
    p = (alpha * cosine + beta).sigmoid()
    want = (alpha * cosine).sigmoid() if method == "approximate" else p / (p + beta.sigmoid())
    assert (every - want).abs().max() < 1e-6
    one_to_one = model.get_local_similarity(audio, TEXTS, method)
    assert one_to_one.shape == (3, 32)
    assert torch.allclose(one_to_one, every[torch.arange(3), torch.arange(3)], atol=1e-6)
    assert (one_to_one.dtype, one_to_one.device.type) == (torch.float32, "cpu")


def test_eval_mode_whatever_the_mode(export):
    model = OpenFLAM(default_ckpt_path=export)
    audio = clips(2)
    want = model.eval().get_local_audio_features(audio)
    bn0 = model.flam.frontend.bn0.running_mean.clone()
    got = model.train().get_local_audio_features(audio)
    assert torch.equal(got, want)
    assert not got.requires_grad
    assert model.flam.training
    assert torch.equal(model.flam.frontend.bn0.running_mean, bn0)
    assert model.to("cpu") is model


def test_longer_clips_are_heard_over_their_whole_length(model):
    audio = clips(2, 26.0)
    scores = model.get_local_similarity(audio, TEXTS, cross_product=True)
    assert scores.shape == (2, 3, 83)
    want = score_recording(model.flam, audio[0].numpy(), TEXTS, "unbiased")
    assert torch.allclose(scores[0], want, atol=1e-3)  # of 16 bit
    clip_BD = model.get_global_audio_features(audio)
    windows = [audio[:, at : at + 480_000] for at in range(0, 4 * 247_500, 247_500)]  # 16.5 frames apart
    windows.append(F.pad(audio[:, 990_000:], (0, 222_000)))
    weights = (10, 10, 10, 10, 5.375)
    mean = sum(w * model.get_global_audio_features(one) for w, one in zip(weights, windows, strict=True))
    assert torch.allclose(clip_BD, F.normalize(mean, dim=-1), atol=1e-5)
    assert model.get_local_audio_features(clips(1, 10.01)).shape == (1, 32, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.get_local_audio_features(clips(1), sr=16_000), r"sr=16000: audio must be at 48000 Hz: librosa"),
        (lambda m: m.get_local_audio_features(clips(1)[0]), r"\(480000,\).*\[clips, samples\].*unsqueeze\(0\)"),
        (lambda m: m.get_global_audio_features(clips(1)[None]), r"shape \(1, 1, 480000\)"),
        (lambda m: m.get_global_audio_features(clips(2)[:0]), r"shape \(0, 480000\)"),
        (lambda m: m.get_local_audio_features(clips(1)[:, :160_000]), r"480000 samples \(10 s .* \(0, 320000\)\)"),
        (lambda m: m.get_local_audio_features((clips(1) * 99).int()), r"audio of torch.int32: float"),
        (lambda m: m.get_local_audio_features(clips(1) * torch.nan), r"NaN or infinite"),
        (lambda m: m.get_local_similarity(clips(2), TEXTS), r"2 clips and 3 texts: .*cross_product=True"),
        (lambda m: m.get_local_similarity(clips(3), TEXTS, "biased"), r"method: 'biased' is not known"),
        (lambda m: m.get_text_features([]), r"at least one phrase"),
        (lambda m: m.get_text_features(["rain", " "]), r"phrase 1 is empty"),
        (lambda m: OpenFLAM("v2", m._folder), r"model_name: 'v2' is not known"),
        (lambda m: OpenFLAM(), r"default_ckpt_path: give open_flam_oct17.pth, its folder"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(model, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_kinds_of_samples(model):
    audio = (clips(2) * 32767).to(torch.int16)
    want = model.get_local_audio_features(audio / 32768)
    for same in (audio, (audio / 32768).double(), (audio / 32768).numpy()):
        assert torch.equal(model.get_local_audio_features(same, sr=48_000), want)
    with pytest.warns(UserWarning, match="audio reaches 3276.*, float in .* is expected: divide"):
        model.get_local_audio_features(audio.float())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.get_local_audio_features(audio / 32768)
    assert torch.equal(model.get_text_features("rain"), model.get_text_features(["rain"]))


def other(path, seed: int = 1):
    torch.manual_seed(seed)
    torch.save(to_openflam(small_flam()), path)
    return path


def test_places_of_weights(tmp_path, export):
    file = other(tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"no checkpoint; open_flam_oct17.pth is expected"):
        OpenFLAM(default_ckpt_path=export.parent)
    by_file, by_folder = OpenFLAM(default_ckpt_path=str(file)), OpenFLAM(default_ckpt_path=tmp_path)
    audio = clips(1)
    want = by_file.get_local_audio_features(audio)
    assert torch.equal(by_folder.get_local_audio_features(audio), want)
    other(tmp_path / "yours.pth", 2)
    with pytest.raises(ValueError, match=r"several checkpoints \(mine.pth, yours.pth\): give one"):
        OpenFLAM(default_ckpt_path=tmp_path)
    other(tmp_path / RELEASED, 3)
    assert not torch.equal(OpenFLAM(default_ckpt_path=tmp_path).get_local_audio_features(audio), want)
    with pytest.raises(ValueError, match="there is nothing at"):
        OpenFLAM(default_ckpt_path=tmp_path / "none.pth")
    by_file.load_ckpt(tmp_path / "yours.pth")
    assert not torch.equal(by_file.get_local_audio_features(audio), want)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, model):
    state = to_openflam(small_flam())
    state["audio_branch.norm.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "wrong.pth")
    before = model.flam
    with pytest.raises(ValueError, match=r"wrong.pth: not a checkpoint of OpenFLAM.*\n.*shape \(3,\) is not") as error:
        model.load_ckpt(tmp_path / "wrong.pth")
    assert len(str(error.value).splitlines()) < 5
    assert model.flam is before


def test_the_tokenizer_beside_the_file_or_as_told(tmp_path):
    file = other(tmp_path / "a.pth")
    assert OpenFLAM(default_ckpt_path=file)._tokenizer == "roberta-base"
    model = OpenFLAM(default_ckpt_path=file, tokenizer=str(tmp_path / "none"))
    assert model.get_local_audio_features(clips(1)).shape == (1, 32, 16)
    with pytest.raises(ValueError, match=r"no tokenizer at '.*none': give a folder"):
        model.get_text_features(TEXTS)
    tokenizer().save_pretrained(tmp_path / "words")
    told = OpenFLAM(default_ckpt_path=file, tokenizer=str(tmp_path / "words")).get_text_features(TEXTS)
    tokenizer().save_pretrained(tmp_path / "tokenizer")
    assert torch.equal(OpenFLAM(default_ckpt_path=file).get_text_features(TEXTS), told)


def test_from_a_hub(tmp_path, monkeypatch, export):
    import huggingface_hub.constants as constants

    with hub_of() as server:
        url = server.url
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        server.repositories["lab/open"] = Repository()
        file = other(tmp_path / RELEASED)
        server.repositories["lab/open"].push({RELEASED: file.read_bytes(), "README.md": b"", "sanity_gt.npy": b"0"})
        server.repositories["lab/ours"] = Repository()
        files = {str(p.relative_to(export)): p.read_bytes() for p in export.rglob("*") if p.is_file()}
        server.repositories["lab/ours"].push(files)
        audio = clips(1)
        for place, same in (("hf://lab/open", file), ("hf://lab/ours", export)):
            got = flam_train.load(place).get_local_audio_features(audio)
            assert torch.equal(got, flam_train.load(same).get_local_audio_features(audio))


def test_sanity_passes_and_says_what_was_not_compared(tmp_path, export, model, capsys):
    assert model.sanity_check() is None
    said = capsys.readouterr().out
    assert "sanity check passed" in said
    assert "NOT compared with known ones" in said
    kept = model.keep_sanity(tmp_path / "kept.npz")
    model.sanity_check(kept)
    said = capsys.readouterr().out
    assert said.count("mean cosine 1.000000 with kept.npz") == 3
    assert "NOT" not in said
    with pytest.raises(ValueError, match=r"none.npz: no such file: keep_sanity writes it"):
        model.sanity_check(tmp_path / "none.npz")


def test_sanity_fails(tmp_path, export):
    def broken(change, *, kept: bool = False):
        model = flam_train.load(export)
        file = model.keep_sanity(tmp_path / "sanity.npz") if kept else None
        with torch.no_grad():
            change(model.flam)
        with pytest.raises(ValueError, match="sanity check failed") as error:
            model.sanity_check(file)
        return str(error.value)

    assert "audio_projection.0.weight has numbers that are not finite" in broken(
        lambda m: m.audio_projection[0].weight[0, 0].fill_(float("nan"))
    )
    said = broken(lambda m: m.audio_projection[0].weight.zero_())
    assert "global_audio_features: the same whatever is heard or read" in said
    assert "text_features" not in said
    assert "text_features: not unit vectors" in broken(lambda m: [p.zero_() for p in m.text_projection.parameters()])
    said = broken(lambda m: m.text_projection[2].weight.neg_(), kept=True)
    assert "text_features: not those of" in said
    assert "global_audio_features: mean cosine 1.000000" in said

    model = flam_train.load(export)
    np.savez(tmp_path / "less.npz", global_audio_features=np.ones((1, 3)))
    with pytest.raises(ValueError, match="has no local_audio_features of shape"):
        model.sanity_check(tmp_path / "less.npz")


def test_sanity_finds_a_clip_that_depends_on_its_neighbours(export, monkeypatch):
    model, embed_audio = flam_train.load(export), FLAM.embed_audio

    def leaking(self, waveform_BS):
        return embed_audio(self, waveform_BS + waveform_BS.roll(1, 0))

    monkeypatch.setattr(FLAM, "embed_audio", leaking)
    monkeypatch.setattr("flam_train.openflam.sanity.AGREE", 1 - 1e-6)  # random weights tell sounds apart by little
    with pytest.raises(ValueError, match="other alone than among others"):
        model.sanity_check()
