"""Runs one scenario of nccl_ranks under mpirun, a GPU a rank. Exit code 0: passed; 77: too few GPUs here."""
import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

SKIPPED = 77


def run(command, folder, timeout):
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "TMPDIR": folder})
    try:
        process.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # mpirun then kills its ranks
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        sys.exit("mpirun did not end")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mpirun", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("scenario")
    arguments = parser.parse_args()
    gpus = int(subprocess.run([arguments.binary, "count"], check=True, capture_output=True, text=True).stdout)
    if gpus < arguments.ranks:
        print(f"skipped: {gpus} GPUs here, the test needs {arguments.ranks}")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as folder:
        run([arguments.mpirun, "--with-ft", "ulfm", "--allow-run-as-root", "--oversubscribe", "-n", str(arguments.ranks),
             arguments.binary, arguments.scenario, folder], folder, timeout=240)
        seen = {path.name: path.read_text().strip() for path in pathlib.Path(folder).glob("rank*")}
    print(seen)
    expected = arguments.ranks - (1 if arguments.scenario == "killed" else 0)
    if sum(text == "passed" for text in seen.values()) != expected:
        sys.exit(1)


if __name__ == "__main__":
    main()
