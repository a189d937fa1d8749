"""A JupyterLab and a headless Chromium for the tests of the widgets; one of each for all tests."""
import json, os, socket, subprocess, sys, time
from pathlib import Path
import pytest
from guard import guarded, release

ROOT = Path(__file__).resolve().parents[1]
CHROME = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
WAIT = 120             # seconds for what should happen at once, on a machine that has much else to do
_running = {}

def _port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def until(true, what, said=lambda: '', page=None):
    "Wait until `true()`; `said()` tells what there is instead of `what`"
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, f'waited for {what!r}, there is {said()!r}'
        page.wait_for_timeout(50) if page else time.sleep(.05)

class Lab:
    "JupyterLab on the loopback, without a token, with settings of its own"
    def __init__(self, root, chromium):
        from playwright.sync_api import sync_playwright
        self.root, self.port = Path(root), _port()
        self.url, cfg = f'http://127.0.0.1:{self.port}', self.root/'.cfg'
        quiet = cfg/'s/@jupyterlab/apputils-extension/notification.jupyterlab-settings'
        quiet.parent.mkdir(parents=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'PYTHONPATH')} | dict(JUPYTER_CONFIG_DIR=str(cfg),
            JUPYTERLAB_SETTINGS_DIR=str(cfg/'s'), JUPYTERLAB_WORKSPACES_DIR=str(cfg/'w'), PYTHONPATH=str(ROOT))
        opts = dict(ip='127.0.0.1', port=self.port) | {'ServerApp.port_retries': 0, 'IdentityProvider.token': '', 'ServerApp.password': '',
            'ServerApp.root_dir': self.root, 'LabApp.expose_app_in_browser': True, 'LabApp.news_url': None,
            'LabApp.check_for_updates_class': 'jupyterlab.handlers.announcements.NeverCheckForUpdate'}
        cmd = [sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root', *[f'--{k}={v}' for k, v in opts.items()]]
        with open(self.root/'lab.log', 'w') as log: self.server = guarded(cmd, stdout=log, stderr=subprocess.STDOUT, env=env)
        self._wait()
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=chromium, args=CHROME)

    def _wait(self):
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            try: return socket.create_connection(('127.0.0.1', self.port), 1).close()
            except OSError: time.sleep(.25)
        raise RuntimeError((self.root/'lab.log').read_text()[-2000:])

    def close(self):
        for f in (self.browser.close, self.playwright.stop): f()
        release(self.server)

    def notebook(self, name, cells, **kw):
        "A new notebook with these cells, opened"
        cells = [dict(cell_type='code', id=f'c{i}', source=c, metadata={}, outputs=[], execution_count=None) for i, c in enumerate(cells)]
        meta = dict(kernelspec=dict(name='python3', display_name='python3', language='python'))
        (self.root/f'{name}.ipynb').write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=meta, cells=cells)))
        return self.open(name, **kw)

    def hold(self):
        "Code for a cell that keeps the interpreter from every other thread until `free()`; and what waits until it does."
        for f in 'held', 'go': (self.root/f).unlink(missing_ok=True)
        os.mkfifo(self.root/'go')
        return "import ctypes, os; fd = os.open('go', os.O_RDWR); open('held', 'w').close(); ctypes.PyDLL(None).read(fd, ctypes.create_string_buffer(1), 1)"
    def wait_held(self): until(lambda: (self.root/'held').exists(), 'the cell began')
    def free(self): (self.root/'go').write_bytes(b'.')

    def open(self, name, context=None, width=1200, height=1000):
        "A page (tab) with a notebook whose kernel is ready"
        page = (context or self.browser.new_context(viewport=dict(width=width, height=height))).new_page()
        page.set_default_timeout(WAIT * 1000)
        page.goto(f'{self.url}/lab/tree/{name}.ipynb?reset')
        page.wait_for_selector('.jp-NotebookPanel .jp-Cell')
        page.wait_for_function('window.jupyterapp')
        page.evaluate('''async () => { const c = jupyterapp.shell.currentWidget.sessionContext
            await c.ready; await c.session.kernel.info; return 1 }''')
        return Notebook(page)

class Notebook:
    "One tab"
    def __init__(self, page): self.page = page
    def js(self, source, *args): return self.page.evaluate(source, *args)
    def run(self, i, wait=True):
        "Run a cell; its outputs"
        cell = f"jupyterapp.shell.currentWidget.content.model.sharedModel.cells[{i}]"
        self.js(f"() => {{ {cell}.execution_count = null; return 1 }}")          # after a restart it may count to the same number again
        self.js("""i => { const c = jupyterapp.shell.currentWidget.content; c.deselectAll(); c.activeCellIndex = i; window.ran = false
            jupyterapp.commands.execute('notebook:run-cell').then(() => { window.ran = true }); return 1 }""", i)
        if not wait: return
        self.page.wait_for_function(f"() => {{ const c = {cell}; return window.ran && c.execution_count && c.execution_state != 'running' }}")
        self.page.wait_for_timeout(150)
        return self.output(i)
    def output(self, i):
        out = self.js("i => JSON.parse(JSON.stringify(jupyterapp.shell.currentWidget.content.model.sharedModel.cells[i].outputs))", i)
        bad = [o for o in out if o['output_type'] == 'error']
        assert not bad, '\n'.join(bad[0]['traceback'])
        return out
    def value(self, i):
        "Run a cell whose last line is a JSON-able value wrapped in json.dumps; that value"
        out = [o for o in self.run(i) if o['output_type'] == 'execute_result']
        return json.loads(eval(out[-1]['data']['text/plain']))
    def kernel(self, source):
        "Run code in the kernel, outside of any cell; what it writes, read as JSON"
        out = self.js("""async code => { const f = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code, store_history: false}); let t = ''
            f.onIOPub = m => { if (m.header.msg_type == 'stream') t += m.content.text; if (m.header.msg_type == 'error') t += m.content.traceback.join('\\n') }
            await f.done; return t }""", source)
        try: return json.loads(out or 'null')
        except ValueError: raise AssertionError(out) from None
    def restart(self):
        self.js("async () => { const k = jupyterapp.shell.currentWidget.sessionContext.session.kernel; await k.restart(); await k.info; return 1 }")
        self.page.wait_for_timeout(500)
    def cells(self): return self.js("() => jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(c => c.source)")
    def save(self): self.js("() => jupyterapp.commands.execute('docmanager:save').then(() => 1)")
    def theme(self, dark): self.js("d => jupyterapp.commands.execute('apputils:change-theme', {theme: d ? 'JupyterLab Dark' : 'JupyterLab Light'}).then(() => 1)", dark)

    def widget(self, i=0, ready='.pnl-place'):
        "The labeler that is the output of the last cell that was run; waits for its first item"
        w = self.page.locator('.jp-Notebook .pnl').nth(i)
        w.wait_for()
        if ready: w.locator(ready).first.wait_for()
        w.focus()
        return w
    def press(self, *keys):
        "Press keys, each when no labeler waits for its next items"
        for k in keys:
            self.page.wait_for_function("() => ![...document.querySelectorAll('.pnl-notice:not([hidden])')].some(n => /^(one moment|The next items)/.test(n.innerText))")
            self.page.keyboard.press(k)
    def status(self, w, words='saved'):
        "Wait until the status line begins with these words; all of it"
        s = w.locator('.pnl-status span').first
        until(lambda: s.inner_text().startswith(words), words, s.inner_text, self.page)
        return s.inner_text()
    def cpu(self, *sources):
        "CPU seconds that the page spends on each function, what it draws included; other work on the machine does not count"
        cdp, res = self.page.context.new_cdp_session(self.page), []
        cdp.send('Performance.enable', dict(timeDomain='threadTicks'))
        used = lambda: {m['name']: m['value'] for m in cdp.send('Performance.getMetrics')['metrics']}['TaskDuration']
        for o in sources:
            before = used()
            self.js(f'async () => {{ ({o})(); await new Promise(f => requestAnimationFrame(() => setTimeout(f))) }}')
            res.append(used() - before)
        cdp.detach()
        return res
    def comes(self, source, value):
        "Wait until code in the kernel writes this value as JSON"
        until(lambda: self.kernel(source) == value, value, lambda: self.kernel(source), self.page)

@pytest.fixture(scope='session')
def lab(browser, tmp_path_factory, request):
    "JupyterLab and a browser, started once for all modules"
    for m in ('jupyterlab', 'playwright', 'anywidget'): pytest.importorskip(m)
    if 'lab' not in _running:
        _running['lab'] = Lab(tmp_path_factory.mktemp('lab'), browser)
        request.config.add_cleanup(lambda: _running.pop('lab').close())
    return _running['lab']
