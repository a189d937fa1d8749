"""Recipes on a Learner: what moves, what stays, and that any labeled loaders and any metric will do."""
from functools import partial
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from torch import nn
from fastai.torch_core import set_seed
from pretrain_notes.base import DataError
from pretrain_notes.parts import draw_labels
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.adapters import adapt, add_adapters, merge_adapters
from pretrain_notes.transfer.compare import Plan, compare_transfer
from pretrain_notes.transfer.recipes import Arm, encoder_learner, features, few_labels, fit_head, label_classes, plain_train, train_all
from pretrain_notes.transfer.tuning import MovingAverage, blend, depth_groups, flat_learner, frozen, gradual, head_then_all, weights_of
from training import parts, samples                    # noqa: F401, F811 (fixtures)

torch.set_num_threads(1)

@pytest.fixture(scope='module')
def labeled(samples): return samples.dataloaders(bs=50, device='cpu')

@pytest.fixture(scope='module')
def few(labeled): return few_labels(labeled, draw_labels(label_classes(labeled), 60))

def encoder(width=8):
    set_seed(0)
    return make_encoder(size=8, width=width).eval()

def trained(few, recipe, *a, **kw):
    "A learner after a recipe, two epochs."
    set_seed(0)
    return quietly(encoder_learner(few, encoder(), **kw), recipe, *a)

def quietly(learn, recipe, *a):
    with learn.no_bar(), learn.no_logging(): recipe(learn, 2, 1e-3, *a)
    return learn

def moved(learn):
    "Which tensors of the encoder differ from the start."
    was = encoder().state_dict()
    return {n for n, t in learn.model.encoder.state_dict().items() if t.is_floating_point() and not torch.equal(t, was[n])}

def test_what_moves(few):
    assert not moved(trained(few, frozen))
    stats = {n for n in encoder().state_dict() if 'running' in n}
    assert stats < moved(trained(few, train_all))
    for recipe, kw in (head_then_all, {}), (gradual, dict(splitter=partial(depth_groups, n=2))), (adapt, {}): assert not moved(trained(few, recipe, **kw)) & stats, recipe
    assert {n for n in moved(trained(few, adapt))} and all(n.endswith('weight') for n in moved(trained(few, adapt)))

def test_half_of_the_way(few):
    "alpha = 0 is the fitted head; alpha = 1 is the training; a share only."
    a, b = trained(few, partial(head_then_all, alpha=0.)), trained(few, frozen)
    assert all(torch.equal(s, t) for s, t in zip(a.model.state_dict().values(), b.model.state_dict().values()) if s.is_floating_point())
    m = nn.Linear(2, 2)
    start = weights_of(m)
    nn.init.constant_(m.weight, 3.)
    assert torch.allclose(blend(m, start, .25).weight, start['weight'] * .75 + .75)
    with pytest.raises(DataError, match='a share'): blend(m, start, 2)

def test_moving_average_is_kept(few):
    a, b = (trained(few, train_all, cbs=c) for c in (MovingAverage(.9), None))
    assert all(torch.isfinite(t).all() for t in a.model.state_dict().values() if t.is_floating_point())
    assert not torch.equal(a.model.head.weight, b.model.head.weight)

def test_groups_by_depth(few):
    learn = encoder_learner(few, encoder(), splitter=partial(depth_groups, n=2))
    groups = learn.splitter(learn.model)
    ids = [id(p) for g in groups for p in g]
    assert len(groups) == 3 and len(ids) == len(set(ids)) == len(list(learn.model.parameters()))
    with pytest.raises(DataError, match='cannot be divided'): depth_groups(learn.model, 50)

@pytest.mark.parametrize('layer, x', [(nn.Linear(6, 4), (2, 6)), (nn.Conv2d(4, 6, 3), (2, 4, 8, 8)), (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 8, 8)), (nn.Conv1d(3, 5, 2), (2, 3, 9))])
def test_adapters_of_every_layer(layer, x):
    "Nothing changes at first; merged, it is a plain layer with the same output."
    x = torch.rand(*x)
    with torch.no_grad():
        was = layer(x)
        m = add_adapters(nn.Sequential(layer), 2)
        assert torch.equal(m(x), was)
        for n, p in m.named_parameters():
            if n.endswith('.b'): nn.init.normal_(p)
        now = m(x)
        assert not torch.allclose(now, was) and torch.allclose(merge_adapters(m)(x), now, atol=1e-5)
    assert sorted(m.state_dict()) == ['0.bias', '0.weight'] and all(p.requires_grad for p in m.parameters())
    with pytest.raises(DataError, match='rank'): add_adapters(m, 0)

def test_features_on_disk(labeled, tmp_path):
    "The same file for the same work, another one for other weights or other images; a damaged file is made again."
    e, dl = encoder(), plain_train(labeled)
    x = features(e, dl, cache=tmp_path)
    path, = tmp_path.iterdir()
    hook = e.register_forward_hook(lambda *a: pytest.fail('computed again'))
    assert np.array_equal(features(e, dl, cache=tmp_path), x) and x.shape == (len(labeled.train_ds), 64)
    hook.remove()
    path.write_bytes(b'damaged')
    assert np.array_equal(features(e, dl, cache=tmp_path), x)
    features(encoder(4), dl, cache=tmp_path); features(e, labeled.valid, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3

@pytest.fixture(scope='module')
def items(samples):
    "The same images by fastai's own loaders, one item after the other."
    from fastai.vision.augment import Resize
    return samples.dataloaders(bs=50, item_tfms=Resize(8), device='cpu', num_workers=0)

def test_any_fastai_loaders(items, labeled, samples, parts):
    assert np.array_equal(label_classes(items), label_classes(labeled))
    few = few_labels(items, draw_labels(label_classes(items), 40))
    assert len(few.train_ds) == 40 and len(few.train) == 1
    assert np.bincount(label_classes(few), minlength=10).tolist() == [4] * 10
    learn = fit_head(encoder_learner(few, encoder()), C=.1)
    assert learn.model.head.weight.abs().max() > 0
    r = compare_transfer(items, items.test_dl(parts['test']), dict(a=Arm(encoder(), frozen, lrs=0.), b=Arm(encoder(), train_all)), 40, 2, lrs=(1e-3, 1e-2), tune_seeds=1,
        steps=2)
    assert len(r.scores) == 4 and set(r.scores.lr[r.scores.arm == 'a']) == {0.} and set(r.scores.lr[r.scores.arm == 'b']) <= {1e-3, 1e-2}

def test_texts_take_the_same_recipes():
    "A model that is no image classifier: its last linear layer is the head."
    from fastai.data.core import Datasets
    from fastai.data.transforms import Categorize
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    texts = [('good fine ' if i % 2 else 'bad poor ') + 'x' * (i % 5) for i in range(60)]
    as_numbers = lambda t: torch.tensor([float(t.count(w)) for w in ('good', 'bad', 'x', 'fine')])
    ds = Datasets(texts, [[as_numbers], [lambda t: t.split()[0], Categorize()]], splits=[list(range(40)), list(range(40, 60))])
    dls = ds.dataloaders(bs=8, num_workers=0, device='cpu')
    def learner(dls, body, **kw): return Learner(dls, nn.Sequential(body, nn.ReLU(), nn.Linear(8, 2)), loss_func=CrossEntropyLossFlat(), **kw)
    def body(seed): return nn.Linear(4, 8)
    r = compare_transfer(dls, dls.valid, dict(plain=Arm(body), head=Arm(body, frozen)), 16, 2, lrs=1e-2, steps=4, learner=learner)
    assert len(r.scores) == 4 and r.scores.accuracy[r.scores.arm == 'head'].min() > .7

def test_any_metric(labeled, parts):
    def wrong(out, y): return (out.argmax(1) != y).float().mean()
    from fastai.metrics import accuracy
    arms = dict(a=Arm(encoder(), frozen, lrs=0.))
    a, b = (Plan(40, 1, steps=2, lrs=1e-3, metric=m).scores(labeled, labeled.test_dl(parts['test']), arms).accuracy[0] for m in (accuracy, wrong))
    assert abs(a + b - 1) < 1e-6

def test_the_recipe_of_the_books(samples):
    "Two classes, a frozen base, one output; other numbers of classes are refused."
    with pytest.raises(DataError, match='two classes'): flat_learner(samples.dataloaders(bs=50, device='cpu'), encoder())
    two = samples[np.flatnonzero(samples.labels < 2)]
    two = Samples.from_arrays(two.images(), two.labels, ['0', '1'])
    set_seed(0)
    base = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    learn = flat_learner(two.dataloaders(bs=50, device='cpu'), base, width=16)
    was = weights_of(base)
    with learn.no_bar(), learn.no_logging(): learn.fit(5); right = learn.validate()[1]
    assert right > .9 and all(torch.equal(t, was[n]) for n, t in base.state_dict().items())

def test_the_metric_has_its_name(labeled, parts):
    def share_right(out, y): return (out.argmax(1) == y).float().mean()
    test_dl, arms = labeled.test_dl(parts['test']), dict(a=Arm(encoder(), frozen, lrs=0.), b=Arm(encoder(4), frozen, lrs=0.))
    r = compare_transfer(labeled, test_dl, arms, 40, 2, steps=2, metric=share_right)
    assert 'points of share_right' in r.statement() and r.plot().axes[0].get_ylabel() == 'share_right, %'
    assert 'points (95' in compare_transfer(labeled, test_dl, arms, 40, 2, steps=2).statement()

def test_adapters_are_those_of_peft():
    "The same layers, rank and random numbers: equal parameters, outputs, losses and merged weights."
    peft = pytest.importorskip('peft', reason='peft of the extra [bench] is not installed')
    import timm
    from copy import deepcopy
    set_seed(0)
    plain = timm.create_model('vit_tiny_patch16_224', img_size=16, patch_size=8, depth=1, embed_dim=24, num_heads=2, num_classes=5)
    names = [n for n, m in plain.named_modules() if isinstance(m, nn.Linear)]
    ours = add_adapters(deepcopy(plain), 3, (nn.Linear,))
    theirs = peft.get_peft_model(deepcopy(plain), peft.LoraConfig(r=3, lora_alpha=3, target_modules=names))
    with torch.no_grad():
        for n in names: theirs.get_submodule(f'base_model.model.{n}').lora_A['default'].weight.copy_(ours.get_submodule(n).parametrizations.weight[0].a)
    x, y, count = torch.rand(20, 3, 16, 16), torch.arange(20) % 5, lambda m: sum(p.numel() for p in m.parameters() if p.requires_grad)
    assert count(ours) == count(theirs)
    for m in (ours, theirs):
        opt, m.seen = torch.optim.SGD([p for p in m.parameters() if p.requires_grad], .5), []
        for _ in range(8):
            loss = nn.functional.cross_entropy(m(x), y)
            opt.zero_grad(); loss.backward(); opt.step(); m.seen.append(loss.item())
    assert np.allclose(ours.seen, theirs.seen, atol=1e-5) and ours.seen[-1] < ours.seen[0]
    a, b = merge_adapters(ours), theirs.merge_and_unload()
    for n in names: assert torch.allclose(a.get_submodule(n).weight, b.get_submodule(n).weight, atol=1e-5), n
