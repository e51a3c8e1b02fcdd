"""`resume=extend`: a run goes on from its last checkpoint with other settings, once.

The checkpoint itself is rewritten to be one of the new settings; from then on going on is going on exactly, also for
the same command after a kill. Positions of the streams, the step and the optimiser's means stay as they are.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from flam_train.checkpoints.run_checkpoint import RUN
from flam_train.models.flam import FLAM
from flam_train.training.configuration import STREAMS, said
from flam_train.training.fault_tolerance.checkpoint import LAST, AtomicCheckpointIO
from flam_train.training.optim import OptimConfig, groups_of, regrouped
from flam_train.training.saved import Saved

MAY_CHANGE = ("steps", "global_batch", "frame_batch", "weak_batch", "optim.", "loss.", "data.phrases_per_clip")

FIXED = {
    "optim.freeze": "which parts learn",
    "model.": "the architecture",
    "text.": "the text tower",
    "init": "what the run started from",
    "seed": "the seed",
    "data.": "the corpora and their order",
    "augment.": "what is done to clips",
}
"""Keys that may not change, though others that begin alike may: and what they are."""


def extend(saved: Saved, changed: dict[str, tuple[Any, Any]], conf: dict[str, Any]) -> Saved:
    """What the checkpoint says from now on. Raises ValueError that names what cannot change, and the fix."""
    fixed = [key for key in changed if not key.startswith(MAY_CHANGE) or key.startswith("optim.freeze")]
    if fixed:
        why = dict.fromkeys(next((what for begins, what in FIXED.items() if k.startswith(begins)), k) for k in fixed)
        told = said({key: changed[key] for key in fixed})
        raise ValueError(
            f"resume=extend: {', '.join(why)} cannot change as a run goes on ({told}): leave it as it was, or start "
            "another run from this one's export with init="
        )
    since = {}
    for stream in STREAMS:
        was, now = (int(one.get(f"{stream}_batch", 0)) for one in (saved.facts.conf, conf))
        if (was == 0) != (now == 0):
            raise ValueError(
                f"resume=extend: {stream}_batch was {was}, is {now}: a batch cannot be switched on or off as a run "
                "goes on: start another run from this one's export with init="
            )
        if now:
            step, position = saved.since.get(stream, (0, 0))
            since[stream] = [saved.step, position + (saved.step - step) * was]
    if int(conf["steps"]) <= saved.step:
        raise ValueError(f"resume=extend: steps={conf['steps']}, but {saved.step} are done: give more")
    entry = {"step": saved.step, "changed": {key: list(both) for key, both in changed.items()}}
    facts = replace(saved.facts, conf=conf, extended=[*saved.facts.extended, entry])
    return replace(saved, facts=facts, data=saved.data | {"since": since}, stale=0)


def rewrite(saved: Saved, model: FLAM, was: OptimConfig, now: OptimConfig) -> None:
    """Writes `saved` over the run folder's last checkpoint, whose tensors stay. For the first process alone.

    was, now: of the optimiser of this model, whose groups may become others.
    Raises OSError where the disk is full, ValueError as `AtomicCheckpointIO`.
    """
    files, path = AtomicCheckpointIO(), saved.folder / LAST
    found = files.load_checkpoint(path)
    found[RUN], found["DataModule"] = asdict(saved.facts), saved.data
    found["callbacks"]["Checkpoints"]["stale"] = saved.stale
    groups = [list(groups_of(model, optim).values()) for optim in (was, now)]
    found["optimizer_states"] = [regrouped(state, *groups) for state in found["optimizer_states"]]
    files.save_checkpoint(found, path)
    if files.failed:
        raise ValueError(files.failed)
