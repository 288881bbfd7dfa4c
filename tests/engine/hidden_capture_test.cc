// Hidden states captured while generating are those of Forward over the whole text, bit for bit,
// plain and speculative: what distillation stores without a second pass.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/generator.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/comparator.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

struct Capture {
  std::vector<int32_t> positions;
  std::vector<float> hidden;  // [positions.size(), d]
};

class HiddenCaptureTest : public ::testing::Test {
 protected:
  HiddenCaptureTest() { SetThreadCount(1); }
  ~HiddenCaptureTest() override { SetThreadCount(AvailableCores()); }

  // Fresh cache, one chain of all tokens.
  AlignedBuffer<float> FromScratch(const std::vector<TokenId>& tokens) {
    KvCache cache(model_.config, 1, 512, 8);
    Workspace workspace(model_.config, static_cast<int32_t>(tokens.size()), 1, 512);
    cache.AddSequence();
    Batch batch;
    batch.tokens = tokens;
    const ForwardResult result = Forward(model_, batch, cache, workspace);
    AlignedBuffer<float> hidden(tokens.size() * d_);
    for (size_t r = 0; r < tokens.size(); ++r)
      std::copy_n(result.hidden.Row(r), d_, hidden.data() + r * d_);
    return hidden;
  }

  // Generates with `generator` and compares what the sink saw with a pass over prompt and text.
  GenerationResult Check(Generator& generator, const std::vector<TokenId>& prompt,
                         const GenerationOptions& options) {
    Capture capture;
    generator.SetHiddenSink([&](int32_t position, std::span<const float> hidden) {
      capture.positions.push_back(position);
      capture.hidden.insert(capture.hidden.end(), hidden.begin(), hidden.end());
    });
    const GenerationResult result = generator.Generate(prompt, options);
    std::vector<TokenId> text = prompt;
    text.insert(text.end(), result.token_ids.begin(), result.token_ids.end() - 1);
    EXPECT_EQ(capture.positions.size(), text.size());
    for (size_t i = 0; i < capture.positions.size(); ++i)
      EXPECT_EQ(capture.positions[i], static_cast<int32_t>(i));
    const AlignedBuffer<float> expected = FromScratch(text);
    if (capture.hidden.size() != text.size() * d_) return result;
    EXPECT_TRUE(test::SameBits(expected.View(text.size(), d_),
                               MatView<const float>(capture.hidden.data(), text.size(), d_)));
    return result;
  }

  Model model_ = MakeTinyModel();
  size_t d_ = static_cast<size_t>(model_.config.hidden_size);
  ByteTokenizer tokenizer_;
};

TEST_F(HiddenCaptureTest, PlainDecoding) {
  Generator generator(model_, tokenizer_);
  GenerationOptions options;
  options.draft = DraftMode::kOff;
  options.max_tokens = 60;
  options.prefill_chunk = 32;  // several chunks of prompt
  options.sampling.temperature = 1.0f;
  options.ignore_eos = true;
  EXPECT_EQ(Check(generator, RandomTokens(100, 259, 5), options).token_ids.size(), 60u);
}

// A generator whose drafter knows the text that plain decoding writes.
class OracleGenerator {
 public:
  OracleGenerator(const Model& model, const Tokenizer& tokenizer, int32_t width,
                  const std::vector<TokenId>& prompt, const GenerationOptions& options) {
    plain_ = Generator(model, tokenizer).Generate(prompt, options).token_ids;
    std::vector<TokenId> text = prompt;
    text.insert(text.end(), plain_.begin(), plain_.end());
    auto oracle = std::make_unique<OracleDrafter>(5, width, 259, 11);
    oracle->SetText(std::move(text));
    generator_ = std::make_unique<Generator>(model, tokenizer, GeneratorLimits{},
                                             OneDrafter(std::move(oracle)));
  }
  const std::vector<TokenId>& plain() const { return plain_; }
  Generator& generator() { return *generator_; }

 private:
  std::vector<TokenId> plain_;
  std::unique_ptr<Generator> generator_;
};

TEST_F(HiddenCaptureTest, SpeculationCapturesTheAcceptedPath) {
  const std::vector<TokenId> prompt = RandomTokens(40, 259, 6);
  GenerationOptions options;
  options.draft = DraftMode::kOff;
  options.max_tokens = 90;
  options.sampling.temperature = 0.9f;
  options.sampling.seed = 3;
  options.ignore_eos = true;
  OracleGenerator oracle(model_, tokenizer_, 3, prompt, options);
  options.max_rows = 16;
  for (DraftMode mode : {DraftMode::kTree, DraftMode::kChain, DraftMode::kNgram}) {
    SCOPED_TRACE(ToString(mode));
    options.draft = mode;
    const GenerationResult result = Check(oracle.generator(), prompt, options);
    EXPECT_EQ(result.token_ids, oracle.plain());
    if (mode == DraftMode::kTree) {
      EXPECT_GT(result.timings.accepted, 10);
    }
  }
}

TEST_F(HiddenCaptureTest, TextsThatEndInsideAnAcceptedPath) {
  const std::vector<TokenId> prompt = RandomTokens(20, 259, 7);
  GenerationOptions options;
  options.max_tokens = 30;
  options.ignore_eos = true;
  OracleGenerator oracle(model_, tokenizer_, 1, prompt, options);
  options.draft = DraftMode::kChain;
  for (options.max_tokens = 1; options.max_tokens < 8; ++options.max_tokens) {
    Check(oracle.generator(), prompt, options);
  }
}

}  // namespace
}  // namespace tern
