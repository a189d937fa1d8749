"""How the notebooks read, in numbers: a look, not a gate.

`python tools/notebook_metrics.py` measures our notebooks, chapter by chapter and in total; `NAME=GLOB ...` other ones. `--json`: for machines.
`--pages`: what each page misses.

exported     lines of code of an exported cell: median, 90th percentile, most
shown        share of public functions and classes that a cell which is not exported uses within the next six cells
asserted     share of them that a later cell uses and tests
docments     share of their parameters with a comment of their own
pictures     share of the notebooks that store one
run          most exported cells with no other code cell between
first        how far down the page (share of its cells) its first function is shown: median, 90th percentile
words        of prose for a line of code"""
import argparse, ast, glob, json, re, sys
from collections import defaultdict
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
EXPORT = re.compile(r'\s*#\s*\|?\s*(export|exports|exporti|exportd)\b')
DIRECTIVE = re.compile(r'\s*#\s*\|')
TEST = re.compile(r'\b(test_\w+\(|assert\b|expect_fail|ExceptionExpected|test\()')
SHOW_DOC = re.compile(r'\s*(#.*\n)*\s*(show_doc|doc)\([^)]*\)\s*;?\s*', re.S)
NEAR, LINES, RUN = 6, 20, 6     # cells within which a symbol is shown; lines at the 90th percentile; exported cells in a row

def quantile(v, p): return sorted(v)[min(len(v) - 1, int(len(v)*p))] if v else 0
def share(part, whole): return round(part/whole, 3) if whole else None
def lines(src): return [o for o in src.splitlines() if o.strip() and not DIRECTIVE.match(o) and not EXPORT.match(o)]

def public(src):
    "The public functions and classes that a cell defines."
    try: tree = ast.parse('\n'.join('' if o.lstrip().startswith(('%', '!')) else o for o in src.splitlines()))
    except SyntaxError: return []
    return [o for o in tree.body if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not o.name.startswith('_')]

def parameters(node, src):
    "Parameters of a function, or of a class's `__init__`, each with whether a comment follows it on its line."
    inits = [o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'] if isinstance(node, ast.ClassDef) else [node]
    args = [a for f in inits for a in f.args.posonlyargs + f.args.args + f.args.kwonlyargs if a.arg not in ('self', 'cls')]
    rest = src.splitlines()
    return [(a.arg, '#' in rest[a.end_lineno - 1][a.end_col_offset:]) for a in args]

class Cell:
    def __init__(self, at, cell):
        self.at, self.kind, self.src = at, cell['cell_type'], ''.join(cell.get('source', ''))
        self.picture = any(k.startswith('image/') for o in cell.get('outputs', []) for k in o.get('data', {}))
        self.code = self.kind == 'code' and bool(self.src.strip())
        self.exported = self.code and any(map(EXPORT.match, self.src.splitlines()[:6]))
    def uses(self, name): return re.search(rf'\b{re.escape(name)}\b', self.src) and not SHOW_DOC.fullmatch(self.src)

class Symbol:
    "A public function or class: where it is first used, whether that is near, whether a test uses it."
    def __init__(self, node, cell, cells):
        used = [o for o in cells if o.at > cell.at and o.code and not o.exported and o.uses(node.name)]
        self.name, self.first, self.parameters = node.name, used[0].at if used else None, parameters(node, cell.src)
        self.shown, self.asserted = bool(used) and self.first <= cell.at + NEAR, any(TEST.search(o.src) for o in used)

class Page:
    "What is counted on one notebook."
    def __init__(self, path):
        cells = [Cell(i, c) for i, c in enumerate(json.loads(Path(path).read_text(encoding='utf-8')).get('cells', []))]
        code, exported = ([o for o in cells if getattr(o, k)] for k in ('code', 'exported'))
        self.path, self.picture = path, any(o.picture for o in cells)
        self.lengths = [n for o in exported if (n := len(lines(o.src)))]
        self.symbols = [Symbol(n, o, cells) for o in exported for n in public(o.src)]
        self.run = max(map(len, re.findall('x+', ''.join('x' if o.exported else '.' for o in code))), default=0)
        self.words = sum(len(o.src.split()) for o in cells if o.kind == 'markdown')
        self.lines = sum(len(lines(o.src)) for o in code)
        first = [o.first for o in self.symbols if o.first is not None]
        self.first = min(first)/len(cells) if first else None

    def misses(self):
        "What the page could do better, in words."
        bare = [f'{o.name}({", ".join(a)})' for o in self.symbols if (a := [k for k, ok in o.parameters if not ok])]
        if (p := quantile(self.lengths, .9)) > LINES: yield f'exported: {p} lines at the 90th percentile'
        if self.run > RUN: yield f'run: {self.run} exported cells'
        for k in 'shown', 'asserted':
            if names := [o.name for o in self.symbols if not getattr(o, k)]: yield f'not {k}: {" ".join(names)}'
        if bare: yield f'no docments: {" ".join(bare)}'
        if not self.picture: yield 'no picture'

def measure(pages):
    "All figures over some pages."
    symbols, lengths = [o for p in pages for o in p.symbols], [n for p in pages for n in p.lengths]
    args, first = [ok for o in symbols for _, ok in o.parameters], [p.first for p in pages if p.first is not None]
    longest = max(pages, key=lambda p: (p.run, str(p.path)))
    return dict(notebooks=len(pages), exported=[quantile(lengths, .5), quantile(lengths, .9), max(lengths, default=0)], symbols=len(symbols),
                shown=share(sum(o.shown for o in symbols), len(symbols)), asserted=share(sum(o.asserted for o in symbols), len(symbols)),
                docments=share(sum(args), len(args)), pictures=share(sum(p.picture for p in pages), len(pages)),
                longest_run=longest.run, longest_run_in=str(longest.path) if longest.run else '',
                first_shown_p50=round(quantile(first, .5), 2), first_shown_p90=round(quantile(first, .9), 2),
                words_per_code_line=share(sum(p.words for p in pages), sum(p.lines for p in pages)))

def ours():
    "Our numbered notebooks by chapter, and all of them."
    contents = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    names = {str(o['section'])[0]: str(o['section']) for o in contents if not isinstance(o, str)}
    sets = defaultdict(list)
    for p in sorted(ROOT.glob('nbs/[0-9]*.ipynb')): sets[names.get(p.name[0], p.name[0])].append(p.relative_to(ROOT))
    return dict(sets) | {'all': [p for ps in sets.values() for p in ps]}

def named(arg):
    "The name and the files of NAME=GLOB."
    name, _, pattern = arg.rpartition('=')
    files = sorted(f for f in glob.glob(pattern, recursive=True) if '.ipynb_checkpoints' not in f)
    return name or pattern, files or sys.exit(f'no notebook matches {pattern!r}')

def table(rows):
    "The figures of some sets as lines that a person reads."
    def percent(o): return '-' if o is None else f'{100*o:.0f}%'
    head = 'notebooks exported symbols shown asserted docments pictures run first words'.split()
    body = {n: [m['notebooks'], '/'.join(map(str, m['exported'])), m['symbols'], *[percent(m[k]) for k in ('shown', 'asserted', 'docments', 'pictures')],
                m['longest_run'], f'{m["first_shown_p50"]}/{m["first_shown_p90"]}', m['words_per_code_line']] for n, m in rows.items()}
    wide = max(map(len, body))
    return '\n'.join(n.ljust(wide) + ''.join(f'{v!s:>11}' for v in o) for n, o in {'': head, **body}.items())

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('sets', nargs='*', metavar='NAME=GLOB', help='notebooks to measure (ours, by chapter)')
    p.add_argument('--pages', action='store_true', help='what each page misses')
    p.add_argument('--json', action='store_true', help='one JSON object a line')
    a = p.parse_args(args)
    sets = {n: [Page(f) for f in fs] for n, fs in (dict(map(named, a.sets)) if a.sets else ours()).items()}
    rows = {n: measure(ps) for n, ps in sets.items()}
    missed = {str(o.path): list(o.misses()) for ps in sets.values() for o in ps} if a.pages else {}
    if a.json:
        for n, m in rows.items(): print(json.dumps(dict(set=n, **m)))
        for f, o in missed.items(): print(json.dumps(dict(page=f, misses=o)))
    else:
        print(table(rows))
        for f, o in missed.items():
            if o: print('\n' + '\n    '.join([f, *o]))

if __name__ == '__main__': main()
