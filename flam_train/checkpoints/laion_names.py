"""LAION-CLAP's names, as plain data."""

from __future__ import annotations

from flam_train.checkpoints.conversion import Names
from flam_train.checkpoints.htsat_names import CLASSIFIER, htsat_names

AUDIO_BRANCH, TEXT_BRANCH = "audio_branch.", "text_branch."

FUSION = (
    "a fusion checkpoint: clips over 10 s enter as four mel spectrograms (other filters, HTK) that an extra module "
    "mixes, and without it the encoder hears what it never learned; take an unfused one, as 630k-audioset-best.pt"
)
NO_ROBERTA = "its text encoder is no RoBERTa, which has other inputs: only checkpoints with RoBERTa are read"
NO_HTSAT = "its audio encoder is a PANN, not an HTS-AT"

PROJECTIONS = {
    "audio_projection.": "audio_projection.",
    "text.model.": TEXT_BRANCH,
    "text_projection.": "text_projection.",
}

LAION = Names(
    title="LAION-CLAP",
    prefixes={**htsat_names(AUDIO_BRANCH), **PROJECTIONS, "logit_scale": "logit_scale_a"},
    left={
        rf"{AUDIO_BRANCH}(tscam_conv|head)\.": CLASSIFIER,
        r"(audio|text)_transform\.": "layers behind the embeddings, for a loss that is not used",
        r"logit_scale_t$": "its second temperature: one serves both directions",
    },
    refused={
        rf"{AUDIO_BRANCH}(patch_embed\.)?(fusion_model|mel_conv[12]d)\.": FUSION,
        rf"{AUDIO_BRANCH}conv_block": NO_HTSAT,
        rf"{TEXT_BRANCH}(resblocks|shared|encoder\.layers)|positional_embedding$|token_embedding\.": NO_ROBERTA,
    },
)
