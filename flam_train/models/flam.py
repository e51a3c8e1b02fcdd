"""FLAM: an audio encoder and a text encoder in one embedding space, and how strongly each phrase is expected.

Shape suffixes: B clips, S samples, C phrases, L tokens, T frames, D embedding width, H text width, N mel frames,
F mel bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flam_train.batch import AudioEmbeddings, TextEmbeddings, full_precision
from flam_train.frames import FrameGrid
from flam_train.models.frontend import Frontend, FrontendConfig
from flam_train.models.heads import BIAS_START, HEADS, SCALE_START, phrase_head, projection
from flam_train.models.htsat import HTSAT, PRESETS, HTSATConfig
from flam_train.models.kept_text import KeptText
from flam_train.models.methods import METHODS
from flam_train.models.mga import SharedCodebook
from flam_train.models.recompute import in_shares
from flam_train.models.text import TextConfig, Tokenizer, build_text, build_tokenizer
from flam_train.settings import from_plain, one_of, setting, settle

LOGIT_SCALE_START = math.log(1 / 0.07)
LOGIT_SCALE_MAX = math.log(100.0)
"""The global temperature never falls under 0.01, as in CLIP and CLAP."""


@dataclass(frozen=True)
class FLAMConfig:
    """Everything a FLAM is built from; plain data through `to_dict` and `from_dict`."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    audio: HTSATConfig = field(default_factory=HTSATConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embedding: int = setting(512, "width of the space that audio and text share", least=1, most=2**14)
    phrase_scale: str = setting(
        "phrase", "alpha(y): `phrase` is FLAM, `one` or `none` are the ablations (`heads.phrase_head`)", choices=HEADS
    )
    phrase_bias: str = setting("phrase", "beta(y): likewise", choices=HEADS)
    aggregate: str = setting(
        "mean",
        "how frames become a clip and tokens a text: `mean` (a clip is the mean of its frames, a text what its tower "
        "pools) or `codebook` (MGA-CLAP, `mga.SharedCodebook`)",
        choices=("mean", "codebook"),
    )
    codewords: int = setting(4096, "of the codebook", least=1, most=2**20)

    def __post_init__(self) -> None:
        settle(self, "model")
        if self.audio.mel_bins != self.frontend.mel_bins:
            raise ValueError(
                f"model.audio.mel_bins: {self.audio.mel_bins} must be that of model.frontend, {self.frontend.mel_bins}"
            )

    @property
    def grid(self) -> FrameGrid:
        return FrameGrid(self.audio.frames, self.frontend.seconds)

    @property
    def phrase_logits(self) -> bool:
        """Whether frames have logits of their own, as in FLAM; else only their cosines with a phrase can be used."""
        return (self.phrase_scale, self.phrase_bias) != ("none", "none")

    def to_dict(self) -> dict[str, Any]:
        out = asdict(self)
        out["audio"]["depths"], out["audio"]["heads"] = list(self.audio.depths), list(self.audio.heads)
        return out

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> FLAMConfig:
        """Raises ValueError that names the unknown key. `audio` may be the name of a preset; `last_block` may stand
        beside it, and is that of the audio encoder of any size."""
        audio = raw.get("audio", {})
        encoder = audio_preset(audio) if isinstance(audio, str) else from_plain(HTSATConfig, "model.audio", audio)
        parts = {
            "frontend": from_plain(FrontendConfig, "model.frontend", raw.get("frontend", {})),
            "audio": replace(encoder, last_block=raw["last_block"]) if "last_block" in raw else encoder,
            "text": from_plain(TextConfig, "text", raw.get("text", {})),
        }
        return from_plain(cls, "model", {**{k: v for k, v in raw.items() if k != "last_block"}, **parts})


def audio_preset(name: str) -> HTSATConfig:
    """tiny, base, large, base-12hz or small. Raises ValueError with the nearest names."""
    return PRESETS[one_of("model.audio", name, PRESETS)]


def cosines(frame_BTD: Tensor, text_CD: Tensor) -> Tensor:
    """cosine_BCT in [-1, 1], float32, of unit vectors."""
    with torch.autocast(frame_BTD.device.type, enabled=False):  # bf16 cosines would tie by the hundred
        return torch.einsum("btd,cd->bct", full_precision(frame_BTD), full_precision(text_CD))


def frame_score(cosine_BCT: Tensor, scale_C: Tensor, bias_C: Tensor, method: str) -> Tensor:
    """score_BCT in [0, 1] from the cosines of frames and phrases (float, in [-1, 1]), alpha > 0 and beta.

    With p = sigmoid(alpha cos + beta): `unbiased` p / (p + sigmoid(beta)) (paper Eq. 9); `approximate`
    sigmoid(alpha cos) (Eq. 8), close to it when beta < -10; `biased` p itself, the calibrated probability under
    the training prior. `cosine` is (1 + cos) / 2, for models without alpha and beta: it ranks as the cosine does, and
    its 0.5 means no more than that frame and phrase are orthogonal. Raises ValueError for another method.
    """
    one_of("localisation method", method, METHODS)
    if method == "cosine":
        return ((1 + cosine_BCT) / 2).clamp(0, 1)  # rounding may take a cosine past 1
    logit_BCT = scale_C[:, None] * cosine_BCT
    if method == "approximate":
        return logit_BCT.sigmoid()
    bias_C1 = bias_C[:, None]
    if method == "biased":
        return (logit_BCT + bias_C1).sigmoid()
    # p / (p + q) = sigmoid(log p - log q): exact where both are tiny.
    return (F.logsigmoid(logit_BCT + bias_C1) - F.logsigmoid(bias_C1)).sigmoid()


class FLAM(nn.Module):
    """Frames, clips and phrases in one space of unit vectors.

    config: as it was built, the text architecture filled in. tokenizer: None where only tokens are embedded.
    provenance: where the weights came from (filled in by `checkpoints.export`).
    """

    def __init__(self, config: FLAMConfig, pretrained_text: bool = True, tokenizer: Tokenizer | None = None):
        """pretrained_text: read the text tower's weights; False leaves them fresh, to be loaded from a checkpoint."""
        super().__init__()
        self.text = build_text(config.text, pretrained_text)
        self.config = replace(config, text=replace(config.text, architecture=self.text.architecture))  # type: ignore[arg-type]
        self.tokenizer = tokenizer or (build_tokenizer(config.text) if pretrained_text else None)
        self.provenance: dict[str, Any] = {}
        self.frontend = Frontend(config.frontend, config.audio.stretched)
        self.audio = HTSAT(config.audio)
        width: int = self.text.width  # type: ignore[assignment]
        self.audio_projection = projection(config.audio.out_width, config.embedding)
        self.text_projection = projection(width, config.embedding)
        self.scale_head = phrase_head(config.phrase_scale, width, SCALE_START)
        self.bias_head = phrase_head(config.phrase_bias, width, BIAS_START)
        self.codebook = SharedCodebook(config.codewords, config.embedding) if config.aggregate == "codebook" else None
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE_START))
        self.kept_text = KeptText(config.text.max_tokens)

    @property
    def grid(self) -> FrameGrid:
        """Where the encoder's frames lie in time."""
        return self.config.grid

    @property
    def default_method(self) -> str:
        """How `localize` scores where it is not told: `unbiased`, or `cosine` without phrase scale and bias."""
        return "unbiased" if self.config.phrase_logits else "cosine"

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def embed_audio(
        self,
        waveform_BS: Tensor | Sequence[Tensor],
        seed_B: Tensor | None = None,
        valid_B: Tensor | None = None,
        shares: int = 1,
    ) -> AudioEmbeddings:
        """Clips of `config.frontend.seconds` at 48 kHz, int16 or float in [-1, 1), into clip_BD and frame_BTD.

        waveform_BS may come in parts, whose spectra are then in memory one at a time. A clip is the mean of its frames
        before the projection they share, or the codebook's mixture for its projected frames. In training, seed_B
        (int64) decides the clip's augmentation (none without it) and clips that are not valid_B (bool) do not count in
        bn0's statistics. shares: go through the encoder in so many parts with the memory of one
        (`recompute.in_shares`). Raises ValueError for clips of another length.
        """
        mel_BNF = self.frontend(waveform_BS, seed_B, valid_B)
        frame_BTD = in_shares(self.audio, shares, mel_BNF, self.audio.kept_paths(seed_B))
        with torch.autocast(frame_BTD.device.type, enabled=False):
            if self.codebook is not None:
                local_BTD = F.normalize(self.audio_projection(full_precision(frame_BTD)), dim=-1)
                return AudioEmbeddings(clip_BD=self.codebook(local_BTD), frame_BTD=local_BTD)
            clip_BD = frame_BTD.mean(1)
            both = self.audio_projection(full_precision(torch.cat([frame_BTD, clip_BD[:, None]], dim=1)))
            both = F.normalize(both, dim=-1)
        return AudioEmbeddings(clip_BD=both[:, -1], frame_BTD=both[:, :-1])

    def embed_tokens(
        self,
        input_ids_CL: Tensor,
        attention_mask_CL: Tensor,
        shares: int = 1,
        rows: Sequence[bytes] | None = None,
    ) -> TextEmbeddings:
        """Token ids (int64) and mask (1 for a token) into text_CD, scale_C > 0 and bias_C; float32.

        shares: as in `embed_audio`. rows: `batch.token_row` of each phrase: what a tower that does not learn made of
        it in a step before is not made again."""
        tower, tokens = self.text, (input_ids_CL, attention_mask_CL)
        kept_CH = None if rows is None or self.codebook is not None else self.kept_text(tower, rows)
        if kept_CH is not None:
            pooled_CH = kept_CH
        elif self.codebook is None:
            pooled_CH = in_shares(tower, shares, *tokens)
        else:
            state_CLH = in_shares(tower, shares, *tokens, call=tower.states)  # type: ignore[arg-type]
            pooled_CH = tower.pool(state_CLH, attention_mask_CL)  # type: ignore[operator]
        # In bf16 a bias near -8 would move in steps of 1/32; the heads are small.
        with torch.autocast(pooled_CH.device.type, enabled=False):
            pooled_CH = full_precision(pooled_CH)
            if self.codebook is None:
                text_CD = F.normalize(self.text_projection(pooled_CH), dim=-1)
            else:
                local_CLD = F.normalize(self.text_projection(full_precision(state_CLH)), dim=-1)
                text_CD = self.codebook(local_CLD, attention_mask_CL.bool())
            return TextEmbeddings(text_CD, self.scale_head(pooled_CH).exp(), self.bias_head(pooled_CH))

    def embed_text(self, phrases: list[str]) -> TextEmbeddings:
        """As `embed_tokens`, from phrases. Raises ValueError for an empty phrase or without a tokenizer."""
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer: give its folder when loading, or call embed_tokens")
        tokens_CL, attention_CL = self.tokenizer(phrases)
        return self.embed_tokens(tokens_CL.to(self.device), attention_CL.to(self.device))

    def localize(self, frame_BTD: Tensor, text: TextEmbeddings, method: str | None = None) -> Tensor:
        """How far each frame matches each phrase: score_BCT in [0, 1], float32.

        method: one of METHODS, see `frame_score`; None is `default_method`. Raises ValueError for another method.
        """
        return frame_score(cosines(frame_BTD, text.text_CD), text.scale_C, text.bias_C, method or self.default_method)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps the global temperature in CLAP's range; called after each optimiser step."""
        self.logit_scale.clamp_(0.0, LOGIT_SCALE_MAX)
