"""Our loaders are ordinary fastai `DataLoaders`: what fastai's own notebooks ask of a Learner, by value, for each kind of loader.

Another kind of loader joins with one more entry in `KINDS`.
"""
from collections import namedtuple
import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from fastai.callback.all import CSVLogger, CutMix, EarlyStoppingCallback, MixUp, SaveModelCallback
import fastai.callback.fp16, fastai.callback.hook, fastai.callback.schedule
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import SGD
from fastai.torch_core import TensorCategory, set_seed
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.learner import vision_learner
from torch import nn
from pretrain_notes.base import DataError
from pretrain_notes.batch.augment import simclr_augment
from pretrain_notes.batch.loaders import Augment, SampleLoaders, as_samples
from pretrain_notes.batch.stream import stream_dataloaders
from pretrain_notes.batch.tokenizers import train_tokenizer
from pretrain_notes.batch.tokens import TokenBatch
from pretrain_notes.datasets import digits, sample_texts

@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv('TQDM_DISABLE', '1')
    yield
    plt.close('all')

# ---------------------------------------------------------------- the kinds of loaders
def samples(): return digits()[:400].split(valid=.3, test=.2, seed=0)
def net(dls): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, dls.c))
def in_memory(s, augment=None, **kw): return s.dataloaders(bs=32, augment=augment, device='cpu', **kw)
def streamed(s, augment=None, **kw): return stream_dataloaders(s, bs=32, augment=augment, device='cpu', **kw)
def item_by_item(s, augment=None, **kw):
    return s.dataloaders(bs=32, item_tfms=Resize(8), batch_tfms=augment, device='cpu', num_workers=0, **kw)

def same_picture(dls, x, s):
    "What came out is the picture that went in."
    x = plain(x).float()
    assert (x * (255 if x.max() <= 1 else 1) - torch.from_numpy(s.images())).abs().max() <= 1.01

# ---------------------------------------------------------------- texts: rows by length, so that they come in another order
class Words(nn.Module):
    "The mean of the words' vectors, and a layer"
    def __init__(self, n, c): super().__init__(); self.table, self.head = nn.Embedding(n, 64), nn.Linear(64, c)
    def forward(self, xb):
        assert isinstance(xb, TokenBatch)
        seen = xb['attention_mask'][..., None].float()
        return self.head((self.table(xb['input_ids']) * seen).sum(1) / seen.sum(1))

def text_samples(): return sample_texts().drop('spans').drop('group').split(valid=.3, test=.2, seed=0)
def of_words(s, augment=None, **kw):
    assert augment is None
    return s.dataloaders(bs=32, tokenizer=WORDS, device='cpu', **kw)
def word_net(dls): return Words(len(dls.tokenizer), dls.c)
def same_text(dls, x, s): assert x == WORDS.decode(WORDS(s['text'][0].as_py())['input_ids'], skip_special_tokens=True)
def text(s, i): return s[i]['text']
WORDS = train_tokenizer(sample_texts(), 'wordpiece', 2000, lowercase=True)

Kind = namedtuple('Kind', 'data dls net augment one forms same epochs right')      # forms: functions of a row that give what `predict` takes
def row(s, i): return s[i]
def picture(s, i): return s.image(i)
def array(s, i): return np.asarray(s.image(i))
def tensor(s, i): return torch.from_numpy(np.array(s.image(i)))[None]
def file(s, i): return s[i]['image']['bytes']
images = dict(data=samples, net=net, augment=lambda: Augment(rotate=40), one=Augment, forms=[row, picture, array, tensor, file], same=same_picture, epochs=4, right=.7)
KINDS = dict(memory=Kind(dls=in_memory, **images), stream=Kind(dls=streamed, **images), items=Kind(dls=item_by_item, **images),
             text=Kind(text_samples, of_words, word_net, None, None, [row, text], same_text, 30, .4))

@pytest.fixture(params=list(KINDS), scope='module')
def kind(request): return KINDS[request.param]
@pytest.fixture
def of_pictures(kind):
    if kind.augment is None: pytest.skip('a question about pictures')
@pytest.fixture(scope='module')
def data(kind): return kind.data()
@pytest.fixture(scope='module')
def dls(kind, data): return kind.dls(data)
@pytest.fixture(scope='module')
def trained(kind, dls, tmp_path_factory):
    "A learner that knows its classes, so that one prediction differs from the next."
    set_seed(0)
    learn = Learner(dls, kind.net(dls), metrics=accuracy, path=tmp_path_factory.mktemp('trained'))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(kind.epochs, 1e-2)
    return learn
@pytest.fixture
def learn(trained):
    with trained.no_bar(), trained.no_logging(): yield trained
@pytest.fixture
def fresh(kind, dls, tmp_path):
    set_seed(0)
    learn = Learner(dls, kind.net(dls), metrics=accuracy, path=tmp_path)
    with learn.no_bar(), learn.no_logging(): yield learn

def part(data, name): return data.by_split()[name]
def y_of(s): return torch.from_numpy(s.labels.copy())
def plain(x): return torch.Tensor.as_subclass(torch.as_tensor(x), torch.Tensor)
def wide(a, b):
    "Two rows as wide as the narrower one: the rest of the other is padding"
    n = min(a.shape[-1], b.shape[-1])
    assert not a[..., n:].any() and not b[..., n:].any()
    return a[..., :n], b[..., :n]

# ---------------------------------------------------------------- the loaders
def test_what_dls_know(dls, data):
    assert isinstance(dls, SampleLoaders) and dls.c == len(data.vocab) and list(dls.vocab) == data.vocab and dls.n_inp == 1
    assert len(dls.train_ds) == len(part(data, 'train')) and len(dls.valid_ds) == len(part(data, 'valid'))
    x, y = dls.one_batch()
    assert len(x) == len(y) == 32 and isinstance(y, TensorCategory)
    assert dls.train.new(bs=5).one_batch()[0].shape[0] == 5 and dls.new(bs=6).one_batch()[0].shape[0] == 6
    assert dls.cpu() is dls and torch.device(dls.to('cpu').device) == torch.device('cpu')

def test_decode_batch(kind, dls, data):
    "What comes out is what went in: the pictures as bytes, the texts as their tokens say, the classes by name."
    valid, dl = part(data, 'valid'), dls.valid.new()
    for (x, y), s in zip(dl.decode_batch(next(iter(dl)), max_n=5), (valid[[i]] for i in range(5))):
        assert str(y) == data.vocab[s.labels[0]]
        kind.same(dls, x, s)

def test_loss_is_inferred(learn): assert isinstance(learn.loss_func, CrossEntropyLossFlat)

def test_no_loss_without_labels(kind, data):
    with pytest.raises(AssertionError, match='Could not infer loss'): Learner(kind.dls(data, label=None), nn.Flatten())

# ---------------------------------------------------------------- predictions
def test_get_preds(kind, learn, data):
    p, y, loss = learn.get_preds(with_loss=True)
    assert torch.equal(plain(y), y_of(part(data, 'valid'))) and torch.allclose(p.sum(1), torch.ones(len(p)))
    assert torch.allclose(plain(loss), -p.gather(1, plain(y)[:, None])[:, 0].log(), atol=1e-4)
    assert (p.argmax(1) == y).float().mean() > kind.right
    x, p2, y, decoded = learn.get_preds(with_input=True, with_decoded=True)
    assert torch.allclose(p, p2) and torch.equal(plain(decoded), p.argmax(1))
    rows = [o for b in learn.dls.valid.new() for o in plain(b[0])]
    assert len(x) == len(rows) and all(torch.allclose(*wide(plain(a), b)) for a, b in zip(x, rows))

def test_get_preds_of_the_training_part(kind, learn, data):
    "In the order of the samples, whatever the loader shuffles, and all of them although training drops the last batch."
    train = part(data, 'train')
    p, y = learn.get_preds(0)
    assert torch.equal(plain(y), y_of(train))
    ref = learn.get_preds(dl=learn.dls.test_dl(train))[0]
    assert torch.allclose(p, ref, atol=1e-6)
    p2, y2 = learn.get_preds(dl=learn.dls.train.new(drop_last=False))                         # one that shuffles
    assert torch.equal(plain(y2), y_of(train)) and torch.allclose(p2, ref, atol=1e-6)

def test_test_dl(learn, data):
    "With labels and without; a list has none; validate sees the labels."
    s = part(data, 'test')
    dl = learn.dls.test_dl(s)
    p, y = learn.get_preds(dl=dl)
    assert torch.equal(plain(y), y_of(s)) and abs(learn.validate(dl=dl)[1] - float((p.argmax(1) == y).float().mean())) < 1e-6
    bare = s.drop('label'), [s[i] for i in range(len(s))], s.with_column('label', [None] * len(s))
    for dl in (learn.dls.test_dl(s, with_labels=False), *map(learn.dls.test_dl, bare)):
        assert len(dl.one_batch()) == 1
        q, none = learn.get_preds(dl=dl)
        assert none is None and torch.allclose(p, q)
    with pytest.raises(DataError, match='with_labels=False'): learn.dls.test_dl(s.with_column('label', [None, *s.labels[1:]]))
    with pytest.raises(DataError, match='no column'): learn.dls.test_dl(s.drop('label'), with_labels=True)

def test_predict(kind, learn, data):
    "The class, its number and the probabilities that `get_preds` gives for the same sample, in whatever form it comes."
    s = part(data, 'test')[:3]
    ref = learn.get_preds(dl=learn.dls.test_dl(s))[0]
    for i in range(len(s)):
        for form in kind.forms:
            name, k, p = learn.predict(form(s, i))
            assert torch.allclose(p, ref[i], atol=1e-6) and int(k) == int(ref[i].argmax()) and name == data.vocab[int(k)], form.__name__
    x, name, k, p = learn.predict(kind.forms[0](s, 0), with_input=True)
    kind.same(learn.dls, x, s[:1])

def test_predict_what_is_no_text(kind, learn):
    if kind.augment is not None: pytest.skip('a question about texts')
    for what in (3, None, b'bytes', dict(txt='a')):
        with pytest.raises(DataError, match='is no text'): learn.predict(what)

@pytest.mark.usefixtures('of_pictures')
@pytest.mark.parametrize('what, says', [(3, 'is no image'), (np.zeros((8, 8)), 'must be uint8'), ('nowhere.png', 'cannot be read'),
                                        (np.zeros(8, 'uint8'), 'is no image')])
def test_predict_what_is_no_image(learn, what, says):
    with pytest.raises(DataError, match=says): learn.predict(what)

@pytest.mark.usefixtures('of_pictures')
def test_predict_a_file(learn, data, tmp_path):
    s = part(data, 'test')
    (tmp_path/'a.png').write_bytes(s[0]['image']['bytes'])
    for f in (tmp_path/'a.png', str(tmp_path/'a.png')): assert torch.allclose(learn.predict(f)[2], learn.predict(s[0])[2])

def test_export(kind, learn, data, tmp_path):
    "A loaded learner predicts the same, knows its classes, and its file holds no data."
    s = part(data, 'test')[:20]
    learn.export(tmp_path/'learner.pkl')
    assert (tmp_path/'learner.pkl').stat().st_size < 1_000_000 - 900_000 * (kind.augment is not None)            # a tokenizer is part of what is needed
    again = load_learner(tmp_path/'learner.pkl')
    with again.no_bar(), again.no_logging():
        assert list(again.dls.vocab) == data.vocab and len(again.dls.valid_ds) == 0
        p, y = again.get_preds(dl=again.dls.test_dl(s))
        assert torch.equal(plain(y), y_of(s)) and torch.allclose(p, learn.get_preds(dl=learn.dls.test_dl(s))[0], atol=1e-6)
        for form in kind.forms: assert torch.allclose(again.predict(form(s, 0))[2], p[0], atol=1e-6)

# ---------------------------------------------------------------- test-time augmentation
@pytest.mark.usefixtures('of_pictures')
def test_tta(kind, learn, data):
    "Without augmentation it is `get_preds`; with augmentation the four rounds differ from it, and the augmentation is off afterwards."
    p, y = learn.get_preds()
    q, z = learn.tta()
    assert torch.allclose(p, q, atol=1e-5) and torch.equal(plain(y), plain(z))
    dls, was = kind.dls(data, kind.augment()), learn.dls
    learn.dls = dls
    try:
        set_seed(0)
        aug, same = learn.tta(beta=None)[0]
        assert torch.allclose(same, p, atol=1e-5) and (aug - p).abs().max() > .01
        assert torch.allclose(learn.get_preds()[0], p, atol=1e-5)
        assert learn.tta(ds_idx=0)[0].shape == (len(part(data, 'train')), dls.c)
    finally: learn.dls = was

# ---------------------------------------------------------------- interpretation
@pytest.mark.parametrize('which', ['valid', 'train', 'test'])
def test_top_losses(kind, learn, data, which):
    "The first picture shown is the sample with the largest loss, with its class and the predicted one."
    s = part(data, which)
    dl = learn.dls.test_dl(s) if which == 'test' else None
    interp = Interpretation.from_learner(learn, ds_idx=dict(train=0).get(which, 1), dl=dl)
    ref = plain(learn.get_preds(dl=learn.dls.test_dl(s), with_loss=True)[2])
    losses, idx = interp.top_losses(5)
    assert torch.allclose(plain(losses), ref.topk(5).values, atol=1e-5) and int(idx[0]) == int(ref.argmax())
    if kind.augment is None: return
    interp.plot_top_losses(4)
    ax, i = plt.gcf().axes[0], int(ref.argmax())
    shown = np.asarray(ax.images[0].get_array(), dtype='float32').squeeze()
    shown = shown[..., 0] if shown.ndim == 3 else shown
    assert np.abs(shown * (255 if shown.max() <= 1 else 1) - s[[i]].images()[0]).max() <= 1.01
    predicted, actual = ax.get_title().split(' / ')[0].split('/')
    assert actual == data.vocab[s.labels[i]] and predicted == learn.predict(s[i])[0]

def test_interp_items_and_results(kind, learn, data):
    s, interp = part(data, 'valid'), Interpretation.from_learner(learn)
    losses, idx, items = interp.top_losses(3, items=True)
    assert len(items) == 3
    x, p, y, decoded, l = interp[idx]
    assert torch.equal(plain(y), y_of(s)[idx]) and torch.allclose(plain(l), plain(losses)) and torch.equal(plain(decoded), p.argmax(1))
    interp.show_results([2, 0])
    if kind.augment is not None: assert len([a for a in plt.gcf().axes if a.images]) == 2

def test_confusion(learn, data, capsys):
    from sklearn.metrics import confusion_matrix
    interp = ClassificationInterpretation.from_learner(learn)
    p, y = learn.get_preds()
    ref = confusion_matrix(y, p.argmax(1), labels=range(len(data.vocab)))
    assert np.array_equal(interp.confusion_matrix(), ref)
    interp.plot_confusion_matrix()
    assert [t.get_text() for t in plt.gca().get_xticklabels()] == data.vocab
    off = ref.copy(); np.fill_diagonal(off, 0)
    worst = interp.most_confused(min_val=1)
    assert worst[0][2] == off.max() and off[data.vocab.index(worst[0][0]), data.vocab.index(worst[0][1])] == off.max()
    interp.print_classification_report()
    assert f'{float((p.argmax(1) == y).float().mean()):.2f}' in capsys.readouterr().out

@pytest.mark.usefixtures('of_pictures')
def test_show(kind, dls, learn, data):
    dls.show_batch(max_n=4)
    assert len([a for a in plt.gcf().axes if a.images]) == 4
    dls.show_batch(max_n=4, unique=True)
    first = [np.asarray(a.images[0].get_array()) for a in plt.gcf().axes if a.images]
    assert len(first) == 4 and all(np.array_equal(first[0], o) for o in first)              # nothing is augmented here
    dls.test_dl(part(data, 'test'), with_labels=False).show_batch(max_n=3)
    assert len([a for a in plt.gcf().axes if a.images]) == 3
    set_seed(0); learn.show_results(max_n=4, shuffle=False)
    p, y = learn.get_preds()
    titles = [a.get_title().split('\n') for a in plt.gcf().axes if a.images]
    assert titles == [[data.vocab[int(a)], data.vocab[int(b)]] for a, b in zip(y[:4], p[:4].argmax(1))]

# ---------------------------------------------------------------- training
def test_weights_move_and_batches_are_seeded(fresh):
    before = [p.clone() for p in fresh.model.parameters()]
    fresh.fit(1, 1e-2)
    assert all(not torch.equal(a, b) for a, b in zip(before, fresh.model.parameters()))

def test_lr_find(fresh):
    before = [p.clone() for p in fresh.model.parameters()]
    assert 1e-7 < fresh.lr_find(num_it=30, show_plot=False).valley < 10
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.model.parameters()))

@pytest.mark.usefixtures('of_pictures')
@pytest.mark.parametrize('mix', [MixUp, CutMix])
def test_mixing(fresh, mix):
    fresh.fit(1, 1e-2, cbs=mix(.4))
    assert np.isfinite(fresh.recorder.values[-1]).all() and isinstance(fresh.loss_func, CrossEntropyLossFlat)

def test_callbacks(fresh, tmp_path):
    import pandas as pd
    fresh.fit_one_cycle(3, 1e-2, cbs=[SaveModelCallback(), CSVLogger(), EarlyStoppingCallback(min_delta=100., patience=1)])
    log = pd.read_csv(tmp_path/'history.csv')
    assert len(log) == 2 and (tmp_path/'models/model.pth').exists()      # no epoch is better by 100: stopped after the second
    best = float(log.valid_loss.min())
    assert abs(float(fresh.validate()[0]) - best) < 1e-3

@pytest.mark.filterwarnings('ignore')
def test_half_precision(fresh):
    "On a CPU a run in half precision still runs; on a GPU it is half precision."
    fresh.to_fp16().fit(1, 1e-2)
    assert np.isfinite(fresh.recorder.values[-1][0])

def test_summary(fresh):
    text = str(fresh.summary())
    assert 'Linear' in text and f'{sum(p.numel() for p in fresh.model.parameters()):,}' in text

@pytest.mark.usefixtures('of_pictures')
@pytest.mark.filterwarnings('ignore')
def test_vision_learner(kind, data, tmp_path):
    "Gray images, no loss named; frozen first, unfrozen after: the body moves in the second part alone."
    from torchvision.models import resnet18
    small = kind.dls(data)
    set_seed(0)
    learn = vision_learner(small, resnet18, n_in=1, pretrained=False, path=tmp_path, opt_func=SGD)
    assert isinstance(learn.loss_func, CrossEntropyLossFlat) and learn.model[-1][-1].out_features == small.c
    body = lambda: learn.model[0][0].weight.detach().clone()
    with learn.no_bar(), learn.no_logging():
        before = body(); learn.freeze(); learn.fit(1, 1e-3); assert torch.equal(before, body())
        learn.fine_tune(1, 1e-3); assert not torch.equal(before, body())

# ---------------------------------------------------------------- fastai's augmentations, and what a list of them means
@pytest.mark.usefixtures('of_pictures')
def test_fastai_augmentations(kind, data):
    "A list of fastai's random transforms is one augmentation, in training only."
    dls = kind.dls(data, aug_transforms(size=8, do_flip=False, max_rotate=40))
    set_seed(0)
    assert dls.n_inp == 1 and len(dls.one_batch()) == 2
    ref = kind.dls(data)
    assert torch.allclose(plain(next(iter(dls.valid))[0]), plain(next(iter(ref.valid))[0]), atol=1e-5)
    dl = dls.train.new(shuffle=False)
    assert (plain(next(iter(dl))[0]) - plain(next(iter(ref.train.new(shuffle=False)))[0])).abs().mean() > .01

@pytest.mark.parametrize('make', [in_memory, streamed])
def test_a_list_means_views(make):
    s = samples()
    two = make(s, aug_transforms(do_flip=False, max_rotate=60), label=None, views=2)
    a, b, y = two.one_batch()
    assert two.n_inp == 2 and (plain(a) - plain(b)).abs().mean() > .01                       # each view is drawn for itself
    assert make(s, [Augment(), simclr_augment(blur=0)], label=None).n_inp == 2
    with pytest.raises(DataError, match='batch_tfms='): make(s, [*aug_transforms(), Augment()])

# ---------------------------------------------------------------- images of other kinds
def test_other_modes():
    "Color into a gray net, gray into a color one, transparency, 16 bits: converted as the training images were."
    from PIL import Image
    gray = samples()
    color = gray.dataloaders(bs=32, mode='RGB', device='cpu')
    im = gray.image(0)
    x = color.test_dl([im.convert('RGBA'), im, im.convert('RGB'), im.convert('P')]).one_batch()[0]
    assert x.shape == (4, 3, 8, 8) and all(torch.allclose(plain(x[0]), plain(o), atol=1e-5) for o in x)
    wide = Image.fromarray(np.asarray(im).astype('uint16') * 257)
    y = gray.dataloaders(bs=32, device='cpu').test_dl([wide, im, im.convert('RGB')]).one_batch()[0]
    assert y.shape == (3, 1, 8, 8) and all(torch.allclose(plain(y[0]), plain(o), atol=.02) for o in y)

def test_as_samples():
    s = samples()
    assert as_samples(s) is s
    with pytest.raises(DataError, match='no images'): as_samples([])
