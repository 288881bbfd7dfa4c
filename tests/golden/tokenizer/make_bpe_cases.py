#!/usr/bin/env python3
"""Tokenizers in the shapes of known families, tiny, and the ids that their reference gives: python3 make_bpe_cases.py

Writes json/NAME.json (a tokenizer.json each, trained on the words below), llama2/tokenizer.model (sentencepiece with
a dummy prefix) and bpe_cases.json. Ids come from Hugging Face's `tokenizers` (0.23.3) and the sentencepiece library
(0.2.3), reading the files alone.
"""
import io
import json
import os
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_words import corpus

here = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
EXTRA = ("It's 2024, isn't it? We'LL pay $1,234,567.89 (or 10%)...  \u4f60\u597d\u4e16\u754c caf\u00e9 na\u00efve "
         "\u041f\u0440\u0438\u0432\u0435\u0442 \U0001f600\U0001f680 \u00bd \u0661\u0662\u0663 x_y = {a: [1, 2]};\n\n\t# end\r\n")
TEXTS = corpus().split("\n")[:400] + [EXTRA] * 20

split = pre_tokenizers.Split
byte_level = pre_tokenizers.ByteLevel


def trained(pre, normalizer=None, ignore_merges=False, vocab=420):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=byte_level.alphabet(), show_progress=False))
    return tokenizer


def patterned(regex):
    return pre_tokenizers.Sequence([split(Regex(regex), "isolated"), byte_level(add_prefix_space=False, use_regex=False)])


def llama3():
    # A token that no merge makes: only the look-up of whole pieces finds it.
    data = json.loads(trained(patterned(LLAMA3), ignore_merges=True).to_str())
    data["model"]["vocab"]["\u0120zqj"] = len(data["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<|eot|>"])
    begin = ("<|begin|>", tokenizer.token_to_id("<|begin|>"))
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])])
    return tokenizer


def qwen():
    tokenizer = trained(patterned(QWEN2), normalizers.NFC())
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False),
                          AddedToken("<thinking>", normalized=False)])
    return tokenizer


def gpt2():
    return trained(byte_level(add_prefix_space=False))


def falcon():
    return trained(pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), byte_level(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False), split(Regex("[0-9][0-9][0-9]"), "isolated")]))


def neox():  # runs of spaces are added tokens
    tokenizer = trained(byte_level(add_prefix_space=False), normalizers.NFC())
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(2, 9)])
    return tokenizer


def behaviours():
    return trained(pre_tokenizers.Sequence([
        split(Regex(r"\d"), "merged_with_previous"), split("-", "merged_with_next"), split(Regex(r"[aeiou]+"), "contiguous", True),
        split(".", "isolated"), byte_level(add_prefix_space=False, use_regex=False)]))


def sentencepiece_model():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=out, model_type="bpe", vocab_size=400, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, num_threads=1,
        minloglevel=3, character_coverage=0.98)
    return out.getvalue()


def llama2(processor, metaspace):
    """As Hugging Face converts such a model: every split of a piece is a merge, in order of the pieces."""
    vocab = {processor.id_to_piece(i): i for i in range(processor.get_piece_size())}
    merges = []
    for piece, i in vocab.items():
        if processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i):
            continue
        local = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in vocab and piece[cut:] in vocab]
        merges += sorted(local, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def texts():
    pool = [" ", "  ", "\n", "\r\n", "\t", "a", "the", " cat", "Anna", "'s", "'LL", "'\u017f", "1", "23", "456", "7890", "\u00bd", "\u00b2",
            "\u0661", "\u4e16", "\u754c", "\u0431", "e\u0301", "\u00e9", "\u1100\u1161", "\U0001f600", "\u200d", "\u180e", "\u0085",
            "\u00a0", "\u2003", "\u3000", "\ufeff", "\u001c", "\u0000", "!", "...", "$", "+", "\u00ab", "\u2014", "_", "-", "zqj", " zqj",
            "<think>", "<thinking>", "</thi", ".", "\u0300", "\u0f0b", "\u2028", "\u00aa", "\u2167", "\U0001d7d8"]
    chooser = random.Random(4)
    made = ["", EXTRA, TEXTS[0], " ", "   ", "\n\n", " leading", "trailing ", "a" * 70]
    for _ in range(60):
        made.append("".join(chooser.choice(pool) for _ in range(chooser.randrange(1, 14))))
    return made


def main():
    os.makedirs(os.path.join(here, "json"), exist_ok=True)
    os.makedirs(os.path.join(here, "llama2"), exist_ok=True)
    model = sentencepiece_model()
    with open(os.path.join(here, "llama2", "tokenizer.model"), "wb") as f:
        f.write(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    made = {"llama3": llama3(), "qwen": qwen(), "gpt2": gpt2(), "falcon": falcon(), "neox": neox(),
            "behaviours": behaviours(), "llama2": llama2(processor, False), "metaspace": llama2(processor, True)}
    all_texts = texts()
    cases = {"texts": all_texts, "sentencepiece": [processor.encode(text) for text in all_texts]}
    for name, tokenizer in made.items():
        path = os.path.join(here, "json", name + ".json")
        with open(path, "w") as f:
            json.dump(json.loads(tokenizer.to_str()), f, ensure_ascii=True, separators=(",", ":"))
            f.write("\n")
        read = Tokenizer.from_file(path)
        cases[name] = [read.encode(text, add_special_tokens=False).ids for text in all_texts]
    with open(os.path.join(here, "bpe_cases.json"), "w") as f:
        json.dump(cases, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


main()
