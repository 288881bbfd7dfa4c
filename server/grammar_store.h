// The grammars that requests ask for, made of their schemas; those of late are kept.
#ifndef TERN_SERVER_GRAMMAR_STORE_H_
#define TERN_SERVER_GRAMMAR_STORE_H_

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/config.h"
#include "engine/token_grammar.h"
#include "engine/tokenizer.h"
#include "server/api_types.h"

namespace tern {

// Thread-safe.
class GrammarStore {
 public:
  // Both outlive this.
  GrammarStore(const ModelConfig& config, const Tokenizer& tokenizer)
      : config_(config), tokenizer_(tokenizer) {}

  // Null where any text will do. Throws RequestError (400) naming the field where the schema, or
  // the model's tokenizer, cannot be followed.
  std::shared_ptr<const TokenGrammar> Get(const OutputFormat& output, const ToolRequest& tools);

 private:
  using Entry = std::pair<std::string, std::shared_ptr<const TokenGrammar>>;
  std::shared_ptr<const TokenTrie> Trie();

  const ModelConfig& config_;
  const Tokenizer& tokenizer_;
  std::mutex mutex_;                       // of what follows
  std::shared_ptr<const TokenTrie> trie_;  // made for the first request
  std::deque<Entry> entries_;              // by key, the latest first
};

}  // namespace tern

#endif  // TERN_SERVER_GRAMMAR_STORE_H_
