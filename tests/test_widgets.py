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
