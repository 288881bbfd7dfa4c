"""Writes the seeds and word lists of the fuzz targets: small files that use every part of the formats.

Run: python3 tests/fuzz/make_seeds.py   (gguf 0.19.0, safetensors, torch 2.13, numpy 2)
"""
import json
import pathlib
import re
import sys

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "golden"))
from make_gguf_fixture import I2_S, IQ1_BN, IQ2_BN, add, finish, i2_s, iq1_bn, iq2_bn  # noqa: E402

Type = gguf.GGMLQuantizationType


def gguf_writer(name, arch):
    folder = HERE / "corpus/gguf"
    folder.mkdir(parents=True, exist_ok=True)
    return gguf.GGUFWriter(folder / name, arch)


def write_values():
    writer = gguf_writer("values.gguf", "llama")
    for kind in gguf.GGUFValueType:
        if kind not in (gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY):
            writer.add_key_value("v." + kind.name, 1, kind)
    writer.add_array("texts", ["a", "", "b"])
    writer.add_array("ints", [1, 2])
    writer.add_custom_alignment(64)
    finish(writer)


def write_types():
    writer = gguf_writer("types.gguf", "llama")
    values = np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 256)
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.TQ1_0, Type.TQ2_0):
        add(writer, kind.name, gguf.quants.quantize(values, kind).tobytes(), (1, 256), kind)
    for kind, size in ((Type.Q6_K, 210), (Type.Q4_K, 144)):
        add(writer, kind.name, bytes(range(size)), (1, 256), kind)
    codes = np.sign(values).astype(np.int8)
    add(writer, "I2_S", i2_s(codes, 0.5), (1, 256), I2_S)
    add(writer, "IQ1_BN", iq1_bn(codes, [0.5]), (1, 256), IQ1_BN)
    add(writer, "IQ2_BN", iq2_bn(codes, [0.5]), (1, 256), IQ2_BN)
    finish(writer)


def write_model(name, arch, sub_norms, qk_norm, kind, d=64):
    """A whole model with d = f."""
    vocab = 8
    random = np.random.default_rng(1)
    writer = gguf_writer(name, arch)
    writer.add_context_length(32)
    writer.add_embedding_length(d)
    writer.add_block_count(1)
    writer.add_feed_forward_length(d)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{i}>" for i in range(vocab - 1)] + ["<|eot_id|>"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if qk_norm:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(2.0)
        writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_tensor("token_embd.weight", random.standard_normal((vocab, d)).astype(np.float16))
    norms = ["attn_norm", "ffn_norm"] + ["attn_sub_norm", "ffn_sub_norm"] * sub_norms
    sizes = [("output_norm", d)] + [("blk.0." + n, d) for n in norms]
    sizes += [("blk.0.attn_q_norm", d // 2), ("blk.0.attn_k_norm", d // 2)] * qk_norm
    for norm, size in sizes:
        writer.add_tensor(norm + ".weight", np.ones(size, np.float32))
    for linear in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        rows = d // 2 if linear in ("attn_k", "attn_v") else d
        codes = random.integers(-1, 2, (rows, d)).astype(np.int8)
        pack = {I2_S: lambda: i2_s(codes, 0.5), IQ1_BN: lambda: iq1_bn(codes, [0.5] * rows),
                IQ2_BN: lambda: iq2_bn(codes, [0.5] * rows), Type.F16: lambda: (codes / 2).astype("<f2").tobytes()}
        add(writer, f"blk.0.{linear}.weight", pack[kind](), (rows, d), kind)
    finish(writer)


def write_tokenizer(name, model, space, more, key, values):
    writer = gguf_writer(name, "llama")
    tokens = ["<s>", "</s>", space] + [chr(c) for c in range(33, 127)] + more
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [6 if t.startswith("<0x") else 1 for t in tokens[2:]])
    writer.add_array(f"tokenizer.ggml.{key}", values(tokens))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if model == "gpt2":
        writer.add_tokenizer_pre("qwen2")
        writer.add_add_bos_token(True)
    writer.add_chat_template("{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}")
    finish(writer)


def write_safetensors():
    folder = HERE / "corpus/safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.float32([[1, 2], [3, 4]]), "b": np.float16([0.5]), "c": np.uint8([1, 2, 3])},
              folder / "kinds.safetensors", metadata={"format": "pt"})
    save_file({"scalar": np.array(1, np.float32), "empty": np.zeros((0, 3), np.float32),
               "i": np.int64([1])}, folder / "shapes.safetensors")
    (folder / "none.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


def write_torch():
    folder = HERE / "corpus/torch_file"
    folder.mkdir(parents=True, exist_ok=True)
    a = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"heads": {"w": a, "rows": a[1:]}, "step": 3, "rate": 0.5, "none": None}, folder / "nested.pt")
    torch.save([(a.half(), a.bfloat16()), {7: a.long()}], folder / "list4.pt", pickle_protocol=4)
    torch.save(torch.nn.Linear(2, 1).state_dict(), folder / "module.pt")


def write_words(name, words):
    quoted = (json.dumps(word, ensure_ascii=True) for word in sorted(words) if word.isascii() and word.isprintable())
    (HERE / f"corpus/{name}.dict").write_text("".join(word + "\n" for word in quoted))


def write_tokenizers():
    """The golden tokenizers with fewer tokens; "@": 0 is ASCII, see tokenizer_json_fuzz.cc."""
    folder = HERE / "corpus/tokenizer_json"
    folder.mkdir(parents=True, exist_ok=True)
    configs = {"llama3": {"eos_token": {"content": "<|end|>"}}, "gpt2": {"eos_token": "</s>", "added_tokens_decoder": {
        "98": {"content": "<x>", "special": True, "lstrip": True}}}, "llama2": {
            "bos_token": "<s>", "add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}}
    words = {"Lowercase", "WordPiece", "Unigram", "BertNormalizer", "Strip", "Regex", "MergedWithNext", "Removed", "never"}
    for path in sorted((HERE.parent / "golden/tokenizer/json").glob("*.json")):
        full = json.loads(path.read_text())
        for unused in ("version", "truncation", "padding", "decoder"):
            full.pop(unused)
        space = "\u2581" if full["model"]["byte_fallback"] else "\u0120"
        vocab = {"@": 0, "th": 96, space + "th": 97}
        if full["model"]["byte_fallback"]:
            vocab |= {"<unk>": 98, "<s>": 99, "</s>": 100, "<0x0A>": 101, "<0xFF>": 102}
        else:
            vocab |= {"\u010a": 98, "\u00ff": 99}
        first = max(vocab.values()) + 1
        full["added_tokens"] = full["added_tokens"][:3]
        for at, token in enumerate(full["added_tokens"]):
            token["id"] = vocab.get(token["content"], first + at)
        full["model"] |= {"vocab": vocab, "merges": [["t", "h"], space + " th"]}
        text = json.dumps(full, ensure_ascii=False, separators=(",", ":"))
        config = json.dumps(configs[path.stem]) if path.stem in configs else ""
        (folder / path.stem).write_bytes(text.encode() + b"\0" * bool(config) + config.encode())
        words |= set(re.findall(r'"(\w+)"', text + config))
    (folder / "none").write_bytes(b"")
    write_words("tokenizer_json", words)


def write_chats():
    folder = HERE / "corpus/chat_template"
    folder.mkdir(parents=True, exist_ok=True)
    said = b"Hi<think>x</think>\n y"
    words = {"message['content']", "raise_exception", "strftime", "tools", "loop.last", "| trim", "eos_token", "{%-", "%}"}
    for entry in json.loads((HERE.parent / "golden/chat_cases.json").read_text())["templates"]:
        config = json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>"}).encode()
        text = b"\0".join((config, entry["source"].encode(), said))
        (folder / entry["name"].replace(" ", "_")).write_bytes(text)
        words |= set(re.findall(r"<\|?\w+\|?>|'[^']{3,60}'", entry["source"]))
    templates = [{"name": "tools", "template": "x"},
                 {"name": "default", "template": "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"}]
    (folder / "in_a_list").write_bytes(json.dumps({"bos_token": "<s>", "chat_template": templates}).encode() + b"\0\0" + said)
    write_words("chat_template", words)


SCHEMAS = {
    "record": {"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9}, "born": {"format": "date"},
        "mail": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}], "default": None}},
        "required": ["name"], "additionalProperties": False},
    "pattern": {"type": "string", "pattern": "^(?!0)[a-f\\d]{2,3}(?:x|\\u00e9)*?\\.$", "maxLength": 20},
    "recursive": {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
        "value": {"type": "integer", "minimum": -3, "exclusiveMaximum": 120},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}}, "required": ["value"]}}},
    "union": {"oneOf": [{"type": "object", "properties": {"k": {"const": c}, c: {}}, "required": ["k"]} for c in "ab"]},
    "all": {"allOf": [{"properties": {"a": {"enum": [1, "x", None]}}, "required": ["a"]}, {"additionalProperties": {}}],
            "type": ["object", "null"]},
    "number": {"type": "number", "exclusiveMinimum": -1.25, "maximum": 10.5},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"format": "uuid4"}], "items": False, "minItems": 1},
    "names": {"type": "object", "propertyNames": {"pattern": "^x-"}, "additionalProperties": {"format": "int32"}},
    "any": True,
}


def write_schemas():
    folder = HERE / "corpus/json_schema"
    folder.mkdir(parents=True, exist_ok=True)
    words = {"false", "ipv4", "ipv6", "date-time", "duration", "hostname", "uri", "\\\\w", "\\\\s", "(?=", "(?:", "{2,}",
             "multipleOf", "additionalItems", "definitions", "number", "1e9"}
    for name, schema in SCHEMAS.items():
        text = json.dumps(schema)
        (folder / name).write_bytes(text.encode() + b"\0" + bytes(range(1, 120, 7)))
        words |= set(re.findall(r'"([$\w]+)"', text))
    write_words("json_schema", words)


if __name__ == "__main__":
    write_values()
    write_types()
    write_model("bitnet.gguf", "bitnet-b1.58", sub_norms=True, qk_norm=False, kind=I2_S)
    write_model("llama.gguf", "llama", sub_norms=False, qk_norm=False, kind=IQ1_BN)
    write_model("qwen3.gguf", "qwen3", sub_norms=False, qk_norm=True, kind=Type.F16, d=16)
    write_tokenizer("bpe.gguf", "gpt2", "\u0120", ["th", "\u0120th"], "merges", lambda tokens: ["t h", "\u0120 th"])
    write_tokenizer("sentencepiece.gguf", "llama", "\u2581", ["th", "\u2581th", "<0x0A>"], "scores",
                    lambda tokens: [float(-i) for i in range(len(tokens))])
    write_safetensors()
    write_torch()
    write_tokenizers()
    write_chats()
    write_schemas()
