"""Tasks side by side: the numbers of a loop, whatever happens to a worker, and nothing left running."""
import os, signal, subprocess, sys, time, warnings
from pathlib import Path
import numpy as np
import pytest
from conftest import clean_env
from pretrain_notes.base import DataError
from pretrain_notes.workers import cores, side_by_side, stop_workers

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(autouse=True)
def _workers(monkeypatch): monkeypatch.delenv('PRETRAIN_NOTES_WORKERS', raising=False)

def net(x, seed, steps=3):
    import torch
    torch.manual_seed(seed)
    m = torch.nn.Sequential(torch.nn.Linear(300, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    opt = torch.optim.Adam(m.parameters())
    for _ in range(steps): loss = m(x[torch.randperm(len(x))[:400]]).square().mean(); loss.backward(); opt.step(); opt.zero_grad()
    return [p.detach().numpy().tobytes() for p in m.parameters()], os.getpid()

def test_trainings_are_equal_bit_for_bit():
    "Also to a loop that leaves threads as they are used here; tensors above a megabyte are mapped; generators stay as they were."
    import torch
    x = torch.rand(1000, 300, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5); before = torch.get_rng_state()
    a = side_by_side(net, [dict(seed=s) for s in range(4)], x, workers=2)
    assert torch.equal(torch.get_rng_state(), before)
    b = side_by_side(net, [dict(seed=s) for s in range(4)], x, workers=1)
    assert len({p for _, p in a}) == 2 and {p for _, p in b} == {os.getpid()}
    assert [w for w, _ in a] == [w for w, _ in b]

def test_an_error_is_the_error():
    class Odd(DataError): pass
    def f(_, i):
        if i == 4: raise DataError('task 4 is odd')
        return i
    with pytest.raises(DataError, match='task 4 is odd'): side_by_side(f, [dict(i=i) for i in range(6)], workers=2)
    assert side_by_side(f, [dict(i=i) for i in range(4)], workers=2) == [0, 1, 2, 3]      # the pool is still good

def test_a_worker_that_is_killed():
    "As when memory runs out: the tasks are done here, with a warning."
    here = os.getpid()
    def f(_, i):
        if os.getpid() != here: os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(.2)
        return i
    with pytest.warns(UserWarning, match='one after another'): assert side_by_side(f, [dict(i=i) for i in range(5)], workers=2) == list(range(5))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert side_by_side(lambda _, i: -i, [dict(i=i) for i in range(3)], workers=2) == [0, -1, -2]

def test_only_where_it_pays():
    stop_workers()
    assert {p for p in side_by_side(lambda _, i: os.getpid(), [dict(i=i) for i in range(4)])} == {os.getpid()}
    assert side_by_side(net, []) == []

def test_turned_off(monkeypatch):
    monkeypatch.setenv('PRETRAIN_NOTES_WORKERS', '1'); assert cores() == 1
    monkeypatch.setenv('PRETRAIN_NOTES_WORKERS', '3'); assert cores() == 3
    monkeypatch.setenv('PRETRAIN_NOTES_WORKERS', 'all')
    with pytest.raises(DataError, match='PRETRAIN_NOTES_WORKERS'): cores()

def test_no_workers_of_workers():
    def outer(_, i): return side_by_side(lambda _, j: os.getpid(), [dict(j=j) for j in range(3)]), os.getpid()
    found = [(inner, p) for inner, p in side_by_side(outer, [dict(i=i) for i in range(6)], workers=2) if p != os.getpid()]
    assert found and all(set(inner) == {p} for inner, p in found)

SCRIPT = """import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)      # a shell's background job ignores it, and hands that on
from pretrain_notes.workers import side_by_side
folder = FOLDER
def f(_, i): open(f'{folder}/{os.getpid()}', 'w'); time.sleep(60)
side_by_side(f, [dict(i=i) for i in range(4)], workers=2)"""      # no guard for __main__: a notebook has none either

@pytest.mark.skipif(os.name != 'posix', reason='signals')
@pytest.mark.parametrize('sig', [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_running(tmp_path, sig):
    p = subprocess.Popen([sys.executable, '-c', SCRIPT.replace('FOLDER', repr(str(tmp_path)))], env=clean_env(PYTHONPATH=str(ROOT)), cwd=tmp_path, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end: time.sleep(.1)
    pids = [int(o.name) for o in tmp_path.iterdir()]
    assert len(pids) == 2 and p.pid in pids
    p.send_signal(sig); p.wait(30)
    def running(pid):
        try: return 'State:\tZ' not in Path(f'/proc/{pid}/status').read_text()
        except OSError: return False
    while any(map(running, pids)) and time.monotonic() < end + 30: time.sleep(.1)
    assert not any(map(running, pids))

def test_light():
    code = 'import sys, pretrain_notes.workers; print([m for m in ("torch", "sklearn", "loky") if m in sys.modules])'
    out = subprocess.run([sys.executable, '-c', code], env=clean_env(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert out.stdout.strip() == '[]', out.stdout + out.stderr

def test_very_short_tasks():
    "A job that is done before anybody asks does not stop the others."
    assert side_by_side(lambda _, i: i, [dict(i=i) for i in range(3000)], workers=2) == list(range(3000))
