"""Times pre-training steps of `tern pretrain`'s model as one would plainly write it in PyTorch on a CPU.

The yardstick of pretrain_vs_torch.py: the same architecture, parameters, batch, optimiser and GEMM dtype, with what
PyTorch offers for speed (bf16 autocast, fused attention, fused AdamW, torch.compile), and no kernels of its own.
Prints one JSON object.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

# hidden, ffn, layers, heads, kv heads: trainer/model_presets.cc
PRESETS = {
    "3m": (192, 512, 6, 3, 1),
    "8m": (256, 768, 8, 4, 2),
    "15m": (384, 1024, 8, 6, 2),
    "30m": (512, 1408, 10, 8, 2),
    "125m": (768, 2048, 12, 12, 12),
}
EPS, THETA, WARM_UP_STEPS = 1e-5, 10000.0, 2


class TernaryLinear(nn.Linear):
    """BitNet b1.58: absmean ternary weights, absmax int8 activations, straight-through gradients."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        mean = self.weight.detach().abs().mean().clamp_min(1e-5)
        weight = (self.weight / mean).round().clamp(-1, 1) * mean
        weight = self.weight + (weight - self.weight).detach()
        scale = 127.0 / x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-5)
        quantised = (x * scale).round().clamp(-128, 127) / scale
        return F.linear(x + (quantised - x).detach(), weight).float()


def rope(x, cos, sin):  # [B, heads, T, hd]
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):

    def __init__(self, d, f, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, d // heads
        kv = kv_heads * self.head_dim
        self.q, self.k, self.v = TernaryLinear(d, d), TernaryLinear(d, kv), TernaryLinear(d, kv)
        self.o = TernaryLinear(d, d)
        self.gate, self.up, self.down = TernaryLinear(d, f), TernaryLinear(d, f), TernaryLinear(f, d)
        self.norm, self.attention_norm = nn.RMSNorm(d, EPS), nn.RMSNorm(d, EPS)
        self.ffn_in_norm, self.ffn_norm = nn.RMSNorm(d, EPS), nn.RMSNorm(f, EPS)

    def split(self, x, heads):
        return x.view(*x.shape[:2], heads, self.head_dim).transpose(1, 2)

    def forward(self, x, cos, sin):
        h = self.norm(x)
        q = rope(self.split(self.q(h), self.heads), cos, sin)
        k = rope(self.split(self.k(h), self.kv_heads), cos, sin)
        v = self.split(self.v(h), self.kv_heads)
        repeat = self.heads // self.kv_heads  # expanded by hand: on CPUs no slower than enable_gqa
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        attention = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        attention = attention.transpose(1, 2).reshape(x.shape).float()
        x = x + self.o(self.attention_norm(attention))
        h = self.ffn_in_norm(x)
        return x + self.down(self.ffn_norm(F.relu(self.gate(h)).square() * self.up(h)))


class Backbone(nn.Module):

    def __init__(self, preset, vocabulary, sequence):
        super().__init__()
        d, f, layers, heads, kv_heads = PRESETS[preset]
        self.embedding = nn.Embedding(vocabulary, d)
        self.layers = nn.ModuleList(Layer(d, f, heads, kv_heads) for _ in range(layers))
        self.norm = nn.RMSNorm(d, EPS)
        half = d // heads // 2
        angle = torch.arange(sequence)[:, None] * THETA**(-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=PRESETS, default="8m")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after two to warm up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fp32", action="store_true", help="fp32 GEMMs (tern pretrain --fp32)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = Backbone(options.size, options.vocab, options.sequence)
    loss_of = torch.compile(model) if options.compile else model
    optimiser = torch.optim.AdamW(model.parameters(), 1e-6, (0.9, 0.95), fused=True)
    tokens = torch.randint(0, options.vocab, (options.batch, options.sequence + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    seconds = []
    for _ in range(WARM_UP_STEPS + options.steps):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=not options.fp32):
            loss = loss_of(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - begin)
    step = statistics.median(seconds[WARM_UP_STEPS:])
    print(json.dumps({
        "tokens_per_second": options.batch * options.sequence / step,
        "step_seconds": step,
        "loss": loss.item(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "compiled": options.compile,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
