// `tern distill` and `tern train` as a user runs them, on a tiny random model: what they write,
// killed and continued, and how they refuse.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <set>
#include <sstream>

#include "engine/medusa_heads.h"
#include "tests/e2e/heads_run.h"

namespace tern::test {
namespace {

class DistillTrainTest : public HeadsRunTest {};

TEST_F(DistillTrainTest, FromPromptsToHeads) {
  const json distilled = Run(Distill(data_));
  EXPECT_EQ(distilled["prompts"], 60);
  EXPECT_GT(distilled["shards"], 3);
  EXPECT_GT(distilled["tokens_per_second"], 0);
  EXPECT_EQ(distilled["resumed_at"], 0);
  const json trained = Run(Train(data_, heads_));
  EXPECT_EQ(trained["finished"], true);
  ASSERT_EQ(trained["head_top1"].size(), 3u);
  ASSERT_EQ(trained["head_loss"].size(), 3u);
  const MedusaHeads heads = LoadMedusaHeads(heads_, LoadModel(model_));
  EXPECT_EQ(heads.count, 3);
  EXPECT_EQ(heads.warning, "");
  EXPECT_EQ(heads.info.base_model, model_);
  EXPECT_EQ(heads.calibration.fitted(), trained["calibrated_on"].get<int64_t>() > 0);
  EXPECT_EQ(heads.shortlist.empty(), false);
  EXPECT_EQ(heads.sample.right.size(), 3u);
  EXPECT_TRUE(heads.sees_root());
  EXPECT_EQ(heads.sample.places(), trained["sample"]["places"]);
  EXPECT_TRUE(
      std::ranges::any_of(heads.blocks[0].weights.span(), [](BFloat16 w) { return w.bits != 0; }));
  std::istringstream metrics(ReadFile(heads_ + "/run/metrics.jsonl"));
  std::string line, last;
  bool has_training = false;
  while (std::getline(metrics, line)) {
    const json record = json::parse(line);
    has_training = has_training || (record.contains("loss") && record["head_top1"].size() == 3 &&
                                    record.contains("tokens_per_second"));
    last = line;
  }
  EXPECT_TRUE(has_training);
  EXPECT_EQ(json::parse(last)["held_out_head_top1"], trained["head_top1"]);
}

// tern info of data and of a run.
TEST_F(DistillTrainTest, DataAndRunsSayWhatTheyAre) {
  const json distilled = Run(Distill(data_, {"--teacher-top-k", "2"}));
  const auto info = [&](const std::string& path) {
    return Run({TERN_PROGRAM, "info", path, "--json"});
  };
  const json data = info(data_);
  EXPECT_EQ(data["kind"], "distilled data");
  EXPECT_EQ(data["state"], "complete");
  EXPECT_EQ(data["texts"], 60);
  EXPECT_EQ(data["shards"], distilled["shards"]);
  // As files, that is with their headers and padding.
  EXPECT_GE(data["bytes"], distilled["bytes"]);
  EXPECT_LT(data["bytes"].get<double>(), 1.1 * distilled["bytes"].get<double>());
  EXPECT_EQ(data["teacher_top_k"], 2);
  EXPECT_EQ(data["hidden_states"], "stored");
  EXPECT_EQ(data["made_by"]["--max-tokens"], 40);
  EXPECT_LT(data["written_by_the_model"], data["tokens"]);
  Run(Train(data_, heads_, {"--layers", "2", "--no-bias"}));
  EXPECT_EQ(info(heads_)["kind"], "draft heads");
  const json run = info(heads_ + "/run");
  EXPECT_EQ(run["kind"], "training run");
  EXPECT_EQ(run["trains"], "draft heads");
  EXPECT_EQ(run["step"], 40);
  EXPECT_EQ(run["state"], "all steps done");
  EXPECT_GT(run["best_score"], 0);
  // The command that it gives resumes: the same options, and nothing that is none.
  std::istringstream words(run["resume"].get<std::string>());
  std::vector<std::string> command(std::istream_iterator<std::string>(words), {});
  ASSERT_GE(command.size(), 8u);
  command[0] = TERN_PROGRAM;
  command[3] = model_;
  command[5] = data_;
  command[7] = heads_;
  const ProgramResult resumed = RunProgram(command);
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("resumed at step 40"), std::string::npos) << resumed.err;
  const ProgramResult text = RunProgram({TERN_PROGRAM, "info", data_});
  EXPECT_NE(text.out.find("texts                60"), std::string::npos) << text.out;
}

TEST_F(DistillTrainTest, KilledAndContinuedGivesTheSameBytes) {
  Run(Distill(data_));
  const std::string killed = dir_ / "killed";
  KillAndFinish(Distill(killed), killed + "/shard-00001.safetensors", 1);
  ExpectSameResults(data_, killed, "kills");
  // Done is done.
  const json again = Run(Distill(killed));
  EXPECT_EQ(again["resumed_at"], 60);
  EXPECT_EQ(again["generated_tokens"], 0);
  EXPECT_NE(RunProgram(Distill(killed)).err.find("all 60 prompts are there"), std::string::npos);

  costs_ = dir_.Write("costs.json", R"({"rows": [1, 8], "seconds": [0.01, 0.02]})");
  Run(Train(data_, heads_));
  const std::string killed_heads = dir_ / "killed_heads";
  KillAndFinish(Train(data_, killed_heads), killed_heads + "/run/step-0000000014.ckpt", 2);
  ExpectSameResults(heads_, killed_heads, "kills");
}

// Conversations with all there is to store, and the same without hidden states.
TEST_F(DistillTrainTest, KilledInConversations) {
  std::string lines;
  for (int i = 0; i < 20; ++i) {
    lines += json{{"conversations",
                   {{{"from", "human"}, {"value", "the cat " + std::to_string(i)}},
                    {{"from", "gpt"}, {"value", "not kept"}},
                    {{"from", "human"}, {"value", "and the dog"}}}}}
                 .dump() +
             "\n";
  }
  prompts_ = dir_.Write("chats.jsonl", lines);
  ExpectFailure(Distill(data_), "chats.jsonl:1: conversation: this model has no chat template");
  EXPECT_FALSE(fs::exists(data_));
  fs::copy_file(TERN_SOURCE_DIR "/tools/story.jinja", model_ + "/chat_template.jinja");
  for (const bool hidden : {true, false}) {
    const auto command = [&](const std::string& out) {
      std::vector<std::string> words = Distill(out, {"--teacher-top-k", "3", "--max-tokens", "20"});
      words.emplace_back("--chat");
      if (!hidden) words.emplace_back("--no-hidden");
      return words;
    };
    const std::string out = data_ + (hidden ? "1" : "2"), killed = out + "killed";
    const json result = Run(command(out));
    EXPECT_EQ(result["prompts"], 20);
    EXPECT_GT(result["shards"], 3);
    KillAndFinish(command(killed), killed + "/shard-00001.safetensors", 3);
    ExpectSameResults(out, killed, "kills");
  }
  ExpectFailure(Distill(data_ + "2", {"--teacher-top-k", "3", "--max-tokens", "20"}),
                "expected");  // --chat is missing
}

TEST_F(DistillTrainTest, HeadsAreTheSameWithoutStoredHiddenStates) {
  Run(Distill(data_));
  const std::string tokens = dir_ / "tokens";
  std::vector<std::string> command = Distill(tokens);
  command.emplace_back("--no-hidden");
  const json result = Run(command);
  EXPECT_LT(result["bytes"], fs::file_size(data_ + "/shard-00000.safetensors"));
  costs_ = dir_.Write("costs.json", R"({"rows": [1, 8], "seconds": [0.01, 0.02]})");
  const std::vector<std::string> blocks = {"--block-tokens", "500", "--steps", "20"};
  Run(Train(data_, heads_, blocks));
  const std::string other = dir_ / "other";
  // Fewer are kept than there are.
  const ProgramResult trained =
      RunProgram(With(Train(tokens, other, blocks), {"--hidden-memory", "0.0001"}));
  EXPECT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(trained.err.find("hidden states are computed"), std::string::npos) << trained.err;
  for (const char* file : {"medusa_lm_head.safetensors", "config.json"})
    EXPECT_TRUE(ReadFile(heads_ + "/" + file) == ReadFile(other + "/" + file)) << file;
}

TEST_F(DistillTrainTest, LittleMemoryTrainsBlockByBlock) {
  std::vector<std::string> command = Distill(data_);
  command.emplace_back("--no-hidden");
  Run(command);
  const auto run = [&](const std::string& memory) {
    const ProgramResult result =
        RunProgram(Train(data_, heads_, {"--steps", "3", "--hidden-memory", memory}));
    EXPECT_EQ(result.status, 0) << result.err;
    return result.err;
  };
  EXPECT_NE(run("0.00005").find("blocks of about"), std::string::npos);
  EXPECT_NE(RunProgram(Train(data_, heads_, {"--steps", "3"})).err.find("--block-tokens"),
            std::string::npos)
      << "another order is another run";
  fs::remove_all(heads_);
  EXPECT_EQ(run("1").find("blocks of about"), std::string::npos);
}

// Of the first text, whose hidden states lie at the beginning.
TEST_F(DistillTrainTest, ABadHiddenStateIsNamedAndLeftBehind) {
  Run(Distill(data_));
  const std::string shard = data_ + "/shard-00000.safetensors";
  std::string bytes = ReadFile(shard);
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  const json header = json::parse(bytes.substr(8, length));
  const uint64_t d = header["hidden"]["shape"][1], position = 12;
  const uint64_t row = 8 + length + header["hidden"]["data_offsets"][0].get<uint64_t>();
  bytes[row + 2 * d * position] = '\xff';  // 0x7fff: a NaN
  bytes[row + 2 * d * position + 1] = '\x7f';
  WriteFileAtomically(shard, bytes);
  // All of it in one pass: the text may not be held out.
  const ProgramResult result =
      RunProgram(Train(data_, heads_, {"--steps", "60", "--held-out", "0.01"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find(": not a finite number; look at the gradient of heads.linear.weight, "
                            "which is not finite and at text 0, token 12 of the data, whose hidden "
                            "state is not finite; back to step"),
            std::string::npos)
      << result.err;
  EXPECT_GE(json::parse(result.out)["rollbacks"], 1);
  EXPECT_EQ(LoadMedusaHeads(heads_, LoadModel(model_)).count, 3);
}

TEST_F(DistillTrainTest, KindsOfHeads) {
  Run(Distill(data_));
  for (const std::vector<std::string>& kind : {std::vector<std::string>{"--layers", "2"},
                                               {"--rank", "4"},
                                               {"--layers", "2", "--rank", "4"}}) {
    const std::string out = dir_ / kind.back() + kind.front();
    Run(Train(data_, out, kind));
    const MedusaHeads heads = LoadMedusaHeads(out, LoadModel(model_));
    EXPECT_EQ(heads.blocks.size(), kind[0] == "--layers" ? 2u : 1u);
  }
  std::vector<std::string> flat = Train(data_, dir_ / "flat", {"--gguf", dir_ / "heads.gguf"});
  ExpectFailure(flat, "--gguf requires --no-bias", 2);
  flat.push_back("--no-bias");
  ExpectFailure(flat, "--gguf requires --no-root", 2);
  flat.insert(flat.end(), {"--no-root", "--pt"});
  EXPECT_EQ(Run(flat)["gguf"], dir_ / "heads.gguf");
  const MedusaHeads no_bias = LoadMedusaHeads(dir_ / "flat", LoadModel(model_));
  const MedusaHeads gguf = LoadMedusaHeads(dir_ / "heads.gguf", LoadModel(model_));
  EXPECT_TRUE(std::ranges::equal(gguf.blocks[0].weights.span(), no_bias.blocks[0].weights.span()));
  const MedusaHeads torch = LoadMedusaHeads(dir_ / "flat/medusa_lm_head.pt", LoadModel(model_));
  EXPECT_FALSE(no_bias.sees_root());
  EXPECT_TRUE(std::ranges::equal(torch.blocks[0].weights.span(), no_bias.blocks[0].weights.span()));
  std::vector<std::string> ternary = Train(data_, heads_);
  ternary.push_back("--ternary");
  Run(ternary);
  const MedusaHeads heads = LoadMedusaHeads(heads_, LoadModel(model_));
  std::set<float> values;
  const size_t one = heads.blocks[0].weights.size() / 3;
  for (BFloat16 w : heads.blocks[0].weights.span().first(one)) values.insert(w.ToFloat());
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(*values.begin(), -*values.rbegin());
}

// Medusa's version 1: trained, written, read, gone on with, and refused where there is no place for
// it.
TEST_F(DistillTrainTest, HeadsWithTheirOwnProjection) {
  Run(Distill(data_));
  const json own = Run(Train(data_, heads_, {"--own-projection", "--no-root", "--pt"}));
  const Model model = LoadModel(model_);
  const MedusaHeads heads = LoadMedusaHeads(heads_, model);
  ASSERT_EQ(heads.vocabularies.size(), 3 * model.lm_head.size() + 3 * model.embed_tokens.size());
  EXPECT_EQ(heads.warning, "");
  const MatView<const BFloat16> table = model.OutputEmbedding();
  EXPECT_FALSE(std::ranges::equal(heads.vocabularies.span().first(table.rows * table.cols),
                                  std::span(table.data, table.rows * table.cols)));  // it learned
  EXPECT_EQ(own["sample"]["places"], heads.sample.places());
  const MedusaHeads torch = LoadMedusaHeads(heads_ + "/medusa_lm_head.pt", model);
  EXPECT_TRUE(std::ranges::equal(torch.vocabularies.span(), heads.vocabularies.span()));
  EXPECT_EQ(json::parse(ReadFile(heads_ + "/config.json"))["version"], "1");

  const auto go_on = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command =
        Train(data_, dir_ / "more", {"--init-heads", heads_, "--steps", "5"});
    std::erase(command, "--heads-count");
    std::erase(command, "3");
    return With(command, more);
  };
  ExpectFailure(go_on({}), "--own-projection");
  Run(go_on({"--own-projection", "--lr", "1e-4"}));
  ExpectFailure(
      Train(data_, dir_ / "flat",
            {"--own-projection", "--no-bias", "--no-root", "--gguf", dir_ / "heads.gguf"}),
      "--own-projection excludes --gguf", 2);
}

// Heads without root weights go on with or without; those that see the root are not made blind.
TEST_F(DistillTrainTest, HeadsComeToSeeTheRoot) {
  Run(Distill(data_));
  Run(Train(data_, heads_, {"--no-root"}));
  EXPECT_FALSE(LoadMedusaHeads(heads_, LoadModel(model_)).sees_root());
  const auto go_on = [&](const std::string& from, const std::string& to) {
    std::vector<std::string> command =
        Train(data_, to, {"--init-heads", from, "--steps", "5", "--lr", "1e-3"});
    std::erase(command, "--heads-count");
    std::erase(command, "3");
    return command;
  };
  const std::string seeing = dir_ / "seeing";
  Run(go_on(heads_, seeing));
  const MedusaHeads heads = LoadMedusaHeads(seeing, LoadModel(model_));
  ASSERT_TRUE(heads.sees_root());
  EXPECT_TRUE(
      std::ranges::any_of(heads.root_weights.span(), [](BFloat16 w) { return w.bits != 0; }));
  ExpectFailure(With(go_on(seeing, dir_ / "blind"), {"--no-root"}), "--no-root: ");
  for (const char* within : {"", "/medusa_lm_head.safetensors"})
    ExpectFailure(go_on(seeing + within, seeing), "lies in --out");
  // Root weights are a part of what a run began with.
  const std::string more = dir_ / "more";
  Run(go_on(seeing, more));
  WriteRootWeights(seeing, AlignedBuffer<BFloat16>::Zeroed(heads.root_weights.size()).span(),
                   heads.hidden_size);
  const ProgramResult changed = RunProgram(go_on(seeing, more));
  EXPECT_EQ(changed.status, 1);
  EXPECT_NE(changed.err.find("the checkpoint was made with --init-heads"), std::string::npos)
      << changed.err;
}

TEST_F(DistillTrainTest, BenchmarkTrainsNothing) {
  Run(Distill(data_));
  const json benchmark = Run({TERN_PROGRAM, "train", "--model", model_, "--data", data_,
                              "--benchmark", "--batch", "32", "--json"});
  EXPECT_GT(benchmark["step_seconds"], 0);
  EXPECT_GT(benchmark["eta_s"], 0);
  EXPECT_NEAR(benchmark["loss"].get<double>(), benchmark["ln_vocabulary"].get<double>(), 0.1);
  const json synthetic = Run({TERN_PROGRAM, "train", "--synthetic", "tiny", "--benchmark",
                              "--steps", "100", "--batch", "32", "--accumulate", "4", "--json"});
  EXPECT_EQ(synthetic["steps"], 100);
  EXPECT_NEAR(synthetic["data_mb"].get<double>(), 100 * 128 * (2 * 256 + 5) / 1048576.0, 1e-6);
  ExpectFailure({TERN_PROGRAM, "train", "--synthetic", "tiny", "--out", heads_}, "--benchmark", 2);
  EXPECT_EQ(dir_.Names(), (std::vector<std::string>{"data", "model", "prompts.jsonl"}));
}

TEST_F(DistillTrainTest, BadPromptsLeaveNothing) {
  prompts_ = dir_.Write("bad.jsonl", "{\"prompt\": \"fine\"}\n{\"prompt\": \"broken\n");
  ExpectFailure(Distill(data_), "bad.jsonl:2: ");
  prompts_ = dir_.Write("empty.txt", "\n\n");
  ExpectFailure(Distill(data_), "empty.txt");
  prompts_ = dir_.Write("long.txt", "fine\n" + std::string(4000, 'x') + "\n");
  ExpectFailure(Distill(data_), "long.txt:2: prompt too long");
  prompts_ = dir_ / "absent.txt";
  ExpectFailure(Distill(data_), "absent.txt");
  EXPECT_FALSE(fs::exists(data_));
  ExpectFailure(Distill(data_, {"--temperature", "-1"}), "temperature", 2);
}

TEST_F(DistillTrainTest, DataOfAnotherModelIsRefused) {
  Run(Distill(data_));
  const auto before = RunResults(data_);
  ExpectFailure(Distill(data_, {"--seed", "5"}), "--seed: expected 0, got 5");
  WriteTextModelDir(dir_ / "other", 2);
  model_ = dir_ / "other";
  ExpectFailure(Distill(data_), "backbone_fingerprint of the model: expected");
  ExpectFailure(Train(data_, dir_ / "out"), "made with another model: backbone_fingerprint");
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  EXPECT_TRUE(RunResults(data_) == before);
}

TEST_F(DistillTrainTest, NothingToResumeLeavesNothing) {
  Run(Distill(data_));
  std::vector<std::string> command = Train(data_, heads_);
  command.push_back("--resume");
  ExpectFailure(command, "heads/run: no checkpoint to resume from");
  EXPECT_FALSE(fs::exists(heads_));
}

TEST_F(DistillTrainTest, DataWithNothingToTrainOnIsRefused) {
  ExpectFailure(Train(dir_ / "absent", heads_), "absent/manifest.json: no such file");
  prompts_ = dir_.Write("one.txt", "only one\n");
  Run(Distill(data_));
  ExpectFailure(Train(data_, heads_), "too little data");
  const std::string short_data = dir_ / "short";
  Run(Distill(short_data, {"--max-tokens", "1"}));
  ExpectFailure(Train(short_data, heads_), "no data to train on");
  EXPECT_FALSE(fs::exists(heads_));
  ExpectFailure({TERN_PROGRAM, "train", "--model", model_, "--data", data_}, "--out", 2);
}

}  // namespace
}  // namespace tern::test
