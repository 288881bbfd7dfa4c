"""Reads the heads in folders with PyTorch, as .pt and as safetensors, into modules like FasterDecoding's.

    python3 tests/engine/read_medusa_heads.py FOLDER...

Says how many tensors there are. Exit status 77 where PyTorch is missing; others where a file, its keys or its values are
not as they should be."""
import json
import sys
from pathlib import Path

try:
    import safetensors.torch
    import torch
except ImportError as error:
    print("skipped:", error, file=sys.stderr)
    sys.exit(77)


class Block(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = torch.nn.Linear(size, size)


def read(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = torch.load(folder / "medusa_lm_head.pt", weights_only=True)
    others = safetensors.torch.load_file(folder / "medusa_lm_head.safetensors")
    assert tensors.keys() == others.keys(), tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.bfloat16 and tensor.is_contiguous(), name
        assert torch.equal(tensor.view(torch.int16), others[name].view(torch.int16)), name
    size, layers = config["hidden_size"], config["medusa_num_layers"]
    heads = torch.nn.ModuleList()
    for _ in range(config["medusa_num_heads"]):
        parts = [Block(size) for _ in range(layers)]
        if config["version"] == "1":
            parts.append(torch.nn.Linear(size, config["vocab_size"], bias=False))
        heads.append(torch.nn.Sequential(*parts))
    heads.to(torch.bfloat16).load_state_dict(tensors, strict=True)
    print(len(tensors), "tensors")


for argument in sys.argv[1:]:
    read(Path(argument))
