"""Spans and tokens: every span comes back or is named, in any script; entity scores equal seqeval's in both of its definitions"""
import json, random
from itertools import combinations
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st
from pretrain_notes.base import DataError
from pretrain_notes.batch.tokenizers import train_tokenizer
from pretrain_notes.markup import to_html
from pretrain_notes.transfer.spans import checked_spans, entity_scores, marked_spans, show_spans, spans_of_tags, tag_runs, tag_tokens

HARD = ['Zoë 住在北京。', '我爱🏳️‍🌈和👩‍💻!', 'مرحبا بالعالم in Cairo', 'e\u0301clair naïve', 'ABC123', 'one\r\ntwo\r\n\r\nthree', ' two  spaces\ta tab ', 'क्षत्रिय', '𝔘𝔫𝔦 x² ½',
        'a\u200bb\u200dc', '\ufeffBOM', 'nul\x00here', 'PARIS and paris', 'ﬁancé ﬀ']

@pytest.fixture(scope='module')
def tokenizers():
    lower = train_tokenizer(HARD * 4, 'wordpiece', vocab_size=400, lowercase=True)           # strips accents: its text is shorter than ours
    return {**{k: train_tokenizer(HARD * 4, k, vocab_size=400) for k in ('wordpiece', 'bpe', 'unigram', 'bytes')}, 'lower': lower}

@pytest.mark.parametrize('kind', ['wordpiece', 'bpe', 'unigram', 'bytes', 'lower'])
def test_every_span_comes_back_or_is_named(tokenizers, kind):
    rng, t = random.Random(kind), tokenizers[kind]
    for text in HARD:
        offsets = t(text, return_offsets_mapping=True)['offset_mapping']
        for _ in range(150):
            cuts = sorted(rng.choices(range(len(text) + 1), k=4))
            spans = [dict(start=a, end=b, label=l) for (a, b), l in zip((cuts[:2], cuts[2:]), 'XY') if text[a:b].strip()]
            got = tag_tokens(text, spans, offsets)
            back = {(s['start'], s['end'], s['label']) for s in spans_of_tags(got.tags, offsets, text)}
            for s in checked_spans(text, spans)[0]:
                a = s['start'] + len(text[s['start']:s['end']]) - len(text[s['start']:s['end']].lstrip())
                b = a + len(text[s['start']:s['end']].strip())
                assert ((a, b, s['label']) in back) != (s in got.inexact)
            assert len(got.tags) == len(offsets) and not got.left_out

def test_bytes_express_everything(tokenizers):
    for text in HARD:
        offsets = tokenizers['bytes'](text, return_offsets_mapping=True)['offset_mapping']
        for a, b in combinations(range(len(text) + 1), 2):
            if text[a:b].strip(): assert not tag_tokens(text, [dict(start=a, end=b, label='X')], offsets).inexact, (text, a, b)

@given(st.lists(st.sampled_from(['O', 'B-A', 'I-A', 'B-B', 'I-B']), max_size=12))
@settings(max_examples=300, deadline=None)
def test_runs_are_in_order_and_apart(tags):
    for strict in (False, True):
        runs = tag_runs(tags, strict)
        assert all(a < b for a, b, _ in runs) and all(r[1] <= n[0] for r, n in zip(runs, runs[1:]))
        assert all(tags[a][0] == 'B' for a, *_ in runs) or not strict
    assert set(tag_runs(tags, True)) <= set(tag_runs(tags)) | {(a, b, l) for a, b, l in tag_runs(tags, True)}
    inside = {i for a, b, _ in tag_runs(tags) for i in range(a, b)}
    assert inside == {i for i, t in enumerate(tags) if t != 'O'}                              # the forgiving rule loses no tag

def test_scores_equal_seqeval():
    "tests/entity_scores.json: tags of WNUT17, perturbed by a seed, and what seqeval's own functions say of them (chakki-works/seqeval at cd01b52)."
    g = json.loads((Path(__file__).parent/'entity_scores.json').read_text(encoding='utf-8'))
    true, found = ([r.split() for r in g[k]] for k in ('true', 'found'))
    for name, strict in (('default', False), ('strict', True)):
        got = entity_scores(true, found, strict)
        for k, v in g[name].items(): assert abs(got[k] - v) < 1e-12, (name, k)
    assert abs(g['default']['f1'] - g['strict']['f1']) > .005                                 # the two do differ here

@pytest.mark.parametrize('span,word', [(dict(start=3, end=1), 'inverted'), (dict(start=0, end=99), 'outside'), (dict(start=-2, end=3), 'outside'),
                                       (dict(start=2, end=2), 'empty'), (dict(start=3, end=4), 'empty')])
def test_impossible_spans_are_named(span, word):
    good, said = checked_spans('Ann met Bob', [span | dict(label='P')])
    assert not good and word in said[0]

@pytest.mark.parametrize('span', [dict(start=0, end=3), dict(start='0', end=3, label='P'), dict(start=0, end=None, label='P'), dict(label='P'), None, 'Ann', dict(start=0., end=3., label='P')])
def test_what_is_no_span_is_named(span):
    good, said = checked_spans('Ann met Bob', [span, dict(start=8, end=11, label='P')])
    assert len(good) == 1 and len(said) == 1 and 'is no span' in said[0]

def test_a_span_across_another_is_named():
    good, said = checked_spans('Ann met Bob', [dict(start=0, end=7, label='A'), dict(start=4, end=11, label='B')])
    assert [s['label'] for s in good] == ['A'] and 'overlaps' in said[0]

def test_shown_text_is_escaped():
    html = to_html(show_spans([('<script>x</script> 猫', [dict(start=19, end=20, label='"><b>')])]))
    assert '<script>' not in html and '"><b>' not in html and '猫' in html
    assert to_html(marked_spans('ab', [])) == 'ab'

def test_other_lengths_are_refused():
    with pytest.raises(DataError, match='same tokens'): entity_scores([['O', 'O']], [['O']])
