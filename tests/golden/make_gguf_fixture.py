"""Writes gguf/blocks.gguf and gguf/tiny.gguf with the upstream `gguf` package.

blocks.gguf: for every tensor type that tern reads, NAME in that type and NAME.values, what it holds as F32, and
metadata of every value type. The package quantises and dequantises the upstream types itself; I2_S (bitnet.cpp),
IQ1_BN and IQ2_BN (ik_llama.cpp), which it does not know, are packed here.

tiny.gguf: a model of architecture bitnet-b1.58 whose ternary matrices are stored in all five types. Its weights
come from `mixed`, a hash that tests/engine/gguf_model_test.cc computes too; scales and tables are exact in every
type.

Run: python3 tests/golden/make_gguf_fixture.py   (gguf 0.19.0, numpy 2)
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type, quants

OUT = pathlib.Path(__file__).parent / "gguf"
I2_S, IQ1_BN, IQ2_BN = 36, 134, 135


def i2_s(codes, scale, lane=32):
    groups = (codes.reshape(-1, 4, lane) + 1).astype(np.uint8)
    packed = groups[:, 0] << 6 | groups[:, 1] << 4 | groups[:, 2] << 2 | groups[:, 3]
    return packed.tobytes() + np.full(8, scale, "<f4").tobytes()


def iq2_bn(codes, scales):
    groups = (codes.reshape(len(codes), -1, 4, 16) + 1).astype(np.uint8)
    packed = groups[:, :, 0] | groups[:, :, 1] << 2 | groups[:, :, 2] << 4 | groups[:, :, 3] << 6
    return b"".join(np.float32(s).tobytes() + row.tobytes() for s, row in zip(scales, packed))


def iq1_bn(codes, scales):
    rows = []
    for scale, row in zip(scales, codes):
        rows.append(np.float16(scale).tobytes())
        for block in (row.reshape(-1, 4, 16) + 1).astype(int):
            trits = [group[5 * b:5 * b + 5] for group in block for b in range(3)] + [block[:, 15]]
            numbers = [sum(t * 3**j for j, t in enumerate(five)) for five in trits]
            rows.append(bytes((256 * n + 242) // 243 for n in numbers))
    return b"".join(rows)


def add(writer, name, data, shape, kind):
    # int8, since the package derives shapes of uint8 data from types that it knows.
    writer.add_tensor(name, np.frombuffer(data, np.int8), raw_shape=shape, raw_dtype=kind)


def write_blocks():
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(OUT / "blocks.gguf", "none")
    for kind, value in [("UINT8", 200), ("INT8", -3), ("UINT16", 60000), ("INT16", -300), ("UINT32", 4000000000),
                        ("INT32", -70000), ("FLOAT32", 0.5), ("UINT64", 1 << 40), ("INT64", -(1 << 40)),
                        ("FLOAT64", 0.1)]:
        writer.add_key_value("test." + kind.lower(), value, gguf.GGUFValueType[kind])
    writer.add_bool("test.bool", True)
    writer.add_string("test.text", "ternary \u2713")
    writer.add_array("test.texts", ["", "a", "\u2581b"])
    writer.add_array("test.ints", [3, -1, 2])
    writer.add_array("test.floats", [0.5, -2.0])

    values = random.standard_normal((2, 512)).astype(np.float32)
    blocks = random.integers(0, 256, (2, 2, 210), np.uint8)  # the package reads Q6_K and Q4_K only
    blocks[:, :, 208:] = np.frombuffer(np.float16(0.0123).tobytes(), np.uint8)
    stored = {kind: quants.quantize(values, kind) for kind in (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0)}
    stored[Type.Q6_K] = blocks.reshape(2, 420)
    blocks = random.integers(0, 256, (2, 2, 144), np.uint8)
    blocks[:, :, :4] = np.frombuffer(np.float16([0.0123, 0.0456]).tobytes(), np.uint8)
    stored[Type.Q4_K] = blocks.reshape(2, 288)
    codes = random.integers(-1, 2, (2, 512)).astype(np.int8)
    codes[1, 256:] = 0  # a block without a weight
    scales = np.float32([[0.75], [1.8125]])
    for kind in (Type.TQ1_0, Type.TQ2_0):
        stored[kind] = quants.quantize(codes * scales, kind)
    for kind, data in stored.items():
        add(writer, kind.name, data.tobytes(), (2, 512), kind)
        writer.add_tensor(kind.name + ".values", quants.dequantize(data, kind).astype(np.float32))
    add(writer, "I2_S", i2_s(codes, 0.75), (2, 512), I2_S)
    add(writer, "I2_S_64x16", i2_s(codes, 0.75, lane=16), (2, 512), I2_S)
    writer.add_tensor("I2_S.values", codes * np.float32(0.75))
    add(writer, "IQ1_BN", iq1_bn(codes, scales[:, 0]), (2, 512), IQ1_BN)
    add(writer, "IQ2_BN", iq2_bn(codes, scales[:, 0]), (2, 512), IQ2_BN)
    writer.add_tensor("IQ_BN.values", codes * scales)
    finish(writer)


def mixed(seed, n):
    """n 32-bit numbers: a hash of seed and index."""
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + seed * 40503 + 1) & 0xFFFFFFFF
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return (x ^ (x >> 16)).astype(np.int64)


def write_tiny():
    d, f, heads, kv_heads, vocab, arch = 256, 256, 4, 1, 48, "bitnet-b1.58"
    writer = gguf.GGUFWriter(OUT / "tiny.gguf", arch)
    writer.add_vocab_size(vocab)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_block_count(1)
    writer.add_feed_forward_length(f)
    writer.add_rope_dimension_count(d // heads)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{i}>" for i in range(vocab)])
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    seed = iter(range(100))

    def table(name, kind, rows):  # eighths from -16 on: exact in every type
        values = ((mixed(next(seed), rows * d) % 256 - 128) / 8).astype(np.float32).reshape(rows, d)
        if kind == Type.Q8_0:
            codes = (values * 8).astype(np.int8).reshape(-1, 32)
            half = np.frombuffer(np.float16(0.125).tobytes(), np.int8)
            data = np.concatenate([np.tile(half, (len(codes), 1)), codes], axis=1).tobytes()
        else:
            data = quants.quantize(values, kind).tobytes()
        add(writer, name, data, (rows, d), kind)

    def gain(name):
        writer.add_tensor(name, (0.5 + mixed(next(seed), d) % 64 / 64).astype(np.float32))

    def linear(name, kind, rows):
        codes = (mixed(next(seed), rows * d) % 3 - 1).astype(np.int8).reshape(rows, d)
        scale = 1 / 16
        if kind in (Type.TQ1_0, Type.TQ2_0):
            data = quants.quantize(codes * np.float32(scale), kind).tobytes()
        else:
            pack = {I2_S: lambda: i2_s(codes, scale), IQ1_BN: lambda: iq1_bn(codes, [scale] * rows),
                    IQ2_BN: lambda: iq2_bn(codes, [scale] * rows)}
            data = pack[kind]()
        add(writer, name, data, (rows, d), kind)

    table("token_embd.weight", Type.F16, vocab)
    table("output.weight", Type.Q8_0, vocab)
    gain("output_norm.weight")
    for name in ("attn_norm", "attn_sub_norm", "ffn_norm", "ffn_sub_norm"):
        gain(f"blk.0.{name}.weight")
    for name, kind, rows in [("attn_q", Type.TQ1_0, d), ("attn_k", IQ1_BN, d // heads), ("attn_v", I2_S, d // heads),
                             ("attn_output", Type.TQ2_0, d), ("ffn_gate", IQ2_BN, f), ("ffn_up", IQ1_BN, f),
                             ("ffn_down", I2_S, d)]:
        linear(f"blk.0.{name}.weight", kind, rows)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    write_blocks()
    write_tiny()
