"""The table of cases, gathered from ``cases/``, and what is worked out once for each: the traced op and the search."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from netaudit.pack import Catalog, installed
from netaudit.testing import Applied, Case, Found, applied, search


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
    """A test that takes ``case_id`` runs on every case, one that takes ``scalar_id`` on those of scalar functions."""
    if "case_id" in metafunc.fixturenames:
        metafunc.parametrize("case_id", sorted(CASES), scope="session")
    if "scalar_id" in metafunc.fixturenames:
        metafunc.parametrize("scalar_id", SCALARS, scope="session")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return installed()


@cache
def _applied(case_id: str) -> Applied:
    return applied(CASES[case_id], installed())


@cache
def _found(case_id: str) -> Found:
    return search(_applied(case_id))


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


@pytest.fixture
def op(case_id: str) -> Applied:
    """The op of a case at work, traced once for all tests."""
    return _applied(case_id)


@pytest.fixture
def found(case_id: str) -> Found:
    """The largest gains found for a case, searched once for all tests."""
    return _found(case_id)
