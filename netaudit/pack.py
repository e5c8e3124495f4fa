"""Packs: modules in which transfers and checks are declared, gathered into one Catalog value."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from .check import Check
from .errors import PackError

if TYPE_CHECKING:
    from .effect import Transfer

ENTRY_POINTS = "netaudit.packs"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything the installed packs declare: transfers by op, checks by code, and which pack each came from."""

    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    packs: tuple[str, ...] = ()


def installed(*, checks_only: bool = False, beside: Iterable[ModuleType] = ()) -> Catalog:
    """The catalog of all packs with an entry point, the built-in one first.

    ``checks_only`` leaves out modules under ``ops``: what a rule says can be printed without loading the analysis. ``beside``
    are packs that need not be installed, such as one under test.

    Raises:
        PackError: a pack cannot be imported, or two packs declare the same op or code.
    """
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda e: (e.name != "builtin", e.name))
    if not found:
        raise PackError("no pack is installed, not even the built-in one", "reinstall netaudit: pip install -e .")
    roots = []
    for entry in found:
        try:
            roots.append(entry.load())
        except Exception as error:
            raise PackError(f"pack {entry.name!r} ({entry.value}) cannot be imported: {error}", "fix or uninstall it") from error
    return collect(dict.fromkeys((*roots, *beside)), checks_only=checks_only)


def collect(roots: Iterable[ModuleType], *, checks_only: bool = False) -> Catalog:
    """Import every module below the roots and gather the Transfer and Check objects bound at their top level.

    Raises:
        PackError: two modules declare a transfer for one op, or a check with one code.
    """
    transfers: dict[str, tuple[Transfer, str]] = {}
    checks: dict[str, tuple[Check, str]] = {}
    names = []
    for root in roots:
        names.append(root.__name__)
        for module in _modules(root, skip="ops" if checks_only else ""):
            for value in vars(module).values():
                if isinstance(value, Check):
                    _add(checks, value.code, value, module.__name__, "checks")
                elif not checks_only and _is_transfer(value):
                    for op in value.ops:
                        _add(transfers, op, value, module.__name__, "transfers")
    return Catalog(
        {op: found for op, (found, _) in transfers.items()},
        {code: checks[code][0] for code in sorted(checks)},
        tuple(names),
    )


def _is_transfer(value: object) -> TypeGuard[Transfer]:
    from .effect import Transfer  # brings numpy, which checks_only does without

    return isinstance(value, Transfer)


def _modules(root: ModuleType, skip: str) -> Iterator[ModuleType]:
    yield root
    for info in pkgutil.iter_modules(getattr(root, "__path__", ()), root.__name__ + "."):
        if info.name.rpartition(".")[2] != skip:
            yield from _modules(importlib.import_module(info.name), skip)


def _add(table: dict[str, tuple[T, str]], key: str, value: T, module: str, what: str) -> None:
    if key in table and table[key][0] is not value:
        raise PackError(f"{key} has two {what}: in {table[key][1]} and in {module}", "remove one of them")
    table[key] = (value, module)
