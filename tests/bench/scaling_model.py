"""What a training step costs on many GPUs: bytes, messages, FLOP and memory of every part, and what follows from them.

    python tests/bench/scaling_model.py              # the tables of docs/scaling.md
    python tests/bench/scaling_model.py --phrases 40 # for other shares of a GPU: --captions --events --phrases

Messages and bytes are those of the code (tests/distributed/test_scaling_model.py counts them); parameters and FLOP of
the towers, and operations and memory of the frame-wise loss, are counted here; the machine is `ASSUMED`. No GPU was
measured.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
from accounting import peak_bytes

from flam_train.losses import framewise, framewise_loss

Messages = list[tuple[str, float]]
"""(name of the collective, bytes that a rank sends)."""

FLOAT = 4
FRAMES, WIDTH, MEL_BINS, TOKENS = 32, 512, 64, 12

LOSS_RATE = "float32 (TF32) FLOP/s that the losses reach"
ASSUMED = {
    "bf16 FLOP/s of an H100": 989e12,
    "share of it that the towers reach": 0.35,
    LOSS_RATE: 150e12,
    "memory bytes/s that elementwise kernels reach": 2e12,
    "passes over the logits, forward and backward": 20,
    "GPUs of a node": 8,
    "bytes/s of NVLink, each way": 300e9,
    "bytes/s of a GPU's InfiniBand port": 40e9,
    "seconds of a hop within a node": 3e-6,
    "seconds of a hop between nodes": 8e-6,
    "seconds to issue an operation": 8e-6,
}


@dataclass(frozen=True)
class Step:
    """A GPU's share of a step. vocabulary: at most so many phrases on all GPUs."""

    captions: int = 32
    events: int = 32
    phrases: int = 100
    vocabulary: float = math.inf

    def distinct(self, ranks: int) -> int:
        return int(min(ranks * self.phrases, self.vocabulary))

    def block(self, ranks: int) -> int:
        """Phrases that a rank's listing stands for: ranks share evenly what many of them list."""
        return math.ceil(self.distinct(ranks) / ranks)

    def blocks(self, ranks: int) -> int:
        return math.ceil(self.distinct(ranks) / self.block(ranks))

    def frame_messages(self, ranks: int, exchange: str) -> Messages:
        return framewise_messages(ranks, self.block(ranks), WIDTH, exchange, blocks=self.blocks(ranks))


# -- messages of one step, forward and backward


def all_gather(ranks: int, size: float) -> tuple[str, float]:
    """size: bytes of one rank's part."""
    return "all_gather", (ranks - 1) * size


def reduce_scatter(ranks: int, size: float) -> tuple[str, float]:
    return "reduce_scatter", (ranks - 1) * size


def all_reduce(ranks: int, size: float) -> tuple[str, float]:
    """size: bytes of the tensor."""
    return "all_reduce", 2 * (ranks - 1) * size // ranks


def join_messages(ranks: int, columns: int, distinct: float) -> Messages:
    """Sizes; id, valid and corpora of each column; positive and counted frames of each distinct phrase of all ranks."""
    return [all_gather(ranks, 16), all_gather(ranks, 24 * columns), all_reduce(ranks, 16 * distinct)]


def framewise_messages(
    ranks: int, phrases: float, width: int, exchange: str, item: int = FLOAT, blocks: int | None = None
) -> Messages:
    """After phrases are joined. phrases: that a rank's listing stands for. blocks: so many ranks have any (all)."""
    row = phrases * (width + 2) * item
    out = [all_reduce(ranks, item)]
    if exchange == "gather":
        return [*out, all_gather(ranks, row), reduce_scatter(ranks, row)]
    # The blocks twice; their gradients with one hop more, home. Empty blocks are not sent.
    hops = ranks - 1 + ranks - 1 + ranks
    return out + [("send", row)] * round(hops * (blocks or ranks) / ranks)


def prior_messages(ranks: int, phrases: float, item: int = FLOAT) -> Messages:
    """After phrases are joined. phrases: as above."""
    values = phrases * item
    return [all_reduce(ranks, item), all_gather(ranks, values), reduce_scatter(ranks, values)]


def contrastive_messages(ranks: int, pairs: int, width: int, item: int = FLOAT) -> Messages:
    rows = 2 * pairs * width * item
    sums = [all_reduce(ranks, 8), all_reduce(ranks, item)]
    return [
        all_gather(ranks, 8),
        all_gather(ranks, 16 * pairs),
        all_gather(ranks, rows),
        reduce_scatter(ranks, rows),
        *sums,
    ]


def bn0_messages(ranks: int, bins: int) -> Messages:
    return [all_reduce(ranks, 8 * (1 + 2 * bins))]


def health_messages(ranks: int) -> Messages:
    return [all_reduce(ranks, 8 * 6)]


def ddp_messages(ranks: int, learned: int, item: int = FLOAT) -> Messages:
    """In buckets of 25 MiB."""
    size = learned * item
    buckets = math.ceil(size / (25 * 2**20))
    return [all_reduce(ranks, size / buckets)] * buckets


# -- FLOP and memory


def towers() -> dict[str, float]:
    """Parameters, and FLOP forward of a clip and of a phrase, of model=base text=roberta, counted."""
    from flam_train.models.flam import FLAM, FLAMConfig
    from flam_train.models.text import TextConfig

    roberta = {"model_type": "roberta", "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
    config = FLAMConfig.from_dict({"audio": "base"})
    config = FLAMConfig(audio=config.audio, text=TextConfig("roberta", architecture=roberta))
    model = FLAM(config, pretrained_text=False).eval()
    tokens = torch.ones(1, TOKENS, dtype=torch.int64)
    flop = []
    for call in (lambda: model.embed_audio(torch.zeros(1, 480_000)), lambda: model.embed_tokens(tokens, tokens)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call()
        flop.append(counter.get_total_flops())
    return {"parameters": sum(p.numel() for p in model.parameters()), "clip": flop[0], "phrase": flop[1]}


class Operations(TorchDispatchMode):
    """Counts what computes something: one kernel each, or about that."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not (function.is_view or "detach" in str(function))
        return function(*args, **(kwargs or {}))


def measured_on_the_loss() -> dict[str, float]:
    """operations: of a block of the ring, forward and backward. tensors: the gather variant's peak in float32 tensors
    [B, P, T]. Both as what more of one process' phrases adds."""
    clips, width, terms = 16, 8, framewise.BLOCK_TERMS

    def step(phrases: int, exchange: str) -> None:
        frame_BTD = torch.randn(clips, FRAMES, width, requires_grad=True)
        text_CD, scale_C = torch.randn(phrases, width, requires_grad=True), torch.rand(phrases, requires_grad=True)
        label_BCT = torch.zeros(clips, phrases, FRAMES, dtype=torch.bool)
        every_B, every_C = torch.ones(clips, dtype=torch.bool), torch.ones(phrases, dtype=torch.bool)
        ids_C, corpora = torch.arange(phrases), (torch.zeros(clips, dtype=torch.int64), torch.ones(phrases).long())
        values = frame_BTD, text_CD, scale_C, -scale_C.detach(), label_BCT, every_B, every_C, ids_C
        framewise_loss(*values, *corpora, exchange=exchange).backward()

    counts = []
    framewise.BLOCK_TERMS = clips * FRAMES * 50
    for blocks in (2, 3):
        with Operations() as operations:
            step(50 * blocks, "ring")
        counts.append(operations.count)
    framewise.BLOCK_TERMS = terms
    few, many = 1000, 3000
    # Its labels, here those of one process' own phrases, are given: they are no part of the peak.
    more = peak_bytes(lambda: step(many, "gather")) - peak_bytes(lambda: step(few, "gather"))
    return {"operations": counts[1] - counts[0], "tensors": more / ((many - few) * clips * FRAMES * FLOAT)}


def framewise_flop(ranks: int, step: Step, exchange: str) -> float:
    """Forward, and twice that backward; the ring computes the forward part again."""
    forward = 2 * step.events * FRAMES * WIDTH * step.distinct(ranks)
    return forward * (3 if exchange == "gather" else 4)


def contrastive_flop(ranks: int, step: Step) -> float:
    """Both directions, forward and twice that backward."""
    return 3 * 2 * 2 * step.captions * ranks * step.captions * WIDTH


def framewise_memory(ranks: int, step: Step, exchange: str, tensors: float) -> float:
    """Bytes at the peak, beyond frames and this rank's phrases."""
    row = (WIDTH + 2) * FLOAT
    if exchange == "gather":
        terms = step.events * step.distinct(ranks) * FRAMES
        return tensors * FLOAT * terms + 2 * row * step.distinct(ranks)
    block = step.block(ranks)
    frames = 2 * FLOAT * step.events * FRAMES * WIDTH
    return tensors * FLOAT * step.events * FRAMES * block + 5 * row * block + frames


def contrastive_memory(ranks: int, step: Step) -> float:
    """Keys and their gradients of both sides; about four tensors [B, G] of each direction."""
    joined = ranks * step.captions
    return 4 * joined * WIDTH * FLOAT + 8 * step.captions * joined * FLOAT


# -- seconds, on the assumed machine


def rate(ranks: int) -> float:
    """Bytes a second of the slowest link that a ring of all GPUs uses."""
    one_node = ranks <= ASSUMED["GPUs of a node"]
    return ASSUMED["bytes/s of NVLink, each way" if one_node else "bytes/s of a GPU's InfiniBand port"]


def hop(ranks: int) -> float:
    """Seconds from a rank to the next, where it takes longest."""
    one_node = ranks <= ASSUMED["GPUs of a node"]
    return ASSUMED["seconds of a hop within a node" if one_node else "seconds of a hop between nodes"]


def seconds(ranks: int, messages: Messages) -> float:
    """Of collectives, one after another. Gathers and scatters go round a ring of all GPUs, sums up and down a tree."""
    near, far = ASSUMED["seconds of a hop within a node"], ASSUMED["seconds of a hop between nodes"]
    inside = min(ranks, int(ASSUMED["GPUs of a node"]))
    nodes = ranks // inside
    ring = (ranks - nodes) * near + (nodes if nodes > 1 else 0) * far
    tree = 2 * (math.log2(inside) * near + math.log2(nodes) * far)
    latency = {"all_gather": ring, "reduce_scatter": ring, "all_reduce": tree}
    return sum(latency[name] + size / rate(ranks) for name, size in messages)


def loss_seconds(ranks: int, step: Step, exchange: str, operations: float) -> float:
    """The frame-wise loss: computing and what of its messages computing does not hide."""
    flop = framewise_flop(ranks, step, exchange) / ASSUMED[LOSS_RATE]
    terms = step.events * step.distinct(ranks) * FRAMES
    passes = ASSUMED["passes over the logits, forward and backward"] * FLOAT * terms
    computing = flop + passes / ASSUMED["memory bytes/s that elementwise kernels reach"]
    messages = step.frame_messages(ranks, exchange)
    sent = [size for name, size in messages if name == "send"]
    rest = seconds(ranks, [m for m in messages if m[0] != "send"])
    if exchange == "gather":
        return computing + rest
    issuing = step.blocks(ranks) * operations * ASSUMED["seconds to issue an operation"]
    # Bytes are hidden behind the work or hide it; hops count in full, empty ones too.
    return max(computing, issuing, sum(sent) / rate(ranks)) + 3 * ranks * hop(ranks) + rest


def predict(ranks: int, step: Step, counted: dict[str, float]) -> dict[str, float]:
    """Seconds and bytes of a step by part."""
    speed = ASSUMED["bf16 FLOP/s of an H100"] * ASSUMED["share of it that the towers reach"]
    texts = step.captions + step.phrases
    flop = 3 * ((step.captions + step.events) * counted["clip"] + texts * counted["phrase"])
    ddp = ddp_messages(ranks, int(counted["parameters"]))
    contrastive = contrastive_messages(ranks, step.captions, WIDTH)
    phrases = join_messages(ranks, step.phrases, step.distinct(ranks)) + prior_messages(ranks, step.block(ranks))
    out = {
        "towers": flop / speed,
        "ddp": seconds(ranks, ddp),
        "ddp bytes": sum(size for _, size in ddp),
        "contrastive": seconds(ranks, contrastive) + contrastive_flop(ranks, step) / ASSUMED[LOSS_RATE],
        "contrastive bytes": sum(size for _, size in contrastive),
        "contrastive memory": contrastive_memory(ranks, step),
        "other": seconds(ranks, [*phrases, *bn0_messages(ranks, MEL_BINS), *health_messages(ranks)]),
    }
    # DDP sums gradients while the backward pass, two thirds of the towers' time, goes on.
    exposed = max(0.0, out["ddp"] - out["towers"] * 2 / 3)
    for exchange in ("gather", "ring"):
        messages = step.frame_messages(ranks, exchange)
        out[exchange] = loss_seconds(ranks, step, exchange, counted["operations"])
        out[f"{exchange} bytes"] = sum(size for _, size in messages)
        out[f"{exchange} messages"] = len(messages)
        out[f"{exchange} memory"] = framewise_memory(ranks, step, exchange, counted["tensors"])
        step_seconds = out["towers"] + exposed + out["contrastive"] + out["other"] + out[exchange]
        out[f"{exchange} efficiency"] = out["towers"] / step_seconds
    return out


def table(step: Step, counted: dict[str, float], sizes: tuple[int, ...] = (8, 64, 512, 4096)) -> str:
    """Markdown: a row a number of GPUs."""
    lines = [
        "| GPUs | phrases | gradients | global loss | frame loss, gather | frame loss, ring | the rest "
        "| share of towers: gather / ring | `auto` |",
        "|" + "---|" * 9,
    ]
    for ranks in sizes:
        p = predict(ranks, step, counted)
        logits = step.events * step.distinct(ranks) * FRAMES * FLOAT
        cells = [f"{ranks:,}", f"{step.distinct(ranks):,}", f"{p['ddp'] * 1e3:.0f} ms"]
        cells.append(
            f"{size(p['contrastive bytes'])}, {p['contrastive'] * 1e3:.1f} ms, {size(p['contrastive memory'])}"
        )
        for way in ("gather", "ring"):
            sent = f"{size(p[f'{way} bytes'])} in {p[f'{way} messages']:,.0f}"
            cells.append(f"{sent}, {p[way] * 1e3:.1f} ms, {size(p[f'{way} memory'])}")
        cells.append(f"{p['other'] * 1e3:.1f} ms")
        cells.append(f"{p['gather efficiency']:.0%} / {p['ring efficiency']:.0%}")
        cells.append("ring" if logits >= framewise.RING_FROM else "gather")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=Step.captions, help="clips with captions on a GPU")
    parser.add_argument("--events", type=int, default=Step.events, help="clips with events on a GPU")
    parser.add_argument("--phrases", type=int, default=Step.phrases, help="phrases of a GPU's clips")
    parser.add_argument("--vocabulary", type=int, default=456, help="classes of the closed set of the second table")
    args = parser.parse_args()
    counted = towers() | measured_on_the_loss()
    print(
        f"model=base text=roberta: {counted['parameters']:,} parameters; forward {counted['clip'] / 1e9:.1f} GFLOP a "
        f"clip, {counted['phrase'] / 1e9:.2f} GFLOP a phrase of {TOKENS} tokens; frame-wise loss: "
        f"{counted['operations']:.0f} operations a block of the ring, {counted['tensors']:.2f} tensors [B, P, T] at "
        "the gather's peak"
    )
    print("\n".join(f"assumed: {name} {value:g}" for name, value in ASSUMED.items()))
    for vocabulary in (math.inf, args.vocabulary):
        step = Step(args.captions, args.events, args.phrases, vocabulary)
        towers_ms = predict(8, step, counted)["towers"] * 1e3
        print(f"\n{step}; towers {towers_ms:.0f} ms\n\n{table(step, counted)}")


if __name__ == "__main__":
    main()
