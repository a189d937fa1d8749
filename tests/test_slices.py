"""Slices: no false ones beyond what is said, planted ones found, once; measures of data against known values; unusable input."""
import numpy as np
import pandas as pd
import pytest
from pretrain_notes.classify.compare import compare_classifiers
from pretrain_notes.datasets import breast_cancer, digits, load_samples, sample_texts
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples
from pretrain_notes.classify.coverage import (
    class_balance, class_counts, column_shift, covered, data_quality, density_coverage, diversity, energy_test, feature_vectors,
    mean_distance, plot_counts, two_sample_auc, vendi_score)
from pretrain_notes.classify.slices import find_slices

def table(rng, n):
    return pd.DataFrame(dict(a=rng.normal(size=n), b=rng.choice(list('abcdef'), n), c=rng.choice(list('xyz'), n, p=[.8, .15, .05]), d=rng.exponential(size=n)))

# ---------------------------------------------------------------- the null: how often is a false slice listed
def clustered(rng, sizes):
    "Rows in groups that share their features and their tendency to fail"
    g = np.repeat(np.arange(len(sizes)), sizes)
    return dict(features=table(rng, len(sizes)).iloc[g].reset_index(drop=True), errors=rng.random(len(g)) < rng.beta(.5, 2, len(sizes))[g], groups=g)

NULLS = dict(
    rare=lambda r: dict(features=table(r, 800), errors=r.random(800) < .02), half=lambda r: dict(features=table(r, 800), errors=r.random(800) < .5),
    frequent=lambda r: dict(features=table(r, 800), errors=r.random(800) < .95), loss=lambda r: dict(features=table(r, 800), errors=r.exponential(size=800)),
    heavy=lambda r: dict(features=table(r, 800), errors=r.lognormal(0, 2, 800)), groups=lambda r: clustered(r, np.full(100, 8)),
    uneven=lambda r: clustered(r, r.geometric(.1, 100)))

@pytest.mark.parametrize('kind', NULLS)
def test_false_discoveries(kind):
    "Errors that no feature explains: a slice is listed in 5 % of the runs at most (150 runs; 16 or more would be 1 in 1,000 at 5 %)."
    hits = sum(len(find_slices(**NULLS[kind](np.random.default_rng(i)), seed=i)) > 0 for i in range(150))
    assert hits <= 15, hits

def test_false_discoveries_beside_a_true_one():
    "With one planted failure, slices that do not touch it are false."
    false = 0
    for i in range(80):
        rng = np.random.default_rng(i); t = table(rng, 1500)
        f = find_slices(t, errors=rng.random(1500) < .1 + .5 * (t.b == 'a'), seed=i)
        assert 'b = a' in f.table().slice.tolist()[0]
        # what is listed beside it has a higher true error than the rest only if it holds more of b = a than the rest does
        share = (t.b == 'a').to_numpy()
        false += any(share[f.rows(s)].mean() <= share.mean() for s in f.table().slice)
    assert false <= 9, false

def test_groups_matter():
    "Groups left out, one failing patient looks like a failing kind of patient."
    naive = sum(len(find_slices(**{k: v for k, v in clustered(np.random.default_rng(i), np.full(100, 8)).items() if k != 'groups'}, seed=i)) > 0 for i in range(40))
    assert naive > 15

def test_intervals_cover():
    "The intervals of the tested slices hold the true difference, all at once, in at least 95 % of the runs."
    out = 0
    for i in range(150):
        rng = np.random.default_rng(i); t = table(rng, 1000); p = .1 + .3 * (t.b == 'a') + .1 * (t.a > 0)
        f = find_slices(t, errors=rng.random(1000) < p, seed=i)
        for r in f.candidates.itertuples():
            m = f.masks[f.test][:, r.Index]; true = p[f.test][m].mean() - p[f.test][~m].mean()
            if not r.low <= true <= r.high: out += 1; break
    assert out <= 15, out

# ---------------------------------------------------------------- power
def test_planted_category():
    hits = []
    for i in range(20):
        rng = np.random.default_rng(i); t = table(rng, 2000); bad = (t.b == 'a') & (t.a > t.a.quantile(.6))
        f = find_slices(t, errors=rng.random(2000) < np.where(bad, .6, .1), seed=i)
        hits.append(len(f) and f.table().slice.iloc[0].count('and') == 1 and (f.masks[:, 0] == bad).mean() > .97)
    assert np.mean(hits) >= .9

def test_planted_in_three_columns():
    rng = np.random.default_rng(0); n = 6000
    t = pd.DataFrame({c: rng.choice(list('uvw'), n) for c in 'abcde'})
    bad = (t.a == 'u') & (t.b == 'v') & (t.c == 'w')
    f = find_slices(t, errors=rng.random(n) < np.where(bad, .7, .1), depth=3)
    assert f.table().slice.tolist() == ['a = u and b = v and c = w']

def test_missing_infinite_and_times():
    rng = np.random.default_rng(0); n = 2000
    x = rng.normal(size=n); x[:200] = np.nan; x[200:400] = np.inf
    when = pd.Timestamp('2024-01-01') + pd.to_timedelta(rng.integers(0, 1000, n), 'D')
    t = pd.DataFrame(dict(x=x, when=when, w=np.where(np.arange(n) % 7 == 0, None, 'w')))
    slices = lambda bad: find_slices(t, errors=rng.random(n) < np.where(bad, .7, .1)).table().slice.tolist()
    assert slices(np.arange(n) < 200)[0] == 'x missing'
    assert slices((np.arange(n) >= 200) & (np.arange(n) < 400))[0] == 'x infinite'
    assert slices(np.arange(n) % 7 == 0)[0] == 'w missing'
    assert slices(when > pd.Timestamp('2026-01-01'))[0].startswith('when > 202')

def test_groups_with_total_failure():
    rng = np.random.default_rng(0); g = np.repeat(np.arange(100), 8); t = table(rng, 100).iloc[g].reset_index(drop=True)
    f = find_slices(t, errors=t.b == 'a', groups=g)
    assert f.table().slice.iloc[0] == 'b = a'

def test_a_failure_is_listed_once():
    "Copies of a column, and a finer one that says the same, add nothing; a part that is worse than its surroundings does."
    rng = np.random.default_rng(0); n = 4000; t = table(rng, n)
    e = rng.random(n) < .1 + .3 * (t.b == 'a')
    t = t.assign(copy=t.b, upper=t.b.str.upper(), is_a=t.b == 'a')
    f = find_slices(t, errors=e)
    assert len(f) == 1 and (f.masks[:, 0] == (t.b == 'a')).all()
    worse = rng.random(n) < .05 + .25 * (t.b == 'a') + .5 * ((t.b == 'a') & (t.c == 'y'))
    two = find_slices(t[['a', 'b', 'c', 'd']], errors=worse).table().slice.tolist()
    assert {'b = a', 'b = a and c = y'} <= set(two)

# ---------------------------------------------------------------- input of all kinds
def test_comparison_and_samples():
    s = breast_cancer(); c = compare_classifiers(s, ['tree', 'logistic'], seeds=2)
    f = find_slices(s, c, 'tree')
    np.testing.assert_allclose(f.errors, (c.predictions['tree'] != c.y).mean(0))
    with pytest.raises(DataError, match='logistic'): find_slices(s, c, 'logistik')
    with pytest.raises(DataError, match='which model'): find_slices(s, c)
    with pytest.raises(DataError, match='one value for each of the 100'): find_slices(s[:100], c, 'tree')

def test_names_numbers_probabilities():
    s = breast_cancer(); rng = np.random.default_rng(0); p = rng.random((len(s), 2))
    a, b, c = (find_slices(s, pred=v).errors for v in (p, p.argmax(1), [s.vocab[i] for i in p.argmax(1)]))
    assert (a == b).all() and (a == c).all()
    with pytest.raises(DataError, match='names in both'): find_slices(table(rng, 500), np.zeros(500, int), ['x'] * 500)
    assert find_slices(table(rng, 500), np.full(500, -1), np.ones(500)).errors.all()      # -1 and 1 are classes, too

def test_predictions_of_every_shape():
    "A column of predictions is one class per row; probabilities need class numbers from 0."
    rng = np.random.default_rng(0); t = table(rng, 500); y = rng.integers(1, 4, 500); pred = np.where(rng.random(500) < .2, 1, y)
    want = find_slices(t, y, pred).errors
    for p in (pred[:, None], pd.DataFrame(dict(p=pred))): assert (find_slices(t, y, p).errors == want).all()
    assert (find_slices(t, y - 1, np.eye(3)[pred - 1]).errors == want).all()
    assert (find_slices(t, y.astype(str), np.eye(3)[pred - 1]).errors == want).all()          # names, in whose sorted order the columns stand
    for bad in (y, np.where(y > 1, 1, -1)):
        with pytest.raises(DataError, match='class numbers from 0 to 2'): find_slices(t, bad, np.eye(3)[pred - 1])

def test_names_that_shortening_makes_equal():
    n, L, rng = 1200, 'x' * 70, np.random.default_rng(0)
    g = np.repeat([0, 1, 2], 400); e = rng.random(n) < np.array([.5, .35, .02])[g]
    f = find_slices(pd.DataFrame({L + 'a': np.array([L + '1', L + '2', L + '3'])[g], L + 'b': rng.normal(size=n)}), errors=e, depth=1)
    assert len(set(f.candidates.slice)) == len(f.candidates) > 1
    assert [len(f.rows(s)) for s in f.candidates.slice] == f.candidates.rows.tolist()

def test_samples_stay_whole():
    "Copies and groups of samples never straddle the halves; rows and sheet are samples."
    rows = [dict(text=f'text {i // 3}', site='ab'[i % 7 == 0], group=None) for i in range(600)]
    s = Samples.from_rows(rows); e = np.array([r['site'] == 'b' for r in rows], float)
    f = find_slices(s, errors=e)
    assert all(len(set(f.test[i:i+3])) == 1 for i in range(0, 600, 3))
    assert f.table().slice.iloc[0] in ('site = b', 'site = a') and isinstance(f.sheet(0), Samples)
    assert (e[f.rows(0, failing=True)] == 1).all()

def test_embeddings():
    d = digits(); x = d.images().reshape(len(d), -1) / 255
    e = np.isin(d.labels, (3,)) & (np.random.default_rng(0).random(len(d)) < .7)
    f = find_slices(d, errors=e, embeddings=x)
    assert len(f) and (d.labels[f.rows(0)] == 3).mean() > .7
    both = find_slices(pd.DataFrame(dict(cluster=d.labels == 3)), errors=e, embeddings=x)   # a column of that name is another slice
    assert (both.masks[:, 0] == (d.labels == 3)).all()

def test_repeatable():
    rng = np.random.default_rng(0); t = table(rng, 900); e = rng.random(900) < .2
    pd.testing.assert_frame_equal(find_slices(t, errors=e).candidates, find_slices(t, errors=e).candidates)

# ---------------------------------------------------------------- bad input
def test_states_what_it_cannot_find():
    t = table(np.random.default_rng(0), 400)
    for v in (0, 1): assert 'same error' in find_slices(t, errors=np.full(400, v)).statement()
    e = np.random.default_rng(0).random(400) < .2
    dull = pd.DataFrame(dict(constant=np.ones(400), empty=[None] * 400, nan=np.full(400, np.nan)))
    f = find_slices(dull, errors=e)
    assert len(f) == 0 and 'constant, empty, nan' in f.notes[0] and 'stood out' in f.statement()
    for o in (f, find_slices(t, errors=np.zeros(400))): assert o.plot() and o._repr_html_() and repr(o)

def test_many_categories_and_columns():
    rng = np.random.default_rng(0); n = 20_000
    f = find_slices(pd.DataFrame(dict(id=np.arange(n) // 2, word=[f'w{i}' for i in rng.integers(0, 10_000, n)], site=rng.integers(0, 3, n).astype(str))),
                    errors=rng.random(n) < .2)
    assert 'word' in f.notes[0]
    wide = find_slices(rng.normal(size=(400, 300)), errors=rng.random(400) < .2)
    assert 'of 300 columns, the 60' in wide.notes[-1]

@pytest.mark.parametrize('change,message', [
    (dict(errors=np.zeros(3)), 'for each of the 500 rows'), (dict(errors=np.r_[np.nan, np.zeros(499)]), 'first in row 0'),
    (dict(errors=None), 'where the model errs'), (dict(errors=None, y=np.zeros(499), pred=np.zeros(500)), 'y must hold one class'),
    (dict(errors=None, y=[None] + ['a'] * 499, pred=['a'] * 500), 'first in row 0'), (dict(errors=None, y=np.zeros(500), pred=np.full((500, 2), np.nan)), 'row 0'),
    (dict(groups=np.zeros(500)), '1 groups'), (dict(groups=[None] + list('a' * 499)), 'row 0'), (dict(groups=[1, 2]), 'groups must hold'),
    (dict(embeddings=np.full((500, 2), np.nan)), 'missing or infinite'), (dict(embeddings=np.ones((9, 2))), '9 rows where there are 500'),
    (dict(embeddings=[['a']] * 500), 'must be numbers'), (dict(min_rows=400), 'too few'), (dict(min_rows=1), 'at least 4'), (dict(depth=4), 'depth=4'),
    (dict(features=__import__('scipy.sparse').sparse.eye(500)), 'sparse'), (dict(bins=1), 'bins=1'), (dict(alpha=0), 'alpha=0'), (dict(features=np.ones((50, 2)), errors=np.ones(50)), 'too few'),
    (dict(features=pd.DataFrame(index=range(500))), 'no column to slice by'), (dict(features=pd.DataFrame(dict(a=[[1]] * 500))), "'a' holds lists"),
    (dict(features=pd.DataFrame(np.ones((500, 2)), columns=['a', 'a'])), 'two columns'), (dict(features=dict(a=[1], b=[1, 2])), 'do not fit together')])
def test_refuses(change, message):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=message): find_slices(**(dict(features=table(rng, 500), errors=(rng.random(500) < .2).astype(float)) | change))

def test_unknown_slice():
    t = table(np.random.default_rng(0), 500); f = find_slices(t, errors=t.b == 'a')
    for bad in (99, -1, 'b = zz'):
        with pytest.raises(DataError, match='no slice'): f.rows(bad)

def test_hostile_names():
    "Names of categories, columns and classes are text, in HTML and in pictures."
    evil = '<script>alert(1)</script> $\\frac$ \n next ' + 'x' * 500
    rng = np.random.default_rng(0); t = table(rng, 600).assign(**{'<b>col': np.where(rng.random(600) < .3, evil, 'fine')})
    f = find_slices(t, errors=t['<b>col'] == evil)
    assert len(f) and '<script>' not in f._repr_html_() and '<b>' not in f._repr_html_() and '\n' not in f.table().slice.iloc[0] and len(f.table().slice.iloc[0]) < 200
    f.plot().canvas.draw()
    c = class_counts([evil, 'b'] * 20, [evil, 'd'] * 20)
    plot_counts(c).canvas.draw()
    s = Samples.from_rows([dict(x=float(i), label=(evil, 'b')[i % 2], site=evil) for i in range(60)])
    q = data_quality(s, by='site')
    assert '<script>' not in q._repr_html_(); q.plot().canvas.draw()

# ---------------------------------------------------------------- measures
def test_vendi():
    rng = np.random.default_rng(0)
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1) and vendi_score(np.eye(9)) == pytest.approx(9)
    assert vendi_score(np.repeat(np.eye(5), 7, 0)) == pytest.approx(5) and vendi_score(np.zeros((4, 3))) == pytest.approx(1)
    for shape in ((30, 8), (8, 30)):
        x = rng.normal(size=shape); u = x / np.linalg.norm(x, axis=1, keepdims=True); w = np.linalg.eigvalsh(u @ u.T / len(u)); w = w[w > 1e-12]
        assert vendi_score(x) == pytest.approx(np.exp(-(w * np.log(w)).sum()))
        assert mean_distance(x) == pytest.approx((1 - u @ u.T)[~np.eye(len(u), dtype=bool)].mean())

def test_balance():
    b = class_balance(class_counts(np.repeat([0, 1, 2], [90, 9, 1]), vocab=['a', 'b', 'c', 'd']))
    p = np.array([.9, .09, .01]); n = np.array([0, 1, 9, 90])
    assert b['classes'] == 4 and b['effective_classes'] == pytest.approx(np.exp(-(p * np.log(p)).sum())) and b['imbalance_ratio'] == np.inf
    assert b['gini'] == pytest.approx(np.abs(n[:, None] - n).sum() / (2 * 16 * n.mean())) and (b['empty_cells'], b['thin_cells']) == (1, 2)
    assert class_balance(class_counts(np.zeros(50)))['effective_classes'] == 1
    assert class_balance(class_counts(np.arange(10_000)))['effective_classes'] == pytest.approx(10_000)
    assert class_counts([0, -1, 1], vocab=['a', 'b']).to_numpy().sum() == 2
    for labels, vocab in (([True, False], ['n', 'y']), (pd.Series([0, 1], dtype=object), ('n', 'y')), (pd.Series([0, 1], dtype='Int64'), np.array(['n', 'y'])), (['n', None, 'y'], ['n', 'y'])):
        assert class_counts(labels, vocab=vocab)['all'].to_dict() == dict(n=1, y=1)
    with pytest.raises(DataError, match='row 2 is zz'): class_counts(['a', 'b', 'zz'], vocab=['a', 'b'])
    with pytest.raises(DataError, match='row 1 is 7'): class_counts([0, 7], vocab=['a', 'b'])
    with pytest.raises(DataError, match='fit together'): class_counts([0, 1], ['a'])
    with pytest.raises(DataError, match='no sample'): class_balance([[0, 0]])

def test_two_sample_level():
    "Two sets drawn alike: the interval holds 0.5 about as often as it says, and the energy test's p is even."
    z, p = [], []
    for i in range(16):
        rng = np.random.default_rng(i); a, b = rng.normal(size=(2, 150, 4))
        r = two_sample_auc(a, b, seed=i); z.append((r['auc'] - .5) / (r['high'] - r['low']) * 3.92); p.append(energy_test(a, b, 99, seed=i)['p'])
    assert np.abs(z).mean() < 1.2 and sum(abs(v) > 1.96 for v in z) <= 4                  # E|z| = 0.8
    assert .25 < np.mean(p) < .75 and min(p) >= .01

def test_two_sample_power():
    rng = np.random.default_rng(0); a, b = rng.normal(size=(2, 300, 4))
    for c in (a + .5, a * 2):
        assert two_sample_auc(c, b)['low'] > .55 and energy_test(c, b)['p'] < .01
    assert two_sample_auc(a, a)['auc'] == pytest.approx(.5, abs=.1)                        # copies stay in one fold
    d = lambda u, v: np.linalg.norm(u[:, None] - v, axis=2).mean()
    assert energy_test(a, b + 1)['distance'] == pytest.approx(2 * d(a, b + 1) - d(a, a) - d(b, b))

def test_density_coverage():
    rng = np.random.default_rng(0); x, r = rng.normal(size=(150, 3)), rng.normal(size=(130, 3))
    D, R = np.linalg.norm(x[:, None] - r, axis=2), np.linalg.norm(r[:, None] - r, axis=2)
    radii = np.sort(R, 1)[:, 5]
    c = density_coverage(x, r)
    assert c['coverage'] == (D <= radii).any(0).mean() and c['density'] == pytest.approx((D <= radii).sum() / (5 * 150))
    many = [density_coverage(*np.random.default_rng(i).normal(size=(2, 200, 3))) for i in range(20)]
    assert np.mean([m['coverage'] for m in many]) == pytest.approx(many[0]['expected'], abs=.01)
    assert covered(r, r).all() and covered(np.repeat(r, 2, 0)[:, :], np.repeat(r, 9, 0)).all() and not covered(x + 100, r).any()
    with pytest.raises(DataError, match='k=130'): covered(x, r, 130)

def test_column_shift():
    rng = np.random.default_rng(0)
    hits = [(column_shift(table(np.random.default_rng(2 * i), 400), table(np.random.default_rng(2 * i + 1), 300)).p < .05).any() for i in range(40)]
    assert sum(hits) <= 7
    a, b = table(rng, 500), table(rng, 500)
    s = column_shift(a.assign(d=a.d * 2, c='x', none=np.nan), b.assign(none=np.nan))
    assert set(s.index[s.p < .05]) == {'c', 'd'} and s.kind['none'] == 'empty' and s.p['none'] == 1
    gone = column_shift(a, a.assign(a=a.a.where(rng.random(500) < .2), b=a.b.where(rng.random(500) < .2, None), c=None, d=np.nan))
    assert (gone.p < 1e-6).all() and (gone.psi > .5).all() and (gone.statistic > .7).all()
    with pytest.raises(DataError, match="no column 'b'"): column_shift(a, b.drop(columns='b'))

def test_diversity():
    x = np.vstack([np.ones((40, 5)), np.random.default_rng(0).normal(size=(60, 5)), np.eye(5)])
    t = diversity(x, ['same'] * 40 + ['varied'] * 60 + ['few'] * 5)
    assert t.vendi['same'] == pytest.approx(1) and t.vendi['varied'] > 3 and np.isnan(t.vendi['few']) and (t.compared[['same', 'varied']] == 40).all()

def test_texts_without_spaces():
    s = sample_texts(); lang = np.array(s['lang'].to_pylist()); zh, en = s[lang == 'zh'], s[lang == 'en']
    q = data_quality(zh[:60], zh[60:])
    assert q.numbers.value['Vendi score'] > 10 and data_quality(zh, en).numbers.value['told apart from the reference (AUC)'] > .95
    copies = Samples.from_rows([dict(text='同一句话') for _ in range(30)])
    assert data_quality(copies).numbers.value['Vendi score'] == pytest.approx(1)

def test_few_different_rows():
    "What cannot be measured is noted; the other measures are there."
    t = pd.DataFrame(dict(a=[0, 1] * 40, b=[0, 0, 1, 1] * 20)); q = data_quality(t, t)
    auc = q.numbers.loc['told apart from the reference (AUC)']
    assert np.isnan(auc.value) and 'different rows are too few' in auc.note and q.numbers.value['energy distance'] < 1e-9 and q.statement() and q._repr_html_()

def test_data_quality():
    d = digits(); half = np.random.default_rng(0).random(len(d)) < .5
    q = data_quality(d[half & ~np.isin(d.labels, (4, 9))], d[~half])
    v = q.numbers.value
    assert v['classes'] == 10 and v['effective classes'] == pytest.approx(8, abs=.1) and v['coverage'] < .85 and 'tells them from' in q.statement()
    assert data_quality(d[:1]).numbers.value['Vendi score'] == pytest.approx(1)            # one sample, one class
    assert 'drawn with seed' in data_quality(d, max_rows=300).notes[0]
    q = data_quality(breast_cancer(), breast_cancer())
    assert q.numbers.value['shifted columns'] == 0 and q.plot()
    assert data_quality(np.random.default_rng(0).normal(size=(40, 3))).counts is None

@pytest.mark.parametrize('make,message', [
    (lambda: data_quality(np.array([[1., np.nan]] * 30)), 'missing or infinite'), (lambda: data_quality(pd.DataFrame(dict(a=[1, np.inf] * 20))), 'infinite'),
    (lambda: data_quality(digits()[:30], sample_texts()), 'same kind'), (lambda: data_quality(np.ones((30, 2)), np.ones((30, 3))), '2 and 3 columns'),
    (lambda: data_quality(digits()[:30], digits()[:5]), 'too few'), (lambda: data_quality(digits()[:0]), 'no samples'),
    (lambda: data_quality(Samples.from_rows([dict(text='')] * 30)), 'cannot be turned'), (lambda: data_quality(digits()[:30], features=lambda s: np.ones(3)), '30 samples'),
    (lambda: vendi_score(['a', 'b']), 'must be numbers'), (lambda: mean_distance(np.ones((1, 2))), 'two samples'), (lambda: vendi_score(np.ones((0, 2))), 'empty'),
    (lambda: diversity(np.ones((3, 2)), [1]), 'fit together')])
def test_measures_refuse(make, message):
    with pytest.raises(DataError, match=message): make()

def test_adult():
    "32,561 people, 14 columns, slices of two literals: a planted failure among them is found first."
    try: s = load_samples('adult')
    except DataError as e: pytest.skip(str(e))
    t = s.to_pandas(); bad = ((t.sex == 'Female') & (t.workclass == 'State-gov')).to_numpy()
    f = find_slices(s, errors=np.random.default_rng(0).random(len(s)) < np.where(bad, .3, .15))
    assert f.table().slice.tolist()[0] in ('workclass = State-gov and sex = Female', 'sex = Female and workclass = State-gov')
    q = data_quality(s[:3000], s[3000:6000], by='sex', max_rows=500)
    assert q.numbers.low['told apart from the reference (AUC)'] < .5 and len(q.shift) == 14

def test_names_beside_probabilities():
    "df.label with names gives the slices that class numbers give; a class that is missing is said."
    r = np.random.default_rng(0)
    X, y = pd.DataFrame(dict(a=r.normal(size=600), b=r.integers(0, 3, 600))), r.integers(0, 3, 600)
    p = r.dirichlet(np.ones(3), 600)
    names = pd.DataFrame(dict(label=np.array(['cat', 'dog', 'fox'])[y])).label
    assert (find_slices(X, names, p).errors == find_slices(X, y, p).errors).all()
    with pytest.raises(DataError, match='sorted order'): find_slices(X, names.where(names != 'fox', 'dog'), p)
