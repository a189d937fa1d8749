"""Learning curves: forecasts that are bounded, monotone and repeatable, and tables that are no curve."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from pretrain_notes.base import DataError
from pretrain_notes.transfer.curves import backtest, fit_curves, power_law

def made(sizes=(25, 50, 100, 200), seeds=5, a=.05, b=1.2, c=.5, noise=.01, arm=None, seed=0):
    "Scores of a power law with an offset, with noise that falls with the size"
    rng = np.random.default_rng(seed)
    rows = [dict(n_labels=n, seed=s, accuracy=np.clip(1 - a - b * n**-c + rng.normal(0, noise * (200 / n)**.5), 0, 1)) for n in sizes for s in range(seeds)]
    return pd.DataFrame(rows).assign(**({} if arm is None else dict(arm=arm)))

def test_a_known_curve_lies_inside():
    "Over many made-up curves, the stated share of intervals holds the truth; 65 to 95 % is what is promised."
    rng, inside, off = np.random.default_rng(0), [], []
    for i in range(60):
        a, c, at4 = rng.uniform(0, .1), rng.uniform(.25, .8), rng.uniform(.05, .3)
        b = at4 * 200**c
        p = fit_curves(made(a=a, b=b, c=c, seed=i), draws=300).predict(800).iloc[0]
        truth = 1 - a - b * 800**-c
        inside.append(p.low <= truth <= p.high)
        off.append(abs(p.accuracy - truth) * 100)
    assert .65 <= np.mean(inside) <= .99 and np.mean(off) < 2

scores_ = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=3, max_size=6)

@settings(max_examples=40, deadline=None)
@given(scores_, st.floats(.05, 1e6), st.booleans())
def test_bounded_monotone_repeatable(values, scale, rising):
    "Whatever was scored: forecasts lie in 0..1, never fall, and come out the same again"
    if rising: values = np.sort(values, 0)
    t = pd.DataFrame([dict(n_labels=scale * 2**k, seed=s, accuracy=v) for k, col in enumerate(values) for s, v in enumerate(col)])
    try: c = fit_curves(t, draws=50)
    except DataError as e:
        assert 'A learning curve rises' in str(e)
        return
    at = np.geomspace(scale / 10, scale * 1e4, 30)
    p = c.predict(at)
    assert ((p >= 0) & (p <= 1)).all(axis=None) and (p.low <= p.accuracy).all() and (p.accuracy <= p.high).all()
    assert (p.diff().iloc[1:] >= -1e-12).all(axis=None) and (np.diff(c.sample('here', at)) >= -1e-12).all()
    assert fit_curves(t.sample(frac=1, random_state=0), draws=50).predict(at).equals(p)                  # in whichever order the rows stand
    assert (c.worth().low >= 0).all() and c.statement() and c.needed(.5).notna().all(axis=None)

@pytest.mark.parametrize('change, said', [
    (lambda t: t[t.n_labels == 25], 'at least three sizes, and there is 1'),
    (lambda t: t[t.n_labels <= 50], 'at least three sizes, and there are 2'),
    (lambda t: t[:0], 'no scores'),
    (lambda t: t.drop(columns='n_labels'), "no column 'n_labels'"),
    (lambda t: t.assign(accuracy=t.accuracy.where(t.index != 3)), 'row 3 has nan'),
    (lambda t: t.assign(accuracy=t.accuracy * 100), 'from 0 to 1'),
    (lambda t: t.assign(accuracy='good'), 'row 0 has good'),
    (lambda t: t.assign(n_labels=t.n_labels.replace(25, 0)), 'n_labels must be a number above 0, and row 0 has 0'),
    (lambda t: t.assign(n_labels=t.n_labels.replace(200, -5)), 'above 0'),
    (lambda t: t.assign(n_labels=t.n_labels.astype(float).replace(200, np.inf)), 'above 0'),
    (lambda t: t.assign(n_labels=None), 'above 0'),
    (lambda t: pd.concat([t, t]), 'seed 0 has two scores at 25 labels'),
    (lambda t: t[t.seed == 0], 'one seed per size'),
    (lambda t: t.assign(accuracy=.9 - t.n_labels / 400), 'falls from 0.838 at 25 labels to 0.400 at 200'),
])
def test_what_is_no_curve(change, said):
    "One sentence that says what is wrong and where; never a silent number"
    with pytest.raises(DataError, match=said): fit_curves(change(made()))

def test_level_is_a_share():
    with pytest.raises(DataError, match='level=80'): fit_curves(made(), level=80)
    c = fit_curves(made())
    with pytest.raises(DataError, match='target=90'): c.needed(90)
    with pytest.raises(DataError, match='above 0, not -1'): c.predict(-1)
    with pytest.raises(DataError, match='no arm'): c.sample('there', 100)

def test_perfect_scores():
    "Accuracy 1 everywhere is legal: nothing more is to be had"
    c = fit_curves(made().assign(accuracy=1.))
    assert (c.table() > .998).all(axis=None) and c.worth().high.iloc[0] < .1 and c.needed(.9).n_labels.iloc[0] == 1

def test_chance_everywhere():
    "Scores that do not rise give a flat curve, which may rise later: the interval says so"
    c = fit_curves(made(a=.5, b=0, noise=.01))
    p = c.predict([200, 2000])
    assert abs(p.accuracy.iloc[0] - .5) < .02 and p.low.iloc[1] > .47 and p.high.iloc[1] > p.high.iloc[0]
    assert np.isinf(c.needed(.999).high).all()

def test_a_level_more_is_wider():
    t = made()
    spans = [fit_curves(t, level=v).predict(800) for v in (.5, .8, .95)]
    assert spans[0].high.iloc[0] - spans[0].low.iloc[0] < spans[1].high.iloc[0] - spans[1].low.iloc[0] < spans[2].high.iloc[0] - spans[2].low.iloc[0]

def test_arms_are_compared_in_pairs():
    "A shift that is the same in every seed has no spread; an arm that was measured at other sizes is compared by its curve"
    first, other = made(arm='a'), made(arm='b')
    c = fit_curves(pd.concat([first, other.assign(accuracy=(other.accuracy + .04).clip(upper=1))]))
    w = c.worth(100)
    assert list(w.index) == ['100 more labels', 'b instead of a'] and abs(w.loc['b instead of a'] - 4).max() < .01
    assert c.statement(100).startswith('a, 200 labels: 100 more labels are worth') and 'b instead of a is worth' in c.statement(100)
    elsewhere = fit_curves(pd.concat([first, made((30, 60, 120), b=.6, arm='b')])).worth(100).loc['b instead of a']
    assert elsewhere.low < elsewhere.points < elsewhere.high

def test_sizes_with_one_seed_and_seeds_that_are_missing():
    "The largest size is often measured once; the other sizes say how much a score scatters"
    t = made((25, 50, 100, 200))
    some = t[(t.n_labels < 200) | (t.seed == 0)]
    p = fit_curves(some.drop(some.index[7])).predict([200, 800])
    assert p.notna().all(axis=None) and (p.high > p.low).all()

def test_without_seeds_and_with_other_names():
    "Draws are numbered where no seed is given; sizes and scores may have any name"
    t = made().drop(columns='seed').rename(columns=dict(n_labels='parameters', accuracy='f1'))
    c = fit_curves(t, x='parameters', y='f1')
    assert c.noun == 'parameters' and list(c.predict(400).columns) == ['f1', 'low', 'high'] and 'more parameters' in c.statement()
    assert c.plot(held_out=t.assign(parameters=t.parameters * 16)) and '<table' in c._repr_html_() and repr(c) == c.statement()
    assert list(c.table((2,)).reset_index().columns) == ['arm', 'times', 'parameters', 'f1', 'low', 'high']

def test_needed_is_the_inverse_of_predict():
    c = fit_curves(made(a=0, noise=.001))
    for n in (100, 200, 800):
        need = c.needed(float(c.predict(n).accuracy.iloc[0])).iloc[0]
        assert need.low <= need.n_labels <= need.high and abs(need.n_labels - n) < .02 * n

def test_backtest():
    "Forecasts use the smaller sizes only, and the truth may come from other seeds"
    t = made((25, 50, 100, 200, 400, 800))
    r = backtest(t)
    assert set(r.upto) == {200, 400} and set(r.times) == {2, 4} and r.inside.mean() > .5
    other = backtest(t[t.n_labels <= 200], held_out=made((800,), seed=1))
    assert len(other) == 1 and other.measured[0] == made((800,), seed=1).accuracy.mean()
    assert other.forecast[0] == r[(r.upto == 200) & (r.n_labels == 800)].forecast.iloc[0]

def test_power_law():
    assert power_law(7, .3, .5, .2, ref=7) == 1 and np.isclose(power_law(1e12, .3, .5), .3, atol=1e-5)
    assert (np.diff(power_law(np.geomspace(1, 1e4, 50), .1, .7, 1, ref=100)) < 0).all()
