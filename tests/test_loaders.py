"""Loaders: batches from memory, fastai's ways of asking for them, and what is no data."""
import numpy as np, pytest, torch
from fastai.torch_core import TensorCategory, TensorImage, TensorImageBW, set_seed
from fastai.data.transforms import IntToFloatTensor, Normalize
from pretrain_notes.batch.augment import byol_augment, multicrop_augment, simclr_augment
from pretrain_notes.datasets import digits
from pretrain_notes.batch.loaders import Augment, ImageTensors, PerView, TensorDL, channel_stats, tensor_dataloaders
from pretrain_notes.batch import loaders
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

@pytest.fixture(autouse=True)
def quiet(monkeypatch): monkeypatch.setenv('TQDM_DISABLE', '1')

def images(n=50, c=1, side=8, seed=0):
    shape = (n, side, side) if c == 1 else (n, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype('uint8')
def samples(n=50, c=1, side=8, classes=3, seed=0):
    "The last fifth is for validation."
    split = ['train' if i < n - n // 5 else 'valid' for i in range(n)]
    return Samples.from_arrays(images(n, c, side, seed), np.arange(n) % classes, list('abcdefgh')[:classes], columns=dict(split=split))
CPU = dict(device='cpu')

# ---------------------------------------------------------------- the lean way gives what fastai's pipeline gives
@pytest.mark.parametrize('c', [1, 3])
def test_normalized_as_fastai(c):
    dls = samples(c=c).dataloaders(bs=8, **CPU)
    ds, after = dls.valid_ds, dls.valid.after_batch
    assert dls.valid._lean_plan() is not None
    for (x, y), rows in zip(dls.valid, torch.arange(len(ds)).split(32)):
        ref = after((TensorImage(ds.x[rows]), TensorCategory(ds.y[rows])))[0]
        assert torch.allclose(x, ref.as_subclass(torch.Tensor), atol=1e-5) and torch.equal(y, ds.y[rows])

def test_other_transforms_keep_the_pipeline():
    "A transform that is not known makes the loader go the slow way, with the same images in the same order."
    from fasttransform import Transform
    class Same(Transform):
        order = 30
        def encodes(self, x:TensorImage): return x
    s = samples()
    lean, full = s.dataloaders(bs=8, **CPU), s.dataloaders(bs=8, batch_tfms=Same(), **CPU)
    assert lean.train._lean_plan() is not None and full.train._lean_plan() is None
    def epoch(dls): set_seed(1); return [b for b in dls.train]
    for a, b in zip(epoch(lean), epoch(full), strict=True): assert torch.allclose(a[0], b[0], atol=1e-5) and torch.equal(a[1], b[1])

def test_plain_in_a_loop_typed_when_shown():
    for c, kind in ((1, TensorImageBW), (3, TensorImage)):
        dls = samples(c=c).dataloaders(bs=8, **CPU)
        assert [type(o) for o in next(iter(dls.train))] == [torch.Tensor] * 2
        assert [type(o) for o in dls.one_batch()] == [kind, TensorCategory]
        x, y = dls.decode(next(iter(dls.valid)))
        assert type(x) is kind and (x - dls.valid_ds.x[:len(x)].float()).abs().max() <= 1 and x.max() > 200

@pytest.mark.parametrize('bs, n', [(1, 40), (7, 40), (40, 40), (64, 40)])
def test_batches(bs, n):
    "Sizes, counts, every image once an epoch, another order each epoch, whatever is made at once."
    dls = samples(50).dataloaders(bs=bs, label=None, **CPU)
    seen = [b for b in dls.train]
    assert len(seen) == len(dls.train) and all(len(b[1]) == min(bs, n) for b in seen)
    rows = torch.cat([b[1] for b in seen])
    assert len(rows.unique()) == len(rows) == len(dls.train) * min(bs, n)
    assert torch.equal(torch.cat([b[1] for b in dls.valid]), torch.arange(10))
    if bs < 40: assert not torch.equal(rows, torch.cat([b[1] for b in dls.train]))

def test_batches_do_not_share_values():
    "Batches made at once are other memory: changing one leaves the next alone."
    dls = samples(200).dataloaders(bs=4, label=None, **CPU)
    set_seed(0); ref = [b[0].clone() for b in dls.train]
    set_seed(0)
    for b, r in zip(dls.train, ref):
        assert torch.equal(b[0], r); b[0].zero_()

@pytest.mark.parametrize('augment', [Augment(), simclr_augment(blur=0), byol_augment(), [Augment(), simclr_augment()]])
def test_seed(augment):
    dls = samples(80, 3).dataloaders(bs=16, label=None, views=2, augment=augment, **CPU)
    def epoch(seed): set_seed(seed); return torch.cat([o.float().flatten() for b in dls.train for o in b])
    assert torch.equal(epoch(1), epoch(1)) and not torch.equal(epoch(1), epoch(2))
    v1, v2, y = dls.one_batch()
    assert v1.shape == v2.shape and (v1 - v2).abs().mean() > .01
    a, b, y = next(iter(dls.valid))
    assert torch.equal(a, b)                                                    # validation is not augmented

def test_views_of_several_sizes():
    dls = samples(80, 3, 16).dataloaders(bs=16, label=None, augment=multicrop_augment(16, 8, 3), **CPU)
    assert dls.n_inp == 5 and [tuple(v.shape[-2:]) for v in dls.one_batch()[:-1]] == [(16, 16)] * 2 + [(8, 8)] * 3
    assert isinstance(dls.train.after_batch.fs[1], PerView)

def test_fastai_ways():
    "new, test_dl, to, len, show_batch, show_results, get_preds, predict on a batch."
    import matplotlib; matplotlib.use('Agg')
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    import fastai.callback.all
    s = samples(80)
    dls = s.dataloaders(bs=16, **CPU)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3); p, y = learn.get_preds()
    assert p.shape == (16, 3) and torch.equal(y, dls.valid_ds.y)
    with learn.no_bar(), learn.no_logging(): assert torch.equal(learn.get_preds(dl=dls.test_dl(s[:5]))[1], torch.from_numpy(s.labels[:5]))
    with learn.no_bar(): learn.show_results(max_n=4)
    dls.show_batch(max_n=4); s.dataloaders(label=None, views=2, augment=Augment(), **CPU).show_batch(max_n=3)
    assert dls.to('cpu') is dls and dls.train.new(bs=5).one_batch()[0].shape[0] == 5 and dls.c == 3 and list(dls.vocab) == list('abc')

def test_stats():
    x = torch.from_numpy(images(30, 3).transpose(0, 3, 1, 2).copy())
    mean, std = channel_stats(x)
    assert torch.allclose(mean, (x / 255).mean((0, 2, 3)), atol=1e-6) and torch.allclose(std, (x / 255).std((0, 2, 3), correction=0), atol=1e-5)

def test_as_few_calls_as_it_takes():
    "A guard without a stopwatch: how many tensor operations 100 batches take."
    from torch.utils._python_dispatch import TorchDispatchMode
    class Count(TorchDispatchMode):
        n = 0
        def __torch_dispatch__(self, f, types, args=(), kw=None): Count.n += 1; return f(*args, **(kw or {}))
    dls = samples(1280).dataloaders(bs=8, **CPU)
    list(dls.train)
    with Count(): n = sum(1 for _ in dls.train)
    assert n == 128 and Count.n < 3 * n

# ---------------------------------------------------------------- bad input
def test_sizes_are_named():
    s = Samples.from_rows([dict(image=samples(1, side=k, seed=i)[0]['image'], label='a', split='train' if i < 9 else 'valid') for i, k in enumerate((8, 8, 12) * 4)])
    with pytest.raises(DataError, match=r'8 x 8 and 12 x 12 pixels.*size=64'): s.dataloaders(**CPU)
    assert s.dataloaders(size=10, bs=2, **CPU).one_batch()[0].shape[-2:] == (10, 10)

@pytest.mark.parametrize('kw, says', [(dict(bs=0), 'bs=0'), (dict(views=0), 'views=0'), (dict(views=-1), 'views=-1'), (dict(label='lable'), "did you mean 'label'"),
    (dict(augment=byol_augment(), views=3), 'there are 2 augmentations for views=3')])
def test_bad_arguments(kw, says):
    with pytest.raises(DataError, match=says): samples().dataloaders(**CPU, **kw)

def test_no_labels():
    bare = samples().drop('label')
    assert bare.dataloaders(label=None, **CPU).vocab is None
    with pytest.raises(DataError, match="no column 'label'"): bare.dataloaders(**CPU)
    with pytest.raises(DataError, match='1 samples have no label'): samples().with_column('label', [None] + [0] * 49).dataloaders(**CPU)

def test_a_class_with_one_sample():
    s = samples(50).with_column('label', [2] + [0, 1] * 24 + [0])
    dls = s.dataloaders(bs=8, **CPU)
    assert dls.c == 3 and int((dls.train_ds.y == 2).sum() + (dls.valid_ds.y == 2).sum()) == 1

def test_one_image():
    with pytest.raises(DataError, match='one cluster'): samples(1).drop('split').dataloaders(**CPU)
    two = samples(2).with_column('split', ['train', 'valid']).dataloaders(label=None, views=2, augment=simclr_augment(), **CPU)
    assert [tuple(v.shape) for v in two.one_batch()] == [(1, 1, 8, 8)] * 2 + [(1,)]

def test_no_images():
    with pytest.raises(DataError, match='need a tokenizer'): Samples.from_rows([dict(text='a'), dict(text='b')]).dataloaders(label=None)
    for x, says in ((torch.zeros(2, 8, 8, dtype=torch.uint8), 'shape'), (torch.zeros(2, 1, 8, 8), 'float32')):
        with pytest.raises(DataError, match=says): ImageTensors(x, torch.zeros(2))
    with pytest.raises(DataError, match='3 images have 2 targets'): ImageTensors(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.zeros(2))

def test_four_channels():
    "Any number of channels is loaded; an augmentation of colors says what it needs."
    x = torch.randint(0, 255, (20, 4, 8, 8), dtype=torch.uint8)
    make = lambda: (ImageTensors(x, torch.arange(20)), ImageTensors(x, torch.arange(20)))
    assert tensor_dataloaders(*make(), bs=5, **CPU).one_batch()[0].shape == (5, 4, 8, 8)
    with pytest.raises(DataError, match='these have 4'): tensor_dataloaders(*make(), bs=5, augment=simclr_augment(), **CPU).one_batch()

def test_augment_where_it_does_not_belong():
    "After normalization the range is another: said, not clamped away."
    dls = digits()[:200].dataloaders(bs=16, **CPU)
    x = dls.one_batch()[0]
    with pytest.raises(DataError, match='augment before normalizing'): simclr_augment()(x, split_idx=0)

# ---------------------------------------------------------------- classes are what their names say
def test_a_test_set_with_fewer_classes():
    dls = samples(classes=3).dataloaders(bs=8, **CPU)
    few = Samples.from_arrays(images(6), np.arange(6) % 2, ['b', 'c'])
    assert dls.test_dl(few).one_batch()[1].tolist() == [1, 2] * 3 and dls.test_dl(few).dataset.vocab == ['a', 'b', 'c']
    x, y = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1, 0])
    other = tensor_dataloaders(ImageTensors(x, y, ['a', 'b', 'c']), ImageTensors(x, y, ['c', 'a']), bs=4, **CPU)
    assert other.valid.one_batch()[1].tolist() == [2, 0, 0, 2] and other.test_dl(ImageTensors(x, y, ['b', 'c'])).one_batch()[1].tolist() == [1, 2, 2, 1]
    with pytest.raises(DataError, match="class 'd' does not occur in training"): dls.test_dl(ImageTensors(x, y, ['a', 'd']))
    with pytest.raises(DataError, match="class 'd' does not occur"): tensor_dataloaders(ImageTensors(x, y, ['a', 'b']), ImageTensors(x, y, ['a', 'd']), **CPU)

def test_a_test_set_has_the_same_target():
    s = samples().with_column('shape', ['round', 'square'] * 25)
    t = s.dataloaders(label='shape', **CPU).test_dl(s[1:6:2])
    assert t.dataset.vocab == ['round', 'square'] and t.one_batch()[1].tolist() == [1, 1, 1]

def test_a_test_set_item_by_item():
    from fastai.vision.augment import Resize
    s = samples().with_column('shape', ['round', 'square'] * 25)
    dls = s.dataloaders(item_tfms=Resize(12), label='shape', bs=4, **CPU)
    x, y = dls.test_dl(s[1:6:2]).one_batch()
    assert x.shape == (3, 1, 12, 12) and y.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="class 'oval' does not occur"): dls.test_dl(s.with_column('shape', ['oval'] * 50))

def test_normalized_once():
    own = Normalize.from_stats([.5], [.25], dim=1, ndim=4, cuda=False)
    dls = samples().dataloaders(bs=8, batch_tfms=own, **CPU)
    assert torch.allclose(next(iter(dls.valid))[0], (dls.valid_ds.x / 255 - .5) / .25, atol=1e-5)

def test_a_quarter_turn_of_an_oblong_image():
    x = torch.zeros(1, 1, 32, 96); x[..., 12:20, 40:56] = 1
    y = loaders.warp(x, torch.tensor([[[0., -1, 0], [1, 0, 0]]]))[0, 0] > .5
    assert (int(y.any(1).sum()), int(y.any(0).sum())) == (16, 8)

def test_a_plain_function_augments_training_images_only():
    from torchvision.transforms import v2
    class Half(torch.nn.Module):
        def forward(self, x): return x * 0 + .5
    for f in (lambda x: x * 0 + .5, v2.Lambda(lambda x: x * 0 + .5), Half):
        for views in (1, 2):
            dls = digits().dataloaders(bs=8, augment=f, views=views, device='cpu')
            *xs, y = dls.one_batch()
            assert all(float(x.std()) < 1e-6 for x in xs) and len(y.unique()) > 1
            *xs, y = dls.valid.one_batch()
            assert all(float(x.std()) > .5 for x in xs) and y.dtype == torch.int64

def test_export_leaves_the_images_behind(tmp_path):
    from fastai.learner import load_learner
    from pretrain_notes.transfer.recipes import encoder_learner
    from pretrain_notes.pretrain.encoders import make_encoder
    s = digits()
    learn = encoder_learner(s.dataloaders(bs=64, augment=Augment(rotate=10), device='cpu'), make_encoder(size=8, width=8))
    learn.export(tmp_path/'learner.pkl')
    assert (tmp_path/'learner.pkl').stat().st_size < 200_000       # the images alone are more
    again = load_learner(tmp_path/'learner.pkl')
    ours, theirs = (l.get_preds(dl=l.dls.test_dl(s[:50]))[0] for l in (learn, again))
    assert torch.allclose(ours, theirs, atol=1e-6)
