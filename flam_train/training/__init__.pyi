from .datamodule import DataConfig as DataConfig, DataModule as DataModule
from .health import StepFailed as StepFailed
from .module import FLAMModule as FLAMModule
from .objective import LossConfig as LossConfig
from .optim import OptimConfig as OptimConfig
from .run import Run as Run, build as build, train as train
from .trainer import TrainerConfig as TrainerConfig, build_trainer as build_trainer
