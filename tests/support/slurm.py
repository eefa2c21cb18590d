"""A Slurm of its own on one machine: munged, slurmctld and a slurmd on each host of a cluster (cluster.py).

    cluster.enter()
    with Cluster(folder / "cluster", 2) as hosts, Slurm(folder / "slurm", hosts) as slurm:
        slurm.run("squeue")        # with slurm.environment

Each node has one CPU, and two GPUs that are none. There is no accounting. Needs root; without systemd.
"""
import os
import shutil
import subprocess
import time
from pathlib import Path

import cluster

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/bin"


def why_not():
    """Why this machine can't have it; None: it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"{', '.join(missing)} not found" if missing else cluster.why_not()


class Slurm:
    def __init__(self, folder, hosts):
        self.folder = Path(folder)
        self.hosts = hosts
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._processes = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for process in reversed(self._processes):
            process.kill()  # whatever they would still save is of no use to anybody
            process.wait()
        self._processes = []

    def run(self, *words, check=True):
        """One of Slurm's commands; what it prints."""
        done = subprocess.run([str(word) for word in words], env=os.environ | self.environment, capture_output=True, text=True, timeout=30)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr}")
        return done.stdout

    def jobs(self):
        """[(id, state)], oldest first."""
        lines = self.run("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i %T").splitlines()
        return [tuple(line.split()) for line in lines]

    def _start(self):
        self.folder.mkdir(parents=True, mode=0o755)
        munge = self.folder / "munge"
        munge.mkdir(mode=0o711)
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self.folder / "state").mkdir(mode=0o700)
        self._write_configuration(munge / "socket")
        self._run("munged", ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
                             f"--log-file={munge}/log", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"])
        self._wait_until((munge / "socket").exists, "munged's socket")
        self._run("slurmctld", ["slurmctld", "-D"])
        for name in self.hosts.names:
            self.start_node(name)
        idle = f"{len(self.hosts.names)} idle"
        self._wait_until(lambda: idle in self.run("sinfo", "--noheader", "--format=%D %t", check=False), idle)

    def start_node(self, name):
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self._run(f"slurmd-{name}", ["nsenter", "--target", str(self.hosts.pid(name)), "--all", "slurmd", "-D", "-N", name])

    def _run(self, name, words):
        # Nothing of the test's own environment, such as credentials: jobs must get what they need from Musher.
        environment = {"PATH": PATH, "HOME": "/root"} | self.environment
        with open(self.folder / f"{name}.out", "wb") as output:
            self._processes.append(subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                                    start_new_session=True))

    def _wait_until(self, condition, what):
        deadline = time.monotonic() + 30
        while not condition():
            logs = "".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.out"))
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm: {what}: not after 30 s\n{logs}")
            time.sleep(0.05)

    def _write_configuration(self, munge):
        # 10.99.0.N: see cluster.py. Ports are this network namespace's own.
        nodes = "".join(f"NodeName={name} NodeAddr=10.99.0.{number} CPUs=1 Gres=gpu:2 State=UNKNOWN\n"
                        for number, name in enumerate(self.hosts.names, 1))
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (self.folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost=h0({cluster.ADDRESS})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool-%n
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
EnforcePartLimits=ALL
SlurmdTimeout=5
MinJobAge=300
GresTypes=gpu
{nodes}PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
""")
