// A sentencepiece model as its file holds it: a protocol buffer (sentencepiece_model.proto), of
// which this reads and writes what decides ids.
#ifndef TERN_ENGINE_SENTENCEPIECE_PROTO_H_
#define TERN_ENGINE_SENTENCEPIECE_PROTO_H_

#include <string>
#include <vector>

#include "engine/tokenizer.h"

namespace tern {

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    TokenType type = TokenType::kNormal;
  };
  std::vector<Piece> pieces;
  bool bpe = false;          // unigram otherwise
  bool space_prefix = true;  // every text gets a space before it
  // Spelling of the pieces for unknown text, and at both ends of a text; of no piece: none.
  std::string unk = "<unk>", bos = "<s>", eos = "</s>";
};

// Throws kBadFile, naming `where`, for bytes that are no such model. What else the model says about
// its training and normalisation is left out.
SentencePieceModel ParseSentencePieceModel(std::string_view serialized, const std::string& where);

// A model without normalisation that sentencepiece loads. REQUIRES a piece of type kUnknown.
std::string SerializeSentencePieceModel(const SentencePieceModel& model);

}  // namespace tern

#endif  // TERN_ENGINE_SENTENCEPIECE_PROTO_H_
