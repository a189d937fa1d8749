"""Questions about texts: windows and offsets in every script, answers that are not where they say, the best places, and what is handed over."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from fastai.torch_core import set_seed
from pretrain_notes.base import DataError
from pretrain_notes.batch.tokenizers import train_tokenizer
from pretrain_notes.datasets import sample_texts
from pretrain_notes.pretrain.text_encoders import text_encoder
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.answers import (AnswerData, Answers, answer_dataloaders, answer_learner, answer_loss, best_places, checked_answers,
    export_answers, no_answer_threshold, place_scores, predict_answers, read_squad, sliding_window, sliding_window_answers, split_by_group, token_span)
from pretrain_notes.transfer.recipes import fit_head
from pretrain_notes.transfer.tuning import frozen, head_then_all

TEXTS = ['Tea came by sea, coffee over land.', '茶从海上来，咖啡从陆路来。', 'جاء الشاي عن طريق البحر.', 'Mixed 茶 and شاي with 👩‍👩‍👧 and e\u0301te\u0301.',
         'ＦＵＬＬ width ｗｏｒｄｓ\r\nand a second line', '\ufeffbom first', '𝒜 letter outside of the first plane, and 🇨🇳 flags']
KINDS = 'wordpiece', 'bpe', 'unigram', 'bytes'

def row(text, answer, start=None, question='Which one?'):
    at = text.find(answer) if start is None else start
    return dict(text=text, question=question, answers=dict(text=[answer], answer_start=[at]))

@pytest.fixture(scope='module')
def toks(): return {k: train_tokenizer(sample_texts()['text'].to_pylist() + TEXTS * 3, k, 600) for k in KINDS}

@pytest.fixture(scope='module')
def squad():
    rows = [row(r['text'], r['text'][s['start']:s['end']], s['start'], f'Which {s["label"]}?') | dict(group=r['group'])
            for r in sample_texts().table.to_pylist() for s in r['spans']]
    return split_by_group(Samples.from_rows(rows), test=2, valid=3)

@pytest.fixture(scope='module')
def learn(squad, toks):
    set_seed(0)
    dls = answer_dataloaders(squad, toks['bpe'], max_length=64, stride=12, bs=16, device='cpu')
    return answer_learner(dls, text_encoder('bert', toks['bpe'], size='nano', max_length=64))

# ---------------------------------------------------------------- characters, tokens, windows
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('text', TEXTS)
def test_every_character_comes_back(toks, kind, text):
    "Every answer of one or more characters lies inside its tokens, in every script and for every kind of tokenizer."
    spans = [(a, b) for a in range(len(text)) for b in (a + 1, a + 2, len(text)) if b <= len(text) and text[a:b].strip()]
    data = AnswerData.from_samples(Samples.from_rows([row(text, text[a:b], a) for a, b in spans]), toks[kind], 64, 16)
    said = set(data.findings.row)
    for k in np.flatnonzero(data.y[:, 0] > 0):
        (a, b), o = spans[data.row[k]], data.offsets[data.starts[k]:data.starts[k + 1]]
        begin, end = o[data.y[k, 0], 0], o[data.y[k, 1], 1]
        assert begin <= a and b <= end
        if data.row[k] not in said: assert text[begin:end].strip() == text[a:b].strip()
    seen = set(data.row[np.flatnonzero(data.y[:, 0] > 0)])
    assert all(i in seen or i in said for i in range(len(spans)))

@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=['Cs']), min_size=1, max_size=300), st.data())
def test_any_text(toks, text, data):
    a = data.draw(st.integers(0, len(text) - 1))
    b = data.draw(st.integers(a + 1, len(text)))
    w = AnswerData.from_samples(Samples.from_rows([row(text, text[a:b], a)]), toks['bytes'], 64, 8)
    assert int(w.lens.max()) <= 64
    for k in np.flatnonzero(w.y[:, 0] > 0):
        o = w.offsets[w.starts[k]:w.starts[k + 1]]
        assert o[w.y[k, 0], 0] <= a and b <= o[w.y[k, 1], 1]

def test_windows_cover_the_text(toks):
    "Nothing of a long text is lost, and neighbors share the stride."
    text = ' '.join(f'w{i}' for i in range(400))
    data = AnswerData.from_samples(Samples.from_rows([row(text, 'w399')]), toks['bpe'], 64, 20)
    covered = np.zeros(len(text), bool)
    for b, e in data.offsets[data.offsets[:, 0] >= 0]: covered[b:e] = True
    assert covered[[i for i, c in enumerate(text) if c != ' ']].all() and len(data) > 10
    one, two = (data.offsets[data.starts[k]:data.starts[k + 1]] for k in (0, 1))
    assert len({tuple(o) for o in one if o[0] >= 0} & {tuple(o) for o in two if o[0] >= 0}) == 20
    assert (data.y[:, 0] > 0).sum() >= 1

def test_inside_a_token_is_said(toks):
    data = AnswerData.from_samples(Samples.from_rows([row('tea tea unforgettable', 'forget')]), train_tokenizer(['tea unforgettable'] * 9, 'wordpiece', 100), 64, 8)
    assert data.findings.what.tolist() in ([], ['ends inside a token'])
    assert token_span(np.array([[0, 5]]), 2, 4) == (0, 0) and token_span(np.array([[0, 5]]), 2, 7) is None

def test_an_answer_longer_than_a_window(toks):
    text = 'word ' * 300
    data = AnswerData.from_samples(Samples.from_rows([row(text, text.strip(), 0)]), toks['bpe'], 64, 8)
    assert data.findings.what.tolist() == ['in no window as a whole'] and not data.y[:, :2].any()

def test_long_questions_are_cut_and_said(toks):
    data = AnswerData.from_samples(Samples.from_rows([row('tea', 'tea', question='why ' * 500)]), toks['bpe'], 64, 8)
    assert data.findings.what.tolist() == ['the question is long'] and int(data.lens.max()) <= 64 and data.y[0, 0] > 0

def test_a_megabyte(toks):
    text = 'tea by sea. ' * 90_000
    data = AnswerData.from_samples(Samples.from_rows([row(text, 'tea', 12 * 80_000)]), toks['bpe'], 256, 32)
    assert len(data) > 1000 and (data.y[:, 0] > 0).sum() in (1, 2)

@pytest.mark.parametrize('kw', [dict(stride=40), dict(stride=-1), dict(stride=32)])
def test_stride(toks, squad, kw):
    with pytest.raises(DataError, match='stride'): AnswerData.from_samples(squad[:2], toks['bpe'], 64, **kw)

# ---------------------------------------------------------------- what the data say
@pytest.mark.parametrize('answer,start,left,what', [
    ('茶', 0, ['茶'], []), ('茶', 3, ['茶'], ['not at its offset']), ('来', 1, [], ['not at its offset, and more than once in the text', 'none of its answers is left']),
    ('水', 0, [], ['not in the text', 'none of its answers is left']), ('', 0, [], ['empty', 'none of its answers is left']),
    ('茶', -13, ['茶'], ['not at its offset']), ('茶', 10**9, ['茶'], ['not at its offset']), (TEXTS[1].encode().decode('cp1252', 'replace')[:3], 0, [], ['not in the text', 'none of its answers is left'])])
def test_checked(answer, start, left, what):
    good, found = checked_answers(Samples.from_rows([row(TEXTS[1], answer, start)]))
    assert [t for a in good['answers'].to_pylist() for t in a['text']] == left and found.what.tolist() == what
    assert all(TEXTS[1][s:s + 1] == '茶' for a in good['answers'].to_pylist() for s in a['answer_start'])

def test_questions_without_answer_stay():
    s = Samples.from_rows([row('tea', 'tea'), dict(text='tea', question='Why?', answers=dict(text=[], answer_start=[])), row(' ', 'x'), row('tea', 'tea', question=' ')])
    good, found = checked_answers(s)
    assert [a['text'] for a in good['answers'].to_pylist()] == [['tea'], []]
    assert {'the text is blank', 'the question is blank'} <= set(found.what)

def test_missing_columns():
    for f in (checked_answers, lambda s: AnswerData.from_samples(s, None)):
        with pytest.raises(DataError, match='no question'): f(Samples.from_rows([dict(text='a')]))
    with pytest.raises(DataError, match='no column answers'): sliding_window_answers(Samples.from_rows([dict(text='a', question='b')])).scores()

@pytest.mark.parametrize('src', [b'', b'{}', b'[1]', b'{"data": [{"paragraphs": [{"context": 1}]}]}', b'\xff\xfe', b'[' * 100_000, b'{"data": null}'])
def test_no_squad(src):
    with pytest.raises(DataError, match='not in the format of SQuAD'): read_squad(src)

@pytest.mark.parametrize('lang', ['en', 'zh'])
def test_xquad(data_dir, lang):
    "All answers are at their offsets, rows are the same questions in both languages, and articles split them."
    from pretrain_notes.datasets import load_samples
    s = load_samples(f'xquad_{lang}', path=data_dir)
    assert len(checked_answers(s)[1]) == 0 and len(set(s['group'].to_pylist())) == 48
    assert read_squad(data_dir/f'text/xquad/xquad.{lang}.json')['answers'].to_pylist() == s['answers'].to_pylist()
    parts, other = (split_by_group(load_samples(f'xquad_{l}', path=data_dir)).by_split() for l in (lang, 'en'))
    assert parts['test']['source_id'].to_pylist() == other['test']['source_id'].to_pylist()
    assert len(set(parts['test']['group'].to_pylist())) == 8 and not set(parts['test']['group'].to_pylist()) & set(parts['train']['group'].to_pylist())

# ---------------------------------------------------------------- the baseline
@settings(max_examples=80, deadline=None)
@given(st.text(max_size=120), st.text(max_size=40))
def test_baseline_takes_anything(text, question):
    b, e, s = sliding_window(text, question)
    assert 0 <= b <= e <= len(text) and np.isfinite(s)

def test_baseline_looks_in_the_right_sentence():
    text = 'The mill was built in 1802. The bridge was built in 1911 by Ada Stone. The church is older.'
    b, e, _ = sliding_window(text, 'Who built the bridge?', longest=3)
    assert 27 <= b and e <= 71
    zh = '磨坊建于1802年。大桥由石匠建造。教堂更古老。'
    b, e, _ = sliding_window(zh, '谁建造了大桥？')
    assert zh.index('大桥') <= b and e <= zh.index('教堂')

# ---------------------------------------------------------------- places
def brute(logp, longest):
    l = len(logp)
    return max((float(logp[i, 0] + logp[j, 1]), i, j) for i in range(1, l) for j in range(i, min(l, i + longest)))

@pytest.mark.parametrize('longest', [1, 3, 30])
def test_best_places(longest):
    g = torch.Generator().manual_seed(longest)
    for _ in range(30):
        y = torch.tensor([[0, 0, 2, 9]])
        logp = place_scores(torch.randn(1, 12, 2, generator=g), y)
        first, last, score, none = (o[0] for o in best_places(logp, longest))
        want = brute(logp[0], longest)
        assert score == pytest.approx(want[0], abs=1e-5) and 2 <= first <= last < min(9, first + longest)
        assert none == pytest.approx(float(logp[0, 0].sum()), abs=1e-5)

def test_loss_knows_only_the_text():
    y = torch.tensor([[2, 3, 2, 5]])
    z = torch.randn(1, 8, 2)
    other = z.clone(); other[0, [1, 5, 6, 7]] = 50.
    assert answer_loss(z, y) == answer_loss(other, y)
    z.requires_grad_()
    answer_loss(z, y).backward()
    assert not z.grad[0, [1, 5, 6, 7]].any() and torch.isfinite(z.grad).all()

def test_threshold_is_the_best_one():
    rng = np.random.default_rng(0)
    rows = [row('tea by sea', 'tea') if k else dict(text='tea by sea', question='q', answers=dict(text=[], answer_start=[])) for k in rng.random(60) < .6]
    s = Samples.from_rows([r | dict(question=f'q{i}') for i, r in enumerate(rows)])
    a = Answers(s, [0] * 60, [3] * 60, rng.normal(size=60), rng.normal(size=60))
    truth = np.array([bool(v['text']) for v in s['answers'].to_pylist()])
    right = lambda t: (truth == ~(a.no_answer - a.score > t)).mean()
    assert right(no_answer_threshold(a)) == max(right(t) for t in np.concatenate([[-9, 9], a.no_answer - a.score - 1e-9, a.no_answer - a.score + 1e-9]))

# ---------------------------------------------------------------- the learner
def test_learns_and_answers(learn, squad):
    part = squad.by_split()['train']
    before = learn.validate(dl=learn.dls.train)[0]
    with learn.no_bar(), learn.no_logging(): head_then_all(learn, 2, 2e-3)
    assert learn.validate(dl=learn.dls.train)[0] < before
    a = predict_answers(learn, part)
    assert len(a) == len(part) and all(t[b:e] == s for t, (b, e), s in zip(part['text'].to_pylist(), a.spans, a.texts))
    again = predict_answers(learn, part[::-1])
    assert again.spans[::-1] == a.spans                                    # the order of the questions does not matter
    assert predict_answers(learn, part, no_answer=-np.inf).texts == [''] * len(part)
    assert all(len(t) <= len(s) for t, s in zip(predict_answers(learn, part, longest=1).texts, part['text'].to_pylist()))

def test_shown_and_asked(learn, capsys):
    "Windows are shown with target and prediction, and one question is asked without samples; half a character does no harm."
    xb, y = b = learn.dls.valid.one_batch()
    with torch.no_grad(): out = learn.model.eval()(xb)
    html = str(learn.dls.valid.table_of(b, 3, out)._repr_html_())
    assert html.count('<tr>') == 4 and 'predicted' in html and 'Which' in html
    learn.dls.show_batch(max_n=2)
    with learn.no_bar(): learn.show_results(max_n=2)
    a = learn.predict('tea \ud83d by sea', 'How?\udc00')
    assert a.texts[0] in 'tea \ufffd by sea' and learn.predict('', '').texts == ['']

def test_fit_head_is_the_optimum(learn):
    "The loss of the head goes down, and the encoder is not touched."
    was = {k: v.clone() for k, v in learn.model.encoder.state_dict().items()}
    frozen(learn)
    loss = learn.validate(dl=learn.dls.train)[0]
    assert all(torch.equal(v, was[k]) for k, v in learn.model.encoder.state_dict().items())
    with torch.no_grad(): learn.model.head.weight.add_(.1 * torch.randn_like(learn.model.head.weight))
    assert learn.validate(dl=learn.dls.train)[0] > loss
    assert fit_head(learn) is learn

def test_windows_and_batches_change_nothing(learn, toks):
    "The answer to one question is the same alone and among others of other lengths."
    texts = ['tea by sea', ' '.join(f'w{i}' for i in range(120)), '茶从海上来。' * 9]
    s = Samples.from_rows([dict(text=t, question='Which PLACE?') for t in texts])
    together, alone = predict_answers(learn, s), [predict_answers(learn, s[i:i + 1]) for i in range(3)]
    assert together.spans == [a.spans[0] for a in alone]
    assert np.allclose(together.score, [a.score[0] for a in alone], atol=1e-4)

def test_export(learn, tmp_path, toks):
    import subprocess, sys
    folder = export_answers(learn, tmp_path/'qa', 'made for a test')
    xb = learn.dls.valid_ds.batch(torch.arange(3))[0]
    torch.save({k: xb[k].cpu() for k in xb.keys()}, tmp_path/'x.pt')
    code = ('import sys, torch; from transformers import AutoModelForQuestionAnswering as M, AutoTokenizer as T\n'
            'd = sys.argv[1]; m = M.from_pretrained(d + "/qa").eval(); assert len(T.from_pretrained(d + "/qa"))\n'
            'with torch.no_grad(): o = m(**torch.load(d + "/x.pt"))\n'
            'torch.save(torch.stack([o.start_logits, o.end_logits], -1), d + "/y.pt")')
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True, capture_output=True)
    with torch.no_grad(): ours = learn.model.eval()(xb)
    assert torch.allclose(torch.load(tmp_path/'y.pt'), ours, atol=1e-5)
    assert 'made for a test' in (folder/'README.md').read_text() and not list(folder.glob('*.bin'))

def test_a_foreign_tokenizer(squad, toks):
    dls = answer_dataloaders(squad, toks['bpe'], max_length=64, stride=12, bs=16, device='cpu')
    small = text_encoder('bert', train_tokenizer(['a b c'], 'wordpiece', 40), size='nano')
    with pytest.raises(DataError, match='do not belong together'): answer_learner(dls, small)

def test_nothing_to_learn(squad, toks):
    empty = squad.with_column('answers', [dict(text=[], answer_start=[])] * len(squad), squad.features['answers'])
    with pytest.raises(DataError, match='no window of the training part has an answer'): answer_dataloaders(empty, toks['bpe'], 64, 12)
    with pytest.raises(DataError, match='cannot give'): split_by_group(squad, 20, 20)

def test_html_is_escaped(squad):
    s = Samples.from_rows([row('<script>alert(1)</script> شاي', '<script>', question='<img src=x onerror=alert(1)>')])
    html = sliding_window_answers(s)._repr_html_()
    assert '<script>' not in html and '<img' not in html and 'شاي' in html and 'dir="auto"' in html
