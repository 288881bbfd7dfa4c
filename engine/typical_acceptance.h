// Typical acceptance, a LOSSY way to decide which drafted tokens become text: those that are not
// unlikely, instead of those that plain decoding samples (Medusa, Cai et al. 2024, section 3.3).
#ifndef TERN_ENGINE_TYPICAL_ACCEPTANCE_H_
#define TERN_ENGINE_TYPICAL_ACCEPTANCE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/token_tree.h"

namespace tern {

// A drafted token x is accepted where p(x) > min(epsilon, delta * exp(-H(p))); p is the
// distribution that the token is sampled from where it stands (with penalties, temperature and
// filters), H its entropy in nats. Of the accepted paths of a step's tree the longest becomes text,
// among equally long ones the likeliest; the token behind it is sampled as ever.
//
// LOSSY: texts follow another distribution than plain decoding's. They depend on seed and options
// and also on what was drafted: on heads, mode and max_rows, and in modes auto and ngram, and
// beside other texts, on time. In modes tree and chain a text that runs alone repeats.
//
// With temperature 0 only the most probable token has a probability, so the rule is the lossless
// one: GenerationOptions refuses the combination.
struct TypicalAcceptance {
  float epsilon = 0.0f;  // the hard threshold, [0, 1); 0 = off. Medusa's programs take 0.09
  float delta = 0.0f;    // [0, 1]; 0 = sqrt(epsilon), as the paper has it
  bool on() const { return epsilon > 0.0f; }
  bool Accepts(double probability, double entropy) const;
  // Throws Error(kInvalidArgument) naming field, value and range.
  void Validate() const;
  // For whoever reads the text, e.g. "typical acceptance, epsilon 0.09, delta 0.3"; "" where off.
  std::string Label() const;
};

// Whether a drafted node is accepted, and the logarithm of its probability behind its parent.
struct TypicalVerdict {
  bool accepted = false;
  double log_probability = 0.0;
};

// Fills `path` with the longest path of accepted nodes, from the root's child down; of equally long
// ones that of the largest sum of log-probabilities, then the first. `verdicts` [nodes]; a node
// below a rejected one counts as rejected.
void LongestAcceptedPath(std::span<const DraftNode> nodes, std::span<const TypicalVerdict> verdicts,
                         std::vector<int32_t>& path);

}  // namespace tern

#endif  // TERN_ENGINE_TYPICAL_ACCEPTANCE_H_
