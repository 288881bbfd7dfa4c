// Medusa draft heads: each of the K heads is L residual blocks over the backbone's hidden state,
// with a vocabulary projection behind them: the backbone's or its own. Head k = 1..K reads hidden
// at t and predicts token t+1+k; files number them from 0.
#ifndef TERN_ENGINE_MEDUSA_HEADS_H_
#define TERN_ENGINE_MEDUSA_HEADS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/draft_calibration.h"
#include "engine/draft_successors.h"
#include "engine/heads_sample.h"
#include "engine/model.h"
#include "engine/root_weights.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

inline constexpr int32_t kMaxMedusaHeads = 16;
inline constexpr int32_t kMaxMedusaLayers = 8;

// Where heads come from: config.json beside them.
struct MedusaHeadsInfo {
  std::string base_model;            // base_model_name_or_path; may be empty
  std::string backbone_fingerprint;  // of the model they were trained for; empty = not recorded
  int64_t trained_tokens = 0;        // 0 = not recorded
};

// One block of every head, stacked: rows of head k are [(k - 1) * d, k * d).
//   x + SiLU(W x + b)      Medusa's
//   x + O SiLU(W x + b)    MedusaBitNet's, where b is zero
struct MedusaBlock {
  AlignedBuffer<BFloat16> weights;  // W [K*d, d], row = output
  AlignedBuffer<float> biases;      // b [K*d]
  AlignedBuffer<BFloat16> outputs;  // O [K*d, d]; empty = none
  bool two_matrices() const { return outputs.size() > 0; }
};

struct MedusaHeads {
  int32_t count = 0;                     // K
  int32_t hidden_size = 0;               // d
  std::vector<MedusaBlock> blocks;       // L, the first one reads the hidden state
  AlignedBuffer<BFloat16> vocabularies;  // [K*V, d] heads' own projections; empty = the backbone's
  // R [K*d, d] of the first block (root_weights.h); empty = the heads do not see the root.
  AlignedBuffer<BFloat16> root_weights;
  bool sees_root() const { return root_weights.size() > 0; }
  MedusaHeadsInfo info;
  // Tokens by how often the backbone writes them, the most frequent first (draft_shortlist.h);
  // empty = not known.
  std::vector<int32_t> shortlist;
  // What follows what in the backbone's texts; may be empty.
  DraftSuccessors successors;
  DraftCalibration calibration;  // not fitted where there is none
  HeadsSample sample;            // recorded when they were trained; may have no tokens
  // Why the heads, though they load, may draft badly: trained for other weights than this model's,
  // or less often right than their sample says. Empty = no reason.
  std::string mismatch;
  // One line for the user with all there is to say, that included. Empty = nothing.
  std::string warning;
};

// K heads of Medusa blocks whose weights and biases are zero: each returns its input.
MedusaHeads ZeroMedusaHeads(int32_t count, int32_t hidden_size, int32_t layers = 1);

// Reads heads of any format in heads_tensors.h. `path` is a directory with config.json and
// medusa_lm_head.safetensors or .pt, or a file: .safetensors, .pt or GGUF (then config.json beside
// it counts where it has medusa_num_heads). Weights of F32 and F16 are rounded to bf16. Throws
// Error naming file and tensor or field: missing, unexpected, of another shape than `model`
// implies, or damaged.
MedusaHeads LoadMedusaHeads(const std::string& path, const Model& model);

inline constexpr char kMedusaSafetensors[] = "medusa_lm_head.safetensors";
inline constexpr char kMedusaTorch[] = "medusa_lm_head.pt";

// Writes heads of Medusa blocks, as Medusa's "version 2" or, with vocabularies of their own, as its
// version 1: config.json and medusa_lm_head.safetensors in `dir`, which is created where it is
// missing; biases are rounded to bf16. `heads.info` goes into config.json, with the vocabulary's
// size. config.json comes last, so that a directory with one is whole.
void SaveMedusaHeads(const std::string& dir, const MedusaHeads& heads, int32_t vocab_size);

// Writes the same tensors as medusa_lm_head.pt into `dir`, where FasterDecoding's loader looks for
// them. REQUIRES heads that do not see the root, for which other engines have no place.
void SaveMedusaTorch(const std::string& dir, const MedusaHeads& heads);

// 16 hexadecimal digits over everything that decides hidden states and logits: shapes, ternary
// weights, scales, gains and embeddings.
std::string BackboneFingerprint(const Model& model);

// The heads that belong to a model. Of a folder: its folder medusa. Of a GGUF file x.gguf: those in
// the file itself, else the folder x.medusa or medusa beside it. A folder counts where it has a
// config.json. Empty where there are none.
std::string HeadsBeside(const std::string& model);

// [V, d]: what gives the logits of head `index` (from 0) from its row of ApplyHeads.
MatView<const BFloat16> VocabularyOf(const MedusaHeads& heads, const Model& model, size_t index);

// out[k-1] = the blocks of head k, one after the other, on hidden [d]: out [K, d] contiguous.
// `root` [d] is what RootInput says of the token behind, and not read where heads do not see it.
// Allocates nothing where heads are one Medusa block without root weights; each value has one
// summation order, whatever the number of heads and threads.
void ApplyHeads(const MedusaHeads& heads, std::span<const float> hidden,
                std::span<const float> root, MatView<float> out);

}  // namespace tern

#endif  // TERN_ENGINE_MEDUSA_HEADS_H_
