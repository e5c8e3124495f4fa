"""The probe measured: what it costs, how fast the largest gain is found, what it says of models with a known fault.

usage: python tests/benchmarks/bench_probe.py [--device cpu] [--only cost convergence faults] [--faults DIR] [--batch 8] [--pairs 20]

cost          time and peak memory of the node-level measurement (sizes, gradients, typical gains) over one plain forward and backward
              pass of the same model on the same device; a process of its own for each
convergence   the largest gain of every call of small networks, by at most ``--pairs`` products, over the exact largest singular value of
              its Jacobian
faults        every case of a fault benchmark (``cases/*.py``, ``labels.json``) audited with a probe: verdicts of its findings
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from netaudit.intake.wrap import Alone, leaves_of
from netaudit.pack import installed
from netaudit.probe import Plan, Probing
from netaudit.probe.heads import cotangents
from netaudit.probe.linear import largest_gain
from netaudit.probe.machine import Local, Machine, machine_of, sweep
from netaudit.probe.sizes import Sizes
from netaudit.report.claimed import verdict

MODELS: Mapping[str, tuple[str, str]] = {
    "resnet50": ("torchvision:resnet50", "x=f32[{batch},3,224,224]"),
    "gpt2": ("", "input_ids=i64[{batch},128]<50257>"),
}
SMALL = ("examples/deep_sigmoid.py", "examples/gpt.py", "examples/post_ln.py")
REPEATS = 3
LARGEST = 1024
"""Outputs of a call whose Jacobian is written out; it may have 16 times as many inputs."""


# cost -------------------------------------------------------------------------------------------------------------------


def subject_of(name: str, batch: int) -> Subject:
    """The model in training mode, on a batch."""
    target, spec = MODELS[name]
    if target:
        return next(iter(load(target, Options(inputs=(spec.format(batch=batch),)))))
    from transformers import GPT2Config, GPT2LMHeadModel

    ids = torch.randint(50257, (batch, 128))
    model = GPT2LMHeadModel(GPT2Config(use_cache=False))
    return Subject("gpt2", model, (), {"input_ids": ids}, {"input_ids": ids}, "drawn")


def plain(subject: Subject, device: torch.device) -> Callable[[], None]:
    """One forward and backward pass of the model itself."""
    model = subject.model.to(device).train()
    wrapper, flat = Alone(subject), [t.to(device) for t in leaves_of((subject.args, dict(subject.kwargs)))]

    def run() -> None:
        model.zero_grad(set_to_none=True)
        outputs = [y for y in wrapper(*flat) if y.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
        _wait(device)

    return run


def measured(subject: Subject, device: torch.device, samples: int) -> Callable[[], None]:
    """The same at every node, with gains."""
    machine = machine_of(lower(trace(subject), subject), device)
    heads = cotangents(machine, 0)

    def run() -> None:
        sweep(machine, heads, Sizes(samples))
        _wait(device)

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cost_of(name: str, kind: str, device: torch.device, batch: int) -> tuple[float, float]:
    """Seconds of the fastest of some runs, and peak memory in MB beyond what was there before them."""
    subject = subject_of(name, batch)
    run = plain(subject, device) if kind == "plain" else measured(subject, device, int(kind))
    before = _memory(device)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times), _memory(device) - before


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cost(device: torch.device, batch: int) -> str:
    """The table of cost: each row is measured in a process of its own."""
    rows = []
    for name in MODELS:
        found = {}
        for kind in ("plain", "0", "3"):
            command = [sys.executable, __file__, "--one", name, kind, "--device", str(device), "--batch", str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[kind] = json.loads(done.stdout.splitlines()[-1])
        seconds, memory = found["plain"]
        for kind, what in (("0", "sizes and gradients"), ("3", "and typical gains, 3 samples")):
            rows.append((name, what, seconds, found[kind][0], found[kind][0] / seconds, memory, found[kind][1], found[kind][1] / memory))
    headers = ("model", "measured", "plain s", "probe s", "times", "plain MB", "probe MB", "times")
    return tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".2f")


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
        """Both gains of a call, for each operand whose Jacobian fits."""
        del parts
        for operand, value in local.operands.items():
            if max(value.numel() // 16, local.output.numel()) > LARGEST:
                self.skipped += 1
                continue
            linear = local.jacobian(operand, torch.float64)
            matrix = torch.stack(
                [linear.back(u.view(local.output.shape)).flatten() for u in torch.eye(local.output.numel(), dtype=torch.float64)]
            )
            exact = float(torch.linalg.matrix_norm(matrix, 2))
            found = largest_gain(linear, pairs=self.pairs)
            if exact > 0.0:
                self.shares.append((local.node.op, found.gain / exact, found.pairs))


def convergence(pairs: int) -> str:
    """The table of convergence over small networks."""
    rows = []
    for machine, name in _small():
        watch = Converging(pairs)
        sweep(machine, cotangents(machine, 0), watch)
        shares = [share for _, share, _ in watch.shares]
        reached = sum(share >= 0.99 for share in shares) / len(shares)
        worst = min(watch.shares, key=lambda one: one[1])
        used = sum(n for _, _, n in watch.shares) / len(shares)
        rows.append(
            (name, len(shares), watch.skipped, f"{reached:.1%}", f"{min(shares):.4f} ({worst[0]})", f"{max(shares):.9f}", f"{used:.1f}")
        )
    headers = ("network", "Jacobians", "too large", "within 1 %", "least share", "largest share", "pairs used")
    return tabulate(rows, headers=headers, tablefmt="pipe")


def _small() -> Iterator[tuple[Machine, str]]:
    for target in SMALL:
        path = Path(__file__).parents[2] / target
        subject = next(iter(load(str(path), Options())))
        leaves = tuple(
            t[:1, :8] if t.ndim > 2 or not t.is_floating_point() else t[:2] for t in leaves_of((subject.args, dict(subject.kwargs)))
        )
        small = Subject(target, subject.model, leaves, {}, leaves, "a part of the example")
        yield machine_of(lower(trace(small), small), torch.device("cpu")), target
    torch.manual_seed(0)
    x = torch.randn(1, 3, 10, 10)
    images = Subject("convolutions", Convolutions(), (x,), {}, x, "drawn")
    yield machine_of(lower(trace(images), images), torch.device("cpu")), "convolutions"


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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", default=["cost", "convergence", "faults"])
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device(given.device)
    if given.one:
        print(json.dumps(cost_of(given.one[0], given.one[1], device, given.batch)))
        return
    print(f"device {device}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    if "cost" in given.only:
        print(f"\ncost, batch {given.batch}\n\n{cost(device, given.batch)}")
    if "convergence" in given.only:
        print(f"\nlargest gain in at most {given.pairs} pairs of products\n\n{convergence(given.pairs)}")
    if "faults" in given.only and given.faults:
        print(f"\nfault benchmark\n\n{faults(given.faults, str(device))}")


if __name__ == "__main__":
    main()
