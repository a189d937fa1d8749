"""tools/notebook_metrics.py, on a notebook whose figures are counted by hand."""
import json, sys
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import notebook_metrics

PICTURE = [dict(output_type='display_data', metadata={}, data={'image/png': 'AA=='})]
LONG = '#| export\n' + '\n'.join(f'x{i} = {i}' for i in range(21))      # 21 lines
CELLS = [
    'md:# Title of three words',                                        # 5 words, the sign too
    '#| default_exp x',                                                 # no line
    '#| export\ndef near(\n    a, # documented\n    b\n):\n    return a',  # 5 lines: shown and asserted two cells later
    '#| export\n\nclass Far:\n    def __init__(self, n:int): ...\n\ndef _private(c): ...',  # 3 lines: shown, but seven cells later
    'assert near(1, 2) == 1',                                           # 1 line
    '#| exports\ndef documented_only(): ...',                           # 1 line
    'show_doc(documented_only)',                                        # 1 line; does not count as use
    LONG, '#| export\ny = 1', '#| export\nz = 1',                       # 21, 1 and 1 lines
    'Far(2)',                                                           # 1 line
    'md:The end.',                                                      # 2 words
]

@pytest.fixture
def toy(tmp_path):
    cells = [dict(cell_type='markdown', source=o[3:]) if o.startswith('md:') else dict(cell_type='code', source=o, outputs=[]) for o in CELLS]
    cells[4]['outputs'] = PICTURE
    (tmp_path/'toy.ipynb').write_text(json.dumps(dict(cells=cells)))
    (tmp_path/'bare.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='code', source=LONG.splitlines(True), outputs=[])]*7)))
    return tmp_path

def said(capsys, *args):
    notebook_metrics.main(list(map(str, args)))
    return capsys.readouterr().out

def test_figures(toy, capsys):
    assert json.loads(said(capsys, '--json', f'toy={toy}/toy.ipynb')) == dict(
        set='toy', notebooks=1, exported=[3, 21, 21], symbols=3, shown=round(1/3, 3), asserted=round(1/3, 3), docments=round(1/3, 3), pictures=1.,
        longest_run=3, longest_run_in=f'{toy}/toy.ipynb', first_shown_p50=.33, first_shown_p90=.33, words_per_code_line=.2)

def test_pages(toy, capsys):
    pages = {o['page']: o['misses'] for l in said(capsys, '--json', '--pages', f'{toy}/*.ipynb').splitlines() if 'page' in (o := json.loads(l))}
    assert pages[f'{toy}/toy.ipynb'] == ['exported: 21 lines at the 90th percentile', 'not shown: Far documented_only',
                                         'not asserted: Far documented_only', 'no docments: near(b) Far(n)']
    assert pages[f'{toy}/bare.ipynb'] == ['exported: 21 lines at the 90th percentile', 'run: 7 exported cells', 'no picture']

def test_ours(capsys):
    "Without arguments: a row for each chapter, and one for all."
    out = said(capsys).splitlines()
    assert out[0].split()[0] == 'notebooks' and out[1].startswith('0 ') and out[-1].split()[:2] == ['all', str(len(list((ROOT/'nbs').glob('[0-9]*.ipynb'))))]

def test_nothing_matches(toy):
    with pytest.raises(SystemExit, match='no notebook matches'): notebook_metrics.main([f'{toy}/none*.ipynb'])
