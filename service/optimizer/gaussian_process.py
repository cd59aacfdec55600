"""A Gaussian process over configs and fidelity, with uncertainty, quick enough to be fitted at every result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
_SQRT5 = np.sqrt(5.0)
# A jitter that keeps the factorisation stable where rows repeat; targets have variance one.
_MIN_NOISE = 1e-6
_LOG_BOUNDS = {"weight": (-9.0, 6.0), "scale": (-4.0, 4.0), "noise": (np.log(_MIN_NOISE), 0.5)}
_N_STEPS = 40
# Of the logarithm of a weight. With a vague prior a handful of results makes inputs matter that do not, and the search
# goes astray; with this one it takes longer to drop them.
_WEIGHT_DEVIATION = 1.0


@dataclass(frozen=True)
class Kernel:
    """Matern with smoothness 5/2 and a weight for each input (automatic relevance determination), plus noise.

    Attributes:
        weights: inverse squared length scales, one for each group of columns.
        scale: variance of the process.
        noise: variance of the observations.
    """

    weights: Array
    scale: float
    noise: float

    @property
    def logs(self) -> Array:
        return np.asarray(np.log([*self.weights, self.scale, self.noise]))

    @staticmethod
    def from_logs(logs: Array) -> Kernel:
        values = np.exp(logs)
        return Kernel(values[:-2], float(values[-2]), float(values[-1]))

    def covariance(self, a: Array, b: Array, groups: NDArray[np.intp]) -> Array:
        """(len(a), len(b)) of the process, without noise."""
        roots = np.sqrt(self.weights)[groups]
        return self.scale * _matern(_squared_distances(a * roots, b * roots))


class GaussianProcess:
    """The process given observations.

    Args:
        x: (n, columns) inputs.
        y: (n,) targets of mean about zero and variance about one.
        groups: the weight that each column takes.
        kernel: its parameters.
    """

    def __init__(self, x: Array, y: Array, groups: NDArray[np.intp], kernel: Kernel) -> None:
        self.x, self.y, self.groups, self.kernel = x, y, groups, kernel
        covariance = kernel.covariance(x, x, groups)
        covariance[np.diag_indices_from(covariance)] += kernel.noise
        self._lower = np.linalg.cholesky(covariance)
        self._solved = cho_solve((self._lower, True), y, check_finite=False)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Means and standard deviations (without noise), (n,) each."""
        cross = self.kernel.covariance(self.x, x, self.groups)
        half = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        variance = self.kernel.scale - np.einsum("ij,ij->j", half, half)
        return cross.T @ self._solved, np.sqrt(np.maximum(variance, 1e-12))

    def correlation(self, a: Array, b: Array) -> Array:
        """(n,) posterior correlations of the rows of `a` with those of `b`."""
        half_a, half_b = (
            solve_triangular(
                self._lower, self.kernel.covariance(self.x, x, self.groups), lower=True, check_finite=False
            )
            for x in (a, b)
        )
        roots = np.sqrt(self.kernel.weights)[self.groups]
        between = self.kernel.scale * _matern((((a - b) * roots) ** 2).sum(axis=1))
        between -= np.einsum("ij,ij->j", half_a, half_b)
        variances = [np.maximum(self.kernel.scale - np.einsum("ij,ij->j", h, h), 1e-12) for h in (half_a, half_b)]
        return np.asarray(np.clip(between / np.sqrt(variances[0] * variances[1]), -1, 1))

    def believing(self, x: Array) -> GaussianProcess:
        """The process as if the rows `x` had been observed at its own mean (kriging believer)."""
        means = self.kernel.covariance(self.x, x, self.groups).T @ self._solved
        return GaussianProcess(np.vstack([self.x, x]), np.concatenate([self.y, means]), self.groups, self.kernel)

    def left_out(self) -> tuple[Array, Array]:
        """Mean and standard deviation (with noise) of each observation, predicted from all others.

        Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 5.10 to 5.12.
        """
        inverse = cho_solve((self._lower, True), np.eye(len(self.y)), check_finite=False)
        variance = 1 / np.diag(inverse)
        return self.y - self._solved * variance, np.sqrt(variance)


def fit(x: Array, y: Array, groups: NDArray[np.intp], usual_weights: Array) -> Kernel:
    """The kernel of greatest posterior density.

    The priors keep length scales, scale and noise within what targets of variance one can tell.

    Args:
        x: as of `GaussianProcess`.
        y: likewise.
        groups: likewise.
        usual_weights: of each group, the median of its prior; the search begins there.
    """
    start = Kernel(usual_weights, 1.0, 1e-3)
    distances = _group_distances(x, groups, len(usual_weights))
    bounds = [_LOG_BOUNDS["weight"]] * len(usual_weights) + [_LOG_BOUNDS["scale"], _LOG_BOUNDS["noise"]]
    lows, highs = np.array(bounds).T
    found = minimize(
        _loss,
        np.clip(start.logs, lows, highs),
        args=(distances, y, usual_weights),
        method="L-BFGS-B",
        jac=True,
        bounds=bounds,
        options={"maxiter": _N_STEPS},
    )
    return Kernel.from_logs(found.x)


def _loss(logs: Array, distances: Array, y: Array, usual_weights: Array) -> tuple[float, Array]:
    """Negative log posterior density of the kernel and its gradient by the logarithms of its parameters."""
    kernel = Kernel.from_logs(logs)
    n = len(y)
    squared = np.tensordot(kernel.weights, distances, 1)
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    correlation = (1 + root + root * root / 3) * decay
    covariance = kernel.scale * correlation
    covariance[np.diag_indices(n)] += kernel.noise
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(logs)
    inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
    solved = inverse @ y
    loss = 0.5 * y @ solved + np.log(np.diag(lower)).sum()
    inner = 0.5 * (inverse - np.outer(solved, solved))
    by_squared = inner * (-5 / 6 * kernel.scale * (1 + root) * decay)
    by_weight = np.tensordot(distances, by_squared, 2)
    by_scale, by_noise = (inner * correlation).sum(), np.trace(inner)
    gradient = np.array([*(by_weight * kernel.weights), by_scale * kernel.scale, by_noise * kernel.noise])
    prior, prior_gradient = _prior(kernel, usual_weights)
    return float(loss + prior), gradient + prior_gradient


def _prior(kernel: Kernel, usual_weights: Array) -> tuple[float, Array]:
    """Negative log densities of the parameters and their gradient by the logarithms.

    Up to a constant. The logarithms of the weights are normal about those of the usual ones, the scale is Gamma(2, 1)
    and the noise Gamma(1.1, 30), as in Optuna's GPSampler.
    """
    logs = np.log(kernel.weights / usual_weights) / _WEIGHT_DEVIATION
    scale, noise = kernel.scale, kernel.noise
    value = 0.5 * logs @ logs + (scale - np.log(scale)) + (30 * noise - 0.1 * np.log(noise))
    return value, np.array([*(logs / _WEIGHT_DEVIATION), scale - 1, 30 * noise - 0.1])


def _matern(squared: Array) -> Array:
    root = np.sqrt(5 * squared)
    return np.asarray((1 + root + root * root / 3) * np.exp(-root))


def _squared_distances(a: Array, b: Array) -> Array:
    return np.asarray(np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T, 0))


def _group_distances(x: Array, groups: NDArray[np.intp], n_groups: int) -> Array:
    """(groups, n, n) squared distances, without weights."""
    return np.stack([_squared_distances(part, part) for part in (x[:, groups == g] for g in range(n_groups))])
