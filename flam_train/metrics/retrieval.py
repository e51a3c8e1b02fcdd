"""Retrieval between recordings and captions, by counting ranks.

A rank is the number of competitors that score at least as high, so nothing is ever sorted and the matrix of all
scores is never kept: clips are scored in blocks, and comparisons are counted eight at a time (a mask of bytes
added up as 64-bit words).

Shape suffixes: N clips, M captions, D embedding width, R clips of one block, P places in a clip's own captions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_CLIPS = 2500
"""Clips scored by one matrix product; fewer where the scores of a block would pass BLOCK_SCORES."""

BLOCK_SCORES = 2**27
"""Most scores held at once: 512 MB in float32."""

TILE_CLIPS = 250
"""Clips whose comparisons are counted at once; at most 255, or a counter of one byte overflows."""

DEPTH = 10
"""K of mAP@K."""

CLOSE = 2**25
"""Most scores that are kept to be settled at the end: 400 MB. Where more lie that close together, the blocks are scored
a second time."""

GROUP = 64
"""Captions whose highest score is looked at first."""


@dataclass(frozen=True)
class Ranked:
    """What Q queries found.

    query_Q      int64: their rows; those without a right answer are not asked
    rank_Q       int64, from 0: of the best right answer
    precision_Q  float64 in [0, 1]: average precision at `depth`
    """

    query_Q: Tensor
    rank_Q: Tensor
    precision_Q: Tensor
    depth: int = DEPTH

    def of_each(self) -> dict[str, Tensor]:
        """float64, by name: what the metrics are the means of."""
        recalls = {f"R@{k}": (self.rank_Q < k).double() for k in (1, 5, 10)}
        return recalls | {"mean_rank": self.rank_Q.double() + 1, f"mAP@{self.depth}": self.precision_Q}

    def means(self) -> dict[str, float]:
        return {name: float(value_Q.mean()) for name, value_Q in self.of_each().items()}

    def median_rank(self) -> float:
        """From 1, rounded down to a whole rank."""
        rank_Q = self.rank_Q.double().sort().values
        middle = rank_Q[[(len(rank_Q) - 1) // 2, len(rank_Q) // 2]].mean()
        return math.floor(float(middle)) + 1.0


def retrieval_metrics(audio_ND: Tensor, text_MD: Tensor, clip_of_text_M: Tensor) -> dict[str, float]:
    """Text-to-audio and audio-to-text retrieval over all clips and captions given.

    audio_ND        float, unit length for cosines (any length is accepted: the dot product ranks)
    text_MD         float, same dtype, device and width
    clip_of_text_M  int64: the row of `audio_ND` that each caption describes

    Returns, under `text_to_audio/` and `audio_to_text/`: `R@1 R@5 R@10` and `mAP@10` in [0, 1], `mean_rank` and
    `median_rank` from 1 (the median is rounded down to a whole rank).

    text_to_audio: the rank of the caption's clip. A clip that scores the same as the right one counts as ahead of it.
    audio_to_text: the rank of the best of the clip's own captions; mAP@10 runs over all of them, divided by
    min(captions, 10). A foreign caption with the same score counts as ahead. Clips without a caption are not asked,
    but compete in text_to_audio.

    Raises ValueError for shapes that do not fit, a clip index out of range, values that are not finite.
    """
    sides = retrieval_ranks(audio_ND, text_MD, clip_of_text_M)
    return {
        f"{side}/{name}": value
        for side, found in sides.items()
        for name, value in (found.means() | {"median_rank": found.median_rank()}).items()
    }


def retrieval_ranks(audio_ND: Tensor, text_MD: Tensor, clip_of_text_M: Tensor) -> dict[str, Ranked]:
    """`text_to_audio`, whose queries are captions, and `audio_to_text`, of which they are clips. Arguments, errors and
    what a rank is: as in `retrieval_metrics`."""
    audio_ND, text_MD = (torch.as_tensor(x).detach() for x in (audio_ND, text_MD))
    clip_of_text_M = torch.as_tensor(clip_of_text_M)
    slack = _check(audio_ND, text_MD, clip_of_text_M)
    owner_M = clip_of_text_M.to(device=text_MD.device, dtype=torch.int64)
    # Captions of one clip side by side: the own captions of a block of clips are then one slice.
    order_M = torch.argsort(owner_M, stable=True)
    if (owner_M[1:] < owner_M[:-1]).any():
        owner_M, text_MD = owner_M[order_M], text_MD[order_M]
    first_N1 = torch.searchsorted(owner_M, torch.arange(len(audio_ND) + 1, device=owner_M.device))

    forward = _TextToAudio(audio_ND, text_MD, owner_M, slack)
    best_rank, precision = [], []
    block = max(1, min(BLOCK_CLIPS, BLOCK_SCORES // len(text_MD), len(audio_ND)))
    # One piece of memory for all blocks: fresh pages would cost as much as the comparisons.
    memory = torch.empty(block, len(text_MD), dtype=text_MD.dtype, device=text_MD.device)
    mask = _Mask(min(block, TILE_CLIPS), len(text_MD), text_MD.device)

    def tiles() -> Iterator[tuple[int, int, Tensor]]:
        for start in range(0, len(audio_ND), block):
            stop = min(start + block, len(audio_ND))
            score_RM = torch.mm(audio_ND[start:stop], text_MD.T, out=memory[: stop - start])
            for a in range(start, stop, TILE_CLIPS):
                b = min(a + TILE_CLIPS, stop)
                yield a, b, score_RM[a - start : b - start]

    for a, b, tile_RM in tiles():
        forward.add(tile_RM, a, slice(int(first_N1[a]), int(first_N1[b])), mask)
        ranks_R, precision_R = _audio_to_text(tile_RM, first_N1[a : b + 1], mask)
        best_rank.append(ranks_R)
        precision.append(precision_R)
    if forward.many:
        for _, _, tile_RM in tiles():
            forward.count(tile_RM, mask)
    forward_M = forward.ranks()
    return {
        "text_to_audio": Ranked(order_M, forward_M, (forward_M < DEPTH) / (forward_M.double() + 1.0)),
        "audio_to_text": Ranked(first_N1.diff().nonzero()[:, 0], torch.cat(best_rank), torch.cat(precision)),
    }


def chance_level(clip_of_text_M: Tensor, clips: int) -> dict[str, float]:
    """R@1 of an order drawn at random: 1/N text to audio; audio to text the mean share of a clip's own captions.

    Raises ValueError for captions of clips that are not there."""
    clip_of_text_M = torch.as_tensor(clip_of_text_M)
    if clips < 1 or not len(clip_of_text_M) or not 0 <= int(clip_of_text_M.min()) <= int(clip_of_text_M.max()) < clips:
        raise ValueError(f"captions of clips {clip_of_text_M.tolist()[:5]} ..., but there are {clips} clips")
    captions_N = torch.bincount(clip_of_text_M.to("cpu", torch.int64), minlength=clips)
    asked = captions_N[captions_N > 0]
    return {
        "text_to_audio/chance R@1": 1.0 / clips,
        "audio_to_text/chance R@1": float((asked.double() / len(clip_of_text_M)).mean()),
    }


def check_embeddings(audio_ND: Tensor, text_MD: Tensor) -> float:
    """The product of the greatest lengths of both. ValueError for shapes and types that do not fit, and for
    what is not finite, or would not be when multiplied."""
    if audio_ND.ndim != 2 or text_MD.ndim != 2 or audio_ND.shape[1] != text_MD.shape[1]:
        raise ValueError(
            f"audio {tuple(audio_ND.shape)} and text {tuple(text_MD.shape)} must be [clips, width] and "
            "[captions, width] of the same width"
        )
    if not len(audio_ND) or not len(text_MD):
        raise ValueError(
            f"nothing to retrieve: {len(audio_ND)} clips and {len(text_MD)} captions; give at least one of each"
        )
    if audio_ND.dtype != text_MD.dtype or not audio_ND.is_floating_point():
        raise ValueError(
            f"audio is {audio_ND.dtype}, text is {text_MD.dtype}: give both as the same floating-point type"
        )
    longest = 1.0
    for name, embedding in (("audio", audio_ND), ("text", text_MD)):
        length = embedding.double().norm(dim=1)
        if not length.isfinite().all():
            row = int((~length.isfinite()).nonzero()[0])
            raise ValueError(f"{name} row {row} is not finite: look at that clip or caption, or at the model")
        longest *= float(length.max())
    if longest > torch.finfo(text_MD.dtype).max:
        raise ValueError(f"products of such long embeddings overflow {text_MD.dtype}: give them at unit length")
    return longest


def _check(audio_ND: Tensor, text_MD: Tensor, clip_of_text_M: Tensor) -> float:
    """How far two computations of one score may differ; ValueErrors for what `retrieval_metrics` refuses."""
    longest = check_embeddings(audio_ND, text_MD)
    if clip_of_text_M.shape != (len(text_MD),):
        raise ValueError(
            f"clip_of_text has shape {tuple(clip_of_text_M.shape)}: give one clip index for each of "
            f"{len(text_MD)} captions"
        )
    if clip_of_text_M.is_floating_point() or clip_of_text_M.is_complex() or clip_of_text_M.dtype == torch.bool:
        raise ValueError(f"clip_of_text is {clip_of_text_M.dtype}: give the clips' row numbers as integers")
    outside_M = (clip_of_text_M < 0) | (clip_of_text_M >= len(audio_ND))
    if outside_M.any():
        row = int(outside_M.nonzero()[0])
        raise ValueError(
            f"clip_of_text row {row} is {int(clip_of_text_M[row])}, but there are {len(audio_ND)} clips: "
            f"give 0 to {len(audio_ND) - 1}"
        )
    # Rounding of a dot product of D terms grows as sqrt(D) eps |a| |t| (in the worst case D); 4 of it is 20 times what
    # is seen. On CUDA, TF32 may be on.
    eps = max(torch.finfo(text_MD.dtype).eps, 2.0**-10 if text_MD.is_cuda else 0.0)
    # Never 0, of which neither side is: embeddings may be all zero, or so short that their products are.
    return max(4 * math.sqrt(audio_ND.shape[1]) * eps * longest, torch.finfo(text_MD.dtype).tiny)


class _TextToAudio:
    """Ranks of each caption's clip, gathered over blocks of clips.

    A caption's right score stands in one block only, and the blocks before it are gone when it is met. So it is
    estimated first, within `slack` of what any block will compute; what is certainly above is counted at once, and
    the few scores within the slack are kept and settled by exact comparison at the end. Are they not few (`many`), all
    blocks have to be shown again, to `count`: by then every right score is known.
    """

    def __init__(self, audio_ND: Tensor, text_MD: Tensor, owner_M: Tensor, slack: float) -> None:
        part = 4096
        wide = text_MD.dtype if text_MD.dtype.itemsize >= 4 else torch.float32  # products of small halves are 0
        self.estimate_M = torch.cat(
            [
                (text_MD[a : a + part].to(wide) * audio_ND[owner_M[a : a + part]].to(wide)).sum(dim=1)
                for a in range(0, len(text_MD), part)
            ]
        )
        self.slack, self.owner_M = slack, owner_M
        self.low_M, self.high_M = self.estimate_M - slack, self.estimate_M + slack
        self.right_M = torch.full_like(self.estimate_M, math.nan, dtype=text_MD.dtype)
        self.above_M = torch.zeros(len(text_MD), dtype=torch.int64, device=text_MD.device)
        self.close: list[tuple[Tensor, Tensor]] = []
        self.kept, self.many = 0, False

    def add(self, score_RM: Tensor, start: int, own: slice, mask: _Mask) -> None:
        """`start`: the tile's first clip; `own`: the captions of its clips."""
        self.right_M[own] = score_RM[
            self.owner_M[own] - start, torch.arange(own.start, own.stop, device=score_RM.device)
        ]
        if self.many:
            return
        above_M = mask.count_columns(score_RM, self.high_M)
        self.above_M += above_M
        close_M = mask.count_columns(score_RM, self.low_M) - above_M
        close_M[own] -= 1  # the right score itself is within the slack
        self.kept += int(close_M.sum())
        if self.kept > CLOSE:
            self.many, self.above_M = True, torch.full_like(self.above_M, -1)  # the right score counts itself
            self.close.clear()
            return
        column = close_M.nonzero().flatten()
        near_RM = score_RM[:, column]
        near = (near_RM >= self.low_M[column]) & ~(near_RM >= self.high_M[column])
        row, place = near.nonzero(as_tuple=True)
        foreign = row + start != self.owner_M[column[place]]
        row, place = row[foreign], place[foreign]
        self.close.append((column[place], near_RM[row, place]))

    def count(self, score_RM: Tensor, mask: _Mask) -> None:
        """Of a tile that was added before; only if there were `many`."""
        self.above_M += mask.count_columns(score_RM, self.right_M)

    def ranks(self) -> Tensor:
        """int64 [M], from 0."""
        assert bool(((self.right_M >= self.low_M) & (self.right_M < self.high_M)).all())
        if self.many:
            return self.above_M
        column, value = (torch.cat(parts) for parts in zip(*self.close, strict=True))
        return self.above_M + torch.bincount(column[value >= self.right_M[column]], minlength=len(self.above_M))


def _audio_to_text(score_RM: Tensor, first_R1: Tensor, mask: _Mask) -> tuple[Tensor, Tensor]:
    """Rank (from 0) of the best own caption and average precision, for the clips of a tile that have captions.

    first_R1: int64, where each clip's own captions begin among the columns; the last entry is where they end.
    """
    captions_R = first_R1.diff()
    asked = captions_R.nonzero().flatten()
    most = int(captions_R.max())
    # Own scores, best first; -inf where a clip has fewer.
    place_P = torch.arange(max(most, 1), device=score_RM.device)
    exists_RP = place_P < captions_R[:, None]
    index_RP = (first_R1[:-1, None] + place_P).clamp(max=score_RM.shape[1] - 1)
    own_RP = score_RM.gather(1, index_RP).masked_fill(~exists_RP, -math.inf).sort(dim=1, descending=True).values
    # Of those at least as high as the best own one, the clip's own do not compete.
    best_R = mask.count_rows(score_RM, own_RP[:, 0]) - ((own_RP >= own_RP[:, :1]) & exists_RP).sum(dim=1)
    # The p-th best own caption has p others before it. A rank that matters to mAP@10 has fewer than DEPTH foreign ones
    # at least as high, and these are among the highest DEPTH + `most`. If all of those are at least as high, DEPTH of
    # them are foreign, and the rank does not matter.
    value_RX, column_RX = _highest(score_RM, DEPTH + most)
    foreign_RX = (column_RX < first_R1[:-1, None]) | (column_RX >= first_R1[1:, None])
    total_R = torch.zeros(len(score_RM), dtype=torch.float64, device=score_RM.device)
    for p in range(min(DEPTH, most)):
        rank_R = ((value_RX >= own_RP[:, p : p + 1]) & foreign_RX).sum(dim=1) + p
        total_R += ((rank_R < DEPTH) & exists_RP[:, p]) * (p + 1) / (rank_R + 1).double()
    return best_R[asked], (total_R / captions_R.clamp(min=1, max=DEPTH))[asked]


def _highest(score_RM: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(value_RX, column_RX): a few scores of each row and where they stand, `count` of the highest among them.

    They lie in the `count` groups of columns with the highest maxima: finding these takes a third of comparing.
    """
    groups = score_RM.shape[1] // GROUP
    if groups <= 2 * count:
        return score_RM.topk(min(count, score_RM.shape[1]), dim=1)
    grouped_RGC = score_RM[:, : groups * GROUP].view(len(score_RM), groups, GROUP)
    best_RX = grouped_RGC.amax(dim=2).topk(count, dim=1).indices
    column_RX = (best_RX[:, :, None] * GROUP + torch.arange(GROUP, device=score_RM.device)).flatten(1)
    rest_X = torch.arange(groups * GROUP, score_RM.shape[1], device=score_RM.device)
    column_RX = torch.cat((column_RX, rest_X.expand(len(score_RM), -1)), dim=1)
    value_RX, place_RX = score_RM.gather(1, column_RX).topk(count, dim=1)
    return value_RX, column_RX.gather(1, place_RX)


class _Mask:
    """Counts comparisons eight at a time: bytes of 0 and 1, added up as the lanes of 64-bit words."""

    def __init__(self, rows: int, columns: int, device: torch.device) -> None:
        self.columns = columns
        # Rows are filled up with zeros to 255 pieces of whole words: a byte holds the sum of no more.
        words = 255 * -(-columns // (8 * 255))
        self.bytes = torch.zeros(rows, 8 * words, dtype=torch.bool, device=device)

    def count_columns(self, score_RM: Tensor, threshold_M: Tensor) -> Tensor:
        """Scores per column that reach the column's threshold: int64 [M]; at most 255 rows."""
        found = self.bytes[: len(score_RM)]
        torch.ge(score_RM, threshold_M, out=found[:, : self.columns])
        return found.view(torch.int64).sum(dim=0).view(torch.uint8)[: self.columns].to(torch.int64)

    def count_rows(self, score_RM: Tensor, threshold_R: Tensor) -> Tensor:
        """Scores per row that reach the row's threshold: int64 [R]."""
        found = self.bytes[: len(score_RM)]
        torch.ge(score_RM, threshold_R[:, None], out=found[:, : self.columns])
        word = found.view(torch.int64).view(len(found), 255, -1).sum(dim=1)
        return word.view(torch.uint8).sum(dim=1, dtype=torch.int64)
