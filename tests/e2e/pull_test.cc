// What `tern pull` does, against a stand-in of the hub: layout, resuming, checksums, refusals.
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "engine/atomic_file.h"
#include "engine/hub_cache.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "tools/hub_pull.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";

std::string ChecksumOf(const std::string& content, bool git) {
  const TempDir dir;
  return FileChecksum(dir.Write("file", content), git);
}

struct StoredFile {
  std::string content;
  bool large = false;    // in LFS: named by SHA-256
  std::string checksum;  // that the listing tells
};

// Serves one model, org/name, revision main. Behaves badly when told to.
class StandInHub {
 public:
  StandInHub() {
    server_.Get("/api/models/org/name/revision/main",
                [this](const httplib::Request& request, httplib::Response& response) {
                  if (Refuses(request, response)) return;
                  response.set_content(Listing(), "application/json");
                });
    server_.Get("/org/name/resolve/" + kCommit + "/(.+)",
                [this](const httplib::Request& request, httplib::Response& response) {
                  if (Refuses(request, response)) return;
                  Send(request.matches[1], request, response);
                });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~StandInHub() {
    server_.stop();
    thread_.join();
  }

  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

  void Add(const std::string& name, const std::string& content, bool large) {
    files_[name] = {content, large, ChecksumOf(content, !large)};
  }

  std::map<std::string, StoredFile> files_;
  std::optional<std::string> token_;  // that requests must carry
  std::atomic<int> status_ = 0;       // of all answers, where not 0
  std::atomic<size_t> cut_at_ = 0;    // bytes of an answer's body after which the connection ends
  std::atomic<bool> no_ranges_ = false;
  std::atomic<int> downloads_ = 0, resumed_ = 0;

 private:
  bool Refuses(const httplib::Request& request, httplib::Response& response) {
    response.status = status_;
    if (token_ && request.get_header_value("Authorization") != "Bearer " + *token_) {
      response.status = 401;
    }
    if (response.status > 0) return true;
    response.status = -1;  // the library's choice: 200, or 206 for a range
    return false;
  }

  std::string Listing() const {
    json siblings = json::array({{{"rfilename", "../evil"}, {"blobId", "x"}, {"size", 1}},
                                 {{"rfilename", "original/params.json"}, {"size", 1}}});
    for (const auto& [name, file] : files_) {
      json entry = {{"rfilename", name}, {"size", file.content.size()}};
      entry["blobId"] = file.large ? kCommit : file.checksum;
      if (file.large) {
        entry["lfs"] = {{"sha256", file.checksum}, {"size", file.content.size()}};
      }
      siblings.push_back(entry);
    }
    return json{{"sha", kCommit}, {"siblings", siblings}}.dump();
  }

  void Send(const std::string& name, const httplib::Request& request, httplib::Response& response) {
    ++downloads_;
    const auto found = files_.find(name);
    if (found == files_.end()) {
      response.status = 404;
      return;
    }
    const std::string& content = found->second.content;
    if (content.empty()) return response.set_content("", "application/octet-stream");
    if (request.has_header("Range") && !no_ranges_) ++resumed_;
    // The library serves ranges of what it is given; an answer that says it is whole has none.
    if (no_ranges_) const_cast<httplib::Request&>(request).ranges.clear();
    const size_t begin = request.ranges.empty() ? 0 : static_cast<size_t>(request.ranges[0].first);
    response.set_content_provider(
        content.size(), "application/octet-stream",
        [this, &content, begin](size_t offset, size_t length, httplib::DataSink& sink) {
          const size_t sent = offset - begin;
          if (cut_at_ > 0 && sent >= cut_at_) return false;
          size_t piece = std::min<size_t>(length, 1000);
          if (cut_at_ > 0) piece = std::min(piece, cut_at_ - sent);
          return sink.write(content.data() + offset, piece);
        });
  }

  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761u >> 13);
  return text;
}

class PullTest : public ::testing::Test {
 protected:
  PullTest() {
    hub_.Add("config.json", "{\"small\": true}", false);
    hub_.Add("model.safetensors", Pattern(50'000), true);
    hub_.Add("README.md", "", false);
    hub_.Add("pytorch_model.bin", "not for us", true);
    for (const char* name : {"HF_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"}) {
      unsetenv(name);
    }
    setenv("HF_HOME", home_.path().c_str(), 1);
    setenv("HF_ENDPOINT", hub_.endpoint().c_str(), 1);
  }

  static HubOptions Options(int retries = 2) {
    HubOptions options = HubOptionsFromEnvironment();
    options.retries = retries;
    options.first_wait_ms = 1;
    return options;
  }
  static PulledModel Pull(const std::vector<std::string>& wanted = {}) {
    return PullModel(Options(), {"org/name"}, HubCacheDir(), wanted,
                     [](const HubFile&, uint64_t) { return [](uint64_t) {}; });
  }
  static std::string PullError(const std::vector<std::string>& wanted = {}) {
    return test::ErrorText([&] { Pull(wanted); });
  }
  fs::path Model() const { return home_ / "hub/models--org--name"; }
  fs::path Blob(const std::string& name) {
    return Model() / "blobs" / hub_.files_.at(name).checksum;
  }

  void Download(const std::string& name) {
    fs::create_directories(Model() / "blobs");
    const StoredFile& file = hub_.files_.at(name);
    HubClient(Options()).Download({"org/name"}, kCommit, {name, file.content.size(), file.checksum},
                                  Blob(name).string(), [](uint64_t) {});
  }

  TempDir home_;
  StandInHub hub_;
};

TEST(ChecksumTest, AsGitAndSha256Sum) {
  EXPECT_EQ(ChecksumOf("hello\n", true), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(ChecksumOf("hello\n", false),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(ChecksumOf("", true), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

TEST(HubNameTest, WhatIsAName) {
  EXPECT_EQ(ParseHubName("org/a.b-c_1")->id, "org/a.b-c_1");
  EXPECT_EQ(ParseHubName("org/name")->revision, "main");
  EXPECT_EQ(ParseHubName("org/name@refs/pr/1")->revision, "refs/pr/1");
  for (const char* no : {"", "name", "/a", "a/", "./a", "../a", "a/..", "a/b/c", "a/b@", "a/b@../c",
                         "a b/c", "~/a", "a/b@/c"}) {
    EXPECT_FALSE(ParseHubName(no)) << no;
  }
}

TEST_F(PullTest, LaysTheCacheOutAsHuggingFaceDoes) {
  const PulledModel pulled = Pull();
  const fs::path snapshot = Model() / "snapshots" / kCommit;
  EXPECT_EQ(pulled.path, snapshot.string());
  EXPECT_EQ(pulled.commit, kCommit);
  EXPECT_EQ(ReadFile((Model() / "refs/main").string()), kCommit);
  for (const char* name : {"config.json", "model.safetensors", "README.md"}) {
    EXPECT_EQ(fs::read_symlink(snapshot / name),
              fs::path("../../blobs") / hub_.files_.at(name).checksum);
    EXPECT_EQ(ReadFile((snapshot / name).string()), hub_.files_.at(name).content);
  }
  EXPECT_FALSE(fs::exists(snapshot / "pytorch_model.bin"));
  EXPECT_EQ(std::distance(fs::directory_iterator(snapshot), {}), 3);
  EXPECT_EQ(FindInHubCache(HubCacheDir(), {"org/name"}), snapshot.string());
  EXPECT_EQ(FindInHubCache(HubCacheDir(), {"org/name", kCommit}), snapshot.string());
  // What is there is not fetched again.
  EXPECT_EQ(hub_.downloads_, 3);
  EXPECT_EQ(Pull().downloaded_bytes, 0u);
  EXPECT_EQ(hub_.downloads_, 3);
}

TEST_F(PullTest, GoesOnWhereAConnectionWasCut) {
  hub_.cut_at_ = 20'000;
  Download("model.safetensors");
  EXPECT_EQ(ReadFile(Blob("model.safetensors").string()), Pattern(50'000));
  EXPECT_EQ(hub_.resumed_, 2);
  EXPECT_FALSE(fs::exists(Blob("model.safetensors").string() + ".incomplete"));
}

TEST_F(PullTest, GoesOnWhereAnEarlierRunStopped) {
  fs::create_directories(Model() / "blobs");
  const std::string part = Blob("model.safetensors").string() + ".incomplete";
  WriteFileAtomically(part, Pattern(50'000).substr(0, 30'000));
  Pull();
  EXPECT_EQ(hub_.resumed_, 1);
  EXPECT_EQ(ReadFile(Blob("model.safetensors").string()), Pattern(50'000));
}

TEST_F(PullTest, ServersWithoutRangesSendAllAgain) {
  fs::create_directories(Model() / "blobs");
  WriteFileAtomically(Blob("model.safetensors").string() + ".incomplete", "something wrong");
  hub_.no_ranges_ = true;
  Download("model.safetensors");
  EXPECT_EQ(ReadFile(Blob("model.safetensors").string()), Pattern(50'000));
}

TEST_F(PullTest, GivesUpInTheEndAndKeepsWhatItHas) {
  hub_.cut_at_ = 1;
  hub_.no_ranges_ = true;  // every try begins anew
  const std::string error = test::ErrorText([&] { Download("model.safetensors"); });
  EXPECT_NE(error.find("try again later"), std::string::npos) << error;
  EXPECT_TRUE(fs::exists(Blob("model.safetensors").string() + ".incomplete"));
  EXPECT_FALSE(fs::exists(Blob("model.safetensors")));
  hub_.status_ = 503;
  EXPECT_NE(test::ErrorText([&] { Download("config.json"); }).find("503"), std::string::npos);
}

TEST_F(PullTest, WrongBytesAreNotKept) {
  for (const char* name : {"config.json", "model.safetensors"}) {
    hub_.files_.at(name).content.back() ^= 1;
    const std::string error = PullError();
    EXPECT_NE(error.find(hub_.files_.at(name).checksum), std::string::npos) << error;
    EXPECT_FALSE(fs::exists(Blob(name)));
    EXPECT_FALSE(fs::exists(Blob(name).string() + ".incomplete"));
    EXPECT_FALSE(fs::exists(Model() / "refs/main"));  // the name does not find half a model
    hub_.files_.at(name).content.back() ^= 1;
  }
  EXPECT_EQ(PullError(), "");
}

TEST_F(PullTest, RefusalsSayWhatToDo) {
  const auto refused = [&](int status, const char* says) {
    hub_.status_ = status;
    const std::string error = PullError();
    EXPECT_NE(error.find(says), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  };
  refused(401, "HF_TOKEN");
  refused(403, "terms");
  refused(404, "no such model or revision (main)");
  refused(500, "try again later");
  hub_.status_ = 0;
  EXPECT_NE(PullError({"x.gguf"}).find("no file x.gguf"), std::string::npos);
  setenv("HF_HUB_OFFLINE", "1", 1);
  EXPECT_NE(PullError().find("HF_HUB_OFFLINE"), std::string::npos);
}

TEST_F(PullTest, NoServer) {
  setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
  EXPECT_NE(PullError().find("127.0.0.1"), std::string::npos);
}

TEST_F(PullTest, TheTokenIsFoundAndSent) {
  hub_.token_ = "secret";
  EXPECT_NE(PullError(), "");
  home_.Write("token", "secret\n");
  EXPECT_EQ(PullError(), "");
  setenv("HF_TOKEN", "wrong", 1);
  EXPECT_NE(PullError(), "");
}

TEST_F(PullTest, GgufFilesAreChosenByName) {
  hub_.files_.erase("model.safetensors");
  hub_.files_.erase("config.json");
  hub_.Add("a.gguf", "GGUF a", true);
  EXPECT_EQ(PullError(), "");
  const fs::path snapshot = Model() / "snapshots" / kCommit;
  EXPECT_EQ(FindInHubCache(HubCacheDir(), {"org/name"}), (snapshot / "a.gguf").string());
  hub_.Add("b.gguf", "GGUF b", true);
  EXPECT_NE(PullError().find("several .gguf files: a.gguf, b.gguf"), std::string::npos);
  EXPECT_EQ(PullError({"b.gguf"}), "");
  EXPECT_NE(test::ErrorText([] { FindInHubCache(HubCacheDir(), {"org/name"}); }).find("several"),
            std::string::npos);
  hub_.files_.clear();
  EXPECT_NE(PullError().find("no .safetensors"), std::string::npos);
}

// As repositories of GGUF files often are.
TEST_F(PullTest, AConfigurationBesideAGgufFileIsNoModel) {
  hub_.files_.erase("model.safetensors");
  hub_.Add("a.gguf", "GGUF a", true);
  EXPECT_EQ(PullError(), "");
  const fs::path snapshot = Model() / "snapshots" / kCommit;
  EXPECT_TRUE(fs::exists(snapshot / "config.json"));
  EXPECT_EQ(FindInHubCache(HubCacheDir(), {"org/name"}), (snapshot / "a.gguf").string());
  hub_.Add("model.safetensors", "weights", true);
  EXPECT_EQ(PullError(), "");
  EXPECT_EQ(FindInHubCache(HubCacheDir(), {"org/name"}), snapshot.string());
}

TEST_F(PullTest, WhatIsNotThereIsToBePulled) {
  const std::string error = test::ErrorText([] { FindInHubCache(HubCacheDir(), {"org/name"}); });
  EXPECT_NE(error.find("tern pull org/name"), std::string::npos) << error;
}

}  // namespace
}  // namespace tern
