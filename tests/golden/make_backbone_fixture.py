"""Writes backbone_gradients.bin: loss and all gradients of a tiny backbone, by PyTorch autograd.

An implementation of its own, in double precision, with straight-through quantisers (detach). The test compares the
C++ backbone (fp32 GEMMs) with it. Rounding is discontinuous, so the seed is searched for one whose values keep away
from every rounding boundary by more than fp32 can move them; then both sides round alike.

File, little endian: int32 header [V, d, f, L, heads, kv_heads, head_dim, batch, sequence], int32 tokens
[batch, sequence + 1], float32 masters in slice order, float32 loss, float32 gradients in slice order.

Run: python3 tests/golden/make_backbone_fixture.py   (torch 2.13)
"""
import math
import pathlib
import struct

import torch

V, D, F, L, HEADS, KV, HD, B, T = 48, 32, 48, 2, 4, 2, 8, 2, 9
EPS, THETA = 1e-5, 10000.0
CODE_MARGIN = 2e-4  # in units of one int8 code
BF16_MARGIN = 5e-4  # in units of the last place of bf16


class Margins:
    def __init__(self):
        self.code = self.bf16 = self.ternary = 1.0


def bf16(x, margins=None):
    rounded = x.detach().to(torch.float32).to(torch.bfloat16).to(x.dtype)
    if margins is not None:
        unit = 2.0 ** (torch.floor(torch.log2(x.detach().abs().clamp_min(1e-30))) - 7)
        off = ((x.detach() / unit) - torch.floor(x.detach() / unit) - 0.5).abs()
        margins.bf16 = min(margins.bf16, off.min().item())
    return x + (rounded - x).detach()


def quantise(x, margins):
    scale = 127.0 / x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-5)
    y = x.detach() * scale
    margins.code = min(margins.code, ((y - torch.floor(y)) - 0.5).abs().min().item())
    return x + (torch.round(y).clamp(-128, 127) / scale - x).detach()


def ternarise(w, margins):
    mean = w.detach().abs().mean().clamp_min(1e-5)
    ratio = w.detach() / mean
    margins.ternary = min(margins.ternary, (ratio.abs() - 0.5).abs().min().item())
    stored = mean.to(torch.float32).to(torch.bfloat16).to(w.dtype)  # what the packed file holds
    return w + (torch.round(ratio).clamp(-1, 1) * stored - w).detach()


def norm(x, gain):
    return bf16(gain) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS))


def linear(x, w, margins):
    return quantise(x, margins) @ ternarise(w, margins).T


def rope(x):  # [B, heads, T, hd]
    half = HD // 2
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * THETA ** (
        -torch.arange(half, dtype=torch.float64) * 2 / HD)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def heads(x, count):
    return x.view(B, T, count, HD).transpose(1, 2)


def layer(x, p, margins):
    q_w, k_w, v_w, o_w, gate_w, up_w, down_w, in_g, attn_g, post_g, ffn_g = p
    h = norm(x, in_g)
    q = rope(heads(linear(h, q_w, margins), HEADS))
    k = bf16(rope(heads(linear(h, k_w, margins), KV)), margins)
    v = bf16(heads(linear(h, v_w, margins), KV), margins)
    k, v = (t.repeat_interleave(HEADS // KV, 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(HD)
    scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D)
    x = x + linear(norm(out, attn_g), o_w, margins)
    h = norm(x, post_g)
    m = torch.relu(linear(h, gate_w, margins)).pow(2) * linear(h, up_w, margins)
    return x + linear(norm(m, ffn_g), down_w, margins)


def make(seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(rows, cols, std):
        return (torch.randn(rows, cols, generator=generator) * std).double().requires_grad_()

    def gain(size):
        return (1 + 0.2 * torch.randn(size, generator=generator)).double().requires_grad_()

    shapes = [(D, D), (KV * HD, D), (KV * HD, D), (D, D), (F, D), (F, D), (D, F)]
    embedding = normal(V, D, 0.5)
    layers = [[normal(*s, 0.3) for s in shapes] + [gain(D), gain(D), gain(D), gain(F)] for _ in range(L)]
    final = gain(D)
    tokens = torch.randint(0, V, (B, T + 1), generator=generator)
    margins = Margins()
    table = bf16(embedding)
    x = table[tokens[:, :-1]]
    for p in layers:
        x = layer(x, p, margins)
    logits = norm(x, final) @ table.T
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), tokens[:, 1:].reshape(-1))
    return [embedding, *sum(layers, []), final], tokens, loss, margins


def main():
    for seed in range(10000):
        parameters, tokens, loss, margins = make(seed)
        if margins.code > CODE_MARGIN and margins.bf16 > BF16_MARGIN and margins.ternary > 1e-5:
            break
    else:
        raise SystemExit("no seed keeps away from the rounding boundaries")
    loss.backward()
    path = pathlib.Path(__file__).with_name("backbone_gradients.bin")
    with open(path, "wb") as file:
        file.write(struct.pack("<9i", V, D, F, L, HEADS, KV, HD, B, T))
        file.write(tokens.to(torch.int32).numpy().tobytes())
        for p in parameters:
            file.write(p.detach().float().numpy().tobytes())
        file.write(struct.pack("<f", loss.item()))
        for p in parameters:
            file.write(p.grad.float().numpy().tobytes())
    print(f"{path.name}: seed {seed}, loss {loss.item():.6f}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
