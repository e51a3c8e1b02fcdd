"""What tests may need and a machine may lack, as marks."""

import shutil
from importlib.util import find_spec

import pytest

HAS_WANDB = find_spec("wandb") is not None
WANDB = pytest.mark.skipif(not HAS_WANDB, reason="needs wandb")
FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
ONNX = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason="needs flam-train[export]"
)
