"""The rooms: who may lean on whom, read from the imports of every module, those inside functions too."""
import ast, fnmatch, re, sys
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from conftest import ROOT

PACKAGE = ROOT/'pretrain_notes'
FILES = {'.'.join(p.relative_to(PACKAGE).with_suffix('').parts): p for p in sorted(PACKAGE.rglob('*.py')) if p.name[0] != '_'}
NUMBERS = {m[2]: int(m[1]) for p in (ROOT/'nbs').glob('*.ipynb') if (m := re.fullmatch(r'(\d{3})_(.+)', p.stem))}
LINES = 700         # of a room

# A chapter is a folder, or a number (the ground 0, the roof 9); what it may lean on besides the ground, as patterns of modules.
GROUND = 'base markup media parts columns samples readers workers steps stats datasets glossary batch'.split()    # each leans on those before it
LEANS = dict(annotate='', classify='', pretrain='', transfer='pretrain.*', collect='', scale='pretrain.* collect.*',
             standards='annotate.issues annotate.formats* annotate.label_studio annotate.store classify.preflight collect.*', bench='*', roof='*')
HEAVY = 'torch', 'torchvision', 'fastai', 'timm'                      # on the ground only batch/ imports these

def chapter(module):
    first = module.split('.')[0]
    return 'ground' if first in GROUND else 'roof' if NUMBERS.get(module, 0) >= 900 else first

@cache
def imports(module):
    "What a module imports: (the name written out from the root, the names taken from it, the line)."
    here = ['pretrain_notes', *module.split('.')]
    found = []
    for o in ast.walk(ast.parse(FILES[module].read_text(encoding='utf-8'))):
        if isinstance(o, ast.Import): found += [(a.name, (), o.lineno) for a in o.names]
        if isinstance(o, ast.ImportFrom):
            base = [*here[:len(here) - o.level], *(o.module or '').split('.')] if o.level else o.module.split('.')
            found.append(('.'.join(filter(None, base)), tuple(a.name for a in o.names), o.lineno))
    return found

@cache
def leans(module):
    "The modules of ours that a module imports: {module: line}."
    res = {}
    for name, taken, line in imports(module):
        if name.split('.')[0] != 'pretrain_notes': continue
        name = name.partition('.')[2]
        for o in [f'{name}.{t}'.strip('.') for t in taken] + [name]:
            if o in FILES and o != module: res.setdefault(o, line)
    return res

def third_party(module): return {n.split(".")[0]: line for n, _, line in reversed(imports(module))}

def says(module, line): return f'{FILES[module].relative_to(ROOT)}:{line}'

def wrong(module, other):
    "Why `module` may not lean on `other`; empty if it may."
    a, b = chapter(module), chapter(other)
    if a == b == 'ground':
        i, j = (GROUND.index(o.split('.')[0]) for o in (module, other))
        return '' if i > j or i == j and NUMBERS.get(module, 0) > NUMBERS.get(other, 0) else 'on the ground a module leans on what stands before it'
    if a == b: return '' if a == 'roof' or NUMBERS.get(module, 0) > NUMBERS.get(other, 0) else 'within a chapter a module leans on lower numbers'
    if a == 'ground': return 'the ground leans on no chapter'
    if b == 'ground' or any(fnmatch.fnmatch(other, p) for p in LEANS[a].split()): return ''
    return f'{a} may lean on the ground' + ', '.join(['', *LEANS[a].split()])

def test_every_module_has_a_room():
    assert not [m for m in FILES if chapter(m) not in ('ground', *LEANS)], 'a module stands in a chapter, on the ground or on the roof'

@pytest.mark.parametrize('module', FILES)
def test_layers(module):
    bad = [f'{says(module, line)} leans on {other}: {why}' for other, line in leans(module).items() if (why := wrong(module, other))]
    assert not bad, '\n'.join(bad)

@pytest.mark.parametrize('module', [m for m in FILES if chapter(m) == 'ground' and not m.startswith('batch.')])
def test_torch_begins_in_batch(module):
    may = ['torchvision'] if module == 'datasets' else []        # knows the mirrors of classic sets: the function that downloads asks it
    bad = [f'{says(module, line)} imports {o}' for o, line in third_party(module).items() if o in HEAVY and o not in may]
    assert not bad, '\n'.join(bad)

def test_check_is_light():
    "What `standards.check` imports, directly or through others, imports neither torch nor fastai."
    todo, seen = ['standards.check'], {}
    while todo:
        m = todo.pop()
        for o in leans(m):
            if o not in seen: seen[o] = m; todo.append(o)
    bad = [f'{says(m, line)} imports {o} (imported by {by})' for m, by in seen.items() for o, line in third_party(m).items() if o in HEAVY and m != 'datasets']
    assert not bad, '\n'.join(bad)

@pytest.mark.parametrize('module', FILES)
def test_no_private_imports(module):
    "What two rooms need is public and documented, or stands a floor lower."
    bad = [f'{says(module, line)} takes {n} from {name}' for name, taken, line in imports(module) if name.startswith('pretrain_notes')
           for n in taken if re.match('_[^_]', n)]
    assert not bad, '\n'.join(bad)

@pytest.mark.parametrize('module', FILES)
def test_room_size(module):
    n = len(FILES[module].read_text(encoding='utf-8').splitlines())
    assert n <= LINES, f'{module} has {n} lines: it is probably two rooms'

@cache
def declared():
    "Distributions that settings.ini names: {extra: names}; the extra of the runtime is empty."
    cfg = ConfigParser(delimiters='=', interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return {k.removesuffix('requirements').rstrip('_'): {canonicalize_name(Requirement(o).name) for o in v.split()}
            for k, v in cfg.defaults().items() if k.endswith('requirements')}

@cache
def distributions(): return packages_distributions()

@pytest.mark.parametrize('module', FILES)
def test_imports_are_declared(module):
    "Every third-party import has its distribution in settings.ini; the bench, transfer and the trained classifier may use theirs."
    extras = dict(bench=['bench', 'vision'], transfer=['vision'], roof=['onnx']).get(chapter(module), [])      # imported where used, with a word on what to install
    may, bad = declared()[''].union(*(declared()[e] for e in extras)), []
    for name, line in third_party(module).items():
        if name in sys.stdlib_module_names or name == 'pretrain_notes': continue
        dists = distributions().get(name, [])
        if not may & set(map(canonicalize_name, dists)): bad.append(f'{says(module, line)} imports {name}, of {" or ".join(dists) or "no installed distribution"}')
    assert not bad, 'not declared in settings.ini:\n' + '\n'.join(bad)
