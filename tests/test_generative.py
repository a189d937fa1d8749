"""Autoencoders, GANs and masked autoencoders: what their pages promise, on other shapes, with bad input."""
import numpy as np, pytest, torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from torch import nn
from torch.distributions import Normal, kl_divergence

from pretrain_notes.pretrain.autoencoder import VAE, Autoencoder, Decoder, show_reconstructions, show_rows
from pretrain_notes.datasets import digits
from pretrain_notes.pretrain.gan import GAN, Critic, SampleRecorder, frechet_distance, gan_learner
from pretrain_notes.pretrain.masked import MaskedAutoencoder, from_patches, show_masked, sincos_positions, to_patches, vit_encoder
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

torch.set_num_threads(1)
MAKE = dict(plain=lambda: Autoencoder(noise=0, mask=0), denoising=Autoencoder, vae=VAE, gan=GAN, masked=lambda: MaskedAutoencoder(patch=4))

def loaders(h=12, w=8, c=3, n=48, bs=16):
    "A few random pictures, unlabeled."
    x = np.random.default_rng(0).integers(0, 256, (n, h, w, c), dtype='uint8')
    return Samples.from_arrays(x[..., 0] if c == 1 else x).split(valid=.25, test=0, seed=0).dataloaders(label=None, bs=bs, device='cpu')

def fit(learn, n=1, lr=1e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, lr)
    return learn

def learner(dls, o): return gan_learner(dls, o) if isinstance(o, GAN) else pretrain_learner(dls, o)

# ---------------------------------------------------------------- all of them
@pytest.mark.parametrize('shape', [(12, 8, 3), (8, 8, 1), (28, 28, 1), (20, 20, 4)])
@pytest.mark.parametrize('name', MAKE)
def test_any_shape(name, shape):
    "Gray, color and four channels, square or not; the encoder's weights move; parts of the loss are finite."
    if shape[2] == 4:
        x = torch.randn(16, 4, *shape[:2])
        o = MAKE[name]().setup(x)
        assert torch.isfinite(o.loss(o(x)))
        return
    set_seed(0)
    learn = learner(loaders(*shape), MAKE[name]())
    before = {k: v.clone() for k, v in learn.model.encoder.state_dict().items() if v.is_floating_point()}
    fit(learn)
    assert any((before[k] != v).any() for k, v in learn.model.encoder.state_dict().items() if k in before)
    assert np.isfinite(np.asarray(learn.recorder.values, float)).all()

@pytest.mark.parametrize('name', MAKE)
def test_seeded(name):
    def once():
        set_seed(0)
        return fit(learner(loaders(), MAKE[name]())).recorder.values
    assert once() == once()

@pytest.mark.parametrize('name', MAKE)
def test_nan_stops(name):
    class Spoil(Callback):
        def before_batch(self): self.learn.xb = (self.xb[0] * float('nan'),)
    learn = learner(loaders(), MAKE[name]()).add_cb(Spoil())
    with pytest.raises(DataError, match='not finite'): fit(learn)

@pytest.mark.parametrize('name', MAKE)
def test_one_image(name):
    "One image is enough to be looked at, and too little to train on."
    dls = loaders()
    o = learner(dls, MAKE[name]()).model.eval()
    x = dls.one_batch()[0][:1]
    with torch.no_grad(): assert torch.isfinite(o.loss(o(x)))
    with pytest.raises(DataError, match='one image each'): learner(loaders(bs=1), MAKE[name]())

@pytest.mark.parametrize('name', MAKE)
def test_channels(name):
    grey = vit_encoder(1, 8, 4, 64, 1) if name == 'masked' else Critic(1) if name == 'gan' else make_encoder(size=8)
    cls = dict(masked=MaskedAutoencoder, gan=GAN).get(name, Autoencoder)
    with pytest.raises(DataError, match='channels'): cls(grey).setup(torch.randn(4, 3, 8, 8))

@pytest.mark.parametrize('make', [lambda: Autoencoder(noise=-1), lambda: Autoencoder(mask=1), lambda: VAE(beta=-1), lambda: VAE(dim=0), lambda: GAN(dim=0),
                                  lambda: GAN(r1=-1), lambda: MaskedAutoencoder(mask=0), lambda: MaskedAutoencoder(mask=1)])
def test_settings(make):
    with pytest.raises(DataError, match='='): make()

def test_timm_encoder():
    "Any encoder without its head: here a small ResNet of timm, in gray."
    x = torch.randn(4, 1, 32, 32)
    for cls in (Autoencoder, VAE, GAN):
        o = cls(make_encoder('resnet10t', 1, 32)).setup(x)
        o.loss(o(x)).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in o.encoder.parameters())

# ---------------------------------------------------------------- variational
def test_vae_bound():
    "The loss is the negative bound, a pixel, but for the constant of the normal distribution."
    set_seed(0)
    x = torch.randn(6, 1, 8, 8)
    o = VAE(dim=5, beta=.7).setup(x)
    made, _, mean, log_var = o(x)
    likelihood = Normal(made, 1.).log_prob(x).flatten(1).sum(1) + 64 * .5 * np.log(2 * np.pi)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0., 1.)).sum(1)
    torch.testing.assert_close(o.loss((made, x, mean, log_var)), -(likelihood - .7 * kl).mean() / 64, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(o.parts['kl'], kl, rtol=1e-4, atol=1e-5)

def test_vae_uses():
    x = torch.randn(6, 3, 12, 8)
    o = VAE(dim=5).setup(x).train()
    assert o.sample(7).shape == (7, 3, 12, 8) and torch.equal(o.sample(2, seed=3), o.sample(2, seed=3)) and not torch.equal(o.sample(2), o.sample(2, seed=3))
    walk = o.walk(x[:2], x[2:4], steps=4)
    torch.testing.assert_close(walk[:, -1], o.eval().reconstruct(x[2:4]))
    assert walk.shape == (2, 4, 3, 12, 8) and o.active_units(x).shape == (5,)
    with torch.no_grad(): o.moments.weight.zero_()
    assert not o.active_units(x).any()
    o.train(); o.sample(1)
    assert o.training

def test_vae_overflow():
    "A step that went wrong gives large numbers, not infinite ones."
    x = torch.randn(4, 1, 8, 8)
    o = VAE().setup(x)
    with torch.no_grad(): o.moments.bias.fill_(1e4)
    assert torch.isfinite(o.loss(o(x)))

def test_figures():
    x = torch.randn(5, 3, 12, 8)
    for o in (Autoencoder(), VAE()): assert len(show_reconstructions(o.setup(x), x, 3).axes) == (9 if type(o) is Autoencoder else 6)
    assert len(show_masked(MaskedAutoencoder(patch=4).setup(x), x, 2).axes) == 6
    assert len(show_rows([x, x[:2]]).axes) == 10 and len(show_rows({'flat': torch.zeros(1, 1, 4, 4)}).axes) == 1

def test_decoder_sizes():
    for size in ((7, 9), (1, 1), (28, 30)): assert Decoder(4, 2, size)(torch.randn(2, 4)).shape == (2, 2, *size)

# ---------------------------------------------------------------- adversarial
def test_gan_gradients():
    "Each loss reaches its own player; what was frozen stays frozen."
    x = torch.randn(8, 1, 8, 8)
    o = GAN().setup(x)
    first = next(o.encoder.parameters()).requires_grad_(False)
    real, fake, fooled, penalty = o(x)
    critic, drawer = [p for p in [*o.encoder.parameters(), *o.head.parameters()] if p.requires_grad], list(o.drawer.parameters())
    grads = lambda loss, ps: [g is not None for g in torch.autograd.grad(loss, ps, retain_graph=True, allow_unused=True)]
    assert not any(grads(nn.functional.softplus(-fooled).mean(), critic)) and all(grads(nn.functional.softplus(-fooled).mean(), drawer))
    assert not any(grads(fake.mean(), drawer)) and all(grads(fake.mean(), critic))
    assert not first.requires_grad and not any(p.requires_grad for p in o.average.parameters())

def test_gan_penalty():
    "R1 of a linear critic is the squared length of its weights."
    o = GAN(nn.Flatten(), r1=2.).setup(torch.randn(4, 1, 3, 3))
    penalty = o(torch.randn(4, 1, 3, 3))[3]
    torch.testing.assert_close(penalty, o.head.weight.square().sum())
    with torch.no_grad(): assert o(torch.randn(4, 1, 3, 3))[3] == 0

def test_gan_average():
    "Samples come from the average, which follows the generator."
    set_seed(0)
    frames = SampleRecorder(4)
    learn = gan_learner(loaders(8, 8, 1), cbs=[frames])
    before = learn.model.sample(4)
    fit(learn, 2)
    assert len(frames.history) == 2 and torch.equal(frames.history[-1], learn.model.sample(4)) and not torch.equal(before, frames.history[0])
    apart = sum((a - b).abs().sum() for a, b in zip(learn.model.average.parameters(), learn.model.drawer.parameters()))
    assert 0 < apart and [len(g) for g in learn.opt.param_lists] == [len(list(learn.model.drawer.parameters())), 8]

def test_frechet():
    scipy = pytest.importorskip('scipy.linalg')
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + 1
    s, t = np.cov(x.T), np.cov(y.T)
    want = ((x.mean(0) - y.mean(0))**2).sum() + np.trace(s + t - 2 * scipy.sqrtm(s @ t).real)
    np.testing.assert_allclose(frechet_distance(x, y), want, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(y, x), want, rtol=1e-6)
    few = frechet_distance(x[:5], y[:7])
    assert np.isfinite(few) and few > 0 and frechet_distance(x, x[::-1]) < 1e-9
    assert frechet_distance(np.ones((5, 3)), np.ones((4, 3))) == 0

@pytest.mark.parametrize('x, message', [(np.ones(3), 'table'), (np.ones((1, 3)), 'at least 2'), (np.full((4, 3), np.inf), 'not finite'),
                                        (np.ones((2, 5000)), 'too many'), (np.ones((4, 2)), 'same encoder')])
def test_frechet_bad(x, message):
    with pytest.raises(DataError, match=message): frechet_distance(x, np.ones((4, 3)))

# ---------------------------------------------------------------- masked
def test_patches_round_trip():
    for shape, p in (((2, 3, 12, 8), 4), ((1, 1, 6, 6), 1), ((2, 2, 6, 9), 3)):
        x = torch.randn(shape)
        assert torch.equal(from_patches(to_patches(x, p), shape[1], (shape[2] // p, shape[3] // p)), x)

@pytest.mark.parametrize('size, p, say', [(28, 5, 'patch=2 or 4 or 7'), (13, 2, 'another size'), (28, 0, 'cannot be cut')])
def test_patch_does_not_fit(size, p, say):
    x = torch.randn(2, 1, size, size)
    for f in (lambda: MaskedAutoencoder(patch=p).setup(x), lambda: vit_encoder(1, size, p), lambda: to_patches(x, p)):
        with pytest.raises(DataError, match=say): f()

def test_not_a_vit():
    with pytest.raises(DataError, match='does not read patches'): MaskedAutoencoder('small').setup(torch.randn(2, 1, 8, 8))

def test_positions():
    p = sincos_positions((4, 6), 16)
    assert p.shape == (1, 24, 16) and p.abs().max() <= 1 and len(p[0].unique(dim=0)) == 24
    with pytest.raises(DataError, match='multiple of 4'): sincos_positions((2, 2), 6)

def test_class_token():
    "A ViT with a class token, as timm makes it: the token stays in front and is not guessed."
    x = torch.randn(4, 3, 16, 16)
    o = MaskedAutoencoder(make_encoder('vit_tiny_patch16_224', 3, 16, patch_size=4, embed_dim=32, depth=1, num_heads=2)).setup(x)
    keep, hidden = o.hide(x)
    assert o.encode(x, keep).shape == (4, 4, 32) and o.guess(o.encode(x, keep), keep).shape == (4, 16, 48)
    o.loss(o(x)).backward()
    assert o.encoder.cls_token.grad.abs().sum() > 0

@pytest.mark.parametrize('mask, visible', [(.01, 15), (.5, 8), (.75, 4), (.999, 1)])
def test_share(mask, visible):
    "There is always something to guess and something to guess from, and another choice for each image."
    x = torch.randn(32, 1, 8, 8)
    o = MaskedAutoencoder(patch=2, mask=mask).setup(x)
    keep, hidden = o.hide(x)
    assert keep.shape == (32, visible) and (hidden.sum(1) == 16 - visible).all() and len(hidden.unique(dim=0)) > 5
    assert all(not h[k].any() for h, k in zip(hidden, keep))

def test_flat_images():
    "Pictures of one shade give a loss of what is guessed, not NaN."
    x = torch.ones(4, 1, 8, 8)
    o = MaskedAutoencoder(patch=2).setup(x)
    loss = o.loss(o(x)); loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in o.parameters() if p.grad is not None)

def test_loads_alone():
    timm = pytest.importorskip('timm')
    encoder, x = vit_encoder(1, (12, 8), 4, 32, 1).eval(), torch.randn(2, 1, 12, 8)
    again = timm.create_model(encoder.recipe['architecture'], **encoder.recipe['args'])
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad(): assert torch.equal(again.eval()(x), encoder(x))

def test_learns_digits():
    "All guess better than the mean picture would after a few epochs on the digits."
    dls = digits().split(valid=.2, test=.2, seed=0).dataloaders(label=None, bs=64, device='cpu')
    set_seed(0)
    learn = pretrain_learner(dls, Autoencoder())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(5, 5e-3)
    assert learn.recorder.values[-1][1] < .45
