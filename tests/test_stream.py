"""Streams: folders, Parquet, Daft and Samples; order, threads, broken files, errors in the background."""
import gc, threading, time, warnings
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, pytest, torch
from fastai.torch_core import set_seed
from PIL import Image
from pretrain_notes.batch import stream as S
from pretrain_notes.batch.augment import byol_augment, simclr_augment
from pretrain_notes.datasets import digits
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples
from pretrain_notes.batch.stream import Prefetch, StreamDL, image_stream, shuffled, stream_dataloaders

CPU = dict(device='cpu')
def ours(): return [t.name for t in threading.enumerate() if t.name.startswith('pretrain-notes')]

@pytest.fixture(autouse=True)
def no_thread_is_left(monkeypatch):
    monkeypatch.setenv('TQDM_DISABLE', '1')
    yield
    gc.collect()
    end = time.monotonic() + 5
    while ours() and time.monotonic() < end: time.sleep(.01)
    assert not ours()

@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (('a', 20), ('b', 12)):
        (tmp_path/'f'/name).mkdir(parents=True)
        for i in range(n): Image.fromarray(rng.integers(0, 255, (*rng.integers(10, 30, 2), 3), dtype=np.uint8)).save(tmp_path/'f'/name/f'{i:02}.png')
    return tmp_path/'f'

@pytest.fixture(scope='module')
def table(tmp_path_factory):
    p = tmp_path_factory.mktemp('t')/'digits.parquet'
    pq.write_table(digits()[:600].split(seed=0).table, p, row_group_size=50)
    return p

def rows(dl): return torch.cat([b[-1] for b in dl])

# ---------------------------------------------------------------- sources
def test_folder(folder):
    s = image_stream(folder)
    assert (len(s), s.vocab) == (32, ['a', 'b']) and [y for _, y, _ in s] == [0] * 20 + [1] * 12
    assert len(image_stream(folder, label=None)) == 32 and image_stream(folder, label=None).vocab is None
    with pytest.raises(DataError, match="split 'valid'"): image_stream(folder, split='valid')

def test_folder_of_splits(folder, tmp_path):
    (tmp_path/'g').mkdir()
    for k in ('train', 'test'): (tmp_path/'g'/k).symlink_to(folder)                      # links that lead out are not followed
    with pytest.raises(DataError, match='holds no image'): image_stream(tmp_path/'g')
    import shutil
    for k in ('training', 'val'): shutil.copytree(folder, tmp_path/'h'/k)
    assert len(image_stream(tmp_path/'h', split='train')) == len(image_stream(tmp_path/'h', split='valid')) == 32
    assert stream_dataloaders(tmp_path/'h', size=8, bs=8, **CPU).one_batch()[0].shape == (8, 3, 8, 8)

def test_parquet(table):
    s = image_stream(table)
    assert len(s) == 600 and s.vocab == digits().vocab and [y for _, y, _ in s] == digits()[:600].labels.tolist()
    parts = [len(image_stream(table, split=k)) for k in ('train', 'valid', 'test')]
    assert sum(parts) == 600 and min(parts) > 100
    assert len(image_stream(table.parent)) == 600

def test_parquet_of_others(tmp_path):
    "Bytes without a struct, classes as words, in several files; a table without images; no table at all."
    png = [r['image']['bytes'] for r in (digits()[i] for i in range(10))]
    for k in range(2): pq.write_table(pa.table(dict(image=png, label=['x', 'y'] * 5)), tmp_path/f'{k}.parquet')
    s = image_stream(tmp_path)
    assert len(s) == 20 and s.vocab == ['x', 'y'] and [y for _, y, _ in s] == [0, 1] * 10
    pq.write_table(pa.table(dict(text=['a'])), tmp_path/'t.pq')
    with pytest.raises(DataError, match="no column 'image'"): image_stream(tmp_path/'t.pq')
    (tmp_path/'n.pq').write_bytes(b'PAR1 no')
    with pytest.raises(DataError, match='cannot be read as a Parquet file'): image_stream(tmp_path/'n.pq')
    pq.write_table(pa.table(dict(image=png, label=[None, 'y'] * 5)), tmp_path/'m.pq')
    with pytest.raises(DataError, match='5 samples have no label'): image_stream(tmp_path/'m.pq')

def test_daft_and_samples():
    s = digits()[:120]
    for source in (s, s.to_daft()):
        dls = stream_dataloaders(source, source, bs=16, **CPU)
        x, y = (torch.cat(o) for o in zip(*dls.valid))
        assert torch.equal(y, torch.from_numpy(s.labels)) and x.shape == (120, 1, 8, 8)

def test_same_as_in_memory(table):
    "What a net sees is what the loader in memory gives."
    stream = stream_dataloaders(table, bs=32, stats=([.3], [.4]), **CPU)
    s = digits()[:600].split(seed=0)
    x = torch.cat([b[0] for b in stream.valid])
    assert torch.allclose(x, (torch.from_numpy(s.by_split()['valid'].images())[:, None] / 255 - .3) / .4, atol=1e-5)
    tdl = stream.test_dl(s.by_split()['test'])
    assert torch.equal(rows(tdl), torch.from_numpy(s.by_split()['test'].labels)) and not tdl.mixed

# ---------------------------------------------------------------- order
def test_shuffled():
    rng = np.random.default_rng
    for n, size in ((100, 10), (100, 1000), (5, 5), (0, 4), (7, 1)):
        out = list(shuffled(iter(range(n)), size, rng(0)))
        assert sorted(out) == list(range(n)) and out == list(shuffled(iter(range(n)), size, rng(0)))
    assert list(shuffled(iter(range(50)), 10, None)) == list(range(50))
    places = np.array([list(shuffled(iter(range(200)), 50, rng(s))).index(0) for s in range(400)])
    assert places.mean() > 35 and len(set(places)) > 80                                   # the first item leaves any time

def test_seed_and_epochs(folder, table):
    for source, kw in ((folder, dict(size=8)), (table, {})):
        dls = stream_dataloaders(source, source, bs=8, label=None, views=2, augment=simclr_augment(), buffer=40, **kw, **CPU)
        def epoch(seed): set_seed(seed); return torch.cat([b[0] for b in dls.train])
        assert torch.equal(epoch(1), epoch(1)) and not torch.equal(epoch(1), epoch(2))
        assert torch.equal(rows(dls.valid), torch.arange(len(dls.valid_ds)))

def test_lengths(folder):
    for bs in (1, 5, 8, 32, 64):
        dls = stream_dataloaders(folder, folder, bs=bs, size=8, **CPU)
        assert len(list(dls.train)) == len(dls.train) and sum(len(b[1]) for b in dls.valid) == 32

def test_views(folder):
    dls = stream_dataloaders(folder, folder, bs=8, size=12, label=None, augment=byol_augment(), **CPU)
    a, b, y = dls.one_batch()
    assert a.shape == b.shape == (8, 3, 12, 12) and (a - b).abs().mean() > .05
    import matplotlib; matplotlib.use('Agg')
    dls.show_batch(max_n=4)

def test_learner(table):
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    import fastai.callback.all
    dls = stream_dataloaders(table, bs=32, **CPU)
    set_seed(0)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), loss_func=CrossEntropyLossFlat())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(4, 1e-2); p, y = learn.get_preds()
    assert (p.argmax(1) == y).float().mean() > .7

# ---------------------------------------------------------------- what goes wrong
def test_broken_images_are_told(folder):
    (folder/'a/03.png').write_bytes(b'')
    (folder/'b/05.png').write_bytes((folder/'b/05.png').read_bytes()[:90])
    dls = stream_dataloaders(folder, folder, bs=8, size=8, **CPU)
    with pytest.warns(UserWarning, match='2 images could not be read'): assert sum(len(b[1]) for b in dls.valid) == 30
    q = dls.valid.quarantined
    assert set(q.source) == {'a/03.png', 'b/05.png'} and set(q.reason) == {'empty', 'corrupt'}
    with warnings.catch_warnings(): warnings.simplefilter('error'); list(dls.valid)        # told once

def test_none_readable(tmp_path):
    (tmp_path/'a').mkdir()
    for i in range(3): (tmp_path/f'a/{i}.png').write_bytes(b'no')
    with pytest.raises(DataError, match='none of 3 images can be read'): stream_dataloaders(tmp_path, tmp_path, size=8)
    with pytest.raises(DataError, match='none of 3 images can be read'): list(StreamDL(image_stream(tmp_path), 4, size=8))

def test_error_in_the_background(folder):
    s = image_stream(folder)
    read = s.read
    def failing(rng):
        for i, r in enumerate(read(rng)):
            if i == 20: raise OSError('the disk is gone')
            yield r
    s.read = failing
    dl = StreamDL(s, 4, size=8, device=torch.device('cpu'), after_batch=S.batch_pipeline(None, None, None, ([.5] * 3, [.5] * 3)))
    seen = 0
    with pytest.raises(OSError, match='the disk is gone'):
        for b in dl: seen += 1
    assert seen >= 1 and not ours()

def test_sizes_are_named(folder):
    with pytest.raises(DataError, match=r'such as \d+ x \d+ and \d+ x \d+ pixels.*size=64'): stream_dataloaders(folder, folder)

@pytest.mark.parametrize('how', ['break', 'one_batch', 'error', 'drop'])
def test_leaving_early(folder, how):
    "Whatever ends a loop ends the thread, too, also one that waits at a full queue."
    dl = stream_dataloaders(folder, folder, bs=2, size=8, ahead=1, **CPU).train
    if how == 'break':
        for b in dl: time.sleep(.1); break
    elif how == 'one_batch': dl.one_batch()
    elif how == 'drop': it = iter(dl); next(it); del it
    else:
        with pytest.raises(ZeroDivisionError):
            for b in dl: 1 / 0

def test_queue_is_bounded():
    made = []
    def source():
        for i in range(100): made.append(i); yield i
    with Prefetch(source(), 3) as p:
        next(iter(p)); time.sleep(.3)
        assert len(made) <= 6

def test_bad_arguments(folder, table):
    for f, says in ((lambda: stream_dataloaders(folder, folder, bs=0), 'bs=0'), (lambda: stream_dataloaders(folder, folder, views=0), 'views=0'),
                    (lambda: image_stream(folder/'x'), 'there is no file'), (lambda: image_stream(table, label='lable'), "did you mean 'label'"),
                    (lambda: stream_dataloaders(folder, table, size=8), "class '0' does not occur in training")):
        with pytest.raises(DataError, match=says): f()

def test_grocery(data_dir):
    "Real photos of many sizes, as a folder and as Parquet."
    root = data_dir/'images/grocery'
    if not root.is_dir(): pytest.skip('the grocery photos are not there')
    s = image_stream(root, label=None)
    with pytest.raises(DataError, match="split='test'"): stream_dataloaders(root, root, label=None, size=48, **CPU)       # it brings train and test
    dls = stream_dataloaders(root, image_stream(root, None, 'test'), label=None, size=48, bs=64, views=2, augment=simclr_augment(), **CPU)
    assert len(s) == 711 and len(dls.train_ds) == 471 and sum(len(b[-1]) for b in dls.valid) == 240 and not len(dls.valid.quarantined)

# ---------------------------------------------------------------- classes are what their names say
def colors(root, **classes):
    "Images of one gray per class."
    for name, (gray, n) in classes.items():
        (root/name).mkdir(parents=True)
        for i in range(n): Image.new('L', (8, 8), gray).save(root/name/f'{i}.png')
    return root

def test_fewer_classes(tmp_path):
    train, few, more = (colors(tmp_path/k, **d) for k, d in dict(t=dict(a=(0, 4), b=(100, 4), c=(200, 4)), f=dict(b=(100, 2), c=(200, 2)), m=dict(d=(9, 2))).items())
    dls = stream_dataloaders(train, few, bs=4, **CPU)
    assert rows(dls.valid).tolist() == rows(dls.test_dl(few)).tolist() == [1, 1, 2, 2] and dls.valid.dataset.vocab == ['a', 'b', 'c']
    with pytest.raises(DataError, match="class 'd' does not occur in training"): dls.test_dl(more)
    with pytest.raises(DataError, match="class 'd' does not occur in training"): stream_dataloaders(train, more, **CPU)

def test_daft_labels_stay_with_their_images():
    "A DataFrame may give other rows each time it is computed."
    import daft, io
    def png(v): f = io.BytesIO(); Image.new('L', (2, 2), v).save(f, 'png'); return f.getvalue()
    df = daft.from_pydict(dict(image=[png(i) for i in range(200)], label=[str(i // 100) for i in range(200)], split=['train', 'val'] * 100))
    s = image_stream(df.sample(fraction=.5))
    for _ in range(2): assert all(int(s.vocab[y]) == np.asarray(Image.open(io.BytesIO(b)))[0, 0] // 100 for b, y, _ in s)
    assert len(image_stream(df, split='valid')) == 100

def test_parquet_files_that_number_differently(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Image as HI
    im = Image.new('L', (4, 4))
    for k, names in enumerate((['cat', 'dog'], ['dog', 'cat'])):
        Dataset.from_dict(dict(image=[im] * 2, label=[0, 1]), features=Features(image=HI(), label=ClassLabel(names=names))).to_parquet(tmp_path/f'{k}.parquet')
    s = image_stream(tmp_path)
    assert [s.vocab[y] for _, y, _ in s] == ['cat', 'dog', 'dog', 'cat']
    pq.write_table(pa.table(dict(image=[b''], label=[0])), tmp_path/'2.parquet')
    with pytest.raises(DataError, match='some of the Parquet files name their classes'): image_stream(tmp_path)

def test_unlabeled_test_split(tmp_path):
    s = digits()[:30].with_column('split', ['train', 'valid', 'test'] * 10)
    for k, missing in (('a', -1), ('b', None)):
        t = s.with_column('label', [missing if i % 3 == 2 else int(y) for i, y in enumerate(s.labels)]).table if k == 'a' else pa.table(dict(
            image=s.table['image'], split=s.table['split'], label=[None if i % 3 == 2 else str(y) for i, y in enumerate(s.labels)]))
        pq.write_table(t, tmp_path/f'{k}.pq')
        dls = stream_dataloaders(tmp_path/f'{k}.pq', bs=5, stats=([.3], [.4]), **CPU)
        assert [dls.vocab[i] for i in rows(dls.valid)] == [str(y) for y in s.labels[1::3]]
        with pytest.raises(DataError, match='10 samples have no label'): image_stream(tmp_path/f'{k}.pq')

def test_predictions_with_an_unreadable_image(folder):
    from fastai.learner import Learner
    import fastai.callback.all
    (folder/'a/03.png').write_bytes(b'')
    dls = stream_dataloaders(folder, folder, bs=5, size=8, **CPU)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)), loss_func=torch.nn.CrossEntropyLoss())
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(): warnings.simplefilter('ignore'); p, y = learn.get_preds()
    assert p.shape == (31, 2) and y.tolist() == [0] * 19 + [1] * 12

def test_an_epoch_has_a_batch(folder):
    "Unreadable images may leave less than one batch; it is given all the same."
    for i in range(4): (folder/f'a/{i:02}.png').write_bytes(b'')
    dls = stream_dataloaders(folder, folder, bs=30, size=8, **CPU)
    with pytest.warns(UserWarning): assert [len(b[1]) for b in dls.train] == [28]

def test_interpretation_with_an_unreadable_image(folder):
    "An image that is left out shifts no other: what is looked up again is what the net has seen."
    from fastai.interpret import Interpretation
    from fastai.learner import Learner
    import fastai.callback.all
    (folder/'a/03.png').write_bytes(b'')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        dls = stream_dataloaders(folder, folder, bs=5, size=8, **CPU)
        learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)))
        with learn.no_bar(), learn.no_logging():
            x, p, y = learn.get_preds(with_input=True)
            a, b, c, _, losses = Interpretation.from_learner(learn)[[20, 2, 3, 30]]
    for all_, few in ((x, a), (p, b), (y, c)): assert torch.allclose(all_[[20, 2, 3, 30]].float(), few.float())

def test_two_views_without_targets():
    "New pictures in a loader of two views are shown, too."
    import matplotlib; matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    s = digits()[:60]
    for dls in (stream_dataloaders(s, s, bs=8, views=2, **CPU), s.dataloaders(bs=8, views=2, **CPU)):
        dl = dls.test_dl([s.image(i) for i in range(4)])
        assert len(dl.one_batch()) == 2
        dl.show_batch()
        assert len([a for a in plt.gcf().axes if a.images]) == 8
        plt.close('all')
