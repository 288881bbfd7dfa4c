#include "tools/eval_calibration.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/draft_calibration.h"
#include "engine/error.h"
#include "tools/heads.h"
#include "tools/report.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Where a file beside the heads belongs.
std::string HeadsFolder(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return path;
  const fs::path folder = fs::path(path).parent_path();
  if (fs::exists(folder / "config.json", ignored) && !path.ends_with(".gguf"))
    return folder.string();
  throw InvalidArgument("--write-calibration: " + path +
                        " is a file; expected heads in a folder with config.json, which the "
                        "calibration is written into");
}

void PrintTruths(const CalibrationReport& report, const std::string& folder) {
  std::printf("%-12s %-5s %7s  %-23s  %-23s  %s\n", "temperature", "head", "places",
              "expected/came before", "expected/came now", "came with lambda 0, 1, fitted");
  for (size_t r = 0; r < report.truths.size(); ++r) {
    for (size_t k = 0; k < report.truths[r].size(); ++k) {
      const HeadTruth& t = report.truths[r][k];
      std::printf("%-12.1f %-5zu %7lld  %.3f/%.3f (off %.3f)  %.3f/%.3f (off %.3f)",
                  static_cast<double>(kFittedTemperatures[r]), k + 1,
                  static_cast<long long>(t.places), t.expected_before, t.came_before,
                  t.error_before, t.expected, t.came, t.error);
      if (r > 0) {
        std::printf("  %.3f %.3f %.3f (%.2f)", t.came_by_noise[0], t.came_by_noise[1],
                    t.came_by_noise[2], static_cast<double>(t.noise));
      }
      std::printf("\n");
    }
  }
  std::printf("fitted on %lld places; written to %s/tern_calibration.json\n",
              static_cast<long long>(report.calibration.tokens), folder.c_str());
}

void PrintTruthsJson(const CalibrationReport& report, const std::string& folder) {
  Json rows = Json::array();
  for (size_t r = 0; r < report.truths.size(); ++r) {
    for (size_t k = 0; k < report.truths[r].size(); ++k) {
      const HeadTruth& t = report.truths[r][k];
      rows.push_back(
          {{"temperature", std::round(10.0 * static_cast<double>(kFittedTemperatures[r])) / 10.0},
           {"head", k + 1},
           {"places", t.places},
           {"expected_before", t.expected_before},
           {"came_before", t.came_before},
           {"error_before", t.error_before},
           {"expected", t.expected},
           {"came", t.came},
           {"error", t.error},
           {"noise", t.noise},
           {"came_by_noise", r == 0 ? Json() : Json(t.came_by_noise)}});
    }
  }
  const Json json = {{"calibration", folder + "/tern_calibration.json"},
                     {"tokens", report.calibration.tokens},
                     {"held_out", rows}};
  std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
}

}  // namespace

void WriteFittedCalibration(const Model& model, const Tokenizer& tokenizer,
                            const std::string& model_dir, const std::vector<Prompt>& prompts,
                            const CalibrationOptions& options, const CommonOptions& common) {
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, model_dir, model);
  if (heads == nullptr) {
    throw InvalidArgument("--write-calibration: there are no draft heads beside " + model_dir +
                          "; give --heads");
  }
  const std::string folder =
      HeadsFolder(common.heads.empty() ? HeadsBeside(model_dir) : common.heads);
  CalibrationReport report;
  {
    const size_t texts = prompts.size() * kFittedTemperatures.size();
    Progress progress("eval", "texts", static_cast<double>(texts));
    report = FitCalibration(model, tokenizer, *heads, prompts, options, [&progress](size_t done) {
      progress.Update(static_cast<double>(done));
    });
  }
  WriteCalibration(folder, report.calibration);
  if (common.json) {
    PrintTruthsJson(report, folder);
  } else {
    PrintTruths(report, folder);
  }
}

}  // namespace tern
