"""Objectives: encoders of every library, a Learner that trains, stops at the first NaN, and refuses what would train nothing."""
import io
import numpy as np
import pytest
torch = pytest.importorskip('torch')
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.torch_core import set_seed
from pretrain_notes.pretrain.checkpoint import Checkpoint
from pretrain_notes.pretrain.contrastive import SimCLR
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.transfer.recipes import encoder_learner
from pretrain_notes.pretrain.encoders import make_encoder, n_features
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples
from training import Turn, pairs, parts, plain, quiet, samples                    # noqa: F401 (fixtures among them)

torch.set_num_threads(1)

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
