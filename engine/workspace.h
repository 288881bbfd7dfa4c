// Every activation buffer of Forward, allocated once for a maximum number of rows.
#ifndef TERN_ENGINE_WORKSPACE_H_
#define TERN_ENGINE_WORKSPACE_H_

#include <cstdint>

#include "engine/config.h"
#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"

namespace tern {

// One per compute thread; not thread-safe. (Its owner, engine/transformer.cc, may add buffers freely.)
class Workspace {
 public:
  // Rows per Forward call, rows with logits per call, and the longest context any row may have.
  Workspace(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows, int32_t max_context);
  int32_t max_rows() const { return max_rows_; }
  int32_t max_logit_rows() const { return max_logit_rows_; }

 private:
  int32_t max_rows_, max_logit_rows_;
};

}  // namespace tern

#endif  // TERN_ENGINE_WORKSPACE_H_
