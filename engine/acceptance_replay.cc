#include "engine/acceptance_replay.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/medusa_heads.h"
#include "kernels/check.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// Sums of rates that a program rounded may be a little above 1.
constexpr double kRounding = 1e-6;

// Of a Philox counter's last word: what the numbers are for.
constexpr uint32_t kForTokens = 1, kForAcceptance = 2;

Error BadList(std::string_view list, const std::string& problem) {
  return InvalidArgument("acceptance " + Printable(list) + ": " + problem + "; expected up to " +
                         std::to_string(kMaxMedusaHeads) +
                         " rates from 0 to 1, none above the one before it, or a file");
}

std::vector<double> HeadRates(const std::string& path, const Json& head, size_t index) {
  const auto bad = [&](const std::string& expected, const std::string& got) {
    return BadFile({path, "acceptance[" + std::to_string(index) + "]", expected, got, ""});
  };
  if (!head.is_array() || head.empty() || head.size() > AcceptanceRates::kMaxRanks) {
    throw bad("an array of 1 to " + std::to_string(AcceptanceRates::kMaxRanks) + " rates",
              std::string(head.type_name()) + " of " + std::to_string(head.size()));
  }
  std::vector<double> rates;
  double sum = 0.0;
  for (const Json& rate : head) {
    // Not a number fails both comparisons.
    if (!rate.is_number() || !(rate.get<double>() >= 0.0 && rate.get<double>() <= 1.0))
      throw bad("rates from 0 to 1",
                rate.is_number() ? rate.dump() : std::string(rate.type_name()));
    rates.push_back(rate.get<double>());
    sum += rates.back();
  }
  if (sum > 1.0 + kRounding)
    throw bad("rates that add up to 1 at most: one candidate is right", std::to_string(sum));
  return rates;
}

}  // namespace

AcceptanceRates AcceptanceRates::Read(const std::string& list_or_path) {
  const bool list = list_or_path.find_first_not_of("0123456789.,+-eE ") == std::string::npos;
  return list ? FromList(list_or_path) : FromFile(list_or_path);
}

AcceptanceRates AcceptanceRates::FromList(std::string_view list) {
  std::vector<std::vector<double>> rates;
  double before = 1.0;
  for (std::string_view rest = list;;) {
    const std::string_view item = rest.substr(0, rest.find(','));
    double rate = 0.0;
    const char* const end = item.data() + item.size();
    const auto [read, error] = std::from_chars(item.data(), end, rate);
    if (error != std::errc() || read != end)
      throw BadList(list, "'" + Printable(item) + "' is no number");
    if (!(rate >= 0.0 && rate <= 1.0)) throw BadList(list, Printable(item) + " is no share");
    if (rate > before) throw BadList(list, Printable(item) + " is more than the one before it");
    rates.push_back({before > 0.0 ? rate / before : 0.0});
    before = rate;
    if (item.size() == rest.size()) break;
    rest.remove_prefix(item.size() + 1);
  }
  if (rates.size() > static_cast<size_t>(kMaxMedusaHeads))
    throw BadList(list, std::to_string(rates.size()) + " rates");
  return AcceptanceRates(std::move(rates));
}

AcceptanceRates AcceptanceRates::FromFile(const std::string& path) {
  const Json json = Json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false);
  const bool found = json.is_object() && json.contains("acceptance");
  const Json heads = found ? json["acceptance"] : Json();
  if (!heads.is_array() || heads.empty() || heads.size() > static_cast<size_t>(kMaxMedusaHeads)) {
    throw BadFile({path, "no rates of acceptance",
                   "a JSON object with \"acceptance\": [[rate of rank 1, ..], ..], 1 to " +
                       std::to_string(kMaxMedusaHeads) + " heads",
                   json.is_discarded() ? "no JSON"
                   : found             ? "another \"acceptance\""
                                       : "none",
                   "pass such a file, or a list like 0.6,0.36,0.22"});
  }
  std::vector<std::vector<double>> rates;
  for (const Json& head : heads) rates.push_back(HeadRates(path, head, rates.size()));
  return AcceptanceRates(std::move(rates));
}

double AcceptanceRates::At(int32_t depth, int32_t rank) const {
  if (depth < 1 || depth > heads()) return 0.0;
  const std::vector<double>& head = rates_[static_cast<size_t>(depth - 1)];
  return static_cast<size_t>(rank) < head.size() ? head[static_cast<size_t>(rank)] : 0.0;
}

int32_t AcceptanceRates::RightRank(int32_t depth, double u) const {
  for (int32_t rank = 0; rank < static_cast<int32_t>(kMaxRanks); ++rank) {
    const double rate = At(depth, rank);
    if (u < rate) return rank;
    u -= rate;
  }
  return kMaxRanks;
}

double AcceptanceRates::ChainLength() const {
  double length = 1.0, path = 1.0;
  for (int32_t depth = 1; depth <= heads(); ++depth) length += path *= At(depth, 0);
  return length;
}

AcceptanceReplay::AcceptanceReplay(std::shared_ptr<const AcceptanceRates> rates, int32_t vocab_size,
                                   uint64_t seed, uint32_t stream)
    : rates_(std::move(rates)),
      vocab_size_(static_cast<uint32_t>(vocab_size)),
      stream_(stream),
      key0_(static_cast<uint32_t>(seed)),
      key1_(static_cast<uint32_t>(seed >> 32)) {
  TERN_CHECK(vocab_size > static_cast<int32_t>(AcceptanceRates::kMaxRanks)) << vocab_size;
}

// Random from position to position: the n-gram look-up finds nothing that the rates do not say.
TokenId AcceptanceReplay::Candidate(int32_t position, int32_t rank) const {
  const PhiloxBlock bits =
      Philox4x32({0, static_cast<uint32_t>(position), 0, kForTokens}, key0_, key1_);
  return static_cast<TokenId>((bits[0] % vocab_size_ + static_cast<uint32_t>(rank)) % vocab_size_);
}

// A right candidate that was not verified ends the step just as one that nobody drafted does.
TokenId AcceptanceReplay::Choose(int32_t position, int32_t depth) const {
  const PhiloxBlock bits = Philox4x32(
      {static_cast<uint32_t>(depth), static_cast<uint32_t>(position), stream_, kForAcceptance},
      key0_, key1_);
  return Candidate(position, rates_->RightRank(depth, bits[0] * 0x1p-32));
}

}  // namespace tern
