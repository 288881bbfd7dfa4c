#include "trainer/flip_watch.h"

#include <algorithm>

#include "engine/error.h"
#include "trainer/progress_line.h"

namespace tern {
namespace {

std::string Percent(double share) { return FormatNumber(100 * share) + "%"; }

}  // namespace

void Validate(const FlipWatchOptions& options) {
  const auto check = [](const char* name, double value, bool ok, const char* expected) {
    if (ok) return;
    throw InvalidArgument(std::string(name) + " is " + FormatNumber(value) + ", expected " +
                          expected);
  };
  check("--flip-alarm", options.alarm, options.alarm > 0 && options.alarm <= 1,
        "above 0, at most 1");
  check("--flip-jump", options.jump, options.jump > 1, "above 1");
}

bool FlipWatch::Judge(const Layer& layer, double share, bool whole) const {
  if (share > options_.alarm) return true;
  return whole && layer.records >= options_.settle && share >= options_.floor &&
         share > options_.jump * layer.level;
}

std::string FlipWatch::Record(uint64_t from, uint64_t to, const std::vector<double>& shares) {
  alarmed_ = false;
  if (from < warmup_) return "";
  layers_.resize(shares.size());
  const bool whole = to - from >= every_;
  std::vector<size_t> begun;
  for (size_t i = 0; i < shares.size(); ++i) {
    Layer& layer = layers_[i];
    const bool alarmed = Judge(layer, shares[i], whole);
    if (alarmed && !layer.alarmed) begun.push_back(i);
    layer.alarmed = alarmed;
    alarmed_ |= alarmed;
    // What is out of the ordinary does not become the level.
    if (alarmed || !whole) continue;
    const double records = static_cast<double>(layer.records++);
    const double keep = std::min(options_.memory, records / (records + 1));
    layer.level = keep * layer.level + (1 - keep) * shares[i];
  }
  if (begun.empty()) return "";
  const size_t worst =
      *std::ranges::max_element(begun, {}, [&](size_t layer) { return shares[layer]; });
  std::string text = "alarm: step " + std::to_string(to) + ": " + Percent(shares[worst]) +
                     " of the ternary weights of layer " + std::to_string(worst) + " flipped in " +
                     std::to_string(to - from) + " steps, ";
  text += shares[worst] > options_.alarm
              ? "above --flip-alarm " + Percent(options_.alarm)
              : FormatNumber(shares[worst] / layers_[worst].level) + " times its running level";
  if (begun.size() > 1) text += " (" + std::to_string(begun.size()) + " layers in all)";
  return text + "; where the loss suffers too, lower --lr";
}

}  // namespace tern
