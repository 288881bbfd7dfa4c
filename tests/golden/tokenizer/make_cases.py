#!/usr/bin/env python3
"""Ids that Hugging Face's `tokenizers` gives for our exported tokenizer: python3 make_cases.py TERN

TERN is the built program. Writes unigram/ and bpe/ (tokenizer.model, tokenizer.json) trained on the text below,
and cases.json, whose ids come from `tokenizers` reading tokenizer.json alone. Made with tokenizers 0.23.3 and
the sentencepiece library 0.1.97.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

from make_words import corpus

here = os.path.dirname(os.path.abspath(__file__))
CASES = ["The cat sat on a mat.", "Anna and Tom  looked\n\nfor a boat.", " leading", "trailing ", "",
         "Unknown words: quixotic zephyr!", "1234 digits", "caf\u00e9 na\u00efve \u201cquoted\u201d", "\U0001f600 ok",
         "tab\tand\r\nreturn", "\n", "   ", "the the the the", "THE CAT"]

cases = {"texts": CASES}
for kind in ("unigram", "bpe"):
    out = os.path.join(here, kind)
    with tempfile.TemporaryDirectory() as work:
        text = os.path.join(work, "text.txt")
        with open(text, "w") as f:
            f.write(corpus())
        made = os.path.join(work, "made")
        subprocess.run([sys.argv[1], "tokenize", "--train", "--type", kind, "--vocab-size", "340", "--out", made,
                        text], check=True)
        os.makedirs(out, exist_ok=True)
        for name in ("tokenizer.model", "tokenizer.json"):
            shutil.copyfile(os.path.join(made, name), os.path.join(out, name))
    tokenizer = Tokenizer.from_file(os.path.join(out, "tokenizer.json"))
    cases[kind] = [tokenizer.encode(text, add_special_tokens=False).ids for text in CASES]
    for text, ids in zip(CASES, cases[kind]):
        assert tokenizer.decode(ids) == text, (kind, text)
with open(os.path.join(here, "cases.json"), "w") as f:
    json.dump(cases, f, indent=1)
    f.write("\n")
