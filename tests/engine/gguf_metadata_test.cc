// What comes out of a GGUF file beside the weights: the ends of a text, tokenizer and template.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/byte_alphabet.h"
#include "engine/chat_template.h"
#include "engine/gguf_export.h"
#include "engine/gguf_weights.h"
#include "engine/tokenizer.h"
#include "tests/support/gguf_fixture.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

TEST(GgufModel, EndsOfTurnsAreFoundWhereTheMetadataLacksThem) {
  TempDir dir;
  const Model model = TinyFixture();
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kF16);
  std::vector<std::string> tokens(48, "x");
  tokens[40] = "<|eot_id|>";
  exported.metadata.emplace_back("tokenizer.ggml.tokens", tokens);
  exported.metadata.emplace_back("tokenizer.ggml.bos_token_id", uint32_t{3});
  exported.metadata.emplace_back("tokenizer.ggml.eos_token_id", uint32_t{4});
  exported.metadata.emplace_back("tokenizer.ggml.eot_token_id", uint32_t{4});
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  const ModelConfig config = GgufWeights(dir / "x.gguf").config();
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int32_t>{4, 40}));
  exported.metadata.emplace_back("tokenizer.ggml.add_bos_token", false);
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  EXPECT_EQ(GgufWeights(dir / "x.gguf").config().bos_token_id, -1);
}

TEST(GgufModel, AChatGoesThroughTheFileAlone) {
  TempDir dir;
  ModelConfig config = WideConfig();
  config.vocab_size = 258;
  const Model model = MakeTinyModel(config);
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kBF16);
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(SpellBytes(std::string(1, static_cast<char>(byte))));
  }
  tokens.insert(tokens.end(), {"<|begin|>", "<|eot_id|>"});
  std::vector<int32_t> types(256, 1);
  types.insert(types.end(), {3, 3});
  exported.metadata.insert(
      exported.metadata.end(),
      {{"tokenizer.ggml.model", std::string("gpt2")},
       {"tokenizer.ggml.pre", std::string("llama-bpe")},
       {"tokenizer.ggml.tokens", tokens},
       {"tokenizer.ggml.token_type", types},
       {"tokenizer.ggml.merges", std::vector<std::string>()},
       {"tokenizer.ggml.bos_token_id", uint32_t{256}},
       {"tokenizer.ggml.eos_token_id", uint32_t{257}},
       // As in the 2B-4T file: a wrong conversion of the model's own template.
       {"tokenizer.chat_template", std::string("{% for m in messages %}Human: {{ m['content'] }}"
                                               "\n\nBITNETAssistant: {% endfor %}")}});
  const std::string path = dir / "x.gguf";
  WriteGguf(path, exported.metadata, exported.tensors);
  const Model loaded = LoadModel(path);
  EXPECT_EQ(loaded.config.eos_token_ids, std::vector<int32_t>{257});
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(path);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("caf\u00e9 \n")), "caf\u00e9 \n");
  const ChatMessage hi = {"user", "hi"};
  const std::vector<TokenId> ids =
      EncodeChat(loaded.config, *tokenizer, ChatTemplate::Load(path), {&hi, 1});
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(ids.front(), 256);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 257), 1);
  EXPECT_EQ(tokenizer->Decode(ids), "User: hiAssistant: ");
}

}  // namespace
}  // namespace tern
