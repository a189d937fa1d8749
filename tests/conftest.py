"""What all tests share: how they spread over the cores, where data, a browser and a database are, the CPU seconds of the pages."""
import os, re, shutil, subprocess, sys
from pathlib import Path
import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import pgserver

# tests use no network and report to nobody
for k in 'DO_NOT_TRACK=1 RAY_USAGE_STATS_ENABLED=0 DAFT_ANALYTICS_ENABLED=0 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1'.split():
    os.environ.setdefault(*k.split('='))
os.environ.setdefault('OMP_NUM_THREADS', '1')            # tests run side by side, one on a core
os.environ.setdefault('PRETRAIN_NOTES_WORKERS', '1')    # ... and start no workers of their own

# ---------------------------------------------------------------- side by side
# The longest files and pages, longest first: they start first, so that no core waits for the last. (A page is its name without the number.)
LONGEST = '''
test_tour test_store test_objective tour test_labeler test_labeler_surfaces transfer.compare pretrain.supervised pretrain.contrastive pretrain.gan
pretrain.autoencoder classify.slices test_slices test_formats classify.compare annotate.issues test_stream pretrain.objective test_datasets
batch.augment pretrain.masked test_classify annotate.aggregate test_weights classify.imbalance annotate.agreement test_bench
'''.split()

def unit(nodeid):
    "What runs on one core: a page, or all tests of a file, which share what is expensive to make."
    file = nodeid.split('::')[0]
    return nodeid if file.endswith('test_notebooks.py') else file

def name(nodeid):
    "`test_store`, or `annotate.store` of a page."
    return re.sub(r'.*\[(\d+_)?|\]$', '', nodeid) if '[' in unit(nodeid) else Path(unit(nodeid).split('::')[0]).stem

class LongestFirst(LoadScopeScheduling):
    "A core that is free takes the next unit in the order of collection."
    def _split_scope(self, nodeid): return unit(nodeid)

def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return LongestFirst(config, log)

def pytest_xdist_auto_num_workers(config):
    "A worker for each core that this process may use; at most 8, since each needs a GB of memory."
    return min(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1, 8)

def pytest_collection_modifyitems(items):
    rank = {o: i for i, o in enumerate(LONGEST)}
    items.sort(key=lambda o: rank.get(name(o.nodeid), len(rank)))

# ---------------------------------------------------------------- options and fixtures
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

@pytest.fixture(scope='session')
def postgres():
    "The URL of an empty PostgreSQL database: the one that PRETRAIN_NOTES_TEST_PG names, or one of a server that ends with the tests."
    pytest.importorskip('psycopg')
    url = os.environ.get('PRETRAIN_NOTES_TEST_PG')
    if url or not pgserver.programs(): yield url or pytest.skip('no PostgreSQL on this machine')
    else:
        server = pgserver.Server(pgserver.programs())
        yield server.url
        server.close()

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

# ---------------------------------------------------------------- what the pages took
PAGE, PAGES = 60, 30*60     # CPU seconds of a page, and of all pages together, that draw a warning

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    "The CPU seconds of every page; after all else, a warning for what took too many."
    reports = [r for o in ('passed', 'failed') for r in terminalreporter.getreports(o)]
    rows = sorted((v for r in reports if getattr(r, 'when', '') == 'call' for k, v in r.user_properties if k == 'notebook'), key=lambda o: o[1])
    cpu, wall = (sum(o[i] for o in rows) for i in (1, 2))
    if rows:
        terminalreporter.section('pages: CPU seconds, seconds')
        for page, *took in [*rows, ('all', cpu, wall), ('on average', cpu/len(rows), wall/len(rows))]:
            terminalreporter.write_line('{:8.1f} {:8.1f}  {}'.format(*took, page))
    res = yield
    slow = [f'the page {page} took {took:.0f} CPU seconds, more than {PAGE}' for page, took, _ in rows if took > PAGE]
    if cpu > PAGES: slow.append(f'all pages together took {cpu:.0f} CPU seconds, more than {PAGES}')
    for o in slow: terminalreporter.write_line(f'WARNING: {o}: choose a smaller slice for tests', yellow=True)
    return res
