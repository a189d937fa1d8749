"""The site: the sidebar lists what there is, pages lead to Colab, links lead somewhere, either builder is driven right."""
import ast, builtins, importlib, json, os, re, shutil, sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag
import pytest, yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tools'))
import colab, docs
from nbdev.config import get_config

CFG = get_config(ROOT)
QUARTO = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
SIDEBAR = QUARTO['website']['sidebar']['contents']
NOTEBOOKS = colab.notebooks(CFG)

def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def source(cell): return ''.join(cell['source'])
def notebook(*cs):
    "The JSON of a notebook: strings that start with `md:` are Markdown, others code."
    def cell(i, s):
        if not s.startswith('md:'): return dict(cell_type='code', id=f'c{i}', metadata={}, source=s, outputs=[], execution_count=None)
        return dict(cell_type='markdown', id=f'c{i}', metadata={}, source=s[3:])
    meta = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    return json.dumps(dict(cells=[cell(i, s) for i, s in enumerate(cs)], metadata=meta, nbformat=4, nbformat_minor=5))

# ---------------------------------------------------------------- the sidebar
def test_sidebar():
    "_quarto.yml lists exactly the notebooks, each once, the tour right after index."
    listed, there = docs.sidebar_pages(SIDEBAR), [p.name for p in NOTEBOOKS]
    assert not set(listed) - set(there), f'_quarto.yml lists what is not in nbs/: {sorted(set(listed) - set(there))}'
    assert not set(there) - set(listed), f'_quarto.yml does not list: {sorted(set(there) - set(listed))}'
    assert len(listed) == len(set(listed))
    assert listed[:2] == ['index.ipynb', '900_tour.ipynb']

def test_chapters():
    "A section is a chapter: the decade of its notebooks, in order; the glossary names the chapters alike."
    sections = [o for o in SIDEBAR if not isinstance(o, str)]
    for o in sections:
        assert o['contents'] == sorted(o['contents'])
        assert {p[0] for p in o['contents']} == {o['section'][0]}, o
    from pretrain_notes.glossary import glossary
    names = {o['section'][0]: o['section'] for o in sections}
    assert not [c for c in glossary().chapter.unique() if names.get(c[0], c) != c]

def test_navbar():
    items = QUARTO['website']['navbar'].get('left', []) + QUARTO['website']['navbar'].get('right', [])
    assert not [o['href'] for o in items if o['href'].endswith('.ipynb') and not (ROOT/'nbs'/o['href']).is_file()]

def test_pages_show_no_private_signatures(tmp_path):
    "nbdev documents every patched function; `__exit__`, and the module that a notebook runs in, say nothing to a reader."
    nb = json.loads(notebook('#| echo: false\nshow_doc(Prefetch.__exit__)', 'show_doc(_Bytes.show)', 'show_doc(Stream.some_name)', 'x'))
    nb['cells'][3]['outputs'] = [dict(output_type='execute_result', execution_count=1, metadata={}, data={'text/plain': ['<__main__.Stream>']})]
    (tmp_path/'05_a.ipynb').write_text(json.dumps(nb), encoding='utf-8')
    docs.stage_nb(tmp_path/'05_a.ipynb', tmp_path/'a.ipynb', CFG)
    shown = cells(tmp_path/'a.ipynb')
    assert [source(c) for c in shown[1:]] == ['show_doc(Stream.some_name)', 'x']
    assert ''.join(shown[-1]['outputs'][0]['data']['text/plain']) == '<Stream>'

# ---------------------------------------------------------------- the notebooks, without building anything
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_links(path):
    "Relative links in the text of a notebook lead to a notebook or a file, so that they work in Jupyter and on GitHub too."
    bad = []
    for c in cells(path):
        if c['cell_type'] != 'markdown': continue
        text = re.sub(r'```.*?```|`[^`\n]*`', '', source(c), flags=re.S)
        for ref in re.findall(r'\]\(<?([^)\s>]+)', text) + re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match(r'[a-zA-Z][\w+.-]*:|#|//', ref): continue
            target = unquote(urldefrag(ref)[0])
            if not (path.parent/target).exists(): bad.append(ref)
    assert not bad, f'no such notebook or file (a page is linked by its notebook, like 010_samples.ipynb#reading): {bad}'

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_imports_alone(path):
    "A docs build runs every cell that has an import, and no cell that has none: an import beside other code may fail, or take minutes."
    bad = []
    for c in cells(path):
        src = source(c)
        if c['cell_type'] != 'code' or re.search(r'^#\|\s*(export|exports|exporti|exec_doc|eval:\s*false)\b', src, flags=re.M): continue
        try: tree = ast.parse(src)
        except SyntaxError: continue
        imports = (ast.Import, ast.ImportFrom)
        harmless = (*imports, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if any(isinstance(n, imports) for n in ast.walk(tree)) and not all(isinstance(n, harmless) for n in tree.body): bad.append(src.strip().splitlines()[0])
    assert not bad, f'imports stand alone in a cell: {bad}'

# ---------------------------------------------------------------- names
EXPORTED = re.compile(r'^#\|\s*(export|exports|exporti)\b', re.M)

def star(module):
    "What `from module import *` brings."
    m = importlib.import_module(module)
    return set(getattr(m, '__all__', None) or [n for n in vars(m) if n[0] != '_'])

def brings(node):
    "Names that an import statement brings."
    if isinstance(node, ast.ImportFrom) and node.names[0].name == '*': return star(node.module)
    return {(a.asname or a.name).split('.')[0] for a in node.names}

def defined(tree):
    "Names that code defines: assigned, defined, caught, or a parameter."
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load): yield n.id
        elif isinstance(n, ast.arg): yield n.arg
        elif isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)) and n.name: yield n.name

def unknown_names(sources):
    "Names that lesson cells use and that come neither from the page's imports, nor from definitions in the cells above."
    known, bad = {*dir(builtins), 'get_ipython', 'display', '__name__'}, {}
    for s in sources:
        tree = ast.parse('\n'.join('' if l.lstrip().startswith(('%', '!')) else l for l in s.splitlines()))
        if not EXPORTED.search(s):
            for n in ast.walk(tree):
                if isinstance(n, (ast.Import, ast.ImportFrom)): known |= brings(n)
        known |= set(defined(tree))
        if not EXPORTED.search(s): bad |= {n.id: s for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id not in known}
    return bad

def test_unknown_names():
    assert set(unknown_names(['from json import *', 'x = loads("1")', 'def f(a): return a + x', 'f(dumps(y))', '#| export\nimport re\nz = 1', 're.sub, z'])) == {'y', 're'}

FACE = re.compile(r'^from pretrain_notes\.(\w+)\.all import \*', re.M)
FACED = [p for p in NOTEBOOKS if any(FACE.search(source(c)) and not EXPORTED.search(source(c)) for c in cells(p) if c['cell_type'] == 'code')]

@pytest.mark.parametrize('path', FACED, ids=lambda p: p.stem)
def test_names_come_with_the_import(path):
    "A reader who takes the one import that a page names, and types its lesson cells, meets no NameError. (Imports of exported cells do not count.)"
    pytest.importorskip('torch')
    assert not unknown_names([source(c) for c in cells(path) if c['cell_type'] == 'code' and c['id'] != colab.ID])

# ---------------------------------------------------------------- the head of a notebook
def read(text, tmp_path):
    from fastcore.nbio import read_nb
    (tmp_path/'x.ipynb').write_text(text, encoding='utf-8')
    return read_nb(tmp_path/'x.ipynb')

def test_head(tmp_path):
    "The Colab cell comes first; nothing is left in the title cell that nbdev would drop; a second time changes nothing."
    nb = colab.put(read(notebook('md:# Title\n\n> about\n> it\n\nAn introduction.\n\n- time: 3', '#| default_exp x'), tmp_path), CFG)
    assert [c.source for c in nb.cells] == [colab.source(CFG), '# Title\n\n> about it', 'An introduction.\n\n- time: 3', '#| default_exp x']
    assert [c.source for c in colab.put(nb, CFG).cells] == [c.source for c in nb.cells]
    nb.cells.append(nb.cells.pop(0))
    assert colab.put(nb, CFG).cells[0].id == colab.ID and len(nb.cells) == 4

@pytest.mark.parametrize('shell, runs', [('<google.colab._shell.Shell object>', ['pip']), ('<ipykernel.zmqshell.ZMQInteractiveShell object>', [])])
def test_colab_cell_runs_only_there(shell, runs):
    from IPython.core.inputtransformer2 import TransformerManager
    class Shell:
        ran = []
        def __str__(self): return shell
        def run_line_magic(self, name, args, *_): self.ran.append(name); assert args == f'install -q {CFG.lib_name}'
    exec(TransformerManager().transform_cell(colab.source(CFG)), dict(get_ipython=Shell))
    assert Shell.ran == runs

# ---------------------------------------------------------------- the check
@pytest.mark.parametrize('body, found', [
    ('<a href="other.html#there">x</a><a href="#top">x</a><a href="https://example.org/none">x</a><a href="other.html?x=1">x</a>', []),
    ('<a href="gone.html">x</a>', ['index.html: broken link gone.html']),
    ('<a href="other.html#gone">x</a>', ['index.html: broken link other.html#gone (the page has no such heading)']),
    ('<img src="gone.png">', ['index.html: missing image gone.png']),
    ('<img src="pic.png"><img src="data:image/png;base64,AA==">', []),
    ('<img alt="x">', ['index.html: missing image (an <img> without a source)']),
    ('<a href="../secret.html">x</a>', ['index.html: broken link ../secret.html (outside the site)']),
    ('<a href="https://me.io/site/gone.html">x</a>', ['index.html: broken link gone.html']),
    ('<a href="https://me.io/site/other.html#there">x</a><a href="https://me.io/site">x</a>', []),
    ('<a href="https://github.com/me/r/blob/main/gone.py">x</a>', ['index.html: broken link https://github.com/me/r/blob/main/gone.py (no such file in the repository)']),
    ('<a href="https://colab.research.google.com/github/me/r/blob/main/a.ipynb">x</a>', [])])
def test_problems(tmp_path, body, found):
    site = tmp_path/'site'
    site.mkdir()
    (tmp_path/'a.ipynb').touch(); (tmp_path/'secret.html').touch(); (site/'pic.png').touch()
    (site/'index.html').write_text(f'<html><body>{body}</body></html>')
    (site/'other.html').write_text('<h2 id="there">x</h2>')
    assert docs.problems(site, 'https://me.io/site', 'https://github.com/me/r', 'main', tmp_path) == found

def test_no_site(tmp_path): assert docs.problems(tmp_path) == ['index.html: there is no such page']

# ---------------------------------------------------------------- both builders, on a project of two pages
@pytest.fixture
def small(tmp_path):
    "A project with this one's configuration, an index and one numbered notebook."
    root = tmp_path/'small'
    (root/'nbs').mkdir(parents=True); (root/'pretrain_notes').mkdir()
    for f in ('pyproject.toml', '_quarto.yml', 'pretrain_notes/__init__.py', 'nbs/styles.css'): shutil.copy(ROOT/f, root/f)
    (root/'nbs/_quarto.yml').symlink_to('../_quarto.yml')
    index = ['md:# small\n\n> a site', f'md:[store](110_annotate.store.ipynb#one-part) and [again]({CFG.doc_url.rstrip("/")}/annotate.store.html)', 'md:## End']
    (root/'nbs/index.ipynb').write_text(notebook(*index), encoding='utf-8')
    (root/'nbs/110_annotate.store.ipynb').write_text(notebook('md:# Store\n\n> labels', 'md:## One part\n\n[back](index.ipynb)', '1+1'), encoding='utf-8')
    return root

class Links(HTMLParser):
    def __init__(self, path): super().__init__(); self.found = []; self.feed(path.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs): self.found += [v for k, v in attrs if tag == 'a' and k == 'href']

def test_preview(small, sh):
    said = sh(ROOT/'tools/docs.py', '--preview', cwd=small)
    assert '2 pages' in said and '0 broken links' in said, said
    links = Links(small/'_docs/index.html').found
    assert 'annotate.store.html#one-part' in links and 'annotate.store.html' in links
    assert colab.url(CFG, 'index.ipynb') in links and colab.url(CFG, '110_annotate.store.ipynb') in Links(small/'_docs/annotate.store.html').found

def test_preview_fails_on_broken_links(small, sh):
    nb = notebook('md:# small\n\n> a site', 'md:[gone](110_annotate.store.ipynb#gone) ![gone](gone.png) [gone](gone.ipynb)')
    (small/'nbs/index.ipynb').write_text(nb, encoding='utf-8')
    with pytest.raises(pytest.fail.Exception) as e: sh(ROOT/'tools/docs.py', '--preview', cwd=small)
    said = str(e.value)
    assert 'exit 1' in said and 'Traceback' not in said
    for o in ('broken link annotate.store.html#gone', 'missing image gone.png', 'broken link gone.html'): assert o in said, said

FAKE = '''#!{python}
import sys, pathlib, json, yaml
out = pathlib.Path(sys.argv[sys.argv.index('--output-dir') + 1]) if '--output-dir' in sys.argv else None
cfg = yaml.safe_load(open('_quarto.yml'))
pages = sorted(p.name for p in pathlib.Path('.').glob('*.ipynb'))
if sys.argv[1] == 'inspect':
    print(json.dumps(dict(config=cfg, files=dict(input=[str(pathlib.Path(p).resolve()) for p in pages]))))
    sys.exit()
listed = [p for o in cfg['website']['sidebar']['contents'] for p in ([o] if isinstance(o, str) else o['contents'])]
assert sorted(listed) == pages, (listed, pages)
out.mkdir(parents=True, exist_ok=True)
for p in [a for a in sys.argv[2:] if a.endswith('.ipynb')] or pages: (out/p.replace('.ipynb', '.html')).write_text('<p>by quarto</p>')
'''

def test_quarto_is_used_where_it_is(small, sh, tmp_path):
    "With a stand-in for Quarto that has its arguments: it gets the pages under their published names, listed in the sidebar."
    exe = tmp_path/'bin/quarto'
    exe.parent.mkdir()
    exe.write_text(FAKE.format(python=sys.executable))
    exe.chmod(0o755)
    said = sh(ROOT/'tools/docs.py', cwd=small, PATH=f'{exe.parent}{os.pathsep}{os.environ["PATH"]}')
    assert 'built with Quarto' in said, said
    assert sorted(p.name for p in (small/'_docs').glob('*.html')) == ['annotate.store.html', 'index.html']

# ---------------------------------------------------------------- in a browser
def test_glossary_search(browser):
    "Typing in the box of the glossary leaves the rows that match, in either language."
    with ThreadPoolExecutor(1) as ex: ex.submit(_search_glossary, browser).result()      # the labelers' tests may have a browser open in this thread

def _search_glossary(browser):
    from playwright.sync_api import sync_playwright
    from pretrain_notes.glossary import glossary, glossary_html
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=browser, args='--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking'.split())
        page = b.new_page()
        page.set_content(glossary_html())
        rows = page.locator('tbody tr:visible')
        assert rows.count() == len(glossary())
        for term in ('去重', 'Deduplication', 'ＤＥＤＵＰ'):
            page.fill('input', term)
            assert rows.count() == 1 and '去重' in rows.first.inner_text()
        page.fill('input', '')
        assert rows.count() == len(glossary())
        b.close()
