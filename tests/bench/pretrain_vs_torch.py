"""Runs `tern pretrain --benchmark` and pretrain_torch.py in turns and prints how many times faster tern trains.

Turns, because the machine's speed drifts: each round runs every program once, in an order that rotates; a round gives
one ratio per PyTorch variant, and the median over rounds counts. Run from anywhere:
  python3 tests/bench/pretrain_vs_torch.py --sizes 3m 8m --threads 1
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def compare(size, options):
    shape = ["--size", size, "--vocab", options.vocab, "--batch", options.batch, "--sequence", options.sequence,
             "--threads", options.threads] + (["--fp32"] if options.fp32 else [])
    torch = [sys.executable, str(ROOT / "tests/bench/pretrain_torch.py"), *shape, "--steps", options.steps]
    programs = {
        "tern": [options.tern, "pretrain", "--benchmark", *shape, "--benchmark-steps", options.steps, "--json"],
        "torch": torch,
        "torch.compile": torch + ["--compile"],
    }
    speeds = {name: [] for name in programs}
    names = list(programs)
    for round_ in range(options.rounds):
        for i in range(len(names)):
            name = names[(round_ + i) % len(names)]
            result = run(programs[name])
            speeds[name].append(result["tokens_per_second"])
    for name in names:
        line = f"{size:>5}  {name:<14} {statistics.median(speeds[name]):8.0f} tok/s"
        if name != "tern":
            ratios = sorted(ours / theirs for ours, theirs in zip(speeds["tern"], speeds[name]))
            line += f"   tern is {statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tern", default=str(ROOT / "build/release/tools/tern"), help="the program")
    parser.add_argument("--sizes", nargs="+", default=["3m", "8m"])
    parser.add_argument("--vocab", default="4096")
    parser.add_argument("--batch", default="8")
    parser.add_argument("--sequence", default="512")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--steps", default="3", help="timed steps of each program in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fp32", action="store_true", help="fp32 GEMMs on both sides")
    options = parser.parse_args()
    print(f"{cpu_model()}; {options.threads} threads, batch {options.batch} x {options.sequence} tokens, vocabulary "
          f"{options.vocab}, {'fp32' if options.fp32 else 'bf16 GEMMs'}; median of {options.rounds} rounds of "
          f"{options.steps} steps")
    for size in options.sizes:
        compare(size, options)


if __name__ == "__main__":
    main()
