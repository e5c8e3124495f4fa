"""Where is the top of the spectrum? Ritz pairs: a search, whose result is evaluated again before it is believed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_CHECK = 8  # steps after which the projected eigenproblem is solved, and then whenever a fifth was added
SAME = 1e-5  # relative distance within which Ritz values are one: a short window finds converged ones again


@dataclass(frozen=True, slots=True)
class Ritz:
    """``vector``: (b, n), unit; ``error``: (b,), a heuristic for the relative error of the Ritz value."""

    vector: Tensor
    error: Tensor


def start_vector(like: Tensor, size: int, seed: int = 0) -> Tensor:
    """The same Gaussian vector of ``size`` entries on every device, in the dtype and on the device of ``like``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64).to(like.device, like.dtype)


def lanczos(apply: Callable[[Tensor], Tensor], start: Tensor, steps: int, tolerance: float, window: int | None = None) -> Ritz:
    """Top Ritz pair of each of ``b`` Hermitian positive semidefinite maps; ``apply``, ``start``: (b, n).

    Stops once ``error <= tolerance`` for every map. Each vector is made orthogonal to the last ``window`` ones, else to
    all: two are enough for a few dozen steps and spare long vectors the reading of the whole basis.
    Assumption: none for soundness, callers evaluate the vector again. Source: Parlett 1998, chapter 13.
    """
    steps = min(steps, start.shape[1])
    tiny, epsilon = torch.finfo(start.dtype).tiny, torch.finfo(start.dtype).eps
    basis = start.new_zeros(start.shape[0], steps, start.shape[1])
    projection = torch.zeros(start.shape[0], steps, steps, dtype=start.real.dtype, device=start.device)
    vector = _normalised(start)
    ritz = Ritz(vector, projection.new_full((start.shape[0],), torch.inf))
    check = FIRST_CHECK
    for step in range(steps):
        basis[:, step] = vector
        image, weight = _orthogonal(apply(vector), basis[:, max(0, step + 1 - (window or steps)) : step + 1])
        residual = torch.linalg.vector_norm(image, dim=1)
        projection[:, step, step] = weight
        if step + 1 in (steps, check):
            check = max(check + FIRST_CHECK, check * 6 // 5)
            same = 0.0 if window is None else SAME
            ritz = _top_pair(projection[:, : step + 1, : step + 1], basis[:, : step + 1], residual, same)
            if step + 1 == steps or float(ritz.error.max()) <= tolerance:
                break
        projection[:, step + 1, step] = projection[:, step, step + 1] = residual
        # A vanishing residual means an invariant subspace: continue with a zero vector, which changes nothing.
        alive = residual > epsilon * projection[:, 0, 0].abs()
        vector = torch.where(alive, 1.0 / residual.clamp_min(tiny), 0.0)[:, None] * image
    return ritz


def _normalised(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
    return vector / length.clamp_min(torch.finfo(vector.dtype).tiny)


def _orthogonal(image: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    # Twice is enough (Parlett, section 6.9): after one pass converged directions grow back.
    first = (basis.conj() @ image[..., None])[..., 0]
    image = image - (first[:, None] @ basis)[:, 0]
    second = (basis.conj() @ image[..., None])[..., 0]
    return image - (second[:, None] @ basis)[:, 0], first[:, -1].real


def _top_pair(projection: Tensor, basis: Tensor, residual: Tensor, same: float) -> Ritz:
    values, vectors = torch.linalg.eigh(projection)
    tiny = torch.finfo(values.dtype).tiny
    top = values[:, -1].clamp_min(tiny)
    distance = residual * vectors[:, -1, -1].abs()
    next_ = torch.where(values < top[:, None] * (1.0 - same), values, 0.0).amax(1)
    error = torch.minimum(distance, distance * (distance / (top - next_))) / top
    return Ritz(_normalised((vectors[:, None, :, -1].to(basis.dtype) @ basis)[:, 0]), error)
