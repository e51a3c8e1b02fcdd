"""What a training step costs on this machine, part by part, and a real run's clips/s; beside another checkout in turn.

    python tests/bench/bench_step.py experiment=esc10_cpu shards=SHARDS [--against CHECKOUT]
        [--precision bf16-mixed] [--against-precision 32-true] [--rounds 5] [--steps 60] [--out bench.json]

Overrides are flam-train's. Every round measures each checkout once, in a process of its own, so that what else goes on
here meets both; printed are medians, and of two checkouts the median of the rounds' ratios with the lowest and the
highest. Of parts each round counts its fastest of REPEATS steps, forward and backward where there is one; inference is
of the step's clips, from their waveforms. A run is `--steps` steps of flam-train, without the first FIRST, which start
workers. Needs nothing but the shards; without any, `make bench` makes some.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPEATS = 7
FIRST = 10
RUN = "a run, ms a step"


def parts(overrides: list[str], precision: str) -> dict[str, float]:
    """Milliseconds of each part of a step, in this process."""
    import torch

    from flam_train.batch import AudioEmbeddings, TextEmbeddings
    from flam_train.cli.train import compose_conf
    from flam_train.training.micro_batches import joined, stacked
    from flam_train.training.run import build

    run = build(compose_conf([*overrides, f"trainer.precision={precision}"]))
    module, model = run.module, run.module.model
    module.train()
    steps = run.data.steps_of(0, 1)
    batches = [[steps[n]] for n in range(3)]
    optimizer = module.configure_optimizers()["optimizer"]

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")

    batch = batches[0]
    step = joined(batch)
    kinds = [part for part in step.parts() if part is not None]
    valid_B = torch.cat([p.clip_valid_B if hasattr(p, "clip_valid_B") else p.audio_valid_B for p in kinds])
    seed_B = torch.cat([p.seed_B for p in kinds])
    tokens = stacked([p.tokens_CL for p in kinds]), stacked([p.attention_CL for p in kinds])
    waveforms = [module.rendered(p) for p in kinds]

    def texts() -> TextEmbeddings:
        if hasattr(module, "texts"):  # an older checkout has all texts in one pass
            return TextEmbeddings.joined([module.texts(p) for p in kinds])
        return model.embed_tokens(*tokens)

    with torch.no_grad(), autocast():
        mel_BNF = model.frontend(waveforms, seed_B, valid_B)
        audio, text = model.embed_audio(waveforms, seed_B, valid_B), texts()

    def encoder() -> None:
        with autocast():
            frame_BTD = model.audio(mel_BNF, model.audio.kept_paths(seed_B))
        frame_BTD.float().square().mean().backward()

    def front_end() -> None:
        with torch.no_grad(), autocast():
            model.frontend(waveforms, seed_B, valid_B)

    def words() -> None:
        with autocast():
            made = texts()
        (made.text_CD.square().mean() + made.scale_C.mean() + made.bias_C.mean()).backward()

    def losses() -> None:
        heard = AudioEmbeddings(*(x.detach().requires_grad_() for x in (audio.clip_BD, audio.frame_BTD)))
        said = TextEmbeddings(*(x.detach().requires_grad_() for x in (text.text_CD, text.scale_C, text.bias_C)))
        sum(module.losses(step, heard, said).values()).backward()

    def update() -> None:
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], 1.0)
        optimizer.step()

    taken = iter(range(10**9))

    def whole() -> None:
        with autocast():
            total = module.training_step(batches[next(taken) % len(batches)], 0)
        total.backward()
        update()
        optimizer.zero_grad(set_to_none=True)

    whole()  # moments, gradients, and what is kept between steps
    found = {
        "mixing": best(lambda: [module.rendered(p) for p in kinds]),
        "front end": best(front_end),
        "encoder": best(encoder),
        "text": best(words),
        "losses": best(losses),
    }
    found |= {"clipping and AdamW": best(update), "a step without data": best(whole)}
    module.eval()

    def hear() -> None:
        with torch.inference_mode(), autocast():
            model.embed_audio(torch.cat(waveforms))

    return found | {"inference": best(hear)}


def best(call: Callable[[], object]) -> float:
    """Milliseconds, the fewest of REPEATS."""
    call()
    took = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return 1e3 * min(took)


def training(overrides: list[str], precision: str, steps: int) -> dict[str, float]:
    """Milliseconds a step of a real run, and the share of time that waits for data (%)."""
    from lightning.pytorch import Callback, Trainer

    from flam_train.cli.train import compose_conf
    from flam_train.training import run
    from flam_train.training.trainer import build_trainer

    ends: list[float] = []

    class Clock(Callback):
        def on_train_batch_end(self, *args) -> None:
            ends.append(time.monotonic())

    def with_clock(config, folder, steps, clips, loggers, callbacks=()) -> Trainer:
        return build_trainer(config, folder, steps, clips, loggers, [*callbacks, Clock()])

    run.build_trainer = with_clock  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        conf = compose_conf([
            *overrides, f"trainer.precision={precision}", f"run_dir={folder}/run", f"steps={steps}",
            "trainer.monitor=null", f"trainer.checkpoint_every={steps}", "trainer.progress_seconds=0.1",
            *without_validation(overrides),
        ])  # fmt: skip
        run.train(conf)
        rows = [line.split(",") for line in (Path(folder) / "run/metrics.csv").read_text().splitlines()[1:]]
    waits = [float(value) for step, name, value in rows if name == "speed/data_wait" and int(step) >= FIRST]
    return {RUN: 1e3 * (ends[-2] - ends[FIRST]) / (len(ends) - 2 - FIRST), "waits for data, %": 100 * mean(waits)}


def without_validation(overrides: list[str]) -> list[str]:
    from flam_train.cli.train import compose_conf

    data = compose_conf(overrides)["data"]
    return [
        f"data.{kind}.{name}.validation=null" for kind in ("global", "frame", "weak") for name in data.get(kind) or ()
    ]


def _absolute(override: str) -> str:
    """With a folder of shards that is the same from every checkout."""
    name, is_given, path = override.partition("shards=")
    return f"shards={Path(path).resolve()}" if is_given and not name and "://" not in path else override


def mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def measured(checkout: Path, precision: str, arguments: argparse.Namespace) -> dict[str, float]:
    """In a process of its own that imports this checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments.overrides, "--child"]
    command += ["--precision", precision, "--steps", str(arguments.steps)]
    env = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    # There too: the loader's workers look at the working folder first.
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=checkout)
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="flam-train's")
    parser.add_argument("--against", type=Path, help="another checkout, such as a git worktree of the commit before")
    parser.add_argument("--precision", default="32-true", help="[%(default)s]")
    parser.add_argument("--against-precision", help="of the other checkout [the same]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="of the real run [%(default)s]")
    parser.add_argument("--out", type=Path, help="all numbers, as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = parts(arguments.overrides, arguments.precision)
        print(json.dumps(found | training(arguments.overrides, arguments.precision, arguments.steps)))
        return
    arguments.overrides = [_absolute(text) for text in arguments.overrides]
    checkouts = {"here": ROOT} | ({"against": arguments.against} if arguments.against else {})
    precision = {"here": arguments.precision, "against": arguments.against_precision or arguments.precision}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for number in range(arguments.rounds):
        for name in checkouts if number % 2 else reversed(checkouts):
            rounds[name].append(measured(checkouts[name], precision[name], arguments))
    print(f"{'ms':<22}" + "".join(f"{name:>10}" for name in checkouts) + "     ratio")
    for part in rounds["here"][0]:
        middle = {name: statistics.median(one[part] for one in found) for name, found in rounds.items()}
        line = f"{part:<22}" + "".join(f"{value:10.1f}" for value in middle.values())
        if len(checkouts) == 2 and "%" not in part:
            ratios = [b[part] / a[part] for a, b in zip(*rounds.values(), strict=True)]
            line += f"{statistics.median(ratios):10.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)
    if arguments.out:
        arguments.out.write_text(json.dumps({"arguments": vars(arguments), "rounds": rounds}, default=str, indent=2))


if __name__ == "__main__":
    main()
