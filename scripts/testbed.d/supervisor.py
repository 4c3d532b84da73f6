"""The event loop of a test bed: runs CMD, answers sub-commands on a socket, ends when CMD ends.

The bed itself (namespaces or loopback) is behind a small interface:
    boot()                        brings all hosts up
    spawn(host, ...) -> pid       starts a process on a host
    request(name, arguments)      carries out a sub-command and returns something JSON can say
    child_exited(pid)             a child that the supervisor does not know has ended
    close()                       ends all hosts
`uplink` is a socket to the process that the user called: it sends numbers of signals for CMD, and its end of file is
the user's process being gone, SIGKILL included.
"""

import array
import json
import os
import selectors
import signal
import socket
import sys
import traceback

import kernel
import plan


class Interrupted(Exception):
    """The user's process ended, or sent a signal before CMD was there to get it."""

    def __init__(self, number):
        super().__init__(f"interrupted by signal {number}")
        self.number = number


class Uplink:
    """The supervisor's end of the socket to the user's process."""

    def __init__(self, sock):
        self.socket = sock

    def signals(self):
        """Signals to pass on. Blocks until there is something to read."""
        data = self.socket.recv(4096)
        if not data:
            raise Interrupted(signal.SIGKILL)
        return [int(word) for word in data.split()]

    def sweep(self, directory):
        """Asks for a janitor that removes this cgroup when the test bed is gone, however it goes."""
        self.socket.sendall(f"{directory}\n".encode())


class Supervisor:
    """One per test bed, in a process of its own."""

    def __init__(self, bed, uplink, control_path):
        self.bed = bed
        self.uplink = uplink
        self.selector = selectors.DefaultSelector()
        self.command = 0
        self.code = None
        self.executing = {}  # pid -> connection of the `exec` that waits for it
        self.wakeup, wakeup = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(control_path)
        self.listener.listen(64)

    def serve(self, command, environ, cwd, group):
        """Runs CMD on ops; returns its exit code as a shell reports it."""
        watch = self.selector.register
        watch(self.wakeup, selectors.EVENT_READ, self._woken)
        watch(self.uplink.socket, selectors.EVENT_READ, self._forward)
        watch(self.listener, selectors.EVENT_READ, self._accept)
        self.command = self.bed.spawn("ops", command, environ, cwd, (0, 1, 2), group)
        while self.code is None:
            for key, _ in self.selector.select():
                key.data(key.fileobj)
        return self.code

    def _forward(self, _):
        for number in self.uplink.signals():
            # To the whole group, as a terminal would: a shell that waits for its child would sit on it otherwise.
            try:
                os.killpg(self.command, number)
            except ProcessLookupError:
                pass

    def _woken(self, fd):
        try:
            os.read(fd, 4096)
        except BlockingIOError:
            pass
        self.reap()

    def reap(self):
        """Tells whom it concerns of every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                if pid == self.command and os.WSTOPSIG(status) == signal.SIGTSTP:
                    # Nobody could wake it again: the caller's shell does not know this process.
                    os.killpg(pid, signal.SIGCONT)
            elif pid == self.command:
                self.code = kernel.exit_code(status)
            elif pid in self.executing:
                self._answer(self.executing.pop(pid), {"result": kernel.exit_code(status)})
            else:
                self.bed.child_exited(pid)

    def _accept(self, listener):
        connection, _ = listener.accept()
        connection.settimeout(5)
        try:
            request, fds = _receive(connection)
        except (OSError, ValueError):
            connection.close()
            return
        try:
            if request["name"] == "exec":
                self._execute(connection, request, fds)
            else:
                self._answer(connection, {"result": self.bed.request(request["name"], request["arguments"])})
        except plan.TestbedError as error:
            self._answer(connection, {"error": str(error), "code": error.code})
        except Exception as error:  # A sub-command that fails must not take the test bed down.
            traceback.print_exc(file=sys.stderr)
            self._answer(connection, {"error": f"{type(error).__name__}: {error}", "code": 70})
        finally:
            for fd in fds:
                os.close(fd)

    def _execute(self, connection, request, fds):
        arguments = request["arguments"]
        environ = self.bed.login_environ(arguments["host"])
        pid = self.bed.spawn(arguments["host"], arguments["command"], environ, environ["HOME"], fds, "session")
        self.executing[pid] = connection
        # Readable before the answer is due means that the caller is gone: then what it started goes too.
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self._abandon(pid, connection))

    def _abandon(self, pid, connection):
        self.executing.pop(pid, None)
        self.selector.unregister(connection)
        connection.close()
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _answer(self, connection, answer):
        try:
            self.selector.unregister(connection)
        except KeyError:
            pass
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # The caller did not wait for its answer.
        connection.close()


def _receive(connection):
    """One request, a line of JSON, and the descriptors sent along with its first byte."""
    data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * 4), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    while not data.endswith(b"\n"):
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return json.loads(data), list(fds)
