// What a model must do on any machine, checked on this one: for `tern doctor`.
#ifndef TERN_ENGINE_MODEL_CHECK_H_
#define TERN_ENGINE_MODEL_CHECK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "engine/tokenizer.h"

namespace tern {

// Both give "" or what differs, and run under the target in force on ThreadCount() threads.

// A row's logits are the same bits decoded alone, in one prefill, and on a path of a tree among
// other nodes. REQUIRES at least 4 tokens.
std::string CheckRowsAgree(const Model& model, std::span<const TokenId> tokens);

// With and without drafts (a tree from `heads`, which may be null, and from the text so far) a
// prompt has the same continuation, greedy and sampled.
std::string CheckLossless(const Model& model, const Tokenizer& tokenizer,
                          const std::shared_ptr<const MedusaHeads>& heads,
                          std::span<const TokenId> prompt, int32_t max_tokens);

// A continuation that a model wrote on another machine.
struct GoldenRun {
  std::vector<TokenId> prompt;
  float temperature = 0.0f;  // 0: greedy
  uint64_t seed = 0;
  // One of each for every token: its id, its logit, and by how much of a logit it was ahead of the
  // second.
  std::vector<TokenId> ids;
  std::vector<float> logits, margins;
};

// How far a logit may be from the recorded one. Sums of fp32 in another order differ in the last
// bits, which now and then rounds an int8 activation to the neighbouring code, a change of up to
// 1/127 of its row's largest value in one of d inputs. Over the default model's 96 recorded tokens
// logits of sse4, which does not fuse multiply-adds, were off by 0.021 (rms; 0.050 at most) from
// those of avx512vnni, those of avx2 by 3e-6; this is seven times that rms. Logits are about 10.
inline constexpr float kGoldenLogit = 0.15f;
// Behind a lead of twice that no such difference can change a token.
inline constexpr float kGoldenMargin = 2 * kGoldenLogit;

GoldenRun RecordGoldenRun(const Model& model, const Tokenizer& tokenizer,
                          std::span<const TokenId> prompt, float temperature, uint64_t seed,
                          int32_t tokens);

// All logits behind the recorded tokens, the token chosen by them wherever its lead was above
// kGoldenMargin, and the longest stretch of such tokens as the model writes it. "" or what differs.
std::string CheckGoldenRun(const Model& model, const Tokenizer& tokenizer, const GoldenRun& run);

// The runs of a model whose weights have a fingerprint (BackboneFingerprint).
struct GoldenFile {
  std::string fingerprint, target;  // the instruction set that it was recorded on
  std::vector<GoldenRun> runs;
};
inline constexpr const char* kGoldenFileName = "tern_golden.json";
// Throws kNotFound, kBadFile where it does not fit `config`.
GoldenFile ReadGoldenFile(const std::string& path, const ModelConfig& config);
void WriteGoldenFile(const std::string& path, const GoldenFile& golden);

}  // namespace tern

#endif  // TERN_ENGINE_MODEL_CHECK_H_
