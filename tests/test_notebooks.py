"""Every notebook runs from top to bottom in a clean process: one pytest item a notebook."""
import json, os, re, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(ROOT).parts))
LIMIT = 300         # seconds a notebook
FORKS = sys.platform == 'linux' and not os.path.exists('/dev/nvidiactl')   # CUDA does not survive a fork
LIGHT = ['nbdev.test', 'matplotlib.pyplot', 'matplotlib_inline.backend_inline']

class Server:
    "A process that has imported `modules` and runs notebooks in forks of itself."
    def __init__(self, modules):
        env = os.environ | dict(OMP_NUM_THREADS='1', MPLBACKEND='module://matplotlib_inline.backend_inline', IN_TEST='1', PRETRAIN_NOTES_QUICK='1',
                                PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])))
        self.process = subprocess.Popen([sys.executable, ROOT/'tests/nbrun.py', '--serve', *modules], env=env, cwd=ROOT/'nbs', text=True,
                                        bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    def __call__(self, **request):
        print(json.dumps(request), file=self.process.stdin)
        return json.loads(self.process.stdout.readline())
    def close(self):
        self.process.stdin.close()
        self.process.wait()

@pytest.fixture(scope='module')
def runner():
    "Run a notebook in a fork of a server: of one that has fastai loaded only if the notebook imports fastai itself."
    servers = {}
    def run(nb, **request):
        if not FORKS: servers[nb] = server = Server([])
        else:
            heavy = bool(re.search('(from|import) fastai', nb.read_text(encoding='utf-8')))
            if heavy not in servers: servers[heavy] = Server(LIGHT + ['fastai.vision.all']*heavy)
            server = servers[heavy]
        return server(nb=str(nb), **request)
    yield run
    for o in servers.values(): o.close()

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(nb, runner, tmp_path, record_property, flags):
    res = runner(nb, log=str(tmp_path/'log'), timeout=LIMIT, flags=flags)
    record_property('notebook', (nb.stem, res['cpu'], res['wall']))
    if res['code'] == 0: return
    what = f'ran longer than {LIMIT} s' if res['late'] else 'failed' if res['code'] > 0 else f'died of signal {-res["code"]}'
    pytest.fail(f'{nb.name} {what}\n{(tmp_path/"log").read_text(encoding="utf-8", errors="replace")}', pytrace=False)
