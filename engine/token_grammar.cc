#include "engine/token_grammar.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace tern {
namespace {

using Place = GrammarMatcher::Place;

// What a matcher may remember, and the masks of a text.
constexpr size_t kMostRemembered = 100'000, kMostChoices = 128;
// States whose inside is remembered for all texts of a grammar.
constexpr size_t kMostWithin = 64;
// Nodes of the trie, each times the readings of its bytes, that one choice may look at: some
// hundred times a plain string's.
constexpr size_t kMostWork = 20'000'000;

// Follows the trie's nodes [begin, end), which are all below one node of `depth` bytes that led to
// `from`. visit(node, place) is told of every node that the grammar allows and says whether to go
// below.
template <class Visit>
void Walk(const TokenTrie& trie, GrammarMatcher& matcher, size_t begin, size_t end, size_t depth,
          Place from, size_t& work, const Visit& visit) {
  std::vector<Place> path(trie.longest() + 1, GrammarMatcher::kDead);  // [bytes] of this branch
  path[depth] = from;
  const auto nodes = trie.nodes();
  for (size_t i = begin; i < end;) {
    const TokenTrie::Node& node = nodes[i];
    const Place above = path[node.depth - 1u];
    work += matcher.Readings(above) + 1;
    const bool affordable = work < kMostWork || node.depth == 1;
    const Place place = affordable ? matcher.Next(above, node.byte) : GrammarMatcher::kDead;
    path[node.depth] = place;
    const bool below = place != GrammarMatcher::kDead && visit(i, place);
    i = below ? i + 1 : static_cast<size_t>(node.end);
  }
}

void AddTokens(const TokenTrie& trie, size_t node, TokenMask& mask) {
  for (const TokenId token : trie.TokensOf(trie.nodes()[node])) mask.Add(token);
}

using Within = TokenGrammar::Within;

// Notes what the grammar allows at a node of the trie; whether to go below.
auto Noting(const TokenTrie& trie, const GrammarMatcher& matcher, Within& within) {
  return [&trie, &matcher, &within](size_t node, Place place) {
    if (matcher.MayEnd(place)) within.exits.push_back(static_cast<int32_t>(node));
    if (!matcher.MayGoOn(place)) return false;
    AddTokens(trie, node, within.tokens);
    return true;
  };
}

Within WithinAll(const Grammar& grammar, const TokenTrie& trie, Grammar::State state) {
  Within within{TokenMask(trie.vocab_size()), {}};
  GrammarMatcher matcher(grammar);
  size_t work = 0;
  Walk(trie, matcher, 0, trie.nodes().size(), 0, matcher.Alone(state), work,
       Noting(trie, matcher, within));
  return within;
}

// The same of a state that is like another one for `room` bytes: `like` has what is no longer.
Within WithinBeyond(const Grammar& grammar, const TokenTrie& trie, Grammar::State state,
                    const Within& like, size_t room) {
  Within within{TokenMask(trie.vocab_size()), {}};
  GrammarMatcher matcher(grammar);
  const Place start = matcher.Alone(state);
  const auto nodes = trie.nodes();
  std::string path(trie.longest(), '\0');
  size_t work = 0;
  auto exit = like.exits.begin();
  const auto note = Noting(trie, matcher, within);
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    path[node.depth - 1u] = static_cast<char>(node.byte);
    for (const TokenId token : trie.TokensOf(node)) {
      if (like.tokens.Has(token)) within.tokens.Add(token);
    }
    while (exit != like.exits.end() && static_cast<size_t>(*exit) < i) ++exit;
    if (exit != like.exits.end() && static_cast<size_t>(*exit) == i) within.exits.push_back(*exit);
    const auto end = static_cast<size_t>(node.end);
    const bool deeper = node.depth == room && end > i + 1;
    if (deeper) {
      const Place place = matcher.Next(start, std::string_view(path).substr(0, room));
      if (place != GrammarMatcher::kDead) Walk(trie, matcher, i + 1, end, room, place, work, note);
    }
    i = deeper ? end : i + 1;
  }
  return within;
}

}  // namespace

std::shared_ptr<const TokenGrammar::Within> TokenGrammar::WithinOf(Grammar::State state) const {
  const Grammar::Node& node = grammar_[state];
  const auto room = static_cast<size_t>(node.room);
  std::shared_ptr<const Within> like;
  if (node.like >= 0 && room > 0) {
    like = WithinOf(node.like);
    if (room >= trie_->longest()) return like;
  }
  const std::lock_guard lock(mutex_);
  if (const auto found = within_.find(state); found != within_.end()) return found->second;
  auto within =
      std::make_shared<const Within>(like ? WithinBeyond(grammar_, *trie_, state, *like, room)
                                          : WithinAll(grammar_, *trie_, state));
  if (within_.size() >= kMostWithin) within_.clear();
  return within_[state] = within;
}

GrammarText::GrammarText(std::shared_ptr<const TokenGrammar> grammar)
    : grammar_(std::move(grammar)), matcher_(grammar_->grammar()), place_(matcher_.start()) {}

const TokenMask& GrammarText::Allowed() { return ChoiceAt(place_).mask; }
int32_t GrammarText::AllowedCount() { return ChoiceAt(place_).count; }

const GrammarText::Choice& GrammarText::ChoiceAt(Place place) {
  if (const auto found = choices_.find(place); found != choices_.end()) return found->second;
  const TokenTrie& trie = grammar_->trie();
  TokenMask mask(trie.vocab_size());
  size_t work = 0;
  const auto add = [&](size_t node, Place) {
    AddTokens(trie, node, mask);
    return true;
  };
  if (const auto inner = matcher_.InnerOf(place)) {
    const std::shared_ptr<const TokenGrammar::Within> within = grammar_->WithinOf(inner->state);
    mask.AddAll(within->tokens);
    for (const int32_t exit : within->exits) {
      if (inner->behind == GrammarMatcher::kDead) break;
      const auto at = static_cast<size_t>(exit);
      const TokenTrie::Node& node = trie.nodes()[at];
      AddTokens(trie, at, mask);
      Walk(trie, matcher_, at + 1, static_cast<size_t>(node.end), node.depth, inner->behind, work,
           add);
    }
  } else {
    Walk(trie, matcher_, 0, trie.nodes().size(), 0, place, work, add);
  }
  if (matcher_.MayEnd(place)) {
    for (const TokenId token : trie.eos()) mask.Add(token);
  }
  const int32_t count = mask.Count();
  return choices_[place] = {std::move(mask), count};
}

void GrammarText::Append(TokenId token) {
  const TokenTrie& trie = grammar_->trie();
  if (trie.IsEos(token)) return;
  const Place next = matcher_.Next(place_, trie.Bytes(token));
  stuck_ = stuck_ || next == GrammarMatcher::kDead;
  if (stuck_) return;
  place_ = next;
  if (matcher_.size() > kMostRemembered) {
    choices_.clear();
    place_ = matcher_.ForgetOthers(place_);
  }
  if (choices_.size() > kMostChoices) choices_.clear();
}

void GrammarText::Prune(DraftTree& tree) {
  const TokenTrie& trie = grammar_->trie();
  if (pruned_.capacity() != tree.capacity()) pruned_ = DraftTree(tree.capacity());
  pruned_.Clear();
  node_places_.clear();
  renamed_.clear();
  for (const DraftNode& node : tree.nodes()) {
    const auto parent = static_cast<size_t>(std::max(node.parent, 0));
    const Place above = node.parent < 0 ? place_ : node_places_[parent];
    const std::string_view bytes = trie.Bytes(node.token);
    Place place = GrammarMatcher::kDead;
    bool ends = false;
    if (above != GrammarMatcher::kDead) {
      ends = trie.IsEos(node.token) && matcher_.MayEnd(above);
      if (!trie.IsEos(node.token) && !bytes.empty()) place = matcher_.Next(above, bytes);
    }
    node_places_.push_back(place);
    const bool keep = ends || place != GrammarMatcher::kDead;
    const int32_t new_parent = node.parent < 0 ? -1 : renamed_[parent];
    renamed_.push_back(keep ? pruned_.AddCopy(new_parent, node) : -1);
  }
  std::swap(tree, pruned_);
}

}  // namespace tern
