#include "engine/acceptance_replay.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/medusa_heads.h"
#include "kernels/check.h"
#include "kernels/vector_math.h"

namespace tern {
namespace {

using Json = nlohmann::json;

// Sums of rates that a program rounded may be a little above 1.
constexpr double kRounding = 1e-6;
// So may shares, rounded to a few places.
constexpr double kSharesOff = 0.01;

// Of a Philox counter's last word: what the numbers are for.
constexpr uint32_t kForTokens = 1, kForAcceptance = 2, kForConfidence = 3;

Error BadList(std::string_view list, const std::string& problem) {
  return InvalidArgument("acceptance " + Printable(list) + ": " + problem + "; expected up to " +
                         std::to_string(kMaxMedusaHeads) +
                         " rates from 0 to 1, none above the one before it, or a file");
}

}  // namespace

// One file of rates, every value of which is checked.
class AcceptanceFile {
 public:
  explicit AcceptanceFile(const std::string& path) : path_(path) {}

  AcceptanceRates Read() const {
    const Json json = ParseJson<Json>(ReadFile(path_));
    const bool binned = json.is_object() && json.contains(kBinned);
    const bool found = binned || (json.is_object() && json.contains(kPlain));
    const std::string field = binned ? kBinned : kPlain;
    const Json heads = found ? json[field] : Json();
    if (!heads.is_array() || heads.empty() || heads.size() > static_cast<size_t>(kMaxMedusaHeads)) {
      throw BadFile({path_, "no rates of acceptance",
                     "a JSON object with \"acceptance\": [[rate of rank 1, ..], ..], 1 to " +
                         std::to_string(kMaxMedusaHeads) + " heads",
                     json.is_discarded() ? "no JSON"
                     : found             ? "another \"" + field + "\""
                                         : "none",
                     "pass such a file, or a list like 0.6,0.36,0.22"});
    }
    std::vector<AcceptanceRates::Head> rates;
    for (const Json& head : heads) {
      const std::string where = field + "[" + std::to_string(rates.size()) + "]";
      if (binned) {
        rates.push_back(Bins(head, where));
      } else {
        rates.push_back({{1.0, Rates(head, where)}});
      }
    }
    return AcceptanceRates(std::move(rates));
  }

 private:
  static constexpr char kPlain[] = "acceptance", kBinned[] = "acceptance_by_confidence";

  Error Bad(const std::string& where, const std::string& expected, const std::string& got) const {
    return BadFile({path_, where, expected, got, ""});
  }
  static std::string Shape(const Json& json) {
    return std::string(json.type_name()) + " of " + std::to_string(json.size());
  }
  // Not a number fails both comparisons.
  double Share(const Json& json, const std::string& where) const {
    if (!json.is_number() || !(json.get<double>() >= 0.0 && json.get<double>() <= 1.0))
      throw Bad(where, "rates from 0 to 1",
                json.is_number() ? json.dump() : std::string(json.type_name()));
    return json.get<double>();
  }
  std::vector<double> Rates(const Json& head, const std::string& where) const {
    constexpr size_t kMost = AcceptanceRates::kMaxRanks;
    if (!head.is_array() || head.empty() || head.size() > kMost)
      throw Bad(where, "an array of 1 to " + std::to_string(kMost) + " rates", Shape(head));
    std::vector<double> rates;
    double sum = 0.0;
    for (const Json& rate : head) sum += rates.emplace_back(Share(rate, where));
    if (sum > 1.0 + kRounding)
      throw Bad(where, "rates that add up to 1 at most: one candidate is right",
                std::to_string(sum));
    return rates;
  }
  AcceptanceRates::Head Bins(const Json& head, const std::string& where) const {
    constexpr size_t kMost = AcceptanceRates::kMaxBins;
    if (!head.is_array() || head.empty() || head.size() > kMost)
      throw Bad(where, "an array of 1 to " + std::to_string(kMost) + " bins", Shape(head));
    AcceptanceRates::Head bins;
    double sum = 0.0;
    for (const Json& bin : head) {
      const std::string here = where + "[" + std::to_string(bins.size()) + "]";
      if (!bin.is_object() || !bin.contains("share") || !bin.contains("rates"))
        throw Bad(here, "an object with share and rates", std::string(bin.type_name()));
      bins.push_back({Share(bin["share"], here), Rates(bin["rates"], here)});
      sum += bins.back().share;
    }
    if (!(std::abs(sum - 1.0) < kSharesOff))
      throw Bad(where, "shares that add up to 1", std::to_string(sum));
    for (auto& bin : bins) bin.share /= sum;
    return bins;
  }

  const std::string& path_;
};

AcceptanceRates AcceptanceRates::Read(const std::string& list_or_path) {
  const bool list = list_or_path.find_first_not_of("0123456789.,+-eE ") == std::string::npos;
  return list ? FromList(list_or_path) : AcceptanceFile(list_or_path).Read();
}

AcceptanceRates AcceptanceRates::FromList(std::string_view list) {
  std::vector<Head> rates;
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
    rates.push_back({{1.0, {before > 0.0 ? rate / before : 0.0}}});
    before = rate;
    if (item.size() == rest.size()) break;
    rest.remove_prefix(item.size() + 1);
  }
  if (rates.size() > static_cast<size_t>(kMaxMedusaHeads))
    throw BadList(list, std::to_string(rates.size()) + " rates");
  return AcceptanceRates(std::move(rates));
}

size_t AcceptanceRates::Bin(int32_t depth, double u) const {
  if (depth < 1 || depth > heads()) return 0;
  const Head& head = rates_[static_cast<size_t>(depth - 1)];
  size_t bin = 0;
  while (bin + 1 < head.size() && u >= head[bin].share) u -= head[bin++].share;
  return bin;
}

double AcceptanceRates::At(int32_t depth, int32_t rank, size_t bin) const {
  if (depth < 1 || depth > heads()) return 0.0;
  const std::vector<double>& rates = rates_[static_cast<size_t>(depth - 1)][bin].rates;
  return static_cast<size_t>(rank) < rates.size() ? rates[static_cast<size_t>(rank)] : 0.0;
}

double AcceptanceRates::At(int32_t depth, int32_t rank) const {
  if (depth < 1 || depth > heads()) return 0.0;
  const Head& head = rates_[static_cast<size_t>(depth - 1)];
  double rate = 0.0;
  for (size_t bin = 0; bin < head.size(); ++bin) rate += head[bin].share * At(depth, rank, bin);
  return rate;
}

int32_t AcceptanceRates::RightRank(int32_t depth, size_t bin, double u) const {
  for (int32_t rank = 0; rank < static_cast<int32_t>(kMaxRanks); ++rank) {
    const double rate = At(depth, rank, bin);
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

double AcceptanceReplay::Draw(int32_t position, int32_t depth, uint32_t what_for) const {
  const PhiloxBlock bits =
      Philox4x32({static_cast<uint32_t>(depth), static_cast<uint32_t>(position), stream_, what_for},
                 key0_, key1_);
  return bits[0] * 0x1p-32;
}

size_t AcceptanceReplay::Bin(int32_t position, int32_t depth) const {
  return rates_->Bin(depth, Draw(position, depth, kForConfidence));
}

// A right candidate that was not verified ends the step just as one that nobody drafted does.
TokenId AcceptanceReplay::Choose(int32_t position, int32_t depth) const {
  return Candidate(position, rates_->RightRank(depth, Bin(position, depth),
                                               Draw(position, depth, kForAcceptance)));
}

}  // namespace tern
