from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from service.optimizer import gaussian_process
from service.optimizer.gaussian_process import GaussianProcess, Kernel, _group_distances, _loss, fit

GROUPS = np.array([0, 0, 1, 2])
KERNEL = Kernel(np.array([3.0, 1.0, 0.2]), 1.5, 1e-2)
USUAL = np.array([1.0, 1.0, 0.1])


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.random((25, 4))
    y = np.sin(5 * x[:, 0]) + x[:, 2] ** 2
    return x, (y - y.mean()) / y.std()


def dense(data: tuple[np.ndarray, np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation by the textbook's formula."""
    x, y = data
    k = KERNEL.covariance(x, x, GROUPS) + KERNEL.noise * np.eye(len(x))
    cross = KERNEL.covariance(x, at, GROUPS)
    variance = KERNEL.scale - np.diag(cross.T @ np.linalg.solve(k, cross))
    return cross.T @ np.linalg.solve(k, y), np.sqrt(variance)


def test_predictions_are_those_of_the_textbook(data: tuple[np.ndarray, np.ndarray]) -> None:
    at = np.random.default_rng(1).random((7, 4))
    mean, deviation = GaussianProcess(*data, GROUPS, KERNEL).predict(at)
    expected_mean, expected_deviation = dense(data, at)
    assert mean == pytest.approx(expected_mean)
    assert deviation == pytest.approx(expected_deviation)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
def test_the_gradient_of_the_loss_is_that_of_differences(
    data: tuple[np.ndarray, np.ndarray], deviation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussian_process, "_WEIGHT_DEVIATION", deviation)
    x, y = data
    distances = _group_distances(x, GROUPS, 3)
    error = check_grad(
        lambda z: _loss(z, distances, y, USUAL)[0], lambda z: _loss(z, distances, y, USUAL)[1], KERNEL.logs
    )
    assert error < 1e-4


def test_fitting_finds_the_inputs_that_matter(data: tuple[np.ndarray, np.ndarray]) -> None:
    kernel = fit(*data, GROUPS, USUAL)
    assert kernel.weights[0] > kernel.weights[1] > kernel.weights[2]
    assert kernel.noise < 0.05


def test_a_handful_of_results_makes_no_input_matter_much() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((6, 10)), generator.standard_normal(6)
    kernel = fit(x, (y - y.mean()) / y.std(), np.arange(10), np.ones(10))
    assert kernel.weights.max() < 3


def test_what_was_left_out_is_predicted_from_the_rest(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    means, deviations = GaussianProcess(x, y, GROUPS, KERNEL).left_out()
    for i in (0, 11):
        rest = np.arange(len(y)) != i
        mean, deviation = GaussianProcess(x[rest], y[rest], GROUPS, KERNEL).predict(x[i : i + 1])
        assert means[i] == pytest.approx(mean[0])
        assert deviations[i] == pytest.approx(np.sqrt(deviation[0] ** 2 + KERNEL.noise))


def test_believing_changes_no_mean_and_leaves_less_uncertainty(data: tuple[np.ndarray, np.ndarray]) -> None:
    process, at = GaussianProcess(*data, GROUPS, KERNEL), np.random.default_rng(1).random((3, 4))
    believing = process.believing(at)
    assert believing.predict(at)[0] == pytest.approx(process.predict(at)[0])
    assert (believing.predict(at)[1] < process.predict(at)[1]).all()


def test_a_point_correlates_with_itself_and_less_with_others(data: tuple[np.ndarray, np.ndarray]) -> None:
    process, at = GaussianProcess(*data, GROUPS, KERNEL), np.random.default_rng(1).random((3, 4)) + 1
    assert process.correlation(at, at) == pytest.approx(1)
    assert (np.abs(process.correlation(at, at + 0.5)) < 1).all()
