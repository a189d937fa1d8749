"""Scores of answers, against figures of the official scripts of SQuAD 1.1 and MLQA.

`squad_scores.json` has made-up answers to pieces of the packaged sample texts: found, true answers, exact match, F1. The figures come from
a copy of rajpurkar's evaluate-v1.1.py in another repository, with the same scoring functions (English; the original file was not at hand), and
facebookresearch/MLQA@5ef5c73 (Chinese), run once; their code is not here."""
import json
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from conftest import ROOT
from pretrain_notes.base import DataError
from pretrain_notes.transfer.text_scores import answer_words, squad_each

GOLD = json.loads((ROOT/'tests/squad_scores.json').read_text(encoding='utf-8'))

@pytest.mark.parametrize('lang', ['en', 'zh'])
def test_official(lang):
    rows = GOLD[lang]
    assert len(rows) == 200 and 20 < sum(r[2] for r in rows) < 120
    em, f1 = squad_each([r[0] for r in rows], [r[1] for r in rows], lang)
    assert np.abs(em - [r[2] for r in rows]).max() == 0 and np.abs(f1 - [r[3] for r in rows]).max() < 1e-12

@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(['en', 'zh', 'mlqa_en', 'ar', 'de', 'hi', 'es', 'vi']))
def test_bounds(a, b, lang):
    em, f1 = squad_each([a, b, a], [[b], [a], [a]], lang)
    assert ((0 <= f1) & (f1 <= 1)).all() and np.isin(em, [0, 1]).all() and em[0] == em[1] or not (a and b)
    assert em[2] == 1
    if answer_words(a, lang): assert f1[2] == 1

def test_no_answer():
    em, f1 = squad_each(['', 'x', 'the', ''], [[''], [''], [''], ['x']])
    assert em.tolist() == [1, 0, 1, 0] and f1.tolist() == [1, 0, 1, 0]

def test_several_answers():
    assert [v.tolist() for v in squad_each(['b c'], [['a', 'b c d', 'b c']])] == [[1], [1]]

@pytest.mark.parametrize('found,truth,why', [(['a'], [], 'cannot be scored'), (['a'], ['a'], 'list of true answers'), (['a'], [[]], 'list of true answers')])
def test_wrong_use(found, truth, why):
    with pytest.raises(DataError, match=why): squad_each(found, truth)
    with pytest.raises(DataError, match='no rules'): answer_words('a', 'klingon')
