"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        help="model.py, model.py:Name, pkg.mod:factory, a folder, x.pt2, torchvision:NAME, timm:NAME, hf:CONFIG_DIR, or a configured name."
    ),
]
Target = Annotated[str, typer.Argument(help="One target; see `netaudit check --help`.")]
Args = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Argument of the factory: depth=12. May be repeated.", metavar="NAME=VALUE"),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="x=f32[8,3,224,224] or ids=i64[2,128]<50257>. May be repeated.", metavar="SPEC"),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A batch of real inputs: .pt, .safetensors or .npz with a tensor, a tuple of them, or a dict by names of forward().",
        metavar="PATH",
    ),
]
InputRange = Annotated[
    list[str] | None,
    typer.Option(
        "--input-range",
        help="A range that you vouch for: x=-1:1, or -1:1 for every float input. Bounds then hold on it. May be repeated.",
        metavar="[NAME=]LO:HI",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="Checkpoint: .safetensors, an index or a folder of them, or .pt with weights only.", metavar="PATH"),
]
Meta = Annotated[
    bool,
    typer.Option("--meta", help="Build without weights: large parameters are known by how they are initialised, or from --weights."),
]
HEADS = ("loss", "unit", "ce")
Cotangent = Annotated[
    str, typer.Option("--cotangent", help="Where the gradient starts: loss (the target's, if any), unit, ce (cross-entropy).")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Mode = Annotated[str | None, typer.Option("--mode", help="train or eval.", metavar="MODE")]
Timeout = Annotated[
    int,
    typer.Option(
        "--timeout",
        min=0,
        help="Give up on a model that takes longer than this to build and trace; 0 waits for ever.",
        metavar="SECONDS",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and timings.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show only findings that count and what was not checked: no summary, nothing suppressed."),
]
ShowFull = Annotated[bool, typer.Option("--full", help="Show every row of paths and lists.")]
