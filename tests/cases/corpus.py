"""Gradients that exist outside this project, as released: scikit-learn, statsmodels, SciPy, umap.

Each is a pair of callables of one flat theta at a realistic point. Whether a gradient is right is
not believed but measured, against `reference.classify`: released packages do contain wrong
gradients, and these stay in the corpus with ``right=False`` and a note that says what is wrong.
Nothing here imports the package under test.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A released gradient and the function it claims to be the gradient of.

    Attributes
    ----------
    name : str
        Package and function.
    cost, grad : callable
        ``cost(theta) -> float`` and ``grad(theta) -> array of shape (n,)``.
    theta : float64 array, shape (n,)
    right : bool or None
        Is the relative difference from the reference at most 1e-7? None where J is so coarse that
        nothing of that size can be told.
    note : str
        What is wrong, if something is.
    """

    name: str
    cost: Callable[[Array], float]
    grad: Callable[[Array], Array]
    theta: Array
    right: bool | None = True
    note: str = ""


def _from_pair(
    name: str, both: Callable[[Array], tuple[float, Array]], theta: Array, **kwargs: Any
) -> Case:
    """A case whose function returns the value and the gradient together."""
    return Case(name, lambda t: float(both(t)[0]), lambda t: both(t)[1], theta, **kwargs)


# ---------------------------------------------------------------------------------------------
# scikit-learn
# ---------------------------------------------------------------------------------------------


def multilayer_perceptrons() -> Iterator[Case]:
    """The back-propagation of MLPClassifier and MLPRegressor."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    for kind, model in (("classifier", MLPClassifier), ("regressor", MLPRegressor)):
        for activation in ("identity", "logistic", "tanh", "relu"):
            for alpha in (0.0, 1e-2):
                yield _perceptron(
                    f"mlp {kind} {activation} alpha={alpha}", model, activation, alpha
                )


def _perceptron(name: str, model: Any, activation: str, alpha: float) -> Case:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(40, 4))
    labels = data @ rng.normal(size=4)
    classifier = "classifier" in name
    target = (labels > 0).astype(int) if classifier else labels
    network = model(
        hidden_layer_sizes=(5,), activation=activation, alpha=alpha, max_iter=1, random_state=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.fit(data, target)
    y = target.reshape(-1, 1).astype(float)
    sizes = [4, 5, 1]
    from sklearn.neural_network._multilayer_perceptron import _pack

    theta = _pack(network.coefs_, network.intercepts_) + 0.1 * rng.normal(size=31)
    network._coef_indptr, network._intercept_indptr, start = [], [], 0
    for rows, columns in pairwise(sizes):
        network._coef_indptr.append((start, start + rows * columns, (rows, columns)))
        start += rows * columns
    for columns in sizes[1:]:
        network._intercept_indptr.append((start, start + columns))
        start += columns

    def both(packed: Array) -> tuple[float, Array]:
        activations = [data] + [np.empty((40, size)) for size in sizes[1:]]
        deltas = [np.empty_like(a) for a in activations[1:]]
        weights = [np.empty_like(w) for w in network.coefs_]
        biases = [np.empty_like(b) for b in network.intercepts_]
        value, gradient = network._loss_grad_lbfgs(
            packed, data, y, None, activations, deltas, weights, biases
        )
        return value, gradient.copy()

    return _from_pair(f"sklearn {name}", both, theta)


def linear_losses() -> Iterator[Case]:
    """LinearModelLoss, the objective of every generalised linear model, and Huber's."""
    from sklearn._loss import loss as losses
    from sklearn.linear_model._huber import _huber_loss_and_gradient
    from sklearn.linear_model._linear_loss import LinearModelLoss

    rng = np.random.default_rng(2)
    data = rng.normal(size=(60, 4))
    weights = rng.uniform(0.5, 2.0, size=60)
    linear = data @ np.array([0.5, -0.3, 0.2, 0.1])
    binary = (linear + rng.logistic(size=60) > 0).astype(float)
    counts = rng.poisson(np.exp(linear)).astype(float)
    positive = np.exp(linear) * rng.gamma(2.0, 0.5, size=60)
    classes = rng.integers(0, 3, size=60).astype(float)
    targets = {
        "squared": (losses.HalfSquaredError(), linear + rng.normal(size=60)),
        "binomial": (losses.HalfBinomialLoss(), binary),
        "poisson": (losses.HalfPoissonLoss(), counts),
        "gamma": (losses.HalfGammaLoss(), positive),
        "tweedie 1.5": (losses.HalfTweedieLoss(power=1.5), counts),
        "exponential": (losses.ExponentialLoss(), binary),
        "huber": (losses.HuberLoss(delta=1.0), linear + 2 * rng.standard_t(2, size=60)),
        "multinomial": (losses.HalfMultinomialLoss(n_classes=3), classes),
    }
    for name, (base, y) in targets.items():
        loss = LinearModelLoss(base_loss=base, fit_intercept=True)
        theta = 0.4 * rng.normal(size=15 if name == "multinomial" else 5)

        def both(t: Array, loss: Any = loss, y: Array = y) -> tuple[float, Array]:
            coefficients = np.asfortranarray(t.reshape(3, 5, order="F")) if t.size == 15 else t
            value, gradient = loss.loss_gradient(
                coefficients, data, y, sample_weight=weights, l2_reg_strength=0.1
            )
            return value, gradient.ravel(order="F")

        yield _from_pair(f"sklearn linear loss {name}", both, theta)

    y = linear + 2 * rng.standard_t(2, size=60)

    def huber(t: Array) -> tuple[float, Array]:
        value, gradient = _huber_loss_and_gradient(t, data, y, 1.35, 1e-2, weights)
        return float(value), gradient

    yield _from_pair("sklearn HuberRegressor", huber, np.array([0.4, -0.2, 0.3, 0.0, 0.1, 1.3]))


def gaussian_processes() -> Iterator[Case]:
    """Log marginal likelihoods over the log hyperparameters of several kernels."""
    from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
    from sklearn.gaussian_process import kernels as k

    rng = np.random.default_rng(3)
    data = rng.uniform(-2, 2, size=(25, 2))
    y = np.sin(data[:, 0]) + 0.3 * data[:, 1] + 0.1 * rng.normal(size=25)
    kernels = {
        "rbf": k.ConstantKernel(1.2) * k.RBF([0.9, 1.4]) + k.WhiteKernel(0.05),
        "matern 3/2": k.ConstantKernel(0.8) * k.Matern([1.1, 0.7], nu=1.5) + k.WhiteKernel(0.1),
        "matern 5/2": k.Matern(1.1, nu=2.5) + k.WhiteKernel(0.1),
        "matern 0.7": k.Matern(5.0, nu=0.7) + k.WhiteKernel(1e-3),
        "rational quadratic": k.RationalQuadratic(1.1, 0.8) + k.WhiteKernel(0.1),
        "periodic": k.ExpSineSquared(1.0, 2.5) + k.WhiteKernel(0.1),
        "dot product": k.DotProduct(0.7) + k.WhiteKernel(0.2),
        "exponentiation": k.RBF(1.3) ** 2 + k.WhiteKernel(0.2),
    }
    notes = {
        "matern 0.7": "general nu: the kernel's gradient is a forward difference with step 1e-10",
    }
    for name, kernel in kernels.items():
        # Periodic kernels are positive definite in one dimension only.
        inputs = data[:, :1] if name == "periodic" else data
        model = GaussianProcessRegressor(kernel=kernel, optimizer=None).fit(inputs, y)

        def both(t: Array, model: Any = model) -> tuple[float, Array]:
            value, gradient = model.log_marginal_likelihood(t, eval_gradient=True)
            return value, gradient

        yield _from_pair(
            f"sklearn GP regressor {name}",
            both,
            model.kernel_.theta.copy(),
            right=name not in notes,
            note=notes.get(name, ""),
        )

    classifier = GaussianProcessClassifier(
        kernel=k.ConstantKernel(1.5) * k.RBF(0.9), optimizer=None
    ).fit(data, (y > 0).astype(int))

    def laplace(t: Array) -> tuple[float, Array]:
        value, gradient = classifier.base_estimator_.log_marginal_likelihood(t, eval_gradient=True)
        return value, gradient

    yield _from_pair("sklearn GP classifier", laplace, classifier.kernel_.theta.copy())


def embeddings() -> Iterator[Case]:
    """Neighbourhood components analysis and t-SNE."""
    from scipy.spatial.distance import squareform
    from sklearn.manifold._t_sne import _kl_divergence
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    rng = np.random.default_rng(4)
    data = rng.normal(size=(30, 4))
    classes = rng.integers(0, 3, size=30)
    analysis = NeighborhoodComponentsAnalysis()
    analysis.n_iter_ = 1
    mask = classes[:, None] == classes[None, :]

    def neighbours(t: Array) -> tuple[float, Array]:
        value, gradient = analysis._loss_grad_lbfgs(t, data, mask, -1.0)
        return value, gradient

    yield _from_pair("sklearn NCA", neighbours, rng.normal(size=8))

    affinity = np.exp(-((data[:12, None] - data[None, :12]) ** 2).sum(axis=2) / 4)
    np.fill_diagonal(affinity, 0.0)
    p = squareform(affinity / affinity.sum(), checks=False)
    for freedom in (1, 3):

        def divergence(t: Array, freedom: int = freedom) -> tuple[float, Array]:
            value, gradient = _kl_divergence(t, p, freedom, 12, 2)
            return value, gradient

        yield _from_pair(
            f"sklearn t-SNE freedom={freedom}",
            divergence,
            rng.normal(size=24),
            right=freedom == 1,
            note=""
            if freedom == 1
            else "the kernel enters to the power (freedom + 1) / 2, not 1: exact for 1 only",
        )


# ---------------------------------------------------------------------------------------------
# statsmodels
# ---------------------------------------------------------------------------------------------


def _scored(name: str, model: Any, theta: Any, **kwargs: Any) -> Case:
    """A statsmodels model: `score` is the gradient of `loglike`."""
    return Case(
        f"statsmodels {name}",
        lambda t: float(np.squeeze(model.loglike(t))),
        lambda t: np.asarray(model.score(t), dtype=float).ravel(),
        np.asarray(theta, dtype=float),
        **kwargs,
    )


def discrete_models() -> Iterator[Case]:
    """Binary, multinomial and count models."""
    from statsmodels.discrete import count_model, discrete_model, truncated_model

    rng = np.random.default_rng(5)
    exog = np.column_stack([np.ones(120), rng.normal(size=(120, 2))])
    beta = np.array([0.4, 0.5, -0.3])
    mean = np.exp(exog @ beta)
    counts = rng.poisson(mean * rng.gamma(2.0, 0.5, size=120))
    binary = (rng.uniform(size=120) < 1 / (1 + np.exp(-exog @ beta))).astype(int)
    inflated = counts * (rng.uniform(size=120) < 0.7)
    cut = counts > 0
    near = beta + 0.1 * rng.normal(size=3)

    yield _scored("Logit", discrete_model.Logit(binary, exog), near)
    yield _scored("Probit", discrete_model.Probit(binary, exog), near)
    yield _scored(
        "MNLogit", discrete_model.MNLogit(rng.integers(0, 3, 120), exog), 0.3 * rng.normal(size=6)
    )
    yield _scored("Poisson", discrete_model.Poisson(counts, exog), near)
    yield _scored("Poisson exposure", discrete_model.Poisson(counts, exog, exposure=1 + mean), near)
    for p in (1, 2):
        yield _scored(
            f"GeneralizedPoisson p={p}",
            discrete_model.GeneralizedPoisson(counts, exog, p=p),
            [*near, 0.4],
        )
        yield _scored(
            f"NegativeBinomialP p={p}",
            discrete_model.NegativeBinomialP(counts, exog, p=p),
            [*near, 0.6],
        )
    for kind in ("nb1", "nb2"):
        yield _scored(
            f"NegativeBinomial {kind}",
            discrete_model.NegativeBinomial(counts, exog, loglike_method=kind),
            [*near, 0.6],
        )
    yield _scored(
        "NegativeBinomial geometric",
        discrete_model.NegativeBinomial(counts, exog, loglike_method="geometric"),
        near,
    )
    for kind in ("ZeroInflatedPoisson", "ZeroInflatedGeneralizedPoisson"):
        extra = [] if kind == "ZeroInflatedPoisson" else [0.3]
        model = getattr(count_model, kind)(inflated, exog, exog_infl=exog[:, :2])
        yield _scored(kind, model, [-0.6, 0.2, *near, *extra])
    yield _scored(
        "ZeroInflatedNegativeBinomialP",
        count_model.ZeroInflatedNegativeBinomialP(inflated, exog, exog_infl=exog[:, :2]),
        [-0.6, 0.2, *near, 0.5],
    )
    yield _scored(
        "TruncatedLFPoisson",
        truncated_model.TruncatedLFPoisson(counts[cut], exog[cut], truncation=0),
        near,
    )
    yield _scored(
        "TruncatedLFNegativeBinomialP",
        truncated_model.TruncatedLFNegativeBinomialP(counts[cut], exog[cut], truncation=0),
        [*near, 0.5],
    )


def generalised_linear_models() -> Iterator[Case]:
    """GLM families with canonical and other links, at scale 1."""
    import statsmodels.api as sm

    rng = np.random.default_rng(6)
    exog = np.column_stack([np.ones(100), rng.normal(size=(100, 2))])
    linear = exog @ np.array([0.3, 0.2, -0.1])
    family, link = sm.families, sm.families.links
    binary = (rng.uniform(size=100) < 1 / (1 + np.exp(-linear))).astype(float)
    counts = rng.poisson(np.exp(linear)).astype(float)
    positive = np.exp(linear) * rng.gamma(3.0, 1 / 3, size=100)
    families = {
        "gaussian": (family.Gaussian(), linear + rng.normal(size=100)),
        "binomial logit": (family.Binomial(), binary),
        "binomial cloglog": (family.Binomial(link.CLogLog()), binary),
        "binomial cauchy": (family.Binomial(link.Cauchy()), binary),
        "poisson sqrt": (family.Poisson(link.Sqrt()), counts),
        "gamma log": (family.Gamma(link.Log()), positive),
        "inverse gaussian log": (family.InverseGaussian(link.Log()), positive),
        "negative binomial": (family.NegativeBinomial(alpha=0.7), counts),
    }
    for name, (chosen, y) in families.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the square root is allowed, and warned of
            model = sm.GLM(y, exog, family=chosen)
        theta = np.array([0.9, 0.25, -0.15])
        yield Case(
            f"statsmodels GLM {name}",
            lambda t, model=model: float(model.loglike(t, scale=1.0)),
            lambda t, model=model: model.score(t, scale=1.0),
            theta,
        )


def other_models() -> Iterator[Case]:
    """Survival, conditional, beta, factor and process models."""
    from statsmodels.discrete import conditional_models
    from statsmodels.duration.hazard_regression import PHReg
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM
    from statsmodels.multivariate.factor import Factor
    from statsmodels.multivariate.factor_rotation._gpa_rotation import (
        oblimin_objective,
        orthomax_objective,
    )
    from statsmodels.othermod.betareg import BetaModel
    from statsmodels.regression.dimred import CovarianceReduction
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.regression.process_regression import ProcessMLE

    rng = np.random.default_rng(7)
    exog = rng.normal(size=(60, 3))
    ties = np.ceil(4 * rng.exponential(np.exp(-exog @ np.array([0.3, -0.2, 0.1]))))
    events = rng.integers(0, 2, size=60)
    for method in ("breslow", "efron"):
        yield _scored(
            f"PHReg {method}", PHReg(ties, exog, status=events, ties=method), [0.2, -0.3, 0.1]
        )

    groups = np.repeat(np.arange(15), 4)
    binary = (exog[:, 0] + rng.logistic(size=60) > 0).astype(int)
    counts = rng.poisson(np.exp(0.3 * exog[:, 0]))
    # A group in which nothing varies is dropped with a warning.
    binary[::4], binary[1::4] = 0, 1
    counts[::4], counts[1::4] = 0, 1
    yield _scored(
        "ConditionalLogit",
        conditional_models.ConditionalLogit(binary, exog, groups=groups),
        [0.5, -0.2, 0.1],
    )
    yield _scored(
        "ConditionalPoisson",
        conditional_models.ConditionalPoisson(counts, exog, groups=groups),
        [0.3, -0.1, 0.2],
    )
    classes = np.tile([0, 1, 2, 1], 15)
    yield _scored(
        "ConditionalMNLogit",
        conditional_models.ConditionalMNLogit(classes, exog, groups=groups),
        0.3 * rng.normal(size=6),
    )

    share = rng.beta(2.0, 3.0, size=60)
    yield _scored("BetaModel", BetaModel(share, exog), [0.1, -0.2, 0.3, 1.2])

    correlation = np.corrcoef(
        exog @ rng.normal(size=(3, 5)) + rng.normal(size=(60, 5)), rowvar=False
    )
    factor = Factor(corr=correlation, n_factor=2, nobs=60, method="ml")
    yield _scored("Factor", factor, np.concatenate([np.full(5, 0.8), rng.normal(size=10) / 2]))

    labels = np.repeat(np.arange(3), 20)
    yield _scored("CovarianceReduction", CovarianceReduction(labels, exog, 2), rng.normal(size=6))

    response = exog @ np.array([1.0, 0.5, -0.5]) + np.repeat(rng.normal(size=15), 4)
    slopes = np.column_stack([np.ones(60), exog[:, 0]])
    mixed = MixedLM(response + rng.normal(size=60), exog, groups, exog_re=slopes)
    mixed.cov_pen = mixed.fe_pen = mixed._freepat = None  # `fit` would set these
    yield Case(
        "statsmodels MixedLM",
        lambda t: float(mixed.loglike(t)),
        lambda t: mixed.score(t)[-3:],  # the fixed effects are profiled out
        np.array([0.7, 0.2, 0.5]),
    )

    design = np.eye(15)[groups]
    bayes = BinomialBayesMixedGLM(binary, exog, design, np.zeros(15, dtype=int))
    position = 0.4 * rng.normal(size=19)
    yield Case(
        "statsmodels BinomialBayesMixedGLM posterior",
        lambda t: float(bayes.logposterior(t)),
        lambda t: bayes.logposterior_grad(t),
        position,
    )

    def evidence(t: Array) -> tuple[float, Array]:
        mean, deviation = t[:19], t[19:]
        return bayes.vb_elbo(mean, deviation), np.concatenate(bayes.vb_elbo_grad(mean, deviation))

    yield _from_pair(
        "statsmodels BinomialBayesMixedGLM ELBO",
        evidence,
        np.concatenate([position, np.full(19, 0.5)]),
    )

    ones = np.ones((60, 1))
    process = ProcessMLE(response, exog, ones, ones, ones, np.tile(np.arange(4.0), 15), groups)
    yield _scored("ProcessMLE", process, [0.8, 0.4, -0.3, 0.3, 0.2, -0.5])

    loadings = rng.normal(size=(5, 2))
    objectives = {
        "oblimin": lambda matrix: oblimin_objective(L=matrix, gamma=0.3),
        "orthomax": lambda matrix: orthomax_objective(L=matrix, gamma=0.7),
    }
    for name, objective in objectives.items():

        def both(t: Array, objective: Any = objective) -> tuple[float, Array]:
            value, gradient = objective(t.reshape(5, 2))
            return value, gradient.ravel()

        yield _from_pair(f"statsmodels rotation {name}", both, loadings.ravel())


# ---------------------------------------------------------------------------------------------
# SciPy
# ---------------------------------------------------------------------------------------------


def scipy_functions() -> Iterator[Case]:
    """Functions that SciPy ships together with a derivative."""
    from scipy import interpolate, optimize, special

    rng = np.random.default_rng(8)
    points = rng.uniform(0.5, 4.0, size=6)
    yield Case("scipy rosen", optimize.rosen, optimize.rosen_der, rng.normal(size=8))
    summed = {
        "gammaln": (special.gammaln, special.digamma),
        "jv": (lambda x: special.jv(2, x), lambda x: special.jvp(2, x)),
        "spherical_jn": (
            lambda x: special.spherical_jn(3, x),
            lambda x: special.spherical_jn(3, x, derivative=True),
        ),
        "airy": (lambda x: special.airy(x)[0], lambda x: special.airy(x)[1]),
    }
    knots = np.linspace(0.0, 5.0, 9)
    spline = interpolate.CubicSpline(knots, np.sin(2 * knots))
    summed["CubicSpline"] = (spline, spline.derivative())
    for name, (function, slope) in summed.items():
        yield Case(
            f"scipy {name}",
            lambda t, function=function: float(function(t).sum()),
            lambda t, slope=slope: slope(t),
            points,
        )


# ---------------------------------------------------------------------------------------------
# umap: gradients written in Numba
# ---------------------------------------------------------------------------------------------

_REGULARISED = "the denominator is raised by 1e-6 in the gradient but not in the distance"
_UMAP_NOTES = {
    "euclidean": _REGULARISED,
    "mahalanobis": _REGULARISED + "; the distance itself is rounded to float32 steps",
    "haversine": _REGULARISED,
    "symmetric_kl": "the derivative for y, not x, and the normalisation of x is left out",
    "gaussian_energy": "widths and angle: the derivative of log(det) is left out, among others",
}


def umap_available() -> bool:
    """True if umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def umap_distances() -> Iterator[Case]:
    """The ``*_grad`` functions of ``umap.distances``, through thin compiled costs.

    The module is loaded from its file: importing ``umap`` compiles for twenty seconds what is
    not needed here.
    """
    if not umap_available():
        return
    distances = _umap_module()
    rng = np.random.default_rng(9)
    x, y = rng.uniform(0.2, 1.5, size=(2, 6))
    arguments: dict[str, tuple[Any, ...]] = {
        "minkowski": (3.0,),
        "mahalanobis": (np.eye(6) + 0.1,),
    }
    sizes = {
        "haversine": 2,
        "gaussian_energy": 5,
        "spherical_gaussian": 3,
    }
    for name in (
        "euclidean",
        "chebyshev",
        "minkowski",
        "mahalanobis",
        "canberra",
        "bray_curtis",
        "cosine",
        "correlation",
        "hellinger",
        "symmetric_kl",
        "hyperboloid",
        "haversine",
        "gaussian_energy",
        "spherical_gaussian",
    ):
        distance = getattr(distances, f"{name}_grad")
        size = sizes.get(name, 6)
        cost, grad = _compiled(distance, y[:size], arguments.get(name, ()))
        yield Case(
            f"umap {name}",
            cost,
            grad,
            x[:size],
            right=None if name == "mahalanobis" else name not in _UMAP_NOTES,
            note=_UMAP_NOTES.get(name, ""),
        )


def _umap_module() -> Any:
    spec = importlib.util.find_spec("umap")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "distances.py"
    loader = importlib.util.spec_from_file_location("umap_distances", path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module


def _compiled(distance: Any, y: Array, more: tuple[Any, ...]) -> tuple[Any, Any]:
    """An njit cost and an njit gradient of x alone; copies, as some of umap's modify x and y."""
    import numba

    if more == ():

        @numba.njit
        def both(x):
            return distance(x.copy(), y.copy())

    else:
        (parameter,) = more

        @numba.njit
        def both(x):
            return distance(x.copy(), y.copy(), parameter)

    @numba.njit
    def cost(x):
        return both(x)[0]

    @numba.njit
    def grad(x):
        return both(x)[1]

    return cost, grad


FAMILIES = (
    multilayer_perceptrons,
    linear_losses,
    gaussian_processes,
    embeddings,
    discrete_models,
    generalised_linear_models,
    other_models,
    scipy_functions,
    umap_distances,
)


def cases() -> tuple[Case, ...]:
    """The whole corpus, built anew."""
    return tuple(case for family in FAMILIES for case in family())
