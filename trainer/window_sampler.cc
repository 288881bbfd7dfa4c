#include "trainer/window_sampler.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <numeric>

#include "engine/error.h"
#include "engine/hash.h"
#include "kernels/check.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

// Shares of kCycle rows, by largest remainder, at least one each.
std::vector<uint64_t> ShareOut(const std::vector<double>& weights, uint64_t total) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint64_t> slots(weights.size());
  for (size_t k = 0; k < weights.size(); ++k) {
    const double exact = weights[k] / sum * static_cast<double>(total);
    slots[k] = std::max<uint64_t>(1, static_cast<uint64_t>(exact));
  }
  // Whoever is furthest below its exact share gets the next slot, furthest above loses one.
  for (uint64_t used = std::accumulate(slots.begin(), slots.end(), uint64_t{0}); used != total;) {
    const auto lack = [&](size_t k) {
      return weights[k] / sum * static_cast<double>(total) - static_cast<double>(slots[k]);
    };
    size_t best = 0;
    for (size_t k = 1; k < slots.size(); ++k) {
      if (used < total ? lack(k) > lack(best) : slots[k] > 1 && lack(k) < lack(best)) best = k;
    }
    used < total ? (++slots[best], ++used) : (--slots[best], --used);
  }
  return slots;
}

void CheckLength(const TokenFile& file, uint64_t sequence) {
  if (file.info().tokens > sequence) return;
  throw BadFile({file.path(), "too short", "at least " + std::to_string(sequence + 1) + " tokens",
                 std::to_string(file.info().tokens), "give more text or a smaller --sequence"});
}

void CopyTokens(std::span<const uint32_t> from, std::span<int32_t> to) {
  std::ranges::transform(from, to.begin(), [](uint32_t id) { return static_cast<int32_t>(id); });
}

}  // namespace

DataSource ParseDataSource(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return {text, std::nullopt};
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  double weight = 0;
  const auto [stop, code] = std::from_chars(begin, end, weight);
  if (code != std::errc() || stop != end || !std::isfinite(weight) || weight <= 0) {
    throw InvalidArgument("--data " + text +
                          ": expected FILE or FILE:WEIGHT with a weight above 0, got \"" +
                          std::string(begin, end) + "\"");
  }
  return {text.substr(0, colon), weight};
}

WindowSampler::WindowSampler(const std::vector<DataSource>& sources, int32_t sequence,
                             uint64_t seed)
    : sequence_(static_cast<uint64_t>(sequence)), seed_(seed) {
  if (sources.empty()) throw InvalidArgument("no training data; give at least one --data FILE");
  if (sources.size() > kCycle) throw InvalidArgument("too many --data files: at most 1024");
  const bool weighted = sources.front().weight.has_value();
  std::vector<double> weights;
  for (const DataSource& source : sources) {
    const TokenFile& file = files_.emplace_back(source.path);
    const TokenFileInfo& info = file.info();
    CheckSameTokenizer(file);
    if (source.weight.has_value() != weighted) {
      throw InvalidArgument("--data: either every file has a weight or none; " + source.path +
                            (weighted ? " has none" : " has one"));
    }
    CheckLength(file, sequence_);
    file.CheckIds();
    weights.push_back(weighted ? *source.weight : static_cast<double>(info.tokens));
    // One window less than fits where there is room for an offset of up to `sequence`.
    windows_.push_back(std::max<uint64_t>(1, (info.tokens - sequence_) / sequence_));
  }
  slots_ = ShareOut(weights, kCycle);
}

void WindowSampler::CheckSameTokenizer(const TokenFile& file) const {
  const TokenFileInfo& first = files_.front().info();
  const TokenFileInfo& info = file.info();
  if (info.vocab_size == first.vocab_size && info.tokenizer_hash == first.tokenizer_hash) return;
  const auto name = [](const TokenFileInfo& of) {
    return "vocabulary " + std::to_string(of.vocab_size) + " of tokenizer " +
           HashName(of.tokenizer_hash);
  };
  throw BadFile({file.path(), "packed with another tokenizer than " + files_.front().path(),
                 name(first), name(info), "pack all files with one tokenizer"});
}

uint64_t WindowSampler::tokens() const {
  uint64_t sum = 0;
  for (const TokenFile& file : files_) sum += file.info().tokens;
  return sum;
}

WindowSampler::Window WindowSampler::Locate(uint64_t row) const {
  const uint64_t cycle = row / kCycle;
  uint64_t slot = PermutedIndex(row % kCycle, kCycle, Mix64(seed_, cycle));
  size_t source = 0;
  while (slot >= slots_[source]) slot -= slots_[source++];
  const uint64_t visit = cycle * slots_[source] + slot;  // how often this source was read before
  const uint64_t windows = windows_[source], epoch = visit / windows;
  const uint64_t key = Mix64(Mix64(seed_, source + 1), epoch);
  const uint64_t spare = files_[source].info().tokens - windows * sequence_;  // offsets that fit
  const uint64_t offset = Mix64(key) % std::min(spare, sequence_);
  return {source, epoch, offset + PermutedIndex(visit % windows, windows, key) * sequence_};
}

void WindowSampler::Read(uint64_t row, std::span<int32_t> out) const {
  TERN_CHECK(out.size() == sequence_ + 1) << out.size();
  const Window window = Locate(row);
  CopyTokens(files_[window.source].tokens().subspan(window.begin, sequence_ + 1), out);
}

HeldOutSet::HeldOutSet(const std::string& path, int32_t sequence, int32_t batch)
    : file_(path),
      sequence_(static_cast<uint64_t>(sequence)),
      batch_(static_cast<uint64_t>(batch)) {
  CheckLength(file_, sequence_);
  file_.CheckIds();
  windows_ = (file_.info().tokens - 1) / sequence_;
}

uint64_t HeldOutSet::Batches(uint64_t tokens) const {
  const uint64_t all = std::max<uint64_t>(1, windows_ / batch_);
  if (tokens == 0) return all;
  return std::clamp<uint64_t>(tokens / (batch_ * sequence_), 1, all);
}

void HeldOutSet::Read(uint64_t index, uint64_t count, std::span<int32_t> out) const {
  TERN_CHECK(out.size() == batch_ * (sequence_ + 1) && index < count) << out.size() << " " << index;
  const uint64_t all = std::max<uint64_t>(1, windows_ / batch_);
  const uint64_t first = index * all / count * batch_;
  for (uint64_t row = 0; row < batch_; ++row) {
    // A file of fewer windows than a batch repeats them.
    const uint64_t begin = (first + row) % windows_ * sequence_;
    CopyTokens(file_.tokens().subspan(begin, sequence_ + 1),
               out.subspan(row * (sequence_ + 1), sequence_ + 1));
  }
}

std::optional<double> HeldOutSet::BitsPerByte(double nats_per_token) const {
  const TokenFileInfo& info = file_.info();
  if (info.text_bytes == 0) return std::nullopt;
  return nats_per_token * static_cast<double>(info.tokens) / static_cast<double>(info.text_bytes) /
         std::numbers::ln2;
}

}  // namespace tern
