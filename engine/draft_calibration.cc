#include "engine/draft_calibration.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "kernels/check.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// What the heads of the default model were found to need, so that the first texts are planned well.
constexpr float kUnfittedSpreads[] = {1.1f, 1.8f, 2.2f, 2.1f};
constexpr float kLastOfRange[] = {0.0f, 0.5f, 0.85f};

std::string PathIn(const std::string& dir) {
  return (fs::path(dir) / "tern_calibration.json").string();
}

class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  Error Bad(const std::string& what, const std::string& expected, const Json& got) const {
    const std::string text =
        got.is_discarded() ? "no JSON"
                           : got.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40);
    return BadFile({path_, what, expected, text, "fit it anew or delete it"});
  }
  const Json& Field(const Json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name))
      throw Bad("field " + std::string(name), "to be there", object);
    return object[name];
  }
  const Json& List(const Json& object, const char* name, size_t count) const {
    const Json& list = Field(object, name);
    if (!list.is_array() || list.size() != count)
      throw Bad("field " + std::string(name), "a list of " + std::to_string(count), list);
    return list;
  }
  void Numbers(const Json& list, const char* name, float least, float most,
               std::span<float> out) const {
    for (size_t i = 0; i < out.size(); ++i) {
      // Not a number fails both comparisons.
      if (!list[i].is_number() || !(list[i].get<float>() >= least && list[i].get<float>() <= most))
        throw Bad("field " + std::string(name),
                  "numbers from " + Json(least).dump() + " to " + Json(most).dump(), list[i]);
      out[i] = list[i].get<float>();
    }
  }
  void ReadRange(const Json& json, DraftCalibration::Range& range) const {
    Numbers(List(json, "spread", range.spreads.size()), "spread", DraftCalibration::kLeastSpread,
            DraftCalibration::kMostSpread, range.spreads);
    const Json& ranks = List(json, "rates", range.by_rank.size());
    for (size_t r = 0; r < ranks.size(); ++r) {
      DraftCalibration::Rates& rates = range.by_rank[r];
      if (!ranks[r].is_array() || ranks[r].size() != rates.size())
        throw Bad("field rates", "lists of " + std::to_string(rates.size()), ranks[r]);
      Numbers(ranks[r], "rates", 0.0f, 1.0f, rates);
      if (!std::ranges::is_sorted(rates)) throw Bad("field rates", "rising numbers", ranks[r]);
    }
  }

 private:
  std::string path_;
};

// Shorter in the file, and far finer than any fit.
Json Rounded(std::span<const float> values) {
  Json list = Json::array();
  for (const float value : values)
    list.push_back(std::round(static_cast<double>(value) * 1e4) / 1e4);
  return list;
}

}  // namespace

DraftCalibration DraftCalibration::Unfitted(int32_t heads) {
  DraftCalibration calibration;
  calibration.noise.assign(static_cast<size_t>(heads), 1.0f);
  for (size_t i = 0; i < kRanges; ++i) {
    calibration.ranges[i].spreads.assign(static_cast<size_t>(heads), kUnfittedSpreads[i]);
    calibration.ranges[i].by_rank.fill(kConfidence);
  }
  return calibration;
}

size_t DraftCalibration::RangeOf(float temperature) {
  size_t range = 0;
  for (const float last : kLastOfRange) range += temperature > last ? 1 : 0;
  return range;
}

float DraftCalibration::Rate(size_t range, size_t rank, float claimed) const {
  if (!fitted() || !std::isfinite(claimed)) return claimed;
  TERN_CHECK(range < kRanges && rank < kRanks) << range << ", " << rank;
  const Rates& rates = ranges[range].by_rank[rank];
  size_t above = 1;
  while (above + 1 < rates.size() && kConfidence[above] < claimed) ++above;
  const float from = kConfidence[above - 1], width = kConfidence[above] - from;
  const float part = std::clamp((claimed - from) / width, 0.0f, 1.0f);
  return rates[above - 1] + part * (rates[above] - rates[above - 1]);
}

DraftCalibration ReadCalibration(const std::string& dir, int32_t heads) {
  DraftCalibration calibration = DraftCalibration::Unfitted(heads);
  const std::string path = PathIn(dir);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return calibration;
  const Json json = ParseJson<Json>(ReadFile(path));
  const Reader reader(path);
  const Json& count = reader.Field(json, "heads");
  if (!count.is_number_unsigned() || count.get<uint64_t>() != static_cast<uint64_t>(heads))
    throw reader.Bad("field heads", std::to_string(heads) + ", as many as the heads are", count);
  const Json& tokens = reader.Field(json, "tokens");
  if (!tokens.is_number_unsigned() || tokens.get<uint64_t>() - 1 >= uint64_t{1} << 53)
    throw reader.Bad("field tokens", "a number of 1 or more", tokens);
  calibration.tokens = tokens.get<int64_t>();
  reader.Numbers(reader.List(json, "noise", calibration.noise.size()), "noise", 0.0f,
                 DraftCalibration::kMostNoise, calibration.noise);
  const Json& ranges = reader.List(json, "temperatures", DraftCalibration::kRanges);
  for (size_t i = 0; i < ranges.size(); ++i) reader.ReadRange(ranges[i], calibration.ranges[i]);
  return calibration;
}

void WriteCalibration(const std::string& dir, const DraftCalibration& calibration) {
  const std::string path = PathIn(dir);
  if (!calibration.fitted()) {
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  nlohmann::ordered_json ranges = nlohmann::ordered_json::array();
  for (const DraftCalibration::Range& range : calibration.ranges) {
    Json rates = Json::array();
    for (const DraftCalibration::Rates& of_rank : range.by_rank) rates.push_back(Rounded(of_rank));
    ranges.push_back(
        nlohmann::ordered_json{{"spread", Rounded(range.spreads)}, {"rates", std::move(rates)}});
  }
  const nlohmann::ordered_json json = {{"heads", calibration.heads()},
                                       {"tokens", calibration.tokens},
                                       {"noise", Rounded(calibration.noise)},
                                       {"temperatures", std::move(ranges)}};
  WriteFileAtomically(path, json.dump() + "\n");
}

}  // namespace tern
