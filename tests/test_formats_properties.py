"""Each format, on labels that hypothesis makes up: what is written and read comes back equal, or the loss is said; and hostile files are not silent."""
import io, json, random, string, tempfile
from pathlib import Path
import pytest

pytest.importorskip('hypothesis')
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from pretrain_notes.annotate.formats import read_labels, write_labels
from pretrain_notes.annotate.interchange import all_formats
from pretrain_notes.annotate.tasks import BoxTask, ClassTask, SpanTask
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

often = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
characters = st.one_of(st.sampled_from(list(' \t\n\r#=-_\\"\'<&>,;:|[]{}%*/0OBI') + ['王', '中文', 'é', '👍🏽', 'قا', '\ufeff', '\x85', '\u2028', '\u3000', '\x00']),
                       st.characters(codec='utf-8', max_codepoint=0x2fff), st.sampled_from(string.ascii_letters))
texts = st.lists(characters, max_size=14).map(''.join)
names = st.lists(texts.filter(lambda s: s.strip()), min_size=2, max_size=4, unique=True)
numbers = st.one_of(st.integers(0, 30), st.floats(0, 30, allow_nan=False).map(lambda v: round(v, 2)))

def png(size, k, turned):
    out, im, e = io.BytesIO(), Image.new('RGB', size, (k % 256, k // 256, 7)), Image.Exif()
    if turned > 1: e[0x0112] = turned
    im.save(out, 'JPEG' if turned > 1 else 'PNG', **(dict(exif=e, quality=100) if turned > 1 else {}))
    return out.getvalue()

@st.composite
def labeled(draw, kind):
    "(samples, task, item to value)"
    classes, n = draw(names), draw(st.integers(1, 4))
    task = dict(boxes=BoxTask, spans=SpanTask).get(kind, ClassTask)(classes, **(dict(multi=True) if kind == 'classes' else {}))
    one = st.sampled_from(classes)
    if kind == 'boxes':
        turned = draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
        s = Samples.from_rows([dict(image=dict(bytes=png((40, 33), k, t), path=None), source=f'{draw(texts)}{k}.png') for k, t in enumerate(turned)])
        def shape(label, a, b, c, d, polygon):
            x, y = min(a, c), min(b, d)
            if polygon: return dict(label=label, points=[[a, b], [c, d], [a, d]])
            return dict(label=label, box=[x, y, round(abs(a - c), 2), round(abs(b - d), 2)])
        shapes = st.lists(st.builds(shape, one, numbers, numbers, numbers, numbers, st.booleans()), max_size=3)
        return s, task, {i: task.check(draw(shapes), dict(size=(33, 33))) for i in s['id'].to_pylist()}
    s = Samples.from_rows([dict(text=draw(texts) + str(k)) for k in range(n)])
    if kind == 'class': return s, task, {i: draw(one) for i in s['id'].to_pylist()}
    if kind == 'classes': return s, task, {i: task.check(draw(st.lists(one, max_size=3))) for i in s['id'].to_pylist()}
    def spans(text):
        ends = st.integers(0, len(text))
        made = draw(st.lists(st.tuples(one, ends, ends).filter(lambda t: t[1] != t[2]), max_size=3))
        return task.snap([dict(label=l, start=min(a, b), end=max(a, b)) for l, a, b in made], text)
    return s, task, {r['id']: spans(r['text']) for r in s.table.to_pylist()}

def check(case, name, folder):
    "Written and read: equal, or the item is in the report with what became of it"
    samples, task, values = case
    with tempfile.TemporaryDirectory() as d:
        f = all_formats()[name]
        path = Path(d)/('out' if folder else f'out{f.suffixes[0]}')
        try: report = write_labels(samples, task, values, path, name)
        except DataError as e: return str(e)                                            # all or nothing, and it says why
        try: back = read_labels(path, name, samples=samples, task=None if folder else task)
        except DataError as e: raise AssertionError(f'written without a word, and cannot be read: {e}')
        assert not folder or back.task.version == task.version
        got = dict(zip(back.labels['item'], back.labels.value))
        differ = {i for i, v in values.items() if got.get(i) != v}
        lost = set(report[report.what.isin(['value', 'label'])]['item'])
        assert differ <= lost, (differ, report)
        if folder: assert differ == lost
        if folder and not differ:                                                        # without the samples, too
            alone = read_labels(path)
            assert dict(zip(alone.labels['item'], alone.labels.value)) == values

ROOMS = [(k, n, folder) for k in ('class', 'classes', 'boxes', 'spans') for n, f in all_formats().items() if k in f.kinds
         for folder in ((True, False) if f.single else (True,))]

@pytest.mark.parametrize('kind,name,folder', ROOMS)
def test_written_and_read(kind, name, folder):
    @often
    @given(labeled(kind))
    def run(case): check(case, name, folder)
    run()

# --- hostile files ---

HOSTILE = [b'', b'\xef\xbb\xbf', b'\xff\xfe[\x00]\x00', b'\x00' * 50, b'[' * 100_000, b'{"a":' * 100_000, b'<a>' * 100_000, b'- ' * 20_000, b'1e999', b'NaN',
           b'9' * 5000, b'{"images": [{"id": ' + b'9' * 4000 + b', "file_name": "a.png"}]}', b'\r' * 1000, b'"', b'\xed\xa0\x80', b'\xc3', b'a,b\n"',
           b'O O\nO O\n', b'text,label\n"\x00",x\n', b'names: &a [*a]\n', b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
           b'PAR1' + b'\xff' * 100, b'[{"data": {"text": "a"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": [1e400]}}]}]}]']

@pytest.mark.parametrize('n', range(len(HOSTILE)))
def test_hostile_files(tmp_path, n):
    "Whatever the bytes and whatever the name: something is read, or a DataError says why not"
    for name, f in all_formats().items():
        for suffix in f.suffixes[:1]:
            p = tmp_path/f'x{suffix}'
            p.write_bytes(HOSTILE[n])
            for kw in ({}, dict(task=ClassTask(['x', 'y']))):
                try: read_labels(p, name, **kw)
                except DataError as e: assert str(e).strip()

NUMBERS = ['1e308', '-1e308', '1e999', '9' * 400, '-0.0', '1e-320', 'true', 'null', '"5"', '[]', '12345678901234567890', '0.1e1']

@pytest.mark.parametrize('number', NUMBERS)
@pytest.mark.parametrize('place', ['bbox', 'image_id', 'category_id', 'width', 'polygon', 'start', 'percent'])
def test_hostile_numbers(tmp_path, place, number):
    "A number in every place where one is expected: a stored coordinate is finite and inside, a stored id is exact"
    Image.new('RGB', (40, 20)).save(tmp_path/'a.png')
    def at(k, usual): return number if place == k else usual
    (tmp_path/'annotations.json').write_text(
        f'{{"images": [{{"id": {at("image_id", "1")}, "file_name": "a.png", "width": {at("width", "40")}, "height": 20}}], "categories": [{{"id": 1, "name": "c"}}],'
        f'"annotations": [{{"id": 1, "image_id": {at("image_id", "1")}, "category_id": {at("category_id", "1")}, "bbox": [{at("bbox", "1")}, 2, 3, 4],'
        f'"segmentation": [[{at("polygon", "1")}, 1, 9, 1, 9, 9]]}}]}}')
    (tmp_path/'e.json').write_text('[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [{"type": "rectanglelabels", "value": '
                                   f'{{"x": {at("percent", "5")}, "y": 5, "width": 5, "height": 5, "rectanglelabels": ["c"]}}}}]}}]}}]')
    for p, f in ((tmp_path/'annotations.json', 'coco'), (tmp_path/'e.json', 'labelstudio')):
        try: r = read_labels(p, f, task=BoxTask(['c']))
        except DataError: continue
        for s in (s for v in r.labels.value for s in v):
            numbers = s['box'] if 'box' in s else [c for q in s['points'] for c in q]
            assert all(isinstance(c, (int, float)) and 0 <= c <= 40 for c in numbers)
        if place == 'image_id' and number in ('12345678901234567890', '1e308', 'true', 'null', '[]', '0.1e1', '-0.0'): assert not len(r.labels) or f != 'coco'
    (tmp_path/'l.jsonl').write_text(f'{{"text": "some text", "spans": [{{"start": {at("start", "0")}, "end": 4, "label": "c"}}]}}\n')
    try: r = read_labels(tmp_path/'l.jsonl', task=SpanTask(['c']))
    except DataError: return
    assert all(type(s['start']) is int and 0 <= s['start'] < s['end'] <= 9 for v in r.labels.value for s in v)

def test_keys_that_stand_twice(tmp_path):
    "The second value counts, as everywhere, and the report says where"
    (tmp_path/'l.jsonl').write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "x", "label": "y"}\n')
    r = read_labels(tmp_path/'l.jsonl')
    assert r.labels.value.tolist() == ['x', 'y'] and r.report[r.report.what == 'key twice']['where'].tolist() == ['l.jsonl line 2']
    (tmp_path/'t.jsonl').write_text('{"text": "good", "text": "bad", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert 'key twice' in read_labels(tmp_path/'t.jsonl').report.what.tolist()

def test_random_damage(tmp_path):
    "Bytes changed at random in what others wrote: no label appears whose class or place no one gave"
    rng = random.Random(7)
    text = 'Ana\tB-PER\nLee\tI-PER\nsaw\tO\nRio\tB-LOC\n\nNobody\tO\ncame\tO\n' * 3
    for _ in range(150):
        b = bytearray(text.encode())
        for _ in range(rng.randint(1, 3)): b[rng.randrange(len(b))] = rng.choice(b'\t\n O\xffB-x\r')
        (tmp_path/'x.conll').write_bytes(bytes(b))
        try: r = read_labels(tmp_path/'x.conll', 'conll')
        except DataError: continue
        texts = dict(zip(r.samples['id'].to_pylist(), r.samples['text'].to_pylist()))
        for i, v in zip(r.labels['item'], r.labels.value):
            for s in v: assert texts[i][s['start']:s['end']].strip()
