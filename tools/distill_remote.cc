#include "tools/distill_remote.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/text_forward.h"

namespace tern {
namespace {

using Answers = std::vector<Completion>;  // of a conversation, or the one of a text

// Threads that ask for the answers of prompts, which are handed out in the order of prompts.
class AnswerQueue {
 public:
  AnswerQueue(CompletionServer server, const RemotePrompts& prompts, const DistillOptions& options,
              size_t first)
      : client_(WithStop(std::move(server))),
        prompts_(prompts),
        sampling_{options.max_tokens, options.sampling.temperature, options.sampling.top_p,
                  options.sampling.seed},
        most_(2 * static_cast<size_t>(options.parallel)),
        next_(first),
        taken_(first) {
    const size_t left = prompts.lines.size() - first;
    const size_t threads = std::min(left, static_cast<size_t>(options.parallel));
    for (size_t t = 0; t < threads; ++t) threads_.emplace_back([this] { Work(); });
  }
  ~AnswerQueue() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  AnswerQueue(const AnswerQueue&) = delete;
  AnswerQueue& operator=(const AnswerQueue&) = delete;

  // Those of the next prompt. Rethrows what stopped the threads.
  Answers Take() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return failure_ != nullptr || ready_.contains(taken_); });
    const auto found = ready_.find(taken_);
    if (found == ready_.end()) std::rethrow_exception(failure_);
    Answers answers = std::move(found->second);
    ready_.erase(found);
    ++taken_;
    wake_.notify_all();
    return answers;
  }

 private:
  CompletionServer WithStop(CompletionServer server) {
    server.stop = &stop_;
    return server;
  }

  void Work() {
    while (true) {
      size_t index = 0;
      {
        std::unique_lock lock(mutex_);
        // Answers that nobody took yet are bounded.
        wake_.wait(lock, [this] { return stop_ || next_ < taken_ + most_; });
        if (stop_ || next_ == prompts_.lines.size()) return;
        index = next_++;
      }
      try {
        Answers answers = Ask(index);
        const std::lock_guard lock(mutex_);
        ready_[index] = std::move(answers);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (failure_ == nullptr) failure_ = std::current_exception();
        stop_ = true;
      }
      wake_.notify_all();
    }
  }

  Answers Ask(size_t index) const {
    const Prompt& prompt = prompts_.lines[index];
    CompletionSampling sampling = sampling_;
    sampling.seed += index;
    if (prompt.turns.empty() || prompts_.use == ConversationUse::kRaw)
      return {client_.Continue(prompt.text, sampling)};
    Answers answers;
    std::vector<ChatMessage> messages;
    const size_t turns = prompts_.encoded[index].replies.size() + 1;
    for (size_t turn = 0; turn < turns; ++turn) {
      messages.insert(messages.end(), prompt.turns[turn].begin(), prompt.turns[turn].end());
      answers.push_back(client_.Chat(messages, sampling));
      messages.push_back({"assistant", answers.back().text});
    }
    return answers;
  }

  std::atomic<bool> stop_{false};
  const CompletionClient client_;
  const RemotePrompts& prompts_;
  const CompletionSampling sampling_;
  const size_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  size_t next_, taken_;  // prompts to ask for and to hand out
  std::map<size_t, Answers> ready_;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

// Ids of a text that goes on behind others: some tokenizers put a space before a text's front.
std::vector<TokenId> EncodeBehind(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<TokenId> line = tokenizer.Encode("\n"), both = tokenizer.Encode("\n" + text);
  if (both.size() < line.size() || !std::equal(line.begin(), line.end(), both.begin()))
    return tokenizer.Encode(text);
  return {both.begin() + std::ssize(line), both.end()};
}

// A server's answers as the local model would have written them.
DistilledText MakeText(const Tokenizer& tokenizer, const DistillPrompt& prompt,
                       const Answers& answers, size_t width, size_t top_k, int32_t context) {
  DistilledText text(prompt, width, top_k);
  for (const Completion& answer : answers) {
    std::vector<TokenId> ids = EncodeBehind(tokenizer, answer.text);
    const bool ended = answer.ended && prompt.end >= 0;
    if (ended) ids.push_back(prompt.end);
    const size_t room = static_cast<size_t>(context) - text.tokens().size();
    const bool fits = ids.size() <= room;
    if (!fits) ids.resize(room);
    if (!text.Answer(ids, ended && fits, {}, context)) break;
  }
  return text;
}

// The local model's context, but no more of it than texts of a few times the tokens asked for
// take: the server's tokens may be longer.
int32_t LocalContext(const RemotePrompts& prompts, const DistillOptions& options,
                     const ModelConfig& config) {
  const int64_t longest = LongestText(prompts.encoded, options.max_tokens, config);
  return static_cast<int32_t>(std::min<int64_t>(4 * longest, config.max_position_embeddings));
}

}  // namespace

DistillCounts DistillRemote(const CompletionServer& server, const Model& model,
                            const Tokenizer& tokenizer, const RemotePrompts& prompts,
                            const DistillOptions& options, HiddenCacheWriter& writer,
                            const DistillCallback& on_text) {
  using Clock = std::chrono::steady_clock;
  const auto top_k = static_cast<size_t>(writer.info().teacher_top_k);
  const size_t width =
      writer.info().hidden_stored ? static_cast<size_t>(model.config.hidden_size) : 0;
  const int32_t context = LocalContext(prompts, options, model.config);
  TextForward forward(model, context, options.kv_type);
  DistillCounts counts;
  counts.prompts = writer.sequences();
  const Clock::time_point start = Clock::now();
  AnswerQueue queue(server, prompts, options, static_cast<size_t>(counts.prompts));
  while (counts.prompts < prompts.encoded.size()) {
    const DistillPrompt& prompt = prompts.encoded[static_cast<size_t>(counts.prompts)];
    DistilledText text = MakeText(tokenizer, prompt, queue.Take(), width, top_k, context);
    if (width > 0 || top_k > 0) {
      forward.Run(
          text.tokens(),
          [&](int32_t position, std::span<const float> row) { text.SetHidden(position, row); },
          top_k > 0 ? text.assistant() : std::span<const uint8_t>(), top_k,
          [&](size_t position, std::span<const TokenLogprob> top) {
            text.SetTeacher(position, top);
          });
    }
    counts.generated_tokens += text.answered();
    counts.tokens += text.tokens().size();
    writer.Append(text.Finish());
    ++counts.prompts;
    counts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (on_text) on_text(counts);
  }
  writer.Finish();
  return counts;
}

}  // namespace tern
