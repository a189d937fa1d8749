"""The main job from outside: it runs, it can be killed, and it refuses in one sentence what it cannot use."""
import json, os, re, shutil, signal, subprocess, sys, time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np, pytest
from PIL import Image
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
stages = ['read', 'check', 'annotate', 'quality', 'classify', 'pretrain', 'transfer', 'publish']

def command(*args): return [sys.executable, '-m', 'pretrain_notes.cli', *map(str, args)]

def run(*args, **kw): return subprocess.run(command(*args), capture_output=True, text=True, env=os.environ | dict(TQDM_DISABLE='1'), **kw)

def small(data, out):
    "The command for a tour of the folder `data` that is as short as a tour can be."
    return [sys.executable, '-c', 'import sys; from pretrain_notes.tour import tour; tour(*sys.argv[1:], labels=10, seeds=2)', str(data), str(out)]

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "An uninterrupted tour of the digits: (folder, finished process)."
    out = tmp_path_factory.mktemp('whole')/'tour'
    return out, run('tour', '--out', out, '--json')

class _Data(HTMLParser):
    "Collects (path, value) of every <data> element, counts figures, and notes what must not be there."
    def __init__(self): super().__init__(); self.data, self.figures, self.bad, self.csp, self.alts = [], 0, [], '', []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == 'data': self.data.append((a['data-path'], json.loads(a['value'])))
        if tag == 'img': self.figures += a['src'].startswith('data:image/png;base64,'); self.alts.append(a.get('alt'))
        if tag == 'meta' and a.get('http-equiv') == 'Content-Security-Policy': self.csp = a['content']
        if tag in ('script', 'iframe', 'object', 'link') or any(k.startswith('on') or k == 'style' for k in a): self.bad.append(tag)

def at(report, path):
    for k in path.split('/'): report = report[int(k) if isinstance(report, list) else k]
    return report

def test_digits(whole):
    out, p = whole
    assert p.returncode == 0, p.stderr
    assert 'Traceback' not in p.stderr and str(out/'report.html') in p.stderr
    report = json.loads((out/'report.json').read_text())
    assert json.loads(p.stdout) == report and report['ok']
    assert all(x['found'] for x in report['check']['planted']) and len(report['check']['planted']) >= 6
    assert report['publish']['records'] == report['publish']['rows'] == 1797
    assert report['transfer']['differences']['SimCLR']['pairs'] == 10

def test_report_html(whole):
    out, _ = whole
    page = _Data(); page.feed((out/'report.html').read_text())
    report = json.loads((out/'report.json').read_text())
    assert page.figures >= 8 and all(page.alts) and not page.bad
    assert "default-src 'none'" in page.csp and 'script' not in page.csp
    assert len(page.data) > 50
    for path, value in page.data: assert at(report, path) == value, path

def test_second_run_reuses(whole):
    out, _ = whole
    before = (out/'report.json').read_bytes(), (out/'report.html').read_bytes()
    p = run('tour', '--out', out)
    assert p.returncode == 0 and p.stderr.count('reused') == len(stages) + 2 and 'done in' not in p.stderr
    assert before == ((out/'report.json').read_bytes(), (out/'report.html').read_bytes())

def test_killed_and_resumed(tmp_path):
    "Killed in the middle of three different stages, the next run goes on and ends with the report of a run that nobody disturbed."
    from pretrain_notes.datasets import digits
    data, once, out = (tmp_path/o for o in ('data', 'once', 'out'))
    d = digits()
    for c in range(3):
        (data/str(c)).mkdir(parents=True)
        for i in np.flatnonzero(d.labels == c)[:30]: d.image(int(i)).save(data/str(c)/f'{i}.png')
    subprocess.run(small(data, once), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for stage, after in (('read', 0), ('pretrain_simclr', .5), ('transfer', 1)):
        p = subprocess.Popen(small(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ | dict(TQDM_DISABLE='1'))
        end = time.monotonic() + 300
        while not list(out.glob(f'.{stage}.*tmp')) and p.poll() is None and time.monotonic() < end: time.sleep(.01)
        time.sleep(after)
        os.killpg(p.pid, signal.SIGKILL); p.wait()
        assert not (out/'report.html').exists() and not (out/'report.json').exists()
        assert not (out/stage).exists(), f'{stage} was finished before it could be killed: kill it earlier'
    p = subprocess.run(small(data, out), capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    assert 'read: reused' in p.stdout and 'pretrain_simclr: reused' in p.stdout
    for f in ('report.json', 'report.html'): assert (once/f).read_text() == (out/f).read_text(), f

# --- input that cannot be used

def picture(path, seed, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype='uint8')).save(path)

def unusable(kind, d):
    "Make a folder (or not) that the tour must refuse; what the sentence must name."
    if kind == 'missing': return d/'nowhere', 'no folder'
    d.mkdir()
    if kind == 'empty': return d, 'empty'
    if kind == 'a file': picture(d/'a.png', 0); return d/'a.png', 'is a file'
    if kind == 'loose files':
        for i in range(20): picture(d/f'{i}.png', i)
        return d, 'misplaced'
    if kind == 'texts':
        for c in 'ab':
            (d/c).mkdir()
            for i in range(12): (d/c/f'{i}.txt').write_text(f'text {i} of {c}')
        return d, 'images with labels are needed'
    if kind == 'nothing readable':
        for c in 'ab':
            (d/c).mkdir()
            for i in range(12): (d/c/f'{i}.png').write_bytes(b'no image')
        return d, 'nothing in'
    if kind == 'one class':
        for i in range(20): picture(d/'cat'/f'{i}.png', i)
        return d, 'at least 2 classes'
    if kind == 'tiny classes':
        for c in 'abc':
            for i in range(4): picture(d/c/f'{i}.png', f'{ord(c)}{i}'.__hash__() % 2**31)
        return d, 'at least 2 classes'

@pytest.mark.parametrize('kind', ['missing', 'empty', 'a file', 'loose files', 'texts', 'nothing readable', 'one class', 'tiny classes'])
def test_refused(kind, tmp_path):
    from pretrain_notes.cli import app
    data, names = unusable(kind, tmp_path/'data')
    r = CliRunner().invoke(app, ['tour', '--data', str(data), '--out', str(tmp_path/'out')])
    assert r.exit_code == 2, r.output
    said = [l for l in r.stderr.splitlines() if l.startswith('Error:')]
    assert len(said) == 1 and names in said[0] and 'Traceback' not in r.output
    assert not (tmp_path/'out'/'report.html').exists()

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root reads everything')
def test_unreadable(tmp_path):
    d = tmp_path/'data'; d.mkdir(); d.chmod(0)
    try: p = run('tour', '--data', d, '--out', tmp_path/'out')
    finally: d.chmod(0o755)
    assert p.returncode == 2 and 'cannot be read' in p.stderr

def test_unreadable_error(tmp_path, monkeypatch):
    "The same for root, to whom nothing is unreadable: the system's refusal becomes one sentence."
    from pretrain_notes.base import DataError
    from pretrain_notes.tour import tour
    def refuse(*a): raise PermissionError(13, 'Permission denied')
    (tmp_path/'data').mkdir()
    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(DataError, match='cannot be read: Permission denied'): tour(tmp_path/'data', tmp_path/'out')

def test_out_is_not_ours(tmp_path):
    (tmp_path/'thesis.tex').write_text('years of work')
    p = run('tour', '--out', tmp_path)
    assert p.returncode == 2 and 'holds other things' in p.stderr
    assert [f.name for f in tmp_path.iterdir()] == ['thesis.tex']

def test_bad_files_are_quarantined(data_dir, tmp_path, monkeypatch):
    "Real photos among corrupt, empty, mislabelled and gigantic files: the tour runs, and counts them."
    from pretrain_notes.tour import tour
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)         # one thread: the other cores have tests of their own
    d = tmp_path/'photos'
    for c in sorted((data_dir/'images/grocery/train').iterdir())[:3]:
        (d/c.name).mkdir(parents=True)
        for f in sorted(c.iterdir())[:30]: shutil.copy(f, d/c.name)
    first = next(d.iterdir())
    bad = [f for f in sorted((data_dir/'bad/image').iterdir()) if re.match(r'c_(bad_crc|bomb|zero|trunc|gif_named|jpeg_named|png_named|text_named|html_named)', f.name)]
    (first/'<img src=x onerror=alert(1)>.jpg').write_bytes(b'')
    for f in bad: shutil.copy(f, first)
    report = tour(d, tmp_path/'out', labels=10, seeds=2, say=lambda line: None)
    got = report['read']
    assert got['rows'] == 90 and got['quarantined'] >= len(bad)
    assert {'empty', 'corrupt', 'huge', 'mislabelled', 'unknown'} <= set(got['reasons'])
    assert sum(got['reasons'].values()) == got['quarantined'] and got['found'] == got['rows']
    page = (tmp_path/'out'/'report.html').read_text()
    assert 'were quarantined' in page and '<img src=x' not in page
