// Where the training loop's numbers come from: a row is what one example needs, as integers that
// the model understands (token windows for the backbone, places in the hidden-state cache for draft
// heads).
#ifndef TERN_TRAINER_BATCH_SOURCE_H_
#define TERN_TRAINER_BATCH_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace tern {

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual size_t width() const = 0;  // integers of a row
  // Row `row` of the run: a pure function of the number, so that resuming needs nothing else. out
  // has width() elements.
  virtual void Read(uint64_t row, std::span<int32_t> out) const = 0;
};

class HeldOutSource {
 public:
  virtual ~HeldOutSource() = default;
  // Batches that cover about `tokens` predictions; 0 = all. At least one.
  virtual uint64_t Batches(uint64_t tokens) const = 0;
  // Batch `index` of `count`; out [batch, width].
  virtual void Read(uint64_t index, uint64_t count, std::span<int32_t> out) const = 0;
  // Bits per byte of text for a loss in nats per token; nothing where that is unknown.
  virtual std::optional<double> BitsPerByte(double nats_per_token) const = 0;
};

}  // namespace tern

#endif  // TERN_TRAINER_BATCH_SOURCE_H_
