#include "engine/heads_sample.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/medusa_heads.h"
#include "engine/text_forward.h"
#include "kernels/vocab_projection.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kContext = 8;    // tokens of a sample from before the model's own
constexpr int64_t kMostLost = 2;  // places, where a sixteenth of them is less

std::string PathIn(const std::string& dir) { return (fs::path(dir) / "tern_sample.json").string(); }

// The text's own tokens, each once.
std::vector<TokenId> Candidates(std::span<const TokenId> tokens) {
  std::vector<TokenId> candidates(tokens.begin(), tokens.end());
  std::ranges::sort(candidates);
  const auto repeated = std::ranges::unique(candidates);
  candidates.erase(repeated.begin(), repeated.end());
  return candidates;
}

// [K] how often the candidate that head k holds for the likeliest is the token that comes.
std::vector<int32_t> RightPlaces(const Model& model, const MedusaHeads& heads,
                                 std::span<const TokenId> tokens) {
  const std::vector<TokenId> candidates = Candidates(tokens);
  const auto count = static_cast<size_t>(heads.count), d = static_cast<size_t>(heads.hidden_size);
  std::vector<float> logits(candidates.size());
  AlignedBuffer<float> outputs(count * d), root(d);
  std::vector<int32_t> right(count);
  TextForward forward(model, static_cast<int32_t>(tokens.size()), KvType::kBFloat16);
  forward.Run(tokens, [&](int32_t position, std::span<const float> hidden) {
    if (static_cast<size_t>(position) + 2 >= tokens.size()) return;
    RootInput(model, tokens[static_cast<size_t>(position) + 1], root.span());
    ApplyHeads(heads, hidden, root.span(), outputs.View(count, d));
    // Head k + 1 says what comes at position + 1 + (k + 1).
    size_t next = static_cast<size_t>(position) + 2;
    for (size_t k = 0; k < count && next < tokens.size(); ++k, ++next) {
      VocabProjectionOf(outputs.span().subspan(k * d, d), VocabularyOf(heads, model, k), candidates,
                        logits);
      const auto best = static_cast<size_t>(std::ranges::max_element(logits) - logits.begin());
      right[k] += candidates[best] == tokens[next] ? 1 : 0;
    }
  });
  return right;
}

int64_t Sum(const std::vector<int32_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace

int64_t HeadsSample::places() const {
  int64_t sum = 0;
  const auto n = static_cast<int64_t>(tokens.size());
  for (int64_t k = 1; k <= static_cast<int64_t>(right.size()); ++k)
    sum += std::max<int64_t>(0, n - 1 - k);
  return sum;
}

HeadsSample RecordSample(const Model& model, const MedusaHeads& heads,
                         std::span<const TokenId> text, size_t prompt_length) {
  const size_t begin = prompt_length - std::min(prompt_length, kContext);
  const auto most =
      std::min(HeadsSample::kTokens, static_cast<size_t>(model.config.max_position_embeddings));
  const auto part = text.subspan(begin, std::min(most, text.size() - begin));
  if (part.size() < 3) return {};  // head 1 has nothing to say
  return {{part.begin(), part.end()}, RightPlaces(model, heads, part)};
}

std::string SampleMismatch(const Model& model, const MedusaHeads& heads) {
  const HeadsSample& sample = heads.sample;
  if (sample.tokens.empty()) return {};
  const int64_t recorded = Sum(sample.right);
  const int64_t now = Sum(RightPlaces(model, heads, sample.tokens));
  if (recorded - now <= std::max(kMostLost, sample.places() / 16)) return {};
  return "heads predict " + std::to_string(now) + " of " + std::to_string(sample.places()) +
         " places of the sample that was recorded when they were trained, expected " +
         std::to_string(recorded);
}

HeadsSample ReadSample(const std::string& dir, int32_t heads, int32_t vocab_size) {
  const std::string path = PathIn(dir);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const Json json = ParseJson<Json>(ReadFile(path));
  const auto numbers = [&](const char* name, size_t least, size_t most, int32_t bound) {
    std::vector<int32_t> values;
    const bool listed = json.is_object() && json.contains(name) && json[name].is_array() &&
                        json[name].size() >= least && json[name].size() <= most;
    for (size_t i = 0; listed && i < json[name].size(); ++i) {
      const Json& value = json[name][i];
      if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(bound))
        break;
      values.push_back(value.get<int32_t>());
    }
    if (listed && values.size() == json[name].size()) return values;
    throw BadFile({path, std::string("field ") + name,
                   std::to_string(least) + " to " + std::to_string(most) + " integers below " +
                       std::to_string(bound),
                   "something else", "delete it (heads then load without being checked)"});
  };
  const auto count = static_cast<size_t>(heads);
  const int32_t context = static_cast<int32_t>(HeadsSample::kTokens);
  return {numbers("tokens", 3, HeadsSample::kTokens, vocab_size),
          numbers("right", count, count, context)};
}

void WriteSample(const std::string& dir, const HeadsSample& sample) {
  const std::string path = PathIn(dir);
  if (sample.tokens.empty()) {
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  const nlohmann::ordered_json json = {{"tokens", sample.tokens}, {"right", sample.right}};
  WriteFileAtomically(path, json.dump() + "\n");
}

}  // namespace tern
