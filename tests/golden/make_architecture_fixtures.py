"""Writes architectures/: a tiny random model of each architecture that tern runs, and its logits.

Every folder is a model as its publishers lay it out (config.json, one or many safetensors files) and logits.bin, what
Hugging Face transformers computes from just those files:

    bitnet   BitNet b1.58 2B-4T's bf16 masters: relu^2, sub-norms, ternarised on load, int8 activations
    onebit   1bitLLM: the same with SiLU, fp16 masters and its own names. transformers has no class for its file, but
             BitNetForCausalLM has its graph, so the reference gets the tensors under BitNet's names.
    llama    HF1BitLLM's Llama 3 and Falcon3: packed, scales divide, no sub-norms; head_dim given, llama3 rope
    trilm    TriLM: fp16 values that are ternary already, several scales per matrix (a range of rows each)
    qwen3    ternary Qwen3: a scale per 128 weights, QK norm, head_dim given, yarn rope, in several files

logits.bin, little endian: int32 [prompts, V]; per prompt int32 n, int32 tokens [n], then three float32 [n, V]: fp32;
fp32 with keys and values rounded to bf16, which is what tern's KV cache holds; all in bf16.

Run: TORCHDYNAMO_DISABLE=1 python3 tests/golden/make_architecture_fixtures.py   (transformers 5.23.0, torch 2.13)
"""
import json
import math
import pathlib
import shutil
import struct
import tempfile

import safetensors.torch
import torch
import transformers
from transformers.integrations.bitnet import BitLinear, pack_weights
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

OUT = pathlib.Path(__file__).parent / "architectures"
V = 48
PROMPTS = [[1], [1, 17, 5, 40, 3, 3, 29], [1] + [(i * i + 3 * i) % V for i in range(19)],
           [1] + [(7 * i * i + 11) % V for i in range(39)]]


def rounded_kv(module, query, key, value, *args, **kwargs):
    key, value = (t.to(torch.bfloat16).to(t.dtype) for t in (key, value))
    return eager_attention_forward(module, query, key, value, *args, **kwargs)


def base_config(**fields):
    config = dict(vocab_size=V, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu",
                  tie_word_embeddings=False, attention_bias=False, bos_token_id=1, eos_token_id=2)
    return config | fields


def shapes(c):
    """Logical tensors of a model: linears, and gains by BitNet's names."""
    d, f = c["hidden_size"], c["intermediate_size"]
    hd = c.get("head_dim", d // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * hd, c["num_key_value_heads"] * hd
    linears, gains = {}, {"model.norm": d}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        linears |= {at + "self_attn.q_proj": (q, d), at + "self_attn.k_proj": (kv, d), at + "self_attn.v_proj": (kv, d),
                    at + "self_attn.o_proj": (d, q), at + "mlp.gate_proj": (f, d), at + "mlp.up_proj": (f, d),
                    at + "mlp.down_proj": (d, f)}
        gains |= {at + "input_layernorm": d, at + "post_attention_layernorm": d}
    return linears, gains, hd, q


class Random:
    """Values that survive bf16 and fp16."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def table(self, d):
        return (torch.randn(V, d, generator=self.generator) * 16).round().clamp(-128, 127) / 32

    def gain(self, n):
        return (1 + 0.4 * torch.rand(n, generator=self.generator) - 0.2).to(torch.bfloat16).float()

    def codes(self, shape):
        return torch.randint(-1, 2, shape, generator=self.generator).float()

    def scales(self, count, inputs):
        """Outputs of size about 1; multiples of a power of two with 6 bits."""
        unit = 2.0 ** (math.floor(math.log2(inputs ** -0.5)) - 5)
        return torch.randint(32, 64, (count,), generator=self.generator) * unit

    def master(self, shape):
        return (torch.randn(shape, generator=self.generator) * 32).round().clamp(-127, 127) / 256


def common(c, random):
    tensors = {"model.embed_tokens.weight": random.table(c["hidden_size"])}
    if not c["tie_word_embeddings"]:
        tensors["lm_head.weight"] = random.table(c["hidden_size"])
    tensors |= {name + ".weight": random.gain(n) for name, n in shapes(c)[1].items()}
    return tensors


def sub_norms(c, random, attention, ffn):
    q = shapes(c)[3]
    return {f"model.layers.{layer}.{name}.weight": random.gain(n) for layer in range(c["num_hidden_layers"])
            for name, n in ((attention, q), (ffn, c["intermediate_size"]))}


def write(folder, config, tensors, dtype, files=1):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32:
            narrow = tensor.to(dtype)
            assert torch.equal(narrow.float(), tensor), name
            tensors[name] = narrow
    names = sorted(tensors)
    if files == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for i in range(files):
        file = f"model-{i + 1:05}-of-{files:05}.safetensors"
        part = {name: tensors[name] for name in names[i::files]}
        safetensors.torch.save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def load(folder, expected, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    assert type(model).__name__ == expected, type(model)
    for module in model.modules():
        if isinstance(module, BitLinear):  # computes in this type whatever the model's is
            module.dtype = dtype
    return model.eval()


def logits(model, prompt, attention):
    model.config._attn_implementation = attention
    mask = torch.full((1, 1, len(prompt), len(prompt)), -torch.inf, dtype=model.dtype).triu(1)
    return model(torch.tensor([prompt]), attention_mask=mask).logits[0].float()


def write_logits(folder, reference_folder, expected):
    full, half = (load(reference_folder, expected, dtype) for dtype in (torch.float32, torch.bfloat16))
    with open(folder / "logits.bin", "wb") as file, torch.no_grad():
        file.write(struct.pack("<2i", len(PROMPTS), V))
        for prompt in PROMPTS:
            file.write(struct.pack(f"<{len(prompt) + 1}i", len(prompt), *prompt))
            rows = [logits(full, prompt, "eager"), logits(full, prompt, "rounded_kv"), logits(half, prompt, "eager")]
            for row in rows:
                file.write(row.contiguous().numpy().tobytes())
            errors = [((row - rows[0]).square().mean().sqrt() / rows[0].std()).item() for row in rows[1:]]
            print(folder.name, len(prompt), "tokens, logits of size", rows[0].std().item(),
                  "; relative: rounded K and V %.5f, bf16 %.5f" % tuple(errors))


def make_bitnet(folder):
    config = base_config(architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2", hidden_size=32,
                         intermediate_size=48, tie_word_embeddings=True, rope_theta=500000.0,
                         quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                                              "quantization_mode": "online"})
    random = Random(1)
    tensors = common(config, random) | sub_norms(config, random, "self_attn.attn_sub_norm", "mlp.ffn_sub_norm")
    tensors |= {name + ".weight": random.master(shape) for name, shape in shapes(config)[0].items()}
    write(folder, config, tensors, torch.bfloat16)
    write_logits(folder, folder, "BitNetForCausalLM")


def make_onebit(folder):
    config = base_config(architectures=["BitnetForCausalLM"], model_type="llama", hidden_size=32, intermediate_size=80,
                         num_key_value_heads=4, tie_word_embeddings=True, weight_bits=1, input_bits=8)
    random = Random(2)
    tensors = common(config, random)
    tensors |= {name + ".weight": random.master(shape) for name, shape in shapes(config)[0].items()}
    tensors |= sub_norms(config, random, "self_attn.inner_attn_ln", "mlp.ffn_layernorm")
    write(folder, config, tensors, torch.float16)
    renamed = {name.replace("inner_attn_ln", "attn_sub_norm").replace("ffn_layernorm", "ffn_sub_norm"): tensor
               for name, tensor in tensors.items()}
    as_bitnet = config | {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "quantization_config": {
        "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}}
    with tempfile.TemporaryDirectory() as temp:
        write(pathlib.Path(temp) / "m", as_bitnet, renamed, torch.float16)
        write_logits(folder, pathlib.Path(temp) / "m", "BitNetForCausalLM")


def make_llama(folder):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 16}
    config = base_config(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=48, intermediate_size=96,
                         head_dim=16, rope_theta=1000042.0, rope_scaling=scaling, mlp_bias=False,
                         quantization_config={"quant_method": "bitnet", "modules_to_not_convert": None})
    random = Random(3)
    tensors = common(config, random)
    for name, shape in shapes(config)[0].items():
        tensors[name + ".weight"] = pack_weights(random.codes(shape))
        tensors[name + ".weight_scale"] = 1 / (2.0 ** random.scales(1, shape[1]).log2().floor())
    write(folder, config, tensors, torch.bfloat16)
    write_logits(folder, folder, "LlamaForCausalLM")


def make_trilm(folder):
    config = base_config(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=64, intermediate_size=96,
                         num_key_value_heads=4)
    random = Random(4)
    tensors = common(config, random)
    for name, shape in shapes(config)[0].items():
        scales = random.scales(2, shape[1]).repeat_interleave(shape[0] // 2)  # two training shards
        tensors[name + ".weight"] = random.codes(shape) * scales[:, None]
    write(folder, config, tensors, torch.float16)
    write_logits(folder, folder, "LlamaForCausalLM")


def make_qwen3(folder):
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    config = base_config(architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_size=256, intermediate_size=64,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=32, rope_theta=1000000,
                         rope_scaling=scaling, use_sliding_window=False, sliding_window=None, rms_norm_eps=1e-6)
    random = Random(5)
    tensors = common(config, random)
    for layer in range(2):
        for which in ("q", "k"):
            tensors[f"model.layers.{layer}.self_attn.{which}_norm.weight"] = random.gain(32)
    for name, (rows, cols) in shapes(config)[0].items():
        groups = max(cols // 128, 1)
        scales = random.scales(rows * groups, cols).reshape(rows, groups).repeat_interleave(cols // groups, 1)
        tensors[name + ".weight"] = random.codes((rows, cols)) * scales
    write(folder, config, tensors, torch.bfloat16, files=3)
    write_logits(folder, folder, "Qwen3ForCausalLM")


def main():
    torch.set_num_threads(1)
    ALL_ATTENTION_FUNCTIONS["rounded_kv"] = rounded_kv
    for make in (make_bitnet, make_onebit, make_llama, make_trilm, make_qwen3):
        folder = OUT / make.__name__.removeprefix("make_")
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)


if __name__ == "__main__":
    main()
