"""The blocks of Python of a page, run in order, in one namespace, in a folder where what they read is tiny."""

from __future__ import annotations

import traceback
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from doc_lines import Block
from doc_runs import overridden, read_by_training
from doc_stale import Stale
from doc_tables import EXEMPT_BLOCKS
from doc_world import World, read_by

from flam_train.cli.train import compose_conf


def run_blocks(blocks: list[Block], world: World) -> str:
    """What they print. Raises Stale with the page's own line for what a block raises."""

    def few_steps(overrides: list[str], folder: Path | None = None) -> dict:
        """compose_conf, as the table has it for flam-train; what such a run reads is there."""
        ((_, *tiny),) = overridden(("flam-train", *overrides))
        conf = compose_conf(tiny, folder)
        world.give(read_by_training(conf))
        return conf

    namespace: dict[str, object] = {"__name__": "__page__"}
    said = StringIO()
    with chdir(world.folder), redirect_stdout(said), patch("flam_train.cli.train.compose_conf", few_steps):
        for block in blocks:
            if left_out(block):
                continue
            try:
                # Line numbers of tracebacks are the page's.
                code = compile("\n" * (block.number - 1) + block.text, block.page, "exec")
                world.give(read_by(block.text))
                exec(code, namespace)
            except Exception as error:
                where = [
                    frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == block.page
                ]
                line = where[-1] if where else getattr(error, "lineno", None) or block.number
                raise Stale(f"{block.page}:{line}: {type(error).__name__}: {error}") from error
    return said.getvalue()


def left_out(block: Block) -> bool:
    return any(block.page == page and first in block.text for page, first, _ in EXEMPT_BLOCKS)
