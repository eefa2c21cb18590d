#!/usr/bin/env python3
"""run_s3_test.py SUPPORT_FOLDER PROGRAM [ARGUMENT]...: runs PROGRAM beside a real S3 server and its stand-ins."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from s3_server import S3Server  # noqa: E402
from stand_ins import DroppingRelay, InstanceMetadata  # noqa: E402

BUCKET = "storage-test"
# storage_s3_test.cpp counts on these two.
DROPS = 3
NEVER_ABORTED = "AnAbortThatFailsPublishesNothing/k"


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
        with (
            InstanceMetadata(server.access_key, server.secret_key) as metadata,
            DroppingRelay(server.port, drops=DROPS) as dropping,
            DroppingRelay(server.port, refused=b"DELETE ") as undeletable,
        ):
            inherited = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
            stand_ins = {
                "HOME": folder,  # no one's own ~/.aws
                "MUSHER_TEST_BUCKET": BUCKET,
                "MUSHER_TEST_DROPPING_ENDPOINT": dropping.endpoint,
                "MUSHER_TEST_UNDELETABLE_ENDPOINT": undeletable.endpoint,
                "MUSHER_TEST_METADATA_ENDPOINT": metadata.endpoint,
                "MUSHER_TEST_PROFILES": str(profile),
            }
            code = subprocess.run(sys.argv[2:], env={**inherited, **server.env(), **stand_ins}).returncode
        uploads = server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        left = {upload["Key"] for upload in uploads} - {NEVER_ABORTED}
        if left:
            print(f"unfinished uploads are left: {sorted(left)}", file=sys.stderr)
            code = code or 1
    sys.exit(code)


if __name__ == "__main__":
    main()
