#!/usr/bin/env python3
"""Tokens a second and time to first token of `tern serve` by streams at once:

    serve_bench.py path/to/tern --model DIR [--streams 1 4 8] [--tokens 32] [--prompt 64] [--rounds 3]

Each stream has a prompt of other random ids, greedy and without drafts: the same work on every machine. All begin at
once, so a stream's first token waits for the prompts of all. Rounds go through the numbers of streams in turns.
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))
from load import Client, events  # pylint: disable=wrong-import-position


def stream(port, ids, tokens, times):
    body = {"prompt": ids, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
            "return_token_ids": True, "speculation": {"mode": "off"}}
    with Client(port) as client:
        for event in events(client.send("POST", "/v1/completions", json.dumps(body))):
            times += [time.monotonic()] * len(event["choices"][0]["token_ids"])


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
    first = [of_one[0] - begin for of_one in times]
    end = max(of_one[-1] for of_one in times)
    # Tokens behind the last stream's first one: prompts are over by then.
    together = sum(t > begin + max(first) for of_one in times for t in of_one)
    return {"tokens_per_second": together / (end - begin - max(first)),
            "with_prompts": streams * arguments.tokens / (end - begin),
            "first_token_ms": 1e3 * statistics.median(first), "last_first_token_ms": 1e3 * max(first)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tern")
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rng = random.Random(1)
    command = [arguments.tern, "serve", "--model", arguments.model, "--port", "0", "--json", "--heads", "none",
               "--parallel", str(max(arguments.streams)), "--context", "1024"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = json.loads(server.stdout.readline())["port"]
            measure(port, 1, arguments, rng)  # the first one reads the weights' pages
            got = {streams: [] for streams in arguments.streams}
            for _ in range(arguments.rounds):
                for streams in arguments.streams:
                    got[streams].append(measure(port, streams, arguments, rng))
        finally:
            server.terminate()
    for streams, runs in got.items():
        print(streams, json.dumps({name: [round(statistics.median(run[name] for run in runs), 1),
                                          round(min(run[name] for run in runs), 1),
                                          round(max(run[name] for run in runs), 1)] for name in runs[0]}))


if __name__ == "__main__":
    main()
