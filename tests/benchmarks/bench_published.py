"""False alarms on published architectures: `netaudit check` on models that nothing was tuned on.

usage: python tests/benchmarks/bench_published.py [--only NAME ...] [--library timm] [--store results.jsonl] [--timeout 300] [--memory 4]

Every model of ``published.py`` is checked in a process of its own, in train mode, with random initialisation, its own loss and plain
AdamW at a learning rate of 3e-4, within a limit on time and memory. With ``--store`` results are kept as they come, and what is there
already is not run again: the benchmark can be run in pieces, and its table printed from all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))  # run from a checkout, installed or not
MODELS: Mapping[str, Any] = runpy.run_path(str(HERE / "published.py"))["MODELS"]

FILE = """
import sys
sys.path.insert(0, {here!r})
from published import MODELS
one = MODELS[{name!r}]
build, example_inputs, loss = one.build, one.inputs, one.loss
"""


SETUP = ("--mode", "train", "--optimizer", "adamw", "--lr", "3e-4", "--timeout", "0")


@dataclass(frozen=True, slots=True)
class Result:
    """What the check of one model said, what kept it from being whole, and the CPU seconds it took."""

    name: str
    library: str
    findings: tuple[tuple[str, str, str, str], ...] = ()  # severity, code, module, message
    calls: int = 0
    ruled: int = 0
    params: int = 0
    forecast: int = 0
    unknown: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0

    def count(self, severity: str) -> int:
        """How many findings have a severity."""
        return sum(found[0] == severity for found in self.findings)

    @property
    def is_whole(self) -> bool:
        """Whether every call had a transfer and every parameter a forecast."""
        return not (self.failed or self.problems) and (self.ruled, self.forecast) == (self.calls, self.params)


def checked(name: str, timeout: float, memory: float) -> Result:
    """`netaudit check` on one model."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.py").write_text(FILE.format(here=str(HERE), name=name), encoding="utf-8")
        command = [sys.executable, "-m", "netaudit", "check", "model.py", "-o", "json", *SETUP]
        before = _spent()
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 2**30),) * 2),
            )
        except subprocess.TimeoutExpired:
            return Result(name, MODELS[name].library, failed=f"not done after {timeout:g} seconds", seconds=_spent() - before)
    return _read(name, done, _spent() - before)


def _spent() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read(name: str, done: subprocess.CompletedProcess[str], seconds: float) -> Result:
    library = MODELS[name].library
    if not done.stdout.startswith("{"):
        said = [line for line in done.stderr.splitlines() if line.startswith("netaudit: ")] or done.stderr.splitlines()[-1:]
        return Result(name, library, failed=f"exit code {done.returncode}: {' '.join(said)}", seconds=seconds)
    report = json.loads(done.stdout)
    (target,) = report["targets"]
    covered = target["coverage"]
    return Result(
        name,
        library,
        tuple((f["severity"], f["code"], f["module"], f["message"]) for f in report["findings"]),
        covered["calls"],
        covered["with_transfer"],
        covered["parameters"],
        covered["forecast"],
        tuple(covered["unknown"]),
        tuple(target["problems"]),
        seconds=seconds,
    )


# storing ----------------------------------------------------------------------------------------------------------------


def stored(path: Path | None) -> dict[str, Result]:
    """The results that are there already, by name."""
    if path is None or not path.exists():
        return {}
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: Result(**{key: _frozen(value) for key, value in row.items()}) for row in rows}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def results(names: Iterable[str], args: argparse.Namespace) -> Mapping[str, Result]:
    """The results of the models named, in their order, run where they are not stored."""
    found = stored(args.store)
    for name in names:
        if name not in found:
            found[name] = one = checked(name, args.timeout, args.memory)
            print(told(one), file=sys.stderr, flush=True)
            if args.store is not None:
                with args.store.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    return {name: found[name] for name in names}


# printing ---------------------------------------------------------------------------------------------------------------


def told(one: Result) -> str:
    """A result in one line."""
    said = ", ".join(f"{severity[0]} {code} {module}".strip() for severity, code, module, _ in one.findings)
    return f"{one.name:28s} {one.seconds:5.1f} s  {said or 'nothing'}; {_left(one) or 'whole'}"


def _left(one: Result) -> str:
    """What was not checked, and why."""
    missing = f"no forecast for {one.params - one.forecast} of {one.params} parameters" if one.forecast < one.params else ""
    unknown = f"no transfer for {', '.join(one.unknown)}" if one.unknown else ""
    return "; ".join(filter(None, (one.failed, *one.problems, unknown, missing)))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def tables(found: Sequence[Result]) -> Iterator[str]:
    """The totals, the findings, what was left unchecked, and every model."""
    yield from _totals(found)
    rows = [(one.name, *said) for one in found for said in one.findings if said[0] != "info"]
    yield from _table(("model", "severity", "rule", "module", "message"), rows)
    yield from _table(("not wholly checked", "why"), ((one.name, _left(one)) for one in found if not one.is_whole))
    headers = ("model", "library", "calls", "with a transfer %", "parameters", "with a forecast %", "errors", "warnings", "info", "CPU s")
    yield from _table(headers, (_row(one) for one in found))


def _row(one: Result) -> tuple[object, ...]:
    notes = ", ".join(sorted({code for severity, code, *_ in one.findings if severity == "info"}))
    covered = (one.calls, _percent(one.ruled, one.calls), one.params, _percent(one.forecast, one.params))
    return (one.name, one.library, *covered, one.count("error"), one.count("warning"), notes, f"{one.seconds:.0f}")


def _totals(found: Sequence[Result]) -> Iterator[str]:
    libraries = Counter(one.library for one in found)
    rows = []
    for library in (*libraries, ""):
        group = [one for one in found if library in ("", one.library)]
        rows.append(
            (
                library or "all", len(group), *(sum(one.count(s) > 0 for one in group) for s in ("error", "warning")),
                sum(bool(one.failed) for one in group), sum(not one.is_whole for one in group), f"{sum(one.seconds for one in group):.0f}",
            )
        )  # fmt: skip
    yield from _table(("library", "models", "with an error", "with a warning", "no report", "not wholly checked", "CPU s"), rows)


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield tabulate(found, headers=headers, tablefmt="github", disable_numparse=True)
        yield ""


def main() -> None:
    """Check the models and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--library", choices=sorted({one.library for one in MODELS.values()}))
    parser.add_argument("--store", type=Path, metavar="FILE", help="keep results here, one JSON object a line, and do not repeat them")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB")
    args = parser.parse_args()
    unknown = sorted(set(args.only) - set(MODELS))
    if unknown:
        parser.error(f"there is no model {', '.join(unknown)}")
    names = [name for name, one in MODELS.items() if args.library in (None, one.library) and (not args.only or name in args.only)]
    print("\n".join(tables(list(results(names, args).values()))))


if __name__ == "__main__":
    main()
