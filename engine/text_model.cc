#include "engine/text_model.h"

#include <algorithm>
#include <string>

#include "engine/error.h"

namespace tern {

void RequireTokenizerFits(const Model& model, const Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() <= model.config.vocab_size) return;
  throw InvalidArgument("tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                        " pieces, expected at most " + std::to_string(model.config.vocab_size) +
                        ", the model's vocabulary; use the tokenizer that belongs to the model");
}

std::vector<TokenId> EncodePrompt(const ModelConfig& config, const Tokenizer& tokenizer,
                                  std::string_view text) {
  if (text.empty()) throw InvalidArgument("prompt is empty, expected at least one character");
  std::vector<TokenId> ids = tokenizer.Encode(text);
  const bool has_bos = config.bos_token_id >= 0 && tokenizer.bos() >= 0;
  if (has_bos && (ids.empty() || ids.front() != config.bos_token_id)) {
    ids.insert(ids.begin(), config.bos_token_id);
  }
  return ids;
}

std::vector<TokenId> EosTokens(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<TokenId> eos = config.eos_token_ids;
  if (tokenizer.eos() >= 0) eos.push_back(tokenizer.eos());
  return eos;
}

TextModel::TextModel(const Model& model_in, const Tokenizer& tokenizer_in)
    : model(model_in), tokenizer(tokenizer_in), eos(EosTokens(model_in.config, tokenizer_in)) {
  RequireTokenizerFits(model, tokenizer);
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    max_piece_bytes = std::max(max_piece_bytes, tokenizer.PieceBytes(id).size());
}

bool TextModel::IsEos(TokenId token) const {
  return std::find(eos.begin(), eos.end(), token) != eos.end();
}

std::string_view TextModel::Piece(TokenId token) const {
  return token < tokenizer.vocab_size() ? tokenizer.PieceBytes(token) : std::string_view();
}

}  // namespace tern
