"""The labeler's Python side, driven by the messages that a page sends."""
import pytest
from uuid import uuid4
from pretrain_notes.annotate.store import LabelStore, NotRead, NotStored, OutcomeUnknown
from pretrain_notes.annotate.join import propose
from pretrain_notes.annotate.tasks import BoxTask, ClassTask, SpanTask
from pretrain_notes.annotate.bias import automation_bias
from pretrain_notes.annotate.widgets import Labeler
from pretrain_notes.datasets import digits
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

s = digits()[:60]
ids = s['id'].to_pylist()
task = ClassTask(s.vocab, name='digit')

class Page:
    "A page without a browser: what it got, by type"
    def __init__(self, labeler):
        self.labeler, self.got = labeler, []
        labeler.send = lambda m, buffers=None: self.got.append(m)
    def tell(self, **m):
        self.got.clear()
        self.labeler._receive(dict(view='v', **m))
        return {m['type']: m for m in self.got}
    def open(self, filter=None): return self.tell(type='open', filter=filter or self.labeler.spec['filter'])
    def give(self, item, value, uuid=None, kind='label', **kw):
        return self.tell(type='events', events=[dict(uuid=uuid or str(uuid4()), item=item, kind=kind, value=value, **kw)])

@pytest.fixture
def store(tmp_path): return LabelStore(tmp_path/'labels.db')

def test_a_review_keeps_its_order_and_shows_what_all_agree_on(store):
    for who in 'abc':
        for k in range(6): store.add(ids[k], '7' if who == 'c' and k in (0, 4) else str(s.labels[k]), task, annotator=who)
    shown = [i['id'] for i in Page(Labeler(s, task, store, 'boss', order=[ids[5], ids[4], ids[3], ids[50]], mode='review')).open()['items']['items']]
    assert shown == [ids[5], ids[4], ids[3]]                           # in this order, without the one that nobody answered
    shown = [i['id'] for i in Page(Labeler(s, task, store, 'boss', mode='review')).open()['items']['items']]
    assert set(shown) == {ids[0], ids[4]}                              # without an order: where they differ

def test_a_proposal_of_an_older_task_is_no_obstacle(store):
    old = ClassTask([*s.vocab, 'unsure'], name='digit')
    store.add(ids[0], 'unsure', old, annotator='net', source='model', source_version='1', score=.9)
    page = Page(Labeler(s, task, store, proposals=True, blind=0))
    assert 'proposal' not in page.open()['items']['items'][0]
    assert 'ack' in page.give(ids[0], '0', proposal='unsure')
    assert store.labels(task).proposal.isna().all()

def test_a_label_that_is_sent_again_changes_nothing(store):
    page = Page(Labeler(s, task, store))
    first = str(uuid4())
    page.give(ids[0], '1', first); page.give(ids[0], '2')
    assert page.give(ids[0], '1', first)['ack']['acks'][0]['mine'] == dict(value='2')
    both = [dict(uuid=str(uuid4()), item=ids[1], kind=k, value='1') for k in ('undo', 'label')]
    assert page.tell(type='events', events=both)['nack']['final'] and len(store.labels(task)) == 1

@pytest.mark.parametrize('error, final', [(NotStored('full'), False), (OutcomeUnknown('the connection broke'), False), (NotRead('away'), False),
    (OSError('odd'), False), (DataError('no such class'), True)])
def test_only_a_refusal_is_final(store, monkeypatch, error, final):
    "An outcome that is not known is sent again, and not discarded; then the label is there once"
    page, uuid = Page(Labeler(s, task, store)), str(uuid4())
    real = store.add_many
    def stored_but_not_said(rows): real(rows); raise error
    monkeypatch.setattr(store, 'add_many', stored_but_not_said)
    assert page.give(ids[0], '1', uuid)['nack']['final'] is final
    monkeypatch.undo()
    assert page.give(ids[0], '1', uuid)['ack']['acks'][0]['mine'] == dict(value='1') and len(store.labels(task)) == 1

def test_a_store_that_cannot_be_read_after_the_label_is_asked_again(store, monkeypatch):
    "What was stored before the failure is no refusal"
    page = Page(Labeler(s, task, store))
    def away(*args, **kw): raise NotRead('the labels cannot be read: the server is away')
    monkeypatch.setattr(store, '_rows', away)
    assert page.give(ids[0], '1')['nack']['final'] is False

def test_modes(store):
    with pytest.raises(DataError, match="did you mean 'review'"): Labeler(s, task, store, mode='reviw')
    with pytest.raises(DataError, match='no mode None'): Labeler(s, task, store, mode=None)

def test_answers_stay_inside(store):
    boxes, spans, text = BoxTask(['a'], name='b'), SpanTask(['a'], name='s'), Samples.from_rows([dict(text='你好 👨‍👩‍👧')])
    page = Page(Labeler(s, boxes, store))
    assert 'outside the picture' in page.give(ids[0], [dict(label='a', box=[0, 0, 500, 500])])['nack']['error']
    page = Page(Labeler(text, spans, store))
    item = text['id'][0].as_py()
    assert 'no range' in page.give(item, [dict(label='a', start=1, end=99)])['nack']['error']
    assert 'cuts a character' in page.give(item, [dict(label='a', start=3, end=4)])['nack']['error']
    assert 'no item' in page.give('elsewhere', [])['nack']['error'] and store.seq == 0

def test_the_shared_queue(store):
    store.enqueue(task, ids)
    page = Page(Labeler(s[50:], task, store, 'fay', mode='shared'))
    assert 'not among these samples' in page.open()['error']['error']
    assert store.progress(task)['leased'] == 0
    labeler = Labeler(s, task, store, 'gus', mode='shared')
    page, claim, calls = Page(labeler), store.claim, []
    def busy(*args, **kw):
        calls.append(1)
        if len(calls) == 2: raise DataError('nothing was stored: locked')
        return claim(*args, **kw)
    store.claim = busy
    got = page.open()
    want = dict(type='want', snap=got['opened']['snap'], n=8)
    seen = len(got.get('items', {}).get('items', ()))
    for _ in range(3): seen = max(seen, *[i['pos'] + 1 for i in page.tell(**want, **{'from': seen}).get('items', {}).get('items', ())], 0)
    assert seen >= 12                                                  # the error did not end the queue

def test_the_order_of_the_three_is_said(store):
    from pretrain_notes.annotate.widgets import PlainLabeler
    for make in Labeler, PlainLabeler:
        for given in ((task, s, store), (store, task, s), (s, store, task)):
            with pytest.raises(DataError, match=r'the order is \(samples, task, store\)'): make(*given)
        with pytest.raises(DataError, match="'labels.db' is no store.*LabelStore itself"): make(s, task, 'labels.db')
        with pytest.raises(DataError, match='a list is no samples'): make([1], task, store)

def test_a_label_to_an_earlier_version_stays_one(store):
    "It is stored under the version that it was given to, or not at all; an answer that came since is known"
    old, new = ClassTask(s.vocab, name='digit'), ClassTask([*s.vocab, 'none'], guide='# mended', name='digit')
    page = Page(Labeler(s, new, store))
    kept = [dict(uuid=str(uuid4()), item=i, kind='label', value='1', t=1e12) for i in ids[:3]]
    tell = lambda events, **kw: page.tell(type='events', events=events, **dict(version=old.version, task=old.to_dict()) | kw)
    assert 'make the task as it was' in tell(kept[:1], task=None)['nack']['error']                                  # this kernel has never heard of that version
    assert tell(kept[:1], task=new.to_dict())['nack']['final'] and tell(kept[:1], version='0' * 16)['nack']['final']
    other = ClassTask(s.vocab, name='another')
    assert 'another task' in tell(kept[:1], version=other.version, task=other.to_dict())['nack']['error'] and store.seq == 0
    assert 'ack' in tell(kept[:1]) and 'ack' in tell(kept[:1]) and 'ack' in tell(kept[1:2], task=None)      # now it has
    assert store.labels('digit').task_version.tolist() == [old.version] * 2
    page.give(ids[2], 'none')
    assert page.tell(type='strays', events=kept)['strays']['since'] == [kept[2]['uuid']]
    assert tell([dict(kept[2], value='none')])['nack']['final'] and len(store.labels('digit')) == 3

def test_what_is_unknown_is_told_by_the_class_of_the_error(store, monkeypatch):
    "The words are the same; what the page does is not"
    page = Page(Labeler(s, task, store))
    for e, final, unknown in [(OutcomeUnknown('send it again'), False, True), (NotStored('send it again'), False, False), (DataError('send it again'), True, False)]:
        def fail(rows): raise e
        monkeypatch.setattr(store, 'add_many', fail)
        said = page.give(ids[0], '1')['nack']
        assert (said['final'], said['unknown']) == (final, unknown)

def test_skips_are_not_done(store):
    page = Page(Labeler(s, task, store))
    uuid = str(uuid4())
    assert page.give(ids[0], '1')['ack']['progress'] == dict(done=1, skipped=0, n=60)
    assert page.give(ids[1], None, kind='skip', uuid=uuid)['ack']['progress'] == dict(done=1, skipped=1, n=60)
    assert page.give(ids[1], '2')['ack']['progress'] == dict(done=2, skipped=0, n=60)
    assert page.give(ids[0], None, kind='skip')['ack']['progress'] == dict(done=1, skipped=1, n=60) == Labeler(s, task, store).progress()
    assert page.tell(type='events', events=[dict(uuid=str(uuid4()), item='', kind='undo', ref=None)])['ack']['progress'] == dict(done=2, skipped=0, n=60)

def test_two_pages_of_one_annotator(store):
    a, b = Page(Labeler(s, task, store)), Page(Labeler(s, task, store))
    first = b.open()
    a.give(ids[0], '1')
    said = b.tell(type='sync', items=[ids[0], ids[1]])['synced']
    assert said['mine'] == {ids[0]: dict(value='1')} and said['progress']['done'] == 1
    assert [i['id'] for i in b.tell(type='want', snap=first['opened']['snap'], n=3, **{'from': 0})['items']['items']] == ids[:3]   # places stay
    assert b.open()['items']['items'][0]['id'] == ids[1]

def test_leases_are_few_and_renewed(store):
    store.enqueue(task, ids)
    page = Page(Labeler(s, task, store, 'fay', mode='shared'))
    got = page.open()
    assert len(got['items']['items']) == store.progress(task)['leased'] == 2
    page.tell(type='want', snap=got['opened']['snap'], n=1, **{'from': 2})
    assert store.progress(task)['leased'] == 3
    assert page.tell(type='renew', items=ids[:3]) == {}
    assert page.tell(type='renew', items=ids[:4])['lost']['items'] == [ids[3]]         # never hers
    store.release('fay', task)                                                         # the page slept too long
    assert page.tell(type='renew', items=ids[:3])['lost']['items'] == sorted(ids[:3])

def test_search_takes_words_as_words(store):
    rows = Samples.from_rows([dict(text='Straße 100 % (a.b)'), dict(text='strasse'), dict(text='naïve cafe\u0301'), dict(text='日本語の文')])
    l = Labeler(rows, ClassTask(['a', 'b'], name='w'), store)
    found = lambda w: list(map(int, l._search(w)))
    assert [found(w) for w in ('(a.b)', 'STRASSE', '100 %', 'café', '語の')] == [[0], [1], [0], [2], [3]]
    for w in ('', None, '.*', 'a.b.c', '\\'):
        with pytest.raises(DataError, match='nothing here'): found(w)

@pytest.mark.parametrize('rows, t, why', [(s, SpanTask(['a']), 'spans are marked on texts'), (s, 'digit', 'no task'), (s[:0], task, 'no samples')])
def test_what_does_not_fit_is_said(store, rows, t, why):
    with pytest.raises(DataError, match=why): Labeler(rows, t, store)

def test_tables_as_orders(store):
    import pandas as pd
    page = Page(Labeler(s, task, store, order=pd.DataFrame(dict(row=[5, 6], sample=[3, 3]))))
    assert [i['id'] for i in page.open()['items']['items']] == [ids[3]]
    with pytest.raises(DataError, match='no column of items'): Labeler(s, task, store, order=pd.DataFrame(dict(x=[1])))

def test_automation_bias_counts_only_who_sees_proposals_and_what_was_shown_then(store):
    import numpy as np
    truth, probs = s.labels, np.eye(10)[(s.labels + (np.arange(60) % 3 == 0)) % 10]
    propose(s, task, store, probs, 'v1')
    for k, i in enumerate(ids):
        model = str(probs[k].argmax())
        shown = k % 4 > 0
        store.add(i, model if shown else str(truth[k]), task, annotator='ann', proposal=model if shown else None)
        store.add(i, str(truth[k]), task, annotator='bob')             # sees no proposals
    propose(s, task, store, np.eye(10)[truth], 'v2')                   # after the labels
    bias = automation_bias(task, store)
    assert bias.rates.n.tolist() == [45, 15] and bias.rates.rate['shown'] == 1 and abs(bias.rates.rate['blind'] - 2 / 3) < .01
