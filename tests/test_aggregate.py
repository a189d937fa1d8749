"""Aggregation: equal to crowd-kit where it should be, real crowds, plans that hold, unusable input."""
import numpy as np
import pandas as pd
import pytest
from pretrain_notes.annotate.aggregate import (crowds, dawid_skene, fuse_boxes, hierarchical_ds, load_crowd, majority, many_classes, one_coin,
    said_by, simulate_votes, vote_spans)
from pretrain_notes.annotate.blend import aggregate, simulate_crowd
from pretrain_notes.annotate.plan import (acceptance_plan, accuracy_at_least, accuracy_by_votes, annotators_needed, labels_needed, majority_accuracy,
    skill_bound)
from pretrain_notes.annotate.agreement import Votes
from pretrain_notes.base import DataError

METHODS = dict(majority=majority, one_coin=one_coin, dawid_skene=dawid_skene, hierarchical_ds=hierarchical_ds, aggregate=aggregate)

def crowd(n=2000, k=3, m=40, votes=5, seed=0):
    rng = np.random.default_rng(seed)
    y, skill = rng.integers(0, k, n), rng.uniform(.4, .95, m)
    c = np.where(np.eye(k, dtype=bool), skill[:, None, None], (1 - skill[:, None, None]) / (k - 1))
    return simulate_votes(y, c, votes, seed), dict(enumerate(y.tolist()))

@pytest.mark.parametrize('method', METHODS)
def test_probabilities(method):
    v, gold = crowd()
    c = METHODS[method](v)
    assert np.allclose(c.probs.sum(1), 1) and (c.probs >= 0).all() and c.probs.shape == (2000, 3)
    assert abs(c.probs.max(1).mean() - c.accuracy(gold)) < (.3 if method == 'majority' else .1 if method == 'aggregate' else .05)     # shares of votes are no probabilities
    df = c.to_review()
    assert df.score.is_monotonic_decreasing and set(df['item']) == set(range(2000))
    assert list(df.columns) == ['item', 'label', 'probability', 'disagreement', 'votes', 'score']

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('seed', [0, 1])
def test_equals_crowdkit(seed):
    "Dawid-Skene converges to the same labels and the same confusions."
    DawidSkene = pytest.importorskip('crowdkit.aggregation', reason='the reference is not installed: pip install pretrain_notes[bench]').DawidSkene
    v, gold = crowd(500, m=15, seed=seed)
    ours = dawid_skene(v, 1e-10, 1e-10, 2000)
    theirs = DawidSkene(500, 1e-10)
    said = theirs.fit_predict(pd.DataFrame(dict(task=v.items[v.item], worker=v.annotators[v.annotator], label=v.label))).sort_index()
    assert (ours.labels == said.to_numpy()).mean() > .995
    e = theirs.errors_.loc['a3'].sort_index().T.sort_index()
    assert abs(ours.confusion('a3').to_numpy() - e.to_numpy()).max() < .01

def plain_em(v, prior=1e-2, tol=1e-13, steps=20_000):
    "Dawid-Skene without long steps, to convergence: class numbers, and what is maximized, step by step."
    said, p, high = said_by(v), np.ones(len(v.classes)), []
    q = said.begin()
    for _ in range(steps):
        counts = said.counts(q, p)
        logc, p = said.log_confusion(counts, prior), (said.by_class(q, p) / len(v.items)).clip(1e-12)
        q, ll = said.posterior(logc, p)
        high.append(ll + said.log_prior(logc, counts, prior))
        if len(high) > 1 and high[-1] - high[-2] < tol: break
    return said.weigh(q, p).argmax(1), high

@pytest.mark.parametrize('seed', range(12))
def test_long_steps_end_where_plain_em_ends(seed):
    "The same labels on crowds of all shapes; what is maximized never drops."
    v, gold, _ = simulate_crowd(seed)
    y, high = plain_em(v)
    assert np.diff(high).min() > -1e-9
    assert (v.classes[y] == dawid_skene(v).labels).mean() >= .995

def test_long_steps_on_thinned_real_votes(data_dir):
    "One and two votes per item: nothing holds the model, and steps judged by the bare likelihood led elsewhere on a fifth of the items."
    try: v, _ = load_crowd('bluebirds', [data_dir])
    except DataError: pytest.skip('bluebirds are not in PRETRAIN_NOTES_DATA')
    for n in (1, 2, 5):
        order = np.lexsort((np.random.default_rng(0).random(len(v)), v.item))
        few = v.only(order[(np.arange(len(v)) % len(v.annotators)) < n])
        assert (few.classes[plain_em(few)[0]] == dawid_skene(few).labels).mean() >= .98

@pytest.mark.parametrize('method', METHODS)
def test_many_classes_are_weighed_where_they_have_votes(method, monkeypatch):
    "The sparse layout agrees with the dense one; the result is usable as ever."
    import pretrain_notes.annotate.aggregate as room
    v, gold = crowd(600)
    dense = METHODS[method](v)
    monkeypatch.setattr(room, 'many_classes', 2)
    c = METHODS[method](v)
    assert (c.labels == dense.labels).mean() > .98 and abs(c.accuracy(gold) - dense.accuracy(gold)) < .01
    assert np.allclose(np.asarray(c.probs.sum(1)).ravel(), 1) and abs(c.table().disagreement - dense.table().disagreement).mean() < .01
    assert np.allclose(c.to_review(by='entropy').score.max(), dense.to_review(by='entropy').score.max(), atol=.2)
    assert np.allclose(c.skill(), dense.skill(), atol=.03)
    if method not in ('majority', 'one_coin'): assert abs(c.confusion('a3') - dense.confusion('a3')).max().max() < .03

def test_a_thousand_classes():
    "Votes of a thousand classes, items without votes, and ties."
    rng = np.random.default_rng(0)
    y = rng.integers(0, 1000, 1000)
    said = np.where(rng.random((1000, 3)) < .8, y[:, None], (y[:, None] + rng.integers(1, 4, (1000, 3))) % 1000)
    v = Votes(pd.DataFrame(dict(item=np.repeat(np.arange(1000), 3), annotator=rng.permuted(np.tile(np.arange(30), (1000, 1)), axis=1)[:, :3].ravel(),
                                label=said.ravel())), classes=range(1000), items=range(1001))
    gold = dict(enumerate(y.tolist()))
    for f in METHODS.values():
        c = f(v)
        assert c.probs.shape == (1001, 1000) and c.probs.nnz < 10_000 and c.accuracy(gold) >= majority(v).accuracy(gold) - .02
        assert np.isnan(c.table().disagreement[1000]) and abs(c.probs[[1000]].sum() - 1) < 1e-9
    assert len(v.classes) > many_classes and majority([['x', 'y'], ['y', 'x']]).accuracy({0: 'x'}) == .5

@pytest.mark.parametrize('seed', range(200, 208))
def test_recommendation_on_made_crowds(seed):
    "Never far below the better of majority and Dawid-Skene (the bench judges by half a point or two items, on more crowds)."
    v, gold, about = simulate_crowd(seed)
    a, b, ours = (f(v).accuracy(gold) for f in (majority, dawid_skene, aggregate))
    assert ours >= max(a, b) - max(.02, 3 / len(gold)), about

@pytest.mark.parametrize('classes', [2, 5])
def test_one_vote_per_item_is_not_overruled(classes):
    v, gold, _ = simulate_crowd(3, votes=1, classes=classes)
    assert (aggregate(v).labels == majority(v).labels).mean() > .98

def test_blend_weights_and_settings():
    v, _, _ = simulate_crowd(4)
    c = aggregate(v)
    assert np.isclose(c.weights.sum(), 1) and len(c.weights) == 9
    assert np.allclose(aggregate(v, plain=1).probs, majority(v).probs)
    assert np.isclose(aggregate(v, trust=0).weights, 1 / 9).all()
    for bad in (dict(plain=-.1), dict(plain=float('nan')), dict(trust=-1), dict(folds=1)):
        with pytest.raises(DataError, match='plain lies'): aggregate(v, **bad)

def test_order_of_votes_does_not_matter():
    v, _ = crowd(300)
    o = np.random.default_rng(1).permutation(len(v))
    w = v.with_arrays(item=v.item[o], annotator=v.annotator[o], label=v.label[o])
    for f in METHODS.values(): assert np.allclose(f(v).probs, f(w).probs, atol=1e-6)

def test_names_of_classes_do_not_matter():
    v, _ = crowd(300)
    for f in METHODS.values(): assert np.allclose(f(v).probs, f(v.with_arrays(label=2 - v.label)).probs[:, ::-1], atol=1e-4)

def test_real_crowds(data_dir):
    "Hierarchical and recommended, one setting: never more than half a point or two items below, above both on at least two; bluebirds 97 of 108."
    above, found = 0, 0
    for name in crowds:
        try: v, gold = load_crowd(name, [data_dir])
        except DataError: continue
        found += 1
        a, b, hd, ours = (f(v).accuracy(gold) for f in (majority, dawid_skene, hierarchical_ds, aggregate))
        assert hd >= max(a, b) - .005 and ours >= max(a, b) - max(.005, 2 / len(gold)), name
        above += ours > max(a, b) + 1e-9
        if name == 'bluebirds': assert min(hd, ours) >= .898
    if not found: pytest.skip('no crowd in PRETRAIN_NOTES_DATA')
    assert found < len(crowds) or above >= 2

def test_uneven_classes():
    "A rare class does not break the hierarchical model."
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < .05).astype(int)
    c = np.array([[[s, 1 - s], [1 - s, s]] for s in rng.uniform(.6, .95, 60)])
    v, gold = simulate_votes(y, c, 5), dict(enumerate(y.tolist()))
    assert min(f(v).accuracy(gold) for f in (hierarchical_ds, aggregate)) > majority(v).accuracy(gold) + .02

def test_constant_spammers_weigh_nothing():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    c = np.array([[[.85, .15], [.15, .85]]] * 12 + [[[0, 1], [0, 1]]] * 8)
    v, gold = simulate_votes(y, c, 5), dict(enumerate(y.tolist()))
    assert min(f(v).accuracy(gold) for f in (dawid_skene, hierarchical_ds)) > majority(v).accuracy(gold) + .05

def test_million_annotators_with_one_vote():
    "Memory grows with votes and items x classes, not with annotators x classes x classes."
    n = 1_000_000
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n // 4)
    said = np.where(rng.random(n) < .7, y.repeat(4), rng.integers(0, 10, n))
    v = Votes(pd.DataFrame(dict(item=np.arange(n) // 4, annotator=np.arange(n), label=said)))
    gold = dict(zip(range(1000), y[:1000].tolist()))
    assert hierarchical_ds(v, iterations=3).accuracy(gold) > majority(v).accuracy(gold) - .01
    assert dawid_skene(v, iterations=2).probs.shape == (n // 4, 10)

def test_items_and_classes_without_votes():
    v = Votes([['x', 'y'], ['x', 'x']], classes=['x', 'y', 'z'], items=[0, 1, 2])
    for f in METHODS.values():
        c = f(v)
        assert np.isfinite(c.probs).all() and np.allclose(c.probs.sum(1), 1)
        assert c.table().votes.tolist() == [2, 2, 0] and np.isnan(c.table().disagreement[2])

def test_many_votes_an_item_do_not_underflow():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20)
    m = np.where(rng.random((3000, 20)) < .8, y, 1 - y)
    for f in METHODS.values(): assert f(Votes(m)).accuracy(dict(enumerate(y.tolist()))) == 1

def test_one_class():
    for f in METHODS.values(): assert (f(Votes([['x', 'x'], ['x', 'x']])).probs == 1).all()

@pytest.mark.parametrize('weights,says', [(dict(a0=1), 'has no weight'), ('skill', "a dict"), ({f'a{i}': -1 for i in range(40)}, 'not negative')])
def test_bad_weights(weights, says):
    with pytest.raises(DataError, match=says): majority(crowd(50)[0], weights)

def test_bad_gold():
    c = majority(crowd(50)[0])
    with pytest.raises(DataError, match='none of the gold items'): c.accuracy({'x': 0})
    with pytest.raises(DataError, match='none of the classes'): c.accuracy({0: 9})
    assert majority([['x', 'y'], ['y', 'x']]).accuracy({0: 'x'}) == .5

def test_boxes_and_spans():
    def box(x): return dict(label='a', box=[x, 0, 10, 10])
    df = fuse_boxes([dict(item=0, annotator=a, value=v) for a, v in enumerate([[box(0)], [box(1), box(40)], []])])
    assert df.box[0] == [.5, 0, 10, 10] and df.votes.tolist() == [2, 1] and df.stands.tolist() == [True, False] and (df.of == 3).all()
    df = vote_spans([dict(item=0, annotator=a, value=[dict(start=s, end=e, label='n')]) for a, (s, e) in enumerate([(0, 5), (2, 5), (2, 7)])])
    assert df[['start', 'end', 'votes']].values.tolist() == [[2, 5, 3]]
    assert len(vote_spans([dict(item=0, annotator=a, value=[]) for a in range(2)])) == 0

@pytest.mark.parametrize('skill,n,k', [(.7, 3, 2), (.55, 4, 3), (.4, 6, 5), (1, 1, 2), (0, 3, 2)])
def test_majority_accuracy(skill, n, k):
    rng = np.random.default_rng(0)
    said = np.where(rng.random((100_000, n)) < skill, 0, rng.integers(1, k, (100_000, n)))
    c = (said[:, :, None] == np.arange(k)).sum(1)
    top = c == c.max(1, keepdims=True)
    assert abs(majority_accuracy(skill, n, k) - (top[:, 0] / top.sum(1)).mean()) < .006

@pytest.mark.parametrize('target,expect', [(.9, .95), (.95, .98), (.99, 1.), (.8, .85)])
def test_acceptance_plan_holds(target, expect):
    from scipy.stats import binom
    p = acceptance_plan(target, expect)
    assert binom.cdf(p['errors'], p['items'], 1 - target) <= .05 + 1e-9 and binom.cdf(p['errors'], p['items'], 1 - expect) >= .8
    assert accuracy_at_least(p['items'] - p['errors'], p['items']) >= target - 1e-9
    for n in range(max(1, p['items'] - 5), p['items']):                 # no smaller sample nearby would do
        c = max((c for c in range(-1, n) if binom.cdf(c, n, 1 - target) <= .05), default=-1)
        assert c < 0 or binom.cdf(c, n, 1 - expect) < .8

def test_plans_refuse():
    with pytest.raises(DataError, match='train'): annotators_needed(.99, .51)
    with pytest.raises(DataError, match='target < expect'): acceptance_plan(.9, .9)
    with pytest.raises(DataError, match='cannot be right'): accuracy_at_least(5, 4)
    with pytest.raises(DataError, match='skill lies'): majority_accuracy(1.2, 3)

def test_labels_needed():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    v = simulate_votes(y, [[[.85, .15], [.15, .85]]] * 10, 5)
    job = labels_needed(v, dict(enumerate(y.tolist())), 1000)
    assert job['labels'] == 1000 * job['votes_an_item'] and job['skill_at_least'] < job['skill'] and job['expect'] > .95
    df = accuracy_by_votes(v, dict(enumerate(y.tolist())), (1, 3))
    assert df.accuracy.is_monotonic_increasing and (df['items'] == 60).all()
    with pytest.raises(DataError, match='9 votes'): accuracy_by_votes(v, dict(enumerate(y.tolist())), (9,))

def test_disputed_before_unanimous():
    v = Votes([dict(item=i, annotator=a, label=str((i + (a == 'c' and i % 7 == 0)) % 10)) for i in range(30) for a in 'abc'])
    assert set(hierarchical_ds(v).to_review(5)['item']) == {0, 7, 14, 21, 28} and 'mean top probability' in repr(majority(v))

def test_small_jobs_and_bad_gold():
    y = np.random.default_rng(3).integers(0, 2, 50)
    v, gold = simulate_votes(y, [[[.84, .16], [.2, .8]]] * 12, 6, seed=4), dict(enumerate(y.tolist()))
    for items in (20, 100): assert [labels_needed(v, gold, items)[k] for k in ('check', 'errors_allowed')] == [items, items // 20]
    with pytest.raises(DataError, match='1 item or more'): labels_needed(v, gold, 0)
    with pytest.raises(DataError, match='none of the classes'): labels_needed(v, gold | {0: 'x'}, 100)
    with pytest.raises(DataError, match='one annotator'): skill_bound([[0, 1, 1]], {0: 0, 1: 1})

@pytest.mark.parametrize('f,kw', [(one_coin, dict(prior=0)), (one_coin, dict(iterations=0)), (dawid_skene, dict(iterations=0)),
    (dawid_skene, dict(prior=float('nan'))), (hierarchical_ds, dict(even=2)), (hierarchical_ds, dict(strength=0)), (hierarchical_ds, dict(iterations=0)), (hierarchical_ds, dict(share=2)), (hierarchical_ds, dict(own=0))])
def test_bad_settings(f, kw):
    with pytest.raises(DataError): f([[0, 1], [1, 1]], **kw)

def test_touching_spans_stay_two():
    s = [dict(start=0, end=2, label='x'), dict(start=2, end=4, label='x')]
    assert vote_spans([dict(item=0, annotator=a, value=s) for a in 'abc'])[['start', 'end']].values.tolist() == [[0, 2], [2, 4]]

def test_two_who_always_say_one():
    "Three reliable people with a slip, two that say 1 of everything: the majority errs on items 3 and 7. Source: jsboige/CoursIA#8344"
    y = np.array([1, 0, 1, 0, 1, 0, 1, 0] * 4)
    honest = np.tile(y, (3, 1))
    honest[0, 3::8] = honest[1, 7::8] = 1
    v, gold = Votes(np.vstack([honest, np.ones((2, len(y)), int)])), dict(enumerate(y.tolist()))
    assert majority(v).accuracy(gold) == .75 and dawid_skene(v).accuracy(gold) == 1 and aggregate(v).accuracy(gold) == 1

def test_spammers_are_the_majority():
    "Two truth-tellers against three that say 0 of everything: no worse than the majority's half. Source: jsboige/CoursIA#8359"
    y = np.array([1, 1, 1, 0, 0, 0])
    v = Votes(np.vstack([y, y, np.zeros((3, 6), int)]))
    assert aggregate(v).accuracy(dict(enumerate(y.tolist()))) >= majority(v).accuracy(dict(enumerate(y.tolist()))) == .5

def test_any_number_of_votes_per_item():
    "From one to all annotators on an item. Source: sukrutrao/Fast-Dawid-Skene#1"
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    keep = rng.random((9, 300)) < rng.uniform(.05, 1, 300)
    keep[0] = True
    m = np.where(rng.random((9, 300)) < .75, y, rng.integers(0, 3, (9, 300))).astype(object)
    m[~keep] = None
    v, gold = Votes(m), dict(enumerate(y.tolist()))
    assert set(np.bincount(v.item)) >= {1, 2, 9} and aggregate(v).accuracy(gold) >= majority(v).accuracy(gold) - .01
