// tern tokenize: text files to a packed token file and back, and the training of tokenizers.
//
// Packing writes <s> text </s> for every document. The separator line becomes </s> and is never
// text; a last document that the file does not end with a separator gets no </s>, unless another
// file follows. A separator with no line before it is a bare </s>. Unpacking is therefore exact for
// one file, and for many that each end with a separator line.
#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/mapped_file.h"
#include "engine/token_file.h"
#include "engine/tokenizer.h"
#include "engine/tokenizer_train.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/documents.h"
#include "tools/model_path.h"
#include "tools/output_guard.h"
#include "tools/report.h"

namespace tern {
namespace {

struct TokenizeOptions {
  std::vector<std::string> files;
  std::string tokenizer, out, unpack;
  std::string separator = std::string(kDocumentSeparator);
  bool train = false;
  std::string type = "unigram";
  TokenizerTrainOptions training;
};

std::string_view Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::vector<MappedFile> MapFiles(const std::vector<std::string>& paths) {
  std::vector<MappedFile> files;
  for (const std::string& path : paths) files.emplace_back(path);
  return files;
}

void RequireText(const TokenizeOptions& options, const std::vector<MappedFile>& files) {
  for (const MappedFile& file : files) {
    if (!SplitDocuments(Text(file), options.separator).empty()) return;
  }
  throw InvalidArgument(options.files.front() + ": holds no text; give files with text");
}

void PrintSummary(const nlohmann::ordered_json& summary, bool json) {
  if (json) {
    std::printf("%s\n", summary.dump().c_str());
    return;
  }
  for (const auto& [key, value] : summary.items()) {
    std::fprintf(stderr, "%s: %s\n", key.c_str(), value.dump().c_str());
  }
}

// --- Training.

// The lines of all documents, in order.
class Lines {
 public:
  Lines(const std::vector<MappedFile>& files, std::string_view separator) {
    for (const MappedFile& file : files) {
      for (const Document& document : SplitDocuments(Text(file), separator))
        texts_.push_back(document.text);
    }
  }
  bool Next(std::string_view& line) {
    for (; at_ < texts_.size(); ++at_) {
      std::string_view& rest = texts_[at_];
      if (rest.empty()) continue;
      const size_t end = rest.find('\n');
      line = rest.substr(0, end);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      bytes_ += line.size();
      return true;
    }
    return false;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<std::string_view> texts_;
  size_t at_ = 0;
  uint64_t bytes_ = 0;
};

void Train(const TokenizeOptions& options, const CommonOptions& common) {
  std::error_code ignored;
  if (std::filesystem::exists(options.out, ignored) &&
      !std::filesystem::is_empty(options.out, ignored)) {
    throw InvalidArgument(options.out + ": exists already; remove it or write elsewhere");
  }
  const std::vector<MappedFile> files = MapFiles(options.files);
  RequireText(options, files);
  Lines lines(files, options.separator);
  const std::string model = TrainTokenizer(
      options.training, [&lines](std::string_view& line) { return lines.Next(line); });
  WriteTokenizer(options.out, model);
  PrintSummary({{"tokenizer", options.out},
                {"vocab_size", options.training.vocab_size},
                {"type", options.type},
                {"bytes", lines.bytes()},
                {"peak_memory_mb", PeakMemoryMb()}},
               common.json);
}

// --- Packing.

// Encodes documents[begin, end), each by one of `threads` threads; results in order.
std::vector<std::vector<TokenId>> EncodeAll(const Tokenizer& tokenizer,
                                            std::span<const Document> documents, int threads) {
  std::vector<std::vector<TokenId>> ids(documents.size());
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> failures(static_cast<size_t>(threads));
  const auto work = [&](size_t thread) {
    try {
      for (size_t i = next++; i < documents.size(); i = next++)
        ids[i] = tokenizer.Encode(documents[i].text);
    } catch (...) {
      failures[thread] = std::current_exception();
    }
  };
  std::vector<std::jthread> team;
  for (int thread = 1; thread < threads; ++thread)
    team.emplace_back(work, static_cast<size_t>(thread));
  work(0);
  team.clear();  // joins
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return ids;
}

std::string TokenizerDir(const TokenizeOptions& options, const CommonOptions& common) {
  if (options.tokenizer.empty()) return ResolveModel(common.model);
  // The file itself is as good a name, as for tern pretrain.
  const std::filesystem::path path = options.tokenizer;
  if (path.filename() != "tokenizer.model" || std::filesystem::is_directory(path))
    return options.tokenizer;
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

uint64_t TokenizerHash(const std::string& dir) {
  return HashText(ReadFile(dir + "/tokenizer.model"));
}

void Pack(const TokenizeOptions& options, const CommonOptions& common) {
  RequireNotInput(options.out, options.files);
  RequireTokenFileOrNone(options.out);
  const std::string dir = TokenizerDir(options, common);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const std::vector<MappedFile> files = MapFiles(options.files);
  std::vector<Document> documents;
  uint64_t file_bytes = 0, text_bytes = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::vector<Document> split = SplitDocuments(Text(files[i]), options.separator);
    documents.insert(documents.end(), split.begin(), split.end());
    if (i + 1 < files.size() && !split.empty() && split.back().end == Document::End::kNone) {
      documents.back().end = Document::End::kLine;  // documents never span files
    }
    file_bytes += files[i].bytes().size();
  }
  RequireText(options, files);
  constexpr size_t kDocumentsAtOnce = 1024;  // bounds the memory that encoded documents take
  TokenFileWriter writer(options.out, static_cast<uint32_t>(tokenizer->vocab_size()),
                         TokenizerHash(dir));
  Progress progress("tokenize", "MB", static_cast<double>(file_bytes) * 1e-6);
  const std::span<const Document> all = documents;
  for (size_t begin = 0; begin < all.size(); begin += kDocumentsAtOnce) {
    const std::span<const Document> batch =
        all.subspan(begin, std::min(kDocumentsAtOnce, all.size() - begin));
    const std::vector<std::vector<TokenId>> encoded = EncodeAll(*tokenizer, batch, ThreadCount());
    const TokenId bos = tokenizer->bos(), eos = tokenizer->eos();
    for (size_t i = 0; i < batch.size(); ++i) {
      if (batch[i].end != Document::End::kBareLine) writer.Append(std::span(&bos, 1));
      writer.Append(std::span<const TokenId>(encoded[i]));
      if (batch[i].end != Document::End::kNone) writer.Append(std::span(&eos, 1));
      text_bytes += batch[i].text.size();
    }
    progress.Update(static_cast<double>(text_bytes) * 1e-6);
  }
  writer.Commit(text_bytes);
  const double tokens = static_cast<double>(writer.tokens());
  PrintSummary({{"tokens", writer.tokens()},
                {"bytes", text_bytes},
                {"documents", documents.size()},
                {"bytes_per_token", tokens > 0 ? static_cast<double>(text_bytes) / tokens : 0.0},
                {"vocab_size", tokenizer->vocab_size()},
                {"peak_memory_mb", PeakMemoryMb()}},
               common.json);
}

// --- Unpacking.

void WriteText(const TokenFile& file, const Tokenizer& tokenizer, const std::string& separator,
               const std::function<void(std::string_view)>& write) {
  bool open = false;  // between <s> and </s>
  for (const uint32_t token : file.tokens()) {
    const auto id = static_cast<TokenId>(token);
    if (id == tokenizer.bos()) {
      open = true;
    } else if (id == tokenizer.eos()) {
      if (!separator.empty()) write((open ? "\n" : "") + separator + "\n");
      open = false;
    } else {
      write(tokenizer.PieceBytes(id));
    }
  }
}

void Unpack(const TokenizeOptions& options, const CommonOptions& common) {
  RequireNotInput(options.out, {options.unpack});
  const std::string dir = TokenizerDir(options, common);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir);
  const TokenFile file(options.unpack);
  file.CheckIds();
  if (file.info().tokenizer_hash != TokenizerHash(dir)) {
    throw InvalidArgument(options.unpack + ": packed with another tokenizer than " + dir +
                          "/tokenizer.model; give the one it was packed with as --tokenizer");
  }
  uint64_t bytes = 0;
  if (options.out.empty()) {
    WriteText(file, *tokenizer, options.separator, [&bytes](std::string_view text) {
      bytes += text.size();
      std::fwrite(text.data(), 1, text.size(), stdout);
    });
    return;
  }
  AtomicFile out(options.out);
  WriteText(file, *tokenizer, options.separator, [&](std::string_view text) {
    bytes += text.size();
    out.Write(text);
  });
  out.Commit();
  PrintSummary(
      {{"tokens", file.info().tokens}, {"bytes", bytes}, {"peak_memory_mb", PeakMemoryMb()}},
      common.json);
}

void Tokenize(const TokenizeOptions& options, const CommonOptions& common) {
  if (options.train && !options.unpack.empty())
    throw CLI::ValidationError("--unpack", "does not go with --train");
  if (options.unpack.empty() == options.files.empty()) {
    throw CLI::ValidationError("FILES", options.files.empty() ? "give text files, or --unpack FILE"
                                                              : "do not go with --unpack");
  }
  if (options.unpack.empty() && options.out.empty())
    throw CLI::ValidationError("--out", "is required");
  if (common.json && !options.unpack.empty() && options.out.empty())
    throw CLI::ValidationError("--json", "needs --out: stdout cannot hold the text too");
  if (options.train) {
    Train(options, common);
  } else if (!options.unpack.empty()) {
    Unpack(options, common);
  } else {
    Pack(options, common);
  }
}

}  // namespace

void AddTokenize(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command =
      app.add_subcommand("tokenize", "Packs text files into a token file, and the reverse");
  command->add_option("FILES", options->files, "Text files");
  command->add_option("--out", options->out,
                      "Token file to write; --train: folder; --unpack: text file");
  command->add_option("--tokenizer", options->tokenizer,
                      "Folder of tokenizer.model (default: that of --model)");
  command
      ->add_option("--separator", options->separator,
                   "Line that ends a document in a text file; empty: a file is one document")
      ->capture_default_str();
  command->add_option("--unpack", options->unpack,
                      "Write the text of this token file to --out or stdout");
  command->add_flag("--train", options->train,
                    "Train a tokenizer on the files and write it to --out");
  command
      ->add_option("--vocab-size", options->training.vocab_size,
                   "--train: pieces of the vocabulary")
      ->check(CLI::Range(261, 1000000))
      ->capture_default_str();
  command->add_option("--type", options->type, "--train: unigram or bpe")
      ->check(CLI::IsMember({"unigram", "bpe"}))
      ->capture_default_str();
  command->callback([options, &common] {
    options->training.bpe = options->type == "bpe";
    Tokenize(*options, common);
  });
}

}  // namespace tern
