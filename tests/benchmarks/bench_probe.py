"""The probe measured: what it costs, how fast the largest gain is found, what it says of models with a known fault.

usage: python tests/benchmarks/bench_probe.py [--device cpu] [--only tests cost cuts convergence faults] [--faults DIR]
                                              [--batch 8] [--threads 1] [--pairs 20]

On a machine with a GPU, ``--device cuda`` is the one command: it runs the tests that need one, then makes every table there.

tests         the tests marked gpu; left out on a CPU
cost, cuts    time and memory: ``bench_probe_cost.py``
convergence   the largest gain of every call of small networks, by at most ``--pairs`` products, over the exact largest singular value of
              its Jacobian
faults        every case of a fault benchmark (``cases/*.py``, ``labels.json``) audited with a probe: verdicts of its findings
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.audit import Settings, audit_subject
from netaudit.graph import Node
from netaudit.intake.lower import lower
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.intake.trace import trace
from netaudit.intake.wrap import leaves_of
from netaudit.pack import installed
from netaudit.probe import Plan, Probing
from netaudit.probe.calls import Local
from netaudit.probe.devices import device_of, title
from netaudit.probe.heads import cotangents
from netaudit.probe.linear import largest_gain
from netaudit.probe.machine import Machine, machine_of, sweep
from netaudit.report.claimed import verdict

ROOT = Path(__file__).parents[2]
PARTS = ("tests", "cost", "cuts", "convergence", "faults")
SMALL = ("examples/deep_sigmoid.py", "examples/gpt.py", "examples/post_ln.py")
LARGEST = 1024
"""Outputs of a call whose Jacobian is written out; it may have 16 times as many inputs."""


# convergence ------------------------------------------------------------------------------------------------------------


class Converging:
    """Watches a sweep and compares the largest gain of every small call with the exact one."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        self.shares: list[tuple[str, float, int]] = []
        self.skipped = 0

    def value(self, node: Node, value: torch.Tensor) -> None:
        """Values are not looked at."""

    def cotangent(self, node: Node, cotangent: torch.Tensor) -> None:
        """Nor are cotangents."""

    def pulled(self, local: Local, parts: Mapping[str, torch.Tensor]) -> None:
        """Nor at what becomes of them."""

    def left(self, local: Local) -> None:
        """Both gains of a call, for each operand whose Jacobian fits."""
        assert local.point is not None
        outputs = local.example.numel()
        for operand in local.point.carrying:
            if max(local.point.values[operand].numel() // 16, outputs) > LARGEST:
                self.skipped += 1
                continue
            linear = local.point.jacobian(operand, torch.float64)
            units = torch.eye(outputs, dtype=torch.float64, device=local.example.device)
            matrix = torch.stack([linear.back(u.view(local.example.shape)).flatten() for u in units])
            exact = float(torch.linalg.matrix_norm(matrix, 2))
            found = largest_gain(linear, pairs=self.pairs)
            if exact > 0.0:
                self.shares.append((local.node.op, found.gain / exact, found.pairs))


def convergence(device: torch.device, pairs: int) -> str:
    """The table of convergence over small networks."""
    rows = []
    for machine, name in _small(device):
        watch = Converging(pairs)
        sweep(machine, cotangents(machine, 0), watch, points=frozenset(node.name for node in machine.calls))
        shares = [share for _, share, _ in watch.shares]
        reached = sum(share >= 0.99 for share in shares) / len(shares)
        worst = min(watch.shares, key=lambda one: one[1])
        used = sum(n for _, _, n in watch.shares) / len(shares)
        rows.append(
            (name, len(shares), watch.skipped, f"{reached:.1%}", f"{min(shares):.4f} ({worst[0]})", f"{max(shares):.9f}", f"{used:.1f}")
        )
    headers = ("network", "Jacobians", "too large", "within 1 %", "least share", "largest share", "pairs used")
    return tabulate(rows, headers=headers, tablefmt="pipe")


def _small(device: torch.device) -> Iterator[tuple[Machine, str]]:
    for target in SMALL:
        path = ROOT / target
        subject = next(iter(load(str(path), Options())))
        leaves = tuple(
            t[:1, :8] if t.ndim > 2 or not t.is_floating_point() else t[:2] for t in leaves_of((subject.args, dict(subject.kwargs)))
        )
        small = Subject(target, subject.model, leaves, {}, leaves, "a part of the example")
        yield _machine(small, device), target
    torch.manual_seed(0)
    x = torch.randn(1, 3, 10, 10)
    images = Subject("convolutions", Convolutions(), (x,), {}, x, "drawn")
    yield _machine(images, device), "convolutions"


def _machine(subject: Subject, device: torch.device) -> Machine:
    return machine_of(lower(trace(subject), subject), device)


class Convolutions(nn.Module):
    """Convolutions of every kind with each normalisation, pooling and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU())
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 1))
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, stride=2), nn.InstanceNorm2d(16, affine=True), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of the branches, down and up."""
        y = self.stem(x)
        y = y + self.branch(y)
        out: torch.Tensor = self.up(self.down(y)).softmax(1)
        return out


# faults -----------------------------------------------------------------------------------------------------------------


def faults(folder: Path, device: str) -> str:
    """What the probe says of every finding of a fault benchmark."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["cases"]
    catalog = installed()
    verdicts: Counter[tuple[str, str, str]] = Counter()
    notes, bounds = [], [0, 0]
    for path in sorted((folder / "cases").glob("*.py")):
        settings = Settings(probe=Probing(device, plan=Plan(samples=1)))
        for report in (audit_subject(subject, catalog, settings) for subject in load(str(path), Options())):
            label = labels[path.stem]["label"]
            for finding in report.findings:
                verdicts[label, finding.code, finding.verdict or "not probed"] += 1
                if finding.verdict == "not reproduced":
                    notes.append(f"{path.stem} ({label}): {finding.code} {finding.message}: {verdict(finding)}")
            if report.measured is not None:
                bounds[0] += report.measured.bounds
                bounds[1] += len(report.measured.violations)
                said = [note for note in report.measured.notes if "not finite" in note]
                seen = not any(f.severity != "info" for f in report.findings)
                notes += [f"{path.stem} ({label}): {note}{'; only the probe sees it' if seen else ''}" for note in said]
    rows = sorted((label, code, *(verdicts[label, code, v] for v in VERDICTS)) for label, code in {key[:2] for key in verdicts})
    table = tabulate(rows, headers=("label", "rule", *VERDICTS), tablefmt="pipe")
    return "\n".join([table, "", f"{bounds[0]} proved bounds held against measurements, {bounds[1]} violated", *notes])


VERDICTS = ("confirmed", "not reproduced", "not probed")


def main() -> int:
    """Print the tables; 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    print(f"device {title(device)}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    failed = 0
    if "tests" in given.only and device.type == "cuda":
        failed = subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "tests"], cwd=ROOT, check=False).returncode
    priced = [part for part in ("cost", "cuts") if part in given.only]
    if priced:
        numbers = ("--device", given.device, "--batch", str(given.batch), "--threads", str(given.threads))
        subprocess.run([sys.executable, str(Path(__file__).with_name("bench_probe_cost.py")), *numbers, "--only", *priced], check=True)
    if "convergence" in given.only:
        print(f"\nlargest gain in at most {given.pairs} pairs of products\n\n{convergence(device, given.pairs)}", flush=True)
    if "faults" in given.only and given.faults:
        print(f"\nfault benchmark\n\n{faults(given.faults, str(device))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
