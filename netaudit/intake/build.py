"""Building models: one from a factory, or all that a file holds."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from torch import nn

from netaudit.errors import TargetError
from netaudit.intake.files import Candidate, survey, unfit
from netaudit.intake.sites import recording
from netaudit.intake.subject import Built, Options
from netaudit.intake.usercode import kind_of, reseed, user_code


def parse_args(texts: Sequence[str]) -> Mapping[str, object]:
    """Read ``depth=12`` and the like: a python literal if the text is one, else the text itself.

    Raises:
        TargetError: a text has no ``=``, or a name is no name or comes twice.
    """
    args: dict[str, object] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name.isidentifier():
            raise TargetError(f"--arg {text!r} is not NAME=VALUE", "write --arg depth=12 or --arg norm=batch")
        if name in args:
            raise TargetError(f"--arg {name} is given twice", "give each argument once")
        args[name] = _literal(value)
    return args


def construct(label: str, factory: Callable[..., object], options: Options) -> nn.Module:
    """What ``factory(**options.args)`` returns, which must be a module; ``label`` says in errors what was called.

    Raises:
        TargetError: the arguments do not fit, the call raises, or it returns something else.
    """
    problem = unfit(factory, options.args)
    if problem:
        raise TargetError(f"{label} {problem}", "give arguments with --arg NAME=VALUE, or define build()")
    return made(label, lambda: factory(**options.args), options)


def made(label: str, make: Callable[[], object], options: Options) -> nn.Module:
    """As ``construct``, for a call whose arguments are bound already.

    Raises:
        TargetError: the call raises, or returns something that is not a module.
    """
    reseed(options.seed)
    with recording(), user_code(label):
        model = make()
    if not isinstance(model, nn.Module):
        raise TargetError(f"{label} returned {kind_of(model)}, not a torch.nn.Module", "return the model itself")
    return uncompiled(model)


def ready(label: str, model: nn.Module, options: Options) -> nn.Module:
    """A model that exists already, which therefore takes no arguments.

    Raises:
        TargetError: arguments were given.
    """
    if options.args:
        raise TargetError(f"{label} is built already: --arg does not reach it", "name its class or a factory instead")
    return uncompiled(model)


def all_built(module: ModuleType, label: str, skip: frozenset[str], options: Options) -> tuple[list[Built], list[str]]:
    """Every model of a file that has no ``build()``, but for the names in ``skip``; and why other names are none.

    All candidates are built; then those go that are parts of another one, hold no parameters, or are classes of which
    the file makes an instance itself. A class is a part when it is the type of a submodule of another candidate.

    Raises:
        TargetError: a candidate raises; ``NotImplementedError`` only says that a class is abstract.
    """
    candidates, refused = survey(module, options.args)
    models, reasons = [], list(refused)
    for candidate in candidates:
        if candidate.name in skip:
            continue
        try:
            model = _model(candidate, f"{candidate.name} of {label}", options)
        except TargetError as error:
            if not isinstance(error.__cause__, NotImplementedError):
                raise
            reasons.append(f"{candidate.kind} {candidate.name} raises NotImplementedError")
            continue
        if any(True for _ in model.parameters()):
            models.append((candidate, model))
        else:
            reasons.append(f"{candidate.kind} {candidate.name} has no parameters")
    whole = [(candidate, model) for candidate, model in models if not _is_part(candidate, model, models, module)]
    return [Built(f"{label}:{candidate.name}", model, module) for candidate, model in whole], reasons


def _model(candidate: Candidate, label: str, options: Options) -> nn.Module:
    value = candidate.value
    if isinstance(value, nn.Module):
        return ready(label, value, options)
    assert callable(value)
    return construct(label, value, options)


def _is_part(candidate: Candidate, model: nn.Module, models: list[tuple[Candidate, nn.Module]], module: ModuleType) -> bool:
    """Whether another candidate holds this one, or stands for it."""
    own = type(model).__module__ == module.__name__  # a type of torch says nothing: every other Sequential holds one
    earlier = True
    for other, whole in models:
        if other is candidate:
            earlier = False
            continue
        strict = [part for part in whole.modules() if part is not whole]
        if any(part is model for part in strict) or (whole is model and earlier):
            return True
        if candidate.kind != "instance" and own and any(type(part) is type(model) for part in strict):
            return True
        if candidate.kind == "class" and other.kind != "class" and type(whole) is type(model):
            return True
    return False


def uncompiled(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile(model)``, whose wrapper would put ``_orig_mod.`` before every name."""
    original = getattr(model, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else model


def _literal(text: str) -> object:
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value
