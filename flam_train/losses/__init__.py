"""FLAM's losses. Each is the loss of the joined batch of all ranks; torch.distributed is found by itself."""

from flam_train.losses.contrastive import contrastive_loss
from flam_train.losses.framewise import framewise_loss
from flam_train.losses.prior import prior_loss

__all__ = ["contrastive_loss", "framewise_loss", "prior_loss"]
