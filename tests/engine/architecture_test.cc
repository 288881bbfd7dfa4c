// Every architecture against Hugging Face transformers: golden/architectures holds a tiny random
// model of each, laid out as its publishers do, and the reference's logits at every position
// (make_architecture_fixtures.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/model.h"
#include "engine/safetensors.h"
#include "kernels/dispatch.h"
#include "tests/support/forward_runner.h"
#include "tests/support/load_error.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

std::string Folder(const std::string& name) {
  return std::string(TERN_SOURCE_DIR) + "/tests/golden/architectures/" + name;
}

using Rows = std::vector<std::vector<float>>;  // [n][V]

// One prompt and its logits as the reference computes them.
struct Golden {
  std::vector<TokenId> tokens;
  Rows fp32;        // as it is
  Rows rounded_kv;  // K and V rounded to bf16, as tern's cache holds them
  Rows bf16;        // everything in bf16
};

class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}
  template <class T>
  std::vector<T> Take(size_t count) {
    std::vector<T> values(count);
    EXPECT_LE(at_ + count * sizeof(T), bytes_.size());
    std::memcpy(values.data(), bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return values;
  }
  Rows TakeRows(size_t n, size_t width) {
    Rows rows(n);
    for (std::vector<float>& row : rows) row = Take<float>(width);
    return rows;
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

std::vector<Golden> ReadGolden(const std::string& name) {
  Reader reader(ReadFile(Folder(name) + "/logits.bin"));
  const std::vector<int32_t> header = reader.Take<int32_t>(2);  // prompts, V
  const size_t width = static_cast<size_t>(header[1]);
  std::vector<Golden> all(static_cast<size_t>(header[0]));
  for (Golden& golden : all) {
    const size_t n = static_cast<size_t>(reader.Take<int32_t>(1)[0]);
    golden.tokens = reader.Take<TokenId>(n);
    golden.fp32 = reader.TakeRows(n, width);
    golden.rounded_kv = reader.TakeRows(n, width);
    golden.bf16 = reader.TakeRows(n, width);
  }
  return all;
}

Rows EngineLogits(const Model& model, const std::vector<TokenId>& tokens) {
  Rows rows;
  for (const RowResult& row : ForwardRunner(model).Prefill(tokens, tokens.size()))
    rows.push_back(row.logits);
  return rows;
}

double Rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

double Size(const std::vector<float>& row) { return Rms(row, std::vector<float>(row.size())); }

// The largest difference of a row, relative to the row's size.
double Worst(const std::vector<float>& want, const std::vector<float>& got) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i)
    worst = std::max(worst, std::fabs(double{want[i]} - double{got[i]}));
  return worst / Size(want);
}

struct Best {
  size_t token;
  double margin;  // to the second, relative to the row's size
};

Best BestOf(const std::vector<float>& row) {
  const auto best = std::max_element(row.begin(), row.end());
  double second = -HUGE_VAL;
  for (auto it = row.begin(); it != row.end(); ++it) {
    if (it != best) second = std::max(second, double{*it});
  }
  return {static_cast<size_t>(best - row.begin()), (double{*best} - second) / Size(row)};
}

// The prompt's logits lie within `tolerance` (rms, relative to their size), and the best token is
// the same wherever its margin is beyond what differences of 4 such sigmas on each side can undo.
void ExpectClose(const Rows& want, const Rows& got, double tolerance, size_t* decided) {
  ASSERT_EQ(want.size(), got.size());
  double squares = 0;
  for (size_t r = 0; r < want.size(); ++r) {
    squares += std::pow(Rms(want[r], got[r]) / Size(want[r]), 2);
    const Best best = BestOf(want[r]);
    if (best.margin <= 2 * 4 * tolerance) continue;
    ++*decided;
    EXPECT_EQ(best.token, BestOf(got[r]).token) << "row " << r << ", margin " << best.margin;
  }
  EXPECT_LE(std::sqrt(squares / static_cast<double>(want.size())), tolerance);
}

double ShareOfEqualRows(const Rows& want, const Rows& got) {
  size_t equal = 0;
  for (size_t r = 0; r < want.size(); ++r) equal += Worst(want[r], got[r]) < 1e-4 ? 1 : 0;
  return static_cast<double>(equal) / static_cast<double>(want.size());
}

// Relative rms of a prompt's logits.
//
// rounded_kv: both sides differ by fp32 sums alone, about 1e-5, until a sum falls on the other side
// of a rounding: of K or V to bf16 (2^-9 of one element), and with int8 activations of a code (one
// of 127 in one input among 32 or more: 0.3% of a row, and later rows see it). Few roundings are
// that close: half of the rows see none at all.
// fp32: K and V differ by up to 2^-9 (rms 0.11%); softmax, the gate and two layers make three times
// that of it, 0.35%. int8: each such shift is 0.04 of a code, so one in 25 codes flips, which is
// sqrt(1 / 25) / 40 = 0.5% of the input of every linear behind (six), 1.2%; rows of 48 logits
// scatter to twice that.
// bf16: besides, the reference rounds every intermediate result, 40 a pass at 0.11% each: 0.7%, and
// with int8 the codes that this flips.
struct Tolerances {
  double rounded_kv, fp32, bf16;
};
constexpr Tolerances kFloatTolerances = {0.002, 0.007, 0.025};
constexpr Tolerances kInt8Tolerances = {0.02, 0.04, 0.05};

class Architecture : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  void SetUp() override { ASSERT_TRUE(SetMaxTarget(std::get<1>(GetParam()))); }
  void TearDown() override { ASSERT_TRUE(SetMaxTarget(SupportedTargets().back())); }
};

TEST_P(Architecture, LogitsAreTheReferences) {
  const std::string name = std::get<0>(GetParam());
  const Model model = LoadModel(Folder(name));
  const bool is_float = model.config.activations == Activations::kFloat;
  EXPECT_EQ(is_float, name == "trilm" || name == "qwen3");
  const Tolerances& tolerances = is_float ? kFloatTolerances : kInt8Tolerances;
  size_t decided = 0, decided_by_bf16 = 0, rows = 0;
  double equal_rows = 0;
  for (const Golden& golden : ReadGolden(name)) {
    SCOPED_TRACE(std::to_string(golden.tokens.size()) + " tokens");
    const Rows got = EngineLogits(model, golden.tokens);
    ExpectClose(golden.rounded_kv, got, tolerances.rounded_kv, &decided);
    ExpectClose(golden.fp32, got, tolerances.fp32, &decided);
    ExpectClose(golden.bf16, got, tolerances.bf16, &decided_by_bf16);
    rows += got.size();
    equal_rows += ShareOfEqualRows(golden.rounded_kv, got) * static_cast<double>(got.size());
  }
  EXPECT_GE(equal_rows, 0.5 * static_cast<double>(rows));
  EXPECT_GE(decided, rows);  // of twice as many
  EXPECT_GE(decided_by_bf16, rows / 5);
}

INSTANTIATE_TEST_SUITE_P(All, Architecture,
                         testing::Combine(testing::Values("bitnet", "onebit", "llama", "trilm",
                                                          "qwen3"),
                                          testing::ValuesIn(SupportedTargets())),
                         [](const auto& param_info) {
                           return std::get<0>(param_info.param) + "_" +
                                  std::get<1>(param_info.param);
                         });

TEST(Scales, AreTheFiles) {
  const Model trilm = LoadModel(Folder("trilm")), qwen = LoadModel(Folder("qwen3"));
  const TernaryMatrix &rows = trilm.layers[1].up_proj, &groups = qwen.layers[1].up_proj;
  EXPECT_EQ(rows.group_cols, rows.cols);  // a scale per range of rows becomes one per row
  EXPECT_EQ(rows.group_scales[0], rows.group_scales[rows.rows / 2 - 1]);
  EXPECT_NE(rows.group_scales[0], rows.group_scales[rows.rows - 1]);
  EXPECT_EQ(groups.group_cols, 128u);
  EXPECT_EQ(groups.group_scales.size(), 2 * PadRows(groups.rows));
  for (const LayerWeights& w : LoadModel(Folder("llama")).layers)
    EXPECT_EQ(w.q_proj.group_scales.size(), 0u);
}

// --- Defects: each is one change to a right model. ---

struct Parts {
  nlohmann::json config;
  RawTensors tensors;
};

Parts ReadParts(const std::string& name) {
  Parts parts;
  parts.config = nlohmann::json::parse(ReadFile(Folder(name) + "/config.json"));
  const SafetensorsFile file(Folder(name) + "/model.safetensors");
  for (const auto& [tensor_name, tensor] : file.tensors()) {
    parts.tensors[tensor_name] = {
        tensor.dtype, tensor.shape,
        std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size())};
  }
  return parts;
}

struct Defect {
  const char* name;
  const char* model;
  std::function<void(Parts&)> make;
  const char* mentions;
  Error::Kind kind = Error::Kind::kBadFile;
};

constexpr char kGate[] = "model.layers.1.mlp.gate_proj.weight";

void Set(Parts& p, const char* field, nlohmann::json value) { p.config[field] = std::move(value); }
void SetRope(Parts& p, const char* field, nlohmann::json value) {
  p.config["rope_scaling"][field] = std::move(value);
}

const Defect kDefects[] = {
    {"AttentionBias", "llama", [](Parts& p) { Set(p, "attention_bias", true); }, "attention_bias",
     Error::Kind::kUnsupported},
    {"MlpBias", "llama", [](Parts& p) { Set(p, "mlp_bias", true); }, "mlp_bias",
     Error::Kind::kUnsupported},
    {"SlidingWindow", "llama", [](Parts& p) { Set(p, "use_sliding_window", true); },
     "use_sliding_window", Error::Kind::kUnsupported},
    {"BiasIsText", "llama", [](Parts& p) { Set(p, "mlp_bias", "no"); }, "mlp_bias"},
    {"OtherActivation", "trilm", [](Parts& p) { Set(p, "hidden_act", "gelu"); }, "gelu",
     Error::Kind::kUnsupported},
    {"RopeWithoutFactor", "llama", [](Parts& p) { p.config["rope_scaling"].erase("factor"); },
     "factor"},
    {"RopeFactorZero", "llama", [](Parts& p) { SetRope(p, "factor", 0); }, "factor"},
    {"RopeBandEmpty", "llama", [](Parts& p) { SetRope(p, "high_freq_factor", 1.0); },
     "high_freq_factor"},
    {"RopeContextText", "llama",
     [](Parts& p) { SetRope(p, "original_max_position_embeddings", "16"); },
     "original_max_position_embeddings"},
    {"RopeTypeUnknown", "llama", [](Parts& p) { SetRope(p, "rope_type", "longrope"); }, "longrope",
     Error::Kind::kUnsupported},
    {"YarnFactorHuge", "llama",
     [](Parts& p) { SetRope(p, "rope_type", "yarn"), SetRope(p, "factor", 1e300); }, "factor"},
    {"RopeIsNumber", "llama", [](Parts& p) { Set(p, "rope_scaling", 3); }, "rope_scaling"},
    {"TwoWeightBits", "onebit", [](Parts& p) { Set(p, "weight_bits", 2); }, "weight_bits",
     Error::Kind::kUnsupported},
    {"FourInputBits", "onebit", [](Parts& p) { Set(p, "input_bits", 4); }, "input_bits",
     Error::Kind::kUnsupported},
    {"NoSecondSubNorm", "onebit",
     [](Parts& p) { p.tensors.erase("model.layers.1.mlp.ffn_layernorm.weight"); },
     "model.layers.1.mlp.ffn_layernorm.weight"},
    {"NoHeadNorms", "trilm", [](Parts& p) { Set(p, "model_type", "qwen3"); },
     "model.layers.0.self_attn.q_norm.weight"},
    // fp16 6.0 in place of the first weight: a second magnitude in its row.
    {"NotTernary", "trilm",
     [](Parts& p) { p.tensors[kGate].bytes.replace(2 * 64 * 3, 2, std::string("\x00\x46", 2)); },
     "gate_proj.weight, row 3", Error::Kind::kUnsupported},
    {"NotPacked", "trilm",
     [](Parts& p) {
       Set(p, "quantization_config", {{"quant_method", "bitnet"}});
     },
     "U8"},
    {"OddHeadDim", "llama", [](Parts& p) { Set(p, "head_dim", 15); }, "head_dim"},
    {"HugeHeads", "llama", [](Parts& p) { Set(p, "head_dim", 65536); }, "head_dim"},
};

TEST(ArchitectureDefects, AreNamed) {
  for (const Defect& defect : kDefects) {
    const TempDir dir;
    Parts parts = ReadParts(defect.model);
    defect.make(parts);
    WriteModelDir(dir.path(), parts.config, parts.tensors);
    ExpectLoadError(dir.path(), defect.name, {dir.path(), defect.mentions}, defect.kind);
  }
}

TEST(LoadModel, OtherFilesAreRefused) {
  const TempDir dir;
  const auto message = [&](const char* file, const std::string& bytes) -> std::string {
    WriteBytes(dir / file, bytes);
    try {
      LoadModel(dir / file);
    } catch (const Error& error) {
      return error.what();
    }
    return "loaded";
  };
  EXPECT_NE(message("a.txt", "hello").find("config.json"), std::string::npos);
  EXPECT_NE(message("empty", "").find("config.json"), std::string::npos);
  EXPECT_NE(message("m.gguf", std::string("GGUF\3\0\0\0", 8)).find("m.gguf: "), std::string::npos);
  EXPECT_THROW(LoadModel(dir / "none"), Error);
}

}  // namespace
}  // namespace tern
