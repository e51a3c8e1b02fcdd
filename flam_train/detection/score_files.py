"""Scores in a file that NumPy opens."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from flam_train.detection.scoring import Scores


def write_scores(scores: Sequence[Scores], channels: Sequence[int | None], file: BinaryIO) -> None:
    """As .npz, the same bytes each time:

    score    float32 [phrases, frames] in [0, 1]; [channels, phrases, frames] where channels are looked at one by one
    edges    float64 [frames + 1]: where frames begin and end, s of the recording
    heard    bool, as score without phrases: frames in which something sounds
    phrases  text [phrases]
    """
    each = channels[0] is not None
    arrays: dict[str, Any] = {
        "score": np.stack([one.score_CT for one in scores]) if each else scores[0].score_CT,
        "edges": scores[0].time.edges(),
        "heard": np.stack([one.time.heard() for one in scores]) if each else scores[0].time.heard(),
        "phrases": np.array(scores[0].phrases),
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
