"""The label store's promise: what was acknowledged is on the disk, once; whoever writes, however it ends."""
import os, signal, subprocess, sys, threading, time
import pandas as pd
import pytest, sqlalchemy as sa
from pretrain_notes.annotate.store import ClassTask, LabelStore
from pretrain_notes.samples import DataError

task = ClassTask(['cat', 'dog'])
labels_forever = '''import sys
from pretrain_notes.annotate.store import ClassTask, LabelStore
store, task, who = LabelStore(sys.argv[1]), ClassTask(['cat', 'dog']), sys.argv[2]
print('ready', flush=True)
for i in range(int(sys.argv[3])): print(store.add(f'item-{i}', 'cat', task, annotator=who, uuid=f'{who}-{i:06}'), f'{who}-{i:06}', flush=True)'''

def start(db, who, n=100_000):
    p = subprocess.Popen([sys.executable, '-c', labels_forever, str(db), who, str(n)], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'ready\n'
    return p

@pytest.fixture
def store(tmp_path): return LabelStore(tmp_path/'labels.db')

def test_kill(store, tmp_path):
    "Killed without warning, again and again: nothing acknowledged is lost, nothing is doubled, sequence numbers hold."
    said = {}
    for k in range(5):
        p = start(tmp_path/'labels.db', f'killed-{k}')
        time.sleep(.03 + .05 * k)
        p.send_signal(signal.SIGKILL)
        said |= {u: int(s) for s, _, u in (l.partition(' ') for l in p.communicate()[0].splitlines()) if u}
    ev = LabelStore(tmp_path/'labels.db').events()
    stored = dict(zip(ev.uuid, ev.seq))
    assert len(said) > 20 and len(stored) == len(ev)
    assert {u: stored.get(u) for u in said} == said

def test_processes_and_resend(store, tmp_path):
    "Several processes at once; then every event is sent again, and nothing changes."
    ps = [start(tmp_path/'labels.db', f'process-{k}', 50) for k in range(3)]
    for p in ps: assert len(p.communicate()[0].splitlines()) == 50 and p.returncode == 0
    before = store.events()
    assert len(before) == 150 and before.seq.is_unique and before.uuid.is_unique
    again = store.add_many([dict(item=e.item, value=e.value, task=task, annotator=e.annotator, uuid=e.uuid) for e in before.itertuples()])
    assert again == before.seq.tolist()
    pd.testing.assert_frame_equal(store.events(), before)

def test_every_connection_is_full(store):
    conns = [store._engine.connect() for _ in range(8)]
    assert [(c.exec_driver_sql('PRAGMA journal_mode').scalar(), c.exec_driver_sql('PRAGMA synchronous').scalar()) for c in conns] == [('wal', 2)] * 8
    for c in conns: c.close()

def test_threads_undo_once(store):
    "Quick presses of undo on many threads take back as many labels, each once."
    for i in range(40): store.add(f'item-{i}', 'cat', task)
    undone = []
    ts = [threading.Thread(target=lambda: undone.extend(store.undo('me')['uuid'] for _ in range(5))) for _ in range(4)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert len(set(undone)) == 20 and set(store.labels(task).item) == {f'item-{i}' for i in range(20)}

def test_fork(store):
    "A forked child (a DataLoader's worker) opens the file anew and does not disturb its parent."
    store.add('before', 'cat', task)
    if not (pid := os.fork()):
        try: store.add('child', 'dog', task, annotator='child')
        finally: os._exit(0)
    os.waitpid(pid, 0)
    store.add('after', 'cat', task)
    assert store.labels(task).item.tolist() == ['before', 'child', 'after']

def test_undo_of_undo_and_relabel(store):
    "Only effective undos count; a label given again after a skip is current."
    a, b = (store.add('x', v, task, uuid=f'label-{v}') for v in ('cat', 'dog'))
    store.undo('me', uuid='undo-0001')
    assert store.labels(task).value.tolist() == ['cat']
    with store._writing() as conn:      # as a redo key would send it
        from pretrain_notes.annotate.store import _event
        store._insert(conn, [_event('x', annotator='me', kind='undo', ref='undo-0001') | dict(task=task.name, task_version=task.version)])
    assert store.labels(task).value.tolist() == ['dog']
    assert store.undo('me')['uuid'] == 'label-dog'
    store.add('x', task=task, kind='skip')
    assert not len(store.labels(task))
    store.add('x', 'dog', task)
    assert store.labels(task).value.tolist() == ['dog']

def test_full_disk_acknowledges_nothing(store):
    sa.event.listen(store._engine, 'connect', lambda db, record: db.execute('PRAGMA max_page_count=20'))
    store._engine.dispose()
    done = []
    with pytest.raises(DataError, match='full'):
        for i in range(5000): done.append(store.add(f'item-{i}', 'cat', task))
    assert store.events().seq.tolist() == done

@pytest.mark.parametrize('line', ['', 'null', '[]', '{', '{"kind":"label"}', '{"kind":"label","item":"x","value":"cat","task":"label","task_version":"no"}',
    '{"format":"other"}', '{"format":"pretrain_notes.labels","schema":99}', '{"task":{"kind":"class"},"version":"x"}',
    '{"kind":"undo","item":"x","annotator":"a"}', '{"kind":"note","item":"x","value":"hi","evil":1}', '{"kind":"note","item":"x","value":"hi","uuid":"\'; DROP TABLE events"}',
    '{"kind":"note","item":"x","value":"hi","time":NaN}', '{"kind":"note","item":"x","value":"hi","time":-5}', '[' * 100_000])
def test_restore_refuses(store, tmp_path, line):
    "A line that is no event is named, and nothing of the file is taken in."
    f = store.export(tmp_path/'log.jsonl')
    f.write_text(f.read_text() + '{"kind":"note","item":"x","value":"fine"}\n' + line + '\n')
    with pytest.raises(DataError, match='line 3'): store.restore(f)
    assert not len(store.events())

def test_hostile_text_round_trips(store, tmp_path):
    for t in ('<script>alert(1)</script>', "Robert'); DROP TABLE events;--", '=1+1', '‮gnp.tac', '😀 日本\u0000x'):
        store.add(t, t, ClassTask([t, 'other']))
    other = LabelStore(tmp_path/'other.db')
    assert other.restore(store.export(tmp_path/'log.jsonl')) == len(store.events())
    pd.testing.assert_frame_equal(other.events(), store.events())
    with pytest.raises(DataError, match='half a character'): ClassTask(['\ud800', 'x'])
    with pytest.raises(DataError): store.add('\udfff', 'cat', task)
    assert '<script>' not in store._repr_html_()

def test_many(store):
    "Bulk events and the view over them stay a matter of a second or two."
    store.add_many([dict(item=f'i{i}', value='cat', task=task, uuid=f'bulk-{i:08}') for i in range(50_000)])
    t = time.process_time()
    assert len(store.labels(task)) == 50_000
    assert time.process_time() - t < 5
