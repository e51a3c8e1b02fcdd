"""Writes what LAION's own code computes, with weights by the rule of tests/samples/by_formula.py.

    pip install laion-clap torch torchvision       # in an environment of its own
    python tests/parity/laion/make.py              # writes the files beside it

`CLAP` of the package laion-clap 1.1.7 is built without its hub names and its weights: RoBERTa is made from its
configuration, and for `tiny_outputs.npz` it has 2 layers and 1000 words, which keeps the test small; everything else is
the package's. `*_state_dict.json` are the names and shapes of models of full size.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from transformers import RobertaConfig, RobertaModel

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "samples"))
package = importlib.util.find_spec("laion_clap")
assert package is not None, "pip install laion-clap"
# The package's own __init__ asks the hub for tokenizers; its modules do not.
sys.path.append(str(Path(str(package.origin)).parent))

from by_formula import tokens, waveforms, weight  # noqa: E402
from clap_module.model import CLAP  # noqa: E402

CONFIGS = Path(str(package.origin)).parent / "clap_module" / "model_configs"
ROBERTA = {
    "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
SMALL = {"vocab_size": 1000, "num_hidden_layers": 2, "intermediate_size": 512, "max_position_embeddings": 80}


def build(name: str, fusion: bool, **text: int) -> CLAP:
    config = json.loads((CONFIGS / f"HTSAT-{name}.json").read_text())
    config["text_cfg"]["model_type"] = "roberta"
    made = lambda _: RobertaModel(RobertaConfig(**{**ROBERTA, **text}))  # noqa: E731
    with patch.object(RobertaModel, "from_pretrained", made):
        return CLAP(**config, enable_fusion=fusion, fusion_type="aff_2d" if fusion else "None").eval()


CONSTANT = ("spectrogram_extractor", "logmel_extractor", "relative_position_index", "attn_mask", "_ids", "num_batches")
"""In a name: what the rule does not make."""


def described(model: CLAP) -> str:
    """Names and shapes, a line each."""
    rows = [f"  {json.dumps(name)}: {json.dumps(list(x.shape))}" for name, x in model.state_dict().items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


for name, fusion in (("tiny", False), ("base", False), ("tiny", True)):
    file = HERE / f"{name}{'_fusion' * fusion}_state_dict.json"
    file.write_text(described(build(name, fusion)))

model = build("tiny", False, **SMALL)
state = {k: x if any(c in k for c in CONSTANT) else weight(k, x.shape) for k, x in model.state_dict().items()}
model.load_state_dict(state)
(HERE / "tiny_small_text_state_dict.json").write_text(described(model))
tokens_CL, attention_CL = tokens(SMALL["vocab_size"])
wave_BS = waveforms()
with torch.inference_mode():
    batch = [{"waveform": x, "longer": torch.tensor([False])} for x in wave_BS]
    heard = model.audio_branch({"waveform": wave_BS}, device="cpu")
    outputs = {
        "clip_BD": model.get_audio_embedding(batch),
        "text_CD": model.get_text_embedding({"input_ids": tokens_CL, "attention_mask": attention_CL}),
        # One row a frame, before the projection; the package repeats each 32 times.
        "frame_BTD": heard["fine_grained_embedding"][:2, ::32, :24],
    }
    front = model.audio_branch.logmel_extractor(model.audio_branch.spectrogram_extractor(wave_BS[:1]))
    outputs["logmel_NF"] = front[0, 0, ::50]
    outputs["mel_columns"] = model.audio_branch.logmel_extractor.melW[:, [0, 31, 63]]
np.savez_compressed(HERE / "tiny_outputs.npz", **{k: v.numpy() for k, v in outputs.items()})
