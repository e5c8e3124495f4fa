"""The fixture ``netaudit`` of pytest. Torch is imported when it is first used, not when pytest starts.

def test_model(netaudit):
    netaudit.check(Net(), torch.randn(8, 32))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from netaudit.config import Config
    from netaudit.finding import Severity
    from netaudit.results import Report

LEVELS = ("error", "warning", "info")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the command line."""
    group = parser.getgroup("netaudit", "trainability of models (netaudit)")
    group.addoption(
        "--netaudit-fail-level",
        choices=LEVELS,
        help="least severity that makes netaudit.check fail (default: fail-level of [tool.netaudit], else warning)",
    )


@dataclass(frozen=True, slots=True)
class Checker:
    """What the fixture ``netaudit`` is: ``check`` a model by the rules of the project's configuration, from ``folder`` on upwards."""

    folder: Path
    fail_level: Severity | None

    def check(self, model: Any, inputs: Any = None, *, fail_level: Severity | None = None, **options: Any) -> Report:
        """Audit a model as ``netaudit.audit`` does and fail the test, with the report, for what ``netaudit check`` would fail for.

        Rules, overrides, coverage and the set-up of the training are those of the configuration, unless ``options`` say otherwise.
        A level given here goes before ``--netaudit-fail-level``, and that before the configuration.

        Raises:
            NetauditError: an argument does not fit.
        """
        __tracebackhide__ = True
        import netaudit
        from netaudit.config import load_config

        config = load_config(self.folder)
        report = netaudit.audit(model, inputs, **{**_from(config), **options})
        try:
            report.raise_for_findings(fail_level or self.fail_level or config.fail_level)
        except netaudit.FindingsError as error:
            # from None: the error says what the failure says, and pytest prints every exception of a chain
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        return report


def _from(config: Config) -> dict[str, Any]:
    """The options of ``netaudit.audit`` that a project's configuration gives."""
    return {
        "mode": config.mode,
        "select": config.select,
        "extend_select": config.extend_select,
        "ignore": config.ignore,
        "overrides": {one.module: one.ignore for one in config.overrides},
        "preview": config.preview,
        "min_coverage": config.min_coverage,
        "training": config.training.model_dump(exclude_none=True),
    }


@pytest.fixture
def netaudit(request: pytest.FixtureRequest) -> Checker:
    """Audit models in a test: ``netaudit.check(model, inputs)``."""
    level: Severity | None = request.config.getoption("--netaudit-fail-level")
    return Checker(request.config.rootpath, level)
