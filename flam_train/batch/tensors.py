"""What a step is made of, and what the model makes of it.

Shape suffixes: B clips, C phrases or captions, T frames, S samples, L tokens, D embedding width,
P pieces of online mixtures, or sounds that are added to clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from flam_train.batch.sound import INT16_SCALE

SMALL = 1 << 16
"""Bytes below which a tensor is sent rather than shared."""

T = TypeVar("T", bound="Movable")


class Movable:
    """A dataclass of tensors that goes to a device or into pinned memory as one."""

    def _map(self: T, function) -> T:
        changed = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = function(value)
            elif isinstance(value, Movable):
                changed[f.name] = value._map(function)
        return replace(self, **changed)  # type: ignore[type-var]

    def __reduce__(self):
        """Small tensors travel between processes as bytes: in shared memory each would cost a file and a message."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        small = {n: v.numpy() for n, v in values.items() if isinstance(v, Tensor) and v.nbytes < SMALL and plain(v)}
        return _again, (type(self), values | small, tuple(small))

    def to(self: T, device, non_blocking: bool = False) -> T:
        return self._map(lambda x: _once(x, lambda y: y.to(device, non_blocking=non_blocking)))

    def pin_memory(self: T) -> T:
        return self._map(lambda x: _once(x, lambda y: y.pin_memory()))


def plain(x: Tensor) -> bool:
    """Whether numpy can hold it."""
    return x.device.type == "cpu" and not x.requires_grad and x.dtype != torch.bfloat16


def _again(cls: type[T], values: dict, small: tuple[str, ...]) -> T:
    return cls(**values | {name: torch.from_numpy(values[name]) for name in small})


def _once(x: Tensor, function) -> Tensor:
    """Moves an expanded row once: the silence that online mixtures start from is one row for the whole batch."""
    if x.ndim > 1 and x.shape[0] > 1 and x.stride(0) == 0:
        return function(x[:1]).expand_as(x)
    return function(x)


@dataclass(frozen=True)
class Pieces(Movable):
    """The pieces of the mixtures of a batch that are still to be mixed (`data.mixing.render.render`).

    clip_P    int64: the row of the batch the piece belongs to
    start_P   int64: its first sample in the bank's memory
    length_P  int64: its length in samples
    onset_P   int64: where it begins in the clip, in samples
    gain_P    float32: linear amplitude
    fade      samples of linear fade at both ends of each piece
    audio_N   int16: the samples that the pieces begin in, where the bank is not in memory; None: it is
    """

    clip_P: Tensor
    start_P: Tensor
    length_P: Tensor
    onset_P: Tensor
    gain_P: Tensor
    fade: int
    audio_N: Tensor | None = None

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int, float]], fade: int, audio_N: Tensor | None = None) -> Pieces:
        """From (row of the batch, start, length, onset, gain) of each piece."""
        clip, start, length, onset = (torch.tensor([r[k] for r in rows], dtype=torch.int64) for k in range(4))
        return cls(clip, start, length, onset, torch.tensor([r[4] for r in rows], dtype=torch.float32), fade, audio_N)

    def _map(self, function) -> Pieces:
        """Only the samples move: `render` slices by the numbers, so they stay on the host wherever the batch goes."""
        return self if self.audio_N is None else replace(self, audio_N=function(self.audio_N))


@dataclass(frozen=True)
class Added:
    """A sound that is added to a clip.

    samples   of it that are no padding: its level is theirs
    shift     samples that it is rolled by
    level_db  relative to the clip's
    """

    samples: int
    shift: int
    level_db: float


@dataclass(frozen=True)
class Draws:
    """What is done to a clip's waveform, in this order (`data.augment.apply.augmented`).

    shift     samples that it is rolled by
    samples   of it that are no padding, before that: its level is theirs
    added     sounds that are added to it
    band      Hz where a band limit begins and ends, None without one
    gain_db   by which the whole is made louder
    """

    shift: int = 0
    samples: int = 0
    added: tuple[Added, ...] = ()
    band: tuple[float, float] | None = None
    gain_db: float = 0.0


@dataclass(frozen=True)
class Augment(Movable):
    """What is done to the waveforms of a batch on their device.

    draws     of each row: numbers, which stay on the host
    added_PS  int16, the sounds that are added to all rows, one after another
    """

    draws: list[Draws]
    added_PS: Tensor


@dataclass(frozen=True)
class GlobalBatch(Movable):
    """Clips with one caption each: row b of the captions belongs to clip b.

    waveform_BS    int16, 48 kHz mono, padded with zeros
    tokens_CL      int64, C = B, padded to the longest of this batch
    attention_CL   int64, 1 for a token, 0 for padding
    caption_ids_C  int64, equal where captions are equal
    clip_ids_B     int64, equal where clips are the same one of the same corpus
    clip_valid_B   bool, False for a bad sample (its waveform is zeros)
    corpus_B       int64, the clip's corpus, its number in the stream
    seed_B         int64, the clip's augmentation is drawn from it
    keys           the clips' keys, for messages
    errors         what was wrong with the bad samples, one line each
    mixture        the rows that are still to be mixed on the device, if any
    augment        what is still to be done to the rows there, after that, if anything
    """

    waveform_BS: Tensor
    tokens_CL: Tensor
    attention_CL: Tensor
    caption_ids_C: Tensor
    clip_ids_B: Tensor
    clip_valid_B: Tensor
    corpus_B: Tensor
    seed_B: Tensor
    keys: list[str]
    errors: list[str] = field(default_factory=list)
    mixture: Pieces | None = None
    augment: Augment | None = None


@dataclass(frozen=True)
class FrameBatch(Movable):
    """Clips with timed events, or with tags, and the phrases of this rank.

    waveform_BS       int16, 48 kHz mono, padded with zeros
    tokens_CL         int64, one phrase a column of the labels, padded to the longest
    attention_CL      int64, 1 for a token, 0 for padding
    phrase_ids_C      int64, `vocabulary.phrase_id` of the concept
    phrase_valid_C    bool, False for a concept that is positive here but was not drawn
    annotated_in_C    int64, bit k: corpus k annotates this concept
    label_BCT         bool, the true labels, also of columns that are not valid: frames of the events; of tags those
                      somewhere in which the phrase is heard
    audio_valid_B     bool, False for a bad sample (its waveform is zeros)
    corpus_B          int64, the clip's corpus, 0 to 62
    seed_B            int64, the clip's augmentation is drawn from it
    keys, errors, mixture, augment   as in GlobalBatch
    unknown_BC        bool, what the clip's tags leave open: such a pair counts in no loss. None: nothing
    row_of            of each phrase id the `token_row`, in the order of the columns; stays on the host, where a frozen
                      text tower's vectors are looked up by it (`models.kept_text`). Empty: they are not
    """

    waveform_BS: Tensor
    tokens_CL: Tensor
    attention_CL: Tensor
    phrase_ids_C: Tensor
    phrase_valid_C: Tensor
    annotated_in_C: Tensor
    label_BCT: Tensor
    audio_valid_B: Tensor
    corpus_B: Tensor
    seed_B: Tensor
    keys: list[str]
    errors: list[str] = field(default_factory=list)
    mixture: Pieces | None = None
    augment: Augment | None = None
    unknown_BC: Tensor | None = None
    row_of: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class StepBatch(Movable):
    """What one optimiser step takes on one rank. Each part may be switched off (None).

    captions for the global loss, events for the frame losses, tags for the weak loss.
    """

    step: int
    captions: GlobalBatch | None
    events: FrameBatch | None
    tags: FrameBatch | None = None

    def parts(self) -> list[GlobalBatch | FrameBatch]:
        """Those that are there, always in this order."""
        return [part for part in (self.captions, self.events, self.tags) if part is not None]


@dataclass(frozen=True)
class AudioEmbeddings(Movable):
    """clip_BD float, unit length; frame_BTD float, unit length."""

    clip_BD: Tensor
    frame_BTD: Tensor


@dataclass(frozen=True)
class TextEmbeddings(Movable):
    """text_CD float, unit length; scale_C float > 0, multiplies the cosine; bias_C float, the logit prior."""

    text_CD: Tensor
    scale_C: Tensor
    bias_C: Tensor

    @classmethod
    def joined(cls, parts: Sequence[TextEmbeddings]) -> TextEmbeddings:
        """One under the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def token_row(tokens_L: Tensor, attention_L: Tensor) -> bytes:
    """By which a text is known: its tokens (int64) without padding, as int32."""
    return tokens_L[attention_L > 0].to(torch.int32).numpy().tobytes()


def to_float(waveform_BS: Tensor) -> Tensor:
    """int16 to float32 in [-1, 1); a float waveform is returned as it is."""
    return waveform_BS.to(torch.float32) / INT16_SCALE if waveform_BS.dtype == torch.int16 else waveform_BS


def full_precision(x: Tensor) -> Tensor:
    """float32, or float64 where it is that: for what bfloat16 would spoil."""
    return x if x.dtype == torch.float64 else x.float()
