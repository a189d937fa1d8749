"""Run a command for as long as whoever started it lives, so that nothing outlives the tests, even when they are killed.

`python tests/guard.py SIGNAL FOLDER COMMAND ...` sends the command SIGNAL when its parent ends or writes to standard input, kills what does
not go, and removes FOLDER (an empty name: none). `guarded` starts one so, `release` ends it. (The end of the input alone would not do: a
process that was forked meanwhile holds the pipe open.)"""
import os, select, shutil, signal, subprocess, sys, threading

def guarded(cmd, folder='', stop='SIGTERM', **kw):
    "Start `cmd` under a guard in a session of its own."
    return subprocess.Popen([sys.executable, __file__, stop, str(folder), *map(str, cmd)], stdin=subprocess.PIPE, start_new_session=True, **kw)

def release(process):
    "End what `guarded` started, and wait for it."
    try: process.stdin.write(b'.'); process.stdin.close()
    except OSError: pass                                     # it has ended already
    process.wait()

def main(sig, folder, *cmd):
    p, parent = subprocess.Popen(cmd, stdin=subprocess.DEVNULL), os.getppid()
    def stop():
        while os.getppid() == parent and not select.select([0], [], [], 1)[0]: pass
        p.send_signal(signal.Signals[sig])
        try: p.wait(10)
        except subprocess.TimeoutExpired: p.kill()
    threading.Thread(target=stop, daemon=True).start()
    p.wait()
    if folder: shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)

if __name__ == '__main__': main(*sys.argv[1:])
