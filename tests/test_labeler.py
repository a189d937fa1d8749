"""The labelers in a real browser: a headless Chromium before a real JupyterLab."""
import hashlib, json, re
import pytest
from conftest import ROOT
from labui import lab                                       # noqa: F401 (a fixture)

STATIC, SOURCES = ROOT/'pretrain_notes/annotate/static', ROOT/'js/labeler'
SETUP = '''
import json, threading, time
import numpy as np
from pretrain_notes.annotate.join import propose
from pretrain_notes.annotate.simulate import simulate_annotator
from pretrain_notes.annotate.store import LabelStore
from pretrain_notes.annotate.tasks import ClassTask
from pretrain_notes.annotate.widgets import Labeler, PlainLabeler
from pretrain_notes.datasets import digits, sample_texts
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples
s, t = digits()[:300], sample_texts()
task, topic = ClassTask(s.vocab, guide='# Which digit?\\n\\n- **1** has one stroke', name='digit'), ClassTask(t.vocab, name='topic')
multi = ClassTask(t.vocab, name='topics', multi=True)
'''
def setup(name): return f'{SETUP}store = LabelStore("{name}.db")\nids = s["id"].to_pylist()'
def said(task='task', who='me'): return f'print(json.dumps(list(store.mine({task}, {who!r}).values())))'

@pytest.fixture(scope='module')
def nb(lab):                                                # noqa: F811
    n = lab.notebook('keys', [setup('keys'), 'Labeler(s, task, store)', 'd = 1', 'x = 2'])
    n.run(0)
    return n

def show(nb, code):
    "Run `code` in cell 1, and give its labeler the focus"
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", code)
    nb.js("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    nb.run(1)
    return nb.widget()

def test_bundles_are_what_the_sources_say():
    files = [p for p in (SOURCES/'src').rglob('*') if p.is_file()] + [SOURCES/n for n in ('build.mjs', 'package.json', 'package-lock.json')]
    sha = hashlib.sha256()
    for name, p in sorted((p.relative_to(SOURCES).as_posix(), p) for p in files): sha.update(name.encode() + b'\0' + p.read_bytes() + b'\0')
    built = sorted(STATIC.glob('labeler*.js'))
    assert [p.name for p in built] == sorted(p.name for p in (SOURCES/'src').glob('labeler*.js'))
    for p in built: assert re.search(r'sources sha256 (\w+)', p.read_text(encoding='utf-8'))[1] == sha.hexdigest(), f'{p.name}: cd js/labeler; npm ci; npm run build'
    assert (STATIC/'LICENSES.txt').is_file()
    for p in built: assert not re.search(r'https?://(?!www\.w3\.org)[^"\'\s]+\.(js|css)\b', p.read_text(encoding='utf-8')), f'{p.name} loads from the network'

def test_keys_label_undo_and_nothing_reaches_the_notebook(nb):
    w, before = show(nb, 'Labeler(s, task, store)'), nb.cells()
    nb.press('0', '1', '7')
    nb.status(w)
    assert nb.kernel(said()) == ['0', '1', '7']
    assert w.locator('.pnl-place').inner_text() == '#4' and w.locator('.pnl-count').inner_text() == '3 of 300'
    nb.press('u')
    assert w.locator('.pnl-place').inner_text() == '#3'
    nb.press('2', 's', 'u', 'u', 'r')                       # 2; skip, taken back; 2 taken back, given again
    nb.status(w)
    assert nb.kernel(said()) == ['0', '1', '2']
    nb.press('d', 'd', 'Escape', 'x', 'a', 'b', 'c', 'v', 'm', 'y', 'z', 'Shift+M', 'ArrowUp', 'ArrowDown', 'Delete', '0', 'u', 'Control+z', 'Control+y')
    nb.status(w)
    assert nb.kernel(said()) == ['0', '1', '2'] and nb.cells() == before
    nb.press('n')
    nb.page.keyboard.type('d d x: blurred, or <b>1</b>?')
    nb.press('Enter')
    nb.status(w)
    assert w.locator('.pnl-note').inner_text() == 'note: d d x: blurred, or <b>1</b>?'
    nb.press('j')
    nb.page.keyboard.type('40')
    nb.press('Enter')
    assert w.locator('.pnl-place').inner_text() == '#40'
    for k in '?gf/n': nb.press(k); assert w.locator('.pnl-panel').is_visible(); nb.press('Escape'); assert not w.locator('.pnl-panel').is_visible()
    nb.press('f', '3')
    w.locator('.pnl-mine').wait_for()
    assert w.locator('.pnl-mine').inner_text() == 'labeled: 0' and nb.cells() == before
    nb.press('ArrowRight', 'ArrowRight', 'ArrowRight')
    w.locator('.pnl-notice', has_text='This is the end').wait_for()

def test_continues_where_it_stopped_and_undoes_what_came_before(nb):
    w = show(nb, 'Labeler(s, task, store, order="random")')
    assert w.locator('.pnl-count').inner_text() == '3 of 300'
    nb.press('u')                                           # this page has given no label: the last one of the store goes
    nb.page.wait_for_function("() => document.querySelector('.pnl-count').textContent == '2 of 300'")
    nb.status(w)
    assert nb.kernel(said()) == ['0', '1']
    w.locator('.pnl-id', has_text=nb.kernel('print(json.dumps(ids[2]))')[:12]).wait_for()

def test_text_several_classes_and_by_name(nb):
    w = show(nb, 'Labeler(t, multi, store)')
    assert w.locator('.pnl-text').inner_text() == nb.kernel('print(json.dumps(t["text"][0].as_py()))')
    nb.press('1', '2', '3', '2', 'Enter')
    nb.press('Enter')                                       # none of them
    nb.press('/')
    nb.page.keyboard.type('weat')
    nb.press('Enter', 'Enter')
    nb.status(w)
    assert nb.kernel(said('multi')) == [['food', 'sport'], [], ['weather']]
    nb.press('4')                                           # begun, not stored: kept while one looks elsewhere
    nb.press('ArrowLeft', 'ArrowRight')
    assert w.locator('.pnl-chip[aria-pressed=true]').inner_text().startswith('technology')
    nb.press('ArrowLeft', 'ArrowLeft', 'ArrowLeft')
    assert w.locator('.pnl-mine').inner_text() == 'labeled: food, sport'

def test_a_layout_without_latin_letters(nb):
    w = show(nb, "Labeler(s, task, store, 'ime')")
    for key, code in (('Process', 'Digit1'), ('و', 'Digit2'), ('&', 'Digit3')):
        nb.js("([key, code]) => document.querySelector('.pnl').dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))", [key, code])
    nb.js("() => document.querySelector('.pnl').dispatchEvent(new KeyboardEvent('keydown', {key: 'г', code: 'KeyU', bubbles: true}))")
    nb.status(w)
    assert nb.kernel(said('task', 'ime')) == ['1', '2']

def test_proposals(nb):
    nb.kernel("p = np.full((300, 10), .02); p[np.arange(300), s.labels] = .82; propose(s, task, store, p, 'v1', model='LR')")
    w = show(nb, "Labeler(s, task, store, 'ann', proposals=True, blind=0)")
    assert w.locator('.pnl-chip.pnl-proposed').count() == 1 and '82 %' in w.locator('.pnl-model').inner_text()
    nb.press('Enter', 'Enter', '9')
    nb.status(w)
    assert nb.kernel("df = store.labels(task); df = df[df.annotator == 'ann']; print(json.dumps(df[['value', 'proposal']].values.tolist()))") == [['0', '0'], ['1', '1'], ['9', '2']]

def test_grid(nb):
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", "Labeler(s, task, store, 'bob', grid=12)")
    nb.run(1)
    w = nb.widget(ready='.pnl-cell .pnl-img')
    nb.press('ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight', '5')
    nb.status(w)
    assert nb.kernel(said('task', 'bob')) == ['5'] * 3
    nb.press('Space', 'd', 'd', 'x', 'Escape', 'u')
    nb.status(w)
    assert nb.kernel(said('task', 'bob')) == [] and w.locator('.pnl-count').inner_text() == '0 of 300'
    nb.press('Control+a', '3')
    nb.status(w)
    assert nb.kernel(said('task', 'bob')) == ['3'] * 12
    nb.press('Enter')
    assert w.locator('.pnl-place').inner_text() == '#13 – 24'
    w.locator('.pnl-cell').nth(2).click()
    w.locator('.pnl-cell').nth(4).click(modifiers=['Shift'])
    nb.press('8')
    nb.status(w)
    assert nb.kernel(said('task', 'bob')) == ['3'] * 12 + ['8'] * 3

def test_review_and_qualification(nb):
    nb.kernel("for w in ('cy', 'dee'): simulate_annotator(s[:40], task, store, error=.3, annotator=w, seed=ord(w[0]))")
    nb.kernel("for i in ids[:40]: store.add(i, 'blurred', task, annotator='cy', kind='note')")
    w = show(nb, "Labeler(s, task, store, 'boss', mode='review')")
    assert 'cy: blurred' in w.inner_text()
    answers = w.locator('.pnl-answer b').all_inner_texts()
    assert len(answers) > 1
    nb.press(answers[1])
    nb.status(w)
    assert nb.kernel('print(json.dumps(store.decisions(task).value.tolist()))') == [answers[1]]
    nb.press('u')
    nb.status(w)
    assert nb.kernel('print(json.dumps(len(store.decisions(task))))') == 0
    nb.kernel('store.enqueue(task, ids[50:60], gold=dict(zip(ids[60:70], "0123456789")))')
    w = show(nb, "Labeler(s, task, store, 'eve', mode='qualify')")
    gold = nb.kernel("g = store.gold(task); print(json.dumps([g[i] for i in g]))")
    nb.press(gold[0])
    w.locator('.pnl-right').wait_for()
    nb.press('Enter', str((int(gold[1]) + 1) % 10))
    w.locator('.pnl-wrong').wait_for()
    assert f'expected: {gold[1]}' in w.locator('.pnl-wrong').inner_text()
    nb.press('Enter')
    assert w.locator('.pnl-place').inner_text() == '#3'

def test_what_is_held_stays_held_and_is_little(nb):
    "Two items, more only for who is fast; renewed while the page lives. Sources: HumanSignal/label-studio#795, HumanSignal/label-studio#4781, HumanSignal/label-studio#4190"
    nb.kernel('''import pretrain_notes.annotate.widgets as widgets
renewed, real = [], store.renew
def renew(task, annotator, items=None): renewed.append(sorted(items)); return real(task, annotator, items)
store.renew, widgets.RENEW = renew, .2
slow = ClassTask(s.vocab, name="slow"); store.enqueue(slow, ids[:14])''')
    w = show(nb, "Labeler(s, slow, store, 'ivy', mode='shared')")
    nb.comes('print(json.dumps(len(renewed) > 1))', True)
    nb.comes('print(json.dumps(store.progress(slow)["leased"]))', 3)
    assert nb.kernel('print(json.dumps(renewed[-1] == sorted(ids[:3])))')
    nb.press('1')
    nb.status(w)
    nb.comes('print(json.dumps(renewed[-1] == sorted(ids[1:4])))', True)
    assert nb.kernel('print(json.dumps(store.progress(slow)))')['leased'] == 3
    nb.kernel('''store.release('ivy', slow); store.claim('max', slow, 4)''')          # the page slept, and somebody else has them
    nb.comes('print(json.dumps(len(renewed[-1])))', 3)
    n = nb.kernel('print(json.dumps(len(renewed)))')
    nb.comes(f'print(json.dumps(len(renewed) > {n} + 2))', True)
    nb.press('2')                                           # what one looks at counts, what lay ahead is not shown
    w.locator('.pnl-place', has_text='#5').wait_for()
    nb.status(w)
    assert nb.kernel('print(json.dumps(sorted(store.mine(slow, "ivy")) == sorted(ids[:2])))')
    nb.kernel('store.renew, widgets.RENEW = real, 60')

def test_a_shared_queue_gives_no_item_to_two_people(nb):
    nb.kernel('team = ClassTask(s.vocab, name="team"); store.enqueue(team, ids[:14])')
    w = show(nb, "Labeler(s, team, store, 'fay', mode='shared')")
    nb.press('1', '1', '1')
    nb.status(w)
    w = show(nb, "Labeler(s, team, store, 'gus', mode='shared')")
    nb.press('2', '2')
    nb.status(w)
    assert nb.kernel('print(json.dumps(len(set(store.mine(team, "fay")) & set(store.mine(team, "gus")))))') == 0
    for _ in range(14):
        w.locator('.pnl-place').or_(w.locator('.pnl-notice', has_text='No item is free')).first.wait_for()
        nb.press('3')
    w.locator('.pnl-notice', has_text='No item is free').wait_for()
    nb.status(w)
    assert nb.kernel('p = store.progress(team); print(json.dumps(p))')['labeled'] <= 14

def test_the_plain_fallback(nb):
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", "PlainLabeler(s, task, store, 'hal')")
    nb.run(1)
    for c, labels in ('0', ['0']), ('1', ['0', '1']), ('Undo', ['0']):
        nb.page.locator('.widget-button', has_text=c).first.click()
        nb.comes(said('task', 'hal'), labels)

def test_screen_readers_and_speed(nb):
    w = show(nb, "Labeler(s, task, store, 'reader')")
    nb.js("() => document.activeElement.blur()")
    assert w.locator('.pnl-hint').is_visible()
    w.focus()
    assert not w.locator('.pnl-hint').is_visible()
    nb.press(*'0123456')
    assert w.locator('.pnl-live').inner_text().startswith('6. item 8') and 'a minute' in w.locator('.pnl-speed').inner_text()
    assert w.get_attribute('role') == 'application' and w.locator('.pnl-bar').get_attribute('aria-valuenow') == '7'
    assert all(b.get_attribute('aria-keyshortcuts') for b in w.locator('.pnl-chip').all())
    assert min(b.bounding_box()['height'] for b in w.locator('.pnl-chip').all()) >= 44
    nb.status(w)

def test_skips_are_counted_apart_and_everything_is_found_again(nb):
    "Sources: argilla-io/argilla#4711, HumanSignal/label-studio#347, argilla-io/argilla#2763"
    nb.kernel('''named = Samples.from_rows([dict(image=dict(bytes=s['image'][i].as_py()['bytes'], path=f)) for i, f in
    enumerate(['Hund 1.png', 'Hu\u0308ndin.png', '<img src=x onerror="window.pwned=1">.png', 'pets/cat.png'])])
pets = ClassTask(['dog', 'cat', 'other'], name='pets'); pid = named['id'].to_pylist()
store.add(pid[3], 'cat', pets, annotator='zoe'); store.add(pid[1], 'dog', pets, annotator='zoe')''')
    w, place, called = show(nb, "Labeler(named, pets, store, 'sam')"), '.pnl-place', '.pnl-id'
    assert w.locator(called).inner_text() == 'Hund 1.png'
    nb.press('1', 's')
    w.locator(called, has_text='onerror').wait_for()
    nb.press('n')
    nb.page.keyboard.type('odd name')
    nb.press('Enter')
    nb.status(w)
    assert w.locator('.pnl-count').inner_text() == '1 of 4 · 1 skipped' and nb.kernel("print(json.dumps(repr(Labeler(named, pets, store, 'sam'))))") == 'pets · sam · 1 of 4 · 1 skipped'
    def first(n, name):
        w.locator(called, has_text=name).wait_for()
        w.locator(place, has_text=f'#{n}').wait_for()
    nb.press('f', '4'); first(1, 'Hündin'.replace('ü', 'u\u0308'))          # skipped
    nb.press('f', '7'); first(1, 'onerror')                                  # with a note
    nb.press('f', '8'); nb.page.keyboard.type('cat'); nb.press('Enter'); first(1, 'cat.png')
    assert w.locator('.pnl-filter').inner_text().startswith('class: cat') and w.locator(called).inner_text() == 'cat.png'
    nb.press('f', '9'); w.locator('.pnl-option', has_text='zoe').click()
    w.locator('.pnl-filter', has_text='annotator: zoe').wait_for()           # the item before this list was cat.png at place 1, too
    first(1, 'cat.png')
    nb.press('ArrowRight'); first(2, 'u\u0308ndin')
    nb.press('j'); nb.page.keyboard.type('h\u00fcnd'); nb.press('Enter'); first(1, 'u\u0308ndin')
    nb.press('j'); nb.page.keyboard.type('horse'); nb.press('Enter')
    w.locator('.pnl-toast', has_text='nothing here is called').wait_for()
    first(1, 'u\u0308ndin')                                                  # and what one looked at is still there
    nb.press('u')                                                            # the skip, in the list that was found
    nb.page.wait_for_function("() => document.querySelector('.pnl-count').textContent == '1 of 4'")
    assert nb.js('() => window.pwned') is None

def test_panels_leave_the_picture_alone(nb):
    show(nb, "Labeler(s, task, store, 'panels')")
    boxes = '''() => ['.pnl-panel', '.pnl-stage img'].map(q => { const r = document.querySelector(q).getBoundingClientRect(); return [r.top, r.bottom] })'''
    for k in 'nfj/g?':
        nb.press(k)
        (top, bottom), (a, b) = nb.js(boxes)
        assert bottom > top and (top >= b or bottom <= a), k
        nb.press('Escape')

def test_a_narrow_window_cuts_no_word(nb):
    nb.kernel("scenes = ClassTask(['grocery store, indoor', 'Hochgeschwindigkeitszug', 'kitchen appliance', 'unsure'], name='scenes')")
    nb.js('() => { jupyterapp.shell.collapseLeft(); return 1 }')
    nb.page.set_viewport_size(dict(width=480, height=1000))
    w = show(nb, "Labeler(s, scenes, store, 'narrow')")
    nb.press('2')
    nb.status(w)
    lines = nb.js('''() => [...document.querySelectorAll('.pnl-chip > span:first-child, .pnl-tools span')].map(e => {
        const out = [], n = e.firstChild; if (!n) return [e.textContent, 1]
        for (const m of n.data.matchAll(/\\S+/g)) { const r = document.createRange(); r.setStart(n, m.index); r.setEnd(n, m.index + m[0].length); out.push(new Set([...r.getClientRects()].map(x => Math.round(x.top))).size) }
        return [n.data, Math.max(...out), e.scrollWidth - e.clientWidth > 1] })''')
    assert [x[0] for x in lines if x[1] != 1 or x[2]] == [] and 'Undo Hochgeschwindigkeitszug' in [x[0] for x in lines]
    nb.page.set_viewport_size(dict(width=1200, height=1000))

def test_two_labelers_of_one_annotator_hear_each_other(nb):
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", "from IPython.display import display\nfor o in (None, list(range(10))): display(Labeler(s, task, store, 'pair', order=o))")
    nb.js("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    nb.run(1)
    a, b = nb.widget(0), nb.widget(1)
    a.focus()
    nb.press('0', '1', '7')
    nb.status(a)
    b.locator('.pnl-mine', has_text='labeled: 0').wait_for()
    b.locator('.pnl-count', has_text='3 of 10').wait_for()
    b.focus()
    nb.press('5')                                           # another answer to the first; then past what the other has labeled
    b.locator('.pnl-place', has_text='#4').wait_for()
    nb.status(b)
    nb.comes(said('task', 'pair'), ['5', '1', '7'])
    nb.kernel("store.add(ids[3], '9', task, annotator='pair')")               # from elsewhere: seen as soon as one comes back
    a.focus()
    a.locator('.pnl-mine', has_text='labeled: 9').wait_for()
    a.locator('.pnl-count', has_text='4 of 300').wait_for()

def test_a_bar_leaves_no_widget(nb):
    "Sources: tqdm/tqdm#1497, jupyter-widgets/ipywidgets#3821, jupyter/notebook#6989"
    nb.kernel('from pretrain_notes.base import progress')
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", "for i in progress(range(12), 'counting'): time.sleep(.1)")
    out = nb.run(1)
    assert all(list(o['data']) == ['text/plain'] and not ''.join(o['data']['text/plain']).strip() for o in out), out

def test_output_holds_the_widget_and_a_snapshot(monkeypatch, tmp_path):
    from pretrain_notes.annotate.store import LabelStore
    from pretrain_notes.annotate.tasks import ClassTask
    from pretrain_notes.annotate.widgets import Labeler
    from pretrain_notes.datasets import sample_texts
    t = sample_texts()
    one = Labeler(t, ClassTask(t.vocab), LabelStore(tmp_path/'a.db'))
    monkeypatch.delenv('IN_TEST', raising=False)
    assert {'application/vnd.jupyter.widget-view+json', 'text/html', 'text/plain'} <= set(one._repr_mimebundle_()[0])
    monkeypatch.setenv('IN_TEST', '1')
    assert set(one._repr_mimebundle_()[0]) == {'text/html', 'text/plain'} and one.snapshot() == one.snapshot()

def test_what_cannot_be_stored_is_said_and_kept(nb):
    w = show(nb, "lab = Labeler(s, task, store, 'full'); lab")
    nb.kernel("was = store.add_many\ndef full(e): raise DataError('nothing was stored: database or disk is full (free some space)')\nlab.store.add_many = full")
    nb.press('1', '2')
    assert 'disk is full' in nb.status(w, 'not stored') and '2 kept' in nb.status(w, 'not stored')
    assert w.locator('.pnl-place').inner_text() == '#3'
    nb.kernel("lab.store.add_many = was")
    w.get_by_text('Retry').click()
    nb.status(w)
    assert nb.kernel(said('task', 'full')) == ['1', '2']
    nb.kernel("del lab.store.add_many")

def test_hostile_content_is_inert(lab, nb):                 # noqa: F811
    bad = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script><svg onload="window.pwned=3">'
    nb.kernel(f'''bad = {bad!r}
evil = ClassTask([bad, 'javascript:window.pwned=4'], guide='# g\\n' + bad + '\\n[x](javascript:window.pwned=5) ![i](https://example.invalid/x.png)', name=bad)
tt = Samples.from_rows([dict(text=bad), dict(text='\\u202e' + bad)])
svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.pwned=6"><script>window.pwned=7</script></svg>'
ii = Samples.from_rows([dict(image=dict(bytes=svg, path='a.png')), dict(image=dict(bytes=b'', path=None))])
propose(tt, evil, store, np.array([[.9, .1], [.9, .1]]), 'v1', model=bad)''')
    asked = []
    nb.page.on('request', lambda r: asked.append(r.url))
    w = show(nb, 'Labeler(tt, evil, store, bad[:20], proposals=True, blind=0)')
    assert w.locator('.pnl-text').inner_text() == bad
    nb.press('g')
    assert bad[:20] in w.locator('.pnl-guide').inner_text()
    nb.press('Escape', '/', 'Escape', 'n')
    nb.page.keyboard.type(bad)
    nb.press('Enter', '1', 'ArrowLeft')
    assert w.locator('.pnl-stage img, .pnl-stage script, .pnl-meta img, .pnl-chips img, .pnl script, .pnl svg, .pnl-guide img').count() == 0
    w = show(nb, 'Labeler(ii, evil, store)')
    assert 'cannot be shown' in w.locator('.pnl-broken').inner_text()
    nb.press('1')
    w.locator('.pnl-place', has_text='#2').wait_for()
    nb.press('2')
    nb.status(w)
    assert nb.js('() => window.pwned') is None
    assert not [u for u in asked if not u.startswith((lab.url, 'blob:' + lab.url, 'data:', lab.url.replace('http', 'ws')))]

def test_a_kernel_that_is_busy_does_not_stop_the_annotator(lab, nb):     # noqa: F811
    nb.js("() => { window.pictures = 0; const make = URL.createObjectURL; URL.createObjectURL = b => { window.pictures++; return make.call(URL, b) }; return 1 }")
    w = show(nb, "Labeler(s, task, store, 'busy')")
    nb.page.wait_for_function('() => window.pictures > 50') # the first items are in the page
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[2].source = c; return 1 }", lab.hold())
    nb.run(2, wait=False)
    lab.wait_held()
    w.focus()
    for i in range(50): nb.press(str(i % 10)); assert w.locator('.pnl-place').inner_text() == f'#{i + 2}'
    assert nb.status(w, '50 waiting')
    lab.free()
    nb.status(w)
    assert nb.kernel(said('task', 'busy')) == [str(i % 10) for i in range(50)]

def test_two_views_and_two_tabs_stay_in_step(lab, nb):      # noqa: F811
    w = show(nb, "Labeler(s, task, store, 'two')")
    nb.js("() => jupyterapp.commands.execute('notebook:create-output-view').then(() => 1)")
    both = nb.page.locator('.pnl')
    nb.page.wait_for_function("() => document.querySelectorAll('.pnl .pnl-place').length == 2")
    both.nth(1).focus()
    nb.press('1', '2')
    for i in range(2): assert both.nth(i).locator('.pnl-place').inner_text() == '#3' and both.nth(i).locator('.pnl-count').inner_text() == '2 of 300'
    nb.status(both.nth(0))
    nb.js("() => { for (const w of jupyterapp.shell.widgets('main')) if (w !== jupyterapp.shell.currentWidget && w.id != jupyterapp.shell.currentWidget.id && !w.sessionContext) w.close(); return 1 }")
    nb.save()
    other = lab.open('keys', nb.page.context)
    w2 = other.widget()
    assert w2.locator('.pnl-count').inner_text() == '2 of 300'
    other.press('5')
    other.status(w2)
    nb.page.wait_for_timeout(500)
    nb.page.bring_to_front()
    w = nb.page.locator('.pnl').first
    w.focus()
    nb.press('6')                                           # this tab stood at the same item: its answer comes later and counts
    nb.status(w)
    assert nb.kernel(said('task', 'two'))[2:] == ['6']
    nb.press('7'); other.page.bring_to_front(); w2.focus(); other.press('ArrowLeft', 'ArrowRight'); other.status(w2)
    assert sorted(nb.kernel(said('task', 'two'))) == ['1', '2', '6', '7']
    other.page.close()

def test_a_restart_loses_nothing(lab):                      # noqa: F811
    nb = lab.notebook('restart', [setup('restart'), 'Labeler(s, task, store)', said(), lab.hold()])
    nb.run(0); nb.run(1)
    w = nb.widget()
    nb.press(*'01234')
    nb.status(w)
    nb.run(3, wait=False)                                   # busy: these three do not reach the store
    lab.wait_held()
    w.focus()
    nb.press(*'567')
    nb.restart()
    w.focus()
    nb.press(*'89')                                         # and these two find no kernel
    assert '5 unsaved' in nb.status(w, 'disconnected')
    assert w.locator('.pnl-place').inner_text() == '#11'
    context = nb.page.context
    nb.page.close()                                         # even the page goes
    nb = lab.open('restart', context)
    nb.run(0); nb.run(1)
    w = nb.widget()
    nb.status(w)
    assert nb.kernel(said()) == list('0123456789')
    assert nb.kernel('print(json.dumps(store.seq))') == 10
    nb.press('u')
    nb.page.wait_for_timeout(500)
    nb.status(w)
    assert nb.kernel(said()) == list('012345678')
    nb.page.context.close()

def test_labels_to_an_earlier_version_are_offered(lab):     # noqa: F811
    "The guideline was mended while labels waited in the page. Sources: HumanSignal/label-studio#123, cvat-ai/cvat#7996, HumanSignal/label-studio#1101"
    mend = "task = ClassTask(s.vocab, guide=task.guide + mended, name='digit')"
    nb = lab.notebook('mended', [setup('mended') + '\nmended = ""', mend, 'Labeler(s, task, store)'])
    nb.run(0); nb.run(1); nb.run(2)
    w = nb.widget()
    nb.press(*'01')
    nb.status(w)
    nb.restart()
    w.focus()
    nb.press(*'2345')
    assert '4 unsaved' in nb.status(w, 'disconnected')
    nb.js("() => { const c = jupyterapp.shell.currentWidget.content.model.sharedModel.cells[0]; c.source = c.source.replace('mended = \"\"', 'mended = \" A slashed zero is no eight.\"'); return 1 }")
    nb.run(0); nb.run(1)
    nb.js("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    nb.run(2)
    w = nb.widget()
    offer = w.locator('.pnl-offer')
    offer.get_by_text('4 answers of yours to an earlier version').wait_for()
    assert nb.status(w, 'not stored: 4') and w.locator('.pnl-count').inner_text() == '2 of 300'
    nb.press('9')                                           # the third again, to the guideline of today
    offer.get_by_text('1 answer to an earlier version is not stored, and you have answered again since').wait_for()
    offer.get_by_text('Store, as answers to that version').click()
    w.locator('.pnl-count', has_text='6 of 300').wait_for()
    assert nb.kernel(said()) == list('019345') and nb.status(w, 'not stored: 1')
    assert sorted(nb.kernel("print(json.dumps(store.labels(task).task_version.value_counts().tolist()))")) == [1, 5]
    offer.get_by_text('Discard').click()
    offer.get_by_text('Discard 1 answer for good').click()
    nb.status(w)
    assert nb.kernel(said()) == list('019345') and nb.js("() => Object.keys(localStorage).filter(k => k.startsWith('pretrain-notes/labels')).length") == 0
    nb.page.context.close()
