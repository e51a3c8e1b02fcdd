"""Validation while training: scores and embeddings kept batch by batch, joined over ranks, each clip counted once.

A clip is known by an int64 id (`vocabulary.phrase_id` of its key). Ranks may see different numbers of clips, or none.

Shape suffixes: B clips, K classes, T frames, D embedding width, C captions, E events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from flam_train.metrics.detection import PSDS, Detection, PsdsParameters, auroc, event_f1, psds_of, segment_f1
from flam_train.metrics.retrieval import chance_level, retrieval_metrics


class _Gathered(Metric):
    """A metric whose states are lists of tensors, concatenated over ranks."""

    full_state_update = False
    _empty: dict[str, Tensor]

    def _add(self, **empty: Tensor) -> None:
        self._empty = empty
        for name in empty:
            self.add_state(name, [], dist_reduce_fx="cat")

    def sync(self, *args, **options) -> None:
        # A rank without clips must still offer tensors of the right shape and type: torchmetrics would send an empty
        # vector of floats, and the gathering would wait or fail.
        for name, empty in self._empty.items():
            if not getattr(self, name):
                setattr(self, name, [empty.to(self.device)])
        super().sync(*args, **options)

    def _append(self, **values: Tensor) -> None:
        for name, value in values.items():
            getattr(self, name).append(value.detach())

    def _state(self, name: str) -> Tensor:
        value = getattr(self, name)
        return dim_zero_cat(value) if len(value) else self._empty[name]


class FrameAUROC(_Gathered):
    """`metrics.detection.auroc` over all clips of all ranks; every update scores the same K classes on T frames."""

    def __init__(self, classes: int, frames: int, **options) -> None:
        super().__init__(**options)
        self._add(
            score=torch.empty(0, classes, frames),
            label=torch.empty(0, classes, frames, dtype=torch.uint8),
            valid=torch.empty(0, frames, dtype=torch.uint8),
            clip=torch.empty(0, dtype=torch.int64),
        )

    def update(self, score_BKT: Tensor, label_BKT: Tensor, valid_BT: Tensor, clip_B: Tensor) -> None:
        """score float; label bool; valid bool, False for frames that are padding; clip int64 ids. Raises ValueError for
        other classes or frames than it was made for."""
        wanted = self._empty["score"].shape[1:]
        if score_BKT.shape[1:] != wanted or label_BKT.shape != score_BKT.shape:
            raise ValueError(
                f"scores {tuple(score_BKT.shape)} and labels {tuple(label_BKT.shape)} must be [clips, "
                f"{wanted[0]} classes, {wanted[1]} frames]"
            )
        self._append(
            score=score_BKT.float(), label=label_BKT.to(torch.uint8), valid=valid_BT.to(torch.uint8), clip=clip_B
        )

    def compute(self) -> dict[str, float]:
        """`macro` and `micro` (NaN where undefined), `classes_left_out`, `clips` of all ranks."""
        first_B = first_of_each(self._state("clip"))
        score_BKT, label_BKT = self._state("score")[first_B], self._state("label")[first_B].bool()
        valid_BT = self._state("valid")[first_B].bool()
        result = auroc(score_BKT.transpose(1, 2)[valid_BT], label_BKT.transpose(1, 2)[valid_BT])
        return {
            "macro": result.macro,
            "micro": result.micro,
            "classes_left_out": float(len(result.left_out)),
            "clips": float(len(first_B)),
        }


class TimedDetection(_Gathered):
    """PSDS, segment and event F1 over all clips of all ranks; every update scores the same classes on T frames.

    psds: name -> parameters, of those reported by default.
    """

    def __init__(
        self,
        classes: Sequence[str],
        frames: int,
        frame_seconds: float,
        psds: Mapping[str, PsdsParameters] = PSDS,
        **options,
    ) -> None:
        super().__init__(**options)
        self.classes, self.frame_seconds, self.psds = list(classes), frame_seconds, dict(psds)
        self._add(
            score=torch.empty(0, len(self.classes), frames),
            seconds=torch.empty(0, dtype=torch.float64),
            clip=torch.empty(0, dtype=torch.int64),
            owner=torch.empty(0, dtype=torch.int64),
            kind=torch.empty(0, dtype=torch.int64),
            time=torch.empty(0, 2, dtype=torch.float64),
        )

    def update(
        self, score_BKT: Tensor, events: Sequence[Sequence[Detection]], seconds_B: Tensor, clip_B: Tensor
    ) -> None:
        """score float; events of each clip, (onset, offset, class); seconds: how long it lasts; clip int64 ids."""
        number = {name: k for k, name in enumerate(self.classes)}
        for b, found in enumerate(events):
            for _, _, name in found:
                if name not in number:
                    raise ValueError(f"clip {b}: class {name!r} of an event is none of those that are scored")
        rows = [(b, a, z, number[name]) for b, found in enumerate(events) for a, z, name in found]
        row_E = torch.tensor([b for b, _, _, _ in rows], dtype=torch.int64, device=clip_B.device)
        time_E2 = torch.tensor([(a, z) for _, a, z, _ in rows], dtype=torch.float64).reshape(-1, 2)
        self._append(
            score=score_BKT.float(),
            seconds=seconds_B.double(),
            clip=clip_B,
            owner=clip_B[row_E],
            kind=torch.tensor([k for _, _, _, k in rows], dtype=torch.int64, device=clip_B.device),
            time=time_E2.to(clip_B.device),
        )

    def compute(self) -> dict[str, float]:
        """The value of each PSDS (NaN without ground truth), `segment_f1` and `event_f1` (macro, 0.5), `clips`."""
        clip_B, owner_E = self._state("clip"), self._state("owner")
        first_B = first_of_each(clip_B)
        if not len(first_B):
            return {**dict.fromkeys(self.psds, math.nan), "segment_f1": math.nan, "event_f1": math.nan, "clips": 0.0}
        ids = clip_B[first_B].tolist()
        found: dict[int, list[Detection]] = {number: [] for number in ids}
        # A clip that came twice brings its events twice: those that overlap or touch are merged, and equal ones do.
        kinds, times = self._state("kind").tolist(), self._state("time").tolist()
        for number, kind, (onset, offset) in zip(owner_E.tolist(), kinds, times, strict=True):
            found[number].append((onset, offset, self.classes[kind]))
        timed = (
            list(self._state("score")[first_B]),
            [found[number] for number in ids],
            self.classes,
            self._state("seconds")[first_B].tolist(),
            self.frame_seconds,
        )
        values = {name: found.value for name, found in psds_of(*timed, self.psds, "skip").items()}
        return values | {
            "segment_f1": segment_f1(*timed).at(0.5).macro,
            "event_f1": event_f1(*timed).at(0.5).macro,
            "clips": float(len(ids)),
        }


class Retrieval(_Gathered):
    """`metrics.retrieval.retrieval_metrics` over all clips and captions of all ranks."""

    def __init__(self, width: int, **options) -> None:
        super().__init__(**options)
        self._add(
            audio=torch.empty(0, width),
            clip=torch.empty(0, dtype=torch.int64),
            text=torch.empty(0, width),
            owner=torch.empty(0, dtype=torch.int64),
            number=torch.empty(0, dtype=torch.int64),
        )

    def update(self, clip_BD: Tensor, clip_B: Tensor, text_CD: Tensor, row_C: Tensor) -> None:
        """clip_BD, text_CD float, unit length; clip_B int64 ids; row_C int64: the row b that each caption describes.

        All captions of a clip come in the same update as the clip. Raises ValueError for rows that are not there.
        """
        if len(row_C) and not 0 <= int(row_C.min()) <= int(row_C.max()) < len(clip_B):
            raise ValueError(f"captions of clips {row_C.tolist()[:5]} ..., but the batch has {len(clip_B)}")
        # Which of its clip's captions a caption is: so a clip that comes twice does not bring its captions twice.
        number_C = (row_C[:, None] == row_C).tril(-1).sum(dim=1)
        self._append(audio=clip_BD.float(), clip=clip_B, text=text_CD.float(), owner=clip_B[row_C], number=number_C)

    def compute(self) -> dict[str, float]:
        """`retrieval_metrics` and `chance_level` in one dict; empty if no clip or no caption was seen."""
        clip_B, owner_C = self._state("clip"), self._state("owner")
        if not len(clip_B) or not len(owner_C):
            return {}
        first_B = first_of_each(clip_B)
        id_N, order_N = clip_B[first_B].sort()
        row_C = torch.searchsorted(id_N, owner_C)
        captions = int(self._state("number").max()) + 1
        once_C = first_of_each(row_C * captions + self._state("number"))
        audio_ND, text_MD, clip_of_text_M = self._state("audio")[first_B][order_N], self._state("text"), row_C[once_C]
        return retrieval_metrics(audio_ND, text_MD[once_C], clip_of_text_M) | chance_level(clip_of_text_M, len(id_N))


def first_of_each(id_B: Tensor) -> Tensor:
    """Row of the first occurrence of each id, in order of appearance: int64."""
    unique, inverse_B = id_B.unique(return_inverse=True)
    first = torch.full((len(unique),), len(id_B), dtype=torch.int64, device=id_B.device)
    rows_B = torch.arange(len(id_B), device=id_B.device)
    return first.scatter_reduce(0, inverse_B, rows_B, reduce="amin").sort().values
