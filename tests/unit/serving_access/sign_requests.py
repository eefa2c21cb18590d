#!/usr/bin/env python3
"""Requests as botocore signs and sends them, for the C++ tests to verify.

usage: sign_requests.py OUT.json KEY SECRET

Clients of boto3 send to a socket that records the bytes; others are signed by SigV4Auth directly. OUT.json: a list of
{name, method, target, headers: [[name, value], …], body (base64)}.
"""
import base64
import json
import socket
import sys
import threading

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials


class Recorder:
    """Answers each request with 200 and `{}`, and keeps what came."""

    def __init__(self):
        self.requests = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection, connection.makefile("rb") as stream:
                while self.one(connection, stream):
                    pass

    def one(self, connection, stream):
        line = stream.readline().decode().rstrip("\r\n")
        if not line:
            return False
        method, target, _ = line.split(" ")
        headers = []
        while header := stream.readline().decode("latin-1").rstrip("\r\n"):
            name, value = header.split(":", 1)
            headers.append([name, value])
        given = {name.lower(): value.strip() for name, value in headers}
        if given.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.read(int(given.get("content-length", 0)))
        self.requests.append({"method": method, "target": target, "headers": headers,
                              "body": base64.b64encode(body).decode()})
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        return True


def sent_by_boto3(key, secret):
    recorder = Recorder()
    made = []

    def client(service):
        return boto3.client(service, endpoint_url=recorder.url, region_name="eu-west-1", aws_access_key_id=key,
                            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 0}))

    def record(name, call):
        call()
        made.append({"name": name, **recorder.requests[-1]})

    runtime = client("sagemaker-runtime")
    record("invoke", lambda: runtime.invoke_endpoint(
        EndpointName="dogs", ContentType="image/jpeg", Accept="application/json", Body=b"\xff\xd8 not really",
        CustomAttributes="a  b   c", TargetVariant="AllTraffic"))
    for name in ("again", "and again"):
        record(name, lambda: runtime.invoke_endpoint(EndpointName="dogs", Body=b"the same"))
    function = client("lambda")
    record("lambda", lambda: function.invoke(FunctionName="dogs", Payload=b'{"url": "s3://b/lab.jpg"}', LogType="Tail"))
    record("query", lambda: function.invoke(FunctionName="arn:aws:lambda:eu-west-1:000000000000:function:dogs",
                                            Qualifier="$LATEST", Payload=b"{}"))
    return made


def signed_directly(key, secret):
    made = []
    for name, method, path, headers, body in (
            ("empty", "GET", "/ping", {}, b""),
            ("odd path", "GET", "/a%20b//c/./d/../%C3%A9/", {}, b""),
            ("odd query", "GET", "/list?b=2&a=x%20y&a=%2F&empty=&flag", {}, b""),
            ("odd headers", "POST", "/", {"X-Amz-Meta": "  two   blanks ", "My-Header": "a, b"}, b"x" * 100000)):
        url = "https://musher.example:8443" + path
        request = AWSRequest(method=method, url=url, headers=headers, data=body)
        SigV4Auth(Credentials(key, secret), "sagemaker", "eu-west-1").add_auth(request)
        made.append({"name": name, "method": method, "target": path, "body": base64.b64encode(body).decode(),
                     "headers": [["Host", "musher.example:8443"], *([n, str(v)] for n, v in request.headers.items())]})
    return made


def main():
    out, key, secret = sys.argv[1:]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(sent_by_boto3(key, secret) + signed_directly(key, secret), file)


if __name__ == "__main__":
    main()
