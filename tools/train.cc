// tern train: trains Medusa heads on what `tern distill` wrote.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/model_path.h"
#include "tools/output_guard.h"
#include "tools/report.h"
#include "tools/train_benchmark.h"
#include "tools/train_finish.h"
#include "tools/train_options.h"
#include "tools/train_page.h"
#include "trainer/cost_curve.h"
#include "trainer/machine.h"
#include "trainer/process_group.h"
#include "trainer/served_traffic.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

std::atomic<bool> g_stop{false};  // what a signal handler may touch
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void StopTraining(int signal) {
  g_stop.store(true);
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

std::string RunFolder(const TrainOptions& options) {
  return options.run.empty() ? options.out + "/run" : options.run;
}

std::string ServedFolder(const TrainOptions& options) { return RunFolder(options) + "/served"; }

// The folder of the data. That of served traffic is made once in a run, which later traffic does
// not change.
std::string DataFolder(const TrainOptions& options, const std::string& model_dir,
                       const Model& model) {
  if (options.from_served.empty()) return options.data;
  const std::string data = ServedFolder(options);
  if (!options.restart && std::filesystem::exists(HiddenManifestPath(data)) &&
      ReadHiddenCacheInfo(data).complete()) {
    return data;
  }
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(model_dir);
  const std::string fingerprint = BackboneFingerprint(model);
  const ServedTraffic served =
      ImportServedTraffic(options.from_served, {model.config, fingerprint, *tokenizer}, data);
  std::fprintf(stderr,
               "%s: %llu texts, %llu tokens, of %llu files; %llu lines without an end and "
               "%llu answers too short or too long were left out\n",
               options.from_served.c_str(), static_cast<unsigned long long>(served.texts),
               static_cast<unsigned long long>(served.tokens),
               static_cast<unsigned long long>(served.files),
               static_cast<unsigned long long>(served.cut_lines),
               static_cast<unsigned long long>(served.unused));
  return data;
}

HeadTrainerOptions Shaped(HeadTrainerOptions options, const std::optional<MedusaHeads>& initial) {
  if (!initial) return options;
  options.heads = initial->count;
  options.layers = static_cast<int32_t>(initial->blocks.size());
  return options;
}

// Model, data and trainer, made and checked before anything is written.
struct TrainSetup {
  TrainSetup(const TrainOptions& options, const CommonOptions& common)
      : dir(ResolveModel(common.model)),
        model(LoadModel(dir, common.I2s())),
        initial(InitialHeads(options, model)),
        cache(DataFolder(options, dir, model)),
        rows(cache),
        split(SplitHeadData(rows, options.held_out)),
        loop(ResolveTrainLoop(options, split)),
        data(rows.Blocks(split.training, BlockTokens(options, cache.info())), common.seed),
        valid(split.training, split.held_out, loop.batch),
        heads(Shaped(ResolveHeads(options, loop, DefaultShortlist(cache)), initial)),
        trainer(model, rows, heads, common.seed, Info(common)) {
    if (initial) trainer.StartFrom(*initial);
  }

  MedusaHeadsInfo Info(const CommonOptions& common) const {
    MedusaHeadsInfo info;
    // As the user named it; where the model that ships with tern lies is this machine's business.
    info.base_model =
        common.model.empty() ? std::filesystem::path(dir).filename().string() : common.model;
    info.backbone_fingerprint = cache.info().backbone_fingerprint;
    info.trained_tokens = static_cast<int64_t>(split.training);
    return info;
  }

  std::string dir;
  Model model;
  std::optional<MedusaHeads> initial;
  HiddenCache cache;
  HeadRows rows;
  HeadDataSplit split;
  LoopOptions loop;
  HeadRowSampler data;
  HeldOutHeadRows valid;
  HeadTrainerOptions heads;
  HeadTrainer trainer;
};

// In every process of the group. Served traffic is copied by the first one; the others find the
// copy where the run's folder is shared.
std::unique_ptr<TrainSetup> SetUp(TrainOptions options, const CommonOptions& common,
                                  ProcessGroup& group) {
  std::unique_ptr<TrainSetup> setup;
  const auto make = [&] { setup = std::make_unique<TrainSetup>(options, common); };
  const bool served = !options.from_served.empty();
  if (served) {
    Together(group, [&] {
      if (group.first()) make();
    });
  }
  Together(group, [&] {
    if (setup) return;
    if (served) {
      options.data = ServedFolder(options);
      options.from_served.clear();
    }
    make();
  });
  return setup;
}

// c(rows) of a run, the same from its beginning to its end: that of the file given, else what an
// earlier part of the run measured, else measured now.
CostCurve FreezeCosts(const Model& model, const std::string& given, const std::string& run) {
  const std::string path = run + "/costs.json";
  const bool known = std::filesystem::exists(path);
  if (known && given.empty()) return ReadCostCurve(path);
  const CostCurve costs = given.empty() ? MeasureCostCurve(model) : ReadCostCurve(given);
  if (!known) WriteFileAtomically(path, CostCurveText(costs));
  return costs;
}

void Announce(const TrainSetup& setup, const TrainOptions& options, const ProcessGroup& group) {
  const HiddenCacheInfo& info = setup.cache.info();
  if (!info.complete()) {
    std::fprintf(stderr, "%s holds %llu of %llu texts; tern distill can go on there\n",
                 setup.cache.dir().c_str(), static_cast<unsigned long long>(info.sequences()),
                 static_cast<unsigned long long>(info.planned_sequences));
  }
  const uint64_t block = BlockTokens(options, info);
  if (!info.hidden_stored) {
    std::fprintf(stderr, "hidden states are computed: %.3g GB, %s\n",
                 static_cast<double>(HiddenStateBytes(info)) / 1e9,
                 block == 0 ? "which are kept"
                            : "anew in every epoch; --hidden-memory is too little "
                              "to keep them");
  }
  if (block > 0)
    std::fprintf(stderr, "blocks of about %llu tokens\n", static_cast<unsigned long long>(block));
  std::fprintf(
      stderr,
      "%d heads of hidden %d%s, vocabulary %d; %llu tokens to train on, %llu held out; "
      "%llu steps of %llu tokens; %s%d threads, %s\n",
      setup.heads.heads, info.hidden_size,
      setup.heads.sees_root ? " and the root (as only tern runs them; else --no-root)" : "",
      info.vocab_size, static_cast<unsigned long long>(setup.split.training),
      static_cast<unsigned long long>(setup.split.held_out),
      static_cast<unsigned long long>(setup.loop.schedule.steps),
      static_cast<unsigned long long>(setup.loop.rows_per_step()),
      group.size() == 1 ? "" : (std::to_string(group.size()) + " processes of ").c_str(),
      ThreadCount(), CurrentTarget().c_str());
}

void PrintSummary(const LoopSummary& s, const Json& finish, const TrainOptions& options,
                  bool as_json) {
  if (!as_json) {
    if (!s.finished) return;
    std::string line = "held-out top-1 per head:";
    for (double share : s.held_out_figures.at("held_out_head_top1").get<std::vector<double>>()) {
      char text[16];
      std::snprintf(text, sizeof(text), " %.3f", share);
      line += text;
    }
    std::fprintf(stderr, "%s; simulated: %.3f tokens per step, %s tokens/s\n", line.c_str(),
                 s.held_out_figures.at("acceptance_length").get<double>(),
                 FormatNumber(s.held_out_figures.at(HeadTrainer::kSpeedFigure)).c_str());
    std::printf("%s\n", options.out.c_str());
    return;
  }
  Json out = {{"finished", s.finished}, {"step", s.step},
              {"tokens", s.tokens},     {"heads", options.heads.heads},
              {"loss", s.loss},         {"held_out_loss", s.held_out ? Json(*s.held_out) : Json()}};
  if (s.finished) {
    out["head_loss"] = s.held_out_figures.at("held_out_head_loss");
    out["head_top1"] = s.held_out_figures.at("held_out_head_top1");
    out["head_top5"] = s.held_out_figures.at("held_out_head_top5");
    out["best_step"] = s.best->step;
    for (const char* name : {"acceptance_length", HeadTrainer::kSpeedFigure, "simulated_rows"})
      out[name] = s.held_out_figures.at(name);
    out.update(finish);
  }
  out["tokens_per_second"] = s.tokens_per_second;
  out["mfu"] = s.mfu;
  out["rollbacks"] = s.rollbacks;
  out["threads"] = ThreadCount();
  out["target"] = CurrentTarget();
  out["out"] = options.out;
  out["peak_memory_mb"] = PeakMemoryMb();
  std::cout << out.dump(2) << "\n";
}

// What decides the bytes of the result, and `costs`.
nlohmann::json RecordOf(const TrainSetup& setup, const TrainOptions& options,
                        const CommonOptions& common, const CostCurve& costs, int processes) {
  nlohmann::json record =
      RecordTrainOptions(options, setup.heads, setup.loop, setup.cache, common.seed);
  if (setup.initial) {
    uint64_t hash = 0;
    for (const MedusaBlock& block : setup.initial->blocks) {
      hash = HashBytes(std::as_bytes(block.weights.span()), hash);
      hash = HashBytes(std::as_bytes(block.biases.span()), hash);
    }
    if (setup.initial->sees_root())
      hash = HashBytes(std::as_bytes(setup.initial->root_weights.span()), hash);
    if (setup.initial->vocabularies.size() > 0)
      hash = HashBytes(std::as_bytes(setup.initial->vocabularies.span()), hash);
    record["--init-heads"] = HashName(hash);
  }
  record["--costs"] = HashName(HashText(CostCurveText(costs)));
  // Each may have a copy of its own.
  if (processes > 1) record["tokens of the data"] = HashName(HashTokens(setup.cache));
  return record;
}

// The run's folder as the first process of a group opens it; null in the others.
std::unique_ptr<RunDirectory> OpenRun(const TrainOptions& options, const std::string& run,
                                      const ProcessGroup& group) {
  if (!group.first()) return nullptr;
  auto directory = std::make_unique<RunDirectory>(run);
  RemoveTemporaries(options.out);
  directory->SetTensorBoard(options.tensorboard);
  if (options.restart) {
    directory->Clear();
    std::filesystem::remove(run + "/costs.json");
  }
  return directory;
}

void CatchSignals(const ProcessGroup& group) {
  std::signal(SIGINT, StopTraining);
  std::signal(SIGTERM, StopTraining);
  // The one that mpirun hands on, instead of ending all a moment later.
  if (group.size() > 1) std::signal(SIGUSR1, StopTraining);
}

void Train(TrainOptions options, const CommonOptions& common, ProcessGroup& group) {
  const std::string run = RunFolder(options);
  const auto require_checkpoint = [&](bool there) {
    if (options.must_resume && group.first() && !there)
      throw NotFound(run + ": no checkpoint to resume from; leave out --resume to start");
  };
  require_checkpoint(RunDirectory::HasCheckpoint(run));
  options.loop.group = &group;
  const std::unique_ptr<TrainSetup> setup = SetUp(options, common, group);
  options.heads = setup->heads;
  const std::unique_ptr<RunDirectory> directory = OpenRun(options, run, group);
  std::string costs_text;
  if (group.first()) costs_text = CostCurveText(FreezeCosts(setup->model, options.costs, run));
  const CostCurve costs = ParseCostCurve(BroadcastText(group, costs_text), run + "/costs.json");
  setup->trainer.SetCosts(costs);
  std::optional<GemmPeak> peak;
  if (group.first()) setup->loop.peak = &peak.emplace(!options.fp32);
  setup->loop.stop = &g_stop;
  if (group.first()) Announce(*setup, options, group);
  TrainingLoop loop(setup->trainer, setup->data, &setup->valid, setup->loop, directory.get(),
                    RecordOf(*setup, options, common, costs, group.size()));
  require_checkpoint(loop.Resume(options.leniency));
  CatchSignals(group);
  const LoopSummary summary = loop.Run();
  if (!group.first()) return;
  Json finish;
  if (summary.finished) {
    finish = FinishHeads({setup->dir, setup->model, setup->cache}, options, common);
  }
  if (!options.html.empty()) WriteFileAtomically(options.html, TrainPage("tern train", run));
  PrintSummary(summary, finish, options, common.json);
}

// As one of the processes that a launcher started, or alone. A failure ends all of them.
void TrainInGroup(const TrainOptions& options, const CommonOptions& common) {
  const std::unique_ptr<ProcessGroup> group = StartProcessGroup();
  if (group->size() == 1) return Train(options, common, *group);
  try {
    Train(options, common, *group);
    group->Leave();
  } catch (const ToldElsewhere&) {
    std::this_thread::sleep_for(std::chrono::seconds(10));  // who tells it ends this process, too
    group->Abort();
  } catch (const std::exception& error) {
    const std::string who = group->first() ? "" : group->name() + ": ";
    std::fprintf(stderr, "tern: %s%s\n", who.c_str(), FailureText(error).c_str());
    group->Abort();
  }
}

void CheckArguments(const TrainOptions& options, const CommonOptions& common) {
  if (options.must_resume && options.restart)
    throw CLI::ValidationError("--resume", "and --restart contradict each other");
  if (!options.benchmark && options.out.empty()) throw CLI::RequiredError("--out");
  RequireOutside(options.out, options.init_heads, "--init-heads");
  if (options.benchmark && !(options.from_served + options.init_heads).empty())
    throw CLI::ValidationError("--benchmark", "goes with --data or --synthetic");
  if (options.synthetic.empty()) {
    if (options.data.empty() && options.from_served.empty()) throw CLI::RequiredError("--data");
    return;
  }
  if (!options.benchmark || !common.model.empty() || !options.data.empty())
    throw CLI::ValidationError("--synthetic", "goes with --benchmark, without --model and --data");
}

}  // namespace

void AddTrain(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Trains draft heads on what tern distill wrote");
  BindTrainOptions(*command, *options);
  command->callback([options, &common] {
    CheckArguments(*options, common);
    if (!options->benchmark) return TrainInGroup(*options, common);
    RequireOneProcess("--benchmark is for one");
    BenchmarkTraining(*options, common);
  });
}

}  // namespace tern
