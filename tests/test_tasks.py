"""Tasks hold against hostile names, guidelines and answers."""
import json, re
import pytest
from pretrain_notes.annotate.tasks import ACTIONS, BoxTask, ClassTask, SpanTask, Task, allocate_keys, bounds_of, guide_html, show_label
from pretrain_notes.base import DataError
from pretrain_notes.samples import Samples

nasty = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "';alert(1)//", '{{7*7}}', '=1+1', '\u202eevil', '../../etc/passwd', 'שלום',
         '𠮷野家', '👨‍👩‍👧', 'a\nb', '&lt;b&gt;']

def naughty(data_dir):
    return [s for s in json.loads((data_dir/'bad/text/blns.json').read_text(encoding='utf-8')) if s.strip()]

def inert(html):
    "No element of the text's own, no handler, no link that runs"
    tags = set(re.findall(r'<\s*/?\s*([a-zA-Z][a-zA-Z0-9]*)', html))
    return not tags & {'script', 'img', 'iframe', 'object', 'style', 'link', 'meta', 'form', 'base', 'embed'} and not re.search(r'<[^>]*\son\w+\s*=', html) \
        and not re.search(r'<[^>]*(href|src)=["\']?\s*(javascript|data:text|vbscript)', html, re.I)

def test_guide_is_inert():
    for s in nasty + ['[x](javascript:alert(1))', '[x](JaVaScRiPt:alert(1))', '<a href="javascript:alert(1)">x</a>', '![x](https://e.example/x.png)',
                      '[x](data:text/html,<script>alert(1)</script>)', '<https://e.example/"onmouseover="alert(1)>', '[a]: javascript:alert(1)\n\n[a]',
                      '<svg onload=alert(1)>', '<style>*{display:none}</style>']:
        assert inert(guide_html(f'text {s}\n\n{s}')), s

def test_naughty_strings(data_dir):
    strings = naughty(data_dir)
    assert len(strings) > 400 and all(inert(guide_html(s)) for s in strings)
    task = SpanTask(dict.fromkeys(strings))
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task and inert(task._repr_html_().replace('<details', '').replace('<kbd', ''))
    for s in strings[::7]:
        rows = Samples.from_rows([dict(text=s)])
        value = task.snap([dict(label=s, start=0, end=1)], s)
        assert inert(show_label(rows, 0, task, value).html)

@pytest.mark.parametrize('n', [2, 10, 11, 30, 150, 10_000])
def test_keys_never_clash(n):
    keys = allocate_keys([f'class {i}' for i in range(n)])
    assert len(set(keys.values())) == len(keys) and not set(keys.values()) & set(ACTIONS.values())
    assert len(keys) == n or len(keys) > 30

@pytest.mark.parametrize('value', [None, 3, 'x', [3], [None], [{}], [dict(label='a')], [dict(label='a', start=0)], [dict(label='b', start=0, end=1)],
    [dict(label='a', start=1, end=1)], [dict(label='a', start=-1, end=1)], [dict(label='a', start=0, end=1.5)], [dict(label='a', start=True, end=2)],
    [dict(label='a', start=0, end='1')], [dict(label=['a'], start=0, end=1)], {}, [[0, 1]]])
def test_no_spans(value):
    with pytest.raises(DataError): SpanTask(['a']).check(value, dict(text='text'))

@pytest.mark.parametrize('value', [None, 3, 'x', [3], [{}], [dict(label='a')], [dict(label='b', box=[0, 0, 1, 1])], [dict(label='a', box=[0, 0, 1])],
    [dict(label='a', box=[0, 0, -1, 1])], [dict(label='a', box=[0, 0, float('inf'), 1])], [dict(label='a', box=[0, 0, 1, 1], points=[[0, 0]] * 3)],
    [dict(label='a', points=[[0, 0], [1, 1]])], [dict(label='a', points=[[0], [1], [2]])], [dict(label='a', points=3)], [dict(label='a', box='0011')],
    [dict(label='a', box=None)], [dict(label=None, box=[0, 0, 1, 1])]])
def test_no_shapes(value):
    with pytest.raises(DataError): BoxTask(['a']).check(value)

@pytest.mark.parametrize('value', [None, 3, 'c', ['a'], {}, float('nan')])
def test_no_class(value):
    with pytest.raises(DataError): ClassTask(['a', 'b']).check(value)
    if value != ['a']:
        with pytest.raises(DataError): ClassTask(['a', 'b'], multi=True).check(value)

def test_from_dict_of_anything():
    for d in (None, 3, [], {}, dict(kind=[], classes=['a'], guide='', name='x'), dict(kind='class', classes=3, guide='', name='x'),
              dict(kind='class', classes='ab', guide='', name='x'), dict(kind='class', classes=['a'], guide='', name='x')):
        with pytest.raises(DataError): Task.from_dict(d)

def test_a_description_opens_no_file(tmp_path):
    "A guideline that was written down is text, whatever it looks like."
    (tmp_path/'secret.md').write_text('SECRET')
    d = dict(kind='class', classes=['a', 'b'], name='x', guide=str(tmp_path/'secret.md'))
    assert Task.from_dict(d).guide == d['guide'] and ClassTask(['a', 'b'], guide=d['guide']).guide == 'SECRET'
    (tmp_path/'guide.md').write_text('The rules are on the wiki: labels.md')
    for t in (ClassTask(['a', 'b'], guide=tmp_path/'guide.md'), ClassTask(['a', 'b'], guide=tmp_path/'guide.md', multi=True)):
        assert Task.from_dict(t.to_dict()) == t and type(Task.from_dict(t.to_dict()).guide) is str
    for guide in (None, 5, tmp_path/'secret.md', ['x']):
        with pytest.raises(DataError, match='its guide is a text'): Task.from_dict(d | dict(guide=guide))

def test_a_subclass_is_no_new_kind():
    class Mine(ClassTask):
        def __init__(self, classes, extra, **kw): super().__init__(classes, **kw)
    assert Task.kinds['class'] is ClassTask and Task.from_dict(ClassTask(['a', 'b']).to_dict()) == ClassTask(['a', 'b']) == Mine(['a', 'b'], 1)

@pytest.mark.parametrize('bad', [dict(classes={'cat', 'dog'}), dict(classes=None), dict(classes=5), dict(name=' '), dict(name=''), dict(name='n' * 1001),
    dict(keys=['a']), dict(colors='red')])
def test_no_task(bad):
    with pytest.raises(DataError): ClassTask(**dict(classes=['cat', 'dog']) | bad)

def test_answers_stay_on_their_item():
    text = Samples.from_rows([dict(text='👨‍👩‍👧李白')])
    spans, boxes = SpanTask(['a']), BoxTask(['a'])
    assert bounds_of(text, 0, spans) == dict(text='👨‍👩‍👧李白') and bounds_of(text, 0, ClassTask(['a', 'b'])) == {}
    for value in ([dict(label='a', start=1, end=2)], [dict(label='a', start=0, end=99)]):
        with pytest.raises(DataError, match='span 0'): show_label(text, 0, spans, value)
    with pytest.raises(DataError, match='span 0: 1 to 99 is no range'): spans.snap([dict(label='a', start=1, end=99)], 'abc')
    with pytest.raises(DataError, match='these samples have none'): show_label(text, 0, boxes, [dict(label='a', box=[0, 0, 1, 1])])
    with pytest.raises(DataError, match='there is no row 999'): show_label(text, 999, spans)
    broken = Samples.from_rows([dict(image=dict(bytes=b'no picture', path=None))])
    with pytest.raises(DataError, match='cannot be read'): bounds_of(broken, 0, boxes)
