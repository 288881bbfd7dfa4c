// `tern chat`: a conversation in the terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/chat_template.h"
#include "engine/draft_heads.h"
#include "engine/error.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "engine/tokenizer.h"
#include "tools/commands.h"
#include "tools/conversation.h"
#include "tools/cost_table_flag.h"
#include "tools/generation_flags.h"
#include "tools/heads.h"
#include "tools/line_reader.h"
#include "tools/model_path.h"
#include "tools/text_output.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHelp =
    "/help             this list\n"
    "/regenerate       another answer to the last message (the same one at --temperature 0)\n"
    "/reset            begins a new conversation\n"
    "/system [TEXT]    instructions for the model; without TEXT, none\n"
    "/save FILE        writes the conversation as JSON\n"
    "/quit             leaves, as do Ctrl-D and Ctrl-C twice\n"
    "//TEXT            a message that begins with a slash\n"
    "Ctrl-C ends an answer early. A line that ends with \\ goes on in the next.\n";

struct ChatOptions {
  std::string system, history;
  int32_t context = 0;
  GenerationFlags flags;
};

// --- Ctrl-C where it is a signal: while an answer is written, and on either side of a line's
// typing.

std::atomic<int> interrupts = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void OnInterrupt(int /*signal*/) {
  if (interrupts.fetch_add(1) > 0) _exit(128 + SIGINT);  // a pass of the model may take long
}

// Catches SIGINT while it lives.
class InterruptGuard {
 public:
  InterruptGuard() {
    struct sigaction action {};
    action.sa_handler = OnInterrupt;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  static bool interrupted() { return interrupts > 0; }
  // The same, and nothing is pending afterwards.
  static bool Take() { return interrupts.exchange(0) > 0; }

 private:
  struct sigaction before_ {};
};

// --- The chat.

class Chat {
 public:
  Chat(Scheduler& scheduler, const Tokenizer& tokenizer, Conversation& conversation,
       const GenerationOptions& generation, LineReader& reader, bool json)
      : scheduler_(scheduler),
        tokenizer_(tokenizer),
        conversation_(conversation),
        generation_(generation),
        reader_(reader),
        json_(json) {}

  // Until the input ends or the user leaves.
  void Run() {
    // From a pipe, SIGINT ends the program while it waits for a line.
    std::optional<InterruptGuard> guard;
    if (reader_.terminal()) guard.emplace();
    bool leaving = false;  // the last thing was Ctrl-C
    std::string line;
    for (;;) {
      const LineReader::Input input = ReadMessage(line);
      if (input == LineReader::Input::kEnd) return;
      if (input == LineReader::Input::kInterrupt) {
        if (leaving) return;
        leaving = true;
        std::fputs("Ctrl-C again or Ctrl-D leaves; /help lists commands\n", stderr);
        continue;
      }
      leaving = false;
      try {
        if (!Take(line)) return;
      } catch (const Error& error) {
        if (!reader_.terminal()) throw;
        std::fprintf(stderr, "tern: %s\n", error.what());
      }
      leaving = interrupted_;
    }
  }

 private:
  LineReader::Input ReadMessage(std::string& line) {
    reader_.TakeKeys();
    if (InterruptGuard::Take()) return LineReader::Input::kInterrupt;  // behind the answer's end
    const LineReader::Input input = reader_.Read("> ", line);
    std::string more;
    while (input == LineReader::Input::kLine && reader_.terminal() && line.ends_with('\\')) {
      line.back() = '\n';
      if (reader_.Read("… ", more) != LineReader::Input::kLine)
        return LineReader::Input::kInterrupt;
      line += more;
    }
    return input;
  }

  // False where the user leaves.
  bool Take(const std::string& line) {
    interrupted_ = false;
    if (line.starts_with('/') && !line.starts_with("//")) return Command(line);
    const std::string text = line.starts_with("//") ? line.substr(1) : line;
    if (text.empty() && (conversation_.has_template() || conversation_.empty())) return true;
    if (!text.empty()) conversation_.AddUser(text);
    attempt_ = 0;
    try {
      if (!Answer() && !text.empty()) conversation_.RemoveLast();
    } catch (const Error&) {
      if (!text.empty()) conversation_.RemoveLast();
      throw;
    }
    return true;
  }

  bool Command(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/quit") return false;
    if (name == "/help") {
      std::fputs(kHelp, stderr);
    } else if (name == "/reset") {
      conversation_.Clear();
      std::fputs("a new conversation\n", stderr);
    } else if (name == "/system") {
      conversation_.SetSystem(rest);
    } else if (name == "/save") {
      if (rest.empty()) throw InvalidArgument("/save has no file name, expected /save FILE");
      WriteFileAtomically(rest, conversation_.Json());
    } else if (name == "/regenerate") {
      Regenerate();
    } else {
      throw InvalidArgument(name + " is no command; /help lists them, // begins a message with /");
    }
    return true;
  }

  void Regenerate() {
    if (conversation_.empty())
      throw InvalidArgument("/regenerate: there is no message yet; write one first");
    conversation_.RemoveAnswer();
    ++attempt_;
    Answer();
  }

  // False where it was given up before it had any text.
  bool Answer() {
    const Conversation::Prompt prompt = conversation_.Next(generation_.max_tokens);
    if (prompt.dropped > 0) {
      std::fprintf(stderr,
                   "the context is full: the oldest %zu messages are left out from now on\n",
                   prompt.dropped);
    }
    const GenerationResult result = Generate(prompt.ids);
    interrupted_ = result.finish_reason == FinishReason::kCancelled;
    if (json_) {
      std::cout << GenerationJson(tokenizer_, generation_, result)
                       .dump(-1, ' ', false, Json::error_handler_t::replace)
                << std::endl;
    } else {
      PrintPiece("\n");
      PrintSummary(result);
    }
    if (interrupted_ && result.text.empty()) return false;
    conversation_.AddAnswer(result.text);
    return true;
  }

  GenerationResult Generate(const std::vector<TokenId>& ids) {
    GenerationResult made;
    TextRequest request{.prompt = ids, .options = generation_};
    request.options.sampling.stream = attempt_;  // another answer with the same seed
    request.on_step = [this](const StepProgress& progress) {
      if (!json_ && !progress.piece.empty()) PrintPiece(progress.piece);
      return !InterruptGuard::interrupted();
    };
    request.on_finish = [&made](GenerationResult result) { made = std::move(result); };
    std::optional<InterruptGuard> guard;
    if (!reader_.terminal()) guard.emplace();
    scheduler_.Submit(std::move(request));
    while (scheduler_.Step()) {
    }
    if (made.finish_reason == FinishReason::kCancelled) InterruptGuard::Take();
    return made;
  }

  Scheduler& scheduler_;
  const Tokenizer& tokenizer_;
  Conversation& conversation_;
  const GenerationOptions& generation_;
  LineReader& reader_;
  const bool json_;
  uint32_t attempt_ = 0;  // answers to the last message before this one
  bool interrupted_ = false;
};

void Greet(const Scheduler& scheduler, const Conversation& conversation, const ChatTemplate& chat) {
  std::fprintf(stderr, "context %d tokens; /help lists commands\n", scheduler.max_context());
  if (conversation.has_template()) return;
  std::fprintf(stderr,
               "%s: the model continues your text as it stands; an empty line continues further\n",
               chat.present() ? "the chat template is not one that tern knows"
                              : "this model has no chat template");
}

void RunChat(const ChatOptions& options, const CommonOptions& common) {
  const GenerationOptions generation = options.flags.Checked(common);
  const std::string dir = ResolveModel(common.model);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const ChatTemplate chat_template = ChatTemplate::Load(dir);
  const Model model = LoadForDecoding(dir, common);
  const std::shared_ptr<const MedusaHeads> heads = HeadsFor(common, dir, model);
  Scheduler scheduler(model, *tokenizer,
                      {.max_context = options.context,
                       .max_rows = generation.max_rows,
                       .prefill_chunk = generation.prefill_chunk,
                       .kv_type = common.Kv(),
                       .reuse_prefixes = true,
                       .costs = CostTableAt(options.flags.cost_table)},
                      {.drafters = DrafterMaker(model, heads, generation.max_rows), .planner = {}});
  Conversation conversation(model.config, *tokenizer, chat_template, scheduler.max_context());
  conversation.SetSystem(options.system);
  LineReader reader(options.history);
  if (reader.terminal()) Greet(scheduler, conversation, chat_template);
  Chat(scheduler, *tokenizer, conversation, generation, reader, common.json).Run();
}

}  // namespace

void AddChat(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ChatOptions>();
  constexpr int32_t kAnswerTokens = 512;
  options->flags.generation.max_tokens = kAnswerTokens;
  CLI::App* command =
      app.add_subcommand("chat", "Talks with a model in the terminal; from a pipe, a turn a line");
  command->add_option("--system", options->system, "Instructions for the model");
  command->add_option("--context", options->context,
                      "Tokens that the model sees at once (default: the model's)");
  command->add_option("--history", options->history,
                      "A file that keeps the lines you type for the next time");
  AddGenerationOptions(*command, options->flags);
  command->callback([options, &common] { RunChat(*options, common); });
}

}  // namespace tern
