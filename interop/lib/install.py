"""Installs the peers: Debian packages if run as root; PyPI and npm packages in pinned versions."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from .sandbox import INTEROP, NODE_MODULES, WORK, NotRun

_POLICY = Path("/usr/sbin/policy-rc.d")
_updated = False


def _installed(package: str) -> bool:
    if not shutil.which("dpkg-query"):
        return False
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True)
    return found.stdout == "installed"


@contextlib.contextmanager
def _services_stay_off():
    """Prevents packages from starting their daemons meanwhile (Debian's policy-rc.d)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _stop_services(package: str) -> None:
    """Disables the package's services, so that they do not start at the next boot either."""
    if not Path("/run/systemd/system").exists():
        return
    files = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True).stdout
    units = [Path(f).name for f in files.splitlines() if f.startswith("/lib/systemd/system/") and f.endswith(".service")]
    for unit in units:
        subprocess.run(["systemctl", "disable", "--now", unit], capture_output=True)


def debian(*packages: str) -> None:
    """Installs missing packages. Raises NotRun if that is not possible."""
    global _updated
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotRun(f"needs Debian's {' '.join(missing)} (not root, so not installed)")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    if not _updated:
        subprocess.run(["apt-get", "update", "-q"], env=env, capture_output=True)
        _updated = True
    with _services_stay_off():
        done = subprocess.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
            env=env, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotRun(f"apt-get install {' '.join(missing)}: {' '.join(last)}")
    for package in missing:
        _stop_services(package)


def npm() -> str | None:
    """Installs the pinned npm packages. Returns the reason if that fails."""
    if not shutil.which("npm"):
        return "npm is not installed"
    lock, stamp = INTEROP / "package-lock.json", WORK / "package-lock.json"
    if NODE_MODULES.exists() and stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return None
    shutil.copy(INTEROP / "package.json", WORK)
    shutil.copy(lock, WORK)
    done = subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=WORK, capture_output=True, text=True)
    return None if done.returncode == 0 else f"npm ci: {done.stderr.strip()[-200:]}"


_once = threading.Lock()


def npm_of(folder: str) -> Path:
    """The `node_modules` for this folder's package.json, installed under `.work/` if missing."""
    with _once:
        if not shutil.which("npm"):
            raise NotRun("npm is not installed")
        source, work = INTEROP / folder, WORK / folder
        modules, lock = work / "node_modules", work / "package-lock.json"
        wanted = (source / "package-lock.json").read_bytes()
        if modules.exists() and lock.exists() and lock.read_bytes() == wanted:
            return modules
        work.mkdir(exist_ok=True)
        lock.write_bytes(wanted)
        shutil.copy(source / "package.json", work)
        # Without install scripts, which would build or fetch what is not used here.
        done = subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"],
                              cwd=work, capture_output=True, text=True)
        if done.returncode:
            lock.unlink()
            raise NotRun(f"npm ci: {done.stderr.strip()[-200:]}")
        return modules


def applications_npm() -> Path:
    """The directory of the applications' npm packages."""
    return npm_of("applications")


def bun() -> Path:
    """The executable itself. npm's `bun` is put in place by an install script, which is not run."""
    return next(npm_of("runtimes").glob("@oven/bun-linux-x64*/bin/bun"))


def workerd() -> Path:
    return npm_of("runtimes") / "@cloudflare/workerd-linux-64/bin/workerd"


def applications_python() -> Path:
    """The Python interpreter with the applications' PyPI packages, installed on first use."""
    return venv("applications/venv", "applications/requirements.txt")


def other_applications_python() -> Path:
    """The same for the applications whose packages conflict with those."""
    return venv("applications/others-venv", "applications/others.txt")


def venv(name: str, requirements: str) -> Path:
    """The Python interpreter of a separate environment, for packages that conflict with the run's own."""
    with _once:
        folder, wanted = WORK / name, (INTEROP / requirements).read_text()
        python, stamp = folder / "bin/python", folder / "requirements.txt"
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                                   "-r", INTEROP / requirements], capture_output=True, text=True)
            if done.returncode:
                raise NotRun(f"pip install: {done.stderr.strip()[-200:]}")
            stamp.write_text(wanted)
        return python


def version_of_npm(name: str, folder: str = "applications") -> str:
    """The installed version of an npm package of this folder."""
    return json.loads((npm_of(folder) / name / "package.json").read_text())["version"]


def version_of_pypi(name: str, python=applications_python) -> str:
    """The installed version of an application's PyPI package."""
    script = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    return subprocess.run([python(), "-c", script, name], capture_output=True, text=True).stdout.strip()


def h2ws() -> Path:
    """The program under test: `H2WS`, or a release build of this repository."""
    if given := os.environ.get("H2WS"):
        path = Path(given).resolve()
        if not os.access(path, os.X_OK):
            raise NotRun(f"H2WS={given} is not a program")
        return path
    root = INTEROP.parent
    done = subprocess.run(["cargo", "build", "--release", "--locked"], cwd=root)
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    path = target / "release/h2ws"
    if done.returncode or not path.exists():
        raise NotRun("h2ws failed to build")
    return path


@functools.cache
def axum_example() -> Path:
    """The program of `examples/axum`, built as the repository's tests build it."""
    root = INTEROP.parent
    done = subprocess.run(["cargo", "build", "--locked", "-p", "h2ws-example-axum"], cwd=root,
                          capture_output=True, text=True)
    if done.returncode:
        raise NotRun(f"examples/axum failed to build: {done.stderr.strip()[-300:]}")
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return target / "debug/h2ws-example-axum"


@functools.cache
def rust_peers() -> Path:
    """The directory of the peers built from crates."""
    return _cargo(INTEROP / "rust-peers", "--locked")


@functools.cache
def driver() -> Path:
    """The directory of the programs in `driver/`, built on this repository's library."""
    manifest = INTEROP / "driver"
    # The program's own lock file: same dependency versions, no second lock file to maintain.
    shutil.copy(INTEROP.parent / "Cargo.lock", manifest)
    return _cargo(manifest)


def _cargo(package: Path, *options: str) -> Path:
    if not shutil.which("cargo"):
        raise NotRun("cargo is not installed")
    target = WORK / package.name
    done = subprocess.run(
        ["cargo", "build", "--release", *options], cwd=package, capture_output=True, text=True,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    if done.returncode:
        raise NotRun(f"{package.name} failed to build: {done.stderr.strip()[-300:]}")
    return target / "release"
