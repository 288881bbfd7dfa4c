// The hidden-state cache: what is written is read, writing goes on where it stopped, and defects
// are named.
#include "trainer/hidden_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/generator.h"
#include "engine/medusa_heads.h"
#include "kernels/random_data.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/forward_runner.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"
#include "trainer/distill.h"
#include "trainer/head_rows.h"
#include "trainer/hidden_cache_writer.h"

namespace tern::test {
namespace {

constexpr size_t kD = 4;

struct Text {
  std::vector<TokenId> tokens;
  AlignedBuffer<BFloat16> hidden;
  int32_t prompt_length;
  HiddenSequence View() const { return {tokens, hidden.View(tokens.size(), kD), prompt_length}; }
};

Text MakeText(uint32_t seed) {
  RandomData random(seed);
  Text text;
  const size_t n = 2 + random.Below(20);
  for (size_t i = 0; i < n; ++i) text.tokens.push_back(static_cast<TokenId>(random.Below(50)));
  text.hidden = random.BFloat16s(n * kD);
  text.prompt_length = static_cast<int32_t>(1 + random.Below(static_cast<uint32_t>(n)));
  return text;
}

HiddenCacheInfo Info(uint64_t planned = 30) {
  HiddenCacheInfo info;
  info.backbone_fingerprint = "00000000deadbeef";
  info.hidden_size = kD;
  info.vocab_size = 50;
  info.planned_sequences = planned;
  info.made_by = {{"--seed", 3}};
  return info;
}

constexpr uint64_t kShardBytes = 400;  // about 50 rows

class HiddenCacheTest : public ::testing::Test {
 protected:
  // Appends from where the folder stands to `end`, then stops without a word.
  void WriteUntil(const std::string& dir, uint32_t end) {
    HiddenCacheWriter writer(dir, Info(), kShardBytes);
    for (uint32_t i = static_cast<uint32_t>(writer.sequences()); i < end; ++i)
      writer.Append(MakeText(i).View());
    if (end == 30) writer.Finish();
  }
  std::string Shard(int index) const {
    return dir_ / ("data/shard-0000" + std::to_string(index) + ".safetensors");
  }
  std::string ReadError() const {
    return ErrorText([this] { HiddenCache cache(data_); });
  }
  TempDir dir_;
  std::string data_ = dir_ / "data";
};

TEST_F(HiddenCacheTest, ReadsWhatWasWritten) {
  WriteUntil(data_, 30);
  const HiddenCache cache(data_);
  ASSERT_EQ(cache.sequences(), 30u);
  EXPECT_TRUE(cache.info().complete());
  EXPECT_GT(cache.info().shards.size(), 3u);
  EXPECT_EQ(cache.info().backbone_fingerprint, Info().backbone_fingerprint);
  for (uint32_t i = 0; i < 30; ++i) {
    const Text expected = MakeText(i);
    const HiddenSequence got = cache.Sequence(i);
    ASSERT_EQ(got.assistant.size(), expected.tokens.size());
    for (size_t t = 0; t < got.assistant.size(); ++t)
      EXPECT_EQ(got.assistant[t], t >= static_cast<size_t>(expected.prompt_length) ? 1 : 0);
    EXPECT_EQ(got.teacher.ids.cols, 0u);
    EXPECT_TRUE(std::ranges::equal(got.tokens, expected.tokens)) << i;
    EXPECT_EQ(got.prompt_length, expected.prompt_length);
    ASSERT_EQ(got.hidden.rows, expected.tokens.size());
    for (size_t r = 0; r < got.hidden.rows; ++r) {
      EXPECT_TRUE(
          std::equal(got.hidden.Row(r), got.hidden.Row(r) + kD, expected.hidden.data() + r * kD));
    }
  }
}

TEST_F(HiddenCacheTest, RanksTheTokensThatWereWritten) {
  WriteUntil(data_, 30);
  std::vector<int64_t> counts(50);
  for (uint32_t i = 0; i < 30; ++i) {
    const Text text = MakeText(i);
    for (size_t t = static_cast<size_t>(text.prompt_length); t < text.tokens.size(); ++t)
      ++counts[static_cast<size_t>(text.tokens[t])];
  }
  const std::vector<TokenId> ranked = TokensByFrequency(HiddenCache(data_));
  const auto written = std::count_if(counts.begin(), counts.end(), [](int64_t n) { return n > 0; });
  ASSERT_EQ(static_cast<std::ptrdiff_t>(ranked.size()), written);
  const auto count = [&](size_t i) { return counts[static_cast<size_t>(ranked[i])]; };
  EXPECT_GT(count(0), count(ranked.size() - 1));
  for (size_t i = 1; i < ranked.size(); ++i) EXPECT_GE(count(i - 1), count(i));
}

// Without hidden states, with a mask of several stretches and a teacher's two best tokens.
TEST_F(HiddenCacheTest, TokensMaskAndTeacherAlone) {
  HiddenCacheInfo info = Info(2);
  info.hidden_stored = false;
  info.teacher_top_k = 2;
  const std::vector<TokenId> tokens = {7, 8, 9, 10, 11};
  const std::vector<uint8_t> assistant = {0, 1, 0, 1, 1};
  const std::vector<TokenId> ids = {8, 1, 0, 0, 10, 2, 11, 3, 0, 0};
  const std::vector<float> probs = {0.5f, 0.25f, 0, 0, 0.75f, 0.125f, 1, 0, 0, 0};
  const TeacherRows teacher = {{ids.data(), 5, 2}, {probs.data(), 5, 2}};
  {
    HiddenCacheWriter writer(data_, info, kShardBytes);
    for (int i = 0; i < 2; ++i) writer.Append({tokens, {}, 1, assistant, teacher});
    writer.Finish();
  }
  const HiddenCache cache(data_);
  EXPECT_FALSE(cache.info().hidden_stored);
  ASSERT_EQ(cache.sequences(), 2u);
  const HiddenSequence got = cache.Sequence(1);
  EXPECT_EQ(got.hidden.rows, 0u);
  EXPECT_EQ(got.prompt_length, 1);
  EXPECT_TRUE(std::ranges::equal(got.tokens, tokens));
  EXPECT_TRUE(std::ranges::equal(got.assistant, assistant));
  ASSERT_EQ(got.teacher.ids.rows, 5u);
  ASSERT_EQ(got.teacher.probs.cols, 2u);
  EXPECT_TRUE(std::equal(ids.begin(), ids.end(), got.teacher.ids.data));
  EXPECT_TRUE(std::equal(probs.begin(), probs.end(), got.teacher.probs.data));

  const std::string other =
      ErrorText([&] { HiddenCacheWriter writer(data_, Info(2), kShardBytes); });
  EXPECT_NE(other.find("hidden states stored: expected false, got true"), std::string::npos)
      << other;
  std::string bytes = ReadFile(Shard(0));
  bytes.back() = 2;
  WriteFileAtomically(Shard(0), bytes);
  EXPECT_NE(ReadError().find("assistant[9]: expected 0 or 1, got 2"), std::string::npos)
      << ReadError();
}

// Shards once had no mask.
TEST_F(HiddenCacheTest, ShardsWithoutAMaskAreTheModelsBehindThePrompt) {
  WriteUntil(data_, 30);
  std::string bytes = ReadFile(Shard(0));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  nlohmann::json tensors = nlohmann::json::parse(bytes.substr(8, header));
  const auto mask = tensors["assistant"]["data_offsets"];
  tensors.erase("assistant");
  std::string text = tensors.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  header = text.size();
  const std::string data = bytes.substr(bytes.size() - mask[1].get<size_t>());
  bytes.assign(reinterpret_cast<const char*>(&header), sizeof(header));
  WriteFileAtomically(Shard(0), bytes + text + data.substr(0, mask[0].get<size_t>()));
  const HiddenCache cache(data_);
  const HiddenSequence got = cache.Sequence(0);
  const auto written = std::ranges::count(got.assistant, 1);
  EXPECT_EQ(written, std::ssize(got.tokens) - got.prompt_length);
  EXPECT_EQ(got.assistant.back(), MakeText(0).prompt_length < std::ssize(got.tokens) ? 1 : 0);
}

TEST_F(HiddenCacheTest, GoesOnBehindTheLastWholeShard) {
  WriteUntil(data_, 30);
  const std::string other = dir_ / "other";
  for (uint32_t end : {0u, 7u, 8u, 19u, 30u}) WriteUntil(other, end);
  for (const auto& entry : std::filesystem::directory_iterator(data_)) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(ReadFile(entry.path()) == ReadFile(other + "/" + name)) << name;
  }
}

TEST_F(HiddenCacheTest, AnotherSourceIsRefused) {
  WriteUntil(data_, 12);
  const auto error = [&](const HiddenCacheInfo& info) {
    return ErrorText([&] { HiddenCacheWriter writer(data_, info, kShardBytes); });
  };
  HiddenCacheInfo info = Info();
  info.backbone_fingerprint = "0123456789abcdef";
  EXPECT_EQ(error(info), data_ +
                             "/manifest.json: backbone_fingerprint of the model: expected "
                             "\"00000000deadbeef\", got \"0123456789abcdef\"; give another "
                             "--out, or the command that began this folder");
  info = Info();
  info.made_by["--more"] = 1;
  EXPECT_NE(error(info).find("--more: expected null, got 1"), std::string::npos) << error(info);
  info.made_by.clear();
  EXPECT_NE(error(info).find("--seed: expected 3, got null"), std::string::npos) << error(info);
  info.made_by["--seed"] = 4;
  EXPECT_NE(error(info).find("--seed: expected 3, got 4"), std::string::npos) << error(info);
  EXPECT_NE(error(Info(31)).find("planned_sequences: expected 30, got 31"), std::string::npos);
  EXPECT_EQ(error(Info()), "");
}

TEST_F(HiddenCacheTest, OneWriterAtATime) {
  HiddenCacheWriter writer(data_, Info(), kShardBytes);
  const std::string error =
      ErrorText([&] { HiddenCacheWriter second(data_, Info(), kShardBytes); });
  EXPECT_NE(error.find("another process writes"), std::string::npos) << error;
}

TEST_F(HiddenCacheTest, DefectsAreNamed) {
  EXPECT_EQ(ReadError(), data_ + "/manifest.json: no such file; check the path");
  WriteUntil(data_, 30);
  const std::string whole = ReadFile(Shard(1)), manifest = ReadFile(data_ + "/manifest.json");
  const auto broken = [&](size_t from_end, char value) {
    std::string bytes = whole;
    bytes[bytes.size() - from_end] = value;
    WriteFileAtomically(Shard(1), bytes);
    return ReadError();
  };
  const HiddenCacheInfo info = ReadHiddenCacheInfo(data_);
  const size_t hidden_bytes = info.shards[1].tokens * (kD * 2 + 1);  // and the mask
  const size_t lengths = hidden_bytes + info.shards[1].sequences * 4;
  EXPECT_NE(broken(lengths, 127).find("prompt_lengths[0]: expected 1 to "), std::string::npos);
  EXPECT_NE(broken(lengths + 4, 99).find("]: expected 0 to 49, got 99"), std::string::npos);
  WriteFileAtomically(Shard(1), whole.substr(0, whole.size() - 1));
  EXPECT_NE(ReadError().find("shard-00001"), std::string::npos) << ReadError();
  std::filesystem::remove(Shard(1));
  EXPECT_NE(ReadError().find("no such file"), std::string::npos) << ReadError();
  // Nor does a writer take a damaged folder for a new one.
  EXPECT_THROW(HiddenCacheWriter(data_, Info(), kShardBytes), Error);
  EXPECT_EQ(ReadFile(data_ + "/manifest.json"), manifest);
  WriteFileAtomically(Shard(1), whole);
  nlohmann::json more = nlohmann::json::parse(manifest);
  more["shards"].push_back(more["shards"][0]);  // more texts than were planned
  WriteFileAtomically(data_ + "/manifest.json", more.dump());
  EXPECT_NE(
      ReadError().find("shards: sequences of shard-00000.safetensors: expected at most the 0"),
      std::string::npos)
      << ReadError();
  WriteFileAtomically(data_ + "/manifest.json", "");
  EXPECT_NE(ReadError().find("manifest.json: expected a JSON object"), std::string::npos);
  WriteFileAtomically(data_ + "/manifest.json", "{\"format\": 3}");
  EXPECT_NE(ReadError().find("format: expected another type, got 3"), std::string::npos);
  WriteFileAtomically(data_ + "/manifest.json", "{");
  EXPECT_NE(ReadError().find("expected a JSON object"), std::string::npos);
}

// What distillation stores: the texts that generating gives, with Forward's hidden states.
TEST_F(HiddenCacheTest, DistilledTextsAreTheModelsOwn) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  std::vector<DistillPrompt> prompts;
  for (uint64_t i = 0; i < 5; ++i) prompts.push_back({RandomTokens(4 + i, 259, i)});
  DistillOptions options;
  options.max_tokens = 25;
  options.sampling.temperature = 1;
  HiddenCacheInfo info = Info(prompts.size());
  info.hidden_size = model.config.hidden_size;
  info.vocab_size = model.config.vocab_size;
  uint64_t calls = 0;
  {
    HiddenCacheWriter writer(data_, info, 1 << 20);
    const DistillCounts counts =
        Distill(model, tokenizer, prompts, options, writer, [&](const DistillCounts&) { ++calls; });
    EXPECT_EQ(counts.prompts, 5u);
  }
  EXPECT_EQ(calls, 5u);
  const HiddenCache cache(data_);
  ASSERT_EQ(cache.sequences(), 5u);
  Generator generator(model, tokenizer);
  GenerationOptions generation;
  generation.max_tokens = 25;
  generation.sampling.temperature = 1;
  for (uint32_t i = 0; i < 5; ++i) {
    generation.sampling.stream = i;
    std::vector<TokenId> text = prompts[i].tokens;
    const GenerationResult result = generator.Generate(text, generation);
    text.insert(text.end(), result.token_ids.begin(), result.token_ids.end());
    const HiddenSequence got = cache.Sequence(i);
    EXPECT_TRUE(std::ranges::equal(got.tokens, text)) << i;
    EXPECT_EQ(got.prompt_length, static_cast<int32_t>(prompts[i].tokens.size()));
    const std::vector<RowResult> rows = DecodeOneByOne(model, text);
    for (size_t r = 0; r + 1 < text.size(); ++r) {
      for (size_t c = 0; c < got.hidden.cols; ++c)
        ASSERT_EQ(got.hidden.Row(r)[c], BFloat16::FromFloat(rows[r].hidden[c])) << r << " " << c;
    }
  }
}

TEST_F(HiddenCacheTest, NoRowCrossesFromOneAnswerToTheNext) {
  HiddenCacheWriter writer(data_, Info(1), kShardBytes);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const std::vector<uint8_t> assistant = {0, 0, 1, 1, 1, 0, 1, 0, 1, 1};
  const std::vector<BFloat16> hidden(10 * kD);
  writer.Append({tokens, {hidden.data(), 10, kD}, 2, assistant});
  writer.Finish();
  const HiddenCache cache(data_);
  const HeadRows rows(cache);
  std::vector<std::pair<size_t, size_t>> places;
  for (uint64_t row = 0; row < rows.size(); ++row)
    places.emplace_back(rows.Locate(row).position, rows.Locate(row).end);
  EXPECT_EQ(places, (std::vector<std::pair<size_t, size_t>>{{1, 5}, {2, 5}, {7, 10}}));
}

TEST_F(HiddenCacheTest, RowsAreGeneratedPlacesWithATarget) {
  HiddenCacheWriter writer(data_, Info(3), kShardBytes);
  const auto append = [&](size_t n, int32_t prompt) {
    std::vector<TokenId> tokens(n, 1);
    std::vector<BFloat16> hidden(n * kD);
    writer.Append({tokens, {hidden.data(), n, kD}, prompt});
  };
  append(10, 4);  // positions 3 to 7
  append(5, 4);   // one generated token: none
  append(6, 4);   // position 3
  writer.Finish();
  const HiddenCache cache(data_);
  const HeadRows rows(cache);
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows.RowsBefore(3), 6u);
  std::map<size_t, std::vector<size_t>> positions;  // by length of the text
  for (uint64_t row = 0; row < 6; ++row) {
    const HeadRows::Place place = rows.Locate(row);
    positions[place.sequence.tokens.size()].push_back(place.position);
  }
  EXPECT_EQ(rows.Locate(0).end, rows.Locate(0).sequence.tokens.size());
  EXPECT_EQ(positions, (std::map<size_t, std::vector<size_t>>{{10, {3, 4, 5, 6, 7}}, {6, {3}}}));

  EXPECT_EQ(rows.Blocks(6, 0), (std::vector<uint64_t>{0, 6}));
  EXPECT_EQ(rows.Blocks(6, 100), (std::vector<uint64_t>{0, 6}));
  EXPECT_EQ(rows.Blocks(6, 1).size(), 3u) << "two texts have rows";
  const HeadRowSampler sampler(rows.Blocks(6, 0), 1);  // every row once an epoch
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int32_t> seen;
    for (uint64_t i = 0; i < 6; ++i) sampler.Read(epoch * 6 + i, {&seen.emplace_back(), 1});
    std::ranges::sort(seen);
    EXPECT_EQ(seen, (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  }
  const HeadRowSampler blocks({0, 3, 4, 9}, 1);  // block by block
  std::map<std::vector<int32_t>, int> orders;
  for (uint64_t epoch = 0; epoch < 12; ++epoch) {
    std::vector<int32_t> seen, of;
    for (uint64_t i = 0; i < 9; ++i) {
      blocks.Read(epoch * 9 + i, {&seen.emplace_back(), 1});
      const int32_t block = seen.back() < 3 ? 0 : seen.back() < 4 ? 1 : 2;
      if (of.empty() || of.back() != block) of.push_back(block);
    }
    EXPECT_EQ(of.size(), 3u) << epoch;
    ++orders[of];
    std::ranges::sort(seen);
    EXPECT_EQ(seen, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  }
  EXPECT_GT(orders.size(), 2u);
  const HeldOutHeadRows held_out(100, 10, 4);
  std::vector<int32_t> batch(4);
  EXPECT_EQ(held_out.Batches(0), 2u);
  held_out.Read(1, 2, batch);
  EXPECT_EQ(batch, (std::vector<int32_t>{104, 105, 106, 107}));
}

}  // namespace
}  // namespace tern::test
