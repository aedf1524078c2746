"""Jacobians and Hessians that nobody here wrote: statsmodels' models, published test problems.

What is right of the former is decided by differences of the library's own score at two steps, in
NumPy alone.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sparse
import scipy.sparse.linalg as splinalg

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import extrapolated

pytest.importorskip("statsmodels")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import statsmodels.api as sm
    from statsmodels.discrete import discrete_model as models

RNG = np.random.default_rng(0)
X = np.column_stack([np.ones(200), RNG.normal(size=(200, 5))])
BETA = 0.3 * RNG.normal(size=6)
BINARY = (RNG.random(200) < 1 / (1 + np.exp(-X @ BETA))).astype(float)
COUNTS = RNG.poisson(np.exp(X @ BETA))
CLASSES = RNG.integers(0, 3, 200)
POSITIVE = 0.1 + np.abs(RNG.normal(size=200))
LOG = sm.families.links.Log


def discrete(name, y, *more, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(models, name)(y, X, **options), np.append(BETA, more)


MODELS = {
    "Logit": discrete("Logit", BINARY),
    "Probit": discrete("Probit", BINARY),
    "Poisson": discrete("Poisson", COUNTS),
    "NB1": discrete("NegativeBinomial", COUNTS, 0.5, loglike_method="nb1"),
    "NB2": discrete("NegativeBinomial", COUNTS, 0.5),
    "NBP": discrete("NegativeBinomialP", COUNTS, 0.5),
    "GenPoisson": discrete("GeneralizedPoisson", COUNTS, 0.2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("name", MODELS)
def test_hessians_of_discrete_models(name, strategy):
    model, theta = MODELS[name]
    true, claimed = extrapolated(model.score, theta), model.hessian(theta)
    size = np.sqrt(np.outer(*[np.abs(np.diag(true))] * 2))
    off = np.abs(true - claimed) > 1e-5 * size
    result = fgc.hesscheck(model.score, model.hessian, theta, strategy=strategy, seed=1)
    assert result.verdict is (Verdict.WRONG if off.any() else Verdict.AGREES)
    # statsmodels 0.15.0 has the second derivatives of NB1 and NB2 by alpha wrong.
    named = {f"theta[{i}] / theta[{j}]" for i, j in np.argwhere(off)}
    lines = {"theta / theta[6]", "theta[6] / theta"}
    assert named.issuperset(set(result.wrong) - lines)
    assert bool(result.wrong) == bool(named)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_scores_of_every_observation(name):
    model, theta = MODELS[name]
    assert fgc.jaccheck(model.loglikeobs, model.score_obs, theta, seed=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "family",
    [
        sm.families.Gamma(LOG()),
        sm.families.InverseGaussian(LOG()),
        sm.families.Tweedie(LOG(), var_power=1.5),
    ],
    ids=lambda family: type(family).__name__,
)
def test_hessians_of_generalised_linear_models(family):
    model = sm.GLM(POSITIVE, X, family=family)
    assert fgc.hesscheck(
        lambda t: model.score(t, scale=1.0),
        lambda t: model.hessian(t, scale=1.0, observed=True),
        BETA,
        seed=1,
    )


def broyden(x):
    """The tridiagonal function of Broyden (Moré, Garbow and Hillstrom 1981, problem 30)."""
    before, after = np.append(0.0, x[:-1]), np.append(x[1:], 0.0)
    return (3 - 2 * x) * x - before - 2 * after + 1


def of_broyden(x):
    n = len(x)
    return sparse.diags_array(
        [np.full(n - 1, -1.0), 3 - 4 * x, np.full(n - 1, -2.0)], offsets=[-1, 0, 1]
    ).tocsr()


def test_broydens_tridiagonal_function():
    theta = -1 + 0.01 * RNG.normal(size=200)
    result = fgc.jaccheck(broyden, of_broyden, theta, seed=1)
    assert result
    assert result.evaluations <= 64

    def without_an_entry(x):
        J = of_broyden(x).tolil()
        J[77, 76] = 0
        return J.tocsr()

    result = fgc.jaccheck(broyden, without_an_entry, theta, seed=1)
    assert result.wrong == ("F[77] / theta[76]",)


def robertson(y):
    """A stiff system of chemical kinetics (Robertson 1966), and its Jacobian."""
    slow, fast, middle = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
    return np.array([middle - slow, slow - middle - fast, fast])


def of_robertson(y):
    return np.array(
        [
            [-0.04, 1e4 * y[2], 1e4 * y[1]],
            [0.04, -1e4 * y[2] - 6e7 * y[1], -1e4 * y[1]],
            [0.0, 6e7 * y[1], 0.0],
        ]
    )


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_stiff_right_hand_side(strategy):
    theta = np.array([0.9, 2e-5, 0.1])
    assert fgc.jaccheck(robertson, of_robertson, theta, strategy=strategy, seed=1)
    wrong = of_robertson(theta)
    wrong[1, 1] += 1e4 * theta[2] * 1e-3
    result = fgc.jaccheck(robertson, wrong, theta, strategy=strategy, seed=1)
    assert result.wrong == ("F[1] / theta[1]",)


def cameras(p):
    """Bundle adjustment: 3 cameras (rotation vector, shift, focal length) look at 8 points."""
    points, seen = p["points"], []
    for rotation, shift, focal in zip(p["rotation"], p["shift"], p["focal"], strict=True):
        angle = np.sqrt(rotation @ rotation)
        axis = rotation / angle
        turned = (
            points * np.cos(angle)
            + np.cross(axis, points) * np.sin(angle)
            + np.outer(points @ axis, axis) * (1 - np.cos(angle))
        ) + shift
        seen.append(focal * turned[:, :2] / turned[:, 2:])
    return np.array(seen)


def camera_jacobian(p):
    """By the chain rule, but for the rotation, which is a sum over the generators."""
    out = {name: np.zeros((3, 8, 2, *value.shape)) for name, value in p.items()}
    for c, (rotation, shift, focal) in enumerate(
        zip(p["rotation"], p["shift"], p["focal"], strict=True)
    ):
        angle = np.sqrt(rotation @ rotation)
        K = np.array(
            [[0, -rotation[2], rotation[1]], [rotation[2], 0, -rotation[0]],
             [-rotation[1], rotation[0], 0]]
        )  # fmt: skip
        R = np.eye(3) + np.sin(angle) / angle * K + (1 - np.cos(angle)) / angle**2 * K @ K
        for k, point in enumerate(p["points"]):
            x, y, z = R @ point + shift
            project = focal * np.array([[1 / z, 0, -x / z**2], [0, 1 / z, -y / z**2]])
            skew = np.array(
                [[0, -point[2], point[1]], [point[2], 0, -point[0]], [-point[1], point[0], 0]]
            )
            # Gallego and Yezzi, J. Math. Imaging Vis. 51 (2015), eq. 8.
            turn = -R @ skew @ (np.outer(rotation, rotation) + (R.T - np.eye(3)) @ K) / angle**2
            out["rotation"][c, k, :, c] = project @ turn
            out["shift"][c, k, :, c] = project
            out["focal"][c, k, :, c] = np.array([x / z, y / z])
            out["points"][c, k, :, k] = project @ R
    return out


def test_a_bundle_adjustment():
    rng = np.random.default_rng(2)
    p = {
        "rotation": 0.3 * rng.normal(size=(3, 3)),
        "shift": np.array([[0.0, 0.1, 5.0]] * 3) + 0.1 * rng.normal(size=(3, 3)),
        "focal": np.array([500.0, 510.0, 520.0]),
        "points": rng.normal(size=(8, 3)),
    }
    for strategy in ("components", "screen"):
        assert fgc.jaccheck(cameras, camera_jacobian, p, strategy=strategy, seed=1)

    def without_depth(p):
        J = camera_jacobian(p)
        J["shift"][..., 2] = 0
        return J

    result = fgc.jaccheck(cameras, without_depth, p, seed=1)
    assert result.verdict is Verdict.WRONG
    assert all("/ shift" in name for name in result.wrong)


# Test problems of SciPy's own


@pytest.fixture
def scipy_tests(pytestconfig):
    """Imports a module of SciPy's tests, which some wheels leave out."""
    for mark in ("fail_slow", "parallel_threads_limit", "thread_unsafe"):
        pytestconfig.addinivalue_line("markers", f"{mark}: of SciPy's own tests")

    def module(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip(f"scipy.optimize.tests.{name}")

    return module


@pytest.mark.parametrize("mode", ["sparse", "dense", "operator"])
def test_scipys_tridiagonal_problem(scipy_tests, mode):
    problem = scipy_tests("test_least_squares").BroydenTridiagonal(100, mode)
    result = fgc.jaccheck(problem.fun, problem.jac, problem.x0, seed=1)
    assert result
    assert result.evaluations <= 76

    def without_an_entry(x):
        J = problem._jac(x)
        J[40, 41] = 0
        return splinalg.aslinearoperator(J.tocsr()) if mode == "operator" else J

    result = fgc.jaccheck(problem.fun, without_an_entry, problem.x0, seed=1)
    assert result.wrong == ("F[40] / theta[41]",)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_scipys_least_squares_problems(scipy_tests, strategy):
    tests = scipy_tests("test_least_squares")
    exponential = tests.ExponentialFittingProblem(1, 0.1, 1e-5, rng=0)
    for fun, jac, theta in (
        (tests.fun_rosenbrock, tests.jac_rosenbrock, [-2.0, 1.0]),
        (exponential.fun, exponential.jac, [0.3, -0.2]),
        (tests.fun_2d_trivial, tests.jac_2d_trivial, [1.0, 2.0]),
    ):
        assert fgc.jaccheck(fun, jac, np.array(theta), strategy=strategy, seed=1)


@pytest.mark.parametrize(
    "name",
    ["Maratos", "HyperbolicIneq", "Rosenbrock", "IneqRosenbrock", "EqIneqRosenbrock", "Elec"],
)
def test_scipys_problems_with_constraints(scipy_tests, name):
    make = getattr(scipy_tests("test_minimize_constrained"), name)
    problem = make(20) if name == "Elec" else make()
    theta = np.asarray(problem.x0, float) + 0.05
    assert fgc.gradcheck(problem.fun, problem.grad, theta, seed=1)
    assert fgc.hesscheck(problem.grad, problem.hess, theta, seed=1)
    constraints = problem.constr if isinstance(problem.constr, list | tuple) else [problem.constr]
    for constraint in constraints:
        if not hasattr(constraint, "fun"):
            continue  # linear: its matrix is its Jacobian

        def jac(x, constraint=constraint):
            J = constraint.jac(x)
            return J if sparse.issparse(J) else np.asarray(J, float)

        def fun(x, constraint=constraint):
            return np.atleast_1d(constraint.fun(x))

        assert fgc.jaccheck(fun, jac, theta, seed=1)
        # The Hessian of v.c is the derivative of J'v.
        v = np.linspace(1, 2, len(fun(theta)))
        assert fgc.hesscheck(
            lambda x, jac=jac, v=v: jac(x).T @ v,
            lambda x, constraint=constraint, v=v: constraint.hess(x, v),
            theta,
            seed=1,
        )


@pytest.mark.parametrize("n", [5, 200])
def test_rosenbrocks_products_with_and_without_a_missing_term(n):
    theta = np.random.default_rng(n).normal(size=n)
    der, product = scipy.optimize.rosen_der, scipy.optimize.rosen_hess_prod
    assert fgc.hesscheck(der, product, theta, form="hvp", seed=1)

    def without_an_end(t, v):
        out = product(t, v)
        out[-1] -= 200 * v[-1]
        return out

    result = fgc.hesscheck(der, without_an_end, theta, form="hvp", seed=1)
    assert result.wrong == (f"theta[{n - 1}] / theta[{n - 1}]",)
