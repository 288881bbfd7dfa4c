// Runs a grammar over bytes: which may come next, and whether the text may end.
#ifndef TERN_ENGINE_GRAMMAR_MATCHER_H_
#define TERN_ENGINE_GRAMMAR_MATCHER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/grammar.h"

namespace tern {

// Finds the automaton of a grammar as texts need it and remembers it: a place is the set of stacks
// that the bytes so far can have led to. What a place allows depends on those bytes only. Not
// thread-safe.
class GrammarMatcher {
 public:
  using Place = int32_t;
  static constexpr Place kDead = -1;  // no text begins so
  // Bytes that can be read in more ways than this at once are refused: this bounds a byte's work.
  static constexpr size_t kMostReadings = 512;

  // `grammar` is finished and outlives this.
  explicit GrammarMatcher(const Grammar& grammar);

  Place start() const { return start_; }
  Place Next(Place place, uint8_t byte);
  Place Next(Place place, std::string_view bytes);
  bool MayEnd(Place place) const { return Of(place).may_end; }
  // Whether any byte may follow. Every place that is not dead may end or go on.
  bool MayGoOn(Place place) const { return !Of(place).stacks.empty(); }
  size_t Readings(Place place) const { return Of(place).stacks.size(); }

  // Where a place is one state, of a part of a rule whose calls are shallow, and not near the limit
  // of depth: then what is possible within the rule depends on the state alone.
  struct Inner {
    Grammar::State state;
    Place behind;  // where the rule has ended
  };
  std::optional<Inner> InnerOf(Place place);
  // The same state without anything around it: there the end of the rule is the text's.
  Place Alone(Grammar::State state);

  // Forgets all places but `keep`, and returns its new number.
  Place ForgetOthers(Place keep);
  // What it remembers: places and frames.
  size_t size() const { return places_.size() + frames_.size(); }

 private:
  // A state, and the frame it returns to: the one whose rule called its own; -1: the text's end.
  struct Frame {
    Grammar::State state;
    int32_t parent;
    int32_t depth;
  };
  struct PlaceOf {
    std::vector<int32_t> stacks;  // their topmost frames, ascending
    bool may_end = false;
  };
  using Row = std::array<Place, 256>;
  static constexpr Place kUnknown = -2;

  const PlaceOf& Of(Place place) const { return places_[static_cast<size_t>(place)]; }
  const Frame& At(int32_t frame) const { return frames_[static_cast<size_t>(frame)]; }
  int32_t DepthOf(int32_t parent) const { return parent < 0 ? 0 : At(parent).depth + 1; }
  int32_t FrameOf(Grammar::State state, int32_t parent);
  void Visit(Grammar::State state, int32_t parent);
  void Expand();
  Place Intern();
  Place Step(Place place, uint8_t byte);
  void Clear();

  const Grammar& grammar_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, int32_t> frame_ids_;  // by state and parent
  std::vector<PlaceOf> places_;
  std::map<std::vector<int32_t>, Place> place_ids_;  // by stacks, and -1 where it may end
  std::vector<std::unique_ptr<Row>> rows_;           // of the first places, as bytes were asked for
  Place start_ = 0;

  // A place in the making.
  std::vector<int32_t> work_;         // frames to expand
  std::vector<uint32_t> seen_round_;  // [frames] the last round_ that saw it
  uint32_t round_ = 0;
  PlaceOf made_;
};

}  // namespace tern

#endif  // TERN_ENGINE_GRAMMAR_MATCHER_H_
