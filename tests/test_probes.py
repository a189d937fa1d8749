"""Probes against scikit-learn, fair comparisons, pictures; watches that change nothing and see a collapse."""
import warnings
import numpy as np
import pytest
torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.contrastive import SimCLR
from pretrain_notes.pretrain.watch import CollapseWatch, OnlineProbe, effective_rank, feature_std
from pretrain_notes.pretrain.objective import Objective, pretrain_learner
from pretrain_notes.pretrain.probes import compare_probes, embed, knn_probe, linear_probe, plot_embedding, plot_neighbors, probe
from pretrain_notes.parts import draw_labels
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.base import DataError
from training import Pull, Turn, pairs, parts, plain, quiet, samples                    # noqa: F401 (fixtures among them)

torch.set_num_threads(1)

# ---------------------------------------------------------------- probes
def test_linear_probe_like_sklearn(plain, parts):
    "Within half a point of scikit-learn's logistic regression with the best penalty of the same grid."
    from sklearn.linear_model import LogisticRegression
    set_seed(0)
    e = make_encoder(size=8)
    x, y, xn, yn = embed(e, plain, parts['train']), parts['train'].labels, embed(e, plain, parts['test']), parts['test'].labels
    sx, sxn = (x - x.mean(0)) / x.std(0), (xn - x.mean(0)) / x.std(0)
    sk = {C: LogisticRegression(C=C, max_iter=1000).fit(sx, y).score(sxn, yn) for C in (.01, .1, 1.)}
    for C, v in sk.items(): assert abs(linear_probe(x, y, xn, yn, C=C) - v) <= .005
    assert linear_probe(x, y, xn, yn) >= max(sk.values()) - .005

def test_knn_blocks_agree():
    rng = np.random.default_rng(0)
    x, y, xn, yn = rng.normal(size=(3000, 16)), rng.integers(0, 3, 3000), rng.normal(size=(700, 16)), rng.integers(0, 3, 700)
    s = (xn / np.linalg.norm(xn, axis=1)[:, None]) @ (x / np.linalg.norm(x, axis=1)[:, None]).T
    at = np.argsort(-s, 1)[:, :10]
    votes = np.stack([(np.exp(np.take_along_axis(s, at, 1) / .07) * (y[at] == c)).sum(1) for c in range(3)], 1)
    assert abs(knn_probe(x, y, xn, yn) - (votes.argmax(1) == yn).mean()) < .003

def test_probes_on_awkward_labels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), np.repeat([0, 1, 5], 10)
    x[:, 0] += 20 * y; x[:, 3] = 7                                              # a constant feature
    y[0] = 3                                                                    # a class with one sample
    assert linear_probe(x, y, x, y) > .8 and knn_probe(x, y, x, y) > .8
    assert linear_probe(x, y, x, np.full(30, 9)) == 0                           # a class that was not seen
    assert linear_probe(x[:1], y[:1], x, y) <= .1 and linear_probe(x, np.where(y == 5, -1, y), x, y) <= .7
    for f in (linear_probe, knn_probe):
        with pytest.raises(DataError, match='needs labels'): f(x, np.full(30, -1), x, y)
        with pytest.raises(DataError, match='not finite'): f(x * np.nan, y, x, y)
        with pytest.raises(DataError, match='do not belong together'): f(x, y[:5], x, y)

def test_compare_probes_is_fair(plain, parts):
    fresh = lambda seed: make_encoder(size=8)
    t = compare_probes(dict(random=fresh, again=fresh), plain, parts['train'], parts['valid'], 60, seeds=3)
    assert t.differences().difference.to_dict() == dict(again=0) and list(t.table().index) == ['random', 'again']
    assert not t.table().isna().any(axis=None) and 'NaN' not in t._repr_html_()
    assert set(probe(make_encoder(size=8), plain, parts['train'][:60], parts['valid'])) == {'knn', 'linear'}
    with pytest.raises(DataError, match='labels were asked for'): draw_labels([0, -1], 2)

def test_pictures(parts):
    import matplotlib; matplotlib.use('Agg')
    x, s = np.random.default_rng(0).normal(size=(40, 8)), parts['valid'][:40]
    assert len(plot_neighbors(x, s, queries=3, k=4).axes) == 15
    assert len(plot_neighbors(x[:2], s[:2], queries=3, k=4).axes) == 4
    plot_embedding(x, s.labels, s.vocab, max_n=10); plot_embedding(x, np.full(40, -1), method='tsne')
    with pytest.raises(DataError, match='no map'): plot_embedding(x, s.labels, method='umap')

# ---------------------------------------------------------------- watches
def test_online_probe_changes_nothing(samples, parts):
    def run(cbs):
        set_seed(0)
        return quiet(pretrain_learner(pairs(samples), SimCLR(make_encoder(size=8, width=8)), cbs=cbs), 'fit_one_cycle', 2, 3e-3)
    for how in ('knn', 'linear'):
        a, b = run(OnlineProbe(parts['train'][:100], parts['valid'], how=how)), run(None)
        assert all(torch.equal(p, q) for p, q in zip(a.model.state_dict().values(), b.model.state_dict().values()))
        assert a.recorder.metric_names[-2] == f'{how}_probe' and .1 < a.recorder.values[-1][-1] <= 1
    assert len(quiet(a, 'fit', 1).recorder.values[-1]) == 4 and len(a.metrics) == 1        # the column is there once, and gone afterwards

def test_rank_and_std():
    set_seed(0)
    assert effective_rank(torch.randn(500, 4) @ torch.randn(4, 32)) < 4.1 and effective_rank(torch.randn(2000, 32)) > 31
    assert feature_std(torch.ones(50, 8)) < 1e-4 and abs(feature_std(torch.randn(5000, 32)) - 1) < .01 and effective_rank(torch.zeros(5, 3)) >= 1

@pytest.mark.parametrize('name', ['pull', 'turn', 'simclr', 'supervised'])
def test_collapse_is_seen_and_health_is_not_called_collapse(samples, plain, name):
    class Supervised(Objective):
        def build(self, n, x): self.head = nn.Linear(n, 10)
        def forward(self, x): return self.head(self.encoder(x))
        def loss(self, outputs, y): return F.cross_entropy(outputs, y)
    o, dls = dict(pull=(Pull(), pairs(samples)), turn=(Turn(), plain), simclr=(SimCLR(), pairs(samples)), supervised=(Supervised(), samples.dataloaders(bs=64, device='cpu')))[name]
    set_seed(0)
    learn = pretrain_learner(dls, o, cbs=CollapseWatch())
    with warnings.catch_warnings(record=True) as said: warnings.simplefilter('always'); quiet(learn, 'fit', 4, 3e-3)
    said = [str(w.message) for w in said if 'collapses' in str(w.message)]
    assert len(said) == (name == 'pull'), said
    assert learn.recorder.metric_names[-3:-1] == ['rank', 'std']
