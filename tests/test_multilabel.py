"""Several labels per item: what loaders refuse, what scores mean where a class is in no row or in all of them, and that it learns."""
import pickle
import numpy as np
import pytest
import torch
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, f1_score
from pretrain_notes.base import DataError
from pretrain_notes.batch.loaders import ImageTensors, label_matrix
from pretrain_notes.datasets import digits
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.compare import compare_transfer, label_efficiency
from pretrain_notes.transfer.multilabel import (MultilabelScores, average_precision, best_thresholds, choose_thresholds, label_counts,
    mean_ap_metric, mean_average_precision, multilabel_learner, multilabel_scores, positive_weights)
from pretrain_notes.transfer.recipes import Arm, answers_head, encoder_learner, fit_head, label_classes, label_strata
from pretrain_notes.transfer.tuning import frozen, head_then_all

torch.set_num_threads(1)
NAN = float('nan')
CPU = dict(label='labels', bs=16, device='cpu')

def pairs(n=120, seed=0, labels=None):
    "Two digits of 0 to 3 side by side, with the names of both"
    rng, d = np.random.default_rng(seed), digits()
    x, y, some = d.images(), d.labels, np.flatnonzero(d.labels < 4)
    at = rng.choice(some, (n, 2))
    names = [sorted({f'd{y[a]}', f'd{y[b]}'}) for a, b in at] if labels is None else labels
    return Samples.from_arrays(np.concatenate([x[at[:, 0]], x[at[:, 1]]], 2)).with_column('labels', names)

@pytest.fixture(scope='module')
def samples(): return pairs().split(valid=.25, test=.25, seed=0)
@pytest.fixture(scope='module')
def dls(samples): return samples.dataloaders(**CPU)

def quiet(learn, f, *a):
    with learn.no_bar(), learn.no_logging(): return f(*a)

# ---------------------------------------------------------------- loaders
@pytest.mark.parametrize('kw', [{}, dict(item_tfms=Resize(16))])
def test_loaders_both_ways(samples, kw):
    "In memory and item by item: the same classes, targets of 0 and 1, the loss of several labels, and new data by the names of training."
    dls, test = samples.dataloaders(**CPU, **kw), samples.by_split()['test']
    assert list(dls.vocab) == ['d0', 'd1', 'd2', 'd3'] and dls.c == 4 and type(dls.loss_func.func).__name__ == 'BCEWithLogitsLoss'
    x, y = dls.one_batch()
    assert y.shape == (16, 4) and y.dtype == torch.float32 and set(y.unique().tolist()) <= {0, 1}
    want = label_matrix(test)[0]
    got = torch.cat([b[1].as_subclass(torch.Tensor) for b in dls.test_dl(test)])
    np.testing.assert_array_equal(got.numpy(), want)
    fewer = test.with_column('labels', [['d3'], []] + [['d1']] * (len(test) - 2))                 # other names, in another order
    np.testing.assert_array_equal(next(iter(dls.test_dl(fewer)))[1][:3].numpy(), [[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    with pytest.raises(DataError, match="'d7' does not occur in training"): dls.test_dl(test.with_column('labels', [['d7']] * len(test)))
    assert len(dls.test_dl(test.drop('labels')).one_batch()) == 1
    assert len(dls.test_dl(test.with_column('labels', [['d1']] * (len(test) - 1) + [None]), with_labels=False).one_batch()) == 1
    with pytest.raises(DataError, match='1 samples have no label'): dls.test_dl(test.with_column('labels', [['d1']] * (len(test) - 1) + [None]))

def test_nothing_named_in_new_data(dls, samples):
    "Rows in which somebody saw none of the classes are labeled rows."
    test = samples.by_split()['test']
    y = next(iter(dls.test_dl(test.with_column('labels', [[]] * (len(test) - 1) + [['d0']]))))[1]
    assert y.sum() == y[-1, 0] * (len(y) == len(test)) and y.shape[1] == 4

@pytest.mark.parametrize('kw', [{}, dict(item_tfms=Resize(16))])
@pytest.mark.parametrize('labels, says', [([None] * 20, 'samples have no label'), ([['a'], None] * 10, 'samples have no label'),
    ([[]] * 20, 'there is nothing to learn'), ([['a', None]] * 20, 'row 0'), ([[['a']]] * 20, 'no classes')])
def test_bad_columns(labels, says, kw):
    with pytest.raises(DataError, match=says): pairs(20, labels=labels).split(valid=.3, test=0, seed=0).dataloaders(**CPU, **kw)

def test_one_class_for_all():
    "A list where one class is asked for, and one class where a list is asked for."
    s = pairs(20).split(valid=.3, test=0, seed=0)
    with pytest.raises(DataError, match='not a list'): label_matrix(s.with_column('label', ['a', 'b'] * 10), 'label')
    with pytest.raises(DataError, match='not one column'): ImageTensors(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 3), ['a', 'b'])
    with pytest.raises(DataError): label_matrix(s, 'label')

def test_numbers_with_gaps():
    "Class numbers need not be without gaps, and a class of the type that nobody has keeps its column."
    from datasets import ClassLabel, List
    import pyarrow as pa
    y, names = label_matrix(pairs(3, labels=[[7, 2], [2], []]))
    assert names == ['2', '7'] and y.tolist() == [[1, 1], [1, 0], [0, 0]]
    lists, kind = pa.array([[2], [0, 2], None], pa.list_(pa.int64())), List(ClassLabel(names=['a', 'never', 'c']))
    y, names = label_matrix(pairs(3).with_column('labels', lists, kind))
    assert names == ['a', 'never', 'c'] and y[:2].tolist() == [[0, 0, 1], [1, 0, 1]] and np.isnan(y[2]).all()

# ---------------------------------------------------------------- scores
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_equal_to_scikit_learn(seed, n, c, digits_):
    "To 1e-12, with any number of ties; only a class without a positive row is no number here, and 0 there."
    rng = np.random.default_rng(seed)
    y, s = rng.random((n, c)) < rng.random(c), rng.normal(size=(n, c)).round(digits_)
    ap, some = average_precision(y, s), y.any(0)
    assert np.isnan(ap[~some]).all()
    for k in np.flatnonzero(some): assert abs(ap[k] - average_precision_score(y[:, k], s[:, k])) < 1e-12
    counted = some & ~y.all(0)
    m = mean_average_precision(y, s)
    assert abs(m - average_precision_score(y[:, counted], s[:, counted])) < 1e-12 if counted.any() else np.isnan(m)

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(0, 3))
def test_no_threshold_is_better(seed, n, digits_):
    "On the rows where it was chosen, no other threshold has a larger F1."
    rng = np.random.default_rng(seed)
    y, p = rng.random((n, 1)) < .4, rng.random((n, 1)).round(digits_)
    t = best_thresholds(y, p)[0]
    assert 0 <= t <= 1 and (y.any() and not y.all() or t == .5)
    if y.any() and not y.all():
        f = lambda cut: 2 * (y & (p > cut)).sum() / (y.sum() + (p > cut).sum())
        assert f(t) == pytest.approx(f1_score(y[:, 0], p[:, 0] > t, zero_division=0))
        assert f(t) >= max(map(f, np.unique(np.append(p, np.linspace(0, 1, 41))))) - 1e-12

def test_neighboring_probabilities():
    "A threshold between two neighboring float32 numbers tells them apart."
    low = np.float32(.3); p = np.array([[low], [np.nextafter(low, np.float32(1))]])
    t = best_thresholds([[0], [1]], p)
    assert (torch.from_numpy(p) > torch.from_numpy(t)).flatten().tolist() == [False, True]

@pytest.mark.parametrize('y, p, says', [([[0, NAN]], [[.1, .2]], 'not labeled'), ([[0, 2]], [[.1, .2]], '0 or 1'), ([[0, 1]], [[.1, NAN]], 'not finite'),
    ([[0, 1]], [[.1]], 'classes'), ([0, 1], [.1, .2], 'classes'), (np.zeros((0, 2)), np.zeros((0, 2)), 'no row')])
@pytest.mark.parametrize('f', [average_precision, mean_average_precision, best_thresholds, lambda y, p: MultilabelScores(y, p, ['a', 'b'])])
def test_bad_scores(f, y, p, says):
    with pytest.raises(DataError, match=says): f(y, p)

def test_more_bad_scores():
    ok = [[0, 1], [1, 0]], [[.1, .2], [.3, .4]]
    with pytest.raises(DataError, match='class names'): MultilabelScores(*ok, ['a'])
    with pytest.raises(DataError, match='groups'): MultilabelScores(*ok, ['a', 'b'], groups=[1])
    with pytest.raises(DataError, match='probabilities'): MultilabelScores(ok[0], [[-3, 4], [1, 2]], ['a', 'b'])
    with pytest.raises(DataError, match='probabilities'): best_thresholds(ok[0], [[-3, 4], [1, 2]])
    with pytest.raises(DataError, match='same rows'): MultilabelScores(*ok, ['a', 'b']).differences(MultilabelScores(ok[0][::-1], ok[1], ['a', 'b']))

def test_classes_that_do_not_count():
    "A class that is never there and one that always is say nothing of the model: named in the table, left out of the means."
    y = np.array([[0, i % 2, 1] for i in range(20)])
    s = MultilabelScores(y, np.random.default_rng(0).random(y.shape), ['never', 'some', 'always'], draws=50)
    t = s.table().set_index('class')
    assert s.map == s.ap[1] and s.f1 == s.class_f1[1] and np.isnan(s.ap[0]) and s.ap[2] == 1
    assert t.note.tolist() == ['never: not in the mean', '', 'in every row: not in the mean'] and 'nan' not in s._repr_html_().lower()
    none = MultilabelScores(y[:, :1], np.full((20, 1), .4), ['never'], draws=10)
    assert np.isnan(none.map) and '0 of 1 classes' in repr(none) and len(none.table()) == 1

def test_intervals_hold_the_truth():
    "Over many test parts the interval of mAP holds that of a very large one in most cases; groups make it wider."
    rng = np.random.default_rng(0)
    def made(n): y = rng.random((n, 3)) < .3; return y, 1 / (1 + np.exp(-(rng.normal(size=y.shape) + 1.5 * y)))
    truth, inside = mean_average_precision(*made(100_000)), 0
    for _ in range(60):
        s = MultilabelScores(*made(200), list('abc'), draws=100)
        low, high = np.percentile(s.drawn()[0].mean(1), [2.5, 97.5])
        inside += low <= truth <= high
    assert 50 <= inside <= 60
    y, p = made(100)
    wide = MultilabelScores(np.repeat(y, 4, 0), np.repeat(p, 4, 0), list('abc'), groups=np.repeat(np.arange(100), 4))
    thin = MultilabelScores(np.repeat(y, 4, 0), np.repeat(p, 4, 0), list('abc'))
    assert np.std(wide.drawn()[0].mean(1)) > 1.5 * np.std(thin.drawn()[0].mean(1))

# ---------------------------------------------------------------- training
def test_recipes_learn(dls, samples):
    "Frozen features, then all layers; thresholds stay with the Learner, also through a pickle; equal seeds give equal results."
    set_seed(0)
    learn = multilabel_learner(dls, 'small', lr=1e-2)
    quiet(learn, learn.fit_one_cycle, 12, 1e-2)
    test_dl = dls.test_dl(samples.by_split()['test'])
    free, quick_head = multilabel_scores(learn, test_dl), quiet(learn, head_then_all, learn, 1, 1e-3)
    chosen = choose_thresholds(learn)
    scores = multilabel_scores(learn, test_dl)
    assert quick_head is learn and free.map > .6 and scores.map > .6 and (scores.thresholds == chosen).all()
    t = pickle.loads(pickle.dumps(learn.loss_func)).thresh
    assert (t.numpy() == chosen).all()
    with learn.no_bar(): names, yes, p = learn.predict(samples.by_split()['test'].image(0))
    assert yes.tolist() == (p.double().numpy() > chosen).tolist() and names == [c for c, on in zip(dls.vocab, yes) if on]

def test_a_metric_for_each_learner(dls):
    "Over all rows of a validation, not batch by batch, and without memory of the one before."
    set_seed(0)
    learn = multilabel_learner(dls, 'small')
    p, y = quiet(learn, learn.get_preds)
    for _ in range(2): assert abs(quiet(learn, learn.validate)[1] - mean_average_precision(y, p)) < 1e-6
    assert mean_ap_metric() is not mean_ap_metric() and learn.metrics[0].name == 'mAP'

def test_answers_that_are_all_alike():
    "A class that is never there, or always, gets a head without weights; a fitted head for the others is that of scikit-learn's kind."
    set_seed(0)
    names = [['always'] + (['some'] if i % 3 == 0 else []) for i in range(60)]
    from datasets import ClassLabel, List
    import pyarrow as pa
    kind = List(ClassLabel(names=['always', 'never', 'some']))
    codes = pa.array([[['always', 'never', 'some'].index(v) for v in r] for r in names], pa.list_(pa.int64()))
    dls = pairs(60).with_column('labels', codes, kind).split(valid=.25, test=0, seed=0).dataloaders(**CPU)
    assert label_counts(dls).note.tolist() == ['in every row in training and in every row in validation', 'never in training and never in validation', '']
    assert positive_weights(dls)[:2].tolist() == [1, 1]
    learn = fit_head(multilabel_learner(dls, 'small', 'balanced'))
    assert (learn.model.head.weight[:2] == 0).all() and learn.model.head.bias[0] > 3 > -3 > learn.model.head.bias[1]
    t = choose_thresholds(learn)
    assert t[0] == t[1] == .5
    s = multilabel_scores(learn, dls.valid)
    assert s.counts.tolist() == [False, False, True]

def test_weights(dls):
    for bad in ([1.], [1., 2, 3, -1], [1., 2, 3, NAN], 'some'):
        with pytest.raises(DataError, match='weights'): multilabel_learner(dls, 'small', bad)
    y = dls.train_ds.y
    np.testing.assert_allclose(positive_weights(dls), (len(y) - y.sum(0)) / y.sum(0), rtol=1e-6)
    assert positive_weights(dls, most=1.).tolist() == [1] * 4

def test_not_for_one_class_each(dls):
    single = digits()[:60].split(valid=.3, test=0, seed=0).dataloaders(bs=16, device='cpu')
    for f in (label_counts, positive_weights, lambda d: multilabel_learner(d, 'small')):
        with pytest.raises(DataError, match='several labels per item'): f(single)
    with pytest.raises(DataError, match='several labels each'): label_classes(dls)
    assert len(set(label_strata(dls).tolist())) == len({tuple(r) for r in dls.train_ds.y.tolist()})
    x = torch.randn(30, 4)
    assert answers_head(x, (torch.rand(30, 2) < .5).float())[0].shape == (4, 2)
    learn = encoder_learner(dls, 'small')                                        # no silent cross-entropy of several labels
    assert type(learn.loss_func.func).__name__ == 'BCEWithLogitsLoss' and learn.metrics[0].name == 'accuracy_multi'

def test_comparisons_take_several_labels(dls, samples):
    "`compare_transfer` and `label_efficiency` with a metric and a Learner of several labels; a probe for one class each is refused."
    test_dl = dls.test_dl(samples.by_split()['test'])
    kw = dict(metric=mean_ap_metric(), learner=multilabel_learner)
    arms = {'a': Arm('small', frozen, lrs=0.), 'b': Arm('small', lrs=1e-2)}
    r = compare_transfer(dls, test_dl, arms, 30, 2, steps=4, **kw)
    assert r.metric == 'mAP' and r.scores.accuracy.between(0, 1).all() and len(r.scores) == 4
    r = label_efficiency(dls, test_dl, {'a': arms['a']}, (.4, 1.), 2, steps=1, epochs=1, **kw)
    assert len(r.n_labels) == 2
    with pytest.raises(DataError, match='several labels each'): compare_transfer(dls, test_dl, {'a': lambda seed: make_encoder('small', 1, 8)}, 30, 2, how='linear')
