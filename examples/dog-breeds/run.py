#!/usr/bin/env python3
"""From pictures in S3 to `lab.jpg` answered by a function, on this machine alone:

    .venv/bin/python examples/dog-breeds/run.py

starts a real S3 server on loopback, puts the data set and the backbone's weights into a bucket, trains job.json with two
workers, starts a coordinator, which serves the model as the endpoint `dog-breeds`, and the function `dog-breeds` before it, and
invokes that by boto3 with a picture of a Labrador retriever. What the function returns is all that is on stdout. No process stays behind.

Without --data and --weights both are stand-ins that are made here: what is shown is the way, and no breed is learned. With
the real ones (real_dataset.py, make_weights.py say where they are) give --image-size 224, too.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(ROOT / "launch"), str(ROOT / "tests" / "support")]
import processes  # noqa: E402
from s3_server import REGION, S3Server  # noqa: E402

BUCKET = NAME = "dog-breeds"  # bucket, endpoint, function: as job.json and the policies beside it say
LABRADOR = "096.Labrador_retriever"


class Failed(Exception):
    """One line for the person."""


def say(line):
    print(f"\n== {line}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(started, command, **options):
    """Its stdout; what it says on stderr is seen at once."""
    done = started.run(command, timeout=options.pop("timeout", 600), stderr=None, **options)
    if done.returncode != 0:
        raise Failed(f"{Path(command[0]).name} {command[1]} ended with {done.returncode}")
    return done.stdout


def prepare(started, options):
    """The folder of the data, and the file of the weights."""
    data, weights = options.data, options.weights
    if data is None:
        data = options.home / "data"
        shutil.rmtree(data, ignore_errors=True)
        run(started, [sys.executable, HERE / "make_dataset.py", data, "--per-class", options.per_class])
    if weights is None:
        weights = options.home / "resnet50.safetensors"
        run(started, [sys.executable, HERE / "make_weights.py", data / "train", weights, "--image-size", str(options.image_size)])
    return data, weights


def upload(server, data, weights):
    """data/train/001.Affenpinscher/… as the seed has it, and lab.jpg."""
    server.make_bucket(BUCKET)
    client = server.client()
    files = {f"data/{path.relative_to(data)}": path for channel in ("train", "valid", "test")
             for path in (data / channel).rglob("*.jpg")}
    files["weights/resnet50"] = weights
    files["lab.jpg"] = min((data / "test" / LABRADOR).glob("*.jpg"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.upload_file(str(files[key]), BUCKET, key), files))
    say(f"{len(files)} objects in s3://{BUCKET} at {server.endpoint}")


def train(started, options, environment):
    """The artifact's URI."""
    job = json.loads((HERE / "job.json").read_text())
    job["HyperParameters"] |= {"image_size": str(options.image_size), "epochs": str(options.epochs),
                               "batch_size": str(options.batch_size)}
    path = options.home / "job.json"
    path.write_text(json.dumps(job, indent=2))
    say("musher train: ResNet-50, frozen, with a head of 128 and 133, on two workers")
    done = started.run([options.musher, "train", path, "--json"], env=environment, timeout=86_400, stderr=None)
    if done.returncode != 0:
        raise Failed(f"the job ended with {done.returncode}")
    return json.loads(done.stdout)["ModelArtifacts"]["S3ModelArtifacts"]


def make_key(started, options, user, policy):
    """A file of its owner's alone with a key that may do what the policy says."""
    path = options.home / f"{user}.key"
    path.unlink(missing_ok=True)
    printed = run(started, [options.musher, "access", "create", user, "--policy", HERE / policy, "--keys", options.home / "keys"])
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(printed)
    return path


def wait_for(process, log, there):
    """Until a server answers; Failed where it ends instead."""
    deadline = time.monotonic() + 300
    while not there():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{Path(process.args[0]).name} {process.args[1]} does not serve: see {log}")
        time.sleep(0.1)


def answers_ping(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start_coordinator(started, options, environment):
    """Where it listens: HOST:PORT."""
    address, log = f"127.0.0.1:{free_port()}", options.home / "coordinator.log"
    for old in (options.home / "state", log):  # a coordinator takes up the endpoints that its state has
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    process = started.start([str(options.musher), "serve", "--state", options.home / "state", "--listen", address],
                            env=environment, log=log)
    wait_for(process, log, lambda: started.run([options.musher, "list", "--coordinator", address], timeout=60).returncode == 0)
    return address


def deploy(started, options, artifact, coordinator, environment):
    """The endpoint: its URL. It answers a first picture, asked by the key that the function will have."""
    function_key = make_key(started, options, "function", "function-policy.json")
    endpoint = [options.musher, "endpoint"]
    at = ["--coordinator", coordinator]
    run(started, [*endpoint, "create", NAME, "--model", artifact, "--keys", options.home / "keys", "--wait", *at])
    url = json.loads(run(started, [*endpoint, "status", NAME, "--json", *at]))["Url"]
    say(f"Endpoint {NAME} at {url}, 1 to 4 instances behind HAProxy, coordinator on {coordinator}")
    key = json.loads(function_key.read_text())["AccessKey"]
    picture = min((options.data_folder / "test" / LABRADOR).glob("*.jpg"))
    answer = run(started, [*endpoint, "invoke", NAME, picture, *at],
                 env={**environment, "AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]})
    say(f"{picture.name}: {len(json.loads(answer)[0])} logits from the endpoint itself")
    return url, function_key


def serve(started, options, url, function_key, environment):
    """The function; a boto3 client of it, by a key that may invoke it and nothing else."""
    caller_key = make_key(started, options, "caller", "caller-policy.json")
    port, log = free_port(), options.home / "function.log"
    log.unlink(missing_ok=True)
    process = started.start([str(options.musher), "function", "serve", NAME, "--keys", options.home / "keys", "--listen",
                             f"127.0.0.1:{port}", "--endpoint", NAME, "--endpoint-url", url, "--endpoint-key", function_key,
                             "--allow-url", f"s3://{BUCKET}"], env=environment, log=log)
    wait_for(process, log, lambda: answers_ping(port))
    say(f"Function {NAME} on 127.0.0.1:{port}, at most 10 executions at a time")
    key = json.loads(caller_key.read_text())["AccessKey"]
    return boto3.client("lambda", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION,
                        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
                        config=Config(read_timeout=120))


def invoke(client):
    """What the function returns for lab.jpg."""
    event = {"url": f"s3://{BUCKET}/lab.jpg"}
    answer = client.invoke(FunctionName=NAME, Payload=json.dumps(event))
    payload = json.load(answer["Payload"])
    if "FunctionError" in answer:
        raise Failed(f"the function failed: {payload.get('errorMessage')}")
    return payload


def report(server, artifact, home, payload):
    copy = home / "model.tar.gz"
    server.client().download_file(BUCKET, artifact.removeprefix(f"s3://{BUCKET}/"), str(copy))
    with tarfile.open(copy) as tar:
        classes = json.load(tar.extractfile("classes.json"))
    logits = json.loads(payload["body"])[0]
    best = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:3]
    say(f"lab.jpg: status {payload['statusCode']}, {len(logits)} logits; most likely {', '.join(classes[i] for i in best)}")


def whole_way(started, options):
    data, weights = prepare(started, options)
    options.data_folder = data
    say("S3 server")
    shutil.rmtree(options.home / "s3", ignore_errors=True)
    with S3Server(options.home / "s3") as server:
        environment = {**os.environ, **server.env()}
        upload(server, data, weights)
        artifact = train(started, options, environment)
        shutil.rmtree(options.home / "keys", ignore_errors=True)
        coordinator = start_coordinator(started, options, environment)
        url, function_key = deploy(started, options, artifact, coordinator, environment)
        payload = invoke(serve(started, options, url, function_key, environment))
        report(server, artifact, options.home, payload)
        print(json.dumps(payload), flush=True)
        run(started, [options.musher, "endpoint", "delete", NAME, "--wait", "--coordinator", coordinator])
        started.end()  # before the S3 server


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the real set, as real_dataset.py leaves it (default: a stand-in)")
    parser.add_argument("--weights", type=Path, help="of the backbone, as make_weights.py says (default: a stand-in)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--per-class", metavar="TRAIN,VALID,TEST", default="6,1,1",
                        help="pictures of the stand-in (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="--image-size 32 --epochs 1 --per-class 1,1,1")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the build to use (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="folder for the bucket, keys and logs (default: BUILD/dog-breeds)")
    options = parser.parse_args()
    if options.quick:
        options.image_size, options.epochs, options.per_class = 32, 1, "1,1,1"
    options.musher = options.build / "bin" / "musher"
    options.home = (options.home or options.build / "dog-breeds").resolve()
    options.home.mkdir(parents=True, exist_ok=True)
    return options


def main():
    options = parse()
    processes.raise_on_signals()
    try:
        with processes.Processes() as started:
            try:
                whole_way(started, options)
            finally:
                processes.ignore_signals()
    except processes.Interrupted as signal_came:
        sys.exit(signal_came.exit_code)
    except (Failed, RuntimeError, subprocess.SubprocessError, BotoCoreError, ClientError) as failure:
        sys.exit(f"dog-breeds: {failure}")


if __name__ == "__main__":
    main()
