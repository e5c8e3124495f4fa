"""From a target to its subjects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from netaudit.errors import NetauditError, TargetError
from netaudit.intake import zoo
from netaudit.intake.build import all_built, construct, made, ready
from netaudit.intake.complete import completed
from netaudit.intake.files import find, load_file, load_module
from netaudit.intake.folders import model_files
from netaudit.intake.grammar import Target, location, parse, split
from netaudit.intake.hollow import Absent, Recorder
from netaudit.intake.sites import forget
from netaudit.intake.subject import Built, Entry, Options, Subject
from netaudit.intake.usercode import contained, kind_of, shown, user_code


def load(target: str, options: Options) -> tuple[Subject, ...]:
    """The subjects of a target: one for most, several for a file or a folder that holds several models.

    The name of an entry of ``options.config`` stands for what the entry says; a file brings the entries that point
    into it. Random generators are seeded first. Afterwards they are as before, and so are the working directory,
    ``sys.path``, ``sys.argv`` and ``nn.Module.__init__``. What else the code changes stays, imported modules, its
    environment variables and torch's default dtype among it: the forward pass of the model may need them.

    Raises:
        TargetError: the target is not there, holds no model, or its code fails.
    """
    if target in options.config:
        return _configured(target, options.config[target], options)
    place = parse(target, options.config)
    if place.kind == "folder":
        return _in_folder(Path(place.place), options)
    subjects, reasons = _with_entries(place, target, options)
    if not subjects:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        hint = "define build(), give arguments with --arg, or name what makes the model, as in model.py:Net"
        raise TargetError(f"there is no model to audit in {shown(place.place)}{listed}", hint)
    return subjects


def _configured(name: str, entry: Entry, options: Options) -> tuple[Subject, ...]:
    """The subjects of an entry of the configuration, under its name; what the command line says goes first."""
    from_entry = not options.inputs and bool(entry.inputs)
    merged = replace(
        options,
        args={**entry.args, **options.args},
        inputs=tuple(entry.inputs) if from_entry else options.inputs,
        inputs_from=options.config_name if from_entry else options.inputs_from,
        weights=options.weights if options.weights is not None else entry.weights,
        config={},
    )
    subjects = load(entry.target, merged)
    if len(subjects) == 1:
        return (replace(subjects[0], id=name),)
    where = f"{shown(split(entry.target)[0])}:"
    return tuple(replace(subject, id=f"{name}:{subject.id.removeprefix(where)}") for subject in subjects)


def _in_folder(folder: Path, options: Options) -> tuple[Subject, ...]:
    files = model_files(folder)
    found = [_with_entries(Target("file", str(path)), str(path), options)[0] for path in files]
    subjects = tuple(subject for several in found for subject in several)
    if not subjects:
        looked = f"{len(files)} files in it import torch and define build() or a class" if files else "no file in it defines one"
        raise TargetError(f"there is no model to audit in the folder {shown(folder)}: {looked}", "name a file, or define build()")
    return subjects


def _with_entries(place: Target, text: str, options: Options) -> tuple[tuple[Subject, ...], Sequence[str]]:
    """The subjects of a place, after those of the configuration's entries that are, or lie in, this place."""
    where = location(text)
    inside = {
        name: entry
        for name, entry in options.config.items()
        if location(entry.target) == where or (place.kind == "file" and location(entry.target)[0] == where[0] and not place.name)
    }
    subjects = [subject for name, entry in inside.items() for subject in _configured(name, entry, options)]
    names = [location(entry.target)[1] for entry in inside.values()]
    if where[1] in names:  # an entry for this very place says how it is to be loaded
        return tuple(subjects), ()
    with contained(options.seed):
        make = _without_weights if options.meta else _built
        built, reasons = make(place, text, frozenset(names), options)
        own = tuple(completed(one, options) for one in built)
        for subject in own:
            forget(subject.model)
    return (*subjects, *own), reasons


def _without_weights(place: Target, text: str, skip: frozenset[str], options: Options) -> tuple[Sequence[Built], Sequence[str]]:
    """As ``_built``, large parameters without values."""
    if place.kind == "program":
        raise TargetError(f"{shown(place.place)} is a program, which comes with its weights", "leave out --meta")
    recorder = Recorder(options.seed)
    try:
        with recorder.building():
            built, reasons = _built(place, text, skip, options)
    except TargetError as error:
        if error.__cause__ is None or isinstance(error.__cause__, NetauditError):
            raise
        hint = "its code may need values of weights, which are not there: leave out --meta"
        raise TargetError(f"on the meta device, {error.message}", hint) from error.__cause__
    return [replace(one, absent=Absent(recorder.laws(one.model))) for one in built], reasons


def _built(place: Target, text: str, skip: frozenset[str], options: Options) -> tuple[Sequence[Built], Sequence[str]]:
    """The models of a place but for the names in ``skip``, and why other names of a file are none."""
    match place.kind:
        case "program":
            return [_program(Path(place.place), options)], ()
        case "torchvision" | "timm" | "hf":
            label = f"hf:{shown(place.place)}" if place.kind == "hf" else text
            make = zoo.maker(place.kind, place.place, options.args)
            return [Built(label, made(f"building {label}", make, options))], ()
        case "module":
            return [_named(load_module(place.place), place.name, text, options)], ()
        case _:
            label, module = shown(place.place), load_file(Path(place.place).absolute())
            if place.name:
                return [_named(module, place.name, f"{label}:{place.name}", options)], ()
            return _of_file(module, label, skip, options)


def _of_file(module: ModuleType, label: str, skip: frozenset[str], options: Options) -> tuple[Sequence[Built], Sequence[str]]:
    factory = vars(module).get("build")
    if callable(factory) and not isinstance(factory, nn.Module):
        return [Built(label, construct(f"build() of {label}", factory, options), module)], ()
    return all_built(module, label, skip, options)


def _named(module: ModuleType, name: str, label: str, options: Options) -> Built:
    """What the name stands for: an instance, or what a class or a factory makes."""
    value = find(module, name, label.rpartition(":")[0])
    if isinstance(value, nn.Module):
        return Built(label, ready(label, value, options), module)
    if not callable(value):
        raise TargetError(f"{label} is {kind_of(value)}", "name a module, a class of modules, or a factory")
    return Built(label, construct(label, value, options), module)


@contextmanager
def _without_logs() -> Iterator[None]:
    """Silence loggers: torch logs the traceback of a program that it cannot read."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _program(path: Path, options: Options) -> Built:
    label = shown(path)
    try:
        with user_code(f"reading {label}"), _without_logs():
            program = torch.export.load(path)
            model = program.module()
    except TargetError as error:
        raise TargetError(error.message, "is it a file of torch.export.save, from this version of torch?") from error
    return Built(label, ready(label, model, options), program=program)
