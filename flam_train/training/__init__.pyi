from .datamodule import DataConfig as DataConfig, DataModule as DataModule
from .module import FLAMModule as FLAMModule, StepFailed as StepFailed
from .objective import LossConfig as LossConfig
from .optim import OptimConfig as OptimConfig
from .run import Run as Run, build as build, train as train
from .trainer import TrainerConfig as TrainerConfig, build_trainer as build_trainer
