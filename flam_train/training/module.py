"""The LightningModule: one step over its batches, and streamed validation.

Shape suffixes: B clips, S samples, C phrases, L tokens, T frames, D embedding width.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from flam_train.batch import AudioEmbeddings, FrameBatch, GlobalBatch, StepBatch, TextEmbeddings
from flam_train.data.augment.apply import augmented
from flam_train.data.mixing.source import render
from flam_train.distributed import gather_plain, gather_rows, rank, sum_over_ranks, world_size
from flam_train.models.flam import FLAM
from flam_train.training.by_corpus import ByCorpus
from flam_train.training.micro_batches import joined
from flam_train.training.objective import LossConfig, losses
from flam_train.training.optim import OptimConfig, build_optimizer, held, hold_to, lr_factor


class StepFailed(ValueError):
    """Raised on all ranks at the same step. found: what this rank knows of it, plain data."""

    def __init__(self, message: str, step: int, found: dict[str, Any]):
        super().__init__(message)
        self.step, self.found = step, found


REQUEST_KINDS = 3
"""Of requests to stop: `interrupt.REQUESTS`."""


@dataclass
class Requests:
    """asked: whether this process was asked to stop: 0, or 1 + the place of the request in `interrupt.REQUESTS`."""

    asked: int = 0


class FLAMModule(LightningModule):
    """Trains a FLAM.

    memory_N: int16, the audio that online mixtures are made from, or None. seed: of everything that is random in a
    step. total_steps: where the schedule ends. accumulate: shares of a batch that the encoders take one at a time.
    by_corpus: is told of every step's losses.
    """

    def __init__(
        self,
        model: FLAM,
        loss: LossConfig,
        optim: OptimConfig,
        total_steps: int,
        seed: int,
        memory_N: Tensor | None = None,
        accumulate: int = 1,
        by_corpus: ByCorpus | None = None,
    ):
        super().__init__()
        self.model, self.loss, self.optim = model, loss, optim
        self.total_steps, self.seed = total_steps, seed
        self.memory_N, self.accumulate = memory_N, accumulate
        self.by_corpus = by_corpus or ByCorpus({})
        self.bad, self.seen = 0, 0
        self._told, self._untold = float("-inf"), 0
        self.at, self.keys = 0, dict[str, list[str]]()
        self.requests = Requests()
        self.stopping = 0  # as `requests.asked`, agreed by all ranks: at the end of this step
        self.curves: dict[str, Tensor | float] = {}  # of the last step, as the loggers are given them
        self.validation_metrics = torch.nn.ModuleDict()
        self._held: set[str] = held(model, optim, 0)

    # -- one step

    def training_step(self, batch: Sequence[StepBatch], batch_idx: int) -> Tensor:
        """batch: the micro-batches of one step."""
        # A rank's generators are in no checkpoint: every step starts them anew, so resuming is exact.
        torch.manual_seed(step_seed(self.seed, batch[0].step, rank()))
        step = joined(batch)
        self._learn_from(step.step)
        audio, text = self.embed(batch, step)
        losses = self.losses(step, audio, text)
        self.at, self.keys = step.step, keys_of(step)
        self.check_health(losses, step, audio.frame_BTD, text.text_CD)
        total = torch.stack([self.loss.weights[name] * value for name, value in losses.items()]).sum()
        self.curves = {f"loss/{name}": value.detach() for name, value in losses.items()}
        self.curves["loss/total"] = total.detach()
        if self.bad:
            self.curves["data/bad_samples"] = self.bad
        return total

    def embed(self, batch: Sequence[StepBatch], step: StepBatch) -> tuple[AudioEmbeddings, TextEmbeddings]:
        """All kinds of clips of all micro-batches through the audio encoder in one pass: the captions' rows first, then
        the events', then the tags'; texts of each kind through theirs, for phrases are shorter than captions. step: the
        micro-batches joined."""
        ordered: list[GlobalBatch | FrameBatch | None] = [part.captions for part in batch]
        ordered += [part.events for part in batch]
        ordered += [part.tags for part in batch]
        waveforms = [self.rendered(part) for part in ordered if part is not None]
        parts = step.parts()
        valid_B = torch.cat([p.clip_valid_B if isinstance(p, GlobalBatch) else p.audio_valid_B for p in parts])
        audio = self.model.embed_audio(waveforms, torch.cat([p.seed_B for p in parts]), valid_B, self.accumulate)
        return audio, TextEmbeddings.joined([self.texts(part) for part in parts])

    def texts(self, part: GlobalBatch | FrameBatch) -> TextEmbeddings:
        """Of its captions, or its phrases. What a frozen tower makes of phrases is kept; captions seldom come again."""
        rows = list(part.row_of.values()) if isinstance(part, FrameBatch) else []
        known = rows if len(rows) == len(part.tokens_CL) else None
        return self.model.embed_tokens(part.tokens_CL, part.attention_CL, self.accumulate, known)

    def rendered(self, part: GlobalBatch | FrameBatch) -> Tensor:
        """waveform_BS with what was left to be done on this device: int16, or float32 where clips are augmented."""
        waveform_BS = self.mixed(part)
        return waveform_BS if part.augment is None else augmented(part.augment, waveform_BS)

    def mixed(self, part: GlobalBatch | FrameBatch) -> Tensor:
        """waveform_BS int16 with the rows that were left to be mixed."""
        if part.mixture is None:
            return part.waveform_BS
        if part.mixture.audio_N is not None:
            return render(part.mixture, part.mixture.audio_N, part.waveform_BS)
        if self.memory_N is None:
            raise AssertionError("a batch has mixtures to render, but the module was given no bank")
        if self.memory_N.device != part.waveform_BS.device:
            self.memory_N = self.memory_N.to(part.waveform_BS.device)
        return render(part.mixture, self.memory_N, part.waveform_BS)

    def losses(self, step: StepBatch, audio: AudioEmbeddings, text: TextEmbeddings) -> dict[str, Tensor]:
        """The first of `objective.losses`."""
        values, terms = losses(self.loss, step, audio, text, self.model.logit_scale)
        self.by_corpus.keep(step, terms)
        return values

    def check_health(self, losses: dict[str, Tensor], batch: StepBatch, *embeddings: Tensor) -> None:
        """Stops all ranks at the same step: on a loss that is not finite, too many bad samples, or a request.

        embeddings: of this rank; the losses are those of all ranks, and do not tell whose clips they come from."""
        parts = batch.parts()
        mine = [sum(len(p.errors) for p in parts), sum(len(p.keys) for p in parts)]
        finite = torch.stack([x.detach() for x in losses.values()]).isfinite().all()
        asked = [int(self.requests.asked == request) for request in range(1, 1 + REQUEST_KINDS)]
        counts = torch.tensor([0, *mine, *asked], device=finite.device)
        counts[0] = ~finite
        broken, bad, seen, *asked = sum_over_ranks(counts).tolist()
        self.stopping = max((request for request, count in enumerate(asked, 1) if count), default=0)
        if broken:
            values = {k: float(v.detach()) for k, v in losses.items()}
            said = ", ".join(f"{k} {v:g}" for k, v in values.items())
            own = torch.stack([x.detach().isfinite().all() for x in embeddings]).all()
            finite_R = gather_rows(own[None], [1] * world_size()).tolist()
            whose = ", ".join(str(r) for r, one in enumerate(finite_R) if not one) or "none"
            raise self.failed(f"a loss is not finite ({said}); embeddings that are not: of rank {whose}", losses=values)
        self.bad, self.seen = self.bad + bad, self.seen + seen
        here = f"{socket.gethostname()}: " if world_size() > 1 else ""
        errors = [f"{here}{e}" for p in parts for e in p.errors]
        self.tell(errors)
        if bad and self.bad > self.loss.max_bad_share * max(self.seen, self.loss.bad_grace):
            some = [e for of_rank in gather_plain(errors[:5]) for e in of_rank]
            raise self.failed(
                f"{self.bad} of {self.seen} samples are bad, over {self.loss.max_bad_share:.0%}: mend the shards, "
                f"or raise loss.max_bad_share; {'; '.join(some[:5])}",
                errors=errors,
            )

    def failed(self, why: str, **found: Any) -> StepFailed:
        """What all ranks meet in this step."""
        return StepFailed(f"step {self.at}: {why}", self.at, {"rank": rank(), "step": self.at, **self.keys, **found})

    def tell(self, errors: list[str]) -> None:
        """Prints this rank's bad samples, at most one line in 10 s: a broken disk must not fill the log."""
        now = time.monotonic()
        self._untold += len(errors)
        if errors and now - self._told > 10:
            more = f" (and {self._untold - 1} more since the last such line)" if self._untold > 1 else ""
            print(f"\nbad sample {errors[0]}{more}", file=sys.stderr, flush=True)
            self._told, self._untold = now, 0

    # -- validation: streamed metrics only; the protocols run from an export, in `evaluation`

    def validation_step(self, batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if not batch.keys:
            return  # this rank has no clip left
        audio = self.model.embed_audio(batch.waveform_BS)
        name = list(self.validation_metrics)[dataloader_idx]
        self.validation_metrics[name].update(self.model, audio, batch)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        for name, metric in self.validation_metrics.items():
            for key, value in metric.compute().items():  # type: ignore[operator]
                # Already that of all ranks, and logged on all of them: they agree on what the best checkpoint is.
                self.log(f"val/{name}/{key}", float(value))

    def on_validation_end(self) -> None:
        for metric in self.validation_metrics.values():
            metric.reset()  # type: ignore[operator]

    # -- Lightning's hooks

    def train(self, mode: bool = True) -> FLAMModule:
        super().train(mode)
        self._hold()  # a frozen tower neither learns nor drops
        return self

    def _hold(self) -> None:
        """What does not learn at this step is in eval mode, what does is in the module's own."""
        if not self.training:
            return
        still = {name for name, p in self.model.named_parameters() if not p.requires_grad} | self._held
        for name, module in self.model.named_modules():
            mine = {f"{name}.{own}" if name else own for own, _ in module.named_parameters()}
            if mine:
                module.train(not mine <= still)

    def _learn_from(self, step: int) -> None:
        """Lets learn what does so from this step on."""
        if self._held and (now := held(self.model, self.optim, step)) != self._held:
            self._held = now
            self._hold()

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.optim, self._scaled)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(step, self.optim, self.total_steps)
        )
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def _scaled(self) -> bool:
        """Whether gradients come times a scale, as in 16-mixed."""
        trainer = self._trainer
        return trainer is not None and getattr(trainer.precision_plugin, "scaler", None) is not None

    def on_train_start(self) -> None:
        self.train()  # Lightning leaves modes as they are, and transformers gives towers in eval mode
        hold_to(self.trainer.optimizers[0], self.lr_schedulers(), self._groups)  # type: ignore[arg-type]

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """Clips, and stops before a gradient that is not finite reaches the weights: it is the same on all ranks."""
        if self._held:
            for name, parameter in self.model.named_parameters():
                if name in self._held:
                    parameter.grad = None  # AdamW passes over it: no step, no decay, no moments
        parameters = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.optim.clip or float("inf"))
        lr = self.optim.lr * lr_factor(self.at, self.optim, self.total_steps)  # before a part's `lr_scale`
        self.curves |= {"optim/gradient_norm": norm, "optim/lr": lr}
        # 16-mixed looks for its scale by steps that overflow, and leaves them out.
        if not norm.isfinite() and not self._scaled:
            raise self.failed(f"the gradient's norm is {float(norm)}", gradient_norm=float(norm))

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.model.clamp_logit_scale()  # before any callback saves it

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["samples"] = {"bad": self.bad, "seen": self.seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.bad, self.seen = checkpoint["samples"]["bad"], checkpoint["samples"]["seen"]


def keys_of(batch: StepBatch) -> dict[str, list[str]]:
    """Which samples this rank has."""
    parts = {"global": batch.captions, "frame": batch.events, "weak": batch.tags}
    return {f"{name} keys": list(part.keys) for name, part in parts.items() if part is not None}


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's generators, a function of its arguments alone."""
    text = f"{seed}/{step}/{rank}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
