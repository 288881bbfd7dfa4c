#include "engine/ggml_blocks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/ggml_encode.h"
#include "engine/ggml_ternary.h"
#include "engine/half.h"

namespace tern {
namespace {

const std::string kBlocks = TERN_SOURCE_DIR "/tests/golden/gguf/blocks.gguf";
const std::string kVectors = TERN_SOURCE_DIR "/../shared/facts/pack_vectors.json";

std::vector<float> Values(const GgufFile& file, const std::string& name) {
  const GgufTensor& tensor = *file.Find(name);
  std::vector<float> values(tensor.rows() * tensor.cols());
  for (size_t row = 0; row < tensor.rows(); ++row) {
    ReadGgmlRow(tensor, row, {values.data() + row * tensor.cols(), tensor.cols()});
  }
  return values;
}

// What a ternary tensor holds, as floats.
std::vector<float> TernaryValues(const GgufTensor& tensor, I2sOrder order = I2sOrder::k128x32) {
  const size_t cols = tensor.cols(), group = GgmlScaleGroup(tensor.type, cols);
  std::vector<float> values;
  std::vector<int8_t> codes(cols);
  std::vector<float> scales(cols / group);
  for (size_t row = 0; row < tensor.rows(); ++row) {
    ReadTernaryRow(tensor, row, order, codes, scales);
    for (size_t i = 0; i < cols; ++i) values.push_back(scales[i / group] * codes[i]);
  }
  return values;
}

TEST(GgmlBlocks, RowsAreThoseOfTheUpstreamPackage) {
  const GgufFile file(kBlocks);
  for (const char* name : {"F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"}) {
    EXPECT_EQ(Values(file, name), Values(file, std::string(name) + ".values")) << name;
  }
}

TEST(GgmlBlocks, TernaryRowsAreThoseOfTheUpstreamPackage) {
  const GgufFile file(kBlocks);
  for (const std::string name : {"TQ1_0", "TQ2_0", "I2_S"}) {
    EXPECT_EQ(TernaryValues(*file.Find(name)), Values(file, name + ".values")) << name;
  }
  EXPECT_EQ(TernaryValues(*file.Find("I2_S_64x16"), I2sOrder::k64x16), Values(file, "I2_S.values"));
  EXPECT_NE(TernaryValues(*file.Find("I2_S_64x16")), Values(file, "I2_S.values"));
  EXPECT_EQ(TernaryValues(*file.Find("IQ1_BN")), Values(file, "IQ_BN.values"));
  EXPECT_EQ(TernaryValues(*file.Find("IQ2_BN")), Values(file, "IQ_BN.values"));
}

// A tensor of its own bytes, outside a file.
struct OwnTensor {
  OwnTensor(GgmlType type, std::vector<size_t> shape, std::vector<uint8_t> data)
      : bytes(std::move(data)),
        tensor{"x.gguf", "x", type, std::move(shape), std::as_bytes(std::span(bytes))} {}
  std::vector<uint8_t> bytes;
  GgufTensor tensor;
};

std::vector<int8_t> SomeCodes(size_t n) {
  std::vector<int8_t> codes(n);
  for (size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<int8_t>(static_cast<int>((i * 2654435761u >> 7) % 3) - 1);
  }
  return codes;
}

// Codes [rows, cols] with one scale.
std::vector<uint8_t> Tq2Bytes(const std::vector<int8_t>& codes, size_t rows, float scale) {
  const size_t cols = codes.size() / rows;
  const std::vector<float> scales(codes.size() / 256, scale);
  return EncodeTq2_0({codes.data(), rows, cols}, {scales.data(), rows, cols / 256});
}

TEST(GgmlBlocks, EncodedTensorsComeBack) {
  // 3 x 320 in I2_S: rows of two and a half blocks.
  const std::vector<int8_t> odd = SomeCodes(4 * 320);
  const OwnTensor i2s(GgmlType::kI2_S, {4, 320}, EncodeI2s({odd.data(), 4, 320}, 0.3f));
  ASSERT_EQ(i2s.bytes.size(), GgmlBytes(GgmlType::kI2_S, 4, 320));
  std::vector<float> expected;
  for (const int8_t code : odd) expected.push_back(0.3f * code);
  EXPECT_EQ(TernaryValues(i2s.tensor), expected);

  std::vector<int8_t> codes = SomeCodes(2 * 512);
  std::fill_n(codes.begin() + 256, 256, int8_t{0});
  const OwnTensor tq2(GgmlType::kTQ2_0, {2, 512}, Tq2Bytes(codes, 2, 0.375f));
  ASSERT_EQ(tq2.bytes.size(), GgmlBytes(GgmlType::kTQ2_0, 2, 512));
  expected.clear();
  for (const int8_t code : codes) expected.push_back(0.375f * code);
  EXPECT_EQ(TernaryValues(tq2.tensor), expected);
  // The empty block has scale 0, as the upstream quantiser writes it.
  EXPECT_EQ(tq2.bytes[2 * 66 - 1] | tq2.bytes[2 * 66 - 2], 0);

  const std::vector<float> floats = {0.0f, -0.0f, 1.0f, -2.5f, 0.1f, 65504.0f, 1e-7f, 3e-8f};
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16}) {
    const OwnTensor own(type, {1, floats.size()}, EncodeFloats(type, floats));
    std::vector<float> back(floats.size());
    ReadGgmlRow(own.tensor, 0, back);
    for (size_t i = 0; i < floats.size(); ++i) {
      // Half a unit in the last place: 2^-11 and 2^-8 of the value, 2^-25 for subnormal halves.
      const float relative =
          type == GgmlType::kF32 ? 0.0f : (type == GgmlType::kF16 ? 0x1p-11f : 0x1p-8f);
      const float least = type == GgmlType::kF16 ? 0x1p-25f : 0.0f;
      EXPECT_NEAR(back[i], floats[i], std::max(relative * std::abs(floats[i]), least)) << i;
    }
  }
}

TEST(GgmlBlocks, EveryHalfSurvivesAFloat) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (value != value) continue;
    ASSERT_EQ(FloatToHalf(value), half) << bits;
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3C00);  // ties to even
  EXPECT_EQ(FloatToHalf(1.0f + 3 * 0x1p-11f), 0x3C02);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0);
  EXPECT_EQ(FloatToHalf(0x1.8p-24f), 2);
}

void ExpectBadRow(const OwnTensor& own, const std::string& part) {
  const size_t cols = own.tensor.cols();
  std::vector<int8_t> codes(cols);
  std::vector<float> scales(cols / GgmlScaleGroup(own.tensor.type, cols));
  try {
    ReadTernaryRow(own.tensor, 0, I2sOrder::k128x32, codes, scales);
    FAIL() << "no error with " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(GgmlBlocks, BadCodesAndScalesAreRefused) {
  const std::vector<int8_t> codes = SomeCodes(256);
  const auto i2s = [&](float scale) { return EncodeI2s({codes.data(), 1, 256}, scale); };
  std::vector<uint8_t> bytes = i2s(1.0f);
  bytes[40] |= 0x0C;
  ExpectBadRow({GgmlType::kI2_S, {1, 256}, bytes}, "code 3");
  ExpectBadRow({GgmlType::kI2_S, {1, 256}, i2s(std::numeric_limits<float>::quiet_NaN())}, "scale");
  ExpectBadRow({GgmlType::kI2_S, {1, 256}, i2s(-1.0f)}, "scale 0: expected 0 or more");
  bytes = Tq2Bytes(codes, 1, 1.0f);
  bytes[3] |= 0xC0;
  ExpectBadRow({GgmlType::kTQ2_0, {1, 256}, bytes}, "code 3");
  ExpectBadRow({GgmlType::kTQ2_0, {1, 256}, Tq2Bytes(codes, 1, 1e6f)}, "scale");
  bytes.assign(4 + 16, 0);
  bytes[7] = 3;
  ExpectBadRow({GgmlType::kIQ2_BN, {1, 64}, bytes}, "code 3");
  ExpectBadRow({GgmlType::kI2_S, {1, 192}, std::vector<uint8_t>(192 / 4 + 32)}, "multiple of 128");
  const OwnTensor infinite(GgmlType::kF16, {1, 1}, {0x00, 0x7C});
  float value = 0;
  EXPECT_THROW(ReadGgmlRow(infinite.tensor, 0, {&value, 1}), Error);
  EXPECT_THROW(ReadGgmlRow(OwnTensor(GgmlType::kTQ2_0, {1, 256}, bytes).tensor, 0, {&value, 1}),
               Error);
}

std::vector<uint8_t> FromHex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(GgmlBlocks, PackVectorsOfTheReference) {
  if (!std::filesystem::exists(kVectors)) GTEST_SKIP() << "no pack_vectors.json";
  const auto json = nlohmann::json::parse(ReadFile(kVectors));
  const float scale = json["scale"].get<float>();
  std::vector<float> expected;
  for (const auto& code : json["ternary_256"]) expected.push_back(scale * code.get<float>());
  size_t found = 0;
  for (const auto& [key, value] : json.items()) {
    GgmlType type;
    if (key.starts_with("i2_s")) {
      type = GgmlType::kI2_S;
    } else if (key.starts_with("tq2_0")) {
      type = GgmlType::kTQ2_0;
    } else if (key.starts_with("tq1_0")) {
      type = GgmlType::kTQ1_0;
    } else if (key.starts_with("iq2_bn")) {
      type = GgmlType::kIQ2_BN;
    } else if (key.starts_with("iq1_bn")) {
      type = GgmlType::kIQ1_BN;
    } else {
      continue;
    }
    const OwnTensor own(type, {1, 256}, FromHex(value.get<std::string>()));
    ASSERT_EQ(own.bytes.size(), GgmlBytes(type, 1, 256)) << key;
    const I2sOrder order =
        key.find("64x16") != std::string::npos ? I2sOrder::k64x16 : I2sOrder::k128x32;
    EXPECT_EQ(TernaryValues(own.tensor, order), expected) << key;
    ++found;
  }
  EXPECT_EQ(found, 6u);
}

}  // namespace
}  // namespace tern
