"""Processes that never outlive this one: for the quickstart and the system tests.

    with Processes() as processes:
        server = processes.start(["musher", "serve", …], log=path)
        …

However the block is left, everything started in it is gone afterwards, whatever session or group it put itself into and
whatever it started in turn: this process becomes the "subreaper" of its descendants, so that an orphan becomes its child
and is found. Only SIGKILL of this process itself is out of reach; the children then get SIGTERM from the kernel.
"""
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Interrupted(BaseException):
    """SIGTERM, SIGHUP or SIGINT came. Not an Exception, so that nothing mistakes it for a failure."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def raise_on_signals():
    """From here on SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread; again every two seconds until
    ignore_signals(), for an exception that is raised in a finalizer or a callback is lost."""
    came = []

    def handler(number, _frame):
        if number != signal.SIGALRM:
            came.append(number)
        signal.setitimer(signal.ITIMER_REAL, 2)
        raise Interrupted(came[0])

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, handler)


def ignore_signals():
    """While cleaning up: it is bounded, and a second Ctrl-C would leave things behind."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def descendants():
    """{pid: command line} of all processes below this one that still run."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # gone meanwhile
        state, parent = stat[stat.rindex(")") + 2:].split()[:2]
        if state not in "ZX":
            parents[int(folder.name)] = int(parent)
            names[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip() or stat.split()[1]
    below, added = {os.getpid()}, True
    while added:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below |= more
        added = bool(more)
    return {pid: names[pid] for pid in below - {os.getpid()}}


class Processes:
    def __init__(self):
        self._started = []

    def __enter__(self):
        if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
        return self

    def __exit__(self, *_):
        self.end()

    def start(self, command, *, log=None, **options):
        """A Popen in a process group of its own, so that a terminal's Ctrl-C reaches this process alone. `log`: a file that
        takes its stdout and stderr."""
        if log is not None:
            with open(log, "ab") as file:
                return self.start(command, stdout=file, stderr=subprocess.STDOUT, **options)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen([str(word) for word in command], process_group=0, preexec_fn=_die_with_parent, **options)
        self._started.append(process)
        return process

    def run(self, command, *, timeout, **options):
        """As subprocess.run() with text, but in a group of its own, and ended when the time is up."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        process = self.start(command, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            end_process(process, grace=5)
            raise
        finally:
            self._started.remove(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def end(self, grace=10):
        """Ends what was started, the newest first, then whatever else is below this process."""
        while self._started:
            end_process(self._started.pop(), grace)
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
            deadline = time.monotonic() + seconds
            for pid in descendants():
                _signal(pid, number)
            while _reap_orphans() and time.monotonic() < deadline:
                time.sleep(0.02)  # the kernel tells of one child's end, not of all descendants'


def end_process(process, grace):
    """SIGTERM, and after `grace` seconds SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_gone(seconds):
    """Waits until no descendant is left; returns those that are after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := _reap_orphans()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _reap_orphans():
    """Collects ended children that were adopted; returns what still runs."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass
    return descendants()


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
