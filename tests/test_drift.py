"""What is generated equals what its source says now; no fact is written twice; nothing of a machine is in the tree."""
import ast, json, os, re, runpy, tomllib
from configparser import ConfigParser
from pathlib import Path
import pytest, setuptools

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'pretrain_notes'
BY_HAND = {f'{PACKAGE}/__init__.py'}    # the only module that no notebook exports
PROJECT = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']
RUN = 'import sys; from {0} import {1} as f; sys.argv[1:] = []; f()'

def state(root, pattern): return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.glob(pattern)}

def differences(old, new): return sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))

@pytest.fixture
def modules(tree, sh):
    "The package's modules as they are, and as the notebooks alone export them."
    old = state(tree, f'{PACKAGE}/**/*.py')
    for k in set(old) - BY_HAND: (tree/k).unlink()
    sh('-c', RUN.format('nbdev.doclinks', 'nbdev_export'), cwd=tree)
    return old, state(tree, f'{PACKAGE}/**/*.py')

def test_export(modules):
    old, new = modules
    orphans = sorted(set(old) - set(new))
    assert not orphans, f'no notebook exports these modules: {orphans}; a notebook was renamed or removed: delete them'
    wrong = differences(old, new)
    assert not wrong, f'{wrong} differ from what the notebooks export: run `make export`'

def test_clean(tree, sh):
    old = state(tree, 'nbs/**/*.ipynb')
    sh('-c', RUN.format('nbdev.clean', 'nbdev_clean'), cwd=tree)
    wrong = differences(old, state(tree, 'nbs/**/*.ipynb'))
    assert not wrong, f'{wrong} are not clean: run `make export`'

def test_generated_pages(tree, sh):
    "README.md and nbs/nbdev.yml are what nbs/index.ipynb and pyproject.toml say."
    assert (tree/'nbs/index.ipynb').exists(), 'nbs/index.ipynb, the source of README.md, does not exist yet'
    sh('tools/readme.py', '--check', cwd=tree)
    old = state(tree, 'nbs/*.yml')
    sh('-c', 'from nbdev.quarto import refresh_quarto_yml as f; f()', cwd=tree)
    assert not differences(old, state(tree, 'nbs/*.yml')), 'nbs/nbdev.yml is old: run `make export`'

def test_colab_cell(tree, sh): sh('tools/colab.py', '--check', cwd=tree)

def test_quarto_yml():
    link = ROOT/'nbs/_quarto.yml'
    assert link.is_symlink() and os.readlink(link) == '../_quarto.yml'
    assert link.read_text(encoding='utf-8') == (ROOT/'_quarto.yml').read_text(encoding='utf-8')

# ---------------------------------------------------------------- each fact has one owner
def test_settings_ini():
    "settings.ini holds dependencies, extras, status and commands, and nothing else."
    cfg = ConfigParser(delimiters='=', interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    assert not cfg.sections()
    other = [k for k in cfg.defaults() if k not in ('status', 'requirements', 'console_scripts') and not k.endswith('_requirements')]
    assert not other

def test_setup_py(monkeypatch):
    "setup.py passes only what pyproject.toml leaves to it."
    given = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **kw: given.update(kw))
    runpy.run_path(str(ROOT/'setup.py'))
    assert set(given) == {'install_requires', 'extras_require', 'entry_points', 'classifiers'}
    assert set(PROJECT['dynamic']) == {'version', 'dependencies', 'optional-dependencies', 'scripts', 'entry-points', 'classifiers'}
    assert not set(PROJECT['dynamic']) & set(PROJECT)

def test_facts(files):
    "The version stands in the package; description, urls and oldest Python in pyproject.toml. What is generated from them may repeat them."
    version = next(o.value.value for o in ast.parse((ROOT/PACKAGE/'__init__.py').read_text(encoding='utf-8')).body
                   if isinstance(o, ast.Assign) and o.targets[0].id == '__version__')
    facts = {PROJECT['description']: f'{PACKAGE}/__init__.py', version: f'{PACKAGE}/__init__.py', **dict.fromkeys(PROJECT['urls'].values())}
    facts[PROJECT['requires-python']] = None
    may = 'README.md CHANGELOG.md pyproject.toml LICENSE'.split()
    config = [f for f in files if f.parts[0] not in ('nbs', PACKAGE, 'tests') and f.name not in may
              and f.suffix in ('', '.ini', '.py', '.toml', '.yml', '.yaml', '.md', '.in', '.cfg')]
    twice = [(f.as_posix(), fact) for f in config for fact in facts
             if re.search(rf'(?<![\w.]){re.escape(fact)}(?![\w.]*\d)', (ROOT/f).read_text(encoding='utf-8'))]
    assert not twice
    assert version not in (ROOT/'pyproject.toml').read_text(encoding='utf-8')

# ---------------------------------------------------------------- nothing of a machine
MACHINE = re.compile(r'(?<![\w.~/$}-])/(?:home|root|tmp|work|Users|mnt|media|srv|private|var/folders)/[\w.-]+|[A-Z]:\\+Users\\+\w+')
BASE64 = re.compile(r'[A-Za-z0-9+/]{80,}={0,2}')

def text(path):
    "What a person could read in a file: for a notebook all but its pictures."
    s = path.read_text(encoding='utf-8')
    if path.suffix == '.ipynb':
        nb = json.loads(s)
        for o in (o for c in nb['cells'] for o in c.get('outputs', [])):
            for k in [k for k in o.get('data', {}) if k.startswith('image/') and 'svg' not in k]: del o['data'][k]
        s = json.dumps(nb, ensure_ascii=False)
    return BASE64.sub('', s)

def test_no_machine(files):
    found = []
    for f in files:
        if (ROOT/f).is_symlink():
            if os.readlink(ROOT/f).startswith('/'): found.append((f.as_posix(), os.readlink(ROOT/f)))
            continue
        try: s = text(ROOT/f)
        except UnicodeDecodeError: continue
        found += [(f.as_posix(), m) for m in MACHINE.findall(s)]
    assert not found
