"""Make the small frozen sample in pretrain_notes/assets/sample/: texts.jsonl, speech.parquet, SHA256SUMS.

Texts come from tools/sample_texts_en.txt and _zh.txt; speech is synthesized by espeak-ng.
    python tools/make_sample.py --check     parse the texts, compare with what is shipped, write nothing (needs the standard library only)
    python tools/make_sample.py             write texts.jsonl and SHA256SUMS
    python tools/make_sample.py --speech    also synthesize speech.parquet (apt-get install espeak-ng; needs numpy, scipy, pyarrow)
The same sources, and the same versions of espeak-ng, scipy and pyarrow, give the same bytes.
"""
import argparse, hashlib, io, json, re, subprocess, tempfile, wave
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

tools = Path(__file__).resolve().parent
out = tools.parent/'pretrain_notes/assets/sample'
topics = 'weather food travel health sport technology'.split()
span_labels = 'PERSON PLACE DATE ORG'.split()
_markup = re.compile(r'\[([A-Z]+):([^\[\]]+)\]')

# ---- texts
def parse_line(s):
    "`'On [DATE:1 May] ...'` to the plain text and its spans, counted in Unicode code points."
    text, spans, at = '', [], 0
    for m in _markup.finditer(s):
        text += s[at:m.start()]
        spans.append(dict(start=len(text), end=len(text)+len(m[2]), label=m[1]))
        text, at = text+m[2], m.end()
    return text+s[at:], spans

def parse_texts(path, lang):
    "All rows of one source file, in its order."
    rows, group = [], None
    for n, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if line.startswith('## '): group = line[3:].strip()
        elif line and not line.startswith('# '):
            topic, _, s = line.partition(': ')
            text, spans = parse_line(s)
            assert group and topic in topics, f'{path.name}:{n}: no document above, or not a topic: {topic!r}'
            rows.append(dict(text=text, lang=lang, label=topic, spans=spans, group=group))
    return rows

def _shingles(text, n): return {text[i:i+n] for i in range(max(1, len(text)-n+1))}

_dates_en = re.compile(r'\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\b(?:19|20)\d\d\b|'
    r'\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b')
_dates_zh = re.compile(r'(?:星期|周|週|礼拜)[一二三四五六日天](?!.?期)|(?:[正一二三四五六七八九十]|十[一二])月(?:[初一二三四五六七八九十]+日?)?|\d{4}年')

def untagged(rows):
    "Names and dates that stand in a text outside every span: each is a fault of the sources."
    names = {r['text'][s['start']:s['end']] for r in rows for s in r['spans'] if s['label'] != 'DATE'}
    for r in rows:
        inside = {i for s in r['spans'] for i in range(s['start'], s['end'])}
        found = [m for n in names for m in re.finditer(re.escape(n), r['text'])]
        found += (_dates_en if r['lang'] == 'en' else _dates_zh).finditer(r['text'])
        yield from ((m[0], r['text']) for m in found if not set(range(m.start(), m.end())) <= inside)

def is_simplified(text):
    "Whether every character is in GB 2312, the standard for simplified Chinese."
    try: return bool(text.encode('gb2312'))
    except UnicodeEncodeError: return False

def check_texts(rows):
    "Everything the README promises about the texts."
    assert len(rows) == 240 and Counter(r['lang'] for r in rows) == dict(en=120, zh=120)
    assert set(Counter((r['lang'], r['label']) for r in rows).values()) == {20}
    assert len({r['group'] for r in rows}) == 24 and all(r['group'].startswith(r['lang']) for r in rows)
    assert set(Counter(r['group'] for r in rows).values()) == {10}
    assert len({r['text'] for r in rows}) == 240
    for r in rows:
        t, spans = r['text'], r['spans']
        assert t == t.strip() and t.isprintable() and not set('[]') & set(t), t
        assert len(spans) <= 3, t
        assert r['lang'] == 'en' or ' ' not in t, t
        for s in spans:
            assert s['label'] in span_labels and 0 <= s['start'] < s['end'] <= len(t), (t, s)
            w = t[s['start']:s['end']]
            assert w == w.strip() and w, (t, s)
            if r['lang'] == 'en':  # a span ends where a word ends
                assert not t[s['start']-1:s['start']].isalnum() and not t[s['end']:s['end']+1].isalnum(), (t, s)
        assert all(a['end'] <= b['start'] for a, b in zip(spans, spans[1:])), t
    assert not (bad := sorted(set(untagged(rows)))), bad
    kinds = defaultdict(set)
    for r in rows:
        for s in r['spans']: kinds[r['text'][s['start']:s['end']]].add(s['label'])
    assert all(len(k) == 1 for k in kinds.values()), kinds
    assert sum(not is_simplified(r['text']) for r in rows if r['lang'] == 'zh') == 12
    return max_similarity(rows)

def max_similarity(rows):
    "The highest Jaccard similarity of two texts of one language (character 4-grams for English, 2-grams for Chinese), with the pair."
    best = (0., '', '')
    for lang, n in (('en', 4), ('zh', 2)):
        sets = [(r['text'], _shingles(r['text'].lower(), n)) for r in rows if r['lang'] == lang]
        best = max(best, max((len(a & b)/len(a | b), s, t) for (s, a), (t, b) in combinations(sets, 2)))
    assert best[0] < .25, best
    return best

def texts_jsonl(rows): return ''.join(json.dumps(r, ensure_ascii=False)+'\n' for r in rows).encode()

def all_texts():
    "The 240 rows: English first, then Chinese."
    return parse_texts(tools/'sample_texts_en.txt', 'en') + parse_texts(tools/'sample_texts_zh.txt', 'zh')

# ---- speech
rate = 8000
words = dict(en='zero one two three four five six seven eight nine'.split(), cmn=list('零一二三四五六七八九'))
# Debian's espeak-ng reads Chinese characters wrongly (it has no dictionary for them), so Mandarin is spoken from pinyin
spoken = dict(en=words['en'], cmn='ling2 yi1 er4 san1 si4 wu3 liu4 qi1 ba1 jiu3'.split())
espeak_voice = dict(en='en', cmn='cmn-latn-pinyin')
# language, espeak-ng variant, pitch (0-99), speed (words a minute): twelve voices, none shared by the two languages
voices = [('en', 'm1', 40, 150), ('en', 'm3', 55, 175), ('en', 'm7', 30, 160), ('en', 'f1', 60, 165), ('en', 'f3', 75, 150),
    ('en', 'f5', 50, 185), ('cmn', 'm2', 45, 160), ('cmn', 'm4', 30, 145), ('cmn', 'm6', 60, 175), ('cmn', 'f2', 65, 150),
    ('cmn', 'f4', 50, 170), ('cmn', 'steph', 75, 160)]

def trim(x, quiet=.02, pad=.02):
    "Drop what is quieter than `quiet` of the peak at both ends, but for `pad` seconds."
    import numpy as np
    loud = np.flatnonzero(abs(x) > quiet*abs(x).max())
    return x[max(0, loud[0]-int(pad*rate)):loud[-1]+int(pad*rate)]

def synthesise(lang, variant, pitch, speed, word):
    "One spoken word as the bytes of a WAV file: 8 kHz, mono, 16 bit, peak at -3 dB."
    import numpy as np
    from scipy.signal import resample_poly
    with tempfile.TemporaryDirectory() as d:
        wav = f'{d}/a.wav'
        voice = f'{espeak_voice[lang]}+{variant}'
        subprocess.run(['espeak-ng', '-v', voice, '-p', str(pitch), '-s', str(speed), '-w', wav, word], check=True)
        with wave.open(wav) as w:
            assert (w.getframerate(), w.getnchannels(), w.getsampwidth()) == (22050, 1, 2)
            x = np.frombuffer(w.readframes(w.getnframes()), '<i2').astype('float64')
    x = trim(resample_poly(x, 160, 441))
    buf = io.BytesIO()
    with wave.open(buf, 'wb') as w:
        w.setnchannels(1); w.setsampwidth(2); w.setframerate(rate)
        w.writeframes((x/abs(x).max()*.7*32767).round().astype('<i2').tobytes())
    return buf.getvalue()

def speech_rows():
    for v in voices:
        lang, variant = v[:2]
        for digit in range(10):
            wav = synthesise(*v, spoken[lang][digit])
            audio = dict(bytes=wav, path=f'{lang}_{variant}_{digit}.wav')
            yield dict(audio=audio, label=digit, text=words[lang][digit], lang=lang, group=f'{lang}_{variant}')

def write_speech(path):
    "The spoken digits as Parquet, with the column types that `datasets` reads from the schema."
    import pyarrow as pa, pyarrow.parquet as pq
    value = dict(dtype='string', _type='Value')
    label = dict(names=list('0123456789'), _type='ClassLabel')
    features = dict(audio=dict(sampling_rate=rate, _type='Audio'), label=label, text=value, lang=value, group=value)
    audio = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    fields = [('audio', audio), ('label', pa.int64()), *((k, pa.string()) for k in ('text', 'lang', 'group'))]
    schema = pa.schema(fields, metadata={'huggingface': json.dumps(dict(info=dict(features=features)))})
    rows = list(speech_rows())
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression='zstd', compression_level=19)
    seconds = sum((len(r['audio']['bytes'])-44)/2/rate for r in rows)
    version = subprocess.run(['espeak-ng', '--version'], capture_output=True, text=True).stdout.split('  ')[0]
    print(f'{path.name}: {len(rows)} clips, {seconds:.1f} s, {path.stat().st_size:,} bytes, {version}')

# ---- all of it
def write_sums():
    files = sorted(p for p in out.iterdir() if p.is_file() and p.name != 'SHA256SUMS')
    (out/'SHA256SUMS').write_text(''.join(f'{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n' for p in files))

def check_sums():
    for line in (out/'SHA256SUMS').read_text().splitlines():
        digest, name = line.split('  ')
        assert hashlib.sha256((out/name).read_bytes()).hexdigest() == digest, f'{name} differs from SHA256SUMS'

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--check', action='store_true', help='write nothing; fail if what is shipped differs from the sources')
    ap.add_argument('--speech', action='store_true', help='synthesize speech.parquet too')
    a = ap.parse_args()
    rows = all_texts()
    sim, *pair = check_texts(rows)
    spans = Counter((r['lang'], s['label']) for r in rows for s in r['spans'])
    points = sum(len(r['text']) for r in rows)
    print(f'texts: {len(rows)} rows, {points:,} code points, {sum(spans.values())} spans {dict(sorted(spans.items()))}')
    print(f'most alike: {sim:.2f} {pair}')
    if a.check:
        assert (out/'texts.jsonl').read_bytes() == texts_jsonl(rows), 'texts.jsonl differs from its sources: run tools/make_sample.py'
        check_sums()
    else:
        out.mkdir(parents=True, exist_ok=True)
        (out/'texts.jsonl').write_bytes(texts_jsonl(rows))
        if a.speech: write_speech(out/'speech.parquet')
        write_sums()
    print(*(f'{p.name} {p.stat().st_size:,}' for p in sorted(out.iterdir())), sep='\n')

if __name__ == '__main__': main()
