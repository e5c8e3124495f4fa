"""Targets as they were at a commit, audited by a process of its own: modules that are loaded here are those of the working tree."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn


@dataclass(frozen=True, slots=True)
class Answer:
    """What a target was: its JSON ``report``, or ``why`` there is none; or it is the ``same`` as it is now."""

    report: Mapping[str, Any] | None = None
    why: str = ""
    same: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Options of `check`, targets, the configuration, and where modules are imported from.

    ``home`` is the working tree, ``tree`` that of the commit, ``here`` the folder in it to work in, ``root`` the one that stands for
    the project.
    """

    arguments: tuple[str, ...]
    targets: tuple[str, ...]
    config: Mapping[str, Any]
    path: tuple[str, ...]
    home: str
    tree: str
    here: str
    root: str


def answers(job: Job) -> list[Answer]:
    """What a process of its own says of the targets of a job; of those that it did not come to, what it died of."""
    place = Path(job.tree).parent
    (place / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    # -P and whole paths: neither a netaudit of the commit nor one of another folder is to be run.
    paths = os.pathsep.join(os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-P", "-c", "from netaudit.cli.then import main; main()", str(place)],
        cwd=job.here,
        env={**os.environ, "PWD": job.here, **({"PYTHONPATH": paths} if paths else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
    lost = f"could not be audited then, so that everything counts: the process ended with {done.returncode} ({last})"
    return [_read(place / f"{number}.json", lost) for number in range(len(job.targets))]


def _read(file: Path, lost: str) -> Answer:
    return Answer(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else Answer(why=lost)


# in the other process ---------------------------------------------------------------------------------------------------


def main() -> NoReturn:
    """Do the job that lies in a folder, and leave an answer there for each of its targets."""
    from netaudit.cache import replaced

    from .common import packs
    from .streams import keep_stdout_for_results

    gc.set_threshold(200_000, 30, 30)
    keep_stdout_for_results()
    place = Path(sys.argv[1])
    job = Job(**json.loads((place / "job.json").read_text(encoding="utf-8")))
    packs(checks_only=True)  # those of now, before the path leads to those of the commit
    sys.dont_write_bytecode = True
    sys.path[:] = job.path
    ours = frozenset(name.partition(".")[0] for name in sys.modules)
    for number, target in enumerate(job.targets):
        replaced(place / f"{number}.json", json.dumps(asdict(_answered(job, target, place / "report.json", ours))).encode())
    sys.exit(0)


def _answered(job: Job, target: str, file: Path, ours: frozenset[str]) -> Answer:
    from netaudit.config import restored
    from netaudit.errors import NetauditError

    from .app import Elsewhere, app

    given = ["check", *job.arguments, "--exit-zero", "--baseline=", f"--output=json={file}", "--", target]
    try:
        app(args=given, standalone_mode=False, prog_name="netaudit", obj=Elsewhere(restored(job.config), Path(job.root)))
    except NetauditError as error:
        why = error.message.replace(f"{job.tree}{os.sep}", "")
        return Answer(why=f"could not be audited then, so that everything counts: {why}")
    strays = sorted(name for name, module in sys.modules.items() if name.partition(".")[0] not in ours and _is_of_now(module, job))
    if strays:
        why = f"module {strays[0]} is found in the working tree, not at the commit; is it installed from there?"
        return Answer(why=f"could not be audited then, so that everything counts: {why}")
    return Answer(json.loads(file.read_text(encoding="utf-8")))


def _is_of_now(module: object, job: Job) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or "site-packages" in file or "dist-packages" in file:
        return False
    path = Path(file).absolute()
    return path.is_relative_to(job.home) and not path.is_relative_to(job.tree)
