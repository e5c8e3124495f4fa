"""One thread: these matrices are small, and threads waiting for each other cost more than they bring. No cache."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

os.environ["NETAUDIT_NO_CACHE"] = "1"  # what is tested is this code; the tests of the cache take it off


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def forget() -> Callable[[Path], None]:
    """A function that takes the modules of a folder out of python's table, where a later audit would find them named by a word."""

    def forgotten(folder: Path) -> None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(f"{folder}{os.sep}"):
                del sys.modules[name]

    return forgotten
