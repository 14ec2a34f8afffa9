"""What the tests of the landscape share."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/problems.py


@pytest.fixture
def x64():
    """float64 arrays exist, and are the default, within the test."""
    with jax.enable_x64(True):
        yield
