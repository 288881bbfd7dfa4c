#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <random>

#include "engine/error.h"
#include "engine/memory.h"
#include "engine/safetensors.h"
#include "kernels/parallel.h"
#include "tests/support/forward_runner.h"
#include "tests/support/load_error.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr char kGate[] = "model.layers.1.mlp.gate_proj.weight";

ModelConfig SmallConfig() {
  ModelConfig config = TinyConfig();
  config.vocab_size = 40;
  config.hidden_size = 32;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.intermediate_size = 20;
  config.max_position_embeddings = 64;
  return config;
}

// Logits of a few tokens, as evidence that every weight is the same and in its place.
void ExpectSameModel(const Model& expected, const Model& got) {
  const std::vector<TokenId> tokens = RandomTokens(20, expected.config.vocab_size, 3);
  const std::vector<RowResult> a = ForwardRunner(expected).Prefill(tokens, 20);
  const std::vector<RowResult> b = ForwardRunner(got).Prefill(tokens, 20);
  for (size_t i = 0; i < tokens.size(); ++i) ASSERT_TRUE(SameBits(a[i], b[i])) << i;
}

TEST(Loader, PackedModelComesBack) {
  TempDir dir;
  for (const bool multiplies : {true, false}) {
    for (const bool tied : {true, false}) {
      ModelConfig config = SmallConfig();
      config.tie_word_embeddings = tied;
      Model model = MakeTinyModel(config);
      for (LayerWeights& w : model.layers) {  // powers of two survive 1 / scale
        for (TernaryMatrix* m : Linears(w)) {
          m->scale = std::exp2(std::round(std::log2(m->scale)));
        }
      }
      WriteModelDir(dir.path(), ConfigJson(config, HfLinears::kPacked, multiplies),
                    PackedTensors(model, multiplies));
      const Model loaded = LoadModel(dir.path());
      EXPECT_EQ(loaded.config.eos_token_ids, std::vector<int32_t>{2});
      ExpectSameModel(model, loaded);
    }
  }
}

// From 64 MiB on bf16 embeddings are not copied; they outlive the reader of their file, and a file
// that replaces theirs does not change them.
TEST(Loader, LargeTableIsUsedWhereItLies) {
  ModelConfig config = SmallConfig();
  config.hidden_size = 256;
  config.num_attention_heads = 256 / config.head_dim;
  config.vocab_size = static_cast<int32_t>(kMappedTableBytes / (2 * 256));
  const Model model = MakeTinyModel(config);
  const TempDir dir;
  WriteModelDir(dir.path(), ConfigJson(config, HfLinears::kPacked, true),
                PackedTensors(model, true));
  const Model loaded = LoadModel(dir.path());
  ASSERT_TRUE(loaded.embed_tokens.is_mapped());
  EXPECT_FALSE(model.embed_tokens.is_mapped());
  std::filesystem::remove(dir.path() + "/model.safetensors");
  ExpectSameModel(model, loaded);

  config.vocab_size -= 1;
  const TempDir smaller;
  WriteModelDir(smaller.path(), ConfigJson(config, HfLinears::kPacked, true),
                PackedTensors(MakeTinyModel(config), true));
  EXPECT_FALSE(LoadModel(smaller.path()).embed_tokens.is_mapped());
}

TEST(Loader, ModelInSeveralFiles) {
  TempDir dir;
  const Model model = MakeTinyModel(SmallConfig());
  const RawTensors all = PackedTensors(model);
  RawTensors parts[2];
  Json index;
  for (const auto& [name, tensor] : all) {
    const size_t part = name.size() % 2;
    parts[part][name] = tensor;
    index["weight_map"][name] = "part-" + std::to_string(part) + ".safetensors";
  }
  for (size_t i = 0; i < 2; ++i) {
    WriteBytes(dir / ("part-" + std::to_string(i) + ".safetensors"),
               SafetensorsBytes(SafetensorsHeader(parts[i]).dump(), parts[i]));
  }
  WriteBytes(dir / "config.json", ConfigJson(model.config).dump());
  WriteBytes(dir / "model.safetensors.index.json", index.dump());
  ExpectSameModel(model, LoadModel(dir.path()));

  index["weight_map"][kGate] = "../part-0.safetensors";
  WriteBytes(dir / "model.safetensors.index.json", index.dump());
  EXPECT_THROW(LoadModel(dir.path()), Error);
}

uint16_t ToHalf(float value) {  // normal numbers that fit exactly
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value == 0) return 0;
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | ((bits >> 23 & 255u) - 112u) << 10 |
                               (bits >> 13 & 1023u));
}

// Master weights of every float type: the packed ternaries and the scale are those of the formula.
TEST(Loader, MastersAreTernarised) {
  TempDir dir;
  const ModelConfig config = SmallConfig();
  const Model model = MakeTinyModel(config);
  std::mt19937 random(4);
  for (const std::string dtype : {"F32", "BF16", "F16"}) {
    RawTensors tensors = PackedTensors(model);
    std::vector<float> gate;
    for (auto& [name, tensor] : tensors) {
      if (tensor.dtype != "U8") continue;
      const size_t rows = tensor.shape[0] * 4, cols = tensor.shape[1];
      std::vector<float> values(rows * cols);
      std::string bytes;
      for (float& v : values) {  // multiples of 1/64 below 2: exact in all three types
        v = static_cast<float>(static_cast<int>(random() % 255) - 127) / 64.0f;
        const uint16_t half = dtype == "F16" ? ToHalf(v) : BFloat16::FromFloat(v).bits;
        bytes.append(dtype == "F32" ? reinterpret_cast<const char*>(&v)
                                    : reinterpret_cast<const char*>(&half),
                     dtype == "F32" ? 4 : 2);
      }
      tensor = {dtype, {rows, cols}, bytes};
      if (name == kGate) gate = values;
    }
    std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with("_scale"); });
    WriteModelDir(dir.path(), ConfigJson(config, HfLinears::kMasters), tensors);
    const Model loaded = LoadModel(dir.path());

    double mean = 0;
    for (const float v : gate) mean += std::fabs(v);
    mean /= static_cast<double>(gate.size());
    const TernaryMatrix& w = loaded.layers[1].gate_proj;
    EXPECT_NEAR(w.scale, mean, mean * 0x1p-24) << dtype;  // one rounding to fp32
    std::vector<int8_t> codes(gate.size());
    UnpackTernary(w.View(), {codes.data(), w.rows, w.cols});
    for (size_t i = 0; i < gate.size(); ++i) {
      ASSERT_EQ(codes[i], std::clamp(std::nearbyint(gate[i] / mean), -1.0, 1.0))
          << dtype << " " << i;
    }
  }
}

// --- Defects. Each is one change to a right model; the message must name the file and the matter.
// ---

struct Parts {
  Json config;
  RawTensors tensors;
};
struct Defect {
  const char* name;
  std::function<void(Parts&)> make;
  const char* file;      // must be named
  const char* mentions;  // must be said
  Error::Kind kind = Error::Kind::kBadFile;
};

void SetField(Parts& p, const char* name, Json value) { p.config[name] = std::move(value); }

const Defect kDefects[] = {
    {"NoHiddenSize", [](Parts& p) { p.config.erase("hidden_size"); }, "config.json", "hidden_size"},
    {"ZeroLayers", [](Parts& p) { SetField(p, "num_hidden_layers", 0); }, "config.json",
     "num_hidden_layers"},
    {"FewerLayersThanTheFile", [](Parts& p) { SetField(p, "num_hidden_layers", 1); }, "config.json",
     "num_hidden_layers"},
    {"NegativeVocab", [](Parts& p) { SetField(p, "vocab_size", -5); }, "config.json", "vocab_size"},
    {"HugeWidth", [](Parts& p) { SetField(p, "intermediate_size", 1000000000); }, "config.json",
     "intermediate_size"},
    {"TextForNumber", [](Parts& p) { SetField(p, "hidden_size", "32"); }, "config.json", "\"32\""},
    {"FractionalSize", [](Parts& p) { SetField(p, "hidden_size", 32.5); }, "config.json", "32.5"},
    {"HeadsDoNotDivide", [](Parts& p) { SetField(p, "num_attention_heads", 3); }, "config.json",
     "num_attention_heads"},
    {"KvHeadsDoNotDivide",
     [](Parts& p) { SetField(p, "num_attention_heads", 4), SetField(p, "num_key_value_heads", 3); },
     "config.json", "num_key_value_heads"},
    {"OtherHeadDim", [](Parts& p) { SetField(p, "head_dim", 8); }, "model.safetensors",
     "self_attn.q_proj.weight"},
    {"OddHeadDim", [](Parts& p) { SetField(p, "num_attention_heads", 32); }, "config.json",
     "head_dim"},
    {"HugeHeadDim", [](Parts& p) { SetField(p, "head_dim", 100000); }, "config.json", "head_dim"},
    {"NegativeEps", [](Parts& p) { SetField(p, "rms_norm_eps", -1e-5); }, "config.json",
     "rms_norm_eps"},
    {"ThetaIsList", [](Parts& p) { SetField(p, "rope_theta", Json::array()); }, "config.json",
     "rope_theta"},
    {"EosOutside",
     [](Parts& p) {
       SetField(p, "eos_token_id", {2, 40});
     },
     "config.json", "eos_token_id"},
    {"TieIsNumber", [](Parts& p) { SetField(p, "tie_word_embeddings", 1); }, "config.json",
     "tie_word_embeddings"},
    {"OtherActivation", [](Parts& p) { SetField(p, "hidden_act", "gelu"); }, "config.json", "gelu",
     Error::Kind::kUnsupported},
    {"OtherArchitecture", [](Parts& p) { SetField(p, "model_type", "gemma"); }, "config.json",
     "gemma", Error::Kind::kUnsupported},
    {"RopeScaling",
     [](Parts& p) {
       SetField(p, "rope_scaling", {{"factor", 2}, {"type", "dynamic"}});
     },
     "config.json", "dynamic", Error::Kind::kUnsupported},
    {"OtherQuantisation",
     [](Parts& p) { p.config["quantization_config"]["quant_method"] = "gptq"; }, "config.json",
     "gptq", Error::Kind::kUnsupported},
    {"OtherMode", [](Parts& p) { p.config["quantization_config"]["quantization_mode"] = "often"; },
     "config.json", "often"},
    {"QuantisationIsText", [](Parts& p) { SetField(p, "quantization_config", "bitnet"); },
     "config.json", "quantization_config"},
    {"MissingTensor", [](Parts& p) { p.tensors.erase(kGate); }, "model.safetensors", kGate},
    {"MissingScale", [](Parts& p) { p.tensors.erase(std::string(kGate) + "_scale"); },
     "model.safetensors", "gate_proj.weight_scale"},
    {"MissingHead", [](Parts& p) { SetField(p, "tie_word_embeddings", false); },
     "model.safetensors", "lm_head.weight"},
    {"OtherShape", [](Parts& p) { SetField(p, "intermediate_size", 24); }, "model.safetensors",
     "expected shape"},
    {"MastersSaidPacked", [](Parts& p) { p.tensors[kGate].dtype = "I8"; }, "model.safetensors",
     "I8"},
    {"PackedSaidMasters",
     [](Parts& p) { p.config["quantization_config"]["quantization_mode"] = "online"; },
     "model.safetensors", "q_proj"},
    {"IntegerNorm", [](Parts& p) { p.tensors["model.norm.weight"].dtype = "I32"; },
     "model.safetensors", "I32"},
    {"CodeThree", [](Parts& p) { p.tensors[kGate].bytes[17] = '\x0C'; }, "model.safetensors",
     "byte 17"},
    {"ScaleZero",
     [](Parts& p) { p.tensors[std::string(kGate) + "_scale"].bytes = std::string(4, '\0'); },
     "model.safetensors", "positive scale"},
    {"NormNotFinite",
     [](Parts& p) { p.tensors["model.norm.weight"].bytes.replace(8, 4, "\xFF\xFF\xFF\xFF"); },
     "model.safetensors", "element 2"},
    {"TooLargeForMemory",
     [](Parts& p) {
       SetField(p, "vocab_size", 1 << 24), SetField(p, "hidden_size", 131072),
           SetField(p, "num_attention_heads", 1024), SetField(p, "num_hidden_layers", 4096);
     },
     "", "MB of memory", Error::Kind::kInternal},
};

TEST(Loader, EveryDefectIsNamed) {
  const Model model = MakeTinyModel(SmallConfig());
  for (const Defect& defect : kDefects) {
    TempDir dir;
    Parts parts{ConfigJson(model.config), PackedTensors(model)};
    defect.make(parts);
    WriteModelDir(dir.path(), parts.config, parts.tensors);
    ExpectLoadError(dir.path(), defect.name, {dir.path(), defect.file, defect.mentions},
                    defect.kind);
  }
}

class SafetensorsDefects : public testing::Test {
 protected:
  RawTensors tensors_ = {{"a", {"U8", {4}, "abcd"}}, {"b", {"F32", {2, 1}, std::string(8, '\0')}}};
  TempDir dir_;

  void ExpectError(const std::string& bytes, const std::string& mentions) {
    const std::string path = dir_ / "model.safetensors";
    WriteBytes(path, bytes);
    try {
      SafetensorsFile file(path);
      ADD_FAILURE() << "opened; expected " << mentions;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kBadFile) << error.what();
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(mentions), std::string::npos) << error.what();
    }
  }
  void ExpectHeaderError(const std::string& header, const std::string& mentions) {
    ExpectError(SafetensorsBytes(header, tensors_), mentions);
  }
  // The right header but for one value.
  void ExpectChangeError(const char* tensor, const char* field, const Json& value,
                         const std::string& mentions) {
    Json header = SafetensorsHeader(tensors_);
    header[tensor][field] = value;
    ExpectHeaderError(header.dump(), mentions);
  }
};

TEST_F(SafetensorsDefects, RightFileOpens) {
  Json header = SafetensorsHeader(tensors_);
  header["__metadata__"] = {{"format", "pt"}};
  WriteBytes(dir_ / "x", SafetensorsBytes(header.dump(), tensors_));
  SafetensorsFile file(dir_ / "x");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(static_cast<char>(file.tensors().at("a").data[2]), 'c');
}

TEST_F(SafetensorsDefects, Header) {
  ExpectError("", "header");
  ExpectError("abc", "header");
  ExpectError(std::string(8, '\xFF'), "header length");
  ExpectError(std::string("\x40\0\0\0\0\0\0\0{}", 10), "header length");
  ExpectError("GGUF, not a safetensors file at all", "header length");
  ExpectHeaderError("[1, 2]", "JSON object");
  ExpectHeaderError("{\"a\": {\"dtype\"", "JSON object");
  ExpectHeaderError("{\"a\": 3}", "tensor a");
  ExpectHeaderError("{\"a\": {\"dtype\": \"U8\"}}", "tensor a");
  EXPECT_THROW(SafetensorsFile(dir_ / "none"), Error);
  EXPECT_THROW(SafetensorsFile(dir_.path()), Error);
}

TEST_F(SafetensorsDefects, Tensors) {
  ExpectChangeError("a", "dtype", "U9", "U9");
  ExpectChangeError("a", "dtype", 8, "dtype");
  ExpectChangeError("a", "shape", "4", "shape");
  ExpectChangeError("a", "shape", {-4}, "shape");
  ExpectChangeError("a", "shape", {5}, "5 bytes");
  ExpectChangeError("b", "shape", {1ull << 62, 2}, "64 bits");
  ExpectChangeError("b", "shape", {1ull << 32, 1ull << 32, 1}, "64 bits");
  ExpectChangeError("a", "data_offsets", {0}, "data_offsets");
  ExpectChangeError("a", "data_offsets", {-1, 3}, "data_offsets");
  ExpectChangeError("a", "data_offsets", {4, 0}, "data_offsets");
  ExpectChangeError("b", "data_offsets", {4, 13}, "12 bytes of data");
  ExpectChangeError("b", "data_offsets", {~0ull - 7, ~0ull}, "12 bytes of data");
  ExpectChangeError("b", "data_offsets", {3, 11}, "overlapping");
  ExpectHeaderError("{\"b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [4, 12]}}",
                    "gap");
  ExpectError(SafetensorsBytes(SafetensorsHeader(tensors_).dump(), tensors_) + "x",
              "size of the data");
}

// A file cut anywhere is an error; a byte changed anywhere is an error or a model, never a crash.
TEST(Loader, CutAndChangedFilesNeverCrash) {
  SetThreadCount(1);  // thousands of small loads
  TempDir dir;
  ModelConfig config = SmallConfig();
  config.num_hidden_layers = 1;
  const Model model = MakeTinyModel(config);
  const RawTensors tensors = PackedTensors(model);
  WriteModelDir(dir.path(), ConfigJson(config), tensors);
  const std::string path = dir / "model.safetensors";
  const std::string header = SafetensorsHeader(tensors).dump();
  const std::string right = SafetensorsBytes(header, tensors);
  std::mt19937 random(1);
  for (int i = 0; i < 60; ++i) {
    const size_t size = i < 20 ? static_cast<size_t>(i) : random() % right.size();
    WriteBytes(path, std::string_view(right).substr(0, size));
    EXPECT_THROW(LoadModel(dir.path()), Error) << "cut to " << size;
  }
  int loaded = 0;
  for (int i = 0; i < 400; ++i) {
    std::string changed = right;
    changed[random() % (8 + header.size())] = static_cast<char>(random());
    WriteBytes(path, changed);
    try {
      LoadModel(dir.path());
      ++loaded;
    } catch (const Error&) {
    }
  }
  EXPECT_LT(loaded, 400);
  const std::string config_text = ConfigJson(config).dump();
  WriteBytes(path, right);
  for (int i = 0; i < 400; ++i) {
    std::string changed = config_text;
    changed[random() % changed.size()] = static_cast<char>(random());
    WriteBytes(dir / "config.json", changed);
    try {
      LoadModel(dir.path());
    } catch (const Error&) {
    }
  }
}

TEST(Memory, AsksForWhatIsThere) {
  EXPECT_GT(AvailableMemoryBytes(), size_t{1} << 20);
  EXPECT_NO_THROW(RequireMemory("a byte", 1));
  EXPECT_THROW(RequireMemory("all", SIZE_MAX), Error);
}

}  // namespace
}  // namespace tern
