"""The bench: what is measured, how it is told, what happens where it cannot be."""
import json, os, statistics, sys, time
import numpy as np
import pytest
from pretrain_notes.bench import core as B
from pretrain_notes.bench.core import BenchResult, Compared, bench, benchmark, benchmarks, heavy, interleaved, machine, measure, modules_after, one_thread
from pretrain_notes.base import DataError

@pytest.fixture(autouse=True)
def quiet(monkeypatch): monkeypatch.setenv('TQDM_DISABLE', '1')

@pytest.fixture
def register():
    "Benchmarks that are gone after the test."
    was = dict(benchmarks)
    yield benchmark
    benchmarks.clear(); benchmarks.update(was)

def filled(ours=(1., 2., 9.), peer=(2., 2., 3.)):
    b = BenchResult('x', dict(cpu='none'))
    b.at_most('ratio', b.row('work: wall, s', ours, peer, 'numpy')['ratio'], 1.1, b.results[-1])
    return b

# ---------------------------------------------------------------- one run
def test_processes_by_kind():
    "A function runs here, a string in a fresh interpreter, a list is a command; CPU seconds are work, not waiting."
    work = 'import time\nwhile time.process_time() < .3: pass'
    for what in (work, [sys.executable, '-c', work]):
        m = measure(what)
        assert .28 < m['cpu'] < 2 and m['wall'] > .28 and 5 < m['peak'] < 200
    m = measure(lambda: time.sleep(.1))
    assert m['wall'] >= .1 and m['cpu'] < .08

def test_children_of_children_count():
    assert measure("import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < .3: pass'])")['cpu'] > .28

def test_peak_is_the_childs_own():
    "What this process holds is not in the figure of a process that it starts."
    x = np.ones(40_000_000)
    assert measure('pass')['peak'] < 100 < x.nbytes / 1e6
    assert measure('b = bytearray(200_000_000)')['peak'] > 200

def test_peak_in_process():
    assert abs(measure(lambda: bytearray(50_000_000))['peak'] - 50) < 1

@pytest.mark.parametrize('what, says', [('import no_such_module', "No module named 'no_such_module'"), ('raise SystemExit(3)', 'exit status 3'),
    (['/no/such/command'], 'could not be started'), ('import os; os.kill(os.getpid(), 9)', 'exit status -9')])
def test_failing_process(what, says):
    with pytest.raises(DataError, match=says): measure(what)

def test_machine_names_nobody():
    import getpass, platform
    said = json.dumps(machine())
    assert '/' not in said.replace(machine()['cpu'], '') and str(os.getcwd()) not in said
    assert set(machine()) == {'cpu', 'cores', 'memory_gb', 'load', 'system', 'python', 'versions'} and 'numpy' in machine()['versions']
    for name in (platform.node(), getpass.getuser()):
        if len(name) > 4: assert name not in said

# ---------------------------------------------------------------- side by side
def test_interleaved(monkeypatch):
    "A B A B, and the first pair does not count."
    log, cost = [], iter(range(100))
    monkeypatch.setattr(B, 'measure', lambda w: log.append(w) or dict(wall=next(cost), cpu=1, peak=1))
    c = interleaved('a', 'b', repeats=3)
    assert ''.join(log) == 'abababab'
    assert c['wall'] == ([2, 4, 6], [3, 5, 7])

def test_row():
    "Medians, their ratio, and the spread; the version is that of the installed peer."
    from importlib.metadata import version
    r, = filled().results
    assert (r['ours'], r['peer'], r['ratio'], r['repeats']) == (2, 2, 1, 3) == (statistics.median([1, 2, 9]), 2, 1, 3)
    assert r['spread'] == dict(ours=[1, 9], peer=[2, 3], ratio=[.5, 3])
    assert (r['peer_name'], r['peer_version']) == ('numpy', version('numpy'))

def test_to_dict():
    "What --json prints: the promised keys, nothing that JSON cannot hold."
    d = filled().to_dict()
    assert set(d) == {'name', 'machine', 'results', 'bars', 'notes'}
    assert set(d['results'][0]) == {'metric', 'ours', 'peer', 'peer_name', 'peer_version', 'ratio', 'repeats', 'spread'}
    assert d['bars'] == [dict(bar='ratio: at most', value=1., goal=1.1, holds=True)]
    odd = filled(peer=(0., 0., np.nan))
    d = json.loads(json.dumps(odd.to_dict(), allow_nan=False))
    assert d['results'][0]['ratio'] is None and d['bars'][0] == dict(bar='ratio: at most', value=None, goal=1.1, holds=False)
    assert not odd.holds and 'NO' in str(odd)

def test_bars():
    b = BenchResult('x', {})
    assert b.at_most('a', .3, .3) and b.at_least('b', .3, .3) and b.holds
    assert not b.at_most('c', float('nan'), 1) and not b.at_least('d', float('nan'), 0) and not b.holds

def test_shown():
    "Escaped in HTML; every row with its spread; a ratio that is no number does not break the picture."
    b = filled()
    b.row('<script>', [1.], [np.inf], 'numpy'), b.row('none', [1.], [0.], 'numpy')
    b.notes.append('<b>')
    assert '<script>' not in b._repr_html_() and '&lt;b&gt;' in b._repr_html_() and '1 (0.5 to 3)' in str(b)
    ax, = b.plot().axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ['work: wall, s']
    BenchResult('empty', {}).plot()

def test_one_thread(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2'); monkeypatch.delenv('MKL_NUM_THREADS', raising=False)
    with pytest.raises(ZeroDivisionError), one_thread():
        measure('import os; assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"')
        1 / 0
    assert os.environ['OMP_NUM_THREADS'] == '2' and 'MKL_NUM_THREADS' not in os.environ

# ---------------------------------------------------------------- by name
def test_names(register):
    assert {'import', 'tour'} <= set(benchmarks)
    with pytest.raises(DataError, match="did you mean 'tour'"): bench('tuor')
    with pytest.raises(DataError, match='at least one repeat'): bench('import', repeats=0)

def test_missing_peer(register):
    "Says which, and how to get it; nothing is measured."
    ran = []
    @register('x', peers=['numpy', 'no-such-peer'])
    def x(b, repeats=5): ran.append(b)
    with pytest.raises(DataError, match=r"no-such-peer, which is not installed: pip install 'pretrain_notes\[bench\]'"): bench('x')
    assert not ran

def test_repeats(register):
    got = []
    @register('x')
    def x(b, repeats=5, more=0): got.append((repeats, more))
    bench('x'), bench('x', 2), bench('x', 3, more=1)
    assert got == [(5, 0), (2, 0), (3, 1)]

# ---------------------------------------------------------------- import
def fake_costs(monkeypatch, factor, loads=()):
    def cost(w):
        s = 1.2 * factor if 'pretrain_notes.vision' in w else 1.2 if 'fastai' in w else .1 * factor if 'pretrain_notes' in w else .01
        return dict(wall=s, cpu=s, peak=s)
    monkeypatch.setattr(B, 'measure', cost)
    monkeypatch.setattr(B, 'modules_after', lambda source: {'sys', *loads})

def test_every_benchmark_counts_repeats():
    "`pretrain-notes bench NAME --repeats N` hands them on by this name."
    import inspect
    assert not [n for n, f in B.all_benchmarks().items() if 'repeats' not in inspect.signature(f).parameters]

@pytest.mark.parametrize('factor, loads, holds', [(1, [], [True]*5), (10, [], [False]*3 + [True]*2), (1, ['torch'], [True]*3 + [False]*2)])
def test_import_rows_and_bars(monkeypatch, factor, loads, holds):
    pytest.importorskip('fastai')
    fake_costs(monkeypatch, factor, loads)
    b = bench('import', repeats=2)
    assert [r['peer_name'] for r in b.results] == ['python']*6 + ['fastai']*3 and {r['repeats'] for r in b.results} == {2}
    assert [x['holds'] for x in b.bars] == holds and b.holds == all(holds)
    assert [x['goal'] for x in b.bars] == [.3, .6, 1.15, 0, 0] and len(b.notes) == 2 * len(loads)

def test_import_is_light():
    "For real: what the package and the checker load, and that importing the package takes no time worth speaking of."
    assert not modules_after('import pretrain_notes') & set(heavy)
    assert not modules_after('import pretrain_notes.standards.check') & {'torch', 'fastai'}
    c = interleaved('import pretrain_notes', 'pass', repeats=3)
    assert np.median(c['cpu'][0]) - np.median(c['cpu'][1]) <= .3

def test_modules_after():
    assert 'numpy' in modules_after('import numpy.linalg; print("[not json")')
    with pytest.raises(DataError, match='no_such'): modules_after('import no_such')

# ---------------------------------------------------------------- tour
def test_label_errors():
    "For real, fewer seeds: F1 and time beside cleanlab's."
    pytest.importorskip('cleanlab', reason='cleanlab, the peer, is not installed: pip install pretrain_notes[bench]')
    b = BenchResult('tour')
    b._label_errors(seeds=5, repeats=2)
    assert b.holds and [r['peer_name'] for r in b.results] == ['cleanlab']*4
    f1 = b.results[0]
    assert f1['repeats'] == 5 and f1['ours'] > .85 and f1['ours'] >= f1['peer'] - .01
    assert '95 % interval' in b.notes[0] and '5 paired seeds' in b.notes[0]

def transfer(low, pairs): return dict(labels=100, statement='words', differences=dict(SimCLR=dict(difference=1., low=low, high=3., pairs=pairs)))

@pytest.mark.parametrize('there, low, pairs, wall, ok, holds', [(True, .5, 10, 90, True, True), (True, -.1, 10, 90, True, False), (True, .5, 9, 90, True, False),
    (False, 0, 0, 90, True, True), (False, 0, 0, 151, True, False), (False, 0, 0, 90, False, False)])
def test_tour_bars(monkeypatch, there, low, pairs, wall, ok, holds):
    "The bar on mnist is there exactly where mnist is; otherwise a note says so."
    pytest.importorskip('cleanlab', reason='cleanlab, the peer, is not installed: pip install pretrain_notes[bench]')
    monkeypatch.setattr(BenchResult, '_label_errors', lambda self, seeds, repeats: self.at_least('f1', 0, -.01))
    monkeypatch.setattr(B, 'have_data', lambda name: there)
    monkeypatch.setattr(B, 'cores', lambda: 2)
    monkeypatch.setattr(B, 'gflops', lambda: 50)             # otherwise a loaded machine would be forgiven
    asked = []
    def run(data, out=None, on='all cores', **kw):
        asked.append((data, out, on, kw))
        return dict(wall=wall * (2 if on == 'one core' else 1)), dict(ok=ok, transfer=transfer(low, pairs))
    monkeypatch.setattr(B, '_run_tour', run)
    b = bench('tour', seeds=3, out='kept')
    assert asked == [('digits', None, on, {}) for _ in range(3) for on in ('all cores', 'one core')] + [('mnist', 'kept', 'all cores', dict(seeds=10))] * there
    assert b.holds == holds and len(b.bars) == 4 + there and any('mnist' in n for n in b.notes)
    assert any('not found' in n for n in b.notes) != there

def test_cost_on_one_core(monkeypatch):
    "Where there is one core only, nothing is said of two; a fast machine's seconds are not made longer."
    pytest.importorskip('cleanlab', reason='cleanlab, the peer, is not installed: pip install pretrain_notes[bench]')
    monkeypatch.setattr(BenchResult, '_label_errors', lambda self, seeds, repeats: None)
    for k, v in dict(have_data=lambda name: False, cores=lambda: 1, gflops=lambda: 25, _run_tour=lambda *a, **k: (dict(wall=200), dict(ok=True))).items():
        monkeypatch.setattr(B, k, v)
    b = bench('tour')
    assert [x['value'] for x in b.bars] == [100, 1] and b.holds
