"""One thread a test process: two of them run side by side, and sums depend on the thread count."""

import atexit
import os
import shutil
import tempfile

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")
# nothing of a test may stay on the machine: the references' history lies there
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cache-of-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import pytest  # noqa: E402


def pytest_collection_modifyitems(items):
    """What waits longest comes first: as the last of two processes' tests it would leave the other idle for minutes."""
    items.sort(key=lambda item: "test_slurm" not in item.nodeid)


@pytest.fixture(autouse=True)
def _seeded():
    import random

    import numpy as np
    import torch

    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
