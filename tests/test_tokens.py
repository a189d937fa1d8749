"""Texts in batches: tokenizers of any script, padding, packed rows that keep documents apart, streams, and input that is bad."""
import json, pickle, warnings
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, pytest
torch = pytest.importorskip('torch')
from fastai.learner import Learner
from fastai.torch_core import set_seed, to_cpu, to_detach, to_device
from torch import nn
from pretrain_notes.base import DataError, DataWarning
from pretrain_notes.batch.loaders import SampleLoaders
from pretrain_notes.batch.packing import document_mask, model_inputs, next_tokens
from pretrain_notes.batch.stream import stream_dataloaders
from pretrain_notes.batch.text_stream import text_stream
from pretrain_notes.batch.tokenizers import TokenizerMismatch, check_tokenizer, load_tokenizer, marked_text, pieces, price, texts_of, train_tokenizer, whole_text
from pretrain_notes.batch.tokens import TextData, TokenBatch, Tokenized, best_fit, by_length
from pretrain_notes.datasets import load_samples, sample_texts
from pretrain_notes.samples import Samples

torch.set_num_threads(1)
KINDS = 'bpe', 'unigram', 'wordpiece', 'bytes'
SCRIPTS = ['The cat sat.', '北京大学的学生在图书馆里读书。', 'مرحبا بالعالم', 'שלום עולם', 'नमस्ते दुनिया', '👨‍👩‍👧‍👦🏳️‍🌈 👍🏽', 'e\u0301 n\u0303 a\u0323\u0302', 'ｆｕｌｌ　ｗｉｄｔｈ', 'a\r\nb\tc', '\x00nul', '\ufeffbom', 'ðŸ˜€ mojibake â€™']
def plain(x): return torch.Tensor.as_subclass(x, torch.Tensor)

@pytest.fixture(scope='module')
def samples(): return sample_texts().drop('spans').drop('group').split(valid=.2, test=.2, seed=0)
@pytest.fixture(scope='module')
def tok(samples): return train_tokenizer(samples, 'bpe', 800)
@pytest.fixture(scope='module')
def packed(samples, tok): return samples.dataloaders(tokenizer=tok, packed=True, max_length=96, bs=6, label=None, device='cpu')

# ---------------------------------------------------------------- tokenizers
@pytest.mark.parametrize('kind', KINDS)
def test_trained(samples, kind):
    "The same texts give the same tokenizer; it has its special tokens at known places, and padding is number 0."
    a, b = (train_tokenizer(samples, kind, 700) for _ in range(2))
    assert (a.get_vocab() == b.get_vocab() or kind == 'unigram') and len(a) == (261 if kind == 'bytes' else 700)
    assert a.pad_token_id == 0 and a.cls_token_id == a.bos_token_id and a.sep_token_id == a.eos_token_id and a.mask_token_id not in (None, a.unk_token_id)
    ids = a('The cat')['input_ids']
    assert ids[0] == a.cls_token_id and ids[-1] == a.sep_token_id
    assert a('one', 'two')['input_ids'].count(a.sep_token_id) == 2

TRAINED = {}
def trained(samples, kind):
    if kind not in TRAINED: TRAINED[kind] = train_tokenizer(samples, kind, 700)
    return TRAINED[kind]

@pytest.mark.parametrize('kind', ['bpe', 'unigram', 'bytes'])
@pytest.mark.parametrize('text', SCRIPTS)
def test_bytes_know_every_text(samples, kind, text):
    "No text is unknown, and each comes back as it was."
    t = trained(samples, kind)
    ids = t(text, add_special_tokens=False)['input_ids']
    assert t.unk_token_id not in ids and t.decode(ids, clean_up_tokenization_spaces=False) == text

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('text', SCRIPTS)
def test_pieces(samples, kind, text):
    "The pieces together are the decoded text, and each token is in one of them; no character of a reader is cut."
    import regex
    t = trained(samples, kind)
    ids = t(text)['input_ids']
    found = pieces(ids, t)
    whole = ''.join(p for p, _ in found)
    assert whole == t.decode(ids, clean_up_tokenization_spaces=False) and [i for _, at in found for i in at] == list(range(len(ids)))
    ends = {m.end() for m in regex.finditer(r'\X', whole)}
    assert all(k in ends for k in np.cumsum([len(p) for p, _ in found]) if k)

def test_marked_text_is_escaped(tok):
    ids = tok('<script>alert(1)</script> & "x"', add_special_tokens=False)['input_ids']
    html = marked_text(ids, tok, [i % 2 for i in range(len(ids))], ids)._repr_html_()
    assert '<script' not in html and 'dir="auto"' in html and 'class="h"' in html

def test_saved_and_loaded(tok, tmp_path):
    tok.save_pretrained(tmp_path)
    for source in (tmp_path, str(tmp_path), tmp_path/'tokenizer.json', tok, tok.backend_tokenizer):
        assert load_tokenizer(source)('ab, 世界')['input_ids'] == tok('ab, 世界')['input_ids']
    assert load_tokenizer(tmp_path).mask_token_id == tok.mask_token_id and load_tokenizer(tok.backend_tokenizer).pad_token_id is not None

def test_no_code_is_run(tok, tmp_path):
    "A folder that brings a tokenizer class of its own is refused, and its code is not run."
    tok.save_pretrained(tmp_path)
    for f in ('tokenizer_config.json', 'config.json'):
        c = json.loads((tmp_path/f).read_text()) if (tmp_path/f).exists() else {}
        (tmp_path/f).write_text(json.dumps(c | dict(tokenizer_class='Evil', model_type='evil', auto_map=dict(AutoTokenizer=['evil.Evil', 'evil.Evil'], AutoConfig='evil.Evil'))))
    (tmp_path/'evil.py').write_text(f'open({str(tmp_path/"ran")!r}, "w").close()\nclass Evil: pass\n')
    try: load_tokenizer(tmp_path)
    except DataError as e: assert 'holds no tokenizer' in str(e)
    assert not (tmp_path/'ran').exists()

@pytest.mark.parametrize('make', [lambda p: p/'nowhere', lambda p: p, lambda p: (p/'tokenizer.json', (p/'tokenizer.json').write_text('{"model": 3}'))[0], lambda p: 'no such/model name'])
def test_no_tokenizer(tmp_path, make):
    with pytest.raises(DataError, match='holds no tokenizer'): load_tokenizer(make(tmp_path))

def test_bad_training_input(samples):
    with pytest.raises(DataError, match='none of bpe'): train_tokenizer(samples, 'sentencepiece')
    with pytest.raises(DataError, match='at least 261'): train_tokenizer(samples, 'bpe', 100)
    for nothing in ([], [''], [' \n']):
        with pytest.raises(DataError, match='no text to train'): train_tokenizer(nothing)
    with pytest.raises(DataError, match='not one text'): train_tokenizer('one text')
    with pytest.raises(DataError, match=r'2 samples of 3 have no text \(the first is row 1\)'): texts_of(['a', None, 3])
    assert len(train_tokenizer(['x'], 'bpe', 300)) <= 300 and len(train_tokenizer(['x'], 'bytes')) == 261

def test_half_characters():
    "A lone surrogate, which no tokenizer takes, becomes U+FFFD: one for one, so that places in the text stay the same."
    assert whole_text('a\ud83d b\udc00') == 'a\ufffd b\ufffd' and whole_text('👍世') == '👍世' and texts_of(['\ud800'])[0] == '\ufffd'
    s = Samples.from_rows([dict(text=t) for t in ('a b', 'c d', 'e f', 'g h')])
    assert len(Tokenized(train_tokenizer(s, 'bpe', 300))(texts_of(['x\ud800', 'y']))) == 2

def test_price(samples, tok):
    other = train_tokenizer(samples, 'wordpiece', 800)
    p = price(dict(bpe=tok, wordpiece=other), dict(english=['The cat sat.'], chinese=['北京'], nothing=['']))
    assert p.comes_back[p.tokenizer == 'bpe'].all() and (p.unknown[p.tokenizer == 'bpe'] == 0).all()
    row = p[(p.text == 'chinese') & (p.tokenizer == 'bpe')].iloc[0]
    n = len(tok('北京', add_special_tokens=False)['input_ids'])
    assert row.tokens_per_character == n / 2 and row.bytes_per_token == 6 / n

def test_does_not_fit(tok):
    from transformers import BertConfig, BertModel, GPT2Config
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    check_tokenizer(tok, BertConfig(vocab_size=len(tok), pad_token_id=0))
    with pytest.raises(TokenizerMismatch, match='up to number 799'): check_tokenizer(tok, BertModel(BertConfig(vocab_size=len(tok) - 1, **small)))
    with pytest.raises(TokenizerMismatch, match='pad token is number 0 in the tokenizer and 1'): check_tokenizer(tok, BertConfig(vocab_size=900, pad_token_id=1))
    with pytest.raises(TokenizerMismatch, match='bos token'): check_tokenizer(tok, GPT2Config(vocab_size=900))
    check_tokenizer(tok, GPT2Config(vocab_size=900, bos_token_id=2, eos_token_id=[9, 3]))

# ---------------------------------------------------------------- a batch
def test_token_batch():
    ids, seen = torch.arange(12).view(3, 4), torch.ones(3, 4, dtype=torch.long)
    xb = TokenBatch(attention_mask=seen, input_ids=ids)
    assert len(xb) == 3 and xb.shape == (3, 2, 4) and dict(xb).keys() == {'input_ids', 'attention_mask'} and type(xb['input_ids']) is torch.Tensor
    def model(input_ids, attention_mask): return input_ids
    for b in (xb, xb.to('cpu'), to_device((xb,), 'cpu')[0], to_detach(xb), to_cpu(xb), pickle.loads(pickle.dumps(xb)), xb.as_subclass(torch.Tensor), xb.clone()):
        assert isinstance(b, TokenBatch) and torch.equal(model(**b), ids)
    assert torch.equal(xb[1]['input_ids'], ids[1]) and torch.equal(xb[:2]['input_ids'], ids[:2]) and torch.equal(torch.cat([xb, xb])['input_ids'], torch.cat([ids, ids]))
    assert 'position_ids' not in xb and xb.get('position_ids') is None and 'token_type_ids' in TokenBatch(token_type_ids=ids, input_ids=ids, attention_mask=seen)
    with pytest.raises(KeyError): xb['labels']
    with pytest.raises(DataError, match='not input_ids'): TokenBatch(input_ids=ids)

class Probe(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(1, 1)
    def forward(self, xb): assert isinstance(xb, TokenBatch); return self.l(xb['input_ids'].float().mean(1, keepdim=True))

def test_a_plain_learner_keeps_it(samples, tok):
    dls = samples.dataloaders(tokenizer=tok, label=None, bs=16, device='cpu')
    learn = Learner(dls, Probe(), loss_func=lambda p, *y: p.square().mean())
    before = learn.model.l.weight.clone()
    with learn.no_logging(), learn.no_mbar(): learn.fit(1, .1)
    assert not torch.equal(before, learn.model.l.weight)                       # there is a target, so something is trained

# ---------------------------------------------------------------- rows by length
def test_padding_on_reviews():
    "At most 1.05 places per token at batches of 32; random batches need about twice as many places as tokens."
    try: s = load_samples('rt_polarity')
    except DataError as e: pytest.skip(str(e))
    t = train_tokenizer(s, 'wordpiece', 8192)
    def share(dl):
        masks = [b[0]['attention_mask'] for b in dl]
        return sum(m.numel() for m in masks) / sum(int(m.sum()) for m in masks)
    dls = s.dataloaders(tokenizer=t, max_length=128, bs=32, device='cpu')
    assert share(dls.train) <= 1.05 and share(dls.valid) <= 1.05 and share(dls.train.new(window=1)) > 1.8
    assert share(s.dataloaders(tokenizer=t, max_length=128, bs=16, label=None, packed=True, device='cpu').train) <= 1.01

@pytest.mark.parametrize('n,bs,window', [(0, 4, 50), (1, 4, 50), (7, 4, 50), (100, 8, 3), (100, 8, 1), (64, 8, 8)])
def test_by_length(n, bs, window):
    lens = torch.randint(1, 50, (n,))
    set_seed(0); a = by_length(lens, bs, window)
    set_seed(0); b = by_length(lens, bs, window)
    assert torch.equal(a, b) and sorted(a.tolist()) == list(range(n)) and torch.equal(by_length(lens, bs, window, False), lens.argsort(stable=True))

def test_every_epoch_has_every_text(samples, tok):
    dls = samples.dataloaders(tokenizer=tok, label=None, bs=16, device='cpu')
    set_seed(1); epochs = [torch.cat([b[1] for b in dls.train.new(drop_last=False)]).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1]) == list(range(len(dls.train_ds)))
    assert torch.cat([b[1] for b in dls.test_dl(samples[:50])]).tolist() == list(range(50))       # a test loader keeps the order

def test_widths(samples, tok):
    dls = samples.dataloaders(tokenizer=tok, bs=8, multiple=8, device='cpu')
    for xb, _ in dls.train:
        n = int(xb['attention_mask'].sum(1).max())
        assert xb.shape[-1] % 8 == 0 and xb.shape[-1] - n < 8 and (xb['input_ids'][xb['attention_mask'] == 0] == tok.pad_token_id).all()
    assert isinstance(dls, SampleLoaders) and dls.tokenizer is tok

def test_cut_and_counted(samples, tok):
    "A text that is too long is cut at its end, keeps its last special token, and is counted and told."
    long = Samples.from_rows([dict(text='word ' * k, split='train' if k < 40 else 'valid') for k in (1, 2, 30, 3, 41, 60, 2)])
    with pytest.warns(DataWarning, match='3 of 7 texts are longer than 10 tokens'): dls = long.dataloaders(tokenizer=tok, max_length=10, label=None, bs=2, device='cpu')
    assert (dls.train.cut, dls.valid.cut) == (1, 2) and dls.cut == 1
    xb = dls.valid.one_batch()[0]
    assert xb.shape[-1] == 10 and (xb['input_ids'][1:, -1] == tok.eos_token_id).all()
    with warnings.catch_warnings():
        warnings.simplefilter('error', DataWarning)
        whole = long.dataloaders(tokenizer=tok, max_length=10, label=None, bs=2, packed=True, device='cpu')      # divided, nothing is lost
        long.dataloaders(tokenizer=tok, max_length=200, label=None, bs=2, device='cpu')
    assert int(whole.train_ds.lens.sum() + whole.valid_ds.lens.sum()) == sum(len(tok(t)['input_ids']) for t in texts_of(long))
    with pytest.raises(DataError, match='leaves no room'): long.dataloaders(tokenizer=tok, max_length=2, label=None)

def test_bad_texts(tok):
    "Empty and blank texts become rows; a text of 10 MB is cut; nulls are refused."
    from tokenizers import Tokenizer
    texts = ['', ' ', '\x00', '\ufeff', '\ud800', 'word ' * 2_000_000, 'a b']
    with pytest.warns(DataWarning, match='1 of 7 text'): dls = Samples.from_rows([dict(text=t.encode('utf-8', 'replace').decode() if '\ud800' in t else t, split='train' if i % 2 else 'valid') for i, t in enumerate(texts)]).dataloaders(
        tokenizer=tok, max_length=64, label=None, bs=2, device='cpu')
    for dl in dls:
        for b in dl: assert (b[0]['attention_mask'].sum(1) >= 1).all() and int(b[0]['input_ids'].max()) < len(tok)
    with pytest.raises(DataError, match='have no text'): Samples.from_rows([dict(text=None), dict(text='b'), dict(text='c')]).dataloaders(tokenizer=tok, label=None)
    bare = Tokenizer.from_str(tok.backend_tokenizer.to_str()); bare.post_processor = None              # a tokenizer that adds nothing, as GPT-2's
    ds = Tokenized(load_tokenizer(bare))(['', 'a'])
    assert ds.lens.tolist() == [1, 1]
    with pytest.raises(DataError, match='need a tokenizer'): Samples.from_rows([dict(text='a')]).dataloaders()

def test_several_classes(tok):
    "A column of lists: zeros and ones, the loss that fits, classes by name; new data is numbered as in training."
    rows = [dict(text=f'text {i}', labels=[['a'], ['a', 'c'], [], ['b']][i % 4], split='train' if i < 12 else 'valid') for i in range(16)]
    dls = Samples.from_rows(rows).dataloaders(tokenizer=tok, label='labels', bs=4, device='cpu')
    assert list(dls.vocab) == ['a', 'b', 'c'] and dls.one_batch()[1].shape == (4, 3) and type(dls.loss_func).__name__ == 'BCEWithLogitsLossFlat'
    y = torch.cat([plain(b[1]) for b in dls.valid.new()])
    assert y.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]] and dls.valid_ds.decode(dls.valid_ds[1])[1] == 'a; c'
    test = dls.test_dl(Samples.from_rows([dict(text='x', labels=['c']), dict(text='y', labels=['b', 'c'])]))
    assert test.one_batch()[1].tolist() == [[0, 0, 1], [0, 1, 1]] and len(dls.test_dl(['x']).one_batch()) == 1
    with pytest.raises(DataError, match='does not occur'): dls.test_dl(Samples.from_rows([dict(text='x', labels=['z'])]))

# ---------------------------------------------------------------- packed rows
@pytest.mark.parametrize('seed', range(5))
def test_best_fit(seed):
    rng = np.random.default_rng(seed)
    lens = rng.integers(1, 65, 200)
    rows = best_fit(lens, 64)
    assert sorted(i for r in rows for i in r) == list(range(200)) and all(sum(lens[i] for i in r) <= 64 for r in rows)
    assert len(rows) <= 1.1 * -(-lens.sum() // 64) and best_fit([], 8) == [] and best_fit([8, 8], 8) == [[0], [1]]

def test_packed_rows(packed, samples, tok):
    "Each document is whole, once, with its own positions and number."
    docs = []
    for xb, _ in packed.train.new(drop_last=False):
        for row in xb:
            seg, ids, at = row['segment_ids'], row['input_ids'], row['position_ids']
            for k in range(1, int(seg.max()) + 1):
                docs.append(ids[seg == k].tolist()); assert at[seg == k].tolist() == list(range(len(docs[-1])))
            assert ((seg == 0) == (row['attention_mask'] == 0)).all()
    want = [tok(t)['input_ids'] for t in texts_of(samples.by_split()['train'])]
    parts = [w[i:i + 96] for w in want for i in range(0, len(w), 96)]
    assert sorted(docs) == sorted(parts)
    with pytest.raises(DataError, match='use label=None'): samples.dataloaders(tokenizer=tok, packed=True)
    assert packed.valid_ds.documents(0) == [packed.valid_ds[0][0]['input_ids'][packed.valid_ds[0][0]['segment_ids'] == k].tolist() for k in range(1, int(packed.valid_ds[0][0]['segment_ids'].max()) + 1)]

def test_next_tokens(packed):
    "No target crosses from one document into the next, and the last token of each has none."
    xb = packed.one_batch()[0]
    y, seg = next_tokens(xb), xb['segment_ids']
    for i in range(len(xb)):
        for j in range(xb.shape[-1]):
            inside = j + 1 < xb.shape[-1] and seg[i, j] > 0 and seg[i, j] == seg[i, j + 1]
            assert y[i, j] == (xb['input_ids'][i, j + 1] if inside else -100)
    plain_batch = TokenBatch(input_ids=torch.tensor([[5, 6, 7, 0]]), attention_mask=torch.tensor([[1, 1, 1, 0]]))
    assert next_tokens(plain_batch).tolist() == [[6, 7, -100, -100]]

def models(n):
    from transformers import (BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, ModernBertConfig, ModernBertForMaskedLM)
    kw = dict(vocab_size=n, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, pad_token_id=0, bos_token_id=2, eos_token_id=3)
    return dict(bert=(BertForMaskedLM, BertConfig(**kw), False), modernbert=(ModernBertForMaskedLM, ModernBertConfig(**kw, cls_token_id=2, sep_token_id=3), False),
                gpt2=(GPT2LMHeadModel, GPT2Config(vocab_size=n, n_embd=32, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3), True),
                llama=(LlamaForCausalLM, LlamaConfig(**kw, num_key_value_heads=2), True))

@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
@pytest.mark.parametrize('name', ['bert', 'modernbert', 'gpt2', 'llama'])
def test_documents_do_not_see_each_other(packed, tok, name, attention):
    "One document is changed: the logits of the others stay the same, bit by bit, and those of a document are what it gives alone."
    make, config, causal = models(len(tok))[name]
    set_seed(0)
    model = make(config).eval()
    model.set_attn_implementation(attention)
    xb = next(o for (o, *_) in packed.train if int(o['segment_ids'][0].max()) > 1)
    other, seg = xb.clone(), xb['segment_ids']
    other['input_ids'][seg == 1] = (other['input_ids'][seg == 1] + 7) % len(tok)
    with torch.no_grad():
        a, b = (model(**model_inputs(o, causal)).logits for o in (xb, other))
        c, d = (model(input_ids=o['input_ids'], attention_mask=o['attention_mask']).logits for o in (xb, other))
        doc = xb['input_ids'][:1, seg[0] == 2]
        alone = model(input_ids=doc, attention_mask=torch.ones_like(doc)).logits[0]
    away = seg > 1
    assert torch.equal(a[away], b[away]) and not torch.equal(a[seg == 1], b[seg == 1]) and a.isfinite().all()
    assert (c[away] - d[away]).abs().max() > 1e-5                             # without the mask they do see each other
    assert torch.allclose(a[0][seg[0] == 2], alone, atol=1e-5)

def test_model_inputs(packed):
    xb = next(o for (o, *_) in packed.train if int(o['segment_ids'].max()) > 1)
    m = document_mask(xb, causal=True, dtype=torch.bfloat16)
    assert m.dtype == torch.bfloat16 and m.shape == (len(xb), 1, xb.shape[-1], xb.shape[-1]) and (m[:, 0].float().tril() == 0).any() and (m[:, 0].triu(1) < 0).all() == (m[:, 0].triu(1) != 0).all()
    bare = TokenBatch(input_ids=xb['input_ids'], attention_mask=xb['attention_mask'])
    assert set(model_inputs(bare)) == {'input_ids', 'attention_mask'} and set(model_inputs(xb)) == {'input_ids', 'attention_mask', 'position_ids'}
    one = TokenBatch(**{k: v[:, :3] if k != 'segment_ids' else torch.ones_like(v[:, :3]) for k, v in xb.items()})
    assert set(model_inputs(one)) == {'input_ids', 'attention_mask'}                      # a document a row needs no mask of its own

# ---------------------------------------------------------------- streams
@pytest.fixture(scope='module')
def corpus(samples, tmp_path_factory):
    f = tmp_path_factory.mktemp('stream')/'corpus.parquet'
    pq.write_table(samples.table, f, row_group_size=40)
    return f

def masks(dl): return [b[0]['attention_mask'] for b in dl]
def share(ms): return sum(m.numel() for m in ms) / sum(int(m.sum()) for m in ms)

def test_stream_gives_what_memory_gives(corpus, samples, tok):
    a, b = stream_dataloaders(corpus, tokenizer=tok, bs=8, device='cpu'), samples.dataloaders(tokenizer=tok, bs=8, device='cpu')
    assert len(a.train) == len(b.train) and list(a.vocab) == list(b.vocab) and a.c == b.c
    rows = lambda dl: [(o['input_ids'][o['attention_mask'] > 0].tolist(), int(y)) for x, ys in dl for o, y in zip(x, ys)]
    assert rows(a.valid) == rows(b.valid.new()) and sorted(rows(a.train.new(drop_last=False))) == sorted(rows(b.train.new(drop_last=False)))
    assert share(masks(a.train)) < 1.1
    from_samples, from_folder = stream_dataloaders(samples, tokenizer=tok, bs=8, device='cpu'), stream_dataloaders(corpus.parent, tokenizer=tok, bs=8, device='cpu')
    assert rows(from_samples.valid) == rows(from_folder.valid) == rows(a.valid)
    assert [len(o.one_batch()) for o in (a.test_dl(samples[:5]), a.test_dl(['one', 'two']), a.test_dl(samples[:5], with_labels=False))] == [2, 1, 1]

def test_stream_of_a_daft_frame(samples, tok):
    pytest.importorskip('daft')
    dls = stream_dataloaders(samples.drop('id').to_daft(), tokenizer=tok, bs=8, label=None, device='cpu')
    assert sum(len(b[0]) for b in dls.valid) == samples.split_counts()['valid']

@pytest.mark.parametrize('packed', [False, True])
def test_a_seed_repeats_a_stream(corpus, tok, packed):
    dls = stream_dataloaders(corpus, tokenizer=tok, bs=4, label=None, packed=packed, max_length=64, device='cpu')
    def epoch(seed): set_seed(seed); return [plain(b[0]) for b in dls.train]
    a, b, c = epoch(1), epoch(1), epoch(2)
    assert len(a) == len(b) == len(dls.train) and all(map(torch.equal, a, b)) and not all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a, c))

def test_packed_stream_loses_nothing(corpus, samples, tok):
    dls = stream_dataloaders(corpus, tokenizer=tok, bs=4, label=None, packed=True, max_length=64, window=3, device='cpu')
    dl = dls.train.new(drop_last=False)
    got = sum(int(b[0]['attention_mask'].sum()) for b in dl._batches(np.random.default_rng(0)))
    assert got == sum(len(tok(t)['input_ids']) for t in texts_of(samples.by_split()['train'])) and share(masks(dls.train)) < 1.1

def test_stream_quarantine(tok, tmp_path):
    pq.write_table(pa.table(dict(text=['a', None, 'c' * 500, 'd', None, 'f'], split=['train'] * 4 + ['valid'] * 2)), tmp_path/'t.parquet')
    dls = stream_dataloaders(tmp_path/'t.parquet', tokenizer=tok, bs=2, label=None, max_length=16, device='cpu')
    with pytest.warns(DataWarning) as told: n = sum(len(b[0]) for b in dls.train.new(drop_last=False))
    assert n == 3 and any('1 row hold no text' in str(w.message) for w in told) and any('longer than 16 tokens' in str(w.message) for w in told)
    assert dls.train.quarantined.source.tolist() == ['t.parquet row 1']
    with pytest.raises(DataError, match='holds no Parquet'): text_stream(tmp_path/'x') if (tmp_path/'x').mkdir() else text_stream(tmp_path/'x')

@pytest.mark.parametrize('make', ['memory', 'stream', 'packed stream'])
def test_exact_resume(make, corpus, samples, tok, tmp_path):
    "A training that was killed after an epoch ends in the same weights, bit by bit."
    from pretrain_notes.pretrain.checkpoint import Checkpoint
    from pretrain_notes.pretrain.objective import Objective, pretrain_learner
    class Encoder(nn.Module):
        def __init__(self): super().__init__(); self.table = nn.Embedding(len(tok), 8)
        def forward(self, xb): return self.table(xb['input_ids']).mean(1)
    class Guess(Objective):
        def build(self, n, x): self.head = nn.Linear(n, len(tok))
        def forward(self, xb): return self.head(self.encoder(xb)), xb['input_ids'][torch.arange(len(xb)), torch.randint(0, 3, (len(xb),))]
        def loss(self, outputs, *y): return nn.functional.cross_entropy(*outputs)
    def train(folder, kill=None):
        set_seed(5)
        kw = dict(tokenizer=tok, bs=8, label=None, max_length=64, device='cpu')
        dls = samples.dataloaders(**kw) if make == 'memory' else stream_dataloaders(corpus, packed=make == 'packed stream', **kw)
        learn = pretrain_learner(dls, Guess(Encoder()), cbs=Checkpoint(folder))
        class Killed(BaseException): pass
        from fastai.callback.core import Callback
        class Kill(Callback):
            def before_batch(self):
                if self.training and kill is not None and (self.epoch, self.iter) == kill: raise Killed
        with learn.no_bar(), learn.no_logging():
            try: learn.fit_one_cycle(3, 1e-2, cbs=Kill())
            except Killed: return None
        return {k: v.clone() for k, v in learn.model.state_dict().items()}
    whole = train(tmp_path/'whole')
    assert train(tmp_path/'cut', (2, 3)) is None
    again = train(tmp_path/'cut')
    assert all(torch.equal(whole[k], again[k]) for k in whole)
