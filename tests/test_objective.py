"""Objectives: encoders of every library, probes against scikit-learn, stops, watches, checkpoints that resume bit by bit."""
import io, json, os, subprocess, sys, warnings
from pathlib import Path
import numpy as np
import pytest
torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.checkpoint import Checkpoint
from pretrain_notes.pretrain.contrastive import SimCLR
from pretrain_notes.datasets import digits
from pretrain_notes.batch.loaders import Augment
from pretrain_notes.pretrain.watch import CollapseWatch, OnlineProbe, effective_rank, feature_std
from pretrain_notes.pretrain.objective import Objective, pretrain_learner
from pretrain_notes.pretrain.probes import (
    compare_probes, draw_labels, embed, knn_probe, linear_probe, plot_embedding, plot_neighbors, probe)
from pretrain_notes.transfer.recipes import encoder_learner
from pretrain_notes.pretrain.encoders import make_encoder, n_features
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

torch.set_num_threads(1)
VIEWS = dict(rotate=20, scale=(.7, 1.1), shift=.1)

@pytest.fixture(scope='module')
def samples(): return digits().split(valid=.2, test=.2, seed=0)

@pytest.fixture(scope='module')
def parts(samples): return samples.by_split()

@pytest.fixture(scope='module')
def plain(samples): return samples.dataloaders(label=None, bs=128, device='cpu')

def pairs(samples): return samples.dataloaders(label=None, views=2, bs=128, augment=Augment(**VIEWS), device='cpu')

def quiet(learn, what='fit_one_cycle', *a, **kw):
    with learn.no_bar(), learn.no_logging(): getattr(learn, what)(*a, **kw)
    return learn

class Turn(Objective):
    "A pretext task: is the picture turned upside down?"
    part_names = ('right',)
    def build(self, n, x): self.head = nn.Linear(n, 2)
    def forward(self, x):
        t = torch.randint(0, 2, (len(x),), device=x.device)
        return self.head(self.encoder(torch.where(t[:, None, None, None] == 1, x.flip(-2, -1), x).as_subclass(torch.Tensor))), t
    def loss(self, outputs, *yb):
        self.parts['right'] = (outputs[0].argmax(1) == outputs[1]).float()
        return F.cross_entropy(*outputs)

class Pull(Objective):
    def build(self, n, x): self.head = nn.Linear(n, 32)
    def forward(self, a, b): return self.head(self.encoder(a)), self.head(self.encoder(b))
    def loss(self, outputs, *yb): return F.mse_loss(*outputs)

# ---------------------------------------------------------------- encoders
@pytest.mark.parametrize('arch,c_in,size,kw', [('small', 1, 8, {}), ('small', 4, 32, {}), ('resnet18', 1, 28, dict(small_stem=True)), ('resnet18', 2, 64, {}), ('mobilenetv3_small_050', 1, 64, {}),
    ('vit_tiny_patch16_224', 1, 32, dict(patch_size=4)), ('torchvision/resnet18', 1, 64, {}), ('torchvision/squeezenet1_1', 1, 64, {}), ('torchvision/vgg11', 1, 32, {}), ('shufflenet_v2_x0_5', 1, 64, {}),
    ('torchvision/vit_b_32', 3, 224, {}), ('torchvision/mobilenet_v3_small', 1, 64, {}), ('torchvision/efficientnet_b0', 1, 64, {}), ('torchvision/swin_t', 1, 64, {})])
def test_encoders(arch, c_in, size, kw):
    e, x = make_encoder(arch, c_in, size, **kw), torch.randn(2, c_in, size, size)
    n = n_features(e, x)
    assert n >= 100 and e.training and e.recipe['library'] in ('timm', 'torchvision', 'pretrain_notes')

def test_encoder_errors(plain):
    x = torch.randn(2, 1, 28, 28)
    with pytest.raises(DataError, match='there is no encoder'): make_encoder('no_such_net')
    with pytest.raises(DataError, match='there is no encoder'): make_encoder('hf-hub:evil/model')
    with pytest.raises(DataError, match='cannot be made'): make_encoder('resnet18', nonsense=3)
    with pytest.raises(DataError, match='takes 3 channels and the images have 1'): n_features(make_encoder('resnet18', 3, 64), x)
    with pytest.raises(DataError, match='cannot take images of 1 x 28 x 28'): n_features(make_encoder('vit_tiny_patch16_224', 1, 32, patch_size=4), x)
    with pytest.raises(DataError, match='takes 3 channels'): pretrain_learner(plain, Turn(make_encoder(c_in=3)))
    with pytest.warns(UserWarning, match='small_stem=True'): make_encoder('resnet18', 1, 28)

def test_objective_takes_modules(plain):
    import timm, torchvision
    for m in (timm.create_model('resnet10t', in_chans=1), make_encoder('small', size=8)):
        o = Turn(m).setup(plain.one_batch()[0])
        assert o.encoder is m and n_features(m, plain.one_batch()[0]) < 1000
    with pytest.raises(DataError, match='channels'): Turn(torchvision.models.resnet18()).setup(plain.one_batch()[0])

# ---------------------------------------------------------------- the Learner
def test_weights_move(samples, plain):
    for o, dls in ((Turn(), plain), (SimCLR(), pairs(samples))):
        set_seed(0)
        learn = pretrain_learner(dls, o)
        before = [p.clone() for p in learn.model.parameters()]
        quiet(learn, 'fit', 1, 1e-3)
        assert all(not torch.equal(a, b) for a, b in zip(before, learn.model.parameters()))

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('how', ['to_fp16', 'to_bf16'])
def test_mixed_precision_does_not_crash(plain, how):
    learn = getattr(pretrain_learner(plain, Turn()), how)()
    assert np.isfinite(quiet(learn, 'fit_one_cycle', 1, 1e-3).recorder.values[-1][0])

@pytest.mark.filterwarnings('ignore')
def test_lr_find(plain, tmp_path):
    learn = pretrain_learner(plain, Turn(), path=tmp_path, cbs=Checkpoint(tmp_path/'run'))
    before = learn.model.encoder[0][0].weight.clone()
    with learn.no_bar(), learn.no_logging(): lr = learn.lr_find(end_lr=1e30, num_it=60, show_plot=False).valley      # runs into NaN: no error
    assert lr > 0 and torch.equal(before, learn.model.encoder[0][0].weight) and not (tmp_path/'run').exists()

def test_accumulation_moves(plain):
    learn = pretrain_learner(plain, Turn(), cbs=GradientAccumulation(300))
    before = learn.model.head.weight.clone()
    assert not torch.equal(before, quiet(learn, 'fit', 1).model.head.weight)

def test_unusable_batches(samples, parts, plain):
    class NoTarget(type(plain.train)):
        def __iter__(self): yield from ((b[0],) for b in super().__iter__())
    with pytest.raises(DataError, match='no target'): pretrain_learner(DataLoaders(plain.train.new(cls=NoTarget), plain.valid), Turn())
    with pytest.raises(DataError, match='one image each'): pretrain_learner(samples.dataloaders(label=None, bs=1), Turn())
    with pytest.raises(DataError, match='no classes'): encoder_learner(plain, make_encoder(size=8))
    sizes = [parts['train'].image(0), parts['train'].image(1).resize((9, 9))]
    def png(im): b = io.BytesIO(); im.save(b, 'PNG'); return b.getvalue()
    mixed = Samples.from_rows([dict(image=dict(bytes=png(im), path=None)) for im in sizes])
    with pytest.raises(DataError, match='different sizes'): mixed.images()

@pytest.mark.parametrize('where', ['weights', 'batch'])
def test_nan_stops_before_the_step(plain, where):
    set_seed(0)
    learn = pretrain_learner(plain, Turn())
    def spoil(self):
        if self.training and (self.epoch, self.iter) == (1, 2):
            if where == 'batch': self.learn.xb = (self.xb[0] * float('nan'),)
            else: next(self.model.parameters()).data.fill_(float('inf'))
    with pytest.raises(DataError, match=r'epoch 2, batch 3 of \d+') as e: quiet(learn, 'fit', 3, 1e-3, cbs=Callback(before_batch=spoil))
    assert ('look at the data' if where == 'batch' else 'lower the learning rate') in str(e.value)
    if where == 'batch': assert all(torch.isfinite(p).all() for p in learn.model.parameters())

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

# ---------------------------------------------------------------- checkpoints
SCRIPT = '''
import json, os, signal, sys, torch
sys.path.insert(0, sys.argv[1])
from test_objective import *
for name in SCENES:
    if os.fork() == 0:
        def die(self):
            if self.training and self.epoch == 2 and self.iter == 2: os.kill(os.getpid(), signal.SIGKILL)
        scene(name, Path(sys.argv[2])/name, extra=[Callback(before_batch=die)])
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -9
'''
SCENES = ['one_cycle', 'fit', 'accumulate', 'items', 'torch_adamw', 'watched']

def scene(name, folder=None, seed=0, extra=()):
    "One training of four epochs"
    from functools import partial
    from fastai.optimizer import OptimWrapper
    from fastai.vision.augment import Resize
    set_seed(seed)
    s = digits()[::4].split(valid=.2, test=.2, seed=0)
    by, cbs, kw = s.by_split(), [*extra], {}
    dls, o = s.dataloaders(label=None, views=2, bs=32, augment=Augment(**VIEWS), device='cpu'), SimCLR(make_encoder(size=8, width=8))
    if folder: cbs.append(Checkpoint(folder))
    if name == 'accumulate': cbs.append(GradientAccumulation(100))              # 100 does not divide an epoch: gradients are left over
    if name == 'watched': cbs += [CollapseWatch(), OnlineProbe(by['train'][:100], by['valid'])]
    if name == 'torch_adamw': kw = dict(opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))
    if name == 'items':
        from pretrain_notes.samples import Samples
        few = digits()[:90].split(valid=.2, test=0, seed=0)
        dls, o = few.dataloaders(label=None, bs=16, item_tfms=Resize(8), device='cpu'), Turn(make_encoder(size=8, width=8))
    learn = pretrain_learner(dls, o, **kw)
    return quiet(learn, 'fit' if name in ('fit', 'accumulate') else 'fit_one_cycle', 4, 3e-3, cbs=cbs)

@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('killed')
    (folder/'s.py').write_text(SCRIPT)
    p = subprocess.run([sys.executable, str(folder/'s.py'), str(Path(__file__).parent), str(folder)], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=500, env=os.environ | dict(PYTHONPATH=str(Path(__file__).parents[1])))
    assert p.returncode == 0, p.stderr[-3000:]
    return folder

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('name', SCENES)
def test_resume_after_sigkill_is_bitwise_equal(killed, name):
    files = sorted(p.name for p in (killed/name).iterdir())
    assert files == ['fit0-epoch0001.safetensors', 'fit0-epoch0002.safetensors']
    whole, rest = scene(name), scene(name, killed/name, seed=99)
    a, b = whole.model.state_dict(), rest.model.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert [list(v) for v in whole.recorder.values] == [list(v) for v in rest.recorder.values]
    assert whole.recorder.losses == rest.recorder.losses and whole.recorder.lrs == rest.recorder.lrs
    sa, sb = whole.opt.state_dict()['state'], rest.opt.state_dict()['state']
    for p, q in zip(sa if isinstance(sa, list) else sa.values(), sb if isinstance(sb, list) else sb.values()):
        assert p.keys() == q.keys() and all(torch.equal(torch.as_tensor(p[k]), torch.as_tensor(q[k])) for k in p)

def test_finished_run_is_not_run_again(plain, tmp_path):
    def run(seed):
        set_seed(seed)
        return quiet(pretrain_learner(plain, Turn(make_encoder(size=8, width=8))), 'fit', 2, 1e-3, cbs=Checkpoint(tmp_path/'r'))
    a, times = run(0), {p: p.stat().st_mtime_ns for p in (tmp_path/'r').iterdir()}
    b = run(1)
    assert all(torch.equal(p, q) for p, q in zip(a.model.state_dict().values(), b.model.state_dict().values()))
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path/'r').iterdir()}

def test_two_fits_of_one_learner(samples, tmp_path):
    "fine_tune has two fits: each has its own checkpoints, and a kill in the second goes on there."
    labeled = samples.dataloaders(bs=128, device='cpu')
    def run(seed, stop=None, resume=True):
        set_seed(seed)
        def die(self):
            if self.n_epoch == 3 and self.epoch == stop and self.training: raise KeyboardInterrupt
        learn = encoder_learner(labeled, make_encoder(size=8, width=8), cbs=[Callback(before_batch=die), *([Checkpoint(tmp_path/'f')] if resume else [])])
        return quiet(learn, 'fine_tune', 3)
    whole = run(0, resume=False)
    with pytest.raises(KeyboardInterrupt): run(0, stop=2)
    assert sorted(p.name for p in (tmp_path/'f').iterdir()) == ['fit0-epoch0001.safetensors', 'fit1-epoch0001.safetensors', 'fit1-epoch0002.safetensors']
    rest = run(5)
    assert all(torch.equal(p, q) for p, q in zip(whole.model.state_dict().values(), rest.model.state_dict().values()))

def test_checkpoint_refusals(plain, tmp_path):
    def run(width=8, n=2, **kw):
        set_seed(0)
        return quiet(pretrain_learner(plain, Turn(make_encoder(size=8, width=width))), 'fit', n, 1e-3, cbs=Checkpoint(tmp_path/'r', **kw))
    run()
    with pytest.raises(DataError, match='another model'): run(width=16)
    with pytest.raises(DataError, match='epochs 2, now 3'): run(n=3)
    first = sorted((tmp_path/'r').iterdir())
    run(width=16, n=3, resume=False, keep=1, every=2)
    assert [p.name for p in (tmp_path/'r').iterdir()] == ['fit0-epoch0003.safetensors'] and first[0].name == 'fit0-epoch0001.safetensors'

def test_a_foreign_pickle_is_not_loaded(plain, tmp_path):
    class Evil:
        def __reduce__(self): return (Path(tmp_path/'pwned').touch, ())
    (tmp_path/'r').mkdir()
    torch.save(Evil(), tmp_path/'r'/'fit0-epoch0001.safetensors')
    set_seed(0)
    learn = pretrain_learner(plain, Turn(make_encoder(size=8, width=8)))
    with warnings.catch_warnings(record=True) as said: warnings.simplefilter('always'); quiet(learn, 'fit', 1, 1e-3, cbs=Checkpoint(tmp_path/'r'))
    assert any('would run whatever code' in str(w.message) for w in said) and not (tmp_path/'pwned').exists()

def test_tampered_checkpoint(plain, tmp_path):
    from pretrain_notes.pretrain.weights import read_tensors, write_tensors
    def run(n=2):
        set_seed(0)
        return quiet(pretrain_learner(plain, Turn(make_encoder(size=8, width=8))), 'fit', n, 1e-3, cbs=Checkpoint(tmp_path/'r'))
    run()
    newest = sorted((tmp_path/'r').iterdir())[-1]
    tensors, meta = read_tensors(newest)
    for change in (lambda m: m.pop('state'), lambda m: m.pop('identity'), lambda m: m['state'].update(dict=[['model', {'tensor': 'nope'}]]), lambda m: m['state'].update(dict=[])):
        m = json.loads(json.dumps(meta)); change(m)
        write_tensors(newest, tensors, m)
        with pytest.raises(DataError): run()
    write_tensors(newest, {n: t[:1] if t.ndim else t for n, t in tensors.items()}, meta)
    with pytest.raises(DataError, match='does not fit this training'): run()

def test_spoiled_weights_are_not_saved(plain, tmp_path):
    learn = pretrain_learner(plain, Turn(make_encoder(size=8, width=8)))
    def spoil(self):
        if self.epoch == 1: next(self.model.parameters()).data.fill_(float('nan'))
    with pytest.raises(DataError, match='nothing was saved; the last good checkpoint is fit0-epoch0001'): quiet(learn, 'fit', 3, 1e-3, cbs=[Checkpoint(tmp_path/'r'), Callback(after_train=spoil)])
    assert [p.name for p in (tmp_path/'r').iterdir()] == ['fit0-epoch0001.safetensors']

def counting():
    "Loaders of 64 random images of 8 x 8"
    from pretrain_notes.batch.loaders import ImageTensors, tensor_dataloaders
    x = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    part = ImageTensors(x, (x.float().mean((1, 2, 3)) > 127).long(), ['0', '1'])
    return tensor_dataloaders(part, part, bs=16, device='cpu')

def test_the_best_model_survives_a_resume(tmp_path):
    "SaveModelCallback: epochs that are passed over count for nothing, and the best weights before the kill are still the best."
    from fastai.callback.tracker import SaveModelCallback
    from fastai.learner import Learner
    def run(stop=9):
        def worse(self):
            if self.epoch > 2: self.model[1].weight.data.zero_()
        def die(self):
            if self.epoch == stop and self.training: raise KeyboardInterrupt
        set_seed(1)
        learn = Learner(counting(), nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), loss_func=F.cross_entropy, path=tmp_path,
            cbs=[SaveModelCallback(fname='best'), Checkpoint(tmp_path/'r'), Callback(after_train=worse, before_batch=die)])
        return quiet(learn, 'fit', 5, 1e-2)
    with pytest.raises(KeyboardInterrupt): run(stop=3)
    best = torch.load(tmp_path/'models'/'best.pth', weights_only=True)
    best = best.get('model', best)
    learn = run()
    assert torch.equal(learn.model[1].weight, best['1.weight'])
    learn = run()                                                              # finished: nothing is trained, the best is loaded
    assert torch.equal(learn.model[1].weight, best['1.weight'])

class Ticks(Callback):
    "A callback with a counter, a setting and a path"
    def __init__(self, n=1): self.n, self.seen, self.fname = n, 0, 'mine'
    def after_batch(self): self.seen += self.n

def test_counters_go_on_and_settings_are_those_of_now(plain, tmp_path):
    "Numbers that training changed come back, also those of modules; settings stay; a file cannot set texts or paths."
    class Counts(Turn):
        def __init__(self, encoder, scale=1.): super().__init__(encoder); self.scale, self.t = scale, 0
        def forward(self, x): self.t += 1; return super().forward(x)
    def run(n, stop=9, folder='r', scale=1.):
        def die(self):
            if self.epoch == stop and self.training: raise KeyboardInterrupt
        set_seed(0)
        cb = Ticks(n)
        learn = pretrain_learner(plain, Counts(make_encoder(size=8, width=8), scale), cbs=[cb, Checkpoint(tmp_path/folder), Callback(before_batch=die)])
        return quiet(learn, 'fit', 3, 1e-3), cb
    whole, a = run(1, folder='whole')
    with pytest.raises(KeyboardInterrupt): run(1, stop=2)
    rest, b = run(8)
    per = a.seen // 3
    assert b.n == 8 and b.seen == 2 * per + 8 * (b.seen - 2 * per) // 8 and b.seen > a.seen and rest.model.t == whole.model.t
    newest = tmp_path/'r'/'fit0-epoch0003.safetensors'
    from pretrain_notes.pretrain.weights import read_tensors, write_tensors
    tensors, meta = read_tensors(newest)
    text = json.dumps(meta)
    assert '["seen", ' in text
    write_tensors(newest, tensors, json.loads(text.replace('["seen", ', '["fname", "/etc/x"], ["order", "x"], ["seen", ')))
    assert run(1)[1].fname == 'mine'
    write_tensors(newest, tensors, json.loads(text.replace('["seen", ', '["fname", 7], ["seen", ')))
    assert run(1)[1].fname == 'mine'
    with pytest.raises(DataError, match='another configuration'): run(1, scale=2.)

def test_another_objective_or_data_is_another_training(samples, plain, tmp_path):
    class Other(Turn):
        def loss(self, outputs, *yb): return -super().loss(outputs, *yb)
    def run(o, dls=plain): return quiet(pretrain_learner(dls, o(make_encoder(size=8, width=8))), 'fit', 1, 1e-3, cbs=Checkpoint(tmp_path/'r'))
    run(Turn)
    with pytest.raises(DataError, match='objective Turn, now Other'): run(Other)
    dls = samples.dataloaders(label=None, bs=128, device='cpu')
    dls.train_ds.x = 255 - dls.train_ds.x
    with pytest.raises(DataError, match='another dataset'): run(Turn, dls)

def test_checkpoint_folder_is_kept_in_order(plain, tmp_path):
    for kw in (dict(keep=0), dict(keep=-1), dict(every=0)):
        with pytest.raises(DataError, match='count from 1'): Checkpoint(tmp_path, **kw)
    for n in ('fit0-epoch9999.safetensors', 'fit0-epoch10000.safetensors', 'fit10-epoch0001.safetensors'): (tmp_path/n).touch()
    cb = Checkpoint(tmp_path); cb.fit_no = 0
    assert [p.name for p in cb._files()] == ['fit0-epoch10000.safetensors', 'fit0-epoch9999.safetensors'] and len(cb._files(all=True)) == 3
    orphan = tmp_path/'r'/'.fit0-epoch0001.safetensors.77.tmp'
    orphan.parent.mkdir(); orphan.touch()
    quiet(pretrain_learner(plain, Turn(make_encoder(size=8, width=8))), 'fit', 1, 1e-3, cbs=Checkpoint(tmp_path/'r'))
    assert [p.name for p in orphan.parent.iterdir()] == ['fit0-epoch0001.safetensors']

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

# ---------------------------------------------------------------- label efficiency
def test_label_efficiency(samples, parts, plain):
    from pretrain_notes.transfer.recipes import fine_tune_score
    from pretrain_notes.transfer.compare import label_efficiency
    from pretrain_notes.transfer.curves import time_to_accuracy
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
    from pretrain_notes.transfer.recipes import fit_head, fine_tune_score
    labeled, test = samples.dataloaders(bs=50, device='cpu'), parts['test']
    set_seed(0)
    encoder = make_encoder(size=8, width=8).train()
    for b in list(labeled.train) * 3: encoder(b[0])               # batch normalisation has seen the data, as after pretraining
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
    from pretrain_notes.transfer.recipes import fit_head
    class Constant(torch.nn.Module):
        def __init__(self): super().__init__(); self.encoder = make_encoder(size=8, width=8)
        def forward(self, x): x = self.encoder(x); return torch.cat([x, x.new_full((len(x), 4), 1.7)], 1)
    learn = fit_head(encoder_learner(samples.dataloaders(bs=50, device='cpu'), Constant()), C=.1)
    assert float(learn.model.head.weight[:, -4:].abs().max()) == 0
    learn.model.head = torch.nn.Linear(68, 10, bias=False)
    with pytest.raises(DataError, match='linear head with a bias'): fit_head(learn)

def test_callbacks_of_a_comparison(samples, parts):
    from fastai.callback.mixup import MixUp
    from pretrain_notes.transfer.compare import compare_transfer
    labeled = samples.dataloaders(bs=50, device='cpu')
    t = compare_transfer(labeled, labeled.test_dl(parts['test']), dict(a=lambda s: make_encoder(size=8, width=8)), 40, 2, lrs=(5e-3,), steps=4,
        cbs=MixUp(.4), wd=.1)
    assert len(t.scores) == 2 and 'lr' in t.table() and 'head' in t.table()
    with pytest.raises(DataError, match='leave metrics out'): compare_transfer(labeled, None, dict(a=lambda s: make_encoder(size=8)), 40, metrics=[])
    with pytest.raises(DataError, match='nothing to choose'): compare_transfer(labeled, None, dict(a=None), 40, heads=())


def test_one_draw_repeated_has_no_interval(samples, parts, plain):
    "All labels and encoders that are not made anew: every draw is the same, which is one draw."
    from pretrain_notes.transfer.compare import label_efficiency
    labeled = samples.dataloaders(bs=50, device='cpu')
    set_seed(0)
    a, b = make_encoder(size=8, width=8), make_encoder(size=8, width=16)
    r = label_efficiency(labeled, labeled.test_dl(parts['test']), dict(a=lambda s: a, b=lambda s: b), shares=(.05, 1.), seeds=3, how='knn')
    d = r.differences()
    assert d.pairs.tolist() == [3, 1] and d.low.isna().tolist() == [False, True] and 'one draw only' in r.statement() and r.plot()
    c = compare_probes(dict(a=a, b=b), plain, parts['train'], parts['test'], len(parts['train']), seeds=3, how='knn')
    assert np.isnan(c.differences().loc['b', 'low']) and 'one draw only' in c.statement()
