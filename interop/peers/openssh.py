"""OpenSSH's server, run by a normal user at a high port: a TCP server without WebSockets, as a `tcp://` upstream."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

from lib.endpoint import Endpoint
from lib.peer import Endpoints, Peer
from lib.sandbox import NotRun, Sandbox, run

# If the run is root's: a user who is known in the mount namespace of the server alone.
USER, UID = "tunneled", 64_123
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
AuthorizedKeysFile {dir}/user_key.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
MaxStartups 1000
Subsystem sftp internal-sftp
"""


async def start(sandbox: Sandbox) -> Endpoints:
    # The other user may not be able to read the directory of the sandbox.
    files = Path(await sandbox.enter(_directory()))
    port = sandbox.port()
    for name, where in (("host_key", files), ("user_key", sandbox.dir)):
        (where / name).unlink(missing_ok=True)
        status, _, err = await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", where / name)
        if status:
            raise NotRun(f"ssh-keygen: {err}")
    shutil.copy(sandbox.dir / "user_key.pub", files)
    (files / "sshd_config").write_text(CONFIG.format(port=port, dir=files))
    server = ["/usr/sbin/sshd", "-D", "-e", "-f", files / "sshd_config"]
    if os.geteuid() == 0:
        server = _as_user(files, server)
    child = await sandbox.spawn(*server, name="sshd")
    await sandbox.ready(child, port)
    return Endpoints(clear=Endpoint(port, tls=False), child=child)


class _directory(tempfile.TemporaryDirectory):
    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *exit):
        self.__exit__(*exit)


def _as_user(files: Path, server: list) -> list:
    (files / "passwd").write_text(f"{Path('/etc/passwd').read_text()}{USER}:x:{UID}:{UID}::/tmp:/bin/sh\n")
    for path in (files, *files.iterdir()):
        os.chown(path, UID, UID)
    script = 'mount --bind "$0" /etc/passwd && exec setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"'
    return ["unshare", "--mount", "bash", "-c", script, files / "passwd", UID, *server]


def client(sandbox: Sandbox, port: int, *options: str, program: str = "ssh") -> list[str]:
    """The beginning of a command line of `ssh` or `scp`, up to the host."""
    return [program, "-F", "none", "-P" if program == "scp" else "-p", str(port), "-i", str(sandbox.dir / "user_key"),
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", f"User={_user()}", *options]


def _user() -> str:
    return USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


PEERS = [Peer("openssh", "tcp", start, apt=("openssh-server", "openssh-client"), version=("ssh", "-V"))]
