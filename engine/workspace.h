// Every activation buffer of Forward, allocated once for a maximum number of rows.
#ifndef TERN_ENGINE_WORKSPACE_H_
#define TERN_ENGINE_WORKSPACE_H_

#include <cstddef>
#include <cstdint>

#include "engine/config.h"
#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/quantize.h"
#include "kernels/ternary_sparse.h"
#include "kernels/vocab_screen.h"

namespace tern {

// One per compute thread; not thread-safe. Members are for engine/transformer.cc, which wrote each
// of them before it reads them: nothing survives from one call to the next.
class Workspace {
 public:
  // Rows per Forward call, rows with logits per call, and the longest context any row may have.
  // Made for the ThreadCount() of this moment; Forward with more threads than that throws.
  Workspace(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows,
            int32_t max_context);
  // What it allocates.
  static size_t Bytes(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows,
                      int32_t max_context);
  int32_t max_rows() const { return max_rows_; }
  int32_t max_logit_rows() const { return max_logit_rows_; }
  int32_t max_context() const { return max_context_; }
  int32_t threads() const { return threads_; }

  // The first n rows of the quantised-row buffers, for K = width.
  QuantizedRows Quantized(size_t n, size_t width);

  // Activations. n = max_rows, m = max_logit_rows.
  AlignedBuffer<float> residual;         // [n, d]
  AlignedBuffer<float> q, k, v;          // [n, h*hd], [n, kv*hd], [n, kv*hd]
  AlignedBuffer<float> attention;        // [n, h*hd]
  AlignedBuffer<float> gate, up;         // [n, f]
  SparseScratch sparse;                  // for zero skipping (zero_skip.h)
  int64_t skipped_bytes = 0;             // ForwardResult's
  AlignedBuffer<float> projected;        // [n, d]: what a block adds to the residual stream
  AlignedBuffer<float> hidden;           // [n, d]
  AlignedBuffer<float> logit_hidden;     // [m, d]: the rows of hidden that logits are wanted for
  AlignedBuffer<float> logits;           // [m, V]
  AlignedBuffer<float> screened_hidden;  // [m, d]: the rows of hidden that are screened
  ScreenedLogits screened;               // of m rows
  AlignedBuffer<float> attention_scratch;
  AlignedBuffer<float> normed;  // [n, max(d, h*hd, f)]: fp32 inputs of linears; or for a tap only
  // The forest: one entry per row.
  AlignedBuffer<int32_t> sequences, parents, positions, slots;  // [n]
  AlignedBuffer<int32_t> tail_slots;  // [n * (n + 1) / 2] backs AttentionRow::tail_slots
  AlignedBuffer<AttentionRow> rows;   // [n]

 private:
  int32_t max_rows_, max_logit_rows_, max_context_, threads_;
  AlignedBuffer<int8_t> codes_;  // [n, PadK(max(d, h*hd, f))]
  AlignedBuffer<float> scales_;  // [n]
  AlignedBuffer<int32_t> sums_;  // [n]
};

}  // namespace tern

#endif  // TERN_ENGINE_WORKSPACE_H_
