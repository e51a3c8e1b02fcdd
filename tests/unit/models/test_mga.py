"""MGA-CLAP's codebook and locality-aware block beside plain twins, and models without scale and bias."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from flam_train.checkpoints.export import load_export, save_export
from flam_train.checkpoints.initial import initialise
from flam_train.losses import contrastive_loss
from flam_train.models.flam import FLAM, METHODS, FLAMConfig, frame_score
from flam_train.models.heads import projection
from flam_train.models.htsat import HTSAT, Block, HTSATConfig
from flam_train.models.mga import LocalBlock, SharedCodebook, sparsemax
from flam_train.models.text import TextConfig, build_text

BYTES = TextConfig("bytes")


def plain_sparsemax(row):
    """Algorithm 1 of the paper, one number after another."""
    total, tau = 0.0, None
    for k, z in enumerate(sorted(row, reverse=True), 1):
        total += z
        if 1 + k * z > total:
            tau = (total - 1) / k
    return [max(z - tau, 0.0) for z in row]


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_sparsemax_beside_its_plain_twin(spread):
    logit = spread * torch.randn(20, 50, dtype=torch.float64) + 100
    logit[0, :5] = logit[0].max()  # ties
    logit[1] = 3.0
    got = sparsemax(logit)
    want = torch.tensor([plain_sparsemax(row) for row in logit.tolist()], dtype=torch.float64)
    assert torch.allclose(got, want, atol=1e-12)
    assert torch.allclose(got.sum(-1), torch.ones(20, dtype=torch.float64))
    nearer = ((got - logit) ** 2).sum(-1)  # no other point of the simplex is nearer
    for other in torch.distributions.Dirichlet(torch.full((50,), 0.1, dtype=torch.float64)).sample((30,)):
        assert (nearer <= ((other - logit) ** 2).sum(-1) + 1e-9).all()


def test_sparsemax_by_hand():
    assert sparsemax(torch.tensor([[0.5, 0.1, -1.0]]))[0].tolist() == pytest.approx([0.7, 0.3, 0.0])
    assert sparsemax(torch.tensor([[3.0, 1.0, 0.0]]))[0].tolist() == [1.0, 0.0, 0.0]


def test_gradient_of_sparsemax():
    logit = (0.3 * torch.randn(6, 9, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(sparsemax, (logit,))
    weight = sparsemax(logit)
    g = torch.randn_like(weight)
    (got,) = torch.autograd.grad(weight, logit, g)
    inside = (weight > 0).double()
    mean = (g * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)
    assert torch.allclose(got, inside * (g - mean))  # the paper's Jacobian


def test_codebook_beside_its_plain_twin():
    codebook = SharedCodebook(30, 8).double()
    local = torch.randn(4, 6, 8, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[1] * 6, [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    got = codebook(local, valid)
    rows = []
    for c in range(4):
        affinity = torch.stack([codebook.codeword_MD @ local[c, n] for n in range(6) if valid[c, n]])
        weight = sparsemax(affinity.amax(0)[None])[0]
        mixture = sum(w * z for w, z in zip(weight, codebook.codeword_MD, strict=True))
        rows.append(mixture / mixture.norm())
    want = torch.stack(rows)
    assert torch.allclose(got, want)
    leaves, g = (local, codebook.codeword_MD), torch.randn_like(got)
    for a, b in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g), strict=True):
        assert torch.allclose(a, b)
    weight = codebook.weights(local, valid)
    assert torch.allclose(weight.sum(-1), torch.ones(4, dtype=torch.float64))
    assert ((weight > 0).sum(-1) < 30).all()


def test_codebook_hears_neither_order_nor_padding():
    codebook = SharedCodebook(40, 8)
    local = torch.randn(3, 5, 8)
    assert torch.equal(codebook(local[:, torch.randperm(5)]), codebook(local))
    padded = torch.cat([local, torch.full((3, 4, 8), 1e3)], 1)
    valid = torch.arange(9).expand(3, 9) < 5
    assert torch.allclose(codebook(padded, valid), codebook(local), atol=1e-6)
    assert not torch.allclose(codebook(padded), codebook(local), atol=1e-2)
    none = codebook(local, torch.zeros(3, 5, dtype=torch.bool))  # a row without anything is no NaN
    assert none.isfinite().all()


def test_training_from_scratch_does_not_end_with_one_codeword():
    """Where one has all the weight, sparsemax has no gradient, and the loss would stay at log 8 for ever."""
    seen, read = (torch.randn(1, 1, 16) + 0.3 * torch.randn(8, 5, 16) for _ in range(2))  # much is common to all
    codebook, parts = SharedCodebook(4096, 32), [projection(16, 32), projection(16, 32)]
    optimizer = torch.optim.AdamW([p for x in (codebook, *parts) for p in x.parameters()], 5e-3)
    for _ in range(40):
        clip, text = (codebook(F.normalize(part(x), dim=-1)) for part, x in zip(parts, (seen, read), strict=True))
        loss = contrastive_loss(clip, text, torch.tensor(14.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


def test_local_block_by_hand():
    block = LocalBlock(8).double()
    x = torch.randn(2, 4, 4, 8, dtype=torch.float64)
    y = F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias) @ block.attn.value.weight.T + block.attn.value.bias
    y = y @ block.attn.proj.weight.T + block.attn.proj.bias
    assert torch.allclose(block(x, None), x + y)
    kept = torch.tensor([[0.0, 1.0], [1.25, 0.0]], dtype=torch.float64)
    assert torch.allclose(block(x, kept), torch.stack([x[0], x[1] + 1.25 * y[1]]))
    other = x.clone()
    other[0, 1, 2] += 1
    changed = (block(other, None) != block(x, None)).any(-1)
    assert changed.nonzero().tolist() == [[0, 1, 2]]


def only_itself(block: Block) -> None:
    """Makes a Swin block's positions attend to themselves alone, and its MLP say nothing."""
    window = block.window
    with torch.no_grad():
        block.attn.relative_position_bias_table[(window - 1) * (2 * window - 1) + window - 1] = 1e4
        for parameter in block.mlp.fc2.parameters():
            parameter.zero_()


def test_a_local_encoder_is_one_whose_last_block_attends_to_itself(small_config, tmp_path):
    given = FLAM(small_config).eval()
    only_itself(given.audio.layers[-1].blocks[-1])
    folder = save_export(given, tmp_path / "export", {})
    local = replace(small_config, audio=replace(small_config.audio, last_block="local"))
    model = FLAM(local).eval()
    assert initialise(model, folder).fresh == ()
    assert isinstance(model.audio.layers[-1].blocks[-1], LocalBlock)
    assert isinstance(model.audio.layers[1].blocks[-1], Block)
    mel_BNF = torch.randn(2, 1001, 64)
    with torch.inference_mode():
        assert torch.allclose(model.audio(mel_BNF), given.audio(mel_BNF), atol=1e-5)
    with pytest.raises(ValueError, match=r"audio\.last_block is 'local' there, 'attention' in the settings"):
        initialise(FLAM(small_config), save_export(model, tmp_path / "local", {}))


def test_drop_path_of_a_local_encoder():
    encoder = HTSAT(HTSATConfig(8, (1, 1), (1, 1), 16, drop_path=0.9, last_block="local")).train()
    seed_B = torch.arange(6)
    kept = encoder.kept_paths(seed_B)
    assert kept.shape == (6, 2, 2)
    assert encoder(torch.randn(6, 1001, 64), kept).shape == (6, encoder.config.frames, 16)


@pytest.fixture(scope="module")
def mga_config(small_config):
    audio = replace(small_config.audio, last_block="local")
    return replace(
        small_config, audio=audio, aggregate="codebook", codewords=48, phrase_scale="none", phrase_bias="none"
    )


@pytest.fixture(scope="module")
def mga(mga_config):
    torch.manual_seed(5)
    return FLAM(mga_config).eval()


@pytest.fixture(scope="module")
def waveform_BS():
    return (torch.randn(3, 480_000, generator=torch.Generator().manual_seed(2)) * 3000).to(torch.int16)


@torch.inference_mode()
def test_embeddings_of_a_codebook_model(mga, waveform_BS):
    audio, text = mga.embed_audio(waveform_BS), mga.embed_text(["a dog barks", "rain"])
    assert (audio.clip_BD.shape, audio.frame_BTD.shape, text.text_CD.shape) == ((3, 16), (3, 32, 16), (2, 16))
    for x in (audio.clip_BD, audio.frame_BTD, text.text_CD):
        assert torch.allclose(x.norm(dim=-1), torch.ones(x.shape[:-1]))
    local_BTD = mga.audio_projection(mga.audio(mga.frontend(waveform_BS, None, None)))
    assert torch.allclose(audio.frame_BTD, F.normalize(local_BTD, dim=-1), atol=1e-6)
    assert torch.allclose(audio.clip_BD, mga.codebook(audio.frame_BTD), atol=1e-6)
    beside = mga.embed_text(["rain", "a very long phrase about rain on a tin roof"])
    assert torch.allclose(beside.text_CD[0], text.text_CD[1], atol=1e-6)  # padding is not a token
    assert text.scale_C.tolist() == [1.0, 1.0]
    assert text.bias_C.tolist() == [0.0, 0.0]


def test_a_codebook_model_in_shares(mga, waveform_BS):
    tokens = mga.tokenizer(["a dog barks", "rain", "wind in the trees"])
    found = []
    for shares in (1, 3):
        mga.zero_grad()
        clip_BD = mga.embed_audio(waveform_BS, shares=shares).clip_BD
        text_CD = mga.embed_tokens(*tokens, shares=shares).text_CD
        (clip_BD @ text_CD.T).softmax(1).diagonal().sum().backward()
        found.append([clip_BD, text_CD, *(p.grad for p in mga.parameters() if p.grad is not None)])
    assert len(found[0]) > 20
    for one, three in zip(*found, strict=True):
        assert torch.allclose(one, three, rtol=1e-4, atol=1e-6)


def test_export_of_a_codebook_model(mga, tmp_path, waveform_BS):
    again = load_export(save_export(mga, tmp_path / "export", {}))
    assert again.config == mga.config
    with torch.inference_mode():
        assert torch.equal(again.embed_audio(waveform_BS[:1]).clip_BD, mga.embed_audio(waveform_BS[:1]).clip_BD)
        assert torch.equal(again.embed_text(["rain"]).text_CD, mga.embed_text(["rain"]).text_CD)


def test_starting_a_baseline_from_a_flam_and_a_flam_from_a_baseline(small_config, mga_config, tmp_path):
    """Phrase heads and codebook are left out or fresh; everything else must fit."""
    flam, baseline = FLAM(small_config), FLAM(mga_config)
    assert initialise(baseline, save_export(flam, tmp_path / "flam", {})).fresh == ("codebook.codeword_MD",)
    assert torch.equal(baseline.text_projection[0].weight, flam.text_projection[0].weight)
    back = FLAM(replace(small_config, audio=mga_config.audio))
    fresh = initialise(back, save_export(baseline, tmp_path / "mga", {})).fresh
    assert {name.split(".")[0] for name in fresh} == {"scale_head", "bias_head"}
    with pytest.raises(ValueError, match=r"does not fit this configuration: codebook\.codeword_MD"):
        initialise(FLAM(replace(mga_config, codewords=20)), tmp_path / "mga")


def test_states_and_pooling_are_the_halves_of_a_text_tower(tmp_path):
    from transformers import RobertaConfig, RobertaModel

    tiny = RobertaConfig(vocab_size=99, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    RobertaModel(tiny, add_pooling_layer=True).save_pretrained(tmp_path)
    tokens, attention = torch.tensor([[5, 6, 7, 8], [5, 9, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    for config in (TextConfig("roberta", str(tmp_path)), TextConfig("minilm", str(tmp_path)), BYTES):
        tower = build_text(config).eval()
        state_CLH = tower.states(tokens, attention)
        assert state_CLH.shape == (2, 4, tower.width)
        assert torch.allclose(tower.pool(state_CLH, attention), tower(tokens, attention), atol=1e-6)


def test_scores_of_cosines():
    cosine = torch.tensor([[[-1.0, -0.5, 0.0, 0.5, 1.0 + 1e-6]]])
    scale, bias = torch.tensor([10.0]), torch.tensor([-8.0])
    assert frame_score(cosine, scale, bias, "cosine")[0, 0].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    for method in METHODS:
        score = frame_score(cosine, scale, bias, method)
        assert (score.diff() > 0).all()  # all methods rank the frames of a phrase alike
        assert ((score >= 0) & (score <= 1)).all()
    with pytest.raises(ValueError, match="did you mean cosine"):
        frame_score(cosine, scale, bias, "cosin")


@torch.inference_mode()
def test_models_without_scale_and_bias_are_scored_by_cosine(mga, small_config, waveform_BS):
    audio, text = mga.embed_audio(waveform_BS), mga.embed_text(["rain", "a siren"])
    cosine_BCT = torch.einsum("btd,cd->bct", audio.frame_BTD, text.text_CD)
    assert torch.allclose(mga.localize(audio.frame_BTD, text), (1 + cosine_BCT) / 2, atol=1e-6)
    assert torch.equal(mga.localize(audio.frame_BTD, text, "biased"), cosine_BCT.sigmoid())
    for scale, bias, method in (
        ("phrase", "phrase", "unbiased"),
        ("one", "none", "unbiased"),
        ("none", "phrase", "unbiased"),
        ("none", "none", "cosine"),
    ):
        assert FLAM(replace(small_config, phrase_scale=scale, phrase_bias=bias)).default_method == method


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"aggregate": "codebok"}, "did you mean codebook"),
        ({"codewords": 0}, "model.codewords: 0"),
        ({"last_block": "locale"}, "audio.last_block: 'locale' is not known: did you mean local"),
    ],
)
def test_configuration_mistakes(raw, message):
    with pytest.raises(ValueError, match=message):
        FLAMConfig.from_dict(raw)


def test_the_last_block_goes_with_any_audio_encoder():
    for audio in ("small", {"depths": [1, 1], "heads": [1, 1]}):
        config = FLAMConfig.from_dict({"audio": audio, "last_block": "local"})
        assert config.audio.last_block == "local"
        assert FLAMConfig.from_dict(config.to_dict()) == config
