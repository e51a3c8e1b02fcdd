"""A model as two ONNX graphs, which onnxruntime runs without torch. Optional: flam-train[export].

audio.onnx   waveform [B, S] -> clip [B, D], frame [B, T, D], unit vectors
text.onnx    input_ids, attention_mask [C, L] -> text [C, D], unit vectors, scale [C] > 0, bias [C]
flam.json    what to know of them: rate, lengths, frames, how to score, and how far they are from the model
tokenizer/   the tokenizer's files; its tokenizer.json cuts and pads as the model needs it

B, C and L are free, all floats are float32, tokens int64.

Shape suffixes: B clips, S samples, T frames, C phrases, L tokens, D embedding width.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flam_train import __version__
from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import TOKENIZER
from flam_train.disk import replacing
from flam_train.models.flam import FLAM

ABOUT = "flam.json"

ONNX_VERSION = 1
"""Of flam.json."""

OPSET = 18
"""The oldest that has all we need (STFT came with 17, Resize as it is used here with 18)."""

TOLERANCE = 1e-4
"""How far numbers may be from the model's; of a scale or bias beyond 1, relative to it."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class AudioGraph(nn.Module):
    file, inputs, outputs = "audio.onnx", ("waveform",), ("clip", "frame")

    def __init__(self, model: FLAM):
        super().__init__()
        self.model = model

    def forward(self, waveform_BS: Tensor) -> tuple[Tensor, ...]:
        found = self.model.embed_audio(waveform_BS)
        return found.clip_BD, found.frame_BTD

    def free(self) -> tuple[dict[int, Any], ...]:
        """Of each input the dimensions of any size."""
        return ({0: torch.export.Dim("clips")},)

    def examples(self) -> list[tuple[Tensor, ...]]:
        """What it is tried on; it is traced with the last."""
        samples = self.model.config.frontend.samples
        noise_BS = torch.randn(3, samples, generator=torch.Generator().manual_seed(0))
        tone_BS = torch.sin(2 * torch.pi * torch.tensor([[100.0], [1000.0]]) * torch.arange(samples) / SAMPLE_RATE)
        # With dither, as every recording has it: else the model's own rounding is what is heard between the tones.
        return [(torch.zeros(1, samples),), (tone_BS + 1e-3 * noise_BS[:2],), (0.1 * noise_BS,)]


class TextGraph(nn.Module):
    file, inputs, outputs = "text.onnx", ("input_ids", "attention_mask"), ("text", "scale", "bias")

    def __init__(self, model: FLAM):
        super().__init__()
        self.model = model

    def forward(self, input_ids_CL: Tensor, attention_mask_CL: Tensor) -> tuple[Tensor, ...]:
        found = self.model.embed_tokens(input_ids_CL, attention_mask_CL)
        return found.text_CD, found.scale_C, found.bias_C

    def free(self) -> tuple[dict[int, Any], ...]:
        phrases = torch.export.Dim("phrases")
        tokens = torch.export.Dim("tokens", max=self.model.config.text.max_tokens)
        return ({0: phrases, 1: tokens}, {0: phrases, 1: tokens})

    def examples(self) -> list[tuple[Tensor, ...]]:
        assert self.model.tokenizer is not None
        texts = (["a dog"], ["rain", "a siren far away, then nearer", "on and " * self.model.config.text.max_tokens])
        return [self.model.tokenizer(text) for text in texts]


class ExactLogMel(nn.Module):
    """A log-mel in float64, its result in float32.

    Beside a pure tone at full scale every bin holds the rounding of the FFT alone, which lies above the floor of
    -100 dB and is another one in onnxruntime. In float64 it lies below.
    """

    def __init__(self, logmel: nn.Module):
        super().__init__()
        self.logmel = copy.deepcopy(logmel).double()

    def forward(self, waveform_BS: Tensor) -> Tensor:
        return self.logmel(waveform_BS).float()


def exact(model: FLAM) -> FLAM:
    """The model with an exact log-mel; its weights are the same tensors."""
    shared = {id(weight): weight for weight in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.frontend.logmel = ExactLogMel(model.frontend.logmel)  # type: ignore[assignment]
    return twin


def save_onnx(model: FLAM, folder: str | Path) -> dict[str, float]:
    """Writes the folder whole or not at all, and returns how far each output is from the model's (`differences`).

    model: in eval mode, on the CPU, with its tokenizer. Raises ValueError without the packages, for a folder that holds
    something else, and where a graph is further than TOLERANCE from the model.
    """
    folder = Path(folder)
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise ValueError(f"ONNX needs {' and '.join(lacking)}: pip install 'flam-train[export]'")
    if model.tokenizer is None:
        raise ValueError("this model has no tokenizer, and no one could ask it: load it from an export that has one")
    with replacing(folder, "ONNX model", (ABOUT, AudioGraph.file, TextGraph.file, TOKENIZER)) as draft:
        for graph in (AudioGraph(exact(model)), TextGraph(model)):
            _trace(graph, draft / graph.file)
        found = differences((AudioGraph(model), TextGraph(model)), draft)
        far = [f"{name} {by:.1e}" for name, by in found.items() if not by <= TOLERANCE]
        if far:
            raise ValueError(f"{folder}: not written, as onnxruntime is off by {', '.join(far)}: try another version")
        model.tokenizer.save(draft / TOKENIZER)
        if (backend := getattr(model.tokenizer.backend, "backend_tokenizer", None)) is not None:
            model.tokenizer(["a"])  # from here on it cuts and pads as ours does
            backend.save(str(draft / TOKENIZER / "tokenizer.json"))
        (draft / ABOUT).write_text(json.dumps(about(model, found), indent=2) + "\n")
    return found


def about(model: FLAM, found: dict[str, float]) -> dict[str, Any]:
    """What stands in flam.json."""
    import onnxruntime

    known = ("name", "run", "source", "steps", "sha256", "commit")
    return {
        "flam_onnx": ONNX_VERSION,
        "sample_rate": SAMPLE_RATE,
        "samples": model.config.frontend.samples,
        "frames": model.grid.frames,
        "frame_seconds": model.grid.frame_seconds,
        "embedding": model.config.embedding,
        "max_tokens": model.config.text.max_tokens,
        "method": model.default_method,
        "differences": found,
        "versions": {"flam_train": __version__, "torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
        "model": {name: model.provenance[name] for name in known if name in model.provenance},
    }


@torch.inference_mode()
def differences(graphs: Sequence[AudioGraph | TextGraph], folder: Path) -> dict[str, float]:
    """The largest of each output between torch and onnxruntime, over the examples: absolute, beyond 1 relative."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    out: dict[str, float] = {}
    for graph in graphs:
        session = onnxruntime.InferenceSession(folder / graph.file, options, providers=["CPUExecutionProvider"])
        for given in graph.examples():
            found = session.run(graph.outputs, {n: x.numpy() for n, x in zip(graph.inputs, given, strict=True)})
            for name, one, other in zip(graph.outputs, found, graph(*given), strict=True):
                apart = (torch.from_numpy(one) - other).abs() / other.abs().clamp(min=1)
                out[name] = max(out.get(name, 0.0), float(apart.max()))
    return out


def _trace(graph: AudioGraph | TextGraph, path: Path) -> None:
    # Fused attention lays its result out in a way that the exporter loses track of.
    with _quiet(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            graph.eval(),
            graph.examples()[-1],
            dynamo=True,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_shapes=graph.free(),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(path)  # more than 2 GB go into a file beside it


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that it has no use for here, and of sizes that have two names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
