"""`pretrain-notes train` and `predict`: hostile folders, kills, and what a model folder may not do."""
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
import torch
from pretrain_notes.base import DataError
from pretrain_notes.datasets import digits
from pretrain_notes.train import drop_copies, train
from pretrain_notes.trained import ImageClassifier, build_network

ROOT = Path(__file__).resolve().parents[1]
KW = dict(arch='small', epochs=4, say=lambda line: None)

def write(folder, classes=3, n=90, skip=0):
    "A folder of digits, one folder per class"
    s = digits()
    for i in np.flatnonzero(s.labels < classes)[skip:skip + n]:
        (folder/str(s.labels[i])).mkdir(parents=True, exist_ok=True)
        s.image(int(i)).save(folder/str(s.labels[i])/f'{i}.png')
    return folder

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp('train')
    return root, train(write(root/'photos'), root/'out', **KW)

def test_report_and_model(made):
    root, r = made
    assert {'model', 'report.html', 'report.json', 'stages', 'train.json'} <= {p.name for p in (root/'out').iterdir()}
    assert json.loads((root/'out/report.json').read_text()) == r
    assert sum(r['read']['splits'].values()) == 90 and r['score']['tested'] == r['read']['splits']['test']
    assert r['score']['low'] < r['score']['accuracy'] < r['score']['high'] or r['score']['accuracy'] in (0, 1)
    clf = ImageClassifier.load(root/'out/model')
    said = clf.predict(sorted((root/'photos/1').glob('*.png')))
    assert set(said.label) <= {'0', '1', '2'} and (said.label == '1').mean() > .5

def test_the_program_in_the_folder_predicts(made, sh):
    root, _ = made
    one = next((root/'photos/0').iterdir())
    out = sh(root/'out/model/predict.py', one, PYTHONPATH=str(ROOT))
    assert out.splitlines()[0] == 'file,label,probability,error' and str(one) in out

def test_a_folder_with_everything_wrong(tmp_path):
    "20 corrupt files, a class of one image, four color modes, 10 pictures in train and in test: each is said, and the rest is trained on"
    from PIL import Image
    photos = tmp_path/'photos'
    write(photos/'train', n=120); write(photos/'test', n=40, skip=150)
    some = sorted((photos/'train/0').glob('*.png'))
    for i in range(20): (photos/'train/1'/f'bad{i}.png').write_bytes(some[0].read_bytes()[:30 + i])
    (photos/'train/lonely').mkdir(); shutil.copy(some[0], photos/'train/lonely/x.png')
    Image.open(some[0]).resize((9, 9)).save(photos/'train/lonely/x.png')
    for mode, name in (('RGBA', 'a.png'), ('CMYK', 'b.jpg'), ('RGB', 'c.png')): Image.open(some[1]).resize((12, 12)).convert(mode).save(photos/'train/2'/name)
    Image.fromarray((np.arange(144).reshape(12, 12) * 400).astype(np.uint16)).save(photos/'train/2/d.png')
    for f in sorted((photos/'test/1').glob('*.png'))[:10]: shutil.copy(f, photos/'train/1'/f'copy {f.name}')
    n = sum(1 for _ in (photos/'test/1').glob('*.png'))
    r = train(photos, tmp_path/'out', **KW)
    assert r['read']['quarantined'] == 20 and r['read']['left_out']['the same picture is in a part that is scored'] == min(10, n)
    assert r['read']['single'] == ['lonely'] and r['read']['splits']['test'] == 40
    page = (tmp_path/'out/report.html').read_text()
    assert 'lonely' in page and 'the same picture' in page

def test_names_are_escaped(tmp_path):
    write(tmp_path/'photos')
    (tmp_path/'photos/0').rename(tmp_path/'photos/<img src=x onerror=alert(1)>')
    (tmp_path/'photos/1').rename(tmp_path/'photos'/r'5$ \frac$')                # no formula for matplotlib either
    train(tmp_path/'photos', tmp_path/'out', **KW)
    assert '<img src=x' not in (tmp_path/'out/report.html').read_text() and '<img src=x' not in (tmp_path/'out/model/README.md').read_text()

def test_labels_that_nobody_can_learn_score_at_chance(tmp_path):
    "Every picture stands twice in the folder, with shuffled classes: no copy reaches the test part"
    s, rng = digits(), np.random.default_rng(0)
    for i in range(150):
        c = str(rng.integers(0, 2))
        (tmp_path/'photos'/c).mkdir(parents=True, exist_ok=True)
        for k in 'ab': s.image(i).save(tmp_path/'photos'/c/f'{i}{k}.png')
    assert train(tmp_path/'photos', tmp_path/'out', **KW)['score']['accuracy'] < .75

def test_killed_and_started_again(tmp_path, made):
    "The same model, bit for bit, as without the kill"
    root, whole = made
    code = f"from pretrain_notes.train import train; train({str(root/'photos')!r}, {str(tmp_path/'out')!r}, arch='small', epochs=4)"
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    for line in p.stdout:
        if line.startswith('all_layers'): break
    p.send_signal(signal.SIGKILL); p.wait()
    assert not (tmp_path/'out/model').exists()
    again = train(root/'photos', tmp_path/'out', **KW)
    assert again == whole
    a, b = (ImageClassifier.load(o/'model').model.state_dict() for o in (root/'out', tmp_path/'out'))
    assert all(torch.equal(a[n], b[n]) for n in a)

@pytest.mark.parametrize('change, says', [(dict(network=dict(library='timm', architecture='hf-hub:a/b', channels=1, size=8, mean=[0], std=[1])), 'not known'),
    (dict(classes=['a']), 'does not describe'), (dict(side=10**9), 'does not describe'), (dict(temperature='NaN'), 'does not describe'),
    (dict(network=dict(library='pretrain_notes', architecture='small', channels=1, size=8, mean=[0, 0], std=[1])), 'one number per channel'),
    (dict(network=None), 'not whole')])
def test_tampered_descriptions(made, tmp_path, change, says):
    shutil.copytree(made[0]/'out/model', tmp_path/'model')
    c = tmp_path/'model/config.json'
    c.write_text(json.dumps(json.loads(c.read_text()) | change))
    with pytest.raises(DataError, match=says): ImageClassifier.load(tmp_path/'model')

def test_a_pickle_is_not_loaded(made, tmp_path):
    shutil.copytree(made[0]/'out/model', tmp_path/'model')
    torch.save(dict(a=torch.zeros(1)), tmp_path/'model/model.safetensors')
    with pytest.raises(DataError, match='pickle'): ImageClassifier.load(tmp_path/'model')

def test_export(made, tmp_path):
    pytest.importorskip('onnxruntime', reason='the extra [onnx] is not installed')
    pytest.importorskip('onnxscript', reason='the extra [onnx] is not installed')
    import onnxruntime
    clf = ImageClassifier.load(made[0]/'out/model')
    assert clf.to_onnx(tmp_path/'m.onnx') <= 1e-4
    s = digits()[:5]
    x = clf.batch(s.images(clf.side, clf.mode)).numpy()
    p = onnxruntime.InferenceSession(str(tmp_path/'m.onnx'), providers=['CPUExecutionProvider']).run(None, dict(pixels=x))[0]
    assert abs(p - clf.predict_proba(s)).max() < 1e-4

def test_no_socket_is_opened(tmp_path, sh, made):
    "Source: autogluon/autogluon#4873. With pretrained weights, where they are installed, and every address but the loopback refused"
    from pretrain_notes.transfer.pretrained import known_weights
    arch = 'efficientnet_lite0' if known_weights['efficientnet_lite0'].where() else 'small'
    photos = write(tmp_path/'photos', n=30)
    code = f'''
import socket
whole = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] not in ('127.0.0.1', '::1', 'localhost'): raise SystemExit(f'a socket to {{address}}')
    return whole(self, address)
socket.socket.connect = connect
def refuse(*a, **k): raise SystemExit(f'a name was looked up: {{a}}')
socket.getaddrinfo = refuse
from pretrain_notes.train import train
train({str(photos)!r}, {str(tmp_path/"out")!r}, arch={arch!r}, epochs=1)'''
    sh('-c', code, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE='0')
    assert (tmp_path/'out/report.html').exists()

@pytest.mark.parametrize('make, says', [(lambda p: p/'none', 'no folder'), (lambda p: (p/'a').mkdir() or p, 'is empty'),
    (lambda p: write(p/'x', classes=1, n=9), 'at least 2 classes')])
def test_refused(tmp_path, make, says):
    with pytest.raises(DataError, match=says): train(make(tmp_path), tmp_path.parent/f'{tmp_path.name}-out', **KW)

def test_out_is_not_ours(tmp_path):
    write(tmp_path/'photos', n=9); (tmp_path/'mine').mkdir(); (tmp_path/'mine/diary.txt').write_text('x')
    with pytest.raises(DataError, match='holds other things'): train(tmp_path/'photos', tmp_path/'mine', **KW)

def test_grocery_with_pretrained_weights(data_dir, tmp_path):
    "The real photos: the split that they bring is kept, and the test part is recognized"
    from pretrain_notes.transfer.pretrained import known_weights
    if known_weights['efficientnet_lite0'].where() is None: pytest.skip('the extra [weights] is not installed')
    for p in sorted((data_dir/'images/grocery').glob('t*/*/*'))[::4]:
        to = tmp_path/'photos'/p.relative_to(data_dir/'images/grocery')
        to.parent.mkdir(parents=True, exist_ok=True)
        from PIL import Image
        Image.open(p).resize((96, 96)).save(to)
    r = train(tmp_path/'photos', tmp_path/'out', epochs=1, say=lambda line: None)
    assert r['network']['weights'] == 'efficientnet_lite0' and r['network']['license'] == 'UNKNOWN' and r['score']['accuracy'] > .6
    assert 'stated as UNKNOWN' in (tmp_path/'out/report.html').read_text()
