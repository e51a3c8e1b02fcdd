"""Every command line of README and docs really runs, few steps on tiny data, or stands in a table with its reason."""

from __future__ import annotations

import re

import pytest
from doc_lines import command_lines, pages
from doc_runs import run_line
from doc_tables import NOT_RUN
from doc_world import World

LINES = {page: found for page, text in pages().items() if (found := command_lines(page, text))}


@pytest.mark.slow
@pytest.mark.parametrize("page", LINES)
def test_lines_run_in_their_order(page, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    world = World(tmp_path)
    for line in LINES[page]:
        import time

        t = time.time()
        run_line(line, world)
        open("/tmp/lines.times", "a").write(f"{time.time() - t:.1f} {line}\n")


def test_no_row_of_the_tables_is_stale():
    texts = [str(command) for lines in LINES.values() for line in lines for command in line.commands]
    for pattern, reason in NOT_RUN:
        assert any(re.match(pattern, text) for text in texts), f"NOT_RUN: no line needs {pattern!r} ({reason})"
