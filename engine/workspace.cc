#include "engine/workspace.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

// Every size in one place, so that Bytes() cannot drift from what the constructor allocates.
struct Sizes {
  Sizes(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows, int32_t max_context)
      : n(static_cast<size_t>(max_rows)),
        m(static_cast<size_t>(max_logit_rows)),
        d(static_cast<size_t>(config.hidden_size)),
        f(static_cast<size_t>(config.intermediate_size)),
        q(static_cast<size_t>(config.num_attention_heads * config.head_dim)),
        kv(static_cast<size_t>(config.kv_width())),
        vocab(static_cast<size_t>(config.vocab_size)),
        codes(n * PadK(std::max({d, f, q}))),
        tail(n * (n + 1) / 2),
        scratch(AttentionScratchFloats(static_cast<size_t>(ThreadCount()),
                                       static_cast<size_t>(config.head_dim),
                                       static_cast<size_t>(max_context) + n)) {}
  size_t n, m, d, f, q, kv, vocab, codes, tail, scratch;
};

}  // namespace

Workspace::Workspace(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows,
                     int32_t max_context)
    : screened(static_cast<size_t>(std::max(max_logit_rows, 0)),
               static_cast<size_t>(config.vocab_size), static_cast<size_t>(config.hidden_size)),
      max_rows_(max_rows),
      max_logit_rows_(max_logit_rows),
      max_context_(max_context),
      threads_(ThreadCount()) {
  TERN_CHECK(max_rows >= 1 && max_logit_rows >= 0 && max_context >= 1)
      << max_rows << " rows, " << max_logit_rows << " logit rows, context " << max_context;
  const Sizes s(config, max_rows, max_logit_rows, max_context);
  for (AlignedBuffer<float>* b : {&residual, &projected, &hidden}) {
    *b = AlignedBuffer<float>(s.n * s.d);
  }
  for (AlignedBuffer<float>* b : {&q, &attention}) *b = AlignedBuffer<float>(s.n * s.q);
  for (AlignedBuffer<float>* b : {&k, &v}) *b = AlignedBuffer<float>(s.n * s.kv);
  for (AlignedBuffer<float>* b : {&gate, &up}) *b = AlignedBuffer<float>(s.n * s.f);
  sparse = SparseScratch(s.f, s.d, static_cast<size_t>(threads_));
  normed = AlignedBuffer<float>(s.n * std::max({s.d, s.q, s.f}));
  logit_hidden = AlignedBuffer<float>(s.m * s.d);
  logits = AlignedBuffer<float>(s.m * s.vocab);
  screened_hidden = AlignedBuffer<float>(s.m * s.d);
  attention_scratch = AlignedBuffer<float>(s.scratch);
  for (AlignedBuffer<int32_t>* list : {&sequences, &parents, &positions, &slots}) {
    *list = AlignedBuffer<int32_t>(s.n);
  }
  tail_slots = AlignedBuffer<int32_t>(s.tail);
  rows = AlignedBuffer<AttentionRow>(s.n);
  codes_ = AlignedBuffer<int8_t>(s.codes);
  scales_ = AlignedBuffer<float>(s.n);
  sums_ = AlignedBuffer<int32_t>(s.n);
}

size_t Workspace::Bytes(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows,
                        int32_t max_context) {
  const Sizes s(config, max_rows, max_logit_rows, max_context);
  const size_t per_row = 3 * s.d + 2 * s.q + 2 * s.kv + 2 * s.f + std::max({s.d, s.q, s.f}) + 6;
  return 4 * (s.n * per_row + s.m * (2 * s.d + s.vocab) + s.scratch + s.tail) + s.codes +
         s.n * sizeof(AttentionRow) +
         SparseScratch::Bytes(s.f, s.d, static_cast<size_t>(ThreadCount())) +
         ScreenedLogits::Bytes(s.m, s.vocab, s.d);
}

QuantizedRows Workspace::Quantized(size_t n, size_t width) {
  return {codes_.View(n, PadK(width)), scales_.span().first(n), sums_.span().first(n)};
}

}  // namespace tern
