// Sentencepiece behind engine/tokenizer.h, made exact: what the library would change is kept from
// it.
#include <sentencepiece_processor.h>

#include <array>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/piece_table.h"
#include "engine/utf8.h"

namespace tern {
namespace {

Error BadTokenizer(const std::string& path, const std::string& what, const std::string& todo) {
  return BadFile({.path = path, .what = what, .todo = todo});
}

// Behind a serialised model, whose later fields override earlier ones: normalizer_spec (3) with
// add_dummy_prefix (3) false.
constexpr std::string_view kNoDummyPrefix("\x1a\x02\x18\x00", 4);

class SentencePieceTokenizer final : public PieceTableTokenizer {
 public:
  SentencePieceTokenizer(std::string serialized, const std::string& path,
                         const std::vector<AddedPiece>& added) {
    Load(serialized, path);
    // Encode cuts a text around what the library would change; only the first part of it has the
    // prefix.
    std::string probe;
    for (const std::string& piece : processor_.EncodeAsPieces("a")) probe += piece;
    if (probe.starts_with(kSpaceMark)) {
      puts_space_ = true;
      Load(serialized.append(kNoDummyPrefix), path);
    }
    ReadPieces(path);
    AddPieces(path, added);
    CheckExact(path);
  }

  TokenId bos() const override { return processor_.bos_id(); }
  TokenId eos() const override { return processor_.eos_id(); }

  std::vector<AddedToken> ControlTokens() const override {
    std::vector<AddedToken> tokens = control_;
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (processor_.IsControl(id) || processor_.IsUnknown(id)) {
        tokens.push_back({processor_.IdToPiece(id), id});
      }
    }
    return tokens;
  }

  std::vector<TokenId> Encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    user_defined_.Scan(
        text,
        [&](std::string_view stretch) {
          if (puts_space_) {
            EncodeStretch(std::string(" ").append(stretch), ids);
          } else {
            EncodeStretch(stretch, ids);
          }
        },
        [&](TokenId id) { ids.push_back(id); });
    return ids;
  }

 private:
  // The library replaces invalid UTF-8, cannot tell U+2581 from a space, and looks NUL up in a trie
  // that ends its keys with NUL. Those bytes become byte tokens here; the runs between them go to
  // the library.
  void EncodeStretch(std::string_view text, std::vector<TokenId>& ids) const {
    std::vector<int> run_ids;
    size_t begin = 0;
    const auto flush = [&](size_t end) {
      if (end == begin) return;
      const auto status = processor_.Encode(text.substr(begin, end - begin), &run_ids);
      if (!status.ok()) throw Error(Error::Kind::kInternal, "sentencepiece: " + status.ToString());
      ids.insert(ids.end(), run_ids.begin(), run_ids.end());
    };
    for (size_t at = 0; at < text.size();) {
      const size_t length = Utf8Length(text.substr(at));
      const bool plain = length > 0 && text[at] != '\0' && text.substr(at, length) != kSpaceMark;
      const size_t step = length > 0 ? length : 1;
      if (!plain) {
        flush(at);
        for (size_t i = at; i < at + step; ++i)
          ids.push_back(byte_ids_[static_cast<uint8_t>(text[i])]);
        begin = at + step;
      }
      at += step;
    }
    flush(text.size());
  }

  void Load(const std::string& serialized, const std::string& path) {
    const auto status = processor_.LoadFromSerializedProto(serialized);
    if (!status.ok()) {
      throw BadTokenizer(
          path, "not a sentencepiece model (" + std::to_string(serialized.size()) + " bytes)",
          "fetch or train it again");
    }
  }

  void AddPieces(const std::string& path, const std::vector<AddedPiece>& added) {
    std::vector<AddedToken> user_defined;
    const size_t pieces = bytes_.size();
    for (const auto& [token, control] : added) {
      const auto at = static_cast<size_t>(token.id);
      if (at < pieces) {
        if (processor_.IdToPiece(token.id) == token.text) continue;
        throw BadFile({path, "piece " + std::to_string(at),
                       "\"" + token.text + "\" as the tokenizer's JSON files have it",
                       "\"" + processor_.IdToPiece(token.id) + "\"", "fetch all files again"});
      }
      if (at >= pieces + 65536) {
        throw BadFile({path, "id of \"" + token.text + "\"", "one behind the model's pieces",
                       std::to_string(at), "fetch the tokenizer's JSON files again"});
      }
      if (at >= bytes_.size()) bytes_.resize(at + 1);
      if (!control) bytes_[at] = token.text;
      (control ? control_ : user_defined).push_back(token);
    }
    user_defined_ = AddedTokenMatcher(std::move(user_defined));
  }

  void ReadPieces(const std::string& path) {
    byte_ids_.fill(-1);
    bytes_.resize(static_cast<size_t>(processor_.GetPieceSize()));
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      const std::string& piece = processor_.IdToPiece(id);
      std::string& bytes = bytes_[static_cast<size_t>(id)];
      if (processor_.IsByte(id)) {  // "<0xAB>"
        const auto value = static_cast<uint8_t>(std::stoi(piece.substr(3, 2), nullptr, 16));
        bytes.assign(1, static_cast<char>(value));
        byte_ids_[value] = id;
      } else if (!processor_.IsControl(id) && !processor_.IsUnknown(id)) {
        bytes = WithSpaces(piece);
      }
    }
    for (const TokenId id : byte_ids_) {
      if (id < 0) {
        throw Unsupported(path +
                          ": model has no byte pieces, so some text could not be represented; " +
                          "use a tokenizer trained with byte_fallback");
      }
    }
  }

  void CheckExact(const std::string& path) const {
    const std::string probe = "a  b \n\n C\t ";
    if (Decode(Encode(probe)) != probe) {
      throw Unsupported(path +
                        ": model normalises text (whitespace removal, or spaces behind words); " +
                        "use a tokenizer trained without normalisation");
    }
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<AddedToken> control_;  // that are not in processor_
  AddedTokenMatcher user_defined_;
  std::array<TokenId, 256> byte_ids_;  // the byte token of each byte
};

}  // namespace

std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& model_path,
                                             const std::vector<AddedPiece>& added) {
  return MakeSentencePiece(ReadFile(model_path), model_path, added);
}

std::unique_ptr<Tokenizer> MakeSentencePiece(const std::string& serialized,
                                             const std::string& where,
                                             const std::vector<AddedPiece>& added) {
  return std::make_unique<SentencePieceTokenizer>(serialized, where, added);
}

}  // namespace tern
