// A grammar over tokens: what may follow in one text, for the sampler and for drafts.
#ifndef TERN_ENGINE_TOKEN_GRAMMAR_H_
#define TERN_ENGINE_TOKEN_GRAMMAR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/grammar.h"
#include "engine/grammar_matcher.h"
#include "engine/token_mask.h"
#include "engine/token_tree.h"
#include "engine/token_trie.h"

namespace tern {

// What texts of one grammar share. Thread-safe.
class TokenGrammar {
 public:
  // `grammar` is finished.
  TokenGrammar(Grammar grammar, std::shared_ptr<const TokenTrie> trie)
      : grammar_(std::move(grammar)), trie_(std::move(trie)) {}
  const Grammar& grammar() const { return grammar_; }
  const TokenTrie& trie() const { return *trie_; }

  // What is possible from `state` on within its rule, whatever is around it (a character of a
  // string, for instance: most of a vocabulary).
  struct Within {
    TokenMask tokens;            // that end before the rule does
    std::vector<int32_t> exits;  // nodes of the trie at which the rule may have ended
  };
  // Found on first use. REQUIRES GrammarMatcher::InnerOf to have named the state.
  std::shared_ptr<const Within> WithinOf(Grammar::State state) const;

 private:
  const Grammar grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  mutable std::mutex mutex_;  // of what follows
  mutable std::map<Grammar::State, std::shared_ptr<const Within>> within_;
};

// The grammar of one text as it grows. Everything it says depends on the grammar and the tokens so
// far only. Not thread-safe.
class GrammarText {
 public:
  explicit GrammarText(std::shared_ptr<const TokenGrammar> grammar);

  // The tokens that may come next: end-of-sequence tokens where the text may end, and others of
  // which the grammar allows every byte. Lives until the next Append. Where a grammar is made to be
  // expensive, tokens of several bytes may be missing.
  const TokenMask& Allowed();
  int32_t AllowedCount();
  void Append(TokenId token);
  // The text is whole, and nothing but an end-of-sequence token may follow.
  bool complete() const { return !stuck_ && matcher_.MayEnd(place_) && !matcher_.MayGoOn(place_); }
  // Nothing may come next: of grammars that can be read in too many ways at once only.
  bool stuck() { return stuck_ || AllowedCount() == 0; }

  // Takes out the nodes that the grammar forbids, and what is below them.
  void Prune(DraftTree& tree);

 private:
  using Place = GrammarMatcher::Place;
  struct Choice {
    TokenMask mask;
    int32_t count = 0;
  };
  const Choice& ChoiceAt(Place place);

  const std::shared_ptr<const TokenGrammar> grammar_;
  GrammarMatcher matcher_;
  Place place_;
  bool stuck_ = false;
  std::unordered_map<Place, Choice> choices_;
  std::vector<Place> node_places_;  // of a draft tree
  std::vector<int32_t> renamed_;
  DraftTree pruned_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_GRAMMAR_H_
