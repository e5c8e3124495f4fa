"""The table of cases, gathered from ``cases/``, their trials, and their traced ops."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from netaudit.pack import Catalog, installed
from netaudit.testing import Applied, Case, applied, trials_of_case


def _table() -> tuple[Mapping[str, Case], tuple[str, ...]]:
    """Every case of every file, by id, and the ids of scalar functions: the cases of ``activations.py`` with one free input."""
    table: dict[str, Case] = {}
    scalars: list[str] = []
    for path in sorted((Path(__file__).parent / "cases").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"netaudit_cases_{path.stem}", path)
        assert spec is not None, path
        assert spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for case in module.CASES:
            assert case.id not in table, f"two cases are called {case.id}"
            table[case.id] = case
            if path.stem == "activations" and not case.name.endswith(("rows", "bounded")) and "rrelu" not in case.op:
                scalars.append(case.id)
    return table, tuple(scalars)


CASES, SCALARS = _table()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``op_trial``: all trials of all cases; ``scalar_id``: the cases of scalar functions; ``every_op``: all cases, traced."""
    if "op_trial" in metafunc.fixturenames:
        catalog = installed()
        metafunc.parametrize("op_trial", [trial for case in sorted(CASES) for trial in trials_of_case(CASES[case], catalog)], ids=str)
    if "scalar_id" in metafunc.fixturenames:
        metafunc.parametrize("scalar_id", SCALARS, scope="session")
    if "every_op" in metafunc.fixturenames:
        metafunc.parametrize("every_op", sorted(CASES), indirect=True)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return installed()


@cache
def _applied(case_id: str) -> Applied:
    return applied(CASES[case_id], installed())


@pytest.fixture
def every_op(request: pytest.FixtureRequest) -> Applied:
    """A case at work, for a test that runs on every one."""
    return _applied(request.param)


@pytest.fixture(scope="session")
def cases() -> Mapping[str, Case]:
    return CASES


class _Ops(Mapping[str, Applied]):
    """Every case at work, traced when it is asked for."""

    def __getitem__(self, case_id: str) -> Applied:
        return _applied(case_id)

    def __iter__(self) -> Iterator[str]:
        return iter(CASES)

    def __len__(self) -> int:
        return len(CASES)


@pytest.fixture(scope="session")
def ops() -> Mapping[str, Applied]:
    return _Ops()


@pytest.fixture(scope="session")
def scalar(scalar_id: str) -> Applied:
    """A scalar function at work."""
    return _applied(scalar_id)
