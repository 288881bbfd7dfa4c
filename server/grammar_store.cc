#include "server/grammar_store.h"

#include <algorithm>
#include <functional>

#include "engine/error.h"
#include "engine/generation.h"
#include "engine/json_schema.h"
#include "engine/tool_calls.h"

namespace tern {
namespace {

constexpr size_t kMostEntries = 16;
// What a grammar is made of, and which field is to blame where it cannot be.
struct Recipe {
  std::string key, field;
  std::function<Grammar()> make;
};

Recipe RecipeOf(const OutputFormat& output, const ToolRequest& tools) {
  if (output.kind == OutputFormat::Kind::kJsonObject)
    return {"object", "response_format", JsonObjectGrammar};
  if (output.kind == OutputFormat::Kind::kJsonSchema) {
    return {"schema " + output.schema, "response_format.json_schema.schema",
            [&output] { return JsonSchemaGrammar(output.schema); }};
  }
  std::string key = tools.several ? "calls" : "call";
  for (const ToolSignature& tool : tools.callable) key += " " + tool.name + " " + tool.parameters;
  return {key, "tools",
          [&tools] { return ToolCallGrammar(tools.form, tools.callable, tools.several); }};
}

}  // namespace

std::shared_ptr<const TokenTrie> GrammarStore::Trie() {
  const std::lock_guard lock(mutex_);
  if (trie_) return trie_;
  try {
    trie_ =
        std::make_shared<TokenTrie>(tokenizer_, EosTokens(config_, tokenizer_), config_.vocab_size);
  } catch (const Error& error) {
    throw UnsupportedField("response_format", error.what());
  }
  return trie_;
}

std::shared_ptr<const TokenGrammar> GrammarStore::Get(const OutputFormat& output,
                                                      const ToolRequest& tools) {
  const bool calls = tools.choice == ToolRequest::Choice::kRequired;
  if (output.kind == OutputFormat::Kind::kText && !calls) return nullptr;
  const Recipe recipe = RecipeOf(output, tools);
  const std::shared_ptr<const TokenTrie> trie = Trie();
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(entries_, recipe.key, &Entry::first);
    if (found != entries_.end()) return found->second;
  }
  std::shared_ptr<const TokenGrammar> made;
  try {
    made = std::make_shared<TokenGrammar>(recipe.make(), trie);
  } catch (const Error& error) {
    throw UnsupportedField(recipe.field, recipe.field + ": " + error.what());
  }
  const std::lock_guard lock(mutex_);
  entries_.emplace_front(recipe.key, made);
  if (entries_.size() > kMostEntries) entries_.pop_back();
  return made;
}

}  // namespace tern
