"""One thread: these matrices are small, and threads waiting for each other cost more than they bring. No cache."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ["NETAUDIT_NO_CACHE"] = "1"  # what is tested is this code; the tests of the cache take it off


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
