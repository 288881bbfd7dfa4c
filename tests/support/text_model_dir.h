// A tiny model with a tokenizer, as a directory that every command runs.
#ifndef TERN_TESTS_SUPPORT_TEXT_MODEL_DIR_H_
#define TERN_TESTS_SUPPORT_TEXT_MODEL_DIR_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/support/model_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {

inline constexpr int32_t kTextModelVocab = 340;  // the tokenizer's

// Random weights of `seed`; replaces the model that is there.
inline void WriteTextModelDir(const std::string& dir, uint64_t seed = 1,
                              int32_t max_context = TinyConfig().max_position_embeddings) {
  ModelConfig config = TinyConfig();
  config.max_position_embeddings = max_context;
  config.vocab_size = kTextModelVocab;
  WriteModelDir(dir, ConfigJson(config), PackedTensors(MakeTinyModel(config, seed)));
  std::filesystem::copy_file(TERN_SOURCE_DIR "/tests/golden/tokenizer/unigram/tokenizer.model",
                             dir + "/tokenizer.model",
                             std::filesystem::copy_options::overwrite_existing);
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_TEXT_MODEL_DIR_H_
