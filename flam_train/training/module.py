"""The LightningModule: one step over its batches, and streamed validation.

Shape suffixes: B clips, S samples, C phrases, L tokens, T frames, D embedding width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from flam_train.batch import AudioEmbeddings, FrameBatch, GlobalBatch, StepBatch, TextEmbeddings
from flam_train.data.augment.apply import augmented
from flam_train.data.mixing.source import render
from flam_train.distributed import rank
from flam_train.models.flam import FLAM
from flam_train.training.by_corpus import ByCorpus
from flam_train.training.health import Health
from flam_train.training.micro_batches import joined
from flam_train.training.objective import LossConfig, losses
from flam_train.training.optim import OptimConfig, build_optimizer, held, hold_to, lr_factor


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
        self.health = Health(loss.max_bad_share, loss.bad_grace)
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
        self.health.begin(losses, step, audio.frame_BTD, text.text_CD)
        total = torch.stack([self.loss.weights[name] * value for name, value in losses.items()]).sum()
        self.curves = {f"loss/{name}": value.detach() for name, value in losses.items()}
        self.curves["loss/total"] = total.detach()
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
        """Clips, and stops before a step that must not be taken reaches the weights, on all ranks."""
        if self._held:
            for name, parameter in self.model.named_parameters():
                if name in self._held:
                    parameter.grad = None  # AdamW passes over it: no step, no decay, no moments
        parameters = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.optim.clip or float("inf"))
        # 16-mixed looks for its scale by steps that overflow, and leaves them out.
        self.health.judge(None if self._scaled else norm)
        lr = self.optim.lr * lr_factor(self.health.step, self.optim, self.total_steps)  # before a part's `lr_scale`
        self.curves |= {"optim/gradient_norm": norm, "optim/lr": lr}
        if self.health.bad:
            self.curves["data/bad_samples"] = self.health.bad

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.model.clamp_logit_scale()  # before any callback saves it

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["samples"] = {"bad": self.health.bad, "seen": self.health.seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.health.bad, self.health.seen = checkpoint["samples"]["bad"], checkpoint["samples"]["seen"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's generators, a function of its arguments alone."""
    text = f"{seed}/{step}/{rank}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
