"""Nets of the texts as Learners, few-epoch training, and labels as an objective."""
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import TensorImage, set_seed

from pretrain_notes.datasets import digits
from pretrain_notes.batch.loaders import ImageTensors, tensor_dataloaders
from pretrain_notes.transfer.recipes import encoder_learner
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.base import DataError
from pretrain_notes.pretrain.supervised import (MLP, FastEncoder, HardExamples, RandomShift, Supervised, keras_init, mlp_learner, shifted_preds,
                                       torch_opt)

@pytest.fixture(scope='module')
def data(): return digits().split(valid=.25, test=0, seed=0)

@pytest.fixture(autouse=True)
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)

def quiet(learn, fit):
    with learn.no_bar(), learn.no_logging(): fit()
    return learn

def test_mlp_is_the_net_of_the_texts():
    m = MLP(784, 128, 64, 10)
    by_hand = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10), nn.LogSoftmax(dim=1))
    for a, b in zip(by_hand.parameters(), m.parameters(), strict=True): a.data.copy_(b.data)
    x, y = torch.randn(6, 1, 28, 28), torch.arange(6)
    assert torch.allclose(F.nll_loss(by_hand(x.flatten(1)), y), F.cross_entropy(m(x), y), atol=1e-6)
    assert not any(isinstance(l, nn.Dropout) for l in m) and sum(isinstance(l, nn.Dropout) for l in MLP(784, 128, 10, drop=.2)) == 1

@pytest.mark.parametrize('shape', [(2, 1, 8, 8), (2, 3, 28, 28), (2, 1, 28, 27)])
def test_mlp_says_what_is_wrong_with_pictures_of_another_size(shape):
    with pytest.raises(DataError, match='takes 784 numbers per picture, and these pictures have ' + ' x '.join(map(str, shape[1:]))):
        MLP(784, 128, 10)(torch.zeros(shape))

def test_keras_init_is_glorot_uniform():
    m = keras_init(MLP(784, 128, 10))
    a = (6 / (784 + 128)) ** .5
    w = m[1].weight.detach()
    assert float(w.abs().max()) <= a and float(w.std()) == pytest.approx(a / 3**.5, rel=.02) and not m[1].bias.detach().any()

def test_learner_and_loop_give_the_same_weights(data):
    dls = data.dataloaders(bs=64, device='cpu')
    learn = mlp_learner(dls, opt_func=torch_opt(torch.optim.SGD, momentum=.9))
    hand = MLP(64, 128, 64, 10)
    hand.load_state_dict(learn.model.state_dict())
    opt = torch.optim.SGD(hand.parameters(), lr=.01, momentum=.9)
    set_seed(3)
    for _ in range(2):
        for x, y in dls.train: opt.zero_grad(); F.cross_entropy(hand(x), y).backward(); opt.step()
    set_seed(3)
    quiet(learn, lambda: learn.fit(2, .01))
    for a, b in zip(hand.parameters(), learn.model.parameters()): assert torch.allclose(a, b, atol=1e-5)

@pytest.mark.parametrize('shape', [(3, 1, 28, 28), (3, 3, 32, 32), (3, 1, 8, 8)])
def test_fast_encoder_gives_eight_times_its_width(shape): assert FastEncoder(shape[1], 16)(torch.zeros(shape)).shape == (3, 128)

@pytest.mark.parametrize('shape', [(200, 1, 8, 8), (50, 3, 9, 7)])
def test_random_shift_moves_whole_pixels_and_nothing_else(shape):
    set_seed(0)
    x = torch.rand(shape)
    out = torch.as_tensor(RandomShift(1)(TensorImage(x), split_idx=0)).as_subclass(torch.Tensor)
    inner = lambda v: v[..., 1:-1, 1:-1]
    moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    which = [[s for s in moves if torch.equal(inner(torch.roll(x[i], s, (-2, -1))), inner(out[i]))] for i in range(len(x))]
    assert all(which) and len({w[0] for w in which}) == 9
    assert torch.equal(RandomShift(1)(TensorImage(x), split_idx=1).as_subclass(torch.Tensor), x)

def test_random_shift_reaches_the_batches_of_the_loader_and_not_those_of_validation(data):
    still, moved = (data.dataloaders(bs=64, augment=a, device='cpu') for a in (None, RandomShift(2)))
    one = lambda dl: (set_seed(0), [b[0] for b in dl])[1]
    assert torch.equal(torch.cat(one(still.valid)), torch.cat(one(moved.valid)))
    a, b = (torch.cat(one(d.train)) for d in (still, moved))
    assert a.shape == b.shape and not torch.equal(a, b)

def test_shifted_preds(data):
    learn = mlp_learner(data.dataloaders(bs=64, device='cpu'))
    quiet(learn, lambda: learn.fit_one_cycle(2, 1e-2))
    p, y = shifted_preds(learn, share=0)
    q, t = learn.get_preds()
    assert torch.allclose(p, q.as_subclass(torch.Tensor), atol=1e-5) and torch.equal(y, t.as_subclass(torch.Tensor))
    p5, _ = shifted_preds(learn, share=1)
    assert torch.allclose(p5.sum(1), torch.ones(len(p5)), atol=1e-4) and not torch.allclose(p5, p)
    some, _ = shifted_preds(learn, share=.2)
    changed = (some != p).any(1)
    assert torch.allclose(some[changed], p5[changed], atol=1e-5) and .1 < changed.float().mean() <= .2
    assert p.amax(1)[changed].mean() < p.amax(1)[~changed].mean()

def test_hard_examples_takes_the_hard_ones_and_leaves_the_loader_as_it_was(data):
    dls = data.dataloaders(bs=32, device='cpu')
    ds, n = dls.train_ds, len(dls.train_ds)
    cb, learn = HardExamples(.2, .2), encoder_learner(dls, FastEncoder(), opt_func=torch_opt())
    seen = []
    class Look(HardExamples.__mro__[1]):
        order, run_valid = 99, False
        def after_loss(self):
            rows = cb.rows[self.iter * 32:][:len(self.y)]
            assert torch.equal(self.y, ds.y[rows])                                     # the rows are those of the batch
            loss = F.cross_entropy(self.pred.detach(), self.y, reduction='none')
            assert torch.allclose(cb.last[rows], loss, atol=1e-6)
        def after_epoch(self): seen.append(cb.rows)
    quiet(learn, lambda: learn.fit_one_cycle(6, 1e-2, cbs=[cb, Look()]))
    assert all(len(r) == int(.2 * n) * 2 and len(r.unique()) == len(r) for r in seen)
    assert dls.train_ds is ds and dls.train.shuffle and dls.train.n == n and len(dls.train) == n // 32
    hardest = cb.last.topk(int(.1 * n)).indices
    assert np.isin(hardest, cb._draw()).all() and (cb.last < 100).float().mean() > .7
    assert learn.recorder.values[-1][-1] > .9

def test_supervised_trains_its_encoder_and_refuses_row_numbers(data):
    set_seed(0)
    learn = pretrain_learner(data.dataloaders(bs=64, device='cpu'), Supervised(10, smooth=.1), opt_func=torch_opt())
    before = [p.detach().clone() for p in learn.model.encoder.parameters()]
    quiet(learn, lambda: learn.fit_one_cycle(2, 5e-3))
    assert all(not torch.equal(a, b) for a, b in zip(before, learn.model.encoder.parameters()))
    assert learn.recorder.metric_names[-2] == 'accuracy' and learn.recorder.values[-1][-1] > .8
    rows = pretrain_learner(data.dataloaders(bs=64, label=None, device='cpu'), Supervised(10))
    with pytest.raises(DataError, match=r'Supervised\(dls.c\)'): quiet(rows, lambda: rows.fit(1))

def test_supervised_loss_is_smoothed_cross_entropy():
    o, z, y = Supervised(4, smooth=.2), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    target = F.one_hot(y, 4) * .8 + .2 / 4
    assert torch.allclose(o.loss(z, y), -(target * z.log_softmax(1)).sum(1).mean(), atol=1e-6)
