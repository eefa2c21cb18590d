#!/usr/bin/env python3
"""run_s3_test.py SUPPORT_FOLDER PROGRAM [ARGUMENT]...: runs PROGRAM beside a real S3 server and its stand-ins."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from fault_proxy import FAULTS, FaultProxy, answer  # noqa: E402
from s3_server import S3Server  # noqa: E402
from stand_ins import DroppingRelay, InstanceMetadata  # noqa: E402

BUCKET = "storage-test"
# storage_s3_test.cpp counts on these two.
DROPS = 3
NEVER_ABORTED = "AnAbortThatFailsPublishesNothing/k"


FULL = answer(507, "Insufficient Storage", "InsufficientStorage")
GONE = answer(404, "Not Found", "NoSuchUpload", "The specified multipart upload does not exist.")


def first_time(fault):
    return lambda request: fault if request.time == 0 else None


def finished(request):
    """The answer to the end of an upload is lost, and the server then knows nothing of the upload any more."""
    if request.method == "POST" and "uploadId=" in request.path:
        return "lost_answer" if request.time == 0 else GONE
    return None


def fault_proxies(port):
    """{name in storage_faults_test.cpp: proxy}"""
    proxies = {fault: FaultProxy(port, script=first_time(fault)) for fault in FAULTS if fault != "stall"}
    # It takes curl some seconds beyond the time-out to find that nothing moves: once will do.
    proxies["stall"] = FaultProxy(port, script=lambda request: "stall" if request.time == 0 and request.method == "GET"
                                  and request.path.endswith("/small") else None)
    proxies["always_short"] = FaultProxy(port, rates={"short": 1})
    proxies["finished"] = FaultProxy(port, script=finished)
    proxies["always_error"] = FaultProxy(port, rates={"error": 1})
    proxies["always_slow_down"] = FaultProxy(port, rates={"slow_down": 1})
    proxies["away"] = FaultProxy(port)
    proxies["away"].go_away()
    proxies["full"] = FaultProxy(port, script=lambda request: FULL if request.method in ("PUT", "POST") else None)
    return proxies


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all below is cleaned up
    with tempfile.TemporaryDirectory(prefix="storage-") as folder, S3Server(f"{folder}/data") as server:
        server.make_bucket(BUCKET)
        # A folder as consoles make it: an empty object whose key ends in a slash.
        server.client().put_object(Bucket=BUCKET, Key="marked/")
        server.client().put_object(Bucket=BUCKET, Key="marked/object", Body=b"x")
        profile = Path(folder) / "credentials"
        profile.write_text(
            f"[trainer]\naws_access_key_id = {server.access_key}\n"
            f"aws_secret_access_key = {server.secret_key}\n"
        )
        faults = fault_proxies(server.port)
        with (
            contextlib.ExitStack() as stack,
            InstanceMetadata(server.access_key, server.secret_key) as metadata,
            DroppingRelay(server.port, drops=DROPS) as dropping,
            DroppingRelay(server.port, refused=b"DELETE ") as undeletable,
        ):
            for proxy in faults.values():
                stack.enter_context(proxy)
            inherited = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
            stand_ins = {
                "HOME": folder,  # no one's own ~/.aws
                "MUSHER_TEST_BUCKET": BUCKET,
                "MUSHER_TEST_DROPPING_ENDPOINT": dropping.endpoint,
                "MUSHER_TEST_UNDELETABLE_ENDPOINT": undeletable.endpoint,
                "MUSHER_TEST_METADATA_ENDPOINT": metadata.endpoint,
                "MUSHER_TEST_PROFILES": str(profile),
            }
            stand_ins |= {f"MUSHER_TEST_FAULT_{name}": proxy.endpoint for name, proxy in faults.items()}
            code = subprocess.run(sys.argv[2:], env={**inherited, **server.env(), **stand_ins}).returncode
            print("faults:", {name: dict(proxy.injected) for name, proxy in faults.items() if proxy.injected})
        uploads = server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        # Where the answer to the beginning of an upload was lost, nobody can end it: a bucket's lifecycle rule does.
        left = {key for upload in uploads if not (key := upload["Key"]).startswith("faults/")} - {NEVER_ABORTED}
        if left:
            print(f"unfinished uploads are left: {sorted(left)}", file=sys.stderr)
            code = code or 1
    sys.exit(code)


if __name__ == "__main__":
    main()
