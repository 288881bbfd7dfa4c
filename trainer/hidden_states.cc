#include "trainer/hidden_states.h"

#include <algorithm>

#include "engine/error.h"

namespace tern {
namespace {

KvType KvTypeOf(const HiddenCacheInfo& info) {
  const auto found = info.made_by.find("--kv-type");
  return found != info.made_by.end() && *found == "int8" ? KvType::kInt8 : KvType::kBFloat16;
}

}  // namespace

HiddenStates::HiddenStates(const Model& model, const HiddenCache& cache, uint64_t memory_bytes)
    : cache_(cache), memory_bytes_(memory_bytes) {
  if (cache.info().hidden_stored) return;
  size_t longest = 1;
  for (uint64_t s = 0; s < cache.sequences(); ++s)
    longest = std::max(longest, cache.Sequence(s).tokens.size());
  const auto context = static_cast<size_t>(model.config.max_position_embeddings);
  if (longest > context) {
    throw BadFile({cache.dir(), "tokens of a text",
                   "at most the model's " + std::to_string(context), std::to_string(longest),
                   "give the --model that made the data"});
  }
  forward_ =
      std::make_unique<TextForward>(model, static_cast<int32_t>(longest), KvTypeOf(cache.info()));
}

MatView<const BFloat16> HiddenStates::Of(uint64_t text) {
  const HiddenSequence sequence = cache_.Sequence(text);
  if (forward_ == nullptr) return sequence.hidden;
  const size_t n = sequence.tokens.size();
  const auto d = static_cast<size_t>(cache_.info().hidden_size);
  if (const auto found = places_.find(text); found != places_.end()) {
    kept_.splice(kept_.begin(), kept_, found->second);
    return {kept_.front().rows.data(), n, d};
  }
  const uint64_t size = n * d * sizeof(BFloat16);
  while (!kept_.empty() && bytes_ + size > memory_bytes_) {
    bytes_ -= kept_.back().rows.size() * sizeof(BFloat16);
    places_.erase(kept_.back().text);
    kept_.pop_back();
  }
  std::vector<BFloat16> rows(n * d);
  forward_->Run(sequence.tokens, [&](int32_t position, std::span<const float> row) {
    std::ranges::transform(row, rows.data() + static_cast<size_t>(position) * d,
                           BFloat16::FromFloat);
  });
  ++computed_;
  bytes_ += size;
  kept_.push_front({text, std::move(rows)});
  places_[text] = kept_.begin();
  return {kept_.front().rows.data(), n, d};
}

uint64_t HiddenStateBytes(const HiddenCacheInfo& info) {
  return info.tokens() * static_cast<uint64_t>(info.hidden_size) * sizeof(BFloat16);
}

}  // namespace tern
