"""Other people's files: situations from public reports, each with its source; right is the label on the right thing, or no label and a note."""
import json, math
from pathlib import Path
import pytest
from PIL import Image
from pretrain_notes.annotate.formats import read_labels
from pretrain_notes.annotate.tasks import BoxTask, ClassTask, SpanTask
from pretrain_notes.base import DataError, digest
from pretrain_notes.samples import Samples

def picture(path, size=(40, 20), turned=None, color=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    im, e = Image.new('RGB', size, color), Image.Exif()
    if turned: e[0x0112] = turned
    im.save(path, **(dict(exif=e) if turned else {}))
    return path

def write(path, what):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what if isinstance(what, bytes) else (what if isinstance(what, str) else json.dumps(what)).encode('utf-8', 'surrogatepass'))
    return path

def said(r):
    "File or text of each item to its answers"
    s = r.samples
    names, out = dict(zip(s['id'].to_pylist(), s['source' if 'source' in s.columns else 'text'].to_pylist())), {}
    for i, v in zip(r.labels['item'], r.labels['value']): out.setdefault(names[i], []).append(v)
    return out

def noted(r): return set(zip(r.report.what, r.report.effect))
def one(label, *box): return [[dict(label=label, box=list(box))]]
def span(label, start, end): return dict(label=label, start=start, end=end)

def coco(root, images, annotations, categories=((1, 'cat'),)):
    anns = [dict(id=n, image_id=i, category_id=c, bbox=b) for n, (i, c, b) in enumerate(annotations)]
    return write(root/'annotations.json', dict(images=images, annotations=anns, categories=[dict(id=i, name=n) for i, n in categories]))

def xml(filename, *objects, size=None):
    made = ''.join(f'<object><name>{n}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
                   for n, x, y, x2, y2 in objects)
    stated = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>' if size else ''
    return f'<annotation>{f"<filename>{filename}</filename>" if filename else ""}{stated}{made}</annotation>'

def yolo(root, lines, yaml='names: [cat, dog]\n', **kw):
    picture(root/'images'/'a.png', **kw)
    write(root/'data.yaml', yaml); write(root/'labels'/'a.txt', lines)
    return read_labels(root, 'yolo')

def choice(who, *what, on='text', **kw): return dict(type='choices', from_name=who, to_name=on, value=dict(choices=list(what)), **kw)
def marked(start, end, text, label='x', on='text'):
    return dict(type='labels', from_name='l', to_name=on, value=dict(start=start, end=end, text=text, labels=[label]))
def studio(root, *tasks, **kw):
    made = [dict(id=n, data=d, annotations=[dict(result=list(rs))]) for n, (d, *rs) in enumerate(tasks)]
    return read_labels(write(root/'e.json', made), 'labelstudio', **kw)

# --- ids ---

@pytest.mark.parametrize('ids', [(1., 2.), (12345678901234567890, 12345678901234567891), (10**400, 10**400 + 1), (True, False), (None, None), ([1], [2])])
def test_ids_that_are_no_keys(tmp_path, ids):
    """Source: dbolya/yolact#156 (ids through pandas), tidwall/gjson#29 (long ids are rounded)"""
    for n, name in enumerate('ab'): picture(tmp_path/f'{name}.png', color=(n, 0, 0))
    coco(tmp_path, [dict(id=i, file_name=f'{n}.png') for i, n in zip(ids, 'ab')], [(i, 1, [k, 1, 5, 5]) for k, i in enumerate(ids)])
    with pytest.raises(DataError, match='holds no item that can be read'): read_labels(tmp_path, 'coco')

def test_ids_of_two_types(tmp_path):
    """Source: cvat-ai/cvat#298, zylo117/Yet-Another-EfficientDet-Pytorch#60: ids of images are texts, those in the annotations numbers"""
    picture(tmp_path/'a.png')
    coco(tmp_path, [dict(id='1', file_name='a.png')], [(1, 1, [1, 1, 5, 5])])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {} and {('no image', 'left out'), ('empty', 'left out')} <= noted(r)          # not "nothing there"

def test_image_id_of_two_pictures(tmp_path):
    """Source: obss/sahi#98, neuroinformatics-unit/ethology#40: one id for two pictures; nobody can tell whose the boxes are"""
    for n, name in enumerate('abc'): picture(tmp_path/f'{name}.png', color=(n, 0, 0))
    coco(tmp_path, [dict(id=1, file_name='a.png'), dict(id=1, file_name='b.png'), dict(id=2, file_name='c.png')],
         [(1, 1, [1, 1, 5, 5]), (2, 1, [2, 2, 5, 5])])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {'c.png': one('cat', 2, 2, 5, 5)} and ('image id twice', 'left out') in noted(r)

def test_one_name_for_two_pictures(tmp_path):
    """Source: ashnair1/COCO-Assistant#25: merged sets that both count their files from 0"""
    picture(tmp_path/'0.png')
    coco(tmp_path, [dict(id=1, file_name='0.png', width=40, height=20), dict(id=2, file_name='0.png', width=99, height=50)],
         [(1, 1, [1, 1, 5, 5]), (2, 1, [2, 2, 5, 5])])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {'0.png': one('cat', 1, 1, 5, 5)} and {('image twice', 'kept'), ('another size', 'left out')} <= noted(r)

def test_category_id_of_two_names(tmp_path):
    """Source: SkalskiP/make-sense#136: merged files that both count their categories from 1"""
    picture(tmp_path/'a.png')
    coco(tmp_path, [dict(id=1, file_name='a.png')], [(1, 1, [1, 1, 5, 5]), (1, 2, [2, 2, 5, 5])], [(1, 'cat'), (1, 'car'), (2, 'dog')])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {'a.png': one('dog', 2, 2, 5, 5)} and ('category id twice', 'left out') in noted(r)

@pytest.mark.parametrize('suffix', ['jsonl', 'csv'])
def test_one_id_for_two_texts(tmp_path, suffix):
    """Source: argilla-io/argilla#5699, argilla-io/argilla#5616: subsets that each count from 0, put together"""
    rows = [(0, 'first', 'x'), (1, 'other', 'x'), (0, 'second', 'y'), (0, 'first', 'x')]
    text = '\n'.join(json.dumps(dict(id=i, text=t, label=l)) for i, t, l in rows) if suffix == 'jsonl' else \
        'id,text,label\n' + '\n'.join(f'{i},{t},{l}' for i, t, l in rows)
    r = read_labels(write(tmp_path/f'l.{suffix}', text))
    assert said(r) == dict(first=['x', 'x'], other=['x'], second=['y']) and {('id twice', 'kept'), ('claimed twice', 'kept')} <= noted(r)

def test_one_id_for_two_tasks(tmp_path):
    """Source: averbis/averbis-python-api#118: all documents got the same id"""
    made = [dict(id=7, data=dict(text=t), annotations=[dict(result=[choice('c', l)])]) for t, l in (('first', 'x'), ('second', 'y'))]
    assert said(read_labels(write(tmp_path/'e.json', made))) == dict(first=['x'], second=['y'])

def test_an_id_of_ours_with_another_content(tmp_path):
    """Source: argilla-io/argilla#3757: the record under an id was changed after the export"""
    s = Samples.from_rows([dict(text='good'), dict(text='bad')])
    i, task = s['id'][0].as_py(), ClassTask(['x', 'y'])
    for row in (dict(id=i, text='changed'), dict(id=i, digest=digest('changed')), dict(id=i, digest=digest('changed'), text='changed')):
        r = read_labels(write(tmp_path/'l.jsonl', json.dumps(row | dict(label='x'))), samples=s, task=task)
        assert len(r.labels) == 0 and 'left out' in set(r.report.effect)
    r = read_labels(write(tmp_path/'l.jsonl', json.dumps(dict(id=i, digest=digest('bad'), label='x'))), samples=s, task=task)
    assert said(r) == dict(bad=['x'])                                                               # the content decides
    r = read_labels(write(tmp_path/'l.jsonl', json.dumps(dict(id=i, digest=i, text='changed', label='x'))), task=task)
    assert 'source_id' in r.samples.columns and ('another text', 'kept') in noted(r)

# --- names ---

def test_the_picture_that_exists(tmp_path):
    """Source: weecology/DeepForest#157 (stale <filename>), HumanSignal/label-studio-converter#106 (no suffix), HumanSignal/labelImg#126 (dots)"""
    for n, name in enumerate(('a.png', 'b.png', 'hello.world.png')): picture(tmp_path/'JPEGImages'/name, color=(n, 0, 0))
    files = dict(a=('old name.png', 'cat'), b=('b', 'dog'), hello=('hello.world.png', 'fox'))
    for stem, (filename, label) in files.items(): write(tmp_path/f'Annotations/{stem}.xml', xml(filename, (label, 2, 2, 9, 9)))
    r = read_labels(tmp_path)
    assert said(r) == {f'JPEGImages/{n}.png': one(l, 2, 2, 7, 7) for n, l in (('a', 'cat'), ('b', 'dog'), ('hello.world', 'fox'))}
    assert ('another name', 'kept') in noted(r)

def test_two_files_for_one_picture(tmp_path):
    """Source: CVHub520/X-AnyLabeling#1206: a copy of an annotation still names the first picture"""
    picture(tmp_path/'JPEGImages'/'a.png')
    for stem in ('a', 'a (copy)'): write(tmp_path/f'Annotations/{stem}.xml', xml('a.png', ('cat', 2, 2, 9, 9)))
    r = read_labels(tmp_path)
    assert r.report[r.report.what == 'claimed twice'].detail.tolist() == ['a (copy).xml answers for it, too']

def test_yolo_one_file_for_two_pictures(tmp_path):
    """Source: ultralytics/yolov5#10632 (labels go by stem): a.png and a.jpg are two pictures"""
    picture(tmp_path/'images'/'a.jpg', color=(5, 5, 5))
    r = yolo(tmp_path, '0 .5 .5 .2 .2\n')
    assert said(r) == {} and ('claimed twice', 'left out') in noted(r)

def test_yolo_label_file_in_another_split(tmp_path):
    """Source: ultralytics/ultralytics#8451 (garbage left from an earlier split): the picture's own file counts"""
    picture(tmp_path/'images'/'train'/'a.png')
    write(tmp_path/'labels'/'valid'/'a.txt', '1 .5 .5 .4 .4\n'); write(tmp_path/'labels'/'train'/'a.txt', '0 .5 .5 .2 .2\n')
    write(tmp_path/'data.yaml', 'names: [cat, dog]\n')
    r = read_labels(tmp_path)
    assert said(r) == {'images/train/a.png': one('cat', 16, 8, 8, 4)} and ('no picture', 'left out') in noted(r)

def test_voc_folders_of_other_names(tmp_path):
    """Source: cvat-ai/cvat#1658 and the folders of many public sets: xmls/ beside images/, XML beside its picture, one name in two splits"""
    picture(tmp_path/'a/images/1.png'); write(tmp_path/'a/xmls/1.xml', xml('1.png', ('cat', 2, 2, 9, 9)))
    for p in ('a', 'a/xmls'): assert said(read_labels(tmp_path/p)) == {'images/1.png': one('cat', 2, 2, 7, 7)}
    assert said(read_labels(tmp_path/'a/xmls/1.xml')) == {'images/1.png': one('cat', 2, 2, 7, 7)}
    for n, split in enumerate(('train', 'val')):
        picture(tmp_path/f'b/{split}/1.png', color=(n, 0, 0)); write(tmp_path/f'b/{split}/1.xml', xml('1.png', (split, 2, 2, 9, 9)))
    assert said(read_labels(tmp_path/'b')) == {f'{s}/1.png': one(s, 2, 2, 7, 7) for s in ('train', 'val')}
    picture(tmp_path/'c/pictures/1.png'); write(tmp_path/'c/gold/1.xml', xml(None, ('cat', 2, 2, 9, 9)))
    assert said(read_labels(tmp_path/'c/gold', 'voc')) == {'pictures/1.png': one('cat', 2, 2, 7, 7)}

def test_two_formats_in_one_folder(tmp_path):
    """Source: SkalskiP/make-sense#136: an export in each of several formats, put into one folder"""
    yolo(tmp_path, '0 .5 .5 .2 .2\n'); coco(tmp_path, [dict(id=1, file_name='images/a.png')], [(1, 1, [1, 1, 5, 5])])
    with pytest.raises(DataError, match='several formats .coco, yolo.: say format='): read_labels(tmp_path)
    assert said(read_labels(tmp_path, 'coco')) == {'images/a.png': one('cat', 1, 1, 5, 5)}

def test_names_of_main_files(tmp_path):
    """Source: ultralytics/yolov5#9194: the names stand in coco128.yaml; two such files are a question"""
    yolo(tmp_path, '0 .5 .5 .2 .2\n')
    (tmp_path/'data.yaml').rename(tmp_path/'coco128.yaml')
    assert said(read_labels(tmp_path)) == {'images/a.png': one('cat', 16, 8, 8, 4)}
    write(tmp_path/'other.yaml', 'names: [x]\n')
    with pytest.raises(DataError, match='several: coco128.yaml, other.yaml: give one'): read_labels(tmp_path)

# --- white space, byte order marks, line ends ---

def test_windows_leftovers(tmp_path):
    """Source: pjreddie/darknet#2391 (CR LF), shish/karakara#20 (BOM before the first name), ultralytics/ultralytics#8451"""
    picture(tmp_path/'images'/'a.png')
    write(tmp_path/'classes.txt', b'\xef\xbb\xbfcat\r\ndog \r\n\r\n'); write(tmp_path/'labels/a.txt', b'\xef\xbb\xbf0 .5 .5 .2 .2\r\n1 .5 .5 .2 .2\t\r\n')
    r = read_labels(tmp_path)
    assert r.task.classes == ['cat', 'dog'] and [s['label'] for s in said(r)['images/a.png'][0]] == ['cat', 'dog']
    write(tmp_path/'classes.txt', 'cat\n\ndog\n')
    with pytest.raises(DataError, match='classes.txt, line 2, is blank'): read_labels(tmp_path)

def test_voc_lists_and_names(tmp_path):
    """Source: fizyr/keras-retinanet#140 (a number after each name), theAIGuysCode/OIDv4_ToolKit#8 ('personal computer ')"""
    picture(tmp_path/'JPEGImages'/'a.png')
    write(tmp_path/'Annotations/a.xml', xml('\n a.png \n', ('personal computer ', 2, 2, 9, 9), ('\n  personal computer\n', 3, 2, 9, 9)))
    write(tmp_path/'ImageSets/Main/val.txt', b'\xef\xbb\xbfa -1\r\nmy photo  1\r\n')
    picture(tmp_path/'JPEGImages'/'my photo.png', color=(7, 7, 7)); write(tmp_path/'Annotations/my photo.xml', xml('my photo.png'))
    r = read_labels(tmp_path)
    assert r.samples.split_counts() == dict(valid=2) and said(r)['JPEGImages/my photo.png'] == [[]]
    assert read_labels(tmp_path, task=BoxTask([' personal computer'])).labels.value[0][0]['label'] == ' personal computer'
    assert r.task.classes == ['personal computer']

def test_csv_leftovers(tmp_path):
    """Source: benhoyt/goawk#126 (BOM), and a spreadsheet that saves empty columns and rows"""
    r = read_labels(write(tmp_path/'l.csv', b'\xef\xbb\xbftext, label ,,\r\na,x,,\r\nb, y,,\r\nc,y,,,\r\n,,,\r\n'))
    assert said(r) == dict(a=['x'], b=['y'], c=['y']) and r.task.classes == ['x', 'y']
    with pytest.raises(DataError, match="'label' stands twice"): read_labels(write(tmp_path/'l.csv', 'text,label,label\na,x,y\n'))

def test_wrong_encodings(tmp_path):
    """Source: StarRocks/starrocks#25881 (BOM) and what Excel calls Unicode text: UTF-16 and Latin-1 are refused by name"""
    for name, text in (('l.csv', 'text,label\ncafé,x\nb,y\n'), ('l.conll', 'café B-x\nb O\n'), ('l.jsonl', '{"text": "café", "label": "x"}\n')):
        for enc in ('utf-16', 'latin-1'):
            with pytest.raises(DataError, match='UTF'): read_labels(write(tmp_path/name, text.encode(enc)), {'l.conll': 'conll'}.get(name))
    picture(tmp_path/'images/a.png'); write(tmp_path/'classes.txt', 'gâteau\n'.encode('latin-1')); write(tmp_path/'labels/a.txt', '0 .5 .5 .2 .2\n')
    with pytest.raises(DataError, match='classes.txt, line 1, is not UTF-8'): read_labels(tmp_path, 'yolo')

def test_half_a_character_costs_one_item(tmp_path):
    """Source: explosion/spaCy#8418 (one bad line), and what an adversarial test found: one lone surrogate refused a whole file"""
    half = '\ud83d'
    r = studio(tmp_path, (dict(text='good'), choice('c', 'x')), (dict(text='bad' + half), choice('c', 'y')), (dict(text='fine'), choice('c', 'y')))
    assert said(r) == dict(good=['x'], fine=['y']) and ('half a character', 'left out') in noted(r)
    picture(tmp_path/'a.png')
    coco(tmp_path, [dict(id=1, file_name='a.png')], [(1, 1, [1, 1, 5, 5]), (1, 2, [2, 2, 5, 5])], [(1, 'cat'), (2, 'do' + half)])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {'a.png': one('cat', 1, 1, 5, 5)} and r.task.classes == ['cat']
    r = read_labels(write(tmp_path/'l.conll', b'Ana B-x\nran O\n\n\xed\xa0\xbd B-x\n\nBo B-x\n'))
    assert list(said(r)) == ['Ana ran', 'Bo']
    r = read_labels(write(tmp_path/'l.jsonl', '\n'.join(json.dumps(dict(text=t, label=l, annotator=a)) for t, l, a in
                                                        (('a', 'x', 'ana'), ('b', 'y', half), ('c', 'y', 'ana')))))
    assert said(r) == dict(a=['x'], c=['y'])

# --- CoNLL ---

CONLL = {
    'spaCy#8737: a blank in a token': ('Name _ O I-PER\nLast Name _ O I-PER\nhere _ O O\n', {'Name Last here': [[span('PER', 0, 4)]]}),
    'flair#1849: types without a prefix after a column of chunks':
        ('des d ART B-NC O\nEuropäischen europäisch ADJA I-NC ORG\nParlaments Parlament NN I-NC ORG\n', {'des Europäischen Parlaments': [[span('ORG', 4, 27)]]}),
    'CrossWeigh#4: -DOCSTART- at the end of a sentence': ('Ana NN B-NP B-PER\n-DOCSTART- -X- -X- O\n\n\nBo NN B-NP B-PER\n', {'Ana': [[span('PER', 0, 3)]], 'Bo': [[span('PER', 0, 2)]]}),
    'fastNLP#405': ('-DOCSTART- -X- O O\n\nRio NN O B-LOC\n', {'Rio': [[span('LOC', 0, 3)]]}),
    'conllu#54: a tab on blank lines': ('Ana\tB-PER\n\t\nBo\tB-PER\r\n\t\r\n', {'Ana': [[span('PER', 0, 3)]], 'Bo': [[span('PER', 0, 2)]]}),
    'mead-baseline#408: tokens that begin with #': ('# O\n#tag B-x\nrocks O\n', {'# #tag rocks': [[span('x', 2, 6)]]}),
    'norne#7: tags in the tenth column of CoNLL-U':
        ('1\tFinn\tFinn\tPROPN\t_\tG=M\t4\tnsubj\t_\tB-PER\n2\tEilertsen\tE\tPROPN\t_\t_\t2\tname\t_\tI-PER\n3\tavstår\ta\tVERB\t_\t_\t0\troot\t_\tO\n',
         {'Finn Eilertsen avstår': [[span('PER', 0, 14)]]}),
    'dkpro-core#762: GermEval counts its tokens':
        ('#\thttp://x.de [2009]\n1\tAufgrund\tO\tO\n2\tBerlins\tB-LOC\tO\n\n#\ty\n1\tDie\tO\tO\n2\tARD\tB-ORG\tO\n', None),
    'label-studio#556': ('-DOCSTART- -X- O\nPills -X- _ B-Drug\n200mg -X- _ O\n', {'Pills 200mg': [[span('Drug', 0, 5)]]}),
    'UniversalNER: five columns, the first counts':
        ('# sent_id = 1\n# text = Where is Rio?\n1\tWhere\tO\t-\t-\n2\tis\tO\t-\t-\n3\tRio\tB-LOC\t-\tana\n4\t?\tO\t-\t-\n', {'Where is Rio?': [[span('LOC', 9, 12)]]}),
    'brat#1222: lower-case types': ('ana B-per\nran O\n', {'ana ran': [[span('per', 0, 3)]]}),
    'lower-case tags': ('ana b-per\nlee i-per\nran o\n', {'ana lee ran': [[span('per', 0, 7)]]}),
    'suffix tags': ('Ana PER-B\nLee PER-I\nran O\n', {'Ana Lee ran': [[span('PER', 0, 7)]]}),
    'underscores': ('Ana B_PER\nLee I_PER\nran O\n', {'Ana Lee ran': [[span('PER', 0, 7)]]}),
    'white space around tabs': ('Ana \t B-PER\nran\tO\n', {'Ana ran': [[span('PER', 0, 3)]]}),
    'lower-case -docstart-': ('-docstart- -x- o\nana nn b-per\nran vb o\n', {'ana ran': [[span('per', 0, 3)]]}),
    'litbank#9: several tags at once': ('Ana B-PER\nof O\nRio B-PER|B-LOC\n\nRio B-PER|B-LOC\n', {'Ana of Rio': [[span('PER', 0, 3)]]}),
    'carriage returns alone': ('Ana B-PER\rran O\r\rBo B-PER\r', {'Ana ran': [[span('PER', 0, 3)]], 'Bo': [[span('PER', 0, 2)]]}),
    'no types': ('BRCA1 B\ngene I\nran O\n', {'BRCA1 gene ran': [[span('entity', 0, 10)]]}),
}

@pytest.mark.parametrize('case', CONLL)
def test_conll_of_others(tmp_path, case):
    """Source: explosion/spaCy#8737, flairNLP/flair#1849, ZihanWangKi/CrossWeigh#4, FudanNLP/fastNLP#405, EmilStenstrom/conllu#54,
    mead-ml/mead-baseline#408, ltgoslo/norne#7, dkpro/dkpro-core#762, HumanSignal/label-studio#556, nlplab/brat#1222, dbamman/litbank#9, UniversalNER"""
    text, right = CONLL[case]
    r = read_labels(write(tmp_path/'x.conll', text), 'conll')
    if right is not None: assert said(r) == right
    assert not any(c[:2].lower() in ('b-', 'i-', 'b_', 'i_') or c in ('B', 'I', '*', '_') for c in r.task.classes)
    if 'GermEval' in case: assert list(said(r)) == ['Aufgrund Berlins', 'Die ARD']

@pytest.mark.parametrize('text', [
    'bn/abc/00/abc_0009   0    9    the    DT    (NP*    -    -   -   -       *     -\nbn/abc/00/abc_0009   0   10    Mideast   NNP   *)  - - - - (LOC)  12)\n',
    '1\tDommer\tdommer\tNOUN\t_\tDefinite=Ind\t2\tnmod\t_\tname=O\n2\tFinn\tFinn\tPROPN\t_\tGender=Masc\t4\tnsubj\t_\tname=B-PER\n',
    '1\tEl\tel\tDET\t_\t_\t2\tdet\t_\tEntity=(e1-person\n2\tpresidente\tp\tNOUN\t_\t_\t0\troot\t_\tEntity=e1)\n',
    '1\tI\t-PRON-\tPRON\tPRP\tPronType=prs\t2\tnsubj\t_\t_\n2\tlike\tlike\tVERB\tVBP\tT=f\t0\tROOT\t_\tSpaceAfter=No\n',
    'It was a dark and stormy night.\nThe rain fell in torrents, except at O\noccasional intervals.\n', 'Ana BEGIN-PER\nLee IN-PER\nran O\n', 'label\ttext\nham\tGo until jurong point\nspam\tFree entry\n'])
def test_no_conll(tmp_path, text):
    """Source: sfu-natlang/glm-parser#32 (OntoNotes), ltgoslo/norne#7 and UniversalDependencies/UD_Spanish-AnCora#10 (names inside MISC),
    BramVanroy/spacy_conll#9 (a treebank), prose, a table: refused, whether guessed or asked for"""
    for name in ('x.txt', 'x.tsv', 'x.conll'):
        with pytest.raises(DataError): read_labels(write(tmp_path/name, text))
        with pytest.raises(DataError, match='token= and tag=|has a token'): read_labels(tmp_path/name, 'conll')

def test_conll_columns_are_asked_for(tmp_path):
    """Source: flairNLP/flair#3306 (columns by number): tag before token, and another column than the last"""
    p = write(tmp_path/'x.conll', 'B-x\tAna\nO\tran\n')
    with pytest.raises(DataError, match='token= and tag='): read_labels(p, 'conll')
    assert said(read_labels(p, 'conll', token=1, tag=0)) == {'Ana ran': [[span('x', 0, 3)]]}
    p = write(tmp_path/'y.conll', '1\tAna\tB-PER\tO\n2\tran\tO\tO\n')
    assert said(read_labels(p, 'conll', tag=2)) == {'Ana ran': [[span('PER', 0, 3)]]}
    with pytest.raises(DataError): read_labels(p, 'conll', tag=9)

def test_conll_refused_tags_are_no_answer(tmp_path):
    """Source: webanno/webanno#1617, ltgoslo/norne#7: a sentence of which no tag could be read is not one without names"""
    r = read_labels(write(tmp_path/'x.conll', 'Ana B-PER\nran O\n\nBo ?!\nran O\n\nnobody O\n'), 'conll')
    assert said(r) == {'Ana ran': [[span('PER', 0, 3)]], 'nobody': [[]]} and ('no answer', 'left out') in noted(r)

# --- names of classes in YAML ---

@pytest.mark.parametrize('yaml,names', [
    ('names: [on, off, y, n]\n', ['on', 'off', 'y', 'n']), ('names:\n  0: 1e3\n  1: 0x1F\n  2: .5\n', ['1e3', '0x1F', '.5']),
    ('names: [2024-01-01, ~, 1_000, " x "]\n', ['2024-01-01', '~', '1_000', 'x']), ('names:\n- true\n- "false"\n', ['true', 'false'])])
def test_yaml_names_are_texts(tmp_path, yaml, names):
    """Source: ultralytics/ultralytics#1633, schemathesis/schemathesis#4412, hugobloem/stateful_scenes#220"""
    assert yolo(tmp_path, '0 .5 .5 .2 .2\n', yaml).task.classes == names

@pytest.mark.parametrize('yaml,why', [('names:\n  0:person\n  1:bear\n', 'has no names'), ('names:\n  0: cat\n  0: dog\n', 'stands twice'),
    ('names:\n  cat: 0\n', 'numbers to names'), ('names: [[cat], dog]\n', 'numbers to names'), ('names: {}\n', 'has no names'),
    ('names: [cat]\nkpt_shape: 17\n', 'kpt_shape')])
def test_yaml_that_is_refused(tmp_path, yaml, why):
    """Source: ultralytics/ultralytics#639 (no blank after the colon), ultralytics/yolov5#9194, a number twice"""
    with pytest.raises(DataError, match=why): yolo(tmp_path, '0 .5 .5 .2 .2\n', yaml)

# --- pictures on their side ---

@pytest.mark.parametrize('turned', range(1, 9))
def test_coco_and_voc_on_turned_pictures(tmp_path, turned):
    """Source: voxel51/fiftyone#3778, HumanSignal/label-studio#6608, ryouchinsa/Rectlabel-support#167: stored or seen, told by the size"""
    seen = {1: [30, 5, 8, 10], 5: [5, 30, 10, 8], 6: [5, 30, 10, 8], 7: [5, 2, 10, 8], 8: [5, 2, 10, 8]}
    p = picture(tmp_path/'a.jpg', (40, 20), turned)
    def read(size, box, **kw):
        coco(tmp_path, [dict(id=1, file_name='a.jpg') | (dict(width=size[0], height=size[1]) if size else {})], [(1, 1, box)])
        x, y, w, h = box
        write(tmp_path/'Annotations/a.xml', xml('a.jpg', ('cat', x, y, x + w, y + h), size=size))
        a, b = (said(read_labels(tmp_path, f, **kw)).get('a.jpg') for f in ('coco', 'voc'))
        assert a == b
        return a
    assert read((40, 20), [30, 5, 8, 10]) == (one('cat', *seen[turned]) if turned in seen else None)
    if turned > 4: assert read((20, 40), seen[turned]) == one('cat', *seen[turned])
    assert read((80, 40), [30, 5, 8, 10]) is None and read((41, 20), [30, 5, 8, 10]) is None
    assert (read(None, [3, 5, 8, 10]) is None) == (turned != 1)
    assert read(None, [3, 5, 8, 10], frame='upright') == one('cat', 3, 5, 8, 10)
    if turned in seen: assert read(None, [30, 5, 8, 10], frame='stored') == one('cat', *seen[turned])
    assert p.exists()

def test_a_size_that_the_shapes_belie(tmp_path):
    """Source: HumanSignal/label-studio#6608: the export states the stored size, and boxes of the picture as it is seen"""
    picture(tmp_path/'a.jpg', (40, 20), 6)
    coco(tmp_path, [dict(id=1, file_name='a.jpg', width=40, height=20)], [(1, 1, [5, 30, 10, 8])])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {} and ('another size', 'left out') in noted(r)
    assert said(read_labels(tmp_path, 'coco', frame='upright')) == {'a.jpg': one('cat', 5, 30, 10, 8)}

def test_swapped_size_without_exif(tmp_path):
    """Source: fanq15/Few-Shot-Object-Detection-Dataset#21, md-121/yellow-sticky-traps-dataset#1: the size is wrong, nothing is turned"""
    picture(tmp_path/'a.png', (40, 20))
    coco(tmp_path, [dict(id=1, file_name='a.png', width=20, height=40)], [(1, 1, [1, 1, 5, 5])])
    r = read_labels(tmp_path, 'coco')
    assert said(r) == {} and ('another size', 'left out') in noted(r)
    write(tmp_path/'Annotations/a.xml', xml('a.png', ('cat', 1, 1, 6, 6), size=(0, 0)))               # 0 x 0 states nothing
    assert said(read_labels(tmp_path, 'voc')) == {'a.png': one('cat', 1, 1, 5, 5)}

def test_yolo_on_turned_pictures(tmp_path):
    """Source: roboflow/supervision#2577, AlexeyAB/Yolo_mark#107: shares of which frame? YOLO states no size"""
    picture(tmp_path/'images/a.jpg', (40, 20), 6); write(tmp_path/'data.yaml', 'names: [cat]\n'); write(tmp_path/'labels/a.txt', '0 .25 .5 .5 .2\n')
    r = read_labels(tmp_path)
    assert said(r) == {} and r.report[r.report.what == 'turned'].detail.str.contains("frame='upright'").all()
    assert said(read_labels(tmp_path, frame='upright')) == {'images/a.jpg': one('cat', 0, 16, 10, 8)}
    assert said(read_labels(tmp_path, frame='stored')) == {'images/a.jpg': one('cat', 8, 0, 4, 20)}
    with pytest.raises(DataError, match='frame is'): read_labels(tmp_path, frame='seen')

@pytest.mark.parametrize('size,box', [((20, 40), [2, 8, 4, 8]), ((40, 20), [8, 4, 8, 4]), ((200, 400), [2, 8, 4, 8]), ((30, 30), None)])
def test_label_studio_on_turned_pictures(tmp_path, size, box):
    """Source: HumanSignal/label-studio#6608: each result states the size that its percents are of (here 20 x 40 is seen, 40 x 20 stored)"""
    picture(tmp_path/'a.jpg', (40, 20), 6)
    r = studio(tmp_path, (dict(image='a.jpg'), dict(type='rectanglelabels', from_name='l', to_name='image', original_width=size[0], original_height=size[1],
                                                  value=dict(x=10, y=20, width=20, height=20, rotation=0, rectanglelabels=['cat']))))
    if size == (40, 20): box = [20 - 4 - 4, 4, 4, 8]                     # [4, 4, 8, 4] on the stored picture
    assert said(r).get('a.jpg') == (None if box is None else one('cat', *box))

# --- key points ---

@pytest.mark.parametrize('shape,line,right', [
    ('[3, 2]', '0 .5 .5 .2 .2 .4 .4 .5 .5 .6 .6', one('cat', 16, 8, 8, 4)), ('[1, 3]', '0 .5 .5 .2 .2 .4 .4 2', one('cat', 16, 8, 8, 4)),
    ('[2, 3]', '0 .5 .5 .2 .2', one('cat', 16, 8, 8, 4)), ('[2, 3]', '0 .5 .5 .2 .2 .4 .4 2', None), (None, '0 .5 .5 .2 .2 .4 .4 2 .6 .6 2', None), (None, '0 .5 .5 .2 .2 .4 .4 1 .6 .6 0', None),
    (None, '0 .1 .1 .5 .1 .5 .5', [[dict(label='cat', points=[[4, 2], [20, 2], [20, 10]])]])])
def test_yolo_key_points(tmp_path, shape, line, right):
    """Source: HumanSignal/label-studio#6502, ultralytics/ultralytics#2066, open-edge-platform/geti#7420: a pose is a box and no outline"""
    r = yolo(tmp_path, line + '\n', 'names: [cat]\n' + (f'kpt_shape: {shape}\n' if shape else ''))
    assert said(r).get('images/a.png') == right
    if shape and right and len(line.split()) > 5: assert ('key points', 'left out') in noted(r)

# --- everything refused ---

@pytest.mark.parametrize('lines,right', [('0, 0.16, 0.59, 0.14, 0.44\n', None), ('0 320 240 50 40\n', None), ('cat .5 .5 .2 .2\n', None),
    ('0 .5 .5 nan .2\n', None), ('9 .5 .5 .2 .2\n', None), ('', [[]]), ('\n \n', [[]]), ('0 .5 .5 1.0004 1.0371\n', one('cat', 0, 0, 40, 20)),
    ('0 .5 .5 .2 .2\nx\n', one('cat', 16, 8, 8, 4))])
def test_yolo_lines_that_are_refused(tmp_path, lines, right):
    """Source: eriklindernoren/PyTorch-YOLOv3#644 (commas), ultralytics/yolov5#3656 (pixels), ultralytics/ultralytics#707 (names),
    HumanSignal/label-studio#5014 and ultralytics/ultralytics#13924 (a little above 1)"""
    assert said(yolo(tmp_path, lines)).get('images/a.png') == right

def test_refused_in_other_formats(tmp_path):
    """Source: HumanSignal/label-studio#3140 (negative height), explosion/spaCy#8418: of what was refused nothing is left, not even an empty answer"""
    picture(tmp_path/'a.png')
    rect = dict(type='rectanglelabels', from_name='l', to_name='image', value=dict(x=16, y=96, width=52, height=-60, rectanglelabels=['cat']))
    r = studio(tmp_path, (dict(image='a.png'), rect), (dict(image='a.png'),), task=BoxTask(['cat']))
    assert said(r) == {'a.png': [[]]}                                                               # that of the second task
    write(tmp_path/'Annotations/a.xml', '<annotation><object><name>cat</name></object></annotation>')
    assert said(read_labels(tmp_path, 'voc', task=BoxTask(['cat']))) == {}
    coco(tmp_path, [dict(id=1, file_name='a.png')], [(1, 7, [1, 1, 5, 5])])
    assert said(read_labels(tmp_path, 'coco')) == {}
    r = read_labels(write(tmp_path/'l.jsonl', '{"text": "Bob", "spans": [[0, 99, "PER"]]}\n{"text": "nobody", "spans": []}\n'), task=SpanTask(['PER']))
    assert said(r) == dict(nobody=[[]])
    r = read_labels(write(tmp_path/'l.jsonl', '{"text": "a", "labels": ["??"]}\n{"text": "b", "labels": []}\n'), task=ClassTask(['x', 'y'], multi=True))
    assert said(r) == dict(b=[[]])

def test_numbers_that_are_no_class(tmp_path):
    """Source: huggingface/datasets#613 (tags as ClassLabel) and -100 for "do not train on this": no class, and said, in every column"""
    from datasets import ClassLabel, Dataset, Features, List, Value
    tags, label = ClassLabel(names=['O', 'B-PER', 'I-PER']), ClassLabel(names=['x', 'y'])
    ds = Dataset.from_dict(dict(tokens=[['Ana', 'ran'], ['Bo', 'ran']], ner_tags=[[1, 0], [0, 0]]), Features(tokens=List(Value('string')), ner_tags=List(tags)))
    from pretrain_notes.annotate.formats_tables import _dataset_answer
    row = dict(tokens=['Ana', 'ran'], text='Ana ran')
    assert str(_dataset_answer('spans', 'ner_tags', [-100, -100], tags.names, row)) == '[refused]'
    assert _dataset_answer('classes', 'labels', [0, 7, None], label.names, {}) == ['x', 'class number 7', 'class number None']
    assert [v for v in read_labels(ds).labels.value] == [[span('PER', 0, 3)], []]
    r = read_labels(write(tmp_path/'l.jsonl', '{"text": "a", "labels": [null, "x"]}\n{"text": "b", "labels": [null]}\n'), task=ClassTask(['x', 'y'], multi=True))
    assert said(r) == dict(a=[['x']]) and {('no class', 'left out'), ('no answer', 'left out')} <= noted(r)

# --- Label Studio ---

def test_label_studio_controls(tmp_path):
    """Source: HumanSignal/label-studio#719, #7011: two questions are two answers"""
    tasks = [(dict(text='first'), choice('spam', 'yes'), choice('toxic', 'no')), (dict(text='second'), choice('spam', 'no'), choice('toxic', 'yes'))]
    assert said(studio(tmp_path, *tasks)) == dict(first=['yes'], second=['no'])
    r = studio(tmp_path, *tasks, control='toxic')
    assert said(r) == dict(first=['no'], second=['yes']) and ('another control', 'left out') in noted(r)
    with pytest.raises(DataError, match="did you mean 'toxic'"): studio(tmp_path, *tasks, control='toxik')
    with pytest.raises(DataError, match="asks for spans: these are results of 'spam', control= reads another"): studio(tmp_path, *tasks, task=SpanTask(['x']))

def test_label_studio_choices_of_regions(tmp_path):
    """Source: HumanSignal/label-studio#3706: a choice about one box is no answer about the picture"""
    picture(tmp_path/'a.png')
    def region(i, *rest): return [dict(id=i, type='rectanglelabels', from_name='box', to_name='image',
                                       value=dict(x=10, y=10, width=20, height=20, rectanglelabels=['car'])), *rest]
    r = studio(tmp_path, (dict(image='a.png'), *region('r1', choice('state', 'moving', on='image', id='r1'), choice('color', 'red', on='image', id='r1'))))
    assert said(r) == {'a.png': one('car', 4, 2, 8, 4)} and ('not read', 'left out') in noted(r)

def test_label_studio_two_controls_of_shapes(tmp_path):
    """Source: HumanSignal/label-studio#251: boxes of one control, polygons of another, on one picture"""
    picture(tmp_path/'a.png')
    box = dict(type='rectanglelabels', from_name='bbox', to_name='img', value=dict(x=10, y=10, width=20, height=20, rectanglelabels=['rough']))
    poly = dict(type='polygonlabels', from_name='poly', to_name='img', value=dict(points=[[0, 0], [50, 0], [50, 50]], polygonlabels=['crisp']))
    r = studio(tmp_path, (dict(image='a.png'), box, poly))
    assert said(r) == {'a.png': one('rough', 4, 2, 8, 4)} and ('another control', 'left out') in noted(r)
    r = studio(tmp_path, (dict(image='a.png'), box, poly), control='poly')
    assert said(r) == {'a.png': [[dict(label='crisp', points=[[0, 0], [20, 0], [20, 10]])]]}


TEXTS = {'exact': ('Berlin is big', 0, 6, 'Berlin', (0, 6)), '#3078 white space is folded': ('Text: Berlin,  Germany.', 6, 22, 'Berlin, Germany', (6, 22)),
    '#1347 UTF-16': ('💩This is an annotation.', 13, 23, 'annotation', (12, 22)), '#539 line ends': ('a\r\nb\r\nMoscow', 4, 10, 'Moscow', (6, 12)),
    '#2007 beyond the end': ('so it ends', 8, 12, 'ends', (6, 10)), '#4929 escaped line ends': ('one\ntwo', 0, 7, 'one\\ntwo', (0, 7)),
    'several may be meant': ('a b a b', 1, 2, 'a', None), 'nowhere': ('hello world', 0, 5, 'other', None)}

@pytest.mark.parametrize('case', TEXTS)
def test_label_studio_stated_texts(tmp_path, case):
    """Source: HumanSignal/label-studio#3078, #1347, #539, #2007, #4929, HumanSignal/label-studio-converter#37"""
    text, a, b, stated, right = TEXTS[case]
    r = studio(tmp_path, (dict(text=text), marked(a, b, stated)), task=SpanTask(['x']))
    assert said(r) == ({text: [[span('x', *right)]]} if right else {})
    assert right or ('another text', 'left out') in noted(r)

def test_label_studio_which_text(tmp_path):
    """Source: PaddlePaddle/PaddleNLP#7918, HumanSignal/label-studio-converter#37 (value="$r_TEXT"): the object says it, the spans say it, or you do"""
    data = dict(title='short', body='a long body', author='ana')
    assert said(studio(tmp_path, (data, marked(2, 6, 'long', on='body')))) == {'a long body': [[span('x', 2, 6)]]}
    assert said(studio(tmp_path, (data, marked(2, 6, 'long', on='t')))) == {'a long body': [[span('x', 2, 6)]]}
    other = dict(text='hello there', content='so hello again, world')                    # the object is called as another key
    assert said(studio(tmp_path, (other, marked(3, 8, 'hello', on='text'), marked(16, 21, 'world', on='text')))) == {other['content']: [[span('x', 3, 8), span('x', 16, 21)]]}
    assert said(studio(tmp_path, (data, choice('c', 'yes', on='body')), (dict(title='no body'), choice('c', 'no', on='body')), task=ClassTask(['yes', 'no']))) == {'a long body': ['yes']}
    two = [(data, choice('c', 'yes', on='t')), (data | dict(body='b'), choice('c', 'no', on='t'))]
    with pytest.raises(DataError, match='data=, one of title, body, author'): studio(tmp_path, *two)
    assert said(studio(tmp_path, *two, data='body')) == {'a long body': ['yes'], 'b': ['no']}
    with pytest.raises(DataError, match="did you mean 'body'"): studio(tmp_path, *two, data='bodi')

# --- JSON Lines of Prodigy and doccano ---

def test_prodigy_answers(tmp_path):
    """Source: kororo/excelcy#5, explosion/spaCy#6380 (accept and reject in an export of Prodigy): a proposal that was rejected is no label"""
    rows = [dict(text=a, spans=[dict(start=0, end=1, label='X')], answer=a) for a in ('accept', 'reject', 'ignore')]
    r = read_labels(write(tmp_path/'l.jsonl', '\n'.join(map(json.dumps, rows))))
    assert said(r) == dict(accept=[[span('X', 0, 1)]]) and ('rejected', 'left out') in noted(r)
    rows = [dict(text=t, label='SPAM', answer=a) for t, a in (('a', 'accept'), ('b', 'reject'))]
    assert said(read_labels(write(tmp_path/'l.jsonl', '\n'.join(map(json.dumps, rows))), task=ClassTask(['SPAM', 'HAM']))) == dict(a=['SPAM'])

@pytest.mark.parametrize('key', ['label', 'labels', 'entities', 'spans'])
def test_doccano_nothing_there(tmp_path, key):
    """Source: doccano/doccano#1444, #1795, explosion/spaCy#8418: a list without anything is an answer, whatever the list is of"""
    made = [[0, 2, 'ORG']] if key in ('label', 'labels') else [dict(start_offset=0, end_offset=2, label='ORG')]
    for rows in ([dict(text='nothing', **{key: []}), dict(text='EU is', **{key: made})], [dict(text='EU is', **{key: made}), dict(text='nothing', **{key: []})]):
        assert said(read_labels(write(tmp_path/'l.jsonl', '\n'.join(map(json.dumps, rows))))) == {'EU is': [[span('ORG', 0, 2)]], 'nothing': [[]]}
    r = read_labels(write(tmp_path/'l.jsonl', json.dumps(dict(text='nothing', **{key: []}))), task=SpanTask(['ORG']))
    assert said(r) == dict(nothing=[[]])
    r = read_labels(write(tmp_path/'l.jsonl', '{"text": "a", "label": ["x"]}\n{"text": "b", "label": []}\n{"text": "c", "label": ["y"]}\n'))
    assert said(r) == dict(a=[['x']], b=[[]], c=[['y']])
