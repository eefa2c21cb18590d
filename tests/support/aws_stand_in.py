"""A stand-in for EC2, IAM and STS: moto's server, with what moto lacks for Musher's fleets. Runs in .venv-tests:

    aws_stand_in.py [--hosts FILE]

Prints its port, then serves on loopback until its end. Instances tell on their consoles that they are ready, and their host keys.
FILE is JSON, {address: host key}: which instances get in turn. Beside AWS's services:

    POST /stand-in/fail     {"action": "RunInstances", "code": "InsufficientInstanceCapacity", "times": 1}
    POST /stand-in/console  {"text": …}  what instances started from now on have told
    POST /stand-in/addresses ["10.99.0.9", …]  that instances started from now on get in turn
    POST /stand-in/impaired ["10.99.0.9", …]   of instances that do not pass EC2's checks, until it is said otherwise
    GET  /stand-in/calls    the actions so far, in order
    POST /stand-in/aws      a call of AWS's command line, see aws_quick
"""
import argparse
import io
import json
import os
import tempfile
import threading
import urllib.parse
from pathlib import Path
from xml.sax.saxutils import escape

DEBIAN, OLDER, WITH_DRIVER = "ami-0deb1a00000000012", "ami-0deb1a00000000011", "ami-0d1e0000000000012"


def image(name, identifier, created, owner="136693071363"):
    return {"ami_id": identifier, "name": name, "owner_id": owner, "creation_date": created, "state": "available", "public": True,
            "image_location": name, "image_type": "machine", "architecture": "x86_64", "virtualization_type": "hvm",
            "hypervisor": "xen", "root_device_type": "ebs", "root_device_name": "/dev/xvda", "sriov": "simple",
            "description": name, "platform": None}


# Read when moto is imported.
with tempfile.NamedTemporaryFile("w", suffix=".json") as images:
    json.dump([image("debian-12-amd64-20260101-1", OLDER, "2026-01-01T00:00:00.000Z"),
               image("debian-12-amd64-20261001-2", DEBIAN, "2026-10-01T00:00:00.000Z"),
               image("with-driver", WITH_DRIVER, "2026-10-02T00:00:00.000Z", owner="123456789012")], images)
    images.flush()
    os.environ["MOTO_AMIS_PATH"] = images.name
    from moto.ec2.models import amis  # noqa: F401

import boto3
from botocore.exceptions import ClientError
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import instances as instance_models
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import Base64EncodedString
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>as the test wants it</Message></Error></Errors><RequestID>0</RequestID></Response>"""


class StandIn:
    def __init__(self, application, world):
        self.application = application
        self.world = world
        self.placement_groups = {}  # name → tags; moto has none
        self.failures = []
        self.clients = {}
        self.calls = []
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        if path == "/stand-in/aws":
            return self.answer(start_response, *self.call(environ, *json.loads(body)))
        if path.startswith("/stand-in/"):
            return self.answer(start_response, "200 OK", "application/json", self.control(path, body))
        environ["wsgi.input"] = io.BytesIO(body)
        form = urllib.parse.parse_qs(body.decode(errors="replace"))
        action = form.get("Action", [""])[0] or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        with self.lock:
            self.calls.append(action)
            failure = next((one for one in self.failures if one["action"] == action and one["times"] > 0), None)
            if failure:
                failure["times"] -= 1
        if failure:
            return self.answer(start_response, "400 Bad Request", "text/xml", ERROR.format(code=failure["code"]))
        if action.endswith(("PlacementGroup", "PlacementGroups")):
            return self.answer(start_response, *self.place(action, {name: values[0] for name, values in form.items()}))
        return self.application(environ, start_response)

    def place(self, action, form):
        """As EC2 does it, so far as Musher asks for it."""
        name = form.get("GroupName")
        with self.lock:
            if action == "CreatePlacementGroup" and name in self.placement_groups:
                return "400 Bad Request", "text/xml", ERROR.format(code="InvalidPlacementGroup.Duplicate")
            if action == "DeletePlacementGroup" and name not in self.placement_groups:
                return "400 Bad Request", "text/xml", ERROR.format(code="InvalidPlacementGroup.Unknown")
            if action == "CreatePlacementGroup":
                tag = "TagSpecification.1.Tag.{}.{}".format
                count = next(number for number in range(1, 60) if tag(number, "Key") not in form)
                self.placement_groups[name] = {form[tag(one, "Key")]: form[tag(one, "Value")] for one in range(1, count)}
            if action == "DeletePlacementGroup":
                del self.placement_groups[name]
            wanted = form.get("Filter.1.Value.1") if form.get("Filter.1.Name") == "group-name" else None
            listed = "".join(f"<item><groupName>{escape(one)}</groupName><strategy>cluster</strategy><state>available</state><tagSet>"
                             + "".join(f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>" for key, value in tags.items())
                             + "</tagSet></item>" for one, tags in self.placement_groups.items() if wanted in (None, one))
        inside = f"<placementGroupSet>{listed}</placementGroupSet>" if action.startswith("Describe") else "<return>true</return>"
        return "200 OK", "text/xml", f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{inside}</{action}Response>'

    def call(self, environ, service, operation, request, credentials):
        """As `aws SERVICE OPERATION --cli-input-json REQUEST` answers."""
        key = (service, *sorted(credentials.items()))
        with self.lock:
            if key not in self.clients:
                self.clients[key] = boto3.client(
                    service, region_name="us-east-1", endpoint_url=f"http://{environ['HTTP_HOST']}",
                    aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"], aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"])
            client = self.clients[key]
        try:
            answer = getattr(client, operation.replace("-", "_"))(**json.loads(request))
        except ClientError as error:
            return "400 Bad Request", "text/plain", f"\n{error}\n"
        del answer["ResponseMetadata"]
        return "200 OK", "application/json", json.dumps(answer, default=str) if answer else ""

    def control(self, path, body):
        with self.lock:
            if path == "/stand-in/fail":
                failure = {"times": 1} | json.loads(body)
                self.failures = [one for one in self.failures if one["action"] != failure["action"]] + [failure]
            elif path == "/stand-in/console":
                self.world.console = json.loads(body)["text"]
            elif path == "/stand-in/addresses":
                self.world.addresses = json.loads(body)
            elif path == "/stand-in/impaired":
                self.world.impaired = json.loads(body)
            elif path == "/stand-in/calls":
                return json.dumps(self.calls)
        return "{}"

    @staticmethod
    def answer(start_response, status, kind, text):
        data = text.encode()
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
        return [data]


class World:
    """What instances are like, as the test wants it."""

    def __init__(self, hosts):
        self.keys = hosts  # address → host key
        self.addresses = list(hosts)  # that instances get in turn; none: moto's own
        self.impaired = []
        self.console = "[   1.0] Linux\r\nmusher-fleet: key KEY\r\nmusher-fleet: ready\r\n"


def mend_moto(world):
    """Consoles that tell what a host tells, and addresses and status checks of the test's own."""
    texts = {}

    def get_console_output(self):
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        key = world.keys.get(instance.private_ip, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJustForTests")
        text = texts.setdefault(instance.id, world.console.replace("KEY", key))
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(),
                             "Output": Base64EncodedString.from_raw_string(text)})

    def describe_instance_status(self):
        running = self.ec2_backend.describe_instance_status(self._get_param("InstanceIds", []), False, [])
        return ActionResult({"InstanceStatuses": [
            {"InstanceId": one.id, "InstanceState": {"Code": 16, "Name": "running"}, "SystemStatus": {"Status": "ok"},
             "InstanceStatus": {"Status": "impaired" if one.private_ip in world.impaired else "ok"}} for one in running]})

    request = Subnet.request_ip

    def request_ip(self, ip, instance):
        self._subnet_ips.pop(ip, None)  # moto keeps those of instances that are over
        return request(self, ip, instance)

    prepare = instance_models.Instance.prep_nics

    def prep_nics(self, nic_spec, private_ip=None, **options):
        if world.addresses:
            world.addresses.append(world.addresses.pop(0))
            private_ip = private_ip or world.addresses[-1]
        return prepare(self, nic_spec, private_ip=private_ip, **options)

    General.get_console_output = get_console_output
    Subnet.request_ip = request_ip
    InstanceResponse.describe_instance_status = describe_instance_status
    instance_models.Instance.prep_nics = prep_nics


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=Path)
    options = parser.parse_args()
    world = World(json.loads(options.hosts.read_text()) if options.hosts else {})
    mend_moto(world)
    application = StandIn(DomainDispatcherApplication(create_backend_app), world)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
