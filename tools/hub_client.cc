#include "tools/hub_client.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/mapped_file.h"
#include "tools/http_request.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxListing = size_t{64} << 20;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

HttpOutcome Get(const HubOptions& options, const std::string& url, uint64_t from,
                const HttpSink& sink) {
  HttpRequest request{.url = url, .bearer = options.token, .from = from};
  request.stall_seconds = options.stall_seconds;
  return PerformHttp(request, sink);
}

Error Refusal(const HubName& name, const std::string& url, const HttpOutcome& outcome) {
  const std::string answer =
      outcome.status == 0 ? "no answer" : "status " + std::to_string(outcome.status);
  const std::string what = name.id + ": " + url + ": " + answer;
  switch (outcome.status) {
    case 401:
      return NotFound(what + ": no such model, or it needs a login; check the name, or set " +
                      "HF_TOKEN to a token that may read it");
    case 403:
      return NotFound(what + ": not allowed; accept the model's terms on its page, and set " +
                      "HF_TOKEN to a token that may read it");
    case 404:
      return NotFound(what + ": no such model or revision (" + name.revision + "); check the name");
    default:
      return Error(Error::Kind::kInternal,
                   what + (outcome.reason.empty() ? "" : ": " + outcome.reason) +
                       "; try again later, a download goes on where it stopped");
  }
}

void Wait(const HubOptions& options, int attempt) {
  std::this_thread::sleep_for(
      std::chrono::milliseconds(HttpBackOff(options.first_wait_ms, attempt)));
}

std::string Escaped(const std::string& text) {
  char* const escaped = curl_easy_escape(nullptr, text.c_str(), static_cast<int>(text.size()));
  std::string result = escaped == nullptr ? text : escaped;
  curl_free(escaped);
  return result;
}

bool IsHex(const std::string& text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
         });
}

// Names come from the network and become paths.
bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= 200 && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '+';
         });
}

HubListing ReadListing(const std::string& url, const std::string& text) {
  const auto bad = [&](const char* what) {
    return BadFile({url, what, "a model's listing", "something else", "check HF_ENDPOINT"});
  };
  const json listing = ParseJson<json>(text);
  if (!listing.is_object()) throw bad("answer");
  HubListing result;
  try {
    result.commit = listing.at("sha").get<std::string>();
    for (const json& entry : listing.at("siblings")) {
      HubFile file{entry.at("rfilename").get<std::string>(), 0, ""};
      if (!IsPlainName(file.name)) continue;
      const json lfs = entry.value("lfs", json());
      file.checksum = (lfs.is_object() ? lfs.at("sha256") : entry.at("blobId")).get<std::string>();
      file.size = (lfs.is_object() ? lfs : entry).at("size").get<uint64_t>();
      if (!IsHex(file.checksum, lfs.is_object() ? 64 : 40)) throw bad("checksum");
      result.files.push_back(std::move(file));
    }
  } catch (const json::exception&) {
    throw bad("answer");
  }
  if (!IsHex(result.commit, 40)) throw bad("commit");
  return result;
}

// One try. The bytes that `part` has are asked for no more.
HttpOutcome Fetch(const HubOptions& options, const std::string& url, const HubFile& file,
                  const std::string& part, const HubProgress& progress) {
  uint64_t have = SizeOrZero(part);
  const File out(std::fopen(part.c_str(), "ab"));
  if (out == nullptr) throw SystemError(part + ": cannot write", errno);
  int write_error = 0;
  bool first = true, too_long = false;
  const HttpSink sink = [&](long status, const char* data, size_t size) {
    if (status != kHttpOk && status != kHttpPartial) return true;  // an error's page
    if (status == kHttpOk && first && have > 0) {  // the whole file, whatever was asked for
      if (ftruncate(fileno(out.get()), 0) != 0) write_error = errno;
      have = 0;
    }
    first = false;
    too_long = have + size > file.size;
    if (too_long) return false;
    if (std::fwrite(data, 1, size, out.get()) != size) write_error = errno;
    if (write_error != 0) return false;
    have += size;
    progress(have);
    return true;
  };
  const HttpOutcome outcome = Get(options, url, have, sink);
  if (std::fflush(out.get()) != 0) write_error = errno;
  if (write_error != 0) throw SystemError(part + ": cannot write", write_error);
  if (too_long) {
    fs::remove(part);
    throw BadFile({url, "size", std::to_string(file.size), "more", "try again later"});
  }
  return outcome;
}

}  // namespace

uint64_t SizeOrZero(const std::string& path) {
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  return missing ? 0 : static_cast<uint64_t>(size);
}

std::string FileChecksum(const std::string& path, bool git) {
  const MappedFile file(path);
  struct Deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, Deleter> context(EVP_MD_CTX_new());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::string header = "blob " + std::to_string(file.bytes().size()) + '\0';
  const bool done =
      context != nullptr &&
      EVP_DigestInit_ex(context.get(), git ? EVP_sha1() : EVP_sha256(), nullptr) == 1 &&
      (!git || EVP_DigestUpdate(context.get(), header.data(), header.size()) == 1) &&
      EVP_DigestUpdate(context.get(), file.bytes().data(), file.bytes().size()) == 1 &&
      EVP_DigestFinal_ex(context.get(), digest, &size) == 1;
  if (!done) throw Error(Error::Kind::kInternal, path + ": OpenSSL cannot make a checksum");
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr const char* kDigits = "0123456789abcdef";
    text.append({kDigits[digest[i] >> 4], kDigits[digest[i] & 15]});
  }
  return text;
}

HubOptions HubOptionsFromEnvironment() {
  const std::string offline = EnvironmentVariable("HF_HUB_OFFLINE");
  if (!offline.empty() && offline != "0") {
    throw InvalidArgument("HF_HUB_OFFLINE is " + offline + ", which forbids downloads; unset it");
  }
  HubOptions options;
  options.endpoint = EnvironmentVariable("HF_ENDPOINT");
  if (options.endpoint.empty()) options.endpoint = "https://huggingface.co";
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  options.token = EnvironmentVariable("HF_TOKEN");
  if (options.token.empty()) {
    std::string path = EnvironmentVariable("HF_TOKEN_PATH");
    if (path.empty()) path = HubHomeDir() + "/token";
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) options.token = ReadFile(path);
  }
  while (!options.token.empty() && std::isspace(static_cast<unsigned char>(options.token.back()))) {
    options.token.pop_back();
  }
  return options;
}

HubClient::HubClient(HubOptions options) : options_(std::move(options)) {}

HubListing HubClient::List(const HubName& name) const {
  const std::string url = options_.endpoint + "/api/models/" + name.id + "/revision/" +
                          Escaped(name.revision) + "?blobs=true";
  for (int attempt = 0;; ++attempt) {
    std::string text;
    const HttpOutcome outcome =
        Get(options_, url, 0, [&](long status, const char* data, size_t size) {
          if (status == kHttpOk) text.append(data, size);
          return text.size() <= kMaxListing;
        });
    if (outcome.status == kHttpOk && outcome.complete) return ReadListing(url, text);
    const bool again = HttpMayPass(outcome.status) || outcome.status == kHttpOk;
    // Nothing is under way yet that were worth waiting for; without a network this is where one
    // waits.
    const int retries = outcome.status == 0 ? std::min(options_.retries, 2) : options_.retries;
    if (!again || attempt >= retries) throw Refusal(name, url, outcome);
    Wait(options_, attempt);
  }
}

void HubClient::Download(const HubName& name, const std::string& commit, const HubFile& file,
                         const std::string& path, const HubProgress& progress) const {
  const std::string part = path + ".incomplete";
  const std::string url =
      options_.endpoint + "/" + name.id + "/resolve/" + commit + "/" + Escaped(file.name);
  int failures = 0;
  while (SizeOrZero(part) != file.size || !fs::exists(part)) {
    if (SizeOrZero(part) > file.size) fs::remove(part);
    const uint64_t before = SizeOrZero(part);
    const HttpOutcome outcome = Fetch(options_, url, file, part, progress);
    const uint64_t after = SizeOrZero(part);
    if (outcome.complete && (outcome.status == kHttpOk || outcome.status == kHttpPartial) &&
        after == file.size) {
      break;
    }
    if (outcome.status == kHttpBadRange) fs::remove(part);
    const bool answered = outcome.status == kHttpOk || outcome.status == kHttpPartial;
    const bool again = HttpMayPass(outcome.status) || answered || outcome.status == kHttpBadRange;
    failures = after > before ? 0 : failures + 1;
    if (!again || failures > options_.retries) throw Refusal(name, url, outcome);
    Wait(options_, failures);
  }
  const bool git = file.checksum.size() == 40;
  const std::string checksum = FileChecksum(part, git);
  if (checksum != file.checksum) {
    fs::remove(part);
    throw BadFile({url, git ? "SHA-1 of the blob" : "SHA-256", file.checksum, checksum,
                   "the download is removed; try again"});
  }
  fs::rename(part, path);
}

}  // namespace tern
