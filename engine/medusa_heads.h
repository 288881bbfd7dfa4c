// Medusa draft heads: K residual blocks over the backbone's hidden state, with the backbone's own
// vocabulary projection behind them. Head k = 1..K reads hidden at t and predicts token t+1+k;
// files number them from 0.
#ifndef TERN_ENGINE_MEDUSA_HEADS_H_
#define TERN_ENGINE_MEDUSA_HEADS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

inline constexpr int32_t kMaxMedusaHeads = 16;

// Where heads come from: config.json beside them.
struct MedusaHeadsInfo {
  std::string base_model;            // base_model_name_or_path; may be empty
  std::string backbone_fingerprint;  // of the model they were trained for; empty = not recorded
  int64_t trained_tokens = 0;        // 0 = not recorded
};

// Rows of the stacked buffers: head k's are [(k - 1) * d, k * d).
struct MedusaHeads {
  int32_t count = 0;                // K
  int32_t hidden_size = 0;          // d
  AlignedBuffer<BFloat16> weights;  // [K*d, d], row = output
  AlignedBuffer<float> biases;      // [K*d]
  MedusaHeadsInfo info;
  // Tokens by how often the backbone writes them, the most frequent first (draft_shortlist.h);
  // empty = not known.
  std::vector<int32_t> shortlist;
  // One line for the user where the heads load but may draft badly: trained for other weights than
  // this model's. Empty = nothing to say.
  std::string warning;
};

// K heads whose weights and biases are zero: every one of them returns its input.
MedusaHeads ZeroMedusaHeads(int32_t count, int32_t hidden_size);

// Reads Medusa "version 2" heads: `path` is a directory with config.json and
// medusa_lm_head.safetensors, or such a .safetensors file (then heads are counted from its tensors
// where no config.json with medusa_num_heads lies beside it). Weights of F32 and F16 are rounded to
// bf16. Throws Error naming file and tensor or field: missing, unexpected, of another shape than
// `model` implies, damaged, or heads with a vocabulary projection of their own (version 1).
MedusaHeads LoadMedusaHeads(const std::string& path, const Model& model);

// Writes the files into `dir`, which is created where it is missing; biases are rounded to bf16.
// `heads.info` goes into config.json, with the vocabulary's size. config.json comes last, so that a
// directory with one is whole.
void SaveMedusaHeads(const std::string& dir, const MedusaHeads& heads, int32_t vocab_size);

// 16 hexadecimal digits over everything that decides hidden states and logits: shapes, ternary
// weights, scales, gains and embeddings.
std::string BackboneFingerprint(const Model& model);

// The heads that lie beside a model: `model_dir`/medusa where it has a config.json, else empty.
std::string HeadsBeside(const std::string& model_dir);

// out[k-1] = hidden + SiLU(W_k hidden + b_k): hidden [d], out [K, d] contiguous. Logits of head k
// are VocabProjection(out row, model.OutputEmbedding()). Allocates nothing; each value has one
// summation order, whatever the number of heads and threads.
void ApplyHeads(const MedusaHeads& heads, std::span<const float> hidden, MatView<float> out);

}  // namespace tern

#endif  // TERN_ENGINE_MEDUSA_HEADS_H_
