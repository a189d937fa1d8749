"""Run notebooks, each in a clean process.

`python tests/nbrun.py nbs/010_samples.ipynb` runs one and shows what failed. The tests start it with `--serve`: it imports the modules
named after it once, then forks a process for each request (a JSON line in, a JSON line out). Importing starts no torch operation, so
no thread that matters is lost in the fork; the fork saves each notebook the seconds that importing fastai takes.
"""
import faulthandler, json, os, signal, sys, time, traceback
from importlib import import_module
from pathlib import Path
from textwrap import indent

TESTS = os.getppid()     # who started this

def run(nb, flags=(), last=False):
    "Run the cells of `nb` that `nbdev-test` would run, telling standard output (`last`: a file that is to hold the last cell only)."
    from nbdev.config import get_config
    from nbdev.test import nb_test_cells, CaptureShell
    nb = Path(nb).resolve()
    os.chdir(nb.parent)
    shell = CaptureShell(nb)
    for cell in nb_test_cells(nb, get_config().tst_flags, flags):
        if last: os.ftruncate(1, 0)
        print(f'{nb.name}, cell {cell.idx_} (id {cell.id}):\n\n{indent(cell.source, "    ")}\n', flush=True)
        shell.cell(cell)
        if shell.exc is not None: return print(_traceback(shell.exc), flush=True) or 1
    return 0

def _traceback(e):
    "The traceback of `e` from the notebook's cell on, without the shell's own frames."
    tb = e.__traceback__
    while tb and 'ipython-input' not in tb.tb_frame.f_code.co_filename: tb = tb.tb_next
    return ''.join(traceback.format_exception(type(e), e, tb))

def _child(nb, log, flags):
    "Become the process of one notebook: its own group, its output in the file `log`."
    os.setsid()
    for fd, file, mode in (0, os.devnull, os.O_RDONLY), (1, log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
        os.dup2(os.open(file, mode), fd)
    os.dup2(1, 2)
    faulthandler.enable(file=2)  # a crash, and the SIGABRT after the time limit, write where every thread is
    return run(nb, flags, last=True)

def _wait(pid, seconds=None):
    "Wait for `pid`, at most `seconds` or until the tests are gone; return its exit code (negative: a signal) and CPU seconds, or None."
    end = seconds and time.monotonic() + seconds
    while True:
        got, status, use = os.wait4(pid, os.WNOHANG if end else 0)
        if got: return os.waitstatus_to_exitcode(status), use.ru_utime + use.ru_stime
        if time.monotonic() > end or os.getppid() != TESTS: return
        time.sleep(.02)

def fork(nb, log, timeout, flags=()):
    "Run `nb` in a forked process; return how it ended and what it took."
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 70
        try: code = _child(nb, log, flags)
        except BaseException: traceback.print_exc()
        finally: sys.stdout.flush(), sys.stderr.flush(), os._exit(code)
    end = _wait(pid, timeout)
    late = end is None
    if late:
        os.kill(pid, signal.SIGABRT)
        end = _wait(pid, 5)
    try: os.killpg(pid, signal.SIGKILL)  # what the notebook left running
    except (ProcessLookupError, PermissionError): pass
    code, cpu = end or _wait(pid)
    return dict(code=code, late=late, cpu=cpu, wall=time.monotonic() - start)

def serve(modules):
    "Import `modules`, then fork a process for each request on standard input."
    for m in modules: import_module(m)
    out = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin: print(json.dumps(fork(**json.loads(line))), file=out)

if __name__ == '__main__':
    if sys.argv[1:2] == ['--serve']: serve(sys.argv[2:])
    else: sys.exit(max(map(run, sys.argv[1:]), default=0))
