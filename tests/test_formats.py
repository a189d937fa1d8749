"""Labels in and out of eight formats: round trips on random, real and hostile data; what is lost is said; nothing strange crashes."""
import csv, io, json, random, subprocess, sys
from pathlib import Path
import pytest

pd = pytest.importorskip('pandas')
from PIL import Image
from pretrain_notes.annotate.interchange import Format, Item, LineError, Notes, all_formats, formats, load_json
from pretrain_notes.annotate.label_studio import label_config, task_from_config
from pretrain_notes.annotate.formats import read_labels, write_labels
from pretrain_notes.annotate.formats_tables import to_dataset
from pretrain_notes.annotate.store import LabelStore
from pretrain_notes.annotate.tasks import BoxTask, ClassTask, SpanTask
from pretrain_notes.base import DataError, digest
from pretrain_notes.samples import Samples
import pretrain_notes.readers

NASTY = ['a/b', '..', '../../x', 'line\nbreak', 'tab\tbed', 'cr\rcr', '\u202ertl\u202c', '=1+1', "'q", '+a', '-a', '@a',
         '<script>alert(1)</script>', '&amp;',
         '"quoted"', 'O', 'B-x', '#hash', '# text = x', ' lead', 'trail ', '中文',
         'العربية', '👍🏽', '\\n', '%20', 'a,b', '{"json": 1}',
         '[1]', 'null', '~', '*a', 'a: b', '0']
WORDS = ('Ana met 王小明 in New York , said " hello " and ran . '
         'وصلت ليلى 👍🏽 naïve café l\'eau 東京 กรุงเทพ #tag @me http://x.y -DOCSTART- O').split()

def png(size=(64, 48), color=0, exif=None):
    out = io.BytesIO()
    im = Image.new('RGB', size, (color % 256, color // 256 % 256, 99))
    kw = {}
    if exif: kw['exif'] = im.getexif(); kw['exif'][0x0112] = exif
    im.save(out, 'JPEG' if exif else 'PNG', **kw)
    return out.getvalue()

def pictures(n, rng=None, names=None, size=None):
    size = size or (lambda i: (40 + i, 30 + 2 * i))
    names = names or [f'cam/{i}.png' for i in range(n)]
    return Samples.from_rows([dict(image=dict(bytes=png(size(i), i), path=None), source=names[i]) for i in range(n)])

def random_shape(rng, size, classes, polygons=True):
    w, h = size
    def at(n): return round(rng.uniform(0, n), rng.choice([0, 1, 2]))
    label = rng.choice(classes)
    if polygons and rng.random() < .4: return dict(label=label, points=[[at(w), at(h)] for _ in range(rng.randint(3, 9))])
    x, y = at(w), at(h)
    return dict(label=label, box=[x, y, round(rng.uniform(0, w - x), 2), round(rng.uniform(0, h - y), 2)])

def random_text(rng, n=12):
    return rng.choice([' ', '  ', '', '\n', '\u3000', '\t']).join(rng.choice(WORDS) for _ in range(rng.randint(0, n)))

def random_spans(rng, task, text, tokens=None):
    out = []
    for _ in range(rng.randint(0, 4)):
        if len(text) < 2: break
        a, b = sorted(rng.sample(range(len(text) + 1), 2))
        try: out += task.snap([dict(label=rng.choice(task.classes), start=a, end=b)], text)
        except DataError: pass
    return task.check(out, dict(text=text))

def everything(values, rng):
    "The labels with all that a store knows of them, some by several annotators"
    rows = []
    for i, v in values.items():
        for who in rng.sample(['ana', 'ben@example.org', 'Zoë, "=1+1"', '李'], rng.randint(1, 3)):
            rows.append(dict(item=i, value=v, annotator=who, source='human', seconds=round(rng.uniform(0, 99), 3),
                             proposal=v if rng.random() < .3 else None,
                             time=pd.Timestamp(rng.randint(10**12, 2 * 10**12), unit='ms', tz='UTC')))
        if rng.random() < .5: rows.append(dict(item=i, value=v, annotator='m', source='model', source_version='v1',
                                               score=round(rng.random(), 6)))
    return pd.DataFrame(rows)

def as_rows(df):
    "Labels as comparable dictionaries"
    return [{k: r[k] for k in sorted(r) if r[k] is not None and r[k] is not pd.NaT and r[k] == r[k]} for r in df.to_dict('records')]

def same(a, b): return sorted(map(repr, as_rows(a))) == sorted(map(repr, as_rows(b)))

CASES = {
    'class': lambda rng: (text := Samples.from_rows([dict(text=random_text(rng) + f' {i}') for i in range(12)]),
                          ClassTask(NASTY, guide='g', name='n/ame'),
                          {i: rng.choice(NASTY) for i in text['id'].to_pylist()}),
    'class on pictures': lambda rng: (s := pictures(5), t := ClassTask(NASTY, name='p'),
                                      {i: rng.choice(NASTY) for i in s['id'].to_pylist()}),
    'classes': lambda rng: (s := Samples.from_rows([dict(text=f'{random_text(rng)}{i}') for i in range(12)]),
                            t := ClassTask(NASTY, multi=True),
                            {i: t.check(rng.sample(NASTY, rng.randint(0, 4))) for i in s['id'].to_pylist()}),
    'boxes': lambda rng: (s := pictures(6), t := BoxTask(NASTY, guide='g'),
                          {i: t.check([random_shape(rng, (40 + k, 30 + 2 * k), NASTY) for _ in range(rng.randint(0, 5))],
                                      dict(size=(40 + k, 30 + 2 * k)))
                          for k, i in enumerate(s['id'].to_pylist())}),
    'spans': lambda rng: (s := Samples.from_rows([dict(text=f'{random_text(rng)}{i}') for i in range(12)]), t := SpanTask(NASTY),
                          {r['id']: random_spans(rng, t, r['text']) for r in s.table.to_pylist()}),
}

@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('fmt', ['jsonl', 'csv', 'labelstudio'])
def test_lossless(fmt, case, seed, tmp_path):
    "Formats that hold everything give everything back, without the samples, too (Label Studio: all but the proposal)"
    rng = random.Random(f'{case}{seed}')
    samples, task, values = CASES[case](rng)
    labels = everything(values, rng)
    if fmt == 'labelstudio': labels['proposal'] = None
    assert len(write_labels(samples, task, labels, tmp_path/'out', fmt)) == 0
    for kw in ({}, dict(samples=samples)):
        imp = read_labels(tmp_path/'out', **kw)
        assert imp.task.version == task.version and same(imp.labels, labels)
        assert set(imp.report.what) <= {'zero area'}
        assert set(imp.samples['id'].to_pylist()) == set(values)
        if 'text' in samples.columns: assert imp.samples['text'].to_pylist() == samples['text'].to_pylist()

@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('case', CASES)
def test_every_format_measures_its_losses(case, seed, tmp_path):
    "One answer an item, in every format: what comes back is equal, or the report names the item"
    rng = random.Random(f'{case}{seed}')
    samples, task, values = CASES[case](rng)
    for name, f in all_formats().items():
        if task.kind not in f.kinds: continue
        report = write_labels(samples, task, values, tmp_path/name, name)
        back = read_labels(tmp_path/name, samples=samples)
        got = dict(zip(back.labels['item'], back.labels.value))
        assert back.task.version == task.version
        differ = {i for i, v in values.items() if got.get(i) != v}
        assert differ == set(report[report.what.isin(['value', 'label'])]['item']), name
        if name in ('coco', 'dataset', 'jsonl', 'csv', 'labelstudio'): assert not differ

def test_two_answers_last_is_kept(tmp_path):
    s, t = pictures(1), BoxTask(['a'])
    i = s['id'][0].as_py()
    one, two = [dict(label='a', box=[1, 1, 2, 2])], [dict(label='a', box=[5, 5, 2, 2])]
    report = write_labels(s, t, pd.DataFrame([dict(item=i, value=one, annotator='x'), dict(item=i, value=two, annotator='y')]),
                          tmp_path/'o', 'coco')
    assert read_labels(tmp_path/'o').labels.value.tolist() == [two]
    assert report[report.what == 'label'].effect.tolist() == ['left out'] and not (report.what == 'value').any()

def test_write_is_all_or_nothing(tmp_path):
    s, t = pictures(2), BoxTask(['a\x01'])
    v = {i: [dict(label='a\x01', box=[0, 0, 1, 1])] for i in s['id'].to_pylist()}
    with pytest.raises(DataError, match='XML cannot hold'): write_labels(s, t, v, tmp_path/'out', 'voc')
    assert not list(tmp_path.iterdir())
    write_labels(s, t, v, tmp_path/'out', 'coco')
    with pytest.raises(DataError, match='overwrite'): write_labels(s, t, v, tmp_path/'out', 'coco')
    write_labels(s, t, v, tmp_path/'out', 'csv', overwrite=True)
    assert read_labels(tmp_path/'out').labels.value.tolist() == list(v.values()) and not (tmp_path/'out/annotations.json').exists()
    wrong = {s['id'][0].as_py(): [dict(label='b', box=[0, 0, 1, 1])]}
    with pytest.raises(DataError, match='does not answer'): write_labels(s, t, wrong, tmp_path/'o', 'coco')
    with pytest.raises(DataError, match='does not hold boxes'): write_labels(s, t, v, tmp_path/'o', 'conll')
    with pytest.raises(DataError, match='name for csv'): write_labels(s, t, v, tmp_path/'o.csv', 'yolo')

def test_names_of_pictures_are_safe_and_unique(tmp_path):
    names = ['a/1.png', 'b/1.png', 'b/1.jpg', '../../../evil.png', '/etc/passwd', 'C:\\x\\con.png', 'new\nline.png', '=cmd.png', 'A/1.PNG',
             'noext']
    s, t = pictures(len(names), names=names), BoxTask(['x'])
    v = {i: [dict(label='x', box=[k, 0, 2, 2])] for k, i in enumerate(s['id'].to_pylist())}
    for f in ('coco', 'yolo', 'voc', 'csv', 'labelstudio'):
        assert len(write_labels(s, t, v, tmp_path/f, f)) == 0
        imp = read_labels(tmp_path/f)
        assert dict(zip(imp.labels['item'], imp.labels.value)) == v
    assert {p.name for p in tmp_path.iterdir()} == {'coco', 'yolo', 'voc', 'csv', 'labelstudio'}

def test_exif_pictures_are_upright(tmp_path):
    s = Samples.from_rows([dict(image=dict(bytes=png((64, 48), exif=6), path=None), source='r.jpg')])
    t, v = BoxTask(['x']), {s['id'][0].as_py(): [dict(label='x', box=[40, 50, 8, 14])]}     # fits 48 x 64 only
    for f in ('coco', 'yolo', 'voc', 'labelstudio'): assert len(write_labels(s, t, v, tmp_path/f, f)) == 0
    assert json.loads((tmp_path/'coco/annotations.json').read_text())['images'][0]['width'] == 48

def test_into_store(tmp_path):
    rng = random.Random(0)
    samples, task, values = CASES['spans'](rng)
    labels = everything(values, rng)
    write_labels(samples, task, labels, tmp_path/'out', 'jsonl')
    store, imp = LabelStore(tmp_path/'l.db'), read_labels(tmp_path/'out')
    assert imp.into(store) == imp.into(store) and len(store.events()) == len(labels)
    now = store.labels(task, source=None)
    assert len(write_labels(samples, task, now, tmp_path/'again', 'jsonl')) == 0

# --- real data ---

def test_bccd(data_dir, tmp_path):
    "BCCD as COCO and as VOC is the same 4888 boxes, its zero-area boxes are kept and named; written and read back equal"
    root = data_dir/'detection/bccd'
    coco, voc = read_labels(root/'coco_all.json'), read_labels(root)
    for imp in (coco, voc):
        assert len(imp.samples) == 364 and sum(map(len, imp.labels.value)) == 4888
        zero = imp.report[imp.report.what == 'zero area']
        sources = dict(zip(imp.samples['id'].to_pylist(), imp.samples['source'].to_pylist()))
        assert {Path(sources[i]).stem for i in zero['item']} == {'BloodImage_00338', 'BloodImage_00343'} and set(zero.effect) == {'kept'}
        assert set(imp.report[imp.report.effect == 'left out'].what) <= {'not read'}       # truncated = 1
    assert dict(zip(coco.labels['item'], coco.labels.value)) == dict(zip(voc.labels['item'], voc.labels.value))
    assert set(coco.task.classes) == {'RBC', 'WBC', 'Platelets'} == set(voc.task.classes)
    assert voc.samples.split_counts() == {'train': 205, 'valid': 87, 'test': 72}
    few = voc.samples[list(range(20)) + [i for i, s in enumerate(voc.samples['source'].to_pylist()) if '00338' in s]]
    labels = voc.labels[voc.labels['item'].isin(few['id'].to_pylist())]
    for f in ('coco', 'voc', 'yolo', 'labelstudio', 'csv', 'jsonl', 'dataset'):
        report = write_labels(few, voc.task, labels, tmp_path/f, f)
        assert len(report) == 0, (f, report)
        back = read_labels(tmp_path/f)
        assert dict(zip(back.labels['item'], back.labels.value)) == dict(zip(labels['item'], labels.value))
        if f in ('voc', 'yolo', 'csv', 'dataset'): assert back.samples.split_counts() == few.split_counts()

def tokens_and_tags(p):
    return [[(l.split('\t')[0], l.split('\t')[-1]) for l in s.split('\n')]
            for s in '\n'.join(l.strip(' \t\r') for l in p.read_text(encoding='utf-8').split('\n')).strip('\n').split('\n\n') if s.strip()]

@pytest.mark.parametrize('file', ['wnut17/train.conll', 'wnut17/dev.conll', 'wnut17/test.conll', 'bc5cdr/train.tsv', 'bc5cdr/devel.tsv',
                                  'bc5cdr/test.tsv'])
def test_conll_real(data_dir, tmp_path, file):
    "Tokens and tags of WNUT17 and BC5CDR come back equal, through text and offsets"
    src = data_dir/'ner'/file
    imp = read_labels(src)
    report = write_labels(imp.samples, imp.task, imp.labels, tmp_path/'out.conll')
    assert len(report) == 0, report
    assert tokens_and_tags(tmp_path/'out.conll') == tokens_and_tags(src)
    if file == 'bc5cdr/train.tsv': assert (tmp_path/'out.conll').read_bytes() == src.read_bytes()

def test_zh_spans(data_dir, tmp_path):
    "Chinese texts: spans by characters come back from every format"
    poems = json.loads((data_dir/'text/zh_poetry/tang_shi_0.json').read_text(encoding='utf-8'))[:60]
    rng, task = random.Random(1), SpanTask(['诗句', '标题'])
    s = Samples.from_rows([dict(text='\n'.join(p['paragraphs'])) for p in poems if p['paragraphs']])
    values = {}
    for r in s.table.to_pylist():
        cuts = sorted(rng.sample(range(len(r['text'])), 4)) if len(r['text']) > 6 else []
        parts = zip(cuts[::2], cuts[1::2])
        values[r['id']] = [v for v in task.check([dict(label=rng.choice(task.classes), start=a, end=b) for a, b in parts])
                           if '\n' not in r['text'][v['start']] + r['text'][v['end'] - 1]]
    for f in ('conll', 'jsonl', 'csv', 'labelstudio', 'dataset'):
        assert len(report := write_labels(s, task, values, tmp_path/f, f)) == 0, (f, report)
        back = read_labels(tmp_path/f)
        assert back.samples['text'].to_pylist() == s['text'].to_pylist() and dict(zip(back.labels['item'], back.labels.value)) == values

def test_grocery(data_dir, tmp_path):
    "Class labels of photos through CSV, JSONL, Label Studio and a data set"
    s = Samples.from_folder(data_dir/'images/grocery')[::20]
    task, labels = ClassTask(s.vocab), {i: s.vocab[v] for i, v in zip(s['id'].to_pylist(), s.labels)}
    for f in ('csv', 'jsonl', 'labelstudio', 'dataset'):
        assert len(write_labels(s, task, labels, tmp_path/f, f)) == 0
        assert dict(zip(*[read_labels(tmp_path/f).labels[c] for c in ('item', 'value')])) == labels

def test_naughty_strings(data_dir, tmp_path):
    "The big list of naughty strings as texts and as class names"
    blns = list(dict.fromkeys(s for s in json.loads((data_dir/'bad/text/blns.json').read_text(encoding='utf-8')) if s.strip()))
    s = Samples.from_rows([dict(text=t) for t in blns])
    task = ClassTask(blns)
    for f in ('csv', 'jsonl', 'labelstudio', 'dataset'):
        labels = dict(zip(s['id'].to_pylist(), blns))
        lost = {'configuration'} if f == 'labelstudio' else set()           # XML has no control characters
        assert set(write_labels(s, task, labels, tmp_path/f, f).what) == lost
        back = read_labels(tmp_path/f)
        assert back.samples['text'].to_pylist() == blns and back.labels.value.tolist() == blns
        if f == 'csv':
            cells = [c for r in csv.reader(open(tmp_path/f/'labels.csv', newline='', encoding='utf-8')) for c in r]
            assert not [c for c in cells if c.startswith(tuple('=+-@\t\r'))]
    spans = SpanTask(blns)
    values = {i: [dict(label=t, start=0, end=len(t))] for i, t in zip(s['id'].to_pylist(), blns)}
    report = write_labels(s, spans, values, tmp_path/'conll', 'conll')
    back = read_labels(tmp_path/'conll')
    assert back.samples['text'].to_pylist() == blns
    got = dict(zip(back.labels['item'], back.labels.value))
    assert {i for i in values if got[i] != values[i]} == set(report[report.what == 'value']['item'])
    boxes = BoxTask([c for c in blns if not any(ord(x) < 32 and x not in '\t\n\r' or x in '\ufffe\uffff' for x in c)])
    p = pictures(1)
    v = {p['id'][0].as_py(): [dict(label=c, box=[1, 1, 5, 5]) for c in boxes.classes]}
    for f in ('coco', 'yolo', 'voc', 'labelstudio', 'dataset'): assert len(write_labels(p, boxes, v, tmp_path/f'b{f}', f)) == 0, f
    assert task_from_config(label_config(boxes)).classes == boxes.classes

# --- bad input ---

def outcome(path, fmt, **kw):
    "What was read, or the message"
    try: return read_labels(path, fmt, **kw)
    except DataError as e: return str(e)

@pytest.mark.parametrize('fmt', ['coco', 'labelstudio', 'jsonl', 'csv', 'conll'])
def test_bad_files_raise_only_data_errors(data_dir, fmt):
    "Every broken file there is: read, or an error that names the file (and a line where it is not JSON)"
    for p in sorted((data_dir/'bad').rglob('*')):
        if not p.is_file() or p.parent.name in ('archive', 'audio', 'image'): continue
        got = outcome(p, fmt)
        if isinstance(got, str) and p.parent.name == 'suite' and fmt in ('coco', 'labelstudio'):
            says = p.name in got and ('line' in got or 'empty' in got)
            assert says or got.startswith(('the file', 'none of')), (p.name, got)

def test_bad_jsonl_names_file_and_line(tmp_path):
    (tmp_path/'x.jsonl').write_text('{"text": "a", "label": "x"}\n{"text": }\n{"text": "b", "label": "y"}\n[1]\n'
                                    + '[' * 100_000 + '\n{"text": "\\ud800", "label": "x"}\n')
    r = read_labels(tmp_path/'x.jsonl').report
    assert r['where'].tolist().count('x.jsonl line 2') == 1 and len(r[r.what == 'no object']) == 3 and (r.what == 'half a character').any()
    (tmp_path/'x.json').write_text('{"images": [],\n "annotations": ]}')
    with pytest.raises(DataError, match=r'x\.json, line 2'): read_labels(tmp_path/'x.json')
    for bad in ('[' * 200_000, '{"images": ' * 100_000, '1e999', 'NaN', '[{"data": {"text": NaN}}]', ''):
        (tmp_path/'x.json').write_text(bad)
        for f in ('coco', 'labelstudio'):
            with pytest.raises(DataError, match=r'x\.json'): read_labels(tmp_path/'x.json', f)

BAD_COCO = dict(bbox_3_values=('no shape', 'left out'), bbox_negative=('outside', 'changed'), bbox_null=('no shape', 'left out'),
                bbox_outside=('outside', 'changed'),
                bbox_strings=('no shape', 'left out'), bbox_zero_area=('zero area', 'kept'), category_unknown=('no category', 'left out'),
                image_unknown=('no image', 'left out'),
                dup_annotation_id=('annotation id twice', 'kept'), dup_category_names=('category twice', 'changed'),
                dup_image_id=('image id twice', 'left out'),
                image_missing_file=('missing', 'left out'), image_wrong_size=('another size', 'left out'),
                segmentation_odd=('no polygon', 'left out'), path_traversal=('missing', 'left out'))

@pytest.mark.parametrize('name', BAD_COCO)
def test_bad_coco(data_dir, tmp_path, name):
    (tmp_path/'JPEGImages').symlink_to(data_dir/'detection/bccd/JPEGImages')
    pics = Samples.from_rows([dict(image=dict(bytes=(data_dir/f'detection/bccd/JPEGImages/BloodImage_0000{i}.jpg').read_bytes(),
                                              path=None), source=f'JPEGImages/BloodImage_0000{i}.jpg') for i in range(6)])
    imp = read_labels(data_dir/f'bad/coco/{name}.json', samples=pics)
    assert BAD_COCO[name] in set(zip(imp.report.what, imp.report.effect)), imp.report
    n = len(json.loads((data_dir/f'bad/coco/{name}.json').read_text(encoding='utf-8'))['annotations'])
    out = imp.report[imp.report.effect == 'left out'].n.sum()
    assert sum(map(len, imp.labels.value)) + out >= n - (name in ('path_traversal', 'image_missing_file', 'image_wrong_size', 'dup_image_id')) * n

def test_names_cannot_leave_the_folder(tmp_path):
    (tmp_path/'secret.png').write_bytes(png())
    root = tmp_path/'data'
    root.mkdir()
    (root/'link.png').symlink_to(tmp_path/'secret.png')
    (root/'ok.png').write_bytes(png())
    named = ('../secret.png', 'a'), (str(tmp_path/'secret.png'), 'a'), ('link.png', 'a'), ('file:///etc/passwd', 'a'), ('ok.png', 'b')
    rows = [dict(file_name=n, label=l) for n, l in named]
    (root/'x.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    imp = read_labels(root/'x.jsonl')
    assert len(imp.samples) == 1 and imp.labels.value.tolist() == ['b'] and (imp.report.effect == 'left out').sum() == 4

def test_bad_voc(data_dir, tmp_path):
    for name in ('xxe', 'billion_laughs'):
        with pytest.raises(DataError, match=f'{name}.xml, line 1.*document type'): read_labels(data_dir/f'bad/voc/{name}.xml')
    with pytest.raises(DataError, match='truncated.xml, line'): read_labels(data_dir/'bad/voc/truncated.xml')
    s = Samples.from_rows([dict(image=dict(bytes=(data_dir/'detection/bccd/JPEGImages/BloodImage_00000.jpg').read_bytes(), path=None),
                                source='BloodImage_00000.jpg')])
    assert {'no size', 'convention'} <= set(read_labels(data_dir/'bad/voc/no_size.xml', samples=s).report.what)
    assert (read_labels(data_dir/'bad/voc/xmin_gt_xmax.xml', samples=s).report.what == 'corners swapped').any()

def test_bad_conll_and_spans(data_dir):
    imp = read_labels(data_dir/'bad/ner/c_bad_bio.conll')
    assert {'I- first', 'columns', 'no token', 'no tag'} & set(imp.report.what) >= {'columns', 'no token'}
    imp = read_labels(data_dir/'bad/ner/c_bad_spans.jsonl')
    assert {'twice', 'no span'} <= set(imp.report.what)
    assert imp.labels.value[0] == [dict(label='LOC', start=13, end=18)]
    texts = dict(zip(imp.samples['id'].to_pylist(), imp.samples['text'].to_pylist()))
    said = {texts[i]: v for i, v in zip(imp.labels['item'], imp.labels.value)}
    assert said['New York City'] == [dict(label='LOC', start=0, end=8), dict(label='LOC', start=4, end=13)]
    assert 'Bob' not in said and (imp.report.what == 'no answer').sum() == 5          # of which every span was refused

def test_yaml_bomb(tmp_path):
    (tmp_path/'data.yaml').write_text('a: &a [x]\nb: &b [*a, *a]\nnames: [*b, *b]\n')
    with pytest.raises(DataError, match='alias'): read_labels(tmp_path)
    (tmp_path/'data.yaml').write_text('names: !!python/object/apply:os.system ["id"]\n')
    with pytest.raises(DataError, match='no YAML'): read_labels(tmp_path)
    (tmp_path/'data.yaml').write_text('[' * 5000)
    with pytest.raises(DataError): read_labels(tmp_path)

def test_fuzz(tmp_path):
    "Random damage to files of every format: read, or a DataError"
    rng = random.Random(3)
    for case in ('boxes', 'spans', 'class'):
        samples, task, values = CASES[case](rng)
        for name, f in all_formats().items():
            if task.kind not in f.kinds: continue
            write_labels(samples, task, values, tmp_path/f'{case}{name}', name)
            main = tmp_path/f'{case}{name}'/f.files[0]
            files = [main] if main.is_file() else list(main.iterdir())[:2]
            files += list((tmp_path/f'{case}{name}/labels').rglob('*.txt'))[:2]
            for p in files:
                b = p.read_bytes()
                for _ in range(25):
                    c = bytearray(b)
                    for _ in range(rng.randint(1, 4)):
                        if not c: break
                        k = rng.randrange(len(c))
                        if rng.random() < .5: c[k] = rng.randrange(256)
                        elif rng.random() < .5: del c[k:k + rng.randint(1, 40)]
                        else: c[k:k] = rng.choice([b'null', b'-1', b'{}', b'[]', b'1e400', b'"', b'<a>', b'\t', b'\n'])
                    p.write_bytes(bytes(c))
                    outcome(tmp_path/f'{case}{name}', name, samples=samples)
                p.write_bytes(b)

def test_json_fuzz_of_types(tmp_path):
    "Every value of a COCO and a Label Studio file replaced by something of another type"
    s, t = pictures(1), BoxTask(['a', 'b'])
    v = {s['id'][0].as_py(): [dict(label='a', box=[1, 2, 3, 4]), dict(label='b', points=[[1, 1], [5, 5], [9, 1]])]}
    odd = [None, True, -1, 1e308, 10**400, 'x', '', [], {}, [[]], [None], {'a': []}, '\ud800']
    def paths(o, at=()):
        yield at
        if isinstance(o, dict):
            for k in o: yield from paths(o[k], (*at, k))
        if isinstance(o, list):
            for k in range(len(o)): yield from paths(o[k], (*at, k))
    for f, main in (('coco', 'annotations.json'), ('labelstudio', 'tasks.json')):
        write_labels(s, t, pd.DataFrame([dict(item=i, value=x, annotator='a@b.de', seconds=1., score=.5, source='human',
                                              time=pd.Timestamp('2026-01-01', tz='UTC')) for i, x in v.items()]), tmp_path/f, f)
        good = json.loads((tmp_path/f/main).read_text())
        for at in list(paths(good)):
            if not at: continue
            for x in odd:
                d = json.loads(json.dumps(good))
                o = d
                for k in at[:-1]: o = o[k]
                o[at[-1]] = x
                (tmp_path/f/main).write_text(json.dumps(d))
                outcome(tmp_path/f/main, f, samples=s)

@pytest.mark.parametrize('case', ['class', 'classes', 'boxes', 'spans'])
def test_jsonl_fuzz_of_types(tmp_path, case):
    "The same for every value of a line of JSON Lines, and of a record of CSV"
    rng = random.Random(5)
    samples, task, values = CASES[case](rng)
    few = dict(list(values.items())[:3])
    write_labels(samples, task, everything(few, rng), tmp_path/'a', 'jsonl')
    write_labels(samples, task, everything(few, rng), tmp_path/'b', 'csv')
    rows = [json.loads(l) for l in (tmp_path/'a/labels.jsonl').read_text(encoding='utf-8').splitlines()]
    for k in rows[0].keys() | {'objects', 'entities', 'proposal'}:
        for x in [None, True, -1, 1e308, 10**400, 'x', '', [], {}, [[]], [None], [{}], {'a': []}, {'bbox': 3},
                  {'bbox': [1], 'category': [[]]}, [[1, 2, 3]], [{'start': {}, 'end': 'a', 'label': []}], '\ud800']:
            (tmp_path/'a/labels.jsonl').write_text('\n'.join(map(json.dumps, [rows[0] | {k: x}, *rows[1:]])))
            outcome(tmp_path/'a', 'jsonl', samples=samples)
            outcome(tmp_path/'a/labels.jsonl', 'jsonl')
    with open(tmp_path/'b/labels.csv', newline='', encoding='utf-8') as f: records = list(csv.reader(f))
    for j in range(len(records[0])):
        for x in ('', 'null', '-1', '[]', '{}', '[[]]', '[null]', '[{}]', '1e999', "'", '{"bbox": [1]}', 'NaN'):
            with open(tmp_path/'b/labels.csv', 'w', newline='', encoding='utf-8') as f:
                csv.writer(f).writerows([records[0], [*records[1][:j], x, *records[1][j + 1:]], *records[2:]])
            outcome(tmp_path/'b', 'csv', samples=samples)

# --- single formats ---

def test_coco_masks_crowds_pieces(tmp_path):
    s = pictures(1)
    seg = [dict(counts=[3, 5], size=[10, 10]), dict(counts='0a1b', size=[10, 10]), [[1, 1, 5, 1, 5, 5], [7, 7, 9, 7, 9, 9]], []]
    anns = [dict(id=i, image_id=5, category_id=9, bbox=[1, 1, 4, 4], segmentation=g, iscrowd=int(i == 1), keypoints=[1])
            for i, g in enumerate(seg)]
    (tmp_path/'x.json').write_text(json.dumps(dict(images=[dict(id=5, file_name='0.png', license=1)], annotations=anns,
                                                   categories=[dict(id=9, name='a'), dict(id=3, name='b')], licenses=[])))
    imp = read_labels(tmp_path/'x.json', samples=s)
    assert [sorted(x) for x in imp.labels.value[0]] == [['box', 'label'], ['box', 'label'], ['label', 'points'], ['label', 'points'],
                                                        ['box', 'label']]
    assert {('mask', 'changed'), ('crowd', 'changed'), ('pieces', 'changed'), ('category ids', 'kept'),
            ('not read', 'left out')} <= set(zip(imp.report.what, imp.report.effect))
    assert imp.report[imp.report.detail == "the key 'keypoints' of annotations"].n.tolist() == [4]

def test_voc_origin(tmp_path):
    s = pictures(1, size=lambda i: (64, 48))
    (tmp_path/'0.xml').write_text('<annotation><filename>0.png</filename><object><name>a</name><difficult>1</difficult>'
                                  '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>48</ymax></bndbox></object></annotation>')
    a, b = (read_labels(tmp_path/'0.xml', samples=s, origin=o) for o in (0, 1))
    assert a.labels.value[0][0]['box'] == [1, 1, 63, 47] and b.labels.value[0][0]['box'] == [0, 0, 64, 48]
    assert (a.report.detail == "difficult = '1'").any()
    with pytest.raises(DataError, match='origin'): read_labels(tmp_path/'0.xml', samples=s, origin=2)

def test_yolo_layouts(tmp_path):
    "Roboflow's folders, classes.txt, labels without pictures, a confidence, a bad line, a picture without a label file"
    for split in ('train', 'valid'):
        for d in ('images', 'labels'): (tmp_path/split/d).mkdir(parents=True)
        (tmp_path/split/'images/1.png').write_bytes(png((100, 50), ord(split[0])))
        (tmp_path/split/'labels/1.txt').write_text('1 0.5 0.5 0.2 0.4\n0 .5 .5 .1 .1 .9\n7 .5 .5 .1 .1\nx\n')
    (tmp_path/'train/images/2.png').write_bytes(png((10, 10), 7))
    (tmp_path/'data.yaml').write_text('train: ../train/images\nval: ../valid/images\nnc: 2\n'
                                      'names: [cat, "don\\nkey"]\nroboflow: {license: x}\n')
    imp = read_labels(tmp_path)
    assert imp.labels.value[0][0] == dict(label='don\nkey', box=[40, 15, 20, 20]) and len(imp.labels) == 2 and len(imp.samples) == 3
    assert {'no label file', 'no shape', 'not read'} <= set(imp.report.what) and imp.samples.split_counts() == {'train': 2, 'valid': 1}
    only = tmp_path/'only'
    (only/'labels').mkdir(parents=True)
    (only/'classes.txt').write_text('cat\ndog\n')
    (only/'labels/0.txt').write_text('0 0.5 0.5 1 1\n')
    assert read_labels(only, samples=pictures(1)).labels.value[0] == [dict(label='cat', box=[0, 0, 40, 30])]

def ls(tmp_path, *tasks, **kw):
    (tmp_path/'ls.json').write_text(json.dumps(list(tasks)), encoding='utf-8')
    return read_labels(tmp_path/'ls.json', **kw)

def test_label_studio_as_exported(tmp_path):
    "A task as Label Studio exports it: upload prefix, percent, rotation, canceled, prediction, dictionary of the user"
    def rect(**kw): return dict(original_width=200, original_height=100, image_rotation=0, from_name='tag', to_name='img', id='x',
                                type='rectanglelabels',
                                value=dict(x=10, y=20, width=30, height=40, rotation=0, rectanglelabels=['cat']) | kw)
    brush = dict(type='brushlabels', value=dict(format='rle', rle=[1], brushlabels=['cat']))
    t = dict(id=5, data=dict(image='/data/upload/1/e97d4735-0.png'), meta={}, annotations=[
        dict(id=1, completed_by=dict(id=3, email='ana@x.org'), lead_time=4.5, created_at='2023-01-31T07:40:19.861611Z',
             was_cancelled=False, ground_truth=True, result=[rect(), rect(rotation=90), brush]),
        dict(id=2, completed_by=4, was_cancelled=True, result=[])], predictions=[dict(model_version='m1', score=.25, result=[rect(x=50)])])
    imp = ls(tmp_path, t, samples=pictures(1, size=lambda i: (200, 100)), task=BoxTask(['cat']))
    a, p = as_rows(imp.labels)
    assert a['value'][0] == dict(label='cat', box=[20, 20, 60, 40]) and a['annotator'] == 'ana@x.org' and a['seconds'] == 4.5
    assert a['time'] == pd.Timestamp('2023-01-31T07:40:19.861Z')
    assert a['value'][1]['points'] == [[20, 20], [20, 80], [0, 80], [0, 20]]     # turned clockwise around its corner, cut at the edge
    assert (p['source'], p['source_version'], p['score'], p['value'][0]['box'][0]) == ('model', 'm1', .25, 100)
    assert {'rotated', 'not read', 'skipped', 'ground truth'} <= set(imp.report.what)

def test_label_studio_text_offsets(tmp_path):
    "UTF-16 and code points are told apart by the text of the span; newlines and astral characters anywhere"
    rng = random.Random(2)
    for _ in range(50):
        text = ''.join(rng.choice('ab 😀𝒳中\n') for _ in range(30))
        a, b = sorted(rng.sample(range(31), 2))
        u = lambda k: len(text[:k].encode('utf-16-le')) // 2
        task = SpanTask(['x'])
        for start, end in ((a, b), (u(a), u(b))):
            t = dict(data=dict(text=text),
                     annotations=[dict(result=[dict(type='labels', value=dict(start=start, end=end, text=text[a:b], labels=['x']))])])
            v = ls(tmp_path, t, task=task).labels.value[0][0]
            assert text[v['start']:v['end']] == text[a:b]
    emoji = dict(data=dict(text='😀😀😀'), annotations=[dict(result=[dict(type='labels', value=dict(start=2, end=4, labels=['x']))])])
    assert (ls(tmp_path, emoji, task=task).report.what == 'no span').any()

def test_label_studio_choices(tmp_path):
    def t(i, *c, **kw): return dict(id=i, data=dict(my_text=f'text {i}'),
                                    annotations=[dict(result=[dict(type='choices', from_name='s', to_name='t',
                                                                   value=dict(choices=list(c)))])], **kw)
    imp = ls(tmp_path, t(1, 'a'), t(2, 'b'))
    assert imp.task.kind == 'class' and imp.labels.value.tolist() == ['a', 'b'] and imp.samples['source_id'].to_pylist() == ['1', '2']
    imp = ls(tmp_path, t(1, 'a', 'b'), t(2))
    assert imp.task.kind == 'classes' and imp.labels.value.tolist() == [['a', 'b'], []]
    old = dict(id=1, data=dict(text='x'), completions=[dict(result=[dict(type='choices', value=dict(choices=['a']))])])
    assert ls(tmp_path, old, task=ClassTask(['a', 'b'])).labels.value.tolist() == ['a']
    with pytest.raises(DataError, match='JSON-MIN'): ls(tmp_path, dict(text='x', sentiment='a'))
    with pytest.raises(DataError, match='document type'): task_from_config('<!DOCTYPE a><View/>')
    with pytest.raises(DataError, match='asks nothing'): task_from_config('<View/>')

@pytest.mark.parametrize('text,chunks,dialect', [
    ('EU I-ORG\nrejects O\nGerman I-MISC\ncall O\nAna I-PER\nBen B-PER\n',
     [('ORG', 'EU'), ('MISC', 'German'), ('PER', 'Ana'), ('PER', 'Ben')], 'IOB1'),
    ('New B-LOC\nYork E-LOC\nis O\nBig S-LOC\n', [('LOC', 'New York'), ('LOC', 'Big')], 'BIOES'),
    ('New B-LOC\nYork L-LOC\nis O\nBig U-LOC\n', [('LOC', 'New York'), ('LOC', 'Big')], 'BILOU'),
    ('New place-city\nYork place-city\nis O\n', [('place-city', 'New York')], 'IO'),
    ('-DOCSTART- -X- O O\n\nNew NNP B-NP B-LOC\nYork NNP I-NP I-LOC\n', [('LOC', 'New York')], None)])
def test_conll_dialects(tmp_path, text, chunks, dialect):
    (tmp_path/'x.conll').write_text(text)
    imp = read_labels(tmp_path/'x.conll', task=SpanTask(sorted({c for c, _ in chunks})))
    t = imp.samples['text'][0].as_py()
    assert [(s['label'], t[s['start']:s['end']]) for s in imp.labels.value[0]] == chunks
    if dialect: assert imp.report[imp.report.what == 'dialect'].detail.iloc[0].startswith(dialect)
    else: assert imp.report.detail.iloc[0] == '2 columns beside tokens (column 0) and tags (column 3)'

def test_csv_of_others(tmp_path):
    "Foreign CSV: apostrophes stay where the header is not ours; ragged lines are named"
    (tmp_path/'x.csv').write_text("text,label,note\n'quoted,a,1\nplain,b,2\nx,y\n")
    imp = read_labels(tmp_path/'x.csv')
    assert imp.samples['text'].to_pylist() == ["'quoted", 'plain'] and imp.labels.value.tolist() == ['a', 'b']
    assert {'ragged', 'not read'} <= set(imp.report.what) and 'x.csv line 4' in imp.report['where'].tolist()
    (tmp_path/'long.csv').write_text('text,label\n"' + 'a' * 1_000_000 + '",a\nb,c\n')
    assert len(read_labels(tmp_path/'long.csv').samples['text'][0].as_py()) == 1_000_000 and csv.field_size_limit() < 10**6

def test_hub_columns(tmp_path):
    "A Dataset as the Hub has it: tokens and ner_tags; objects; label"
    from datasets import ClassLabel, Dataset, Features, Image as HubImage, List, Value
    tags = ClassLabel(names=['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC'])
    ds = Dataset.from_dict(dict(tokens=[['Ana', 'Lee', 'in', 'Rio'], ['no', 'one']], ner_tags=[[1, 2, 0, 3], [0, 0]]),
                           Features(tokens=List(Value('string')), ner_tags=List(tags)))
    imp = read_labels(ds)
    assert imp.task.classes == ['PER', 'LOC'] and imp.labels.value.tolist() == [[dict(label='PER', start=0, end=7),
                                                                                 dict(label='LOC', start=11, end=14)], []]
    out = to_dataset(imp.samples, imp.task, imp.labels)
    assert out['ner_tags'][0] == [1, 2, 0, 3]
    ds = Dataset.from_dict(dict(image=[dict(bytes=png(), path=None)], objects=[dict(bbox=[[1., 2., 3., 4.]], category=[0], area=[12])]),
                           Features(image=HubImage(),
                                    objects=dict(bbox=List(List(Value('float32'), 4)), category=List(ClassLabel(names=['cat'])),
                                                 area=List(Value('int64')))))
    assert read_labels(ds).labels.value.tolist() == [[dict(label='cat', box=[1, 2, 3, 4])]]
    ds = Dataset.from_dict(dict(text=['a', 'b'], label=[0, 1]), Features(text=Value('string'), label=ClassLabel(names=['x', 'y'])))
    assert read_labels(ds).labels.value.tolist() == ['x', 'y']

# --- what a review found ---

def test_split_cannot_leave_the_folder(tmp_path):
    "A split is a name that a stranger gave: unknown ones are not read, and none becomes a path"
    root = tmp_path/'a/in'
    root.mkdir(parents=True)
    (root/'x.png').write_bytes(png())
    row = dict(file_name='x.png', boxes=[dict(label='a', box=[1, 1, 2, 2])], split='../../../../evil')
    (root/'labels.jsonl').write_text(json.dumps(row))
    imp = read_labels(root)
    assert 'another split' in imp.report.what.tolist() and 'split' not in imp.samples.columns
    import pyarrow as pa
    (tmp_path/'a/out').mkdir()
    for n, split in enumerate(['../../../../evil', '/evil', '..', '.', '', 'a\\b', 'x' * 999]):
        s = imp.samples.with_column('split', pa.array([split]))
        for f in ('yolo', 'voc', 'coco', 'jsonl', 'csv', 'labelstudio'): write_labels(s, imp.task, imp.labels, tmp_path/f'a/out/{n}{f}', f)
    assert not [p for p in tmp_path.rglob('*') if p.is_file() and p.relative_to(tmp_path).parts[:2] not in (('a', 'in'), ('a', 'out'))]
    assert len(list((tmp_path/'a/out').iterdir())) == 7 * 6

def test_no_format_can_write_outside(tmp_path):
    "Even a format that places pictures badly"
    s, t = pictures(1), BoxTask(['a'])
    f = all_formats()["jsonl"]
    Format('bad', f.kinds, f.read, f.write, ['labels.jsonl'], place='../{name}')
    try:
        with pytest.raises(DataError, match='leaves the folder'): write_labels(s, t, {s[0]['id']: []}, tmp_path/'o', 'bad')
    finally: del formats['bad']
    assert not list(tmp_path.iterdir())

def test_guide_of_a_foreign_task_opens_no_file(tmp_path):
    secret = tmp_path/'secret.md'
    secret.write_text('the password')
    s, t = Samples.from_rows([dict(text='a'), dict(text='b')]), ClassTask(['x', 'y'])
    write_labels(s, t, dict.fromkeys(s['id'].to_pylist(), 'x'), tmp_path/'o', 'jsonl')
    d = json.loads((tmp_path/'o/task.json').read_text())
    (tmp_path/'o/task.json').write_text(json.dumps(d | dict(guide=str(secret))))
    assert read_labels(tmp_path/'o').task.guide == str(secret)

@pytest.mark.parametrize('fmt', ['jsonl', 'csv', 'labelstudio', 'dataset'])
def test_store_with_decisions(tmp_path, fmt):
    "The reviewer's decision survives a round trip; else a format for one answer gets the decided one"
    s, t, store = Samples.from_rows([dict(text=x) for x in 'abc']), ClassTask(['x', 'y']), LabelStore(tmp_path/'l.db')
    a, b, c = s['id'].to_pylist()
    for who, *said in (('ana', 'x', 'x'), ('ben', 'x', 'x'), ('eve', 'y', 'y')):
        for i, v in zip((a, b), said): store.add(i, v, t, annotator=who)
    store.add(a, 'y', t, annotator='rev', kind='adjudicate')
    store.add(c, 'y', t, annotator='rev', kind='adjudicate')
    report = write_labels(s, t, store, tmp_path/'o', fmt)
    assert report[report.what == 'decided'].detail.tolist() == ['by a reviewer: 2 items, in place of 3 labels']
    imp, again = read_labels(tmp_path/'o'), LabelStore(tmp_path/'again.db')
    imp.into(again, annotator='file')
    assert again.decided(t) == store.decided(t) == {a: 'y', b: 'x', c: 'y'}
    assert to_dataset(s, t, store)['label'] == [1, 0, 1]

def test_store_without_labels(tmp_path):
    s, t = Samples.from_rows([dict(text='a')]), ClassTask(['x', 'y'])
    with pytest.raises(DataError, match='no labels'): write_labels(s, t, LabelStore(tmp_path/'l.db'), tmp_path/'o', 'jsonl')

def test_two_annotators_of_one_text(tmp_path):
    "One item for two annotators; an annotator who has a text twice, or nobody named, means two"
    def read(*rows):
        (tmp_path/'x.csv').write_text('text,label,annotator\n' + '\n'.join(rows))
        imp = read_labels(tmp_path/'x.csv', task=ClassTask(['p', 'n']))
        return imp.samples['text'].to_pylist(), imp.labels.groupby('item', sort=False).value.agg(list).tolist(), imp.report.what.tolist()
    assert read('hi,p,ana', 'hi,n,ben', 'bye,p,ana') == (['hi', 'bye'], [['p', 'n'], ['p']], [])
    assert read('hi,p,ana', 'hi,n,ana', 'hi,n,ben') == (['hi', 'hi'], [['p', 'n'], ['n']], ['same text'])
    assert read('hi,p,', 'hi,n,') == (['hi', 'hi'], [['p'], ['n']], ['same text'])

def test_overwrite_is_careful(tmp_path):
    "What we did not write stays; a failure leaves the old; file and folder do not replace each other"
    s, t = Samples.from_rows([dict(text='a')]), ClassTask(['x', 'y'])
    v = {s[0]['id']: 'x'}
    def write(p, f=None, task=t): return write_labels(s, task, v, p, f, overwrite=True)
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine/thesis').write_text('work')
    with pytest.raises(DataError, match='task.json'): write(tmp_path/'mine', 'jsonl')
    assert (tmp_path/'mine/thesis').read_text() == 'work'
    with pytest.raises(DataError, match='is a file'): write(tmp_path/'mine/thesis', 'jsonl')
    (tmp_path/'g.csv').mkdir()
    with pytest.raises(DataError, match='is a folder'): write(tmp_path/'g.csv')
    for p in ('.', '/', '..'):
        with pytest.raises(DataError, match='no name for labels'): write(p, 'jsonl')
    with pytest.raises(DataError, match='nothing can be written'): write(tmp_path/'mine/thesis/o', 'jsonl')
    write(tmp_path/'new/deep/o', 'jsonl')
    write(tmp_path/'new/x.csv')
    write(tmp_path/'new/x.csv')
    write(tmp_path/'new/deep/o', 'csv')
    assert sorted(p.name for p in (tmp_path/'new').rglob('*')) == ['deep', 'labels.csv', 'o', 'task.json', 'x.csv']

def test_failed_overwrite_leaves_the_old(tmp_path, monkeypatch):
    import os
    s, t = Samples.from_rows([dict(text='a')]), ClassTask(['x', 'y'])
    write_labels(s, t, {s[0]['id']: 'x'}, tmp_path/'o', 'jsonl')
    def no(*a): raise OSError('disk is full')
    monkeypatch.setattr(os, 'replace', no)
    with pytest.raises((OSError, DataError), match='full'): write_labels(s, t, {s[0]['id']: 'y'}, tmp_path/'o', 'jsonl', overwrite=True)
    monkeypatch.undo()
    assert read_labels(tmp_path/'o').labels.value.tolist() == ['x'] and [p.name for p in tmp_path.iterdir()] == ['o']

@pytest.mark.parametrize('case', CASES)
def test_dataset_and_with_labels_agree(case, tmp_path):
    "Two ways to a typed column, one schema, one content"
    s, t, values = CASES[case](random.Random(3))
    store = LabelStore(tmp_path/'l.db')
    for i, v in values.items(): store.add(i, v, t, annotator='ana')
    joined, ds = s.with_labels(t, store), to_dataset(s, t, values)
    assert joined.features == ds.features and joined.table.schema.types == ds.data.schema.types
    name = next(c for c in ('label', 'labels', 'objects', 'spans') if c in ds.column_names)
    assert joined[name].to_pylist() == ds.data[name].to_pylist()
    assert sorted(map(repr, read_labels(ds).labels.value)) == sorted(map(repr, values.values()))

def test_wrong_options_and_kinds(tmp_path):
    s, t = Samples.from_rows([dict(text='a')]), ClassTask(['x', 'y'])
    v = {s[0]['id']: 'x'}
    write_labels(s, t, v, tmp_path/'o', 'jsonl')
    with pytest.raises(DataError, match="jsonl has no option 'origin'"): read_labels(tmp_path/'o', origin=1)
    with pytest.raises(DataError, match="csv has no option 'origin'"): write_labels(s, t, v, tmp_path/'x.csv', origin=1)
    with pytest.raises(DataError, match="voc has no option 'orign' - did you mean 'origin'"):
        write_labels(pictures(1), BoxTask(['a']), {}, tmp_path/'v', 'voc', orign=1)
    class Rating(ClassTask): kind = 'rating'
    try:
        with pytest.raises(DataError, match='coco does not hold rating, only boxes: no format does'):
            write_labels(s, Rating(['1', '2']), v, tmp_path/'r', 'coco')
    finally: Rating.kinds.pop('rating', None)
    with pytest.raises(DataError, match='is no task'): write_labels(s, 'c', v, tmp_path/'r', 'csv')
    for wrong in (None, [1]):
        with pytest.raises(DataError, match='labels are'): write_labels(s, t, wrong, tmp_path/'r', 'csv')

def test_light_import():
    code = 'import sys, pretrain_notes.annotate.formats as f; ' \
           'bad = {"torch", "fastai", "datasets", "transformers"} & set(sys.modules); print(sorted(bad))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

def test_formats_are_loaded_when_looked_up():
    "The frame imports no family; looking a format up loads all of them, and none of the heavy packages"
    code = 'import sys; from pretrain_notes.annotate.formats import read_labels; from pretrain_notes.annotate.interchange import all_formats, formats; ' \
           'before = sorted(formats); all_formats(); bad = {"torch", "fastai", "datasets", "transformers"} & set(sys.modules); ' \
           'print(before, sorted(formats), sorted(bad))'
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert said.stdout.strip() == "[] ['coco', 'conll', 'csv', 'dataset', 'jsonl', 'labelstudio', 'voc', 'yolo'] []", said.stderr

def test_line_errors_say_where(tmp_path):
    "Files and lines are attributes; a reader that goes line by line says the line that it is at"
    notes = Notes()
    for b, line in ((b'[1,\n2,]', 2), (b'{"a":\n\n"\xff"}', 3), (b'[' * 100_000, 1)):
        with pytest.raises(LineError) as e: load_json(b, 'x.json', notes)
        assert (e.value.where, e.value.line) == ('x.json', line) and str(e.value) == f'x.json, line {line}, {e.value.why}'
    (tmp_path/'x.jsonl').write_bytes(b'{"text": "a", "label": "x"}\n\n{"text": NaN}\n"\xff"\n')
    report = read_labels(tmp_path/'x.jsonl', task=ClassTask(['x', 'y'])).report
    assert report['where'].tolist() == ['x.jsonl line 3', 'x.jsonl line 4']
    assert [d.split(', is')[0] for d in report.detail] == ['x.jsonl, line 3', 'x.jsonl, line 4']
