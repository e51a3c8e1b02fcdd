"""For tests of what `data_prep/` makes of recordings and labels."""

from __future__ import annotations

import pytest
from own_recordings import Run


@pytest.fixture
def run(tmp_path, capsys) -> Run:
    return Run(tmp_path, capsys)
