"""What the label store must notice: changed bytes, missing events, files that are gone, clocks that are set, places that cannot be written.

The situations come from public reports; each test names its source where it has one."""
import json, os, random, re, shutil, signal, sqlite3, subprocess, time
from contextlib import closing
from pathlib import Path
import pandas as pd
import pytest, sqlalchemy as sa
resource = pytest.importorskip('resource', reason='these tests fork and kill processes')
from typer.testing import CliRunner
import pretrain_notes.annotate.backup, pretrain_notes.annotate.team
from pretrain_notes.annotate import places
from pretrain_notes.annotate.join import propose
from pretrain_notes.annotate.seals import verify_labels
from pretrain_notes.annotate.store import Damaged, FileReplaced, LabelStore, NotStored, OutcomeUnknown, ReadOnly, StoreUnavailable, Tied
from pretrain_notes.annotate.tasks import ClassTask
from pretrain_notes.base import DataError
from pretrain_notes.cli import app
from pretrain_notes.samples import Samples
from test_store import Stores, consistent, forked, join, new, store, task, url_of, version_1

def fill(path, n=40):
    "A store with labels, undos, a decision, a queue, gold and an erased item; what can be read from it"
    s = LabelStore(path)
    s.enqueue(task, [f'i{k}' for k in range(n)], overlap=2, priority=range(n), gold={'g': 'cat'})
    s.add_many([dict(item=f'i{k % n}', value='cat' if k % 3 else 'dog', task=task, annotator=f'ann-{k % 4}', seconds=1.5, uuid=f'label-{k:06}') for k in range(2 * n)])
    s.undo('ann-1', uuid='undo-0001'); s.add('i3', 'dog', task, annotator='rev', kind='adjudicate', uuid='label-decided')
    s.add('gone', 'cat', task); s.erase('gone', 'asked for')
    s.close()

def reads(s):
    "Everything that can be read, as one value"
    out = [s.events(), s.labels(task), s.decisions(task)]
    return repr([d.to_csv() for d in out] + [s.decided(task, 'majority'), s.gold(task), s.progress(task), s.mine(task, 'ann-1'), s.tasks(), s.store_id])

def test_no_changed_byte_is_read_silently(tmp_path):
    "150 files, each with one to three bytes changed at random: what reads differently is refused, or `verify` says so. Source: learningequality/kolibri#3228"
    fill(tmp_path/'good.db')
    good, rng, silent, changed = (tmp_path/'good.db').read_bytes(), random.Random(0), [], 0
    truth = reads(LabelStore(tmp_path/'good.db'))
    for k in range(150):
        b = bytearray(good)
        for _ in range(rng.randint(1, 3)): b[rng.randrange(len(b))] ^= rng.randint(1, 255)
        path = tmp_path/f'{k}.db'
        path.write_bytes(b)
        try:
            s = LabelStore(path)
            same = reads(s) == truth
            s.close()
        except DataError: continue
        changed += not same
        if not same: silent.append(k)
    assert not silent, silent

@pytest.mark.parametrize('what', ['"cat"', 'ann-1', 'label-000007', 'i5'])
def test_every_changed_text_is_named(tmp_path, what):
    fill(tmp_path/'a.db')
    b = (tmp_path/'a.db').read_bytes()
    at = [i for i in range(len(b)) if b.startswith(what.encode(), i)]
    assert len(at) > 1
    for i in at[::max(1, len(at) // 12)]:
        c = bytearray(b); c[i + 1] ^= 1
        (tmp_path/'b.db').write_bytes(c)
        for end in ('-wal', '-shm'): (tmp_path/f'b.db{end}').unlink(missing_ok=True)
        used = sqlite3.connect(tmp_path/'b.db').execute('SELECT count(*) FROM events').fetchone()[0] > 0
        assert used and verify_labels(tmp_path/'b.db'), i

def without_protection(s, *sql):
    from pretrain_notes.annotate.tables import protect_log
    with s._writing() as conn:
        protect_log(conn, on=False)
        for q in sql: conn.exec_driver_sql(q)
        protect_log(conn)

@pytest.mark.parametrize('sql,said', [("UPDATE events SET value = '\"dog\"' WHERE seq = 2", 'event 2 .* is not as it was written'),
    ('DELETE FROM events WHERE seq = 2', 'event 2 is missing before event 3'), ('DELETE FROM events WHERE seq > 3', 'events 4 to 5 are missing at the end'),
    ("INSERT INTO events (seq, uuid, time, kind, item, annotator, source) VALUES (9, 'forged-01', 1, 'note', 'i', 'a', 'human')", 'event 9 .*has no seal'),
    ("UPDATE events SET seq = 77 WHERE seq = 5", 'event 77'), ('INSERT INTO undone VALUES (1)', 'taken back is wrong'),
    ("UPDATE gold SET value = '\"dog\"'", 'table gold is not as'), ('UPDATE queue SET overlap = 3, open = 3', 'table queue is not as'), ('UPDATE queue SET open = 7', 'open places'),
    ('UPDATE tally SET labeled = 9', 'tally'), ("UPDATE tasks SET name = 'x'", 'table tasks is not as'), ("UPDATE about SET value = 'x' WHERE key = 'store_id'", 'table about is not as')])
def test_what_was_changed_is_said(new, sql, said):
    "On both databases: a changed, a missing, a forged event; other tables; and the store refuses to go on."
    s = new()
    for i in range(5): s.add(f'i{i}', 'cat', task)
    s.enqueue(task, ['x'], gold={'g': 'cat'})
    assert s.verify() == []
    without_protection(s, sql)
    with pytest.raises(Damaged) as e: LabelStore(url_of(s))
    assert isinstance(e.value, StoreUnavailable) and 'pretrain-notes verify' in str(e.value)
    assert any(re.search(said, d) for d in s.verify()), s.verify()
    for f in (lambda: s.add('y', 'cat', task), lambda: s.labels(task)):
        with pytest.raises(Damaged): f()
    r = CliRunner().invoke(app, ['verify', url_of(s)])
    assert r.exit_code == 1 and re.search(said, r.stdout)
    assert len(LabelStore(url_of(s), verify=False).events()) >= 3

def test_verify_command(tmp_path):
    fill(tmp_path/'a.db')
    run = lambda *a: CliRunner().invoke(app, ['verify', *map(str, a)])
    assert run(tmp_path/'a.db').exit_code == 0 and 'no damage' in run(tmp_path/'a.db').stdout
    assert run(tmp_path/'none.db').exit_code == 2 and not (tmp_path/'none.db').exists()
    version_1(tmp_path/'old.db')
    r = run(tmp_path/'old.db')
    assert r.exit_code == 2 and 'has no seals yet' in r.output
    assert sqlite3.connect(tmp_path/'old.db').execute('SELECT value FROM about').fetchall() == [('1',)]     # it was not touched
    for cut in (100, 5000, 9000):
        (tmp_path/'cut.db').write_bytes((tmp_path/'a.db').read_bytes()[:-cut])
        assert run(tmp_path/'cut.db').exit_code == 1
    (tmp_path/'text.db').write_text('no database' * 1000)
    assert run(tmp_path/'text.db').exit_code == 1

def test_large_store_is_verified_in_the_background(tmp_path):
    s = LabelStore(tmp_path/'a.db')
    s.add_many([dict(item=f'i{k}', value='cat', task=task, uuid=f'bulk-{k:08}') for k in range(6000)])
    without_protection(s, "UPDATE events SET value = '\"dog\"' WHERE seq = 5999"); s.close()
    try:
        s = LabelStore(tmp_path/'a.db')
        assert s._looked.wait(60)
    except Damaged: s = LabelStore(tmp_path/'a.db', verify=False); s.verify()      # it was found at once
    with pytest.raises(Damaged, match='event 5999'): s.labels(task)

# ---- the chain under fire

def append(write, url, who, n):
    s = LabelStore(url)
    for i in range(n): write(s.add(f'i{i}', 'cat', task, annotator=who)); s.undo(who) if i % 7 == 0 else None

def test_two_append_at_once(new):
    "Processes that append and undo at once, with a queue: one chain, nothing missing, and verifying meanwhile finds nothing."
    url = new.url()
    LabelStore(url).enqueue(task, [f'i{i}' for i in range(30)], overlap=2)
    watch, children = LabelStore(url), [forked(append, url, f'ann-{k}', 40) for k in range(3)]
    for _ in range(5): assert watch.verify() == []; time.sleep(.1)
    join(*children)
    assert watch.verify() == [] and watch.events().seq.tolist() == list(range(1, watch.seq + 1))
    consistent(watch)

def add_many_forever(write, url, k):
    s = LabelStore(url)
    events = [dict(item=f'i{i}', value='cat', task=task, annotator='ann', uuid=f'round-{k:03}-{i:06}') for i in range(2000)]
    write('begun'); s.add_many(events, n=200); write('done')

def test_kill_within_add_many(new):
    "Killed in the middle of many: whole portions are there, sending all again adds the rest once, and the chain is whole."
    url, rng = new.url(), random.Random(0)
    LabelStore(url).enqueue(task, [f'i{i}' for i in range(500)])
    for k in range(6):
        pid, f = forked(add_many_forever, url, k)
        f.readline(); time.sleep(rng.uniform(.02, .4)); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); f.close()
        s = LabelStore(url)
        assert s.verify() == []
        ev = s.events(); mine = ev[ev.uuid.str.startswith(f'round-{k:03}')]
        assert len(mine) % 200 == 0
        seqs = s.add_many([dict(item=f'i{i}', value='cat', task=task, annotator='ann', uuid=f'round-{k:03}-{i:06}') for i in range(2000)])
        assert len(set(seqs)) == 2000 and len(s.events()) == 2000 * (k + 1)
        s.close()
    s = LabelStore(url)
    assert s.verify() == [] and s.progress(task)['labeled'] == 500
    consistent(s)

def test_add_many_in_portions(new, monkeypatch):
    "What is refused is refused before the first portion; what fails later may be sent again."
    s = new()
    events = [dict(item=f'i{i}', value='cat', task=task, uuid=f'many-{i:06}') for i in range(10)]
    s.add('i9', 'dog', task, uuid='many-000009')
    with pytest.raises(DataError, match='used before') as e: s.add_many(events, n=3)
    assert not isinstance(e.value, StoreUnavailable) and s.seq == 1
    calls, real = [], LabelStore._insert
    def breaks(self, *a, **kw):
        calls.append(1)
        if len(calls) == 3: raise NotStored('nothing was stored: the disk is full')
        return real(self, *a, **kw)
    monkeypatch.setattr(LabelStore, '_insert', breaks)
    with pytest.raises(OutcomeUnknown, match='first 6 of 9 events are stored.*same uuids'): s.add_many(events[:9], n=3)
    assert s.seq == 7 and len(s.add_many(events[:9], n=3)) == 9 and s.seq == 10 and s.verify() == []

def test_truncated_write_ahead_log(tmp_path):
    "A copy whose log of the newest commits is cut opens, lacks the end at most, and is no damage: what is there is whole."
    s = LabelStore(tmp_path/'a.db')
    for i in range(30): s.add(f'i{i}', 'cat', task)
    for name in ('a.db', 'a.db-wal'): shutil.copy(tmp_path/name, tmp_path/name.replace('a.', 'b.'))
    wal = (tmp_path/'b.db-wal').read_bytes()
    (tmp_path/'b.db-wal').write_bytes(wal[:len(wal) * 2 // 3])
    b = LabelStore(tmp_path/'b.db')
    n = len(b.events())
    assert 0 < n < 30 and b.verify() == [] and b.add('more', 'cat', task) == n + 1

# ---- the file

def test_deleted_file_is_noticed(tmp_path):
    "`rm labels.db` while it is open: the next label is refused, no empty file takes its place, and what was there is saved. Source: h0tp-ftw/ankimon#836"
    s = LabelStore(tmp_path/'a.db')
    s.add('x', 'cat', task)
    (tmp_path/'a.db').unlink()
    with pytest.raises(FileReplaced, match='deleted or replaced'): s.add('y', 'cat', task)
    with pytest.raises(FileReplaced): s.undo()
    assert not (tmp_path/'a.db').exists() and isinstance(FileReplaced('x'), NotStored)
    saved = LabelStore(s.backup(tmp_path/'saved.db'))
    assert saved.events().item.tolist() == ['x'] and saved.add('y', 'cat', task) == 2

def test_replaced_file_is_noticed(tmp_path):
    "Another file at the same place: not written to, by any connection."
    s, other = LabelStore(tmp_path/'a.db'), LabelStore(tmp_path/'b.db')
    s.add('x', 'cat', task); other.add('z', 'cat', task); other.close()
    os.replace(tmp_path/'b.db', tmp_path/'a.db')
    with pytest.raises(FileReplaced): s.add('y', 'cat', task)
    assert LabelStore(s.backup(tmp_path/'rest.db')).events().item.tolist() == ['x']

def test_another_folder(tmp_path, monkeypatch):
    "A relative path means the same file after the working directory changed."
    monkeypatch.chdir(tmp_path)
    s = LabelStore('a.db')
    s.add('x', 'cat', task)
    (tmp_path/'sub').mkdir(); monkeypatch.chdir(tmp_path/'sub')
    s._engine.dispose()
    s.add('y', 'cat', task)
    assert len(s.events()) == 2 and not (tmp_path/'sub'/'a.db').exists()

def test_a_copy_after_a_quiet_second_lacks_nothing(tmp_path):
    s = LabelStore(tmp_path/'a.db')
    for i in range(20): s.add(f'i{i}', 'cat', task)
    for _ in range(40):
        time.sleep(.25)
        shutil.copy(tmp_path/'a.db', tmp_path/'b.db')
        with closing(sqlite3.connect(tmp_path/'b.db')) as c:
            try: n = c.execute('SELECT count(*) FROM events').fetchone()[0]
            except sqlite3.Error: n = 0
        if n == 20: break
    assert n == 20 and len(s.events()) == 20

def test_backup(new, tmp_path):
    "From both databases, while somebody writes: a whole store, queue and gold included, that can be worked with."
    s = new()
    s.enqueue(task, ['x', 'y', 'z'], overlap=2, gold={'g': 'dog'})
    for who in ('ann', 'ben'): s.add('x', 'cat', task, annotator=who)
    s.add('q', 'cat', task); s.erase('q', 'asked for'); s.undo('ben')
    b = LabelStore(s.backup(tmp_path/'copy.db'))
    assert sorted(p.name for p in tmp_path.glob('copy*') if not p.name.endswith(('-wal', '-shm'))) == ['copy.db']
    assert b.verify() == [] and b.store_id == s.store_id and b.gold(task) == {'g': 'dog'} and b.progress(task) == s.progress(task)
    pd.testing.assert_frame_equal(b.events(), s.events())
    assert b.add('y', 'cat', task) == s.add('y', 'cat', task) and b.verify() == s.verify() == []
    assert LabelStore(s.backup(tmp_path/'copy.db')).seq == s.seq
    with pytest.raises(DataError): s.backup(tmp_path/'copy.db'/'x.db')
    if s._sqlite:
        with pytest.raises(DataError, match='another file'): s.backup(s.url.database)

@pytest.mark.parametrize('how', ['file', 'log beside it', 'old tables'])
def test_read_only_media(tmp_path, how):
    "A store on a disk that cannot be written to is read, the newest labels in its write-ahead log included. Source: sifiveinc/wake#501"
    disk = tmp_path/'disk'; disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk], capture_output=True).returncode: pytest.skip('only root can mount a small disk')
    try:
        if how == 'old tables': version_1(disk/'a.db'); n = 7
        else:
            def fill(write):
                s = LabelStore(disk/'a.db')
                for i in range(5): s.add(f'i{i}', 'cat', task)
                if how == 'file': s.close()
            join(forked(fill)); n = 5
            assert how == 'file' or (disk/'a.db-wal').stat().st_size
        subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
        s = LabelStore(disk/'a.db')
        assert len(s.events()) == n and len(s.labels(task)) and s.readonly
        with pytest.raises(ReadOnly, match='can be read, but not written'): s.add('y', 'cat', task)
        if how != 'old tables': assert verify_labels(disk/'a.db') == []
        s.close()
    finally: subprocess.run(['umount', '-l', disk], check=True)

# ---- older files

schema_2 = '''CREATE TABLE about ("key" TEXT NOT NULL, value TEXT, PRIMARY KEY ("key"));
CREATE TABLE tasks (version TEXT NOT NULL, name TEXT, spec TEXT, PRIMARY KEY (version));
CREATE TABLE undone (seq INTEGER NOT NULL, PRIMARY KEY (seq));
CREATE TABLE erased (digest TEXT NOT NULL, reason TEXT, time FLOAT, PRIMARY KEY (digest));
CREATE TABLE events (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, time FLOAT NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
    annotator TEXT NOT NULL, source TEXT NOT NULL, source_version TEXT, task TEXT, task_version TEXT, value TEXT, proposal TEXT, ref TEXT, score FLOAT,
    seconds FLOAT, late INTEGER, UNIQUE (uuid));
CREATE INDEX events_by_item ON events (task, item, annotator, source, seq, kind);
CREATE INDEX events_by_annotator ON events (annotator, seq);
CREATE INDEX events_adjudicated ON events (task, item) WHERE kind = 'adjudicate';
CREATE TABLE queue (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, item TEXT NOT NULL, rank FLOAT NOT NULL, overlap INTEGER DEFAULT '0' NOT NULL,
    open INTEGER DEFAULT '0' NOT NULL, closed INTEGER DEFAULT '0' NOT NULL, UNIQUE (task, item));
CREATE INDEX queue_waiting ON queue (task, rank, id) WHERE open > 0 AND closed = 0;
CREATE TABLE claims (task TEXT NOT NULL, item TEXT NOT NULL, annotator TEXT NOT NULL, state TEXT NOT NULL, expires FLOAT, PRIMARY KEY (task, item, annotator));
CREATE INDEX claims_leased ON claims (task, expires) WHERE state = 'leased';
CREATE TABLE cursors (task TEXT NOT NULL, annotator TEXT NOT NULL, rank FLOAT, id INTEGER, given INTEGER, PRIMARY KEY (task, annotator));
CREATE TABLE gold (task TEXT NOT NULL, item TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (task, item));
CREATE VIEW current_answers AS SELECT * FROM events; CREATE VIEW current_labels AS SELECT * FROM current_answers;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
INSERT INTO about VALUES ('schema', '2'), ('store_id', '0123456789abcdef0123456789abcdef'), ('gold_rate label', '0.5'), ('plan', 'p');'''   # before seals

def test_migration_of_schema_2(tmp_path):
    "Nothing is lost, all is sealed, what holds places holds them still, and places of erased events are not given again."
    with closing(sqlite3.connect(tmp_path/'old.db')) as c:
        c.executescript(schema_2)
        c.execute('INSERT INTO tasks VALUES (?, ?, ?)', (task.version, task.name, json.dumps(task.to_dict())))
        for seq, item, who in ((1, 'a', 'ann'), (3, 'b', 'ben'), (4, 'b', 'ann')):
            c.execute('INSERT INTO events (seq, uuid, time, kind, item, annotator, source, task, task_version, value, late) VALUES (?,?,?,?,?,?,?,?,?,?,?)',
                      (seq, f'old-event-{seq}', 1.7e9 + .1 * seq, 'label', item, who, 'human', task.name, task.version, '"cat"', seq == 3 or None))
        c.execute("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'events'")                       # the end was erased
        c.execute("INSERT INTO erased VALUES (?, 'asked for', 1.7e9)", ('0' * 64,))
        c.executemany('INSERT INTO queue (task, item, rank, overlap, open) VALUES (?, ?, ?, ?, ?)', [('label', 'a', 0., 1, 0), ('label', 'b', -1.5, 3, 1), ('label', 'c', 2., 1, 1)])
        c.executemany('INSERT INTO claims VALUES (?, ?, ?, ?, ?)', [('label', 'a', 'ann', 'labelled', None), ('label', 'b', 'ben', 'labelled', None), ('label', 'b', 'ann', 'labelled', None)])
        c.execute("INSERT INTO gold VALUES ('label', 'g', '\"dog\"')"); c.commit()
    with pytest.warns(UserWarning, match='had no seals yet'): s = LabelStore(tmp_path/'old.db')
    ev = s.events()
    assert ev.uuid.tolist() == ['old-event-1', 'old-event-3', 'old-event-4'] and ev.seq.tolist() == [1, 3, 4] and ev.late.tolist() == [False, True, False]
    assert s.verify() == [] and s.store_id == '0123456789abcdef0123456789abcdef' and s.gold(task) == {'g': 'dog'}
    assert s.progress(task) == dict(items=3, full=1, leased=0, labeled=3, skipped=0)
    consistent(s)
    assert s.add('c', 'cat', task) == 10 and s.verify() == []
    assert (tmp_path/'old.db.schema2.bak').exists()
    without_protection(s, "UPDATE events SET item = 'x' WHERE seq = 3")
    assert 'event 3' in s.verify()[0]

# ---- leases

def clock_of(monkeypatch):
    passed, real = [0.], places._since_boot
    monkeypatch.setattr(places, '_since_boot', lambda: real() + passed[0])
    return passed

@pytest.mark.parametrize('jump', [-86_400, -700, 700, 86_400])
def test_setting_the_clock_moves_no_lease(tmp_path, monkeypatch, jump):
    "The time of day jumps forward and back: a lease of ten minutes is neither longer nor shorter, in another process's eyes, too."
    s = LabelStore(tmp_path/'a.db')
    s.enqueue(task, ['x'])
    s.claim('ann', task)
    real = time.time
    monkeypatch.setattr(time, 'time', lambda: real() + jump)
    other = LabelStore(tmp_path/'a.db')
    assert other.claim('ben', task) == s.claim('ben', task) == []
    s.add('x', 'cat', task, annotator='ann')
    assert s.labels(task).late.tolist() == [False]

def test_a_lease_ends_when_its_time_has_passed(tmp_path, monkeypatch):
    passed, s = clock_of(monkeypatch), LabelStore(tmp_path/'a.db')
    s.enqueue(task, ['x'])
    s.claim('ann', task)
    passed[0] = 599; assert s.claim('ben', task) == []
    passed[0] = 601; assert [c['item'] for c in s.claim('ben', task)] == ['x']

def test_a_restart_of_the_machine(tmp_path, monkeypatch):
    "The time since the start begins anew; leases then go by the time of day."
    s = LabelStore(tmp_path/'a.db')
    s.enqueue(task, ['x']); s.claim('ann', task)
    monkeypatch.setattr(places, '_boot', lambda: 'another'); monkeypatch.setattr(places, '_since_boot', lambda: 5.)
    again = LabelStore(tmp_path/'a.db')
    assert again.claim('ben', task) == []
    real = time.time
    monkeypatch.setattr(time, 'time', lambda: real() + 3600); monkeypatch.setattr(places, '_boot', lambda: 'a third')
    assert len(LabelStore(tmp_path/'a.db').claim('ben', task)) == 1

def test_renew(new, monkeypatch):
    "What is held is lengthened; what ran out and went to somebody else is not."
    s, passed = new(), clock_of(monkeypatch)
    if not s._sqlite: monkeypatch.setattr('pretrain_notes.annotate.team.clock', lambda conn: places.clock(conn) + passed[0]); monkeypatch.setattr(places.Places, '__init__', late_clock(passed))
    s.enqueue(task, ['a', 'b', 'c'])
    s.claim('ann', task, n=2, lease=100)
    passed[0] = 90
    assert s.renew(task, 'ann', ['a', 'nonsense']) == ['a'] and s.renew(task, 'ben') == []
    passed[0] = 150
    assert [c['item'] for c in s.claim('ben', task, n=3)] == ['b', 'c']
    assert s.renew('label', 'ann') == ['a'] and s.renew(task, 'ann', 'b') == []
    passed[0] = 240
    assert s.claim('cleo', task) == []
    s.add('b', 'cat', task, annotator='ann')
    assert s.labels(task).late.tolist() == [True] and s.verify() == []

def late_clock(passed):
    real = places.Places.__init__
    def init(self, *a):
        real(self, *a); self.now += passed[0]
    return init

def test_each_answer_renews_the_others(tmp_path, monkeypatch):
    "200 items at 150 s with a lease of 600 s, eight held ahead by each of eight people: 200 labels, none late. It was 271."
    passed, s = clock_of(monkeypatch), LabelStore(tmp_path/'a.db')
    s.enqueue(task, [f'i{k}' for k in range(200)])
    desks = {f'ann-{k}': [] for k in range(8)}
    while True:
        for who in desks: desks[who] = desks[who] or s.claim(who, task, n=8)
        if not any(desks.values()): break
        passed[0] += 150
        for who, desk in desks.items():
            if desk: s.add(desk.pop(0)['item'], 'cat', task, annotator=who)
    assert len(s.labels(task)) == 200 and not s.labels(task).late.any() and s.verify() == []

def test_how_far_ahead(store):
    "How many items somebody may hold is a parameter."
    store.enqueue(task, [f'i{k}' for k in range(9)])
    assert [len(store.claim('ann', task, n=4, ahead=k)) for k in (2, 2, 3, 1)] == [2, 0, 1, 0]
    store.add('i0', 'cat', task, annotator='ann')
    assert [c['item'] for c in store.claim('ann', task, n=4, ahead=3)] == ['i3'] and len(store.claim('ben', task, n=2, ahead=9)) == 2
    for bad in (0, -1, 'x'):
        with pytest.raises(DataError, match='ahead'): store.claim('ann', task, ahead=bad)

# ---- size

def statements(s, f):
    "How many statements a call sends"
    sent, lite = [], s._sqlite
    if lite:
        db = s._engine.connect(); raw = db.connection.dbapi_connection; db.close()
        raw.set_trace_callback(sent.append); f(); raw.set_trace_callback(None)
        return len([q for q in sent if not q.startswith(('PRAGMA', '--'))])
    return None

def test_a_label_takes_few_statements(tmp_path):
    s = LabelStore(tmp_path/'a.db')
    s.enqueue(task, [f'i{k}' for k in range(50)]); s.claim('ann', task, n=9)
    s.add('i0', 'cat', task, annotator='ann')
    n = statements(s, lambda: s.add('i1', 'cat', task, annotator='ann'))
    assert n <= 9, n                                                  # begin, look, claims, queue, event, claim, tally, leases, commit
    assert statements(s, lambda: s.progress(task)) == 1

def test_many_with_a_queue_cost_at_most_twice(tmp_path):
    "20,000 labels into a queue: at most twice what they cost without, and others get in between."
    def cost(name, queue, n=6000):
        s = LabelStore(tmp_path/f'{name}.db')
        if queue: s.enqueue(task, [f'i{k}' for k in range(n)])
        events = [dict(item=f'i{k}', value='cat', task=task, annotator='ann', uuid=f'bulk-{k:08}') for k in range(n)]
        t = time.process_time(); s.add_many(events); return time.process_time() - t, s
    (plain, _), (queued, s) = cost('plain', False), cost('queued', True)
    assert queued < 3 * plain + .2, (queued, plain)                   # measured: 1.8
    assert s.progress(task) == dict(items=6000, full=6000, leased=0, labeled=6000, skipped=0)

# ---- PostgreSQL

def test_patience_of_locks(new):
    "Somebody holds the lock and does nothing: others are told within their patience, and the server ends the idler's transaction."
    s = new()
    if s._sqlite: pytest.skip('a server only')
    assert [s._rows(sa.text(f'SHOW {k}'))[0][0] for k in ('lock_timeout', 'idle_in_transaction_session_timeout')] == ['30s', '20s']
    s.add('x', 'cat', task)
    sa.event.listen(s._engine, 'checkout', lambda db, *_: db.execute("SET lock_timeout = '300ms'"))
    with LabelStore(url_of(s))._writing():
        t = time.monotonic()
        with pytest.raises(NotStored, match='nothing was stored'): s.add('y', 'cat', task)
        assert time.monotonic() - t < 10
    assert s.add('y', 'cat', task) == 2

def test_stores_in_two_schemas_do_not_wait_for_each_other(new):
    a, b = new('one'), new('two')
    if a._sqlite: pytest.skip('a server only')
    with a._writing(): assert b.add('x', 'cat', task) == 1

def test_a_restarted_server_is_asked_again(new):
    "Connections that the server dropped are opened anew before anything is sent"
    s = new()
    if s._sqlite: pytest.skip('a server only')
    s.add('x', 'cat', task)
    def drop():
        pid = s._rows(sa.text('SELECT pg_backend_pid()'))[0][0]
        with LabelStore(url_of(s))._engine.connect() as other: other.exec_driver_sql(f'SELECT pg_terminate_backend({pid})')
    drop(); assert s.add('y', 'cat', task) == 2
    drop(); assert len(s.events()) == 2
    drop(); assert s.verify() == []
    drop(); assert s.seq == 2

# ---- ties

def test_ties_among_people(store):
    "A tie is not silently the later one's; the error says what to do."
    s = Samples.from_rows([dict(text='a'), dict(text='b')])
    a, b = s['id'].to_pylist()
    with pytest.raises(DataError, match='nothing is labeled yet.*Labeler'): s.with_labels(task, store)
    store.add(a, 'cat', task, annotator='ann')
    assert s.with_labels(task, store).labels.tolist() == [0, -1]
    store.add(a, 'dog', task, annotator='ben')
    with pytest.raises(Tied, match="review.*adjudicate.*aggregate.*conflict='majority'"): s.with_labels(task, store)
    assert s.with_labels(task, store, conflict='majority').labels.tolist() == [1, -1] and store.decided(task, 'latest') == {a: 'dog'}
    store.add(a, 'cat', task, annotator='cleo')
    assert s.with_labels(task, store).labels.tolist() == [0, -1]
    store.add(a, 'dog', task, annotator='dora')
    store.add(a, 'dog', task, annotator='rev', kind='adjudicate')
    assert s.with_labels(task, store).labels.tolist() == [1, -1]
    for m, p in (('m1', [[.9, .1], [.9, .1]]), ('m2', [[.1, .9], [.1, .9]])): propose(s, task, store, p, 'v1', model=m)
    assert store.decided(task, source='model') == {a: 'dog', b: 'dog'}                # models are no people
    many = ClassTask(['x', 'y'], multi=True, name='many')
    store.add(b, ['x'], many, annotator='ann'); store.add(b, ['x', 'y'], many, annotator='ben')
    with pytest.raises(Tied, match='tied on 1 items'): store.decided(many)
