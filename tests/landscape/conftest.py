"""What the tests of the landscape share; tests/problems.py has their losses."""

import jax
import pytest


@pytest.fixture
def x64():
    """float64 arrays exist, and are the default, within the test."""
    with jax.enable_x64(True):
        yield
