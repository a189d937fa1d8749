"""Scores of features against published values and plain formulas; encoders ranked with costs; data sets to pretrain on."""
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from hypothesis import given, settings, strategies as st
from pretrain_notes.base import DataError
from pretrain_notes.transfer.scores import h_score, leep, logme, nleep, score_data, spectrum

torch.set_num_threads(1)

def drawn(n, d, c, sig, seed=0):
    r = np.random.RandomState(seed)
    y = np.arange(n) % c
    return r.randn(n, d) + sig * r.randn(c, d)[y], y

def softmax(z): return np.exp(z) / np.exp(z).sum(1, keepdims=True)

# Published values: n, d, classes, signal: LogME as in the ICML paper, LEEP with softmax of the first eight features.
GOLDEN = {(200, 16, 4, 1): (.0006996134, -.9840210623), (200, 16, 4, 0): (-.7251604554, -1.3708733454),
          (50, 128, 5, .5): (-.1287282599, -1.3628143015), (1000, 512, 10, .3): (.3066055748, -2.2652571466)}

# ---------------------------------------------------------------- against others
@pytest.mark.parametrize('case', GOLDEN)
def test_published_values(case):
    x, y = drawn(*case)
    assert abs(logme(x, y) - GOLDEN[case][0]) < 1e-6
    assert abs(leep(source_probs=softmax(x[:, :8]), labels=y) - GOLDEN[case][1]) < 1e-6

@pytest.mark.parametrize('n, d', [(60, 20), (40, 40), (30, 90), (2, 5), (5, 1)])
def test_logme_is_the_evidence(n, d):
    "The closed form against the density of the targets at the same alpha and beta, on both sides of D = N (thuml/LogME issue 23)."
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal
    x, y = drawn(n, d, 2, .5)
    def least(t):
        def f(ab): return -multivariate_normal(cov=np.exp(-ab[1]) * np.eye(n) + np.exp(-ab[0]) * x @ x.T, allow_singular=True).logpdf(t)
        return min(minimize(f, start, method='Nelder-Mead', options=dict(maxiter=4000)).fun for start in ((0, 0), (5, 2), (2, -1)))
    best = -np.mean([least((y == c).astype(float)) for c in (0, 1)]) / n
    if n > 5: assert abs(logme(x, y, tol=1e-10, steps=20_000, eps=1e-9) - best) < 2e-3
    assert np.isfinite(logme(x, y))

def plain_h_score(x, y):
    "The formula of Ibrahim et al. 2021 (arXiv:2110.06893), written down."
    from sklearn.covariance import LedoitWolf
    fit = LedoitWolf().fit(x)
    means = np.stack([x[y == c].mean(0) for c in y])
    return np.trace(np.linalg.pinv(fit.covariance_) @ ((1 - fit.shrinkage_) * np.cov(means.T, bias=True)))

@pytest.mark.parametrize('case', GOLDEN)
def test_h_score_formula(case): assert abs(h_score(*drawn(*case)) - plain_h_score(*drawn(*case))) < 1e-8

def test_spectrum():
    for n in (1, 2, 3, 50):
        a = (lambda b: b @ b.T)(np.random.default_rng(n).normal(size=(n, n)))
        b = np.random.default_rng(1).normal(size=(n, 4))
        (s, z), (t, v) = spectrum(a, b), np.linalg.eigh(a)
        assert np.allclose(s, t) and np.allclose(z**2, (v.T @ b)**2)

# ---------------------------------------------------------------- what must not matter
@settings(max_examples=25, deadline=None)
@given(st.integers(6, 60), st.integers(1, 80), st.integers(2, 4), st.integers(0, 99), st.floats(1e-8, 1e8))
def test_what_does_not_matter(n, d, c, seed, unit):
    "Order of rows, names and gaps of classes, rotation of features, their unit, rows without a label."
    x, y = drawn(n, d, c, .5, seed)
    rng = np.random.default_rng(seed)
    at, q = rng.permutation(n), np.linalg.qr(rng.normal(size=(d, d)))[0]
    for score in (lambda x, y: logme(x, y, scale=True), h_score):
        v = score(x, y)
        same = [(x[at], y[at]), (x, 10 * y + 5), (x, np.array(list('pqrs'))[y]), (x @ q, y), (x * unit, y),
                (np.r_[x, x[:1] * np.nan], np.r_[y, -1])]
        assert np.isfinite(v)
        for o in same: assert abs(score(*o) - v) < 1e-5 * max(1, abs(v))

def test_unit_of_features():
    x, y = drawn(200, 16, 4, 1)
    assert abs(logme(x, y, scale=False) - logme(1e3 * x, y, scale=False)) > .1          # as the reference: the unit decides
    for k in (1e-200, 1e-6, 1e6, 1e200): assert abs(logme(k * x, y) - logme(x, y, scale=True)) < 1e-9

# ---------------------------------------------------------------- bad input
X, Y = drawn(30, 6, 3, 1)
BAD = dict(nan=(np.where(np.arange(6) == 2, np.nan, X), Y, '30 of 30 rows'), infinity=(X * np.inf, Y, 'NaN or infinity'), one_class=(X, Y * 0, 'compares classes'),
           one_row=(X[:1], Y[:1], '1 labeled row have 1 class'), no_label=(X, Y * 0 - 1, '0 classes'), constant=(X * 0 + 3, Y, 'same features'),
           no_features=(X[:, :0], Y, 'same features'), lengths=(X, Y[:-1], '30 rows'), flat=(X[:, 0], Y, r'\(n, d\)'), text=(X.astype(str), Y, 'numbers'),
           fractions=(X, Y + .5, 'fractions'), nan_class=(X, Y * np.nan, 'fractions'), one_hot=(X, np.eye(3)[Y], 'shape'),
           objects=(X, np.array([None] * 30), 'numbers or names'), empty=(X[:0], Y[:0], '0 labeled rows'))

@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('score', [logme, h_score, nleep])
def test_refused(score, bad):
    x, y, says = BAD[bad]
    with pytest.raises(DataError, match=says) as e: score(x, y)
    assert '\n' not in str(e.value)

def test_defined_at_the_edge():
    "Two rows, a constant feature among others, more features than rows, a class with one row, equal rows."
    for x, y in ((X[:2], Y[:2]), (np.c_[X, np.ones(30)], Y), (drawn(10, 300, 5, 1)), (X, np.r_[9, Y[1:] * 0]), (np.repeat(X[:3], 5, 0), np.repeat(Y[:3], 5)),
                 (X.astype(np.float16), Y), ((X > 0), Y), (np.c_[X, X, X[:, :1] * 1e-9], Y), (np.repeat(X[:2], 20, 0), np.tile([0, 1], 20))):
        for score in (logme, h_score, nleep):
            with np.errstate(all='raise', under='ignore'): assert np.isfinite(score(x, y)), score
    assert abs(logme(np.c_[X, X * 0], Y, steps=200) - logme(X, Y, steps=200)) < 1e-9                  # a feature that is always 0 says nothing

def test_leep_cannot_be_swapped():
    "The reference takes two arrays that look alike (thuml/LogME issue 14)."
    p = softmax(X)
    with pytest.raises(TypeError): leep(p, Y)
    for probs, labels, says in ((Y, p, r'\(n, d\)'), (X, Y, 'apply softmax'), (p, np.eye(3)[Y], 'shape'), (p * np.nan, Y, 'NaN'), (p, Y * 0, 'compares classes')):
        with pytest.raises(DataError, match=says): leep(source_probs=probs, labels=labels)
    never = np.c_[p * .5, p * .5, np.zeros(30)]                                    # a class of the source that is never given
    assert abs(leep(source_probs=never, labels=Y) - leep(source_probs=p, labels=Y)) < 1e-12
    assert leep(source_probs=np.eye(3)[Y], labels=Y * 7) == 0                      # the old classes are the new ones

def test_noise_gets_no_advantage_from_size():
    y = np.arange(60) % 5
    by = [[score(np.random.default_rng(d).normal(size=(60, d)), y) for d in (8, 64, 1024)] for score in (logme, h_score)]
    real = [score(*drawn(60, 32, 5, 1)) for score in (logme, h_score)]
    assert all(max(noise) < r for noise, r in zip(by, real))
