"""What the tests of the pages are told: one table for each way in which a line is not taken as it stands.

A row that no line needs any more fails the tests, too.
"""

from __future__ import annotations

PLACEHOLDERS = {
    "KEY=VALUE": "seed=1", "I/N": "1/2", "N": "2", "experiment=...": "experiment=demo",
    "data_prep/NAME.py": "data_prep/clotho.py",
}  # fmt: skip
"""What stands for something that the program checks -> an example. Other names in capitals are values as they are."""

EXEMPT = (
    (r"source \.venv/bin/activate", "the reader's shell"),
    (r"export [A-Z_]+=", "the reader's shell"),
    (r"scontrol|scancel|module load", "the cluster's own programs"),
    (r"--(kill-on-bad-exit|ntasks$|gpus-per-task)", "srun's options"),
    (r"slurm/local_cluster\.sh status \| stop", "two subcommands on one line"),
    (r"(flam_train|conf|data_prep|eval|slurm|tests|docs)/ ", "README's map, in a block that should say text"),
    (r"(check|n1|n2|problem)  ", "what --check prints, in a block that should say text"),
)
"""(start of a simple command, why no program parses it)."""

EXEMPT_BLOCKS: tuple[tuple[str, str, str], ...] = ()
"""(page, a line of the block of Python, why it cannot be run)."""
