"""docs/sagemaker.md beside SageMaker's own service model, and beside what the program does with each field."""

import copy
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import botocore.session

SOURCE = Path(__file__).resolve().parents[3]
MUSHER = Path(os.environ["MUSHER_BUILD"]) / "bin" / "musher"
PROTO = SOURCE / "proto" / "training_job.proto"
CALLS = ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob", "DeleteTrainingJob")
FATES = {"request": {"acts", "notice", "refused"}, "answer": {"acts", "never"}}

JOB = {
    "TrainingJobName": "fields",
    "InputDataConfig": [{"ChannelName": "train",
                         "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train"}}}],
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/jobs"},
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
}
# Where what the model alone says does not make a good value.
VALUES = {
    "TrainingJobName": "fields-2", "AlgorithmName": "image-classification", "TrainingInputMode": "File", "InputMode": "File",
    "S3Uri": "s3://bucket/other", "S3OutputPath": "s3://bucket/other", "Regex": "x ([0-9]+)", "Name": "x",
    "RoleArn": "arn:aws:iam::123456789012:role/trainer", "MaxPendingTimeInSeconds": 1800, "MaxRuntimeInSeconds": 60,
    "S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated", "HyperParameters": {"epochs": "1"},
    "ChannelName": "training", "CompressionType": {"InputDataConfig": "Gzip", "OutputDataConfig": "NONE"},
    "RecordWrapperType": "RecordIO",
}


def leaves(shape, path=""):
    """Paths of all that is no structure or list of structures."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif shape.type_name == "list" and shape.member.type_name == "structure":
        yield from leaves(shape.member, path + "[]")
    else:
        yield path


def example(shape, path):
    name = re.split(r"[.\[\]]+", path.strip("[]"))[-1]
    if name in VALUES:
        value = VALUES[name]
        root = re.split(r"[.\[]", path)[0]
        return value[root] if isinstance(value, dict) and root in value else value
    kind = shape.type_name
    if kind == "structure":
        wanted = shape.required_members or list(shape.members)[:1]
        return {member: example(shape.members[member], f"{path}.{member}") for member in wanted}
    if kind == "list":
        return [example(shape.member, path + "[]")]
    if kind == "map":
        return {"name": "value"}
    if kind in ("integer", "long"):
        return max(1, shape.metadata.get("min", 1))
    return True if kind == "boolean" else shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 1))


def tables():
    """{(call, "request" or "answer"): {path: fate}} of the page."""
    found, key = {}, None
    for line in (SOURCE / "docs" / "sagemaker.md").read_text().splitlines():
        if line.startswith("## "):
            key = (line[3:], "request")
        elif line == "The answer:":
            key = (key[0], "answer")
        elif row := re.match(r"\| `([^`]+)` \| (\w+) \|", line):
            assert row[1] not in found.setdefault(key, {}), f"{row[1]} is there twice"
            found[key][row[1]] = row[2]
    return found


def covering(path, rows):
    """The row that speaks for a path: its own, or that of what it is inside."""
    while path:
        if path in rows:
            return path
        path = re.sub(r"(\[\]|\.?\w+)$", "", path)
    return None


class SageMakersFields(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.model = botocore.session.get_session().get_service_model("sagemaker")
        cls.tables = tables()

    def shape(self, call, side):
        operation = self.model.operation_model(call)
        return operation.input_shape if side == "request" else operation.output_shape

    def test_every_field_of_the_five_calls_has_a_row_and_every_row_is_a_field(self):
        for call in CALLS:
            for side in ("request", "answer"):
                shape = self.shape(call, side)
                paths = list(leaves(shape)) if shape else []
                rows = self.tables.get((call, side), {})
                with self.subTest(call=call, side=side):
                    self.assertEqual([path for path in paths if covering(path, rows) is None], [], "fields without a row")
                    used = {covering(path, rows) for path in paths}
                    self.assertEqual(sorted(set(rows) - used), [], "rows that are no field of SageMaker")
                    self.assertEqual({fate for fate in rows.values()} - FATES[side], set())

    def test_an_answers_field_acts_where_the_message_has_it(self):
        text = PROTO.read_text()
        for call in ("DescribeTrainingJob", "ListTrainingJobs"):
            message = re.search(rf"^message {call}Response {{\n(.*?)^}}", text, re.S | re.M)[1]
            has = set(re.findall(r'json_name = "(\w+)"', message))
            for path, fate in self.tables[call, "answer"].items():
                name = re.split(r"[.\[]", path)[0]
                if "[]." in path:
                    continue
                with self.subTest(path):
                    self.assertEqual(name in has, fate == "acts")

    def validate(self, job):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            path.write_text(json.dumps(job))
            return subprocess.run([MUSHER, "validate", path], capture_output=True, text=True, timeout=60, check=False)

    def put(self, path, value):
        job = copy.deepcopy(JOB)
        at = job
        *way, last = re.findall(r"\w+|\[\]", path)
        for step, following in zip(way, [*way[1:], last]):
            if step == "[]":
                if not at:
                    at.append({})
                at = at[0]
            else:
                at = at.setdefault(step, [] if following == "[]" else {})
        at[last] = value
        return job

    def shape_at(self, path):
        shape = self.shape("CreateTrainingJob", "request")
        for step in re.findall(r"\w+|\[\]", path):
            shape = shape.member if step == "[]" else shape.members[step]
        return shape

    def test_the_program_does_with_each_field_of_a_job_what_its_row_says(self):
        for path, fate in self.tables["CreateTrainingJob", "request"].items():
            with self.subTest(path):
                job = self.put(path, example(self.shape_at(path), path))
                for definition in job.get("AlgorithmSpecification", {}).get("MetricDefinitions", []):
                    definition.setdefault("Name", "x")
                    definition.setdefault("Regex", "(x)")
                if "Tags" in job:
                    job["Tags"][0].setdefault("Key", "k")
                if path.endswith("AttributeNames"):
                    job["InputDataConfig"][0]["DataSource"]["S3DataSource"] |= {
                        "S3DataType": "AugmentedManifestFile", "AttributeNames": ["source-ref", "class"]}
                if path in ("EnableManagedSpotTraining", "StoppingCondition.MaxWaitTimeInSeconds"):
                    job["EnableManagedSpotTraining"] = True
                    job["StoppingCondition"] = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}
                done = self.validate(job)
                named = path.replace("[]", "[0]")
                if fate == "refused":
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertRegex(done.stderr, rf"{re.escape(named)}: (Musher|.*leave it out)")
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                elif fate == "notice":
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn(f"notice: {named}: changes nothing", done.stderr)
                else:
                    self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_asks_for_nothing_is_fine_everywhere(self):
        job = copy.deepcopy(JOB) | {"EnableNetworkIsolation": False, "EnableInterContainerTrafficEncryption": False, "VpcConfig": None}
        job["OutputDataConfig"] |= {"KmsKeyId": "", "CompressionType": "GZIP"}
        job["InputDataConfig"][0] |= {"CompressionType": "None", "RecordWrapperType": "None"}
        done = self.validate(job)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
