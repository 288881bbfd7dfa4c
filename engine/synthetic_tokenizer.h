// A tokenizer for models of random weights (synthetic_weights.h), so that they load and write
// something as any model does.
#ifndef TERN_ENGINE_SYNTHETIC_TOKENIZER_H_
#define TERN_ENGINE_SYNTHETIC_TOKENIZER_H_

#include "engine/bpe_tokenizer.h"
#include "engine/config.h"

namespace tern {

// config.vocab_size byte-level tokens with Llama 3's rules: control tokens at the model's bos and
// eos, the bytes, pairs of small letters that merges make, and made-up words of letters. Throws
// kInvalidArgument where the vocabulary is too small for the bytes.
BpeVocabulary MakeSyntheticTokenizer(const ModelConfig& config);

}  // namespace tern

#endif  // TERN_ENGINE_SYNTHETIC_TOKENIZER_H_
