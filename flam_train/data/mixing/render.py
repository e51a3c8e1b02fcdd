"""Pieces of a bank's audio into clips. Two ways for two machines, the same arithmetic.

A CPU adds one piece after the other, touching only the samples that sound. A GPU would spend its time launching
thousands of small kernels: there all clips take their first piece at once, then all their second one, and so on.

Shape suffixes: B clips, R rows that are mixed, S samples, P pieces, N samples of a bank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flam_train.batch import Pieces

FULL_SCALE = 32_767.0

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
    rows = sorted(set(pieces.clip_P.tolist()))
    mixed_RS = waveform_BS[rows].to(torch.float32)
    if bank_N.is_cuda:
        add_in_layers(pieces, rows, bank_N, mixed_RS)
    else:
        add_one_by_one(pieces, rows, bank_N, mixed_RS)
    peak_R1 = mixed_RS.abs().amax(dim=1, keepdim=True)
    mixed_RS *= FULL_SCALE / peak_R1.clamp(min=FULL_SCALE)
    out_BS = waveform_BS.clone()
    out_BS[rows] = mixed_RS.round_().clamp_(-FULL_SCALE, FULL_SCALE).to(torch.int16)
    return out_BS


def add_one_by_one(pieces: Pieces, rows: list[int], bank_N: Tensor, mixed_RS: Tensor) -> None:
    """Adds the pieces to `mixed_RS` (float32, the clips that `rows` lists), in place."""
    place = {row: r for r, row in enumerate(rows)}
    ramps: dict[int, Tensor] = {}
    for c, s, n, t, g in _numbers(pieces):
        piece = bank_N[s : s + n].to(torch.float32)
        fade = min(pieces.fade, n // 2)
        if fade:
            if fade not in ramps:
                ramps[fade] = (torch.arange(fade, device=bank_N.device, dtype=torch.float32) + 0.5) / fade
            piece[:fade].mul_(ramps[fade])
            piece[n - fade :].mul_(ramps[fade].flip(0))
        mixed_RS[place[c], t : t + n].add_(piece, alpha=g)


def add_in_layers(pieces: Pieces, rows: list[int], bank_N: Tensor, mixed_RS: Tensor) -> None:
    """The same, the k-th pieces of up to ROWS clips at a time."""
    queues: dict[int, list[tuple[int, int, int, float]]] = {row: [] for row in rows}
    for c, *piece in _numbers(pieces):
        queues[c].append(tuple(piece))  # type: ignore[arg-type]
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
            fade_R1 = (length_R1 // 2).clamp(max=pieces.fade)
            for edge_RS in (at_RS, length_R1 - 1 - at_RS):
                piece_RS *= torch.where(edge_RS < fade_R1, (edge_RS + 0.5) / fade_R1, 1.0)
            part_RS += torch.where(sounds_RS, piece_RS * gain_R[:, None], 0.0)


def _numbers(pieces: Pieces) -> list[tuple[int, int, int, int, float]]:
    """(clip, start, length, onset, gain) of each piece: the host decides with them, a device would have to be asked."""
    columns = (pieces.clip_P, pieces.start_P, pieces.length_P, pieces.onset_P, pieces.gain_P)
    return list(zip(*(x.tolist() for x in columns), strict=True))
