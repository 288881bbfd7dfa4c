"""Runs `tern distill`, `tern train` and medusa1_torch.py in turns and prints training tokens per second, and where
the time goes.

tern: a whole `tern train` run by its clock on the wall (start, measured costs, steps, held-out losses, checkpoints),
and what storing the hidden states adds to `tern distill` of all the data: the difference of runs with and without it.
That drowns in noise where disks are fast, so the files are also written and synced, and read from disk, on their own:
the larger figure counts, and the reading, although the run's clock may have it already.
PyTorch: steps of real texts after five to warm up, without start and compilation. Writing the texts costs both sides
the same and is given apart. Run from anywhere:
  python3 tests/bench/train_vs_medusa1.py --prompts PROMPTS --data DATA --threads 2
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from medusa1_torch import read_texts

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(command, prefix):
    """Its last line of JSON, or its whole output where that is one object; seconds on the wall."""
    begin = time.perf_counter()
    done = subprocess.run([*prefix, *map(str, command)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    text = done.stdout if done.stdout.startswith("{\n") else done.stdout.splitlines()[-1]
    return json.loads(text), seconds


class Turns:

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.prefix = shlex.split(options.prefix)
        self.figures = {}

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)

    def distill(self, round_):
        options = self.options
        for name, flags in (("distill", []), ("distill, nothing stored", ["--no-hidden"])):
            out = self.work / f"{name.replace(' ', '-')}-{round_}"
            result, _ = run([options.tern, "distill", "--model", options.model, "--threads", options.threads,
                             "--prompts", options.prompts, "--limit", options.distill_prompts, "--max-tokens", 100,
                             "--out", out, "--json", *flags], self.prefix)
            self.note(name, result["seconds"] / result["generated_tokens"])

    def disk(self):
        shards = sorted(self.options.data.glob("shard-*"))
        for shard in shards:
            with shard.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begin = time.perf_counter()
        contents = [shard.read_bytes() for shard in shards]
        self.note("reading the files from disk", time.perf_counter() - begin)
        begin = time.perf_counter()
        for content in contents:
            with (self.work / "shard").open("wb") as file:
                file.write(content)
                os.fsync(file.fileno())
        self.note("writing the files", time.perf_counter() - begin)

    def train(self, round_):
        options = self.options
        result, seconds = run([options.tern, "train", "--model", options.model, "--data", options.data, "--threads",
                               options.threads, "--calibrate", 0, "--seed", round_, "--out",
                               self.work / f"train-{round_}", "--json"], self.prefix)
        self.tokens = result["tokens"]
        self.note("tern train, whole run", seconds)
        self.note("tern train, steps", result["tokens"] / result["tokens_per_second"])

    def torch(self, name, flags):
        options = self.options
        result, _ = run([sys.executable, ROOT / "tests/bench/medusa1_torch.py", "--model", options.model, "--data",
                         options.data, "--threads", options.threads, "--check-hidden", 0, "--benchmark-steps",
                         options.steps, *flags], self.prefix)
        self.note(name, result["tokens_per_second"])
        for part, share in result["share"].items():
            self.note(f"{name}: {part}", share)
        self.note(f"{name}, prompts and padding counted",
                  result["tokens_per_second"] * result["tokens_through_backbone"] / result["tokens"])

    def report(self, written):
        low_high = {name: (statistics.median(v), min(v), max(v)) for name, v in self.figures.items()}
        for name, (middle, low, high) in low_high.items():
            print(f"{name:<60} {middle:12.6g} ({low:.6g} to {high:.6g})")
        write = statistics.median(
            a - b for a, b in zip(self.figures["distill"], self.figures["distill, nothing stored"])) * written
        write = max(write, low_high["writing the files"][0])
        read = low_high["reading the files from disk"][0]
        whole, steps = low_high["tern train, whole run"][0], low_high["tern train, steps"][0]
        total = write + read + whole
        print(f"tern: {self.tokens} tokens in {total:.1f} s, {self.tokens / total:.0f} tokens/s: storing hidden states "
              f"{write / total:.1%}, reading {read / total:.1%}, steps {steps / total:.1%}, start, held-out "
              f"losses, checkpoints {(whole - steps) / total:.1%}; writing the texts, apart: "
              f"{low_high['distill, nothing stored'][0] * written:.1f} s")
        for name in ("torch", "torch.compile"):
            for figure in (name, f"{name}, prompts and padding counted"):
                print(f"tern is {self.tokens / total / low_high[figure][0]:.2f}x {figure}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tern", default=ROOT / "build/release/tools/tern", help="the program")
    parser.add_argument("--model", default=ROOT / "tools/model")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="directory that tern distill wrote")
    parser.add_argument("--prompts", type=pathlib.Path, required=True, help="what it was written from")
    parser.add_argument("--distill-prompts", type=int, default=1000, help="of these, to time storing")
    parser.add_argument("--steps", type=int, default=20, help="of PyTorch in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix", default="", help="a command that runs the timed ones, e.g. nice -n -20")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="train_vs_medusa1.") as work:
        turns = Turns(options, pathlib.Path(work))
        for round_ in range(options.rounds):
            turns.distill(round_)
            turns.disk()
            turns.train(round_)
            turns.torch("torch", [])
            turns.torch("torch.compile", ["--compile"])
            print(f"round {round_ + 1} of {options.rounds}", file=sys.stderr, flush=True)
        turns.report(sum(len(tokens) - prompt for tokens, prompt, _ in read_texts(options.data)))


if __name__ == "__main__":
    main()
