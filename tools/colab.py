"""Keep the head of every notebook as Colab and nbdev need it.

- The first cell, the same everywhere, installs the library in Colab; anywhere else it does nothing.
- The title cell holds the title and the one-line description alone: nbdev makes front matter of that cell and drops
  whatever else it holds, so the introduction goes into a cell of its own.
- The state of widgets is dropped: it holds a labeler's whole script once a widget, and pages show static snapshots.

    python tools/colab.py           write what is missing or old
    python tools/colab.py --check   change nothing; exit 1 and list the notebooks that would change
"""
import re, sys
from pathlib import Path
from nbdev.config import get_config
from fastcore.nbio import mk_cell, nb2str, read_nb, write_nb

ID = 'colab'

def source(cfg):
    "The cell: hidden from pages, README and tests; Colab shows it first."
    return f"""#| hide
#| eval: false
# In Colab this installs the library; anywhere else it does nothing. (kept by tools/colab.py)
if 'google.colab' in str(get_ipython()):
    %pip install -q {cfg.lib_name}"""

def notebooks(cfg): return sorted(p for p in cfg.nbs_path.glob('*.ipynb') if p.name[0] not in '_.')

def put_colab(nb, cfg):
    "Replace the cell, or insert it first."
    cell = mk_cell(source(cfg), 'code')
    cell.update(id=ID, execution_count=None, outputs=[], metadata={})
    nb.cells[:] = [cell, *(c for c in nb.cells if c.get('id') != ID)]

def split_title(nb):
    "Move what nbdev would drop from the title cell into the next cell."
    i = next((i for i, c in enumerate(nb.cells) if c.cell_type == 'markdown'), None)
    m = i is not None and re.match(r'(# .*\n+)((?:>.*(?:\n|$))*)', nb.cells[i].source + '\n')
    if not m: return
    rest = (nb.cells[i].source + '\n')[m.end():].strip()
    about = ' '.join(o.lstrip('> ').strip() for o in m[2].splitlines())
    nb.cells[i].source = m[1].strip() + (f'\n\n> {about}' if about else '')
    if not rest: return
    intro = mk_cell(rest, 'markdown')
    intro.update(id=f'{nb.cells[i].id[:32]}-intro', metadata={})
    nb.cells.insert(i + 1, intro)

def put(nb, cfg):
    "The notebook with its head in order."
    nb.metadata.pop('widgets', None)
    put_colab(nb, cfg)
    split_title(nb)
    return nb

def url(cfg, name): return f"{cfg.git_url.replace('https://github.com', 'https://colab.research.google.com/github')}/blob/{cfg.branch}/nbs/{name}"

def main(check=False):
    cfg = get_config()
    stale = [p for p in notebooks(cfg) if nb2str(put(read_nb(p), cfg)) != nb2str(read_nb(p))]
    for p in stale:
        if not check: write_nb(put(read_nb(p), cfg), p)
        print(f"nbs/{p.name}: {'its head is not in order; run `make export`' if check else 'head put in order'}")
    return int(check and bool(stale))

if __name__ == '__main__': sys.exit(main('--check' in sys.argv[1:]))
