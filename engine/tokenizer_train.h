// Trains a sentencepiece tokenizer and writes it as the files that a Hugging Face model directory
// carries.
#ifndef TERN_ENGINE_TOKENIZER_TRAIN_H_
#define TERN_ENGINE_TOKENIZER_TRAIN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tern {

struct TokenizerTrainOptions {
  int32_t vocab_size = 4096;  // all pieces: 3 control, the newline, 256 bytes, the rest learned
  bool bpe = false;           // unigram otherwise
  // Share of the text's characters that learned pieces must spell; the rest is spelt in byte
  // tokens.
  double character_coverage = 0.9995;
};

// Gives the next line of the training text, without its newline; false at the end. The view stays
// valid until the next call.
using LineSource = std::function<bool(std::string_view& line)>;

// The serialised sentencepiece model: <unk>=0 <s>=1 </s>=2, "\n" a piece of its own, byte fallback,
// digits split, no normalisation, no dummy prefix, every space kept. A function of its arguments
// (and the library's version) alone: one thread, no sampling. Throws kInvalidArgument where the
// text is too small or too large for the vocabulary.
std::string TrainTokenizer(const TokenizerTrainOptions& options, const LineSource& next_line);

// The same tokenizer in the format of Hugging Face's `tokenizers` library. Ids agree with ours on
// any text that holds neither U+2581 nor the spelling of a control or byte piece ("</s>",
// "<0x41>"): those the library cannot tell from the pieces themselves.
std::string TokenizerJson(const std::string& serialized_model);

// Writes tokenizer.model, tokenizer.json, tokenizer_config.json, special_tokens_map.json and
// generation_config.json into `dir`, which appears whole or not at all. Throws kInvalidArgument
// where `dir` exists and is not empty.
void WriteTokenizer(const std::string& dir, const std::string& serialized_model);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_TRAIN_H_
