from .apply import augmented as augmented
from .config import AugmentConfig as AugmentConfig
from .draw import Augmentation as Augmentation
