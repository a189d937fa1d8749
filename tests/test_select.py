"""Scores of features against published values and plain formulas; encoders ranked with costs; data sets to pretrain on."""
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from hypothesis import given, settings, strategies as st
import pandas as pd
from torch import nn
from pretrain_notes.base import DataError
from pretrain_notes.batch.augment import simclr_augment
from pretrain_notes.datasets import digits
from pretrain_notes.pretrain.contrastive import SimCLR
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.scores import h_score, leep, logme, nleep, spectrum
from pretrain_notes.transfer.select import Agreement, AtSize, LivePeak, Ranking, encoder_cost, feature_scores, rank_encoders, score_agreement
from pretrain_notes.transfer.sources import SourceRanking, objective_recipe, rank_sources

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

# ---------------------------------------------------------------- encoders
@pytest.fixture(scope='module')
def data():
    s = digits().split(valid=.2, test=.4, seed=0)
    return s.dataloaders(bs=128, device='cpu'), s.by_split()['test']

class Edges(nn.Module):
    "Only the border of an image, which hardly says which digit it is."
    def forward(self, x): return torch.cat([x[:, 0, 0], x[:, 0, -1]], 1)

@pytest.fixture(scope='module')
def ranking(data): return rank_encoders(dict(edges=Edges(), pixels=nn.Flatten(), twice=AtSize(nn.Flatten(), 8, 1)), *data, n_labels=150)

def test_ranking(ranking):
    t = ranking.table()
    assert list(t.index[2:]) == ['edges'] and set(ranking.close) < {'pixels', 'twice'} and ranking.recommended != 'edges'
    assert ranking.right.pixels.equals(ranking.right.twice) and len(ranking.right) == 150
    assert (ranking.differences().loc['edges', 'high'] < 0) and 'too close to call' in ranking.statement()
    assert {'linear', 'log_prob', 'knn', 'logme', 'h_score', 'nleep', 'parameters', 'mflops', 'peak_kb', 'images_per_s'} == set(t)
    assert 'NaN' not in ranking._repr_html_() and ranking.plot().axes

def test_second_round(data):
    "Only where more encoders took part than go on, and where rows are left; it decides, with the costs of the first."
    dls, s = data[0], data[1][:200]
    arms = dict(edges=Edges(), pixels=nn.Flatten(), small=AtSize(nn.Flatten(), 4, 1), corner=AtSize(Edges(), 8, 1))
    r = rank_encoders(arms, dls, s, n_labels=80, finalists=2, folds=3)
    led = list(r.table().index[:2])
    assert set(r.finals.arms) == set(led) and len(r.finals.right) == len(s) and len(r.right) == 80 and set(r.arms) == set(arms)
    assert r.best == r.finals.best and r.recommended in led and len(r.differences()) == 1 and set(r.close) <= set(led)
    assert 'second round' in r.statement() and 'NaN' not in r._repr_html_() and r.plot().axes
    alone = rank_encoders({a: arms[a] for a in r.finals.arms}, dls, s, folds=3)
    pd.testing.assert_frame_equal(r.finals.right, alone.right)
    for kw in dict(finalists=0, n_labels=80), dict(finalists=4, n_labels=80), dict(n_labels=None), dict(n_labels=len(s)):
        assert rank_encoders(arms, dls, s, folds=3, **kw).finals is None
    for n in -1, 1:
        with pytest.raises(DataError, match='at least two'): rank_encoders(arms, dls, s, finalists=n)

def test_ranking_is_repeatable(data, ranking):
    again = rank_encoders(dict(edges=Edges(), pixels=nn.Flatten()), *data, n_labels=150)
    pd.testing.assert_frame_equal(again.scores, ranking.scores[ranking.scores.arm != 'twice'].reset_index(drop=True))

def test_interval_of_ranking_covers():
    "Of pairs that are equally good, at most one in ten is told apart; of pairs ten points apart most are."
    def told(better, seed):
        r, k = np.random.default_rng(seed), np.arange(200) % 5
        right = pd.DataFrame(dict(a=r.random(200) < .8, b=r.random(200) < .8 - better))
        cost = pd.DataFrame(dict(images_per_s=dict(a=1., b=2.)))
        return not Ranking(pd.DataFrame(dict(arm='a', fold=k, linear=0.)), right, cost).close
    assert np.mean([told(0, s) for s in range(200)]) <= .1 and np.mean([told(.2, s) for s in range(50)]) > .8

def test_recommended_is_worth_it():
    "A worse encoder is recommended only if it is close, within a point, and clearly faster."
    r, k = np.random.default_rng(0).random(400), np.arange(400) % 5
    def take(drop, speed):
        right = pd.DataFrame(dict(a=r < .8, b=(r < .8) & (r >= drop)))
        return Ranking(pd.DataFrame(dict(arm='a', fold=k, linear=0.)), right, pd.DataFrame(dict(images_per_s=dict(a=1., b=speed)))).recommended
    assert [take(.005, 3), take(.005, 1.2), take(.03, 3), take(.2, 3)] == ['b', 'a', 'a', 'a']

def test_ranking_resumes(tmp_path, data):
    "Features that were kept are not computed again; a file that was cut off is; other weights, rows and sizes are other files."
    dls, s = data
    ran = []
    class Counted(nn.Flatten):
        def forward(self, x): ran.append(len(x)); return super().forward(x)
    def rank(n=60, **more): return rank_encoders(dict(counted=Counted(), edges=Edges(), **more), dls, s, n_labels=n, folds=3, finalists=0, cache=tmp_path).scores
    first = rank()
    assert ran.count(60) == 1                                                    # other passes are of 32 images, for the cost
    ran.clear()
    pd.testing.assert_frame_equal(rank(), first)
    assert 60 not in ran and len(list(tmp_path.iterdir())) == 2
    for p in tmp_path.iterdir(): p.write_bytes(p.read_bytes()[:50])
    pd.testing.assert_frame_equal(rank(), first)
    rank(50); rank(small=make_encoder(size=8)); rank(a=AtSize(nn.Flatten(), 8, 1), b=AtSize(nn.Flatten(), 9, 1))
    assert len(list(tmp_path.iterdir())) == 2 + 2 + 1 + 2

def test_cost():
    with LivePeak() as m:
        for _ in range(5): a = torch.zeros(100)
    assert m.live == 400 and m.peak == 800
    e = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Flatten(), nn.Linear(8 * 36, 5))
    c = encoder_cost(e.train(), torch.rand(10, 3, 8, 8))
    assert c['parameters'] == 216 + 8 * 36 * 5 + 5 and c['mflops'] == (2 * 36 * 216 + 2 * 8 * 36 * 5) / 1e6 and c['images_per_s'] > 0 and e.training

def test_lone_classes_and_missing_labels(data):
    dls, s = data
    y = s.labels[:60].copy()
    odd = s[np.sort(np.r_[np.flatnonzero(y != 3), np.flatnonzero(y == 3)[:1]])]
    with pytest.warns(UserWarning, match="class has a single row.*: 3"): r = rank_encoders(dict(a=nn.Flatten(), b=Edges()), dls, odd, folds=3)
    assert len(r.right) == len(odd) - 1

def test_refused_rankings(data):
    dls, s = data
    class Broken(nn.Module):
        def forward(self, x): return x.flatten(1) * torch.nan
    class Flat(nn.Module):
        def forward(self, x): return torch.ones(len(x), 4)
    ok = nn.Flatten()
    for arms, says in ((dict(a=ok), 'at least two'), ([ok, ok], 'dict'), (dict(a=ok, b=Broken()), '^b: .*NaN'), (dict(a=ok, b=Flat()), '^b: .*collapsed'),
                       (dict(a=ok, b='resnet18'), 'make_encoder')):
        with pytest.raises(DataError, match=says): rank_encoders(arms, dls, s[:80])
    for heads, says in ((dict(edge=nn.Linear(16, 3)), "no encoder here - did you mean 'edges'"), (dict(a=nn.Linear(9, 3)), '^a: its head')):
        with pytest.raises(DataError, match=says): rank_encoders(dict(a=ok, edges=Edges()), dls, s[:80], heads=heads)
    one = s[np.flatnonzero(s.labels == 3)]
    with pytest.raises(DataError, match='compares classes'): rank_encoders(dict(a=ok, b=Edges()), dls, one)
    with pytest.raises(DataError): rank_encoders(dict(a=ok, b=Edges()), dls, s[:1])
    with pytest.raises(DataError, match='fold number'): feature_scores(X, Y, np.zeros(7))

# ---------------------------------------------------------------- forecasts against what came out
def test_agreement():
    from scipy.stats import kendalltau
    r = np.random.default_rng(0)
    rows = pd.concat([pd.DataFrame(dict(set=s, arm=list('pqrstuvw'), final=r.random(8).round(1), score=r.random(8).round(1), half=np.r_[r.random(5), [np.nan] * 3],
                                        recommended=[True] + [False] * 7)) for s in 'ab'], ignore_index=True)
    a = Agreement(rows)
    for score in ('score', 'half'):
        want = [kendalltau(g[score], g.final, nan_policy='omit').statistic for _, g in rows.groupby('set')]
        t, low, high = a.tau(score)
        assert abs(t - np.mean(want)) < 1e-9 and low <= t <= high
    assert a.tau('final') == (1, 1, 1)
    lost = a.regrets()
    assert lost.recommended.tolist() == [100 * (g.final.max() - g.final.iloc[0]) for _, g in rows.groupby('set')] and (lost >= 0).all(axis=None)
    assert 'NaN' not in a._repr_html_() and 'lost' in a.statement() and a.plot().axes

def test_score_agreement(ranking):
    final = dict(edges=.4, pixels=.9, twice=.95)
    a = score_agreement(dict(digits=ranking), dict(digits=final))
    assert a.rows.recommended.sum() == 1 and a.rows.set_index('arm').final.to_dict() == final and 'parameters' in a.score_names

# ---------------------------------------------------------------- data to pretrain on
def test_sources(data):
    rng, s = np.random.default_rng(0), digits()
    sets = dict(digits=s[:128], noise=Samples.from_arrays(rng.integers(0, 256, (150, 8, 8)).astype('uint8')))
    recipe, seen = objective_recipe(lambda: SimCLR(make_encoder(size=8, width=4)), bs=64, views=2, augment=simclr_augment(flip=0., blur=0.)), []
    def spy(samples, images, seed): seen.append((len(samples), images, seed)); return recipe(samples, images, seed)
    r = rank_sources(sets, spy, *data, budgets=(200, 100), seeds=2, n_labels=60)
    assert {n for n, *_ in seen} == {128} and sorted({i for _, i, _ in seen}) == [100, 200] and len(seen) == 8      # equal rows, equal compute
    assert len(r.table()) == 2 and set(r.decisions().index.get_level_values(0)) == {100} and r.plot().axes and 'is best' in r.statement()
    assert r.runs.equals(rank_sources(sets, recipe, *data, budgets=(100, 200), seeds=2, n_labels=60).runs)
    with pytest.raises(DataError, match='at least two'): rank_sources(dict(a=s), recipe, *data)
    with pytest.raises(DataError, match='1 row'): rank_sources(dict(a=s, b=s[:1]), recipe, *data)

def test_decisions_by_hand():
    runs = pd.DataFrame([dict(source=s, images=i, seed=k, linear=v if i == 9 else w, other=-v)
                         for k in range(2) for i in (1, 9) for s, v, w in (('a', .9, .5), ('b', .8, .6), ('c', .1, .2))])
    d = SourceRanking(runs).decisions()
    assert d.loc[(1, 'linear'), 'pairs'] == 2 / 3 and d.loc[(1, 'linear'), 'winner'] == 0 and abs(d.loc[(1, 'linear'), 'lost'] - 10) < 1e-9
    assert d.loc[(1, 'other'), 'pairs'] == 0
