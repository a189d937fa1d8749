"""The glossary: its words are places that other pages can link to, and every such link leads to a word."""
import json, re
from pathlib import Path

from pretrain_notes.glossary import anchor, glossary, glossary_html

ROOT = Path(__file__).resolve().parents[1]

def test_anchors():
    "Each English word has one anchor, and no two words share one."
    found = re.findall(r'id="([^"]+)"', glossary_html())
    words = [w for t in glossary().english for w in t.split(' / ')]
    assert found == [anchor(w) for w in words] and len(found) == len(set(found))

def test_links_lead_to_a_word():
    known, bad = set(re.findall(r'id="([^"]+)"', glossary_html())), []
    for p in sorted((ROOT/'nbs').glob('*.ipynb')):
        cells = json.loads(p.read_text(encoding='utf-8'))['cells']
        headings = {re.sub(r'[^a-z0-9]+', '-', h.lower()).strip('-') for c in cells if p.stem == '060_glossary' for h in re.findall(r'^#+ (.+)$', ''.join(c['source']), re.M)}
        known |= headings
    for p in sorted((ROOT/'nbs').glob('*.ipynb')):
        text = '\n'.join(''.join(c['source']) for c in json.loads(p.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'markdown')
        bad += [(p.name, a) for a in re.findall(r'060_glossary\.ipynb#([\w-]+)', text) if a not in known]
    assert not bad, f'the glossary has no such word: {bad}'
