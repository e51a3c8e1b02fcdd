"""Backgrounds, opened once for the tests of each file."""

from __future__ import annotations

import pytest
from augment_samples import bank_of

from flam_train.data.mixing.bank import Bank
from flam_train.data.mixing.item_cache import ItemCache


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory) -> ItemCache:
    return ItemCache(Bank(bank_of(tmp_path_factory.mktemp("bank"))), 1 << 20)
