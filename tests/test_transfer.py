"""Transfer: a head on an encoder, fine-tunings that can be repeated, plans and comparisons that can say no."""
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.probes import compare_probes, embed, linear_probe
from pretrain_notes.parts import draw_labels
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.base import DataError
from training import parts, plain, samples                    # noqa: F401 (fixtures among them)
from pretrain_notes.transfer.compare import Plan, compare_transfer, label_efficiency
from pretrain_notes.transfer.time import time_to_accuracy
from pretrain_notes.transfer.recipes import arm_score, encoder_learner, fine_tune_score, fit_head

torch.set_num_threads(1)

def test_any_loss(samples):
    from fastai.losses import LabelSmoothingCrossEntropy
    dls, loss = samples.dataloaders(bs=128, device='cpu'), LabelSmoothingCrossEntropy()
    assert encoder_learner(dls, make_encoder(size=8, width=8), loss_func=loss).loss_func is loss

def test_encoders_by_name(samples):
    "A name works as for objectives; a module is copied, and a library's classifier loses its head in the copy only."
    import timm
    dls = samples.dataloaders(bs=128, device='cpu')
    learn = encoder_learner(dls, 'small')
    assert type(learn.model.encoder).__name__ == 'SmallEncoder' and learn.model.head.in_features == 256
    net = timm.create_model('resnet10t', in_chans=1, num_classes=7)
    assert encoder_learner(dls, net).model.head.in_features == 512 and net.num_classes == 7
    with pytest.raises(DataError, match='there is no encoder'): encoder_learner(dls, 'no_such_net')

def test_label_efficiency(samples, parts, plain):
    labeled = samples.dataloaders(bs=50, device='cpu')
    test_dl = labeled.test_dl(parts['test'])
    fresh = lambda seed: make_encoder(size=8, width=8)
    for how in ('fine_tune', 'linear', 'knn'):
        r = label_efficiency(labeled, test_dl, dict(a=fresh, b=fresh), shares=(.001, .1), seeds=2, how=how, lrs=(5e-3,), steps=4, epochs=0)
        assert sorted(r.scores.n_labels.unique()) == [10, 108] and (r.differences().difference == 0).all()      # the same arm twice: no difference
        assert len(r.table()) == 4 and 'chance' in r.statement() and r.plot() and '<table' in r._repr_html_()
    t = time_to_accuracy(labeled, test_dl, dict(a=fresh, b=fresh), 40, (2, 20), seeds=1, lrs=(5e-3, 1e-2), cost=dict(b=100.))
    w = t.reached(.15)
    assert t.plot() and np.isnan(t.reached(1.01)).all(axis=None) and abs(w.with_pretraining['b'] - w.training['b'] - 100) < 1e-6
    with pytest.raises(DataError, match='no classes'): label_efficiency(plain, test_dl, dict(a=fresh))
    with pytest.raises(DataError, match='how='): label_efficiency(labeled, test_dl, dict(a=fresh), how='magic')
    with pytest.raises(DataError, match='one label is too few'): fine_tune_score(fresh(0), labeled, [3], test_dl, 1e-3)

def test_a_fitted_head_is_the_linear_probe(samples, parts):
    labeled, test = samples.dataloaders(bs=50, device='cpu'), parts['test']
    set_seed(0)
    encoder = make_encoder(size=8, width=8).train()
    for b in list(labeled.train) * 3: encoder(b[0])               # batch normalization has seen the data, as after pretraining
    learn = fit_head(encoder_learner(labeled, encoder), C=.1)
    with learn.no_bar(), learn.no_logging(): fitted = learn.validate(dl=labeled.test_dl(test, with_labels=True))[1]
    y, y_new = labeled.train_ds.y, test.labels
    x, x_new = (embed(encoder, labeled, s) for s in (samples.by_split()['train'], test))
    assert abs(fitted - linear_probe(x, y, x_new, y_new, C=.1)) < .01 and fitted > .5
    rows = draw_labels(y, 100)
    scores = [fine_tune_score(encoder, labeled, rows, labeled.test_dl(test), 1e-4, 2, head=h)['accuracy'] for h in ('fresh', 'fitted')]
    assert scores[1] > scores[0] + .2                              # two small steps leave it where it was
    with pytest.raises(DataError, match='head='): fine_tune_score(encoder, labeled, rows, labeled.test_dl(test), 1e-3, head='new')

def test_a_fitted_head_leaves_constant_features_alone(samples):
    class Constant(torch.nn.Module):
        def __init__(self): super().__init__(); self.encoder = make_encoder(size=8, width=8)
        def forward(self, x): x = self.encoder(x); return torch.cat([x, x.new_full((len(x), 4), 1.7)], 1)
    learn = fit_head(encoder_learner(samples.dataloaders(bs=50, device='cpu'), Constant()), C=.1)
    assert float(learn.model.head.weight[:, -4:].abs().max()) == 0
    learn.model.head = torch.nn.Linear(68, 10, bias=False)
    with pytest.raises(DataError, match='linear head with a bias'): fit_head(learn)

def test_callbacks_of_a_comparison(samples, parts):
    from fastai.callback.mixup import MixUp
    labeled = samples.dataloaders(bs=50, device='cpu')
    t = compare_transfer(labeled, labeled.test_dl(parts['test']), dict(a=lambda s: make_encoder(size=8, width=8)), 40, 2, lrs=(5e-3,), steps=4,
        cbs=MixUp(.4), wd=.1)
    assert len(t.scores) == 2 and 'lr' in t.table() and 'head' in t.table()
    with pytest.raises(DataError, match='leave metrics out'): compare_transfer(labeled, None, dict(a=lambda s: make_encoder(size=8)), 40, metrics=[])
    with pytest.raises(DataError, match='nothing to choose'): compare_transfer(labeled, None, dict(a=None), 40, heads=())

def test_one_draw_repeated_has_no_interval(samples, parts, plain):
    "All labels and encoders that are not made anew: every draw is the same, which is one draw."
    labeled = samples.dataloaders(bs=50, device='cpu')
    set_seed(0)
    a, b = make_encoder(size=8, width=8), make_encoder(size=8, width=16)
    r = label_efficiency(labeled, labeled.test_dl(parts['test']), dict(a=lambda s: a, b=lambda s: b), shares=(.05, 1.), seeds=3, how='knn')
    d = r.differences()
    assert d.pairs.tolist() == [3, 1] and d.low.isna().tolist() == [False, True] and 'one draw only' in r.statement() and r.plot()
    c = compare_probes(dict(a=a, b=b), plain, parts['train'], parts['test'], len(parts['train']), seeds=3, how='knn')
    assert np.isnan(c.differences().loc['b', 'low']) and 'one draw only' in c.statement()

def small(seed): return make_encoder(size=8, width=8)

def test_a_plan_is_one_way_for_all(samples, parts):
    "Several numbers of labels and several budgets; the shorthands give what the plan gives."
    labeled = samples.dataloaders(bs=50, device='cpu')
    test_dl = labeled.test_dl(parts['test'])
    plan = Plan([20, 40], 2, steps=[2, 4], lrs=(1e-3, 5e-3), tune_seeds=1)
    s = plan.scores(labeled, test_dl, dict(a=small))
    assert len(s) == 8 and list(s.columns) == ['arm', 'n_labels', 'steps', 'seed', 'lr', 'head', 'accuracy', 'seconds']
    assert '20, 40 labels, 2 seeds, 2, 4 steps' in repr(plan) and 'other seed' in repr(plan)
    one = compare_transfer(labeled, test_dl, dict(a=small), 40, 2, lrs=5e-3, steps=4)
    assert one.scores.accuracy.tolist() == Plan(40, 2, lrs=5e-3, steps=4).compare(labeled, test_dl, dict(a=small)).scores.accuracy.tolist()
    assert one.differences().empty and one.statement() == ''

def test_one_training_is_a_plain_function(samples, parts):
    "Its arguments can be sent to another process, and it gives the same score there."
    import pickle
    labeled = samples.dataloaders(bs=50, device='cpu')
    args = small, labeled, labeled.test_dl(parts['test']), 20, 3
    there = pickle.loads(pickle.dumps(args))
    assert arm_score(*args, steps=2, lr=5e-3)['accuracy'] == arm_score(*there, steps=2, lr=5e-3)['accuracy']
