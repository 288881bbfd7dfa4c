#!/usr/bin/env python3
"""tools/haproxy.cfg with two local replicas:

    balancer_test.py path/to/tern

A session stays with one replica and finds its prompt in the cache; streams arrive as they are written; a client that
hangs up ends its work; a replica that goes is replaced by the other. Exit status 77 where HAProxy is not there.
"""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from load import Client, events, expect, idle
from programs import free_port, running, serving

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / "tools/haproxy.cfg"
PATH = "/v1/completions"
PROMPT = "Once upon a time there was a little dog who wanted to see the sea. " * 4


KILL = subprocess.Popen.kill  # a replica that is asked to stop waits for its requests, which a failed test leaves


def await_health(port):
    until = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError, ValueError), Client(port) as client:
            if client.json("GET", "/health")[0] == 200:
                return
        expect(time.monotonic() < until, "the balancer has no replica after 20 s")
        time.sleep(0.05)


def ask(port, headers, body):
    with Client(port) as client:
        client.connection.request("POST", PATH, json.dumps(body), headers)
        response = client.connection.getresponse()
        answer = json.loads(response.read())
        expect(response.status == 200, f"status {response.status}: {answer}")
        return answer


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def served(port):
    """Prompt tokens that a replica has taken, cached or not."""
    with Client(port) as client:
        for line in client.send("GET", "/metrics"):
            if line.startswith(b"tern_prompt_tokens_total "):
                return float(line.split()[1])
    raise AssertionError("no tern_prompt_tokens_total")


def sessions_stay(port, replicas):
    """Turns of sessions in turns: from its second on, each finds its own beginning, which no other session has."""
    used = set()
    texts = {f"session-{i}": f"{i} {i + 1} {i + 2} " + PROMPT for i in range(7)}  # odd: taking turns would move them
    for turn in range(3):
        for number, (session, text) in enumerate(texts.items()):
            header = ("X-Session-Id", "X-OpenWebUI-Chat-Id")[number % 2]
            before = [served(at) for at in replicas]
            answer = ask(port, {header: session}, {"prompt": text, "max_tokens": 10, "seed": 1})
            after = [served(at) for at in replicas]
            used.add((session, tuple(a > b for a, b in zip(after, before))))
            expect(turn == 0 or cached(answer) > 40, f"{session}: {answer['usage']}")
            texts[session] = text + answer["choices"][0]["text"]
    expect(len(used) == len(texts), f"a session has moved: {sorted(used)}")
    expect(len({where for _, where in used}) == 2, f"only one replica was used: {sorted(used)}")


def streams_and_cancels(port, replicas):
    body = {"prompt": PROMPT, "max_tokens": 600, "ignore_eos": True, "seed": 2, "return_token_ids": True}
    whole = ask(port, {}, body)["choices"][0]["token_ids"]
    ids, times = [], []
    with Client(port) as client:
        for event in events(client.send("POST", PATH, json.dumps(dict(body, stream=True)))):
            ids += event["choices"][0]["token_ids"]
            times.append(time.monotonic())
    expect(ids == whole, "the stream differs from the whole answer")
    expect(times[len(times) // 2] - times[0] > (times[-1] - times[0]) / 20, "the stream came in one piece")
    for stream in (True, False):
        with Client(port) as client:
            # Minutes of work on a busy machine, and ten seconds on a fast one.
            client.connection.request("POST", PATH, json.dumps(dict(body, n=100, max_tokens=1800, stream=stream)))
            time.sleep(0.3)
        for at in replicas:
            idle(at, 5)


def other_takes_over(port, first, replicas):
    first.terminate()
    expect(first.wait(timeout=20) == 0, "exit status of a replica")
    for i in range(8):
        ask(port, {"X-Session-Id": f"session-{i}"}, {"prompt": "x", "max_tokens": 2})
    expect(served(replicas[1]) > 0, "the other replica has served nothing")


def main():
    haproxy = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if haproxy is None:
        print("skipped: balancer_test: there is no haproxy; tools/install-packages client installs it")
        sys.exit(77)
    with serving(sys.argv[1], stop=KILL) as (first, one), serving(sys.argv[1], stop=KILL) as (_, other):
        replicas = [one["port"], other["port"]]
        port = free_port()
        environment = {"TERN_LISTEN": f"127.0.0.1:{port}", "TERN_REPLICA_1": f"127.0.0.1:{replicas[0]}",
                       "TERN_REPLICA_2": f"127.0.0.1:{replicas[1]}"}
        command = [haproxy, "-db", "-f", str(CONFIGURATION)]
        with running(command, KILL, env={**os.environ, **environment}, stdout=subprocess.DEVNULL):
            await_health(port)
            sessions_stay(port, replicas)
            print("ok sessions_stay")
            streams_and_cancels(port, replicas)
            print("ok streams_and_cancels")
            other_takes_over(port, first, replicas)
            print("ok other_takes_over")


if __name__ == "__main__":
    main()
