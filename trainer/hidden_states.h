// The hidden states of a cache's texts: as stored, or computed anew.
#ifndef TERN_TRAINER_HIDDEN_STATES_H_
#define TERN_TRAINER_HIDDEN_STATES_H_

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/model.h"
#include "engine/text_forward.h"
#include "trainer/hidden_cache.h"

namespace tern {

// Both ways give the same bits, as the engine promises, on the instruction set that made the cache.
// Not thread-safe.
class HiddenStates {
 public:
  // `model`, which made the cache, and `cache` outlive this. Where none are stored, those of the
  // texts used last are kept, up to `memory_bytes` of them (and always one text's).
  HiddenStates(const Model& model, const HiddenCache& cache, uint64_t memory_bytes);

  // [n, d] of a text; 0 at its last token. Lives until the next call.
  MatView<const BFloat16> Of(uint64_t text);
  // Texts that were computed so far.
  uint64_t computed() const { return computed_; }

 private:
  struct Kept {
    uint64_t text;
    std::vector<BFloat16> rows;
  };

  const HiddenCache& cache_;
  const uint64_t memory_bytes_;
  std::unique_ptr<TextForward> forward_;  // null where hidden states are stored
  std::list<Kept> kept_;                  // the one used last in front
  std::unordered_map<uint64_t, std::list<Kept>::iterator> places_;
  uint64_t bytes_ = 0, computed_ = 0;
};

// Bytes that the hidden states of all texts take.
uint64_t HiddenStateBytes(const HiddenCacheInfo& info);

}  // namespace tern

#endif  // TERN_TRAINER_HIDDEN_STATES_H_
