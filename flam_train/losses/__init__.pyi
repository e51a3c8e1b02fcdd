from .contrastive import contrastive_loss as contrastive_loss
from .framewise import framewise_loss as framewise_loss
from .prior import prior_loss as prior_loss
from .weak import weak_loss as weak_loss
