// A small pass of heads in training, with data for it.
#ifndef TERN_TESTS_TRAINER_HEAD_PASS_FIXTURE_H_
#define TERN_TESTS_TRAINER_HEAD_PASS_FIXTURE_H_

#include <gtest/gtest.h>

#include <vector>

#include "kernels/random_data.h"
#include "trainer/head_pass.h"

namespace tern::test {

inline constexpr size_t kHeads = 3, kD = 32, kVocab = 50, kBatch = 9;
inline constexpr size_t kWeights = kHeads * kD * kD, kBiases = kHeads * kD;
inline constexpr size_t kTeacher = 4;                    // tokens of a teacher
inline constexpr size_t kShortlist = 20, kSamples = 12;  // of kVocab

inline HeadPassOptions Options(bool bfloat16, size_t layers = 1) {
  HeadPassOptions options;
  options.heads = kHeads;
  options.layers = layers;
  options.batch = kBatch;
  options.bfloat16 = bfloat16;
  return options;
}

inline HeadPassOptions PartOptions() {
  HeadPassOptions options = Options(/*bfloat16=*/false);
  options.part = {{3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7, 32, 38, 46, 26, 43, 33, 27, 49, 44},
                  kShortlist,
                  kSamples};
  return options;
}

class HeadPassTest : public ::testing::Test {
 protected:
  HeadPassTest() {
    for (size_t i = 0; i < kBatch * kHeads; ++i)
      targets_.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(random_.Below(kVocab)));
  }
  HeadBatch Batch() const {
    HeadBatch batch{hidden_.View(kBatch, kD), roots_.View(kBatch, kD), targets_, seed_};
    if (teacher_weight_ == 0) return batch;
    const size_t rows = targets_.size(), top = teacher_ids_.size() / rows;
    batch.teacher_ids = {teacher_ids_.data(), rows, top};
    batch.teacher_probs = {teacher_probs_.data(), rows, top};
    batch.teacher_weight = teacher_weight_;
    return batch;
  }
  // Of every row but each fifth: the token that came, where the row is even, and others.
  void AddTeacher(float weight) {
    teacher_weight_ = weight;
    for (size_t r = 0; r < targets_.size(); ++r) {
      const auto first = static_cast<int32_t>(random_.Below(kVocab));
      for (int32_t i = 0; i < static_cast<int32_t>(kTeacher); ++i) {
        const int32_t token = r % 2 == 0 && targets_[r] >= 0 ? targets_[r] : first;
        teacher_ids_.push_back((token + 7 * i) % static_cast<int32_t>(kVocab));
        teacher_probs_.push_back(r % 5 == 4 || i == 3 ? 0.0f : 0.5f / static_cast<float>(i + 1));
      }
    }
  }
  MatView<const BFloat16> Table() const { return table_.View(kVocab, kD); }

  // The loss at parameters [weights, biases]; gradients are added to `gradient` of the same layout.
  double Loss(HeadPass& pass, const AlignedBuffer<float>& parameters, float scale = 1,
              AlignedBuffer<float>* gradient = nullptr) {
    const size_t layers = parameters.size() / (kWeights + kBiases), rows = layers * kHeads * kD;
    pass.SetWeights(parameters.View(rows, kD), parameters.span().subspan(layers * kWeights));
    std::vector<HeadSums> sums(kHeads);
    if (gradient == nullptr) return pass.Run(Batch(), head_weights_, scale, nullptr, sums);
    HeadGradients gradients{gradient->View(rows, kD), gradient->span().subspan(layers * kWeights)};
    return pass.Run(Batch(), head_weights_, scale, &gradients, sums);
  }

  RandomData random_{7};
  AlignedBuffer<BFloat16> hidden_ = random_.BFloat16s(kBatch * kD);
  AlignedBuffer<BFloat16> table_ = random_.BFloat16s(kVocab * kD);
  AlignedBuffer<BFloat16> roots_ = random_.BFloat16s(kBatch * kD);
  AlignedBuffer<float> parameters_ = random_.Floats(kWeights + kBiases, -0.2f, 0.2f);
  std::vector<int32_t> targets_;  // [batch, heads]
  float teacher_weight_ = 0;      // 0: no teacher
  std::vector<int32_t> teacher_ids_;
  std::vector<float> teacher_probs_;
  uint64_t seed_ = 1;
  std::vector<float> head_weights_ = {0.5f, 0.3f, 0.2f};
};

}  // namespace tern::test

#endif  // TERN_TESTS_TRAINER_HEAD_PASS_FIXTURE_H_
