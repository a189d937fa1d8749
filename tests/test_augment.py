"""Augmentation of batches: torchvision's operations, lightly's distributions, seeds, gray and small images, bad input."""
import numpy as np, pytest, torch
from pathlib import Path
import torchvision.transforms.v2.functional as TF
from scipy.stats import ks_2samp
from pretrain_notes.batch import augment as A, kernels
from pretrain_notes.batch.augment import (BatchAugment, CutMixEach, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, byol_augment, erase,
                                    gaussian_blur, multicrop_augment, random_boxes, resized_crop, simclr_augment, solarize)
from pretrain_notes.base import DataError

ROOT = Path(__file__).resolve().parents[1]

def pictures(n=12, c=3, h=40, w=32, seed=0):
    "Smooth colorful pictures as floats, with plain colors at the corners"
    g = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.interpolate(torch.rand(n, c, 5, 4, generator=g), (h, w), mode='bilinear')
    x = ((x - .5) * 1.6 + .5).clamp(0, 1)
    x[:, :, :2, :2] = 0; x[:, :, :2, -2:] = 1; x[:, 0, -2:, :2] = x[:, -1, -2:, :2]
    return x
def seeded(seed): return torch.Generator().manual_seed(seed)
def close(a, b, eps=2e-5): assert a.shape == b.shape and float((a - b).abs().max()) < eps
def each(f, x, *vs): return torch.stack([f(a, *(v[i] for v in vs)) for i, a in enumerate(x)])

# ---------------------------------------------------------------- one operation, given parameters
@pytest.mark.parametrize('c', [1, 3])
@pytest.mark.parametrize('op, high', [('brightness', 2), ('contrast', 2), ('saturation', 2), ('hue', .5)])
def test_color(op, high, c):
    x, f = pictures(c=c), torch.linspace(-.5 if op == 'hue' else 0, high, 12)
    ours, ref = getattr(A, f'adjust_{op}'), getattr(TF, f'adjust_{op}')
    was = x.clone()
    close(ours(x, f), each(lambda a, v: ref(a, float(v)), x, f))
    assert torch.equal(x, was)                                               # the input is left alone
    b = (x * 255).round().byte()
    close(ours(b, f), ours(b / 255, f), 1e-6)
    close(ours(x, float(f[3])), ours(x, torch.full((12,), float(f[3]))), 1e-7)

def test_hue_everywhere():
    "Every meeting of channels (gray, two equal, pure), every shift of the circle."
    x = torch.cartesian_prod(*[torch.tensor([0., .1, .5, .9, 1.])] * 3).T.reshape(1, 3, 5, 25).expand(101, -1, -1, -1)
    f = torch.linspace(-.5, .5, 101)
    close(adjust_hue(x, f), each(lambda a, v: TF.adjust_hue(a, float(v)), x, f))

@pytest.mark.parametrize('size', [8, 32, 57, (20, 33)])
@pytest.mark.parametrize('c', [1, 3])
def test_resized_crop(size, c):
    "Enlarged and shrunk (antialiased), whole and at the borders, flipped."
    x, g = pictures(c=c), np.random.default_rng(0)
    boxes = [[0, 0, 40, 32], [39, 31, 1, 1], [0, 0, 2, 32]] + [[t := int(g.integers(38)), l := int(g.integers(30)), int(g.integers(1, 41 - t)), int(g.integers(1, 33 - l))] for _ in range(9)]
    flip = torch.arange(12) % 2 == 0
    hw = [size] * 2 if isinstance(size, int) else list(size)
    ref = torch.stack([TF.resized_crop(a, *b, hw, antialias=True) for a, b in zip(x, boxes)])
    close(resized_crop(x, boxes, size), ref)
    close(resized_crop(x, boxes, size, flip), torch.where(flip.view(-1, 1, 1, 1), ref.flip(-1), ref))

def test_no_antialias_needed():
    "A window is never larger than its result in the recipe, so that the filter is plain bilinear: grid_sample within the window."
    x = pictures(h=32)
    close(resized_crop(x, [[0, 0, 20, 20]] * 12, 32), torch.nn.functional.interpolate(x[:, :, :20, :20], (32, 32), mode='bilinear', align_corners=False))

@pytest.mark.parametrize('radius', [1, 3, 9])
def test_blur(radius):
    x, s = pictures(), torch.linspace(.1, 3, 12)
    close(gaussian_blur(x, s, radius), each(lambda a, v: TF.gaussian_blur(a, 2 * radius + 1, float(v)), x, s))
    wide = gaussian_blur(x, s)                                                # what is cut off at three sigma is little
    close(wide, each(lambda a, v: TF.gaussian_blur(a, 41, float(v)), pictures(h=40, w=32), s), 8e-3)

def test_blur_small_images():
    x = pictures(h=3, w=5)
    close(gaussian_blur(x, 2.), torch.stack([TF.gaussian_blur(a, [9, 5], [2., 2.]) for a in x]), 1e-4) if A._radius(2., 5) == 4 else None
    assert gaussian_blur(x, 5.).isfinite().all()

def test_solarize_and_erase():
    x = pictures()
    close(solarize(x, .3), torch.stack([TF.solarize(a, .3) for a in x]))
    boxes = [[i, i + 1, 5, 20] for i in range(12)]
    close(erase(x, boxes, .25), torch.stack([TF.erase(a, *b, torch.full((1,), .25)) for a, b in zip(x, [[i, i + 1, 5, min(20, 31 - i)] for i in range(12)])]))
    assert torch.equal(erase(x, [[0, 0, 0, 0]] * 12), x)

def test_affine_against_torchvision():
    "A turn of the whole image: torchvision's rotate with bilinear interpolation, away from the border."
    from pretrain_notes.batch.loaders import random_affine
    x, a = pictures(h=33, w=33), torch.tensor(25.)
    set_ = random_affine(12, rotate=0, scale=(1, 1), shift=0)
    r = torch.deg2rad(a)
    theta = torch.stack([torch.stack([r.cos(), -r.sin(), r * 0]), torch.stack([r.sin(), r.cos(), r * 0])]).expand(12, 2, 3)
    ours = A.warp(x, theta)
    ref = torch.stack([TF.rotate(v, 25., TF.InterpolationMode.BILINEAR) for v in x])
    assert min(float((ours - v)[:, :, 12:21, 12:21].abs().max()) for v in (ref, torch.stack([TF.rotate(v, -25., TF.InterpolationMode.BILINEAR) for v in x]))) < 2e-3
    close(A.warp(x, set_), x)

# ---------------------------------------------------------------- the recipe
FULL = dict(scale=(.08, 1.), flip=.5, jitter=(.8, .8, .8, .2), gray=.3, blur=.5, solarized=.3, erased=.4)

def one_by_one(aug, x, p, size):
    "What the operations do, image by image, in torchvision's functions."
    out = []
    for i in range(len(p['order'])):
        v = {k: float(t[i]) for k, t in p.items() if t.ndim == 1}
        a = TF.resized_crop(x[i % len(x)], *(int(v[k]) for k in ('top', 'left', 'height', 'width')), [size] * 2, antialias=True) if aug.scale else x[i % len(x)]
        if v['flip']: a = TF.horizontal_flip(a)
        for k in A._orders[int(v['order'])] if v['order'] >= 0 else []:
            name = A._jitter[k][0]
            a = getattr(TF, f'adjust_{name}')(a, v[name])
        if v['gray']: a = TF.rgb_to_grayscale(a, 3) if len(a) == 3 else a
        if v['sigma']: a = TF.gaussian_blur(a, 2 * min(size - 1, 12) + 1, v['sigma'])
        if v['solarized']: a = TF.solarize(a, 128/255)
        if v['e_height']:
            t, l, h, w = (round(v[f'e_{k}'] * size) for k in ('top', 'left', 'height', 'width'))
            a = a.clone(); a[:, t:t+h, l:l+w] = a.mean((1, 2), keepdim=True)
        out.append(a)
    return torch.stack(out)

@pytest.mark.parametrize('c', [1, 3])
def test_recipe_one_by_one(c):
    "All operations in each image's own order, against torchvision; what differs is the cut at three sigma."
    x, aug = pictures(60, c, 32, 32), BatchAugment(24, **FULL, generator=seeded(0))
    p = aug.draw(120, 32, 32)
    p['order'] = torch.where(p['order'] >= 0, torch.randint(24, (120,), generator=seeded(1)).float(), -1.)   # any order for any image
    assert len(p['order'].unique()) == 25
    d = (aug.apply(x, p) - one_by_one(aug, x, p, 24)).abs().amax((1, 2, 3))
    near = d < 1e-2
    assert (near | (p['solarized'] > 0)).all() and near.float().mean() > .9       # a pixel at the threshold may fall on the other side
    b = (x * 255).round().byte()
    assert ((aug.apply(b, p) - aug.apply(b / 255, p)).abs() < 1e-4).float().mean() > .999

def test_nothing_is_nothing():
    x = (pictures() * 255).byte()
    close(BatchAugment().views(x)[0], x / 255, 1e-6)
    close(BatchAugment(flip=1.).views(x)[0], x.flip(-1) / 255, 1e-6)
    close(BatchAugment(16).views(x)[0], torch.stack([TF.resize(a, [16, 16]) for a in x / 255]), 1e-5)

def test_normalised():
    x, aug = pictures(), simclr_augment(generator=seeded(0))
    p, mean, std = aug.draw(12, 40, 32), [.1, .2, .3], [.5, .25, 2.]
    view = lambda v: torch.tensor(v).view(3, 1, 1)
    close(aug.apply(x, p, mean, std), (aug.apply(x, p) - view(mean)) / view(std), 1e-5)

def test_seed():
    x, aug = pictures(), BatchAugment(**FULL, affine=dict(rotate=20))
    def views(seed): torch.manual_seed(seed); return torch.cat(aug.views(x, 3))
    assert torch.equal(views(1), views(1)) and not torch.equal(views(1), views(2))
    def own(seed): return BatchAugment(**FULL, affine=dict(rotate=20), generator=seeded(seed)).views(x, 2)
    state = torch.random.get_rng_state()
    assert torch.equal(own(3)[1], own(3)[1]) and not torch.equal(own(3)[0], own(3)[1]) and not torch.equal(own(3)[0], own(4)[0])
    assert torch.equal(state, torch.random.get_rng_state())                    # a generator of its own leaves torch's alone

def test_every_image_its_own():
    "Sixteen copies of an image become sixteen views."
    v = BatchAugment(**FULL, generator=seeded(0)).views(pictures(1).repeat(16, 1, 1, 1))[0]
    assert min(float((v[i] - v[j]).abs().mean()) for i in range(16) for j in range(i)) > 1e-3

def test_order_of_the_batch():
    "Views come back in the order of their images, whatever they were sorted by: a batch where only colors tell."
    x = torch.linspace(.05, .95, 40).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    for v in BatchAugment(scale=(.08, 1.), flip=.5, jitter=(0, 0, .8, .2), gray=.2, blur=.5, generator=seeded(0)).views(x, 2): close(v, x, 1e-3)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_same_on_gpu():
    x, aug = pictures(), BatchAugment(**FULL, affine=dict(rotate=20), generator=seeded(0))
    p = aug.draw(24, 40, 32)
    assert ((aug.apply(x, p) - aug.apply(x.cuda(), p).cpu()).abs() < 1e-3).float().mean() > .999

@pytest.mark.parametrize('shape', [(1, 1, 8, 8), (2, 3, 8, 8), (3, 1, 28, 28), (2, 3, 17, 31), (1, 3, 2, 2)])
def test_small_and_odd(shape):
    "One image, gray, tiny, not square: finite, in range, of the right shape."
    for aug in (simclr_augment(), *byol_augment(), *multicrop_augment(16, 8, 1), BatchAugment(**FULL, affine=dict(rotate=20))):
        v = aug.views((torch.rand(shape) * 255).byte(), 2)
        side = (aug.size,) * 2 if aug.size else shape[2:]
        assert len(v) == 2 and all(a.shape == (*shape[:2], *side) and a.isfinite().all() and a.min() >= -1e-5 and a.max() <= 1 + 1e-5 for a in v)

def test_empty_batch(): assert simclr_augment().views(torch.zeros(0, 3, 8, 8))[0].shape == (0, 3, 8, 8)

@pytest.mark.parametrize('x, says', [(torch.rand(2, 4, 8, 8), 'these have 4'), (torch.rand(2, 2, 8, 8), 'these have 2'), (torch.rand(3, 8, 8), r'shape \(3, 8, 8\)'),
    (torch.rand(2, 3, 8, 8) * 255, 'augment before normalizing'), (torch.randn(2, 3, 8, 8), '0..1'), (torch.full((2, 3, 8, 8), float('nan')), 'nan'),
    (torch.ones(2, 3, 8, 8).long(), 'cast them'), (np.zeros((2, 3, 8, 8)), r'shape \(2, 3, 8, 8\)'), ([1], 'a list'), (torch.rand(2, 3, 1, 8), 'too small')])
def test_bad_batches(x, says):
    for f in (lambda: simclr_augment().views(x), lambda: adjust_hue(x, .1), lambda: resized_crop(x, [[0, 0, 1, 1]] * 2, 4), lambda: solarize(x)):
        with pytest.raises(DataError, match=says): f()

@pytest.mark.parametrize('kw, says', [(dict(flip=1.1), 'probability'), (dict(gray=-.1), 'probability'), (dict(scale=(0, 1)), 'scale'), (dict(scale=(.5, .1)), 'scale'),
    (dict(ratio=(2, 1)), 'ratio'), (dict(sigma=(0, 1)), 'sigma'), (dict(jitter=(1, 1, 1)), 'four'), (dict(jitter=(1, 1, 1, .6)), 'hue'), (dict(jitter=(-1, 1, 1, .1)), 'four'), (dict(size=1), 'size=1')])
def test_bad_parameters(kw, says):
    with pytest.raises(DataError, match=says): BatchAugment(**kw)

def test_bad_factors():
    x = pictures(2)
    for f in (lambda: adjust_brightness(x, -1), lambda: adjust_hue(x, .6), lambda: adjust_contrast(x, [1., 2, 3]), lambda: adjust_saturation(x, float('nan')), lambda: gaussian_blur(x, 0), lambda: simclr_augment().views(x, 0)):
        with pytest.raises(DataError): f()

# ---------------------------------------------------------------- distributions
def test_boxes_as_torchvision():
    "Windows of square and long images, with the fallback in the middle."
    from torchvision.transforms import RandomResizedCrop
    for h, w, scale, ratio in ((96, 96, (.08, 1.), (3/4, 4/3)), (28, 28, (.2, 1.), (3/4, 4/3)), (20, 100, (.5, 1.), (3/4, 4/3)), (100, 20, (.9, 1.), (3/4, 4/3))):
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(torch.empty(3, h, w), scale, ratio) for _ in range(3000)]).float()
        ours = random_boxes(3000, h, w, scale, ratio, seeded(1))
        assert (ours >= 0).all() and (ours[:, 0] + ours[:, 2] <= h).all() and (ours[:, 1] + ours[:, 3] <= w).all()
        for a, b in zip(ours.T, theirs.T): assert ks_2samp(a, b).pvalue > 1e-3

@pytest.fixture(scope='module')
def drawn(): return simclr_augment(generator=seeded(0)).draw(40_000, 96, 96)

def test_drawn_as_lightly_says(drawn):
    "Probabilities and ranges of SimCLRTransform, read from its own objects."
    lightly = pytest.importorskip('lightly.transforms')
    t = lightly.SimCLRTransform(input_size=96).transforms[0].transform.transforms
    by = {type(o).__name__: o for o in t}
    jitter, p, n = by['RandomApply'].transforms[0] if hasattr(by['RandomApply'], 'transforms') else None, by['RandomApply'].p, len(drawn['flip'])
    near = lambda k, v: abs(float(k.float().mean()) - v) < 4 * (.25 / n) ** .5
    jittered = drawn['order'] >= 0
    assert near(drawn['flip'], by['RandomHorizontalFlip'].p) and near(jittered, p) and near(drawn['gray'], by['RandomGrayscale'].p) and near(drawn['sigma'] > 0, by['GaussianBlur'].prob)
    for k in ('brightness', 'contrast', 'saturation', 'hue'):
        low, high = getattr(jitter, k)
        assert ks_2samp(drawn[k], np.random.default_rng(0).uniform(low, high, n)).pvalue > 1e-3 and low <= drawn[k].min() and drawn[k].max() <= high
    low, high = by['GaussianBlur'].sigmas
    s = drawn['sigma'][drawn['sigma'] > 0]
    assert ks_2samp(s, np.random.default_rng(0).uniform(low, high, n)).pvalue > 1e-3
    assert str(getattr(by['RandomResizedCrop'].interpolation, 'value', by['RandomResizedCrop'].interpolation)) == 'bilinear' and tuple(by['RandomResizedCrop'].scale) == (.08, 1.)
    assert tuple(by['RandomResizedCrop'].ratio) == simclr_augment().ratio

def test_independent(drawn):
    "No parameter says anything about another."
    names = [k for k, v in drawn.items() if v.ndim == 1 and v.std() > 0 and k not in ('top', 'left', 'height', 'width', 'order') and k[:2] != 'e_']
    c = np.corrcoef(np.stack([drawn[k] for k in names])) - np.eye(len(names))
    assert np.abs(c).max() < .03
    assert abs(np.corrcoef(drawn['height'], drawn['hue'])[0, 1]) < .03

def test_all_orders():
    "One order for some hundred images, all 24 equally often."
    one = simclr_augment(generator=seeded(0)).draw(200, 32, 32)['order']
    assert len(one[one >= 0].unique()) == 1
    many = torch.cat([simclr_augment(generator=seeded(s)).draw(8, 32, 32)['order'] for s in range(800)])
    counts = np.bincount(many[many >= 0].int().numpy(), minlength=24)
    assert counts.min() > .5 * counts.mean() and counts.max() < 1.5 * counts.mean()

def test_views_as_lightly():
    "Statistics of a thousand views of one picture, beside lightly's."
    lightly = pytest.importorskip('lightly.transforms')
    from PIL import Image
    from pretrain_notes.datasets import photos
    im = photos().image(1).crop((200, 100, 400, 300)).resize((48, 48), Image.Resampling.BILINEAR)
    torch.manual_seed(0); np.random.seed(0)
    t, n = lightly.SimCLRTransform(input_size=48, normalize=None), 600
    theirs = torch.stack([v for _ in range(n) for v in t(im)])
    x = torch.from_numpy(np.asarray(im).copy()).permute(2, 0, 1)[None]
    ours = torch.cat(simclr_augment(generator=seeded(0)).views(x.repeat(n, 1, 1, 1), 2))
    detail = lambda v: (v[..., 1:] - v[..., :-1]).abs().mean((1, 2, 3))
    for f in (lambda v: v.mean((1, 2, 3)), lambda v: v.std((1, 2, 3)), lambda v: v.std(1).mean((1, 2)), lambda v: (v[:, 0] - v[:, 2]).mean((1, 2)), detail, lambda v: (v > .999).float().mean((1, 2, 3))):
        a, b = f(ours), f(theirs)
        assert ks_2samp(a, b).statistic < .08

# ---------------------------------------------------------------- mixing
def test_cutmix_each():
    "The target is mixed by the share of pixels that are replaced, for each image by itself."
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.callback.core import Callback
    from fastai.callback.mixup import MixUp
    import fastai.callback.progress
    from pretrain_notes.batch.loaders import ImageTensors, tensor_dataloaders
    x, y = torch.arange(64, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 20, 20).contiguous(), torch.arange(64) % 4
    dls = tensor_dataloaders(ImageTensors(x, y, list('abcd')), ImageTensors(x[:8], y[:8], list('abcd')), bs=32, device='cpu')
    for make in (CutMixEach, MixUp):
        cb, seen = make(), []
        class Peek(Callback):
            order = 90
            def before_batch(self):
                if self.training: seen.append((self.x.clone(), [v.clone() for v in (self.y, cb.yb1[0], cb.lam)]))
        torch.manual_seed(0)
        learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(400, 4)), loss_func=CrossEntropyLossFlat(), cbs=[cb, Peek()])
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        assert learn.loss_func.__class__ is CrossEntropyLossFlat
        for b, (_, _, lam) in seen:
            if len(lam) != 32: continue
            assert len(lam) == 32 and lam.min() >= 0 and lam.max() <= 1
            if make is MixUp: continue
            kept = torch.stack([(v == v.flatten().mode().values).float().mean() for v in b])       # plain images: the larger part is one value
            close(torch.maximum(lam, 1 - lam)[kept < 1], kept[kept < 1], 1e-5)       # one may be mixed with itself
        assert len(torch.cat([l for _, (_, _, l) in seen]).unique()) > 20

# ---------------------------------------------------------------- the compiled loop: loaded late, kept on disk
def test_numba_is_loaded_on_first_use(sh):
    "Importing the recipes does not pay for the compiler; a second process finds what the first has compiled."
    code = ("import sys, time, torch; from pretrain_notes.batch.augment import simclr_augment; assert 'numba' not in sys.modules\n"
            "torch.manual_seed(0); simclr_augment().views(torch.zeros(8, 3, 8, 8, dtype=torch.uint8)); assert 'numba' in sys.modules\n"
            "from pretrain_notes.batch.kernels import jitter_each; print(sum(jitter_each.stats.cache_hits.values()), sum(jitter_each.stats.cache_misses.values()))")
    first, again = (sh('-c', code, PYTHONPATH=str(ROOT)).split()[-2:] for _ in range(2))
    assert first in (['0', '1'], ['1', '0']) and again == ['1', '0']

def test_no_folder_to_keep_code_in(monkeypatch):
    from numba.core.caching import CompileResultCacheImpl
    monkeypatch.setattr(CompileResultCacheImpl, '_locator_classes', [])
    def double(v): return v * 2
    f = kernels.compiled(double)
    assert f(3) == 6 and not f.stats.cache_path
