"""Runs one scenario of collective_ranks under mpirun and checks what each rank wrote. Exit code 0: passed."""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

KILLED = {"last_killed": 1, "first_killed": 1, "ahead_killed": 1, "two_killed": 2, "stopped": 1, "replaced": 1,
          "grown": -1, "level": 0, "mpirun_silent": 1}
# As between hosts, or to a rank that was started later.
BY_TCP = {"ahead_killed", "others"}


def run(arguments, folder):
    """The ranks' files, by world rank."""
    command = [
        arguments.mpirun, "--with-ft", "ulfm", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
        "--prtemca", "state_base_recoverable", "1", "--prtemca", "state_base_continuous", "1",
        "--mca", "mpi_yield_when_idle", "1", "-n", str(arguments.ranks),
        *(["--mca", "btl", "self,tcp"] if arguments.scenario in BY_TCP else []), arguments.binary, arguments.scenario, folder, arguments.transport, str(arguments.ranks_per_host),
    ]
    # mpirun names its session by its pid, and fails where one that was killed has left its own under that name.
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**os.environ, "TMPDIR": folder})
    try:
        output, _ = process.communicate(timeout=arguments.timeout)
    except subprocess.TimeoutExpired:
        output = b"mpirun did not end\n"
        stop(process)
    print(output.decode(errors="replace"), end="")
    return {int(path.name[4:]): path.read_text() for path in pathlib.Path(folder).glob("rank*")}


def stop(process):
    """mpirun kills its ranks on SIGTERM, stopped ones too."""
    process.terminate()
    try:
        process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def latency(files):
    """From a death to each survivor's notice, for the reader: no bound is tested here."""
    deaths = [int(t) for text in files.values() for t in re.findall(r"death at (\d+) us", text)]
    notices = [int(t) for text in files.values() for t in re.findall(r"failure at (\d+) us", text)]
    return [f"{(notice - min(deaths)) / 1000:.1f} ms" for notice in notices] if deaths else []


def left_over(binary, folder):
    """Ranks of this run that still live."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == binary.encode() and folder.encode() in words:
            found.append(path.parent.name)
    return found


def check(arguments):
    with tempfile.TemporaryDirectory() as folder:
        files = run(arguments, folder)
        for rank, text in sorted(files.items()):
            print(f"rank {rank}: {' | '.join(text.splitlines())}")
        print("noticed after", latency(files)) if latency(files) else None
        stray = left_over(arguments.binary, folder)
        for pid in stray:
            os.kill(int(pid), signal.SIGKILL)
        passed = sum("passed" in text.splitlines() for text in files.values())
        expected = arguments.ranks - KILLED.get(arguments.scenario, 0)
        if stray or passed != expected or any("failed:" in text for text in files.values()):
            sys.exit(f"{passed} ranks passed, of {expected} that must; left over: {stray or 'none'}")
        return {line for text in files.values() for line in text.splitlines() if line.startswith("digest")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mpirun", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--transport", choices=["plain", "shared"], required=True)
    parser.add_argument("--ranks-per-host", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=240)
    parser.add_argument("scenario")
    arguments = parser.parse_args()
    digests = check(arguments)
    if arguments.scenario == "identity":
        digests |= check(arguments)
        if len(digests) != 1:
            sys.exit(f"results differ between ranks or runs: {sorted(digests)}")


if __name__ == "__main__":
    main()
