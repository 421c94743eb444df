"""What clusters leave to be collected is collected here, and not in some other test."""

import gc
import warnings

import pytest


@pytest.fixture(scope="module", autouse=True)
def collected_afterwards():
    yield
    collect()


def collect():
    """Collect processes and sockets of clusters, which they end, but do not wait for or close."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
