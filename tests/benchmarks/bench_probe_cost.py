"""What the probe costs: time, peak memory, and how many segments a limit of memory takes.

usage: python tests/benchmarks/bench_probe_cost.py [--device cpu] [--only cost cuts] [--models NAME ...] [--batch 8] [--repeats 3]
                                                   [--threads 1]

cost   time and peak memory of the node-level measurement (sizes, gradients, typical gains from so many samples) over one plain forward
       and backward pass of the same model on the same device. GPT-2 small has sequences of 128 tokens, and no loss: both start from
       its logits. Kinds of runs take turns in one process for their times, the median counts; each peak is taken in one of its own
cuts   peak memory with a limit (--probe-memory), as predicted and as it is
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.intake.libraries import library
from netaudit.intake.lower import lower
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.intake.trace import trace
from netaudit.intake.wrap import Alone, leaves_of
from netaudit.probe.devices import device_of, title
from netaudit.probe.heads import cotangents
from netaudit.probe.machine import Machine, machine_of, sweep
from netaudit.probe.memory import costs_of, fitting
from netaudit.probe.run import in_words
from netaudit.probe.sizes import Gauge

MODELS: Mapping[str, tuple[str, str]] = {
    "resnet18": ("torchvision:resnet18", "x=f32[{batch},3,224,224]"),
    "vit_tiny": ("timm:vit_tiny_patch16_224", "x=f32[{batch},3,224,224]"),
    "resnet50": ("torchvision:resnet50", "x=f32[{batch},3,224,224]"),
    "gpt2": ("", ""),
    "mlp60": ("", ""),
}
COSTED = ("resnet18", "vit_tiny", "resnet50", "gpt2")
TOKENS = 128
"""The length of GPT-2's sequences."""
SAMPLES = (0, 2, 3, 4)
CUT = ("mlp60", "resnet50")
SHARES = (0.6, 0.4, 0.25, 0.1)
"""Limits of memory, as parts of what a run takes that is not cut."""


# cost -------------------------------------------------------------------------------------------------------------------


def subject_of(name: str, batch: int) -> Subject:
    """The model in training mode, on a batch."""
    target, spec = MODELS[name]
    if target:
        return next(iter(load(target, Options(inputs=(spec.format(batch=batch),)))))
    torch.manual_seed(0)
    if name == "mlp60":
        x = torch.randn(64 * batch, 1024)
        return Subject(name, nn.Sequential(*[nn.Sequential(nn.Linear(1024, 1024), nn.Tanh()) for _ in range(60)]), (x,), {}, x, "drawn")
    transformers = library("transformers")
    ids = torch.randint(50257, (batch, TOKENS))
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False))
    return Subject(name, model, (), {"input_ids": ids}, {"input_ids": ids}, "drawn")


def plain(subject: Subject, device: torch.device) -> Callable[[], None]:
    """One forward and backward pass of the model itself."""
    model = subject.model.to(device).train()
    wrapper, flat = Alone(subject), [t.to(device) for t in leaves_of((subject.args, dict(subject.kwargs)))]

    def run() -> None:
        outputs = [y for y in wrapper(*flat) if y.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
        del outputs
        _wait(device)
        model.zero_grad(set_to_none=True)

    return run


def measured(machine: Machine, samples: int, cuts: Sequence[int] = ()) -> Callable[[], None]:
    """The same at every node, with gains."""

    def run() -> None:
        watch = Gauge(samples)
        sweep(machine, cotangents(machine, 0), watch, cuts=cuts)
        watch.read()
        _wait(machine.device)

    return run


def machine_on(device: torch.device, subject: Subject) -> Machine:
    return machine_of(lower(trace(subject), subject), device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(name: str, device: torch.device, batch: int, repeats: int) -> Mapping[str, float]:
    """The median time of each kind of run; the kinds take turns, so that what else the machine does falls on all of them."""
    subject = subject_of(name, batch)
    machine = machine_on(device, subject)
    kinds = {"plain": plain(subject, device), **{str(n): measured(machine, n) for n in SAMPLES}}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(repeats + 1):
        for kind, run in kinds.items():
            began = _clock(device)
            run()
            if turn:  # the first one finds nothing warm
                found[kind].append(_clock(device) - began)
    return {kind: median(times) for kind, times in found.items()}


def _clock(device: torch.device) -> float:
    """Seconds: of a GPU on the wall, of a CPU those that this process was given, which other processes do not change much."""
    spent = os.times()
    return time.perf_counter() if device.type == "cuda" else spent.user + spent.system


def memory(name: str, kind: str, device: torch.device, batch: int) -> float:
    """Peak bytes of the second run of a kind beyond what there was before it."""
    subject = subject_of(name, batch)
    run = plain(subject, device) if kind == "plain" else measured(machine_on(device, subject), int(kind))
    run()
    with peak(device) as found:
        run()
    return found[0]


@contextmanager
def peak(device: torch.device) -> Iterator[list[float]]:
    """What memory grows by at most while something is done: allocated by torch on a GPU, resident in this process on a CPU."""
    found: list[float] = []
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.append(float(torch.cuda.max_memory_allocated(device) - before))
        return
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    yield found
    found.append(float(_resident("VmHWM") - before))


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def cost(device: torch.device, batch: int, repeats: int, names: Sequence[str]) -> str:
    """The table of cost: each model is timed in one process, and each of its peaks taken in one of its own."""
    rows = []
    for name in names:
        times = child("seconds", name, str(repeats), device=device, batch=batch)
        peaks = {kind: child("memory", name, kind, device=device, batch=batch) / 2**20 for kind in times}
        per = [(times[kind] / times["plain"], peaks[kind] / peaks["plain"]) for kind in times]
        rows += [(name, kind, times[kind], t, peaks[kind], m) for kind, (t, m) in zip(times, per, strict=True)]
    headers = ("model", "samples", "seconds", "times plain", "peak MiB", "times plain")
    return tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=("", "", ".2f", ".2f", ".0f", ".2f"))


def child(*words: str, device: torch.device, batch: int) -> Any:
    """What a process of its own prints; its large tensors are given back to the system as soon as they are freed."""
    command = [
        sys.executable,
        __file__,
        "--child",
        *words,
        "--device",
        str(device),
        "--batch",
        str(batch),
    ]
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"} if words[0] != "seconds" else None
    done = subprocess.run(
        [*command, "--threads", str(torch.get_num_threads())], stdout=subprocess.PIPE, text=True, check=True, env=settings
    )
    return json.loads(done.stdout.splitlines()[-1])


# cuts -------------------------------------------------------------------------------------------------------------------


def cut(name: str, share: float, device: torch.device, batch: int) -> tuple[float, int, float, float]:
    """A limit that is a share of what one segment takes; segments for it, the peak that is predicted for them, and the real one."""
    machine = machine_on(device, subject_of(name, batch))
    costs = costs_of(machine, samples=SAMPLES[2])
    limit = share * fitting(costs, sys.maxsize).most
    found = fitting(costs, int(limit))
    run = measured(machine, SAMPLES[2], found.places)
    run()
    with peak(device) as actual:
        run()
    return limit, len(found.places) + 1, found.most, actual[0]


def cuts(device: torch.device, batch: int, names: Sequence[str]) -> str:
    """The table of cuts: each row in a process of its own."""
    rows = []
    for name in names:
        for share in (1.0, *SHARES):
            limit, count, predicted, actual = child("cut", name, str(share), device=device, batch=batch)
            rows.append((name, f"{in_words(int(limit))}", count, *(size / 2**20 for size in (predicted, actual)), predicted / actual))
    headers = ("model", "limit", "segments", "predicted MiB", "measured MiB", "ratio")
    return tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=("", "", "", ".0f", ".0f", ".2f"))


def answer(words: Sequence[str], device: torch.device, batch: int) -> object:
    """What a child is asked for."""
    what, name, rest = words
    if what == "seconds":
        return seconds(name, device, batch, int(rest))
    return memory(name, rest, device, batch) if what == "memory" else cut(name, float(rest), device, batch)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", choices=("cost", "cuts"), default=["cost", "cuts"])
    parser.add_argument("--models", nargs="*", choices=list(MODELS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    if given.child:
        print(json.dumps(answer(given.child, device, given.batch)))
        return
    print(f"device {title(device)}, torch {torch.__version__}, {given.threads} threads, batch {given.batch}", flush=True)
    if "cost" in given.only:
        print(f"\ncost\n\n{cost(device, given.batch, given.repeats, given.models or COSTED)}", flush=True)
    if "cuts" in given.only:
        print(f"\nlimits of memory\n\n{cuts(device, given.batch, given.models or CUT)}", flush=True)


if __name__ == "__main__":
    main()
