"""Confident learning against its reference implementation, and unusable input."""
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from pretrain_notes.annotate.issues import (confident_joint, confident_thresholds, find_label_issues, issue_filters, issue_rankings, noise_matrix,
    out_of_sample_probs, plant_noise, score_issues)
from pretrain_notes.samples import DataError

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
        for r in issue_rankings:
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

def test_class_missing_from_a_training_fold():
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.array([0, 1] * 19 + [0, 2])
    p = out_of_sample_probs(KNeighborsClassifier(3), x, y)
    assert p.shape == (40, 3) and p[39, 2] == 0 and np.allclose(p.sum(1), 1)
    assert len(find_label_issues(y, p)) == 40

@pytest.mark.parametrize('labels,probs,says', [
    ([0, 1], [[.5, .5]], 'shape'), ([0, 1], [[.5, .5], [.9, .9]], 'row 1'), ([0, 1], [[np.nan, .5], [.5, .5]], 'row 0'), ([0, 1], [[np.inf, .5], [.5, .5]], 'row 0'),
    ([0, 1], [[1.5, -.5], [.5, .5]], 'row 0'), ([0, 2], [[.5, .5], [.5, .5]], 'row 1 with 2'), ([0, -1], [[.5, .5], [.5, .5]], 'row 1 with -1'),
    ([], np.zeros((0, 2)), 'labels must be'), ([.5, 1.], [[.5, .5], [.5, .5]], 'labels must be'), ([0, 0], [[1.], [1.]], 'one class')])
def test_unusable(labels, probs, says):
    with pytest.raises(DataError, match=says): find_label_issues(np.array(labels), np.array(probs, float))
    if says != 'one class':
        with pytest.raises(DataError, match=says): confident_thresholds(np.array(labels), np.array(probs, float))

def test_more_folds_than_rows():
    with pytest.raises(DataError, match='folds cannot be made'): out_of_sample_probs(KNeighborsClassifier(1), X[:3], truth[:3], folds=5)
