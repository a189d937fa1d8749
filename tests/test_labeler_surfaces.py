"""Boxes, polygons and text spans in a real browser: a headless Chromium before a real JupyterLab."""
import json
import pytest
from labui import lab, until                                # noqa: F401 (a fixture)

HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
TEXTS = ['Barack Obama flew from New York to 東京 with Angela Merkel.\nThe European Union met in Brussels.', '阿里巴巴集团在杭州宣布，马云将访问联合国。',
    'زار الرئيس عبد الفتاح السيسي مدينة باريس يوم الأحد with NATO.', 'प्रधानमंत्री नरेंद्र मोदी ने दिल्ली में क्षमता की बात की।',
    '👩‍👩‍👧‍👦 family 🇩🇪 flag e\u0301te\u0301 👍🏽 ok 𝒳 math', HOSTILE + ' &amp; \u202eevil\u202c']
SETUP = '''
import json
import numpy as np
from pretrain_notes.annotate.store import LabelStore
from pretrain_notes.annotate.tasks import BoxTask, SpanTask
from pretrain_notes.annotate.widgets import Labeler
from pretrain_notes.samples import Samples
'''
PICTURES = '''
rng = np.random.default_rng(0)
s = Samples.from_arrays(rng.integers(0, 255, (6, 480, 640, 3), dtype=np.uint8))
big = Samples.from_arrays(np.tile(rng.integers(0, 255, (1, 300, 400, 3), dtype=np.uint8), (1, 10, 10, 1)))
ids = s['id'].to_pylist()
cells = BoxTask(['RBC', 'WBC', HOSTILE], name='cells')
'''
def words(texts): return f't = Samples.from_rows([dict(text=x) for x in {texts!r}])\nner = SpanTask(["PER", "LOC", "ORG", {HOSTILE!r}], name="ner")\n'
def said(task, who): return f'print(json.dumps(list(store.mine({task}, {who!r}).values())))'

@pytest.fixture(scope='module')
def nb(lab):                                                # noqa: F811
    n = lab.notebook('surfaces', [f'{SETUP}HOSTILE = {HOSTILE!r}\n{PICTURES}{words(TEXTS)}store = LabelStore("surfaces.db")', '1', 'd = 1', 'x = 2'], height=1300)
    n.run(0)
    return n

def show(nb, code):
    "Run `code` in cell 1, and give its labeler the focus"
    nb.js("c => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[1].source = c; return 1 }", code)
    nb.js("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    nb.run(1)
    w = nb.widget()
    w.scroll_into_view_if_needed()
    was = None
    while was != (was := w.bounding_box()): nb.page.wait_for_timeout(200)  # the notebook scrolls on its own, too
    return w

class Picture:
    "Mouse work in pixels of the original"
    def __init__(self, nb, w, width): self.nb, self.w, self.width = nb, w, width
    def at(self, x, y):
        b = self.w.locator('.pnb-pane').bounding_box()
        k = b['width'] / self.width
        return b['x'] + x * k, b['y'] + y * k
    def drag(self, a, b):
        m = self.nb.page.mouse
        m.move(*self.at(*a)); m.down(); m.move(*self.at(*b), steps=4); m.up()
        self.nb.page.wait_for_timeout(60)
    def click(self, *points):
        for p in points: self.nb.page.mouse.click(*self.at(*p)); self.nb.page.wait_for_timeout(320)
    def rows(self): return [r.split('\n') for r in self.w.locator('.pnb-item').all_inner_texts()]

def near(got, want, by=1): return all(abs(a - b) < by for a, b in zip(got, want, strict=True))
def inert(nb): return nb.js('() => window.hit === undefined') and not nb.page.locator('.pnl script, .pnl img[src="x"]').count()

def test_boxes_by_mouse_and_keys(nb):
    w, before = show(nb, "Labeler(s, cells, store)"), nb.cells()
    p = Picture(nb, w, 640)
    p.drag((100, 100), (220, 180))
    nb.press('2')                                           # the class afterwards
    nb.press('Escape')
    nb.press('1')                                           # and before
    p.drag((400, 300), (900, 700))                          # ends outside
    nb.press('3')
    nb.press('.')
    p.click((300, 50), (400, 60), (420, 150), (320, 160))
    nb.press('Backspace')
    p.click((330, 140))
    nb.press('Enter')
    assert [r[0] for r in p.rows()] == ['WBC', HOSTILE, HOSTILE]
    nb.press('Shift+Tab', 'Shift+Tab', 'ArrowRight', 'ArrowRight', 'Shift+ArrowDown', 'Alt+ArrowRight', 'u', 'u', 'r')
    nb.press('Enter')
    nb.status(w)
    a, b, c = nb.kernel(said('cells', 'me'))[0]
    assert a['label'] == 'WBC' and near(a['box'], [102, 110, 120, 80])
    assert b['label'] == HOSTILE and near(b['box'], [400, 300, 240, 180])
    assert near(sum(c['points'], []), [300, 50, 400, 60, 420, 150, 330, 140])
    assert nb.cells() == before and inert(nb)

def test_boxes_without_a_mouse(nb):
    w, before = show(nb, "Labeler(s, cells, store, 'keys')"), nb.cells()
    nb.press('Space', 'ArrowLeft', 'Shift+ArrowUp', 'Alt+ArrowRight', 'Alt+Shift+ArrowDown', '2', 'Space', '1', 'Tab', 'Tab')
    w.focus()
    nb.press('Escape', 'Tab', 'Delete', 'u', 'Enter')
    nb.press('Enter')                                       # nothing on the second
    nb.press('Space', 'Escape', 'ArrowRight')               # going on stores as well
    nb.press('Space', 'PageUp', 'PageDown')
    nb.status(w)
    (a, b), none, *more = nb.kernel(said('cells', 'keys'))
    assert a == dict(label='WBC', box=[255, 182, 129, 106]) and b['label'] == 'RBC' and b['box'][2:] == [128, 96]
    assert none == [] and [len(m) for m in more] == [1, 1]
    nb.press('d', 'd', 'x', 'a', 'b', 'c', 'v', 'm', 'y', 'z', 'Escape', 'ArrowUp', 'ArrowDown', 'Shift+M', 'Control+z', 'Control+y', 'Home', '+', '-', '.', '.')
    assert nb.cells() == before
    nb.press('Space', 's', 'u')                             # what was drawn before a skip is not lost
    assert w.locator('.pnb-item').count() >= 1

@pytest.mark.parametrize('zooms', [0, 1, 3])
def test_pixels_are_those_of_the_original(nb, zooms):
    w = show(nb, f"Labeler(big, cells, store, 'big{zooms}')")
    p = Picture(nb, w, 4000)
    nb.press(*['+'] * zooms)
    view, pane = w.locator('.pnb-view').bounding_box(), w.locator('.pnb-pane').bounding_box()
    k = pane['width'] / 4000
    x, y, x2, y2 = [(view['x'] - pane['x'] + 40) / k, (view['y'] - pane['y'] + 30) / k, (view['x'] - pane['x'] + 240) / k, (view['y'] - pane['y'] + 170) / k]
    p.drag((x, y), (x2, y2))
    nb.press('Enter')
    nb.status(w)
    assert near(nb.kernel(said('cells', f'big{zooms}'))[0][0]['box'], [x, y, x2 - x, y2 - y])

def test_a_key_elsewhere_in_the_notebook_undoes_nothing_here(nb):
    w = show(nb, "Labeler(s, cells, store, 'far')")
    Picture(nb, w, 640).drag((100, 100), (220, 180))
    nb.page.locator('.jp-Cell .cm-content').nth(2).click()
    nb.press('Control+z', 'Control+y')
    assert w.locator('.pnb-item').count() == 1
    nb.js("() => { jupyterapp.shell.currentWidget.content.model.sharedModel.cells[2].source = 'd = 1'; return 1 }")

def again(n):
    "Run the first two cells anew; their labeler"
    n.js("() => jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    n.run(0); n.run(1)
    return n.widget()

def test_drawn_shapes_survive_a_reload_and_a_restart(lab, nb):  # noqa: F811
    n = lab.notebook('again', [f'{SETUP}HOSTILE = {HOSTILE!r}\n{PICTURES}store = LabelStore("again.db")', 'Labeler(s, cells, store)'], height=1300)
    w = again(n)
    Picture(n, w, 640).drag((100, 100), (220, 180))
    n.press('Enter')
    n.status(w)
    Picture(n, w, 640).drag((10, 20), (50, 70))             # drawn, not stored
    n.save()
    context = n.page.context
    n.page.close()
    n = lab.open('again', context)                          # the page anew, its kernel too
    n.restart()
    w = again(n)
    assert w.locator('.pnb-item').count() == 1 and w.locator('.pnl-count').inner_text() == '1 of 6'
    n.press('Space', 'Enter')
    n.status(w)
    assert [len(v) for v in n.kernel(said('cells', 'me'))] == [1, 2]
    n.restart()                                             # the page is still there, and the kernel knows nothing of it
    n.press('Space', 'Enter')
    n.status(w, 'disconnected')
    n.status(again(n))
    assert [len(v) for v in n.kernel(said('cells', 'me'))] == [1, 2, 1]
    n.page.close()

def button(w, name): return w.locator(f'[data-action={name}], [data-tool={name}]').first

def test_boxes_by_mouse_alone_and_a_draft_is_called_one(nb):
    "Sources: cvat-ai/cvat#7996, cvat-ai/cvat#8859, HumanSignal/label-studio#1790, doccano/doccano#630"
    w = show(nb, "Labeler(s, cells, store, 'mouse')")
    go, count = button(w, 'accept'), w.locator('.pnl-count')
    assert go.inner_text().startswith('Nothing here') and nb.status(w) == 'saved'
    Picture(nb, w, 640).drag((100, 100), (220, 180))
    assert nb.status(w, 'not stored yet') and go.inner_text().startswith('Done') and count.inner_text() == '0 of 6'
    w.locator('.pnl-chip', has_text='WBC').click()
    go.click()
    w.locator('.pnl-place', has_text='#2').wait_for()
    nb.status(w)
    box = nb.kernel(said('cells', 'mouse'))[0]
    assert [b['label'] for b in box] == ['WBC'] and count.inner_text() == '1 of 6'
    button(w, 'undo').click()                               # taken back: the shapes are still there
    w.locator('.pnl-place', has_text='#1').wait_for()
    assert w.locator('.pnb-item').count() == 1 and nb.status(w, 'not stored yet')
    nb.comes(said('cells', 'mouse'), [])
    go.click()
    nb.status(w)
    nb.comes(said('cells', 'mouse'), [box])
    go.click()                                              # there is nothing on the second
    nb.comes(said('cells', 'mouse'), [box, []])
    w.locator('[data-action=previous]').click(); w.locator('[data-action=previous]').click()
    w.locator('.pnl-place', has_text='#1').wait_for()
    assert go.inner_text().startswith('Next') and nb.status(w) == 'saved'
    w.locator('.pnb-item').click()
    w.locator('.pnl-chip', has_text='RBC').click()          # changed, and not stored: said, and there when one comes back
    nb.press('j'); nb.page.keyboard.type('3'); nb.press('Enter')
    w.locator('.pnl-place', has_text='#3').wait_for()
    assert 'begun elsewhere' in nb.status(w, 'saved · 1')
    w.locator('.pnl-status').get_by_text('Show').click()
    w.locator('.pnl-place', has_text='#1').wait_for()
    assert nb.status(w, 'not stored yet') and Picture(nb, w, 640).rows()[0][0] == 'RBC'
    w.locator('.pnl-status').get_by_text('Discard').click()
    assert nb.status(w) == 'saved' and Picture(nb, w, 640).rows()[0][0] == 'WBC'

def test_an_answer_of_before_a_restart_comes_back_as_a_draft(nb):
    nb.kernel("store.add(ids[0], [dict(label='RBC', box=[10, 10, 50, 60])], cells, annotator='late')")
    w = show(nb, "Labeler(s, cells, store, 'late')")
    nb.press('u')
    w.locator('.pnb-item').wait_for()
    assert nb.status(w, 'not stored yet') and nb.kernel(said('cells', 'late')) == []

def test_only_the_class_of_a_proposal_is_changed(nb):
    "Source: l3p-cv/lost#23"
    shape = dict(label='RBC', box=[10, 10, 50, 60])
    nb.kernel(f"store.add(ids[3], [{shape!r}], cells, annotator='det', source='model', source_version='1', score=.7)")
    w = show(nb, "Labeler(s, cells, store, 'relabel', order=[3, 2], proposals='det', blind=0)")
    assert 'model det 1' in w.locator('.pnl-model').inner_text() and button(w, 'accept').inner_text().startswith('Accept')
    nb.press('Tab', '2', 'PageDown', 'PageUp')
    nb.status(w)
    assert Picture(nb, w, 640).rows()[0][0] == 'WBC' and nb.kernel(said('cells', 'relabel')) == [[shape | dict(label='WBC')]]

@pytest.mark.parametrize('mouse', [True, False])
def test_shapes_are_copied_turned_hidden_and_locked(nb, mouse):
    "By mouse or by keys, as CVAT and Label Studio have it. Sources: cvat-ai/cvat#461, cvat-ai/cvat#1106, cvat-ai/cvat#63"
    w = show(nb, f"Labeler(s, cells, store, 'tools {mouse}')")
    p, seen = Picture(nb, w, 640), lambda: w.locator('.pnb-shape').evaluate_all("all => all.filter(g => g.style.display != 'none').length")
    def do(name, key): button(w, name).click() if mouse else nb.press(key)
    p.drag((200, 200), (300, 260))
    do('copy', 'Control+c'); do('paste', 'Control+v')
    assert len(p.rows()) == 2
    do('hide', 'Alt+h')
    assert seen() == 1 and len(p.rows()) == 2 and '1 hidden' in w.locator('.pnb-n').inner_text()
    do('hide', 'Alt+h'); do('lock', 'Alt+l')
    assert seen() == 2
    nb.press('ArrowRight', '2', 'Delete')                   # locked: nothing of it
    assert [r[0] for r in p.rows()] == ['RBC', 'RBC']
    w.locator('.pnb-item').first.click()
    for _ in range(2): do('right', 'Alt+r')
    for _ in range(2): do('left', 'Alt+Shift+r')
    nb.press('Enter')
    nb.status(w)
    a, b = nb.kernel(said('cells', f'tools {mouse}'))[0]
    assert near(a['box'], [200, 200, 100, 60]) and near(b['box'][2:], [100, 60]) and a['box'] != b['box']
    do('paste', 'Control+v')                                # on the next picture, where it was
    for _ in range(18): do('right', 'Alt+r')                # a quarter: a box again
    nb.press('Enter')
    nb.status(w)
    c, = nb.kernel(said('cells', f'tools {mouse}'))[1]
    assert near(c['box'], [220, 180, 60, 100])
    do('paste', 'Control+v'); do('right', 'Alt+r')
    nb.press('Enter')
    nb.status(w)
    d, = nb.kernel(said('cells', f'tools {mouse}'))[2]
    (x, y), (x2, y2) = d['points'][:2]
    assert abs(((x2 - x) ** 2 + (y2 - y) ** 2) ** .5 - 100) < .3 and near([(y2 - y) / (x2 - x)], [.0875], .003)

def test_a_locked_shape_is_not_in_the_way(nb):
    w = show(nb, "Labeler(s, cells, store, 'locks')")
    p = Picture(nb, w, 640)
    p.drag((100, 100), (400, 400))
    w.locator('.pnb-flag[aria-label=lock]').click()
    p.drag((150, 150), (200, 220))                          # draws within, and does not move what is locked
    assert len(p.rows()) == 2
    nb.press('Enter')
    nb.status(w)
    a, b = nb.kernel(said('cells', 'locks'))[0]
    assert near(a['box'], [100, 100, 300, 300]) and near(b['box'], [150, 150, 50, 70])

def test_proposals_of_a_model(nb):
    shapes = [dict(label='RBC', box=[10, 10, 50, 60]), dict(label='WBC', points=[[100, 100], [200, 110], [150, 200]])]
    nb.kernel(f"store.add(ids[4], {shapes!r}, cells, annotator='det', source='model', source_version='1', score=.7); store.add(ids[5], {shapes!r}, cells, annotator='det', source='model', source_version='1', score=.6)")
    w = show(nb, "Labeler(s, cells, store, 'ann', order=[4, 5], proposals=True, blind=0)")
    assert w.locator('.pnb-shape.pnb-model').count() == 2
    nb.press('Enter')
    nb.press('Tab', 'ArrowRight', 'Enter')                  # corrected
    nb.status(w)
    got = nb.kernel("df = store.labels(cells); df = df[df.annotator == 'ann']; print(json.dumps(df[['value', 'proposal']].values.tolist()))")
    assert got == [[shapes, shapes], [[dict(label='RBC', box=[11, 10, 50, 60]), shapes[1]], shapes]]

def test_bccd(nb, data_dir):
    root = data_dir/'detection/bccd'
    if not root.is_dir(): pytest.skip('no BCCD here')
    nb.kernel(f'''
from pathlib import Path
root = Path({str(root)!r}); coco = json.loads((root/'coco_all.json').read_text())
names = {{c['id']: c['name'] for c in coco['categories']}}
pics = [im for im in coco['images'] if '00338' in im['file_name'] or '00001' in im['file_name']]
b = Samples.from_rows([dict(image=(root/im['file_name']).read_bytes()) for im in pics]); blood = BoxTask(list(names.values()), name='blood')
gold = [[dict(label=names[a['category_id']], box=a['bbox']) for a in coco['annotations'] if a['image_id'] == im['id']] for im in pics]
for i, v in zip(b['id'].to_pylist(), gold): store.add(i, v, blood, annotator='coco', source='model', source_version='gold', score=1.)
''')
    w = show(nb, "Labeler(b, blood, store, proposals=True, blind=0)")
    gold = nb.kernel('print(json.dumps([blood.check(v) for v in gold]))')
    assert w.locator('.pnb-item').count() == len(gold[0])
    nb.press('Enter')
    w.locator('.pnl-place', has_text='#2').wait_for()
    until(lambda: w.locator('.pnb-item').count() == len(gold[1]), len(gold[1]), w.locator('.pnb-item').count, nb.page)
    nb.press('Enter')
    nb.status(w)
    assert nb.kernel(said('blood', 'me')) == gold           # its zero-area boxes too

# ---- spans
FIND = '''([a, b]) => { const n = [...document.querySelector('.pns-text').childNodes].find(x => x.nodeType === 3)
    const at = (u, end) => { const r = document.createRange(), i = end ? u - 1 : u; r.setStart(n, i); r.setEnd(n, i + 1); const c = r.getClientRects()[0]
        return [end !== /[\\u0590-\\u08ff]/.test(n.data[i]) ? c.right - .5 : c.left + .5, (c.top + c.bottom) / 2] }
    return [at(a, false), at(b, true)] }'''
def showing(nb, text): nb.page.wait_for_function("t => [...document.querySelector('.pns-text')?.childNodes ?? []].find(x => x.nodeType === 3)?.data === t", arg=text)
def units(text, c): return len(text[:c].encode('utf-16-le')) // 2
def select(nb, text, quote):
    a = text.index(quote)
    p, q = nb.js(FIND, [units(text, a), units(text, a + len(quote))])
    m = nb.page.mouse
    m.move(*p); m.down(); m.move((p[0] + q[0]) / 2, q[1]); m.move(*q); m.up()
def quotes(text, spans): return [(s['label'], text[s['start']:s['end']]) for s in spans]

def test_spans_in_any_script(nb):
    w, before = show(nb, "Labeler(t, ner, store)"), nb.cells()
    want = [[('PER', 'Barack Obama'), ('LOC', 'New York'), ('LOC', '東京'), ('PER', 'Angela Merkel'), ('ORG', 'European Union met in Brussels'), ('LOC', 'Brussels')],
        [('ORG', '阿里巴巴集团'), ('LOC', '杭州'), ('PER', '马云')], [('PER', 'عبد الفتاح السيسي'), ('LOC', 'باريس'), ('ORG', 'NATO')],
        [('PER', 'नरेंद्र मोदी'), ('LOC', 'दिल्ली')], [('PER', 'family'), ('LOC', 'e\u0301te\u0301'), ('ORG', '𝒳 math')], [(HOSTILE, '<script>')]]
    for text, spans in zip(TEXTS, want):
        showing(nb, text)
        for label, quote in spans:
            select(nb, text, quote)
            nb.press({'PER': '1', 'LOC': '2', 'ORG': '3'}.get(label, '4'))
        nb.press('Enter')
    nb.status(w)
    got = [quotes(x, v) for x, v in zip(TEXTS, nb.kernel(said('ner', 'me')))]
    assert got == want and nb.cells() == before and inert(nb)

def test_spans_without_a_mouse(nb):
    w, before = show(nb, "Labeler(t, ner, store, 'keys')"), nb.cells()
    nb.press('Control+Home', 'Space', 'Space', '1')         # Barack Obama
    nb.press('Control+End', 'Control+ArrowLeft', 'Control+Shift+ArrowRight', '2', 'Shift+Tab', 'Tab')
    w.focus()
    nb.press('Control+Home', 'Escape', 'Tab', 'Alt+ArrowRight', 'Shift+ArrowLeft', 'u', 'u', 'r', 'u', 'PageDown')
    showing(nb, TEXTS[1])
    nb.press('Control+Home', 'Space', '3', 'Delete', 'u', 'PageDown')       # a Chinese word
    showing(nb, TEXTS[2])
    nb.press('Control+Home', 'ArrowLeft', 'ArrowLeft', 'ArrowLeft', 'ArrowLeft', 'Space', '1', 'PageDown', 'PageDown')     # right to left
    showing(nb, TEXTS[4])
    nb.press('Control+Home', 'Shift+ArrowRight', '1', 'Enter')              # a family is one step
    nb.status(w)
    got = nb.kernel(said('ner', 'keys'))
    assert quotes(TEXTS[0], got[0]) == [('PER', 'Barack Obama'), ('LOC', 'Brussels')]
    assert len(quotes(TEXTS[1], got[1])[0][1]) in range(2, 7) and TEXTS[1].startswith(quotes(TEXTS[1], got[1])[0][1])
    assert quotes(TEXTS[2], got[2]) == [('PER', 'الرئيس')] and quotes(TEXTS[4], got[3]) == [('PER', '👩‍👩‍👧‍👦')]
    nb.press('d', 'd', 'x', 'a', 'b', 'c', 'v', 'm', 'y', 'z', 'Escape', 'ArrowUp', 'ArrowDown', 'Shift+M', 'Delete', 'Backspace', 'Control+z', 'Control+y', 'Home', 'End')
    assert nb.cells() == before

def test_the_next_key_or_click_finds_what_was_selected(nb):
    "However busy the page is: nothing waits for a timer."
    w = show(nb, "Labeler(t, ner, store, 'quick')")
    nb.js("""() => { const n = document.querySelector('.pns-text').firstChild, pane = document.querySelector('.pns-scroll')
        const mouse = (kind, x) => pane.dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: x, clientY: 5, pointerType: 'mouse'}))
        const select = (a, b) => { mouse('pointerdown', 5); document.getSelection().setBaseAndExtent(n, a, n, b); mouse('pointerup', 90) }
        const key = k => document.querySelector('.pnl').dispatchEvent(new KeyboardEvent('keydown', {key: k, bubbles: true}))
        select(0, 12); key('1'); key('Escape'); key('2'); select(13, 16); select(20, 22); key('Escape') }""")
    nb.press('Enter')
    nb.status(w)
    assert quotes(TEXTS[0], nb.kernel(said('ner', 'quick'))[0]) == [('PER', TEXTS[0][:12]), ('LOC', TEXTS[0][13:16]), ('LOC', TEXTS[0][20:22])]

def test_marking_and_overlap(nb):
    w = show(nb, "Labeler(t, ner, store, 'mark')")
    nb.press('2')
    select(nb, TEXTS[0], 'New York'); select(nb, TEXTS[0], 'Brussels')
    nb.press('Escape', 'Escape')
    p, _ = nb.js(FIND, [units(TEXTS[0], TEXTS[0].index('Merkel')) + 2, units(TEXTS[0], len(TEXTS[0]))])
    nb.page.mouse.dblclick(*p)
    nb.press('1')
    select(nb, TEXTS[0], 'with Angela Merkel')
    nb.press('3')
    for part in ('item', 'tag'): w.locator(f'.pns-{part}').nth(3).wait_for()
    nb.press('Enter')
    nb.status(w)
    assert quotes(TEXTS[0], nb.kernel(said('ner', 'mark'))[0]) == [('LOC', 'New York'), ('ORG', 'with Angela Merkel'), ('PER', 'Merkel'), ('LOC', 'Brussels')]

def test_a_long_text_stays_usable(nb):
    nb.kernel('''
text = ' '.join(np.random.default_rng(0).choice(['Obama', 'met', 'the', '中国', 'Union', 'Paris', 'café', '👍🏽'], 22000))[:100_000]
import re
long = Samples.from_rows([dict(text=text)]); spans = [dict(label='LOC', start=m.start(), end=m.end()) for m in re.finditer('Paris', text)][:1000]
store.add(long['id'][0].as_py(), spans, ner, annotator='m', source='model', source_version='1', score=.5)
''')
    w = show(nb, "Labeler(long, ner, store, proposals=True, blind=0)")
    nb.press('Control+End', 'Control+Shift+ArrowLeft', '1')
    took = nb.cpu(*[f"""() => document.querySelector('.pnl').dispatchEvent(new KeyboardEvent('keydown', {{key: {k!r}, bubbles: true}}))"""
                    for k in ('ArrowLeft', 'ArrowRight', ' ', '2', 'u', 'Tab', 'Escape')])
    assert sorted(took)[3] < .5, took
    nb.press('Enter')
    nb.status(w)
    assert nb.kernel('print(json.dumps(len(store.mine(ner, "me")[long["id"][0].as_py()])))') == 1001

def test_spans_by_mouse_alone(nb):
    w = show(nb, "Labeler(t, ner, store, 'mouse')")
    select(nb, TEXTS[0], 'Barack Obama')
    w.locator('.pnl-chip', has_text='PER').click()
    assert nb.status(w, 'not stored yet')
    button(w, 'accept').click()
    showing(nb, TEXTS[1])
    nb.status(w)
    assert quotes(TEXTS[0], nb.kernel(said('ner', 'mouse'))[0]) == [('PER', 'Barack Obama')]
    button(w, 'undo').click()
    showing(nb, TEXTS[0])
    w.locator('.pns-item', has_text='Barack Obama').wait_for()
    assert nb.status(w, 'not stored yet') and nb.kernel(said('ner', 'mouse')) == []

def test_whole_words_in_any_script(nb):
    """A selection grows to words; where a script has no spaces, to the words that a dictionary knows, never to the sentence.
    Sources: dkpro/dkpro-cassis#287, pubannotation/textae#117, recogito/text-annotator-js#86, omnivore-app/omnivore#1236"""
    w = show(nb, "Labeler(t, ner, store, 'words')")
    want = []
    for text, part, whole in [(TEXTS[0], 'rack Oba', 'Barack Obama'), (TEXTS[1], '合国', None), (TEXTS[2], 'لرئيس', 'الرئيس')]:
        showing(nb, text)
        if not want: button(w, 'accept').wait_for(); nb.press('.')
        select(nb, text, part)
        nb.press('1', 'Enter')
        want.append(whole)
    nb.status(w)
    got = [[text[s['start']:s['end']] for s in v] for text, v in zip(TEXTS, nb.kernel(said('ner', 'words')))]
    assert got[0] == [want[0]] and got[2] == [want[2]] and got[1][0] in ('联合国', '合国'), got
    w = show(nb, "Labeler(t, ner, store, 'exact')")         # remembered, and off again
    assert w.locator('.pns-whole').get_attribute('aria-pressed') == 'true'
    w.locator('.pns-whole').click()
    select(nb, TEXTS[0], 'rack')
    nb.press('1', 'Enter')
    nb.status(w)
    assert quotes(TEXTS[0], nb.kernel(said('ner', 'exact'))[0]) == [('PER', 'rack')]
