"""Data sets by name: what comes with the installation, what is found, what is downloaded, and what is refused."""
import gzip, inspect, io, os, shutil, struct, subprocess, sys, tarfile, time, warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
import numpy as np, pytest
from conftest import clean_env
from pretrain_notes import datasets as D
from pretrain_notes.datasets import File, DataSource, available, digits, load_samples, read_idx, sources
from pretrain_notes.base import DataError, digest

INSTALLED = [n for n, s in sources.items() if not s.files]
NAMED = [n for n, s in sources.items() if s.files]
PARTS = {'fsdd': dict(train=1200, test=300), 'zh_cold': dict(train=10000, valid=6431, test=5323)}   # what the tests' data have of these two

@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    "No test sees, or writes, the downloads of this user, or finds what it does not name."
    monkeypatch.delenv('PRETRAIN_NOTES_DATA', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    return tmp_path/'cache/pretrain_notes'

@pytest.fixture
def online(monkeypatch): monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)

def idx(a): return bytes([0, 0, 8, a.ndim]) + struct.pack(f'>{a.ndim}I', *a.shape) + a.astype('u1').tobytes()

def declare(monkeypatch, name, files, **kw):
    "Replace the files of a named set by (name, content, split): the digests of small made files."
    declared = [(File(n, sha256(b).hexdigest(), len(b), s),) for n, b, s in files]
    monkeypatch.setattr(sources[name], 'files', declared)
    for k, v in kw.items(): monkeypatch.setattr(sources[name], k, v)

@pytest.fixture
def tiny_mnist(monkeypatch):
    "MNIST as 30 + 20 images, under its own file names; what is in each file, unpacked."
    rng, files = np.random.default_rng(0), {}
    for s, n in (('train', 30), ('t10k', 20)):
        files[f'{s}-images-idx3-ubyte'] = idx(rng.integers(0, 256, (n, 28, 28)))
        files[f'{s}-labels-idx1-ubyte'] = idx(np.arange(n) % 10)
    named = [(f'{n}.gz', b, 'train' if n[:5] == 'train' else 'test') for n, b in files.items()]
    declare(monkeypatch, 'mnist', named, rows=dict(train=30, test=20))
    return files

def put(folder, files, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for n, b in files.items(): (folder/(n + '.gz' if packed else n)).write_bytes(gzip.compress(b) if packed else b)
    return folder

# ---------------------------------------------------------------- with the installation
@pytest.mark.parametrize('name', INSTALLED)
def test_installed(name):
    s, source = load_samples(name), sources[name]
    assert len(s) == sum(source.rows.values()) or name == 'sentences' and len(s) > 500       # spaCy adds languages
    assert s.media == (None if source.media == 'table' else source.media)
    assert len(set(s['id'].to_pylist())) == len(s)
    assert load_samples(name).rows_digest == s.rows_digest

@pytest.mark.parametrize('name', sources)
def test_info(name):
    "Every set says what it is, whose, since when and under which license."
    from datetime import date
    info = sources[name].info
    assert all(info[k] for k in 'name description license url creator datePublished'.split())
    assert info['url'].startswith('https://') and date.fromisoformat(info['datePublished']).year > 1980
    if not info['license'].startswith('LicenseRef-'):
        from license_expression import get_spdx_licensing
        assert not get_spdx_licensing().validate(info['license']).errors

def test_content():
    from sklearn.datasets import load_digits
    d = D.digits()
    assert np.abs(d.images().astype(float) / 255 * 16 - load_digits().images).max() < .04
    t = D.sample_texts()
    for text, spans in zip(t['text'].to_pylist(), t['spans'].to_pylist()):
        assert all(0 <= s['start'] < s['end'] <= len(text) for s in spans)
    assert {g[:2] for g in t['group'].to_pylist()} == {'en', 'zh'}
    assert [D.photos().image(i).mode for i in range(2)] == ['RGB', 'RGB']
    zh = [r['text'] for r in D.sentences().table.to_pylist() if r['lang'] == 'zh']
    assert len(zh) == 6 and all('\u4e00' <= t[0] <= '\u9fff' for t in zh)

def test_changed_sample(monkeypatch, tmp_path):
    "A packaged file that was edited does not pass."
    import pretrain_notes
    shutil.copytree(Path(pretrain_notes.__file__).parent/'assets/sample', tmp_path/'assets/sample')
    (tmp_path/'assets/sample/texts.jsonl').write_text('{"text": "changed"}\n')
    monkeypatch.setattr(pretrain_notes, '__file__', str(tmp_path/'__init__.py'))
    with pytest.raises(DataError, match='install'): D.sample_texts()

def test_without_spacy(monkeypatch):
    monkeypatch.setattr(D, 'find_spec', lambda n: None)
    with pytest.raises(DataError, match='pip install spacy'): D.sentences()

def test_light():
    "Loading what is installed imports neither torch nor spaCy, and Hugging Face's `datasets` is not shadowed."
    code = ('import sys; from pretrain_notes.datasets import *; [load_samples(n) for n in %r]; import datasets; assert datasets.Features\n'
            'assert not {"torch", "torchvision", "fastai", "spacy", "transformers"} & set(sys.modules)') % (INSTALLED,)
    subprocess.run([sys.executable, '-c', code], env=clean_env(USE_TORCH='0'), check=True)

# ---------------------------------------------------------------- the idx reader
@pytest.mark.parametrize('name', ['c_bad_magic-idx1-ubyte', 'c_count_mismatch-idx1-ubyte', 'c_truncated-idx1-ubyte.gz',
                                  'real_truncated_fashion-train-images-idx3-ubyte.gz'])
def test_bad_idx(data_dir, name):
    with pytest.raises(DataError, match=name): read_idx(data_dir/'bad/idx'/name)

def test_idx_types(tmp_path):
    for code, t in D._idx_types.items():
        a = np.arange(6).reshape(2, 3).astype(t)
        b = bytes([0, 0, code, 2]) + struct.pack('>2I', 2, 3) + a.tobytes()
        (tmp_path/'x').write_bytes(b)
        got = read_idx(tmp_path/'x')
        assert (got == a).all() and got.dtype == np.dtype(t).newbyteorder('=')
    with pytest.raises(DataError): read_idx(tmp_path/'absent')
    for n in range(len(b)):
        with pytest.raises(DataError): read_idx(b[:n])

def test_idx_bomb(tmp_path):
    "A gzip that unfolds without end is read as far as its header claims, and no further."
    z = io.BytesIO()
    with gzip.GzipFile(fileobj=z, mode='wb') as f:
        f.write(bytes([0, 0, 8, 1]) + struct.pack('>I', 10))
        for _ in range(64): f.write(bytes(2**20))
    start = time.process_time()
    with pytest.raises(DataError, match='more'): read_idx(z.getvalue())
    assert time.process_time() - start < .5

# ---------------------------------------------------------------- found
@pytest.mark.parametrize('name', [n for n in NAMED if n != 'cifar10'])
def test_real(data_dir, name):
    "The real files, whole."
    s = load_samples(name, path=data_dir, download=False)
    rows = PARTS.get(name, sources[name].rows)
    assert (s.split_counts() if 'split' in s.columns else {None: len(s)}) == rows
    assert s.info['name'] == name and s.media == (None if sources[name].media == 'table' else sources[name].media)
    if sources[name].vocab and s.vocab: assert s.vocab == sources[name].vocab and set(s.labels) == set(range(len(s.vocab)))
    split = list(rows)[-1]
    if split: assert load_samples(name, split, path=data_dir).rows_digest == s[np.array(s['split'].to_pylist()) == split].rows_digest

def test_real_content(data_dir):
    a = load_samples('adult', path=data_dir)
    assert a['workclass'].null_count > 0 and a.labels.mean() == pytest.approx(.2408, abs=1e-4)
    w = load_samples('wnut17', 'train', path=data_dir)
    tags = w[0]['ner_tags']
    assert w[0]['tokens'][0] == '@paulwalk' and w.features['ner_tags'].feature.names[0] == 'O' and tags.count(0) < len(tags)
    r = ' '.join(load_samples('rt_polarity', path=data_dir)['text'].to_pylist())
    assert 'clichés' in r and '–' in r and not any('\x80' <= c < '\xa0' for c in r)
    raw = (data_dir/'corpus/tinyshakespeare/input.txt').read_text()
    assert '\n\n'.join(load_samples('tinyshakespeare', path=data_dir)['text'].to_pylist()) + '\n' == raw
    z = load_samples('zh_cold', 'test', path=data_dir)
    assert z['fine'].null_count == 0 and set(z['fine'].to_pylist()) == {0, 1, 2, 3}
    f = load_samples('fsdd', 'test', path=data_dir)
    assert len(set(f['group'].to_pylist())) == 6 and all(int(n.split('_')[2][:-4]) < 5 for n in f['source'].to_pylist())
    g = load_samples('grocery', path=data_dir)
    assert g.split_counts() == dict(train=471, test=240) and max(g.image(0).size) <= 256

@pytest.mark.parametrize('where', ['mnist', 'MNIST/raw', 'images/mnist'])
@pytest.mark.parametrize('packed', [True, False])
def test_layouts(tmp_path, tiny_mnist, where, packed):
    "The usual layouts, gzipped or not, on any part of the search path, give the same rows."
    put(tmp_path/'b'/where, tiny_mnist, packed)
    s = load_samples('mnist', path=os.pathsep.join([str(tmp_path/'a'), str(tmp_path/'b')]), download=False)
    assert s.split_counts() == dict(train=30, test=20) and (s.images()[0] == read_idx(tiny_mnist['train-images-idx3-ubyte'])[0]).all()
    assert s['digest'][0].as_py() == digest(s.images()[0])

def test_environment(tmp_path, tiny_mnist, monkeypatch):
    monkeypatch.setenv('PRETRAIN_NOTES_DATA', f'{tmp_path/"nowhere"}{os.pathsep}{tmp_path}')
    put(tmp_path/'mnist', tiny_mnist)
    assert len(load_samples('mnist')) == 50 and set(available().query('name == "mnist"')['where']) == {'PRETRAIN_NOTES_DATA'}
    monkeypatch.delenv('PRETRAIN_NOTES_DATA')
    assert set(available().query('name == "mnist"')['where']) == {'downloadable'}

def test_split_reads_only_its_files(tmp_path, tiny_mnist):
    put(tmp_path/'mnist', {n: b for n, b in tiny_mnist.items() if n[0] == 't' and 't10k' in n})
    assert len(load_samples('mnist', 'test', path=tmp_path)) == 20
    with pytest.raises(DataError, match='has no train-images-idx3-ubyte.gz, train-labels'): load_samples('mnist', path=tmp_path)

@pytest.mark.parametrize('change', ['byte', 'cut', 'empty', 'longer', 'cut gzip'])
def test_changed_file(tmp_path, tiny_mnist, change):
    "One wrong byte, and the file does not pass for the known one."
    put(tmp_path/'mnist', tiny_mnist, packed=change == 'cut gzip')
    p = next((tmp_path/'mnist').glob('t10k-images*'))
    b = bytearray(p.read_bytes())
    b = {'byte': b[:-1] + bytes([b[-1] ^ 1]), 'cut': b[:-1], 'empty': b'', 'longer': b + bytes(10**6), 'cut gzip': b[:-20]}[change]
    p.write_bytes(bytes(b))
    with pytest.raises(DataError, match='t10k-images'): load_samples('mnist', path=tmp_path)

def test_line_ends(data_dir, tmp_path):
    "Text is the same with Windows line ends and a byte-order mark."
    (tmp_path/'sms_spam').mkdir()
    b = (data_dir/'text/sms_spam/SMSSpamCollection').read_bytes()
    (tmp_path/'sms_spam/SMSSpamCollection').write_bytes(b'\xef\xbb\xbf' + b.replace(b'\n', b'\r\n'))
    assert load_samples('sms_spam', path=tmp_path).rows_digest == load_samples('sms_spam', path=data_dir).rows_digest

@pytest.mark.parametrize('kw,why', [
    (dict(name='minst'), 'mnist'), (dict(name='mnist', split='valid'), 'no split'), (dict(name='digits', split='train'), 'no splits'),
    (dict(name='mnist', split='', path=''), 'no split'), (dict(name='adult', path=''), 'adult.data')])
def test_wrong_use(kw, why):
    with pytest.raises(DataError, match=why): load_samples(**kw)

def test_unreadable_path(tmp_path):
    "A search path of files, missing folders and nonsense finds nothing and says so."
    (tmp_path/'file').write_text('x')
    with pytest.raises(DataError, match='not found'): load_samples('adult', path=[tmp_path/'file', tmp_path/'no', 'x\ny'])

# ---------------------------------------------------------------- CIFAR-10, from a small archive of the same shape
def archive(members):
    z = io.BytesIO()
    with tarfile.open(fileobj=z, mode='w:gz') as tar:
        for n, b in members:
            m = tarfile.TarInfo(n)
            if b is None: m.type, m.linkname = tarfile.SYMTYPE, '/etc/passwd'
            else: m.size = len(b)
            tar.addfile(m, io.BytesIO(b) if b is not None else None)
    return z.getvalue()

def records(n, seed):
    return np.concatenate([np.arange(n)[:, None] % 10, np.random.default_rng(seed).integers(0, 256, (n, 3072))], 1).astype('u1')

@pytest.fixture
def tiny_cifar(monkeypatch, tmp_path):
    def make(members):
        b = archive(members)
        declare(monkeypatch, 'cifar10', [('cifar-10-binary.tar.gz', b, None)])
        (tmp_path/'cifar10').mkdir(exist_ok=True)
        (tmp_path/'cifar10/cifar-10-binary.tar.gz').write_bytes(b)
        return tmp_path
    return make

def test_cifar(tiny_cifar):
    d, r = 'cifar-10-batches-bin', [records(20, 1), records(20, 2), records(10, 3)]
    r[2][3:5] = r[0][3:5]                                                            # two of the test images are training images
    root = tiny_cifar([(f'{d}/readme.html', b'x'), (f'{d}/data_batch_1.bin', r[0].tobytes()), (f'{d}/data_batch_2.bin', r[1].tobytes()),
                       (f'{d}/test_batch.bin', r[2].tobytes()), (f'../{d}/data_batch_3.bin', b'out'), (f'{d}/data_batch_4.bin', None)])
    before = sorted(root.rglob('*'))
    s = load_samples('cifar10', path=root)
    assert s.split_counts() == dict(train=40, test=10) and s.vocab[3] == 'cat'
    assert (s.images() == np.concatenate(r)[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)).all()
    assert s.labels[:20].tolist() == [*range(10)] * 2
    t = load_samples('cifar10', 'test', path=root)
    assert t['id'].to_pylist() == s[40:]['id'].to_pylist() and sorted(root.rglob('*')) == before    # nothing is unpacked

@pytest.mark.parametrize('members,why', [([], 'none of the batches'), ([('cifar-10-batches-bin/data_batch_1.bin', b'x' * 3072)], '3073'),
                                         ([('cifar-10-batches-bin/data_batch_1.bin', b'\xff' * 3073)], 'class')])
def test_bad_cifar(tiny_cifar, members, why):
    with pytest.raises(DataError, match=why): load_samples('cifar10', path=tiny_cifar(members))

# ---------------------------------------------------------------- downloaded
@pytest.fixture
def server(monkeypatch, online):
    "A stand-in for torchvision's download: what it has, and what was asked of it."
    has, asked = {}, []
    def download_url(url, root, filename=None, md5=None, **kw):
        asked.append(url)
        got = has.get(url.rpartition('/')[2])
        if isinstance(got, Exception): raise got
        if got is None: raise OSError('404')
        (Path(root)/filename).write_bytes(got)
    monkeypatch.setattr('torchvision.datasets.utils.download_url', download_url)
    return has, asked

def test_torchvision(tiny_mnist, server, cache):
    has, asked = server
    has |= {f'{n}.gz': gzip.compress(b) for n, b in tiny_mnist.items()}
    assert len(load_samples('mnist', 'test', path='')) == 20 and len(asked) == 2          # only what is needed
    assert len(load_samples('mnist', path='')) == 50 and len(asked) == 4
    assert sorted(p.name for p in (cache/'mnist').iterdir()) == sorted(has)
    assert len(load_samples('mnist')) == 50 and len(asked) == 4                            # found again
    assert set(available().query('name == "mnist"')['where']) == {'downloaded'}

@pytest.mark.parametrize('bad', ['absent', 'wrong', 'refused'])
def test_failed_download(tiny_mnist, server, cache, bad):
    "A mirror without the file, with another file, or no network: one clear sentence, nothing left behind, no stale half."
    has, asked = server
    got = dict(wrong=b'<html>moved</html>', refused=ConnectionRefusedError('refused\nsecond line'))
    if bad in got: has |= {f'{n}.gz': got[bad] for n in tiny_mnist}
    with pytest.raises(DataError, match='downloading failed.*Put train-images-idx3-ubyte.gz') as e: load_samples('mnist', path='')
    assert '\n' not in str(e.value) and not list((cache/'mnist').iterdir()) and len(asked) == 2    # each mirror of the first file, once

def test_second_mirror(tiny_mnist, server):
    has, asked = server
    from torchvision.datasets import MNIST, utils
    inner = utils.download_url
    has |= {f'{n}.gz': gzip.compress(b) for n, b in tiny_mnist.items()}
    def first_down(url, *a, **kw):
        if url.startswith(MNIST.mirrors[0]): raise TimeoutError('timed out')
        return inner(url, *a, **kw)
    with pytest.MonkeyPatch.context() as mp:
        mp.setattr('torchvision.datasets.utils.download_url', first_down)
        assert len(load_samples('mnist', path='')) == 50

def test_cifar_url(tiny_cifar, server):
    "The binary archive, from the folder in which torchvision knows the pickled one."
    has, asked = server
    root = tiny_cifar([('cifar-10-batches-bin/test_batch.bin', records(10, 0).tobytes())])
    has['cifar-10-binary.tar.gz'] = (root/'cifar10/cifar-10-binary.tar.gz').read_bytes()
    assert len(load_samples('cifar10', path='')) == 10 and asked == ['https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz']

def test_offline(monkeypatch, server, tiny_mnist):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    for name in ('mnist', 'sms_spam', 'banking77'):
        start = time.monotonic()
        with pytest.raises(DataError, match='downloading failed.*Put '): load_samples(name, path='')
        assert time.monotonic() - start < 5
    assert not server[1]


def test_hub(monkeypatch, online, data_dir, tmp_path):
    "Rows from the Hub equal the rows from the files, ids included; the commit is pinned."
    from datasets import ClassLabel, Dataset, Features, Value
    from huggingface_hub.errors import LocalEntryNotFoundError
    asked = []
    def download(repo_id, filename, repo_type, revision, local_files_only=False):
        assert repo_type == 'dataset' and len(revision) == 40
        if local_files_only: raise LocalEntryNotFoundError('not cached')
        repo, name = repo_id, filename
        asked.append((repo, name))
        key = dict(zip(['ucirvine/sms_spam', 'PolyAI/banking77'], ['sms_spam', 'banking77']))[repo]
        s = load_samples(key, None if key == 'sms_spam' else Path(name).name.split('-')[0], path=data_dir)
        text = 'sms' if key == 'sms_spam' else 'text'
        ds = Dataset.from_dict({text: [t + '\n' * (text == 'sms') for t in s['text'].to_pylist()], 'label': s.labels.tolist()},
                               Features({text: Value('string'), 'label': ClassLabel(names=s.vocab)}))
        ds.to_parquet(p := tmp_path/f'{key}-{Path(name).name}')
        return str(p)
    monkeypatch.setattr('huggingface_hub.hf_hub_download', download)
    monkeypatch.setattr('huggingface_hub.get_hf_file_metadata', lambda url, timeout: asked.append(url))
    for name in ('sms_spam', 'banking77'):
        ours, hub = load_samples(name, path=data_dir), load_samples(name, path='')
        assert hub['id'].to_pylist() == ours['id'].to_pylist() and (hub.labels == ours.labels).all() and hub.vocab == ours.vocab
    assert len(load_samples('banking77', 'test', path='')) == 3080 and [o for o in asked if 'sms' in o[0] or 'sms' in o] == [
        'https://huggingface.co/datasets/ucirvine/sms_spam/resolve/cae486f927c250fe1d4a5b55f11357964ed1646c/plain_text/train-00000-of-00001.parquet',
        ('ucirvine/sms_spam', 'plain_text/train-00000-of-00001.parquet')]

def test_hub_cached(monkeypatch, tmp_path):
    "What the Hub's cache has is taken from there; no network is needed."
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('huggingface_hub.hf_hub_download', lambda local_files_only, **kw: tmp_path/'x')
    with pytest.raises(DataError, match='there is no file'): load_samples('sms_spam', path='')

def test_hub_unreachable(monkeypatch, online, cache):
    "No network: said within seconds, not after a series of retries."
    import huggingface_hub as hub
    monkeypatch.setattr(hub, 'get_hf_file_metadata', lambda *a, **kw: (_ for _ in ()).throw(ConnectionError('no route')))
    def download(local_files_only=False, **kw):
        assert local_files_only
        raise hub.errors.LocalEntryNotFoundError('not cached')
    monkeypatch.setattr(hub, 'hf_hub_download', download)
    with pytest.raises(DataError, match='ConnectionError: no route'): load_samples('sms_spam', path='')

def test_hub_other_rows(monkeypatch, online, tmp_path):
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table(dict(sms=['a'], label=[0])), tmp_path/'x.parquet')
    monkeypatch.setattr('huggingface_hub.hf_hub_download', lambda *a, **kw: str(tmp_path/'x.parquet'))
    with pytest.raises(DataError, match='has 1 rows, expected are 5574'): load_samples('sms_spam', path='')

# ---------------------------------------------------------------- the registry
def test_own_source(tmp_path, monkeypatch):
    monkeypatch.setattr(D, 'sources', dict(sources))
    b = b'text,kind\nhello,a\nworld,b\n'
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine/x.csv').write_bytes(b)
    DataSource('mine', 'text', 2, 'CC0-1.0', 'Two words.', 'https://example.org', 'me', '2026-01-01', read=D._read_csv, label='kind',
           files=[(File('x.csv', sha256(b).hexdigest(), len(b)),)])
    s = load_samples('mine', path=tmp_path)
    assert s['text'].to_pylist() == ['hello', 'world'] and s.vocab == ['a', 'b'] and 'mine' in set(available()['name'])

def test_registry():
    "Digests are whole, sizes sane, pinned commits are commits, and nothing asks for remote code."
    for s in sources.values():
        for f in (f for alts in s.files for f in alts):
            assert len(f.sha256) == 64 and int(f.sha256, 16) and 0 < f.size < 2**28 and not f.name.startswith(('/', '.'))
            assert f.split in (None, 'train', 'valid', 'test')
        if s.get and s.get[0] == 'hub': assert len(s.get[2]) == 40 and int(s.get[2], 16)
        assert set(s.rows) <= {None, 'train', 'valid', 'test'}
    code = inspect.getsource(D)
    assert 'trust_remote_code=' not in code and 'import pickle' not in code and 'extractall' not in code

def test_decoding_in_threads_leaves_warnings_as_they_were():
    "Decoders are silenced while they run, not for good."
    s, before = digits(), list(warnings.filters)
    with ThreadPoolExecutor(6) as pool: list(pool.map(lambda _: s[:300].images(), range(12)))
    assert warnings.filters == before
