"""HTS-AT's AudioSet checkpoints (arXiv 2202.00874): the audio encoder alone.

Written from the names and shapes of its public code (Lightning, `sed_model.`). They are of 10 s at 32 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from flam_train.checkpoints.conversion import NO_TEXT, Conversion, audio_of, convert, refuse, same
from flam_train.checkpoints.htsat_names import AUDIOSET, SED_MODEL, front_end, mel_matrix, windows
from flam_train.models.flam import FLAMConfig
from flam_train.models.frontend import FrontendConfig

THEIRS = FrontendConfig(sample_rate=32_000, hop=320)
"""Its front end: the same bands in Hz, frames of the same 10 ms, windows of 32 ms."""


def convert_htsat(state: Mapping[str, Tensor]) -> Conversion:
    """state: with or without `sed_model.`. Everything but the audio encoder stays fresh.

    Raises ValueError, in a few lines, for what is not explained, and for a front end with other mel bands.
    """
    if not any(name.startswith(SED_MODEL) for name in state):
        state = {SED_MODEL + name: value for name, value in state.items()}
    refuse(state, AUDIOSET)
    config = FLAMConfig(audio=audio_of(state, AUDIOSET), text=NO_TEXT, phrase_scale="none", phrase_bias="none")
    theirs = _front_end(state.get(f"{SED_MODEL}logmel_extractor.melW"))
    constants = front_end(theirs, SED_MODEL) | windows(config.audio, SED_MODEL)
    out = convert(state, AUDIOSET, config, constants)
    fresh = tuple(dict.fromkeys(name.split(".", 1)[0] for name in out.table.fresh))  # whole parts, of any size
    return replace(out, table=replace(out.table, fresh=fresh, notes=(_told(theirs, config.frontend),)))


def _front_end(matrix: Tensor | None) -> FrontendConfig:
    """What a mel matrix is of. Raises ValueError for one of other bands."""
    if matrix is None:
        return THEIRS
    known = [replace(config, n_fft=2 * (len(matrix) - 1)) for config in (THEIRS, FrontendConfig())]
    found = next((config for config in known if same(matrix, mel_matrix(config))), None)
    if found is None:
        raise ValueError(
            f"{AUDIOSET.title}: its mel bands are not {THEIRS.low_hz:g} to {THEIRS.high_hz:g} Hz in {THEIRS.mel_bins} "
            "bins at 32 or 48 kHz: the encoder would hear other frequencies than it learned"
        )
    return found


def _told(theirs: FrontendConfig, ours: FrontendConfig) -> str:
    def said(config: FrontendConfig) -> str:
        return f"{config.sample_rate / 1000:g} kHz with windows of {1000 * config.n_fft / config.sample_rate:.1f} ms"

    return f"the same mel bands and levels; trained at {said(theirs)}, here {said(ours)}"
