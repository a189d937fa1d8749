"""Language models: what is hidden, losses equal to those of transformers, encoders of any origin, bits per byte"""
import json, math
import numpy as np, pytest, torch
from fastai.torch_core import set_seed
from pretrain_notes.base import DataError
from pretrain_notes.batch.tokens import TokenBatch
from pretrain_notes.batch.tokenizers import train_tokenizer
from pretrain_notes.markup import to_html
from pretrain_notes.pretrain.language import CausalLM, HideRules, MaskedLM, choose_hidden, hide_tokens, show_guesses, word_numbers, write
from pretrain_notes.pretrain.ngram import NGram, bits_per_byte, compressed_bits, log_probabilities, mixed, mixture_weights
from pretrain_notes.pretrain.objective import pretrain_learner
from pretrain_notes.pretrain.text_encoders import TextEncoder, attention_weights, show_attention, text_config, text_encoder
from pretrain_notes.samples import Samples

TEXTS = ['the cat sat on the mat', '猫坐在垫子上,看着窗外', 'مرحبا بالعالم', 'e\u0301clair 👩‍💻!', 'unbelievable pretraining of models', 'a'] * 6
KINDS = ('bert', 'modernbert', 'gpt2', 'llama')

@pytest.fixture(autouse=True)
def quiet(monkeypatch): monkeypatch.setenv('TQDM_DISABLE', '1'); torch.set_num_threads(1)

@pytest.fixture(scope='module')
def tok(): return train_tokenizer(TEXTS, 'wordpiece', vocab_size=300)
@pytest.fixture(scope='module')
def bpe(): return train_tokenizer(TEXTS, 'bpe', vocab_size=300)
@pytest.fixture(scope='module')
def samples(): return Samples.from_rows([dict(text=t, split='valid' if i % 5 == 0 else 'train') for i, t in enumerate(TEXTS)])
@pytest.fixture
def dls(samples, tok): return samples.dataloaders(tokenizer=tok, label=None, bs=8)

def batch(t, texts):
    o = t(texts, padding=True, return_tensors='pt', return_token_type_ids=False)
    return TokenBatch(input_ids=o['input_ids'], attention_mask=o['attention_mask'])

# ---------------------------------------------------------------- encoders
@pytest.mark.parametrize('kind', KINDS)
def test_padding_changes_nothing(tok, kind):
    set_seed(0)
    e = text_encoder(kind, tok, size='nano').eval()
    one, many = batch(tok, TEXTS[:1]), batch(tok, TEXTS[:6])
    with torch.no_grad(): assert torch.allclose(e(one)[0], e(many)[0], atol=1e-5)
    assert e(many).shape == (6, 64) and e.dense(many).shape[:2] == many['input_ids'].shape

@pytest.mark.parametrize('kind', KINDS + ('t5',))
def test_saved_and_read_again(tok, kind, tmp_path):
    e = text_encoder(kind, tok, size='nano').eval()
    if kind == 't5': pytest.skip('only the half of a T5 that reads is an encoder')
    e.model.save_pretrained(tmp_path); tok.save_pretrained(tmp_path)
    again = text_encoder(tmp_path).eval()
    xb = batch(tok, TEXTS[:3])
    with torch.no_grad(): assert torch.allclose(e(xb), again(xb), atol=1e-6)

def test_what_does_not_fit_is_refused(tok, tmp_path):
    with pytest.raises(DataError, match='do not belong together'): text_encoder(text_config('bert', vocab_size=50), tok)
    with pytest.raises(DataError, match='needs a tokenizer'): text_encoder('llama')
    with pytest.raises(DataError, match='reads 4'): text_encoder('bert', tok, max_length=4)(batch(tok, TEXTS[:2]))
    with pytest.raises(DataError, match='no network that can be loaded'): text_encoder(tmp_path, tok)
    with pytest.raises(DataError, match='says for itself'): text_encoder(text_config('bert', tok), tok, size='nano')
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type='bert', auto_map=dict(AutoModel='evil.Model'))))
    (tmp_path/'pytorch_model.bin').write_bytes(b'\x80\x04cos\nsystem\n')
    with pytest.raises(DataError): text_encoder(tmp_path, tok)

def test_roberta_reads_less_than_it_says(tok):
    "Two of its positions are for padding: one row more, and torch would say `index out of range`."
    from transformers import AutoConfig
    e = text_encoder(AutoConfig.for_model('roberta', vocab_size=len(tok), pad_token_id=1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                                          max_position_embeddings=12))
    row = lambda n: TokenBatch(input_ids=torch.full((1, n), 7), attention_mask=torch.ones(1, n, dtype=torch.long))
    assert e.longest == 10 and e(row(10)).isfinite().all()
    with pytest.raises(DataError, match='reads 10'): e(row(11))

def test_attention_is_shown_escaped(tok):
    e = text_encoder('bert', tok, size='nano')
    html = to_html(show_attention(e, '<img src=x> 猫 👩‍💻'))
    assert '<img' not in html and e.config._attn_implementation == 'sdpa'
    assert torch.allclose(attention_weights(e, 'a b')[1].sum(-1), torch.ones(1), atol=1e-4)

# ---------------------------------------------------------------- hiding
@pytest.mark.parametrize('how', ['token', 'word', 'span'])
def test_what_is_hidden(tok, how):
    rules = HideRules(tok, how=how)
    xb = batch(tok, TEXTS[:6] * 50)
    shown, hidden, target = hide_tokens(xb, rules)
    allowed = xb['attention_mask'].bool() & ~rules.of(xb['input_ids'])[0]
    assert not (hidden & ~allowed).any() and (hidden.any(1) == allowed.any(1)).all()
    assert torch.equal(shown[~hidden], xb['input_ids'][~hidden]) and torch.equal(target, xb['input_ids'][hidden])
    assert (shown[hidden] == tok.mask_token_id).float().mean().item() == pytest.approx(.8, abs=.08)

def test_words_are_hidden_whole(tok):
    xb = batch(tok, ['unbelievable pretraining of models'] * 200)
    rules = HideRules(tok, how='word', rate=.3)
    words, hidden = word_numbers(xb, rules), choose_hidden(xb, rules)
    for r in range(len(xb)):
        for w in words[r].unique(): assert len(hidden[r][(words[r] == w) & ~rules.of(xb['input_ids'][r])[0]].unique()) <= 1

CHINESE = ['猫坐在垫子上看着窗外', '机器学习需要很多数据', '今天天气很好我们去公园', '数据的质量决定模型的质量', '他在北京的大学学习历史'] * 8

@pytest.mark.parametrize('kind', ['wordpiece', 'bpe', 'unigram', 'bytes'])
def test_chinese_words_in_every_kind_of_tokenizer(kind):
    "About two characters a piece, no character is cut in two, and about the share that was asked for is hidden."
    t = train_tokenizer(CHINESE + ['plain words beside them'] * 8, kind, vocab_size=320)
    xb, rules = batch(t, CHINESE[:5] * 60), HideRules(t, how='word')
    special, *_, chars = rules.of(xb['input_ids'])
    words, real = word_numbers(xb, rules), xb['attention_mask'].bool() & ~special
    n = [len(w[m].unique()) for w, m in zip(words, real)]
    per_word = sum(map(len, CHINESE[:5])) * 60 / sum(n)
    assert 1.5 < per_word < 4, per_word
    assert (words[:, 1:] == words[:, :-1])[(chars[:, 1:] == 0) & real[:, 1:]].all()
    hidden = choose_hidden(xb, rules)
    assert .1 < float(hidden.sum() / real.sum()) < .3

@pytest.mark.parametrize('kind', ['bpe', 'bytes'])
def test_words_without_signs(kind):
    "A letter goes on with a letter; a space, a mark and a digit end a word. Cyrillic letters of two bytes stay whole."
    t = train_tokenizer(['мир hello, world 42'] * 9, kind, vocab_size=265)
    xb = batch(t, ['мир hello, world 42'])
    n = word_numbers(xb, HideRules(t, how='word'))[0, 1:-1].tolist()
    text = [t.decode([i]) for i in xb['input_ids'][0, 1:-1].tolist()]
    assert len(set(n)) == 6 - ('42' in text) + sum(not s.strip() for s in text if '\ufffd' not in s) and n == sorted(n), list(zip(text, n))     # мир, hello, the comma, world, 4, 2, and spaces that are tokens

@pytest.mark.parametrize('kind', ['wordpiece', 'bytes'])
def test_a_segmenter_says_where_chinese_words_end(kind):
    t = train_tokenizer(TEXTS, kind, vocab_size=300)
    parts = ['猫', '坐在', '垫子', '上']
    rules = HideRules(t, how='word', segment=lambda s: parts if s == '猫坐在垫子上' else [s])
    xb = batch(t, ['猫坐在垫子上'])
    n, chars = word_numbers(xb, rules)[0, 1:-1], rules.of(xb['input_ids'][0, 1:-1])[-1]
    assert [int(chars[n == k].sum()) for k in n.unique()] == [1, 2, 2, 1]

def test_a_text_of_special_tokens_alone_hides_nothing(tok, dls):
    o = MaskedLM(text_encoder('bert', tok, size='nano')).setup(dls.one_batch()[0])
    rules = o.rules
    xb = TokenBatch(input_ids=torch.tensor([[tok.cls_token_id, tok.sep_token_id]]), attention_mask=torch.ones(1, 2, dtype=torch.long))
    assert not choose_hidden(xb, rules).any()

# ---------------------------------------------------------------- losses
@pytest.mark.parametrize('kind', ['bert', 'modernbert'])
def test_masked_loss_is_that_of_transformers(tok, dls, kind):
    set_seed(0)
    o = MaskedLM(text_encoder(kind, tok, size='nano')).setup(dls.one_batch()[0]).eval()
    xb = batch(tok, TEXTS[:6])
    set_seed(1); ours = o.loss(o(xb))
    set_seed(1); shown, hidden, target = hide_tokens(xb, o.rules)
    labels = torch.full_like(shown, -100); labels[hidden] = target
    theirs = o.network(input_ids=shown, attention_mask=xb['attention_mask'], labels=labels).loss
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    assert sum(p.numel() for p in o.parameters()) == sum(p.numel() for p in o.network.parameters())        # nothing is there twice

@pytest.mark.parametrize('kind', ['gpt2', 'llama'])
def test_causal_loss_is_that_of_transformers(tok, dls, kind):
    o = CausalLM(text_encoder(kind, tok, size='nano')).setup(dls.one_batch()[0]).eval()
    xb = batch(tok, TEXTS[:6])
    labels = torch.where(xb['attention_mask'].bool(), xb['input_ids'], -100)
    theirs = o.network(input_ids=xb['input_ids'], attention_mask=xb['attention_mask'], labels=labels).loss
    assert float(o.loss(o(xb))) == pytest.approx(float(theirs), abs=1e-5)

@pytest.mark.parametrize('kind,more', [('gemma2', dict(final_logit_softcapping=.5, head_dim=8, num_key_value_heads=2)), ('granite', dict(logits_scaling=8., num_key_value_heads=2))])
def test_a_head_that_does_more_is_refused(tok, dls, kind, more):
    "Gemma 2 bounds its scores and Granite divides them, in their own code: the loss would be another one."
    from transformers import AutoConfig, AutoModelForCausalLM
    c = AutoConfig.for_model(kind, vocab_size=len(tok), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, initializer_range=1., pad_token_id=0, **more)
    with pytest.raises(DataError, match='more with its scores'): CausalLM(AutoModelForCausalLM.from_config(c), tok).setup(dls.one_batch()[0])

def test_distilbert_is_refused_and_roberta_is_not(tok, dls):
    from transformers import AutoConfig, AutoModelForMaskedLM
    x = dls.one_batch()[0]
    made = lambda kind, **kw: MaskedLM(AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, vocab_size=len(tok), pad_token_id=0, **kw)), tokenizer=tok)
    with pytest.raises(DataError, match='more with its scores'): made('distilbert', dim=16, n_layers=1, n_heads=2, hidden_dim=16).setup(x)
    o = made('roberta', hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16).setup(x)
    assert torch.isfinite(o.loss(o(x)))

@pytest.mark.parametrize('make', [lambda t: MaskedLM(text_encoder('bert', t, size='nano')), lambda t: CausalLM(text_encoder('llama', t, size='nano'))])
def test_trained_saved_and_continued(dls, tok, make, tmp_path):
    set_seed(0)
    learn = pretrain_learner(dls, make(tok))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4, 5e-3)
        assert learn.recorder.values[-1][0] < learn.recorder.values[0][0]
    learn.model.save(tmp_path)
    on = type(learn.model).load(tmp_path).setup(dls.one_batch()[0]).eval()
    xb = batch(tok, TEXTS[:6])
    losses = []
    for o in (learn.model.eval(), on): set_seed(1); losses.append(float(o.loss(o(xb))))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    other = CausalLM if isinstance(on, MaskedLM) else MaskedLM
    with pytest.raises((DataError, ValueError)): other.load(tmp_path)

def test_the_wrong_game_is_refused(tok):
    with pytest.raises(DataError, match='use CausalLM'): MaskedLM(text_encoder('gpt2', tok, size='nano'))
    with pytest.raises(DataError, match='use MaskedLM'): CausalLM(text_encoder('bert', tok, size='nano'))
    bare = train_tokenizer(TEXTS, 'bpe', vocab_size=300); bare.mask_token = None
    with pytest.raises(DataError, match='mask token'): HideRules(bare)

def test_guesses_are_escaped(tok, dls):
    o = MaskedLM(text_encoder('bert', tok, size='nano')).setup(dls.one_batch()[0])
    assert '<script' not in to_html(show_guesses(o, dls))

def test_writing_begins_with_its_prompt(bpe, samples):
    dls = samples.dataloaders(tokenizer=bpe, label=None, bs=8)
    o = CausalLM(text_encoder('llama', bpe, size='nano', max_length=32)).setup(dls.one_batch()[0])
    assert write(o, 'the cat', n=5).startswith('the cat') and write(o, 'the', temperature=0) == write(o, 'the', temperature=0)
    with pytest.raises(DataError, match='reads 32'): write(o, '猫' * 60)

# ---------------------------------------------------------------- counts and bits
@pytest.mark.parametrize('n', range(1, 9))
def test_counts_are_probabilities(n):
    text = ('\n'.join(TEXTS)).encode()
    m = NGram(n).fit(text)
    for before in (b'', b'a', b'the cat', '猫坐'.encode(), b'\xff\x00\xff'): assert m.next_byte(before).sum() == pytest.approx(1, abs=1e-9)
    new = 'the 猫 zzz'.encode()
    p, depth = m.probabilities(new)
    assert np.allclose(p, [m.next_byte(new[:i])[new[i]] for i in range(len(new))]) and (p > 0).all() and depth.max() <= n - 1

def test_more_memory_does_not_hurt():
    text = ('\n'.join(TEXTS) * 5).encode()
    bits = [NGram(n).fit(text[:-300]).bits_per_byte(text[-300:]) for n in (1, 2, 3, 5, 7)]
    assert bits == sorted(bits, reverse=True)

def test_bits_of_a_network(bpe, samples):
    dls = samples.dataloaders(tokenizer=bpe, label=None, bs=8)
    o = CausalLM(text_encoder('llama', bpe, size='nano', max_length=16)).setup(dls.one_batch()[0])
    text = ' '.join(TEXTS)
    ids = bpe(text, add_special_tokens=False)['input_ids']
    lp = log_probabilities(o, ids)
    assert len(lp) == len(ids) and (lp < 0).all()
    assert bits_per_byte(o, text) == pytest.approx(-lp.sum() / math.log(2) / len(text.encode()))
    assert np.allclose(lp[:15], log_probabilities(o, ids[:15]), atol=1e-4)

def test_a_mixture_is_no_worse_than_its_better_half():
    rng = np.random.default_rng(0)
    p = rng.uniform(.01, 1, (2, 4000)); group = rng.integers(0, 3, 4000)
    w = mixture_weights(p, group)
    assert np.allclose(w.sum(1), 1) and -np.log(mixed(p, group, w)).mean() <= -np.log(p).mean(1).min() + 1e-9

def test_compressors():
    assert compressed_bits(b'abc' * 500, b'abc' * 500) < .2
    with pytest.raises(DataError): compressed_bits(b'x', how='zip')
