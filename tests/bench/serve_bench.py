#!/usr/bin/env python3
"""Tokens a second and time to first token of `tern serve`, and of another server beside it, by streams at once:

    serve_bench.py path/to/tern --model DIR [--streams 1 4 8] [--tokens 64] [--prompt 64] [--rounds 3] [--json]
                   [--peer "llama-server -m FILE -t 2 -np 8 -c 8192 --port {port}"]

Each stream has a prompt of other random ids, greedy and without drafts: the same work on every machine. All begin at
once, so a stream's first token waits for the prompts of all. Rounds go through the numbers of streams and the servers
in turns; both run all the time, one of them idle. A peer is a server with llama.cpp's API; {port} stands for its port.
"""
import argparse
import contextlib
import json
import pathlib
import random
import shlex
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))
from load import Client, events  # pylint: disable=wrong-import-position
from programs import free_port, running, serving  # pylint: disable=wrong-import-position


@contextlib.contextmanager
def tern(arguments):
    with serving(arguments.tern, "--model", arguments.model, "--heads", "none", "--parallel", str(max(arguments.streams)),
                 "--context", str(arguments.prompt + arguments.tokens + 16)) as (_, started):
        yield started["port"]


def is_up(port):
    try:
        with Client(port) as client:
            return client.json("GET", "/health")[0] == 200
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def peer(command):
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in shlex.split(command)]
    with running(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        while not is_up(port):
            if server.poll() is not None:
                sys.exit(f"{words[0]} ended with status {server.returncode}")
            time.sleep(0.2)
        yield port


def stream(port, ids, tokens, times):
    """The time of each token. llama.cpp sends one a chunk and, last, one without text that has `timings`."""
    body = {"prompt": ids, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
            "return_token_ids": True, "speculation": {"mode": "off"}, "cache_prompt": False}
    with Client(port) as client:
        for event in events(client.send("POST", "/v1/completions", json.dumps(body))):
            for choice in event["choices"]:
                count = len(choice["token_ids"]) if "token_ids" in choice else int(bool(choice["text"]))
                times += [time.monotonic()] * count


def measure(port, streams, arguments, rng):
    prompts = [[rng.randrange(1000, 4000) for _ in range(arguments.prompt)] for _ in range(streams)]
    times = [[] for _ in range(streams)]
    threads = [threading.Thread(target=stream, args=(port, *work)) for work in
               zip(prompts, [arguments.tokens] * streams, times)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [len(of_one) for of_one in times]
    if min(got) < arguments.tokens - 1 or max(got) > arguments.tokens:
        sys.exit(f"the server on port {port} sent {got} tokens, expected {arguments.tokens} in each stream")
    first = [of_one[0] - begin for of_one in times]
    end = max(of_one[-1] for of_one in times)
    # Tokens behind the last stream's first one: prompts are over by then.
    together = sum(t > begin + max(first) for of_one in times for t in of_one)
    return {"tokens_per_second": together / (end - begin - max(first)), "with_prompts": sum(got) / (end - begin),
            "first_token_ms": 1e3 * statistics.median(first), "last_first_token_ms": 1e3 * max(first)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tern")
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer", help="command of a server to measure in turns")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="every run of every round instead of medians")
    arguments = parser.parse_args()
    rng = random.Random(1)
    with contextlib.ExitStack() as stack:
        ports = {"tern": stack.enter_context(tern(arguments))}
        if arguments.peer:
            ports["peer"] = stack.enter_context(peer(arguments.peer))
        for port in ports.values():
            measure(port, 1, arguments, rng)  # the first one reads the weights' pages
        got = {name: {streams: [] for streams in arguments.streams} for name in ports}
        for i in range(arguments.rounds):
            for streams in arguments.streams:
                for name in sorted(ports, reverse=i % 2 == 0):
                    got[name][streams].append(measure(ports[name], streams, arguments, rng))
    if arguments.json:
        print(json.dumps(got))
        return
    for name, by_streams in got.items():
        for streams, runs in by_streams.items():
            print(name, streams, json.dumps({figure: [round(of(run[figure] for run in runs), 1)
                                                      for of in (statistics.median, min, max)] for figure in runs[0]}))


if __name__ == "__main__":
    main()
