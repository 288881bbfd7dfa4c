#include "engine/sentencepiece_proto.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "engine/error.h"

namespace tern {
namespace {

// Numbers of fields in sentencepiece_model.proto.
enum ModelField : uint32_t { kPieces = 1, kTrainer = 2, kNormalizer = 3 };
enum PieceField : uint32_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : uint32_t {
  kModelType = 3,
  kByteFallback = 35,
  kUnkPiece = 45,
  kBosPiece = 46,
  kEosPiece = 47,
};
enum NormalizerField : uint32_t { kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4 };
constexpr uint64_t kUnigram = 1, kBpe = 2;

struct WireField {
  uint32_t number = 0;
  uint64_t value = 0;      // of varints and fixed-size numbers
  std::string_view bytes;  // of strings and messages
};

// The fields of one message.
class WireReader {
 public:
  WireReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::optional<WireField> Next() {
    if (bytes_.empty()) return std::nullopt;
    const uint64_t key = Varint();
    WireField field{static_cast<uint32_t>(key >> 3), 0, {}};
    switch (key & 7) {
      case 0:
        field.value = Varint();
        break;
      case 1:
        std::memcpy(&field.value, Take(8).data(), 8);
        break;
      case 2:
        field.bytes = Take(Varint());
        break;
      case 5:
        std::memcpy(&field.value, Take(4).data(), 4);
        break;
      default:
        throw Bad("wire type " + std::to_string(key & 7));
    }
    return field;
  }

 private:
  Error Bad(const std::string& got) const {
    return BadFile({where_, "content", "a sentencepiece model", got, "fetch the file again"});
  }
  std::string_view Take(uint64_t count) {
    if (count > bytes_.size()) throw Bad("a field that leaves the file");
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(Take(1)[0]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    throw Bad("a number of more than 64 bits");
  }

  std::string_view bytes_;
  const std::string& where_;
};

SentencePieceModel::Piece ParsePiece(std::string_view bytes, const std::string& where) {
  SentencePieceModel::Piece piece;
  WireReader reader(bytes, where);
  while (const auto field = reader.Next()) {
    if (field->number == kText) piece.text = field->bytes;
    if (field->number == kScore) piece.score = std::bit_cast<float>(uint32_t(field->value));
    if (field->number != kType) continue;
    if (field->value < 1 || field->value > 6) {
      throw BadFile({where, "type of piece \"" + piece.text + "\"", "1 to 6",
                     std::to_string(field->value), "fetch the file again"});
    }
    piece.type = static_cast<TokenType>(field->value);
  }
  return piece;
}

class WireWriter {
 public:
  void Number(uint32_t field, uint64_t value) {
    Varint(field << 3);
    Varint(value);
  }
  void Float(uint32_t field, float value) {
    Varint(field << 3 | 5);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Bytes(uint32_t field, std::string_view value) {
    Varint(field << 3 | 2);
    Varint(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

}  // namespace

SentencePieceModel ParseSentencePieceModel(std::string_view serialized, const std::string& where) {
  SentencePieceModel model;
  WireReader reader(serialized, where);
  while (const auto field = reader.Next()) {
    if (field->number == kPieces) model.pieces.push_back(ParsePiece(field->bytes, where));
    if (field->number == kTrainer) {
      WireReader trainer(field->bytes, where);
      while (const auto part = trainer.Next()) {
        if (part->number == kModelType) {
          if (part->value != kUnigram && part->value != kBpe) {
            throw Unsupported(where + ": sentencepiece model type " + std::to_string(part->value) +
                              ", expected unigram (1) or BPE (2)");
          }
          model.bpe = part->value == kBpe;
        }
        if (part->number == kUnkPiece) model.unk = part->bytes;
        if (part->number == kBosPiece) model.bos = part->bytes;
        if (part->number == kEosPiece) model.eos = part->bytes;
      }
    }
    if (field->number == kNormalizer) {
      WireReader normalizer(field->bytes, where);
      while (const auto part = normalizer.Next()) {
        if (part->number == kAddDummyPrefix) model.space_prefix = part->value != 0;
      }
    }
  }
  return model;
}

std::string SerializeSentencePieceModel(const SentencePieceModel& model) {
  WireWriter out, trainer, normalizer;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    WireWriter entry;
    entry.Bytes(kText, piece.text);
    entry.Float(kScore, piece.score);
    entry.Number(kType, static_cast<uint64_t>(piece.type));
    out.Bytes(kPieces, entry.bytes());
  }
  const bool has_bytes = std::any_of(model.pieces.begin(), model.pieces.end(),
                                     [](const auto& p) { return p.type == TokenType::kByte; });
  trainer.Number(kModelType, model.bpe ? kBpe : kUnigram);
  trainer.Number(kByteFallback, has_bytes ? 1 : 0);
  trainer.Bytes(kUnkPiece, model.unk);
  trainer.Bytes(kBosPiece, model.bos);
  trainer.Bytes(kEosPiece, model.eos);
  normalizer.Number(kAddDummyPrefix, model.space_prefix ? 1 : 0);
  normalizer.Number(kRemoveExtraWhitespaces, 0);
  out.Bytes(kTrainer, trainer.bytes());
  out.Bytes(kNormalizer, normalizer.bytes());
  return out.bytes();
}

}  // namespace tern
