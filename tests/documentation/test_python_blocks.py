"""Every block of Python in README and docs runs, on a tiny export, tiny recordings and tiny shards."""

from __future__ import annotations

import pytest
from doc_lines import blocks, pages
from doc_python import left_out, run_blocks
from doc_tables import EXEMPT_BLOCKS, NEEDS
from doc_world import World, had_by

PYTHON = {page: [b for b in blocks(page, text) if b.language in ("python", "py")] for page, text in pages().items()}

SLOWER = {page: (mark, pytest.mark.slow, pytest.mark.ci) for page, mark in NEEDS.items()}
"""What a machine may lack takes its time, too."""


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=SLOWER.get(page, ())) for page, found in PYTHON.items() if found]
)
def test_python(page, tmp_path):
    run_blocks(PYTHON[page], World(tmp_path, had_by(page, lines=False)))


def test_no_row_of_the_table_is_stale():
    for page, line, reason in EXEMPT_BLOCKS:
        assert any(left_out(b) and line in b.text for b in PYTHON.get(page, [])), f"{page}: {line!r} ({reason})"
