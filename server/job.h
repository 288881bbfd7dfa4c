// What the HTTP threads ask of the compute thread, and how it answers.
#ifndef TERN_SERVER_JOB_H_
#define TERN_SERVER_JOB_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/generation_options.h"
#include "engine/generator.h"
#include "engine/prompt_scores.h"

namespace tern {

// One pass's part of a text.
struct TextStep {
  int32_t tokens = 0;   // that it added
  int32_t drafted = 0;  // that it verified
};

// Consecutive tokens of a text.
struct TokenRun {
  std::vector<TokenId> ids;
  std::vector<float> logprobs;             // [ids.size()]; empty where not asked for
  std::vector<TokenLogprob> top_logprobs;  // [ids.size(), options.logprobs]
  std::vector<TextStep> steps;             // that gave the ids; empty behind a whole text
};

// Receives what a job produces, for each sequence (an index into Job::sequences) in order;
// different sequences interleave. Called on the compute thread: must not block.
class JobSink {
 public:
  virtual ~JobSink() = default;
  // Before all else, where the sequence asks for its prompt's log-probabilities.
  virtual void OnPrompt(size_t sequence, PromptScores scores) = 0;
  // More text, never empty, and the tokens since the last call.
  virtual void OnPiece(size_t sequence, std::string text, TokenRun tokens) = 0;
  // The sequence is done. `tokens` are those since the last OnPiece.
  virtual void OnFinish(size_t sequence, GenerationResult result, TokenRun tokens) = 0;
  // The job failed: nothing more comes.
  virtual void OnError(const std::string& message) = 0;
};

struct Sequence {
  std::vector<TokenId> prompt;
  GenerationOptions options;
  bool score_prompt = false;  // with options.logprobs others each; the prompt is run whole then
};

// One request: its sequences run side by side as far as there are places.
struct Job {
  std::vector<Sequence> sequences;
  std::shared_ptr<JobSink> sink;
  std::chrono::steady_clock::time_point arrival = std::chrono::steady_clock::now();
  std::atomic<bool> cancelled = false;  // ends the job within one pass
};

}  // namespace tern

#endif  // TERN_SERVER_JOB_H_
