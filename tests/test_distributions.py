"""Distributions: PyTorch is asked for probabilities, entropies and divergences; samples are judged by their moments."""

import math

import numpy as np
import pytest

import ddpnet
from ddpnet import distributions, random

oracle = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def seeded():
    state = random.get_rng_state()
    random.manual_seed(5)
    yield
    random.set_rng_state(state)


A = [[0.5, 1.5, 2.0], [0.25, 3.0, 0.75]]
B = [[1.0, 0.5, 0.3], [2.0, 1.25, 0.6]]
P = [[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]
Q = [[0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
ROOT = [[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.2, 0.7]]
COVARIANCE = (np.array(ROOT) @ np.array(ROOT).T).tolist()

# name, parameters, values inside the support
TABLE = [
    ("Normal", {"loc": A, "scale": B}, [[0.1, -2.0, 3.0]]),
    ("Normal", {"loc": 0.5, "scale": [2.0, 1.0]}, [[0.1, -2.0], [1.0, 4.0]]),
    ("LogNormal", {"loc": A, "scale": B}, [[0.1, 2.0, 3.0]]),
    ("HalfNormal", {"scale": B}, [[0.1, 2.0, 3.0]]),
    ("Uniform", {"low": [-1.0, 0.0], "high": [1.0, 4.0]}, [[0.5, 3.0], [-0.5, 0.25]]),
    ("Exponential", {"rate": B}, [[0.1, 2.0, 3.0]]),
    ("Laplace", {"loc": A, "scale": B}, [[0.1, -2.0, 3.0]]),
    ("Cauchy", {"loc": A, "scale": B}, [[0.1, -2.0, 3.0]]),
    ("Gumbel", {"loc": A, "scale": B}, [[0.9, 1.0, 2.0]]),
    ("Gamma", {"concentration": A, "rate": B}, [[0.1, 2.0, 3.0]]),
    ("Chi2", {"df": B}, [[0.1, 2.0, 3.0]]),
    ("Beta", {"concentration1": A, "concentration0": B}, [[0.1, 0.5, 0.9]]),
    ("Dirichlet", {"concentration": A}, [[0.2, 0.3, 0.5]]),
    ("Bernoulli", {"probs": P}, [[0.0, 1.0, 1.0]]),
    ("Bernoulli", {"logits": A}, [[0.0, 1.0, 1.0]]),
    ("Geometric", {"probs": P}, [[0.0, 1.0, 4.0]]),
    ("Poisson", {"rate": B}, [[0.0, 1.0, 4.0]]),
    ("Binomial", {"total_count": 4, "probs": P}, [[0.0, 1.0, 4.0]]),
    ("Binomial", {"total_count": [3.0, 7.0, 4.0], "logits": A}, [[0.0, 1.0, 4.0]]),
    ("Categorical", {"probs": A}, [0, 2]),
    ("Categorical", {"logits": A}, [[0, 2], [1, 1]]),
    ("OneHotCategorical", {"probs": A}, [[0.0, 1.0, 0.0]]),
    ("MultivariateNormal", {"loc": A, "scale_tril": ROOT}, [[0.1, -2.0, 3.0]]),
    ("MultivariateNormal", {"loc": A[0], "covariance_matrix": COVARIANCE}, [[0.1, -2.0, 3.0], [0.0, 1.0, 2.0]]),
    ("MultivariateNormal", {"loc": A[0], "precision_matrix": COVARIANCE}, [[0.1, -2.0, 3.0]]),
]
IDS = [f"{name}-{'-'.join(parameters)}" for name, parameters, _ in TABLE]


def made(library, name, parameters, dtype="float64"):
    """The distribution and its parameters as leaves."""
    kind = getattr(library, dtype)
    leaves = {
        key: library.tensor(value, dtype=kind, requires_grad=True) if isinstance(value, list) else value
        for key, value in parameters.items()
    }
    return getattr(library.distributions, name)(**leaves), [x for x in leaves.values() if isinstance(x, library.Tensor)]


def both(name, parameters, ask, dtype="float64"):
    """What `ask` gives for ours and PyTorch's, with the gradients in the parameters."""
    answers = []
    for library in (ddpnet, oracle):
        distribution, leaves = made(library, name, parameters, dtype)
        answer = ask(library, distribution)
        gradients = []
        if answer.requires_grad:
            (answer * library.arange(1, answer.numel() + 1).reshape(answer.shape)).sum().backward()
            gradients = [leaf.grad.tolist() for leaf in leaves if leaf.grad is not None]
        answers.append((str(answer.dtype), tuple(answer.shape), answer.detach().tolist(), gradients))
    return answers


def assert_same(name, parameters, ask, dtype="float64"):
    ours, theirs = both(name, parameters, ask, dtype)
    assert ours[:2] == theirs[:2]
    tolerance = 1e-9 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(ours[2], theirs[2], rtol=tolerance, atol=tolerance)
    assert len(ours[3]) == len(theirs[3])
    for one, other in zip(ours[3], theirs[3], strict=True):
        np.testing.assert_allclose(one, other, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize(("name", "parameters", "values"), TABLE, ids=IDS)
def test_log_prob(name, parameters, values):
    for dtype in ("float64", "float32"):
        assert_same(
            name,
            parameters,
            lambda library, d, dtype=dtype: d.log_prob(
                library.tensor(values, dtype=library.int64 if name == "Categorical" else getattr(library, dtype))
            ),
            dtype,
        )


PROPERTIES = ("mean", "mode", "variance", "stddev", "entropy", "perplexity")


@pytest.mark.parametrize("attribute", PROPERTIES)
@pytest.mark.parametrize(("name", "parameters", "values"), TABLE, ids=IDS)
def test_properties(name, parameters, values, attribute):
    theirs, _ = made(oracle, name, parameters)
    try:
        wanted = getattr(theirs, attribute)
        wanted = wanted() if callable(wanted) else wanted
    except NotImplementedError:
        wanted = None
    if wanted is None or (name, attribute) in {("Beta", "mode"), ("Dirichlet", "mode")}:
        with pytest.raises(NotImplementedError):
            assert_same(name, parameters, lambda library, d: asked(d, attribute))
        return
    assert_same(name, parameters, lambda library, d: asked(d, attribute))


def asked(distribution, attribute):
    value = getattr(distribution, attribute)
    return value() if callable(value) else value


@pytest.mark.parametrize("attribute", ["cdf", "icdf"])
@pytest.mark.parametrize(
    "row",
    [
        row
        for row in TABLE
        if row[0] in distributions.__all__[:0]
        or row[0] in {"Normal", "LogNormal", "HalfNormal", "Uniform", "Exponential", "Laplace", "Cauchy", "Gumbel"}
    ],
    ids=lambda row: row[0],
)
def test_cumulative(row, attribute):
    name, parameters, values = row
    if attribute == "icdf":
        values = np.linspace(0.1, 0.9, np.size(values)).reshape(np.shape(values)).tolist()
    assert_same(
        name, parameters, lambda library, d: getattr(d, attribute)(library.tensor(values, dtype=library.float64))
    )


@pytest.mark.parametrize(("name", "parameters", "values"), TABLE, ids=IDS)
def test_shapes_expand_and_repr(name, parameters, values):
    ours, theirs = (made(library, name, parameters)[0] for library in (ddpnet, oracle))
    for _ in range(2):
        assert ours.batch_shape == tuple(theirs.batch_shape)
        assert ours.event_shape == tuple(theirs.event_shape)
        assert ours.has_rsample == theirs.has_rsample or name in {"Gamma", "Chi2", "Beta", "Dirichlet"}
        for shape in ((), (4,), (2, 3) if "Categorical" in name else (2, 0)):
            sample, other = ours.sample(shape), theirs.sample(shape)
            assert (sample.shape, str(sample.dtype)) == (tuple(other.shape), str(other.dtype))
            assert not sample.requires_grad
        shape = (5, *ours.batch_shape)
        ours, theirs = ours.expand(shape), theirs.expand(shape)
    ours, theirs = (made(library, name, parameters, "float32")[0] for library in (ddpnet, oracle))
    if name not in {"Chi2", "LogNormal", "HalfNormal", "Beta", "OneHotCategorical", "Gumbel"}:
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(("name", "parameters", "values"), TABLE, ids=IDS)
def test_samples_have_the_moments(name, parameters, values):
    if name == "Cauchy":
        return
    ours, _ = made(ddpnet, name, parameters)
    count = 40_000
    samples = ours.sample((count,)).array.astype(np.float64)
    if name == "Categorical":
        samples = np.eye(3)[samples.astype(int)]
        mean, variance = ours.probs.detach().array, (ours.probs * (1 - ours.probs)).detach().array
    else:
        mean, variance = ours.mean.detach().array, ours.variance.detach().array
    np.testing.assert_allclose(samples.mean(0), mean, atol=6 * np.sqrt(variance.max() / count))
    np.testing.assert_allclose(samples.var(0), variance, rtol=0.35)
    assert ours.sample().tolist() != ours.sample().tolist() or name in {"Bernoulli", "Categorical", "OneHotCategorical"}


DIFFERENTIABLE = [row for row in TABLE if getattr(distributions, row[0]).has_rsample]


@pytest.mark.parametrize(("name", "parameters", "values"), DIFFERENTIABLE, ids=lambda value: str(value)[:20])
def test_rsample(name, parameters, values):
    """The gradient of a sample is the difference between samples drawn with the same numbers."""
    ours, leaves = made(ddpnet, name, parameters)
    random.manual_seed(1)
    ours.rsample((3,)).sum().backward()
    for leaf, key in zip(leaves, [key for key in parameters if isinstance(parameters[key], list)], strict=True):
        if key in {"covariance_matrix", "precision_matrix"}:
            continue
        direction = np.random.default_rng(0).normal(size=leaf.shape)
        if key == "scale_tril":
            direction = np.tril(direction)
        sums = []
        for step in (1e-6, -1e-6):
            shifted = {**parameters, key: (np.array(parameters[key]) + step * direction).tolist()}
            random.manual_seed(1)
            sums.append(made(ddpnet, name, shifted)[0].rsample((3,)).sum().item())
        np.testing.assert_allclose((leaf.grad.array * direction).sum(), (sums[0] - sums[1]) / 2e-6, rtol=1e-5)


def test_what_has_no_rsample():
    for name, parameters in (("Gamma", {"concentration": A, "rate": B}), ("Bernoulli", {"probs": P})):
        with pytest.raises(NotImplementedError, match="rsample"):
            made(ddpnet, name, parameters)[0].rsample()


PAIRS = [
    ("Normal", {"loc": A, "scale": B}, {"loc": B, "scale": A}),
    ("LogNormal", {"loc": A, "scale": B}, {"loc": B, "scale": A}),
    ("HalfNormal", {"scale": B}, {"scale": A}),
    ("Bernoulli", {"probs": P}, {"probs": Q}),
    ("Bernoulli", {"logits": A}, {"logits": B}),
    ("Categorical", {"probs": P}, {"logits": A}),
    ("OneHotCategorical", {"probs": P}, {"logits": A}),
    ("Geometric", {"probs": P}, {"probs": Q}),
    ("Poisson", {"rate": A}, {"rate": B}),
    ("Binomial", {"total_count": 4, "probs": P}, {"total_count": 4, "probs": Q}),
    ("Uniform", {"low": [0.0, -1.0], "high": [1.0, 1.0]}, {"low": [-1.0, 0.0], "high": [2.0, 3.0]}),
    ("Exponential", {"rate": A}, {"rate": B}),
    ("Laplace", {"loc": A, "scale": B}, {"loc": B, "scale": A}),
    ("Gamma", {"concentration": A, "rate": B}, {"concentration": B, "rate": A}),
    ("Beta", {"concentration1": A, "concentration0": B}, {"concentration1": B, "concentration0": A}),
    ("Dirichlet", {"concentration": A}, {"concentration": B}),
    ("MultivariateNormal", {"loc": A, "scale_tril": ROOT}, {"loc": B[0], "covariance_matrix": COVARIANCE}),
]


@pytest.mark.parametrize(("name", "p", "q"), PAIRS, ids=[f"{name}-{'-'.join(p)}" for name, p, _ in PAIRS])
def test_kl_divergence(name, p, q):
    def ask(library, distribution):
        return library.distributions.kl_divergence(distribution, made(library, name, q)[0])

    assert_same(name, p, ask)
    assert_same(name, q, lambda library, d: library.distributions.kl_divergence(made(library, name, p)[0], d))


def test_independent():
    def ask(library, distribution):
        other = library.distributions.Independent(library.distributions.Normal(library.tensor(B), library.tensor(A)), 1)
        one = library.distributions.Independent(distribution, 1)
        value = library.tensor([0.5, 1.0, 2.0], dtype=library.float64)
        return one.log_prob(value) + one.entropy() + library.distributions.kl_divergence(one, other)

    assert_same("Normal", {"loc": A, "scale": B}, ask)
    ours = distributions.Independent(made(ddpnet, "Normal", {"loc": A, "scale": B})[0], 1)
    assert (ours.batch_shape, ours.event_shape, ours.has_rsample) == ((2,), (3,), True)
    assert ours.expand((4, 2)).sample((5,)).shape == (5, 4, 2, 3)
    assert repr(ours) == "Independent(Normal(loc: torch.Size([2, 3]), scale: torch.Size([2, 3])), 1)"
    with pytest.raises(ValueError, match="not broadcastable"):
        ours.log_prob(ddpnet.zeros(2))
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        distributions.Independent(ours, 2)


@pytest.mark.parametrize("kind", ["exp", "affine", "sigmoid", "tanh", "softplus", "inverse", "compose", "events"])
def test_transformed(kind):
    def made_by(library, normal):
        t = library.distributions.transforms
        chain = {
            "exp": [t.ExpTransform()],
            "affine": [t.AffineTransform(library.tensor(B, dtype=library.float64), -2.0)],
            "sigmoid": [t.SigmoidTransform()],
            "tanh": [t.AffineTransform(0.5, 2.0), t.TanhTransform(cache_size=1)],
            "softplus": [t.SoftplusTransform()],
            "inverse": [t.ExpTransform(), t.SigmoidTransform().inv.inv],
            "compose": t.ComposeTransform([t.ExpTransform(), t.AffineTransform(1.0, 0.5)]),
            "events": [t.ExpTransform()],
        }[kind]
        base = library.distributions.Independent(normal, 1) if kind == "events" else normal
        return library.distributions.TransformedDistribution(base, chain)

    value = [[0.2, 0.5, 0.9]] if kind != "compose" else [[1.2, 1.5, 1.9]]
    if kind == "inverse":
        value = [[0.6, 0.7, 0.9]]

    def log_prob(library, normal):
        return made_by(library, normal).log_prob(library.tensor(value, dtype=library.float64))

    assert_same("Normal", {"loc": A, "scale": B}, log_prob)
    if kind != "events":
        for name in ("cdf", "icdf"):
            numbers = [[0.2, 0.5, 0.9]] if name == "icdf" else value
            assert_same(
                "Normal",
                {"loc": A, "scale": B},
                lambda library, d, name=name, numbers=numbers: getattr(made_by(library, d), name)(
                    library.tensor(numbers, dtype=library.float64)
                ),
            )
    ours, theirs = (
        made_by(library, made(library, "Normal", {"loc": A, "scale": B})[0]) for library in (ddpnet, oracle)
    )
    assert (ours.batch_shape, ours.event_shape) == (tuple(theirs.batch_shape), tuple(theirs.event_shape))
    sample = ours.rsample((4,))
    assert sample.shape == (4, 2, 3)
    assert sample.requires_grad
    assert not ours.sample().requires_grad
    assert ours.log_prob(sample).shape == tuple(
        theirs.log_prob(oracle.tensor(sample.tolist(), dtype=oracle.float64)).shape
    )


def test_mixture():
    def ask(library, normal):
        weights = library.distributions.Categorical(library.tensor(P, dtype=library.float64))
        mixture = library.distributions.MixtureSameFamily(weights, normal)
        value = library.tensor([0.3, 1.2], dtype=library.float64)
        return mixture.log_prob(value) + mixture.mean + mixture.variance + mixture.cdf(value)

    assert_same("Normal", {"loc": A, "scale": B}, ask)
    normal, _ = made(ddpnet, "Normal", {"loc": A, "scale": B})
    mixture = distributions.MixtureSameFamily(distributions.Categorical(ddpnet.tensor(P)), normal)
    samples = mixture.sample((20_000,))
    assert samples.shape == (20_000, 2)
    np.testing.assert_allclose(samples.array.mean(0), mixture.mean.detach().array, atol=0.1)
    vectors = distributions.MixtureSameFamily(
        distributions.Categorical(ddpnet.ones(3)),
        distributions.Independent(distributions.Normal(ddpnet.zeros(3, 2), 1.0), 1),
    )
    assert vectors.sample((4,)).shape == (4, 2)
    assert vectors.log_prob(ddpnet.zeros(4, 2)).shape == (4,)
    with pytest.raises(ValueError, match="component"):
        distributions.MixtureSameFamily(distributions.Categorical(ddpnet.ones(2)), normal)


def test_enumeration():
    for name, parameters in (
        ("Bernoulli", {"probs": P}),
        ("Categorical", {"probs": P}),
        ("OneHotCategorical", {"probs": P}),
    ):
        for expand in (True, False):
            assert_same(name, parameters, lambda library, d, expand=expand: d.enumerate_support(expand))


WRONG = [
    ("Normal", {"loc": [0.0], "scale": [-1.0]}),
    ("Normal", {"loc": [math.nan], "scale": [1.0]}),
    ("Uniform", {"low": [1.0], "high": [0.0]}),
    ("Bernoulli", {"probs": [1.5]}),
    ("Bernoulli", {}),
    ("Bernoulli", {"probs": [0.5], "logits": [0.5]}),
    ("Categorical", {"probs": [-1.0, 2.0]}),
    ("Categorical", {"probs": 0.5}),
    ("Exponential", {"rate": [0.0]}),
    ("Exponential", {"rate": "one"}),
    ("Dirichlet", {"concentration": [1.0, -1.0]}),
    ("MultivariateNormal", {"loc": [0.0]}),
    ("MultivariateNormal", {"loc": [0.0, 0.0], "scale_tril": [[1.0, 1.0], [0.0, 1.0]]}),
]


@pytest.mark.parametrize(("name", "parameters"), WRONG, ids=str)
def test_wrong_parameters(name, parameters):
    errors = []
    for library in (ddpnet, oracle):
        with pytest.raises((ValueError, AttributeError)) as caught:
            made(library, name, parameters)
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


def test_wrong_values():
    normal = distributions.Normal(ddpnet.zeros(2), ddpnet.ones(2))
    with pytest.raises(ValueError, match="must be a Tensor"):
        normal.log_prob(0.5)
    with pytest.raises(ValueError, match="not broadcastable"):
        normal.log_prob(ddpnet.zeros(3))
    with pytest.raises(ValueError, match=r"to be within the support \(Real\(\)\)"):
        normal.log_prob(ddpnet.tensor([math.nan, 0.0]))
    with pytest.raises(ValueError, match=r"IntegerInterval\(lower_bound=0, upper_bound=2\)"):
        distributions.Categorical(ddpnet.ones(3)).log_prob(ddpnet.tensor(3))
    unchecked = distributions.Normal(0.0, -1.0, validate_args=False)
    assert math.isnan(unchecked.log_prob(ddpnet.tensor(0.0)).item())


def test_divergences_are_registered():
    class Mine(distributions.Normal):
        pass

    p, q = Mine(0.0, 1.0), distributions.Normal(1.0, 1.0)
    assert distributions.kl_divergence(p, q).item() == 0.5
    distributions.register_kl(Mine, distributions.Normal)(lambda p, q: "mine")
    assert distributions.kl_divergence(p, q) == "mine"
    with pytest.raises(NotImplementedError, match="p type Normal and q type Gamma"):
        distributions.kl_divergence(q, distributions.Gamma(1.0, 1.0))
    with pytest.raises(TypeError, match="type_p"):
        distributions.register_kl(int, Mine)


def test_gradients_of_a_policy():
    """REINFORCE: the gradient of the log-probability of what was sampled."""
    logits = ddpnet.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    policy = distributions.Categorical(logits=logits)
    action = policy.sample()
    policy.log_prob(action).sum().backward()
    expected = np.eye(3)[action.array] - policy.probs.detach().array
    np.testing.assert_allclose(logits.grad.array, expected, atol=1e-6)


def test_every_name_is_public():
    assert all(hasattr(distributions, name) for name in distributions.__all__)
    assert all(hasattr(oracle.distributions, name) for name in distributions.__all__)
