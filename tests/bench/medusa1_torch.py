"""Trains draft heads by the published Medusa-1 recipe in PyTorch: the yardstick of `tern train`.

The recipe is that of FasterDecoding/Medusa's train_legacy.py, written anew: the frozen backbone runs in every step
(Hugging Face transformers; --stored-hidden takes the states that tern stored, which saves the time and lets heads see
exactly what they will run on); a head is x + SiLU(W x + b) with W = 0 and PyTorch's own biases at first, and its
logits come from the backbone's frozen vocabulary matrix (--own-vocabulary: from a copy of it that each head trains, as
in the paper and the first release); head k of K reads position t and predicts token t + 1 + k; the loss is the sum
over heads, equally weighted, of the cross-entropy over the whole vocabulary where that token is the model's own; AdamW
of PyTorch's defaults without decay, a warm-up of 10% to 1e-3, half a cosine to 0, gradients clipped to norm 1
(transformers' Trainer). A step is --texts texts; the published 128 would leave a hundred steps of this data. Places
that no head has a target at are not multiplied, which the published code does.

Reads the texts that `tern distill` wrote, writes heads that `tern eval --heads` reads, prints one JSON object.
A training token is a place whose next-but-one token is the model's own, as for `tern train`: prompts and padding run
through the backbone uncounted.
"""
import argparse
import contextlib
import json
import math
import pathlib
import statistics
import sys
import time

import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from torch import nn

IGNORED = -100
WARM_UP_STEPS = 5  # of --benchmark-steps


def read_texts(directory, with_hidden=0):
    """[(tokens [n], n of the prompt, hidden [n, d] of the first with_hidden texts; None: of all)]."""
    manifest = json.loads((directory / "manifest.json").read_text())
    texts = []
    for shard in manifest["shards"]:
        tensors = safetensors.torch.load_file(directory / shard["file"])
        starts, prompts = tensors["sequence_starts"].tolist(), tensors["prompt_lengths"].tolist()
        for begin, end, prompt in zip(starts, starts[1:], prompts):
            wanted = with_hidden is None or len(texts) < with_hidden
            hidden = tensors["hidden"][begin:end].clone() if wanted else None
            texts.append((tensors["tokens"][begin:end].long(), prompt, hidden))
    return texts


class Head(nn.Module):

    def __init__(self, vocabulary, own_vocabulary):
        super().__init__()
        size = vocabulary.shape[1]
        self.linear = nn.Linear(size, size)
        nn.init.zeros_(self.linear.weight)
        self.vocabulary = nn.Parameter(vocabulary.clone()) if own_vocabulary else vocabulary

    def forward(self, x):
        return F.linear(x + F.silu(self.linear(x)), self.vocabulary)


class Heads(nn.Module):

    def __init__(self, count, vocabulary, own_vocabulary):
        super().__init__()
        self.heads = nn.ModuleList(Head(vocabulary, own_vocabulary) for _ in range(count))

    def forward(self, hidden, targets):  # [n, d], [n, K]
        return torch.stack([F.cross_entropy(head(hidden).float(), targets[:, k], ignore_index=IGNORED)
                            for k, head in enumerate(self.heads)])

    def save(self, directory, model):
        directory.mkdir(parents=True, exist_ok=True)
        own = isinstance(self.heads[0].vocabulary, nn.Parameter)
        tensors = {}
        for k, head in enumerate(self.heads):
            tensors[f"{k}.0.linear.weight"] = head.linear.weight.data.bfloat16()
            tensors[f"{k}.0.linear.bias"] = head.linear.bias.data.bfloat16()
            if own:
                tensors[f"{k}.1.weight"] = head.vocabulary.data.bfloat16()
        safetensors.torch.save_file(tensors, directory / "medusa_lm_head.safetensors")
        vocabulary, size = self.heads[0].vocabulary.shape
        config = {"medusa_num_heads": len(self.heads), "medusa_num_layers": 1, "hidden_size": size,
                  "vocab_size": vocabulary, "base_model_name_or_path": model}
        if not own:
            config["version"] = "2"
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def collate(texts, heads):
    """Token ids [B, T], padded to the longest; targets [B, T, K]: the model's own tokens."""
    length = max(len(tokens) for tokens, _, _ in texts)
    tokens = torch.zeros(len(texts), length, dtype=torch.long)
    labels = torch.full((len(texts), length + heads + 1), IGNORED)
    for row, (text, prompt, _) in enumerate(texts):
        tokens[row, :len(text)] = text
        labels[row, prompt:len(text)] = text[prompt:]
    return tokens, torch.stack([labels[:, 2 + k:2 + k + length] for k in range(heads)], -1)


def batches(texts, size, generator):
    """Lists of indices, endlessly; a new order each epoch."""
    while True:
        order = torch.randperm(len(texts), generator=generator).tolist()
        for begin in range(0, len(order) - size + 1, size):
            yield order[begin:begin + size]


def rate(step, steps, peak):
    warm_up = math.ceil(steps * 0.1)
    if step < warm_up:
        return peak * step / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class Backbone:

    def __init__(self, directory, dtype, compiled):
        model = transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation="sdpa")
        assert isinstance(model, transformers.BitNetForCausalLM), type(model)
        nn.Module.to(model.eval(), dtype).requires_grad_(False)
        self.vocabulary = model.lm_head.weight.data.float()
        self.model = torch.compile(model.model, dynamic=True) if compiled else model.model

    @torch.no_grad()
    def __call__(self, tokens):
        # Right padding needs no mask: attention is causal.
        return self.model(input_ids=tokens, use_cache=False)[0]


def check_hidden(backbone, texts):
    """How far transformers' hidden states lie from those that tern stored, relative to their size."""
    errors = []
    for tokens, _, stored in texts:
        ours, theirs = stored[:-1].float(), backbone(tokens[None])[0, :-1].float()
        errors.append(((ours - theirs).norm(dim=-1) / ours.norm(dim=-1)))
    errors = torch.cat(errors)
    return {"places": len(errors), "mean": errors.mean().item(), "median": errors.median().item(),
            "largest": errors.max().item()}


class Training:

    def __init__(self, backbone, options, seed):
        torch.manual_seed(seed)
        self.backbone, self.options = backbone, options
        self.generator = torch.Generator().manual_seed(seed)
        self.heads = Heads(options.heads, backbone.vocabulary, options.own_vocabulary)
        self.optimiser = torch.optim.AdamW(self.heads.parameters(), options.lr, weight_decay=0.0, fused=True)
        self.loss_of = torch.compile(self.heads, dynamic=True) if options.compile else self.heads
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if options.dtype == "bf16" \
            else contextlib.nullcontext

    def step(self, texts, learning_rate):
        """Losses by head; places trained on, and run; seconds of backbone, heads and update."""
        times = [time.perf_counter()]
        tokens, targets = collate(texts, self.options.heads)
        counts = (targets != IGNORED).any(-1)
        targets = targets[counts]
        if self.options.stored_hidden:
            hidden = nn.utils.rnn.pad_sequence([hidden for _, _, hidden in texts], batch_first=True)
        else:
            hidden = self.backbone(tokens)
        hidden = hidden[counts]
        times.append(time.perf_counter())
        with self.autocast():
            losses = self.loss_of(hidden if self.options.dtype == "bf16" else hidden.float(), targets)
        losses.sum().backward()
        times.append(time.perf_counter())
        nn.utils.clip_grad_norm_(self.heads.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        times.append(time.perf_counter())
        places = (int((targets[:, 0] != IGNORED).sum()), tokens.numel())
        return losses.detach(), places, [b - a for a, b in zip(times, times[1:])]

    def run(self, texts):
        """Trains, or times steps; what it did."""
        options = self.options
        written = sum(len(tokens) - prompt for tokens, prompt, _ in texts)
        steps = round(options.tokens / (written / len(texts) * options.texts))
        timed = range(WARM_UP_STEPS, WARM_UP_STEPS + options.benchmark_steps) if options.benchmark_steps \
            else range(steps)
        trained, seen, parts, recent = 0, 0, [], []
        for step, chosen in zip(range(timed.stop), batches(texts, options.texts, self.generator)):
            losses, places, spent = self.step([texts[i] for i in chosen], rate(step + 1, steps, options.lr))
            recent = recent[-99:] + [losses]
            if step in timed:
                parts.append(spent)
                trained, seen = trained + places[0], seen + places[1]
            if step % 100 == 99:
                loss = " ".join(f"{x:.3f}" for x in torch.stack(recent).mean(0).tolist())
                print(f"step {step + 1}/{steps}  loss {loss}", flush=True, file=sys.stderr)
        seconds = sum(map(sum, parts))
        return {"steps": len(parts), "tokens": trained, "tokens_through_backbone": seen, "seconds": seconds,
                "tokens_per_second": trained / seconds,
                "share": {name: sum(p[i] for p in parts) / seconds
                          for i, name in enumerate(("backbone", "heads", "update"))},
                "head_loss": torch.stack(recent).mean(0).tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="directory that tern distill wrote")
    parser.add_argument("--out", type=pathlib.Path, help="where the heads go: OUT-SEED")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training each")
    parser.add_argument("--tokens", type=int, default=1917696, help="to train on")
    parser.add_argument("--texts", type=int, default=8, help="in a step")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--own-vocabulary", action="store_true", help="each head trains its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16", help="of GEMMs; parameters are fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile backbone and heads")
    parser.add_argument("--stored-hidden", action="store_true",
                        help="hidden states that tern stored, in place of running the backbone: not for times")
    parser.add_argument("--benchmark-steps", type=int, help="time so many steps, after five, and write nothing")
    parser.add_argument("--check-hidden", type=int, default=8, help="texts to compare hidden states on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    texts = read_texts(options.data, None if options.stored_hidden else options.check_hidden)
    backbone = Backbone(options.model, torch.bfloat16 if options.dtype == "bf16" else torch.float32, options.compile)
    result = {"torch": torch.__version__, "transformers": transformers.__version__, "dtype": options.dtype,
              "compiled": options.compile, "own_vocabulary": options.own_vocabulary, "texts_per_step": options.texts,
              "hidden_error": check_hidden(backbone, texts[:options.check_hidden]) if options.check_hidden else None}
    for seed in options.seeds:
        training = Training(backbone, options, seed)
        print(json.dumps(result | {"seed": seed} | training.run(texts)), flush=True)
        if options.out and not options.benchmark_steps:
            training.heads.save(options.out.with_name(f"{options.out.name}-{seed}"), str(options.model))


if __name__ == "__main__":
    main()
