"""Agreement against published values and krippendorff; unusable votes."""
import re
import numpy as np
import pandas as pd
import pytest
from pretrain_notes.annotate.agreement import (
    Votes, agreement, bootstrap_interval, class_votes, cohen_kappa, fleiss_kappa, gwet_ac, krippendorff_alpha, levels, percent_agreement)
from pretrain_notes.annotate.structured_agreement import box_agreement, box_votes, group_boxes, match_boxes, span_agreement, span_alpha
from pretrain_notes.stats import binomial_interval
from pretrain_notes.base import DataError

DATA_C = Votes([[int(c) if c != '.' else None for c in r] for r in ('123321412...', '1233224125..', '.33323422513', '12332441251.')])
FLEISS = Votes(np.array([list(w) for w in '''444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444 224445
333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555'''.split()]).T)
COHEN = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])

@pytest.mark.parametrize('level,printed', dict(nominal=.743421, ordinal=.815388, interval=.849107, ratio=.797403).items())
def test_krippendorff_published(level, printed): assert abs(krippendorff_alpha(DATA_C, level) - printed) < 1e-6

def test_fleiss_published(): assert abs(fleiss_kappa(FLEISS) - .430245) < 1e-6

@pytest.mark.parametrize('weights,printed', [(None, .491525), ('linear', .473684), ('quadratic', .454545),
                                             (1 - np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]]) / 6, .347826)], ids=['plain', 'linear', 'quadratic', 'own'])
def test_cohen_published(weights, printed):
    assert abs(cohen_kappa(COHEN, weights) - printed) < 1e-6
    pairs = np.repeat([(i, j) for i in range(3) for j in range(3)], np.ravel(COHEN), axis=0).T        # the same from votes
    assert abs(cohen_kappa(Votes(pairs), weights) - printed) < 1e-6

@pytest.mark.parametrize('level', levels)
@pytest.mark.parametrize('seed', range(3))
def test_equals_krippendorff(level, seed):
    krippendorff = pytest.importorskip('krippendorff', reason='the reference is not installed: pip install pretrain_notes[bench]')
    rng = np.random.default_rng(seed)
    m = rng.integers(1, 7, (5, 200)).astype(float)
    m[1:3] = np.where(rng.random((2, 200)) < .6, m[0], m[1:3])
    m[rng.random(m.shape) < .4] = np.nan
    assert abs(krippendorff_alpha(Votes(m), level) - krippendorff.alpha(m, level_of_measurement=level)) < 1e-9

def test_equals_sklearn():
    from sklearn.metrics import cohen_kappa_score
    rng = np.random.default_rng(0)
    m = rng.integers(0, 5, (2, 300))
    for w in (None, 'linear', 'quadratic'): assert abs(cohen_kappa(Votes(m), w) - cohen_kappa_score(*m, weights=w)) < 1e-12

def test_gwet_by_hand():
    "Gwet 2008: two raters, pi = mean of both, chance 2 pi (1 - pi)."
    m = np.array([[1] * 118 + [1] * 5 + [0] * 2, [1] * 118 + [0] * 5 + [0] * 2])
    pi = (123 + 118) / 250
    assert abs(gwet_ac(m) - (.96 - 2 * pi * (1 - pi)) / (1 - 2 * pi * (1 - pi))) < 1e-12
    assert gwet_ac(FLEISS, np.eye(5)) == gwet_ac(FLEISS)

def test_three_ways_in():
    m = [['a', 'b', None], ['a', 'a', 'b']]
    rows = [dict(item=i, annotator=a, label=v) for a, r in enumerate(m) for i, v in enumerate(r) if v]
    for v in (Votes(m), Votes(rows), Votes(pd.DataFrame(rows)), Votes(pd.DataFrame(rows).rename(columns=dict(label='value')))):
        assert (len(v), len(v.items), len(v.annotators), list(v.classes)) == (5, 3, 2, ['a', 'b'])
        assert percent_agreement(v) == .5

@pytest.mark.parametrize('change,says', [
    (dict(item=None), 'row 1 of the votes has no item'), (dict(label=float('nan')), 'row 1 of the votes has no label'),
    (dict(annotator='ann'), "rows 0, 1: annotator 'ann' votes more than once on item 'x'"), (dict(label=6), '6 is no known label'),
    (dict(item='xx'), "row 1 of the votes: 'xx' is no known item - did you mean 'x'?"), (dict(label=[1]), 'for boxes use')])
def test_bad_votes(change, says):
    rows = [dict(item='x', annotator='ann', label=1), dict(item='x', annotator='bob', label=2) | change]
    with pytest.raises(DataError, match=re.escape(says)): Votes(rows, classes=[1, 2, 3, 4, 5], items=['x', 'y'])

def test_bad_pairs():
    for bad, says in ((np.zeros((2, 2)), 'square array'), ([1, 2], 'votes are a table'), (DATA_C, 'these are 4')):
        with pytest.raises(DataError, match=says): cohen_kappa(bad)
    assert cohen_kappa([dict(item=i, annotator=a, label=l) for a, ls in dict(x='aab', y='aab').items() for i, l in enumerate(ls)]) == 1
    with pytest.raises(DataError, match='themselves'): DATA_C.pair(0, 0)
    with pytest.raises(DataError, match='no annotator 9'): DATA_C.pair(0, 9)

@pytest.mark.parametrize('data', [[], pd.DataFrame(dict(item=[], annotator=[], label=[])), [[None, None]], [1, 2], pd.DataFrame(dict(item=[1], label=[1]))])
def test_no_votes(data):
    with pytest.raises(DataError): Votes(data)

def test_notes():
    v = Votes([dict(item=i, annotator=a, label=l) for i, a, l in [(0, 'ann', 'x'), (1, 'ann', 'x'), (0, 'bob', 'y')]], classes=['x', 'y', 'z'], items=[0, 1, 2])
    assert v.notes == ['1 annotator voted once', '1 annotator always says the same', 'nobody used z', '1 item has no vote']
    assert percent_agreement(v) == 0

def test_no_pairs():
    v = Votes([dict(item=i, annotator='ann', label=i % 2) for i in range(4)])
    for f in (percent_agreement, krippendorff_alpha, gwet_ac):
        with pytest.raises(DataError, match='two votes'): f(v)

def test_all_the_same_is_undefined():
    v = Votes([['a', 'a'], ['a', 'a']])
    assert np.isnan(krippendorff_alpha(v)) and np.isnan(fleiss_kappa(v)) and percent_agreement(v) == 1

def test_million_annotators():
    "One vote each: sparse, quick, and said."
    n = 1_000_000
    v = Votes(pd.DataFrame(dict(item=np.arange(n) // 2, annotator=np.arange(n), label=np.arange(n) % 3)))
    assert v.notes == ['1,000,000 annotators voted once']
    assert -.6 < krippendorff_alpha(v) < 0
    assert len(v.pairwise(most=3)) == 3

def test_take_keeps_time():
    v = Votes([dict(item=i, annotator=a, label=0, time=10 * i + a) for i in range(3) for a in range(2)])
    assert v.take([2, 0, 0]).time.tolist() == [20, 21, 0, 1, 0, 1] and len(v.take([])) == 0

def test_bootstrap_is_seeded(): assert bootstrap_interval(FLEISS, fleiss_kappa, 50, seed=1) == bootstrap_interval(FLEISS, fleiss_kappa, 50, seed=1)

def test_agreement_says_why():
    df = agreement(DATA_C, n=20)
    assert df.note.str.contains('krippendorff_alpha').sum() == 1 and df.value.notna().sum() == 3

def test_by_annotator_and_class():
    v = Votes(np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]]))
    df = v.by_annotator({0: 0, 3: 1})
    assert df.annotator[0] == 2 and df.set_index('annotator').right.to_dict() == {0: 1, 1: 1, 2: .5}
    assert v.by_class().agrees.between(0, 1).all()
    with pytest.raises(DataError, match='none of the gold items'): v.by_annotator({99: 0})

def test_clopper_pearson():
    from scipy.stats import binomtest
    for k, n in ((0, 5), (3, 7), (7, 7)):
        ci = binomtest(k, n).proportion_ci(method='exact')
        assert np.allclose(binomial_interval(k, n), (ci.low, ci.high))

def test_multilabel():
    rows = [dict(item=0, annotator=a, value=v) for a, v in enumerate([['x'], [], ['x', 'y']])]
    v = class_votes(rows, ['x', 'y', 'z'])
    assert list(v) == ['x', 'y', 'z'] and percent_agreement(v['z']) == 1 and abs(percent_agreement(v['x']) - 1 / 3) < 1e-12
    with pytest.raises(DataError, match='row 0: no list'): class_votes([dict(item=0, annotator=0, value='x')])

def box(x, y, w=10, h=10, label='a'): return dict(label=label, box=[x, y, w, h])

def test_boxes():
    a, b = [box(0, 0), box(20, 0)], [box(21, 0), box(1, 0), box(50, 50)]
    assert [(i, j) for i, j, _ in match_boxes(a, b)] == [(0, 1), (1, 0)] and match_boxes([], b) == []
    df = box_agreement([dict(item=0, annotator='ann', value=a), dict(item=0, annotator='bob', value=b), dict(item=1, annotator='ann', value=[]), dict(item=1, annotator='bob', value=[])])
    assert df.found[0] == 4 / 5 and df['items'].tolist() == [2, 2] and abs(df.iou[0] - 9 / 11) < 1e-12
    groups = group_boxes(dict(ann=a, bob=b, cyd=[box(0, 0)]))
    assert sorted(map(len, groups)) == [1, 2, 3]
    assert len(box_votes([dict(item=0, annotator='ann', value=a), dict(item=0, annotator='bob', value=b)]).items) == 3

def test_polygons_and_boxes(): assert len(match_boxes([dict(label='a', points=[[0, 0], [10, 0], [10, 10]])], [box(0, 0)])) == 1

@pytest.mark.parametrize('bad', [dict(label='a'), box(0, 0, -1), box(float('nan'), 0), 'box', dict(label='a', box=[1, 2])])
def test_bad_boxes(bad):
    with pytest.raises(DataError): box_agreement([dict(item=0, annotator='ann', value=[bad]), dict(item=0, annotator='bob', value=[box(0, 0)])])

def test_spans():
    rows = [dict(item='t', annotator=a, value=[dict(start=s, end=e, label='n')]) for a, s, e in (('ann', 0, 4), ('bob', 2, 4))]
    df = span_agreement(rows)
    assert df.exact[0] == 0 and abs(df.characters[0] - 4 / 6) < 1e-12
    letters = [['n'] * 4 + ['-'] * 6, ['-'] * 2 + ['n'] * 2 + ['-'] * 6]
    assert abs(span_alpha(rows, dict(t='x' * 10)) - krippendorff_alpha(letters)) < 1e-12
    assert abs(span_alpha(rows, dict(t=10)) - krippendorff_alpha(letters)) < 1e-12
    with pytest.raises(DataError, match='not given'): span_alpha(rows, {})
    with pytest.raises(DataError, match='after the end'): span_alpha(rows, dict(t=3))

def test_order_of_labels():
    words = [['low', 'mid', 'high', 'low'], ['low', 'high', 'high', 'mid']]
    for f in (lambda v: krippendorff_alpha(v, 'ordinal'), lambda v: cohen_kappa(v, 'linear'), lambda v: gwet_ac(v, 'quadratic')):
        with pytest.raises(DataError, match='classes='): f(words)
        f(Votes(words, classes=['low', 'mid', 'high']))
    assert list(Votes([['1', '10', '2']]).classes) == ['1', '2', '10']
    with pytest.raises(DataError, match="did you mean 'ordinal'"): agreement(DATA_C, 'ordnal')

def test_misread_votes():
    with pytest.raises(DataError, match='tuples'): Votes([('a', 'ann', 'cat')])
    with pytest.raises(DataError, match='words'): Votes([[1, '1']])
    with pytest.raises(DataError, match='no gold items'): DATA_C.plot_gold({})

def test_draws_without_a_value():
    v = Votes([dict(item=i, annotator='a', label=i % 2) for i in range(40)] + [dict(item=0, annotator='b', label=0)])
    with pytest.warns(UserWarning, match='of the draws'): assert bootstrap_interval(v, percent_agreement, 50)[0] == 1
    for kw in (dict(n=0), dict(level=95)):
        with pytest.raises(DataError, match='draws and a level'): bootstrap_interval(v, percent_agreement, **kw)

def test_misses_are_not_names():
    rows = [dict(item=i, annotator=a, value=[box(0, 0)] + [box(30, 0, label='b')] * (a == 'ann' or i % 2)) for i in range(9) for a in ('ann', 'bob')]
    assert krippendorff_alpha(box_votes(rows)) == 1 and box_agreement(rows).found[0] < 1

def test_answers_are_checked():
    def ask(v=(), **kw): return [dict(task='t', worker=1, value=list(v)) | kw, dict(task='t', worker='1', value=[])]
    assert span_agreement(ask()).iloc[0, :2].tolist() == [1, '1']
    with pytest.raises(DataError, match='has no item'): span_agreement(ask(task=None))
    with pytest.raises(DataError, match="row 0, item 't'.*whole numbers"): span_agreement(ask([dict(start=.5, end=2, label='x')]))
    with pytest.raises(DataError, match='no text with a character'): span_alpha(ask(), dict(t=''))
