// The exported model: the same bytes as the golden folder, and what Hugging Face transformers and
// tern's own engine compute from it. tests/golden/make_hf_fixture.py made the reference's logits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/model.h"
#include "engine/safetensors_writer.h"
#include "kernels/dense_matmul.h"
#include "tests/support/forward_runner.h"
#include "tests/support/relative_distance.h"
#include "tests/support/temp_dir.h"
#include "trainer/backbone.h"

namespace tern {
namespace {

const char kGolden[] = TERN_SOURCE_DIR "/tests/golden/tiny_bitnet";

ModelConfig GoldenConfig() {
  ModelConfig config;
  config.vocab_size = 48;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.rope_theta = 10000.0;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  return config;
}

BackboneOptions OneSequence(int32_t tokens, bool bfloat16) {
  BackboneOptions options;
  options.batch = 1;
  options.sequence = tokens;
  options.bfloat16 = bfloat16;
  return options;
}

std::unique_ptr<Backbone> GoldenBackbone(int32_t tokens, bool bfloat16 = false) {
  auto backbone = std::make_unique<Backbone>(GoldenConfig(), OneSequence(tokens, bfloat16));
  ImportMasters(std::string(kGolden) + "/masters", *backbone);
  return backbone;
}

const char* const kFiles[] = {"config.json", "model.safetensors", "masters/config.json",
                              "masters/model.safetensors"};

// TERN_UPDATE_GOLDEN=1 writes the folder anew (then run make_hf_fixture.py).
TEST(BackboneExport, WritesTheGoldenBytes) {
  if (std::getenv("TERN_UPDATE_GOLDEN") != nullptr) {
    Backbone fresh(GoldenConfig(), OneSequence(8, false));
    fresh.Initialise(5);
    for (const ParameterSlice& slice : fresh.slices()) {
      for (size_t i = 0; i < slice.size(); ++i) {
        float& value = fresh.parameters()[slice.offset + i];
        if (!slice.decays)
          value = 1.0f + 0.3f * std::sin(static_cast<float>(i));  // gains that matter
        if (slice.decays && !slice.ternary) value *= 20.0f;       // logits of size ~3
      }
    }
    fresh.RefreshWeights();
    ExportBackbone(fresh, kGolden);               // bf16 masters,
    ExportBackbone(*GoldenBackbone(8), kGolden);  // and ternary weights derived from just those
  }
  const TempDir dir;
  ExportBackbone(*GoldenBackbone(8), dir.path());
  for (const char* file : kFiles) {
    EXPECT_EQ(ReadFile(dir.path() + "/" + file), ReadFile(std::string(kGolden) + "/" + file))
        << file;
  }
}

// Prompts and logits as the reference computes them.
struct Reference {
  struct Prompt {
    std::vector<int32_t> tokens;
    std::vector<float> plain;  // [n, V], transformers as it is
    std::vector<float>
        rounded_kv;  // [n, V], with K and V rounded to bf16 as tern's cache holds them
  };
  std::vector<Prompt> prompts;
};

template <class T>
std::vector<T> Take(const std::string& bytes, size_t& at, size_t count) {
  std::vector<T> values(count);
  EXPECT_LE(at + count * sizeof(T), bytes.size());
  std::memcpy(values.data(), bytes.data() + at, count * sizeof(T));
  at += count * sizeof(T);
  return values;
}

Reference ReadReference() {
  const std::string bytes = ReadFile(TERN_SOURCE_DIR "/tests/golden/hf_logits.bin");
  size_t at = 0;
  const std::vector<int32_t> header = Take<int32_t>(bytes, at, 2);  // prompts, V
  Reference reference;
  for (int32_t i = 0; i < header[0]; ++i) {
    Reference::Prompt prompt;
    const auto count = static_cast<size_t>(Take<int32_t>(bytes, at, 1)[0]);
    prompt.tokens = Take<int32_t>(bytes, at, count);
    prompt.plain = Take<float>(bytes, at, count * static_cast<size_t>(header[1]));
    prompt.rounded_kv = Take<float>(bytes, at, count * static_cast<size_t>(header[1]));
    reference.prompts.push_back(std::move(prompt));
  }
  return reference;
}

std::vector<float> BackboneLogits(const std::vector<int32_t>& prompt, bool bfloat16) {
  std::vector<int32_t> tokens = prompt;
  tokens.push_back(0);  // a target that no logit depends on
  std::vector<float> logits(prompt.size() * 48);
  GoldenBackbone(static_cast<int32_t>(prompt.size()), bfloat16)->Logits(tokens, logits);
  return logits;
}

std::vector<float> EngineLogits(const std::vector<int32_t>& prompt) {
  const Model model = LoadModel(kGolden);
  std::vector<float> logits;
  for (const RowResult& row : ForwardRunner(model).Prefill(prompt, 16)) {
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
  }
  return logits;
}

class AgainstReference : public testing::TestWithParam<size_t> {
 protected:
  const Reference::Prompt prompt_ = ReadReference().prompts[GetParam()];
};

// Share of rows whose logits all lie within 1e-4 of the reference (logits are of size 3).
double EqualRows(const std::vector<float>& want, const std::vector<float>& got) {
  size_t equal = 0;
  const size_t rows = want.size() / 48;
  for (size_t r = 0; r < rows; ++r) {
    float worst = 0;
    for (size_t i = r * 48; i < (r + 1) * 48; ++i)
      worst = std::max(worst, std::abs(want[i] - got[i]));
    equal += worst < 1e-4f ? 1 : 0;
  }
  return static_cast<double>(equal) / static_cast<double>(rows);
}

// Where both sides round to the same codes they differ by fp32 sums alone: 2^-24 * sqrt(48 terms *
// 20 products)
// * 3, about 1e-5. Those sums, in another order on another instruction set, can also move a value
// across an int8 boundary: by 1e-4 of a code, so one code in 5000, and the longest prompt has 40 *
// 2 * (3 * 32 + 48) = 11,520. A flipped code moves its row's logits, and later rows' through
// attention, by about 1/127 of one input among 32: 0.3%, twice that for two. Hence: most rows
// equal, all rows within 1%.
TEST_P(AgainstReference, TightWhereKeysAndValuesRoundAlike) {
  for (const std::vector<float>& logits :
       {BackboneLogits(prompt_.tokens, false), EngineLogits(prompt_.tokens)}) {
    EXPECT_LE(test::RelativeDistance(logits, prompt_.rounded_kv), 0.01);
    EXPECT_GE(EqualRows(prompt_.rounded_kv, logits), 0.5);
  }
}

// Rounding K and V moves them by up to 2^-9 and so attention's output by 0.1% of its size: at 40
// codes rms that is 0.04 of a code, so one code in 25 flips, each by one: sqrt(1 / 25) / 40 = 0.5%
// of the input of o_proj, and of every ternary linear behind it (six): about 1.2% of the logits, 3%
// with room. bf16 GEMMs also round q, probabilities and the hidden state: 2^-9 each, 2%.
TEST_P(AgainstReference, CloseToTransformersAsItIs) {
  EXPECT_LE(test::RelativeDistance(BackboneLogits(prompt_.tokens, false), prompt_.plain), 0.015);
  EXPECT_LE(test::RelativeDistance(EngineLogits(prompt_.tokens), prompt_.plain), 0.015);
  if (!HasBFloat16Matmul()) return;
  EXPECT_LE(test::RelativeDistance(BackboneLogits(prompt_.tokens, true), prompt_.plain), 0.02);
}

INSTANTIATE_TEST_SUITE_P(Prompts, AgainstReference, testing::Range<size_t>(0, 4));

std::string ImportError(const std::string& dir, const ModelConfig& config) {
  Backbone backbone(config, OneSequence(4, false));
  try {
    ImportMasters(dir, backbone);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ImportMasters, NamesWhatDoesNotFit) {
  EXPECT_NE(ImportError(kGolden, GoldenConfig()).find("offline"), std::string::npos);
  EXPECT_NE(ImportError("/nowhere", GoldenConfig()).find("/nowhere"), std::string::npos);
  ModelConfig wider = GoldenConfig();
  wider.intermediate_size = 64;
  const std::string message = ImportError(std::string(kGolden) + "/masters", wider);
  EXPECT_NE(message.find("intermediate_size: expected 64, got 48"), std::string::npos) << message;
}

TEST(ImportMasters, RefusesAMissingTensor) {
  const TempDir dir;
  WriteFileAtomically(dir.path() + "/config.json",
                      ReadFile(std::string(kGolden) + "/masters/config.json"));
  WriteSafetensors(dir.path() + "/model.safetensors",
                   {{"other", "U8", {2}, [](AtomicFile& file) { file.Write("ab"); }}});
  const std::string message = ImportError(dir.path(), GoldenConfig());
  EXPECT_NE(message.find("model.embed_tokens.weight"), std::string::npos) << message;
}

TEST(ExportBackbone, NamesTheFolderItCannotMake) {
  const TempDir dir;
  WriteFileAtomically(dir.path() + "/file", "x");
  try {
    ExportBackbone(*GoldenBackbone(4), dir.path() + "/file/model");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/file/model"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tern
