"""Checkpoints: a killed training goes on and ends in the same weights, bit by bit; foreign and damaged files are refused."""
import json, os, subprocess, sys, warnings
from pathlib import Path
import pytest
torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.checkpoint import Checkpoint
from pretrain_notes.pretrain.contrastive import SimCLR
from pretrain_notes.datasets import digits
from pretrain_notes.batch.loaders import Augment
from pretrain_notes.pretrain.watch import CollapseWatch, OnlineProbe
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.transfer.recipes import encoder_learner
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.base import DataError
from training import Turn, VIEWS, plain, quiet, samples                    # noqa: F401 (fixtures among them)

torch.set_num_threads(1)

SCRIPT = '''
import json, os, signal, sys, torch
sys.path.insert(0, sys.argv[1])
from test_checkpoint import *
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
