"""Programs that a test starts, and that have ended when it is over."""
import contextlib
import json
import socket
import subprocess


@contextlib.contextmanager
def running(command, stop=subprocess.Popen.terminate, **options):
    """Leaving it calls `stop`, SIGTERM by default, and waits for the end: `returncode` is there then."""
    with subprocess.Popen(command, text=True, **options) as child:
        try:
            yield child
        finally:
            stop(child)


@contextlib.contextmanager
def serving(tern, *options, stop=subprocess.Popen.terminate):
    """`tern serve` at a port of its choice: the program, and what it says of itself (port, url, model)."""
    with running([tern, "serve", "--port", "0", "--json", *options], stop, stdout=subprocess.PIPE) as child:
        yield child, json.loads(child.stdout.readline())


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as some:
        return some.getsockname()[1]
