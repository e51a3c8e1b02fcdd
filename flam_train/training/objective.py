"""What a step minimises: the losses of its three kinds of batches, and how they are chosen and weighted.

Shape suffixes: B clips, C phrases or captions, T frames, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flam_train.batch import AudioEmbeddings, FrameBatch, StepBatch, TextEmbeddings
from flam_train.losses.contrastive import contrastive_terms
from flam_train.losses.framewise import EXCHANGES, REMOTE_NORMS, framewise_terms
from flam_train.losses.phrases import JoinedPhrases, Pairs, join_phrases
from flam_train.losses.prior import prior_loss_of
from flam_train.losses.terms import ClipTerms
from flam_train.losses.weak import POOLINGS, weak_terms
from flam_train.settings import setting, settle

WEIGHTS = {"global": 1.0, "sed": 200.0, "prior": 1.0, "weak": 20.0}


@dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    weights: dict[str, float] = setting(
        WEIGHTS,
        "of `loss/global`, `loss/sed`, `loss/prior`, `loss/weak` as they are logged (unweighted)",
        least=0,
        most=1e9,
        choices=tuple(WEIGHTS),
    )
    unannotated: str = setting(
        "mask",
        "a class that a clip's corpus does not annotate is there `negative` (the paper) or not counted (`mask`)",
        choices=("negative", "mask"),
    )
    duplicate_captions: str = setting(
        "multi",
        "identical captions of a batch are positives of one another (`multi`) or not (`plain`, CLAP)",
        choices=("multi", "plain"),
    )
    duplicate_clips: str = setting(
        "plain",
        "one clip twice in a batch with two captions: negatives of one another (`plain`, CLAP) or positives (`multi`)",
        choices=("plain", "multi"),
    )
    weak_pooling: str = setting(
        POOLINGS[0], "how a tag meets the frames somewhere in which it is heard (`losses.weak`)", choices=POOLINGS
    )
    hard_negative: float = setting(
        0.0,
        "beta of MGA-CLAP's weights of negatives in the global loss (0.15 there); 0: all weigh the same",
        least=0,
        most=100,
    )
    exchange: str = setting("auto", "how frames meet the phrases of all ranks (`losses.framewise`)", choices=EXCHANGES)
    remote_norm: str = setting("joined", "how other ranks' phrases weigh (`losses.framewise`)", choices=REMOTE_NORMS)
    max_bad_share: float = setting(0.01, "the run stops when more of the samples seen are bad", least=0, most=1)
    bad_grace: int = setting(
        1000,
        "samples that count as seen from the start, so that one bad one in a first batch is not a share",
        least=0,
        most=10**12,
    )

    def __post_init__(self) -> None:
        settle(self, "loss")
        object.__setattr__(self, "weights", WEIGHTS | self.weights)
        if not any(self.weights.values()):
            raise ValueError("loss.weights: all are 0, so nothing would be trained: give one a weight above 0")


def losses(
    config: LossConfig, step: StepBatch, audio: AudioEmbeddings, text: TextEmbeddings, logit_scale: Tensor
) -> tuple[dict[str, Tensor], dict[str, ClipTerms]]:
    """The unweighted losses of the joined batch of all ranks, by the names they are logged and weighted under, and the
    terms of those that are a mean over clips: all but the prior, a mean over phrases.

    audio, text: of all clips and phrases of this rank's step, the captions' rows first, then the events', then the
    tags'. logit_scale: log of the temperature's inverse in the global loss, a scalar.
    """
    out, terms, captions, events, tags = {}, {}, step.captions, step.events, step.tags
    count = 0 if captions is None else len(captions.keys)
    if captions is not None:
        terms["global"] = contrastive_terms(
            audio.clip_BD[:count],
            text.text_CD[:count],
            logit_scale.exp(),
            captions.clip_valid_B,
            captions.caption_ids_C if config.duplicate_captions == "multi" else None,
            config.hard_negative,
            captions.clip_ids_B if config.duplicate_clips == "multi" else None,
        )
        out["global"] = terms["global"].mean()
    clips, columns = count, count
    if events is not None:
        phrases, embedded = _joined_pairs(config, events, audio, text, clips, columns)
        terms["sed"] = framewise_terms(phrases, *embedded, config.exchange, config.remote_norm)
        out["sed"], out["prior"] = terms["sed"].mean(), prior_loss_of(phrases, embedded[-1])
        clips, columns = clips + len(events.keys), columns + len(events.phrase_ids_C)
    if tags is not None:
        phrases, embedded = _joined_pairs(config, tags, audio, text, clips, columns)
        terms["weak"] = weak_terms(phrases, *embedded, config.weak_pooling, config.exchange)
        out["weak"] = terms["weak"].mean()
    return out, terms


def _joined_pairs(
    config: LossConfig, part: FrameBatch, audio: AudioEmbeddings, text: TextEmbeddings, clips: int, columns: int
) -> tuple[JoinedPhrases, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The phrases of all ranks, and (frame_BTD, text_CD, scale_C, bias_C) of this part of the step: it begins at
    row `clips` of the audio, and `columns` of the text."""
    masked = config.unannotated == "mask"
    pairs = Pairs(
        part.label_BCT,
        part.audio_valid_B,
        part.phrase_valid_C,
        part.phrase_ids_C,
        part.corpus_B if masked else None,
        part.annotated_in_C if masked else None,
        unknown_BC=part.unknown_BC,
    )
    mine = slice(columns, columns + len(part.phrase_ids_C))
    frame_BTD = audio.frame_BTD[clips : clips + len(part.keys)]
    return join_phrases(pairs), (frame_BTD, text.text_CD[mine], text.scale_C[mine], text.bias_C[mine])
