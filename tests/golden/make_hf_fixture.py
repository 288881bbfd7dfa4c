"""Writes hf_logits.bin: logits of tiny_bitnet/ as Hugging Face transformers computes them in fp32.

tiny_bitnet/ is what tern exports (TERN_UPDATE_GOLDEN=1 backbone_export_test writes it). Each prompt has two sets of
logits: transformers as it is, and with keys and values rounded to bf16, which is what tern's KV cache holds and so
the one deliberate difference.

File, little endian: int32 [prompts, V]; per prompt int32 n, int32 tokens [n], float32 plain [n, V], float32
rounded_kv [n, V].

Run: python3 tests/golden/make_hf_fixture.py   (transformers 5.23.0, torch 2.13, accelerate)
"""
import pathlib
import struct

import torch
import transformers
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bitnet.modeling_bitnet import eager_attention_forward

HERE = pathlib.Path(__file__).parent
PROMPTS = [[1], [1, 17, 5, 40, 3, 3, 29], [1] + [(i * i + 3 * i) % 48 for i in range(19)],
           [1] + [(7 * i * i + 11) % 48 for i in range(39)]]


def rounded_kv(module, query, key, value, *args, **kwargs):
    key, value = (t.to(torch.bfloat16).to(t.dtype) for t in (key, value))
    return eager_attention_forward(module, query, key, value, *args, **kwargs)


def main():
    torch.set_num_threads(1)
    ALL_ATTENTION_FUNCTIONS["rounded_kv"] = rounded_kv
    # The default dtype of the file is bf16; every stored value is exact in fp32, so widening loses nothing.
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE / "tiny_bitnet", attn_implementation="eager")
    assert isinstance(model, transformers.BitNetForCausalLM), type(model)
    torch.nn.Module.float(model.eval())
    with open(HERE / "hf_logits.bin", "wb") as file, torch.no_grad():
        file.write(struct.pack("<2i", len(PROMPTS), model.config.vocab_size))
        for prompt in PROMPTS:
            file.write(struct.pack(f"<{len(prompt) + 1}i", len(prompt), *prompt))
            for attention in ("eager", "rounded_kv"):
                model.config._attn_implementation = attention
                mask = torch.full((1, 1, len(prompt), len(prompt)), -torch.inf).triu(1)
                logits = model(torch.tensor([prompt]), attention_mask=mask).logits[0]
                file.write(logits.contiguous().numpy().tobytes())
            print(len(prompt), "tokens, logits of size", logits.std().item())


if __name__ == "__main__":
    main()
