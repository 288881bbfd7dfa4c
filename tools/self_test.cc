#include "tools/self_test.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "engine/error.h"
#include "engine/generator.h"
#include "engine/heads_sample.h"
#include "engine/model.h"
#include "engine/model_check.h"
#include "engine/tokenizer.h"
#include "kernels/dense_matmul.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/self_test.h"
#include "tools/heads.h"

namespace tern {
namespace {

constexpr const char* kPrompt = "Once upon a time, there was a little girl named Lily. One day,";
constexpr size_t kMostPrompt = 24;  // tokens of it, where a tokenizer makes more
constexpr int32_t kGoldenTokens = 48, kTokens = 12;

// fn(target) under every one up to that in force; on one thread but for the last, which is the one
// that will be used.
void OnEveryTarget(const std::function<void(const std::string&)>& fn) {
  const std::string chosen = CurrentTarget();
  for (const std::string& target : SupportedTargets()) {
    SetMaxTarget(target);
    const WithThreads threads(target == chosen ? ThreadCount() : 1);
    fn(target);
    if (target == chosen) break;
  }
}

std::vector<TokenId> Prompt(const Model& model, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids = EncodePrompt(model.config, tokenizer, kPrompt);
  const auto room = static_cast<size_t>(model.config.max_position_embeddings) / 2;
  ids.resize(std::min({ids.size(), kMostPrompt, std::max<size_t>(room, 1)}));
  return ids;
}

class ModelTest {
 public:
  ModelTest(const std::string& path, I2sOrder order, std::vector<SelfCheck>& checks)
      : checks_(checks), tokenizer_(LoadTokenizer(path)), model_(LoadModel(path, order)) {
    RequireTokenizerFits(model_, *tokenizer_);
    Add("model loads", "");
    const std::string golden = (std::filesystem::path(path) / kGoldenFileName).string();
    if (!std::filesystem::exists(golden)) return;
    golden_ = ReadGoldenFile(golden, model_.config);
    const std::string print = BackboneFingerprint(model_);
    const bool same = print == golden_->fingerprint;
    Add("weights", same ? ""
                        : "their fingerprint is " + print + ", expected " + golden_->fingerprint +
                              " as " + golden + " has it");
  }

  void CheckGolden() {
    if (!golden_) return;
    OnEveryTarget([&](const std::string&) {
      std::string problem;
      for (const GoldenRun& run : golden_->runs) {
        if (problem.empty()) problem = CheckGoldenRun(model_, *tokenizer_, run);
      }
      Add("recorded runs", problem);
    });
  }

  void CheckItself(const CommonOptions& common, const std::string& path) {
    const std::vector<TokenId> prompt = Prompt(model_, *tokenizer_);
    const auto rows = [&] {
      std::vector<TokenId> tokens = prompt;
      while (tokens.size() < 4) tokens.push_back(tokens.back());
      Add("rows do not depend on company", CheckRowsAgree(model_, tokens));
    };
    const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, path, model_);
    const int32_t room =
        model_.config.max_position_embeddings - static_cast<int32_t>(prompt.size());
    const int32_t tokens = std::clamp(room, 1, golden_ ? kGoldenTokens : kTokens);
    const auto lossless = [&] {
      Add("drafts change nothing", CheckLossless(model_, *tokenizer_, heads, prompt, tokens));
    };
    const auto sample = [&] {
      if (heads != nullptr && heads->sample.places() > 0)
        Add("draft heads are as they were trained", SampleMismatch(model_, *heads));
    };
    if (!golden_) return rows(), lossless(), sample();  // it may be large: once
    OnEveryTarget([&](const std::string&) { rows(), lossless(), sample(); });
  }

 private:
  void Add(const std::string& name, const std::string& problem) {
    checks_.push_back({name, CurrentTarget(), problem});
  }

  std::vector<SelfCheck>& checks_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Model model_;
  std::optional<GoldenFile> golden_;
};

}  // namespace

std::vector<SelfCheck> TestKernels() {
  HasBFloat16Matmul();  // oneDNN keeps the target of its first use: the one in force
  std::vector<SelfCheck> checks;
  OnEveryTarget([&](const std::string& target) {
    for (const KernelCheck& check : CheckKernels()) {
      checks.push_back({check.kernel, target, check.problem});
    }
  });
  return checks;
}

std::vector<SelfCheck> TestModel(const std::string& path, const CommonOptions& common) {
  std::vector<SelfCheck> checks;
  const std::string chosen = CurrentTarget();
  try {
    ModelTest test(path, common.I2s(), checks);
    test.CheckGolden();
    test.CheckItself(common, path);
  } catch (const Error& error) {
    checks.push_back({"model", CurrentTarget(), error.what()});
    SetMaxTarget(chosen);
  }
  return checks;
}

void RecordModel(const std::string& path, I2sOrder order, const std::string& file) {
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(path);
  const Model model = LoadModel(path, order);
  RequireTokenizerFits(model, *tokenizer);
  const std::vector<TokenId> prompt = Prompt(model, *tokenizer);
  GoldenFile golden = {BackboneFingerprint(model), CurrentTarget(), {}};
  for (const float temperature : {0.0f, 0.75f}) {
    golden.runs.push_back(
        RecordGoldenRun(model, *tokenizer, prompt, temperature, 7, kGoldenTokens));
  }
  WriteGoldenFile(file, golden);
}

}  // namespace tern
