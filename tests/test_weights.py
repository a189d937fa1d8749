"""Weights leave safely: loaded by plain timm and plain torch with equal outputs, and no folder can do harm."""
import json, subprocess, sys
from pathlib import Path
import pytest
torch = pytest.importorskip('torch')
from torch import nn
from fastai.torch_core import set_seed
from pretrain_notes.datasets import digits
from pretrain_notes.pretrain.encoders import make_encoder, unwrapped
from pretrain_notes.base import DataError, write_json
from pretrain_notes.pretrain.weights import load_encoder, read_tensors, save_encoder, write_tensors

torch.set_num_threads(1)
CASES = {'small': ('small', 1, 8, {}), 'small_rgb': ('small', 3, 32, dict(width=8)), 'timm': ('resnet10t', 1, 64, {}), 'timm_stem': ('resnet18', 1, 28, dict(small_stem=True)), 'timm_rgb': ('mobilenetv3_small_050', 3, 64, {}),
         'timm_vit': ('vit_tiny_patch16_224', 1, 32, dict(patch_size=8, depth=2)), 'tv': ('torchvision/resnet18', 1, 32, {}), 'tv_stem': ('torchvision/resnet18', 2, 32, dict(small_stem=True)),
         'tv_squeeze': ('torchvision/squeezenet1_1', 1, 64, {}), 'tv_mobile': ('torchvision/mobilenet_v3_small', 1, 64, {})}

def encoder(arch, c_in, size, kw):
    set_seed(0)
    import warnings
    with warnings.catch_warnings(action='ignore'): e = make_encoder(arch, c_in, size, **kw)
    for n, b in e.named_buffers():
        if n.endswith('running_mean'): b.uniform_(-.1, .1)                     # buffers must travel too
    return e.eval()

@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp('saved')
    for n, case in CASES.items():
        e, x = encoder(*case), torch.randn(3, *case[1:2], case[2], case[2], generator=torch.Generator().manual_seed(0))
        save_encoder(root/n, e)
        with torch.no_grad(): write_tensors(root/f'{n}.io', dict(x=x, y=e(x)))
    return root

@pytest.mark.parametrize('name', CASES)
def test_round_trip(saved, name):
    io = read_tensors(saved/f'{name}.io')[0]
    again = load_encoder(saved/name)
    with torch.no_grad(): assert torch.equal(again(io['x']), io['y'])
    save_encoder(saved/'again'/name, again)                                    # and it can leave once more
    assert (saved/'again'/name/'config.json').read_bytes() == (saved/name/'config.json').read_bytes()

def test_loads_without_this_package(saved):
    "The lines of each card, in a Python that may not import pretrain_notes or fastai."
    code = ['import os, sys', "class No:\n    def find_spec(self, name, *a):\n        if name.split('.')[0] in ('pretrain_notes', 'fastai'): raise ImportError(name)", 'sys.meta_path.insert(0, No())',
            'import torch\nfrom safetensors.torch import load_file']
    for n in CASES:
        lines = (saved/n/'README.md').read_text().split('```python\n')[1].split('```')[0]
        code.append(f'os.chdir({str(saved/n)!r})\n{lines}\nio = load_file({str(saved/f"{n}.io")!r})\nwith torch.no_grad(): assert torch.allclose(encoder(io["x"]), io["y"], atol=1e-5), {n!r}')
    p = subprocess.run([sys.executable, '-c', '\n'.join(code) + '\nprint("all equal")'], capture_output=True, text=True, cwd=saved)
    assert p.stdout.strip().endswith('all equal'), p.stderr[-3000:]

def test_plain_timm(saved):
    import timm
    for n in ('timm', 'timm_rgb', 'timm_vit'):
        io = read_tensors(saved/f'{n}.io')[0]
        with torch.no_grad(): assert torch.allclose(timm.create_model(f'local-dir:{saved/n}', pretrained=True).eval()(io['x']), io['y'], atol=1e-5)

def test_a_timm_module_of_ones_own(tmp_path):
    import timm
    m = timm.create_model('resnet10t', in_chans=2, num_classes=0).eval()
    x = torch.randn(2, 2, 64, 64)
    with torch.no_grad(): assert torch.equal(load_encoder(save_encoder(tmp_path/'e', m))(x), m(x))

def test_a_module_of_ones_own(tmp_path):
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    f, e = save_encoder(tmp_path/'e', m := net()), net()
    with pytest.raises(DataError, match="'Sequential' is not known here"): load_encoder(f)
    assert torch.equal(load_encoder(f, into=e)[1].weight, m[1].weight)
    with pytest.raises(DataError, match='are not those of'): load_encoder(f, into=nn.Linear(3, 3))

def test_changed_since_it_was_made(tmp_path):
    "A recipe that is no longer true is not written down."
    e = make_encoder('resnet10t', 1, 64)
    e.conv1 = nn.Conv2d(1, 8, 3)
    assert json.loads((save_encoder(tmp_path/'e', e)/'config.json').read_text())['pretrain_notes']['library'] is None

def test_card(tmp_path):
    import yaml
    s = digits()
    s.info.update(name='evil | name\n---\n<script>', license='CC-BY-4.0')
    f = save_encoder(tmp_path/'e', make_encoder(size=8), s.split(valid=.2, test=0).dataloaders(label=None, device='cpu'), data=s, probes=dict(linear=.91), objective='SimCLR', epochs=3, license='mit')
    text = (f/'README.md').read_text()
    head = yaml.safe_load(text.split('---\n')[1])
    assert head['license'] == 'mit' and head['library_name'] == 'pytorch' and '<script>' not in text
    for part in (s.rows_digest, 'SimCLR', 'epochs: 3', '| linear | 0.91 |', 'CC-BY-4.0', '1 x 8 x 8', 'torch '): assert part in text, part
    assert '*Not stated.*' in (save_encoder(tmp_path/'f', make_encoder(size=8))/'README.md').read_text()

# ---------------------------------------------------------------- hostile folders
class Evil:
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return (Path(self.mark).touch, ())

@pytest.fixture
def folder(tmp_path): return save_encoder(tmp_path/'e', make_encoder(size=8))

def edit(folder, f):
    c = json.loads((folder/'config.json').read_text()); f(c)
    write_json(folder/'config.json', c)

def test_pickles_are_refused(folder, tmp_path):
    mark = tmp_path/'pwned'
    for name in ('pytorch_model.bin', 'model.pth'):
        torch.save(Evil(mark), tmp_path/name)
        with pytest.raises(DataError, match='would run whatever code'): load_encoder(tmp_path/name)
    torch.save(Evil(mark), folder/'model.safetensors')
    with pytest.raises(DataError, match='would run whatever code'): load_encoder(folder)
    (folder/'model.safetensors').unlink(); torch.save(Evil(mark), folder/'pytorch_model.bin')
    with pytest.raises(DataError, match='would run whatever code'): load_encoder(folder)
    assert not mark.exists()

@pytest.mark.parametrize('change,match', [
    (lambda c: c.update(architecture='nothing'), 'not known here'), (lambda c: c['pretrain_notes'].update(library='timm', architecture='x') or c.update(architecture='no_such'), 'no encoder'),
    (lambda c: c.update(architecture='hf-hub:evil/model'), 'safe to make'), (lambda c: c.update(architecture='../../x'), 'safe to make'), (lambda c: c.pop('architecture'), 'names no architecture'),
    (lambda c: c['pretrain_notes']['args'].update(pretrained=True), 'safe to make'), (lambda c: c['pretrain_notes'].update(args=[1]), 'safe to make'),
    (lambda c: c['pretrain_notes']['args'].update(width=10**7), 'not those of small'), (lambda c: c['pretrain_notes']['args'].update(width='x'), 'cannot be made'),
    (lambda c: c['pretrain_notes']['args'].update(nonsense=1), 'cannot be made'), (lambda c: c['pretrain_notes']['args'].update(c_in=3), 'not those of small')])
def test_tampered_config(folder, change, match):
    edit(folder, change)
    with pytest.raises(DataError, match=match): load_encoder(folder)

def test_broken_files(folder, tmp_path):
    config, weights = (folder/'config.json').read_bytes(), (folder/'model.safetensors').read_bytes()
    for bad in (b'', b'{', b'[]', b'[' * 100_000, b'"' + b'x' * 2**21 + b'"', b'\xff'):
        (folder/'config.json').write_bytes(bad)
        with pytest.raises(DataError, match='config.json'): load_encoder(folder)
    (folder/'config.json').write_bytes(config)
    for bad in (b'', weights[:-1], weights[:50], b'\xff' * 8 + weights):
        (folder/'model.safetensors').write_bytes(bad)
        with pytest.raises(DataError, match='damaged'): load_encoder(folder)
    (folder/'model.safetensors').unlink()
    with pytest.raises(DataError, match='there is no file model.safetensors'): load_encoder(folder)
    (tmp_path/'elsewhere').write_bytes(weights); (folder/'model.safetensors').symlink_to(tmp_path/'elsewhere')
    with pytest.raises(DataError, match='leads out of the folder'): load_encoder(folder)
    with pytest.raises(DataError, match='there is no file'): load_encoder(tmp_path/'nowhere')

def test_tampered_shapes(folder):
    t, _ = read_tensors(folder/'model.safetensors')
    n = next(iter(t))
    for bad in (t | {n: t[n][:, :, :1]}, {k: v for k, v in t.items() if k != n}, t | dict(more=torch.ones(1))):
        write_tensors(folder/'model.safetensors', bad)
        with pytest.raises(DataError, match='the weights are not those of small'): load_encoder(folder)

def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    import os
    write_tensors(tmp_path/'a', dict(x=torch.ones(1)))
    monkeypatch.setattr(os, 'replace', lambda *a: (_ for _ in ()).throw(OSError('power cut')))
    with pytest.raises(DataError, match='cannot be written: power cut'): write_tensors(tmp_path/'a', dict(x=torch.zeros(1)))
    assert read_tensors(tmp_path/'a')[0]['x'] == 1

def test_a_recipe_must_give_the_same_features(tmp_path):
    "Tensors of the same shapes are not enough: pooling, activation or a layer without weights may have been changed."
    import timm
    changed = make_encoder('resnet18', 3, 64)
    changed.maxpool = nn.Identity()
    for m in (timm.create_model('resnet10t', num_classes=0, global_pool='max'), timm.create_model('resnet10t', num_classes=0, act_layer='silu'), changed):
        f = save_encoder(tmp_path/'e', m)
        assert json.loads((f/'config.json').read_text())['pretrain_notes']['library'] is None
        with pytest.raises(DataError, match='is not known here'): load_encoder(f)

@pytest.mark.parametrize('change,match', [(lambda c: c.update(pretrain_notes='x'), 'must be a dict'), (lambda c: c.update(pretrain_notes=[1]), 'must be a dict'),
    (lambda c: c['pretrain_notes'].update(library=['timm']), 'safe to make'),
    (lambda c: c.update(architecture='vit_tiny_patch16_224', pretrain_notes=dict(library='timm', args=dict(depth=2000))), 'safe to make')])
def test_odd_configurations(folder, change, match):
    edit(folder, change)
    with pytest.raises(DataError, match=match): load_encoder(folder)

def test_card_before_weights(tmp_path):
    "A figure that cannot be printed stops before anything is written; words are figures of a sort."
    with pytest.raises(TypeError): save_encoder(tmp_path/'e', make_encoder(size=8), probes=dict(knn=[1]))
    assert not (tmp_path/'e').exists()
    assert '| note | chosen |' in (save_encoder(tmp_path/'e', make_encoder(size=8), probes=dict(knn=.5, note='chosen'))/'README.md').read_text()

def test_no_rest_of_a_write_that_failed(tmp_path, monkeypatch):
    import os
    monkeypatch.setattr(os, 'replace', lambda *a: (_ for _ in ()).throw(OSError('power cut')))
    with pytest.raises(DataError, match='cannot be written: power cut'): write_tensors(tmp_path/'a', dict(x=torch.zeros(1)))
    assert not list(tmp_path.iterdir())

def test_no_header_is_taken_for_a_pickle(tmp_path):
    "The first bytes are the length of the header, which may look like those of a pickle."
    for n in range(40):
        write_tensors(tmp_path/'a', dict(x=torch.ones(1)), 'x' * 8 * n)
        assert read_tensors(tmp_path/'a')[1] == 'x' * 8 * n

# ---------------------------------------------------------------- wrappers, half precision, shared weights
def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items())

def compiled(e): return torch.compile(e, backend='eager')
def average(e): return torch.optim.swa_utils.AveragedModel(e)
def one_part(e): e[1] = compiled(e[1]); return e
def in_place(e): e.compile(backend='eager'); return e
def checkpointed(e):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    e[0] = checkpoint_wrapper(e[0]); return e

WRAPPED = dict(compiled=compiled, parallel=nn.DataParallel, both=lambda e: compiled(nn.DataParallel(e)), other_way=lambda e: nn.DataParallel(compiled(e)), average=average,
               one_part=one_part, part_and_whole=lambda e: nn.DataParallel(compiled(one_part(e))), in_place=in_place, checkpointed=checkpointed)

@pytest.mark.parametrize('wrap', WRAPPED.values(), ids=WRAPPED)
def test_wrapped_encoders(tmp_path, wrap):
    """What is inside leaves, under its own names. Source: karpathy/nanoGPT#325, huggingface/pytorch-image-models#2003, mlfoundations/open_clip#639,
    huggingface/accelerate#1437 (wrapped twice), Lightning-AI/pytorch-lightning#20233 (a part is compiled), pytorch/pytorch#3805 (`module.`)"""
    set_seed(0)
    e = make_encoder(size=8, width=8).eval()
    x, plain = torch.randn(2, 1, 8, 8), load_encoder(save_encoder(tmp_path/'plain', e))
    w = wrap(e)
    got = load_encoder(save_encoder(tmp_path/'e', w))
    assert type(got).__name__ == 'SmallEncoder' and same(got, plain)
    with torch.no_grad(): assert torch.allclose(got(x), w(x), atol=1e-6)
    assert (tmp_path/'e/config.json').read_text() == (tmp_path/'plain/config.json').read_text()
    if wrap is not in_place: assert [type(m) for m in w.modules()] != [type(m) for m in got.modules()]      # the wrapper is still there
    assert same(unwrapped(load_encoder(tmp_path/'e', into=wrap(make_encoder(size=8, width=8)))), plain)       # and takes weights

def test_distributed(tmp_path):
    "DistributedDataParallel, in a group of one process. Source: huggingface/accelerate#1437, pytorch/pytorch#3805"
    import torch.distributed as dist
    if not dist.is_available() or not dist.is_gloo_available(): pytest.skip('torch was built without gloo')
    if dist.is_initialized(): pytest.skip('a process group is running')
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    try:
        e = make_encoder(size=8, width=8)
        for w in (nn.parallel.DistributedDataParallel(e), compiled(nn.parallel.DistributedDataParallel(e))): assert same(load_encoder(save_encoder(tmp_path/'e', w)), e)
    finally: dist.destroy_process_group()

def test_wrapped_library_models(tmp_path):
    "timm's and torchvision's lose their head inside a wrapper too."
    import timm, torchvision
    from pretrain_notes.pretrain.encoders import encoder_for, n_features
    x = torch.randn(2, 3, 64, 64)
    for m in (timm.create_model('resnet10t'), torchvision.models.resnet18()):
        for w in (compiled(m), nn.DataParallel(m)): assert n_features(encoder_for(w, x), x) == 512
    f = save_encoder(tmp_path/'e', nn.DataParallel(timm.create_model('resnet10t', num_classes=0)))
    assert json.loads((f/'config.json').read_text())['architecture'] == 'resnet10t'
    assert timm.create_model(f'local-dir:{f}', pretrained=True).eval()(x).shape == (2, 512)

def test_wrapped_learners(tmp_path):
    "The objective, and not only its encoder, may be wrapped; a Learner without an encoder is refused with what to do."
    from fastai.learner import Learner
    from pretrain_notes.batch.loaders import Augment
    from pretrain_notes.pretrain.contrastive import SimCLR
    from pretrain_notes.pretrain.objective import pretrain_learner
    from pretrain_notes.transfer.recipes import encoder_learner
    s = digits()[:64].split(valid=.2, test=.2, seed=0)
    dls = s.dataloaders(label=None, views=2, bs=16, augment=Augment(), device='cpu')
    learn = pretrain_learner(dls, SimCLR(compiled(make_encoder(size=8, width=8))))
    learn.model = nn.DataParallel(learn.model)
    f = save_encoder(tmp_path/'e', learn)
    assert load_encoder(f).recipe['architecture'] == 'small' and 'SimCLR' in (f/'README.md').read_text()
    with pytest.raises(DataError, match='has no encoder: give the module'): save_encoder(tmp_path/'f', Learner(dls, nn.Flatten(), loss_func=lambda *a: 0))
    fine = encoder_learner(s.dataloaders(bs=16, device='cpu'), learn.model.module.encoder)               # a compiled one can be fine-tuned
    with fine.no_bar(), fine.no_logging(): fine.fit(1)

@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float64])
def test_precision_comes_back(tmp_path, kind):
    "Source: huggingface/transformers#12062 (fp16 turned into fp32), huggingface/peft#2421, huggingface/transformers#40513 (bf16)"
    set_seed(0)
    e = make_encoder(size=8, width=8).to(kind)
    f = save_encoder(tmp_path/'e', e)
    got = load_encoder(f)
    assert same(got, e) and json.loads((f/'config.json').read_text())['pretrain_notes']['library'] == 'pretrain_notes'
    assert {t.dtype for t in got.parameters()} == {kind} and str(kind).removeprefix('torch.') in (f/'README.md').read_text()
    assert got[0][1].num_batches_tracked.dtype == torch.int64
    assert same(load_encoder(f, into=make_encoder(size=8, width=8)), e)
    if kind == torch.bfloat16:
        code = (f/'README.md').read_text().split('```python\n')[1].split('```')[0] + f'\nassert {{p.dtype for p in encoder.parameters()}} == {{{kind}}}'
        p = subprocess.run([sys.executable, '-c', code], cwd=f, capture_output=True, text=True)
        assert p.returncode == 0, p.stderr[-2000:]

def test_mixed_precision_comes_back(tmp_path):
    "Norms in 32 bits, the rest in 16: each tensor keeps its own type."
    e = make_encoder(size=8, width=8).half()
    for m in e.modules():
        if isinstance(m, nn.BatchNorm2d): m.float()
    assert same(load_encoder(save_encoder(tmp_path/'e', e)), e)
    write_tensors(tmp_path/'e/model.safetensors', {n: t.long() for n, t in e.state_dict().items()})
    with pytest.raises(DataError, match='int64 in the file and'): load_encoder(tmp_path/'e')

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
    def forward(self, x): return self.b(self.a(x))

def test_shared_weights(tmp_path):
    "Source: safetensors/safetensors#98, safetensors/safetensors#304, safetensors/safetensors#493, hiyouga/LlamaFactory#10137"
    from safetensors.torch import save_model
    e = Tied()
    f = save_encoder(tmp_path/'e', e.half())
    got = load_encoder(f, into=Tied())
    assert same(got, e) and got.a.weight is got.b.weight and got.a.weight.dtype == torch.float16
    save_model(e, str(f/'model.safetensors'))                                  # holds the shared weight once
    assert len(read_tensors(f/'model.safetensors')[0]) == 3 and same(load_encoder(f, into=Tied()), e)
    class Apart(nn.Module):
        def __init__(self): super().__init__(); self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
    with pytest.raises(DataError, match='are not those of'): load_encoder(f, into=Apart())

@pytest.mark.parametrize('prefix', ['_orig_mod.', 'module.', 'module._orig_mod.', '_orig_mod.module.', 'module.module.'])
def test_files_saved_under_a_wrapper(folder, prefix):
    "Source: pytorch/pytorch#101107, eole-nlp/eole#179, menzelab/implicit-shape-reconstruction#2"
    t, _ = read_tensors(folder/'model.safetensors')
    want = load_encoder(folder)
    write_tensors(folder/'model.safetensors', {prefix + n: v for n, v in t.items()})
    assert same(load_encoder(folder), want)

def test_a_part_called_module_stays(tmp_path):
    "A user's own class may call its part `module`, and that is no wrapper."
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.module = nn.Linear(4, 2)
        def forward(self, x): return self.module(x).relu()
    e = Own()
    assert unwrapped(e) is e and same(load_encoder(save_encoder(tmp_path/'e', e), into=Own()), e)
