"""The label store's promise: what was acknowledged is on the disk, once; whoever writes, however it ends.

The same tests run on PostgreSQL: on a server of their own where the program is installed, or, with PRETRAIN_NOTES_TEST_PG=postgresql://user@host/database
(an empty database that may be written to), on that one."""
import collections, json, os, random, signal, sqlite3, subprocess, sys, threading, time, uuid, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pandas as pd
import pytest, sqlalchemy as sa
resource = pytest.importorskip('resource', reason='these tests fork and kill processes')
import pretrain_notes.annotate.backup                        # teaches LabelStore to export, mirror and erase
from pretrain_notes.annotate import tables, team
from pretrain_notes.annotate.join import propose
from pretrain_notes.annotate.simulate import simulate_annotator
from pretrain_notes.annotate.store import LabelStore, NotOpened, NotStored, NothingToUndo, OutcomeUnknown, StoreUnavailable
from pretrain_notes.annotate.tables import _mount_of, event_row, refuse_network
from pretrain_notes.annotate.tasks import BoxTask, ClassTask, SpanTask, Task
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

task = ClassTask(['cat', 'dog'])

class Stores:
    "Makes stores in a folder, or each in a schema of its own on the PostgreSQL server of the URL `pg`."
    def __init__(self, folder, pg=None): self.kind, self.folder, self.pg, self.made = 'postgresql' if pg else 'sqlite', folder, pg, []
    def url(self, name='labels'):
        if self.kind == 'sqlite': return str(self.folder/f'{name}.db')
        schema = f'test_{name}_{uuid.uuid4().hex[:12]}'
        engine = sa.create_engine(sa.make_url(self.pg).set(drivername='postgresql+psycopg'))
        with engine.begin() as conn: conn.exec_driver_sql(f'CREATE SCHEMA {schema}')
        self.made.append((engine, schema))
        return sa.make_url(self.pg).update_query_dict(dict(options=f'-csearch_path={schema}')).render_as_string(hide_password=False)
    def __call__(self, name='labels', **kw): return LabelStore(self.url(name), **kw)
    def close(self):
        for engine, schema in self.made:
            with engine.begin() as conn: conn.exec_driver_sql(f'DROP SCHEMA {schema} CASCADE')
            engine.dispose()

@pytest.fixture(params=['sqlite', 'postgresql'])
def new(request, tmp_path):
    s = Stores(tmp_path, request.getfixturevalue('postgres') if request.param == 'postgresql' else None)
    yield s
    s.close()

@pytest.fixture
def store(new): return new()

def url_of(store): return store.url.render_as_string(hide_password=False) if not store._sqlite else store.url.database

def forked(f, *args):
    "Run `f(write, *args)` in a forked process; (pid, file to read what it wrote)."
    r, w = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pid = os.fork()
    if pid: os.close(w); return pid, os.fdopen(r)
    try:
        os.close(r)
        f(lambda *o: os.write(w, (' '.join(map(str, o)) + '\n').encode()), *args)
        os._exit(0)
    except BaseException as e:
        os.write(2, f'{type(e).__name__}: {e}\n'.encode())
        os._exit(1)

def join(*children):
    "What forked processes wrote, line by line; none may have failed."
    out = [[l.split() for l in f] for _, f in children]
    assert [os.waitpid(pid, 0)[1] for pid, _ in children] == [0] * len(children)
    return out

# ---- nothing acknowledged is lost

def label_forever(write, url, start):
    store = LabelStore(url)
    for i in range(max(0, start - 3), 10**6): write(store.add(f'item-{i}', 'cat', task, annotator='ann', uuid=f'label-{i:08}'), f'label-{i:08}')

def test_kill_100(new):
    "Killed without warning 100 times, in the middle of writing, and started again: nothing acknowledged is lost, nothing doubled."
    url, said, rng, late = new.url(), {}, random.Random(0), 0
    LabelStore(url).close()
    for k in range(100):
        pid, f = forked(label_forever, url, len(said))          # sends its last three again, as a page would
        heard = [f.readline() for _ in range(5 if k % 4 else 0)]    # every fourth is killed early, others when two new ones are acknowledged
        time.sleep(rng.uniform(.01, .12))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        for s, u in (l.split() for l in [*heard, *f] if l.endswith('\n')): assert said.setdefault(u, int(s)) == int(s), 'a label that was sent again has another place'
    ev = LabelStore(url).events()
    stored = dict(zip(ev.uuid, ev.seq))
    assert len(said) >= 150 and len(stored) == len(ev) == ev.item.nunique()
    assert {u: stored.get(u) for u in said} == said
    assert len(stored) - len(said) <= 1                         # at most the one that was stored, but not heard of

@pytest.mark.parametrize('n', [40])
def test_kill_with_team_and_mirror(new, tmp_path, n):
    "Killed while claiming, labeling, undoing and mirroring: claims, places and the mirror agree with the log afterwards."
    url, rng = new.url(), random.Random(1)
    LabelStore(url).enqueue(task, [f'i{i}' for i in range(3000)], overlap=2)
    def work(write, who):
        store = LabelStore(url, mirror=tmp_path/'mirror')
        while got := store.claim(who, task, n=3, lease=.2):
            for c in got: write(store.add(c['item'], 'dog', task, annotator=who))
            store.undo(who)
    watch = LabelStore(url)
    for k in range(10 * n):
        if k >= n and len(watch.labels(task)) > 100: break           # on a machine that is busy with other things a round stores little
        children = [forked(work, f'ann-{k % 3}'), forked(work, f'ben-{k % 3}')]
        if k % 4: [f.readline() for _, f in children for _ in range(4)]  # every fourth is killed early, others at work
        time.sleep(rng.uniform(.03, .2))
        for pid, f in children: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); f.close()
    store = LabelStore(url, mirror=tmp_path/'mirror')
    consistent(store)
    assert len(store.labels(task)) > 60
    other = LabelStore(tmp_path/'other.db')
    assert other.restore(store.mirror()) == len(store.events())
    pd.testing.assert_frame_equal(other.events().drop(columns='seq'), store.events().drop(columns='seq'))
    store.close()

def test_processes_and_resend(store):
    "Several processes at once; then every event is sent again, and nothing changes."
    def label(write, who):
        s = LabelStore(url_of(store))
        for i in range(50): write(s.add(f'item-{i}', 'cat', task, annotator=who, uuid=f'{who}-{i:06}'))
    assert [len(o) for o in join(*[forked(label, f'process-{k}') for k in range(3)])] == [50] * 3
    before = store.events()
    assert len(before) == 150 and before.seq.is_unique and before.uuid.is_unique
    again = store.add_many([dict(item=e.item, value=e.value, task=task, annotator=e.annotator, uuid=e.uuid) for e in before.itertuples()])
    assert again == before.seq.tolist()
    pd.testing.assert_frame_equal(store.events(), before)

def test_every_connection_is_full(tmp_path):
    store = LabelStore(tmp_path/'labels.db')
    def modes(c): return [c.exec_driver_sql(f'PRAGMA {p}').scalar() for p in ('journal_mode', 'synchronous', 'secure_delete', 'busy_timeout')]
    for _ in range(2):
        conns = [store._engine.connect() for _ in range(12)]         # five in the pool, and more
        assert [modes(c) for c in conns] == [['wal', 2, 1, 30000]] * 12
        for c in conns: c.close()
    used = []
    sa.event.listen(store._engine, 'commit', lambda conn: used.append(conn.connection.dbapi_connection.execute('PRAGMA synchronous').fetchone()[0]))
    store.add('x', 'cat', task); store.undo('me'); store.enqueue(task, ['y']); store.claim('me', task)
    assert len(used) >= 5 and set(used) == {2}

def test_threads(store):
    "Labels, undos and reads from many threads at once."
    failed = []
    def work(k):
        try:
            for i in range(30):
                store.add(f'item-{i}', 'cat', task, annotator=f't{k}')
                if i % 3 == 0: store.undo(f't{k}')
                if i % 10 == 0: store.labels(task); store.mine(task, f't{k}')
        except Exception as e: failed.append(e)
    ts = [threading.Thread(target=work, args=[k]) for k in range(8)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert not failed and store.labels(task).groupby('annotator').size().tolist() == [20] * 8

def test_threads_undo_once(store):
    "Quick presses of undo on many threads take back as many labels, each once."
    for i in range(40): store.add(f'item-{i}', 'cat', task)
    undone = []
    ts = [threading.Thread(target=lambda: undone.extend(store.undo('me')['uuid'] for _ in range(5))) for _ in range(4)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert len(set(undone)) == 20 and set(store.labels(task).item) == {f'item-{i}' for i in range(20)}

def test_fork(store):
    "Forked children (a DataLoader's workers) open the database anew and do not disturb their parent."
    store.add('before', 'cat', task)
    def child(write, k):
        for i in range(10): store.add(f'child-{k}-{i}', 'dog', task, annotator='child')
    children = [forked(child, k) for k in range(3)]
    for i in range(10): store.add(f'parent-{i}', 'cat', task)
    join(*children)
    store.add('after', 'cat', task)
    assert len(store.labels(task)) == 42 and store.events().seq.is_monotonic_increasing

def test_a_fork_among_threads_inherits_no_closed_lock(tmp_path):
    "While threads read, verify, open and close, forked children open a store of their own. (Without the gate, 1 to 13 of 60 hung.)"
    store, done = LabelStore(tmp_path/'a.db'), threading.Event()
    store.add_many([dict(item=f'item-{i}', value='cat', task=task) for i in range(3000)])
    def on(f):
        while not done.is_set(): f()
    threads = [threading.Thread(target=on, args=[f]) for f in (store.verify, lambda: store.labels(task), lambda: LabelStore(tmp_path/'a.db', verify=False).close())]
    for t in threads: t.start()
    def child(write): LabelStore(tmp_path/'b.db').add('x', 'dog', task)
    try:
        for _ in range(40):
            pid, f = forked(child)
            killer = threading.Timer(60, os.kill, (pid, signal.SIGKILL))
            killer.start(); f.close()
            assert os.waitpid(pid, 0)[1] == 0
            killer.cancel()
    finally:
        done.set()
        for t in threads: t.join()

# ---- what went wrong, by class

def test_errors_are_told_apart_by_class(new, tmp_path):
    "What may be sent again is a StoreUnavailable; a refusal is not"
    store = new()
    for f in (lambda: store.add('x', 'cow', task), lambda: store.add('', 'cat', task), lambda: store.undo()):
        with pytest.raises(DataError) as e: f()
        assert not isinstance(e.value, StoreUnavailable)
    assert isinstance(e.value, NothingToUndo)
    with pytest.raises(DataError, match='nothing was stored') as e:
        with store._writing() as conn: conn.exec_driver_sql("INSERT INTO events (uuid, time, kind, annotator, source) VALUES ('no-item-0', 1, 'note', 'a', 'human')")
    assert not isinstance(e.value, StoreUnavailable)
    store.close()
    with pytest.raises(NotStored, match='was closed'): store.add('x', 'cat', task)
    with pytest.raises(NotOpened): LabelStore(tmp_path/'no such folder'/'x.db')

def test_a_broken_commit_is_an_unknown_outcome(store, monkeypatch):
    "On a server, a connection that breaks during the commit leaves open whether it was stored"
    store.add('x', 'cat', task)
    if store._sqlite:                                     # take the file for a server
        monkeypatch.setattr(LabelStore, '_sqlite', property(lambda self: False))
        monkeypatch.setattr(store, '_begin', lambda db: db.execute('BEGIN IMMEDIATE'))
    def breaks(conn): raise sa.exc.OperationalError('COMMIT', {}, Exception('server closed the connection'))
    monkeypatch.setattr(sa.engine.Connection, 'commit', breaks)
    with pytest.raises(OutcomeUnknown, match='send it again with the same uuid'): store.add('y', 'cat', task)

# ---- undo, and what stands

def naive(ev):
    "What stands, by the definition: an undo counts unless a later one that counts took it back."
    dead = set()
    for e in ev[ev.kind == 'undo'][::-1].itertuples():
        if e.uuid not in dead: dead.add(e.ref)
    return ev[~ev.uuid.isin(dead)]

def consistent(store):
    "Labels, views and places follow from the log."
    ev = naive(store.events())
    answers = ev[ev.kind.isin(['label', 'skip'])].drop_duplicates(['task', 'item', 'annotator', 'source'], keep='last')
    expected = answers[answers.kind == 'label'].seq.tolist()
    tasks = ev.task.dropna().unique()
    assert sorted(s for t in tasks for s in store.labels(t, source=None).seq) == expected
    assert sorted(r.seq for r in store._rows(sa.text('SELECT seq FROM current_labels'))) == expected
    dead = {r.seq for r in store._rows(sa.text('SELECT seq FROM undone'))}
    assert dead == set(store.events().seq) - set(ev.seq)
    held = collections.Counter()
    said = {(r.task, r.item, r.annotator): r.kind for r in answers[answers.source == 'human'].itertuples()}
    queue = {(q.task, q.item): q for q in store._rows(sa.text('SELECT * FROM queue'))}
    for c in store._rows(sa.text('SELECT * FROM claims')):
        if c.state in ('leased', 'labeled'): held[c.task, c.item] += 1
        if c.state in ('labeled', 'skipped'): assert said.get((c.task, c.item, c.annotator)) == dict(labeled='label', skipped='skip')[c.state], c
    for k, q in queue.items():
        assert q.open == q.overlap - held[k], (k, q.open, held[k])
        decided = ((ev.kind == 'adjudicate') & (ev.task == k[0]) & (ev.item == k[1])).any()
        assert q.closed == int(decided)

def nobody_starves(store, people):
    "Whoever asks is given every item that has a place, and that he or she did not have; no more."
    for who in people: store.release(who, task)
    for who in people:
        had = {(c.item, c.annotator) for c in store._rows(sa.text("SELECT item, annotator FROM claims WHERE state IN ('labeled', 'skipped')"))}
        free = {q.item for q in store._rows(sa.text('SELECT item FROM queue WHERE open > 0 AND closed = 0')) if (q.item, who) not in had}
        assert {c['item'] for c in store.claim(who, task, n=100)} == free
        store.release(who, task)

@pytest.mark.parametrize('seed', range(3))
def test_random_history(new, tmp_path, seed):
    "Labels, skips, decisions, undos, redos, claims and releases at random: what stands is what the definition says, also after a restore."
    store, rng, sent = new(), random.Random(seed), []
    items = [f'i{i}' for i in range(6)]
    store.enqueue(task, items[:4], overlap=2)
    for k in range(120):
        who, u = rng.choice(['ann', 'ben', 'cleo']), f'event-{k:05}'
        act = rng.choice(['label', 'label', 'label', 'skip', 'adjudicate', 'undo', 'undo', 'ref', 'ref', 'claim', 'release', 'note'])
        try:
            if act == 'undo': store.undo(who, uuid=u)
            elif act == 'ref': store.undo(who, uuid=u, ref=rng.choice(sent))
            elif act == 'claim': store.claim(who, task, n=rng.randint(1, 3), lease=rng.choice([0, 600])); continue
            elif act == 'release': store.release(who, task); continue
            else: store.add(rng.choice(items), dict(note='hm', skip=None).get(act, rng.choice(['cat', 'dog'])), task, annotator=who, kind=act, uuid=u)
            sent.append(u)
        except NothingToUndo: pass
        except IndexError: assert not sent
        if k % 20 == 0: consistent(store)
        if k % 10 == 0: nobody_starves(store, ('ann', 'ben', 'cleo'))
    consistent(store)
    other = LabelStore(tmp_path/'other.db')
    assert other.restore(store.export(tmp_path/'log.jsonl')) == len(store.events())
    consistent(other)
    pd.testing.assert_frame_equal(other.labels(task).drop(columns='seq'), store.labels(task).drop(columns='seq'))
    assert other.decided(task, 'majority') == store.decided(task, 'majority') and other.mine(task, 'ann') == store.mine(task, 'ann')

def test_undo_redo_and_relabel(store):
    "Only effective undos count; a label given again after a skip is current."
    a, b = (store.add('x', v, task, uuid=f'label-{v}') for v in ('cat', 'dog'))
    store.undo('me', uuid='undo-0001')
    assert store.labels(task).value.tolist() == ['cat']
    assert store.undo('me', uuid='redo-0001', ref='undo-0001')['kind'] == 'undo'
    assert store.labels(task).value.tolist() == ['dog']
    with pytest.raises(DataError, match='taken back before'): store.undo('me', ref='undo-0001')
    with pytest.raises(DataError, match='another event'): store.undo('me', uuid='label-cat')
    with pytest.raises(DataError, match="no event 'nothing'"): store.undo('me', ref='nothing')
    assert store.undo('me')['uuid'] == 'label-dog'
    store.add('x', task=task, kind='skip')
    assert not len(store.labels(task)) and store.mine(task, 'me') == {'x': None}
    store.add('x', 'dog', task)
    assert store.labels(task).value.tolist() == ['dog']
    store.add('x', 'look again', task, kind='note', uuid='note-0001')
    assert store.undo('me', ref='note-0001')['value'] == 'look again' and store.labels(task).value.tolist() == ['dog']

def test_decisions(store):
    "A reviewer overrules the majority, may change his mind, and take it back."
    for who in 'abc': store.add('x', 'cat', task, annotator=who)
    with pytest.raises(DataError, match='no class'): store.add('x', task=task, kind='adjudicate', annotator='rev')
    store.add('x', 'cat', task, annotator='rev', kind='adjudicate'); store.add('x', 'dog', task, annotator='rev2', kind='adjudicate')
    assert store.decided(task) == {'x': 'dog'} and store.mine(task, 'rev', adjudications=True) == {'x': 'cat'} and store.mine(task, 'rev') == {}
    assert len(store.labels(task)) == 3
    store.undo('rev2')
    assert store.decided(task) == {'x': 'cat'} and len(store.decisions(task)) == 1
    store.undo('rev')
    assert not len(store.decisions(task)) and store.decided(task, source='model') == {}

# ---- a team

def take_part(write, url, who, rng_seed):
    store, rng = LabelStore(url), random.Random(rng_seed)
    while got := store.claim(who, task, n=rng.randint(1, 16)):
        store.add_many([dict(item=c['item'], value='cat', task=task, annotator=who) for c in got])
        for c in got: write(c['item'], int(c['gold']))

@pytest.mark.parametrize('overlap', [1, 3])
def test_eight_processes(new, overlap):
    "2,000 items, 8 annotators at once: none is given twice to anybody, each as often as asked, and nobody starves."
    url, gold = new.url(), {f'gold-{i}': 'cat' for i in range(20)}
    store = LabelStore(url)
    assert store.enqueue(task, [f'item-{i}' for i in range(2000)], overlap=overlap, gold=gold, gold_rate=.05) == 2000
    out = join(*[forked(take_part, url, f'ann-{k}', k) for k in range(8)])
    plain = [collections.Counter(i for i, g in o if g == '0') for o in out]
    assert all(max(c.values()) == 1 for c in plain)
    times = sum(plain, collections.Counter())
    assert len(times) == 2000 and set(times.values()) == {overlap}
    shares = sorted(len(c) for c in plain)
    assert shares[0] >= 2000 * overlap / 8 / 5, shares
    golds = [[i for i, g in o if g == '1'] for o in out]
    assert all(len(set(g)) == len(g) for g in golds) and 20 < sum(map(len, golds)) <= 160
    consistent(store)
    assert not store.labels(task).late.any() and store.progress(task)['full'] == 2000

def test_leases(new):
    "A lease that ran out is given to the next who asks, to its owner too; a late answer is kept, flagged and counted."
    store = new()
    store.enqueue(task, ['a', 'b'], overlap=1)
    assert [c['item'] for c in store.claim('ann', task, n=5, lease=1)] == ['a', 'b'] and store.claim('ben', task) == []
    time.sleep(1.1)
    assert [c['item'] for c in store.claim('ben', task)] == ['a']
    assert [c['item'] for c in store.claim('ann', task)] == ['b']               # hers again
    store.add('a', 'dog', task, annotator='ann')                                # while Ben has it
    store.add('a', 'cat', task, annotator='ben'); store.add('b', 'cat', task, annotator='ann')
    lab = store.labels(task).set_index(['item', 'annotator']).late
    assert lab.to_dict() == {('a', 'ann'): True, ('a', 'ben'): False, ('b', 'ann'): False}
    consistent(store)
    assert store.claim('cleo', task) == []
    store.undo('ben'); consistent(store)
    assert store.claim('cleo', task) == []                                      # Ann's late label fills the one place
    store.undo('ann', ref=store.events().query("item == 'a' and annotator == 'ann'").uuid.iloc[0]); consistent(store)

def test_a_late_answer_without_reclaim(store):
    store.enqueue(task, ['a'])
    store.claim('ann', task, lease=0)
    store.add('a', 'cat', task, annotator='ann')
    assert store.labels(task).late.tolist() == [True] and store.claim('ben', task) == []

def test_queue_rules(store):
    "Priority, skips, labels given before, labels without a claim, decisions, more overlap later."
    store.add('old', 'cat', task, annotator='ann')
    store.enqueue(task, ['old', 'x', 'y', 'z'], priority=dict(old=9., x=1., y=2., z=3.))
    assert store.progress(task)['full'] == 1                                    # Ann's label counts
    assert [c['item'] for c in store.claim('ann', task, n=2)] == ['z', 'y']
    store.add('z', task=task, kind='skip', annotator='ann')
    assert [c['item'] for c in store.claim('ben', task, n=9)] == ['z', 'x']
    store.add('y', 'dog', task, annotator='cleo')                               # without a claim: over the overlap, kept
    consistent(store)
    store.enqueue(task, ['old', 'y'], overlap=3)
    consistent(store)
    assert [c['item'] for c in store.claim('ben', task, n=9)] == ['old', 'y'] and [c['item'] for c in store.claim('cleo', task, n=9)] == ['old']
    assert store.claim('ann', task, n=9) == []
    store.add('new', 'cat', task, annotator='dora', kind='adjudicate')
    store.enqueue(task, ['new', 'newer'], priority=pd.Series([5., 1.]))
    assert [c['item'] for c in store.claim('ann', task, n=9)] == ['newer']      # what is decided is not given out
    store.undo('dora')
    assert [c['item'] for c in store.claim('ann', task, n=9)] == ['new']
    for bad in ([.1], [.1, float('nan')], [None, 1]):
        with pytest.raises(DataError, match='priorit'): store.enqueue(task, ['p', 'q'], priority=bad)
    for bad in (0, 1.5, True, 10**6):
        with pytest.raises(DataError, match='overlap'): store.enqueue(task, ['p'], overlap=bad)

def test_gold(store):
    "Gold is for everybody, at the stated rate; a qualification round is gold alone; the first answer is what is scored."
    known = {f'g{i}': 'cat' for i in range(200)}
    store.enqueue(task, [f'i{i}' for i in range(1500)] + ['g0'], overlap=5, gold=known, gold_rate=.1)
    rates = {}
    for who in ('ann', 'ben'):
        got = [c for _ in range(20) for c in store.claim(who, task, n=50)]
        rates[who] = sum(c['gold'] for c in got)
        assert len(got) == len({c['item'] for c in got}) == 1000
    assert all(70 <= r <= 130 for r in rates.values()), rates
    test = ClassTask(['cat', 'dog'], name='qualify')
    store.enqueue(test, [], gold=dict(list(known.items())[:10]), gold_rate=1.)
    assert [c['gold'] for c in store.claim('ann', test, n=20)] == [True] * 10 and store.claim('ann', test) == []
    for i in range(10): store.add(f'g{i}', 'dog' if i < 3 else 'cat', test, annotator='ann')
    store.undo('ann'); store.add('g0', 'cat', test, annotator='ann')            # shown what is right, says it: too late
    s = store.gold_scores(test).iloc[0]
    assert (s.annotator, s.n, s.right, s.accuracy) == ('ann', 10, 7, .7) and s.interval == (.397, .892)
    with pytest.raises(DataError, match='no class'): store.enqueue(task, [], gold=dict(x='cow'))

def test_a_place_that_opens_behind(store):
    "Somebody who is far on in the queue is given an earlier item when its place opens again."
    store.enqueue(task, [f'i{i}' for i in range(10)])
    store.claim('ann', task, n=3); store.claim('ben', task, n=3)
    store.add('i1', task=task, kind='skip', annotator='ann')
    assert [c['item'] for c in store.claim('ben', task, n=2)] == ['i1', 'i6']
    store.add('i0', 'cat', task, annotator='ann'); store.add('i0', 'dog', task, annotator='rev', kind='adjudicate'); store.undo('rev')
    assert store.release('ann', task) == 1
    assert [c['item'] for c in store.claim('ben', task, n=2)] == ['i2', 'i7']

def test_claim_is_fast(tmp_path):
    "A claim does not look at the items: 100,000 waiting, 3,000 labeled by this annotator, places open before and behind."
    store = LabelStore(tmp_path/'labels.db')
    store.enqueue(task, [f'i{i}' for i in range(100_000)], overlap=3)
    store.add_many([dict(item=c['item'], value='cat', task=task, annotator='ann') for _ in range(3) for c in store.claim('ann', task, n=1000)])
    t = time.process_time()
    for _ in range(100): store.claim('ann', task)
    assert (time.process_time() - t) / 100 < .01
    plan = ' '.join(r[-1] for r in store._rows(sa.text('EXPLAIN QUERY PLAN ' + team._next.text).bindparams(task='label', rank=0., id=0, annotator='a', n=1)))
    assert 'queue_waiting' in plan and 'SCAN' not in plan and 'TEMP B-TREE' not in plan

# ---- disks that fill, files that break, drives that are shared

def test_full_disk_acknowledges_nothing(tmp_path):
    store = LabelStore(tmp_path/'labels.db')
    sa.event.listen(store._engine, 'connect', lambda db, record: db.execute('PRAGMA max_page_count=60'))
    store._engine.dispose()
    done = []
    with pytest.raises(DataError, match='nothing was stored.*full'):
        for i in range(5000): done.append(store.add(f'item-{i}', 'cat', task))
    assert store.events().seq.tolist() == done

def test_really_full_disk(tmp_path):
    "A small file system that fills up: an error, nothing acknowledged that is not there, and on it goes once there is space."
    disk = tmp_path/'disk'; disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk], capture_output=True).returncode: pytest.skip('only root can mount a small disk')
    try:
        (disk/'ballast').write_bytes(b'x' * 200_000)
        store, done = LabelStore(disk/'labels.db'), []
        with pytest.raises(DataError, match='nothing was stored: .*(full|I/O)'):
            for i in range(20_000): done.append(store.add(f'item-{i}' * 10, 'cat', task))
        assert len(done) > 10
        (disk/'ballast').unlink()
        done.append(store.add('more', 'cat', task))
        assert store.events().seq.tolist() == done
        store.close()
        assert LabelStore(disk/'labels.db').events().seq.tolist() == done
        store._engine.dispose()
    finally: subprocess.run(['umount', '-l', disk], check=True)

def test_file_size_limit(tmp_path):
    "The same for anybody, by a limit on file sizes, in another process."
    def work(write):
        store = LabelStore(tmp_path/'labels.db')
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        try:
            for i in range(20_000): write(store.add(f'item-{i}' * 10, 'cat', task))
        except DataError as e: write('error', e)
    out, = join(forked(work))
    assert out[-1][0] == 'error' and 'nothing was stored' in ' '.join(out[-1])
    assert [str(s) for s in LabelStore(tmp_path/'labels.db').events().seq] == [o[0] for o in out[:-1]]

def test_damaged_file(tmp_path):
    "Damage in the middle is a DataError for whoever reads or writes there, not a crash and not a wrong answer."
    store = LabelStore(tmp_path/'labels.db')
    store.add_many([dict(item=f'item-{i}', value='cat', task=task, uuid=f'bulk-{i:08}') for i in range(3000)])
    with store._engine.connect() as conn: conn.exec_driver_sql('PRAGMA wal_checkpoint(TRUNCATE)')
    store.close()
    b = bytearray((tmp_path/'labels.db').read_bytes())
    b[8 * 4096:-4096] = random.Random(0).randbytes(len(b) - 9 * 4096)
    (tmp_path/'labels.db').write_bytes(b)
    with pytest.raises(DataError, match='malformed|damaged'):
        s = LabelStore(tmp_path/'labels.db')
        s.labels(task), s.events()
    (tmp_path/'cut.db').write_bytes(bytes(b[:5000]))
    with pytest.raises(DataError): LabelStore(tmp_path/'cut.db').add('x', 'cat', task)
    with closing_db(tmp_path/'other.db') as c: c.execute('CREATE TABLE events (what TEXT)')
    with pytest.raises(DataError, match='another program'): LabelStore(tmp_path/'other.db')

class closing_db:
    def __init__(self, path): self.c = sqlite3.connect(path)
    def __enter__(self): return self.c
    def __exit__(self, *_): self.c.commit(); self.c.close()

@pytest.mark.parametrize('kind', 'nfs nfs4 cifs smb3 9p fuse.sshfs fuse.rclone fuse.drive fuse.gvfsd-fuse fuse.onedrive fuse.anything panfs wekafs lustre'.split())
def test_network_drive_is_refused(tmp_path, kind):
    info = tmp_path/'mountinfo'
    info.write_text(f'22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:43 / {tmp_path.resolve()} rw - {kind} host:/x rw\n')
    with pytest.raises(DataError, match=r'network drive.*mirror=.*PostgreSQL'): refuse_network(tmp_path/'labels.db', info)
    info.write_text(f'22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:43 / {tmp_path.resolve()} rw - {kind} host:/x rw\n31 30 0:44 / {tmp_path.resolve()} rw - xfs /dev/sdb rw\n')
    refuse_network(tmp_path/'labels.db', info)                       # mounted over it
    link = tmp_path/'link'; link.symlink_to('/proc')
    info.write_text('22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:43 / /proc rw - nfs host:/x rw\n')
    with pytest.raises(DataError, match='network drive'): refuse_network(link/'labels.db', info)
    assert _mount_of('/a b/c', r'1 0 0:1 / /a\040b rw - nfs x rw') == 'nfs' and _mount_of('/abc', '1 0 0:1 / /ab rw - nfs x rw') == ''

@pytest.mark.parametrize('kind', 'ext4 xfs btrfs overlay fuseblk fuse.ntfs-3g fuse.exfat fuse.fuse-overlayfs'.split())
def test_local_drive_passes(tmp_path, kind):
    (tmp_path/'mountinfo').write_text(f'30 22 0:43 / {tmp_path.resolve()} rw - {kind} /dev/sdb1 rw\n')
    refuse_network(tmp_path/'labels.db', tmp_path/'mountinfo')

def test_what_is_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ('mysql://x/y', 'nonsense://', 'sqlite://', 'sqlite:///:memory:', '', '://', 5, None, b'x', 'postgresql://h:abc/db', 'a\0b'):
        with pytest.raises(DataError): LabelStore(url)
    for url in ('sqlite:///file:x?mode=memory&uri=true', 'sqlite:///file::memory:?uri=true', 'sqlite:///x.db?mode=ro', 'file:x.db'):
        with pytest.raises(DataError, match='without options'): LabelStore(url)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match='is the server running|cannot|no label store|needs its driver'): LabelStore('postgresql://nobody@127.0.0.1:1/none')
    s = LabelStore(tmp_path/'a?b#c%20d.db')
    s.add('x', 'cat', task)
    assert (tmp_path/'a?b#c%20d.db').is_file() and 'a?b#c%20d.db' in repr(s)

def test_ephemeral_machine_warns_once(tmp_path, monkeypatch):
    monkeypatch.setenv('KAGGLE_KERNEL_RUN_TYPE', 'Interactive')
    monkeypatch.setattr(tables, '_warned', set())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        LabelStore(tmp_path/'a.db', mirror=tmp_path/'m').close()
        assert not said
        LabelStore(tmp_path/'b.db'); LabelStore(tmp_path/'c.db')
    assert len(said) == 1 and 'Kaggle' in str(said[0].message) and 'store.mirror(folder)' in str(said[0].message)

# ---- the mirror

def test_mirror(new, tmp_path):
    "It follows by itself, goes on after half a line, and catches up when the folder comes back; no label waits for it or fails."
    store = new(mirror=tmp_path/'m')
    path = store.mirror()
    for i in range(5): store.add(f'item-{i}', 'cat', task)
    for _ in range(100):
        if path.read_text().count('"kind"') >= 6: break
        time.sleep(.05)
    assert path.read_text().count('"item-') == 5 and '5 events behind' not in repr(store) and 'mirrored 20' in store._repr_html_()
    store.close()
    path.write_bytes(path.read_bytes()[:-20])                         # killed while it wrote
    inode = path.stat().st_ino
    store = LabelStore(url_of(store), mirror=tmp_path/'m')
    store.add('item-5', 'cat', task)
    check = LabelStore(tmp_path/'check.db')
    assert check.restore(store.mirror()) == 6 and path.stat().st_ino == inode     # gone on, not written anew
    (tmp_path/'m').rename(tmp_path/'away')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for i in range(6, 20): store.add(f'item-{i}', 'cat', task); time.sleep(.02)
        assert len(said) == 1 and 'not mirrored' in str(said[0].message)
    assert len(store.labels(task)) == 20 and 'behind' in repr(store) and 'No such file' in repr(store)
    with pytest.raises(DataError, match='nothing is mirrored'): store.mirror()
    (tmp_path/'away').rename(tmp_path/'m')
    before = store.mirrored
    assert check.restore(store.mirror()) == 14 and store.mirrored >= before and 'behind' not in repr(store)
    path.write_bytes(b'\x00garbage\n' * 10)                           # a drive that mangled it: written anew
    store.mirror()
    assert LabelStore(tmp_path/'check2.db').restore(path) == 20
    store.close()
    (tmp_path/'file').write_text('')
    with pytest.raises(DataError, match='nothing can be mirrored'): store.mirror(tmp_path/'file'/'x')

def test_mirror_that_hangs(tmp_path):
    "A drive that blocks for ever delays no label and no exit."
    store = LabelStore(tmp_path/'labels.db', mirror=tmp_path/'m')
    store._mirror.catch_up = lambda: time.sleep(60)
    store._mirror.wake(); time.sleep(.05)
    t = time.perf_counter()
    for i in range(50): store.add(f'item-{i}', 'cat', task)
    assert time.perf_counter() - t < 5
    t = time.perf_counter()
    store.close()
    assert time.perf_counter() - t < 5

def test_mirror_from_several_threads(new, tmp_path):
    "The mirror's own thread and a call may come at once, also when the file is to be written anew."
    store = new(mirror=tmp_path/'m')
    for k in range(20):
        store.enqueue(task, [f'i{k}'])                      # a new plan: the file is begun anew
        with ThreadPoolExecutor(6) as pool: paths = list(pool.map(lambda _: store.mirror(), range(6)))
        assert len(set(paths)) == 1 and f'"i{k}"' in paths[0].read_text()
    assert {p.name for p in (tmp_path/'m').iterdir()} - {f'.{paths[0].name}.lock'} == {paths[0].name}

def test_mirror_and_restore_keep_the_plan(new, tmp_path):
    "Queue, gold and its rate are in exports and mirrors, also when they come late, and lead to the same work."
    store = new(mirror=tmp_path/'m')
    store.add('x', 'cat', task); path = store.mirror()
    ids, gold = [f'i{k}' for k in range(9)], {f'g{k}': 'dog' for k in range(9)}
    store.enqueue(task, ids, overlap=2, gold=gold, gold_rate=.6, priority=range(9))
    store.add('y', 'cat', task)
    assert store.mirror() == path
    work = lambda s: [(c['item'], c['gold']) for c in s.claim('ann', task, n=12)]
    copies = [LabelStore(tmp_path/'a.db'), LabelStore(tmp_path/'b.db')]
    for c, f in zip(copies, (path, store.export(tmp_path/'log.jsonl'))): assert c.restore(f) == 2 and c.gold(task) == gold
    given = work(store)
    assert given == work(copies[0]) == work(copies[1]) and sum(g for _, g in given) > 3
    before = path.stat().st_ino
    store.add('z', 'cat', task); store.mirror()
    assert path.stat().st_ino == before                               # the same plan: gone on, not written anew
    third = LabelStore(tmp_path/'c.db', mirror=tmp_path/'m3')
    third.restore(path); assert '"rate"' in third.mirror().read_text()   # what was restored is mirrored, too

def test_restore_of_half_a_line(tmp_path):
    "A log that ends within a line, as a crash leaves it, is restored up to there; half a line elsewhere is an error."
    store = LabelStore(tmp_path/'a.db')
    for i in range(3): store.add(f'item-{i}-é', 'cat', task)
    log = store.export(tmp_path/'log.jsonl').read_bytes()
    for cut in (3, 20, len(log) - log.rindex('é'.encode()) - 1):
        (tmp_path/'half.jsonl').write_bytes(log[:-cut])
        other = LabelStore(tmp_path/f'cut-{cut}.db')
        with pytest.warns(UserWarning, match='ends within line 5'): assert other.restore(tmp_path/'half.jsonl') == 2
    (tmp_path/'half.jsonl').write_bytes(log[:-20] + b'\n')
    with pytest.raises(DataError, match='line 5'): other.restore(tmp_path/'half.jsonl')
    (tmp_path/'half.jsonl').write_bytes(log[:-1])                     # only the end of the line is missing
    assert LabelStore(tmp_path/'whole.db').restore(tmp_path/'half.jsonl') == 3

def test_closed(tmp_path):
    store = LabelStore(tmp_path/'a.db', mirror=tmp_path/'m')
    store.add('x', 'cat', task); store.close()
    with pytest.raises(DataError, match='was closed, open it again'): store.add('y', 'cat', task)
    with pytest.raises(DataError, match='was closed'): store.undo()
    assert len(LabelStore(tmp_path/'a.db').events()) == 1

# ---- what is given by mistake

def test_add_many_takes_any_iterable(new, tmp_path):
    store = new()
    store.add_many(dict(item=f'i{k}', value='cat', task=task) for k in range(3))
    assert list(store.tasks()) == [task.version]
    assert LabelStore(tmp_path/'b.db').restore(store.export(tmp_path/'log.jsonl')) == 3

@pytest.mark.parametrize('event,said', [(dict(item='x', kind='undo'), 'use undo'), (dict(item='x', value='cat', task=task, ref='label-0001'), 'use undo'),
    (dict(item='x', vlaue='cat', task=task), "did you mean 'value'"), (dict(value='cat', task=task), 'item included'), ('x', 'is a dictionary'),
    (dict(item='x', value='cat', task='label'), 'give the Task itself'), (dict(item='x', task='label', kind='skip'), 'give the Task itself'),
    (dict(item='x', value='cat', task=task, kind=['label']), 'no kind'), (dict(item='x', value='cat', task=task, time='now'), 'time must be'),
    (dict(item='x', value='cat', task=task, kind='adjudicate', source='model'), 'only a person decides'),
    (dict(item='x', value='a remark', kind='note', proposal='cat'), 'needs the task')])
def test_no_event(store, event, said):
    with pytest.raises(DataError, match=said): store.add_many([dict(item='fine', value='cat', task=task), event])
    assert not len(store.events())

def test_arguments_by_mistake(store, tmp_path):
    "An error that says what to do, and never a traceback of another library."
    queue = dict(items=['a', 'b'])
    for f in (lambda: store.enqueue('label', ['a']), lambda: store.enqueue(task, None), lambda: store.enqueue(task, **queue, gold_rate=None),
              lambda: store.enqueue(task, **queue, priority=5), lambda: store.enqueue(task, **queue, priority=['x', 'y']),
              lambda: store.enqueue(task, **queue, gold=['a']), lambda: store.claim('ann', task, n=None), lambda: store.claim('ann', task, lease=None),
              lambda: store.claim(task, 'ann'), lambda: store.labels('label', same_version=True), lambda: store.labels(None),
              lambda: store.labels(task, ['human']), lambda: store.mine('ann', task), lambda: store.proposals(task, None)):
        with pytest.raises(DataError): f()
    assert store.enqueue(task, 'photo-1') == 1 and store.claim('ann', task)[0]['item'] == 'photo-1'       # one id, not seven characters
    store.add('photo-1', 'why?', task, kind='note')
    assert list(store.notes(task, 'photo-1')) == ['photo-1']
    log = store.export(tmp_path/'log.jsonl')
    assert store.erase('photo-1', 'asked for', exports=str(log))['lines'] == 2 and b'photo-1' not in log.read_bytes()

def test_propose_and_simulate(store):
    "Again: nothing new; another score under the same version: an error; other tasks and swapped arguments: an error."
    s = Samples.from_rows([dict(text=t, label=l) for t, l in (('a', 'cat'), ('b', 'dog'), ('c', 'cat'))])
    t = ClassTask(s.vocab)
    p = [[.9, .1], [.2, .8], [.7, .3]]
    assert [propose(s, t, store, p, 'v1') for _ in range(2)] == [3, 0]
    with pytest.raises(DataError, match='used before'): propose(s, t, store, [[.8, .2]] + p[1:], 'v1')
    assert propose(s, t, store, p, 'c', model='a/b') == propose(s, t, store, p, 'b/c', model='a') == 3
    many = ClassTask(s.vocab, multi=True, name='m')
    for f in (lambda: propose(s, many, store, p, 'v1'), lambda: propose(s, store, t, p, 'v1'), lambda: propose(s, t, store, 'abc', 'v1'),
              lambda: propose(s, t, store, [[1], [1, 2]], 'v1'), lambda: simulate_annotator(s, many, store), lambda: simulate_annotator(s, store, t),
              lambda: simulate_annotator(s, t, store, n=-1), lambda: simulate_annotator(s, t, store, error=None), lambda: s.with_labels(store, t),
              lambda: simulate_annotator(s, t, store, seconds=-1), lambda: simulate_annotator(s, BoxTask(s.vocab), store), lambda: s.with_labels('label', store)):
        with pytest.raises(DataError): f()
    assert len(simulate_annotator(s, t, store, n=0)) == 0 and not len(store.labels(t))

# ---- erase

def traces(folder, text): return sorted(p.name for p in folder.rglob('*') if p.is_file() and text.encode() in p.read_bytes())

def test_erase_leaves_no_byte(tmp_path):
    "After much work on one item nothing of it is in any file of the folder, and it does not come back."
    store, secret = LabelStore(tmp_path/'labels.db', mirror=tmp_path/'m'), 'patient-Ötzi-4711'
    hidden, spans = 'remark-about-4711', SpanTask(['name'], name='ner')
    store.enqueue(task, [secret, *(f'i{k}' for k in range(500))], overlap=3, gold={secret + 'g': 'cat'}, gold_rate=1.)
    for k in range(500):                                              # pages split and move; the item is in many of them
        store.add(f'i{k}', 'cat', task, annotator='ann')
        if k % 25 == 0:
            store.add(secret, 'cat', task, annotator=f'ann-{k}', seconds=1.); store.add(secret, hidden, kind='note')
            store.add(secret, 'dog', task, annotator='net', source='model', score=.9, proposal='cat')
    store.claim('ben', task, n=3); store.undo('ann-0'); store.add(secret, 'cat', task, annotator='rev', kind='adjudicate')
    old = store.export(tmp_path/'old.jsonl')
    other = LabelStore(tmp_path/'other'/'x.db') if (tmp_path/'other').mkdir() is None else None
    store.mirror()
    assert len(traces(tmp_path, secret)) >= 3 and len(traces(tmp_path, hidden)) >= 3
    n = len(store.events())
    gone = store.erase([secret, secret + 'g'], 'asked for', exports=[old])
    assert gone['events'] == n - len(store.events()) > 60 and gone['claims'] > 0 and gone['lines'] > 60
    assert traces(tmp_path, secret) == traces(tmp_path, hidden) == []
    assert len(store.labels(task)) == 500
    consistent(store)
    for f in (lambda: store.add(secret, 'cat', task), lambda: store.enqueue(task, [secret]), lambda: store.enqueue(task, [], gold={secret: 'cat'})):
        with pytest.raises(DataError, match='was erased'): f()
    with pytest.raises(DataError, match='append-only'):
        with store._writing() as conn: conn.exec_driver_sql('DELETE FROM events')
    assert other.restore(store.export(tmp_path/'new.jsonl')) == len(store.events())
    with pytest.raises(DataError, match='was erased'): other.add(secret, 'cat', task)       # the mark travels
    store.close(); other.close()

def test_erase_on_the_server(new):
    store = new()
    store.add('x', 'cat', task); store.add('y', 'cat', task); store.undo('me')
    assert store.erase('y', 'asked for')['events'] == 2 and store.events().item.tolist() == ['x'] and store.erase('y', 'again')['events'] == 0
    with pytest.raises(DataError, match='append-only'):
        with store._writing() as conn: conn.exec_driver_sql("UPDATE events SET item = 'z'")
    consistent(store)

def test_restore_does_not_revive(tmp_path):
    a, b = LabelStore(tmp_path/'a.db'), LabelStore(tmp_path/'b.db')
    a.add('x', 'cat', task, uuid='label-0001'); a.add('y', 'cat', task, uuid='label-0002')
    old = a.export(tmp_path/'old.jsonl')
    b.restore(old)
    a.erase('x', 'asked for')
    assert a.restore(old) == 0 and a.events().item.tolist() == ['y']
    with pytest.raises(DataError, match="'x' was erased where this log comes from"): b.restore(a.export(tmp_path/'new.jsonl'))
    b.erase('x', 'asked for')
    assert b.restore(tmp_path/'new.jsonl') == 0

# ---- versions of the file

schema_1 = '''CREATE TABLE about ("key" TEXT NOT NULL, value TEXT, PRIMARY KEY ("key"));
CREATE TABLE tasks (version TEXT NOT NULL, name TEXT, spec TEXT, PRIMARY KEY (version));
CREATE TABLE events (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, time FLOAT NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
    annotator TEXT NOT NULL, source TEXT NOT NULL, source_version TEXT, task TEXT, task_version TEXT, value TEXT, proposal TEXT, ref TEXT, score FLOAT,
    seconds FLOAT, UNIQUE (uuid));
CREATE INDEX events_by_annotator ON events (annotator, seq);
CREATE INDEX events_by_task ON events (task, seq);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
INSERT INTO about VALUES ('schema', '1');'''          # what pretrain_notes wrote before claims

def version_1(path):
    "A file of schema 1, with an undo, an undo of an undo, a skip and a proposal."
    with closing_db(path) as c:
        c.execute('PRAGMA journal_mode=WAL')
        c.executescript(schema_1)
        c.execute('INSERT INTO tasks VALUES (?, ?, ?)', (task.version, task.name, json.dumps(task.to_dict())))
        rows = [('label', 'a', 'ann', '"cat"', None), ('label', 'a', 'ann', '"dog"', None), ('undo', 'a', 'ann', None, 'old-event-1'),
                ('undo', 'a', 'ann', None, 'old-event-2'), ('label', 'b', 'ann', '"cat"', None), ('undo', 'b', 'ann', None, 'old-event-4'), ('skip', 'c', 'ben', None, None)]
        for i, (kind, item, who, value, ref) in enumerate(rows):
            c.execute('INSERT INTO events (uuid, time, kind, item, annotator, source, task, task_version, value, ref, seconds) VALUES (?,?,?,?,?,?,?,?,?,?,?)',
                      (f'old-event-{i}', 1.7e9 + i, kind, item, who, 'human', task.name, task.version, value, ref, 1.5))
    return rows

def test_migration(tmp_path):
    "A file of schema 1 opens and keeps all; a copy of it is beside it."
    rows = version_1(tmp_path/'old.db')
    before = (tmp_path/'old.db').read_bytes()
    store = LabelStore(tmp_path/'old.db')
    ev = store.events()
    assert ev.uuid.tolist() == [f'old-event-{i}' for i in range(7)] and ev.kind.tolist() == [r[0] for r in rows] and ev.seconds.tolist() == [1.5] * 7
    assert store.labels(task)[['item', 'value']].values.tolist() == [['a', 'dog']] and store.mine(task, 'ben') == {'c': None}
    consistent(store)
    assert store.undo('ann')['value'] == 'dog' and store.labels(task).value.tolist() == ['cat']
    store.enqueue(task, ['a', 'b'])
    assert [c['item'] for c in store.claim('ben', task, n=5)] == ['b'] and len(store.store_id) == 32
    with closing_db(tmp_path/'old.db.schema1.bak') as c: assert c.execute('SELECT count(*), (SELECT value FROM about) FROM events').fetchone() == (7, '1')
    assert [r for r in store._rows(sa.text("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'events%' ORDER BY 1"))] == \
           [('events_adjudicated',), ('events_by_annotator',), ('events_by_item',)]
    with pytest.raises(DataError, match='append-only'):
        with store._writing() as conn: conn.exec_driver_sql('DELETE FROM events')
    store.erase('c', 'asked for')
    assert not (tmp_path/'old.db.schema1.bak').exists()               # a copy would keep what was erased
    again = LabelStore(tmp_path/'old.db')
    assert again.store_id == store.store_id and len(again.events()) == 7

def test_migration_by_many_and_failing(tmp_path):
    "Eight processes open an old file at once: one migrates. A migration that fails changes nothing."
    version_1(tmp_path/'old.db')
    out = join(*[forked(lambda write: write(LabelStore(tmp_path/'old.db').store_id, len(LabelStore(tmp_path/'old.db').events()))) for _ in range(8)])
    assert len({tuple(o[0]) for o in out}) == 1 and out[0][0][1] == '7'
    version_1(tmp_path/'older.db')
    with closing_db(tmp_path/'older.db') as c: c.execute('CREATE TABLE current_labels (x TEXT)')      # is in the way of a view
    with pytest.raises(DataError, match='no label store was opened'): LabelStore(tmp_path/'older.db')
    with closing_db(tmp_path/'older.db') as c:
        assert c.execute('SELECT value FROM about').fetchall() == [('1',)] and 'late' not in [r[1] for r in c.execute('PRAGMA table_info(events)')]

def test_same_tables_after_migration(tmp_path):
    def shape(path):
        with closing_db(path) as c:
            names = [r[0] for r in c.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1")]
            return {n: [r[1:3] for r in c.execute(f'PRAGMA table_info({n})')] for n in names}
    version_1(tmp_path/'old.db')
    LabelStore(tmp_path/'old.db').close(); LabelStore(tmp_path/'new.db').close()
    assert shape(tmp_path/'old.db') == shape(tmp_path/'new.db')

def test_newer_schema_is_refused(new):
    store = new()
    with store._writing() as conn: conn.exec_driver_sql("UPDATE about SET value = '99' WHERE key = 'schema'")
    with pytest.raises(DataError, match='newer version'): LabelStore(url_of(store))

# ---- out and in

@pytest.mark.parametrize('line', [b'', b'null', b'[]', b'{', b'{"kind":"label"}', b'{"kind":"label","item":"x","value":"cat","task":"label","task_version":"no"}',
    b'{"format":"other"}', b'{"format":"pretrain_notes.labels","schema":99}', b'{"task":{"kind":"class"},"version":"x"}', b'{"version":"x"}',
    b'{"kind":"undo","item":"x","annotator":"a"}', b'{"kind":"note","item":"x","value":"hi","evil":1}',
    b'{"kind":"note","item":"x","value":"hi","uuid":"\'; DROP TABLE events"}', b'{"kind":"note","item":"x","value":"hi","time":NaN}',
    b'{"kind":"note","item":"x","value":"hi","time":-5}', b'[' * 100_000, b'{"kind":"note","item":"x","value":"caf\xe9"}', b'\xff\xfe{\x00}\x00',
    b'{"gold":{"task":"t"}}', b'{"queue":{"task":"t","item":"x","rank":"high","overlap":1}}', b'{"queue":{"task":"t","item":"x","rank":0,"overlap":-1}}',
    b'{"erased":{"digest":"x","reason":"y","time":1}}', b'{"erased":5}', b'{"gold":[1]}'])
def test_restore_refuses(tmp_path, line):
    "A line that is no event is named, and nothing of the file is taken in."
    store = LabelStore(tmp_path/'labels.db')
    f = store.export(tmp_path/'log.jsonl')
    f.write_bytes(f.read_bytes() + b'{"kind":"note","item":"x","value":"fine"}\n' + line + b'\n')
    with pytest.raises(DataError, match='line 3') as e: store.restore(f)
    assert ('not UTF-8' in str(e.value)) == (b'\xe9' in line or b'\xff' in line)
    assert not len(store.events())

def test_everything_comes_back(new, tmp_path):
    "All kinds of tasks, late labels, gold, queue and erasures; leases do not."
    store = new()
    boxes, spans, many = BoxTask(['car'], name='boxes'), SpanTask(['name'], name='spans'), ClassTask(['a', 'b', 'c'], multi=True, name='many')
    store.add('i', [dict(label='car', box=[1, 2, 3.5, 4]), dict(label='car', points=[[0, 0], [5, 0], [5, 5]])], boxes)
    store.add('i', [dict(label='name', start=0, end=3)], spans); store.add('i', ['c', 'a'], many); store.add('i', [], many, annotator='b')
    store.enqueue(task, ['i', 'j', 'k'], overlap=2, priority=[1, 2, 3], gold={'g': 'dog'})
    store.claim('ann', task, lease=0); store.claim('ben', task); store.add('k', 'cat', task, annotator='ann'); store.add('j', task=task, kind='skip', annotator='ben')
    store.add('z', 'cat', task); store.erase('z', 'asked for')
    other = LabelStore(tmp_path/'other.db')
    assert other.restore(store.export(tmp_path/'log.jsonl')) == len(store.events())
    pd.testing.assert_frame_equal(other.events().drop(columns='seq'), store.events().drop(columns='seq'))
    assert other.gold(task) == {'g': 'dog'} and other.labels(task).late.tolist() == [True] and other.progress(task) == store.progress(task) | dict(leased=0, full=0)
    assert other.labels(many).value.tolist() == [['a', 'c'], []] and other.labels(boxes).value[0] == store.labels(boxes).value[0]
    consistent(other)
    assert sorted(c['item'] for c in other.claim('zoe', task, n=9) if not c['gold']) == ['i', 'j', 'k']
    assert other.restore(tmp_path/'log.jsonl') == 0

def test_hostile_text_round_trips(new, tmp_path):
    store = new()
    for t in ('<script>alert(1)</script>', "Robert'); DROP TABLE events;--", '=1+1', '‮gnp.tac', '😀 日本', '%(uuid)s :uuid %s'):
        store.add(t, t, ClassTask([t, 'other']), annotator=t)
        store.enqueue(ClassTask([t, 'other'], name=t), [t], gold={t + 'g': t}); store.claim(t, t)
    other = LabelStore(tmp_path/'other.db')
    assert other.restore(store.export(tmp_path/'log.jsonl')) == len(store.events())
    pd.testing.assert_frame_equal(other.events(), store.events())
    with pytest.raises(DataError): store.add('\udfff', 'cat', task)
    assert '<script>' not in store._repr_html_()

def test_zero_bytes_in_names(new):
    "SQLite keeps them, PostgreSQL cannot: then that is said."
    store = new()
    try: assert store.labels(task).item.tolist() == ['x\0y'] if store.add('x\0y', 'cat', task) else False
    except DataError as e: assert not store._sqlite and 'nothing was stored' in str(e) and not len(store.events())

# ---- from votes to a column

def test_with_labels_of_every_kind(new, tmp_path):
    store, pictures = new(), Samples.from_arrays(np.arange(3, dtype='uint8')[:, None, None] + np.zeros((1, 8, 8), 'uint8'))
    s = pictures.with_column('text', ['Ada Lovelace', 'nobody', 'later'])
    a, b, c = s['id'].to_pylist()
    many, boxes, spans = ClassTask(['x', 'y'], multi=True, name='m'), BoxTask(['car', 'bus'], name='b'), SpanTask(['name'], name='s')
    store.add(a, ['y', 'x'], many); store.add(b, [], many)
    out = s.with_labels(many, store)
    assert out['labels'].to_pylist() == [[0, 1], [], None] and out.features['labels'].feature.names == ['x', 'y']
    store.add(a, [dict(label='bus', box=[1, 2, 3.25, 4]), dict(label='car', points=[[0, 1], [4, 1], [4, 6]])], boxes); store.add(b, [], boxes)
    out = s.with_labels(boxes, store)
    assert out['objects'].to_pylist() == [dict(bbox=[[1, 2, 3.25, 4], [0, 1, 4, 5]], category=[1, 0], segmentation=[[], [[0, 1, 4, 1, 4, 6]]]),
                                          dict(bbox=[], category=[], segmentation=[]), None]
    store.add(a, [dict(label='name', start=4, end=12), dict(label='name', start=0, end=3)], spans)
    out = s.with_labels(spans, store, labeled_only=True)
    assert out['spans'].to_pylist() == [[dict(start=0, end=3, label=0), dict(start=4, end=12, label=0)]] and len(out) == 1
    out = s.with_labels(boxes, store)
    out.save(tmp_path/'saved')
    assert Samples.load(tmp_path/'saved')['objects'].to_pylist() == out['objects'].to_pylist()
    assert out.to_dataset().features['objects']['category'].feature.names == ['car', 'bus']
    with pytest.raises(DataError, match='fits another version'): s.with_labels(BoxTask(['bus'], name='b'), store)
    hangs = BoxTask(['car'], name='outside')
    store.add(b, [dict(label='car', box=[4, 4, 4.5, 4])], hangs)        # by less than a pixel: cut off
    assert s.with_labels(hangs, store)['objects'].to_pylist()[1]['bbox'] == [[4, 4, 4, 4]]
    store.add(a, [dict(label='car', box=[0, 0, 99, 9])], hangs)
    with pytest.raises(DataError, match=f"label of '{a}'.*another item: shape 0: .* outside the picture of 8 x 8"): s.with_labels(hangs, store)
    with pytest.raises(DataError, match='have none'): s.drop('image').with_labels(boxes, store)
    store.add(c, [dict(label='name', start=1, end=99)], spans)
    with pytest.raises(DataError, match='no range of a text of 5'): s.with_labels(spans, store)
    class Rating(Task):
        kind = 'rating'
        def check(self, value, sample=None): return value
    try:
        store.add(a, 3, Rating(['a', 'b'], name='r'))
        with pytest.raises(DataError, match="'rating' answers become no column"): s.with_labels(Rating(['a', 'b'], name='r'), store)
    finally: Task.kinds.pop('rating')
    key = s.with_labels(boxes, store).steps[-1].key
    assert s.with_labels(boxes, store).steps[-1].key == key
    if store._sqlite:
        store.mirror(tmp_path/'m')
        assert s.with_labels(boxes, store).steps[-1].key == key          # a mirror is no part of the data
        store.close()

def test_decided_many_kinds(store):
    many = ClassTask(['a', 'b'], multi=True, name='m')
    for who, v in (('x', ['a']), ('y', ['a', 'b']), ('z', ['b', 'a'])): store.add('i', v, many, annotator=who)
    assert store.decided(many) == {'i': ['a', 'b']}
    with pytest.raises(DataError, match='disagree on 1 items'): store.decided(many, conflict='error')
    with pytest.raises(DataError, match='rule for conflicts'): store.decided(many, conflict='none')

def test_many(tmp_path):
    "What a labeler asks costs as much as the answer is long; all current labels of many events stay a matter of a second or so."
    store = LabelStore(tmp_path/'labels.db')
    store.add_many([dict(item=f'i{i}', value='cat', task=task, uuid=f'bulk-{i:08}', annotator=f'a{i % 1000}') for i in range(50_000)])
    t = time.process_time()
    assert len(store.labels(task)) == 50_000
    assert time.process_time() - t < 5
    t = time.process_time()
    for _ in range(20): assert len(store.mine(task, 'a7')) == 50 and store.proposals(task, ['i1', 'i2']) == {}
    assert time.process_time() - t < 1
