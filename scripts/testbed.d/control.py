"""The caller's end of the control socket: one sub-command, one connection, one line of JSON each way."""

import array
import json
import os
import socket

import plan


def request(name, arguments, fds=()):
    """Returns the result, or raises what the test bed says against it."""
    directory = os.environ.get("TESTBED_DIR")
    if not directory:
        raise plan.TestbedError("TESTBED_DIR is not set: this sub-command is for use inside `testbed run -- CMD`", 2)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"{directory}/control.sock")
    except OSError as error:
        raise plan.TestbedError(f"no test bed answers at {directory}: {error.strerror}") from error
    data = json.dumps({"name": name, "arguments": arguments}).encode() + b"\n"
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = sock.sendmsg([data], ancillary)
    if sent < len(data):
        sock.sendall(data[sent:])
    with sock.makefile("rb") as file:
        line = file.readline()
    if not line:
        raise plan.TestbedError("the test bed ended", 70)
    answer = json.loads(line)
    if "error" in answer:
        raise plan.TestbedError(answer["error"], answer["code"])
    return answer["result"]
