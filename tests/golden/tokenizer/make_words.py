"""The text that the tokenizers of this folder are trained on."""
WORDS = ("the cat sat on a mat and the dog ran to the old red barn while Anna and Tom looked for their little "
         "boat by the green river they said hello to every bird and walked home when the moon was high").split()


def corpus():
    state, lines = 1, []
    for _ in range(600):
        words = []
        for _ in range(12):
            state = (state * 1103515245 + 12345) % 2**31
            words.append(WORDS[state // 65536 % len(WORDS)])
        lines.append(" ".join(words).capitalize() + ".")
        if state % 7 == 0:
            lines.append("<|endoftext|>")
    return "\n".join(lines) + "\n"
