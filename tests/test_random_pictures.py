"""Generated policies that see pictures (random_pictures.py): a few here, NFCC_LONG=1 (./dev test --long) takes 200."""
import os

import pytest

import random_pictures

SEEDS = 200 if os.environ.get("NFCC_LONG") == "1" else 8


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_generated_policy(tool, tmp_path, seed):
    why = random_pictures.fault(tmp_path, seed)
    assert not why, why
