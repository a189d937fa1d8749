"""Label issues against the reference implementation, of one label an item and of several; ranking; unusable input."""
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from pretrain_notes.annotate.issues import (confident_joint, confident_thresholds, find_label_conflicts, find_label_issues, issue_filters, issue_rankings,
    noise_matrix, noise_profile, out_of_sample_probs, plant_noise, score_issues, show_issues, wrong_label_rate)
from pretrain_notes.annotate.structured_issues import find_box_issues, find_multilabel_issues, find_token_issues, show_box_issues
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

X, truth = load_digits(return_X_y=True)

@pytest.fixture(scope='module', params=[('class', .1), ('class', .2), ('uniform', .1)], ids=str)
def noisy(request):
    kind, rate = request.param
    given, planted = plant_noise(truth, rate, kind=kind)
    return given, planted, {n: out_of_sample_probs(m, X / 16, given) for n, m in
        dict(nearest=KNeighborsClassifier(10, weights='distance'), logistic=LogisticRegression(C=.1, max_iter=200)).items()}

def mask(issues):
    m = np.zeros(len(issues), bool)
    m[issues.row[issues.flagged]] = True
    return m

def jaccard(a, b): return (a & b).sum() / max(1, (a | b).sum())
def f1(found, wrong): return 2 * (found & wrong).sum() / (found.sum() + wrong.sum())

@pytest.mark.filterwarnings('ignore')
def test_equals_cleanlab(noisy):
    "Every filter flags what cleanlab flags, from the same joint; both scores are the same."
    cleanlab = pytest.importorskip('cleanlab', reason='cleanlab, the reference, is not installed: pip install pretrain_notes[bench]')
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues as theirs
    from cleanlab.rank import get_label_quality_scores
    given, planted, probs = noisy
    for p in probs.values():
        assert (confident_joint(given, p) == compute_confident_joint(given, p)).all()
        for f in issue_filters:
            a, b = mask(find_label_issues(given, p, filter_by=f)), theirs(given, p, filter_by=f, n_jobs=1)
            assert jaccard(a, b) >= .99, f
            assert f1(a, planted) >= f1(b, planted) - .01, f
        for r in ('normalized_margin', 'self_confidence'):
            np.testing.assert_allclose(1 - find_label_issues(given, p, rank_by=r).sort_values('row').score, get_label_quality_scores(given, p, method=r), atol=1e-9)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('n,k,dtype', [(20_000, 10, 'float32'), (3000, 200, 'float64'), (500, 2, 'float64')])
def test_equals_cleanlab_synthetic(n, k, dtype):
    "The same with many classes, empty classes, single precision."
    pytest.importorskip('cleanlab', reason='cleanlab, the reference, is not installed: pip install pretrain_notes[bench]')
    from cleanlab.filter import find_label_issues as theirs
    rng = np.random.default_rng(0)
    y = rng.choice(k, n, p=rng.dirichlet(np.ones(k) * .5))
    z = rng.normal(size=(n, k)); z[np.arange(n), y] += 3
    p = np.exp(z); p = (p / p.sum(1, keepdims=True)).astype(dtype)
    given, _ = plant_noise(y, .15, k)
    for f in issue_filters: assert jaccard(mask(find_label_issues(given, p, filter_by=f)), theirs(given, p, filter_by=f, n_jobs=1)) >= .99, f

def test_finds_what_was_planted(noisy):
    given, planted, probs = noisy
    s = score_issues(find_label_issues(given, probs['nearest']), planted)
    assert s['f1'] > .9 and s['average_precision'] > .95

def test_noise():
    for kind in ('class', 'uniform'):
        given, planted = plant_noise(truth, .1, kind=kind, seed=3)
        assert planted.sum() == 180 and ((given != truth) == planted).all() and set(given) <= set(range(10))
        assert (plant_noise(truth, .1, kind=kind, seed=3)[0] == given).all()
    assert not plant_noise(truth, 0)[1].any()
    m = noise_matrix(.2, 10)
    off = np.sort(m * (1 - np.eye(10)), 1)[:, ::-1]
    assert np.allclose(m.sum(1), 1) and (off[:, 0] > .6 * off.sum(1)).all() and (off[:, :2].sum(1) > .85 * off.sum(1)).all()
    assert np.allclose(noise_matrix(.3, 2).sum(1), 1)

def test_folds_keep_twins_together():
    "A twin with another label may not tell on itself: with all rows doubled, a model that remembers knows nothing of the row it judges."
    x, y = np.repeat(np.random.default_rng(0).normal(size=(100, 5)), 2, axis=0), np.tile([0, 1], 100)
    p = out_of_sample_probs(KNeighborsClassifier(1), x, y)
    assert abs((p.argmax(1) == y).mean() - .5) < 1e-9

def test_class_that_no_other_fold_has():
    "All rows of a class in one fold: the model that judges them has never met it, and would accuse everybody."
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.array([0, 1] * 19 + [0, 2])
    with pytest.raises(DataError, match='class 2: its only row is in one fold'): out_of_sample_probs(KNeighborsClassifier(3), x, y)
    y[:4] = 2
    with pytest.raises(DataError, match='class 2: all 5 rows are in one fold'): out_of_sample_probs(KNeighborsClassifier(3), x, y, np.where(y == 2, 0, np.arange(40) % 5))
    twins = np.where((y == 2)[:, None], 0, x)
    with pytest.raises(DataError, match='leave the class out, merge it'): out_of_sample_probs(KNeighborsClassifier(3), twins, y)
    left = y != 2                                    # what the message says: without it
    assert out_of_sample_probs(KNeighborsClassifier(3), x[left], y[left], n_classes=3).shape == (35, 3)
    y[3:] = np.arange(37) % 2; y[:3] = [2, 2, 0]
    assert np.allclose(out_of_sample_probs(KNeighborsClassifier(3), x, y).sum(1), 1)      # two rows are put into two folds

def test_inputs_of_scikit_learn():
    "The same probabilities from an array, a list, a table, and sparse matrices."
    import pandas as pd
    from scipy import sparse
    x, y, m = X[:200], truth[:200], KNeighborsClassifier(5)
    want = out_of_sample_probs(m, x, y)
    assert np.allclose(out_of_sample_probs(m, x.tolist(), y), want)
    table = pd.DataFrame(x, index=range(500, 700))
    assert out_of_sample_probs(m, table, y).shape == want.shape
    folds = np.arange(200) % 5
    want = out_of_sample_probs(m, x, y, folds)
    for same in (table, sparse.csr_matrix(x), sparse.coo_matrix(x), sparse.csr_array(x), sparse.csc_array(x)):
        assert np.allclose(out_of_sample_probs(m, same, y, folds), want)
    assert np.allclose(out_of_sample_probs(m, x, y, np.array(list('abcde'))[folds]), want)

def test_texts_and_twins_of_sparse_rows():
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline
    texts, y = [f'{w} {i}' for i in range(20) for w in ('good', 'bad')], np.tile([0, 1], 20)
    assert (out_of_sample_probs(make_pipeline(CountVectorizer(), LogisticRegression()), texts, y).argmax(1) == y).mean() > .9
    x, y = sparse.csr_array(np.repeat(np.random.default_rng(0).normal(size=(100, 5)), 2, axis=0)), np.tile([0, 1], 100)
    assert abs((out_of_sample_probs(KNeighborsClassifier(1), x, y).argmax(1) == y).mean() - .5) < 1e-9

class Diverged(KNeighborsClassifier):
    def predict_proba(self, X): return super().predict_proba(X) * np.nan

def test_witnesses_unusable():
    from sklearn.model_selection import KFold
    from sklearn.svm import LinearSVC
    from pretrain_notes.datasets import digits
    x, y, m = X[:100], truth[:100], KNeighborsClassifier(3)
    folds = np.arange(100.) % 5
    for args, says in (((LinearSVC(), x, y), 'predict_proba'), ((KNeighborsClassifier, x, y), 'not its class'), ((m, digits()[:100]), 'an estimator needs numbers'),
                       ((m, x, y * 0), 'of one class'), ((m, x, y, np.where(folds == 1, np.nan, folds)), 'one fold number for each row'), ((m, x, y, folds[:9]), 'one fold number'),
                       ((m, x, y, KFold(5)), 'folds are a number'), ((m, x, y, 2.5), 'folds are a number'), ((m, x, y, 1), '1 folds'), ((m, x, y[:9]), '100 rows do not fit 9'),
                       ((Diverged(3), x, y), 'gave row 0 no probabilities')):
        with pytest.raises(DataError, match=says): out_of_sample_probs(*args)

@pytest.mark.parametrize('labels,probs,says', [
    ([0, 1], [[.5, .5]], 'shape'), ([0, 1], [[.5, .5], [.9, .9]], 'row 1'), ([0, 1], [[np.nan, .5], [.5, .5]], 'row 0'), ([0, 1], [[np.inf, .5], [.5, .5]], 'row 0'),
    ([0, 1], [[1.5, -.5], [.5, .5]], 'row 0'), ([0, 2], [[.5, .5], [.5, .5]], 'row 1 with 2'), ([0, -1], [[.5, .5], [.5, .5]], 'row 1 with -1'),
    ([], np.zeros((0, 2)), 'labels must be'), ([.5, 1.], [[.5, .5], [.5, .5]], 'labels must be'), ([0, 0], [[1.], [1.]], 'one class'), ([0, 1], None, 'shape'), ([0, 1], .5, 'shape')])
def test_unusable(labels, probs, says):
    with pytest.raises(DataError, match=says): find_label_issues(np.array(labels), np.array(probs, float))
    if says != 'one class':
        with pytest.raises(DataError, match=says): confident_thresholds(np.array(labels), np.array(probs, float))

def test_more_folds_than_rows():
    with pytest.raises(DataError, match='folds cannot be made'): out_of_sample_probs(KNeighborsClassifier(1), X[:3], truth[:3], folds=5)

# ---------------------------------------------------------------- what was found
def test_issues_as_table_and_order():
    from pretrain_notes.datasets import digits
    s = digits()
    given, _ = plant_noise(s.labels, .1)
    p = out_of_sample_probs(KNeighborsClassifier(10, weights='distance'), X / 16, given, s.folds(5))
    found = find_label_issues(s.with_column('label', given), p)
    assert len(found) == 1797 and (found.row[found.flagged].to_numpy() == found.rows).all()
    assert (found.score[found.flagged].diff().dropna() <= 0).all()
    ids = s['id'].to_pylist()
    assert found.items == [ids[i] for i in found.rows] == found.table().item[:len(found.rows)].tolist()
    assert found.head(7).row.tolist() == found.table().head(7).row.tolist() and len(found.head(1000)) == 1000
    assert find_label_issues(given, p).items == found.rows.tolist()
    for r in issue_rankings:
        score = find_label_issues(given, p, rank_by=r).score
        assert score.between(0, 1).all() and np.isfinite(score).all()

def test_nothing_to_find():
    y = np.arange(50) % 5
    found = find_label_issues(y, np.eye(5)[y] * .9 + .02)
    assert not len(found.rows) and found.items == [] and len(found.table()) == 50 and 'flagged' in repr(found)
    assert np.isnan(noise_profile(y, np.eye(5)[y] * .9 + .02)['spread'])

def test_every_class_but_one_is_unused():
    "A class nobody was given is never suggested as confident; nothing fails."
    y = np.zeros(30, int)
    p = np.full((30, 3), .1); p[:, 0] = .8; p[:5] = [.1, .8, .1]
    for f in issue_filters: assert len(find_label_issues(y, p, filter_by=f)) == 30

def test_file_of_probabilities(tmp_path):
    "A memory-mapped file gives the same, and is not copied."
    import tracemalloc
    rng = np.random.default_rng(0)
    n, k = 100_000, 50
    y = rng.integers(k, size=n)
    m = np.memmap(tmp_path/'p', 'f4', 'w+', shape=(n, k))
    z = rng.normal(size=(n, k)); z[np.arange(n), y] += 4
    m[:] = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    given, _ = plant_noise(y, .1, k)
    m = np.memmap(tmp_path/'p', 'f4', 'r', shape=(n, k))
    want = find_label_issues(given, np.array(m)).rows
    tracemalloc.start()
    try: found, peak = find_label_issues(given, m), tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert (found.rows == want).all() and peak < m.nbytes / 2, peak

def test_input_is_left_as_it_was():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 300); y = rng.integers(4, size=300)
    before, labels = p.copy(), y.copy()
    for f in issue_filters:
        for r in issue_rankings: find_label_issues(y, p, f, r).table()
    assert (p == before).all() and (y == labels).all()
    read_only = p.copy(); read_only.flags.writeable = False
    assert (find_label_issues(y, read_only).rows == find_label_issues(y, np.asfortranarray(p)).rows).all()

# ---------------------------------------------------------------- ranking
@pytest.mark.parametrize('kind', ['uniform', 'class', 'instance'])
def test_ranking(kind):
    "The odds are level with the better of margin and self-confidence, or above (mean of 5 seeds and 2 classifiers)."
    ap = []
    for seed in range(5):
        given, wrong = plant_noise(truth, .1, kind=kind, seed=seed, x=X)
        for m in (KNeighborsClassifier(10, weights='distance'), LogisticRegression(C=.1, max_iter=200)):
            p = out_of_sample_probs(m, X / 16, given, seed=seed)
            ap.append([score_issues(find_label_issues(given, p, rank_by=r), wrong)['average_precision'] for r in issue_rankings])
    odds, *others = np.mean(ap, 0)
    assert odds >= max(others) - .003

def ap_of(given, wrong, p): return {r: score_issues(find_label_issues(given, p, rank_by=r), wrong)['average_precision'] for r in issue_rankings}

def test_one_way_traffic_is_used():
    "Each class goes to the next: where labels go tells slips from hard rows, and the odds lead both scores."
    pairs = np.roll(np.eye(10), 1, 1)
    for m in (KNeighborsClassifier(10, weights='distance'), LogisticRegression(C=.1, max_iter=200)):
        given, wrong = plant_noise(truth, .2, kind=pairs)
        ap = ap_of(given, wrong, out_of_sample_probs(m, X / 16, given))
        assert ap['odds'] > max(ap['normalized_margin'], ap['self_confidence']) + .01

def test_a_tree_is_ranked_by_the_margin():
    "Probabilities that are shares of a few counts: 0 means little, and the order is that of the margin."
    from sklearn.tree import DecisionTreeClassifier
    given, wrong = plant_noise(truth, .2, kind='uniform')
    p = out_of_sample_probs(DecisionTreeClassifier(max_depth=6, random_state=0), X / 16, given)
    ap = ap_of(given, wrong, p)
    assert ap['odds'] == ap['normalized_margin'] != ap['self_confidence']

def test_two_classes_have_one_order():
    "With two classes margin, self-confidence and odds agree about the order."
    y = (truth >= 5).astype(int)
    given, wrong = plant_noise(y, .2, kind='class')
    ap = ap_of(given, wrong, out_of_sample_probs(KNeighborsClassifier(10, weights='distance'), X / 16, given))
    assert np.ptp(list(ap.values())) < 1e-9

def test_many_wrong_labels():
    """Two fifths are wrong the way people err: no worse than the better score, and the interval holds the truth.

    Source: cleanlab/cleanlab#764."""
    human = np.kron(np.eye(5), np.array([[.6, .3], [.3, .6]])) + .02
    given, wrong = plant_noise(truth, .4, kind=human)
    p = out_of_sample_probs(KNeighborsClassifier(10, weights='distance'), X / 16, given)
    ap, rate = ap_of(given, wrong, p), wrong_label_rate(given, p)
    assert ap['odds'] > max(ap['normalized_margin'], ap['self_confidence']) - .01 and rate.low <= .4 <= rate.high

# ---------------------------------------------------------------- how many are wrong
@pytest.mark.parametrize('kind', ['uniform', 'class', 'pairs', 'instance'])
def test_interval_of_the_rate(kind):
    "Planted on purpose, a good and a weak model: of 16 intervals at most three miss (a weak model misses more often than one in twenty where noise is even), and those of the good one are narrow."
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    covers, width = [], []
    for m in (KNeighborsClassifier(10, weights='distance'), make_pipeline(PCA(3, random_state=0), KNeighborsClassifier(20))):
        for seed, share in enumerate((0, .05, .1, .15, .2, .25, .3, .35)):
            given, wrong = plant_noise(truth, share, kind=np.roll(np.eye(10), 1, 1) if kind == 'pairs' else kind, seed=seed, x=X)
            rate = wrong_label_rate(given, out_of_sample_probs(m, X / 16, given, seed=seed))
            covers.append(rate.too_weak or rate.low <= wrong.mean() <= rate.high)
            width.append(rate.high - rate.low)
    assert sum(covers) >= 13 and np.median(width[:8]) <= (.25 if kind == 'instance' else .12)

def test_weak_model_on_right_labels():
    """Every label is right and the model is poor: the interval reaches down to 0, however many are flagged.

    Sources: cleanlab/cleanlab#25 (what was found was mostly right), cleanlab/cleanlab#685 (hard rows are taken for errors)."""
    p = out_of_sample_probs(KNeighborsClassifier(10, weights='distance'), X[:, 30:33], truth)
    rate = wrong_label_rate(truth, p)
    assert len(find_label_issues(truth, p).rows) > .2 * len(truth) and (rate.too_weak or rate.low == 0)
    assert 'too weak' in rate.statement() or 'second person' in rate.statement()

def test_rate_where_little_can_be_known():
    """Nothing disagrees, everything does, a class that nobody was given, one that the model never names, few rows.

    Sources: cleanlab/cleanlab#288, cleanlab/cleanlab#639."""
    y = np.arange(50) % 5
    agree = np.eye(5)[y] * .9 + .02
    cases = [(y, agree), (y, np.roll(agree, 1, 1)), (y, np.full((50, 5), .2)), (np.zeros(30, int), np.tile([.8, .1, .1], (30, 1))),
             (y, np.c_[agree[:, :4] + agree[:, 4:] / 4, np.zeros(50)]), (np.array([0, 1]), np.array([[.9, .1], [.2, .8]]))]
    for labels, p in cases:
        rate = wrong_label_rate(labels, p)
        assert 0 <= rate.low <= rate.high <= 1 and np.isfinite([*rate.table().iloc[0]]).all() and str(rate)
        for r in issue_rankings: assert np.isfinite(find_label_issues(labels, p, rank_by=r).score).all()
    assert wrong_label_rate(y, agree).high < .2
    with pytest.raises(DataError, match='row 1'): wrong_label_rate([0, 1], np.array([[.5, .5], [.9, .9]]))

def test_kinds_are_told_apart():
    def profile(kind):
        given, _ = plant_noise(truth, .1, kind=kind, x=X)
        return noise_profile(given, out_of_sample_probs(LogisticRegression(C=.1, max_iter=200), X / 16, given))
    u, c, i = map(profile, ('uniform', 'class', 'instance'))
    assert c['spread'] < 4 < 6 < u['spread'] and max(u['likeness'], c['likeness']) < .55 < i['likeness']

def test_likeness_from_a_sample():
    "Of many rows only some are asked, and in any order of the rows."
    rng = np.random.default_rng(0)
    y = np.arange(200_000) % 10
    z = rng.standard_normal((len(y), 10)); z[np.arange(len(y)), y] += 3
    p = np.exp(z); p /= p.sum(1, keepdims=True)
    for kind in ('uniform', 'class'):
        given, _ = plant_noise(y, .1, kind=kind)
        assert abs(noise_profile(given, p)['likeness'] - .5) < .08

# ---------------------------------------------------------------- noise
def test_noise_of_the_instance():
    given, planted = plant_noise(truth, .1, kind='instance', x=X)
    assert planted.sum() == 180 and ((given != truth) == planted).all()
    mean = np.stack([X[truth == k].mean(0) for k in range(10)])
    far = np.linalg.norm(X[:, None] - mean, axis=2)
    gap = far[np.arange(len(X)), given] - far[np.arange(len(X)), truth]
    other = np.where(np.eye(10, dtype=bool)[truth], np.inf, far).min(1) - far[np.arange(len(X)), truth]
    assert other[planted].mean() < other[~planted].mean() and np.median(gap[planted]) < np.median(other[~planted])

def test_noise_of_ones_own():
    m = np.zeros((10, 10)); m[3, 5] = 1
    given, planted = plant_noise(truth, .05, kind=m)
    assert set(truth[planted]) == {3} and set(given[planted]) == {5} and planted.sum() == 90
    for bad, says in ((m[:3], 'noise matrix'), ('instance', 'pass x='), ('clas', "did you mean 'class'")):
        with pytest.raises(DataError, match=says): plant_noise(truth, .1, kind=bad)
    with pytest.raises(DataError, match='only'): plant_noise(truth, .5, kind=m)

def test_noise_unusable():
    for kw, says in ((dict(n_classes=3), 'row 3 with 3'), (dict(kind='instance', x=np.where(X == 5, np.nan, X)), 'missing or infinite'),
                     (dict(kind='instance', x=X * 0), 'equal the mean')):
        with pytest.raises(DataError, match=says): plant_noise(truth, .1, **kw)

def test_score_needs_a_mask():
    y = np.arange(50) % 5
    found = find_label_issues(y, np.eye(5)[y] * .9 + .02)
    for bad in (np.zeros(5, bool), np.arange(50), [1, 2]):
        with pytest.raises(DataError, match='mask of 50'): score_issues(found, bad)

# ---------------------------------------------------------------- witnesses
def test_groups_and_learner():
    "Samples bring folds by group; a function that trains a Learner judges the part valid, in its order."
    from pretrain_notes.datasets import digits
    s = digits()[:60].with_column('group', [f'g{i // 3}' for i in range(60)])
    asked = []
    class Fake:
        def __init__(self, samples): self.samples, self.dls = samples, self
        @property
        def valid(self): return self
        def no_bar(self): from contextlib import nullcontext; return nullcontext()
        def get_preds(self, dl):
            import torch
            v = self.samples.by_split()['valid']; asked.append(self.samples)
            return torch.eye(10)[torch.tensor(v.labels)], None
    p = out_of_sample_probs(Fake, s)
    assert (p.argmax(1) == s.labels).all() and len(asked) == 5
    for a in asked:
        parts = {n: set(q['group'].to_pylist()) for n, q in a.by_split().items()}
        assert not parts['train'] & parts['valid']
    with pytest.raises(DataError, match='needs samples'): out_of_sample_probs(Fake, X[:60], truth[:60])
    with pytest.raises(DataError, match='one fold'): out_of_sample_probs(KNeighborsClassifier(1), X[:9], truth[:9], folds=np.zeros(9, int))

# ---------------------------------------------------------------- the same item twice
def test_conflicts():
    texts = Samples.from_rows([dict(text=t, label=l) for t, l in
        [('Hello  there', 'a'), ('hello there', 'b'), ('Good bye', 'a'), ('good bye', 'a'), ('other', 'b'), ('HELLO there', None)]])
    found = find_label_conflicts(texts)
    assert found.rows.tolist() == [0, 1] and found.items == texts['id'].to_pylist()[:2] and found.table().flagged.sum() == 2
    near = find_label_conflicts(texts, np.array([[0.], [9], [5], [5.01], [5.02], [40]]), within=1.)
    assert set(near.rows) == {0, 1, 2, 3, 4}
    with pytest.raises(DataError, match='finite features'): find_label_conflicts(texts, np.full((6, 2), np.nan))
    with pytest.raises(DataError, match='one row of'): find_label_conflicts(texts, np.zeros((5, 2)))

# ---------------------------------------------------------------- several labels an item
def some_tags(seed=0, n=600, k=4):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < [.5, .3, .2, .05]).astype(int)
    p = 1 / (1 + np.exp(-(6 * y - 3 + rng.normal(size=(n, k)) * 1.5)))
    wrong = rng.random((n, k)) < .05
    return np.where(wrong, 1 - y, y), p, wrong

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('seed', range(3))
def test_multilabel_equals_cleanlab(seed):
    pytest.importorskip('cleanlab', reason='cleanlab, the reference, is not installed: pip install pretrain_notes[bench]')
    from cleanlab.multilabel_classification import filter as theirs, rank
    from sklearn.metrics import average_precision_score
    y, p, wrong = some_tags(seed)
    lists = [np.flatnonzero(r).tolist() for r in y]
    for f in issue_filters[:5]:
        want = theirs.find_multilabel_issues_per_class(lists, p, filter_by=f, n_jobs=1)
        units = np.zeros(y.size, bool); units[find_multilabel_issues(y, p, f).rows] = True
        assert jaccard(units.reshape(y.shape), want) >= .99, f
    found = find_multilabel_issues(lists, p)
    assert set(found.items) == set(np.flatnonzero(theirs.find_label_issues(lists, p, n_jobs=1)))
    per_item = found.table().groupby('sample').score.max().sort_index()
    assert average_precision_score(wrong.any(1), per_item) >= average_precision_score(wrong.any(1), 1 - rank.get_label_quality_scores(lists, p)) - .01

def test_structured_issues_name_their_items():
    "With ids every finder's table has them, and a labeler or a sheet in its order shows these items, not those whose number a unit has."
    from pretrain_notes.datasets import digits
    s = digits()[:300]
    ids, rng = np.array(s['id'].to_pylist()), np.random.default_rng(0)
    y, p, _ = some_tags(n=300)
    probs, sizes = rng.dirichlet(np.ones(3), 600), np.full(300, 2)
    boxes, seen = some_boxes(0, 300)
    for found, of in ((find_multilabel_issues(y, p, ids=ids), 'sample'), (find_box_issues(boxes, seen, ids=ids), 'sample'),
                      (find_token_issues(rng.integers(3, size=(300, 2)).tolist(), probs.reshape(300, 2, 3), ids=ids), 'sentence')):
        for t in (found.table(), found.head(5)): assert t.item.tolist() == ids[t[of]].tolist()
        assert found.items == list(dict.fromkeys(found.table().item[:len(found.rows)]))
    found = find_multilabel_issues(y, p)
    assert 'item' not in found.table()
    top, texts = found.head(6), Samples.from_rows([dict(text=f'text {i}') for i in range(300)])
    shown = show_issues(texts, found, 6)
    assert shown.text.tolist() == [f'text {i}' for i in top['sample']] and shown.label[0] in [f'{c}: {a}' for c in range(4) for a in ('yes → no', 'no → yes')]
    show_issues(s, find_box_issues(boxes, seen), 6)
    for bad in (ids[:5],):
        with pytest.raises(DataError, match='5 ids do not fit 300'): find_multilabel_issues(y, p, ids=bad)

def test_multilabel_as_one_has_them():
    import pandas as pd
    y, p, _ = some_tags()
    want = find_multilabel_issues(y, p).rows
    for same in (pd.DataFrame(y), y.astype(bool), y.astype(float), [np.flatnonzero(r) for r in y], pd.Series([set(np.flatnonzero(r).tolist()) for r in y])):
        assert (find_multilabel_issues(same, p).rows == want).all()
    for bad, says in ((y.tolist(), 'row 0 is no list of different'), (y * .7, '0 or 1'), (np.where(y, np.nan, y), '0 or 1'), (y[:, 0], '0 or 1'), (y[:, 0].tolist(), 'row 0 is no list'),
                      (y.astype(str), '0 or 1'), ([['sea']] * 600, 'row 0 is no list'), ([[.7]] * 600, 'row 0 is no list'), (['sea'] * 600, 'row 0 is no list')):
        with pytest.raises(DataError, match=says): find_multilabel_issues(bad, p)

def test_multilabel_unusable():
    y, p, _ = some_tags(n=20)
    for labels, probs, says in ((y[:5], p, 'do not fit'), (y, np.where(np.arange(20)[:, None] == 3, np.nan, p), 'row 3, class 0'), (y + 1, p, '0 or 1'),
                                ([[9]] * 20, p, 'row 0 has the class 9'), (y, p[:, 0], 'must be a table')):
        with pytest.raises(DataError, match=says): find_multilabel_issues(labels, probs)

# ---------------------------------------------------------------- a label a word
@pytest.mark.filterwarnings('ignore')
def test_tokens_equal_cleanlab():
    pytest.importorskip('cleanlab', reason='cleanlab, the reference, is not installed: pip install pretrain_notes[bench]')
    from cleanlab.token_classification.filter import find_label_issues as theirs
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 12, 300)
    y = rng.choice(4, sizes.sum(), p=[.7, .1, .1, .1])
    z = rng.normal(size=(len(y), 4)); z[np.arange(len(y)), y] += 3
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    given, _ = plant_noise(y, .05, kind='uniform')
    cuts = np.cumsum(sizes)[:-1]
    labels, probs = [a.tolist() for a in np.split(given, cuts)], np.split(p, cuts)
    found = find_token_issues(labels, probs, rank_by='self_confidence')
    want = theirs(labels, probs, n_jobs=1)
    t = found.head(len(found.rows))
    assert list(zip(t.sentence, t.token)) == [(int(i), int(j)) for i, j in want]
    assert found.items == list(dict.fromkeys(i for i, _ in want))
    assert all(labels[s][w] == g for s, w, g in zip(found.sentence, found.token, found.given))

def test_tokens_unusable():
    with pytest.raises(DataError, match='sentence 1 has 1 labels'): find_token_issues([[0, 1], [0]], [np.eye(2), np.eye(2)])
    with pytest.raises(DataError, match='2 sentences'): find_token_issues([[0], [1]], [np.eye(2)])
    half = np.full((2, 2), .5)
    for labels, probs, says in (([[0], [.9, 1]], [half[:1], half], 'sentence 1: labels must be class numbers'), ([[0], [None, 1]], [half[:1], half], 'sentence 1'),
                                ([['O', 'B']], [half], 'sentence 0'), ([[0], [1, 5]], [half[:1], half], 'sentence 1: labels'), ([[0], [1]], [half[:1], np.full((1, 3), 1 / 3)], r'sentence 1 has 1 labels.*\(1, 3\)'),
                                ([[0], [1, 0]], [half[:1], np.array([[.5, .5], [.9, .9]])], 'sentence 1, word 1')):
        with pytest.raises(DataError, match=says): find_token_issues(labels, probs)
    assert len(find_token_issues([[], [1, 0]], [[], half])) == 2
    assert find_token_issues([[], [0, 1], []], [np.zeros((0, 2)), np.eye(2), np.zeros((0, 2))]).items == []

# ---------------------------------------------------------------- boxes
def some_boxes(seed, n=60, k=4):
    rng = np.random.default_rng(seed)
    labels, predictions = [], []
    for i in range(n):
        m = rng.integers(0, 5)
        a = rng.uniform(0, 150, (m, 2)); b = np.c_[a, a + rng.uniform(15, 50, (m, 2))]
        l = rng.integers(k, size=m)
        seen = rng.random(m) > .1
        extra = rng.random() < .2
        pb = b[seen] + rng.normal(0, 1.5, (seen.sum(), 4))
        pl = np.where(rng.random(seen.sum()) < .1, rng.integers(k, size=seen.sum()), l[seen])
        predictions.append(dict(boxes=np.r_[pb, [[160, 160, 190, 190]]] if extra else pb, labels=np.r_[pl, [1]] if extra else pl, scores=rng.uniform(.4, 1, len(pl) + extra)))
        keep = rng.random(m) > .1
        labels.append(dict(boxes=(b + np.where(rng.random((m, 1)) < .1, 20, 0))[keep], labels=np.where(rng.random(m) < .1, (l + 1) % k, l)[keep]))
    return labels, predictions

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('seed', range(4))
def test_boxes_equal_cleanlab(seed):
    "The flagged images, and their order."
    pytest.importorskip('cleanlab', reason='cleanlab, the reference, is not installed: pip install pretrain_notes[bench]')
    from cleanlab.object_detection.filter import find_label_issues as theirs
    from cleanlab.object_detection.rank import get_label_quality_scores
    labels, predictions = some_boxes(seed)
    L = [dict(bboxes=d['boxes'], labels=d['labels']) for d in labels]
    P = [[np.c_[d['boxes'], d['scores']][d['labels'] == c].reshape(-1, 5) for c in range(4)] for d in predictions]
    mask, quality = theirs(L, P), get_label_quality_scores(L, P, verbose=False)
    found = find_box_issues(labels, predictions)
    assert set(found.items) == set(np.flatnonzero(mask))
    assert (np.diff(quality[found.items]) >= -1e-12).all()
    assert {'swapped', 'moved'} <= set(found.problem)

def test_boxes_unusable():
    good = dict(boxes=[[0, 0, 2, 2]], labels=[0], scores=[.9])
    for given, predicted, says in (([good] * 2, [good], '2 images'), ([dict(boxes=[[2, 0, 0, 2]], labels=[0])], [good], 'image 0: a given box'),
                                   ([good], [good | dict(scores=[np.nan])], 'score outside'), ([good], [good | dict(labels=[0, 1])], 'do not fit')):
        with pytest.raises(DataError, match=says): find_box_issues(given, predicted)
    empty = dict(boxes=[], labels=[], scores=[])
    assert len(find_box_issues([empty] * 3, [empty] * 3)) == 0
    assert find_box_issues([empty, good], [good | dict(scores=[.99]), good], ids=['a', 'b']).items == ['a']
    box = [[0, 0, 1, 1]]
    for given, predicted, says in ((dict(boxes=box, labels=[0]), dict(boxes=box, labels=[0]), "image 0: predicted boxes need 'boxes'"), (dict(box=box, labels=[0]), good, 'image 0: given boxes need'),
                                   (None, good, 'image 0'), (dict(boxes=box, labels=['cat']), good, "image 0: the given labels are names, such as 'cat'"), (dict(boxes=box, labels=[.9]), good, 'class numbers'),
                                   (dict(boxes=np.zeros((4, 5)), labels=[0] * 5), good, r'shape \(m, 4\), these are of shape \(4, 5\)'), ([dict(label='cat', box=[0, 0, 1])], good, 'image 0: .* is no box'),
                                   (dict(boxes=box, labels=[-1]), good, 'class numbers')):
        with pytest.raises(DataError, match=says): find_box_issues([given], [predicted])
    with pytest.raises(DataError, match="image 0: 'cart' is none of the classes - did you mean 'cat'"): find_box_issues([dict(boxes=box, labels=['cart'])], [good], classes=['cat', 'dog'])
    assert len(find_box_issues([dict(boxes=box, labels=[10**9])], [good])) == 1

def test_boxes_as_they_are_stored():
    "What a BoxTask stores gives what arrays give."
    labels, predictions = some_boxes(0)
    names = ['cat', 'dog', 'cow', 'hen']
    stored = [[dict(label=names[c], box=[*b[:2], *(b[2:] - b[:2])]) for b, c in zip(d['boxes'], d['labels'])] for d in labels]
    want, found = find_box_issues(labels, predictions), find_box_issues(stored, predictions, classes=names)
    assert found.items == want.items and (found.rows == want.rows).all()
    assert find_box_issues([d | dict(labels=np.array(names)[d['labels']]) for d in labels], predictions, classes=names).items == want.items
    show_box_issues(np.zeros((60, 200, 200)), stored, found, names, n=2)

def test_class_that_nobody_gave():
    "Objects of a class that everybody overlooked are found, if the detector is good at the others."
    given, seen = dict(boxes=[[50, 50, 60, 60]], labels=[0]), dict(boxes=[[50, 50, 60, 60], [0, 0, 9, 9]], labels=[0, 1], scores=[.99, .99])
    found = find_box_issues([given] * 3, [seen] * 3)
    assert found.items == [0, 1, 2] and set(found.head(3).problem) == {'overlooked'} and set(found.head(3).suggested) == {1}
