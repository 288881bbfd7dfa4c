#!/usr/bin/env python3
"""Load on `tern serve`: concurrent clients of every manner, and what must hold all the same.

    tests/server/load.py path/to/tern [--seconds 120] [--streams 16] [--seed 1] [--model DIR] [--serve OPTION...]

Starts the server, asks a set of requests one after the other, then lets `--streams` clients ask them again at once,
whole and streamed, while some hang up, read slowly, send bodies that are too large, that are no JSON, or that never
end. Checks that every answer is the one that was given alone, that every refusal has the API's shape, that nothing
runs or waits afterwards, that memory stays, and that the server still stops as it should. Prints its figures as JSON;
exit status 1 where something did not hold. Python's standard library is all it needs.
"""
import argparse
import http.client
import json
import random
import socket
import sys
import threading
import time

from programs import serving

PROMPTS = ["Once upon a time", "The dog", "One day, a little girl", "Tom and Sue went to the park. ", "A red ball"]
OVERSIZE = 9 << 20  # bytes; the server takes 8 MiB
MALFORMED = [
    b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"prompt": ', b'{"prompt": 3}', b'{"prompt": "x", "max_tokens": -1}',
    b'{"prompt": "x", "temperature": "hot"}', b'{"prompt": [1, -5]}', b'{"prompt": [999999999]}', b"[" * 100000,
    b'{"prompt": "x", "n": 1e99}', b'{"prompt": "\\ud800", "max_tokens": "1"}', b'{"messages": [{"role": 1}]}',
]


class Refused(Exception):
    """Something that must hold did not."""


def expect(condition, what):
    if not condition:
        raise Refused(what)


def requests():
    """(path, body) of what is asked, with fixed seeds: prompts of several lengths, all modes of drafting."""
    chosen = []
    modes = ["auto", "tree", "ngram", "off", "chain"]
    for i in range(20):
        body = {"max_tokens": 20 + 17 * (i % 6), "seed": i, "temperature": (0, 0.7, 1)[i % 3],
                "speculation": {"mode": modes[i % len(modes)]}, "return_token_ids": True}
        prompt = " ".join(PROMPTS[j % len(PROMPTS)] for j in range(i, i + 1 + 6 * (i % 4)))
        if i % 3 == 2:
            body["messages"] = [{"role": "user", "content": prompt}]
            chosen.append(("/v1/chat/completions", body))
        else:
            body["prompt"] = prompt
            chosen.append(("/v1/completions", body))
    return chosen


def ids_of(choice):
    return choice["token_ids"]


class Client:
    """One connection for one request."""

    def __init__(self, port, receive_buffer=0):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        if receive_buffer:
            self.connection.sock = socket.socket()
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.connection.sock.settimeout(120)
            self.connection.sock.connect(("127.0.0.1", port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, method, path, body=None):
        self.connection.request(method, path, body)
        return self.connection.getresponse()

    def json(self, method, path, body=None):
        response = self.send(method, path, body)
        return response.status, json.loads(response.read())


def events(response):
    """The JSON of each event up to [DONE]."""
    for line in response:
        if line.startswith(b"data: "):
            data = line[6:].strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)
    raise Refused("a stream ended without [DONE]")


class Load:
    def __init__(self, port, chosen, expected, seconds):
        self.port, self.chosen, self.expected = port, chosen, expected
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.counts, self.first_token, self.tokens, self.problems = {}, [], 0, []

    def note(self, kind, tokens=0, first=None):
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.tokens += tokens
            if first is not None:
                self.first_token.append(first)

    def worker(self, seed):
        rng = random.Random(seed)
        kinds = {"stream": 8, "whole": 4, "cancel": 3, "slow": 2, "malformed": 1, "oversize": 1, "unfinished": 1}
        while time.monotonic() < self.end:
            kind = rng.choices(list(kinds), list(kinds.values()))[0]
            try:
                getattr(self, kind)(rng)
            except Exception as error:  # pylint: disable=broad-except
                with self.lock:
                    self.problems.append(f"{kind}: {type(error).__name__}: {error}")

    def check(self, i, ids):
        expect(ids == self.expected[i], f"request {i}: {ids} instead of {self.expected[i]}")

    def stream(self, rng, pause=None, kind="stream"):
        i = rng.randrange(len(self.chosen))
        path, body = self.chosen[i]
        body = dict(body, stream=True)
        ids, first = [], None
        begin = time.monotonic()
        with Client(self.port, 4096 if pause else 0) as client:
            response = client.send("POST", path, json.dumps(body))
            expect(response.status == 200, f"status {response.status}")
            for event in events(response):
                expect("error" not in event, f"an error in a stream: {event}")
                for choice in event["choices"]:
                    ids += choice.get("token_ids") or []
                    if ids and first is None:
                        first = time.monotonic() - begin
                if pause:
                    time.sleep(pause)
        self.check(i, ids)
        self.note(kind, len(ids), None if pause else first)

    def slow(self, rng):
        self.stream(rng, pause=rng.choice([0.005, 0.02]), kind="slow")

    def whole(self, rng):
        i = rng.randrange(len(self.chosen))
        path, body = self.chosen[i]
        with Client(self.port) as client:
            status, answer = client.json("POST", path, json.dumps(body))
        expect(status == 200, f"status {status}: {answer}")
        ids = ids_of(answer["choices"][0])
        self.check(i, ids)
        self.note("whole", len(ids))

    def cancel(self, rng):
        """Hangs up before the answer, or after some events of it."""
        path, body = rng.choice(self.chosen)
        body = dict(body, stream=rng.random() < 0.7, n=rng.choice([1, 1, 4]))
        with Client(self.port) as client:
            if not body["stream"] or rng.random() < 0.3:
                client.connection.request("POST", path, json.dumps(body))
                time.sleep(rng.random() * 0.2)
            else:
                some = events(client.send("POST", path, json.dumps(body)))
                for _ in range(rng.randrange(1, 8)):
                    if next(some, None) is None:
                        break
        self.note("cancel")

    def refused(self, status, answer, *expected):
        expect(status in expected, f"status {status} instead of one of {expected}")
        error = answer.get("error")
        expect(isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}, f"error {answer}")
        expect(isinstance(error["message"], str) and isinstance(error["code"], (str, type(None))), f"error {answer}")

    def malformed(self, rng):
        body = rng.choice(MALFORMED)
        with Client(self.port) as client:
            self.refused(*client.json("POST", rng.choice(["/v1/completions", "/v1/chat/completions"]), body), 400)
        self.note("malformed")

    def oversize(self, rng):
        """A length that is too large, or pieces that add up to too much."""
        with Client(self.port) as client:
            if rng.random() < 0.5:
                client.connection.putrequest("POST", "/v1/completions")
                client.connection.putheader("Content-Length", str(OVERSIZE))
                client.connection.endheaders()
                response = client.connection.getresponse()
                self.refused(response.status, json.loads(response.read()), 413)
            else:
                piece = b"x" * (1 << 20)
                try:
                    client.connection.request("POST", "/v1/completions", iter([piece] * 12), encode_chunked=True,
                                              headers={"Transfer-Encoding": "chunked"})
                    response = client.connection.getresponse()
                    self.refused(response.status, json.loads(response.read()), 400, 413)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the server need not read all of it
        self.note("oversize")

    def unfinished(self, rng):
        """Part of a request, then nothing."""
        text = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(text[:rng.randrange(1, len(text))])
            time.sleep(rng.random() * 0.1)
        self.note("unfinished")


class Memory(threading.Thread):
    """Resident bytes of a process, once a quarter of a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.samples, self.done = pid, [], threading.Event()

    def run(self):
        begin = time.monotonic()
        while not self.done.wait(0.25):
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                pages = int(file.read().split()[1])
            self.samples.append((time.monotonic() - begin, pages * 4096 / 1e6))

    def slope(self):
        """MB per minute over the second half, by least squares: the first fills caches."""
        half = self.samples[len(self.samples) // 2:]
        t0 = sum(t for t, _ in half) / len(half)
        m0 = sum(m for _, m in half) / len(half)
        spread = sum((t - t0) ** 2 for t, _ in half)
        return 60 * sum((t - t0) * (m - m0) for t, m in half) / spread if spread else 0.0


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def idle(port, seconds=10):
    """Nothing runs and nothing waits, soon."""
    until = time.monotonic() + seconds
    while True:
        with Client(port) as client:
            _, health = client.json("GET", "/health")
        if health["running"] == 0 and health["queued"] == 0:
            return
        expect(time.monotonic() < until, f"still at work {seconds} s after the last client: {health}")
        time.sleep(0.05)


def alone(port, chosen):
    answers = []
    for path, body in chosen:
        with Client(port) as client:
            status, answer = client.json("POST", path, json.dumps(body))
        expect(status == 200, f"status {status}: {answer}")
        answers.append(ids_of(answer["choices"][0]))
    return answers


def run(arguments, server, port):
    chosen = requests()
    expected = alone(port, chosen)
    memory = Memory(server.pid)
    memory.start()
    load = Load(port, chosen, expected, arguments.seconds)
    workers = [threading.Thread(target=load.worker, args=(arguments.seed * 1000 + i,)) for i in range(arguments.streams)]
    begin = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - begin
    memory.done.set()
    memory.join()
    problems = load.problems
    try:
        idle(port)
        expect(alone(port, chosen) == expected, "answers differ after the load")
    except (Refused, OSError) as error:
        problems.append(str(error))
    figures = {
        "seconds": round(seconds, 1), "streams": arguments.streams, "requests": dict(sorted(load.counts.items())),
        "tokens_per_second": round(load.tokens / seconds, 1),
        "first_token_ms": {f"p{round(100 * p)}": round(1e3 * percentile(load.first_token, p), 1) for p in (0.5, 0.95, 1)}
        if load.first_token else None,
        "rss_mb": {"begin": round(memory.samples[0][1], 1), "middle": round(memory.samples[len(memory.samples) // 2][1], 1),
                   "end": round(memory.samples[-1][1], 1), "slope_per_minute": round(memory.slope(), 2)},
    }
    # A leak of one answer per request would add more; in short runs caches still fill.
    if arguments.seconds >= 60 and memory.slope() > arguments.most_slope:
        problems.append(f"memory grows by {memory.slope():.1f} MB a minute")
    growth = memory.samples[-1][1] - memory.samples[0][1]
    if growth > arguments.most_growth:
        problems.append(f"memory has grown by {growth:.0f} MB")
    if not load.first_token:
        problems.append("no stream was answered")
    return figures, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tern")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="default: the one that ships")
    parser.add_argument("--most-slope", type=float, default=4, help="MB a minute that memory may grow by in the second half")
    parser.add_argument("--most-growth", type=float, default=100, help="MB that memory may grow by in all")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="more options of tern serve")
    arguments = parser.parse_args()
    model = ["--model", arguments.model] if arguments.model else []
    with serving(arguments.tern, "--parallel", str(arguments.streams), "--queue", "64", *model,
                 *arguments.serve) as (server, started):
        figures, problems = run(arguments, server, started["port"])
    if server.returncode != 0:
        problems.append(f"exit status {server.returncode}")
    print(json.dumps(figures))
    for problem in problems[:20]:
        print("FAILED " + problem[:500])
    if len(problems) > 20:
        print(f"and {len(problems) - 20} more")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
