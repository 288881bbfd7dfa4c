// What a text may look like, byte by byte: a push-down automaton as data. GrammarMatcher runs it.
#ifndef TERN_ENGINE_GRAMMAR_H_
#define TERN_ENGINE_GRAMMAR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tern {

// Rules that call each other, each an automaton whose states have edges that take a byte, take
// nothing, or call a rule and go on behind it. A rule is named by its first state; it ends in any
// of its final states. Two rules may share states. Immutable and thread-safe once finished.
class Grammar {
 public:
  using State = int32_t;
  struct ByteEdge {
    uint8_t low, high;  // inclusive
    State target;
  };
  struct CallEdge {
    State rule, target;
  };
  struct Node {
    std::vector<ByteEdge> bytes;
    std::vector<State> empty;
    std::vector<CallEdge> calls;
    bool final = false;
    // How deep calls must nest at least until the rule can end from here; kNever: it cannot.
    int32_t need = kNever;
    // From here to the rule's end, only rules that call none themselves are called.
    bool shallow = false;
    // Texts of up to `room` bytes do the same from here as from the state `like`, if there is one.
    State like = -1;
    int32_t room = 0;
    // Final and nothing else: a call with this target need not be returned from.
    bool only_ends() const { return final && bytes.empty() && empty.empty() && calls.empty(); }
  };
  static constexpr int32_t kNever = 1 << 20;
  // Calls that nest deeper are refused: this bounds the stacks, and the nesting of JSON.
  static constexpr int32_t kMostDepth = 64;
  static constexpr size_t kMostStates = 65536;

  // --- Building. ---
  // Throws Error(kInvalidArgument) where there would be more than kMostStates.
  State Add();
  void Bytes(State from, uint8_t low, uint8_t high, State to) {
    At(from).bytes.push_back({low, high, to});
  }
  // Throws likewise: states and loops go by the lengths and counts of a schema.
  static void RequireCount(int64_t count);
  // Adds the states between.
  void Text(State from, std::string_view text, State to);
  void Empty(State from, State to) { At(from).empty.push_back(to); }
  void Call(State from, State rule, State to) { At(from).calls.push_back({rule, to}); }
  void End(State state) { At(state).final = true; }
  // Says so; REQUIRES it to be true. What was found out of the one is then known of the other.
  void Alike(State state, State like, int64_t room) {
    At(state).like = like;
    At(state).room = static_cast<int32_t>(std::min<int64_t>(room, kMostStates));
  }
  // A text is what the rule `start` takes. Throws Error(kInvalidArgument) where there is none that
  // nests less than kMostDepth.
  void Finish(State start);

  // --- Reading. ---
  State start() const { return start_; }
  const Node& operator[](State state) const { return nodes_[static_cast<size_t>(state)]; }
  size_t size() const { return nodes_.size(); }

 private:
  Node& At(State state) { return nodes_[static_cast<size_t>(state)]; }
  void FindNeeds();
  void FindShallow();

  std::vector<Node> nodes_;
  State start_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_GRAMMAR_H_
