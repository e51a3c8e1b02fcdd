"""Pieces of a bank's audio into clips. Two ways for two machines, the same arithmetic.

A CPU adds one piece after the other, touching only the samples that sound. A GPU would spend its time launching
thousands of small kernels: there all clips take their first piece at once, then all their second one, and so on.

Shape suffixes: B clips, R rows that are mixed, S samples, P pieces, N samples of a bank.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flam_train.batch import Pieces

FULL_SCALE = 32_767.0

Piece = tuple[int, int, int, float]
"""(start, length, onset, gain)."""

ROWS = 32
"""Clips that a GPU mixes at once: 10 s of them take about 0.6 GB while it does."""


@torch.no_grad()
def render(pieces: Pieces, bank_N: Tensor, waveform_BS: Tensor) -> Tensor:
    """Adds the pieces to the rows they name: int16 [B, S], on the device of `bank_N` (int16 [N]) and `waveform_BS`.

    Each piece is multiplied by its gain and by linear fades of `pieces.fade` samples at both ends (half of it, if
    it is shorter than both fades); sums are float32, in the order of the pieces. A row whose peak passes full
    scale is scaled down to it. Rows that no piece names come back as they were.
    """
    if not len(pieces.clip_P):
        return waveform_BS
    queues = _queues(pieces)
    out_BS = waveform_BS.clone()
    (add_in_layers if bank_N.is_cuda else add_one_by_one)(queues, pieces.fade, bank_N, out_BS)
    return out_BS


def to_int16(mixed_RS: Tensor) -> Tensor:
    """float32, which is overwritten; what passes full scale is scaled down to it, row by row."""
    peak_R1 = mixed_RS.abs().amax(dim=-1, keepdim=True)
    mixed_RS *= FULL_SCALE / peak_R1.clamp(min=FULL_SCALE)
    return mixed_RS.round_().clamp_(-FULL_SCALE, FULL_SCALE).to(torch.int16)


def add_one_by_one(queues: Mapping[int, list[Piece]], fade: int, bank_N: Tensor, waveform_BS: Tensor) -> None:
    """Adds the pieces of each clip to its row of waveform_BS (int16), in place. A clip at a time, which stays in the
    cache."""
    ramps: dict[int, Tensor] = {}
    for row, queue in queues.items():
        mixed_S = waveform_BS[row].to(torch.float32)
        for s, n, t, g in queue:
            piece = bank_N[s : s + n].to(torch.float32)
            faded = min(fade, n // 2)
            if faded:
                if faded not in ramps:
                    ramps[faded] = (torch.arange(faded, device=bank_N.device, dtype=torch.float32) + 0.5) / faded
                piece[:faded].mul_(ramps[faded])
                piece[n - faded :].mul_(ramps[faded].flip(0))
            mixed_S[t : t + n].add_(piece, alpha=g)
        waveform_BS[row] = to_int16(mixed_S)


def add_in_layers(queues: Mapping[int, list[Piece]], fade: int, bank_N: Tensor, waveform_BS: Tensor) -> None:
    """The same, the k-th pieces of up to ROWS clips at a time."""
    rows = list(queues)
    mixed_RS = waveform_BS[rows].to(torch.float32)
    sample_S = torch.arange(mixed_RS.shape[1], device=bank_N.device)
    for first in range(0, len(rows), ROWS):
        mine = [queues[row] for row in rows[first : first + ROWS]]
        depth = max(map(len, mine))
        # A clip with fewer pieces than its neighbours has empty ones at the end.
        padded = [[*queue, *[(0, 0, 0, 0.0)] * (depth - len(queue))] for queue in mine]
        places_KR3 = torch.tensor([[q[k][:3] for q in padded] for k in range(depth)]).to(bank_N.device)
        gains_KR = torch.tensor([[q[k][3] for q in padded] for k in range(depth)], dtype=torch.float32)
        gains_KR = gains_KR.to(bank_N.device)
        part_RS = mixed_RS[first : first + ROWS]
        for places_R3, gain_R in zip(places_KR3, gains_KR, strict=True):
            start_R1, length_R1, onset_R1 = places_R3[:, :, None].unbind(1)
            at_RS = sample_S - onset_R1
            sounds_RS = (at_RS >= 0) & (at_RS < length_R1)
            piece_RS = bank_N[(start_R1 + at_RS).where(sounds_RS, 0)].to(torch.float32)
            fade_R1 = (length_R1 // 2).clamp(max=fade)
            for edge_RS in (at_RS, length_R1 - 1 - at_RS):
                piece_RS *= torch.where(edge_RS < fade_R1, (edge_RS + 0.5) / fade_R1, 1.0)
            part_RS += torch.where(sounds_RS, piece_RS * gain_R[:, None], 0.0)
    waveform_BS[rows] = to_int16(mixed_RS)


def _queues(pieces: Pieces) -> dict[int, list[Piece]]:
    """Of each clip that has some its pieces: the host decides with their numbers, a device would have to be asked."""
    columns = (pieces.clip_P, pieces.start_P, pieces.length_P, pieces.onset_P, pieces.gain_P)
    queues: dict[int, list[Piece]] = {}
    for clip, *piece in sorted(zip(*(x.tolist() for x in columns), strict=True), key=lambda piece: piece[0]):
        queues.setdefault(clip, []).append(tuple(piece))
    return queues
