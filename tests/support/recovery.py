"""What the tests and benchmarks that kill things share: who is which rank, faults at named moments, and what a job's history
must say when all is over."""
import os
import re
from pathlib import Path

from musher_testing import processes


def ranks(below=None):
    """{number of the rank: pid} of the trainers that run below this process, or of those whose command line has `below`."""
    found = {}
    for pid, command in processes.descendants().items():
        words = command.split()
        if not words[0].endswith("musher-trainer") or (below and below not in command):
            continue
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        numbers = [int(one.split(b"=")[1]) for one in variables if one.startswith(b"OMPI_COMM_WORLD_RANK=")]
        if "--newcomer" in words:
            numbers = [int(words[words.index("--newcomer") + 1])]
        if numbers:
            found[numbers[0]] = pid
    return found


def mpiruns():
    """Pids of the launchers below this process."""
    return [pid for pid, command in processes.descendants().items()
            if re.search(r"(mpirun|prterun) .*--with-ft", command)]


def trainer_with_faults(folder, trainer, *faults):
    """A worker program for --trainer that dies as `faults` say (trainer/fault.h)."""
    path = Path(folder) / f"trainer-{len(list(Path(folder).glob('trainer-*')))}"
    words = " ".join(f"--inject-fault {fault}" for fault in faults)
    path.write_text(f'#!/bin/sh\nexec {trainer} "$@" {words}\n')
    os.chmod(path, 0o755)
    return path


def epochs_in(history):
    """[(epoch, samples seen, samples there are)] of the epochs that it says to have had each sample once."""
    return [tuple(map(int, one)) for one in
            re.findall(r"^(?:notice)? *epoch (\d+): (\d+) of (\d+) samples, each once", history, re.MULTILINE)]


def check_epochs(history, samples, epochs=None, again=False):
    """None, or what is wrong: every epoch from the first on must be there once, with all its samples. `epochs`: how many; None:
    as many as there are. `again`: an attempt that followed another may have run an epoch once more, whose checkpoint was not
    committed yet when mpirun was killed."""
    found = sorted(set(epochs_in(history))) if again else epochs_in(history)
    wanted = [(number + 1, samples, samples) for number in range(len(found) if epochs is None else epochs)]
    return None if found == wanted else f"epochs should be {wanted}, the history has {found}"
