"""Writes names and shapes of HTS-AT's own AudioSet checkpoints.

    git clone https://github.com/RetroCirce/HTS-Audio-Transformer
    pip install torch torchlibrosa librosa h5py
    python tests/parity/htsat/make.py HTS-Audio-Transformer      # writes tiny_state_dict.json beside it

The model is built as its training script does, and named as in the Lightning module whose checkpoints they are.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, sys.argv[1])
sys.modules["museval"] = types.ModuleType("museval")  # imported for metrics that nothing here calls

import config  # noqa: E402
from model.htsat import HTSAT_Swin_Transformer  # noqa: E402

model = HTSAT_Swin_Transformer(
    spec_size=config.htsat_spec_size,
    patch_size=config.htsat_patch_size,
    in_chans=1,
    num_classes=config.classes_num,
    window_size=config.htsat_window_size,
    config=config,
    depths=config.htsat_depth,
    embed_dim=config.htsat_dim,
    patch_stride=config.htsat_stride,
    num_heads=config.htsat_num_head,
)
rows = [f"  {json.dumps(f'sed_model.{k}')}: {json.dumps(list(x.shape))}" for k, x in model.state_dict().items()]
(HERE / "tiny_state_dict.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
