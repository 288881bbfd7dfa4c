"""Writes torch/: .pt files by torch.save, and the same draft heads in every format that tern reads.

tensors.pt, protocol4.pt: what a checkpoint may hold, in two pickle protocols; strided.pt, legacy.pt, uint16.pt: what
tern refuses. medusa_v2, medusa_v1 and bitnet: draft heads for d = 32, V = 48. Their numbers come from `mixed`, a hash
that tests/engine/heads_formats_test.cc computes too, and are exact in bf16 and fp16.

Run: python3 tests/golden/make_torch_fixture.py   (torch 2.13, safetensors 0.8, gguf 0.19.0, numpy 2)
"""
import collections
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "torch"
D, V, HEADS = 32, 48, 2


def mixed(seed, n):
    """n 32-bit numbers: a hash of seed and index."""
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + seed * 40503 + 1) & 0xFFFFFFFF
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return (x ^ (x >> 16)).astype(np.int64)


def values(seed, *shape):
    n = int(np.prod(shape))
    return torch.from_numpy(((mixed(seed, n) % 256 - 128) / 512).astype(np.float32).reshape(shape))


class WithDtype:
    """Pickled as torch pickles tensors whose storages have no type."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        t = self.tensor
        return (torch._utils._rebuild_tensor_v3,
                (t.untyped_storage(), 0, tuple(t.shape), t.stride(), False, collections.OrderedDict(), t.dtype))


def write_checkpoints():
    table = values(1, 6, 4)
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(values(2, 2, 3))
        module.bias.copy_(values(3, 2))
    whole = {
        "state": module.state_dict(),  # an OrderedDict with attributes
        "half": table.half(),
        "nested": {"list": [table.bfloat16(), (table.long(), 3)], 7: table[2:4]},  # a view at an offset
        "parameter": torch.nn.Parameter(values(4, 5)),
        "column": table[:, :1].contiguous().t(),  # strides that do not matter
        "typed": WithDtype(table.double()),
        "scalar": torch.tensor(2.5),
        "step": 2000, "negative": -5, "large": 1 << 40, "rate": 1e-3, "name": "ternary \u2713", "none": None,
        "flags": [True, False], "empty": {},
    }
    torch.save(whole, OUT / "tensors.pt")
    torch.save(whole, OUT / "protocol4.pt", pickle_protocol=4)
    torch.save({"t": table.t()}, OUT / "strided.pt")
    torch.save({"t": table}, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"t": table.to(torch.uint16)}, OUT / "uint16.pt")


def write_medusa(name, layers, own_vocabulary):
    """FasterDecoding's and TGI's heads, {k}.{l}.linear.weight; version 1 with {k}.{layers}.weight."""
    state = collections.OrderedDict()
    for k in range(HEADS):
        for l in range(layers):
            state[f"{k}.{l}.linear.weight"] = values(100 * k + 10 * l, D, D).bfloat16()
            state[f"{k}.{l}.linear.bias"] = values(100 * k + 10 * l + 1, D).bfloat16()
        if own_vocabulary:
            state[f"{k}.{layers}.weight"] = values(100 * k + 90, V, D).bfloat16()
    torch.save(state, OUT / f"{name}.pt")
    save_file(state, OUT / f"{name}.safetensors")


def write_bitnet():
    """MedusaBitNet's heads: [layer, head, in, out] in the .pt, [out, in] in the GGUF."""
    layers = 2
    w_in = torch.stack([torch.stack([values(100 * k + 10 * l, D, D) for k in range(HEADS)]) for l in range(layers)])
    w_out = torch.stack([torch.stack([values(100 * k + 10 * l + 1, D, D) for k in range(HEADS)]) for l in range(layers)])
    heads = collections.OrderedDict(w_in=w_in.transpose(2, 3).contiguous().bfloat16(),
                                    w_out=w_out.transpose(2, 3).contiguous().bfloat16())
    config = {"backbone": "microsoft/bitnet-b1.58-2B-4T", "num_heads": HEADS, "lr": 1e-3, "wandb_run_name": None}
    torch.save({"heads": heads, "step": 2000, "cfg": config}, OUT / "bitnet.pt")
    writer = gguf.GGUFWriter(OUT / "bitnet.gguf", "bitnet-b1.58")
    writer.add_uint32("medusa.n_heads", HEADS)
    writer.add_uint32("medusa.n_layers_per_head", layers)
    writer.add_uint32("medusa.hidden_size", D)
    writer.add_tensor("output_norm.weight", np.ones(D, np.float32))  # of the model that they are merged with
    for k in range(HEADS):
        for l in range(layers):
            for part, weights in (("w_in", w_in), ("w_out", w_out)):
                writer.add_tensor(f"medusa.head.{k}.layer.{l}.{part}.weight", weights[l, k].half().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


OUT.mkdir(exist_ok=True)
write_checkpoints()
write_medusa("medusa_v2", 1, False)
write_medusa("medusa_v1", 2, True)
write_bitnet()
