// A model and the tokenizer that belongs to it: what texts begin with and end in.
#ifndef TERN_ENGINE_TEXT_MODEL_H_
#define TERN_ENGINE_TEXT_MODEL_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/tokenizer.h"

namespace tern {

// Throws Error(kInvalidArgument) where `tokenizer` has ids that `model` has no vectors for.
void RequireTokenizerFits(const Model& model, const Tokenizer& tokenizer);

// Ids of a prompt's text, behind the beginning-of-sequence token where both the model's
// configuration and the tokenizer have one. Throws Error(kInvalidArgument) where `text` is empty.
std::vector<TokenId> EncodePrompt(const ModelConfig& config, const Tokenizer& tokenizer,
                                  std::string_view text);

// The tokens that end a text: the configuration's and the tokenizer's.
std::vector<TokenId> EosTokens(const ModelConfig& config, const Tokenizer& tokenizer);

// A model and its tokenizer, and what all texts from them share.
struct TextModel {
  // Throws as RequireTokenizerFits does. Both outlive this.
  TextModel(const Model& model_in, const Tokenizer& tokenizer_in);
  bool IsEos(TokenId token) const;
  // A model may have more rows in its vocabulary than the tokenizer has pieces: those are empty.
  std::string_view Piece(TokenId token) const;

  const Model& model;
  const Tokenizer& tokenizer;
  std::vector<TokenId> eos;
  size_t max_piece_bytes = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_TEXT_MODEL_H_
