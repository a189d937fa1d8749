"""A PostgreSQL server for the tests: its own data, reached through a socket in a folder that nobody else may enter, gone with the tests."""
import os, shutil, subprocess, tempfile, time
from pathlib import Path
from guard import guarded, release

def programs():
    "The folder with `initdb` and `postgres`, of the newest version, or None."
    on_path = shutil.which('initdb')
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path('/usr/lib/postgresql').glob('*/bin'), key=lambda p: float(p.parent.name), reverse=True)
    return next((p for p in found if (p/'initdb').exists() and (p/'postgres').exists()), None)

class Server:
    "A running server; `url` names its database"
    def __init__(self, programs):
        self.folder, run_as = Path(tempfile.mkdtemp(prefix='pg-')), []
        if os.geteuid() == 0:                               # the server refuses to run as root
            import pwd
            users = {u.pw_name: u for u in pwd.getpwall()}
            user = users.get('postgres') or users['nobody']
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            run_as = ['setpriv', f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}', '--clear-groups']
        self.data = self.folder/'data'
        init = [*run_as, programs/'initdb', '-D', self.data, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--no-locale', '--no-sync']
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd='/')
        off = [o for k in 'fsync synchronous_commit full_page_writes'.split() for o in ('-c', f'{k}=off')]
        cmd = [*run_as, programs/'postgres', '-D', self.data, '-k', self.folder, '-c', 'listen_addresses=', *off]   # a socket, no TCP port
        self.log = tempfile.TemporaryFile('w+')
        self.process = guarded(cmd, self.folder, 'SIGINT', stdout=self.log, stderr=self.log, cwd='/')
        self.url = f'postgresql://postgres@/postgres?host={self.folder}'
        self._wait()

    def _wait(self):
        "Until its file of state says `ready`."
        for _ in range(600):
            try:
                if 'ready' in (self.data/'postmaster.pid').read_text(): return
            except OSError: pass
            if self.process.poll() is not None: break
            time.sleep(.1)
        self.log.seek(0)
        raise RuntimeError(f'PostgreSQL did not start:\n{self.log.read()}')

    def close(self):
        release(self.process)
        self.log.close()

if __name__ == '__main__':                                  # python tests/pgserver.py COMMAND ...: a server for one command
    import sys
    server = Server(programs())
    try: sys.exit(subprocess.call(sys.argv[1:], env=os.environ | dict(PRETRAIN_NOTES_TEST_PG=server.url)))
    finally: server.close()
