#include "engine/tokenizer_json_reader.h"

#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/piece_table.h"

namespace tern {
namespace {

using nlohmann::json;
using Behaviour = SplitStage::Behaviour;

constexpr const char* kFetchAgain = "fetch the tokenizer's files again";

Error Bad(const std::string& where, const std::string& what, const std::string& expected,
          const json& got) {
  std::string text = got.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return BadFile({where, what, expected, text, kFetchAgain});
}

Error CannotRun(const std::string& where, const std::string& what) {
  return Unsupported(where + ": " + what + " is not known to this version; use a sentencepiece " +
                     "tokenizer.model or a GGUF file of the model where there is one");
}

json ReadObject(const std::string& path, const std::string& text) {
  json object = ParseJson<json>(text);
  if (!object.is_object()) throw Bad(path, "content", "a JSON object", object);
  return object;
}

json ReadObjectIfAny(const std::string& path, const std::string& text) {
  return text.empty() ? json::object() : ReadObject(path, text);
}

// Typed members of an object. A missing one is the default; of another type it is an error.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw Bad(where_, "content", "an object", object);
  }
  const std::string& where() const { return where_; }

  const json& Any(const char* name) const {
    static const json none;
    const auto found = object_.find(name);
    return found == object_.end() ? none : *found;
  }
  std::string Text(const char* name) const {
    const json& value = Any(name);
    if (value.is_null()) return "";
    if (!value.is_string()) throw Bad(where_, name, "a string", value);
    return value.get<std::string>();
  }
  bool Flag(const char* name, bool otherwise) const {
    const json& value = Any(name);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) throw Bad(where_, name, "true or false", value);
    return value.get<bool>();
  }
  const json& List(const char* name) const {
    const json& value = Any(name);
    if (!value.is_array()) throw Bad(where_, name, "a list", value);
    return value;
  }
  // A special token is written as its text or as an object with its content.
  std::string Special(const char* name) const {
    const json& value = Any(name);
    return value.is_object() ? Fields(value, where_ + ": " + name).Text("content") : Text(name);
  }

 private:
  const json& object_;
  std::string where_;
};

TokenId ToId(const std::string& where, const std::string& what, const json& value) {
  constexpr int64_t kMost = std::numeric_limits<TokenId>::max() - 1;
  const bool fits = value.is_number_integer() && value >= 0 && value <= kMost;
  if (!fits) throw Bad(where, what, "a token's id", value);
  return value.get<TokenId>();
}

std::string EscapeRegex(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    const bool ascii = static_cast<uint8_t>(c) < 0x80;
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    if (ascii && !word) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// A reader of one tokenizer.json.
class Reader {
 public:
  explicit Reader(const TokenizerFiles& files)
      : path_(files.dir + "/tokenizer.json"),
        file_(ReadObject(path_, files.tokenizer_json)),
        config_path_(files.dir + "/tokenizer_config.json"),
        config_(ReadObjectIfAny(config_path_, files.tokenizer_config)) {}

  BpeVocabulary Read() {
    out_.where = path_;
    const Fields top(file_, path_), model(top.Any("model"), path_ + ": model");
    const std::string type = model.Text("type");  // old files have none
    if (type != "BPE" && !(type.empty() && model.Any("merges").is_array())) {
      throw CannotRun(path_, "model type \"" + type + "\"");
    }
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!model.Text(name).empty()) throw CannotRun(path_, name);
    }
    const bool fallback = model.Flag("byte_fallback", false);
    if (fallback) out_.spelling = BpeVocabulary::Spelling::kSpaceMarks;
    out_.ignore_merges = model.Flag("ignore_merges", false);
    ReadVocab(model);
    ReadAdded(top);
    ReadMerges(model);
    ReadNormalizer(top.Any("normalizer"));
    ReadPreTokenizer(top.Any("pre_tokenizer"));
    if (!fallback && !byte_level_) {
      throw CannotRun(path_, "BPE that is neither byte-level nor has byte_fallback");
    }
    ReadEnds(top);
    return std::move(out_);
  }

 private:
  void Put(TokenId id, const std::string& text, TokenType type) {
    const auto at = static_cast<size_t>(id);
    // Ids may have holes, but not so many that a wrong id takes the machine's memory.
    if (at >= 2 * entries_ + 65536) {
      throw Bad(path_, "id of \"" + text + "\"", "one near the others", id);
    }
    if (at >= out_.tokens.size()) {
      out_.tokens.resize(at + 1);
      out_.types.resize(at + 1, TokenType::kUnused);
    }
    out_.tokens[at] = text;
    out_.types[at] = type;
    ids_[text] = id;
  }

  void ReadVocab(const Fields& model) {
    const json& vocab = model.Any("vocab");
    if (!vocab.is_object()) throw Bad(model.where(), "vocab", "an object", vocab);
    entries_ = vocab.size();
    const bool fallback = out_.spelling == BpeVocabulary::Spelling::kSpaceMarks;
    for (const auto& [text, value] : vocab.items()) {
      const bool byte = fallback && text.size() == 6 && text.starts_with("<0x");
      Put(ToId(model.where(), text, value), text, byte ? TokenType::kByte : TokenType::kNormal);
    }
    const std::string unknown = model.Text("unk_token");
    const auto found = ids_.find(unknown);
    if (found != ids_.end() && fallback) {
      out_.types[static_cast<size_t>(found->second)] = TokenType::kUnknown;
    }
  }

  void ReadAdded(const Fields& top) {
    if (top.Any("added_tokens").is_null()) return;
    const json& list = top.List("added_tokens");
    entries_ += list.size();
    for (const json& item : list) {
      const Fields token(item, path_ + ": added_tokens");
      const bool special = token.Flag("special", false);
      const bool strips = token.Flag("lstrip", false) || token.Flag("rstrip", false) ||
                          token.Flag("single_word", false);
      // A template writes its control tokens where it wants them; in text these flags would count.
      if (strips && !special) {
        throw CannotRun(path_, "added token \"" + token.Text("content") +
                                   "\" with lstrip, rstrip or single_word");
      }
      const TokenId id = ToId(token.where(), "id", token.Any("id"));
      const auto at = static_cast<size_t>(id);
      const bool unknown = at < out_.types.size() && out_.types[at] == TokenType::kUnknown;
      TokenType type = special ? TokenType::kControl : TokenType::kUserDefined;
      if (unknown && special) type = TokenType::kUnknown;
      Put(id, token.Text("content"), type);
    }
  }

  void ReadMerges(const Fields& model) {
    for (const json& merge : model.List("merges")) {
      if (merge.is_string()) {
        out_.merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        out_.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      } else {
        throw Bad(model.where(), "merges", "pairs of tokens", merge);
      }
    }
  }

  void ReadNormalizer(const json& value) {
    if (value.is_null()) return;
    const Fields fields(value, path_ + ": normalizer");
    const std::string type = fields.Text("type");
    const bool marks = out_.spelling == BpeVocabulary::Spelling::kSpaceMarks;
    if (type == "Sequence") {
      for (const json& item : fields.List("normalizers")) ReadNormalizer(item);
    } else if (type == "NFC") {
      out_.nfc = true;
    } else if (type == "Prepend" && marks && fields.Text("prepend") == kSpaceMark) {
      out_.prefix = BpeVocabulary::Prefix::kSpace;
    } else if (type == "Replace" && marks && fields.Text("content") == kSpaceMark &&
               fields.Any("pattern") == json{{"String", " "}}) {
      // The spelling says it already.
    } else {
      throw CannotRun(path_, "normalizer " + value.dump().substr(0, 80));
    }
  }

  Behaviour ReadBehaviour(const std::string& name) const {
    static const std::map<std::string, Behaviour> kNames = {
        {"Isolated", Behaviour::kIsolated},
        {"MergedWithPrevious", Behaviour::kMergedWithPrevious},
        {"MergedWithNext", Behaviour::kMergedWithNext},
        {"Contiguous", Behaviour::kContiguous}};
    const auto found = kNames.find(name.empty() ? "Isolated" : name);
    if (found == kNames.end()) throw CannotRun(path_, "split behavior \"" + name + "\"");
    return found->second;
  }

  std::string ReadPattern(const Fields& split) const {
    const Fields pattern(split.Any("pattern"), split.where() + ": pattern");
    const std::string regex = pattern.Text("Regex");
    return regex.empty() ? EscapeRegex(pattern.Text("String")) : regex;
  }

  void ReadPreTokenizer(const json& value) {
    if (value.is_null()) return;
    const Fields fields(value, path_ + ": pre_tokenizer");
    const std::string type = fields.Text("type");
    const auto add = [&](std::string pattern, Behaviour behaviour, bool invert = false) {
      out_.stages.push_back({std::move(pattern), behaviour, invert, byte_level_});
    };
    if (type == "Sequence") {
      for (const json& item : fields.List("pretokenizers")) ReadPreTokenizer(item);
    } else if (type == "Split") {
      add(ReadPattern(fields), ReadBehaviour(fields.Text("behavior")),
          fields.Flag("invert", false));
    } else if (type == "Digits") {
      const bool each = fields.Flag("individual_digits", false);
      add("\\p{N}", each ? Behaviour::kIsolated : Behaviour::kContiguous);
    } else if (type == "Punctuation") {
      add(kPunctuationPattern, ReadBehaviour(fields.Text("behavior")));
    } else if (type == "ByteLevel") {
      if (fields.Flag("add_prefix_space", true)) throw CannotRun(path_, "add_prefix_space");
      if (fields.Flag("use_regex", true)) add(kGpt2Pattern, Behaviour::kIsolated);
      byte_level_ = true;
    } else if (type == "Metaspace" && out_.spelling == BpeVocabulary::Spelling::kSpaceMarks) {
      ReadMetaspace(fields);
    } else {
      throw CannotRun(path_, "pre-tokenizer \"" + type + "\"");
    }
  }

  void ReadMetaspace(const Fields& fields) {
    if (fields.Text("replacement") != kSpaceMark) throw CannotRun(path_, "Metaspace replacement");
    const std::string scheme = fields.Text("prepend_scheme");
    const bool prefix = scheme.empty() ? fields.Flag("add_prefix_space", true) : scheme != "never";
    if (prefix) out_.prefix = BpeVocabulary::Prefix::kSpaceIfMissing;
    if (fields.Flag("split", true)) {
      out_.stages.push_back({" ", Behaviour::kMergedWithNext, false, false});
    }
  }

  void ReadEnds(const Fields& top) {
    const Fields config(config_, config_path_);
    const auto id_of = [&](const char* name) {
      const auto found = ids_.find(config.Special(name));
      return found == ids_.end() ? TokenId{-1} : found->second;
    };
    out_.eos = id_of("eos_token");
    ReadPostProcessor(top.Any("post_processor"));
    // The classes that write the post-processor anew, by this flag.
    const std::string type = config.Text("tokenizer_class");
    if ((type.starts_with("Llama") || type.starts_with("Gemma")) &&
        config.Any("add_bos_token").is_boolean()) {
      out_.bos = config.Flag("add_bos_token", false) ? id_of("bos_token") : -1;
    }
  }

  // What stands before the text in a post-processor's template.
  void ReadPostProcessor(const json& value) {
    if (value.is_null()) return;
    const Fields fields(value, path_ + ": post_processor");
    const std::string type = fields.Text("type");
    if (type == "ByteLevel") return;
    if (type == "Sequence") {
      for (const json& item : fields.List("processors")) ReadPostProcessor(item);
      return;
    }
    if (type != "TemplateProcessing") throw CannotRun(path_, "post-processor \"" + type + "\"");
    const json& single = fields.List("single");
    if (single.empty() || !single[0].is_object() || !single[0].contains("SpecialToken")) return;
    const Fields special(single[0]["SpecialToken"], fields.where() + ": SpecialToken");
    const auto found = ids_.find(special.Text("id"));
    if (found == ids_.end()) throw Bad(fields.where(), "SpecialToken", "a token", single[0]);
    out_.bos = found->second;
  }

  std::string path_;
  json file_;
  std::string config_path_;
  json config_;
  BpeVocabulary out_;
  std::map<std::string, TokenId> ids_;
  size_t entries_ = 0;  // of the vocabulary and the added tokens
  bool byte_level_ = false;
};

AddedPiece ToPiece(const std::string& where, TokenId id, const json& value) {
  const Fields token(value, where);
  return {{token.Text("content"), id, token.Flag("lstrip", false), token.Flag("rstrip", false)},
          token.Flag("special", false)};
}

}  // namespace

TokenizerFiles ReadTokenizerFiles(const std::string& dir) {
  const auto content = [&](const char* name) { return ReadFileIfThere(dir + "/" + name); };
  return {dir, content("tokenizer.json"), content("tokenizer_config.json"),
          content("added_tokens.json")};
}

BpeVocabulary ReadTokenizerJson(const TokenizerFiles& files) { return Reader(files).Read(); }

std::unique_ptr<Tokenizer> MakeJsonTokenizer(const TokenizerFiles& files) {
  return MakeBpeTokenizer(ReadTokenizerJson(files));
}

std::vector<AddedPiece> AddedPieces(const TokenizerFiles& files) {
  std::vector<AddedPiece> pieces;
  const std::string config_path = files.dir + "/tokenizer_config.json";
  const json config = ReadObjectIfAny(config_path, files.tokenizer_config);
  if (const auto decoder = config.find("added_tokens_decoder"); decoder != config.end()) {
    const std::string where = config_path + ": added_tokens_decoder";
    if (!decoder->is_object()) throw Bad(where, "content", "an object", *decoder);
    for (const auto& [key, value] : decoder->items()) {
      pieces.push_back(ToPiece(where, ToId(where, key, json::parse(key, nullptr, false)), value));
    }
    return pieces;
  }
  const std::string json_path = files.dir + "/tokenizer.json";
  if (!files.tokenizer_json.empty()) {
    const json file = ReadObject(json_path, files.tokenizer_json);
    const Fields top(file, json_path);
    if (top.Any("added_tokens").is_null()) return pieces;
    for (const json& item : top.List("added_tokens")) {
      const json id = item.is_object() ? item.value("id", json()) : json();
      pieces.push_back(ToPiece(json_path, ToId(json_path, "added_tokens: id", id), item));
    }
    return pieces;
  }
  const std::string added_path = files.dir + "/added_tokens.json";
  const json added = ReadObjectIfAny(added_path, files.added_tokens);
  for (const auto& [text, id] : added.items()) {
    pieces.push_back({{text, ToId(added_path, text, id)}, true});
  }
  return pieces;
}

}  // namespace tern
