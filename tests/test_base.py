"""The ground: a file or a folder is whole or not there, whenever its writer is killed; what comes from outside stays in bounds."""
import os, random, subprocess, sys, time
from pathlib import Path
import pytest
from conftest import clean_env
from pretrain_notes.base import DataError, did_you_mean, inside, load_yaml, progress, remove, replacing, some, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import sys
from pretrain_notes.base import replacing
path, kind = sys.argv[1:]
for i in range(10**6):
    with replacing(path) as tmp:
        if kind == 'file': tmp.write_text(f'{i:06}' * 20_000)
        else:
            tmp.mkdir()
            for k in range(20): (tmp/f'{k}').write_text(f'{i:06}' * 500)
    print(i, flush=True)
"""

def version(path):
    "Which version lies at `path`; fails where it is not exactly one, and whole."
    parts = [path] if path.is_file() else sorted(path.iterdir())
    assert len(parts) == (1 if path.is_file() else 20), parts
    found = {p.read_text()[:6] for p in parts}
    assert len(found) == 1
    one = found.pop()
    for p in parts: assert p.read_text() == one * (20_000 if path.is_file() else 500)
    return int(one)

@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_killed_writers(tmp_path, kind):
    "Whatever was acknowledged is there, or something newer; half a version never is; the next writer sweeps up."
    path, rng = tmp_path/f'the [{kind}]', random.Random(0)
    for _ in range(12):
        p = subprocess.Popen([sys.executable, '-c', WRITER, path, kind], env=clean_env(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True)
        told = int(p.stdout.readline())
        time.sleep(rng.random() / 20)
        p.kill()
        told = max([told, *map(int, p.stdout.read().split())])
        p.wait()
        assert version(path) >= told
    with replacing(path) as tmp: tmp.write_text('') if kind == 'file' else tmp.mkdir()
    assert [o.name for o in tmp_path.iterdir()] == [path.name]

def test_an_error_leaves_what_was_there(tmp_path):
    for path in (tmp_path/'f', tmp_path/'d'):
        with replacing(path) as tmp: tmp.write_text('old') if path.name == 'f' else tmp.mkdir()
        with pytest.raises(KeyError):
            with replacing(path) as tmp: tmp.write_text('new') if path.name == 'f' else tmp.mkdir(); raise KeyError
    assert (tmp_path/'f').read_text() == 'old' and (tmp_path/'d').is_dir() and len(list(tmp_path.iterdir())) == 2

def test_without_an_exchange_in_one_step(tmp_path, monkeypatch):
    "As on macOS and Windows: the old folder steps aside, and comes back where the new one cannot take its place."
    from pretrain_notes import base
    monkeypatch.setattr(base, '_exchange', lambda a, b: False)
    path = tmp_path/'d'
    for name in 'ab':
        with replacing(path) as tmp: tmp.mkdir(); (tmp/name).touch()
    assert [o.name for o in path.iterdir()] == ['b']
    real = os.replace
    def fails(a, b):
        if Path(b) == path and str(a).endswith('.tmp'): raise OSError(28, 'No space left on device')
        real(a, b)
    monkeypatch.setattr(os, 'replace', fails)
    with pytest.raises(DataError, match='d cannot be written: No space left'):
        with replacing(path) as tmp: tmp.mkdir()
    assert [o.name for o in path.iterdir()] == ['b'] and [o.name for o in tmp_path.iterdir()] == ['d']

def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path/'real').mkdir(); (tmp_path/'real'/'kept').touch()
    (tmp_path/'link').symlink_to('real', target_is_directory=True)
    write_text(tmp_path/'link', 'a file now')
    assert (tmp_path/'link').read_text() == 'a file now' and (tmp_path/'real'/'kept').exists()
    (tmp_path/'link2').symlink_to('real', target_is_directory=True)
    remove(tmp_path/'link2')
    assert (tmp_path/'real'/'kept').exists()

@pytest.mark.parametrize('rel', ['../x', '/etc/passwd', 'a/../../x', 'link/x'])
def test_inside(tmp_path, rel):
    (tmp_path/'link').symlink_to('..', target_is_directory=True)
    with pytest.raises(DataError, match='leads out'): inside(tmp_path, rel)

@pytest.mark.parametrize('text,says', [('a: &a [x]\nb: [*a]', 'alias'), ('[' * 5000, 'nested'), ('!!python/object/apply:os.system ["id"]', 'no YAML'),
    ('a: b: c', 'line 1'), ('x: \x00', 'no YAML')])
def test_yaml_from_outside(text, says):
    with pytest.raises(DataError, match=says): load_yaml(text, 'card.yaml')

def test_progress_in_a_log(tmp_path):
    "Where standard error is no terminal there are few lines, each whole; and none for short work."
    code = ("import time; from pretrain_notes import base; base._Lines.every = .3\n"
            "for _ in base.progress(range(2000), 'working'): time.sleep(.0005)\nlist(base.progress(range(5), 'short'))")
    env = {k: v for k, v in clean_env(PYTHONPATH=str(ROOT)).items() if k != 'TQDM_DISABLE'}
    err = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True).stderr
    lines = err.splitlines()
    assert 1 <= len(lines) <= 12 and '\r' not in err and all(o.startswith('working: ') for o in lines), err

def test_words():
    assert did_you_mean('lable', ['label']) == " - did you mean 'label'?" and some(range(9), 2) == '0, 1 and 7 more'

def test_json_of_odd_things(tmp_path):
    write_json(tmp_path/'a.json', dict(p=Path('x'), 名='值'))
    assert '名' in (tmp_path/'a.json').read_text(encoding='utf-8')
