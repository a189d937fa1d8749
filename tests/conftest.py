"""What all tests share: where data and a browser are, a copy of the tree, the CPU seconds of the notebooks."""
import os, shutil, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# tests use no network and report to nobody
for k in 'DO_NOT_TRACK=1 RAY_USAGE_STATS_ENABLED=0 DAFT_ANALYTICS_ENABLED=0 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1'.split():
    os.environ.setdefault(*k.split('='))

def pytest_addoption(parser):
    parser.addoption('--flags', default='', help='run notebook cells with these flags too, e.g. --flags "gpu slow"')

@pytest.fixture(scope='session')
def flags(request):
    "Notebook cells with these flags run, which are skipped otherwise."
    res = request.config.getoption('--flags').split()
    if 'net' in res: os.environ.pop('HF_HUB_OFFLINE', None)
    return res

def data_roots():
    "Folders of named public data sets; on a CI machine also the one beside the checkout."
    roots = [Path(o) for o in os.environ.get('PRETRAIN_NOTES_DATA', '').split(os.pathsep) if o]
    if os.environ.get('CI') == 'true': roots.append(ROOT.parent/'shared/data')
    return [o.resolve() for o in roots if o.is_dir()]

@pytest.fixture(scope='session')
def data_dir():
    "The first folder of PRETRAIN_NOTES_DATA that exists."
    roots = data_roots()
    if not roots: pytest.skip('PRETRAIN_NOTES_DATA names no folder that exists')
    return roots[0]

@pytest.fixture(scope='session')
def browser():
    "The path of a Chromium."
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'))), None)
    return found or pytest.skip('no chromium on this machine')

def tree_files():
    "The files of the project, relative: those that git tracks or would (not ignored)."
    ls = ['git', 'ls-files', '-coz', '--exclude-standard']
    try: out = subprocess.run(ls, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError): pytest.skip('not a git checkout')
    return sorted(Path(o) for o in set(out.split('\0')) if o and os.path.lexists(ROOT/o))

@pytest.fixture(scope='session')
def files(): return tree_files()

@pytest.fixture
def tree(tmp_path, files):
    "A copy of the project's files."
    for f in files:
        dest = tmp_path/'tree'/f
        dest.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/f, dest, follow_symlinks=False)
    return tmp_path/'tree'

def clean_env(**kw):
    "The environment for a command that is not itself under test by nbdev, and finds no package through PYTHONPATH."
    return {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH')} | kw

@pytest.fixture
def sh(tmp_path):
    "Run this Python with arguments; return what it wrote, or fail with it."
    def run(*args, cwd=tmp_path, **env):
        res = subprocess.run([sys.executable, *map(str, args)], cwd=cwd, env=clean_env(**env), capture_output=True, text=True, timeout=600)
        if res.returncode: pytest.fail(f'{" ".join(map(str, args))}: exit {res.returncode}\n{res.stdout}{res.stderr}', pytrace=False)
        return res.stdout
    return run

def pytest_terminal_summary(terminalreporter):
    reports = [r for o in ('passed', 'failed') for r in terminalreporter.getreports(o)]
    rows = [v for r in reports if getattr(r, 'when', '') == 'call' for k, v in r.user_properties if k == 'notebook']
    if not rows: return
    terminalreporter.section('notebooks: CPU seconds, seconds')
    for name, cpu, wall in sorted(rows, key=lambda o: -o[1]): terminalreporter.write_line(f'{cpu:8.1f} {wall:8.1f}  {name}')
    terminalreporter.write_line(f'{sum(o[1] for o in rows):8.1f} {sum(o[2] for o in rows):8.1f}  all')
