"""Build the site into _docs/: with Quarto where it is installed, with the offline preview (smalldocs) otherwise.

    python tools/docs.py [--force] [--preview] [--check]

--force processes every notebook again; --preview uses smalldocs even where Quarto is installed; --check only checks
what already lies in _docs/. Exit 1, listing them, when a page has a broken internal link or a missing image.
"""
import os, re, shutil, sys, tempfile
from argparse import ArgumentParser
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from fastcore.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config, nbpath2html

sys.path.insert(0, str(Path(__file__).parent))
import colab

# ---------------------------------------------------------------- stage: the processed notebooks under their published names
def published(name):
    "`110_annotate.store.ipynb` is published as `annotate.store`."
    return nbpath2html(Path(name)).with_suffix('').name if '/' not in name else str(nbpath2html(Path(name)).with_suffix(''))

def relink(s, cfg):
    "Point links to notebooks, and links to this very site, at the pages beside this one."
    s = re.sub(r'(\]\(|href=["\'])(?:\./|nbs/)?([\w.-]+)\.ipynb(?=[)#"\'])', lambda m: f'{m[1]}{published(m[2] + ".ipynb")}.html', s)
    return re.sub(rf'(\]\(|href=["\']){re.escape(cfg.doc_url.rstrip("/"))}/?(?=[\w#)"\'])',
                  lambda m: m[1] + ('index.html' if s[m.end():m.end() + 1] in '#)"\'' else ''), s)

def _joined(v): return ''.join(v) if isinstance(v, list) else v

def links_cell(cfg, name):
    "The badges under a page's title: this page in Colab, and on GitHub."
    return mk_cell(f'::: {{.page-links}}\n[Open in Colab]({colab.url(cfg, name)}){{.colab-badge}} '
                   f'[Notebook on GitHub]({cfg.git_url}/blob/{cfg.branch}/nbs/{name}){{.source-badge}}\n:::', 'markdown')

def _documents_private(cell):
    "Whether nbdev put the signature of a private or special method here: `show_doc(Prefetch.__exit__)`"
    return bool(cell.cell_type == 'code' and re.search(r'^show_doc\([\w.]*\b_', cell.source, re.M))

def stage_nb(src, dest, cfg):
    "Write a processed notebook as a page: links that stay in the site, and the badges under the title."
    nb = read_nb(src)
    nb.cells = [c for c in nb.cells if not _documents_private(c)]
    for c in nb.cells:
        if c.cell_type == 'markdown': c.source = relink(c.source, cfg)
        for o in c.get('outputs', []):
            for k, v in (o.get('data') or {}).items():
                if k.startswith('text/'): v = o['data'][k] = _joined(v).replace('__main__.', '')        # where a page's own classes live
                if k in ('text/markdown', 'text/html'): o['data'][k] = relink(v, cfg)
    first = nb.cells[0].cell_type == 'raw' if nb.cells else False
    nb.cells.insert(int(first), links_cell(cfg, src.name))
    write_nb(nb, dest)

def stage_sidebar(items, pages):
    "The sidebar of the pages that there are, by their published names; a chapter without a page is left out."
    res = []
    for o in items:
        if isinstance(o, str):
            if o in pages: res.append(f'{pages[o]}.ipynb')
        elif 'contents' in o:
            inner = stage_sidebar(o['contents'], pages)
            if inner: res.append({**o, 'contents': inner})
        else: res.append(o)
    return res

def sidebar_pages(items):
    "Every notebook that a sidebar lists, in order."
    return [p for o in items for p in ([o] if isinstance(o, str) else sidebar_pages(o.get('contents', [])))]

def stage(proc, dest, cfg):
    "Copy the processed project to `dest`, ready for either builder; the notebooks that the sidebar lists in vain."
    shutil.copytree(proc, dest, ignore=shutil.ignore_patterns('*.ipynb', '.*', cfg.doc_path.name, 'README.md', '*_files'))
    nbs = sorted(proc.glob('*.ipynb'))
    pages = {p.name: published(p.name) for p in nbs}
    if len(set(pages.values())) < len(pages): raise SystemExit(f'two notebooks have the same page: {sorted(pages.values())}')
    for p in nbs: stage_nb(p, dest/f'{pages[p.name]}.ipynb', cfg)
    quarto = yaml.safe_load((proc/'_quarto.yml').read_text(encoding='utf-8'))
    listed = quarto['website']['sidebar']['contents']
    quarto['website']['sidebar']['contents'] = stage_sidebar(listed, pages)
    for side, items in quarto['website'].get('navbar', {}).items():
        if side not in ('left', 'right'): continue
        items[:] = [{**o, 'href': f"{pages[o['href']]}.ipynb" if o['href'] in pages else o['href']}
                    for o in items if o['href'] in pages or not o['href'].endswith('.ipynb')]
    (dest/'_quarto.yml').write_text(yaml.safe_dump(quarto, sort_keys=False, allow_unicode=True), encoding='utf-8')
    twins = [f for f in quarto['format'] if f != 'html']      # nbdev.yml links to a Markdown twin: name the format that is built
    nbdev = dest/'nbdev.yml'
    if twins: nbdev.write_text(nbdev.read_text(encoding='utf-8').replace('commonmark', twins[0]), encoding='utf-8')
    return [p for p in sidebar_pages(listed) if p not in pages]

# ---------------------------------------------------------------- check: what a reader would click on, or look at in vain
class _Page(HTMLParser):
    "The ids of a page, and what it refers to."
    refs = {'a': ('href',), 'area': ('href',), 'link': ('href',), 'img': ('src',), 'script': ('src',), 'source': ('src',),
            'audio': ('src',), 'video': ('src', 'poster'), 'iframe': ('src',), 'object': ('data',)}
    def __init__(self, path):
        super().__init__()
        self.ids, self.found = set(), []
        self.feed(path.read_text(encoding='utf-8', errors='replace'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ('id', 'name') if a.get(k)}
        if tag == 'img' and not a.get('src'): self.found.append((tag, ''))
        self.found += [(tag, a[k]) for k in self.refs.get(tag, ()) if a.get(k)]

def problems(docs, doc_url='', git_url='', branch='main', repo=None):
    "One line for each broken internal link or missing image in the pages under `docs`; links into `repo` on GitHub count as internal."
    docs = Path(docs).resolve()
    pages = {p: _Page(p) for p in sorted(docs.rglob('*.html')) if 'site_libs' not in p.relative_to(docs).parts}
    colab_url = git_url.replace('https://github.com', 'https://colab.research.google.com/github')
    res = [] if (docs/'index.html').is_file() else ['index.html: there is no such page']
    for p, page in pages.items():
        name = p.relative_to(docs).as_posix()
        for tag, ref in page.found: res += [f'{name}: {why}' for why in _check(tag, ref, p, docs, pages, doc_url, git_url, colab_url, branch, repo)]
    return list(dict.fromkeys(res))

def _check(tag, ref, page, docs, pages, doc_url, git_url, colab_url, branch, repo):
    kind = 'missing image' if tag == 'img' else 'broken link'
    if not ref: return ['missing image (an <img> without a source)']
    for base in (git_url, colab_url):
        pre = f'{base}/blob/{branch}/'
        if repo and base and ref.startswith(pre):
            return [] if (Path(repo)/unquote(urldefrag(ref[len(pre):])[0])).exists() else [f'{kind} {ref} (no such file in the repository)']
    root = doc_url.rstrip('/') + '/'
    if doc_url and (ref + '/').startswith(root): ref = '../' * (len(page.relative_to(docs).parts) - 1) + ref[len(root):] or 'index.html'
    if re.match(r'[a-zA-Z][a-zA-Z0-9+.-]*:|//', ref): return []
    path, frag = urldefrag(ref)
    path = unquote(path.split('?')[0])
    if path.startswith('/'): return [f'{kind} {ref} (starts at the root of the server)']
    target = (page.parent/path).resolve() if path else page
    if target.is_dir(): target /= 'index.html'
    if not target.is_relative_to(docs): return [f'{kind} {ref} (outside the site)']
    if not target.is_file(): return [f'{kind} {ref}']
    if tag == 'a' and frag and target in pages and unquote(frag) not in pages[target].ids | {'top'}: return [f'{kind} {ref} (the page has no such heading)']
    return []

# ---------------------------------------------------------------- build
def build_quarto(src, out, n_workers):
    "As `nbdev-docs` does, without its download."
    from nbdev.quarto import _fix_quarto_nav
    from nbdev.quarto_render import render_quarto
    render_quarto(src, out, n_workers=n_workers)
    _fix_quarto_nav(out)

def build_smalldocs(src, out):
    "The offline preview; its warnings about options that only Quarto knows are no news."
    from smalldocs.site import build
    site = build(src, quiet=True)
    for w in site.warnings:
        if not re.search(r'broken link|unknown key|is not built|not read|is ignored', w): print(f'note: {w}', file=sys.stderr)

def _told(e):
    "Where it happened and what: an error of a cell comes with the whole source of the cell."
    lines = str(e).splitlines() or ['']
    return f'{type(e).__name__}: {e}' if len(lines) < 3 else f'{lines[0]}\n    {lines[1]} ...\n{lines[-1]}'

def build(cfg, force=False, preview=False, n_workers=2):
    "Process, stage, build; then put the site in place of the old one."
    import nbdev.doclinks
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')   # for the processes that process notebooks
    refresh_quarto_yml()
    nbdev.doclinks._build_modidx()
    try: proc = proc_nbs(cfg.nbs_path, n_workers=n_workers, force=force)
    except Exception as e: raise SystemExit(f'{_told(e)}\nA docs build runs exported cells and cells with imports, nothing else: imports stand alone in a cell.')
    quarto = bool(shutil.which('quarto')) and not preview
    with tempfile.TemporaryDirectory(prefix='docs-') as tmp:
        src = Path(tmp).resolve()/'site'
        absent = stage(proc, src, cfg)
        if absent: print(f"note: the sidebar lists notebooks that are not there: {', '.join(absent)}", file=sys.stderr)
        out = src/cfg.doc_path.name
        if quarto: build_quarto(src, out, n_workers)
        else: build_smalldocs(src, out)
        (out/'.nojekyll').touch()
        shutil.rmtree(cfg.doc_path, ignore_errors=True)
        shutil.move(out, cfg.doc_path)
    return 'Quarto' if quarto else 'smalldocs, the offline preview (Quarto is not installed)' if not preview else 'smalldocs, the offline preview'

def main(argv=None):
    p = ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--force', action='store_true', help='process every notebook again')
    p.add_argument('--preview', action='store_true', help='use smalldocs even where Quarto is installed')
    p.add_argument('--check', action='store_true', help='only check what lies in _docs')
    args = p.parse_args(argv)
    cfg = get_config()
    how = None if args.check else build(cfg, args.force, args.preview)
    bad = problems(cfg.doc_path, cfg.doc_url, cfg.git_url, cfg.branch, cfg.config_path)
    for b in bad: print(b, file=sys.stderr)
    n = len(list(cfg.doc_path.glob('*.html')))
    print(f"{cfg.doc_path.name}/index.html: {n} pages" + (f', built with {how}' if how else '') + f'; {len(bad)} broken links or missing images')
    return int(bool(bad))

if __name__ == '__main__': sys.exit(main())   # the guard matters: processing spawns processes that import this file
