"""LAION-CLAP's checkpoint files (arXiv 2211.06687): HTS-AT and RoBERTa, unfused.

Written from the names and shapes of its package laion-clap. Their weights are the user's to bring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from flam_train.checkpoints.conversion import Conversion, audio_of, convert, refuse, roberta_of
from flam_train.checkpoints.htsat_names import front_end, text_positions, windows
from flam_train.checkpoints.laion_names import AUDIO_BRANCH, LAION, NO_ROBERTA, TEXT_BRANCH
from flam_train.checkpoints.openflam_names import ROBERTA_BASE
from flam_train.models.flam import FLAMConfig
from flam_train.models.frontend import FrontendConfig
from flam_train.models.text import TextConfig

TOKENIZER = "roberta-base"
PADDING = "its own tools repeat clips under 10 s; here they are padded with silence"


def convert_laion(state: Mapping[str, Tensor], tokenizer: str = TOKENIZER, max_tokens: int = 77) -> Conversion:
    """A CLAP: clips and texts in one space, frames that are scored by their cosines, no phrase heads.

    state: without DDP's `module.`. Raises ValueError, in a few lines, for a fusion checkpoint, another kind of
    encoder, and what is not explained.
    """
    refuse(state, LAION)
    architecture = roberta_of(state, LAION, ROBERTA_BASE)
    if architecture["type_vocab_size"] != 1:
        raise ValueError(f"{LAION.title}: {NO_ROBERTA} (it has {architecture['type_vocab_size']} kinds of segments)")
    config = FLAMConfig(
        frontend=frontend_of(state, AUDIO_BRANCH),
        audio=audio_of(state, LAION),
        text=TextConfig("roberta", tokenizer, max_tokens, architecture),
        embedding=LAION.shape(state, "audio_projection.2.weight")[0],
        phrase_scale="none",
        phrase_bias="none",
    )
    out = convert(state, LAION, config, constants_of(config))
    return replace(out, tokenizer=tokenizer, table=replace(out.table, notes=(PADDING,)))


def constants_of(config: FLAMConfig) -> dict[str, Tensor]:
    """What follows from a configuration, in the names of LAION-CLAP and OpenFLAM."""
    return (
        front_end(config.frontend, AUDIO_BRANCH)
        | windows(config.audio, AUDIO_BRANCH)
        | text_positions(config.text.architecture["max_position_embeddings"], TEXT_BRANCH)
    )


def frontend_of(state: Mapping[str, Tensor], prefix: str) -> FrontendConfig:
    """FLAM's, with the STFT window that the mel matrix is for. Its bands are compared later, as a constant."""
    matrix = state.get(f"{prefix}logmel_extractor.melW")
    return FrontendConfig() if matrix is None else FrontendConfig(n_fft=2 * (len(matrix) - 1))
