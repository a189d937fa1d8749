"""Two-view objectives: losses against lightly's, what is refused, the momentum target, collapse."""
import copy
import numpy as np, pytest

torch = pytest.importorskip('torch')
from torch import nn
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.contrastive import BYOL, BarlowTwins, MomentumSchedule, SimCLR, VICReg, barlow_twins, byol, nt_xent, vicreg
from pretrain_notes.datasets import load_samples
from pretrain_notes.batch.loaders import Augment
from pretrain_notes.pretrain.watch import CollapseWatch
from pretrain_notes.pretrain.encoders import SmallEncoder
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.base import DataError

torch.set_num_threads(1)
OBJECTIVES = SimCLR, BarlowTwins, VICReg, BYOL

def loaders(n=256, bs=64, **kw):
    return load_samples('digits')[:n].dataloaders(label=None, device='cpu', bs=bs, **(dict(views=2, augment=Augment(rotate=20, noise=.05)) | kw))

@pytest.fixture(scope='module')
def dls(): return loaders()

def learner(dls, o, **kw):
    set_seed(0)
    o._given = [SmallEncoder(width=8)]
    return pretrain_learner(dls, o, **kw)

def fit(learn, n=1, lr=1e-2):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n, lr)
    return learn

def pairs():
    for seed, (n, d) in enumerate([(2, 8), (16, 4), (64, 32), (33, 128)]):
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(n, d, generator=g)
        yield z, z + .3 * torch.randn(n, d, generator=g)
        yield 5 * z + 3, torch.randn(n, d, generator=g)

# losses

@pytest.mark.parametrize('temperature', [.07, .2, .5, 1.])
def test_nt_xent_is_lightlys(temperature):
    loss = pytest.importorskip('lightly.loss').NTXentLoss(temperature)
    for z1, z2 in pairs(): torch.testing.assert_close(nt_xent(z1, z2, temperature)[0].mean(), loss(z1, z2), rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('weight', [5e-3, 2e-2, 1.])
def test_barlow_twins_is_lightlys(weight):
    loss = pytest.importorskip('lightly.loss').BarlowTwinsLoss(lambda_param=weight)
    o = BarlowTwins(weight=weight)
    for z1, z2 in pairs(): torch.testing.assert_close(o.loss((z1, z2)), loss(z1, z2), rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('weights', [(25., 25., 1.), (1., 2., 3.)])
def test_vicreg_is_lightlys(weights):
    loss = pytest.importorskip('lightly.loss').VICRegLoss(*weights)
    o = VICReg(weights=weights)
    for z1, z2 in pairs(): torch.testing.assert_close(o.loss((z1, z2)), loss(z1, z2), rtol=1e-5, atol=1e-5)

def test_byol_is_lightlys():
    cosine = pytest.importorskip('lightly.loss').NegativeCosineSimilarity()
    for (p1, p2), (t1, t2) in zip(pairs(), pairs()):
        t1, t2 = t1.roll(1, 0), t2.flip(0)
        torch.testing.assert_close(byol(p1, p2, t1, t2).mean(), 4 + 2 * (cosine(p1, t2) + cosine(p2, t1)), rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('name, ours', [('NTXentLoss', SimCLR(temperature=.5)), ('BarlowTwinsLoss', BarlowTwins(weight=5e-3)), ('VICRegLoss', VICReg())])
def test_gradients_are_lightlys(name, ours):
    theirs = getattr(pytest.importorskip('lightly.loss'), name)()
    for z1, z2 in pairs():
        grads = []
        for loss in (lambda a, b: ours.loss((a, b)), theirs):
            a, b = z1.clone().requires_grad_(), z2.clone().requires_grad_()
            loss(a, b).backward()
            grads.append(torch.stack([a.grad, b.grad]))
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)

def test_losses_are_taken_in_float32():
    z1, z2 = torch.randn(2, 32, 16, dtype=torch.float16)
    for loss in (nt_xent(z1, z2)[0].mean(), barlow_twins(z1, z2)[0], vicreg(z1, z2)[1], byol(z1, z2, z2, z1).mean()):
        assert loss.dtype == torch.float32 and torch.isfinite(loss)

def test_constant_projections_give_finite_losses_and_gradients():
    for o in (SimCLR(), BarlowTwins(), VICReg()):
        z = torch.ones(8, 4, requires_grad=True)
        loss = o.loss((z, z * 1))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(z.grad).all(), type(o).__name__

# objectives

@pytest.mark.parametrize('make', OBJECTIVES)
def test_training_moves_weights_and_reports_parts(dls, make):
    learn = learner(dls, make())
    before = copy.deepcopy(learn.model.encoder.state_dict())
    fit(learn, 3)
    moved = [k for k, v in learn.model.encoder.state_dict().items() if 'weight' in k and not torch.equal(v, before[k])]
    assert moved and len(moved) == len([k for k in before if 'weight' in k])
    losses = [v[0] for v in learn.recorder.values]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    assert [m.name for m in learn.metrics] == list(make.part_names)

@pytest.mark.parametrize('make', OBJECTIVES)
@pytest.mark.parametrize('n', [1, 3])
def test_wrong_number_of_views(dls, make, n):
    with pytest.raises(DataError, match=f'{make.__name__} needs two views of each image, the batch has {n}'): fit(learner(loaders(views=n), make()))

@pytest.mark.parametrize('make', OBJECTIVES)
def test_batch_of_one(make):
    o = make(SmallEncoder(width=8)).setup(torch.zeros(4, 1, 8, 8))
    with pytest.raises(DataError, match='this batch has one'): o(*torch.zeros(2, 1, 1, 8, 8))
    o.eval()                                                          # the last validation batch may well hold one image
    assert torch.isfinite(o.loss(o(*torch.rand(2, 1, 1, 8, 8))))

@pytest.mark.parametrize('make', OBJECTIVES)
def test_a_validation_part_with_a_last_batch_of_one(make):
    s = load_samples('digits')[:161]
    s = s.with_column('split', ['train'] * 128 + ['valid'] * 33)
    fit(learner(s.dataloaders(label=None, views=2, bs=8, device='cpu'), make()))

def test_the_same_seed_gives_the_same_weights(dls):
    a, b = (fit(learner(dls, BYOL(), cbs=MomentumSchedule())).model.state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('make', OBJECTIVES)
def test_colour_images_and_any_encoder(make):
    o = make(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())).setup(torch.zeros(4, 3, 12, 12))
    loss = o.loss(o(*torch.rand(2, 4, 3, 12, 12)))
    loss.backward()
    assert o.encoder[0].weight.grad.abs().sum() > 0

# BYOL's target

def test_the_target_is_an_exponential_moving_average():
    set_seed(0)
    o = BYOL(SmallEncoder(width=8), momentum=.9).setup(torch.zeros(4, 1, 8, 8))
    start = [p.clone() for p in o.target.parameters()]
    with torch.no_grad():
        for p in o.encoder.parameters(): p.add_(1)
    o(*torch.rand(2, 4, 1, 8, 8))
    n = len(list(o.encoder.parameters()))
    for t, s in list(zip(o.target.parameters(), start))[:n]: torch.testing.assert_close(t, s + .1, rtol=1e-5, atol=1e-6)
    o.eval()
    held = [p.clone() for p in o.target.parameters()]
    o(*torch.rand(2, 4, 1, 8, 8))
    assert all(map(torch.equal, o.target.parameters(), held))         # looking does not move it

def test_the_target_gets_no_gradient_and_is_not_optimised(dls):
    learn = learner(dls, BYOL())
    learn.create_opt()
    held = {id(p) for ps in learn.opt.param_lists for p in ps}
    o = learn.model
    assert not held & {id(p) for p in o.target.parameters()}
    assert held >= {id(p) for m in (o.encoder, o.projector, o.predictor) for p in m.parameters()}
    o.loss(o(*dls.one_batch()[:2])).backward()
    assert all(p.grad is None for p in o.target.parameters()) and all(p.grad is not None for p in o.encoder.parameters())
    assert not {id(p) for p in o.encoder.parameters()} & {id(p) for p in o.target.parameters()}

class Momenta(Callback):
    order, run_valid = 1, False
    def before_fit(self): self.seen = []
    def before_batch(self): self.seen.append(self.model.momentum)

def test_the_momentum_rises_along_half_a_cosine(dls):
    note = Momenta()
    learn = fit(learner(dls, BYOL(momentum=.9), cbs=[MomentumSchedule(), note]), 3)
    k = np.arange(len(note.seen)) / len(note.seen)
    np.testing.assert_allclose(note.seen, 1 - .1 * (np.cos(np.pi * k) + 1) / 2, atol=1e-9)
    assert learn.model.momentum == .9

def test_an_interrupted_fit_leaves_the_momentum_as_it_was(dls):
    class Stop(Callback):
        order = 2
        def after_batch(self):
            if self.train_iter == 2: raise KeyboardInterrupt
    learn = learner(dls, BYOL(), cbs=[MomentumSchedule(), Stop()])
    with pytest.raises(KeyboardInterrupt): fit(learn)
    with learn.removed_cbs([c for c in learn.cbs if isinstance(c, Stop)]):
        note = Momenta()
        learn.add_cb(note)
        fit(learn)
    assert note.seen[0] == .99 == learn.model.momentum

def test_saving_and_loading_carries_the_target(dls, tmp_path):
    a = fit(learner(dls, BYOL()))
    a.path = tmp_path
    a.save('byol')
    b = learner(dls, BYOL())
    b.path = tmp_path
    assert not all(map(torch.equal, a.model.target.parameters(), b.model.target.parameters()))
    b.load('byol')
    assert all(map(torch.equal, a.model.target.parameters(), b.model.target.parameters()))
    for learn in (a, b):
        set_seed(1)
        fit(learn)
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values()))

# collapse

class NoPredictor(BYOL):
    def build(self, n, x):
        self.projector, self.predictor = nn.Identity(), nn.Identity()
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)

class Bare(VICReg):
    def build(self, n, x): self.projector = nn.Identity()

@pytest.mark.parametrize('make', [lambda: NoPredictor(momentum=.9), lambda: Bare(weights=(25., 0., 1.))], ids=['BYOL without predictor', 'VICReg without variance'])
def test_collapse_is_seen(dls, make):
    with pytest.warns(UserWarning, match='the encoder collapses'): fit(learner(dls, make(), cbs=CollapseWatch()), 25)

@pytest.mark.parametrize('make', OBJECTIVES)
def test_whole_objectives_do_not_collapse(dls, make, recwarn):
    fit(learner(dls, make(), cbs=CollapseWatch()), 25)
    assert not [w for w in recwarn if 'collapses' in str(w.message)]

def test_without_its_variance_term_the_projections_of_vicreg_fall_together(dls):
    whole, without = (fit(learner(dls, VICReg(weights=w)), 25).model for w in ((25., 25., 1.), (25., 0., 1.)))
    with torch.no_grad(): a, b = (float(vicreg(*o(*dls.one_batch()[:2]))[1]) for o in (whole, without))
    assert b > .8 and a < b - .15
