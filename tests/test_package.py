"""The package as its users get it: the wheel, its metadata and command, and an import that is light."""
import json, shutil, subprocess, sys, tarfile, time, zipfile
from configparser import ConfigParser
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import pytest
from packaging.requirements import Requirement
from conftest import clean_env

ROOT = Path(__file__).resolve().parents[1]
HEAVY = 'torch fastai transformers datasets daft pandas numpy'.split()
SETTINGS = ConfigParser(delimiters='=', interpolation=None)
SETTINGS.read(ROOT/'settings.ini', encoding='utf-8')
SETTINGS = SETTINGS.defaults()

@pytest.fixture(scope='module')
def dist(tmp_path_factory, files):
    "The sdist, and the wheel that is built from it, made from a copy of the tree."
    tree, out = tmp_path_factory.mktemp('tree'), tmp_path_factory.mktemp('dist')
    for f in files:
        (tree/f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/f, tree/f, follow_symlinks=False)
    res = subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, tree], env=clean_env(), cwd=tree.parent,
                         capture_output=True, text=True)
    assert res.returncode == 0, res.stdout + res.stderr
    return out

@pytest.fixture(scope='module')
def wheel(dist): return zipfile.ZipFile(next(dist.glob('*.whl')))

@pytest.fixture(scope='module')
def metadata(wheel): return message_from_bytes(wheel.read(next(o for o in wheel.namelist() if o.endswith('.dist-info/METADATA'))))

@pytest.fixture(scope='module')
def site(dist, tmp_path_factory):
    "The wheel installed in a folder of its own, beside the dependencies of this environment."
    dest = tmp_path_factory.mktemp('site')
    res = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--disable-pip-version-check',
                          '--target', dest, next(dist.glob('*.whl'))], capture_output=True, text=True)
    assert res.returncode == 0, res.stdout + res.stderr
    return dest

def test_sdist(dist):
    names = {o.split('/', 1)[1] for o in tarfile.open(next(dist.glob('*.tar.gz'))).getnames() if '/' in o}
    assert {'settings.ini', 'setup.py', 'pyproject.toml', 'LICENSE', 'README.md'} <= names

def test_wheel_files(wheel, files):
    "The wheel has every file of the package, data too, and no other."
    expected = {f.as_posix() for f in files if f.parts[0] == 'pretrain_notes'}
    assert {o for o in wheel.namelist() if '.dist-info/' not in o} == expected

def test_metadata(wheel, metadata):
    import pretrain_notes
    assert metadata['Name'] == 'pretrain_notes' and metadata['Version'] == pretrain_notes.__version__
    assert metadata['Summary'] and metadata['License-Expression'] == 'Apache-2.0' and metadata['Requires-Python'] == '>=3.11'
    assert any(o.endswith('licenses/LICENSE') for o in wheel.namelist())
    assert {o.split(',')[0] for o in metadata.get_all('Project-URL')} == {'Repository', 'Documentation'}
    assert 'Development Status :: 3 - Alpha' in metadata.get_all('Classifier')
    assert metadata['Description-Content-Type'] == 'text/markdown' and metadata.get_payload().strip()

def test_requirements(metadata):
    "Dependencies and extras are those of settings.ini, and this environment has them."
    found = [Requirement(o) for o in metadata.get_all('Requires-Dist')]
    wanted = {k.removesuffix('requirements').rstrip('_'): v.split() for k, v in SETTINGS.items() if k.endswith('requirements')}
    assert set(metadata.get_all('Provides-Extra')) == set(wanted) - {''} >= {'dev', 'bench'}
    for extra, names in wanted.items():
        got = {(o.name, o.specifier) for o in found if (f'extra == "{extra}"' in str(o.marker) if extra else o.marker is None)}
        assert got == {(o.name, o.specifier) for o in map(Requirement, names)}
        for name, spec in got:
            try: assert version(name) in spec, f'{name} {version(name)} is not {spec}'
            except PackageNotFoundError: pytest.fail(f'{name} is not installed: make setup')

def test_entry_points(wheel):
    cfg = ConfigParser(delimiters='=')
    cfg.read_string(wheel.read(next(o for o in wheel.namelist() if o.endswith('entry_points.txt'))).decode())
    assert dict(cfg['console_scripts']) == {'pretrain-notes': 'pretrain_notes.cli:main'}
    assert dict(cfg['nbdev']) == {'pretrain_notes': 'pretrain_notes._modidx:d'}

def test_installed(site, sh):
    "The installed package is the one that is imported, knows its modules, and its data lie beside it."
    out = json.loads(sh('-c', 'import json, pretrain_notes as p; print(json.dumps([p.__file__, dir(p), p.samples.__name__]))',
                        PYTHONPATH=str(site)))
    assert Path(out[0]) == site/'pretrain_notes/__init__.py' and 'samples' in out[1]

@pytest.mark.parametrize('command', ['--help', 'tour --help'])
def test_command(site, command, tmp_path):
    script = site/'bin/pretrain-notes'
    res = subprocess.run([sys.executable, script, *command.split()], env=clean_env(PYTHONPATH=str(site)), cwd=tmp_path,
                         capture_output=True, text=True)
    assert res.returncode == 0 and 'Usage' in res.stdout, res.stdout + res.stderr

# ---------------------------------------------------------------- a light import
HERE = dict(PYTHONPATH=str(ROOT))   # this checkout, whatever is installed
LOADED = 'import json, sys; {}; print(json.dumps([o for o in sys.argv[1:] if o in sys.modules]))'

def test_import_is_light(sh):
    assert json.loads(sh('-c', LOADED.format('import pretrain_notes; dir(pretrain_notes)'), *HEAVY, **HERE)) == []

@pytest.mark.parametrize('module', ['samples', 'steps', 'datasets'])
def test_light_modules(sh, module):
    "Chapter 0 without its loaders needs neither torch nor fastai, nor what is heavier than what it reads with."
    assert (ROOT/f'pretrain_notes/{module}.py').exists(), f'pretrain_notes.{module} does not exist yet'
    assert json.loads(sh('-c', LOADED.format(f'import pretrain_notes.{module}'), 'torch', 'fastai', 'transformers', 'daft', **HERE)) == []

def test_import_time(sh):
    "`import pretrain_notes` costs next to nothing; best of 5, against an interpreter that does not."
    def best(code):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            sh('-c', code, **HERE)
            times.append(time.perf_counter() - start)
        return min(times)
    assert best('import pretrain_notes') - best('pass') <= .3

# ---------------------------------------------------------------- modules load on first touch
@pytest.fixture
def package(tmp_path):
    "A package with this package's `__init__`, a module, and sub-packages as nbdev makes them."
    init = (ROOT/'pretrain_notes/__init__.py').read_text(encoding='utf-8')
    for name, text in {'__init__': init, 'one': 'x = 1', 'broken': 'import no_such', '_modidx': '', 'data/x': '',
                       'sub/__init__': '', 'sub/two': 'x = 2', 'sub/deep/__init__': '', 'sub/deep/three': 'x = 3'}.items():
        path = tmp_path/f'lazy/{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
    return tmp_path

@pytest.mark.parametrize('code', [
    'assert not [o for o in sys.modules if o.startswith("lazy.") and o not in ("lazy.sub", "lazy.sub.deep")]',
    'assert (p.one.x, p.sub.two.x, p.sub.deep.three.x) == (1, 2, 3)',
    'import lazy.sub; assert lazy.sub.two.x == 2',
    'from lazy.sub.deep.three import x; assert p.sub.two.x == 2',
    'from lazy.sub import two; assert two.x == 2',
    'assert {"one", "sub", "broken"} <= set(dir(p)) and {"two", "deep"} <= set(dir(p.sub)) and not {"_modidx", "data"} & set(dir(p))',
    'for o in "no_such data __wrapped__ _x".split(): assert not hasattr(p, o) and not hasattr(p.sub, o), o',
    'try: p.no_such\nexcept AttributeError as e: assert "no_such" in str(e) and "lazy" in str(e)\nelse: assert 0',
    'try: p.broken\nexcept ModuleNotFoundError as e: assert e.name == "no_such"\nelse: assert 0',
])
def test_lazy(package, sh, code): sh('-c', f'import sys, lazy as p\n{code}', cwd=package)

def test_modules_on_touch(files):
    "Every module of the package is reached by attribute, sub-packages included."
    import pretrain_notes as pn
    names = [f.with_suffix('').parts[1:] for f in files if f.parts[0] == 'pretrain_notes' and f.suffix == '.py' and f.name[0] != '_']
    for first, *rest in names:
        assert first in dir(pn)
        if rest: assert rest[-1] in dir(getattr(pn, first))

# ---------------------------------------------------------------- the faces
LESSONS = 'Path DataError progress Samples check majority dawid_skene card write_card publish acceptance_plan gwet_ac cohen_kappa read_labels find_label_issues compare_classifiers'.split()

@pytest.mark.parametrize('face', ['data', 'text', 'vision'])
def test_face(face, sh):
    "A face brings what lessons use, and none of the generic names that only modules need; the data face loads no torch."
    generic = 'some remove inside plain did_you_mean replacing load_yaml plural'.split()
    theirs = f'import fastai.{face}.all as theirs; theirs = vars(theirs)' if face != 'data' else 'theirs = {}'
    code = f"""import json, sys
from pretrain_notes.{face}.all import *
have = set(dir()); {theirs}
print(json.dumps([[n for n in {LESSONS!r} if n not in have], [n for n in {generic!r} if n in have and n not in theirs], sorted({{'torch', 'fastai'}} & set(sys.modules))]))"""
    missing, brought, heavy = json.loads(sh('-c', code, **HERE).splitlines()[-1])
    assert not missing and not brought and (face != 'data' or not heavy)
