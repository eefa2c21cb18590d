#!/usr/bin/env python3
"""Prints job.json with its file:// URIs moved to a bucket, and under another name: what launch/quickstart submits.

    file://./data/train   becomes   s3://BUCKET/fashion-mnist/train
    file://./jobs         becomes   s3://BUCKET/jobs

There is no CheckpointConfig: a later run with the same one would resume, and end at once where the first had finished.
"""
import argparse
import json
from pathlib import Path


def moved(uri, bucket):
    for here, there in (("file://./data/", f"s3://{bucket}/fashion-mnist/"), ("file://./jobs", f"s3://{bucket}/jobs")):
        if uri.startswith(here):
            return there + uri[len(here):]
    raise SystemExit(f"job.json: {uri} is not below file://./data or file://./jobs")


def job_on_s3(bucket, name):
    job = json.loads((Path(__file__).resolve().parent / "job.json").read_text())
    job["TrainingJobName"] = name
    for channel in job["InputDataConfig"]:
        source = channel["DataSource"]["S3DataSource"]
        source["S3Uri"] = moved(source["S3Uri"], bucket)
    output = job["OutputDataConfig"]
    output["S3OutputPath"] = moved(output["S3OutputPath"], bucket)
    return job


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument("--name", default="fashion-mnist", help="TrainingJobName (default: %(default)s)")
    options = parser.parse_args()
    print(json.dumps(job_on_s3(options.bucket, options.name), indent=2))


if __name__ == "__main__":
    main()
