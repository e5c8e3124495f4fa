"""The forecast as it is printed: the table of parameters, the gains of the dominating path, and the plot of a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from netaudit.audit import Settings, analyse
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed
from netaudit.report.forecast import Forecast, comparison, document, text
from netaudit.report.plot import HEIGHT, Series, plot

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def forecast(name: str, **arguments: int) -> Forecast:
    (subject,) = load(str(EXAMPLES / f"{name}.py"), Options(args=arguments))
    analysis = analyse(subject, installed(), Settings())
    variant = "".join(f"{key}={value}" for key, value in arguments.items())
    return Forecast(f"{name}.py", analysis.facts, analysis.flow, analysis.later, analysis.cotangent, {}, variant=variant)


@pytest.fixture(scope="module")
def depths() -> list[Forecast]:
    return [forecast("deep_sigmoid", depth=depth) for depth in (2, 6, 12, 24)]


@pytest.mark.parametrize("name", ["deep_sigmoid", "high_gain_mlp", "gpt"])
def test_the_forecast_of_a_model(name: str, snapshot: SnapshotAssertion) -> None:
    printed = text(forecast(name), full=False)
    below = printed[printed.index("least S") : printed.index("forecast: within")]
    assert max(map(len, below.splitlines())) <= 80
    assert printed == snapshot


def test_a_sweep(depths: list[Forecast], snapshot: SnapshotAssertion) -> None:
    printed = comparison(depths, "depth")
    assert max(map(len, printed.splitlines())) <= 80
    assert printed == snapshot


def test_the_gains_in_json_add_up_to_the_path(depths: list[Forecast]) -> None:
    found = depths[2]
    (path,) = json.loads(document([found]))["paths"].values()
    total = sum(gain["value"] for row in path["gains"] for gain in row["gradient_db"])
    first, last = found.flow.norm(path["nodes"][0]), found.flow.norm(path["nodes"][-1])
    assert first is not None
    assert last is not None
    assert total == pytest.approx(20 * (first - last), abs=0.05)
    assert path["share"] == {"value": 1.0, "status": "forecast"}


# plots ------------------------------------------------------------------------------------------------------------------

LIMITS = {"vanishing": -5.0, "exploding": 2.0}
LOGS = st.floats(-300.0, 300.0)
POINTS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.none() | LOGS), min_size=2, max_size=12, unique_by=lambda point: point[0])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(POINTS)
def test_a_plot_fits_the_page_and_shows_every_point(points: list[tuple[float, float | None]]) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    lines = plot(xs, [Series("S", ys)], LIMITS).splitlines()
    if all(y is None for y in ys):
        assert lines == []
        return
    assert max(map(len, lines)) <= 80
    assert len(lines) == HEIGHT + 4
    body = lines[1 : HEIGHT + 1]
    assert any(line.endswith(("exploding", "limits")) for line in body)
    marks = sum(line.count("●") for line in body)
    assert 1 <= marks <= sum(y is not None for y in ys)


def test_a_point_stands_at_its_height() -> None:
    lines = plot([1.0, 2.0], [Series("S", [-5.0, 2.0])], LIMITS).splitlines()[1 : HEIGHT + 1]
    assert (
        [row for row, line in enumerate(lines) if "●" in line] == [row for row, line in enumerate(lines) if "┄" in line] == [0, HEIGHT - 1]
    )
    assert any("1e-04 ┤" in line for line in lines)
