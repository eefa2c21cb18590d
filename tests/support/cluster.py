"""Hosts on one machine: each has its own network, host name, processes, IPC, /dev/shm, /run and sshd, as machines have.

    cluster.enter()                    # this program moves to the host h0, with 10.99.0.100
    with Cluster(folder, 4) as hosts:  # h1 … h4 with 10.99.0.1 …, reached by ssh with hosts.key and hosts.known_hosts
        …
        hosts.kill("h3")

They share the file system but for the folders named in `private`, which each has empty and of its own, and the user's own start-up files
of the shell, which they have not. All of it is namespaces, so
it is gone with the processes. Needs root.
"""
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

INSIDE = "CLUSTER_TEST_HOST"
MACHINE_NETWORK = "CLUSTER_TEST_MACHINE_NETWORK"  # a descriptor of the machine's own network namespace
ADDRESS = "10.99.0.100"
TOOLS = ("unshare", "nsenter", "sysctl", "ip", "sshd", "ssh", "ssh-keygen")


def why_not():
    """Why this machine can't have such hosts; None: it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"{', '.join(missing)} not found"
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True)
    return None if done.returncode == 0 else f"no namespaces here: {done.stderr.decode().strip()}"


def enter():
    """Starts this program anew as host h0, with a bridge that the other hosts come to. Returns in the new one, and where there
    can be none."""
    if os.environ.get(INSIDE) or why_not():
        return
    os.environ[INSIDE] = "h0"
    machine_network = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(machine_network, True)
    os.environ[MACHINE_NETWORK] = str(machine_network)
    script = f"""
        set -e
        mount --make-rprivate /
        hostname h0
        mount -t tmpfs shm /dev/shm
        ip link set lo up
        ip link add br0 type bridge
        ip address add {ADDRESS}/24 dev br0
        ip link set br0 up
        exec "$@"
    """
    sys.stdout.flush()
    os.execvp("unshare", ["unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c", script, "sh", sys.executable,
                          *sys.orig_argv[1:]])


class Cluster:
    def __init__(self, folder, count, private=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.names = [f"h{number}" for number in range(1, count + 1)]
        self.private = [str(path) for path in private]
        self.key = self.folder / "key"
        self.known_hosts = self.folder / "known_hosts"
        self._processes = {}
        self._named = False  # the hosts' names are in /etc/hosts
        self._neighbours = None  # the kernel's limit for neighbours as it was, where it had to be raised

    def __enter__(self):
        try:
            self._make_keys()
            self._make_room_for_neighbours()
            for number, name in enumerate(self.names, 1):
                self._start(number, name)
            for name in self.names:
                self._wait_for(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for name in list(self._processes):
            self.kill(name)
        if self._named:
            subprocess.run(["umount", "/etc/hosts"], check=True)
        self._named = False
        if self._neighbours:
            self._limit_neighbours(self._neighbours)
        self._neighbours = None

    def ssh(self, name):
        """The command to which words for `name` may be added."""
        return ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}",
                "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-i", str(self.key), name]

    def run(self, name, *words):
        return subprocess.run([*self.ssh(name), *map(str, words)], capture_output=True, text=True, timeout=30)

    def pid(self, name):
        """Of its first process, in whose namespaces all others are."""
        outer = self._processes[name].pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return int(children[0])

    def kill(self, name):
        """As if its power failed: the network first, so that nobody hears of it, and all processes at once."""
        process = self._processes.pop(name)
        subprocess.run(["ip", "link", "delete", f"to-{name}"], capture_output=True)
        process.kill()  # --kill-child: its first process goes too, and with that all of its namespace
        process.wait()

    def _make_keys(self):
        for path in (self.key, *(self.folder / f"{name}-key" for name in self.names)):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
        lines = [f"{name} {(self.folder / f'{name}-key.pub').read_text().strip()}\n" for name in self.names]
        self.known_hosts.write_text("".join(lines))
        addresses = "".join(f"10.99.0.{number} {name}\n" for number, name in enumerate(self.names, 1))
        self.addresses = self.folder / "hosts"
        self.addresses.write_text(f"127.0.0.1 localhost\n{ADDRESS} h0\n{addresses}")
        subprocess.run(["mount", "--bind", self.addresses, "/etc/hosts"], check=True)
        self._named = True

    def _make_room_for_neighbours(self):
        """All network namespaces share the kernel's one table of neighbours, 1,024 by default: too few for 32 hosts that all know
        each other, and connections beyond them get no answer."""
        needed = 2 * (len(self.names) + 1) ** 2
        limit = self._limit_neighbours()
        if limit < needed:
            self._limit_neighbours(needed)
            self._neighbours = limit

    @staticmethod
    def _limit_neighbours(limit=None):
        """What it is; with `limit`, sets it. Only the machine's own network namespace has it."""
        name = "net.ipv4.neigh.default.gc_thresh3"
        words = ["sysctl", "-n", name] if limit is None else ["sysctl", "-qw", f"{name}={limit}"]
        machine_network = int(os.environ[MACHINE_NETWORK])
        done = subprocess.run(["nsenter", f"--net=/proc/self/fd/{machine_network}", *words], capture_output=True, text=True,
                              check=True, pass_fds=[machine_network])
        return int(done.stdout) if limit is None else limit

    def _start(self, number, name):
        config = self.folder / f"{name}-sshd"
        config.write_text(f"HostKey {self.folder}/{name}-key\nAuthorizedKeysFile {self.key}.pub\nStrictModes no\nUsePAM no\n"
                          "PidFile none\nPermitRootLogin prohibit-password\nMaxStartups 100\n")
        empty = "".join(f"mount -t tmpfs -o mode=0755 own {path}\n" for path in self.private)
        home = pwd.getpwuid(os.getuid()).pw_dir
        script = f"""
            set -e
            mount --make-rprivate /
            hostname {name}
            mount -t tmpfs shm /dev/shm
            mount -t tmpfs run /run
            mkdir -m 755 /run/sshd
            {empty}
            for file in {home}/.bashrc {home}/.profile; do [ ! -e $file ] || mount --bind /dev/null $file; done
            read ready
            ip link set lo up
            ip address add 10.99.0.{number}/24 dev eth0
            ip link set eth0 up
            ip link add docker0 type bridge
            ip address add 172.17.0.1/16 dev docker0
            ip link set docker0 up
            exec {shutil.which("sshd", path="/usr/sbin:/usr/bin")} -D -e -f {config}
        """
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                 script], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        self._processes[name] = process
        deadline = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"host {name} did not start: {(self.folder / f'{name}.log').read_text()}")
            time.sleep(0.01)
        subprocess.run(["ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(process.pid)],
                       check=True)
        subprocess.run(["ip", "link", "set", f"to-{name}", "master", "br0", "up"], check=True)
        process.stdin.write(b"ready\n")
        process.stdin.close()

    def _wait_for(self, name):
        deadline = time.monotonic() + 30
        while (done := self.run(name, "true")).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer: {done.stderr}{(self.folder / f'{name}.log').read_text()}")
            time.sleep(0.1)
