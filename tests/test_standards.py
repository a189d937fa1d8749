"""Standards from the outside: hints that name what exists, rules that say why they did not apply, columns of any name in Croissant."""
import inspect, json, re
from pathlib import Path
import pyarrow as pa, pytest
from pretrain_notes.base import DataError
from pretrain_notes.datasets import digits, sample_texts, wine
from pretrain_notes.samples import Samples
from pretrain_notes.standards.check import check
from pretrain_notes.standards.croissant import compare_records, croissant_records, field_id, to_croissant, validate_croissant
from pretrain_notes.standards.rules import absences, all_rules
import pretrain_notes.data.all as face, pretrain_notes.transfer.pretrained as weights

ABOUT = dict(name='n', description='d', license='MIT', url='https://example.org', creator='x', version='1.0.0', datePublished='2024-01-01', citeAs='x')
SAMPLES = digits()[:3]                                                        # an instance: some names are attributes of one
KEYS = {"info['schema']", 'info', 'dataset_info', 'split', 'label', 'group', 'parent_id'}    # of the description and the table, not functions

def resolves(name):
    "Whether a name in backticks is there: through the face, on `Samples`, or as an option of a public function."
    if name in KEYS: return True
    first, *rest = re.sub(r'\(.*\)$', '', name).split('.')
    if name.endswith('='):
        fs = [f for f in [*vars(face).values(), *vars(Samples).values()] if inspect.isfunction(f)]
        return any(name[:-1] in inspect.signature(f).parameters for f in fs)
    o = SAMPLES if first == 'samples' else getattr(face, first, getattr(weights, first, None))
    for r in rest: o = getattr(o, r, None)
    return o is not None

def test_hints_name_what_exists():
    "Every name in backticks of a hint, and of a reason why a rule did not apply, is a function, a column or an option; every hint is there."
    own = [r for r in all_rules().values() if r.fn.__module__.startswith('pretrain_notes')]
    assert not [r.id for r in own if not r.hint]
    named = {r.id: re.findall(r'`([^`]+)`', r.hint) for r in own}
    assert not [(i, n) for i, ns in named.items() for n in ns if not resolves(n)]
    assert sum(map(bool, named.values())) == len(named), [i for i, ns in named.items() if not ns]
    reasons = re.findall(r'`([^`]+)`', ' '.join(f for f in map(inspect.getsource, absences.values())))
    assert reasons and not [n for n in reasons if not resolves(n)]
    assert not resolves('samples.mask_rows') and not resolves('no_such_function') and not resolves('no_such_option=')

@pytest.mark.parametrize('samples', [digits()[:60], wine(), sample_texts()[:40].drop('spans')], ids=['images', 'table', 'texts'])
def test_what_did_not_apply_is_said(samples):
    "As text and as HTML: each rule that did not apply, under its reason."
    r = check(samples, 'publish')
    assert r.not_applicable and {i for ids in r.reasons.values() for i in ids} == set(r.not_applicable)
    for shown in (str(r), r._repr_html_()):
        for i in r.not_applicable: assert i in shown
    for why in r.reasons: assert f'not applicable, {why}: ' in str(r)
    assert len(str(r).splitlines()) == 1 + len(r.reasons) and r.summary in str(r)

def saved(folder, columns):
    s = Samples(pa.table({'text': ['x', 'y'], **columns}), info=ABOUT)
    to_croissant(p := s.save(folder), s)
    return p, s

NAMES = ['word count', 'turn id', 'a/b', '"quoted"', "it's", '词数', 'æøå', '100 %', 'a#b?c', '<x>', 'a:b', 'back\\slash', 'tab\tname', 'a|b', '{x}', '$.x', 'a%20b', ' lead',
         'emoji 😀', '@type', 'https://x.y/z', '?@% ++ ()', 'new\nline']

@pytest.mark.parametrize('name', NAMES)
def test_columns_of_any_name(tmp_path, name):
    """mlcroissant accepts the file and gives both rows, whatever the column is called.
    Source: huggingface/dataset-viewer#3220 (spaces in ids), mlcommons/croissant#584, mapcentia/geocloud2#21 (spaces and æøå), nocodb/nocodb#6073 (`?@% ++ ()`)"""
    p, s = saved(tmp_path/'o', {name: [1, 2]})
    assert compare_records(p, s) == 2 and not validate_croissant(p).findings
    assert {r[name] for r in croissant_records(p)} == {1, 2}

@pytest.mark.parametrize('name', ['turn id', 'a/b', '词', 'a.b', 'it"s', "it's"])
@pytest.mark.parametrize('listed', [False, True])
def test_parts_of_any_name(tmp_path, name, listed):
    """Parts of a column need an id and a JSON path. Source: huggingface/dataset-viewer#3220 (`turn id` in `history`)"""
    rows = [{name: 1, 'z': 2}, {name: 3, 'z': 4}]
    p, s = saved(tmp_path/'o', dict(history=[[r] for r in rows] if listed else rows))
    assert compare_records(p, s) == 2

def test_ids_differ():
    "Two columns never get one id."
    assert len({field_id(n) for n in NAMES}) == len(NAMES) and field_id('a b') != field_id('a%20b')

def test_labels_and_splits_of_any_name(tmp_path):
    rows = [dict(text=f'text {i}', label=l, split=sp) for i, (l, sp) in enumerate([('ice cream', 'train'), ('a/b "c"', 'train'), ('冰', 'test')])]
    s = Samples.from_rows(rows, info=ABOUT)
    to_croissant(p := s.save(tmp_path/'o'), s)
    assert compare_records(p, s) == 3 and {r['name'] for r in croissant_records(p, 'classes')} == {'ice cream', 'a/b "c"', '冰'}

def test_first_guesses(tmp_path):
    "What a newcomer tries first is refused with what to do next."
    from PIL import Image
    from pretrain_notes.standards.card import write_card
    from pretrain_notes.standards.croissant import publish
    import pretrain_notes.readers
    for i in range(3): Image.new('L', (8, 8), 40 * i).save(tmp_path/f'{i}.png')
    with pytest.raises(DataError, match=r'from_folder\(path, labeled=False\)'): Samples.from_folder(tmp_path)
    assert len(Samples.from_folder(tmp_path, labeled=False)) == 3
    with pytest.raises(DataError, match='Samples.from_pandas'): check(wine().to_pandas())
    (tmp_path/'a.csv').write_text('text\nx\n')
    with pytest.raises(DataError, match='Samples.from_csv'): check(tmp_path/'a.csv')
    with pytest.raises(DataError, match='the samples come first'): publish(tmp_path, wine())
    with pytest.raises(DataError, match='comes first'): write_card(wine(), tmp_path)

# ---------------------------------------------------------------- models
def encoder_folder(path, **about):
    from pretrain_notes.pretrain.encoders import make_encoder
    from pretrain_notes.pretrain.weights import save_encoder
    encoder = make_encoder('small', 1, 8)
    if about: encoder.about = about
    return save_encoder(path, encoder)

def classifier_folder(path, **about):
    from pretrain_notes.trained import ImageClassifier, build_network
    recipe = dict(library='pretrain_notes', architecture='small', channels=1, size=8, mean=[.5], std=[.5])
    return ImageClassifier(build_network(recipe, 2), recipe, ['a', 'b'], 8, 'L', about=about).save(path)

UNKNOWN = dict(weights='efficientnet_lite0', license_of_weights='UNKNOWN')

def test_model_of_weights_without_license(tmp_path):
    "What `train` and `save_encoder` write says which weights a model began with; an unknown license is found, one that can be read is not."
    for i, (folder, found) in enumerate([(encoder_folder(tmp_path/'e', name='efficientnet_lite0', license='UNKNOWN'), True),
            (encoder_folder(tmp_path/'f', name='x', license='Apache-2.0'), False), (encoder_folder(tmp_path/'g'), False), (encoder_folder(tmp_path/'h', name='x'), True),
            (classifier_folder(tmp_path/'c', **UNKNOWN), True), (classifier_folder(tmp_path/'d', weights=None, license_of_weights=None), False),
            (classifier_folder(tmp_path/'s'), True)]):
        r = check(folder)
        assert [f.rule for f in r.findings] == ['PN114'] * found and r.ok and list(r.not_applicable) == [], i
        assert check(folder, 'publish').ok != found and ('nothing wrong' in repr(r)) != found
        assert json.loads(r.to_json())['rows'] == 0 and 'PN114' in r.to_sarif() and r._repr_html_() and (not found or 'license' in r.findings[0].message)

def test_check_of_a_model_as_a_command(tmp_path):
    from typer.testing import CliRunner
    from pretrain_notes.cli import app
    r = CliRunner().invoke(app, ['check', str(classifier_folder(tmp_path/'c', **UNKNOWN))])
    assert r.exit_code == 0 and 'PN114' in r.output and 'efficientnet_lite0' in r.output
    assert CliRunner().invoke(app, ['check', str(tmp_path/'c'), '--profile', 'publish']).exit_code == 1

@pytest.mark.parametrize('config', [b'', b'[]', b'{"format": 1}', b'{"pretrain_notes": []}', b'\xff', b'[' * 100_000])
def test_folders_that_are_no_model_of_ours(tmp_path, config):
    (tmp_path/'model.safetensors').write_bytes(b''); (tmp_path/'config.json').write_bytes(config)
    with pytest.raises(DataError, match='no readable data'): check(tmp_path)

@pytest.mark.parametrize('about', [[], 'x', dict(weights=['a', {}], license_of_weights=[1]), dict(weights='x' * 10**5, license_of_weights='y' * 10**5), dict(weights=1, license_of_weights=2)])
def test_strange_statements_of_a_model(tmp_path, about):
    (tmp_path/'model.safetensors').write_bytes(b'')
    (tmp_path/'config.json').write_text(json.dumps(dict(format='pretrain_notes image classifier', about=about)))
    found = check(tmp_path).findings
    assert [f.rule for f in found] == ['PN114'] and len(found[0].message) < 400 and 'could not be run' not in found[0].message

def test_rules_of_data_and_of_models():
    "A data set is not asked for weights, and a model not for rows; a rule that is asked for by name says why it does not apply."
    assert 'PN114' not in repr(check(SAMPLES, 'publish')) and 'data set' in check(SAMPLES, rules=['PN114']).not_applicable['PN114']
