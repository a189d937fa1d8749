"""Run a command for as long as standard input stays open, so that nothing outlives the tests, even when they are killed.

`python tests/guard.py SIGNAL FOLDER COMMAND ...` sends the command SIGNAL when whoever started this ends, kills what does not go, and removes
FOLDER (an empty name: none). `guarded` starts one so; close it with `.stdin.close()` and `.wait()`."""
import os, shutil, signal, subprocess, sys, threading

def guarded(cmd, folder='', stop='SIGTERM', **kw):
    "Start `cmd` under a guard in a session of its own."
    return subprocess.Popen([sys.executable, __file__, stop, str(folder), *map(str, cmd)], stdin=subprocess.PIPE, start_new_session=True, **kw)

def main(sig, folder, *cmd):
    p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL)
    def stop():
        sys.stdin.buffer.read()
        p.send_signal(signal.Signals[sig])
        try: p.wait(10)
        except subprocess.TimeoutExpired: p.kill()
    threading.Thread(target=stop, daemon=True).start()
    p.wait()
    if folder: shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)

if __name__ == '__main__': main(*sys.argv[1:])
